# SPDX-License-Identifier: BSD-2-Clause
"""
keeper: a small HTTP server for the tests that keeps its connections as long as its clients do.

    keeper.py [--say TEXT] [--log] [--last-words TEXT]

Takes its sockets by LISTEN_FDS. GET answers TEXT, POST the length of its body, once it is there.
What asks for an upgrade gets a 101 and from then on whatever it sends, as an echo. TERM closes the
listeners; the process ends when its last connection has: answers say "Connection: close" from
then on, but a silent client is waited for, as long as it likes.

With --log each request, before it is answered, writes "PID NUMBER out" to stdout and "PID NUMBER
err" to stderr, numbered from 1, each by one write(2); --last-words go to both before the end.
"""

import argparse
import os
import selectors
import signal
import socket


class Keeper:
    def __init__(self, options):
        self.options = options
        self.selector = selectors.DefaultSelector()
        self.requests = 0
        self.connections = {}  # socket -> what it has sent and is not answered; None: upgraded
        self.draining = False

    # -- output

    def log(self):
        if not self.options.log:
            return
        self.requests += 1
        for fd, name in ((1, "out"), (2, "err")):
            os.write(fd, f"{os.getpid()} {self.requests} {name}\n".encode())

    # -- HTTP

    def answer(self, sock, body, close):
        last = close or self.draining
        word = "Connection: close\r\n" if last else ""
        self.log()
        sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{word}\r\n{body}".encode())
        return not last

    def request(self, sock):
        """Answer one request of those that are there; returns whether there may be more."""
        head, end, rest = self.connections[sock].partition(b"\r\n\r\n")
        if not end:
            return False
        lines = head.decode(errors="replace").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return False
        if "upgrade" in headers:
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                         b"Upgrade: echo\r\n\r\n")
            self.connections[sock] = None
            return False
        self.connections[sock] = rest[length:]
        body = f"length {length}\n" if lines[0].startswith("POST") else f"{self.options.say}\n"
        if self.answer(sock, body, headers.get("connection") == "close"):
            return True
        self.forget(sock)
        return False

    def forget(self, sock):
        self.selector.unregister(sock)
        del self.connections[sock]
        sock.close()

    def readable(self, sock):
        data = sock.recv(65536)
        if not data:
            self.forget(sock)
        elif self.connections[sock] is None:
            sock.sendall(data)
        else:
            self.connections[sock] += data
            while self.request(sock):
                pass

    # -- the loop

    def accept(self, listener):
        sock, _ = listener.accept()
        sock.setblocking(True)
        self.connections[sock] = b""
        self.selector.register(sock, selectors.EVENT_READ)

    def look(self, listeners, waker):
        for key, _ in self.selector.select():
            sock = key.fileobj
            try:
                if sock is waker:
                    waker.recv(1)
                    self.drain(listeners)
                elif sock in listeners:
                    self.accept(sock)
                elif sock in self.connections:
                    self.readable(sock)
            except BlockingIOError:
                pass  # another one was quicker
            except OSError:
                if sock in self.connections:
                    self.forget(sock)

    def drain(self, listeners):
        self.draining = True
        while listeners:
            listener = listeners.pop()
            self.selector.unregister(listener)
            listener.close()

    def run(self):
        listeners = [socket.socket(fileno=fd)
                     for fd in range(3, 3 + int(os.environ["LISTEN_FDS"]))]
        for listener in listeners:
            listener.setblocking(False)
            listener.listen(1024)
            self.selector.register(listener, selectors.EVENT_READ)
        waker, signaller = socket.socketpair()
        signaller.setblocking(False)
        signal.set_wakeup_fd(signaller.fileno())
        signal.signal(signal.SIGTERM, lambda *_: None)
        self.selector.register(waker, selectors.EVENT_READ)
        while not self.draining or self.connections:
            self.look(listeners, waker)
        if self.options.last_words:
            for fd in (1, 2):
                os.write(fd, f"{self.options.last_words}\n".encode())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--say", default="kept")
    parser.add_argument("--log", action="store_true")
    parser.add_argument("--last-words", default="")
    Keeper(parser.parse_args()).run()


main()
