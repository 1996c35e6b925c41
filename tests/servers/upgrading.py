# SPDX-License-Identifier: BSD-2-Clause
"""
upgrading: servers that know a way of their own to be replaced: those in tests/servers/programs, and
nginx. Each is replaced by hand as its operator would do it without baton, by baton, and by itself
while baton watches.

A program with a fault is what an operator may meet, too: after break_program() every start of it
fails.
"""

import os
import re
import shutil
import signal
import socket

import servers
from harness import alive, check, check_equal, descendants, get, wait_until
from losing import sysctl
from services import service
from swaps import answers
from underway import Folders

PORT = servers.ADDRESS.split(":")[1]
ANSWERS_BETWEEN = 250  # two replacements
LISTENS = re.compile(r"^pid (\d+) listens$", re.MULTILINE)


class Server:
    """One server in the test @t. What differs from server to server is in the classes below."""

    name = mode = ""
    binary = None  # in tests/servers, where it is not called as the server is here
    typed = ()  # by an operator without baton
    upgrades = breaks = behind = True  # by itself; with a program that fails; behind baton, too
    environment = {}
    arguments = (PORT,)
    load = servers.LOAD

    def __init__(self, t):
        self.t = t
        self.program = self.t.tmp / (self.binary or self.name)
        self.failed = self.t.tmp / "failed"  # is there once a broken program was started
        self.started = []  # by hand
        self.install()

    def install(self):
        built = self.t.build / "tests/servers" / self.program.name
        check(built.is_file(), f"{built} is not built (make server-programs)")
        shutil.copy(built, self.program)

    def break_program(self):
        broken = self.t.file("broken", f"#!/bin/sh\ntouch {self.failed}\nexit 1\n", 0o755)
        os.replace(broken, self.program)

    # -- by hand

    def start(self):
        """Start one more. Returns the process."""
        process = self.t.spawn(self.name, self.program, *self.arguments)
        self.started.append(process)
        return process

    def listening(self):
        """The pids of those that have come to listen."""
        return [int(pid) for process in self.started for pid in LISTENS.findall(process.text())]

    def start_first(self):
        self.start()
        wait_until(self.listening, f"{self.name} listens")

    def replace(self):
        """As an operator does who looks at nothing else. Returns when the old one has ended."""
        raise NotImplementedError

    def stop(self):
        """End what is left of what was started by hand."""
        for pid in self.listening():
            if alive(pid):
                os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(alive(pid) for pid in self.listening()), "they end")

    # -- behind baton

    def config(self, **changes):
        return service([self.program, *self.arguments], environment=self.environment,
                       mode=self.mode, steering="ebpf", **changes)

    def upgrade(self, daemon):
        """Tell the server behind baton to replace itself."""
        os.kill(daemon.server_pid(), signal.SIGUSR2)


class Side(Server):
    """A second one is started beside the first, which is then told to end."""

    typed = ("./server &", "kill -TERM $OLD")
    ready = LISTENS  # what it says, or has said

    def replace(self):
        old = self.listening()[-1]
        new = self.start()
        wait_until(lambda: not new.running() or self.ready.search(new.text()),
                   "the new one is ready, or has failed")
        os.kill(old, signal.SIGTERM)
        wait_until(lambda: not alive(old), "the old one ends")
        wait_until(lambda: not new.running() or self.listening()[-1] != old, "the new one listens")


class Epoll(Side):
    name = "epoll"
    mode = "native"


class EpollMigrated(Epoll):
    """What is queued in the old one's socket when it closes moves to the new one's."""

    name = "epoll + migrate"
    typed = ("sysctl -w net.ipv4.tcp_migrate_req=1", *Epoll.typed)
    upgrades = breaks = behind = False
    binary = Epoll.name

    def start_first(self):
        sysctl("tcp_migrate_req", 1)
        super().start_first()

    def stop(self):
        super().stop()
        sysctl("tcp_migrate_req", 0)


