# SPDX-License-Identifier: BSD-2-Clause
"""A canary: its share of new connections, what its steps wait for, and how it goes on or back."""

from harness import check, check_equal, timeout, wait_until
from rollouts import (INSTANCES, answered_by, baton, check_exit, check_last, check_reset_only,
                      check_serves, four, kill_servers, load, named, server_pids, sicken,
                      wait_waiting)
from swaps import check_nothing_lost, check_unharmed

CONNECTIONS = 100_000
FOR_LONG = "10m"  # longer than any test


def canary(*steps, **rollout):
    """(10, 25, "1s") are a step of 10 without a hold, and one of 25 that is held."""
    found = []
    for each in steps:
        if isinstance(each, str):
            found[-1]["hold"] = each
        else:
            found.append({"weight": each})
    return {"strategy": "canary", "steps": found, **rollout}


def begin(t, *steps, **rollout):
    """(daemon, load, `baton restart`, number of the last event before it)"""
    daemon = t.daemon(four(t, rollout=canary(*steps, **rollout)))
    hammer = load(t)
    since = daemon.last_seq()
    return daemon, hammer, baton(t, daemon, "restart", "web"), since


def share(daemon, generation):
    return next(each["share"] for each in daemon.service()["generations"]
                if each["generation"] == generation)


@timeout(600)
def test_one_percent_is_one_percent_of_100000_connections(t):
    daemon = t.daemon(four(t, rollout=canary(1)))
    since = daemon.begin()
    daemon.wait_event("waiting", since=since)
    hammer = t.hammer("--short", 32, "--sources", 16, "--timeout", "30s", "--expect-status", 200)
    wait_until(lambda: hammer.report()["connections"] >= CONNECTIONS, "100,000 connections",
               deadline_s=400, poll_s=0.2)
    result = hammer.stop()
    check_nothing_lost(result, at_least=CONNECTIONS)
    counts = answered_by(result, "start")
    total = sum(counts.values())
    check(total >= CONNECTIONS, f"answers: {total}")
    new = 100 * sum(n for (generation, _), n in counts.items() if generation == 2) / total
    check(0.5 <= new <= 1.5, f"{new} % of {total} connections were answered by the new one")
    found = {generation: share(daemon, generation) for generation in (1, 2)}
    check(0.5 <= found[2]["aimed"] <= 1.5 and found[1]["aimed"] + found[2]["aimed"] == 100,
          f"shares aimed at: {found}")
    for generation, expected in ((2, new), (1, 100 - new)):
        check(abs(found[generation]["seen"] - expected) <= 0.1,
              f"{expected} % were counted for generation {generation}; status says {found}")
    check_equal(named(daemon), {1: INSTANCES, 2: INSTANCES}, "named instances")
    daemon.cli("abort", "web", expect=0)


def test_share_grows_with_each_step(t):
    daemon, hammer, restart, since = begin(t, 10, 50)
    for weight in (10, 50):
        event = wait_waiting(daemon, since, "promote")
        check(f"{weight}%" in event["message"], f"{weight}% is not in {event}")
        check_equal(daemon.service()["rollout"]["weight"], weight, "weight")
        check(abs(share(daemon, 2)["aimed"] - weight) < 0.5, f"share: {share(daemon, 2)}")
        # A share of 2,000 connections is off by 1.1 (one standard deviation).
        hammer.phase(f"{weight}")
        wait_until(lambda name=f"{weight}":
                   sum(answered_by(hammer.report(), name).values()) >= 2000, "load")
        counts = answered_by(hammer.report(), f"{weight}")
        new = 100 * sum(n for (g, _), n in counts.items() if g == 2) / sum(counts.values())
        check(weight - 7 < new < weight + 7, f"{new} % at {weight} %: {counts}")
        check(abs(share(daemon, 2)["seen"] - weight) < 7, f"share: {share(daemon, 2)}")
        since = daemon.last_seq()
        daemon.cli("promote", "web", expect=0)
    check_exit(restart, 0)
    check_serves(t, daemon, hammer, 2)
    check_unharmed(hammer, 1000)


