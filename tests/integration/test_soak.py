# SPDX-License-Identifier: BSD-2-Clause
"""
`make soak`: an hour. In `make check` two minutes, and with sanitizers half of one, in which memory
is not looked at: they keep what is freed.
"""

import os
import time

from harness import long, timeout
from soak import soak

SECONDS = int(os.environ.get("SOAK_SECONDS", 120))
SEED = int(os.environ.get("SOAK_SEED", time.time_ns()))


@long
@timeout(600)
def test_soak(t):
    sanitized = t.build.name == "asan"
    soak(t, SECONDS / 4 if sanitized else SECONDS, SEED, measure_memory=not sanitized)
