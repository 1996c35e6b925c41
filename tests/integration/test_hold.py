# SPDX-License-Identifier: BSD-2-Clause
"""Connections that nothing can take wait: for the next instance, for the end of a pause, or for their limit."""

import contextlib
import os
import pathlib
import signal
import threading
import time

from harness import (DEADLINE_S, alive, cgroup_pids, check, check_equal, connect, get,
                     read_response, refused, send_request, wait_until)
from services import example, generation_of, reconfigure, service
from swaps import check_unharmed

LATER = {"delay": "10m"}  # nothing is replaced but by order


def kill_all_of(daemon, generation):
    """SIGKILL to the agents and every process of a generation."""
    found = next(g for g in daemon.service()["generations"] if g["generation"] == generation)
    for instance in found["instances"]:
        os.kill(instance["agent_pid"], signal.SIGSTOP)
        for pid in daemon.pids(generation, instance=instance["instance"]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.kill(instance["agent_pid"], signal.SIGKILL)
    # The agents too: they have duplicates of the sockets.
    agents = [instance["agent_pid"] for instance in found["instances"]]
    wait_until(lambda: not cgroup_pids(daemon.cgroup(generation)) and
               not any(alive(pid) for pid in agents), "its processes are gone")


def held(daemon):
    return daemon.service()["endpoints"][0]["held"]


def ask_later(results):
    """A request in a thread: it waits as long as the connection does."""
    def ask():
        try:
            results.append(get().body)
        except OSError as error:
            results.append(error)
    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_connections_wait_for_the_next_generation_when_the_last_instance_dies(t):
    daemon = t.daemon(service(example(t), hold="10m", restart=LATER))
    kill_all_of(daemon, 1)
    results = []
    threads = [ask_later(results) for _ in range(20)]
    wait_until(lambda: held(daemon) == 20, "the connections wait")
    check_equal(results, [], "answers before anything can answer")
    daemon.restart()
    for thread in threads:
        thread.join(DEADLINE_S)
    check_equal([generation_of(body) for body in results], [2] * 20, "answers")
    check_equal(held(daemon), 0, "still waiting")
    check(daemon.events("released"), "no event tells that they were released")


def test_connections_wait_for_the_first_generation(t):
    daemon = t.daemon(service(example(t, "--ready-after", "1s"), hold="10m"), start=False)
    daemon.start_unready()
    wait_until(lambda: not refused(), "the endpoint is open")
    check_equal(generation_of(get().body), 1, "generation that answers")
    daemon.wait_state("running")


def test_connections_that_wait_too_long_are_reset(t):
    daemon = t.daemon(service(example(t), hold="700ms", restart={"max": 0}))
    kill_all_of(daemon, 1)
    began = time.monotonic()
    with connect() as sock:
        send_request(sock)
        try:
            answer = sock.recv(1)
        except ConnectionResetError:
            answer = None
        check_equal(answer, None, "answer")
    waited = time.monotonic() - began
    check(waited >= 0.65, f"reset after {waited} s")
    wait_until(lambda: daemon.service()["endpoints"][0]["expired"] >= 1, "it is counted")
    daemon.restart()
    check_equal(generation_of(get().body), 2, "generation that answers")


def test_without_hold_connections_are_refused_at_once(t):
    daemon = t.daemon(service(example(t), restart=LATER))
    kill_all_of(daemon, 1)
    check(refused(), "not refused")
    daemon.restart()
    check_equal(generation_of(get().body), 2, "generation that answers")


def test_pause_holds_new_connections_under_load_and_loses_none(t):
    daemon = t.daemon(service(example(t)))
    hammer = t.hammer("--short", 16, "--keepalive", 4, "--timeout", "30s", "--expect-status", 200)
    wait_until(lambda: hammer.report()["ok"] > 500, "load")
    for _ in range(3):
        said = daemon.cli("pause", "web", expect=0)
        check("30s" in said.out, f"how long they wait: {said}")
        wait_until(lambda: held(daemon) == 16, "every new connection waits")
        check(daemon.service()["paused"], "not paused")
        # Keep-alive connections go on: only new ones wait.
        before = hammer.report()["kinds"]["keepalive"]["ok"]
        wait_until(lambda n=before: hammer.report()["kinds"]["keepalive"]["ok"] > n + 20,
                   "open connections are served")
        daemon.cli("resume", "web", expect=0)
        wait_until(lambda: held(daemon) == 0, "nothing waits any more")
    check_unharmed(hammer, 500)


def test_pause_lasts_across_a_restart_of_the_service(t):
    daemon = t.daemon(service(example(t)))
    daemon.cli("pause", "web", expect=0)
    results = []
    thread = ask_later(results)
    wait_until(lambda: held(daemon) == 1, "the connection waits")
    daemon.restart()
    check_equal(results, [], "answers during the pause")
    daemon.cli("resume", "web", expect=0)
    thread.join(DEADLINE_S)
    check_equal([generation_of(body) for body in results], [2], "answers")


def test_pause_lasts_across_an_upgrade_and_a_reload(t):
    daemon = t.daemon(service(example(t)))
    daemon.cli("pause", "web", expect=0)
    results = []
    thread = ask_later(results)
    wait_until(lambda: held(daemon) == 1, "the connection waits")
    daemon.upgrade(example(t), "--force", expect=0)
    reconfigure(daemon, environment={"A": "b"})
    wait_until(lambda: daemon.current() == 3, "the changed release has come")
    check_equal((held(daemon), results), (1, []), "what waits, and answers during the pause")
    daemon.cli("resume", "web", expect=0)
    thread.join(DEADLINE_S)
    check_equal([generation_of(body) for body in results], [3], "answers")


def test_pause_below_the_ebpf_tier_is_refused(t):
    daemon = t.daemon(service(example(t), steering="cbpf"))
    said = daemon.cli("pause", "web", expect=1)
    check("ebpf" in said.text and "cbpf" in said.text, f"reason: {said}")
    check_equal(generation_of(get().body), 1, "generation that answers")


def check_reset(sock):
    try:
        read_response(sock)
        raise AssertionError("answered")
    except (ConnectionError, OSError):
        pass


def test_stop_refuses_what_waits(t):
    daemon = t.daemon(service(example(t), hold="10m", restart=LATER))
    kill_all_of(daemon, 1)
    with connect() as sock:
        send_request(sock)
        wait_until(lambda: held(daemon) == 1, "the connection waits")
        daemon.cli("stop", "web", expect=0)
        check_reset(sock)
    check(refused(), "a stopped service takes connections")


def paused_and_stopped(t):
    daemon = t.daemon(service(example(t), hold="10m"))
    daemon.cli("pause", "web", expect=0)
    daemon.cli("stop", "web", expect=0)
    check_equal((daemon.state(), daemon.service()["paused"]), ("stopped", True), "what it is")
    return daemon


def test_stop_of_a_paused_service_keeps_what_waits_for_the_next_start(t):
    daemon = paused_and_stopped(t)
    results = []
    threads = [ask_later(results) for _ in range(5)]
    wait_until(lambda: held(daemon) == 5, "the connections wait")
    daemon.cli("start", "web", expect=0)
    check_equal((held(daemon), results), (5, []), "what waits until it is resumed")
    daemon.cli("resume", "web", expect=0)
    for thread in threads:
        thread.join(DEADLINE_S)
    check_equal([generation_of(body) for body in results], [2] * 5, "answers")


def test_resume_of_a_stopped_service_refuses_what_waits(t):
    daemon = paused_and_stopped(t)
    with connect() as sock:
        send_request(sock)
        wait_until(lambda: held(daemon) == 1, "the connection waits")
        said = daemon.cli("resume", "web", expect=0)
        check("the service is stopped" in said.out, f"words: {said}")
        check_reset(sock)
    check(refused(), "a stopped service takes connections")
    daemon.cli("start", "web", expect=0)
    check_equal(generation_of(get().body), 2, "generation that answers")


def test_batond_ends_while_a_paused_service_is_stopped(t):
    daemon = paused_and_stopped(t)
    with connect() as sock:
        send_request(sock)
        wait_until(lambda: held(daemon) == 1, "the connection waits")
        daemon.stop()
        check_reset(sock)


def test_more_than_can_wait_are_told_and_counted_and_nobody_is_lost(t):
    daemon = t.daemon(service(example(t)), start=False)
    pathlib.Path("/proc/sys/net/core/somaxconn").write_text("4")
    daemon.start()
    daemon.cli("pause", "web", expect=0)
    hammer = t.hammer("--short", 12, "--timeout", "30s", "--expect-status", 200)
    wait_until(lambda: daemon.events("queue"), "it is told")
    check("no more can" in daemon.events("queue")[0]["message"], f"{daemon.events('queue')}")
    wait_until(lambda: daemon.service()["endpoints"][0]["held_dropped"] > 0, "it is counted")
    daemon.cli("resume", "web", expect=0)
    check_unharmed(hammer, 100)
