# SPDX-License-Identifier: BSD-2-Clause
"""Instances that turn unhealthy or are killed: taken out, replaced, put back; within limits."""

import os
import signal

from harness import alive, bodies, check, check_equal, wait_until
from rollouts import kill_daemon
from services import SOON, Sickness, instance_of, pid_of, service
from swaps import check_unharmed, gentle

SLOWLY = {"delay": "60s"}  # time to look, before anything is replaced
HANDS_OFF = {"max": 0}


def instances(daemon):
    """The instances of the current generation by their index."""
    return {each["instance"]: each for each in daemon.generation()["instances"]}


def named(daemon):
    return sorted(index for index, each in instances(daemon).items() if each["named"])


def pids(daemon):
    return {each["pid"] for each in instances(daemon).values()}


def ends(daemon, since):
    """How the rollouts ended that have since."""
    return [each["event"] for each in daemon.events(since=since)
            if each["event"] in ("done", "failed", "rolled-back")]


def well(daemon, count):
    """All is as it should be: so many instances serve, nothing is under way."""
    now = daemon.service()
    return (now["state"] == "running" and not now["rollout"] and len(now["generations"]) == 1 and
            len(now["generations"][0]["instances"]) == count == len(named(daemon)))


def ailing(t, *options, restart=SLOWLY, **changes):
    """A daemon, and what makes its instances sick."""
    sickness = Sickness(t)
    return t.daemon(service(sickness.command(*options), restart=restart, **changes)), sickness


# ---- one of several ------------------------------------------------------------------------------

def test_unhealthy_instance_leaves_the_table_at_once(t):
    daemon, sickness = ailing(t, instances=4)
    hammer = gentle(t)
    sickness.begin(1)
    told = daemon.wait_event("unhealthy")
    for expected in ("instance 1", "503"):
        check(expected in told["message"], f"{expected!r} is not in {told}")
    wait_until(lambda: named(daemon) == [0, 2, 3], "the table has the other three")
    now = daemon.service()
    check_equal(now["state"], "degraded", "state")
    check("instance 1" in now["reason"], f"reason: {now['reason']!r}")
    sick = instances(daemon)[1]
    check_equal((sick["named"], sick["share"]["aimed"], sick["health"]["state"]),
                (False, 0, "unhealthy"), "the one that is sick")
    check_equal({instance_of(body) for body in bodies(200)}, {0, 2, 3}, "who answers")
    check("degraded" in daemon.cli("status", expect=9).out, "baton status does not say so")
    check_equal(daemon.events("replacing"), [], "replaced before its time")
    check_unharmed(hammer)


def test_unhealthy_instance_is_replaced_after_the_delay(t):
    daemon, sickness = ailing(t, instances=4, restart={"delay": "500ms"})
    before = instances(daemon)
    hammer = gentle(t)
    since = daemon.last_seq()
    sickness.begin(2)
    unhealthy = daemon.wait_event("unhealthy", since=since)
    replacing = daemon.wait_event("replacing", since=since)
    check("instance 2" in replacing["message"], f"{replacing}")
    wait_until(lambda: well(daemon, 4), "four instances are well again")
    after = instances(daemon)
    check_equal(pids(daemon) & {each["pid"] for each in before.values()},
                {before[k]["pid"] for k in (0, 1, 3)}, "the ones that have stayed")
    check_equal(daemon.current(), 1, "generation")
    check_equal({pid_of(body) for body in bodies(200)}, {each["pid"] for each in after.values()},
                "who answers")
    check(unhealthy["seq"] < replacing["seq"], "replaced before it was out of the table")
    check_equal(ends(daemon, since), ["done"], "rollouts")
    check_equal(daemon.service()["restarts"]["used"], 1, "restarts")
    check_unharmed(hammer)


def test_instance_that_recovers_before_the_delay_is_put_back(t):
    daemon, sickness = ailing(t, instances=4)
    before = pids(daemon)
    hammer = gentle(t)
    since = daemon.last_seq()
    for _ in range(2):
        sickness.begin(0, 3)
        wait_until(lambda: named(daemon) == [1, 2], "the table has the other two")
        sickness.end(0, 3)
        wait_until(lambda: well(daemon, 4), "all four are back")
    check_equal(len(daemon.events("recovered", since=since)), 4, "recoveries told")
    check_equal({pid_of(body) for body in bodies(200)}, before, "who answers")
    check_equal((ends(daemon, since), daemon.service()["restarts"]["used"]), ([], 0),
                "rollouts and restarts")
    check_unharmed(hammer)


