# SPDX-License-Identifier: BSD-2-Clause
"""gunicorn with two workers of many threads each; the second one starts after READY=1."""

from harness import timeout
from servers import ADDRESS, by_generation, found, gunicorn, swapped


@timeout(600)
def test_gunicorn_inherit_swapped_10_times_under_load(t):
    swapped(t, gunicorn(t), "inherit", by_generation)


@timeout(600)
def test_gunicorn_native_swapped_10_times_under_load(t):
    swapped(t, gunicorn(t, "-b", ADDRESS, "--reuse-port"), "native", by_generation)


@timeout(600)
def test_gunicorn_transparent_swapped_10_times_under_load(t):
    swapped(t, gunicorn(t, "-b", ADDRESS), "transparent", by_generation)


def test_gunicorn_is_found_to_inherit(t):
    """Whatever it is told to bind: sockets that it is given come first."""
    found(t, gunicorn(t, "-b", ADDRESS), "inherit", by_generation)


def test_gunicorn_with_reuse_port_is_found_to_inherit_all_the_same(t):
    found(t, gunicorn(t, "-b", ADDRESS, "--reuse-port"), "inherit", by_generation)
