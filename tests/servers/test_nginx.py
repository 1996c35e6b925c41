# SPDX-License-Identifier: BSD-2-Clause
"""nginx, with a master and two workers."""

from harness import timeout
from servers import (ADDRESS, LOAD, by_each_of, found, nginx, nginx_inherit, swapped,
                     swapped_times)

REUSEPORT = f"{ADDRESS} backlog=4096 reuseport"


@timeout(600)
def test_nginx_inherit_swapped_10_times_under_load(t):
    swapped(t, nginx_inherit(t), "inherit")


@timeout(600)
def test_nginx_native_swapped_10_times_under_load(t):
    """One socket for each worker: both get connections."""
    swapped(t, nginx(t, REUSEPORT), "native", by_each_of(2))


@timeout(600)
def test_nginx_with_64_workers_has_a_socket_for_each_swapped_under_load(t):
    """Two generations beside each other: 128 sockets on the address."""
    config = nginx(t, REUSEPORT, workers=64)
    swapped_times(t, config, "native", "native", by_each_of(64), LOAD, 3)


@timeout(600)
def test_nginx_transparent_swapped_10_times_under_load(t):
    swapped(t, nginx(t), "transparent")


def test_nginx_with_its_variable_is_found_to_inherit(t):
    found(t, nginx_inherit(t), "inherit")


def test_nginx_with_reuseport_is_found_to_be_native(t):
    found(t, nginx(t, REUSEPORT), "native")


def test_nginx_as_it_is_is_found_to_need_transparent(t):
    found(t, nginx(t), "transparent")