def test_replacement_that_turns_out_sick_too_leaves_the_others_at_work(t):
    """The budget bounds it; the operator's next order has the full one again."""
    daemon, sickness = ailing(t, instances=2, restart={"delay": "100ms", "max": 2},
                              health=SOON)
    before = instances(daemon)
    hammer = gentle(t)
    since = daemon.last_seq()
    sickness.begin(1, 2, 3)
    degraded = daemon.wait_event("degraded", since=since)
    check("2 times" in degraded["reason"], f"{degraded}")
    wait_until(lambda: ends(daemon, since) == ["failed"] * 2, "both replacements are over")
    check_equal(named(daemon), [0], "who is named")
    check_equal((daemon.state(), pids(daemon)),
                ("degraded", {each["pid"] for each in before.values()}), "state and servers")
    sickness.end(1, 2, 3)
    wait_until(lambda: well(daemon, 2), "it is well again by itself")
    check(daemon.events("restored", since=since), "that it is well is not told")
    check_unharmed(hammer)


# ---- the only one --------------------------------------------------------------------------------

def test_the_only_instance_stays_in_the_table_until_its_replacement_is_healthy(t):
    daemon, sickness = ailing(t, restart={"delay": "200ms"})
    old = daemon.server_pid()
    hammer = gentle(t)
    since = daemon.last_seq()
    sickness.begin(0, 1)  # the replacement will be number 1
    told = daemon.wait_event("unhealthy", since=since)
    check("no other" in told["message"], f"{told}")
    check_equal((named(daemon), daemon.state()), ([0], "degraded"), "who is named, state")
    daemon.wait_event("replacing", since=since)
    check_equal({pid_of(body) for body in bodies(20)}, {old}, "who answers")
    sickness.end(1)
    daemon.wait_event("shift", since=since)
    wait_until(lambda: well(daemon, 1), "the replacement serves alone")
    check(old not in pids(daemon), "it was not replaced")
    check_equal({pid_of(body) for body in bodies(20)}, pids(daemon), "who answers")
    check_unharmed(hammer)


# ---- all of them ---------------------------------------------------------------------------------

def test_all_unhealthy_go_on_serving_until_they_recover(t):
    """What they depend on is gone: tearing them down would help nobody."""
    daemon, sickness = ailing(t, instances=4, restart={"delay": "100ms", "max": 2},
                              health=SOON)
    before = pids(daemon)
    hammer = gentle(t)
    since = daemon.last_seq()
    sickness.begin(*range(16))
    daemon.wait_event("degraded", since=since)
    wait_until(lambda: not daemon.service()["rollout"], "the replacements are over")
    check_equal(len(daemon.events("unhealthy", since=since)), 4, "unhealthy ones told")
    now = daemon.service()
    check_equal((now["state"], now["restarts"]["used"]), ("degraded", 2), "state and restarts")
    check("503" in now["reason"], f"reason: {now['reason']!r}")
    check_equal((named(daemon), pids(daemon)), ([0, 1, 2, 3], before), "who is named")
    check_equal({pid_of(body) for body in bodies(200)}, before, "who answers")
    sickness.end(*range(16))
    wait_until(lambda: well(daemon, 4), "all are well again")
    check_equal(pids(daemon), before, "servers")
    check("done" not in ends(daemon, since), "some have been replaced")
    check_unharmed(hammer)


# ---- killed --------------------------------------------------------------------------------------

def kill_with_agent(daemon, index):
    """The agent stands still meanwhile: it, or another one, would start the server again."""
    each = instances(daemon)[index]
    os.kill(each["agent_pid"], signal.SIGSTOP)
    pids = daemon.pids(daemon.current(), instance=index)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, pids)), "its server to end")
    os.kill(each["agent_pid"], signal.SIGKILL)


def check_only_accepted_ones_lost(hammer):
    """What the dead process had accepted is reset or ends; nothing is refused, nothing waits."""
    wait_until(lambda: hammer.report()["ok"] > 100, "enough load")
    result = hammer.stop()
    losses = {name: n for name, n in result["losses"].items() if n}
    check(set(losses) <= {"reset", "closed_early"}, f"lost: {result}")


def test_agent_and_server_killed_are_replaced(t):
    daemon, _ = ailing(t, instances=4, restart={"delay": "100ms"})
    before = instances(daemon)
    hammer = gentle(t)
    since = daemon.last_seq()
    kill_with_agent(daemon, 3)
    check_equal(len(bodies(100)), 100, "answers of the others")
    daemon.wait_event("replacing", since=since)
    wait_until(lambda: well(daemon, 4), "four instances are well again")
    check_equal(pids(daemon) & {each["pid"] for each in before.values()},
                {before[k]["pid"] for k in (0, 1, 2)}, "the ones that have stayed")
    check_equal({pid_of(body) for body in bodies(200)}, pids(daemon), "who answers")
    check_only_accepted_ones_lost(hammer)


