# SPDX-License-Identifier: BSD-2-Clause
"""haproxy, as systemd would run it: with a master (-Ws), ready when it says so."""

from harness import timeout
from servers import found, haproxy, haproxy_inherit, haproxy_without_reuseport, swapped


@timeout(600)
def test_haproxy_inherit_swapped_10_times_under_load(t):
    swapped(t, haproxy_inherit(t), "inherit")


@timeout(600)
def test_haproxy_native_swapped_10_times_under_load(t):
    swapped(t, haproxy(t), "native")


@timeout(600)
def test_haproxy_transparent_swapped_10_times_under_load(t):
    swapped(t, haproxy_without_reuseport(t), "transparent")


def test_haproxy_with_fd_is_found_to_inherit(t):
    found(t, haproxy_inherit(t), "inherit")


def test_haproxy_as_it_is_is_found_to_be_native(t):
    found(t, haproxy(t), "native")


def test_haproxy_with_noreuseport_is_found_to_need_transparent(t):
    found(t, haproxy_without_reuseport(t), "transparent")
