# SPDX-License-Identifier: BSD-2-Clause
"""pgbouncer, whose clients stay: on TERM it exits with status 0, in the middle of queries."""

import contextlib
import socket
import struct
import threading

from harness import DEADLINE_S, check_equal
from servers import pgbouncer
from underway import Client, cut, unharmed

DONE = b"C" + struct.pack("!i", 13) + b"SELECT 1\0"
READY = b"Z" + struct.pack("!i", 5) + b"I"


def message(kind, body):
    return kind + struct.pack("!i", 4 + len(body)) + body


def startup(user, database):
    body = struct.pack("!i", 3 << 16) + b"user\0%s\0database\0%s\0\0" % (user, database)
    return struct.pack("!i", 4 + len(body)) + body


class Database:
    """A PostgreSQL that answers each query with nothing; those of "slow" when let_go() is called."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.may_go = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def let_go(self):
        self.may_go.set()

    def accept(self):
        while True:
            sock, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with sock, contextlib.suppress(OSError, struct.error), sock.makefile("rb") as file:
            file.read(struct.unpack("!i", file.read(4))[0] - 4)
            sock.sendall(message(b"R", struct.pack("!i", 0)) +
                         message(b"S", b"server_version\x0015.0\0") +
                         message(b"K", struct.pack("!ii", 1, 1)) + READY)
            while True:
                kind = file.read(1)
                body = file.read(struct.unpack("!i", file.read(4))[0] - 4)
                if kind != b"Q":
                    return
                if b"slow" in body:
                    self.may_go.wait(DEADLINE_S)
                sock.sendall(DONE + READY)


class Query(Client):
    """A query that is not answered yet, right after one that was."""

    def __init__(self):
        super().__init__()
        self.ask(startup(b"web", b"web"), READY)
        self.ask(message(b"Q", b"SELECT 1\0"), READY)
        self.say(message(b"Q", b"SELECT slow\0"))

    def finish(self):
        return self.until_end(READY)


def test_pgbouncer_is_left_alone_until_its_clients_have_gone(t):
    database = Database()
    unharmed(t, pgbouncer(t, database.port), Query, database.let_go)


def test_pgbouncer_int_finishes_queries_and_then_closes(t):
    database = Database()
    config = pgbouncer(t, database.port)
    config["drain"] = {**config["drain"], "signal": "INT"}
    del config["drain"]["wait"]
    unharmed(t, config, Query, database.let_go)


def test_pgbouncer_is_found_to_inherit(t):
    daemon = t.daemon(pgbouncer(t, Database().port))
    check_equal(daemon.generation()["mode"], "inherit", "mode")


def test_pgbouncer_term_cuts_queries(t):
    config = pgbouncer(t, Database().port)
    del config["drain"]["wait"]
    cut(t, config, Query, "TERM")
