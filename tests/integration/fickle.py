# SPDX-License-Identifier: BSD-2-Clause
"""
fickle: a small HTTP server whose listening socket comes and goes.

    fickle.py HOW TEXT

HOW: "passed" takes its socket from LISTEN_FDS; "own" binds 127.0.0.1:8080 with SO_REUSEPORT; "late"
does so after two and a half seconds and then says READY=1; "leaves-child" is "passed" and leaves a
process behind when it exits. USR1: shut the listening socket down, and listen on it again as soon
as there is a file "listen" beside this one. USR2: open another listening socket, then close this
one. HUP: exit with success. TERM: the same, when all is answered. Every GET is answered with
"generation TEXT pid PID".
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

ADDRESS = ("127.0.0.1", 8080)
HOW, TEXT = sys.argv[1:3]
LISTEN = pathlib.Path(__file__).with_name("listen")


def bound():
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(ADDRESS)
    sock.listen(4096)
    return sock


def say_ready():
    name = os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1)
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", name)


def serve(connection):
    connection.settimeout(60)
    try:
        head = b""
        while b"\r\n\r\n" not in head:
            more = connection.recv(4096)
            if not more:
                return
            head += more
        body = f"generation {TEXT} pid {os.getpid()}\n".encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)
    except OSError:
        pass
    finally:
        connection.close()


def accept_all(sock):
    """While it is shut down accept(2) says EINVAL; when it is closed, EBADF."""
    while True:
        try:
            connection, _ = sock.accept()
        except OSError:
            if sock.fileno() < 0:
                return
            time.sleep(0.01)
            continue
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


accepting = []


def start(sock):
    sock.settimeout(0.05)
    accepting.append(threading.Thread(target=accept_all, args=(sock,), daemon=True))
    accepting[-1].start()
    return sock


def come_back():
    listener.shutdown(socket.SHUT_RD)
    while not LISTEN.exists():
        time.sleep(0.01)
    listener.listen(4096)


def replace():
    global listener  # pylint: disable=global-statement
    old, listener = listener, start(bound())
    old.close()


def end():
    """Who has just been accepted has a thread once those that accept have ended."""
    listener.close()
    for thread in accepting:
        thread.join()
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(60)
    os._exit(0)


# By sigwait(3): of a signal that comes just before pause(2), a handler hears at the next one only.
actions = {signal.SIGUSR1: come_back, signal.SIGUSR2: replace, signal.SIGHUP: lambda: os._exit(0),
           signal.SIGTERM: end}
signal.pthread_sigmask(signal.SIG_BLOCK, actions)
if HOW == "leaves-child":
    subprocess.Popen(["/bin/sleep", "300"], start_new_session=True)
if HOW == "late":
    time.sleep(2.5)
listener = start(bound() if HOW in ("own", "late") else socket.socket(fileno=3))
if HOW == "late":
    say_ready()
while True:
    actions[signal.sigwait(actions)]()
