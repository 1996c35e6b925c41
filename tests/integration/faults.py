# SPDX-License-Identifier: BSD-2-Clause
"""
faults: one call of a rollout fails, in batond or in its agents; what has to be true afterwards.

tests/faults/interpose.c is preloaded into both. It counts the calls of each class, and lets those
fail whose numbers it is told.
"""

import contextlib
import errno
import http.client
import json
import mmap
import os
import pathlib
import random
import re
import struct
import subprocess
import time

from harness import (BPFFS, ApiConnection, below, check, check_equal, descendants, get, own_cgroup,
                     stat_of, wait_until)
from losing import sysctl
from services import example, generation_of, service

PROGRAMS = {"batond": 1, "agent": 2}
# The classes, in the order of interpose.c, and with what their calls fail.
CLASSES = {
    "memory": errno.ENOMEM,
    "descriptor": errno.EMFILE,
    "file": errno.ENOSPC,
    "read": errno.EIO,
    "network": errno.ENOBUFS,
    "process": errno.EAGAIN,
    "loop": errno.ENOSPC,
    "bpf": errno.ENOMEM,
}
HEAD = "=IIiIQQQ8QI28sII"
FRAME = "=Q120s"
FRAMES_MAX = 16

QUICK = {"health": {"interval": "20ms", "timeout": "3s", "start_timeout": "20s", "unhealthy": 3},
         "drain": {"timeout": "5s", "kill_timeout": "1s", "leave_timeout": "1s"},
         "rollout": {"settle_timeout": "2s"},
         "restart": {"max": 64, "window": "1s"}}
LOAD = ("--path", "/", "--short", 4, "--rate", 200, "--keepalive", 2, "--keepalive-pause", "20ms",
        "--timeout", "30s", "--expect-status", 200)
PATIENCE_S = 60.0
POLL_S = 0.05  # asking makes calls, too
SNAPSHOTS = 10
TRIES_MIN = 4  # of a sample, however slow the machine is


class Interposer:
    """The file that a daemon and its agents share with the test."""

    def __init__(self, t):
        self.path = t.tmp / "faults"
        self.library = t.program("tests/faults/interpose.so")
        self.size = struct.calcsize(HEAD) + FRAMES_MAX * struct.calcsize(FRAME)
        self.path.write_bytes(bytes(self.size))
        with open(self.path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), self.size)

    def prefix(self):
        return ["env", f"LD_PRELOAD={self.library}", f"BATON_FAULTS={self.path}"]

    def arm(self, program, kind, first, span=1):
        self.disarm()
        head = struct.pack(HEAD, PROGRAMS[program], list(CLASSES).index(kind), CLASSES[kind], 0,
                           first, span, 0, *[0] * 8, 0, b"", 0, 0)
        self.memory[:] = head.ljust(self.size, b"\0")
        self.memory[12:16] = struct.pack("=I", 1)

    def disarm(self):
        self.memory[12:16] = struct.pack("=I", 0)

    def head(self):
        return struct.unpack_from(HEAD, self.memory)

    def counts(self):
        """How many calls of each class there were since it was armed."""
        return dict(zip(CLASSES, self.head()[7:15]))

    def hits(self):
        return self.head()[6]

    def place(self):
        """What has failed, and where: the innermost functions."""
        head = self.head()
        words = []
        for k in range(head[17]):
            offset, file = struct.unpack_from(FRAME, self.memory,
                                              struct.calcsize(HEAD) + k * struct.calcsize(FRAME))
            file = file.rstrip(b"\0").decode()
            if "interpose" in file:
                continue
            name = file.rsplit("/", 1)[-1]
            if name.startswith("baton") or name.isdigit():
                exe = pathlib.Path(self.library).parents[2] / (
                    "batond" if head[0] == PROGRAMS["batond"] else "baton-agent")
                name = subprocess.run(["addr2line", "-fse", exe, hex(offset)],
                                      capture_output=True, text=True, check=False).stdout
                name = name.replace("\n", " ").strip()
            words.append(name)
        return f"{head[16].rstrip(bytes(1)).decode()}: {' < '.join(words[:12])}"


def kinds_of_descriptors(pid):
    """What a process has open, each kind counted, without numbers that change."""
    found = {}
    with contextlib.suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                link = re.sub(r"\d+", "N", os.readlink(f"/proc/{pid}/fd/{entry}"))
                found[link] = found.get(link, 0) + 1
    return found


def added(now, before):
    return {kind: n - before.get(kind, 0) for kind, n in now.items() if n > before.get(kind, 0)}


def files_below(folder, kind="file"):
    """Names with their numbers taken out, as each generation has its own."""
    if not folder.is_dir():
        return []
    return sorted(re.sub(r"\d+", "N", str(path.relative_to(folder)))
                  for path in below(folder) if kind == "any" or path.is_dir())


