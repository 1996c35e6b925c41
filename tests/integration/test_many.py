# SPDX-License-Identifier: BSD-2-Clause
"""What a service of many costs batond, in numbers that no clock is part of. `bench/many` has the times."""

import os
import pathlib

from counts import check_ceilings, is_plain, per_unit, settled
from services import example, service

FEW, MANY = 3, 9
TRIES = 60


def services(t, n):
    return {f"s{k}": service(example(t), listen=f"127.0.0.1:{9000 + k}") for k in range(n)}


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def private_kb(daemon):
    """In no file. "Private" were less while a helper, a copy of batond, shares the pages."""
    rollup = pathlib.Path(f"/proc/{daemon.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines()
                if line.startswith("Anonymous:"))


def start(t, n):
    """A daemon whose n services all serve, and of which each was restarted."""
    daemon = t.daemon(**services(t, n))
    for k in range(n):
        daemon.wait_state("running", service=f"s{k}")
    for k in range(n):
        daemon.cli("restart", f"s{k}", expect=0)
    return daemon


def test_many_services_keep_few_descriptors_and_pages_each(t):
    def kept(daemon):
        # A helper, or an agent that is about to end, has some for a moment.
        rows = {"descriptors": settled(lambda: descriptors(daemon), "the number of descriptors")}
        return {**rows, "private KB each": private_kb(daemon)} if is_plain(t.build) else rows
    few = start(t, FEW)
    before = kept(few)
    few.stop()
    many = start(t, MANY)
    # What a rollout took goes back a while after it.
    check_ceilings("service of many", lambda: per_unit(kept(many), before, MANY - FEW), tries=TRIES)
