# SPDX-License-Identifier: BSD-2-Clause
"""node, with a few lines of its own for draining."""

from harness import timeout
from servers import found, node, node_inherit, swapped


@timeout(600)
def test_node_inherit_swapped_10_times_under_load(t):
    swapped(t, node_inherit(t), "inherit")


@timeout(600)
def test_node_transparent_swapped_10_times_under_load(t):
    swapped(t, node(t), "transparent")


def test_node_with_fd_is_found_to_inherit(t):
    found(t, node_inherit(t), "inherit")


def test_node_with_a_port_is_found_to_need_transparent(t):
    found(t, node(t), "transparent")
