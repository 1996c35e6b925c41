# SPDX-License-Identifier: BSD-2-Clause
"""Orders that come when they come: nothing to do, busy, in place of others, at the same time."""

import contextlib
import random
import signal

from harness import (begin_post, bodies, check, check_equal, get, read_response, refused,
                     signal_all, timeout, wait_until)
from services import (DEFAULTS, LISTEN, binder, example, generation_of, merged, reconfigure,
                      service, unready)
from storm import (HASTE, Client, calm_down, check_all_ended, check_same, config_of, listening,
                   rage, seed, steady_inventory)
from swaps import check_unharmed, gentle
from test_queue import PATIENT, fill_queue, generations, pause_old


def order(t, daemon, *words):
    """`baton WORDS` in the background."""
    return t.spawn("-".join(words[:2]), t.program("baton"), "-n", daemon.name, *words)


def settled(daemon):
    """One generation, and nothing under way."""
    now = daemon.service()
    return (now["state"] == "running" and not now["rollout"] and
            [each["state"] for each in now["generations"]] == ["current"])


def promote_until_settled(daemon):
    """Whatever it holds or waits for."""
    def promoted():
        daemon.cli("promote", "web", "--no-wait")
        return settled(daemon)
    wait_until(promoted, "the rollout has ended", poll_s=0.05)


# ---- nothing to do -------------------------------------------------------------------------------

def test_promote_and_abort_with_nothing_to_do_are_refused(t):
    daemon = t.daemon(service(example(t)))
    for word in ("promote", "abort"):
        result = daemon.cli(word, "web", expect=1)
        check("no rollout is under way" in result.err, f"no reason: {result}")
        status, answer = daemon.api(f"/v1/services/web/{word}", "POST")
        check_equal((status, answer["title"]), (409, f"Nothing to {word}"), f"{answer}")
    daemon.cli("stop", "web", expect=0)
    for word in ("promote", "abort"):
        daemon.cli(word, "web", expect=1)
    check_equal(daemon.state(), "stopped", "state")


def test_promote_where_nobody_is_waited_for_is_refused_and_names_the_step(t):
    daemon = t.daemon(service(example(t)))
    command, flag = unready(t)
    since = daemon.begin("upgrade", "--", *command)
    wait_until(lambda: (daemon.service()["rollout"] or {}).get("step") == "verify", "step verify")
    result = daemon.cli("promote", "web", expect=1)
    check("verify" in result.err, f"the step is not named: {result}")
    flag.unlink()
    check_equal(daemon.wait_end(since)["event"], "done", "end")


def test_abort_past_the_commit_is_refused(t):
    daemon = t.daemon(service(example(t)))
    with begin_post() as sock:
        since = daemon.begin()
        daemon.wait_event("leave", since=since)
        result = daemon.cli("abort", "web", expect=1)
        check("cannot be undone" in result.err and "drain" in result.err, f"{result}")
        sock.sendall(b"y" * 5)
        check_equal(read_response(sock).status, 200, "answer")
    check_equal(daemon.wait_end(since)["event"], "done", "end")


def test_abort_ends_the_rollout_and_its_waiting_command(t):
    daemon = t.daemon(service(example(t)))
    hammer = gentle(t)
    first = order(t, daemon, "upgrade", "web", "--", *example(t, "--unhealthy"))
    wait_until(lambda: daemon.service()["rollout"], "it has begun")
    daemon.cli("abort", "web", expect=0)
    check_equal(first.wait(), 3, f"exit status of the upgrade: {first.text()}")
    check("aborted" in first.text(), f"no reason: {first.text()}")
    check(settled(daemon), f"{daemon.service()}")
    check_equal({generation_of(body) for body in bodies(20)}, {1}, "generation that answers")
    check_unharmed(hammer)


