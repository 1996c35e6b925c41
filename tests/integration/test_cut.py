# SPDX-License-Identifier: BSD-2-Clause
"""Servers that cut what they have: baton says so, says how many, and does not exit with 0."""

import contextlib
import pathlib

from harness import check, check_equal, connect, read_response, send_request, wait_until
from services import service

HASTY = str(pathlib.Path(__file__).with_name("hasty.py"))
WHY = "it does not drain on SIGTERM (drain.signal?)"


def hasty(t, way, seconds=0, **changes):
    changes.setdefault("mode", "inherit")
    return t.daemon(service(["/usr/bin/python3", "-B", HASTY, way, str(seconds)],
                            health={"http": "/"}, **changes))


@contextlib.contextmanager
def clients(daemon, waiting, idle=0):
    """So many that wait for an answer, and so many that have had one."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect()) for _ in range(waiting + idle)]
        for sock in socks[:waiting]:
            send_request(sock, "/wait")
        for sock in socks[waiting:]:
            send_request(sock)
            check_equal(read_response(sock).status, 200, "answer")
        wait_until(lambda: daemon.generation()["connections"]["live"] == waiting + idle,
                   "they are counted")
        yield socks[:waiting]


def lost(socks):
    """Those whose answer has not come."""
    number = 0
    for sock in socks:
        try:
            number += sock.recv(4096) == b""
        except ConnectionResetError:
            number += 1
    return number


def cut(t, way, number, why, seconds=0, expect=5, idle=0, **changes):
    """Replace it while @number requests are under way: all of them are lost, and that is said."""
    daemon = hasty(t, way, seconds, **changes)
    with clients(daemon, number, idle) as socks:
        since = daemon.last_seq()
        result = daemon.cli("restart", "web", expect=expect)
        check_equal(lost(socks), number, "lost")
    end = daemon.events("done", since=since)[0]
    said = f"{number + (idle if 'does not drain' in why else 0)} connections were cut by the server"
    for text in (result.text, end["message"], end["lost"], daemon.service()["last_rollout"]["lost"],
                 daemon.cli("status", "web").text):
        check(said in text and why in text, f"{said!r} and {why!r} are not in {text!r}")
    check_equal(end["exit"], expect, "exit status in the event")
    check_equal(end["cut_by_server"], int(said.split()[0]), "cut_by_server")
    return daemon, daemon.events("drain", since=since)[0]


def test_cut_by_a_server_that_dies_of_its_signal(t):
    _daemon, drain = cut(t, "die", 5, WHY, idle=2)
    check_equal(drain["message"], "7 connections ended: 7 cut by the server", "drain")
    check_equal(drain["connections"], {"ended": 7, "by_client": 0, "by_server": 0, "reset": 0,
                                       "cut_by_server": 7, "left": 0, "idle": 0}, "connections")


def test_cut_by_a_server_that_exits_like_one_that_died(t):
    cut(t, "exit-143", 3, WHY, idle=1)


def test_cut_by_a_server_that_fails_while_it_drains(t):
    cut(t, "exit-3", 2, "it exited with status 3 while it drained", seconds=0.3)


def test_cut_by_a_server_that_crashes_while_it_drains(t):
    cut(t, "crash", 2, "it was killed by SIGSEGV while it drained", seconds=0.3)


def test_cut_by_a_server_that_exits_well(t):
    """Those that wait for an answer are cut; an idle one is not."""
    _daemon, drain = cut(t, "exit", 3, "which had not answered in full", idle=2)
    check_equal(drain["message"],
                "5 connections ended: 2 closed by the server, 3 cut by the server", "drain")


def test_cut_by_a_server_that_closes_what_it_has(t):
    cut(t, "close", 3, "which had not answered in full", idle=1)


def test_cut_by_a_server_that_resets_what_it_has(t):
    cut(t, "reset", 3, "which had not answered in full")


def test_cut_on_the_lower_tiers_by_a_server_that_dies(t):
    for tier in ("cbpf", "hash"):
        daemon, _drain = cut(t, "die", 5, WHY, steering=tier)
        daemon.end()


def test_cut_that_is_expected_is_told_and_no_failure(t):
    cut(t, "die", 4, WHY, expect=0, drain={"expect_cut": True})


def test_cut_by_a_stop_is_told(t):
    daemon = hasty(t, "die")
    with clients(daemon, 2) as socks:
        result = daemon.cli("stop", "web", expect=5)
        check_equal(lost(socks), 2, "lost")
    check(f"2 connections were cut by the server: {WHY}" in result.text, f"said: {result}")


def test_cut_in_a_rollback_is_told(t):
    """The new generation has had clients when it is thrown out."""
    daemon = hasty(t, "die", rollout={"bake": "60s"})
    since = daemon.begin()
    daemon.wait_event("settle", since=since)
    with clients(daemon, 2) as socks:
        daemon.cli("abort", "web", expect=0)
        end = daemon.wait_end(since)
        check_equal(lost(socks), 2, "lost")
    check_equal((end["event"], end["exit"], end["cut_by_server"]), ("rolled-back", 4, 2), "end")
    check(WHY in end["message"] and "generation 1" in end["message"], f"message: {end}")


def test_nothing_is_cut_by_a_server_that_drains(t):
    daemon = hasty(t, "answer")
    with clients(daemon, 4, idle=2) as socks:
        since = daemon.last_seq()
        result = daemon.restart()
        for sock in socks:
            check_equal(read_response(sock).status, 200, "answer")
    check("cut" not in result.text, f"said: {result}")
    drain = daemon.events("drain", since=since)[0]
    check_equal(drain["message"], "6 connections ended: 6 closed by the server", "drain")


def test_clients_that_finish_are_told(t):
    daemon = hasty(t, "answer", 60, drain={"timeout": "60s", "kill_timeout": "300ms"})
    with clients(daemon, 0, idle=3):
        since = daemon.begin()
        daemon.wait_event("leave", since=since)
    check_equal(daemon.wait_event("drain", since=since)["message"],
                "3 connections ended: 3 finished by clients", "drain")
    check_equal(daemon.wait_end(since)["exit"], 0, "exit status")
