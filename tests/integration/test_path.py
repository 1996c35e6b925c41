# SPDX-License-Identifier: BSD-2-Clause
"""What a connection pays for baton: counts that do not depend on how fast the machine is."""

import json
import os
import subprocess

from harness import check, timeout

# Runs of each program for a short connection. The kernel calls a sockops program twice for each SYN
# (BPF_SOCK_OPS_TIMEOUT_INIT, RWND_INIT), whatever it wants; once when the connection is established,
# and for each of its states from there on: five, whoever closes first.
CEILINGS = {"steer": 1, "tap_sockops": 8, "tap_setsockopt": 1}


@timeout(120)
def test_programs_run_no_more_often_for_a_connection_than_they_must(t):
    answer = f"{t.tmp}/path.json"
    done = subprocess.run([f"{os.path.dirname(__file__)}/../../bench/path", t.build, "2"],
                          env=dict(os.environ, BATON_BENCH_JSON=answer),
                          capture_output=True, text=True)
    check(done.returncode == 0, f"bench/path: {done.stdout}{done.stderr}")
    with open(answer) as file:
        measured = json.load(file)
    check(measured["connections"] > 100, f"connections: {measured}")
    for program, most in CEILINGS.items():
        runs = measured[program]["runs"]
        # Checks, and connections that are under way at the end, are not in the hammer's count.
        spare = 0.05 + 40 / measured["connections"]
        check(runs <= most + spare * most, f"{program} ran {runs} times a connection: {measured}")
