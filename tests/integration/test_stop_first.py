# SPDX-License-Identifier: BSD-2-Clause
"""Servers that cannot run twice: what is old ends before anything new starts, and clients wait."""

import json
import os
import pathlib
import signal

from harness import (alive, check, check_equal, connect, get, read_response, refused, send_request,
                     wait_until)
from rollouts import kill_daemon
from services import generation_of, service, soon
from swaps import check_unharmed

HERE = pathlib.Path(__file__).parent
LOAD = ("--path", "/", "--short", 8, "--rate", 200, "--sources", 8, "--timeout", "30s",
        "--expect-status", 200)


def exclusive(t, kind="flock", *options, path=None, **changes):
    command = ["/usr/bin/python3", HERE / "exclusive.py", kind, path or t.tmp / "lock",
               "{generation}", *options]
    changes["rollout"] = {"strategy": "stop-first", **changes.get("rollout", {})}
    changes["health"] = {"http": "/", **changes.get("health", {})}
    return service(command, mode="inherit", **changes)


def ends(daemon):
    return [event for event in daemon.events() if event["event"] in ("done", "failed")]


def check_waited(event):
    held = event.get("held")
    check(held and held["released"] > 0 and held["refused"] == 0 and held["longest_ms"] > 0,
          f"what has waited: {event}")
    check("waited" in event["message"], f"words: {event}")


def check_swaps(t, kind, restarts):
    daemon = t.daemon(exclusive(t, kind))
    hammer = t.hammer(*LOAD)
    wait_until(lambda: hammer.report()["ok"] >= 20, "the load has begun")
    for _ in range(restarts):
        daemon.restart()
    failed = daemon.upgrade(["/bin/false"], expect=3)
    check(f"generation {restarts + 1} was started again" in failed.text, f"words: {failed}")
    check_unharmed(hammer)
    for event in ends(daemon)[1:]:
        check_waited(event)
    check_equal(generation_of(get("/").body), restarts + 1, "generation that answers")


def test_flock_is_swapped_ten_times_and_nothing_is_lost(t):
    check_swaps(t, "flock", 10)


def test_sqlite_exclusive_is_swapped_and_nothing_is_lost(t):
    check_swaps(t, "sqlite", 3)


def test_pidfile_is_swapped_and_nothing_is_lost(t):
    check_swaps(t, "pidfile", 3)


def test_process_that_outlives_its_server_is_waited_for(t):
    daemon = t.daemon(exclusive(t, "flock", "child", drain={"kill_timeout": "200ms"}))
    before = daemon.pids(1)
    check_equal(len(before), 2, "processes")
    daemon.restart()
    check(not any(alive(pid) for pid in before), "a process of generation 1 is left")
    check_equal(generation_of(get("/").body), 2, "generation that answers")


def test_instances_are_swapped_all_at_once(t):
    daemon = t.daemon(exclusive(t, path=f"{t.tmp}/lock-{{instance}}", instances=2))
    daemon.restart()
    check_equal(daemon.service()["serving"], {"generation": 2, "instances": 2, "wanted": 2},
                "who serves")
    daemon.cli("scale", "web", "3", expect=0)
    check_equal(daemon.service()["serving"]["instances"], 3, "instances")


def test_unhealthy_one_is_stopped_before_another_one_takes_its_place(t):
    daemon = t.daemon(exclusive(t, health={"timeout": soon(0.3)}, drain={"kill_timeout": "200ms"}))
    pid = daemon.server_pid()
    os.kill(pid, signal.SIGSTOP)
    daemon.wait_event("replacing")
    wait_until(lambda: daemon.state() == "running" and daemon.server_pid() != pid and
               daemon.service()["condition"] == "well", "another one serves")
    check_equal(generation_of(get("/").body), 1, "generation that answers")
    check(not [event for event in ends(daemon) if event["event"] == "failed"],
          f"it has failed: {ends(daemon)}")


def test_crash_starts_none_beside_what_is_left_of_it(t):
    daemon = t.daemon(exclusive(t, "flock", "child"))
    before = daemon.pids(1)
    os.kill(daemon.server_pid(), signal.SIGKILL)
    daemon.wait_event("restarted")
    check(not any(alive(pid) for pid in before), "a process of the one that crashed is left")
    daemon.wait_event("healthy", since=daemon.events("restarted")[-1]["seq"])
    check_equal(len(daemon.events("exited")), 1, "ends")


def idle_client(t, daemon):
    """A connection on which nothing is said: the old generation drains until it is closed."""
    sock = connect()
    wait_until(lambda: daemon.generation()["connections"]["live"] > 0, "it is accepted")
    return sock


def test_abort_while_the_old_ones_drain_starts_them_again(t):
    daemon = t.daemon(exclusive(t, drain={"delay": "0s"}))
    with idle_client(t, daemon):
        since = daemon.last_seq()
        daemon.begin()
        daemon.wait_event("leave", since=since)
        daemon.cli("abort", "web", "--no-wait", expect=0)
    end = daemon.wait_end(since)
    check_equal((end["event"], end["exit"]), ("failed", 3), f"{end}")
    check_equal(generation_of(get("/").body), 1, "generation that answers")


