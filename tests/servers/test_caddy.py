# SPDX-License-Identifier: BSD-2-Clause
"""caddy, a static Go program: no library of ours could be preloaded into it."""

from harness import timeout
from servers import by_generation, caddy, found, swapped


@timeout(600)
def test_caddy_native_swapped_10_times_under_load(t):
    swapped(t, caddy(t), "native", by_generation)


@timeout(600)
def test_caddy_transparent_swapped_10_times_under_load(t):
    """It shares its port anyhow, and is found to; making it do so once more does no harm."""
    swapped(t, caddy(t), "transparent", by_generation, found="native")


def test_caddy_is_found_to_be_native(t):
    found(t, caddy(t), "native", by_generation)
