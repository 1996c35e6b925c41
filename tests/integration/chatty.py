# SPDX-License-Identifier: BSD-2-Clause
"""
chatty: a server that tells its manager much.

    chatty.py STATUSES

Takes its socket by LISTEN_FDS and answers every request with its pid. Each request for /talk makes it
send STATUSES notifications first, one after the other.
"""

import contextlib
import os
import socket
import sys

statuses = int(sys.argv[1])
listener = socket.socket(fileno=3)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = os.environ["NOTIFY_SOCKET"]
notify.connect("\0" + address[1:] if address[0] == "@" else address)
notify.send(b"READY=1")
while True:
    connection, _ = listener.accept()
    with connection, contextlib.suppress(ConnectionError):  # a client may have had enough
        head = connection.recv(65536)
        if head.startswith(b"GET /talk "):
            for n in range(statuses):
                notify.send(b"STATUS=%d" % n)
        body = b"pid %d" % os.getpid()
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
