# SPDX-License-Identifier: BSD-2-Clause
"""
old_agent: an agent of the version before, made of what one has said (tests/recorded).

    old_agent.py VERSION SPEAKS INSTANCE CONTROL CGROUP HANDOVER COMMAND...

Binds the addresses of the recorded session, starts COMMAND with these sockets (LISTEN_FDS) in the
cgroup CGROUP, which it makes, and greets whoever connects to CONTROL with the recorded bytes, in
which only pids, cookies and inodes are changed: its server has just been started. It answers each
order with the reports that followed it in the session, and prints its type. An order that an agent of that version would not
understand ends it with status 3. SPEAKS: the version that its hello says. HANDOVER: where to write
what the recorded agent had noted; "-": nowhere.
"""

import array
import contextlib
import itertools
import json
import os
import pathlib
import signal
import socket
import sys

from recorded import FOLDER, lacks, session, spec_of

SO_COOKIE = 57
# Version 1 knows these, too, though its session has none of them.
OTHERS = {"reopen", "tell", "family", "keep"}


def listen(address):
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    listener = socket.socket(family)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host.strip("[]"), int(port)))
    listener.listen(128)
    return listener


def start(command, listeners, cgroup):
    pid = os.fork()
    if pid:
        (cgroup / "cgroup.procs").write_text(str(pid))
        return pid
    high = [os.dup(listener.fileno()) for listener in listeners]
    for k, fd in enumerate(high):
        os.dup2(fd, 3 + k)
    os.environ.update(LISTEN_FDS=str(len(high)), LISTEN_PID=str(os.getpid()))
    os.execv(command[0], command)


def started_at(pid):
    """In ticks since boot."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


class OldAgent:
    def __init__(self, version, path, cgroup, command):
        self.path = path
        self.messages = session(version)
        self.hello = next(m for m in self.messages if m.type == "hello").json
        self.listeners = [listen(each["address"]) for each in self.hello["sockets"]]
        for each, listener in zip(self.hello["sockets"], self.listeners):
            cookie = listener.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)
            each["cookie"] = str(int.from_bytes(cookie, sys.byteorder))
            each["inode"] = str(os.fstat(listener.fileno()).st_ino)
        cgroup.mkdir(parents=True, exist_ok=True)
        self.server = start(command, self.listeners, cgroup)
        self.hello.update(agent_pid=os.getpid(), pid=self.server)
        self.spec = spec_of(self.messages)
        self.spec.update(argv=command, executable=command[0], cgroup=str(cgroup))

    def be(self, speaks, instance):
        self.hello.update(version=speaks, instance=instance)
        self.spec.update(instance=instance)

    def note(self, version, path):
        first = json.loads((FOLDER / version / "handover").read_text().split("\n")[0])
        first.update(
            boot_id=pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            agent_started=started_at(os.getpid()), started=started_at(self.server), stdout="0",
            stderr="0")
        pathlib.Path(path).write_text("".join(
            json.dumps(line, separators=(",", ":")) + "\n"
            for line in (first, self.hello, self.spec)))

    def greet(self, connection):
        spec = os.memfd_create("spec")
        os.write(spec, json.dumps(self.spec).encode())
        fds = array.array("i", [*(each.fileno() for each in self.listeners), spec])
        connection.sendmsg([json.dumps(self.hello).encode()],
                           [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        os.close(spec)
        # To the first daemon it says that its server has been started, and is ready.
        first = min(k for k, message in enumerate(self.messages) if message.type == "hello")
        for report in () if self.hello["ready"] else self.following(first):
            connection.send(json.dumps({**report.json, "pid": self.server}).encode()
                            if report.type == "started" else report.text.encode())
        self.hello["ready"] = True

    def following(self, k):
        """What the recorded agent said after message @k, until the daemon did something."""
        return itertools.takewhile(lambda message: message.who == "agent", self.messages[k + 1:])

    def take(self, order, connection):
        known = [m for m in self.messages if m.who == "batond" and m.type == order["type"]]
        missing = [text for message in known for text in lacks(order, message.json)]
        print(order["type"], *missing, flush=True)
        if missing or not known and order["type"] not in OTHERS:
            sys.exit(3)
        if order["type"] == "leave":
            for listener in self.listeners:
                listener.close()
            os.kill(self.server, order["signal"])
        last = max((k for k, m in enumerate(self.messages) if m in known), default=None)
        for reply in self.following(last) if known else ():
            if reply.type == "exited":
                os.waitpid(self.server, 0)
            connection.send(reply.text.encode())
        self.hello["steady"] = order.get("on", self.hello["steady"])
        return order["type"] != "stop"

    def end(self, *_):
        os.kill(self.server, signal.SIGTERM)
        os.waitpid(self.server, 0)
        os.unlink(self.path)
        sys.exit(0)

    def serve_one(self, connection):
        """Returns whether another daemon may come."""
        self.greet(connection)
        while True:
            text, _, _, _ = connection.recvmsg(65536, 4096)
            if not text:
                return True
            if not self.take(json.loads(text), connection):
                return False

    def serve(self, control):
        while True:
            connection, _ = control.accept()
            try:
                if not self.serve_one(connection):
                    return
            except OSError:  # the daemon has gone, and has not read all
                connection.close()


def main():
    version, speaks, instance, path, cgroup, handover, *command = sys.argv[1:]
    agent = OldAgent(version, path, pathlib.Path(cgroup), command)
    agent.be(int(speaks), int(instance))
    signal.signal(signal.SIGTERM, agent.end)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.bind(path)
    control.listen(4)
    if handover != "-":
        agent.note(version, handover)
    print("listening", flush=True)
    agent.serve(control)
    # batond removes it as well.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


main()
