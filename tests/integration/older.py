# SPDX-License-Identifier: BSD-2-Clause
"""older: what a batond of the version before leaves on a host, made of what was recorded of one."""

import pathlib
import shutil

from harness import wait_until
from recorded import FOLDER
from services import example

BEFORE = "1"  # the version of the protocol that is one back; see tests/recorded
LISTEN = ["127.0.0.1:8080", "[::1]:8080"]  # of the session that was recorded


def lay_out(t, config):
    """
    (daemon, folder of its agents): a daemon of this version that has not been started, with what
    the one before has noted.
    """
    daemon = t.daemon({**config, "listen": LISTEN}, start=False)
    agents = pathlib.Path("/run") / daemon.name / "agents"
    agents.mkdir(parents=True, mode=0o700)
    state = pathlib.Path("/var/lib") / daemon.name
    (state / "history").mkdir(parents=True, mode=0o700)
    shutil.copy(FOLDER / BEFORE / "state.json", state)
    shutil.copy(FOLDER / BEFORE / "events.jsonl", state)
    shutil.copy(FOLDER / BEFORE / "history.json", state / "history" / "web.json")
    return daemon, agents


def old_agent(t, daemon, agents, instance=0, speaks=BEFORE, note=False):
    """
    It runs, with its server, which is this instance of generation 1. @speaks: the version that it
    says; @note: it has noted how to go on.
    """
    server = [word.format(generation=1, instance=instance) for word in example(t)]
    process = t.spawn("old_agent", "/usr/bin/python3", "-B",
                      pathlib.Path(__file__).with_name("old_agent.py"), BEFORE, speaks,
                      instance, agents / f"web.1.{instance}.sock",
                      daemon.cgroup(1, instance=instance),
                      agents / f"web.1.{instance}.handover" if note else "-", *server)
    wait_until(lambda: "listening" in process.text(), "the old agent listens")
    return process
