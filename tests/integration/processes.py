# SPDX-License-Identifier: BSD-2-Clause
"""processes: what /proc says about one."""

import os
import pathlib


def status_of(pid):
    """The lines of /proc/PID/status: name -> text."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def ids_of(pid):
    """Users and groups: (set of the four uids, set of the four gids, set of supplementary gids)."""
    status = status_of(pid)
    return tuple({int(each) for each in status[name].split()} for name in ("Uid", "Gid", "Groups"))


def capabilities_of(pid):
    """Inheritable, permitted, effective, bounding and ambient set: each a mask of bits."""
    status = status_of(pid)
    return {name: int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}


def limit_of(pid, name):
    """(soft, hard) as in the lines of /proc/PID/limits: "Max open files"."""
    for line in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines():
        if line.startswith(name):
            soft, hard = line[len(name):].split()[:2]
            return soft, hard
    raise AssertionError(f"there is no limit {name!r}")


def nice_of(pid):
    return os.getpriority(os.PRIO_PROCESS, pid)


def oom_score_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text())


def directory_of(pid):
    return os.readlink(f"/proc/{pid}/cwd")