def test_another_order_takes_its_place_when_all_is_gone(t):
    daemon = t.daemon(exclusive(t, drain={"delay": "0s"}))
    with idle_client(t, daemon):
        since = daemon.last_seq()
        daemon.begin()
        daemon.wait_event("leave", since=since)
        daemon.cli("restart", "web", "--supersede", "--no-wait", expect=0)
    wait_until(lambda: len(ends(daemon)) > 2, "both have ended")
    check_equal([event["event"] for event in ends(daemon)], ["done", "failed", "done"], "ends")
    check_equal(generation_of(get("/").body), daemon.current(), "generation that answers")
    check(not daemon.events("exited", since=since), "one was started beside another")


def check_killed_at(t, step, *options):
    """batond is killed after @step: the next one ends what is left, and only then starts one."""
    daemon = t.daemon(exclusive(t, "flock", *options, drain={"delay": "0s"}))
    client = idle_client(t, daemon)
    since = daemon.last_seq()
    daemon.begin()
    daemon.wait_event("leave", since=since)
    sick = t.tmp / "lock.sick"
    if step == "start":
        sick.touch()  # so that it does not end before batond is killed
        client.close()
        daemon.wait_event("start", since=since)
    with connect() as waiting:
        send_request(waiting)
        kill_daemon(daemon)
        client.close()
        sick.unlink(missing_ok=True)
        daemon.start()
        daemon.wait_state("running")
        waiting.settimeout(60)
        check(generation_of(read_response(waiting).body) > 1, "who answers what has waited")
    end = daemon.wait_event("failed", since=since)
    check_equal((end["rollout"], end["exit"]), (2, 3), f"{end}")
    check("batond ended in the middle of step" in end["reason"], f"{end}")
    check(generation_of(get("/").body) > 1, "generation that answers")
    check(not daemon.events("exited", since=since), "one was started beside another")
    return daemon


def test_batond_is_killed_while_the_old_ones_drain(t):
    check_killed_at(t, "leave")


def test_batond_is_killed_while_the_new_ones_start(t):
    check_killed_at(t, "start")


def test_connection_that_waits_longer_than_hold_is_refused_and_counted(t):
    daemon = t.daemon(exclusive(t, hold="300ms", drain={"delay": "0s"}))
    with idle_client(t, daemon) as client:
        since = daemon.last_seq()
        daemon.begin()
        daemon.wait_event("shift", since=since)
        with connect() as waiting:
            send_request(waiting)
            wait_until(lambda: daemon.service()["endpoints"][0]["expired"] == 1, "it is reset")
        client.close()
        end = daemon.wait_end(since)
    check_equal((end["event"], end["exit"], end["held"]["refused"]), ("done", 5, 1), f"{end}")
    check("refused after waiting for" in end["lost"], f"{end}")


def test_status_says_how_many_wait(t):
    daemon = t.daemon(exclusive(t, drain={"delay": "0s"}))
    with idle_client(t, daemon) as client:
        since = daemon.last_seq()
        daemon.begin()
        daemon.wait_event("shift", since=since)
        with connect() as waiting:
            send_request(waiting)
            wait_until(lambda: daemon.service().get("holding", {}).get("connections") == 1,
                       "it waits")
            check("holding 1 connection, for " in daemon.cli("status", "web").out, "status")
            client.close()
            waiting.settimeout(60)
            check_equal(generation_of(read_response(waiting).body), 2, "who answers it")
        daemon.wait_end(since)


def test_without_hold_it_is_refused_before_anything_is_touched(t):
    daemon = t.daemon(exclusive(t))
    daemon.config["services"]["web"]["steering"] = "cbpf"
    checked = daemon.cli("check", t.file("cbpf.json", json.dumps(daemon.config)), expect=1)
    check("needs the ebpf tier" in checked.text and "rollout.strategy" in checked.text,
          f"words: {checked}")


def check_gap(t, tier):
    daemon = t.daemon(exclusive(t, steering=tier, rollout={"gap": True}))
    for number in (2, 3):
        since = daemon.last_seq()
        daemon.restart()
        end = daemon.wait_end(since)
        check_equal(end["exit"], 0, f"{end}")
        check("nothing listened" in end["lost"], f"what it loses: {end}")
        check_equal(generation_of(get("/").body), number, "generation that answers")
    daemon.upgrade(["/bin/false"], expect=3)
    check_equal(generation_of(get("/").body), 3, "generation that answers")


def test_gap_on_tier_cbpf_says_what_it_loses(t):
    check_gap(t, "cbpf")


def test_gap_on_tier_hash_says_what_it_loses(t):
    check_gap(t, "hash")


def test_example_runs_as_it_stands(t):
    """examples/stop-first, but for the folder that it is copied to."""
    example = HERE.parent.parent / "examples" / "stop-first"
    t.file("server.py", (example / "server.py").read_text())
    config = json.loads((example / "baton.json").read_text().replace("/srv/counter", str(t.tmp)))
    daemon = t.daemon(**config["services"])
    hammer = t.hammer(*LOAD)
    for _ in range(2):
        daemon.restart(service="counter")
    counts = check_unharmed(hammer)
    visits = int(get("/").body.split()[1])
    check(visits > counts["ok"], f"{visits} visits, and {counts['ok']} answers")
    check(not refused(), "it refuses")