def test_orders_with_mistakes_are_refused_and_name_the_key(t):
    daemon = t.daemon(service(example(t)))
    since = daemon.last_seq()
    for word, body, expected in (
            ("restart", {"supersede": "yes"}, "supersede"), ("restart", {"force": True}, "force"),
            ("upgrade", {"command": []}, "command"), ("upgrade", {"command": [""]}, "command[0]"),
            ("upgrade", {"command": ["/bin/true", 1]}, "command[1]"),
            ("upgrade", {"environment": []}, "environment"),
            ("upgrade", {"environment": {"A": 1}}, "environment.A"),
            ("upgrade", {"environment": {"A=B": "1"}}, "A=B"),
            ("upgrade", {"environment": {"LISTEN_FDS": "1"}}, "LISTEN_FDS"),
            ("promote", {"supersede": True}, "supersede"), ("abort", {"x": 1}, "x"),
            ("stop", {"instances": 1}, "instances"), ("reopen", {"supersede": True}, "supersede")):
        status, answer = daemon.api(f"/v1/services/web/{word}", "POST", body)
        check_equal((status, answer["code"]), (400, 2), f"{word} {body}: {answer}")
        check(expected in answer["detail"], f"{word} {body}: {answer}")
    status, answer = daemon.api("/v1/services/web/resart", "POST")
    check_equal((status, answer["code"]), (404, 2), f"{answer}")
    check_equal(daemon.api("/v1/services/wbe/restart", "POST")[0], 404, "no such service")
    check_equal(daemon.events(since=since), [], "events")


# ---- busy ----------------------------------------------------------------------------------------

def test_every_order_that_begins_a_rollout_is_busy_during_one_and_names_it(t):
    daemon = t.daemon(service(example(t)))
    hammer = gentle(t)
    since = daemon.begin("upgrade", "--", *example(t, "--unhealthy"))
    wait_until(lambda: (daemon.service()["rollout"] or {}).get("step") == "verify", "step verify")
    number = daemon.service()["rollout"]["rollout"]
    for words in (("restart", "web"), ("upgrade", "web", "--force"), ("stop", "web"),
                  ("scale", "web", "2")):
        result = daemon.cli(*words, expect=6)
        for expected in (f"rollout {number}", "upgrade", "generation 2", "verify"):
            check(expected in result.err, f"{words}: {expected!r} is not in {result}")
    daemon.cli("start", "web", expect=6)
    # That one is what rolling back means at this moment.
    daemon.cli("rollback", "web", expect=0)
    check_equal(daemon.wait_end(since)["event"], "failed", "end")
    check_equal(daemon.service()["instances"], 1, "instances")
    check_unharmed(hammer)


def test_orders_during_a_drain_begin_at_once_until_there_are_too_many(t):
    """What drains decides nothing any more; drain.generations_max bounds it."""
    daemon = t.daemon(service(example(t), drain={"generations_max": 3}))
    with contextlib.ExitStack() as stack:
        socks = []
        for number in (1, 2):
            socks.append(stack.enter_context(begin_post()))
            since = daemon.begin()
            daemon.wait_event("leave", since=since)
            wait_until(lambda: daemon.current() == number + 1, "the next one serves")
        states = sorted(each["state"] for each in daemon.service()["generations"])
        check_equal(states, ["current", "draining", "draining"], "generations")
        result = daemon.restart(expect=6)
        check("3 generations" in result.err and "generations_max" in result.err, f"{result}")
        daemon.cli("restart", "web", "--supersede", expect=6)
        for sock in socks:
            sock.sendall(b"y" * 5)
            check_equal(read_response(sock).status, 200, "answer")
    wait_until(lambda: settled(daemon), "the old ones have ended")
    daemon.restart()
    check_equal(generation_of(get().body), 4, "generation that answers")


# ---- in the place of another ---------------------------------------------------------------------

def superseded(t, daemon, first, step, exits, before_it=None, after_it=None):
    """
    @first gets as far as @step and is superseded there: the command that waits for it ends with
    @exits, the other one with 0, and no client has noticed.
    """
    hammer = gentle(t)
    since = daemon.last_seq()
    before = daemon.current()
    one = order(t, daemon, *first)
    wait_until(lambda: (daemon.service()["rollout"] or {}).get("step") == step, f"step {step}")
    if before_it:
        before_it()
    two = order(t, daemon, "restart", "web", "--supersede")
    daemon.wait_event("superseded", since=since)
    if after_it:
        after_it()
    check_equal(one.wait(), exits, f"exit status of the first: {one.text()}")
    check("superseded" in one.text(), f"the first is not told why: {one.text()}")
    promote_until_settled(daemon)
    check_equal(two.wait(), 0, f"exit status of the second: {two.text()}")
    told = daemon.events("superseded", since=since)
    check_equal(len(told), 1, f"superseded: {told}")
    check_equal(daemon.current(), before + 2, "generation")
    check_equal({generation_of(body) for body in bodies(30)}, {before + 2}, "who answers")
    check_unharmed(hammer)


