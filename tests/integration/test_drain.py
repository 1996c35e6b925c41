# SPDX-License-Identifier: BSD-2-Clause
"""How old generations end: several at once, by their deadlines, by force; who is waited for."""

import contextlib
import os
import signal
import socket

from harness import (DEADLINE_S, alive, begin_post, check, check_equal, connect, get,
                     read_response, refused, send_request, wait_until)
from services import example, generation_of, keeper, service, soon, soon_ms
from test_overlap import finish, numbers

LOAD = ("--short", 4, "--timeout", "30s", "--expect-status", 200)


# ---- clients -------------------------------------------------------------------------------------

def idle_client():
    """A connection that has had an answer, and is kept."""
    sock = connect()
    send_request(sock)
    check_equal(read_response(sock).status, 200, "answer")
    return sock


def upgraded_client():
    """A connection that is no HTTP any more, and on which nothing is said."""
    sock = connect()
    send_request(sock, headers=["Connection: upgrade", "Upgrade: echo"])
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = sock.recv(4096)
        check(chunk, f"ended after {data!r}")
        data += chunk
    check(data.startswith(b"HTTP/1.1 101 "), f"answer: {data!r}")
    return sock


def echo(sock):
    sock.sendall(b"ping")
    check_equal(sock.recv(16), b"ping", "echo")


def check_reset(sock):
    sock.settimeout(DEADLINE_S)
    try:
        data = sock.recv(16)
    except ConnectionResetError:
        return
    raise AssertionError(f"the connection was to be reset, but {data!r} has come")


def check_ended(sock):
    sock.settimeout(DEADLINE_S)
    with contextlib.suppress(ConnectionResetError):
        check_equal(sock.recv(16), b"", "the connection was to be ended")


def wait_live(daemon, number, state="current"):
    """Wait until so many connections are counted."""
    def counted():
        found = daemon.generation(state)
        return found and found["connections"]["live"] == number
    wait_until(counted, f"{number} connections of the generation that is {state}")


def generation(daemon, number):
    return next((each for each in daemon.service()["generations"]
                 if each["generation"] == number), None)


def wait_kinds(daemon, number, **expected):
    def told():
        found = generation(daemon, number)
        return found and found.get("kinds") == {"busy": 0, "active": 0, "idle": 0, **expected}
    wait_until(told, f"the connections of generation {number} are {expected}")


def reload(daemon, **drain):
    daemon.config["services"]["web"]["drain"].update(drain)
    daemon.write_config()
    daemon.cli("reload", expect=0)


# ---- several at once -----------------------------------------------------------------------------

def replaced_while_busy(daemon):
    """A slow POST to the current generation, which then leaves and drains: the socket."""
    sock = begin_post()
    number = daemon.current()
    since = daemon.begin()
    daemon.wait_event("leave", since=since)
    check_equal(numbers(daemon)[number], "draining", f"state of generation {number}")
    return sock


def test_old_generations_drain_at_once_up_to_generations_max(t):
    daemon = t.daemon(service(example(t), drain={"generations_max": 3, "timeout": "60s"}))
    hammer = t.hammer(*LOAD)
    with replaced_while_busy(daemon) as first, replaced_while_busy(daemon) as second:
        states = {1: "draining", 2: "draining", 3: "current"}
        check_equal(numbers(daemon), states, "states")
        for order in ("restart", "restart --supersede", "upgrade --force"):
            order, *options = order.split()
            result = daemon.cli(order, "web", *options, expect=6)
            check("drain.generations_max" in result.text and "3" in result.text, f"said: {result}")
        check_equal(numbers(daemon), states, "states")
        finish(first)
        wait_until(lambda: 1 not in numbers(daemon), "generation 1 to go")
        daemon.restart()
        finish(second)
        wait_until(lambda: numbers(daemon) == {4: "current"}, "generation 2 to go")
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_generations_max_of_a_reload_counts_at_once(t):
    daemon = t.daemon(service(example(t), drain={"generations_max": 2, "timeout": "60s"}))
    with replaced_while_busy(daemon) as first:
        check("is 2" in daemon.restart(expect=6).text, "the limit is not named")
        reload(daemon, generations_max=3)
        with replaced_while_busy(daemon) as second:
            daemon.restart(expect=6)
            finish(second)
        finish(first)
    wait_until(lambda: numbers(daemon) == {3: "current"}, "the old ones to go")


