# SPDX-License-Identifier: BSD-2-Clause
"""python3 -m http.server: it shares nothing, takes no socket, and cannot drain."""

from harness import timeout
from servers import PYTHON_LOAD, by_generation, found, python, swapped


@timeout(600)
def test_python_transparent_swapped_10_times_under_load(t):
    swapped(t, python(t), "transparent", by_generation, PYTHON_LOAD)


def test_python_is_found_to_need_transparent(t):
    found(t, python(t), "transparent", by_generation, PYTHON_LOAD)