def held_by(t, name):
    """A command that ends with success as soon as the file is gone, and the file."""
    flag = t.tmp / name
    return ["/bin/sh", "-c", f"while test -e {flag}; do sleep 0.02; done"], flag


def test_supersede_during_prepare(t):
    hook, flag = held_by(t, "hook")
    daemon = t.daemon(service(example(t), hooks={"before_start": hook}))
    flag.touch()
    superseded(t, daemon, ("restart", "web"), "prepare", 3, after_it=flag.unlink)


def test_supersede_during_start(t):
    own = ("--listen", LISTEN, "--share")
    daemon = t.daemon(service(binder(t, *own), mode="native"))
    superseded(t, daemon, ("upgrade", "web", "--", *binder(t, *own, "--bind-after", 30)), "start",
               3)


def test_supersede_during_verify(t):
    superseded(t, t.daemon(service(example(t))),
               ("upgrade", "web", "--", *example(t, "--unhealthy")), "verify", 3)


def test_supersede_during_gate(t):
    gate, flag = held_by(t, "gate")
    daemon = t.daemon(service(example(t), gates=[{"at": "shift", "exec": gate}]))
    flag.touch()
    superseded(t, daemon, ("restart", "web"), "gate", 3, after_it=flag.unlink)


def canary(first):
    return {"strategy": "canary", "steps": [first, {"weight": 100}]}


def test_supersede_during_hold(t):
    daemon = t.daemon(service(example(t), rollout=canary({"weight": 50, "hold": "60s"})))
    superseded(t, daemon, ("restart", "web"), "hold", 4)


def test_supersede_during_a_hold_without_end(t):
    daemon = t.daemon(service(example(t), instances=2, rollout=canary({"weight": 10})))
    superseded(t, daemon, ("restart", "web"), "hold", 4)


def test_supersede_during_wait(t):
    """A gate that is unsure, until the file is gone."""
    flag = t.tmp / "unsure"
    gate = ["/bin/sh", "-c", f"test ! -e {flag} || exit 2"]
    daemon = t.daemon(service(example(t), gates=[{"at": "shift", "exec": gate}]))
    flag.touch()
    superseded(t, daemon, ("restart", "web"), "wait", 3, after_it=flag.unlink)


def test_supersede_during_bake(t):
    daemon = t.daemon(service(example(t), rollout={"bake": "10m"}))
    superseded(t, daemon, ("restart", "web"), "bake", 4)


def test_supersede_of_a_rolling_restart_half_way(t):
    (t.tmp / "sick.2.2").touch()
    sick = t.tmp / "sick.{generation}.{instance}"
    daemon = t.daemon(service(example(t, "--unhealthy-while", sick),
                              instances=4, rollout={"strategy": "rolling", "max_surge": 2}))

    def half_way():
        wait_until(lambda: daemon.events("leave"), "the first ones have left")
        wait_until(lambda: daemon.service()["rollout"]["step"] == "verify", "step verify")
    superseded(t, daemon, ("restart", "web"), "verify", 4, before_it=half_way)
    check_equal(len(daemon.generation()["instances"]), 4, "instances")


def test_supersede_during_settle(t):
    """The old one stands still with connections in its queue: they are answered all the same."""
    daemon = t.daemon(service(example(t), **PATIENT))
    with contextlib.ExitStack() as stack:
        old = pause_old(daemon)
        clients = fill_queue(stack, 10)
        since = daemon.last_seq()
        one = order(t, daemon, "restart", "web")
        daemon.wait_event("shift", since=since)
        two = order(t, daemon, "restart", "web", "--supersede")
        daemon.wait_event("superseded", since=since)
        signal_all(old, signal.SIGCONT)
        check_equal(one.wait(), 4, f"exit status of the first: {one.text()}")
        check_equal(two.wait(), 0, f"exit status of the second: {two.text()}")
        check(set(generations(clients)) <= {1, 3}, "who has answered what was queued")
    check_equal({generation_of(body) for body in bodies(20)}, {3}, "who answers")


