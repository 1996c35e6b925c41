# SPDX-License-Identifier: BSD-2-Clause
"""
matrix_cells: which faults the matrix has (test_fault_matrix.py): who is hit at which step of a
rollout, by what, with which strategy and on which tier. Nothing here runs anything.
"""

import collections
import itertools

TARGETS = ("batond", "agent old", "agent new", "server old", "server new", "all of the new")
STEPS = ("start", "verify", "gate", "shift", "hold", "settle", "bake", "leave", "drain", "stop",
         "steady")
SIGNALS = ("SIGKILL", "SIGSTOP")
STRATEGIES = ("blue-green", "rolling", "canary", "stop-first")
TIERS = ("ebpf", "cbpf", "hash")

Cell = collections.namedtuple("Cell", "target step signal strategy tier")

# With stop-first one side is there at a time. In steady state there is one only: the one that serves
# is "old" to whatever comes, and all of it is all of the newest.
STOP_FIRST_OLD = ("shift", "settle", "leave", "drain", "stop")
STOP_FIRST_NEW = ("start", "verify")


def exists(target, step, strategy, tier="ebpf"):
    """Is there such a process at such a step? A canary needs shares, which tier hash has not."""
    if (strategy, tier) == ("canary", "hash"):
        return False
    if step == "steady":
        return target not in ("agent new", "server new")
    if step == "hold" and strategy != "canary":
        return False
    if strategy != "stop-first" or target == "batond":
        return strategy != "stop-first" or step in STOP_FIRST_OLD + STOP_FIRST_NEW
    return step in (STOP_FIRST_OLD if target.endswith(" old") else STOP_FIRST_NEW)


def all_cells():
    return [Cell(target, step, signal, strategy, tier)
            for tier, strategy, step, target, signal in
            itertools.product(TIERS, STRATEGIES, STEPS, TARGETS, SIGNALS)
            if exists(target, step, strategy, tier)]


def pairs(cell):
    """What a sample has to cover beside each target at each step: each two of these."""
    return set(itertools.combinations(zip(Cell._fields, cell), 2))


def sample():
    """
    One cell for each target at each step; strategies, signals and tiers rotate so that as many pairs
    as possible are there, and each as often as the others. Always the same cells.
    """
    by_place = collections.defaultdict(list)
    for cell in all_cells():
        by_place[cell.target, cell.step].append(cell)
    chosen, covered, uses = [], set(), collections.Counter()
    # Those with the fewest possibilities first.
    for place in sorted(by_place, key=lambda place: len(by_place[place])):
        best = max(by_place[place], key=lambda cell: (
            len(pairs(cell) - covered) - 2 * sum(uses[part] for part in cell[2:]) / (len(chosen) + 1),
            STRATEGIES.index(cell.strategy)))
        covered |= pairs(best)
        uses.update(best[2:])
        chosen.append(best)
    return chosen
