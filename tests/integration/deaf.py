# SPDX-License-Identifier: BSD-2-Clause
"""
deaf: an HTTP server with a short accept queue, which it leaves alone when told.

    deaf.py [BACKLOG [FILE]]

Listens again on the socket it was passed, with BACKLOG (5). It answers every request, and accepts
nothing while FILE exists. TERM ends it.
"""

import os
import pathlib
import signal
import socket
import sys


def main():
    backlog = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    deaf = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    listener = socket.socket(fileno=3)
    listener.listen(backlog)
    listener.settimeout(0.1)
    while True:
        if deaf and deaf.exists():
            signal.sigtimedwait([], 0.05)
            continue
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(5)
            try:
                if connection.recv(65536):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
                                       b"Connection: close\r\n\r\nhello")
            except OSError:
                pass


main()
