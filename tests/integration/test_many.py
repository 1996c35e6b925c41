# SPDX-License-Identifier: BSD-2-Clause
"""What a service of many costs batond, in numbers that no clock is part of. `bench/many` has the times."""

import os
import pathlib

from harness import check, wait_until
from services import example, service

FEW, MANY = 3, 9
FDS_MAX = 24  # descriptors of each service
PAGES_MAX_KB = 230  # of its own; libbpf's objects, which it kept before, took twice as much


def services(t, n):
    return {f"s{k}": service(example(t), listen=f"127.0.0.1:{9000 + k}") for k in range(n)}


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def private_kb(daemon):
    rollup = pathlib.Path(f"/proc/{daemon.pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in rollup.splitlines()
               if line.startswith("Private_"))


def start(t, n):
    """A daemon whose n services all serve, and of which each was restarted."""
    daemon = t.daemon(**services(t, n))
    for k in range(n):
        daemon.wait_state("running", service=f"s{k}")
    for k in range(n):
        daemon.cli("restart", f"s{k}", expect=0)
    return daemon


def test_many_services_keep_few_descriptors_and_pages_each(t):
    few = start(t, FEW)
    fds, pages_kb = descriptors(few), private_kb(few)
    few.stop()
    many = start(t, MANY)
    more = MANY - FEW
    # A helper, or an agent that is about to end, has some for a moment.
    wait_until(lambda: descriptors(many) - fds <= FDS_MAX * more,
               lambda: f"{FEW} services have {fds} descriptors, {MANY} have {descriptors(many)}")
    if t.build.name == "asan":
        return  # its malloc(3) gives nothing back
    wait_until(lambda: private_kb(many) - pages_kb <= PAGES_MAX_KB * more,
               lambda: f"{FEW} services take {pages_kb} KB, {MANY} take {private_kb(many)} KB")
    check(private_kb(many) > 0, "no pages are counted")
