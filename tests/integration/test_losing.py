# SPDX-License-Identifier: BSD-2-Clause
"""
The ways in which a connection gets lost when a server is replaced, each provoked on purpose.

What each tier of steering promises:

	ebpf	nothing is lost that the old server has not accepted, whatever happens to it
	cbpf	nothing is lost where the old server still accepts what is its own (settle); of what
		is queued in a listener that closes all is reset, or, with net.ipv4.tcp_migrate_req=1,
		a part: the kernel chooses where it goes, and knows nothing of the program
	hash	the same but for a small window, in which a connection meets a listener that closes;
		with the sysctl what is queued there migrates

A test's name ends in the tier it is about; the others are about ebpf. Elsewhere: a server that is
killed or stopped with a full queue, and clients that have half closed, in test_queue.py; crashes in
steady state in test_crash.py; the daemon killed after each step in test_takeover.py; connections
that wait for a server in test_hold.py; the tiers without privileges in test_unprivileged.py; the
races of real servers in tests/servers/test_races.py.
"""

import contextlib
import os
import pathlib
import signal
import socket

from harness import (alive, begin_post, bodies, check, check_equal, connect, get, read_response,
                     send_request, signal_all, wait_stopped, wait_until)
from losing import PATIENCE_S, by_generation, check_done, own, steered, sysctl
from services import STANDS_STILL, binder, example, generation_of, merged, service
from test_queue import CLIENTS, PATIENT, fill_queue, generations, pause_old, queued

# ---- in the accept queue -------------------------------------------------------------------------

def queue_of_the_stopped_migrates(t, mode, *options):
    """The old server has not accepted, and never will: its queue goes to the new one."""
    daemon = steered(t, own(t, mode, *options))
    pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack)
        wait_until(lambda: queued(daemon, 1) >= CLIENTS, "all are queued at the old one")
        since = daemon.begin()
        check_equal(generations(clients), [2] * CLIENTS, "who answered")
        check_done(daemon, since)


def queue_of_the_killed_is_answered(t, mode):
    """In steady state: by the server that its agent starts again; by nobody else, there is none."""
    daemon = steered(t, own(t, mode))
    pids = pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack)
        wait_until(lambda: queued(daemon, 1) >= CLIENTS, "all are queued")
        signal_all(pids, signal.SIGKILL)
        check_equal(generations(clients), [1] * CLIENTS, "who answered")
    check(daemon.server_pid() not in pids, "the server's pid is the old one")
    daemon.restart()
    by_generation(2)(get().body)


def test_queue_of_a_native_server_that_is_stopped_migrates(t):
    queue_of_the_stopped_migrates(t, "native")


def test_queues_of_all_sockets_of_a_native_server_migrate(t):
    queue_of_the_stopped_migrates(t, "native", "--sockets", 4)


def test_queue_of_a_transparent_server_that_is_stopped_migrates(t):
    queue_of_the_stopped_migrates(t, "transparent")


def test_queue_of_a_native_server_that_is_killed_is_answered_by_its_successor(t):
    queue_of_the_killed_is_answered(t, "native")


def test_queue_of_a_transparent_server_that_is_killed_is_answered_by_its_successor(t):
    queue_of_the_killed_is_answered(t, "transparent")


def queue_is_settled(t, tier, half_close=False):
    """The old server is slow, not dead: what is in its queue when it is replaced it answers."""
    daemon = steered(t, service(example(t), **PATIENT), tier)
    pids = pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack, half_close=half_close)
        since = daemon.begin()
        daemon.wait_event("shift", since=since)
        signal_all(pids, signal.SIGCONT)
        check_equal(generations(clients), [1] * CLIENTS, "who answered")
        check_done(daemon, since)
    by_generation(2)(get().body)


def test_queue_is_settled_cbpf(t):
    queue_is_settled(t, "cbpf")


def test_half_closed_clients_are_settled_cbpf(t):
    queue_is_settled(t, "cbpf", half_close=True)


def test_queue_is_settled_hash(t):
    queue_is_settled(t, "hash")


def test_half_closed_clients_are_settled_hash(t):
    queue_is_settled(t, "hash", half_close=True)


