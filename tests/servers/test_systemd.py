# SPDX-License-Identifier: BSD-2-Clause
"""
The unit in packaging/systemd under Debian's systemd, as pid 1 of a pid namespace: whatever ends
batond, its servers go on, and they drain when the host shuts down.
"""

import pathlib
import subprocess

from harness import (alive, begin_post, check, check_equal, own_cgroup, read_response, refused,
                     timeout, wait_until)
from services import example, service, soon
from servers import program
from swaps import GENTLE, check_unharmed

SYSTEMD = pathlib.Path(__file__).resolve().parents[2] / "packaging" / "systemd"


def install(t, usr, units):
    """As "make install" does; the programs find each other where they are built."""
    for folder, file in (("sbin", t.build / "batond"), ("bin", t.build / "baton"),
                         ("libexec/baton", SYSTEMD / "systemd-stop")):
        (usr / folder).mkdir(parents=True)
        (usr / folder / file.name).symlink_to(file)
    text = (SYSTEMD / "baton.service.in").read_text()
    (units / "baton.service").write_text(text.replace("@PREFIX@", str(usr)))


class Host:
    """A systemd that runs baton.service."""

    def __init__(self, t, config, *lines):
        self.daemon = t.daemon(config, start=False)
        self.daemon.write_config()
        usr, units = t.tmp / "usr", t.tmp / "units"
        units.mkdir()
        install(t, usr, units)
        unit = units / "baton.service"
        lines = ("[Service]", f"Environment=BATON_NAME={self.daemon.name}",
                 f"Environment=\"BATOND_OPTIONS=-c {self.daemon.file}\"", *lines)
        unit.write_text(unit.read_text() + "\n".join(lines) + "\n")
        program("systemctl", "systemd")
        self.root = own_cgroup() / self.daemon.name
        self.root.mkdir()
        self.process = t.spawn("systemd", pathlib.Path(__file__).with_name("boot.sh"), self.root,
                               units)
        wait_until(lambda: "inside " in self.process.text(), "systemd begins")
        self.pid = int(self.process.text().split("inside ")[1].split()[0])
        self.prefix = ["nsenter", "-t", str(self.pid), "-m", "-p", "--"]
        wait_until(lambda: self.property("ActiveState") == "active", "baton.service is active")

    def run(self, *argv, expect=0):
        done = subprocess.run([*self.prefix, *argv], capture_output=True, text=True, timeout=60,
                              check=False)
        check_equal(done.returncode, expect, f"exit status of {argv}: {done}")
        return done.stdout + done.stderr

    def property(self, name):
        done = subprocess.run([*self.prefix, "systemctl", "show", "-P", name, "baton.service"],
                              capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.strip()

    def end(self):
        """With all that it runs: it is the first process of a pid namespace."""
        self.process.popen.kill()
        self.process.wait()

    def servers(self):
        """Who runs, by pid as seen from outside, from the instances' cgroups."""
        return sorted(pid for path in self.cgroup().glob("web.*/cgroup.procs")
                      for pid in path.read_text().split())

    def cgroup(self):
        return self.root / "system.slice" / "baton.service" / self.daemon.name

    def serves_again(self, before):
        wait_until(lambda: self.property("ActiveState") == "active" and
                   self.property("MainPID") not in ("0", before), "another batond serves")


@timeout(300)
def test_systemd_ends_batond_and_no_server(t):
    host = Host(t, service(example(t), instances=2))
    servers = host.servers()
    check(len(servers) >= 2, f"servers: {servers}")
    hammer = t.hammer(*GENTLE)

    for end in (["systemctl", "restart", "baton"], ["systemctl", "kill", "-s", "KILL",
                                                    "--kill-who=main", "baton"]):
        before = host.property("MainPID")
        host.run(*end)
        host.serves_again(before)
        check_equal(host.servers(), servers, f"servers after {end}")
    host.run("systemctl", "stop", "baton")
    check_equal(host.property("ActiveState"), "inactive", "state after stop")
    check_equal(host.servers(), servers, "servers after stop")
    host.run("systemctl", "start", "baton")
    check_equal(host.servers(), servers, "servers after start")
    host.run("systemctl", "reload", "baton")
    check_unharmed(hammer, 100)

    # A mistake in the file: the reload fails, and nothing else happens.
    host.daemon.file.write_text("{")
    host.run("systemctl", "reload", "baton", expect=1)
    check_equal(host.servers(), servers, "servers after a bad reload")
    host.end()


@timeout(300)
def test_systemd_shutdown_drains(t):
    host = Host(t, service(example(t), drain={"timeout": "30s"}))
    servers = host.servers()
    with begin_post() as sock:
        host.run("systemctl", "--no-block", "poweroff")
        wait_until(refused, "new connections are refused")
        check(any(alive(int(pid)) for pid in servers), "the server has not waited")
        sock.sendall(b"67890")
        check_equal(read_response(sock).status, 200, "answer")
    host.process.wait()
    check_equal(host.servers(), [], "servers after the shutdown")


@timeout(300)
def test_systemd_watchdog_ends_a_batond_that_hangs(t):
    host = Host(t, service(example(t)), f"WatchdogSec={soon(4)}")
    servers, before = host.servers(), host.property("MainPID")
    host.run("kill", "-STOP", before)
    host.serves_again(before)
    check_equal(host.servers(), servers, "servers")
    check_equal(host.property("NRestarts"), "1", "restarts")
    host.end()
