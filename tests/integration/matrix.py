# SPDX-License-Identifier: BSD-2-Clause
"""
matrix: hits one process of baton's at one step of a rollout, under load, and sees what becomes of it.

A rollout stands still at the step in question while a file is there: the new server does not listen
("start"), fails its checks ("verify"), a gate waits ("gate"), the old server accepts nothing
("settle"), goes on listening ("leave") or running ("stop"); a client that has sent half of a request
keeps the old one in "drain"; "hold" and "bake" wait for somebody to promote. A shift passes in a
moment: whoever follows the events hits at once, and looks afterwards whether it was in time.
"""

import contextlib
import datetime
import json
import os
import pathlib
import signal
import time

from harness import (BPFFS, ApiConnection, alive, begin_post, below, cgroup_pids, check,
                     check_equal, command_of, descendants, own_cgroup, read_response, send_signal,
                     signal_all, stat_of, wait_stopped, wait_until)
from losing import sysctl
from matrix_cells import STOP_FIRST_NEW
from rollouts import kill_daemon
from services import example, service

INSTANCES = 2
CLIENTS = {"--short": 4, "--keepalive": 3, "--slow-post": 2}
LOAD = (*(word for option in CLIENTS.items() for word in option), "--rate", 200,
        "--keepalive-pause", "20ms", "--post-bytes", 4000, "--post-duration", "200ms",
        "--post-path", "/post", "--sources", 8, "--timeout", "60s", "--expect-status", 200)
BUSY = 12  # half-sent requests: each old instance has one, but once in two thousand times
LOST_MOST = 5000  # while nothing can take a connection on a tier on which none can wait
ATTEMPTS = 8  # of a cell whose step passes in a moment
STOP_S = 5.0
# A server that stands still is found to be unhealthy well before it goes on: two checks.
CHECK_TIMEOUT_S = 1.0
GENERATIONS_AHEAD = 4
RUNS = ("starting", "running", "delaying", "agent-lost")  # states of an instance that has to run
PAST_SHIFT = ("settle", "hold", "delay", "leave")
ENDS = ("done", "failed", "rolled-back")
HELD = ("start", "verify", "gate", "settle", "leave", "stop")  # by a file of this name
GATE = 'while test -e "$0.$BATON_GENERATION"; do sleep 0.02; done'


class Missed(Exception):
    """The step was over before the process was hit."""


# ---- the services --------------------------------------------------------------------------------

def name_of(cell):
    """The service of a cell. A server that is to be found before it listens binds itself."""
    return cell.strategy + ("-native" if cell.step == "start" else "")


def configuration(t, name, tier, port):
    strategy, native = name.removesuffix("-native"), name.endswith("-native")
    flag = t.tmp / name
    command = example(t, "--listen", f"127.0.0.1:{port}",
                      "--unhealthy-while", f"{flag}.verify.{{generation}}",
                      "--idle-while", f"{flag}.settle.{{generation}}",
                      "--listen-while", f"{flag}.leave.{{generation}}",
                      "--stay-while", f"{flag}.stop.{{generation}}")
    if native:
        command = ["/bin/sh", "-c",
                   'while test -e "$0"; do sleep 0.02; done; exec "$@"',
                   f"{flag}.start.{{generation}}", *command]
    changes = {"listen": [f"127.0.0.1:{port}"], "instances": INSTANCES, "steering": tier,
               "mode": "native" if native else "inherit",
               "rollout": {"strategy": strategy},
               "health": {"interval": "100ms", "timeout": f"{CHECK_TIMEOUT_S * 1000:.0f}ms",
                          "unhealthy": 2, "healthy": 1},
               "drain": {"leave_timeout": "40s", "kill_timeout": "40s"}}
    if tier == "hash":
        # No check reaches one instance there: so the command looks at what the server would say.
        changes["health"]["exec"] = ["/bin/sh", "-c", 'test ! -e "$0"',
                                     f"{flag}.verify.{{generation}}"]
    if tier == "ebpf":
        changes["hold"] = "60s"
    if strategy == "stop-first":
        changes["rollout"]["gap"] = True
    else:
        changes["rollout"]["bake"] = "10m"
        changes["gates"] = [{"name": "file", "at": "shift", "timeout": "2m",
                             "exec": ["/bin/sh", "-c", GATE, f"{flag}.gate"]}]
    if strategy == "canary":
        changes["rollout"]["steps"] = [{"weight": 50}]
    config = service(command, **changes)
    if tier == "hash":
        config["health"].pop("http")
    return config


