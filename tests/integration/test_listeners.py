# SPDX-License-Identifier: BSD-2-Clause
"""Listening sockets that come and go while their server runs."""

import os
import pathlib
import signal

from harness import bodies, check, check_equal, get, wait_until
from services import SOON, example, generation_of, service
from swaps import check_unharmed

FICKLE = pathlib.Path(__file__).with_name("fickle.py")


def fickle(t, how, **changes):
    source = t.file("fickle.py", FICKLE.read_text())
    return service(["/usr/bin/python3", "-B", source, how, "{generation}"], **changes)


def answers():
    try:
        return get().status == 200
    except ConnectionError:
        return False


def comes_back(t, how, **changes):
    """haproxy: disable frontend, enable frontend. The kernel has emptied its slot meanwhile."""
    # It is unhealthy meanwhile, and is not to be replaced.
    daemon = t.daemon(fickle(t, how, health={"unhealthy": 1000}, restart={"max": 0}, **changes))
    os.kill(daemon.server_pid(), signal.SIGUSR1)
    wait_until(lambda: not answers(), "it does not listen")
    (t.tmp / "listen").touch()
    wait_until(answers, "it is reached again")
    check_equal({generation_of(body) for body in bodies(50)}, {1}, "generations that answer")
    daemon.restart()
    check_equal({generation_of(body) for body in bodies(50)}, {2}, "generations that answer")


def test_listener_that_comes_back_is_reached_again(t):
    comes_back(t, "passed")


def test_own_listener_that_comes_back_is_reached_again(t):
    comes_back(t, "own", mode="native")


def test_own_listener_that_comes_back_is_reached_again_cbpf(t):
    comes_back(t, "own", mode="native", steering="cbpf")


def test_listener_that_is_replaced_loses_nothing(t):
    daemon = t.daemon(fickle(t, "own", mode="native"))
    hammer = t.hammer("--short", 4, "--timeout", "30s", "--expect-status", 200)
    wait_until(lambda: hammer.report()["ok"] > 100, "load")
    for _ in range(3):
        before = hammer.report()["ok"]
        os.kill(daemon.server_pid(), signal.SIGUSR2)
        wait_until(lambda n=before: hammer.report()["ok"] > n + 300, "load on the other socket")
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")
    wait_until(lambda: daemon.generation()["instances"][0]["sockets"] == 1, "one socket is left")


def late(t, **changes):
    """Sockets are passed, but the server binds its own, late, and says READY=1 at once."""
    config = fickle(t, "late", health={"notify": True}, **changes)
    del config["health"]["http"]
    daemon = t.daemon(config)
    check_equal(daemon.generation()["mode"], "native", "mode")
    hammer = t.hammer("--short", 2, "--timeout", "30s", "--expect-status", 200)
    daemon.restart()
    check_unharmed(hammer)
    check_equal({generation_of(body) for body in bodies(50)}, {2}, "generations that answer")


def test_server_that_binds_late_is_not_shifted_to_by_an_unused_socket(t):
    late(t)


def test_server_that_binds_late_is_not_shifted_to_by_an_unused_socket_cbpf(t):
    late(t, steering="cbpf")


def test_clean_exit_that_leaves_a_child_is_an_exit(t):
    """Not a daemon: it has served already. It is started again."""
    daemon = t.daemon(fickle(t, "leaves-child"))
    pid = daemon.server_pid()
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: daemon.server_pid() not in (0, None, pid), "another server runs")
    check_equal(generation_of(get().body), 1, "generation that answers")


def test_server_on_another_port_than_declared_is_explained(t):
    # In a shell that has no sockets to give: it binds one.
    config = service(["/bin/sh", "-c", 'unset LISTEN_FDS; exec "$@"', "sh", *example(t), "--listen",
                      "127.0.0.1:8081"], health=SOON)
    daemon = t.daemon(config, start=False).start_unready()
    daemon.wait_state("failed")
    reason = daemon.service()["reason"]
    check("listens on 127.0.0.1:8081" in reason, f"reason: {reason}")
