# SPDX-License-Identifier: BSD-2-Clause
"""
underway: clients that are in the middle of something while their server is replaced. Each kind is a
class: it begins when it is made, and finish() goes on and returns whether all of it was answered.
"""

import contextlib
import os
import socket

from harness import DEADLINE_S, check, check_equal, wait_until
from services import merged

CLIENTS = 5
BIG = 12 << 20  # more than the kernel's buffers at both ends hold
WINDOW = 64 << 10


class Client:
    """One connection, and what it has received."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(("127.0.0.1", 8080))
        self.received = b""

    def close(self):
        self.sock.close()

    def say(self, data):
        """False: the connection has ended."""
        try:
            self.sock.sendall(data)
        except ConnectionError:
            return False
        return True

    def until(self, found):
        """Receive until @found(received). False: the connection has ended before."""
        while not found(self.received):
            try:
                chunk = self.sock.recv(1 << 20)
            except ConnectionError:
                return False
            if not chunk:
                return False
            self.received += chunk
        return True

    def until_end(self, end):
        return self.until(lambda received: received.endswith(end))

    def ask(self, data, end):
        """Something that is answered at once, with an answer that ends with @end."""
        check(self.say(data) and self.until_end(end), f"no answer to {data!r}: {self.received!r}")
        self.received = b""

    def get(self, path):
        check(self.say(f"GET {path} HTTP/1.1\r\nHost: baton\r\n\r\n".encode()), "ended at once")


class Download(Client):
    """A large answer has begun to come. It is not read meanwhile: the server cannot go on."""

    def __init__(self):
        super().__init__()
        self.get("/big")
        check(self.until(lambda received: b"\r\n\r\n" in received), "no answer to GET /big")
        self.length = self.received.index(b"\r\n\r\n") + 4 + BIG

    def finish(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BIG)
        return self.until(lambda received: len(received) >= self.length)


class Waiting(Client):
    """Nothing has been answered yet."""

    def __init__(self):
        super().__init__()
        self.get("/slow.cgi")

    def finish(self):
        return self.until(lambda received: b"slow answer" in received)


class Idle(Client):
    """A connection that is kept. The server may close it: nothing has been asked."""

    def __init__(self):
        super().__init__()
        self.get("/")
        check(self.until_end(b"generation 1\n"), f"no answer to GET /: {self.received!r}")

    def finish(self):
        return True


class Folders:
    """Documents for a server that reads files: a folder for each of @generations."""

    def __init__(self, t, generations):
        os.chmod(t.tmp, 0o755)
        self.go = t.tmp / "go"
        for generation in range(1, generations + 1):
            folder = t.tmp / "www" / str(generation)
            folder.mkdir(parents=True)
            (folder / "index.html").write_text(f"generation {generation}\n")
            (folder / "healthz").write_text("ok\n")
        with open(t.tmp / "www" / "1" / "big", "wb") as big:
            big.truncate(BIG)
        script = t.tmp / "www" / "1" / "slow.cgi"
        script.write_text(f"#!/bin/sh\nuntil [ -e {self.go} ]; do sleep 0.05; done\n"
                          "printf 'Content-Type: text/plain\\r\\n\\r\\nslow answer\\n'\n")
        script.chmod(0o755)

    def let_go(self):
        """What is slow can be answered."""
        self.go.write_text("")


# ---- what is asked of each -----------------------------------------------------------------------

def replaced(t, config, kind, go_on):
    """
    The server is replaced while CLIENTS of @kind are under way; they go on after @go_on(daemon, seq).
    Returns (how many of them were not answered in full, the drain's event, the last event).
    """
    config = merged(config, rollout={"settle_timeout": "300ms"})
    daemon = t.daemon({**config, "steering": "ebpf"})
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(kind())) for _ in range(CLIENTS)]
        wait_until(lambda: daemon.generation()["connections"]["live"] >= CLIENTS,
                   "they are counted")
        since = daemon.begin()
        go_on(daemon, since)
        lost = sum(not client.finish() for client in clients)
    end = daemon.wait_end(since)
    check_equal(end["event"], "done", "end")
    return lost, daemon.events("drain", since=since)[0], end


def unharmed(t, config, kind, let_go=lambda: None):
    """With the right setting nothing is lost."""
    def go_on(daemon, since):
        waits = config["drain"].get("wait") == "connections"
        daemon.wait_event("settle" if waits else "leave", since=since)
        let_go()
    lost, _, end = replaced(t, config, kind, go_on)
    check_equal((lost, end["cut"], end["cut_by_server"], end["exit"]), (0, 0, 0, 0),
                "lost, cut, cut by the server, exit status")


def cut(t, config, kind, signal):
    """With @signal all of it is lost, and told so."""
    config = merged(config, drain={"signal": signal})
    # Who reads on makes room for more: not before the server has ended.
    lost, drain, end = replaced(t, config, kind,
                                lambda daemon, since: daemon.wait_event("drain", since=since))
    check_equal((lost, end["cut_by_server"], end["exit"]), (CLIENTS, CLIENTS, 5),
                f"lost, cut by the server, exit status; {drain['message']}")
    for said in (f"{CLIENTS} connections were cut by the server",
                 f"does it drain on SIG{signal} (drain.signal)?"):
        check(said in end["message"], f"{said!r} is not in {end['message']!r}")
