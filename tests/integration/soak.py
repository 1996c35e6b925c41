# SPDX-License-Identifier: BSD-2-Clause
"""
soak: everything that happens to a batond in years, one thing after the other, under load.

Each thing ends in the same state as it began: the same services with as many instances, all well.
So what there is (processes, descriptors, cgroups, pins, files) is the same after the first round of
all things and after the last one, and batond's memory is flat.
"""

import collections
import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import time

from harness import below, check, check_equal, leftovers, own_cgroup, wait_until
from services import example, service
from swaps import GENTLE, check_nothing_lost

WEB, PLAIN, SICK = 8080, 8081, 8082
SAMPLES_S = 2  # so long what is counted may take to come to rest
CLIENTS = 40    # hostile ones at a time
SOCKETS, CHECKS = "socket:[N]", 4
MAPS, KEPT_OPEN = "anon_inode:bpf-map", 32
# What an allocator keeps, and what is remembered of a bounded number of things.
GROWTH_KB, GROWTH = 1024, 1.1


def services(t):
    """web: two instances that are steered; plain: tier cbpf; sick: its servers fall ill and die."""
    health = {"unhealthy": 2}
    return {
        "web": service(example(t), instances=2),
        "plain": service(example(t), listen=[f"127.0.0.1:{PLAIN}"], steering="cbpf"),
        "sick": service(example(t, "--unhealthy-while", str(t.tmp / "sick")),
                        listen=[f"127.0.0.1:{SICK}"], health=health,
                        restart={"max": 64, "window": "1s", "delay": "50ms"}),
    }


def descriptors(pid):
    """What batond's descriptors are: {kind: number}."""
    found = collections.Counter()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found[re.sub(r"[0-9]+", "N", os.readlink(f"/proc/{pid}/fd/{entry}"))] += 1
    return found


