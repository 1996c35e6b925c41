# SPDX-License-Identifier: BSD-2-Clause
"""`rollouts_max`: no more than so many services start or replace servers at a time."""

import datetime
import json

from harness import check, check_equal, wait_until
from services import example, service

SERVICES = 12
MAX = 2
SLACK = datetime.timedelta(milliseconds=3)  # times are cut to milliseconds


def names():
    return [f"s{k:02}" for k in range(SERVICES)]


def ended(daemon, since):
    """The events since then, once all services have ended a rollout. None has gone wrong."""
    def all_ended():
        _status, text = daemon.api(f"/v1/events?since={since}")
        events = [json.loads(line) for line in text.splitlines() if line]
        bad = [each for each in events if each["event"] in ("failed", "rolled-back", "refused")]
        check(not bad, lambda: f"not all went well: {bad}")
        done = {each["service"] for each in events if each["event"] == "done"}
        return events if done == set(names()) else None
    return wait_until(all_ended, f"{SERVICES} rollouts have ended", deadline_s=60)


def spans(events):
    """By service: when its rollout has begun, and when its new server has become healthy."""
    found = {}
    for each in events:
        if each["event"] == "verify":
            end = datetime.datetime.fromisoformat(each["time"].replace("Z", "+00:00"))
            begin = end - datetime.timedelta(milliseconds=each["elapsed_ms"])
            found[each["service"]] = begin, end
    check_equal(sorted(found), names(), "services whose servers have become healthy")
    return found


def check_in_turn(events):
    """No more than MAX at a time, one after the other."""
    by_name = spans(events)
    most = max(sum(begin <= other and other + SLACK < end for begin, end in by_name.values())
               for other, _end in by_name.values())
    check(most <= MAX, lambda: f"{most} were under way at a time: {by_name}")
    # Who has his turn may be slower than the next one. But nobody begins before all but one of
    # those that were asked for before have their servers.
    for k, name in enumerate(names()):
        before = [other for other in names()[:k] if by_name[other][1] > by_name[name][0] + SLACK]
        check(len(before) < MAX, lambda: f"{name} has begun before {before}: {by_name}")


def test_no_more_than_rollouts_max_are_under_way(t):
    daemon = t.daemon(start=False, **{
        name: service(example(t, "--ready-after", "50ms"), listen=[f"127.0.0.1:{8100 + k}"])
        for k, name in enumerate(names())})
    daemon.config["rollouts_max"] = MAX
    daemon.start()
    events = ended(daemon, 0)
    check_in_turn(events)
    since = max(each["seq"] for each in events)
    for each in daemon.config["services"].values():
        each["environment"] = {"COLOUR": "green"}
    daemon.write_config()
    answer = daemon.cli("reload", "--json", expect=0).json()
    check_equal(len(answer["changed"]), MAX, "changed at once")
    check_equal([each["service"] for each in answer["waiting"]], names()[MAX:], "those that wait")
    check_equal({each["detail"] for each in answer["waiting"]},
                {f"waits: {MAX} of {MAX} rollouts are under way"}, "what for")
    check_in_turn(ended(daemon, since))
    daemon.stop()


def test_who_waits_for_a_turn_says_so_and_can_be_called_off(t):
    slow = t.tmp / "slow"
    command = ["/bin/sh", "-c", 'test -e "$0" && exec sleep 1000; exec "$@"', slow, *example(t)]
    daemon = t.daemon(start=False, a=service(command, listen=["127.0.0.1:8101"]),
                      b=service(example(t), listen=["127.0.0.1:8102"]))
    daemon.config["rollouts_max"] = 1
    daemon.config["services"]["a"]["health"]["start_timeout"] = "1h"
    daemon.start()
    slow.touch()
    daemon.begin("restart", service="a")
    waits = "1 of 1 rollouts are under way"

    watching = t.spawn("restart", t.build / "baton", "-n", daemon.name, "restart", "b")
    wait_until(lambda: waits in daemon.cli("status", "b", expect=0).out, "status says that it waits")
    check_equal(daemon.service("b")["waits"]["reason"], waits, "status")
    check_equal(daemon.cli("restart", "b").status, 6, "exit status of a second order")
    daemon.cli("abort", "b", expect=0)
    check_equal(watching.wait(), 3, "exit status of the order that was called off")
    check(waits in watching.text(), lambda: f"nobody was told that it waits: {watching.text()}")
    check("waits" not in daemon.service("b"), "it waits no more")
    check_equal(daemon.current("b"), 1, "generation")

    since = daemon.last_seq()
    daemon.begin("restart", service="b")
    daemon.config["rollouts_max"] = 2
    daemon.write_config()
    daemon.cli("reload", expect=0)
    check_equal(daemon.wait_end(since, "b")["event"], "done", "once two may be under way")
    daemon.cli("abort", "a", expect=0)
    daemon.stop()
