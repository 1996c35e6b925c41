# SPDX-License-Identifier: BSD-2-Clause
"""
SIGKILL and SIGSTOP of each process of baton's at each step of a rollout, under load: what becomes of
it is what docs/fault-matrix.md says. The tests here are a sample that has each process at each step;
all of it, or a part, and the page:

    python3 tests/integration/test_fault_matrix.py BUILD [--jobs N] [--write] [tier=ebpf,cbpf] ...
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

from harness import check, long, timeout
from matrix import STOP_S, Matrix
from matrix_cells import TIERS, Cell, all_cells, sample
from matrix_page import judge, write

SHORT_STOP_S = 3.5  # in the tests; longer than what finds a server that stands still
CHUNK = 24  # cells for one batond
CELLS = "BATON_MATRIX_CELLS"
STOP = "BATON_MATRIX_STOP"
RESULTS = "BATON_MATRIX_RESULTS"


def run_cells(t, cells, stop_s):
    """Yields (cell, Result or what went wrong, seconds). One batond, until something goes wrong."""
    matrix = None
    for cell in cells:
        began = time.monotonic()
        try:
            matrix = matrix or Matrix(t, cell.tier, cells, stop_s)
            outcome = matrix.run(cell)
        except Exception:  # pylint: disable=broad-except
            outcome = traceback.format_exc()
            if matrix:
                outcome += matrix.say()
                matrix.close()
            matrix = None
        yield cell, outcome, time.monotonic() - began


# ---- the sample ----------------------------------------------------------------------------------

def check_sample(t, tier):
    wrong = []
    for cell, outcome, _ in run_cells(t, [each for each in sample() if each.tier == tier],
                                      SHORT_STOP_S):
        try:
            check(not isinstance(outcome, str), outcome)
            judge(cell, outcome.outcome, outcome.told)
        except AssertionError as error:
            wrong.append(f"{' '.join(cell)}:\n{error}")
    check(not wrong, "\n".join(wrong))


@long
@timeout(600)
def test_sample_ebpf(t):
    check_sample(t, "ebpf")


@long
@timeout(600)
def test_sample_cbpf(t):
    check_sample(t, "cbpf")


@long
@timeout(600)
def test_sample_hash(t):
    check_sample(t, "hash")


# ---- all of it -----------------------------------------------------------------------------------

def chosen(t):
    """The cells that the environment names; what became of each is a line of a file."""
    cells = [Cell(*each) for each in json.loads(os.environ[CELLS])]
    with open(os.environ[RESULTS], "w", encoding="utf-8", buffering=1) as results:
        for cell, outcome, took_s in run_cells(t, cells, float(os.environ[STOP])):
            seen = {"wrong": outcome} if isinstance(outcome, str) else vars(outcome)
            results.write(json.dumps({"cell": cell, "took_s": took_s, **seen}) + "\n")


def run_chunk(args, cells):
    """(what became of each cell, what the harness has to say besides)"""
    harness = pathlib.Path(__file__).with_name("harness.py")
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as results:
        done = subprocess.run(
            [sys.executable, "-B", harness, args.build, __file__, "chosen"], check=False,
            capture_output=True, text=True,
            env={**os.environ, CELLS: json.dumps(cells), STOP: str(args.stop),
                 RESULTS: results.name})
        seen = [json.loads(line) for line in results]
    return seen, "" if done.returncode == 0 else done.stdout + done.stderr


def tell(args, each):
    """One line of a cell; returns whether it is well."""
    cell = Cell(*each["cell"])
    wrong = each.get("wrong", "")
    if not wrong and not args.write:
        try:
            judge(cell, each["outcome"], each["told"])
        except AssertionError as error:
            wrong = str(error)
    lost = " ".join(f"{n} {kind}" for kind, n in each.get("lost", {}).items()) or "none"
    print(f"{cell.tier:5}{cell.strategy:11}{cell.step:7}{cell.target:15}{cell.signal}  "
          f"{each.get('outcome', 'WRONG'):28} lost {lost}, {each.get('posts_cut', '?')} half-sent; "
          f"{each.get('told') or 'nothing'} ({each['took_s']:.1f} s)", flush=True)
    if wrong:
        print("    | " + wrong.rstrip().replace("\n", "\n    | "), flush=True)
    return not wrong


def parse():
    parser = argparse.ArgumentParser(description="tier=, strategy=, step=, target= and signal= "
                                     "choose cells: \"step=bake,drain\"")
    parser.add_argument("build")
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--stop", type=float, default=STOP_S, help="seconds that SIGSTOP lasts")
    parser.add_argument("--sample", action="store_true", help="of the cells that the tests make")
    parser.add_argument("--write", action="store_true", help="write what was seen into the page")
    args = parser.parse_intermixed_args()
    cells = sample() if args.sample else all_cells()
    for part in args.parts:
        name, _, values = part.partition("=")
        cells = [cell for cell in cells if getattr(cell, name) in values.split(",")]
    return args, cells


def main():
    args, cells = parse()
    began = time.monotonic()
    of_tiers = [[cell for cell in cells if cell.tier == tier] for tier in TIERS]
    chunks = [of_tier[k:k + CHUNK] for of_tier in of_tiers for k in range(0, len(of_tier), CHUNK)]
    seen, wrong = [], 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for running in concurrent.futures.as_completed(
                [pool.submit(run_chunk, args, chunk) for chunk in chunks]):
            some, said = running.result()
            wrong += sum(not tell(args, each) for each in some)
            seen += [(Cell(*each["cell"]), each["outcome"], each["told"]) for each in some
                     if "wrong" not in each]
            if said:
                wrong += 1
                print(said)
    if args.write:
        write(seen)
    wrong += len(cells) - len(seen) if wrong == 0 else 0
    print(f"{len(cells)} cells, {wrong} wrong, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
