# SPDX-License-Identifier: BSD-2-Clause
"""The API under hostile clients: it answers those who may give orders, and harms no rollout."""

import contextlib
import os
import resource
import socket
import threading
import time

from harness import ApiConnection, check, check_equal, send_signal, wait_until
from services import example, service, soon_ms
from swaps import check_unharmed, gentle

NOBODY, NOGROUP = 65534, 65534


def connect(daemon):
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.connect(str(daemon.api_socket))
    return sock


def say(sock, data):
    with contextlib.suppress(OSError):  # it may have been sent away
        sock.send(data)


def close(socks):
    for sock in socks:
        sock.close()


def answers(daemon):
    check_equal(daemon.api("/v1/services/web")[0], 200, "GET /v1/services/web")


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lines(daemon, text):
    return [line for line in daemon.process.text().splitlines() if text in line]


# ---- clients that come and go --------------------------------------------------------------------

def test_api_hostile_clients_that_come_and_go(t):
    daemon = t.daemon(service(example(t)))
    for count in (63, 64, 65, 200):
        for said in (b"", b"GET /v1/serv", b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: b\r\n\r\n",
                     b"GET /v1/services HTTP/1.1\r\nHost: b\r\n\r\n"):
            socks = []
            for _ in range(count):
                socks.append(connect(daemon))
                say(socks[-1], said)
            close(socks)
            answers(daemon)
    # They are said to be there, but not one by one.
    check(len(daemon.process.text().splitlines()) < 60, daemon.process.text)
    daemon.cli("status", expect=0)


# ---- beside a rollout ----------------------------------------------------------------------------

class HalfOpen:
    """A thousand connections without a whole request: who is sent away comes again."""

    def __init__(self, daemon, count=1000):
        self.daemon = daemon
        self.ends = False
        self.again = 0
        self.socks = [self.connect() for _ in range(count)]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def connect(self):
        sock = connect(self.daemon)
        say(sock, b"GET /v1/services HTTP/1.1\r\nHost")
        return sock

    def is_gone(self, sock):
        try:
            return not sock.recv(4096) or self.is_gone(sock)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def run(self):
        while not self.ends:
            for k, sock in enumerate(self.socks):
                if self.is_gone(sock):
                    sock.close()
                    self.socks[k] = self.connect()
                    self.again += 1
            time.sleep(0.2)

    def end(self):
        self.ends = True
        self.thread.join()
        close(self.socks)


def timed(function):
    began = time.monotonic()
    function()
    return time.monotonic() - began


@contextlib.contextmanager
def many_files():
    """This process, and what it starts meanwhile, may open thousands of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_api_hostile_half_open_clients_beside_rollouts(t):
    daemon = t.daemon(service(example(t)))
    hammer = gentle(t)
    alone_s = max(timed(daemon.restart) for _ in range(2))
    with many_files():
        crowd = HalfOpen(daemon)
        try:
            beside_s = min(timed(daemon.restart) for _ in range(2))
            for _ in range(20):
                check(timed(lambda: answers(daemon)) < soon_ms(5) / 1000, "the API is slow")
        finally:
            crowd.end()
    check(crowd.again > 0, "nobody had to make room")
    # A busy machine has its ups and downs.
    alone_s = max(alone_s, timed(daemon.restart))
    check(beside_s < 2 * alone_s + 3, f"a rollout took {beside_s} s, and {alone_s} s alone")
    check_unharmed(hammer)


# ---- another account -----------------------------------------------------------------------------

class Stranger:
    """A process of another account that opens connections, each with the same request."""

    SCRIPT = """
import os, socket, sys, time
path, uid, count, said = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.setgroups([]); os.setgid(65534); os.setuid(uid)
socks = []
for _ in range(count):
    s = socket.socket(socket.AF_UNIX); s.settimeout(50)
    try:
        s.connect(path)
    except OSError as error:
        print(type(error).__name__, flush=True)
        continue
    try:
        s.sendall(said.encode().decode("unicode_escape").encode())
    except OSError:
        pass
    if said:
        print((s.recv(65536) or b"none").split(b"\\r\\n")[0].decode(), flush=True)
    socks.append(s)
print("all", flush=True)
for s in socks:
    while s.recv(65536):
        pass
    print("ended", flush=True)