def outcome(sock):
    """The generation that answers, or None after a reset. Anything else is neither."""
    try:
        return generation_of(read_response(sock).body)
    except ConnectionResetError:
        return None


def queue_of_the_killed(t, tier, migrate):
    """Killed with a full queue after the shift; what became of each connection in it?"""
    sysctl("tcp_migrate_req", migrate)
    daemon = steered(t, service(example(t), **PATIENT), tier)
    pids = pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack)
        since = daemon.begin()
        daemon.wait_event("shift", since=since)
        signal_all(pids, signal.SIGKILL)
        outcomes = [outcome(sock) for sock in clients]
        check_equal(daemon.wait_end(since)["event"], "done", "end")
    for body in bodies(20):
        by_generation(2)(body)
    return outcomes


def test_queue_of_the_killed_is_reset_cbpf(t):
    """Reset at once, where it cannot be saved: nobody waits for an answer that never comes."""
    check_equal(queue_of_the_killed(t, "cbpf", 0), [None] * CLIENTS, "outcomes")


def test_queue_of_the_killed_migrates_in_part_with_the_sysctl_cbpf(t):
    outcomes = queue_of_the_killed(t, "cbpf", 1)
    check(2 in outcomes and set(outcomes) <= {2, None}, f"outcomes: {outcomes}")


def test_queue_of_the_killed_migrates_with_the_sysctl_hash(t):
    check_equal(queue_of_the_killed(t, "hash", 1), [2] * CLIENTS, "outcomes")


# ---- half open -----------------------------------------------------------------------------------

def silent_clients(stack, count=CLIENTS):
    """Connected, as they see it; with TCP_DEFER_ACCEPT the server's side waits for data."""
    return [stack.enter_context(connect(timeout_s=PATIENCE_S)) for _ in range(count)]


def answered(clients):
    """They go on at last: which generations answer?"""
    for sock in clients:
        send_request(sock, headers=["Connection: close"])
    return generations(clients)


def half_open_migrates(t, mode):
    daemon = steered(t, own(t, mode, "--defer-accept", 30))
    with contextlib.ExitStack() as stack:
        clients = silent_clients(stack)
        daemon.restart()
        check_equal(answered(clients), [2] * CLIENTS, "who answered")


def test_half_open_connections_migrate(t):
    half_open_migrates(t, "inherit")


def test_half_open_connections_of_a_native_server_migrate(t):
    half_open_migrates(t, "native")


def test_half_open_connections_of_a_transparent_server_migrate(t):
    half_open_migrates(t, "transparent")


def test_half_open_connections_of_a_killed_server_migrate(t):
    daemon = steered(t, merged(own(t, "inherit", "--defer-accept", 30), **PATIENT))
    pids = daemon.pids(1)
    with contextlib.ExitStack() as stack:
        clients = silent_clients(stack)
        since = daemon.begin()
        daemon.wait_event("shift", since=since)
        signal_all(pids, signal.SIGKILL)
        check_done(daemon, since)
        check_equal(answered(clients), [2] * CLIENTS, "who answered")


def half_open_is_settled(t, tier):
    """While the old one is still there, the end of a handshake finds it, whoever gets new ones."""
    daemon = steered(t, service(binder(t, "--defer-accept", 30), rollout={"bake": "10m"}), tier)
    with contextlib.ExitStack() as stack:
        clients = silent_clients(stack)
        since = daemon.begin()
        daemon.wait_event("settle", since=since)
        by_generation(2)(get().body)
        check_equal(answered(clients), [1] * CLIENTS, "who answered")
    daemon.cli("rollback", "web", expect=0)


def test_half_open_connections_are_settled(t):
    half_open_is_settled(t, "ebpf")


def test_half_open_connections_are_settled_cbpf(t):
    half_open_is_settled(t, "cbpf")


# ---- SYN cookies ---------------------------------------------------------------------------------

def test_queue_of_connections_by_cookie_migrates(t):
    sysctl("tcp_syncookies", 2)
    queue_of_the_stopped_migrates(t, "inherit")


