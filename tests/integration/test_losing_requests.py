# SPDX-License-Identifier: BSD-2-Clause
"""What has been accepted when its server is replaced: requests under way, and what never ends."""

import contextlib

from harness import (begin_post, check, check_equal, connect, get, read_response, send_request,
                     wait_until)
from losing import by_generation, ended, race, steered
from services import STANDS_STILL, binder, example, nginx, service, soon
from test_queue import QUICK

# ---- keep-alive ----------------------------------------------------------------------------------

def test_keepalive_race_with_a_careful_server_answers_all(t):
    """The example server waits a moment for a request that may be on its way."""
    config = service(example(t), **QUICK)
    check_equal(race(t, steered(t, config), 10), 10, "answered")


def test_keepalive_race_with_nginx_answers_or_closes(t):
    config = nginx(t, rollout={"settle_timeout": "300ms"}, **STANDS_STILL)
    config["drain"]["leave_timeout"] = "300ms"
    race(t, steered(t, config))


# ---- long requests -------------------------------------------------------------------------------

def long_post(t, tier):
    """One body is completed before the drain's deadline, the other one never."""
    config = service(example(t), drain={"timeout": soon(3), "kill_timeout": "500ms"})
    daemon = steered(t, config, tier)
    with begin_post() as in_time, begin_post() as too_late:
        wait_until(lambda: daemon.generation()["instances"][0]["connections"]["live"] == 2,
                   "both are counted")
        since = daemon.begin()
        daemon.wait_event("leave", since=since)
        in_time.sendall(b"x" * 5)
        check_equal(read_response(in_time).status, 200, "answer before the deadline")
        end = daemon.wait_end(since)
        check(ended(too_late), "an answer after the deadline")
    check_equal((end["event"], end["cut"], end["exit"]), ("done", 1, 5), "end")
    by_generation(2)(get().body)


def test_long_post_is_finished_before_the_deadline_and_cut_after_it(t):
    long_post(t, "ebpf")


def test_long_post_is_finished_before_the_deadline_and_cut_after_it_cbpf(t):
    long_post(t, "cbpf")


def test_long_post_is_finished_before_the_deadline_and_cut_after_it_hash(t):
    long_post(t, "hash")


def upgraded(stack):
    sock = stack.enter_context(connect())
    send_request(sock, "/upgrade", headers=["Connection: upgrade", "Upgrade: echo"])
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    check(head.startswith(b"HTTP/1.1 101 "), f"not upgraded: {head!r}")
    return sock


def ping(sock, text):
    sock.sendall(text)
    got = b""
    while len(got) < len(text):
        chunk = sock.recv(len(text) - len(got))
        check(chunk, "the connection has ended")
        got += chunk
    check_equal(got, text, "echo")


def upgraded_connection(t, tier):
    """It knows no request and no answer: it goes on until it ends, or the hard deadline comes."""
    goodbye = t.tmp / "goodbye"
    config = service(binder(t, "--waves-goodbye", goodbye),
                     drain={"timeout": soon(3), "kill_timeout": "500ms"})
    daemon = steered(t, config, tier)
    with contextlib.ExitStack() as stack:
        sock, other = upgraded(stack), upgraded(stack)
        ping(sock, b"before")
        since = daemon.begin()
        wait_until(goodbye.exists, "the drain signal has come")
        ping(sock, b"after the drain signal")
        daemon.wait_event("leave", since=since)
        ping(sock, b"after the old one has left")
        ping(other, b"this one ends by itself")
        other.close()
        end = daemon.wait_end(since)
        check(ended(sock), "the connection outlives its server")
    check_equal((end["event"], end["cut"], end["exit"]), ("done", 1, 5), "end")


def test_upgraded_connection_goes_on_until_the_deadline_and_is_counted(t):
    upgraded_connection(t, "ebpf")


def test_upgraded_connection_goes_on_until_the_deadline_and_is_counted_cbpf(t):
    upgraded_connection(t, "cbpf")


def test_upgraded_connection_goes_on_until_the_deadline_and_is_counted_hash(t):
    upgraded_connection(t, "hash")
