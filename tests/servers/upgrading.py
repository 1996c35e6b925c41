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

import servers
from harness import alive, check, check_equal, get, wait_until
from services import service
from swaps import answers

PORT = servers.ADDRESS.split(":")[1]
ANSWERS_BETWEEN = 250  # two replacements
LISTENS = re.compile(r"^pid (\d+) listens$", re.MULTILINE)


class Server:
    """One server in the test @t. What differs from server to server is in the classes below."""

    name = mode = ""
    typed = ()  # by an operator without baton
    environment = {}
    arguments = (PORT,)

    def __init__(self, t):
        self.t = t
        self.program = self.t.tmp / self.name
        self.failed = self.t.tmp / "failed"  # is there once a broken program was started
        self.started = []  # by hand
        self.install()

    def install(self):
        built = self.t.build / "tests/servers" / self.name
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


ALL = (Epoll, Go, Asio, ForkExec, Nginx)


# ---- what is asked of each -----------------------------------------------------------------------

def answered(hammer, phase):
    """From when this returns the load has gone on for a while after what came before."""
    hammer.phase(phase)
    wait_until(lambda: answers(hammer.report(), phase) >= ANSWERS_BETWEEN, f"load in {phase}")


def replaced_by_hand(server, swaps, load=servers.LOAD):
    """The load's counts of @swaps replacements without baton."""
    server.start_first()
    hammer = server.t.hammer(*load)
    answered(hammer, "before")
    for number in range(swaps):
        hammer.say("swap begin")
        server.replace()
        hammer.say("swap end")
        answered(hammer, f"after-{number}")
    result = hammer.stop()
    server.stop()
    return result


def replaced_by_baton(server, swaps, load=servers.LOAD):
    """The same, each with `baton restart`."""
    daemon = server.t.daemon(server.config())
    hammer = server.t.hammer(*load)
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


def upgrades_itself(server, upgrades, load=servers.LOAD):
    """
    The server replaces itself @upgrades times under load while baton watches. Baton goes on with
    the successor: no restart is counted, and `baton restart` reaches it. Returns the load's counts.
    """
    t = server.t
    daemon = t.daemon(server.config())
    hammer = t.hammer(*load)
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