class Soak:
    """The daemon, its load, and what happens to it."""

    def __init__(self, t, seed):
        self.t = t
        self.random = random.Random(seed)
        self.daemon = t.daemon(**services(t))
        self.hammers = [t.hammer(*GENTLE, port=port) for port in (WEB, PLAIN)]
        self.counts = {}
        self.reloads = 0

    # -- what happens

    def restart(self):
        self.daemon.cli("restart", self.random.choice(("web", "plain")), expect=0)

    def roll_back(self):
        delay = f"{self.random.randint(1, 50)}ms"
        self.daemon.upgrade(example(self.t, "--ready-after", delay), expect=0)
        self.daemon.cli("rollback", "web", expect=0)

    def release_that_ends(self):
        result = self.daemon.upgrade(["/bin/false"])
        check(result.status not in (0, 1), f"{result}")

    def abort(self):
        since = self.daemon.begin()
        self.daemon.cli("abort", "web")
        self.daemon.wait_end(since)

    def scale(self):
        for instances in (3, 2):
            self.daemon.cli("scale", "web", instances, expect=0)

    def reload(self):
        self.reloads += 1
        environment = {"RELOADED": str(self.reloads)}
        self.daemon.config["services"]["plain"]["environment"] = environment
        self.daemon.write_config()
        self.daemon.cli("reload", expect=0)

    def pause(self):
        self.daemon.cli("pause", "web", expect=0)
        self.daemon.cli("resume", "web", expect=0)

    def kill_an_agent(self):
        since = self.daemon.last_seq()
        os.kill(self.daemon.generation()["instances"][0]["agent_pid"], signal.SIGKILL)
        self.daemon.wait_event("agent-replaced", since=since)

    def kill_a_sick_server(self):
        old = self.daemon.server_pid(service="sick")
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: self.daemon.server_pid(service="sick") not in (0, old), "another runs")

    def health_of_sick(self):
        return [each["health"]["state"] for found in self.daemon.service("sick")["generations"]
                for each in found["instances"]]

    def fall_ill(self):
        # One that a new batond has not yet seen well has start_timeout to become so.
        wait_until(lambda: self.health_of_sick() == ["healthy"], "it is well")
        # Not every such event is kept, if there are many.
        (self.t.tmp / "sick").touch()
        wait_until(lambda: "unhealthy" in self.health_of_sick(), "it is seen to be ill")
        (self.t.tmp / "sick").unlink()

    def stand_still(self):
        os.kill(self.daemon.pid, signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(self.daemon.pid, signal.SIGCONT)

    def hostile_clients(self):
        """They say half of something, nothing, or nonsense, and go away."""
        socks = []
        for k in range(CLIENTS):
            sock = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError):
                sock.settimeout(5)
                sock.connect(str(self.daemon.api_socket))
                sock.sendall((b"", b"GET /v1/serv", b"\x16\x03\x01", b"POST /v1/leave HTTP/9\r\n")
                             [k % 4])
                socket.send_fds(sock, [b"x"], [sock.fileno()])
            socks.append(sock)
        check_equal(self.daemon.api("/v1/services")[0], 200, "others are answered")
        for sock in socks:
            sock.close()

    def kill_batond(self):
        self.daemon.process.popen.kill()
        self.daemon.process.wait()
        self.daemon.start()

    def leave(self):
        self.daemon.cli("leave", expect=0)
        self.daemon.process.wait()
        self.daemon.start()

    HAPPEN = (restart, roll_back, release_that_ends, abort, scale, reload, pause, kill_an_agent,
              kill_a_sick_server, fall_ill, stand_still, hostile_clients)
    WITHOUT_BATOND = (kill_batond, leave)

    def happen(self, what):
        what(self)
        self.counts[what.__name__] = self.counts.get(what.__name__, 0) + 1
        wait_until(self.well, f"all is well after {what.__name__}")

    def well(self):
        for name, instances in (("web", 2), ("plain", 1), ("sick", 1)):
            found = self.daemon.service(name)
            if found["state"] != "running" or found["rollout"] or len(found["generations"]) != 1:
                return False
            each = found["generations"][0]["instances"]
            if len(each) != instances or not all(
                    one["health"]["state"] == "healthy" and one["agent_pid"] for one in each):
                return False
        return True

    def all_once(self, happenings):
        for what in self.random.sample(happenings, len(happenings)):
            self.happen(what)

    def until(self, end, happenings):
        while time.monotonic() < end:
            self.happen(self.random.choice(happenings))

    # -- what there is

    def census(self):
        name = self.daemon.name
        agents = [one["agent_pid"] for service_ in ("web", "plain", "sick")
                  for one in self.daemon.generation(service=service_)["instances"]]
        run = pathlib.Path("/run") / name
        pins = pathlib.Path("/sys/fs/bpf") / name
        return {
            **descriptors(self.daemon.pid),
            "descriptors of agents": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in agents),
            "files in /run": len(below(run)),
            "pins": len(below(pins)),
            "cgroups": len([each for each in below(own_cgroup() / name)
                            if each.name == "cgroup.procs"]),
            "processes": len(self.processes()),
            "zombies": sum(1 for state in self.processes().values() if state in "ZX"),
        }

    def processes(self):
        """Of this network namespace: {pid: state}."""
        found = {}
        own = os.readlink("/proc/self/ns/net")
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{entry}/ns/net") == own:
                    text = pathlib.Path(f"/proc/{entry}/stat").read_text()
                    found[int(entry)] = text.rpartition(") ")[2][0]
        return found

    def at_rest(self):
        """
        With a batond that has taken everything over, as one has other descriptors for agents that
        it has started. The smallest number of each that is seen: something may be on its way.
        """
        self.happen(Soak.leave)
        lowest = self.census()
        end = time.monotonic() + SAMPLES_S
        while time.monotonic() < end:
            now = self.census()
            lowest = {key: min(count, now.get(key, 0)) for key, count in lowest.items()}
            time.sleep(0.05)
        return {key: count for key, count in lowest.items() if count}

    def memory_kb(self):
        for line in pathlib.Path(f"/proc/{self.daemon.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1])
        raise AssertionError("no Private_Dirty")

    def check_flat(self, before):
        now = self.at_rest()
        # Checks are on their way all the time.
        if abs(now[SOCKETS] - before[SOCKETS]) <= CHECKS:
            now[SOCKETS] = before[SOCKETS]
        # batond keeps those open that it used last (orchestrator/steer/bpf_kept.h).
        if abs(now[MAPS] - before[MAPS]) <= KEPT_OPEN:
            now[MAPS] = before[MAPS]
        check_equal(now, before, f"what there is, after {self.counts}")

    def report(self, text):
        print(text, flush=True)
        if file := os.environ.get("SOAK_REPORT"):
            pathlib.Path(file).write_text(text + "\n")

    def end(self):
        for hammer in self.hammers:
            check_nothing_lost(hammer.stop())
        self.daemon.stop()
        check_equal(leftovers(self.daemon.name), [], "what is left")


def soak(t, seconds, seed, measure_memory=True):
    """Half of the time with batonds that are killed or leave, half with one that stays."""
    it = Soak(t, seed)
    start = time.monotonic()
    it.all_once(it.HAPPEN + it.WITHOUT_BATOND)
    before = it.at_rest()
    it.until(start + seconds / 2, it.HAPPEN + it.WITHOUT_BATOND)
    it.check_flat(before)
    it.kill_batond()
    it.all_once(it.HAPPEN)
    memory = it.memory_kb()
    it.until(start + seconds, it.HAPPEN)
    grown = it.memory_kb()
    it.report(f"seed {seed}; batond had {memory} KB of its own, then {grown} KB; {it.counts}")
    if measure_memory:
        check(grown <= memory * GROWTH + GROWTH_KB, f"batond has grown from {memory} to {grown} KB")
    it.check_flat(before)
    it.end()
