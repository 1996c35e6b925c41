# SPDX-License-Identifier: BSD-2-Clause
"""rollouts: four instances are replaced under load; what the tests of that share."""

import collections
import contextlib
import os
import re
import signal
import threading
import time

from harness import check, check_equal, own_cgroup, wait_until
from services import example, service
from swaps import check_nothing_lost

INSTANCES = 4
CLIENTS = {"--short": 16, "--keepalive": 4, "--slow-post": 4}
# Bounded: what is shown is not how fast the machine is.
LOAD = (*(word for option in CLIENTS.items() for word in option), "--rate", 1500,
        "--post-bytes", 4000, "--post-duration", "200ms", "--sources", 8, "--timeout", "30s",
        "--expect-status", 200)
SPREAD = 3000  # connections; of a quarter of them 1 % is one standard deviation
SAMPLE_S = 0.002


# ---- servers -------------------------------------------------------------------------------------

def four(t, **changes):
    """
    Four example servers. It takes them a moment to become healthy, so that there is something to be
    seen between two steps. See sicken() and make_crash().
    """
    command = ["/bin/sh", "-c", 'test -e "$0" && { echo told to crash >&2; exit 9; }; exec "$@"',
               t.tmp / "crash.{generation}.{instance}",
               *example(t, "--ready-after", "150ms",
                        "--unhealthy-while", str(t.tmp / "sick.{generation}.{instance}"))]
    return service(command, instances=INSTANCES, **changes)


def sicken(t, generation, *instances):
    """These answer 503 to their checks from now on, whether they run already or not."""
    for instance in instances or range(INSTANCES):
        (t.tmp / f"sick.{generation}.{instance}").touch()


def cure(t, generation):
    for path in t.tmp.glob(f"sick.{generation}.*"):
        path.unlink()


def make_crash(t, generation, *instances):
    """These end with status 9 when they are started."""
    for instance in instances:
        (t.tmp / f"crash.{generation}.{instance}").touch()


def server_pids(daemon, generation):
    return [each["pid"] for found in daemon.service()["generations"]
            if found["generation"] == generation for each in found["instances"]]


