# SPDX-License-Identifier: BSD-2-Clause
"""
hasty: a server that ends its connections in the way that it is told.

    hasty.py WAY [SECONDS]

GET /wait is not answered before the server is told to drain. After the drain signal, and SECONDS (0),
it is one of these ways that it goes:

    die       by the signal itself
    exit      with status 0, and leaves what it has to the kernel
    exit-143  the same, with the status that a shell would make of SIGTERM
    exit-3    the same, with a status of its own
    close     closes what it has, then exits with status 0
    reset     closes it with a reset, then exits with status 0
    answer    answers what it has, then exits with status 0: it drains
    crash     by SIGSEGV
"""

import contextlib
import os
import signal
import socket
import struct
import sys
import threading
import time

way = sys.argv[1]
delay_s = float(sys.argv[2]) if len(sys.argv) > 2 else 0
waiting = []
told = threading.Event()


def answer(sock, close):
    with contextlib.suppress(OSError):  # a client may have had enough
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" +
                     (b"Connection: close\r\n" if close else b"") + b"\r\nok")


def serve(sock):
    while True:
        request = b""
        while b"\r\n\r\n" not in request:
            try:
                data = sock.recv(4096)
            except OSError:
                return
            if not data:
                sock.close()
                return
            request += data
        if request.startswith(b"GET /wait"):
            waiting.append(sock)
            return
        answer(sock, close=b"close" in request)


def accept(listener):
    while True:
        try:
            sock = listener.accept()[0]
        except OSError:
            return
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


def end():
    for sock in waiting:
        if way == "answer":
            answer(sock, close=True)
        if way == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if way in ("answer", "reset", "close"):
            sock.close()
    if way == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    os._exit({"exit-143": 143, "exit-3": 3}.get(way, 0))


if way != "die":
    signal.signal(signal.SIGTERM, lambda *_: told.set())
listener = socket.socket(fileno=3)
listener.listen(128)
threading.Thread(target=accept, args=(listener,), daemon=True).start()
while not told.is_set():
    told.wait(1000)
time.sleep(delay_s)
end()
