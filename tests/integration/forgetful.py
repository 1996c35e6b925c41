# SPDX-License-Identifier: BSD-2-Clause
"""
forgetful: an HTTP server with two listening sockets, that loses the second one.

    forgetful.py HOW OWN GENERATION FILE ADDRESS...

OWN is "passed" (its sockets come from LISTEN_FDS), "reuseport" (it binds them, with SO_REUSEPORT)
or "plain" (without). FILE.GENERATION appears after its start, or is touched then: it loses the
second socket, and writes when into FILE.GENERATION.lost. HOW: "close"; "shut" (shutdown, but it
keeps it); "rebind" (it closes it, and binds another one without SO_REUSEPORT, as soon as it can).
With LOSE=soon in its environment it does so half a second after its start, and with LOSE=early
/healthz is bad, too.
Each GET is answered with "generation GENERATION listener N".
"""

import os
import pathlib
import signal
import socket
import sys
import threading
import time

HOW, OWN, GENERATION, FILE = sys.argv[1:5]
ADDRESSES = [(host, int(port)) for host, port in (each.rsplit(":", 1) for each in sys.argv[5:])]
LOSE = os.environ.get("LOSE")


def bound(address, share):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind(address)
        sock.listen(4096)
    except OSError:
        sock.close()
        raise
    return sock


def opened(k):
    if OWN != "passed":
        return bound(ADDRESSES[k], OWN == "reuseport")
    sock = socket.socket(fileno=3 + k)
    sock.listen(4096)
    return sock


def serve(connection, k):
    connection.settimeout(60)
    try:
        head = b""
        while b"\r\n\r\n" not in head:
            more = connection.recv(4096)
            if not more:
                return
            head += more
        status = b"503 Bad" if LOSE == "early" and head.startswith(b"GET /healthz") else b"200 OK"
        body = f"generation {GENERATION} listener {k}\n".encode()
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)
    except OSError:
        pass
    finally:
        connection.close()


def accept_all(k):
    """Until the socket is closed (EBADF); while it is shut down accept(2) says EINVAL."""
    sock = sockets[k]
    while sock.fileno() >= 0:
        try:
            connection, _ = sock.accept()
        except OSError:
            time.sleep(0.01)
            continue
        threading.Thread(target=serve, args=(connection, k), daemon=True).start()


def start(k):
    sockets[k].settimeout(0.05)
    threads[k] = threading.Thread(target=accept_all, args=(k,), daemon=True)
    threads[k].start()


def close(k):
    """No connection that was accepted meanwhile may be forgotten."""
    sock, thread = sockets[k], threads[k]
    sock.close()
    thread.join()


def rebind():
    while not ending.is_set():
        try:
            sockets[1] = bound(ADDRESSES[1], False)
        except OSError:
            time.sleep(0.05)
            continue
        start(1)
        return


def lose():
    pathlib.Path(f"{FILE}.{GENERATION}.lost").write_text(repr(time.time()))
    if HOW == "shut":
        sockets[1].shutdown(socket.SHUT_RD)
        return
    close(1)
    if HOW == "rebind":
        rebind()


def is_told():
    if LOSE:
        return time.time() > started + 0.5
    try:
        return os.stat(f"{FILE}.{GENERATION}").st_mtime > started
    except FileNotFoundError:
        return False


started = time.time()
ending = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ending.set())
sockets = [opened(k) for k in range(len(ADDRESSES))]
threads = [None] * len(ADDRESSES)
for k in range(len(ADDRESSES)):
    start(k)
lost = False
while not ending.is_set():
    time.sleep(0.02)
    if not lost and is_told():
        lost = True
        lose()
for k in range(len(ADDRESSES)):
    close(k)  # who has just been accepted has a thread then
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(60)
