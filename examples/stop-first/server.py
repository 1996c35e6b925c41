#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A server that cannot run twice: it counts visits in a file, which it locks as long as it lives.

    server.py FILE

The listening socket comes from whoever starts it (LISTEN_FDS). SIGTERM: accept what has come,
answer, end.
"""

import fcntl
import signal
import socket
import sys

counter = open(sys.argv[1], "a+")  # the lock goes when the process goes
try:
    fcntl.flock(counter, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(f"{sys.argv[1]} is locked by another process")

leaving = False


def leave(*_):
    global leaving
    leaving = True


def visit():
    counter.seek(0)
    number = int(counter.read() or 0) + 1
    counter.truncate(0)
    counter.write(str(number))
    counter.flush()
    return number


def serve(client):
    client.settimeout(5)
    request = client.recv(4096)
    if not request:
        return
    body = b"ok\n" if request.startswith(b"GET /health ") else b"visit %d\n" % visit()
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                   % (len(body), body))


signal.signal(signal.SIGTERM, leave)
listener = socket.socket(fileno=3)
listener.listen(1024)
listener.settimeout(0.05)  # how soon it sees the signal
while True:
    try:
        client, _ = listener.accept()
    except TimeoutError:
        if leaving:
            break
        continue
    with client:
        try:
            serve(client)
        except OSError:
            pass