def test_stop_is_no_further_generation(t):
    daemon = t.daemon(service(example(t), drain={"generations_max": 2, "timeout": "60s"}))
    with replaced_while_busy(daemon) as slow:
        since = daemon.begin("stop")
        wait_until(refused, "new connections are refused")
        finish(slow)
        check_equal(daemon.wait_end(since)["event"], "done", "end")
    wait_until(lambda: daemon.state() == "stopped", "it is stopped")


def test_each_generation_has_its_own_deadline_and_its_own_count(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "60s", "kill_timeout": "300ms"}))
    hammer = t.hammer(*LOAD)
    with replaced_while_busy(daemon) as patient:
        left = generation(daemon, 1)["drain_ms_left"]
        check(0 < left <= 60000, f"time left: {left}")
        reload(daemon, timeout=soon(0.7))
        with begin_post() as second, begin_post() as third:
            result = daemon.restart(expect=5)
            for expected in ("2 of ", "left at the deadline", "2 connections were cut"):
                check(expected in result.text, f"{expected!r} is not in {result}")
            check_ended(second)
            check_ended(third)
        last = daemon.service()["last_rollout"]
        check_equal((last["exit"], last["cut"], last["replaces"]), (5, 2, 2), "last rollout")
        check_equal(numbers(daemon), {1: "draining", 3: "current"}, "states")
        check(generation(daemon, 1)["drain_ms_left"] > 5000, "the first one's deadline has changed")
        finish(patient)
        wait_until(lambda: numbers(daemon) == {3: "current"}, "generation 1 to go")
    done = {each["replaces"]: each for each in daemon.events("done")}
    check_equal((done[1]["cut"], done[1]["exit"]), (0, 0), "end of the first")
    check_equal(hammer.stop()["lost"], 0, "lost")


# ---- force ---------------------------------------------------------------------------------------

def test_force_resets_at_the_deadline_even_where_the_server_hangs_on(t):
    daemon = t.daemon(service(example(t, "--ignore-term"), drain={
        "timeout": soon(0.5), "kill_timeout": "10m", "leave_timeout": "300ms", "force": True}))
    hammer = t.hammer(*LOAD)
    old = daemon.server_pid()
    with begin_post() as first, begin_post() as second, idle_client() as third:
        since = daemon.begin()
        for sock in (first, second, third):
            check_reset(sock)
        check(alive(old), "the server has ended: it is not force that has reset them")
        os.kill(old, signal.SIGKILL)
        end = daemon.wait_end(since)
    check_equal((end["event"], end["exit"], end["cut"]), ("done", 5, 3), "end")
    wait_until(lambda: not alive(old), "the server is gone")
    check_equal(len(daemon.service()["generations"]), 1, "generations left")
    check_equal(generation_of(get().body), 2, "generation that answers")
    check_equal(hammer.stop()["lost"], 0, "lost")
    reload(daemon, kill_timeout="300ms")


def test_force_of_a_reload_counts_for_what_runs_already(t):
    daemon = t.daemon(service(example(t, "--ignore-term"), drain={
        "timeout": "500ms", "kill_timeout": "10m", "leave_timeout": "300ms"}))
    reload(daemon, force=True)
    check_equal(daemon.current(), 1, "generation")
    old = daemon.server_pid()
    with begin_post() as slow:
        since = daemon.begin()
        check_reset(slow)
        check(alive(old), "the server has ended: it is not force that has reset it")
        os.kill(old, signal.SIGKILL)
    check_equal(daemon.wait_end(since)["exit"], 5, "exit")
    reload(daemon, kill_timeout="300ms")


