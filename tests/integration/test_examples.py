# SPDX-License-Identifier: BSD-2-Clause
"""
The examples, as their READMEs have them: each indented line is run, but for the one that starts
batond, which is given a name of its own, and for folders of the host's, which are in the test's.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import threading

from harness import check, check_equal, wait_until
from swaps import check_unharmed

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


class Example:
    def __init__(self, t, name, **folders):
        """A copy of examples/@name; @folders: {path: its name in the test's folder}."""
        self.t = t
        self.name = name
        self.folders = folders
        self.daemon = None
        shutil.copytree(EXAMPLES / name, t.tmp, dirs_exist_ok=True)
        lines = re.findall(r"^    (.*)", (t.tmp / "README.md").read_text(), re.M)
        self.lines = [self.here(line) for line in lines]
        check(self.lines, "no command in README.md")

    def here(self, text):
        for path, own in self.folders.items():
            text = text.replace(path, str(self.t.tmp / own))
        return text

    def run(self, *beginnings):
        """Run the next lines, which begin so; returns the output of the last."""
        for beginning in beginnings:
            line = self.lines.pop(0)
            check(line.startswith(beginning), f"{line!r} does not begin with {beginning!r}")
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                os.environ[name] = subprocess.run(["sh", "-c", f"echo {value}"], check=True,
                                                  capture_output=True, text=True).stdout.strip()
            elif line == f"batond -n {self.name} -c baton.json &":
                self.start()
            else:
                result = self.shell(line)
        return result

    def start(self):
        config = json.loads(self.here((self.t.tmp / "baton.json").read_text()))
        self.daemon = self.t.daemon(**config["services"])

    def shell(self, line):
        command = line
        if self.daemon:
            command = re.sub(rf"^baton -n {self.name} ",
                             f"{self.daemon.program_dir}/baton -n {self.daemon.name} ", line)
        result = subprocess.run(["bash", "-c", command], cwd=self.t.tmp, capture_output=True,
                                text=True, check=False)
        status = re.search(r"# exit status (\d+)", line)
        check_equal(result.returncode, int(status[1]) if status else 0,
                    f"exit status of {line!r}: {result.stdout}{result.stderr}")
        said = re.search(r"# (release .*)", line)
        check(not said or said[1] + "\n" == result.stdout, f"{line!r} says {result.stdout!r}")
        return result.stdout + result.stderr

    def end(self):
        check_equal(self.lines, [], "lines that were not run")
        self.daemon.end()


def test_example_migration(t):
    example = Example(t, "migration")
    example.run("export DATABASE=", "batond", "curl")
    hammer = t.hammer("--path", "/", "--short", 4, "--rate", 50, "--timeout", "30s",
                      "--expect-status", 200)
    example.run("baton", "curl")
    said = example.run("baton")
    check("migration 3: table visits already exists; the database is as it was" in said,
          f"the reason is not in {said}")
    example.run("curl")
    check_unharmed(hammer, at_least=20)
    example.end()


class Visitor(threading.Thread):
    """Visits the site again and again, each time anew; what it finds is in .serials, .lost."""

    def __init__(self, authority):
        super().__init__(daemon=True)
        self.context = ssl.create_default_context(cafile=authority)
        self.serials, self.lost, self.visits = [], [], 0
        self.ended = threading.Event()

    def visit(self):
        with socket.create_connection(("127.0.0.1", 8443), 30) as plain, \
                self.context.wrap_socket(plain, server_hostname="www.example.org") as sock:
            serial = sock.getpeercert()["serialNumber"]
            sock.sendall(b"GET / HTTP/1.1\r\nHost: www.example.org\r\nConnection: close\r\n\r\n")
            with sock.makefile("rb") as answer:
                text = answer.read()
        check(text.endswith(b"\r\n\r\nok\n"), f"{text!r}")
        if serial not in self.serials:
            self.serials.append(serial)

    def run(self):
        while not self.ended.wait(0.01):
            self.visits += 1
            try:
                self.visit()
            except (OSError, AssertionError) as error:
                self.lost.append(repr(error))


def test_example_certificate(t):
    example = Example(t, "certificate", **{"/run/baton-certificate": "certificates"})
    example.run("./renew", "batond", "curl")
    daemon = example.daemon
    visitor = Visitor(t.tmp / "certificates" / "ca.pem")
    visitor.start()
    wait_until(lambda: visitor.visits > 20, "visits")
    first = list(visitor.serials)
    since = daemon.last_seq()
    example.run("./renew")
    daemon.wait_event("done", since=since)
    at = visitor.visits
    wait_until(lambda: visitor.visits > at + 20, "visits")
    visitor.ended.set()
    visitor.join()
    check_equal(visitor.lost, [], "lost")
    check_equal((len(first), len(visitor.serials)), (1, 2), "certificates before, and in all")
    said = example.run("baton")
    check_equal(len(daemon.events("changed")), 1, "changes")
    check_equal(daemon.current(), 2, "generation: one rollout")
    check("changed" in said, f"no change in {said}")
    example.end()
