# SPDX-License-Identifier: BSD-2-Clause
"""Java, whose sockets are IPv6 ones, bound to ::ffff:127.0.0.1 where 127.0.0.1 is meant."""

from harness import check_equal, timeout
from servers import found, java, swapped


@timeout(600)
def test_java_native_swapped_10_times_under_load(t):
    swapped(t, java(t, environment={"SHARE": "1"}), "native")


@timeout(600)
def test_java_transparent_swapped_10_times_under_load(t):
    swapped(t, java(t), "transparent")


def test_java_with_a_port_is_found_to_need_transparent(t):
    found(t, java(t), "transparent")


def test_java_is_told_to_be_on_ipv6_sockets(t):
    daemon = t.daemon(java(t))
    check_equal(daemon.service()["endpoints"][0]["family"], "IPv4-mapped", "family")


def test_java_that_prefers_ipv4_is_on_ipv4_sockets(t):
    daemon = t.daemon(java(t, "-Djava.net.preferIPv4Stack=true"))
    check_equal(daemon.service()["endpoints"][0]["family"], "IPv4", "family")
