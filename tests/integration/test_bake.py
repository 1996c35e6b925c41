# SPDX-License-Identifier: BSD-2-Clause
"""The bake: all connections go to the new generation, and the old one stands by."""

from harness import check, check_equal
from rollouts import (INSTANCES, baton, check_exit, check_last, check_only, check_reset_only,
                      check_serves, four, kill_servers, load, named, server_pids, sicken)
from swaps import check_unharmed

FOR_LONG = "10m"  # longer than any test: what ends it is not the time


def bake(t, **rollout):
    """A restart that bakes under load: (daemon, load, `baton restart`)"""
    daemon = t.daemon(four(t, rollout={"bake": FOR_LONG, **rollout}))
    hammer = load(t)
    since = daemon.last_seq()
    restart = baton(t, daemon, "restart", "web")
    daemon.wait_event("settle", since=since)
    check_equal(daemon.service()["rollout"]["step"], "bake", "step")
    check_equal(named(daemon), {2: INSTANCES}, "named instances")
    check_only(hammer, 2, "bake")
    return daemon, hammer, restart


def goes_back(t, daemon, hammer, restart, reason=""):
    check_exit(restart, 4)
    check_last(daemon, "rolled-back", 4, reason)
    check_serves(t, daemon, hammer, 1)


def killed(t, count):
    daemon, hammer, restart = bake(t)
    old = server_pids(daemon, 1)
    kill_servers(server_pids(daemon, 2)[:count])
    goes_back(t, daemon, hammer, restart, "SIGKILL")
    check_equal(server_pids(daemon, 1), old, "the old ones' pids")
    check_reset_only(hammer, 1)


def test_new_server_killed_in_the_bake_is_rolled_back_and_nothing_refused(t):
    killed(t, 1)


def test_all_new_servers_killed_in_the_bake_are_rolled_back_and_nothing_refused(t):
    killed(t, INSTANCES)


def test_checks_that_fail_in_the_bake_are_rolled_back(t):
    daemon, hammer, restart = bake(t)
    sicken(t, 2)
    goes_back(t, daemon, hammer, restart, "turned unhealthy")
    check("503" in restart.text(), f"the answer is not told: {restart.text()}")
    check_unharmed(hammer, 1000)


def test_one_instance_whose_checks_fail_in_the_bake_is_rolled_back(t):
    daemon, hammer, restart = bake(t)
    sicken(t, 2, 1)
    goes_back(t, daemon, hammer, restart, "instance 1 turned unhealthy")
    check_unharmed(hammer, 1000)


def test_rollback_in_the_bake_returns_at_once(t):
    daemon, hammer, restart = bake(t)
    old = server_pids(daemon, 1)
    daemon.cli("rollback", "web", expect=0)
    goes_back(t, daemon, hammer, restart)
    check_equal(server_pids(daemon, 1), old, "the old ones' pids")
    check_unharmed(hammer, 1000)


def test_abort_in_the_bake_returns_at_once(t):
    daemon, hammer, restart = bake(t)
    daemon.cli("abort", "web", expect=0)
    goes_back(t, daemon, hammer, restart)
    check_unharmed(hammer, 1000)


def test_promote_ends_the_bake(t):
    daemon, hammer, restart = bake(t)
    daemon.cli("promote", "web", expect=0)
    check_exit(restart, 0)
    check_last(daemon, "done", 0)
    check_serves(t, daemon, hammer, 2)
    check_unharmed(hammer, 1000)


def test_bake_that_passes_ends_by_itself(t):
    daemon = t.daemon(four(t, rollout={"bake": "700ms"}))
    hammer = load(t)
    since = daemon.last_seq()
    daemon.restart()
    baked = daemon.wait_event("bake", since=since)
    check(baked["ok"] and baked["took_ms"] >= 700, f"bake: {baked}")
    check_serves(t, daemon, hammer, 2)
    check_unharmed(hammer, 1000)


def test_rollback_after_the_bake_starts_the_previous_release_again(t):
    daemon = t.daemon(four(t, rollout={"bake": "200ms"}))
    hammer = load(t)
    daemon.upgrade([*four(t)["command"], "--ready-after", "10ms"], expect=0)
    upgraded = daemon.generation()["release"]["command"]
    daemon.cli("rollback", "web", expect=0)
    check_serves(t, daemon, hammer, 3)
    check(daemon.generation()["release"]["command"] != upgraded, f"runs {upgraded} still")
    check_unharmed(hammer, 1000)


def test_bake_of_a_canary_follows_its_last_step(t):
    steps = [{"weight": 50, "hold": "300ms"}]
    daemon, hammer, restart = bake(t, strategy="canary", steps=steps)
    kill_servers(server_pids(daemon, 2)[:1])
    goes_back(t, daemon, hammer, restart, "SIGKILL")
    check_reset_only(hammer, 1)


def test_rolling_without_surge_bakes_only_what_is_there(t):
    daemon = t.daemon(four(t, rollout={"strategy": "rolling", "max_surge": 0, "max_unavailable": 1,
                                       "bake": "100ms"}))
    hammer = load(t)
    since = daemon.last_seq()
    daemon.restart()
    # The first old one makes room for the first new one; the last new one has nobody to bake for.
    check_equal(len(daemon.events("leave", since=since)), INSTANCES, "old ones that left")
    check_equal(len(daemon.events("bake", since=since)), INSTANCES - 1, "bakes")
    check_serves(t, daemon, hammer, 2)
    check_unharmed(hammer, 1000)
