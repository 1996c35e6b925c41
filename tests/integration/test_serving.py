# SPDX-License-Identifier: BSD-2-Clause
"""Who serves is said of what answers now: results, exit statuses, status, readiness."""

import os
import signal

from harness import check, check_equal, get, wait_until
from services import example, service

WELL, DEGRADED, DEAD = 0, 9, 10


def ready(daemon):
    """(HTTP status, {service: condition})"""
    status, answer = daemon.api("/readyz")
    check_equal(answer["ready"], status == 200, "ready")
    return status, {one["service"]: one["condition"] for one in answer["services"]}


def exits(daemon):
    """Exit statuses of status and list, which agree."""
    status, listed = daemon.cli("status", "web").status, daemon.cli("list").status
    check_equal(listed, status, "exit status of list")
    return status


def dead(t):
    """A service whose server was given up: nothing serves any more."""
    broken = t.tmp / "broken"
    daemon = t.daemon(service(["/bin/sh", "-c", f"test -e {broken} && exit 7; exec \"$@\"", "sh",
                               *example(t)], restart={"max": 2, "delay": "10ms"}))
    broken.touch()
    os.kill(daemon.server_pid(), signal.SIGKILL)
    daemon.wait_state("failed")
    return daemon


def test_service_that_serves_is_well(t):
    daemon = t.daemon(service(example(t)))
    check_equal(exits(daemon), WELL, "exit status")
    check_equal(ready(daemon), (200, {"web": "well"}), "readiness")
    check_equal(daemon.service()["serving"], {"generation": 1, "instances": 1, "wanted": 1},
                "serving")


def test_bad_release_leaves_the_old_one_serving_and_says_so(t):
    daemon = t.daemon(service(example(t)))
    result = daemon.upgrade(["/bin/false"], expect=3)
    check("generation 1 is still serving, untouched" in result.out, result.out)
    end = daemon.events("failed")[-1]
    check_equal(end["serving"], {"generation": 1, "instances": 1, "wanted": 1}, "serving")
    check_equal(exits(daemon), WELL, "exit status")


def test_bad_release_after_a_crash_loop_serves_nothing_and_says_so(t):
    daemon = dead(t)
    check_equal(exits(daemon), DEAD, "exit status")
    check_equal(ready(daemon), (503, {"web": "dead"}), "readiness")
    check_equal(daemon.service()["serving"], None, "serving")
    result = daemon.restart(expect=8)
    check("nothing serves" in result.out and "still serving" not in result.out, result.out)
    end = daemon.events("failed")[-1]
    check_equal((end["exit"], end["message"], end["serving"]), (8, "nothing serves", None), "end")
    refused = daemon.cli("upgrade", "web", "--", "/no/such/program", expect=8)
    check("/no/such/program" in refused.err, refused.err)


def test_bad_first_start_serves_nothing(t):
    daemon = t.daemon(service(["/bin/false"]), start=False)
    daemon.start_unready()
    wait_until(lambda: daemon.state() == "failed", "the start fails")
    end = daemon.events("failed")[-1]
    check_equal((end["exit"], end["message"]), (8, "nothing serves"), "end")
    check_equal(exits(daemon), DEAD, "exit status")


def test_some_of_several_serve_with_their_number(t):
    daemon = t.daemon(service(example(t), instances=2, restart={"max": 0}))
    os.kill(daemon.server_pid(instance=1), signal.SIGKILL)
    wait_until(lambda: daemon.service()["condition"] == "degraded", "one is missed")
    check_equal(daemon.service()["serving"], {"generation": 1, "instances": 1, "wanted": 2},
                "serving")
    check_equal(exits(daemon), DEGRADED, "exit status")
    check_equal(ready(daemon), (200, {"web": "degraded"}), "readiness")
    result = daemon.upgrade(["/bin/false"], expect=3)
    check("generation 1 serves with 1 of 2 instances" in result.out, result.out)


def test_stopped_service_is_not_missed(t):
    daemon = t.daemon(service(example(t)))
    daemon.cli("stop", "web", expect=0)
    check_equal(exits(daemon), WELL, "exit status")
    check_equal(ready(daemon), (200, {"web": "stopped"}), "readiness")
    daemon.cli("start", "web", expect=0)
    check_equal(get().status, 200, "answer")


def test_paused_service_is_not_dead(t):
    daemon = t.daemon(service(example(t)))
    daemon.cli("pause", "web", expect=0)
    check_equal(exits(daemon), WELL, "exit status")
    daemon.cli("resume", "web", expect=0)


def test_shutdown_in_a_rollout_does_not_say_that_anything_keeps_serving(t):
    daemon = t.daemon(service(example(t), rollout={"bake": "10m"}))
    daemon.begin()
    wait_until(lambda: (daemon.service()["rollout"] or {}).get("step") == "bake", "the bake")
    log = daemon.process.log
    daemon.stop()
    text = log.read_text()
    end = [line for line in text.splitlines() if "rolled-back:" in line]
    check(len(end) == 1 and "keeps serving" not in text, text)
    check("nothing serves" in end[0] or "is being stopped" in end[0], end[0])
