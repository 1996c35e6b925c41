# SPDX-License-Identifier: BSD-2-Clause
"""
binder: a small HTTP server that can bind its sockets itself, and whose manners can be chosen.

    binder.py [--say TEXT] [--listen A:P]... [OPTION]...

Without --listen it takes the sockets that it is given (LISTEN_FDS). Every GET is answered with
"generation TEXT pid PID", every POST with that once its body has come; GET /upgrade changes to
another protocol, in which every byte is sent back; GET /slow takes --slow seconds. It says READY=1
to $NOTIFY_SOCKET. TERM closes the listening sockets; what has been accepted is finished.

With --succeed it starts a successor on USR2, by fork and execve: "inherited" with its listening
sockets, "own" without: it binds what --listen says, or else 127.0.0.1:8080. A process that HUP starts has the sockets, too, but is only "sleep".
"""

import argparse
import asyncio
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

BACKLOG = 4096
REQUEST_S = 60.0


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--say", default="0")
    parser.add_argument("--listen", action="append", default=[])
    parser.add_argument("--share", action="store_true", help="bind with SO_REUSEPORT")
    parser.add_argument("--sockets", type=int, default=1, help="of each address (with --share)")
    parser.add_argument("--defer-accept", type=int, help="TCP_DEFER_ACCEPT")
    parser.add_argument("--fast-open", type=int, help="TCP_FASTOPEN")
    parser.add_argument("--backlog", type=int, default=BACKLOG)
    parser.add_argument("--keeper", action="store_true",
                        help="a child that holds the listening sockets and does nothing else")
    parser.add_argument("--fork", action="store_true", help="serve in a child")
    parser.add_argument("--daemonize", action="store_true", help="fork twice; the parent exits")
    parser.add_argument("--execute-again", action="store_true", help="exec itself before it binds")
    parser.add_argument("--bind-after", type=float, default=0.0, help="seconds")
    parser.add_argument("--waves-goodbye", type=pathlib.Path,
                        help="write this file on TERM: a line with the pid")
    parser.add_argument("--succeed", choices=("inherited", "own"))
    parser.add_argument("--slow", type=float, default=1.0)
    parser.add_argument("--idle-grace", type=float, default=0.1,
                        help="draining: the next request of a connection may be on its way")
    parser.add_argument("--sync", action="store_true", help="one request at a time, no epoll")
    return parser.parse_args()


# ---- sockets -------------------------------------------------------------------------------------

def bound(text, share):
    """A socket for A:P, [A]:P or :P, bound as most servers would; [::ffff:A]:P as Java does A:P."""
    host, _, port = text.rpartition(":")
    family = socket.AF_INET if host and host[0] != "[" else socket.AF_INET6
    host = host.strip("[]")
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        only = host and not host.startswith("::ffff:")
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if only else 0)
    sock.bind((host or "::", int(port)))
    return sock


def listeners(options):
    if "BINDER_FDS" in os.environ:
        return [socket.socket(fileno=int(fd)) for fd in os.environ["BINDER_FDS"].split(",")]
    if "BINDER_OWN" in os.environ and not options.listen:
        return [bound("127.0.0.1:8080", True)]
    if not options.listen:
        return [socket.socket(fileno=fd) for fd in range(3, 3 + int(os.environ["LISTEN_FDS"]))]
    time.sleep(options.bind_after)
    return [bound(text, options.share) for text in options.listen for _ in range(options.sockets)]


def prepare(sock, options):
    sock.setblocking(False)
    if options.defer_accept is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, options.defer_accept)
    if options.fast_open is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, options.fast_open)
    sock.listen(options.backlog)


def start(command, socks, **environment):
    """Start @command with @socks open."""
    subprocess.Popen(command, pass_fds=[sock.fileno() for sock in socks],
                     env={**os.environ, **environment})


def start_successor(options, socks):
    """Its sockets, if it inherits them, are these."""
    command = [sys.executable, "-B", *sys.argv]
    if options.succeed == "inherited":
        start(command, socks, BINDER_FDS=",".join(str(sock.fileno()) for sock in socks))
    else:
        start(command, [], BINDER_OWN="1")


# ---- serving -------------------------------------------------------------------------------------

