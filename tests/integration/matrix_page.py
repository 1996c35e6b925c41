# SPDX-License-Identifier: BSD-2-Clause
"""
matrix_page: docs/fault-matrix.md against what became of the cells (test_fault_matrix.py).

Its tables of outcomes and of sentences are made of what was seen, the rest is written by hand. A cell
has the outcome after SIGKILL and after SIGSTOP, or one if both are the same; "or" stands between those
of which each was seen. Tier ebpf has tables; of the others there is a list of what differs. What was
seen is added: to have a cell anew, empty it.
"""

import collections
import re

from failures_page import ROOT
from harness import check
from matrix_cells import SIGNALS, STEPS, STRATEGIES, TARGETS, TIERS, all_cells, exists

PAGE = ROOT / "docs" / "fault-matrix.md"
BETWEEN = " / "
NOBODY = "–"
OTHERWISE = """
### Otherwise on other tiers

A canary needs shares, which tier hash cannot give. There a check reaches whichever server the kernel picks, so nobody notices that one stands still:
what it has to do waits until it goes on.

"""
SENTENCES = "\n## What people read\n"

PLACEHOLDERS = (
    (re.compile(r"generation \d+"), "generation N"),
    (re.compile(r"instance \d+"), "instance N"),
    (re.compile(r"\b\d+h \d\dm\b|\b\d+m \d\ds\b|\b\d+(\.\d+)? ?m?s\b"), "TIME"),
    (re.compile(r"\b\d+ connections?\b"), "N connections"),
    (re.compile(r"N connections (was|were)\b"), "N connections were"),
    (re.compile(r" with \d+ of \d+ instances"), ""),
    (re.compile(r" \([^)]*\)$"), ""),
    (re.compile(r"pid \d+"), "pid PID"),
)


def plain(text):
    for pattern, placeholder in PLACEHOLDERS:
        text = pattern.sub(placeholder, text)
    return text


# ---- outcomes ------------------------------------------------------------------------------------

def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else [""]


def outcomes(text):
    """{(tier, strategy, step, target, signal): set of outcomes} of the page's tables."""
    found = collections.defaultdict(set)
    strategy = None
    for line in text.splitlines():
        if begin := re.match(r"### ([a-z-]+)$", line):
            strategy = begin[1]
        cells = cells_of(line)
        if strategy in STRATEGIES and cells[0] in STEPS:
            for target, cell in zip(TARGETS, cells[1:], strict=True):
                both = cell.split(BETWEEN)
                for sent, outcome in zip(SIGNALS, both * (3 - len(both))):
                    if outcome not in (NOBODY, ""):
                        found[TIERS[0], strategy, cells[0], target, sent] |= \
                            set(outcome.split(" or "))
        elif cells[0] in TIERS:
            found[tuple(cells[:5])] |= set(cells[5].split(" or "))
    return found


def documented(known, cell):
    """The other tiers differ from the first one where the page says so."""
    key = tuple(cell[k] for k in (4, 3, 1, 0, 2))
    return known.get(key) or known.get((TIERS[0], *key[1:]), set())


def text_of(known, strategy, step, target):
    if not exists(target, step, strategy):
        return NOBODY
    both = [" or ".join(sorted(known.get((TIERS[0], strategy, step, target, sent), ())))
            for sent in SIGNALS]
    return both[0] if both[0] == both[1] else BETWEEN.join(both)


def tables(known):
    for strategy in STRATEGIES:
        yield f"\n### {strategy}\n\n"
        yield "| step | " + " | ".join(TARGETS) + " |\n" + "|---" * (len(TARGETS) + 1) + "|\n"
        for step in STEPS:
            row = [text_of(known, strategy, step, target) for target in TARGETS]
            if set(row) != {NOBODY}:
                yield f"| {step} | {' | '.join(row)} |\n"
    yield OTHERWISE
    yield "| tier | strategy | step | target | signal | what becomes of it |\n"
    yield "|---|---|---|---|---|---|\n"
    for cell in all_cells():
        key = tuple(cell[k] for k in (4, 3, 1, 0, 2))
        if cell.tier != TIERS[0] and known.get(key, set()) - known[(TIERS[0], *key[1:])]:
            yield f"| {' | '.join(key)} | {' or '.join(sorted(known[key]))} |\n"


# ---- sentences -----------------------------------------------------------------------------------

def result_of(outcome):
    """What undoes a rollout may happen before its shift and after it: the reason is the same."""
    result = re.match(r"(done|rolled back|failed)?", outcome)[0]
    return "undone" if result in ("rolled back", "failed") else result


def sentences(text):
    """{(target, result): set of sentences}"""
    found = collections.defaultdict(set)
    for line in text[text.index(SENTENCES):].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in TARGETS:
            found[cells[0], cells[1]].add(cells[2])
    return found


def known_sentence(text, target, result, told):
    """
    All of the new are hit one after another: whoever looks in between sees a server's end. What is
    said besides ("; A, B") may be said together.
    """
    known = sentences(text)
    known = known[target, result] | (known["server new", result] if target == TARGETS[-1] else set())
    besides = "|".join(re.escape(each.partition("; ")[2]) for each in known if "; " in each)
    return told in known or any(
        told.startswith(each) and re.fullmatch(f"((; |, )({besides}))+", told[len(each):])
        for each in known if besides and "; " not in each)


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
    said = documented(outcomes(text), cell)
    check(outcome in said, f"{cell}: {outcome!r} ({told}), but docs/{PAGE.name} says "
                           f"{' or '.join(sorted(said))!r}")
    result = result_of(outcome)
    check(not result or known_sentence(text, cell.target, result, plain(told)),
          f"{cell}: {outcome!r}: docs/{PAGE.name} does not know that people read: {plain(told)}")


def write(seen):
    """@seen: [(cell, outcome, told)]: added to what the page says."""
    text = PAGE.read_text(encoding="utf-8")
    known, said = outcomes(text), sentences(text)
    for cell, outcome, told in seen:
        key = tuple(cell[k] for k in (4, 3, 1, 0, 2))
        if outcome not in documented(known, cell):
            known[key] = known.get(key, set()) | {outcome}
        result = result_of(outcome)
        if result and not known_sentence(text, cell.target, result, plain(told)):
            said[cell.target, result].add(plain(told))
    by_hand = text.index("\n### blue-green") if "\n### blue-green" in text else text.index(SENTENCES)
    between = text[text.index(SENTENCES) + len(SENTENCES):].split("\n|", 1)[0]
    PAGE.write_text(text[:by_hand] + "".join(tables(known)) + SENTENCES + between.rstrip("\n") +
                    "\n" + "".join(sentence_table(said)), encoding="utf-8")
