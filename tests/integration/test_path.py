# SPDX-License-Identifier: BSD-2-Clause
"""What a connection pays for baton: counts that do not depend on how fast the machine is."""

import json
import os
import subprocess

from counts import check_ceilings
from harness import check, timeout

# Each has a ceiling for its runs for a short connection. The kernel calls a sockops program twice for each SYN
# (BPF_SOCK_OPS_TIMEOUT_INIT, RWND_INIT), whatever it wants; once when the connection is established,
# and for each of its states from there on: five, whoever closes first.
PROGRAMS = ("steer", "tap_sockops", "tap_setsockopt")


@timeout(120)
def test_programs_run_no_more_often_for_a_connection_than_they_must(t):
    answer = f"{t.tmp}/path.json"

    def runs():
        done = subprocess.run([f"{os.path.dirname(__file__)}/../../bench/path", t.build, "2"],
                              env=dict(os.environ, BATON_BENCH_JSON=answer),
                              capture_output=True, text=True)
        check(done.returncode == 0, f"bench/path: {done.stdout}{done.stderr}")
        with open(answer) as file:
            measured = json.load(file)
        n = measured["connections"]
        check(n > 100, f"connections: {measured}")
        # Checks, and connections that are under way at the end, are not in the hammer's count.
        return {f"{program} runs": measured[program]["runs"] * n / (n + 40)
                for program in PROGRAMS}
    check_ceilings("short connection", runs)