def test_without_force_what_is_left_ends_with_the_server(t):
    daemon = t.daemon(service(example(t, "--ignore-term"), drain={
        "timeout": "300ms", "kill_timeout": "700ms", "leave_timeout": "300ms"}))
    old = daemon.server_pid()
    with begin_post() as slow:
        since = daemon.begin()
        check_ended(slow)
        wait_until(lambda: not alive(old), "the server is gone")
    end = daemon.wait_end(since)
    check_equal((end["exit"], end["cut"]), (5, 1), "end")


def test_force_leaves_the_new_generation_s_connections_alone(t):
    daemon = t.daemon(service(keeper(t), drain={"timeout": "500ms", "force": True}))
    with idle_client() as old:
        since = daemon.begin()
        daemon.wait_event("shift", since=since)
        with idle_client() as new, upgraded_client() as other:
            check_reset(old)
            check_equal(daemon.wait_end(since)["cut"], 1, "cut")
            send_request(new)
            check_equal(read_response(new).body, "generation 2\n", "answer of the new one")
            echo(other)


# ---- who is busy ---------------------------------------------------------------------------------

def test_status_tells_busy_and_idle_connections_apart_while_it_drains(t):
    daemon = t.daemon(service(keeper(t), drain={"timeout": "60s"}))
    check("kinds" not in daemon.generation(), "kinds of one that does not drain")
    hammer = t.hammer(*LOAD)
    with begin_post() as slow, idle_client() as idle, upgraded_client() as upgraded:
        wait_until(lambda: daemon.generation()["connections"]["live"] >= 3, "they are counted")
        since = daemon.begin()
        daemon.wait_event("leave", since=since)
        wait_kinds(daemon, 1, busy=1, idle=2)
        found = generation(daemon, 1)
        check(0 < found["drain_ms_left"] <= 60000, f"time left: {found}")
        text = daemon.cli("status", "web", expect=0).text
        check("busy" in text and "idle" in text, f"not in the status: {text}")
        finish(slow)
        wait_kinds(daemon, 1, idle=2)
        echo(upgraded)
        send_request(idle)
        check_equal(read_response(idle).body, "generation 1\n", "answer of the old one")
        upgraded.shutdown(socket.SHUT_RDWR)
    check_equal(daemon.wait_end(since)["exit"], 0, "exit")
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_idle_timeout_does_not_wait_for_idle_ones_but_for_those_that_move(t):
    limit_ms = soon_ms(1.5)
    daemon = t.daemon(service(keeper(t), drain={"timeout": "60s", "idle_timeout": f"{limit_ms}ms",
                                                 "kill_timeout": "300ms"}))
    hammer = t.hammer(*LOAD)
    old = daemon.server_pid()
    with begin_post(size=100000) as slow, idle_client() as idle, upgraded_client() as upgraded:
        sent = 5
        since = daemon.begin()
        daemon.wait_event("leave", since=since)

        def long_idle():
            """Keep the POST moving, until the others have been idle for much too long."""
            nonlocal sent
            slow.sendall(b"x" * 10)
            sent += 10
            found = daemon.api("/v1/services/web/connections")[1]["connections"]
            idles = [each["idle_ms"] for each in found if each["generation"] == 1]
            return sum(idle_ms > 2 * limit_ms for idle_ms in idles) == 2
        wait_until(long_idle, "two are idle")
        check_equal(daemon.events("drain", since=since), [], "the drain is over")
        slow.sendall(b"x" * (100000 - sent))
        check_equal(read_response(slow).status, 200, "answer to the slow POST")
        end = daemon.wait_end(since)
        check_ended(idle)
        check_ended(upgraded)
    check_equal((end["event"], end["exit"], end["cut"]), ("done", 0, 0), "end")
    check("2 idle ones were not waited for" in daemon.events("drain", since=since)[0]["message"],
          "the idle ones are not told about")
    check(not alive(old), "the server is still there")
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_without_idle_timeout_idle_ones_are_waited_for_and_cut(t):
    daemon = t.daemon(service(keeper(t), drain={"timeout": "700ms", "kill_timeout": "300ms"}))
    with idle_client() as idle, upgraded_client() as upgraded:
        result = daemon.restart(expect=5)
        check_ended(idle)
        check_ended(upgraded)
    check_equal(daemon.service()["last_rollout"]["cut"], 2, f"cut: {result}")