"""

    def __init__(self, t, daemon, count, said="", uid=NOBODY):
        self.process = t.spawn(f"uid-{uid}", "/usr/bin/python3", "-S", "-c", self.SCRIPT,
                               daemon.api_socket, uid, count, said)
        wait_until(lambda: "all" in self.lines(), lambda: f"it has asked: {self.lines()}")

    def lines(self):
        return self.process.text().splitlines()

    def end(self):
        self.process.end()


def grouped(t, group="nogroup"):
    daemon = t.daemon(service(example(t)), start=False)
    daemon.config["api"] = {"group": group}
    return daemon.start()


REQUEST = r"GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n"
ORDER = r"POST /v1/services/web/stop HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n"
FOLLOW = r"GET /v1/events?follow=1 HTTP/1.1\r\nHost: b\r\n\r\n"
OK, BUSY = "HTTP/1.1 200 OK", "HTTP/1.1 503 Service Unavailable"


def test_api_hostile_reader_has_its_share_only(t):
    daemon = grouped(t)
    followers = Stranger(t, daemon, 10, FOLLOW)
    check_equal(followers.lines()[:10], [OK] * 8 + [BUSY] * 2, "followers of one account")
    silent = Stranger(t, daemon, 100)
    # Its own silent ones make room for it, its followers do not.
    check_equal(Stranger(t, daemon, 2, REQUEST).lines()[:2], [OK] * 2, "its own requests")
    check_equal(Stranger(t, daemon, 1, FOLLOW, uid=NOBODY - 1).lines()[0], OK, "another account")
    check_equal(Stranger(t, daemon, 1, ORDER).lines()[0], "HTTP/1.1 403 Forbidden", "an order")
    check_equal(followers.lines().count("ended"), 0, "followers that were sent away")
    daemon.cli("restart", "web", expect=0)
    check_equal(len(lines(daemon, f"uid {NOBODY}: a further follower of events")), 1,
                "lines in the log")
    followers.end()
    silent.end()
    wait_until(lambda: Stranger(t, daemon, 1, FOLLOW).lines()[0] == OK, "there is room again")


def test_api_hostile_change_of_the_group_takes_effect_at_once(t):
    daemon = grouped(t)
    check_equal(daemon.api_socket.stat().st_mode & 0o777, 0o660, "mode")
    check_equal(daemon.api_socket.stat().st_gid, NOGROUP, "group")
    followers = Stranger(t, daemon, 2, FOLLOW)
    idle = Stranger(t, daemon, 1, REQUEST)
    check_equal(followers.lines()[:2], [OK] * 2, "followers")
    own = ApiConnection(daemon.api_socket)
    own.request("GET", "/v1/events?follow=1")

    del daemon.config["api"]
    daemon.write_config()
    daemon.cli("reload", expect=0)
    check_equal(daemon.api_socket.stat().st_mode & 0o777, 0o600, "mode")
    wait_until(lambda: followers.lines().count("ended") == 2, "followers are sent away")
    wait_until(lambda: "ended" in idle.lines(), "idle ones are sent away")
    check_equal(Stranger(t, daemon, 1, REQUEST).lines()[0], "PermissionError", "a new one")
    check_equal(own.getresponse().status, 200, "root's own follower")
    own.close()

    daemon.config["api"] = {"group": "nogroup"}
    daemon.write_config()
    send_signal(daemon.pid, 1)
    wait_until(lambda: Stranger(t, daemon, 1, REQUEST).lines()[0] == OK, "the group is back")


# ---- without descriptors -------------------------------------------------------------------------

def open_files(pid, soft):
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    return hard


def test_api_hostile_no_descriptors_and_back(t):
    daemon = t.daemon(service(example(t), health={"http": "/healthz", "interval": "100ms",
                                                  "unhealthy": 2}))
    since = daemon.last_seq()
    follower = ApiConnection(daemon.api_socket)
    follower.request("GET", "/v1/events?follow=1")
    soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    check_equal(soft, hard, "batond's own limit: it has raised that at its start")
    open_files(daemon.pid, 10)
    waiting = [connect(daemon) for _ in range(20)]
    for sock in waiting:
        say(sock, b"GET /healthz HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
    wait_until(lambda: lines(daemon, "api: no connection can be taken"), "the log tells")
    before = cpu_s(daemon.pid)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 3, "time has passed")
    spent, passed = cpu_s(daemon.pid) - before, time.monotonic() - began
    check(spent < 0.2 * passed, f"batond spins: {spent} s of {passed}")
    open_files(daemon.pid, hard)
    # Nobody was lost: those who wait are answered, too.
    for sock in waiting:
        sock.settimeout(60)
        check(sock.recv(100).startswith(b"HTTP/1.1 200"), "a client that has waited")
    close(waiting)
    daemon.cli("status", expect=0)
    answers(daemon)
    check_equal(len(lines(daemon, "api: no connection can be taken")), 1, "lines in the log")
    check_equal([each["message"] for each in daemon.events("unhealthy", since=since)], [],
                "instances that were called unhealthy")
    check_equal(follower.getresponse().status, 200, "the follower's answer")
    follower.close()
    daemon.restart()


def descriptors_at_rest(daemon):
    """The fewest that are seen: a check or a helper may have some for a moment."""
    seen = []
    end = time.monotonic() + 1
    while time.monotonic() < end:
        seen.append(len(os.listdir(f"/proc/{daemon.pid}/fd")))
        time.sleep(0.02)
    return min(seen)


def test_api_hostile_clients_leave_batond_descriptors(t):
    daemon = grouped(t)
    soft = descriptors_at_rest(daemon) + 50
    open_files(daemon.pid, soft)
    followers = [Stranger(t, daemon, 8, FOLLOW, uid=NOBODY - k) for k in range(4)]
    found = [line for each in followers for line in each.lines()[:8]]
    check(found.count(OK) <= 20 and found.count(BUSY) >= 10, f"{found}")
    silent = [connect(daemon) for _ in range(100)]
    answers(daemon)
    # There are enough left for a rollout.
    daemon.cli("restart", "web", expect=0)
    check_equal(daemon.cli("status", "web", expect=0).err, "", "what status says beside")
    close(silent)
    for each in followers:
        each.end()


# ---- expensive answers ---------------------------------------------------------------------------

def test_api_hostile_lists_of_connections_hold_up_nobody(t):
    daemon = t.daemon(service(example(t)))
    with many_files():
        clients = [socket.create_connection(("127.0.0.1", 8080)) for _ in range(2000)]
        # More than a socket holds: whoever does not read it keeps it.
        path = b"GET /v1/services/web/connections?limit=100000 HTTP/1.1\r\nHost: b\r\n\r\n"
        asking = [connect(daemon) for _ in range(60)]
        for sock in asking:
            say(sock, path)
        longest_s = max(timed(lambda: daemon.api("/healthz")) for _ in range(50))
        check(longest_s < soon_ms(5) / 1000, f"an answer took {longest_s} s")
        found = []
        for sock in asking:
            sock.settimeout(60)
            found.append(sock.recv(65536).split(b"\r\n")[0].decode())
        check_equal({line: found.count(line) for line in found}, {OK: 8, BUSY: 52}, "answers")
        close(asking + clients)
