# SPDX-License-Identifier: BSD-2-Clause
"""
failures_page: docs/failures.md against what baton says.

The page has a section "## KEY: ..." for each failure, and a line for it in the table at the top. The
blocks of code in a section, and that line, are what baton said, with placeholders for what differs
from time to time; the words around them are written by hand. check_page() compares them, or, if
BATON_WRITE_PAGE is in the environment, puts what baton said in their place:

    python3 tests/integration/test_failures_page.py --write BUILDDIR [KEY...]
"""

import difflib
import json
import os
import pathlib
import re
import subprocess
import sys

from harness import check
from services import soon_ms

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "failures.md"
WRITE = "BATON_WRITE_PAGE"
STEP_WIDTH = 74  # of a step, with the time that it took

# Lines of a status that tell nothing of a failure, by their label.
LEFT_OUT = ("command", "differs", "endpoint", "endpoints", "rollback", "runs", "steering")

# What differs from time to time, the special before the general.
PLACEHOLDERS = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"), "DATE"),
    (re.compile(r"\bpid \d+"), "pid PID"),
    (re.compile(r"\b\d+h \d\dm\b|\b\d+m \d\ds\b|\b\d+(\.\d+)? m?s\b|\b\d+\.\d+s\b"), "TIME"),
)

# Deadlines that are longer on a busy machine than on the page: {what is said: what the page says}.
LONGER = {}


def soon_for(nominal_s):
    """soon(), said to be @nominal_s seconds."""
    longer_ms = soon_ms(nominal_s)
    LONGER[f"{longer_ms / 1000:g}s"] = f"{nominal_s}s"
    return f"{longer_ms}ms"


# ---- what baton says -----------------------------------------------------------------------------

def plain(t, text):
    """@text with placeholders for what differs from time to time."""
    text = text.replace(str(t.tmp), "/srv/web")
    text = re.sub(r"\bwithin (\d+(?:\.\d+)?s)\b",
                  lambda said: f"within {LONGER.get(said[1], said[1])}", text)
    for pattern, placeholder in PLACEHOLDERS:
        text = pattern.sub(placeholder, text)
    return re.sub(r"^(  .*?\S) +TIME$",
                  lambda line: f"{line[1]}  {'TIME':>{max(4, STEP_WIDTH - 2 - len(line[1]))}}",
                  text, flags=re.MULTILINE)


def command(t, result, *words):
    """What a command has answered, and its exit status."""
    line = "$ baton " + " ".join(map(str, words))
    return "console", plain(t, f"{line}\n{result.text.rstrip()}\n$ echo $?\n{result.status}\n")


def table_of(lines):
    """The table of generations, whose width depends on its numbers."""
    columns = len(lines[0].split())
    rows = [re.split(r" {2,}", line.strip(), maxsplit=columns - 1) for line in lines]
    pid, uptime = rows[0].index("PID"), rows[0].index("UPTIME")
    for row in rows[1:]:
        row[pid] = "0" if row[pid] == "0" else "PID"
        row[uptime] = "TIME"
        row[-1] = re.sub(r" {2,}", "  ", row[-1])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in rows]


def status(t, result, service="web"):
    """The lines of `baton status` that tell of a failure, and its exit status."""
    above, _, below = plain(t, result.out.rstrip()).partition("\n\n")
    lines, label = [], ""
    for line in above.splitlines():
        label = line.split()[0] if re.match(r"  \w", line) else label
        if label not in LEFT_OUT:
            lines.append(line)
    lines += [""] + table_of(below.splitlines()) if below else []
    return "console", "\n".join([f"$ baton status {service}", *lines, "$ echo $?",
                                 f"{result.status}\n"])


def members(t, event, *names):
    """One event on a line of its own: these members of it, those that it has."""
    told = {name: event[name] for name in ("event", *names) if name in event}
    return plain(t, json.dumps(told))


def events(t, *told):
    """Each of them is (event, names of members)."""
    return "json", "\n".join(members(t, event, *names) for event, names in told) + "\n"


def settings(config):
    """Members of a service's configuration, one a line."""
    return "json", ",\n".join(f'"{key}": {json.dumps(value)}'
                              for key, value in config.items()) + "\n"


# ---- the page ------------------------------------------------------------------------------------

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^## ([^:\n]+)(: .*)?\n", re.MULTILINE)
ROW = re.compile(r"^\| \[([^]]+)\]\(#[^)]*\) \|.*\|$", re.MULTILINE)


def anchor(heading):
    """What a heading is linked by, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def sections(text):
    """{key: (heading, begin, end)} of the page's sections about failures."""
    found = list(SECTION.finditer(text))
    ends = [each.start() for each in found[1:]] + [len(text)]
    return {each[1]: (each[1] + (each[2] or ""), each.end(), end)
            for each, end in zip(found, ends)}


def rows(text):
    """{key: line} of the table at the top."""
    return {each[1]: each[0] for each in ROW.finditer(text)}


def with_blocks(text, key, blocks):
    """The page with these blocks in a section, which has to have as many."""
    check(key in sections(text), f'{PAGE.name} has no section "## {key}: ..."')
    _, begin, end = sections(text)[key]
    there = len(BLOCK.findall(text[begin:end]))
    check(there == len(blocks),
          f'{PAGE.name}: section "{key}" has {there} blocks of code, but there are {len(blocks)}:\n' +
          "".join(f"```{kind}\n{said}```\n" for kind, said in blocks))
    said = iter(blocks)
    section = BLOCK.sub(lambda _: "```{}\n{}```".format(*next(said)), text[begin:end])
    return text[:begin] + section + text[end:]


def with_row(text, key, cells):
    """The page with these cells in the table's line for a section."""
    check(key in rows(text), f"{PAGE.name}: the table at the top has no line for [{key}]")
    heading = sections(text)[key][0]
    line = f"| [{key}](#{anchor(heading)}) | {' | '.join(map(str, cells))} |"
    return text.replace(rows(text)[key], line)


def check_page(key, blocks, cells=None):
    """What baton said is what the page says; or make it so, see above."""
    text = PAGE.read_text(encoding="utf-8")
    said = with_blocks(text, key, blocks)
    if cells:
        said = with_row(said, key, cells)
    if os.environ.get(WRITE):
        PAGE.write_text(said, encoding="utf-8")
        return
    difference = difflib.unified_diff(text.splitlines(), said.splitlines(), "the page",
                                      "what baton says", lineterm="")
    check(text == said, lambda: "\n".join(
        [f"docs/{PAGE.name} is not what baton says (see tests/integration/failures_page.py):",
         *difference]))


def write(file, names):
    """The end of `... --write BUILDDIR [KEY...]`: run these tests, and let them write."""
    build, *keys = sys.argv[2:]
    harness = pathlib.Path(__file__).with_name("harness.py")
    chosen = [name for key, name in names.items() if not keys or key in keys]
    return max(subprocess.run([sys.executable, "-B", harness, build, file, name], check=False,
                              env={**os.environ, WRITE: "1"}).returncode for name in chosen)
