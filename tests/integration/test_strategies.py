# SPDX-License-Identifier: BSD-2-Clause
"""Four instances under load, replaced by each strategy: whole, in part and back."""

from harness import check, check_equal, wait_until
from rollouts import (INSTANCES, Census, answered_by, baton, check_exit, check_last, check_only,
                      check_reset_only, check_serves, cure, four, generations_of, kill_daemon,
                      kill_servers, load, make_crash, named, poll_until_end, server_pids, sicken,
                      wait_load, wait_named)
from services import reconfigure, soon
from swaps import check_unharmed


def rolling(surge=1, unavailable=0):
    return {"strategy": "rolling", "max_surge": surge, "max_unavailable": unavailable}


def swap(t, rollout, most, least=INSTANCES, mixed=True, go_on=None):
    """
    One restart: never more than @most servers alive, never fewer than @least in service. @mixed:
    old and new get new connections at the same time; until that has been seen the third new
    instance does not become healthy, or go_on(daemon) is not called.
    """
    daemon = t.daemon(four(t, rollout=rollout))
    hammer = load(t)
    if mixed and not go_on:
        sicken(t, 2, 2)
    hammer.phase("rollout")
    serving = []
    with Census(daemon) as census:
        since = daemon.begin()
        if mixed:
            wait_named(daemon, g1=1, g2=1)
            hammer.phase("mixed")
            wait_until(lambda: generations_of(hammer.report(), "mixed") == {1, 2},
                       "old and new answer new connections")
            if go_on:
                go_on(daemon)
            cure(t, 2)
        end = poll_until_end(daemon, since,
                             lambda: serving.append(sum(named(daemon).values())))
        check_equal(end["cut"], 0, "cut")
        wait_load(hammer, "mixed" if mixed else "rollout", 100)
        check_only(hammer, 2, "done")
        wait_until(lambda: sum(census.counts.values()) >= 20, "it has been looked at often")
    census.check(least, most)
    check(serving and min(serving) >= least, f"in service: {serving}")
    check_serves(t, daemon, hammer, 2)
    result = check_unharmed(hammer, 1000)
    meanwhile = answered_by(result, "rollout") + answered_by(result, "mixed")
    check_equal({generation for generation, _ in meanwhile}, {1, 2}, "who answered meanwhile")
    check(sum(meanwhile.values()) >= 100, f"answers meanwhile: {meanwhile}")
    check_last(daemon, "done", 0)
    return daemon


def test_blue_green_swaps_four_instances_at_once(t):
    daemon = swap(t, {"strategy": "blue-green"}, most=2 * INSTANCES, mixed=False)
    check_equal(len(daemon.events("shift")), 2, "shifts: the first start's and the rollout's")


def test_canary_swaps_four_instances_step_by_step(t):
    steps = [{"weight": 25, "hold": "60s"}, {"weight": 50, "hold": "400ms"}]
    daemon = swap(t, {"strategy": "canary", "steps": steps}, most=2 * INSTANCES,
                  go_on=lambda daemon: daemon.cli("promote", "web", "--no-wait", expect=0))
    held = daemon.events("hold")
    check_equal([each["ok"] for each in held], [True, True], "holds")
    check(held[1]["took_ms"] >= 400, f"held too short: {held}")


def test_rolling_one_more_at_a_time(t):
    daemon = swap(t, rolling(1, 0), most=INSTANCES + 1)
    check_equal(len(daemon.events("stop")), INSTANCES, "batches")


def test_rolling_two_more_at_a_time(t):
    daemon = swap(t, rolling(2, 0), most=INSTANCES + 2)
    check_equal(len(daemon.events("stop")), 2, "batches")


def test_rolling_one_less_at_a_time(t):
    swap(t, rolling(0, 1), most=INSTANCES, least=INSTANCES - 1)


def test_rolling_two_less_at_a_time(t):
    # Two new ones take over at once from the two that are left.
    swap(t, rolling(0, 2), most=INSTANCES, least=INSTANCES - 2, mixed=False)


def test_rolling_one_more_and_one_less_at_a_time(t):
    swap(t, rolling(1, 1), most=INSTANCES + 1, least=INSTANCES - 1)


def test_rolling_more_than_there_are_at_a_time(t):
    swap(t, rolling(16, 0), most=2 * INSTANCES, mixed=False)


# ---- rolling back in the middle ------------------------------------------------------------------

def goes_back(t, rollout, most, status, prepare=lambda: None, reason="", undo=None, **changes):
    """
    A restart that fails, or that undo(daemon) undoes: it ends with this exit status, nothing is
    lost, and the old generation is whole again. @changes: of the configuration, before it begins.
    """
    daemon = t.daemon(four(t, rollout=rollout))
    if changes:
        reconfigure(daemon, **changes)
    prepare()
    hammer = load(t)
    with Census(daemon) as census:
        restart = baton(t, daemon, "restart", "web")
        if undo:
            undo(daemon)
        check_exit(restart, status)
    census.check(0, most)
    check_last(daemon, {3: "failed", 4: "rolled-back"}[status], status, reason)
    check_serves(t, daemon, hammer, 1)
    check_unharmed(hammer, 400)


def test_rolling_third_instance_that_stays_unhealthy_is_rolled_back(t):
    goes_back(t, rolling(1, 0), INSTANCES + 1, 4, lambda: sicken(t, 2, 2), "not healthy within ",
              health={"start_timeout": soon(5)})


