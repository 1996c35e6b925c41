# SPDX-License-Identifier: BSD-2-Clause
"""
While nothing happens nobody wakes up or keeps much, and yet nothing that happens then is missed.
"""

import os
import pathlib
import re
import signal
import time

from counts import Calls, check_ceilings, is_plain
from harness import check_equal, get, wait_until
from services import example, service
from test_listeners import answers, fickle

WINDOW_S = 3
TRIES = 20


def wakes(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1])


def private_kb(pid):
    """What a process has of memory that is in no file."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous:\s+(\d+) kB", rollup, re.M)[1])


def check_idle(t, daemon, name):
    """
    The agent wakes up no more often, and keeps no more, than is recorded for @name, once it has
    become calm.
    """
    pid = daemon.generation()["instances"][0]["agent_pid"]

    def count():
        before = wakes(pid)
        time.sleep(WINDOW_S)
        rows = {f"in {WINDOW_S} s, wake-ups": wakes(pid) - before}
        return {**rows, "private KB": private_kb(pid)} if is_plain(t.build) else rows
    check_ceilings(name, count, tries=TRIES)


def test_idle_agent_hardly_wakes_up_and_follows_a_socket(t):
    # It is unhealthy in the end, and is not to be replaced.
    daemon = t.daemon(fickle(t, "own", mode="native", health={"unhealthy": 1000},
                             restart={"max": 0}))
    check_idle(t, daemon, "idle agent of a server that binds")
    before = get().body
    os.kill(daemon.server_pid(), signal.SIGUSR2)
    wait_until(lambda: daemon.generation()["instances"][0]["sockets"] == 1, "one socket is left")
    check_equal(get().body, before, "who answers by the other socket")
    os.kill(daemon.server_pid(), signal.SIGUSR1)
    wait_until(lambda: daemon.service()["generations"][0]["instances"][0].get("lost"),
               "the loss is noticed")
    (t.tmp / "listen").touch()  # so that it hears of the end


def test_idle_agent_of_passed_sockets_hardly_wakes_up(t):
    check_idle(t, t.daemon(service(example(t), mode="inherit")), "idle agent")


def test_idle_agent_without_bpf_looks_by_itself_cbpf(t):
    check_idle(t, t.daemon(service(example(t), mode="inherit", steering="cbpf")),
               "idle agent without BPF")


def test_idle_agent_without_bpf_leaves_the_looking_to_batond_cbpf(t):
    """batond looks for all of them at once: N agents that look would cost N times N."""
    daemon = t.daemon(fickle(t, "own", mode="native", steering="cbpf", health={"unhealthy": 1000},
                             restart={"max": 0}))
    if is_plain(t.build):
        with Calls(t) as calls:
            def requests():
                before = calls.of_call("sendto", "agent")
                time.sleep(WINDOW_S)
                return {f"in {WINDOW_S} s, requests": calls.of_call("sendto", "agent") - before}
            check_ceilings("idle agent that looks for sockets, without BPF", requests, tries=TRIES)
    os.kill(daemon.server_pid(), signal.SIGUSR2)
    # Without BPF a connection that waits in the socket that goes is lost.
    wait_until(answers, "it is reached by the other socket")
    os.kill(daemon.server_pid(), signal.SIGUSR1)
    wait_until(lambda: daemon.service()["generations"][0]["instances"][0].get("lost"),
               "the loss is noticed")
    (t.tmp / "listen").touch()  # so that it hears of the end
