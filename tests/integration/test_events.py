# SPDX-License-Identifier: BSD-2-Clause
"""
The history of events: what is kept, that it outlives batond, and that whoever misses events is told.
(That every event which any test sees is documented is checked by the harness.)
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time

from harness import ApiConnection, check, check_equal, documented_events, get, wait_until
from services import Sickness, example, generation_of, merged, service, unready

OTHER_EPOCH = "0123456789abcdef"
KEPT = 1024
AT_ONCE_S = 20.0
IDLE_S = 30  # docs/api.md


def history(daemon, query="since=0"):
    """What `GET /v1/events` answers, of all services and with what was dropped."""
    status, text = daemon.api(f"/v1/events?{query}")
    check_equal(status, 200, f"GET /v1/events?{query}")
    return [json.loads(line) for line in text.splitlines() if line]


def place(daemon):
    """(epoch, seq) of the newest event."""
    version = daemon.api("/v1/version")[1]
    return version["epoch"], version["seq"]


def numbers(events):
    return [each["seq"] for each in events]


def kill(daemon):
    daemon.process.popen.send_signal(signal.SIGKILL)
    daemon.process.wait()


def check_whole(events):
    """Each event once, none is missing, all of one epoch."""
    check_equal(numbers(events), list(range(events[0]["seq"], events[0]["seq"] + len(events))),
                "numbers")
    check_equal(len({each["epoch"] for each in events}), 1, "epochs")


class Follower:
    """A reader of the stream, over a connection of its own."""

    def __init__(self, daemon, query="", headers=None):
        self.connection = ApiConnection(daemon.api_socket)
        self.connection.request("GET", f"/v1/events?follow=1{query}", headers=headers or {})
        self.answer = self.connection.getresponse()
        check_equal(self.answer.status, 200, "follow")

    def next(self):
        """The next event; heartbeats are skipped."""
        while not (line := self.answer.readline().strip()):
            check(not self.answer.isclosed(), "the stream has ended")
        return json.loads(line)

    def until(self, condition):
        """All events up to the first for which @condition holds."""
        seen = []
        while not seen or not condition(seen[-1]):
            seen.append(self.next())
        return seen

    def close(self):
        self.connection.close()


# ---- it outlives batond --------------------------------------------------------------------------

def test_events_survive_sigkill_of_batond(t):
    daemon = t.daemon(service(example(t)))
    daemon.restart()
    before = history(daemon)
    check_whole(before)
    kill(daemon)
    daemon.start()
    after = history(daemon)
    check_equal(after[:len(before)], before, "what was told before")
    check_whole(after)
    check_equal(after[len(before)]["event"], "adopted", "the first one after")
    check_equal(history(daemon, f"since={before[-1]['epoch']}:{before[-1]['seq']}"),
                after[len(before):], "for who had all of them")


def test_events_survive_stop_and_start(t):
    daemon = t.daemon(service(example(t)))
    daemon.restart()
    epoch, seq = place(daemon)
    daemon.stop()
    daemon.start()
    events = history(daemon)
    check_whole(events)
    check_equal((events[0]["seq"], events[0]["epoch"]), (1, epoch), "the oldest")
    # What came of the stop, after the API had been closed, is there as well.
    kinds = [each["event"] for each in events if each["seq"] > seq]
    check_equal(kinds[:5], ["shift", "leave", "drain", "stop", "done"], "the stop")
    check_equal(kinds[-1], "done", "the start")


def test_events_orders_say_from_where_they_are_to_be_followed(t):
    daemon = t.daemon(service(example(t)))
    epoch, seq = place(daemon)
    status, answer = daemon.api("/v1/services/web/restart", "POST")
    check_equal((status, answer["epoch"], answer["seq"]), (202, epoch, seq), "answer")
    follower = Follower(daemon, f"&service=web&since={epoch}:{seq}")
    seen = follower.until(lambda each: each["event"] == "done")
    check_whole(seen)
    check_equal({each["rollout"] for each in seen if "rollout" in each}, {answer["rollout"]},
                "rollouts")
    follower.close()


def test_events_are_followed_on_when_a_new_batond_takes_over(t):
    daemon = t.daemon(service(example(t)))
    epoch, seq = place(daemon)
    follow = t.spawn("follow", t.program("baton"), "-n", daemon.name, "events", "-f", "--json",
                     "--since", f"{epoch}:{seq}")

    def seen():
        lines = [line for line in follow.text().splitlines() if line.startswith("{")]
        return [json.loads(line) for line in lines if line.endswith("}")]

    def wait_seen(last):
        wait_until(lambda: numbers(seen())[-1:] == [last], lambda: f"event {last}: {seen()}")
    daemon.restart()
    wait_seen(place(daemon)[1])
    for _ in range(2):
        kill(daemon)
        daemon.start()
        daemon.restart()
        wait_seen(place(daemon)[1])
    check_whole(seen())
    check_equal((seen()[0]["seq"], seen()[0]["epoch"]), (seq + 1, epoch), "the first one")
    check("has gone; it is waited for" in follow.text(), "it does not say that batond is gone")
    # What is shown to people is the same.
    check_equal(len(daemon.cli("events", expect=0).out.splitlines()), len(history(daemon)), "lines")
    check_equal(len(daemon.cli("events", "--since", f"{epoch}:{seq}", expect=0).out.splitlines()),
                len(seen()), "lines after a number")
    daemon.stop()
    follow.end()


# ---- many of them --------------------------------------------------------------------------------

def test_events_of_checks_push_out_nothing(t):
    command = example(t, "--unhealthy-while", t.tmp / "sick.{generation}")
    daemon = t.daemon(service(command, instances=4, health={"interval": "10ms"}))
    first = history(daemon)
    flag = t.tmp / "sick.2"
    flag.touch()
    since = daemon.begin()
    follower = Follower(daemon, f"&since={since}")
    probes = 0
    while probes < KEPT + 100:
        event = follower.next()
        if event["event"] == "probe":
            probes += 1
            check(event["generation"] == 2 and 0 <= event["instance"] < 4, f"whose: {event}")
            check("503" in event["message"], f"{event}")
    follower.close()
    flag.unlink()
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    events = history(daemon)
    check_whole(events)
    check_equal(events[:len(first)], first, "what was told before")
    check_equal(sorted(each["instance"] for each in events if each["event"] == "probe"),
                [0, 1, 2, 3], "bad answers in the history: the first ones")
    check_equal(daemon.process.text().count(": probe: "), 4, "lines in the log")
    check_equal(daemon.kept_events(), events, "what is in the file")


def test_events_have_one_line_for_each_change_of_a_check(t):
    sickness = Sickness(t)
    daemon = t.daemon(service(sickness.command(), instances=2,
                              health={"interval": "10ms", "unhealthy": 1, "healthy": 1},
                              restart={"delay": "1h"}))
    since = daemon.last_seq()
    for _ in range(3):
        sickness.begin(1)
        wait_until(lambda: daemon.events(since=since)[-1:] and
                   daemon.events(since=since)[-1]["event"] == "unhealthy", "it is taken out")
        sickness.end(1)
        wait_until(lambda: daemon.events(since=since)[-1]["event"] == "recovered", "it is back")
    changes = daemon.events(since=since)
    check_equal([each["event"] for each in changes], ["unhealthy", "recovered"] * 3, "events")
    for each in changes:
        check_equal((each["generation"], each["instance"]), (1, 1), f"{each}")
        check(("503" if each["event"] == "unhealthy" else "200 OK") in each["message"], f"{each}")


def pauses(daemon, count):
    """
    Two events each, at once: many orders are sent together, so that on a busy machine nobody has to
    be waited for between two of them.
    """
    both = b"".join(b"POST /v1/services/web/%s HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n" %
                    order for order in (b"pause", b"resume"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(str(daemon.api_socket))
        stream = sock.makefile("rb")
        while count > 0:
            some = min(count, 32)
            sock.sendall(both * some)
            for _ in range(2 * some):
                head = b"".join(iter(stream.readline, b"\r\n"))
                check(head.startswith(b"HTTP/1.1 200"), f"answer: {head!r}")
                stream.read(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
            count -= some


def test_events_that_are_no_longer_kept_are_told(t):
    daemon = t.daemon(service(example(t)))
    pauses(daemon, KEPT // 2 + 5)
    epoch, last = place(daemon)
    oldest = last - KEPT + 1
    for query in (f"since={oldest - 3}", f"since={epoch}:{oldest - 3}",
                  f"since={oldest - 3}&service=web"):
        events = history(daemon, query)
        check_equal((events[0]["event"], events[0]["missed"], events[0]["seq"]),
                    ("dropped", 2, oldest - 1), query)
        check_equal(events[0]["next"], events[1]["time"], query)
        check_equal(numbers(events[1:]), list(range(oldest, last + 1)), query)
    check_equal(numbers(history(daemon)), list(range(oldest, last + 1)), "all that is kept")
    check_equal(numbers(history(daemon, f"since={oldest - 1}")), list(range(oldest, last + 1)),
                "just in time")
    check("2 events" in daemon.cli("events", "--since", oldest - 3, expect=0).out, "for people")
    # They are bounded in the file, too.
    check(all(path.stat().st_size <= 1 << 20 for path in daemon.event_files() if path.exists()),
          "the files are too large")
    kill(daemon)
    daemon.start()
    check_equal(numbers(history(daemon)), list(range(oldest + 1, last + 2)), "the next batond's")


def test_events_a_slow_reader_has_missed_are_told(t):
    daemon = t.daemon(service(example(t)))
    seq = place(daemon)[1]
    slow = socket.socket(socket.AF_UNIX)
    slow.settimeout(60)
    slow.connect(str(daemon.api_socket))
    slow.sendall(b"GET /v1/events?follow=1&since=%d HTTP/1.0\r\n\r\n" % seq)
    # Until the socket's buffers are full, and then more than are kept; not many more, as a reader
    # who takes nothing for half a minute is sent away.
    text, began = b"", time.monotonic()
    for _ in range(12):
        pauses(daemon, KEPT // 16)
        text += slow.recv(1024)
    last = place(daemon)[1]
    while b'"seq":%d,' % last not in text:
        part = slow.recv(65536)
        if not part:
            # So long it has taken the machine to make so many.
            check(time.monotonic() - began > IDLE_S, f"sent away after {len(text)} bytes")
            return
        text += part
    slow.close()
    events = [json.loads(line) for line in text.split(b"\r\n\r\n", 1)[1].splitlines() if line]
    places = [k for k, each in enumerate(events) if each["event"] == "dropped"]
    check_equal(len(places), 1, f"told of {len(events)} events")
    dropped = events.pop(places[0])
    check("too slow" in dropped["message"], f"{dropped}")
    check_equal(len(events) + dropped["missed"], last - seq, "what it had and what it missed")
    check_equal(events[places[0]]["seq"] - events[places[0] - 1]["seq"] - 1, dropped["missed"],
                "the gap")


# ---- another history -----------------------------------------------------------------------------

def test_events_of_another_epoch_are_told_from_these(t):
    daemon = t.daemon(service(example(t)))
    epoch, last = place(daemon)
    whole = history(daemon)
    for query in (f"since={OTHER_EPOCH}:3", f"since=3&epoch={OTHER_EPOCH}", f"since={last + 1}"):
        events = history(daemon, query)
        check_equal((events[0]["event"], events[0]["missed"]), ("dropped", None), query)
        check("begun anew" in events[0]["message"], f"{events[0]}")
        check_equal(events[1:], whole, query)
    sse = {"Accept": "text/event-stream"}
    follower = Follower(daemon, headers={**sse, "Last-Event-ID": f"{OTHER_EPOCH}:3"})
    lines = [follower.answer.readline().decode().strip() for _ in range(5)]
    check_equal((lines[0], lines[3]), (f"id: {epoch}:0", f"id: {epoch}:1"), f"ids in {lines}")
    check('"event":"dropped"' in lines[1], f"{lines}")
    follower.close()
    follower = Follower(daemon, headers={**sse, "Last-Event-ID": f"{epoch}:{last - 1}"})
    check_equal(follower.answer.readline().decode().strip(), f"id: {epoch}:{last}", "the next one")
    follower.close()


def test_events_file_that_is_gone_begins_another_epoch(t):
    daemon = t.daemon(service(example(t)))
    epoch, last = place(daemon)
    daemon.kept_events()  # none waits to be written
    kill(daemon)
    daemon.event_files()[1].unlink()
    daemon.start()
    events = history(daemon, f"since={epoch}:{last}")
    check_equal([each["event"] for each in events], ["dropped", "adopted"], "events")
    check(events[1]["epoch"] != epoch, "the same epoch")
    check_equal(events[1]["seq"], 1, "number")


def test_events_torn_last_line_is_cut_off(t):
    daemon = t.daemon(service(example(t)))
    before = history(daemon)
    daemon.kept_events()  # none waits to be written
    kill(daemon)
    path = daemon.event_files()[1]
    with open(path, "rb+") as file:
        file.truncate(path.stat().st_size - 40)
    daemon.start()
    events = history(daemon)
    # The number of the torn one is known: it is missing, and said to be.
    check_equal(events[:len(before) - 1], before[:-1], "what is whole")
    check_equal((events[len(before) - 1]["event"], events[len(before) - 1]["missed"]),
                ("dropped", 1), "the torn one")
    check_equal((events[-1]["event"], events[-1]["seq"]), ("adopted", before[-1]["seq"] + 1),
                "the next one")
    check_equal([each.name for each in path.parent.glob("*.bad*")], [], "moved aside")


def damage(path, how):
    path.unlink(missing_ok=True)
    if how == "fifo":
        os.mkfifo(path)
    elif how in ("zero", "null"):
        path.symlink_to(f"/dev/{how}")
    elif how == "folder":
        path.mkdir()
    elif how == "huge":
        path.touch()
        os.truncate(path, 1 << 40)
    elif how == "binary":
        path.write_bytes(bytes(range(256)) * 100)
    else:
        path.write_text({"foreign": "[1, 2]\n", "text": "hello\n", "cut": '{"baton":"eve',
                         "newer": '{"baton":"events","version":99}\n'}[how])


def test_events_file_that_cannot_be_used_is_moved_aside(t):
    daemon = t.daemon(service(example(t)))
    newer = daemon.event_files()[1]
    for how in ("foreign", "text", "cut", "newer", "binary", "huge", "fifo", "zero", "null",
                "folder"):
        daemon.kept_events()  # none waits to be written
        kill(daemon)
        before = set(newer.parent.iterdir())
        damage(newer, how)
        daemon.start()
        aside = [each for each in newer.parent.iterdir()
                 if each not in before and ".bad" in each.name]
        check_equal(len(aside), 1, f"{how}: moved aside")
        check(str(aside[0]) in daemon.process.text(), f"{how}: no warning: {daemon.process.text()}")
        check_equal(generation_of(get().body), 1, f"{how}: generation that answers")
        # Its checks begin anew: "healthy" may follow by now.
        kinds = [each["event"] for each in history(daemon) if each["event"] != "healthy"]
        check_equal(kinds, ["adopted"], f"{how}: events")
        wait_until(lambda: daemon.kept_events() == history(daemon), f"{how}: they are in the file")
    # The older file's fate does not touch the newer one.
    daemon.kept_events()
    kill(daemon)
    before = history_file(daemon)
    os.mkfifo(daemon.event_files()[0])
    daemon.start()
    check_equal(history(daemon)[:len(before)], before, "events with a bad older file")
    check("events.jsonl.1.bad" in daemon.process.text(), "no warning")


def history_file(daemon):
    return [json.loads(line) for line in daemon.event_files()[1].read_text().splitlines()[1:]]


# ---- a full disk ---------------------------------------------------------------------------------

def fill(path):
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_events_on_a_full_disk_are_lost_to_the_file_only(t):
    daemon = t.daemon(service(example(t)), start=False)
    folder = daemon.event_files()[1].parent
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    try:
        daemon.start()
        fill(folder / "fill")
        start = place(daemon)[1]
        follower = Follower(daemon, f"&since={start}")
        pauses(daemon, 20)  # the last page of the file is not full yet
        lost_at = daemon.kept_events()[-1]["seq"]
        daemon.restart()
        epoch, last = place(daemon)
        check_equal(numbers(follower.until(lambda each: each["seq"] == last)),
                    list(range(start + 1, last + 1)), "for who follows")
        check_whole(history(daemon))
        check_equal(daemon.process.text().count("events are kept in memory only"), 1, "warnings")
        check_equal(daemon.kept_events()[-1]["seq"], lost_at, "the last one in the file")
        (folder / "fill").unlink()
        pauses(daemon, 1)
        told = f"can be written again; {last - lost_at} events were not written"
        check_equal(numbers(daemon.kept_events())[-2:], [last + 1, last + 2], "in the file")
        check(told in daemon.process.text(), f"{told!r} is not in {daemon.process.text()}")
        # The next batond knows what it does not know.
        kill(daemon)
        daemon.start()
        events = history(daemon, f"since={epoch}:{lost_at}")
        check_equal((events[0]["event"], events[0]["missed"]), ("dropped", last - lost_at),
                    "after the gap")
        check_equal(numbers(events[1:]), [last + 1, last + 2, last + 3], "and what follows")
        follower.close()
        # Numbers that were told while it was full until the end are not used again unnoticed.
        fill(folder / "fill")
        pauses(daemon, 40)
        last = place(daemon)[1]
        daemon.kept_events()  # until it was tried, the next one has them from the spare
        kill(daemon)
        (folder / "fill").unlink()
        daemon.start()
        check(place(daemon)[0] != epoch, "the same epoch")
        events = history(daemon, f"since={epoch}:{last}")
        check_equal((events[0]["event"], events[0]["missed"]), ("dropped", None), "after that")
        check_equal(events[1]["event"], "adopted", "what follows")
        daemon.stop()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


# ---- the list ------------------------------------------------------------------------------------

def test_events_that_are_documented_are_enough_for_a_stormy_life(t):
    """The harness compares all events with docs/api.md; here are as many kinds as fit into a test."""
    command, flag = unready(t)
    flag.unlink()
    daemon = t.daemon(merged(service(command, instances=2), rollout={"bake": "10ms"},
                             hooks={"after_shift": ["/bin/true"], "on_failure": ["/bin/false"]}))
    daemon.restart()
    daemon.cli("scale", "web", 3, expect=0)
    pauses(daemon, 1)
    os.kill(daemon.server_pid(), signal.SIGKILL)
    daemon.wait_event("restarted")
    flag.touch()
    since = daemon.begin()
    daemon.cli("restart", "web", "--supersede", "--no-wait", expect=0)
    daemon.wait_event("superseded", since=since)
    daemon.cli("abort", "web")
    flag.unlink()
    daemon.cli("stop", "web", expect=0)
    daemon.cli("start", "web", expect=0)
    kinds = {each["event"] for each in daemon.events()}
    check(kinds <= documented_events()[0].keys(), f"{kinds}")
    check({"hook", "scaled", "paused", "resumed", "exited", "restarted", "superseded", "failed",
           "done", "healthy"} <= kinds, f"{kinds}")
