# SPDX-License-Identifier: BSD-2-Clause
"""Servers that lose one of their listening sockets: in each mode, on each tier, at each time."""

import pathlib
import time

from harness import check, check_equal, get, wait_until
from services import service, soon_ms
from swaps import check_nothing_lost

FORGETFUL = pathlib.Path(__file__).with_name("forgetful.py")
MODES = {"inherit": "passed", "native": "reuseport", "auto": "passed", "transparent": "plain"}
HOOKED = ("auto", "transparent")  # the latter is refused on other tiers than ebpf
HOWS = ("close", "shut", "rebind")
LOAD = ("--short", 2, "--rate", 60, "--timeout", "30s", "--expect-status", 200)


class Forgetful:
    """One service of @tier, with a server of @mode that loses its second listener by @how."""

    def __init__(self, t, tier, mode, how, number):
        self.t, self.name, self.port = t, f"{mode}-{how}", 8100 + 2 * number
        self.file = t.tmp / f"lose-{self.name}"
        # The bind hook makes it share the port: it takes its place in the group again.
        self.is_followed = how == "rebind" and mode in HOOKED and tier == "ebpf"
        addresses = [f"127.0.0.1:{self.port}", self.lost_address()]
        source = t.file("forgetful.py", FORGETFUL.read_text())
        self.config = service(
            ["/usr/bin/python3", "-B", source, how, MODES[mode], "{generation}", self.file,
             *addresses],
            listen=addresses, mode=mode, steering=tier, restart={"max": 20},
            health={"interval": "100ms"}, rollout={"bake": "5m"})

    def lost_address(self):
        return f"127.0.0.1:{self.port + 1}"

    def hammer(self):
        return self.t.hammer(*LOAD, port=self.port)

    def serves(self, port):
        try:
            return get(port=port, timeout_s=5).status == 200
        except OSError:
            return False

    def lose(self, generation):
        pathlib.Path(f"{self.file}.{generation}").touch()

    def when_lost(self, generation):
        """When its server has lost it; None: not yet."""
        try:
            return float(pathlib.Path(f"{self.file}.{generation}.lost").read_text() or 0) or None
        except FileNotFoundError:
            return None

    def is_well(self, daemon):
        found = daemon.generation(service=self.name)
        return daemon.service(self.name)["condition"] == "well" and found is not None \
            and not any(one.get("lost") for one in found["instances"])


def when(event):
    """The time of an event, in seconds since 1970."""
    text = event["time"]
    return time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone \
        + float(text[19:-1])


def last_seq(daemon, services):
    return max(each["seq"] for one in services for each in daemon.events(service=one.name))


def steady(daemon, services, hammers):
    """All lose it at the same time. Those that are not followed are healed."""
    since = last_seq(daemon, services)
    for each in services:
        each.lose(1)
    delays = []
    for each in services:
        lost = wait_until(lambda one=each: one.when_lost(1), f"{each.name} has lost it")
        if each.is_followed:
            continue
        event = daemon.wait_event("unhealthy", each.name, since)
        check(each.lost_address() in event["message"], f"{each.name}: {event}")
        delays.append(when(event) - lost)
    # It takes half a second; but a dozen servers do it at once, and the machine may be busy.
    check(min(delays) < soon_ms(3) / 1000 and max(delays) < soon_ms(20) / 1000,
          f"seconds until it was said: {delays}")
    for each in services:
        wait_until(lambda one=each: one.is_well(daemon) and one.serves(one.port + 1),
                   f"{each.name} is healed")
        told = [event["message"] for event in daemon.events(None, each.name, since)
                if event["event"] in ("unhealthy", "replacing")]
        check_equal(bool(told), not each.is_followed, f"{each.name} was told unhealthy: {told}")
    unharmed(hammers)


def unharmed(hammers):
    """The address that stays has lost nothing."""
    for hammer in hammers:
        wait_until(lambda one=hammer: one.report()["ok"] > 100, "enough load")
        check_nothing_lost(hammer.stop(), 100)


def on_trial(daemon, services, order, lose, *outcomes):
    """A rollout of each of @services, all at the same time; @lose makes the new servers lose it."""
    since = last_seq(daemon, services)
    for each in services:
        daemon.begin(order[0], *order[1:], service=each.name)
    for each in services:
        lose(daemon, each)
    for each in services:
        end = daemon.wait_end(since, service=each.name)
        check(end["event"] in outcomes, f"{each.name}: {end}")
        reason = daemon.service(each.name)["last_rollout"]["reason"]
        check(each.lost_address() in reason, f"{each.name}: {reason}")
        check(each.serves(each.port) and each.serves(each.port + 1), f"{each.name} serves")
        wait_until(lambda one=each: one.is_well(daemon), f"{each.name} is well")


def in_the_bake(daemon, each):
    def bakes():
        run = daemon.service(each.name)["rollout"]
        return run and run["step"] == "bake"
    wait_until(bakes, f"{each.name} bakes")
    generation = daemon.generation("current", each.name)["generation"]
    each.lose(generation)
    return generation


def bakes_on(daemon, each):
    """Its server binds another socket, which takes the place of the lost one."""
    since = last_seq(daemon, [each])
    daemon.begin("restart", service=each.name)
    generation = in_the_bake(daemon, each)
    wait_until(lambda: each.when_lost(generation), f"{each.name} has lost it")
    wait_until(lambda: each.serves(each.port + 1), f"{each.name} serves again")
    daemon.cli("promote", each.name, expect=0)
    check_equal(daemon.wait_end(since, each.name)["event"], "done", each.name)


def loses(t, tier, turn):
    """Each way to lose it in each mode; before the shift and in the bake one way for each mode."""
    modes = [mode for mode in MODES if tier == "ebpf" or mode != "transparent"]
    pairs = [(mode, how) for mode in modes for how in HOWS]
    services = [Forgetful(t, tier, *pair, k) for k, pair in enumerate(pairs)]
    tried = [services[len(HOWS) * k + (k + turn) % len(HOWS)] for k in range(len(modes))]
    daemon = t.daemon(**{each.name: each.config for each in services})
    # The hash tier promises nothing of swaps.
    loaded = [] if tier == "hash" else tried
    steady(daemon, services, [each.hammer() for each in loaded])
    hammers = [each.hammer() for each in loaded]
    early = [each for each in tried if not each.is_followed]
    if tier == "hash":
        # A check may be answered by the other generation: the shift may come before.
        lose, outcomes = "soon", ("failed", "rolled-back")
    else:
        lose, outcomes = "early", ("failed",)
    on_trial(daemon, early, ("upgrade", "--env", f"LOSE={lose}"), lambda *_: None, *outcomes)
    on_trial(daemon, early, ("restart",), in_the_bake, "rolled-back")
    for each in tried:
        if each.is_followed:
            bakes_on(daemon, each)
    unharmed(hammers)


def test_lost_listener_is_told_and_healed_ebpf(t):
    loses(t, "ebpf", 0)


def test_lost_listener_is_told_and_healed_cbpf(t):
    loses(t, "cbpf", 1)


def test_lost_listener_is_told_and_healed_hash(t):
    loses(t, "hash", 2)