def kill_servers(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_daemon(daemon):
    daemon.process.popen.send_signal(signal.SIGKILL)
    daemon.process.wait()


def settled(daemon):
    """One generation is left, and it is the current one."""
    return [g["state"] for g in daemon.service()["generations"]] == ["current"]


# ---- who is there --------------------------------------------------------------------------------

def alive_in_cgroups(daemon, name="web"):
    """The cgroups of instances in which there is a process: {"web.1.0": ["1234", "1235"]}"""
    found = {}
    for folder in sorted((own_cgroup() / daemon.name).glob(f"{name}.*.*")):
        with contextlib.suppress(OSError):
            pids = (folder / "cgroup.procs").read_text().split()
            if pids:
                found[folder.name] = pids
    return found


class Census:
    """
    While it is entered: how many servers are alive, from the cgroups of the instances, hundreds of
    times a second. A sample counts where nothing has changed while it was taken.
    """

    def __init__(self, daemon):
        self.daemon = daemon
        self.counts = collections.Counter()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        before = None
        while not self.over.wait(SAMPLE_S):
            now = alive_in_cgroups(self.daemon)
            if now == before:
                self.counts[len(now)] += 1
            before = alive_in_cgroups(self.daemon) if now != before else now

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def check(self, least, most):
        check(self.counts, "never looked at")
        seen = sorted(self.counts.items())
        check(min(self.counts) >= least, f"fewer than {least} servers: {seen}")
        check(max(self.counts) <= most, f"more than {most} servers: {seen}")


def named(daemon):
    """{generation: how many of its instances get new connections}"""
    found = {each["generation"]: sum(i["named"] for i in each["instances"])
             for each in daemon.service()["generations"]}
    return {generation: n for generation, n in found.items() if n}


# ---- load ----------------------------------------------------------------------------------------

def load(t):
    """Begin LOAD, and return once it runs."""
    hammer = t.hammer(*LOAD)
    wait_until(lambda: hammer.report()["ok"] > 100, "load")
    return hammer


def answered_by(result, phase):
    """{(generation, instance): answers to connections that were begun in a phase}"""
    counts = collections.Counter()
    for each in result["phases"]:
        if each["name"] != phase:
            continue
        check_equal(each["other_bodies"], 0, f"answers of phase {phase} that are not told apart")
        for body in each["bodies"]:
            found = re.match(r"generation (\d+) instance (\d+) ", body["body"])
            if found:  # else the answer to a POST
                counts[int(found[1]), int(found[2])] += body["count"]
    return counts


def generations_of(result, phase):
    return {generation for generation, _ in answered_by(result, phase)}


def wait_load(hammer, phase, at_least=200):
    """Wait for answers to connections of a phase; returns them."""
    def enough():
        counts = answered_by(hammer.report(), phase)
        return counts if sum(counts.values()) >= at_least else None
    return wait_until(enough, f"answers in phase {phase}")


def check_only(hammer, generation, phase="after"):
    """From now on nobody but this generation answers new connections."""
    hammer.phase(phase)
    check_equal({number for number, _ in wait_load(hammer, phase)}, {generation},
                f"generations that answer in phase {phase}")


def check_reset_only(hammer, dead):
    """
    End the load: lost is at most what each client had under way with the dead, and nothing in
    another way.
    """
    wait_until(lambda: hammer.report()["ok"] > 200, "enough load")
    result = hammer.stop()
    reset = result["losses"]["reset"] + result["losses"]["closed_early"]
    check_equal(result["lost"], reset, f"lost otherwise than with the dead: {result}")
    check_equal(result["losses"]["refused"], 0, "refused")
    check(result["lost"] <= dead * sum(CLIENTS.values()), f"lost: {result}")
    check_nothing_lost({**result, "lost": 0}, at_least=200)


def check_even(t, generation):
    """Each of the generation's instances answers about a quarter of new connections."""
    hammer = t.hammer("--short", 8, "--sources", 8, "--rate", 20 * SPREAD, "--timeout", "30s")
    wait_until(lambda: hammer.report()["connections"] >= SPREAD, "connections")
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")
    counts = answered_by(result, "start")
    check_equal({number for number, _ in counts}, {generation}, f"who answers: {counts}")
    check_equal(len(counts), INSTANCES, f"instances that answer: {counts}")
    fair = sum(counts.values()) / INSTANCES
    for who, n in counts.items():
        check(0.8 * fair < n < 1.2 * fair, f"share of instance {who[1]}: {counts}")


# ---- rollouts ------------------------------------------------------------------------------------

def baton(t, daemon, *words):
    """`baton WORDS` in the background: an order that is watched until its end."""
    return t.spawn("-".join(map(str, words)), *daemon.prefix, daemon.program_dir / "baton", "-n",
                   daemon.name, *words)


def check_exit(process, status):
    got = process.wait()
    check(got == status,
          f"{process.label}: exit status {got}, expected {status}:\n{process.text()}")


def check_serves(t, daemon, hammer, generation):
    """
    The rollout is over: this generation has all its instances, which share the connections, and
    nothing is left of another.
    """
    def whole():
        now = daemon.service()
        return (not now["rollout"] and now["state"] == "running" and
                [each["generation"] for each in now["generations"]] == [generation] and
                named(daemon) == {generation: INSTANCES})
    wait_until(whole, f"generation {generation} is whole: {daemon.service()}")
    check_only(hammer, generation)
    check_even(t, generation)
    found = alive_in_cgroups(daemon)
    check_equal(len(found), INSTANCES, f"servers alive: {found}")
    check(all(name.startswith(f"web.{generation}.") for name in found), f"alive: {found}")
    left = {folder.name for folder in (own_cgroup() / daemon.name).glob("web.*.*")}
    check_equal(left, set(found), "cgroups")


def check_last(daemon, result, status, reason=""):
    last = daemon.service()["last_rollout"]
    check_equal((last["result"], last["exit"]), (result, status), f"last rollout {last}")
    check(reason in last.get("reason", ""), f"{reason!r} is not the reason of {last}")


def wait_named(daemon, **least):
    """Wait until so many of a generation's instances are named: wait_named(daemon, g1=1, g2=2)."""
    def reached():
        now = named(daemon)
        return all(now.get(int(key[1:]), 0) >= n for key, n in least.items())
    wait_until(reached, f"{least} instances are named")


def wait_waiting(daemon, since, what):
    """Wait until the rollout waits for somebody; returns the event."""
    event = daemon.wait_event("waiting", since=since)
    rollout = daemon.service()["rollout"]
    check_equal(rollout["waiting"], what, f"what the rollout waits for: {rollout}")
    for order in ("promote", "abort"):
        check(f"baton {order} web" in event["message"], f"baton {order} is not in {event}")
    return event


def poll_until_end(daemon, since, look, deadline_s=100.0):
    """Call look() again and again until the rollout has ended; returns its last event."""
    end = time.monotonic() + deadline_s
    while not daemon.events("done", since=since):
        check(time.monotonic() < end, f"no end after {deadline_s} s")
        check(not daemon.events("rolled-back", since=since), "rolled back")
        look()
        time.sleep(0.02)
    return daemon.events("done", since=since)[0]