class Server:
    def __init__(self, options):
        self.options = options
        self.draining = asyncio.Event()
        self.connections = set()

    def answer(self, more):
        body = f"generation {self.options.say} pid {os.getpid()}\n"
        return (f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
                f"Connection: {'keep-alive' if more else 'close'}\r\n\r\n{body}").encode()

    async def head(self, reader, first):
        """The next request's head; None where none will come."""
        read = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        drain = asyncio.ensure_future(self.draining.wait())
        try:
            await asyncio.wait({read} if first else {read, drain}, timeout=REQUEST_S,
                               return_when=asyncio.FIRST_COMPLETED)
            if not read.done() and self.draining.is_set():
                await asyncio.wait({read}, timeout=self.options.idle_grace)
            if not read.done():
                return None
            return read.result().decode(errors="replace")
        finally:
            read.cancel()
            drain.cancel()

    async def serve(self, reader, writer):
        first = True
        while (head := await self.head(reader, first)) is not None:
            first = False
            fields = dict(line.lower().split(":", 1) for line in head.split("\r\n") if ":" in line)
            if head.startswith("GET /upgrade "):
                return await self.echo(reader, writer)
            await reader.readexactly(int(fields.get("content-length", 0)))
            if head.startswith("GET /slow "):
                await asyncio.sleep(self.options.slow)
            more = "close" not in fields.get("connection", "") and not self.draining.is_set()
            writer.write(self.answer(more))
            await writer.drain()
            if not more:
                break

    async def echo(self, reader, writer):
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n"
                     b"Connection: upgrade\r\nUpgrade: echo\r\n\r\n")
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()

    async def connection(self, reader, writer):
        task = asyncio.current_task()
        self.connections.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            await self.serve(reader, writer)
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()
        self.connections.discard(task)

    async def run(self, socks):
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.draining.set)
        loop.add_signal_handler(signal.SIGHUP, start, ["/bin/sleep", "1000"], socks)
        if self.options.succeed:
            loop.add_signal_handler(signal.SIGUSR2, start_successor, self.options, socks)
        servers = [await asyncio.start_server(self.connection, sock=sock,
                                              backlog=self.options.backlog) for sock in socks]
        notify("READY=1")
        await self.draining.wait()
        if self.options.waves_goodbye:
            with self.options.waves_goodbye.open("a") as file:
                print(os.getpid(), file=file)
        # What is in the accept queue by now is ours: let the loop accept it, then close.
        await asyncio.sleep(0)
        for sock in socks:
            loop.remove_reader(sock)
        # What was accepted a moment ago is no connection yet, and a server that is closed before it
        # is one drops it (Python up to 3.11 asserts that it is open).
        for _ in range(20):
            await asyncio.sleep(0)
        for server in servers:
            server.close()
        while self.connections:
            await asyncio.wait(self.connections)


def serve_in_turn(sock, options):
    """As a worker without threads: accept, answer after a while, and so on."""
    sock.setblocking(True)
    if options.succeed:
        signal.signal(signal.SIGUSR2, lambda *_: start_successor(options, [sock]))
    goes_on = [True]
    signal.signal(signal.SIGTERM, lambda *_: goes_on.clear())
    signal.siginterrupt(signal.SIGTERM, True)
    notify("READY=1")
    while goes_on:
        sock.settimeout(0.1)
        try:
            connection, _ = sock.accept()
        except TimeoutError:
            continue
        connection.settimeout(60)
        with connection, contextlib.suppress(OSError):  # a client may have had enough
            head = connection.recv(4096)
            time.sleep(options.slow if b"/slow" in head else 0)
            connection.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
                               f"generation {options.say} pid {os.getpid()}\n".encode())
    sys.exit(0)


def notify(text):
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + address[1:] if address[0] == "@" else address)
            sock.send(text.encode())


def leave_parent():
    """Fork; the parent exits, at once and with success."""
    if os.fork():
        os._exit(0)


def main():
    options = arguments()
    if options.execute_again and "EXECUTED" not in os.environ:
        os.environ["EXECUTED"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    if options.daemonize:
        leave_parent()
        os.setsid()
        leave_parent()
    socks = listeners(options)
    for sock in socks:
        prepare(sock, options)
    if options.sync:
        serve_in_turn(socks[0], options)
    if options.keeper and not os.fork():
        while True:
            signal.pause()
    if options.fork:
        child = os.fork()
        if child:
            signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
            for sock in socks:
                sock.close()
            os.waitpid(child, 0)
            return
    asyncio.run(Server(options).run(socks))


main()
