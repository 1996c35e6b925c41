# SPDX-License-Identifier: BSD-2-Clause
"""Counting connections: the kernel's counters and its list of sockets must agree."""

import resource
import signal
import socket

from harness import (begin_post, check, check_equal, connect, get, read_response, send_request,
                     signal_all, timeout, wait_stopped, wait_until)
from services import example, generation_of, service
from test_queue import QUICK

MANY = 5000


def opened(count):
    """Connections that have had one answer and are kept open. From many addresses, for the ports."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 1000), hard))
    found = []
    for k in range(count):
        sock = socket.create_connection(("127.0.0.1", 8080), 60,
                                        source_address=(f"127.0.1.{k % 100 + 1}", 0))
        found.append(sock)
    for sock in found:
        send_request(sock)
    for sock in found:
        check_equal(read_response(sock).status, 200, "status")
    return found


def live(daemon, state="current"):
    return daemon.generation(state)["connections"]["live"]


def listed(daemon, limit=100000):
    return daemon.cli("connections", "web", "--json", "--limit", limit, expect=0).json()


def agree(daemon, expected):
    """Both ways of counting come to @expected (probes come and go, hence the wait)."""
    def both():
        answer = listed(daemon)
        count = sum(each["live"] for each in answer["connections"])
        return live(daemon) == expected and count == expected
    wait_until(both, f"both count {expected}: {live(daemon)} live, {listed(daemon)['total']} listed")


@timeout(600)
def test_counters_agree_with_the_list_of_5000_connections(t):
    # Checks would come and go between the two counts.
    daemon = t.daemon(service(example(t), health={"interval": "60s", "healthy": 1}))
    socks = opened(MANY)
    agree(daemon, MANY)
    for sock in socks[:2000]:
        sock.close()
    agree(daemon, MANY - 2000)
    counted = daemon.generation()["connections"]
    check(counted["accepted"] >= MANY and counted["closed"] >= 2000, f"counted: {counted}")

    short = listed(daemon, limit=10)
    check_equal((short["total"], short["shown"], len(short["connections"])),
                (MANY - 2000, 10, 10), "a limited list")
    each = short["connections"][0]
    check_equal((each["generation"], each["instance"], each["state"], each["accepted"]),
                (1, 0, "ESTABLISHED", True), f"connection: {each}")
    check(each["age_ms"] is not None and each["age_ms"] >= each["idle_ms"], f"age: {each}")
    check(each["received"] > 0 and each["sent"] > 0, f"bytes: {each}")
    check(each["peer"].startswith("127.0.1."), f"peer: {each}")
    for sock in socks:
        sock.close()
    agree(daemon, 0)


def test_connections_are_printed_for_people(t):
    daemon = t.daemon(service(example(t)))
    with connect() as sock:
        send_request(sock)
        read_response(sock)
        port = sock.getsockname()[1]
        text = daemon.cli("connections", expect=0).out
        check(f"127.0.0.1:{port}" in text, f"the client's address: {text}")
        check("ESTABLISHED" in text, f"the state: {text}")
    daemon.cli("connections", "nobody", expect=1)


def test_drain_ends_when_the_last_connection_does(t):
    daemon = t.daemon(service(example(t)))
    socks = [begin_post(size=10, sent=5) for _ in range(3)]
    since = daemon.begin()
    daemon.wait_event("leave", since=since)
    wait_until(lambda: live(daemon, "draining") == 3, "the old generation has three left")
    for sock in socks:
        sock.sendall(b"y" * 5)
        check_equal(read_response(sock).status, 200, "status")
        sock.close()
    end = daemon.wait_end(since)
    check_equal((end["event"], end["cut"]), ("done", 0), f"end: {end}")
    check_equal(generation_of(get().body), 2, "generation that answers")
    check("3 connections ended" in daemon.wait_event("drain", since=since)["message"], "drain")


# Reads one byte of a request and then sleeps; GET /healthz it answers. TERM ends it at once, with
# what it has not read: the kernel resets such connections.
RUDE = r"""
import signal, socket, threading, time
def serve(connection):
    head = connection.recv(9, socket.MSG_PEEK | socket.MSG_WAITALL)
    if head.startswith(b"GET /heal"):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nok")
        connection.close()
        return
    while True:
        time.sleep(100)
listener = socket.socket(fileno=3)
def accept():
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
while True:
    signal.pause()
"""


def test_connections_that_a_server_drops_while_it_drains_are_told(t):
    daemon = t.daemon(service(["/usr/bin/python3", "-B", t.file("rude.py", RUDE)]))
    with connect() as sock:
        send_request(sock, "/work")
        wait_until(lambda: live(daemon) >= 1, "the connection is counted")
        since = daemon.begin()
        end = daemon.wait_end(since)
        check_equal((end["event"], end["exit"], end["cut_by_server"]), ("done", 5, 1), "end")
        drain = daemon.wait_event("drain", since=since)["message"]
        check_equal(drain, "1 connection ended: 1 cut by the server", "drain")


def test_migrated_connections_are_counted_where_they_went(t):
    """Queued at a stopped server, they move to its successor: the old one has nothing to drain."""
    daemon = t.daemon(service(example(t), **QUICK))
    pids = [daemon.server_pid()]
    signal_all(pids, signal.SIGSTOP)
    wait_stopped(pids)
    socks = [connect() for _ in range(40)]
    for sock in socks:
        send_request(sock)
    since = daemon.begin()
    daemon.wait_event("leave", since=since)
    wait_until(lambda: daemon.generation()["connections"]["accepted"] >= 40,
               "they are counted for the new generation")
    for sock in socks:
        check_equal(generation_of(read_response(sock).body), 2, "generation that answers")
        sock.close()
    end = daemon.wait_end(since)
    check_equal((end["event"], end["cut"]), ("done", 0), f"end: {end}")
