# SPDX-License-Identifier: BSD-2-Clause
"""Servers with an upgrade of their own: swapped by baton, and replaced by themselves."""

from harness import check, timeout
from servers import LOAD, by_pid, swapped_times
from swaps import check_nothing_lost
from upgrading import (Asio, Epoll, ForkExec, Go, Haproxy, Held, Nginx, Proxied, replaced_by_hand,
                       survives_by_baton, upgrades_itself)

SWAPS = 3


def swapped(server):
    swapped_times(server.t, server.config(), server.mode, server.mode, by_pid, LOAD, SWAPS)


def upgraded(server):
    check_nothing_lost(upgrades_itself(server, 2), at_least=100)


def test_epoll_native_swapped_under_load(t):
    swapped(Epoll(t))


def test_go_inherit_swapped_under_load(t):
    swapped(Go(t))


def test_asio_transparent_swapped_under_load(t):
    swapped(Asio(t))


def test_fork_exec_inherit_swapped_under_load(t):
    swapped(ForkExec(t))


def test_nginx_as_a_daemon_swapped_under_load(t):
    swapped(Nginx(t))


def test_asio_by_hand_loses_and_the_load_notices(t):
    """What the others show is shown by a load that can see a loss."""
    result = replaced_by_hand(Asio(t), SWAPS)
    check(result["lost"] > 0, f"nothing lost: {result}")


def test_what_people_take_instead_is_replaced_by_hand(t):
    """bench/instead measures them. What they lose is theirs."""
    for kind in (Held, Proxied, Haproxy):
        result = replaced_by_hand(kind(t), 1)
        check(result["ok"] > 250 and len(result["swaps"]) == 1, f"hardly any load: {result}")


def test_fork_exec_that_does_not_start_is_survived(t):
    check(survives_by_baton(ForkExec(t)), "nobody serves")


@timeout(600)
def test_epoll_replaces_itself(t):
    upgraded(Epoll(t))


@timeout(600)
def test_go_replaces_itself(t):
    upgraded(Go(t))


@timeout(600)
def test_asio_replaces_itself(t):
    upgraded(Asio(t))


@timeout(600)
def test_fork_exec_replaces_itself(t):
    upgraded(ForkExec(t))


@timeout(600)
def test_nginx_replaces_itself(t):
    upgraded(Nginx(t))
