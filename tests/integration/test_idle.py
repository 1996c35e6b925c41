# SPDX-License-Identifier: BSD-2-Clause
"""While nothing happens nobody wakes up, and yet nothing that happens then is missed."""

import os
import pathlib
import re
import signal
import time

from harness import check_equal, get, wait_until
from services import example, service
from test_listeners import fickle

WINDOW_S = 3


def wakes(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1])


def wait_idle(daemon, most):
    """Wait until the agent wakes up at most @most times in three seconds."""
    pid = daemon.generation()["instances"][0]["agent_pid"]
    counted = []

    def few():
        before = wakes(pid)
        time.sleep(WINDOW_S)
        counted.append(wakes(pid) - before)
        return counted[-1] <= most

    wait_until(few, lambda: f"at most {most} wake-ups in {WINDOW_S} s: {counted}")


def test_idle_agent_hardly_wakes_up_and_follows_a_socket(t):
    # It is unhealthy in the end, and is not to be replaced.
    daemon = t.daemon(fickle(t, "own", mode="native", health={"unhealthy": 1000},
                             restart={"max": 0}))
    wait_idle(daemon, 6)
    before = get().body
    os.kill(daemon.server_pid(), signal.SIGUSR2)
    wait_until(lambda: daemon.generation()["instances"][0]["sockets"] == 1, "one socket is left")
    check_equal(get().body, before, "who answers by the other socket")
    os.kill(daemon.server_pid(), signal.SIGUSR1)
    wait_until(lambda: daemon.service()["generations"][0]["instances"][0].get("lost"),
               "the loss is noticed")
    (t.tmp / "listen").touch()  # so that it hears of the end


def test_idle_agent_of_passed_sockets_hardly_wakes_up(t):
    wait_idle(t.daemon(service(example(t), mode="inherit")), 6)


def test_idle_agent_without_bpf_looks_by_itself_cbpf(t):
    wait_idle(t.daemon(service(example(t), mode="inherit", steering="cbpf")), 16)
