# SPDX-License-Identifier: BSD-2-Clause
"""
many_sockets: an HTTP server with many listening sockets.

    many_sockets.py N ADDRESS...

Binds N sockets with SO_REUSEPORT to each ADDRESS and answers on all of them, with its pid. TERM
closes the listeners once nothing waits there, and ends it.
"""

import os
import resource
import selectors
import signal
import socket
import sys


def listen(address):
    host, port = address.split(":")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, int(port)))
    listener.listen(128)
    listener.setblocking(False)
    return listener


def answer(listener):
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return False
    with connection:
        connection.settimeout(5)
        body = f"pid {os.getpid()}\n"
        try:
            if connection.recv(65536):
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
                                   f"Connection: close\r\n\r\n{body}".encode())
        except OSError:
            pass
    return True


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    ending = []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
    selector = selectors.DefaultSelector()
    listeners = [listen(address) for address in sys.argv[2:] for _ in range(int(sys.argv[1]))]
    for listener in listeners:
        selector.register(listener, selectors.EVENT_READ)
    while not ending:
        for key, _ in selector.select(0.1):
            answer(key.fileobj)
    for listener in listeners:
        while answer(listener):
            pass
        listener.close()


main()