def test_silent_connections_by_cookie_are_answered(t):
    """No half-open state is kept: they are complete, in the queue or accepted by the old one."""
    sysctl("tcp_syncookies", 2)
    daemon = steered(t, own(t, "inherit", "--defer-accept", 30))
    pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = silent_clients(stack)
        since = daemon.begin()
        check_equal(answered(clients), [2] * CLIENTS, "who answered")
        check_done(daemon, since)


# ---- TCP Fast Open -------------------------------------------------------------------------------

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


def fast_open_clients(stack, count=CLIENTS):
    """The request comes with the SYN."""
    clients = []
    for _ in range(count):
        sock = stack.enter_context(socket.socket())
        sock.settimeout(PATIENCE_S)
        sent = sock.sendto(REQUEST, socket.MSG_FASTOPEN, ("127.0.0.1", 8080))
        check_equal(sent, len(REQUEST), "bytes sent with the SYN")
        clients.append(sock)
    return clients


def fast_opened():
    """How many connections the kernel has accepted data with the SYN for."""
    names, values = [line.split()[1:] for line in
                     pathlib.Path("/proc/net/netstat").read_text().splitlines()
                     if line.startswith("TcpExt:")]
    return int(values[names.index("TCPFastOpenPassive")])


def fast_open_migrates(t, mode):
    sysctl("tcp_fastopen", 0x207)
    daemon = steered(t, own(t, mode, "--fast-open", 256))
    pause_old(daemon)
    with contextlib.ExitStack() as stack:
        before = fast_opened()
        clients = fast_open_clients(stack)
        check_equal(fast_opened() - before, CLIENTS, "connections opened with data in the SYN")
        since = daemon.begin()
        check_equal(generations(clients), [2] * CLIENTS, "who answered")
        check_done(daemon, since)


def test_fast_open_connections_migrate(t):
    fast_open_migrates(t, "inherit")


def test_fast_open_connections_of_a_native_server_migrate(t):
    fast_open_migrates(t, "native")


def test_fast_open_connections_are_settled_cbpf(t):
    sysctl("tcp_fastopen", 0x207)
    daemon = steered(t, service(binder(t, "--fast-open", 256), **PATIENT), "cbpf")
    pids = pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fast_open_clients(stack)
        since = daemon.begin()
        daemon.wait_event("shift", since=since)
        signal_all(pids, signal.SIGCONT)
        check_equal(generations(clients), [1] * CLIENTS, "who answered")
        check_done(daemon, since)


# ---- the survivor's backlog is full --------------------------------------------------------------

def test_queue_migrates_into_a_full_one(t):
    """Migration does not ask for room."""
    # No check takes one of the few places in the queue, or there would be no room for the last one.
    config = merged(service(binder(t), **PATIENT), health={"interval": "60s", "healthy": 1})
    daemon = steered(t, config)
    old = pause_old(daemon)
    backlog = 4
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack)
        wait_until(lambda: queued(daemon, 1) >= CLIENTS, "all are queued at the old one")
        since = daemon.begin("upgrade", "--", *binder(t, "--backlog", backlog))
        daemon.wait_event("shift", since=since)
        new = daemon.pids(2)
        signal_all(new, signal.SIGSTOP)
        wait_stopped(new)
        filling = fill_queue(stack, backlog + 1)
        wait_until(lambda: queued(daemon, 2) > backlog, "the new one's queue is full")
        signal_all(old, signal.SIGKILL)
        wait_until(lambda: queued(daemon, 2) >= CLIENTS, "the old one's queue has moved")
        signal_all(new, signal.SIGCONT)
        check_equal(set(generations(clients + filling)), {2}, "who answered")
        check_done(daemon, since)


# ---- the last listener ---------------------------------------------------------------------------

def lose_everything(daemon):
    """The only instance is gone, agent and all."""
    agent = daemon.generation()["instances"][0]["agent_pid"]
    pids = daemon.pids(daemon.current())
    # It would start the server again.
    os.kill(agent, signal.SIGSTOP)
    signal_all([*pids, agent], signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in [agent, *pids]), "all are gone")