def test_supersede_of_what_is_queued_already(t):
    """Only the last one is carried out; who has ordered the others is told."""
    daemon = t.daemon(service(example(t), rollout={"bake": "10m"},
                              drain={"kill_timeout": "300ms"}))
    hammer = gentle(t)
    since = daemon.last_seq()
    orders = [order(t, daemon, "restart", "web")]
    wait_until(lambda: (daemon.service()["rollout"] or {}).get("step") == "bake", "step bake")
    for _ in range(3):
        orders.append(order(t, daemon, "restart", "web", "--supersede"))
    wait_until(lambda: all(each.text() for each in orders), "all orders are given")
    promote_until_settled(daemon)
    statuses = sorted(each.wait() for each in orders)
    check_equal(statuses.count(0), 1, f"exit statuses {statuses}")
    check(set(statuses) <= {0, 3, 4, 6}, f"exit statuses {statuses}")
    check(daemon.events("superseded", since=since), "nothing is told")
    check_unharmed(hammer)


def test_stop_supersedes_a_rollout(t):
    daemon = t.daemon(service(example(t)))
    one = order(t, daemon, "upgrade", "web", "--", *example(t, "--unhealthy"))
    wait_until(lambda: (daemon.service()["rollout"] or {}).get("step") == "verify", "step verify")
    daemon.cli("stop", "web", expect=6)
    daemon.cli("stop", "web", "--supersede", expect=0)
    # The old one may have been told to leave before the end of the upgrade is told.
    check(one.wait() in (3, 8), f"exit status of the first: {one.text()}")
    wait_until(lambda: daemon.state() == "stopped", "it is stopped")
    check(refused(), "a stopped service takes connections")
    daemon.cli("start", "web", expect=0)
    check_equal(daemon.generation()["executable"], example(t)[0], "executable")
    check("--unhealthy" not in daemon.service()["command"], "the refused command is kept")


def test_stop_supersedes_a_first_start(t):
    daemon = t.daemon(service(example(t, "--unhealthy")), start=False)
    daemon.start_unready()
    wait_until(lambda: daemon.state() == "starting", "it is starting")
    daemon.cli("stop", "web", "--supersede", expect=0)
    wait_until(lambda: daemon.service()["generations"] == [], "nothing is left")
    check(refused(), "something listens")


def test_start_supersedes_a_stop_that_drains(t):
    daemon = t.daemon(service(example(t)))
    with begin_post() as sock:
        stop = order(t, daemon, "stop", "web")
        wait_until(lambda: daemon.state() == "stopping", "it is stopping")
        daemon.cli("start", "web", expect=6)
        start = order(t, daemon, "start", "web", "--supersede")
        daemon.wait_event("superseded")
        sock.sendall(b"y" * 5)
        check_equal(read_response(sock).status, 200, "answer")
    stop.wait()
    check_equal(start.wait(), 0, f"exit status of start: {start.text()}")
    check_equal(generation_of(get().body), 2, "generation that answers")


# ---- HUP -----------------------------------------------------------------------------------------

def test_hup_during_a_rollout_rolls_the_change_afterwards(t):
    daemon = t.daemon(service(example(t)))
    hammer = gentle(t)
    command, flag = unready(t)
    since = daemon.begin("upgrade", "--", *command)
    wait_until(lambda: daemon.service()["rollout"], "a rollout is under way")
    daemon.config["services"]["web"]["environment"] = {"COLOUR": "green"}
    daemon.write_config()
    daemon.process.popen.send_signal(signal.SIGHUP)
    wait_until(lambda: "configuration re-read" in daemon.process.text(), "it is read")
    flag.unlink()
    check_equal(daemon.wait_end(since)["event"], "done", "end of the upgrade")
    wait_until(lambda: settled(daemon) and daemon.current() == 3, "the change is rolled")
    with open(f"/proc/{daemon.server_pid()}/environ", "rb") as environ:
        check(b"COLOUR=green" in environ.read().split(b"\0"), "the environment is the old one")
    check_unharmed(hammer)