# ---- what is there -------------------------------------------------------------------------------

def instances(now, generation):
    return [instance for each in now["generations"] if each["generation"] == generation
            for instance in each["instances"]]


def victims(now, target, old, new):
    """The pids of a target; not complete while something has not been started yet."""
    which, _, side = target.partition(" ")
    if target == "all of the new":
        of = instances(now, new)
        pids = [each[key] for each in of for key in ("agent_pid", "pid")]
        return pids if of and all(pids) else []
    of = instances(now, new if side == "new" else old)
    # In a rolling rollout: one of those which go.
    of.sort(key=lambda each: (each["state"] in ("running", "failed"), each["instance"]))
    return [each["agent_pid" if which == "agent" else "pid"] for each in of
            if each["agent_pid"] and each["pid"]][:1]


def whole(daemon, name):
    """The service's status, if it serves as it should and nothing is under way."""
    now = daemon.service(name)
    if now["rollout"] or now["condition"] != "well" or len(now["generations"]) != 1:
        return None
    there = now["generations"][0]["instances"]
    if len(there) != INSTANCES or any(not each["pid"] or each["state"] != "running"
                                      for each in there):
        return None
    if any(each.get("health", {}).get("state") not in ("healthy", None) for each in there):
        return None
    # One that was killed a moment ago is named until batond knows.
    if not all(alive(each["agent_pid"]) for each in there):
        return None
    return now


def pins(daemon):
    folder = BPFFS / daemon.name
    return sorted(str(path.relative_to(folder)) for path in below(folder))


def strays(t, daemon, names):
    """What should not be there while all of these services serve: one line each."""
    spared = {process.pid for process in t.processes}
    expected, folders, sockets = set(), set(), 0
    for name in names:
        for generation in daemon.service(name)["generations"]:
            for each in generation["instances"]:
                expected |= {each["pid"], each["agent_pid"]}
                folders.add(f"{name}.{generation['generation']}.{each['instance']}")
                sockets += 1
    for pid in descendants(os.getpid()):
        found = stat_of(pid)
        if pid in expected | spared or not found:
            continue
        # Ours to reap are those whose parents were killed.
        if found == ("Z", os.getpid()):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            continue
        yield f"process {pid} ({command_of(pid)}), state and parent {found}"
    there = {path.name for path in (own_cgroup() / daemon.name).glob("*.*.*") if path.is_dir()}
    yield from (f"cgroup {name}" for name in there ^ folders)
    found = list((pathlib.Path("/run") / daemon.name / "agents").glob("*.sock"))
    if len(found) != sockets:
        yield f"{len(found)} sockets of {sockets} agents: {sorted(path.name for path in found)}"
    foreign = cgroup_pids(own_cgroup() / daemon.name) - expected - spared
    yield from (f"process {pid} ({command_of(pid)}) in a cgroup" for pid in foreign if alive(pid))


# ---- one daemon, and cell after cell -------------------------------------------------------------

