# SPDX-License-Identifier: BSD-2-Clause
"""succession: a server has replaced itself, and batond has noticed."""

import os
import pathlib
import time

from harness import check_equal, wait_until


def uptime(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (time.clock_gettime(time.CLOCK_BOOTTIME) -
            int(fields[19]) / os.sysconf("SC_CLK_TCK"))


def settle(pid, age_s):
    wait_until(lambda: uptime(pid) > age_s, f"pid {pid} is {age_s} seconds old",
               deadline_s=age_s + 60)


def check_succeeded(daemon, since, old, new):
    event = daemon.wait_event("succeeded", since=since)
    check_equal((event["pid"], event["succeeds"], event["instance"]), (new, old, 0), "succeeded")
    wait_until(lambda: daemon.server_pid() == new, "status has the successor's pid")
    check_equal([daemon.events(name, since=since) for name in ("exited", "restarted")], [[], []],
                "exits and restarts")
    check_equal(daemon.generation()["instances"][0]["restarts"], 0, "restarts")
