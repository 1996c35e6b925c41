# SPDX-License-Identifier: BSD-2-Clause
"""
shy: a server that drains as many programs with asyncio do.

    shy.py [sick=SECONDS] [deaf=SECONDS]

When it is told to drain (SIGTERM) it closes its listening sockets, and at once each connection that is
idle: also those on which nobody has said anything yet. What it works on it finishes; then it exits.

    sick=SECONDS  before that it goes on accepting for so long, and /healthz says 503
    deaf=SECONDS  before that its listening sockets stay open for so long, but it accepts nothing

GET /slow/SECONDS is answered after so long; every answer says the generation.
"""

import os
import selectors
import signal
import socket
import sys
import time

options = dict(word.split("=") for word in sys.argv[1:])
sick_s, deaf_s = float(options.get("sick", 0)), float(options.get("deaf", 0))
generation = os.environ.get("GENERATION", "0")
select = selectors.DefaultSelector()
clients = {}
told = None


class Client:
    def __init__(self, sock):
        self.sock = sock
        self.request = b""
        self.due = None  # when its answer is


def on_term(_number, _frame):
    global told
    told = told or time.monotonic()


def close(client):
    select.unregister(client.sock)
    clients.pop(client.sock)
    client.sock.close()


def answer(client):
    path = client.request.split(b" ")[1]
    status = b"503 Service Unavailable" if told and path == b"/healthz" else b"200 OK"
    body = b"generation %s\n" % generation.encode()
    last = told and not listening or b"onnection: close" in client.request
    try:
        client.sock.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n" % len(body) +
                            (b"Connection: close\r\n" if last else b"") + b"\r\n" + body)
    except OSError:  # it has had enough
        last = True
    client.request, client.due = b"", None
    if last:
        close(client)


def read(client):
    try:
        data = client.sock.recv(4096)
    except OSError:
        data = b""
    if not data:
        close(client)
        return
    client.request += data
    if b"\r\n\r\n" not in client.request:
        return
    path = client.request.split(b" ")[1]
    wait_s = float(path.rsplit(b"/")[-1]) if path.startswith(b"/slow/") else 0
    client.due = time.monotonic() + wait_s


def accept():
    """Whether there was anything to accept."""
    try:
        sock = listener.accept()[0]
    except OSError:
        return False
    clients[sock] = Client(sock)
    select.register(sock, selectors.EVENT_READ)
    return True


def drain():
    """Whether there is anything left to do."""
    global listening
    since_s = time.monotonic() - told
    if deaf_s and listener in select.get_map():
        select.unregister(listener)
    if since_s < sick_s + deaf_s:
        return True
    if listening:
        if listener in select.get_map():
            select.unregister(listener)
            while accept():
                pass
        listener.close()
        listening = False
    for client in list(clients.values()):
        if not client.request:
            close(client)
    return bool(clients)


signal.signal(signal.SIGTERM, on_term)
listener = socket.socket(fileno=3)
listener.listen(128)
listener.setblocking(False)
listening = True
select.register(listener, selectors.EVENT_READ)
while not told or drain():
    for key, _events in select.select(0.02):
        if key.fileobj is listener:
            accept()
        elif key.fileobj in clients:
            read(clients[key.fileobj])
    for each in list(clients.values()):
        if each.due and each.due <= time.monotonic():
            answer(each)