# ---- replaced, or stopped ------------------------------------------------------------------------

def test_replacing_has_drain_timeout_and_stopping_shutdown_timeout(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "400ms", "shutdown_timeout": "60s",
                                                 "kill_timeout": "300ms"}))
    with begin_post() as slow:
        daemon.restart(expect=5)
        check_ended(slow)
    with begin_post() as slow:
        since = daemon.begin("stop")
        daemon.wait_event("leave", since=since)
        wait_until(lambda: generation(daemon, 2)["drain_ms_left"] > 400, "the other deadline")
        finish(slow)
        end = daemon.wait_end(since)
    check_equal((end["event"], end["exit"], end["cut"]), ("done", 0, 0), "end of the stop")


def test_stop_cuts_at_shutdown_timeout_and_exits_5(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "60s", "shutdown_timeout": "400ms",
                                                 "kill_timeout": "300ms"}))
    with begin_post() as slow:
        wait_live(daemon, 1)
        result = daemon.cli("stop", "web", expect=5)
        check_ended(slow)
    check("1 of 1 connection left at the deadline" in result.text, f"said: {result}")
    check_equal(daemon.state(), "stopped", "state")


def test_term_to_batond_cuts_at_shutdown_timeout(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "60s", "shutdown_timeout": "400ms",
                                                 "kill_timeout": "300ms"}))
    with begin_post() as slow:
        wait_live(daemon, 1)
        daemon.process.popen.send_signal(signal.SIGTERM)
        check_ended(slow)
    check_equal(daemon.process.wait(), 0, "exit status of batond")
    check("1 of 1 connection left at the deadline" in daemon.process.text(), "not in the log")
    daemon.check_clean()


def test_term_to_batond_waits_as_long_as_shutdown_timeout_says(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "300ms", "shutdown_timeout": "60s"}))
    with begin_post() as slow:
        wait_live(daemon, 1)
        daemon.process.popen.send_signal(signal.SIGTERM)
        wait_until(lambda: (generation(daemon, 1) or {}).get("drain_ms_left", 0) > 300,
                   "the longer deadline")
        finish(slow)
    check_equal(daemon.process.wait(), 0, "exit status of batond")
    daemon.check_clean()


def test_term_to_batond_ends_what_drains_already_within_shutdown_timeout(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "10m", "shutdown_timeout": "400ms",
                                                 "kill_timeout": "300ms"}))
    with replaced_while_busy(daemon) as slow:
        daemon.process.popen.send_signal(signal.SIGTERM)
        check_ended(slow)
    check_equal(daemon.process.wait(), 0, "exit status of batond")
    daemon.check_clean()


def test_term_to_batond_while_a_generation_bakes_keeps_to_shutdown_timeout(t):
    daemon = t.daemon(service(example(t), rollout={"bake": "10m"}, drain={
        "timeout": "10m", "shutdown_timeout": "400ms", "kill_timeout": "300ms"}))
    with begin_post() as first:
        wait_live(daemon, 1)
        since = daemon.begin()
        daemon.wait_event("settle", since=since)
        with begin_post() as second:
            daemon.process.popen.send_signal(signal.SIGTERM)
            check_ended(second)
        check_ended(first)
    check_equal(daemon.process.wait(), 0, "exit status of batond")
    daemon.check_clean()


def test_stop_ends_what_drains_already_within_shutdown_timeout(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "10m", "shutdown_timeout": "400ms",
                                                 "kill_timeout": "300ms"}))
    with replaced_while_busy(daemon) as slow:
        daemon.cli("stop", "web", expect=0)
        check_ended(slow)
    wait_until(lambda: numbers(daemon) == {}, "the old one to go")
