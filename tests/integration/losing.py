# SPDX-License-Identifier: BSD-2-Clause
"""losing: what the tests share that provoke the loss of a connection (test_losing*.py)."""

import contextlib
import pathlib
import signal
import socket

from harness import check_equal, connect, read_response, send_request, signal_all
from services import LISTEN, binder, generation_of, service
from test_queue import QUICK, pause_old

PATIENCE_S = 60.0


def sysctl(name, value):
    """In the test's own network namespace."""
    path = pathlib.Path("/proc/sys/net/ipv4") / name
    path.write_text(f"{value}\n")
    check_equal(int(path.read_text(), 0), value, f"net.ipv4.{name}")


def steered(t, config, tier="ebpf"):
    """A daemon whose service is steered by this tier and no other."""
    if tier == "hash":
        # No check can be sent to one instance there: the server says when it is ready.
        config["health"].pop("http")
        config["health"]["notify"] = True
    daemon = t.daemon({**config, "steering": tier})
    check_equal(daemon.service()["tier"], tier, "tier")
    return daemon


def by_generation(generation):
    def judge(body):
        check_equal(generation_of(body), generation, f"generation in {body!r}")
    return judge


def check_done(daemon, since):
    end = daemon.wait_end(since)
    check_equal((end["event"], end["cut"]), ("done", 0), "end")


def own(t, mode, *options):
    """binder.py in a mode, on one address."""
    words = [] if mode == "inherit" else ["--listen", LISTEN]
    words += ["--share"] if mode == "native" else []
    return {**service(binder(t, *words, *options), **QUICK), "mode": mode}


def race(t, daemon, count=10):
    """
    The server stands still; its drain signal and then the clients' next requests come; it goes on.
    Returns how many were answered. The others must have been closed with no byte of an answer
    sent, so that a client may repeat its request (RFC 9112, 9.3.1).
    """
    complete = 0
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(timeout_s=PATIENCE_S)) for _ in range(count)]
        for sock in clients:
            send_request(sock)
            check_equal(read_response(sock).status, 200, "first answer")
        old = pause_old(daemon)
        since = daemon.begin()
        # It does not close its sockets, as it stands: the signal is there by now.
        daemon.wait_event("leave", since=since)
        for sock in clients:
            send_request(sock)
        signal_all(old, signal.SIGCONT)
        for sock in clients:
            try:
                first = sock.recv(1, socket.MSG_PEEK)
            except ConnectionResetError:
                continue
            if first:
                check_equal(read_response(sock).status, 200, "second answer")
                complete += 1
        check_done(daemon, since)
    return complete


def ended(sock):
    """The connection is at its end, and there was no answer."""
    sock.settimeout(PATIENCE_S)
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True