def test_hup_during_a_rollout_without_a_change_leaves_it_alone(t):
    daemon = t.daemon(service(example(t)))
    command, flag = unready(t)
    since = daemon.begin("upgrade", "--", *command)
    wait_until(lambda: daemon.service()["rollout"], "a rollout is under way")
    daemon.process.popen.send_signal(signal.SIGHUP)
    wait_until(lambda: "configuration re-read" in daemon.process.text(), "it is read")
    check("0 changed" in daemon.process.text(), "it is taken for a change")
    flag.unlink()
    check_equal(daemon.wait_end(since)["event"], "done", "end of the upgrade")
    wait_until(lambda: settled(daemon), "nothing else follows")
    check_equal(daemon.current(), 2, "generation")


# ---- at the same time ----------------------------------------------------------------------------

@timeout(600)
def test_two_clients_at_once_get_one_rollout_each_or_busy(t):
    daemon = t.daemon(service(example(t)))
    hammer = gentle(t)
    for _ in range(5):
        since = daemon.last_seq()
        both = [order(t, daemon, "restart", "web") for _ in range(2)]
        statuses = sorted(each.wait() for each in both)
        done = len(daemon.events("done", since=since))
        check_equal(statuses, [0] * done + [6] * (2 - done), "exit statuses")
        check(done >= 1, "neither was carried out")
    check_unharmed(hammer)


@timeout(600)
def test_two_clients_at_once_that_supersede_both_end(t):
    # So that another order can come in between.
    daemon = t.daemon(service(example(t, "--ready-after", "200ms")))
    hammer = gentle(t)
    for _ in range(5):
        both = [order(t, daemon, "restart", "web", "--supersede") for _ in range(2)]
        statuses = sorted(each.wait() for each in both)
        check(statuses[0] == 0 and statuses[1] in (0, 3, 4, 6), f"exit statuses {statuses}")
        wait_until(lambda: settled(daemon), "one generation is left")
    check_unharmed(hammer)


SERVING = ("restart", "restart", "upgrade", "upgrade", "scale", "promote", "abort", "rollback",
           "pause", "resume", "reload", "reopen")
ENDING = (*SERVING, "stop", "start", "start")


@timeout(600)
def test_100_random_orders_from_two_clients_lose_nothing_and_leave_nothing(t):
    """
    Under load those that leave the service up; "stop" is among the orders only when the load is
    over, as it refuses connections by its nature.
    """
    number = seed()
    daemon = t.daemon(merged(config_of(t, random.Random(number)), instances=2,
                             health=DEFAULTS["health"]))
    daemon.begin()
    calm_down(daemon)
    reconfigure(daemon, health=HASTE)
    before = steady_inventory(daemon)
    events = t.spawn("events", t.program("baton"), "-n", daemon.name, "events", "-f", "--json")
    clients = [Client(t, daemon, f"{number}-{k}", SERVING) for k in (1, 2)]
    hammer = gentle(t)
    rage(clients, 40)
    daemon.cli("resume", "web")
    calm_down(daemon)
    daemon.cli("restart", "web", "--supersede", "--no-wait", expect=0)
    calm_down(daemon)
    check_unharmed(hammer)

    for each in clients:
        each.words = ENDING
    rage(clients, 10)
    calm_down(daemon)
    reconfigure(daemon, health=DEFAULTS["health"])
    daemon.cli("start", "web", "--no-wait")
    calm_down(daemon)
    daemon.cli("upgrade", "web", "--supersede", "--no-wait", "--force", "--", *example(t), expect=0)
    calm_down(daemon)
    daemon.cli("scale", "web", 2, expect=0)
    daemon.wait_state("running")
    last = f'"seq":{daemon.last_seq()},'
    wait_until(lambda: last in events.text().replace(" ", ""), "all events have come")
    events.end()
    check_all_ended(events.text())
    check_same(daemon, before)
    daemon.stop()
    check_equal(listening(), {}, "listening sockets after the end")