class Asio(Side):
    """The new one cannot listen before the old one has ended."""

    name = "asio"
    mode = "transparent"
    ready = re.compile(r"^pid \d+ waits for its port$", re.MULTILINE)


class Itself(Server):
    """The first is told to start its successor, and ends by itself."""

    mode = "inherit"
    typed = ("kill -USR2 $OLD",)

    def replace(self):
        old = self.listening()[-1]
        os.kill(old, signal.SIGUSR2)
        wait_until(lambda: not alive(old), "the old one ends")


class Go(Itself):
    name = "go"
    arguments = (servers.ADDRESS,)


class ForkExec(Itself):
    name = "fork_exec"
    environment = {"FD": "{fd}"}


class Nginx(Server):
    """As a daemon: nginx refuses to replace itself while the parent that it began with lives."""

    name = "nginx"
    mode = "transparent"
    typed = ("kill -USR2 $(cat nginx.pid)", "kill -QUIT $(cat nginx.pid.oldbin)")

    def install(self):
        config = servers.nginx(self.t)
        self.program.symlink_to(config["command"][0])
        self.command = [str(self.program), *config["command"][1:]]
        self.command[-1] = self.command[-1].removeprefix("daemon off; ")

    def break_program(self):
        self.program.unlink()
        super().break_program()

    def config(self, **changes):
        return service(self.command, drain={"signal": "QUIT"}, mode=self.mode, steering="ebpf",
                       **changes)

    def pid_file(self, generation=0):
        return self.t.tmp / f"nginx.{generation}.pid"

    def start_first(self):
        command = [word.replace("{generation}", "0") for word in self.command]
        self.t.spawn(self.name, *command).wait()
        wait_until(serves, "its workers run: an earlier signal would go unheard")

    def listening(self):
        path = self.pid_file()
        text = path.read_text() if path.exists() else ""
        return [int(text)] if text.strip() else []

    def replace(self):
        self.replace_by(self.pid_file())

    def replace_by(self, path):
        """There is no second signal where the first has come to nothing."""
        old, oldbin = int(path.read_text()), path.with_name(path.name + ".oldbin")
        os.kill(old, signal.SIGUSR2)
        wait_until(lambda: oldbin.exists() or self.failed.exists(), "nginx starts its successor")
        wait_until(lambda: not oldbin.exists() or (path.exists() and path.read_text().strip()),
                   "the successor runs, or has failed")
        if path.read_text().strip() != str(old):
            os.kill(int(oldbin.read_text()), signal.SIGQUIT)
            wait_until(lambda: not alive(old), "the old one ends")

    def upgrade(self, daemon):
        self.replace_by(self.pid_file(daemon.current()))


class Held(ForkExec):
    """Its socket belongs to its parent, as those of systemd's socket units do: it waits meanwhile."""

    name = "held socket"
    binary = ForkExec.name
    typed = ("systemctl restart web.service (with web.socket)",)
    upgrades = breaks = behind = False
    held = None

    def start(self):
        if not self.held:
            self.held = socket.create_server(("127.0.0.1", int(PORT)), backlog=4096)
        fd = self.held.fileno()
        process = self.t.spawn(self.name, self.program, *self.arguments, pass_fds=[fd],
                               environment={"FD": str(fd)})
        self.started.append(process)
        return process

    def replace(self):
        old = self.listening()[-1]
        os.kill(old, signal.SIGTERM)
        wait_until(lambda: not alive(old), "the old one ends")
        self.start()
        wait_until(lambda: self.listening()[-1] != old, "the new one listens")

    def stop(self):
        super().stop()
        self.held.close()


