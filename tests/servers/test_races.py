# SPDX-License-Identifier: BSD-2-Clause
"""
What the drain signal meets in real servers: requests that are on their way on connections that are
kept alive, and clients that say nothing at all.
"""

import contextlib

from harness import check, check_equal, connect, get, wait_until
from losing import PATIENCE_S, race
from services import STANDS_STILL, soon
from servers import caddy, gunicorn, haproxy_inherit, nginx_inherit, node_inherit

QUICK = {**STANDS_STILL, "rollout": {"settle_timeout": "300ms"},
         "drain": {"leave_timeout": "300ms", "kill_timeout": "2s"}}
CLIENTS = 10


def started(t, config, mode, **drain):
    for key, changes in QUICK.items():
        config[key].update(changes)
    config["drain"].update(drain)
    return t.daemon({**config, "mode": mode, "steering": "ebpf"})


def keepalive_race(t, config, mode="inherit"):
    """A request that meets the signal is answered in full, or its connection closed unanswered."""
    race(t, started(t, config, mode), CLIENTS)


def wait_ended(sock):
    """What a server has to say about a client that has said nothing (408) is no answer."""
    sock.settimeout(PATIENCE_S)
    with contextlib.suppress(ConnectionError):
        while said := sock.recv(4096):
            check(b" 200 " not in said, f"an answer to nothing: {said!r}")


def silent_clients(t, config, mode="inherit"):
    """
    They have connected and say nothing. Some servers wait for them for a long time: the deadline
    is baton's. They were promised nothing, but a connection that is cut is counted. On a busy
    machine a server may have lost its patience with some of them before.
    """
    daemon = started(t, config, mode, timeout=soon(1.5), kill_timeout="500ms")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect()) for _ in range(CLIENTS)]
        wait_until(lambda: daemon.generation()["instances"][0]["connections"]["live"] >= CLIENTS,
                   "they are counted")
        since = daemon.begin()
        end = daemon.wait_end(since)
        for sock in clients:
            wait_ended(sock)
    check_equal(end["event"], "done", "end")
    check(0 <= end["cut"] <= CLIENTS, f"cut: {end}")
    check_equal(end["exit"], 5 if end["cut"] else 0, "exit status")
    check_equal(get().status, 200, "answer of the new one")


def test_keepalive_race_nginx(t):
    keepalive_race(t, nginx_inherit(t))


def test_keepalive_race_haproxy(t):
    keepalive_race(t, haproxy_inherit(t))


def test_keepalive_race_caddy(t):
    keepalive_race(t, caddy(t), "native")


def test_keepalive_race_gunicorn(t):
    keepalive_race(t, gunicorn(t))


def test_keepalive_race_node(t):
    keepalive_race(t, node_inherit(t))


def test_silent_clients_nginx(t):
    silent_clients(t, nginx_inherit(t))


def test_silent_clients_haproxy(t):
    silent_clients(t, haproxy_inherit(t))


def test_silent_clients_caddy(t):
    silent_clients(t, caddy(t), "native")


def test_silent_clients_gunicorn(t):
    silent_clients(t, gunicorn(t))


def test_silent_clients_node(t):
    silent_clients(t, node_inherit(t))
