# SPDX-License-Identifier: BSD-2-Clause
"""What checks ask, what they make of the answer, and what they leave behind."""

import contextlib
import pathlib
import resource
import socket
import subprocess

from harness import check, check_equal, wait_until
from services import SOON, example, reconfigure, service

OFTEN = {"http": "/healthz", "interval": "20ms"}


def health(daemon, instance=0):
    return daemon.generation()["instances"][instance]["health"]


@contextlib.contextmanager
def no_local_port():
    """As on a host whose clients have taken them all."""
    pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40019")
    taken = []

    def take():
        sock = socket.socket()
        try:
            sock.bind(("127.0.0.1", 0))
        except OSError:  # a check has one at the moment
            sock.close()
        else:
            taken.append(sock)
        return len(taken) == 20

    wait_until(take, "all ports to be taken")
    yield
    for sock in taken:
        sock.close()


@contextlib.contextmanager
def no_descriptor(daemon):
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    yield
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)


def last_is(daemon, words):
    found = [health(daemon, k) for k in range(2)]
    return all(words in each["last"] for each in found)


def test_checks_without_a_local_port_are_neither_good_nor_bad(t):
    daemon = t.daemon(service(example(t), instances=2, health=OFTEN))
    since = daemon.last_seq()
    with no_local_port():
        wait_until(lambda: last_is(daemon, "no local port left"), "checks that cannot be asked")
        check(all(health(daemon, k)["unasked"] for k in range(2)), "it says so")
        # Three bad answers in a row would make them unhealthy.
        ages = []
        wait_until(lambda: ages.append(health(daemon)["ago_ms"]) or
                   sum(b < a for a, b in zip(ages, ages[1:])) >= 6, "six of them")
        check_equal([health(daemon, k)["state"] for k in range(2)], ["healthy"] * 2, "states")
        reconfigure(daemon, health=SOON)
        result = daemon.cli("restart", "web", expect=3)
        check("no local port left" in result.text, f"no reason in {result}")
    wait_until(lambda: last_is(daemon, "200 OK"), "checks that are answered")
    check_equal([e["event"] for e in daemon.events(since=since)
                 if e["event"] in ("unhealthy", "replacing", "recovered")], [], "events")
    daemon.restart()


def test_checks_without_a_descriptor_are_neither_good_nor_bad(t):
    """The daemon cannot be asked meanwhile, either."""
    daemon = t.daemon(service(example(t), instances=2, health=OFTEN))
    since = daemon.last_seq()
    with no_descriptor(daemon):
        wait_until(lambda: "Too many open files" in daemon.process.text(), "a line in the log")
    wait_until(lambda: last_is(daemon, "200 OK"), "checks that are answered")
    check_equal([e["event"] for e in daemon.events(since=since)
                 if e["event"] in ("unhealthy", "replacing", "recovered")], [], "events")


def time_wait():
    return set(subprocess.run(["ss", "-Htan", "state", "time-wait"], capture_output=True, text=True,
                              check=True).stdout.splitlines())


def test_checks_leave_no_time_wait(t):
    for question in ({"http": "/healthz"}, {}):
        daemon = t.daemon(service(example(t), instances=2,
                                  health={"interval": "10ms", **question}))
        # At the start one may be given up before it is known that the server has accepted it.
        before = time_wait()
        ages = []
        wait_until(lambda: ages.append(health(daemon)["ago_ms"]) or
                   sum(b < a for a, b in zip(ages, ages[1:])) >= 50, "fifty checks")
        check_equal(time_wait() - before, set(),
                    f"connections in TIME_WAIT after {question or 'connect'}")
        daemon.end()