class StartServer(ForkExec):
    """Server::Starter holds the socket, starts the new one and tells the old one to end."""

    name = "start_server"
    binary = ForkExec.name
    typed = ("kill -HUP $START_SERVER",)
    upgrades = breaks = behind = False

    def start(self):
        starter = servers.program("start_server", "libserver-starter-perl")
        process = self.t.spawn(
            self.name, starter, "--port", servers.ADDRESS, "--signal-on-hup=TERM", "--",
            "/bin/sh", "-c", f"FD=${{SERVER_STARTER_PORT##*=}} exec {self.program} {PORT}")
        self.started.append(process)
        return process

    def replace(self):
        old = self.listening()[-1]
        os.kill(self.started[0].pid, signal.SIGHUP)
        wait_until(lambda: not alive(old), "the old one ends")

    def stop(self):
        self.started[0].end()


class Proxied(Epoll):
    """HAProxy has the port; it is told where the new one is, and then that the old one goes."""

    name = "haproxy in front"
    binary = Epoll.name
    typed = ("./server 8002 &", "set server web/b state ready", "set server web/a state drain",
             "kill -TERM $OLD")
    upgrades = breaks = behind = False
    PORTS = {"a": 8001, "b": 8002}
    CONFIG = """\
global
	stats socket {tmp}/proxy.sock level admin
	maxconn 4000
	nbthread 2
defaults
	mode http
	timeout connect 5s
	timeout client 30s
	timeout server 30s
	option redispatch
frontend web
	bind 127.0.0.1:8080
	default_backend web
backend web
	server a 127.0.0.1:8001
	server b 127.0.0.1:8002 disabled
"""

    def start(self):
        at = "ab"[len(self.started) % 2]
        process = self.t.spawn(self.name, self.program, self.PORTS[at])
        self.started.append(process)
        return process

    def start_first(self):
        super().start_first()
        proxy = servers.program("haproxy", "haproxy")
        conf = self.t.file("proxy.cfg", self.CONFIG.format(tmp=self.t.tmp))
        self.proxy = self.t.spawn("proxy", proxy, "-f", conf)
        wait_until(serves, "the proxy serves")

    def order(self, text):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.t.tmp / "proxy.sock"))
            sock.sendall(text.encode() + b"\n")
            answer = sock.recv(4096).strip()
            check(not answer, f"{text}: {answer}")

    def replace(self):
        old, was, now = self.listening()[-1], *"abab"[(len(self.started) + 1) % 2:][:2]
        new = self.start()
        wait_until(lambda: self.ready.search(new.text()), "the new one is ready")
        self.order(f"set server web/{now} state ready")
        self.order(f"set server web/{was} state drain")
        os.kill(old, signal.SIGTERM)
        wait_until(lambda: not alive(old), "the old one ends")

    def stop(self):
        super().stop()
        self.proxy.end()


class Reloaded(Server):
    """A master replaces its workers. Behind baton the whole of it is replaced."""

    upgrades = breaks = False
    number = signal.SIGHUP

    def config(self, **changes):
        return {**self.found, "mode": self.mode, "steering": "ebpf", **changes}

    def start_first(self):
        command = [str(word).replace("{generation}", "1") for word in self.found["command"]]
        environment = {name: value.replace("{generation}", "1")
                       for name, value in self.found.get("environment", {}).items()}
        self.started.append(self.t.spawn(self.name, *command, environment=environment))
        wait_until(serves, f"{self.name} serves")

    def workers(self):
        """Those of the master, threads and helpers that it keeps left out."""
        return {pid for pid in descendants(self.started[0].pid) if alive(pid)}

    def replace(self):
        old = self.workers()
        os.kill(self.started[0].pid, self.number)
        wait_until(lambda: not old & self.workers(), "the old workers end")
        wait_until(self.workers, "new workers run")

    def stop(self):
        self.started[0].end()


class NginxReload(Reloaded):
    name = "nginx reload"
    mode = "transparent"
    typed = ("nginx -s reload",)

    def install(self):
        self.found = servers.nginx(self.t)


class Haproxy(Reloaded):
    name = "haproxy"
    mode = "native"
    typed = ("kill -USR2 $MASTER",)
    number = signal.SIGUSR2

    def install(self):
        self.found = servers.haproxy(self.t)


