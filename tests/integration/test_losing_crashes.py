# SPDX-License-Identifier: BSD-2-Clause
"""
SIGKILL at every step of a rollout. The daemon: test_takeover.py; in steady state: test_crash.py;
the whole new generation at once: test_failover.py.
"""

import contextlib
import os
import signal

from harness import begin_post, bodies, check, check_equal, timeout, wait_until
from losing import by_generation, steered
from services import example, service
from swaps import check_nothing_lost

STEPS = ("start", "verify", "shift", "settle", "bake", "leave", "drain")
CRASH_CLIENTS = 16
CRASH_POSTS = 4


def victim_at(daemon, which, generation):
    """The pid of a generation's server or agent; None where it is gone already."""
    for each in daemon.service()["generations"]:
        if each["generation"] == generation:
            return each["instances"][0][{"server": "pid", "agent": "agent_pid"}[which]] or None
    return None


def killed_at_every_step(t, which, new):
    """
    SIGKILL the old or the new server, or its agent, after each step. A connection that a dead server
    had accepted may be reset; the death of an agent costs nothing. None is refused, none hangs, and
    in the end the service serves.
    """
    daemon = steered(t, service(example(t, "--ready-after", "200ms"), rollout={"bake": "200ms"}))
    hammer = t.hammer("--short", CRASH_CLIENTS, "--rate", 1500, "--sources", 8, "--timeout", "30s",
                      "--slow-post", CRASH_POSTS, "--post-duration", "300ms",
                      "--expect-status", 200)
    killed = 0
    for step in STEPS:
        old = daemon.current()
        # A request that is half sent keeps the old one from being gone at once.
        with begin_post() as busy:
            since = daemon.begin()
            if step == "drain":
                busy.close()
            daemon.wait_event(step, since=since)
            numbers = [each["generation"] for each in daemon.service()["generations"]]
            pid = victim_at(daemon, which, max(numbers) if new else old)
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
        end = daemon.wait_end(since)
        check(end["event"] in ("done", "failed", "rolled-back"), f"end: {end}")
        wait_until(lambda: not daemon.service()["rollout"], "no rollout is under way")
        # Whatever it has come to: one order, and all is well again.
        daemon.restart()
        check_equal(daemon.state(), "running", f"state after a kill at {step}")
        for body in bodies(20):
            by_generation(daemon.current())(body)
    wait_until(lambda: hammer.report()["ok"] > 1000, "enough load")
    result = hammer.stop()
    # After the drain the old one may have ended.
    check(killed >= len(STEPS) - 1, f"only {killed} were there to be killed")
    check_equal(result["lost"], result["losses"]["reset"] + result["losses"]["closed_early"],
                f"lost otherwise than with the server that had accepted: {result}")
    most = killed * (CRASH_CLIENTS + CRASH_POSTS) if which == "server" else 0
    check(result["lost"] <= most, f"lost: {result}")
    check_nothing_lost({**result, "lost": 0})


@timeout(600)
def test_old_server_killed_at_every_step(t):
    killed_at_every_step(t, "server", new=False)


@timeout(600)
def test_new_server_killed_at_every_step(t):
    killed_at_every_step(t, "server", new=True)


@timeout(600)
def test_old_agent_killed_at_every_step(t):
    killed_at_every_step(t, "agent", new=False)


@timeout(600)
def test_new_agent_killed_at_every_step(t):
    killed_at_every_step(t, "agent", new=True)
