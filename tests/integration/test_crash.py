# SPDX-License-Identifier: BSD-2-Clause
"""A server that dies in steady state is started again on its own sockets."""

import os
import signal

from harness import bodies, check, check_equal, get, wait_until
from services import example, generation_of, service


def restarts(daemon):
    return daemon.generation()["instances"][0]["restarts"]


def test_crash_under_load_resets_only_what_was_accepted(t):
    daemon = t.daemon(service(example(t)))
    clients, idle, posts = 16, 4, 2
    hammer = t.hammer("--short", clients, "--keepalive", idle, "--slow-post", posts,
                      "--post-duration", "300ms", "--post-path", "/post", "--timeout", "30s",
                      "--expect-status", 200)
    crashes = 3
    for crash in range(1, crashes + 1):
        bodies(20)
        pid = daemon.server_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda n=crash: restarts(daemon) == n, "the restart is counted")
        wait_until(lambda old=pid: daemon.server_pid() not in (0, old), "another server runs")
        check_equal(get().status, 200, "answer")
    result = hammer.stop()
    for kind in ("refused", "timed_out", "stuck", "wrong_status", "wrong_body", "other"):
        check_equal(result["losses"][kind], 0, f"{kind}: {result}")
    check(result["lost"] <= crashes * (clients + idle + posts), f"lost: {result}")
    check_equal(daemon.current(), 1, "current generation")
    check_equal(len(daemon.events("exited")), crashes, "exited events")


def test_restart_works_after_a_crash(t):
    daemon = t.daemon(service(example(t)))
    os.kill(daemon.server_pid(), signal.SIGKILL)
    wait_until(lambda: restarts(daemon) == 1, "the restart is counted")
    daemon.restart()
    check_equal(generation_of(get().body), 2, "generation that answers")


def test_server_that_keeps_crashing_is_given_up_and_can_be_replaced(t):
    broken = t.tmp / "broken"
    daemon = t.daemon(service(["/bin/sh", "-c", f"test -e {broken} && exit 7; exec \"$@\"", "sh",
                               *example(t)]))
    broken.touch()
    os.kill(daemon.server_pid(), signal.SIGKILL)
    daemon.wait_state("failed")
    reason = daemon.service().get("reason", "")
    check("7" in reason, f"reason: {reason!r}")
    broken.unlink()
    daemon.restart()
    check_equal(daemon.state(), "running", "state")
    check_equal(get().status, 200, "answer")


def test_agent_killed_is_reported_and_the_service_can_be_replaced(t):
    daemon = t.daemon(service(example(t)))
    agent = daemon.generation()["instances"][0]["agent_pid"]
    os.kill(agent, signal.SIGKILL)
    daemon.wait_event("agent-lost")
    daemon.restart()
    check_equal(generation_of(get().body), 2, "generation that answers")
    wait_until(lambda: not daemon.pids(1), "nothing of the old generation is left")