def test_step_without_hold_waits_until_it_is_promoted(t):
    daemon, hammer, restart, since = begin(t, 25)
    wait_waiting(daemon, since, "promote")
    left = daemon.service()["rollout"]["waiting_ms"]
    check(0 < left <= 24 * 3600 * 1000, f"waits for {left} ms")
    wait_until(lambda: hammer.report()["ok"] > 200, "load while it waits")
    check(restart.running(), f"restart has ended: {restart.text()}")
    daemon.cli("promote", "web", expect=0)
    check_exit(restart, 0)
    check("baton promote web" in restart.text(), f"not told: {restart.text()}")
    check_serves(t, daemon, hammer, 2)
    check_unharmed(hammer, 400)


def test_promote_lets_go_when_the_next_step_waits(t):
    daemon, hammer, restart, since = begin(t, 25, 50)
    wait_waiting(daemon, since, "promote")
    promoted = daemon.cli("promote", "web", expect=0)
    check("50%" in promoted.text, f"the next step is not in {promoted}")
    check_equal(daemon.service()["rollout"]["weight"], 50, "weight")
    daemon.cli("abort", "web", expect=0)
    check_exit(restart, 4)
    check_serves(t, daemon, hammer, 1)
    check_unharmed(hammer, 400)


def test_abort_of_a_waiting_step_is_rolled_back(t):
    daemon, hammer, restart, since = begin(t, 25)
    wait_waiting(daemon, since, "promote")
    daemon.cli("abort", "web", expect=0)
    check_exit(restart, 4)
    check_last(daemon, "rolled-back", 4, "abort")
    check_serves(t, daemon, hammer, 1)
    check_unharmed(hammer, 400)


def test_hold_expires_by_itself(t):
    daemon, hammer, restart, since = begin(t, 25, "500ms")
    check_exit(restart, 0)
    held = daemon.wait_event("hold", since=since)
    check(held["ok"] and held["took_ms"] >= 500, f"hold: {held}")
    check_equal(daemon.events("waiting", since=since), [], "nobody was waited for")
    check("reason" not in daemon.service()["last_rollout"], f"{daemon.service()['last_rollout']}")
    check_serves(t, daemon, hammer, 2)
    check_unharmed(hammer, 400)


def test_promote_ends_a_hold_before_its_time(t):
    daemon, hammer, restart, _ = begin(t, 25, FOR_LONG)
    wait_until(lambda: (daemon.service()["rollout"] or {}).get("waiting") == "hold", "the hold")
    daemon.cli("promote", "web", expect=0)
    check_exit(restart, 0)
    check_serves(t, daemon, hammer, 2)
    check_unharmed(hammer, 400)


def test_abort_in_a_hold_is_rolled_back(t):
    daemon, hammer, restart, _ = begin(t, 25, FOR_LONG)
    wait_until(lambda: (daemon.service()["rollout"] or {}).get("waiting") == "hold", "the hold")
    daemon.cli("abort", "web", expect=0)
    check_exit(restart, 4)
    check_serves(t, daemon, hammer, 1)
    check_unharmed(hammer, 400)


def test_nobody_who_promotes_in_time_is_rolled_back(t):
    daemon, hammer, restart, since = begin(t, 25, promote_timeout="700ms")
    daemon.wait_event("waiting", since=since)
    check_exit(restart, 4)
    check_last(daemon, "rolled-back", 4, "nobody promoted it within 700ms")
    check_serves(t, daemon, hammer, 1)
    check_unharmed(hammer, 400)


def test_promote_and_abort_of_nothing_are_refused(t):
    daemon = t.daemon(four(t))
    for order in ("promote", "abort"):
        result = daemon.cli(order, "web")
        check(result.status not in (0, 3, 4, 5), f"exit status: {result}")
        check(f"othing to {order}" in result.text or "no rollout" in result.text, f"text: {result}")
    check_equal(named(daemon), {1: INSTANCES}, "named instances")


def test_canary_that_turns_unhealthy_in_a_hold_is_rolled_back(t):
    daemon, hammer, restart, since = begin(t, 25)
    wait_waiting(daemon, since, "promote")
    sicken(t, 2, 3)
    check_exit(restart, 4)
    check_last(daemon, "rolled-back", 4, "instance 3 turned unhealthy")
    check_serves(t, daemon, hammer, 1)
    check_unharmed(hammer, 400)


def test_canary_that_is_killed_in_a_hold_is_rolled_back(t):
    daemon, hammer, restart, since = begin(t, 25)
    wait_waiting(daemon, since, "promote")
    kill_servers(server_pids(daemon, 2))
    check_exit(restart, 4)
    check_serves(t, daemon, hammer, 1)
    check_reset_only(hammer, 1)
