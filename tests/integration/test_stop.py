# SPDX-License-Identifier: BSD-2-Clause
"""Draining and stopping: what is begun is finished, up to a deadline."""

import signal

from harness import DEADLINE_S, begin_post, check, check_equal, connect, get, read_response, refused
from harness import send_request, wait_until
from services import example, service


def check_cut(sock):
    """The connection is ended without an answer."""
    sock.settimeout(DEADLINE_S)
    try:
        data = sock.recv(1)
    except ConnectionError:
        return
    check_equal(data, b"", "the connection was to be cut")


def test_stop_finishes_a_request_that_is_half_sent(t):
    daemon = t.daemon(service(example(t)))
    with begin_post(size=10, sent=5) as sock:
        wait_until(lambda: daemon.generation()["instances"][0]["connections"]["live"] == 1,
                   "the connection is counted")
        since = daemon.last_seq()
        stop = t.spawn("stop", t.program("baton"), "-n", daemon.name, "stop", "web")
        daemon.wait_event("leave", since=since)
        check(stop.running(), "stop did not wait for the request")
        sock.sendall(b"y" * 5)
        check_equal(read_response(sock).status, 200, "answer")
        check_equal(stop.wait(), 0, f"exit status of stop: {stop.text()}")
    check_equal(daemon.state(), "stopped", "state")
    check(refused(), "a stopped service accepts a connection")


def test_start_after_stop_serves_again(t):
    daemon = t.daemon(service(example(t)))
    daemon.cli("stop", "web", expect=0)
    check(refused(), "a stopped service accepts a connection")
    daemon.cli("start", "web", expect=0)
    check_equal(get().status, 200, "answer")
    daemon.restart()


def test_restart_closes_idle_keepalive_connections_and_cuts_nothing(t):
    daemon = t.daemon(service(example(t)))
    with connect() as sock:
        send_request(sock)
        check_equal(read_response(sock).status, 200, "first answer")
        daemon.restart()
        check_equal(sock.recv(1), b"", "the idle connection was to be closed")
    check_equal(daemon.service()["last_rollout"]["cut"], 0, "cut")


def test_connection_open_at_the_drain_deadline_is_cut_and_counted(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "500ms", "kill_timeout": "300ms"}))
    with begin_post(size=10, sent=5) as sock:
        result = daemon.restart(expect=5)
        check_cut(sock)
    check("cut" in result.text, f"nothing of it is said: {result}")
    last = daemon.service()["last_rollout"]
    check_equal((last["result"], last["exit"], last["cut"]), ("done", 5, 1), "last rollout")
    check_equal(get().status, 200, "answer")


def test_server_that_ignores_its_drain_signal_is_killed_at_the_deadline(t):
    daemon = t.daemon(service(example(t, "--ignore-term"),
                              drain={"timeout": "300ms", "kill_timeout": "300ms",
                                     "leave_timeout": "300ms"}))
    old = daemon.server_pid()
    daemon.restart()
    check(daemon.server_pid() != old, "the server is still the old one")
    check_equal(get().status, 200, "answer")


def test_term_to_batond_drains_and_leaves_nothing(t):
    daemon = t.daemon(service(example(t)))
    with begin_post(size=10, sent=5) as sock:
        wait_until(lambda: daemon.generation()["instances"][0]["connections"]["live"] == 1,
                   "the connection is counted")
        daemon.process.popen.send_signal(signal.SIGTERM)
        wait_until(refused, "new connections are refused")
        sock.sendall(b"y" * 5)
        check_equal(read_response(sock).status, 200, "answer")
    check_equal(daemon.process.wait(), 0, "batond's exit status")
    daemon.check_clean()


def test_second_term_to_batond_stops_now(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "60s"}))
    with begin_post(size=10, sent=5) as sock:
        wait_until(lambda: daemon.generation()["instances"][0]["connections"]["live"] == 1,
                   "the connection is counted")
        daemon.process.popen.send_signal(signal.SIGTERM)
        wait_until(refused, "new connections are refused")
        check(daemon.process.running(), "the first TERM did not drain")
        daemon.process.popen.send_signal(signal.SIGTERM)
        daemon.process.wait()
        check_cut(sock)
    daemon.check_clean()


def test_int_to_batond_stops_too(t):
    t.daemon(service(example(t))).stop(number=signal.SIGINT)
