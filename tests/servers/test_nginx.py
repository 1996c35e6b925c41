# SPDX-License-Identifier: BSD-2-Clause
"""nginx, with a master and two workers."""

from harness import check, check_equal, timeout
from servers import ADDRESS, LOAD, SWAPS, by_pid, found, nginx, nginx_inherit, swapped, swapped_times

REUSEPORT = f"{ADDRESS} backlog=4096 reuseport"


@timeout(600)
def test_nginx_inherit_swapped_10_times_under_load(t):
    swapped(t, nginx_inherit(t), "inherit")


@timeout(600)
def test_nginx_native_swapped_10_times_under_load(t):
    """One socket for each worker: both get connections."""
    result = swapped(t, nginx(t, REUSEPORT), "native")
    workers = {each["body"] for phase in result["phases"] for each in phase["bodies"]}
    check_equal(len(workers), 2 * (SWAPS + 1), "workers that have answered")


@timeout(600)
def test_nginx_with_64_workers_has_a_socket_for_each_swapped_under_load(t):
    """Two generations beside each other: 128 sockets on the address."""
    config = nginx(t, REUSEPORT, workers=64)
    result = swapped_times(t, config, "native", "native", by_pid, LOAD, 3)
    workers = {each["body"] for phase in result["phases"] for each in phase["bodies"]}
    check(len(workers) > 128, f"only {len(workers)} workers have answered")


@timeout(600)
def test_nginx_transparent_swapped_10_times_under_load(t):
    swapped(t, nginx(t), "transparent")


def test_nginx_with_its_variable_is_found_to_inherit(t):
    found(t, nginx_inherit(t), "inherit")


def test_nginx_with_reuseport_is_found_to_be_native(t):
    found(t, nginx(t, REUSEPORT), "native")


def test_nginx_as_it_is_is_found_to_need_transparent(t):
    found(t, nginx(t), "transparent")