class Gunicorn(Reloaded):
    name = "gunicorn"
    mode = "transparent"
    typed = ("kill -HUP $MASTER",)

    def install(self):
        self.found = servers.gunicorn(self.t, "-b", servers.ADDRESS)


class Apache(Reloaded):
    name = "apache2"
    mode = "transparent"
    typed = ("apachectl graceful",)
    number = signal.SIGUSR1

    load = servers.FILES_LOAD
    swaps_most = 100

    def install(self):
        Folders(self.t, self.swaps_most + 1)
        self.found = servers.apache(self.t)


# Those that can replace themselves, and whatever else people take.
ALL = (Epoll, Go, Asio, ForkExec, Nginx)
INSTEAD = (EpollMigrated, Held, StartServer, Proxied, NginxReload, Haproxy, Gunicorn, Apache)


# ---- what is asked of each -----------------------------------------------------------------------

def answered(hammer, phase):
    """From when this returns the load has gone on for a while after what came before."""
    hammer.phase(phase)
    wait_until(lambda: answers(hammer.report(), phase) >= ANSWERS_BETWEEN, f"load in {phase}")


def nothing(_server):
    """Where nothing but the load's counts is asked for."""


def replaced_by_hand(server, swaps, measure=nothing):
    """The load's counts of @swaps replacements without baton. @measure: is called before them."""
    server.start_first()
    measure(server)
    hammer = server.t.hammer(*server.load)
    answered(hammer, "before")
    for number in range(swaps):
        hammer.say("swap begin")
        server.replace()
        hammer.say("swap end")
        answered(hammer, f"after-{number}")
    result = hammer.stop()
    server.stop()
    return result


def replaced_by_baton(server, swaps, measure=nothing):
    """The same, each with `baton restart`."""
    daemon = server.t.daemon(server.config())
    measure(server)
    hammer = server.t.hammer(*server.load)
    answered(hammer, "before")
    for number in range(swaps):
        hammer.say("swap begin")
        daemon.restart()
        hammer.say("swap end")
        answered(hammer, f"after-{number}")
    result = hammer.stop()
    check_equal(daemon.current(), 1 + swaps, "generation")
    daemon.stop()
    return result


def serves():
    """Does anybody answer?"""
    try:
        return get().status == 200
    except ConnectionError:
        return False


def survives_by_hand(server):
    """Does anybody serve after a replacement by a program that ends at once?"""
    server.start_first()
    server.break_program()
    server.replace()
    result = serves()
    server.stop()
    return result


def survives_by_baton(server):
    daemon = server.t.daemon(server.config())
    server.break_program()
    daemon.restart(expect=3)
    result = serves()
    daemon.stop()
    return result


def upgrades_itself(server, upgrades):
    """
    The server replaces itself @upgrades times under load while baton watches. Baton goes on with
    the successor: no restart is counted, and `baton restart` reaches it. Returns the load's counts.
    """
    t = server.t
    daemon = t.daemon(server.config())
    hammer = t.hammer(*server.load)
    answered(hammer, "before")
    generation = daemon.current()
    gone = set()
    for number in range(upgrades):
        old = daemon.pids(generation)
        server.upgrade(daemon)
        wait_until(lambda: daemon.pids(generation).isdisjoint(old), "the old one ends")
        gone |= old
        answered(hammer, f"after-{number}")
        wait_until(lambda: daemon.server_pid() in daemon.pids(generation), "its pid is known")
    check_equal(daemon.events("exited"), [], "exits told")
    check_equal(daemon.current(), generation, "generation")
    check_equal(daemon.generation()["instances"][0]["restarts"], 0, "restarts")
    last = daemon.pids(generation)
    check(last and last.isdisjoint(gone), "the successor is in the cgroup of its predecessor")
    daemon.restart()
    check(not any(alive(pid) for pid in last), "baton restart reaches the successor")
    answered(hammer, "restarted")
    return hammer.stop()
