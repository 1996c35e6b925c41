# SPDX-License-Identifier: BSD-2-Clause
"""batond and agents of two versions meet: sessions of the version before are played back."""

import array
import itertools
import json
import os
import pathlib
import signal
import socket

from harness import Process, alive, check, check_equal, get, wait_until
from older import BEFORE, lay_out, old_agent
from recorded import FOLDER, lacks, session, spec_of
from services import example, python, service


def check_notes(daemon):
    """What the version before has noted is understood, and what is noted now is, there."""
    log = daemon.process.text()
    check("moved to" not in log and "damaged" not in log, f"a note was not understood: {log}")
    for name in ("state.json", "history/web.json"):
        old = json.loads((FOLDER / BEFORE / pathlib.Path(name).name.replace("web", "history"))
                         .read_text())
        new = json.loads((pathlib.Path("/var/lib") / daemon.name / name).read_text())
        check_equal(lacks(new, old), [], f"{name} lacks for a batond of the version before")
        check_equal(new["version"], old["version"], f"version of {name}")
    kept = (FOLDER / BEFORE / "events.jsonl").read_text().count("\n") - 1
    check_equal([event["seq"] for event in daemon.kept_events()][:kept], list(range(1, kept + 1)),
                "events of the version before")


def test_recorded_agent_is_taken_over_and_replaced(t):
    daemon, agents = lay_out(t, service(example(t)))
    agent = old_agent(t, daemon, agents)
    daemon.start()
    found, = daemon.generation()["instances"]
    check_equal((daemon.current(), found["agent_pid"], found["protocol"]), (1, agent.pid, 1),
                "generation, agent and version of the protocol")
    wait_until(lambda: daemon.generation()["instances"][0]["ready"],
               "what it said after its hello is heard")
    load = t.hammer("--short", 2, "--keepalive", 2, "--timeout", "30s", "--expect-status", 200)
    daemon.restart()
    result = load.stop()
    check_equal(result["lost"], 0, f"lost: {result}")
    found, = daemon.generation()["instances"]
    check(found["protocol"] > 1, f"an agent of this version: {found}")
    agent.wait()
    check_equal(agent.popen.returncode, 0, f"the old agent has understood all: {agent.text()}")
    orders = agent.text().split()
    check({"steady", "leave", "stop"} <= set(orders) and orders[-1] == "stop", f"{orders}")
    check_notes(daemon)


def test_server_of_a_killed_recorded_agent_gets_one_of_this_version(t):
    daemon, agents = lay_out(t, service(example(t)))
    agent = old_agent(t, daemon, agents, note=True)
    server, = daemon.pids(1)
    os.kill(agent.pid, signal.SIGKILL)
    agent.popen.wait()
    daemon.start()
    found, = daemon.generation()["instances"]
    check_equal((daemon.current(), found["pid"]), (1, server), "generation and server")
    check(found["protocol"] > 1 and found["agent_pid"] != agent.pid, f"{found}")
    check_equal(get().status, 200, "an answer")
    daemon.restart()
    check_equal(daemon.current(), 2, "generation")


def test_service_with_an_agent_of_no_common_version_is_left_alone(t):
    daemon, agents = lay_out(t, service(example(t), instances=2))
    unfit = old_agent(t, daemon, agents, speaks="7")
    fit = old_agent(t, daemon, agents, instance=1)
    servers = [daemon.pids(1, instance=k).pop() for k in range(2)]
    daemon.start_unready()
    says = f"pid {unfit.pid} speaks version 7 of the agents' protocol, this batond speaks versions"
    check(says in daemon.process.text(), daemon.process.text())
    told, = daemon.events("refused")
    check(says in told["reason"] and "baton start web" in told["reason"], f"what to do: {told}")
    check(told["reason"] in json.dumps(daemon.service(), ensure_ascii=False).replace('\\"', '"'),
          f"status has it, too: {daemon.service()}")
    check_equal(fit.text(), "listening\n", "the one that fits has had no order")
    result = daemon.cli("start", "web")
    check(result.status != 0 and "could not be taken over" in result.text, f"{result}")
    check(all(map(alive, (unfit.pid, fit.pid, *servers))), "agents and servers go on")
    check_equal(get().status, 200, "an answer")
    # As the message says.
    for agent in (unfit, fit):
        os.kill(agent.pid, signal.SIGTERM)
        agent.wait()
    daemon.cli("start", "web", expect=0)
    check_equal(get().status, 200, "an answer")


