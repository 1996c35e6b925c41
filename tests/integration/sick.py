# SPDX-License-Identifier: BSD-2-Clause
"""
sick: a server that fails in the way that a file names, and says something before it does.

    sick.py FILE

FILE has the way ("well", "exit", "listen-exit", "hang", "503", "slow", "elsewhere", "bake", "ignore",
"two": well, and on port 8081, too; "closes": as "two", but told by SIGUSR1 it closes the socket of
8081, and serves on) and, if there is a second word, the stream that the last words go to: "stdout" or "stderr" (which is the default).
A second line has the last words. Told by SIGUSR1, it says them and exits with status 7.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time

HEALTHY_ANSWERS = 3  # "bake": it serves so many well before it dies

first, _, words = open(sys.argv[1], encoding="ascii").read().strip().partition("\n")
way, *rest = first.split()
words = words or f"last words of {way}"
answered = 0
kept = []


def say(text):
    print(text, file=sys.stdout if rest == ["stdout"] else sys.stderr, flush=True)


def crash(*_):
    say(words)
    os._exit(7)


def close(*_):
    say(words)
    second.close()


def answer(sock, text):
    with sock, contextlib.suppress(OSError):  # a client may have had enough
        sock.recv(65536)
        sock.sendall(f"HTTP/1.1 {text}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


def serve(listener):
    global answered
    while True:
        sock = listener.accept()[0]
        if way == "503":
            answer(sock, "503 Service Unavailable")
        elif way != "slow":
            answer(sock, "200 OK")
        else:
            kept.append(sock)
            continue
        answered += 1
        if way == "bake" and answered > HEALTHY_ANSWERS:
            crash()


def serve_until_closed(listener):
    try:
        serve(listener)
    except OSError:
        pass


def bind(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(64)
    return listener


kept = []
if way == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(20):
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
else:
    signal.signal(signal.SIGTERM, lambda *_: (say("good bye"), os._exit(0)))
signal.signal(signal.SIGUSR1, close if way == "closes" else crash)
if way not in ("well", "two", "closes", "bake", "ignore"):
    say(words)
if way == "exit":
    sys.exit(7)
if way == "listen-exit":
    kept.append(bind(8080))
    time.sleep(0.001 * (os.getpid() % 7))
    sys.exit(7)
if way in ("two", "closes"):
    second = bind(8081)
    threading.Thread(target=serve_until_closed, args=(second,), daemon=True).start()
if way != "hang":
    try:
        serve(bind(8081 if way == "elsewhere" else 8080))
    except OSError as error:  # its socket was shut down
        if way != "ignore":
            sys.exit(f"accept: {error}")
while True:
    time.sleep(1)