def test_rolling_third_instance_that_crashes_is_rolled_back(t):
    goes_back(t, rolling(1, 0), INSTANCES + 1, 4, lambda: make_crash(t, 2, 2), "instance 2")


def test_rolling_third_instance_that_crashes_without_surge_is_rolled_back(t):
    goes_back(t, rolling(0, 1), INSTANCES, 4, lambda: make_crash(t, 2, 2), "instance 2")


def test_rolling_first_instance_that_crashes_fails(t):
    goes_back(t, rolling(1, 0), INSTANCES + 1, 3, lambda: make_crash(t, 2, 0), "instance 0")


def test_rolling_first_instance_that_crashes_without_surge_fails(t):
    # An old one has left to make room, but nobody but probes has reached the new one.
    goes_back(t, rolling(0, 1), INSTANCES, 3, lambda: make_crash(t, 2, 0), "instance 0")


def test_rolling_aborted_in_the_middle_is_rolled_back(t):
    def abort(daemon):
        wait_named(daemon, g1=1, g2=2)
        daemon.cli("abort", "web", expect=0)
    # The third one does not become healthy: there is time.
    goes_back(t, rolling(1, 0), INSTANCES + 1, 4, lambda: sicken(t, 2, 2), "abort", abort)


def test_rolling_without_surge_aborted_in_the_middle_is_rolled_back(t):
    def abort(daemon):
        wait_named(daemon, g1=1, g2=2)
        daemon.cli("abort", "web", expect=0)
    goes_back(t, rolling(0, 1), INSTANCES, 4, lambda: sicken(t, 2, 2), "abort", abort)


def test_rolling_aborted_before_anything_is_shifted_fails(t):
    def abort(daemon):
        wait_until(lambda: daemon.generation("candidate"), "the first new instance")
        daemon.cli("abort", "web", expect=0)
    goes_back(t, rolling(1, 0), INSTANCES + 1, 3, lambda: sicken(t, 2, 0), "abort", abort)


def killed_in_the_middle(t, rollout, count):
    """So many new servers are killed while the next one does not become healthy."""
    daemon = t.daemon(four(t, rollout=rollout))
    sicken(t, 2, count)
    hammer = load(t)
    restart = baton(t, daemon, "restart", "web")
    wait_named(daemon, g1=1, g2=count)
    kill_servers(server_pids(daemon, 2)[:count])
    check_exit(restart, 4)
    check_last(daemon, "rolled-back", 4, "SIGKILL")
    check_serves(t, daemon, hammer, 1)
    check_reset_only(hammer, 1)


def test_rolling_new_instance_killed_in_the_middle_is_rolled_back(t):
    killed_in_the_middle(t, rolling(1, 0), 1)


def test_rolling_three_new_instances_killed_in_the_middle_are_rolled_back(t):
    killed_in_the_middle(t, rolling(1, 0), 3)


def test_rolling_without_surge_new_instances_killed_in_the_middle_are_rolled_back(t):
    killed_in_the_middle(t, rolling(0, 1), 2)


# ---- everything dies -----------------------------------------------------------------------------

def test_four_live_instances_killed_at_once_are_started_again(t):
    daemon = t.daemon(four(t))
    hammer = load(t)
    before = server_pids(daemon, 1)
    kill_servers(before)
    hammer.phase("killed")
    wait_load(hammer, "killed", 500)
    check_serves(t, daemon, hammer, 1)
    check(not set(before) & set(server_pids(daemon, 1)), "one of the dead is still there")
    check_reset_only(hammer, 1)


def daemon_dies(t, rollout, sick, reached, generation=1, least=INSTANCES):
    """
    batond is killed in the middle of a rollout, which does not go on for as long as the instance
    @sick does not become healthy: the next one makes this generation whole. Meanwhile @least serve.
    """
    daemon = t.daemon(four(t, rollout=rollout))
    sicken(t, 2, sick)
    hammer = load(t)
    since = daemon.begin()
    reached(daemon, since)
    kill_daemon(daemon)
    hammer.phase("alone")
    wait_load(hammer, "alone")
    daemon.start()
    # What has not passed its checks yet gets nothing from the next one either.
    check(named(daemon).get(2, 0) < INSTANCES, f"the sick one is named: {named(daemon)}")
    cure(t, 2)

    def whole():
        now = named(daemon)
        check(sum(now.values()) >= least, f"too few serve: {now}")
        return now == {generation: INSTANCES}
    wait_until(whole, "the generation is whole again")
    check_serves(t, daemon, hammer, generation)
    check_unharmed(hammer, 1000)


def test_daemon_killed_while_rolling_restores_the_old_generation(t):
    daemon_dies(t, rolling(1, 0), 2, lambda daemon, _: wait_named(daemon, g1=2, g2=2))


def test_daemon_killed_while_rolling_without_surge_restores_the_old_generation(t):
    daemon_dies(t, rolling(0, 1), 1, lambda daemon, _: wait_named(daemon, g1=2, g2=1),
                least=INSTANCES - 1)


def test_daemon_killed_when_most_of_the_old_have_left_completes_the_new_generation(t):
    # Back to one of four, and no more for a while: that is no way back.
    daemon_dies(t, rolling(1, 0), 3, lambda daemon, _: wait_named(daemon, g1=1, g2=3), 2)


def test_daemon_killed_in_a_canary_restores_the_old_generation(t):
    daemon_dies(t, {"strategy": "canary", "steps": [{"weight": 25}]}, INSTANCES,
                lambda daemon, since: daemon.wait_event("waiting", since=since))
