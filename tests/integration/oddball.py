# SPDX-License-Identifier: BSD-2-Clause
"""
oddball: a small HTTP server that binds what it is told to, in the way that it is told.

    oddball.py STEP...

The steps, in their order:

    share, alone    bind with SO_REUSEPORT from now on, or without (which is how it begins)
    strict          bind without SO_REUSEADDR from now on
    mptcp           make MPTCP sockets from now on
    v6only          make IPv6 sockets for IPv6 only from now on
    user=UID        become that user
    bind=A:P        bind and listen: 127.0.0.1:P, 0.0.0.0:P, [::1]:P, [::]:P (dual-stack)
    passed          take the sockets that were passed, if LISTEN_PID is this process
    child=COMMAND   leave a child behind that has the sockets, started by sh -c COMMAND
    deaf            serve none of those that are bound by now

Then it answers every request on every socket that it has, and waits if it has none.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

IPPROTO_MPTCP = 262

manners = {"share": False, "reuse": True, "protocol": 0, "v6only": False}
listeners = []
kept = []


def bind(text):
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, manners["protocol"])
    if manners["reuse"]:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if manners["share"]:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, manners["v6only"])
    sock.bind((host, int(port)))
    sock.listen(128)
    listeners.append(sock)


def take_passed():
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return
    for fd in range(3, 3 + int(os.environ["LISTEN_FDS"])):
        listeners.append(socket.socket(fileno=fd))


def leave_child(command):
    for sock in listeners:
        os.set_inheritable(sock.fileno(), True)
    subprocess.Popen(["/bin/sh", "-c", command], close_fds=False, start_new_session=True)


def step(text):
    what, _, value = text.partition("=")
    if what in ("share", "alone"):
        manners["share"] = what == "share"
    elif what == "strict":
        manners["reuse"] = False
    elif what == "mptcp":
        manners["protocol"] = IPPROTO_MPTCP
    elif what == "v6only":
        manners["v6only"] = True
    elif what == "user":
        os.setresuid(*3 * [int(value)])
    elif what == "bind":
        bind(value)
    elif what == "passed":
        take_passed()
    elif what == "child":
        leave_child(value)
    elif what == "deaf":
        kept.extend(listeners)
        listeners.clear()
    else:
        sys.exit(f"unknown step {text!r}")


def serve(listener):
    while True:
        try:
            sock = listener.accept()[0]
        except OSError:  # its socket was shut down
            return
        body = f"pid {os.getpid()}\n"
        with sock, contextlib.suppress(OSError):  # a client may have had enough
            sock.recv(65536)
            sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
                         f"Connection: close\r\n\r\n{body}".encode())


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
for each in sys.argv[1:]:
    step(each)
for each in listeners:
    threading.Thread(target=serve, args=(each,), daemon=True).start()
while True:
    time.sleep(60)
