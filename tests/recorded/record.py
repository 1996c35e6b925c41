# SPDX-License-Identifier: BSD-2-Clause
"""
record: writes down what a batond and its agents say to each other, for the version after it.

    python3 tests/integration/harness.py BUILD tests/recorded/record.py record_session

BUILD has the programs of the version to be recorded. It needs root, and strace(1). The result is
put beside this file, in a folder called by the version of the protocol that BUILD speaks:

    session        one agent, from its start to its end, under two daemons. A line is one message:
                       batond FDS JSON     an order
                       agent FDS JSON      a report
                       spec 0 JSON         the launch specification
                       connect             a daemon has connected
                   JSON is as it was sent, byte for byte; FDS is how many descriptors came with it.
    handover       what the agent had noted for the case that it is killed
    state.json, history.json, events.jsonl
                   what the daemon had noted, when it left

Whoever raises PROTOCOL_VERSION records the version before, and removes the one before that.
"""

import ast
import json
import os
import pathlib
import re
import shutil
import signal

from harness import check, wait_until
from services import python, service

HERE = pathlib.Path(__file__).parent
CALL = re.compile(r"^(\d+) +[\d.]+ (connect|sendmsg|pwrite64)\((\d+), (.*)$")
BYTES = re.compile(r'iov_base=("(?:[^"\\]|\\.)*")')
FIRST = re.compile(r'^("(?:[^"\\]|\\.)*")')
FDS = re.compile(r"cmsg_type=SCM_RIGHTS, cmsg_data=\[([\d, ]*)\]")


def text_of(quoted):
    """A string as strace prints it."""
    return ast.literal_eval("b" + quoted).decode()


def lines_of(calls, agent):
    """The lines of a session, in their order: those of the agent @agent of "web.1.0"."""
    control = {}
    for line in calls:
        pid, call, fd, rest = CALL.match(line).groups()
        if call == "connect":
            control[pid, fd] = "/web.1.0.sock" in rest
            if control[pid, fd]:
                yield "connect"
            continue
        if call == "pwrite64":
            text = text_of(FIRST.match(rest)[1]) if FIRST.match(rest) else ""
            if '"argv"' in text and json.loads(text)["generation"] == 1:
                yield f"spec 0 {text}"
            continue
        who = "agent" if int(pid) == agent else "batond" if control.get((pid, fd)) else None
        sent = BYTES.search(rest)
        if not who or not sent or not text_of(sent[1]).startswith("{"):
            continue
        fds = FDS.search(rest)
        yield f"{who} {len(fds[1].split(',')) if fds else 0} {text_of(sent[1])}"


def start(t, daemon, n):
    daemon.prefix = ["strace", "-f", "-ttt", "-s", "70000", "-e",
                     "trace=connect,sendmsg,pwrite64",
                     "-o", t.tmp / f"strace.{n}"]
    daemon.start()
    daemon.prefix = []


def record_session(t):
    ready = t.file("ready", "")
    daemon = t.daemon(service(python(t, "--notify", ready), environment={"GREETING": "hello"},
                              listen=["127.0.0.1:8080", "[::1]:8080"]), start=False)
    folder = pathlib.Path("/var/lib") / daemon.name
    agents = pathlib.Path("/run") / daemon.name / "agents"
    start(t, daemon, 1)
    wait_until(lambda: daemon.generation()["instances"][0]["ready"], "READY=1")
    agent = daemon.generation()["instances"][0]["agent_pid"]
    daemon.cli("leave", expect=0)
    # Not for the process: strace goes on with the agent.
    wait_until(lambda: not daemon.api_socket.exists(), "the end of the first daemon")
    handover = (agents / "web.1.0.handover").read_text()
    kept = {"state.json": (folder / "state.json").read_text(),
            "history.json": (folder / "history" / "web.json").read_text(),
            "events.jsonl": (folder / "events.jsonl").read_text()}
    start(t, daemon, 2)
    daemon.restart()
    wait_until(lambda: not (agents / "web.1.0.sock").exists(), "the end of the first agent")
    # strace does not pass signals on.
    os.kill(daemon.api("/v1/version")[1]["pid"], signal.SIGTERM)
    daemon.process.wait()
    calls = [line for n in (1, 2) for line in (t.tmp / f"strace.{n}").read_text().split("\n")
             if CALL.match(line)]
    calls.sort(key=lambda line: line.split()[1])
    lines = list(lines_of(calls, agent))
    hello = json.loads(next(line for line in lines if line.startswith("agent")).split(" ", 2)[2])
    check(hello["type"] == "hello", "the agent's first report is its hello")
    to = HERE / str(hello.get("newest", hello["version"]))
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    (to / "session").write_text("".join(f"{line}\n" for line in lines))
    (to / "handover").write_text(handover)
    for name, text in kept.items():
        (to / name).write_text(text)
