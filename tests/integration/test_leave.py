# SPDX-License-Identifier: BSD-2-Clause
"""batond leaves by an order or by SIGUSR2: all else goes on, and the next one takes it over."""

import os
import pathlib
import shutil
import signal

from harness import (alive, begin_post, bodies, check, check_equal, connect, read_response,
                     stat_of, timeout, wait_until)
from rollouts import settled
from services import example, generation_of, service
from swaps import GENTLE, check_unharmed

STEPS = ("start", "verify", "shift", "leave")  # an event each, when it has been done
LEAVES = int(os.environ.get("BATON_LEAVES", "8"))


def leave(daemon, by_signal=False):
    """It ends by itself, with exit status 0."""
    if by_signal:
        daemon.process.popen.send_signal(signal.SIGUSR2)
    else:
        daemon.cli("leave", expect=0)
    check_equal(daemon.process.wait(), 0, f"exit status of batond: {daemon.process.text()}")


def test_leave_ends_batond_and_nothing_else(t):
    daemon = t.daemon(service(example(t), instances=2))
    pids = sorted(daemon.pids(1))
    result = daemon.cli("leave", expect=0)
    check_equal(result.out, f"batond (pid {daemon.pid}) has left; 1 service with 2 instances goes "
                "on\n", "what is said")
    check_equal(daemon.process.wait(), 0, "exit status")
    check("leaving: servers and agents go on" in daemon.process.text(), daemon.process.text())
    check_equal(sorted(daemon.pids(1)), pids, "its servers")
    check_equal({generation_of(body) for body in bodies(20)}, {1}, "answers without batond")
    check("no daemon called" in daemon.cli("leave", expect=7).text, "a second leave")
    daemon.start()
    check_equal(sorted(daemon.pids(1)), pids, "its servers under the next batond")
    check_equal(daemon.service()["generations"][0]["instances"][0]["restarts"], 0, "restarts")


def test_leave_is_refused_while_everything_is_stopped(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "30s"}))
    with begin_post() as sock:
        daemon.process.popen.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in daemon.process.text(), "it stops")
        result = daemon.cli("leave", expect=1)
        check("everything is being stopped" in result.text, result.text)
        daemon.process.popen.send_signal(signal.SIGUSR2)
        wait_until(lambda: "SIGUSR2 changes nothing" in daemon.process.text(), "it is told")
        check(alive(daemon.pid), "batond has gone on stopping")
        sock.sendall(b"67890")
        check_equal(read_response(sock).status, 200, "answer")
    check_equal(daemon.process.wait(), 0, "exit status")


def test_leave_says_which_connections_could_not_wait_on(t):
    """Without an instance nobody is there to keep them."""
    daemon = t.daemon(service(example(t)))
    for order in ("pause", "stop"):
        daemon.cli(order, "web", expect=0)
    with connect():
        wait_until(lambda: daemon.service()["endpoints"][0]["held"] == 1, "one waits")
        result = daemon.cli("leave", expect=0)
    check("1 connection that waited was reset: no instance could keep it" in result.text,
          result.text)
    daemon.process.wait()


@timeout(600)
def test_leaving_again_and_again_loses_nothing(t):
    """Each second time in the midst of a rollout. BATON_LEAVES=200 is the long way."""
    daemon = t.daemon(service(example(t)))
    hammer = t.hammer(*GENTLE)
    for n in range(LEAVES):
        if n % 2:
            since = daemon.begin()
            daemon.wait_event(STEPS[n // 2 % len(STEPS)], since=since)
        leave(daemon, by_signal=n % 4 > 1)
        daemon.start()
        wait_until(lambda: settled(daemon), f"one generation after leave {n}")
    check_unharmed(hammer, 20 * LEAVES)


def test_package_upgrade_under_a_running_batond_changes_nothing(t):
    """New programs come in the place of the old ones, of which batond goes on using its own."""
    daemon = t.daemon(service(example(t)), start=False)
    programs = t.tmp / "programs"
    programs.mkdir()
    for name in ("batond", "baton-agent", "baton"):
        shutil.copy(t.program(name), programs / name)
    daemon.program_dir = programs
    daemon.start()
    for name in ("batond", "baton-agent"):
        (programs / "new").write_text("#!/bin/sh\nexit 1\n")
        (programs / "new").chmod(0o755)
        (programs / "new").rename(programs / name)
    daemon.restart()
    check_equal(daemon.current(), 2, "generation")
    # It is not called by the number of a descriptor.
    agent = stat_of(daemon.server_pid())[1]
    check_equal(pathlib.Path(f"/proc/{agent}/comm").read_text(), "baton-agent\n", "its name")
