# SPDX-License-Identifier: BSD-2-Clause
"""The whole new generation dies while it bakes: the old one takes over inside the kernel."""

import contextlib
import os
import signal

from harness import bodies, check, check_equal, wait_until
from services import example, generation_of, service


def kill_generation(daemon, generation):
    """Every agent and every server of it at once, without batond's help."""
    for instance in generation["instances"]:
        os.kill(instance["agent_pid"], signal.SIGSTOP)
    for instance in generation["instances"]:
        (daemon.cgroup(generation["generation"], instance=instance["instance"]) /
         "cgroup.kill").write_text("1")
    for instance in generation["instances"]:
        os.kill(instance["agent_pid"], signal.SIGKILL)


def dies_in_the_bake(t, instances):
    daemon = t.daemon(service(example(t), instances=instances, rollout={"bake": "10m"}))
    clients = 16
    hammer = t.hammer("--short", clients, "--timeout", "30s", "--expect-status", 200)
    wait_until(lambda: hammer.report()["ok"] > 500, "load")
    since = daemon.begin()
    daemon.wait_event("settle", since=since)
    new = daemon.generation("current")
    check_equal(new["generation"], 2, "the generation that bakes")
    # Stopped, the daemon can do nothing: what serves now the kernel has found by itself.
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        kill_generation(daemon, new)
        hammer.phase("dead")
        for body in bodies(200):
            check_equal(generation_of(body), 1, "generation that answers")
        result = hammer.report()
        check_equal(result["losses"]["refused"], 0, f"refused: {result}")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)

    end = daemon.wait_end(since)
    check_equal((end["event"], end["exit"]), ("rolled-back", 4), f"end: {end}")
    wait_until(lambda: daemon.service()["failover"]["count"] >= 1, "the failover is told")
    failover = daemon.service()["failover"]
    check(failover["carried"] >= 200, f"carried: {failover}")
    check("generation 1" in daemon.wait_event("failover")["message"], "event")
    status = daemon.cli("status", "web", expect=0).out
    check("failover" in status, f"status: {status}")

    result = hammer.stop()
    for kind in ("refused", "timed_out", "stuck", "wrong_status", "wrong_body", "other"):
        check_equal(result["losses"][kind], 0, f"{kind}: {result}")
    # Only what the dead had accepted: at most one request of each client.
    check(result["lost"] <= clients, f"lost: {result}")
    check_equal(generation_of(bodies(1)[0]), 1, "generation that answers")


def test_new_generation_killed_in_the_bake_is_carried_by_the_old_one(t):
    dies_in_the_bake(t, 1)


def test_four_instances_killed_in_the_bake_are_carried_by_the_old_ones(t):
    dies_in_the_bake(t, 4)


def test_one_of_two_instances_killed_is_carried_by_the_other(t):
    daemon = t.daemon(service(example(t), instances=2))
    first = daemon.generation()["instances"][0]
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        os.kill(first["agent_pid"], signal.SIGKILL)
        (daemon.cgroup(1, instance=0) / "cgroup.kill").write_text("1")
        for body in bodies(100):
            check_equal(generation_of(body), 1, "generation that answers")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, signal.SIGCONT)
    wait_until(lambda: daemon.service()["failover"]["carried"] > 10, "the failover is told")
