# SPDX-License-Identifier: BSD-2-Clause
"""
matrix_page: docs/fault-matrix.md against what became of the cells (test_fault_matrix.py).

The tables and the sentences below "## Outcomes" and "## What people read" are made of what was seen;
the rest is written by hand. A cell has the outcome after SIGKILL and after SIGSTOP, or one if both are
the same; "or" stands between those of which each was seen.
"""

import collections
import re

from failures_page import ROOT
from harness import check
from matrix_cells import SIGNALS, STEPS, STRATEGIES, TARGETS, TIERS, exists

PAGE = ROOT / "docs" / "fault-matrix.md"
BETWEEN = " / "
NOBODY = "–"
OUTCOMES = "\n## Outcomes\n"
SENTENCES = "\n## What people read\n"

PLACEHOLDERS = (
    (re.compile(r"generation \d+"), "generation N"),
    (re.compile(r"instance \d+"), "instance N"),
    (re.compile(r"\b\d+h \d\dm\b|\b\d+m \d\ds\b|\b\d+(\.\d+)? ?m?s\b"), "TIME"),
    (re.compile(r"\b\d+ connections?\b"), "N connections"),
    (re.compile(r"N connections (was|were)\b"), "N connections were"),
    (re.compile(r"\bwith \d+ of \d+ instances"), "with N of N instances"),
    (re.compile(r" \((connected|refused|no )[^)]*\)"), ""),
    (re.compile(r"pid \d+"), "pid PID"),
)


def plain(text):
    for pattern, placeholder in PLACEHOLDERS:
        text = pattern.sub(placeholder, text)
    return text


def heading(tier, strategy):
    return f"### {strategy}, tier {tier}"


# ---- outcomes ------------------------------------------------------------------------------------

def outcomes(text):
    """{(tier, strategy, step, target, signal): set of outcomes} of the page's tables."""
    found = collections.defaultdict(set)
    place = None
    for line in text.splitlines():
        if begin := re.match(r"### ([a-z-]+), tier ([a-z]+)$", line):
            place = begin[2], begin[1]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not place or not line.startswith("|") or cells[0] not in STEPS:
            continue
        for target, cell in zip(TARGETS, cells[1:], strict=True):
            if cell in (NOBODY, ""):
                continue
            both = cell.split(BETWEEN)
            for sent, outcome in zip(SIGNALS, both * (3 - len(both))):
                found[(*place, cells[0], target, sent)] |= set(outcome.split(" or "))
    return found


def key_of(cell):
    return cell.tier, cell.strategy, cell.step, cell.target, cell.signal


def text_of(known, tier, strategy, step, target):
    both = [" or ".join(sorted(known.get((tier, strategy, step, target, sent), ())))
            for sent in SIGNALS]
    if not exists(target, step, strategy):
        return NOBODY
    return both[0] if both[0] == both[1] else BETWEEN.join(both)


def tables(known):
    for tier in TIERS:
        for strategy in STRATEGIES:
            yield f"\n{heading(tier, strategy)}\n\n"
            yield "| step | " + " | ".join(TARGETS) + " |\n" + "|---" * (len(TARGETS) + 1) + "|\n"
            for step in STEPS:
                row = [text_of(known, tier, strategy, step, target) for target in TARGETS]
                if set(row) != {NOBODY}:
                    yield f"| {step} | {' | '.join(row)} |\n"


# ---- sentences -----------------------------------------------------------------------------------

def result_of(outcome):
    return re.match(r"(done|rolled back|failed)?", outcome)[0]


def sentences(text):
    """{(target, result): set of sentences}"""
    found = collections.defaultdict(set)
    for line in text[text.index(SENTENCES):].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in TARGETS:
            found[cells[0], cells[1]].add(cells[2])
    return found


def sentence_table(known):
    yield "\n| target | the rollout is | what its last event says |\n|---|---|---|\n"
    for target in TARGETS:
        for (other, result), told in sorted(known.items()):
            if other == target:
                yield from (f"| {target} | {result} | {each} |\n" for each in sorted(told))


# ---- the whole -----------------------------------------------------------------------------------

def judge(cell, outcome, told):
    """What became of a cell is what the page says."""
    text = PAGE.read_text(encoding="utf-8")
    documented = outcomes(text)[key_of(cell)]
    check(outcome in documented, f"{cell}: {outcome!r} ({told}), but docs/{PAGE.name} says "
                                 f"{' or '.join(sorted(documented))!r}")
    result = result_of(outcome)
    check(not result or plain(told) in sentences(text)[cell.target, result],
          f"{cell}: {outcome!r}: docs/{PAGE.name} does not know that people read: {plain(told)}")


def write(seen):
    """@seen: [(cell, outcome, told)]: takes the place of what the page says of these cells."""
    text = PAGE.read_text(encoding="utf-8")
    known, said = outcomes(text), sentences(text)
    now = collections.defaultdict(set)
    for cell, outcome, told in seen:
        now[key_of(cell)].add(outcome)
        if result_of(outcome):
            said[cell.target, result_of(outcome)].add(plain(told))
    known |= now
    above = text[:text.index(OUTCOMES)] + OUTCOMES
    between = text[text.index(SENTENCES) + len(SENTENCES):].split("\n|", 1)[0]
    PAGE.write_text(above + "".join(tables(known)) + SENTENCES + between.rstrip("\n") + "\n" +
                    "".join(sentence_table(said)), encoding="utf-8")