class Victim:
    """A daemon with one service, under load, to which faults happen."""

    def __init__(self, t, tier, program):
        self.t = t
        self.tier = tier
        self.program = program
        self.faults = Interposer(t)
        changes = dict(QUICK, steering=tier)
        config = service(example(t), **changes)
        if tier != "ebpf":
            sysctl("tcp_migrate_req", 1)
        if tier == "hash":
            config["health"].pop("http")
            config["health"]["notify"] = True
        self.daemon = t.daemon(config, start=False)
        self.daemon.prefix = self.faults.prefix()
        self.begin()

    def begin(self):
        self.daemon.start()
        check_equal(self.daemon.service()["tier"], self.tier, "tier")
        self.hammer = self.t.hammer(*LOAD)
        for _ in range(3):
            self.restart_well()
        self.lost = self.hammer.report()["lost"]
        # A check may be under way, or not: the most of several looks.
        self.before = self.snapshot()
        for _ in range(SNAPSHOTS):
            time.sleep(POLL_S)
            for key, value in self.snapshot().items():
                self.before[key] = {kind: max(n, self.before[key].get(kind, 0))
                                    for kind, n in {**self.before[key], **value}.items()}

    def renew(self):
        """After a finding: everything anew."""
        self.faults.disarm()
        with contextlib.suppress(Exception):
            self.hammer.stop()
        self.daemon.end()
        self.begin()

    # -- looking

    def agents(self):
        return [pid for pid in descendants(os.getpid()) if self.is_agent(pid)]

    @staticmethod
    def is_agent(pid):
        with contextlib.suppress(OSError):
            return pathlib.Path(f"/proc/{pid}/comm").read_text().startswith("baton-agent")
        return False

    def snapshot(self):
        """What may not grow."""
        name = self.daemon.name
        agents = self.agents()
        zombies = sum((stat_of(pid) or "x")[0] == "Z" for pid in descendants(self.daemon.pid))
        return {
            "batond": kinds_of_descriptors(self.daemon.pid),
            "agent": kinds_of_descriptors(agents[0]) if len(agents) == 1 else {},
            "numbers": {"agents": len(agents), "zombies": zombies},
            "cgroups": {path: 1 for path in files_below(own_cgroup() / name)},
            "pins": {path: 1 for path in files_below(BPFFS / name, "any")},
            "run": {path: 1 for path in files_below(pathlib.Path("/run") / name, "any")},
        }

    def leaks(self):
        now = self.snapshot()
        return {key: more for key, value in now.items() if (more := added(value, self.before[key]))}

    def last_words(self):
        return self.daemon.process.text()[-600:]

    def idle(self):
        """One generation, and no rollout under way; then its status, else None."""
        check(self.daemon.process.running(),
              lambda: f"batond has ended: {self.last_words()}")
        try:
            now = self.daemon.service()
        except (OSError, http.client.HTTPException, AssertionError, ValueError):
            return None
        quiet = not now["rollout"] and len(now["generations"]) == 1 and now["state"] == "running"
        return now if quiet and now["condition"] == "well" else None

    # -- doing

    def order(self):
        """(status, answer) of a restart; (0, why) if there was no answer."""
        connection = ApiConnection(self.daemon.api_socket, 10)
        try:
            connection.request("POST", "/v1/services/web/restart", "{}")
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error)
        finally:
            connection.close()

    def last(self, now):
        return (now["last_rollout"] or {}).get("rollout", 0)

    def restart_well(self):
        """Without a fault: it has to be done."""
        before = wait_until(self.idle, "the service is idle", PATIENCE_S)
        status, answer = self.order()
        check_equal(status, 202, f"restart: {answer}")
        number = json.loads(answer)["rollout"]

        def ended():
            now = self.idle()
            return now if now and self.last(now) >= number else None
        now = wait_until(ended, "a restart without a fault ends", PATIENCE_S, POLL_S)
        check_equal(now["last_rollout"]["result"], "done", f"{now['last_rollout']}")
        check(self.last(now) > self.last(before), "another rollout")

    def attempt(self, kind, first, span=1):
        """One rollout of which a call fails. Returns what became of it, in words."""
        before = wait_until(self.idle, "the service is idle", PATIENCE_S)
        self.faults.arm(self.program, kind, first, span)
        status, answer = self.order()

        def ended():
            now = self.idle()
            if status in (0, 202):
                # No answer: it may have begun, or not.
                over = now and (self.last(now) > self.last(before) or status == 0)
                return now if over else None
            return now
        try:
            try:
                now = wait_until(ended, "the rollout ends", PATIENCE_S, POLL_S)
            finally:
                self.faults.disarm()
            now = wait_until(ended, "the rollout ends", PATIENCE_S, POLL_S)
        except AssertionError as error:
            check(self.daemon.process.running(), f"batond has ended: {self.last_words()}")
            raise AssertionError(f"{error}: {status} {answer}: "
                                 f"{json.dumps(self.daemon.service())}") from None
        return self.judge(before, now, status, answer)

    def judge(self, before, now, status, answer):
        if self.faults.hits() == 0:
            return "none"
        old = before["generations"][0]["generation"]
        current = now["generations"][0]["generation"]
        check_equal(generation_of(get().body), current, "who answers")
        lost = self.hammer.report()["lost"]
        if lost != self.lost:
            error = AssertionError(f"{lost - self.lost} lost")
            self.lost = lost
            raise error
        try:
            wait_until(lambda: not self.leaks(), lambda: f"nothing is left over: {self.leaks()}",
                       PATIENCE_S, POLL_S)
        except AssertionError:
            check(not self.leaks(), lambda: f"left over: {self.leaks()}")
        if self.last(now) == self.last(before):
            check(status == 0 or json.loads(answer).get("detail"), f"no reason: {answer}")
            return f"refused: {status} {answer}"
        result = now["last_rollout"]
        if result["result"] == "done":
            check(result["cut"] == 0, f"{result['cut']} connections cut: {result}")
            return f"done: {result['message']}"
        check_equal(current, old, f"the old generation serves after {result}")
        return f"{result['result']}: {self.reason(result['rollout'])}"

    def reason(self, rollout):
        """Why a rollout has failed: in the event that ends it, unless that is what failed."""
        for each in self.daemon.events():
            if each["event"] in ("failed", "rolled-back") and each["rollout"] == rollout:
                check(each["reason"], f"no reason: {each}")
                return each["reason"]
        return "(no event)"

    # -- going through all

    def counts(self):
        """How many calls of each class a rollout makes."""
        wait_until(self.idle, "the service is idle", PATIENCE_S)
        self.faults.arm(self.program, "memory", 1 << 60)
        self.restart_well()
        counts = self.faults.counts()
        self.faults.disarm()
        return counts

    def tries(self, step, rng):
        """(class, N) for each Nth call; of each class every @step-th, from a random one on."""
        counts = self.counts()
        print(f"{self.tier}, {self.program}: {counts}", flush=True)
        wanted = os.environ.get("BATON_FAULTS_CLASSES", " ".join(CLASSES)).split()
        for kind in wanted:
            n = counts[kind]
            width = min(step, max(1, n // 2)) if step > 1 else 1
            begin = int(os.environ.get("BATON_FAULTS_FROM", "1"))
            for first in range(begin + rng.randrange(width), n + n // 8 + 2, width):
                yield kind, first


def by_turns(tries, rng):
    """In another order: the classes take turns."""
    rng.shuffle(tries)
    turn = {kind: 0 for kind in CLASSES}
    numbered = []
    for each in tries:
        numbered.append((turn[each[0]], each))
        turn[each[0]] += 1
    return [each for _, each in sorted(numbered, key=lambda pair: pair[0])]


def run(t, tier, program, budget_s=None):
    """
    Go through the calls of a rollout. BATON_FAULTS=STEP: each STEP-th of each class, as long as it
    takes; BATON_FAULTS_CLASSES and BATON_FAULTS_FROM narrow that down. Otherwise as many, spread
    over all, as @budget_s allows. The seed of what is chosen is printed; BATON_FAULTS_SEED repeats
    it.
    """
    # A sanitizer brings its own malloc(3), and has to be the first library: the plain build counts.
    if b"libasan" in pathlib.Path(t.program("batond")).read_bytes():
        return
    seed = int(os.environ.get("BATON_FAULTS_SEED", random.randrange(1 << 16)))
    step = int(os.environ.get("BATON_FAULTS", "0"))
    rng = random.Random(seed)
    print(f"BATON_FAULTS_SEED={seed}", flush=True)
    victim = Victim(t, tier, program)
    tries = list(victim.tries(step or 17, rng))
    end = None
    if not step:
        tries = by_turns(tries, rng)
        end = time.monotonic() + budget_s
    findings, tried = [], {}
    for kind, first in tries:
        if end and time.monotonic() > end and sum(tried.values()) >= TRIES_MIN:
            break
        try:
            outcome = victim.attempt(kind, first)
            if not outcome.startswith(("done", "none")) or first % 10 == 0:
                victim.restart_well()
        except (AssertionError, OSError, http.client.HTTPException) as error:
            findings.append(f"{kind} {first}: {error}\n    at {victim.faults.place()}")
            print("FINDING", findings[-1], flush=True)
            check(step, findings[-1])
            victim.renew()
            continue
        tried[kind] = tried.get(kind, 0) + (outcome != "none")
        if step and outcome != "none":
            print(f"{kind} {first}: {outcome[:400]}\n    at {victim.faults.place()}", flush=True)
    print(f"{tier}, {program}: tried {tried}, {len(findings)} findings", flush=True)
    check(not findings, lambda: "\n".join(findings))
    check(sum(tried.values()) > 0, "nothing was tried")