def forget_handover(daemon, index):
    """What the agent of an instance of generation 1 has noted: no other can go on without it."""
    (daemon.api_socket.parent / "agents" / f"web.1.{index}.handover").unlink()


def test_instance_without_its_agent_is_replaced_and_drains(t):
    daemon, _ = ailing(t, instances=2, restart={"delay": "100ms"})
    hammer = gentle(t)
    before = instances(daemon)[0]
    since = daemon.last_seq()
    forget_handover(daemon, 0)
    os.kill(before["agent_pid"], signal.SIGKILL)
    daemon.wait_event("replacing", since=since)
    wait_until(lambda: well(daemon, 2), "two instances are well again")
    wait_until(lambda: not alive(before["pid"]), "the one without an agent to end")
    check_unharmed(hammer)


def test_instance_that_lost_its_agent_together_with_batond_is_drained_and_replaced(t):
    daemon, _ = ailing(t, instances=2, restart={"delay": "100ms"})
    before = instances(daemon)
    hammer = gentle(t)
    kill_daemon(daemon)
    forget_handover(daemon, 0)
    os.kill(before[0]["agent_pid"], signal.SIGKILL)
    daemon.start()
    wait_until(lambda: well(daemon, 2), "two instances are well again")
    wait_until(lambda: not alive(before[0]["pid"]), "the one without an agent to end")
    check(before[1]["pid"] in pids(daemon), "the other one has stayed")
    daemon.restart()
    check_unharmed(hammer)


def crash_until_given_up(daemon, index):
    """SIGKILL to an instance's server until its agent starts it no more."""
    def state():
        return instances(daemon)[index]
    while state()["state"] != "failed":
        before = state()["pid"]
        if before:
            os.kill(before, signal.SIGKILL)
        wait_until(lambda: state()["state"] == "failed" or state()["pid"] not in (0, before),
                   "the agent does something about it")


def test_exhausted_restarts_degrade_and_a_new_order_forgives(t):
    daemon, _ = ailing(t, instances=3, restart={"delay": "10ms", "max": 2})
    hammer = gentle(t)
    crash_until_given_up(daemon, 1)
    degraded = daemon.wait_event("degraded")
    check("instance 1" in degraded["reason"], f"{degraded}")
    now = daemon.service()
    check_equal((now["state"], now["restarts"]["used"], now["restarts"]["max"]),
                ("degraded", 2, 2), "state and restarts")
    check(now["reason"] in daemon.cli("status", expect=9).out, "baton status does not say why")
    wait_until(lambda: named(daemon) == [0, 2], "the table has the other two")
    check_equal({instance_of(body) for body in bodies(100)}, {0, 2}, "who answers")
    daemon.restart()
    wait_until(lambda: well(daemon, 3), "three instances are well")
    check_equal(daemon.service()["restarts"]["used"], 0, "restarts after the order")
    check_only_accepted_ones_lost(hammer)


def test_restarts_that_are_not_allowed_degrade_and_say_so(t):
    daemon, sickness = ailing(t, instances=2, restart=HANDS_OFF)
    hammer = gentle(t)
    sickness.begin(0)
    degraded = daemon.wait_event("degraded")
    check("not started again" in degraded["reason"], f"{degraded}")
    check_equal((named(daemon), daemon.state()), ([1], "degraded"), "who is named, state")
    sickness.end(0)
    wait_until(lambda: well(daemon, 2), "it is put back")
    check_unharmed(hammer)


# ---- orders meanwhile ----------------------------------------------------------------------------

def test_order_takes_the_place_of_a_replacement(t):
    """Nobody has asked for that one, so nobody has to wait for it."""
    daemon, sickness = ailing(t, instances=2, restart={"delay": "50ms"})
    hammer = gentle(t)
    since = daemon.last_seq()
    sickness.begin(1, 2)  # the replacement will be number 2
    daemon.wait_event("replacing", since=since)
    sickness.end(1)
    daemon.restart()
    wait_until(lambda: well(daemon, 2), "two instances are well")
    check_equal(daemon.current(), 2, "generation")
    check_unharmed(hammer)


def test_replacement_survives_the_daemon(t):
    """The next one finds one instance too few, or too many, and puts it right."""
    daemon, sickness = ailing(t, instances=3, restart={"delay": "50ms"})
    hammer = gentle(t)
    since = daemon.last_seq()
    sickness.begin(0, 3)  # the replacement will be number 3
    daemon.wait_event("replacing", since=since)
    daemon.process.popen.kill()
    daemon.process.popen.wait()
    daemon.start_unready()
    sickness.end(3)
    wait_until(lambda: well(daemon, 3), "three instances are well")
    check_equal((daemon.current(), {pid_of(body) for body in bodies(100)}), (1, pids(daemon)),
                "generation and who answers")
    check_unharmed(hammer)