class Matrix:
    """A batond of one tier, with a service for each strategy of the cells to come."""

    def __init__(self, t, tier, cells, stop_s=STOP_S):
        self.t = t
        self.tier = tier
        self.stop_s = stop_s
        self.names = sorted({name_of(cell) for cell in cells})
        self.ports = {name: 8080 + k for k, name in enumerate(self.names)}
        # What else the hash tier loses is the kernel's; baton doctor says so.
        sysctl("tcp_migrate_req", 1 if tier == "hash" else 0)
        self.daemon = t.daemon(**{name: configuration(t, name, tier, port)
                                  for name, port in self.ports.items()})
        self.pins = pins(self.daemon)

    def run(self, cell):
        """What became of it; see Result."""
        why = None
        for _ in range(ATTEMPTS):
            try:
                return Try(self, cell).run()
            except Missed as missed:
                why = missed
                self.recover(name_of(cell))
        raise AssertionError(f"{cell}: not hit in {ATTEMPTS} attempts: {why}")

    def say(self):
        """The end of what it has said, for whom it may concern."""
        lines = self.daemon.process.text().splitlines()
        return "".join(f"\n{line}" for line in lines[-60:])

    def close(self):
        """Something went wrong: nothing of it may be in the way of the next one."""
        self.daemon.end()
        for pid in descendants(os.getpid()):
            send_signal(pid, signal.SIGKILL)
        self.t.daemons.remove(self.daemon)
        for path in self.t.tmp.glob("*.*.*"):
            path.unlink()

    def recover(self, name):
        """Everything goes on, until all is well and one generation is left."""
        for path in self.t.tmp.glob(f"{name}.*.*"):
            path.unlink()

        def well():
            self.promote(name)
            return whole(self.daemon, name)
        return wait_until(well, lambda: f"{name} is well: {json.dumps(self.daemon.service(name))}",
                          90, 0.03)

    def promote(self, name):
        rollout = self.daemon.service(name)["rollout"]
        if rollout and (rollout["step"] == "bake" or rollout["waiting"]):
            self.daemon.api(f"/v1/services/{name}/promote", "POST")

    def restart(self, name):
        """A restart by nobody disturbed is done."""
        since = last_seq(self.daemon, name)
        status, answer = self.daemon.api(f"/v1/services/{name}/restart", "POST")
        check_equal(status, 202, f"the next restart: {answer}")
        self.recover(name)
        end = wait_until(lambda: end_of(self.daemon, name, since, answer["rollout"]), "its end")
        check(end["event"] == "done" and end["cut"] == 0 and end["cut_by_server"] == 0,
              f"the next restart: {end}")