# ---- an agent of this version, and a daemon of the version before -----------------------------


class OldDaemon:
    """It starts an agent as it was recorded, and says what was recorded."""

    def __init__(self, t):
        self.messages = session(BEFORE)
        self.path = t.tmp / "web.1.0.sock"
        self.ready = t.tmp / "ready"
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.bind(str(self.path))
        self.control.listen(4)
        command = python(t, "--notify", self.ready)
        spec = {**spec_of(self.messages), "argv": [str(word) for word in command], "cgroup": None}
        fd = os.memfd_create("spec", 0)
        os.write(fd, json.dumps(spec).encode())
        fds = (fd, self.control.fileno())
        self.connection = self.connect()
        self.agent = Process(t, "agent", [t.program("baton-agent"), "--spec-fd", str(fds[0]),
                                          "--control-fd", str(fds[1])], pass_fds=fds)
        os.close(fd)
        self.control.close()

    def connect(self):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(60)
        connection.connect(str(self.path))
        return connection

    def hear(self, expected):
        """The next report: an old daemon finds in it all that it found in one of @expected."""
        text, control, _, _ = self.connection.recvmsg(65536, socket.CMSG_SPACE(4 * 65))
        fds = array.array("i")
        for _, _, data in control:
            fds.frombytes(data)
        for fd in fds:
            os.close(fd)
        new = json.loads(text)
        recorded = next((each for each in expected if each.type == new["type"]), None)
        check(recorded, f"{new}: expected {[each.type for each in expected]}")
        expected.remove(recorded)
        old = recorded.json
        check_equal(lacks(new, old), [], f"{old['type']} lacks for a batond of the version before")
        check_equal(len(fds), recorded.n_fds, f"descriptors of {old['type']}")
        same = ("version", "service", "generation", "instance", "state", "steady", "ready",
                "exit_code", "exit_signal", "restarting", "killed", "forced", "ending", "text")
        check_equal({key: new[key] for key in same if key in old},
                    {key: old[key] for key in same if key in old}, f"what {old['type']} says")
        return new

    def check_note(self):
        """Another agent, or a batond, of the version before could go on with its server."""
        old = (FOLDER / BEFORE / "handover").read_text().splitlines()
        new = self.path.with_suffix(".handover").read_text().splitlines()
        for mine, theirs in zip(new, old, strict=True):
            mine, theirs = json.loads(mine), json.loads(theirs)
            theirs["cgroup"] = mine.get("cgroup")
            check_equal(lacks({"cgroup": None, **mine}, theirs), [], "the agent's note lacks")
            check_equal(mine.get("version"), theirs.get("version"), f"version of {mine}")

    def play(self):
        """The whole session. What the agent says between two orders may come in any order."""
        heard = []
        for who, group in itertools.groupby(self.messages, key=lambda message: message.who):
            expected = list(group)
            if who == "connect" and heard:
                self.check_note()
                self.connection.close()
                self.connection = self.connect()
            for message in expected if who == "batond" else ():
                self.connection.send(message.text.encode())
            while who == "agent" and expected:
                if expected[0].type == "notify":
                    self.ready.touch()
                heard.append(self.hear(expected))
        return heard


def test_agent_serves_a_recorded_daemon_to_its_end(t):
    daemon = OldDaemon(t)
    heard = daemon.play()
    check({"hello", "started", "notify", "left", "exited", "stopped"}
          <= {report["type"] for report in heard}, f"{heard}")
    daemon.agent.wait()
    check_equal(daemon.agent.popen.returncode, 0, "status of the agent")
    check(not daemon.path.exists(), "its socket is gone")
    check("ignored" not in daemon.agent.text(), daemon.agent.text())
