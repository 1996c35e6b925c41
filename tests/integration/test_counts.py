# SPDX-License-Identifier: BSD-2-Clause
"""What a start, a swap, a check and a status cost batond and its agents, without a clock."""

from counts import Calls, check_ceilings, cost, is_plain, per_unit, settled
from faults import Interposer
from harness import check_equal, wait_until
from services import example, service

SWAPS = 10
ALLOCATING_SWAPS = 5
STARTS = 3
SERVICES = 8
PROBES = 100
ASKED = 20


def quiet(t, **changes):
    """A service of which nothing is asked any more once it serves."""
    return service(example(t), mode="inherit",
                   **{"health": {"interval": "10m", "healthy": 1}, **changes})


def settle(calls):
    """Wait until what is written and tidied afterwards is over: nothing is forked any more."""
    def forks():
        rows = calls.rows()
        return rows["batond forks"] + rows["agent forks"]
    settled(forks, "how often batond and its agents fork")


def test_counts_of_a_start(t):
    if not is_plain(t.build):
        return
    with Calls(t) as calls:
        daemon = t.daemon(quiet(t))

        def start():
            daemon.cli("stop", "web", expect=0)
            settle(calls)

            def one():
                daemon.cli("start", "web", expect=0)
                settle(calls)
            return cost(calls, one, 1)

        def starts():
            rows = [start() for _ in range(STARTS)]
            return {row: sum(each[row] for each in rows) / STARTS for row in rows[0]}
        check_ceilings("start", starts)


def test_counts_of_a_swap(t):
    if not is_plain(t.build):
        return
    with Calls(t) as calls:
        daemon = t.daemon(quiet(t))
        daemon.restart()

        def swaps():
            for _ in range(SWAPS):
                daemon.restart()
            settle(calls)

        def swap():
            settle(calls)
            return cost(calls, swaps, SWAPS)
        check_ceilings("swap", swap)


def test_counts_of_status(t):
    if not is_plain(t.build):
        return
    with Calls(t) as calls:
        daemon = t.daemon(**{f"s{k}": quiet(t, listen=f"127.0.0.1:{9000 + k}")
                             for k in range(SERVICES)})
        settle(calls)

        def ask(path):
            for _ in range(ASKED):
                check_equal(daemon.api(path)[0], 200, path)
        for name, path in (("status of one", "/v1/services/s0"),
                           (f"status of {SERVICES}", "/v1/services")):
            check_ceilings(name, lambda path=path: cost(calls, lambda: ask(path), ASKED))


def test_counts_of_a_check(t):
    """A check makes one connection, so these are counted, and not the time."""
    if not is_plain(t.build):
        return
    with Calls(t) as calls:
        t.daemon(quiet(t, health={"interval": "10ms"}))

        def probes():
            before, first = calls.rows(), calls.of_call("connect")
            wait_until(lambda: calls.of_call("connect") >= first + PROBES, "it is checked",
                       poll_s=0.1)
            return per_unit(calls.rows(), before, calls.of_call("connect") - first)
        check_ceilings("check", probes)


def test_counts_of_allocations_of_a_swap(t):
    if not is_plain(t.build):
        return
    faults = Interposer(t)
    daemon = t.daemon(quiet(t), start=False)
    daemon.prefix = faults.prefix()
    daemon.start()
    daemon.restart()

    def allocations(program):
        faults.arm(program, "memory", 1 << 62)
        for _ in range(ALLOCATING_SWAPS):
            daemon.restart()
        return faults.counts()["memory"] / ALLOCATING_SWAPS
    check_ceilings("allocations of a swap", lambda: {
        f"{program} allocations": allocations(program) for program in ("batond", "agent")})