def seconds(text):
    """What a time in RFC 3339 is for time.time()."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def last_seq(daemon, name):
    return max((each["seq"] for each in daemon.events(None, name)), default=0)


def end_of(daemon, name, since, rollout):
    for each in daemon.events(None, name, since):
        if each["event"] in ENDS and each["rollout"] == rollout and each["order"] == "restart":
            return each
    return None


class Follower:
    """Reads events as they come."""

    def __init__(self, daemon, name, since):
        self.connection = ApiConnection(daemon.api_socket)
        self.connection.request("GET", f"/v1/events?service={name}&since={since}&follow=1")
        self.answer = self.connection.getresponse()

    def until(self, event):
        while True:
            line = self.answer.readline()
            check(line, f"the events end before {event}")
            if line.strip() and json.loads(line)["event"] == event:
                return json.loads(line)

    def close(self):
        self.connection.close()


class Result:
    """What became of a cell: the outcome, what is told, and what clients lost."""

    def __init__(self, outcome, told, lost, posts_cut):
        self.outcome = outcome
        self.told = told
        self.lost = {kind: n for kind, n in lost["losses"].items() if n}
        self.posts_cut = posts_cut


def check_lost(cell, result):
    """What clients may lose at most: see "What clients lose" in docs/fault-matrix.md."""
    kills = cell.signal == "SIGKILL" and cell.target.partition(" ")[0] in ("server", "all")
    kinds = {"reset", "closed_early"} if kills or cell.tier == "hash" else set()
    # On the other tiers a client may lose what the server had accepted, and then what was queued.
    most = sum(CLIENTS.values()) * (1 if cell.tier == "ebpf" else 2)
    # Nothing can wait on these tiers.
    nothing_serves = kills and cell.target == "all of the new" or cell.strategy == "stop-first"
    if cell.tier != "ebpf" and nothing_serves:
        kinds = {"reset", "closed_early", "refused"}
        most = LOST_MOST
    check(set(result.lost) <= kinds and sum(result.lost.values()) <= most,
          f"{cell}: lost: {result.lost}, {result.outcome}")
    check(result.posts_cut <= (BUSY if kinds else 0), f"{cell}: half-sent requests: "
                                                      f"{result.posts_cut} have no answer")


class Try:
    """One try of a cell."""

    def __init__(self, matrix, cell):
        self.matrix = matrix
        self.daemon = matrix.daemon
        self.t = matrix.t
        self.cell = cell
        self.name = name_of(cell)
        self.port = matrix.ports[self.name]
        self.since = last_seq(self.daemon, self.name)
        now = self.daemon.service(self.name)
        self.old = now["generations"][0]["generation"]
        self.new = max([self.old, *(each.get("generation") or 0 for each in
                                    self.daemon.events(None, self.name))]) + 1
        self.rollout = None
        self.posts = []
        self.hit = []
        self.hit_at = 0.0

    # -- holding a step

    def hold(self, hammer):
        """Let the rollout that is to come stand still at the step."""
        step = self.cell.step
        # They would keep the old one from coming to these.
        if step != "stop" and not (self.cell.strategy == "stop-first" and step in STOP_FIRST_NEW):
            self.posts = [begin_post(port=self.port) for _ in range(BUSY)]
        before = hammer.report()["ok"]
        wait_until(lambda: hammer.report()["ok"] >= before + 20, "the load goes on")
        # A shift passes in a moment; what follows must not have passed as well.
        for each in ("gate", "settle") if step == "shift" else (step,):
            if each in HELD:
                side = self.old if each in ("settle", "leave", "stop") else self.new
                (self.t.tmp / f"{self.name}.{each}.{side}").touch()
        if step in ("shift", "settle"):
            with contextlib.suppress(AssertionError):
                wait_until(lambda: any(each["connections"]["queued"] for each in
                                       instances(self.daemon.service(self.name), self.old)), "", 5)

    def release(self):
        for path in self.t.tmp.glob(f"{self.name}.*.*"):
            path.unlink()

    def at_step(self):
        """Has the rollout come to the step? Those before it are let pass."""
        now = self.daemon.service(self.name)
        rollout = now["rollout"]
        if not rollout:
            raise Missed(f"over: {self.daemon.events(None, self.name, self.since)}")
        step = rollout["step"]
        if step == self.cell.step or (step, self.cell.step) == ("wait", "hold"):
            return now
        # What was to settle had nothing queued, for instance; a rolling one has each step twice.
        if len(self.told((self.cell.step,))) >= (INSTANCES if self.cell.strategy == "rolling" else 1):
            raise Missed("the step is over")
        if rollout["waiting"] or step == "bake":
            self.daemon.api(f"/v1/services/{self.name}/promote", "POST")
        return None

    def reach(self):
        """Wait for the step; returns the pids to be hit."""
        if self.cell.step == "steady":
            now = self.daemon.service(self.name)
            return victims(now, self.cell.target, self.old, self.old)
        status, answer = self.daemon.api(f"/v1/services/{self.name}/restart", "POST")
        check_equal(status, 202, f"restart: {answer}")
        check_equal(answer["generation"], self.new, "the number of the new generation")
        self.rollout = answer["rollout"]
        if self.cell.step == "shift":
            return self.reach_shift()
        pids = []

        def ready():
            now = self.at_step()
            if now and self.cell.target != "batond":
                pids[:] = victims(now, self.cell.target, self.old, self.new)
                return pids
            return now
        wait_until(ready, lambda: f"{self.cell}: {json.dumps(self.daemon.service(self.name))}")
        return pids

    def reach_shift(self):
        pids = []
        follower = Follower(self.daemon, self.name, self.since)
        if self.cell.strategy == "stop-first":
            pids = victims(self.daemon.service(self.name), self.cell.target, self.old, self.new)
        else:
            def gate():
                now = self.daemon.service(self.name)
                pids[:] = victims(now, self.cell.target, self.old, self.new)
                return now["rollout"]["step"] == "gate"
            wait_until(gate, "the gate is asked")
        (self.t.tmp / f"{self.name}.gate.{self.new}").unlink()
        follower.until("shift")
        follower.close()
        return pids

    # -- hitting

    def strike(self, pids):
        batond = self.cell.target == "batond"
        self.hit = [self.daemon.pid] if batond else pids
        check(self.hit, f"{self.cell}: nobody is there to be hit")
        if self.cell.signal == "SIGKILL":
            if batond:
                kill_daemon(self.daemon)
            else:
                signal_all(self.hit, signal.SIGKILL)
        else:
            signal_all(self.hit, signal.SIGSTOP)
            wait_stopped(self.hit)
        self.hit_at = time.time()

    def told(self, kinds):
        """The rollout's events of these kinds: a step is told when it has ended."""
        return [each for each in self.daemon.events(None, self.name, self.since)
                if each["event"] in kinds and each["rollout"] == self.rollout]

    def missed(self):
        """Was the shift followed by something before the hit?"""
        return self.cell.step == "shift" and any(seconds(each["time"]) < self.hit_at
                                                 for each in self.told(PAST_SHIFT))

    def noticed(self):
        """batond knows that they are dead, and what has to run runs again."""
        now = self.daemon.service(self.name)
        there = [each for generation in now["generations"] for each in generation["instances"]]
        known = {each[key] for each in there for key in ("pid", "agent_pid")}
        return not known & set(self.hit) and all(
            each["pid"] and each["agent_pid"] for each in there if each["state"] in RUNS)

    def replaced(self):
        """Whoever is still there and has lost its agent has another one."""
        there = {(generation["generation"], each["instance"])
                 for generation in self.daemon.service(self.name)["generations"]
                 for each in generation["instances"]}
        has = {}
        for each in self.daemon.events(None, self.name, self.since):
            if each["event"] in ("agent-lost", "agent-replaced"):
                has[each["generation"], each["instance"]] = each["event"] == "agent-replaced"
        return all(has.get(which, True) for which in there)

    def after(self):
        """A batond that was killed is started again, what was stopped goes on."""
        if self.cell.signal == "SIGKILL":
            if self.cell.target == "batond":
                self.daemon.start_unready()
            else:
                with contextlib.suppress(AssertionError):
                    wait_until(self.noticed, "", 5)
        else:
            if self.cell.step in ("shift", "settle"):
                self.release()
            time.sleep(self.matrix.stop_s)
            signal_all(self.hit, signal.SIGCONT)
        self.release()

    # -- looking

    def end_posts(self):
        """Send the rest of what was half sent; returns how many have no answer."""
        cut = 0
        # All first: one that waits may wait until the others have ended.
        for sock in self.posts:
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"x" * 5)
        for sock in self.posts:
            with sock:
                try:
                    cut += read_response(sock).status != 200
                except ConnectionError:
                    cut += 1
        self.posts = []
        return cut

    def outcome(self):
        """(in words, what was told) of all that happened."""
        words, told = [], ""
        if self.rollout:
            end = wait_until(lambda: end_of(self.daemon, self.name, self.since, self.rollout),
                             f"{self.cell}: its end is told")
            words.append(end["event"].replace("-", " "))
            told = end.get("reason") or end["message"]
            if end.get("exit") not in (0, 3, 4):
                words.append(f"exit {end['exit']}")
            if end.get("started_again"):
                words.append("old started again")
        if self.cell.signal == "SIGKILL" and self.cell.target.startswith("agent"):
            # A step may be over before an agent has come that goes on with what is new.
            with contextlib.suppress(AssertionError):
                wait_until(self.replaced, "", 20)
        events = self.daemon.events(None, self.name, self.since)
        kinds = [each["event"] for each in events]
        if "agent-replaced" in kinds and self.cell.target.startswith("agent"):
            words.append("new agent")
        if "restarted" in kinds and self.cell.target.startswith("server"):
            words.append("restarted")
        if any(each.get("order") in ("replace", "restore") for each in events):
            words.append("replaced")
        return ", ".join(words) or "serves on", told

    def who_serves(self, now, outcome):
        """What else is to be said of the outcome."""
        serves = now["generations"][0]["generation"]
        if serves > self.new:
            return ", started anew"
        expected = self.new if self.rollout and outcome.startswith("done") else self.old
        check_equal(serves, expected, f"{self.cell}: who serves: {outcome}")
        return ""

    def check_nothing_strays(self):
        names = self.matrix.names
        wait_until(lambda: not list(strays(self.t, self.daemon, names)),
                   lambda: f"{self.cell}: left over: {list(strays(self.t, self.daemon, names))}",
                   20, 0.05)
        check_equal(pins(self.daemon), self.matrix.pins, f"{self.cell}: pins")

    def run(self):
        hammer = self.t.hammer(*LOAD, port=self.port)
        try:
            self.hold(hammer)
            self.strike(self.reach())
            self.after()
            if self.missed():
                raise Missed("the shift was over")
        except Missed:
            self.release()
            self.end_posts()
            hammer.stop()
            raise
        cut = self.end_posts()
        now = self.matrix.recover(self.name)
        outcome, told = self.outcome()
        outcome += self.who_serves(now, outcome)
        before = hammer.report()["ok"]
        wait_until(lambda: hammer.report()["ok"] > before + 20, "it is answered")
        lost = hammer.stop()
        for other in self.matrix.names:
            wait_until(lambda: whole(self.daemon, other),
                       f"{self.cell}: {other} is well", 60, 0.05)
        self.check_nothing_strays()
        self.matrix.restart(self.name)
        result = Result(outcome, told, lost, cut)
        check_lost(self.cell, result)
        return result