def check_unanswered(sock):
    """There is nobody who could answer, and the client is told so: it does not wait for ever."""
    sock.settimeout(PATIENCE_S)
    with contextlib.suppress(ConnectionError):
        check_equal(sock.recv(1), b"", "an answer of nobody's")


def nobody_hangs(t, tier):
    """With nobody there, connections end: soon, and not after somebody's timeout."""
    daemon = steered(t, service(example(t), restart={"max": 0}, **STANDS_STILL), tier)
    pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack)
        lose_everything(daemon)
        for sock in clients:
            check_unanswered(sock)
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(CLIENTS):
            # Reset: the handshake has met the end of the port's last socket.
            with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
                clients.append(stack.enter_context(connect()))
        check(tier == "cbpf" or not clients, "a new connection is not refused")
        for sock in clients:
            check_unanswered(sock)
    daemon.restart()
    by_generation(2)(get().body)


def test_last_listener_dies_and_connections_are_refused(t):
    nobody_hangs(t, "ebpf")


def test_last_listener_dies_and_connections_are_reset_cbpf(t):
    nobody_hangs(t, "cbpf")


def test_last_listener_dies_and_connections_are_refused_hash(t):
    nobody_hangs(t, "hash")


def test_last_listener_dies_and_its_queue_is_held(t):
    """What it had not accepted waits for the next generation, like what comes later."""
    daemon = steered(t, service(example(t), hold="10m", restart={"delay": "10m"}, **STANDS_STILL))
    pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack, 10)
        lose_everything(daemon)
        clients += fill_queue(stack, 10)
        daemon.restart()
        check_equal(generations(clients), [2] * 20, "who answered")


# ---- a duplicate is still held -------------------------------------------------------------------

def listening(port=8080):
    """How many sockets listen on a port of 127.0.0.1."""
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(each[1] == f"0100007F:{port:04X}" and each[3] == "0A" for each in fields)


def duplicate_is_shut_down(t, mode):
    """
    A child of the old server holds its listening socket and accepts nothing: as long as it does,
    the socket would take connections that nobody answers.
    """
    daemon = steered(t, {**own(t, mode, "--keeper"), "drain": {"timeout": "60s"}})
    old = daemon.pids(1)
    check_equal(len(old), 2, f"processes of the old one: {old}")
    with begin_post() as sock:
        wait_until(lambda: daemon.generation()["instances"][0]["connections"]["live"] == 1,
                   "the connection is counted")
        before = listening()
        since = daemon.begin()
        daemon.wait_event("leave", since=since)
        # Both are still there, and their socket is not. The new one has one, as the old one had.
        check(all(alive(pid) for pid in old), "one of the old processes is gone")
        wait_until(lambda: listening() == before, "the old one's socket is gone")
        check_equal({generation_of(body) for body in bodies(50)}, {2}, "who answers")
        sock.sendall(b"x" * 5)
        check_equal(generation_of(read_response(sock).body), 1, "who answers the old request")
        check_done(daemon, since)
    wait_until(lambda: not any(alive(pid) for pid in old), "the child is gone too")


def test_duplicate_in_a_child_is_shut_down(t):
    duplicate_is_shut_down(t, "inherit")


def test_duplicate_in_a_child_of_a_native_server_is_shut_down(t):
    duplicate_is_shut_down(t, "native")


def test_duplicate_in_a_child_of_a_transparent_server_is_shut_down(t):
    duplicate_is_shut_down(t, "transparent")


def queue_held_by_a_child_migrates(t, mode):
    """The server is dead, its child keeps its socket, and with it the queue."""
    daemon = steered(t, merged(own(t, mode, "--keeper"), **PATIENT))
    parent = daemon.server_pid()
    pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack)
        since = daemon.begin()
        daemon.wait_event("shift", since=since)
        os.kill(parent, signal.SIGKILL)
        check_equal(generations(clients), [2] * CLIENTS, "who answered")
        check_done(daemon, since)


def test_queue_held_by_a_child_of_the_dead_migrates(t):
    queue_held_by_a_child_migrates(t, "inherit")


def test_queue_held_by_a_child_of_the_dead_native_server_migrates(t):
    queue_held_by_a_child_migrates(t, "native")
