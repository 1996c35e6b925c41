# SPDX-License-Identifier: BSD-2-Clause
"""one: one example server behind a batond of its own, in a network namespace of its own."""

import json
import os
import signal
import subprocess
import sys
import time

LISTEN = "127.0.0.1:8080"
READY_S = 20


def inside(name):
    """The rest of the program runs in a network namespace of its own."""
    if os.geteuid() != 0:
        sys.exit(f"{name}: needs root (network namespace, BPF)")
    mark = f"BATON_{name.upper()}_INSIDE"
    if os.environ.get(mark) != "1":
        os.environ[mark] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Baton:
    """A server that baton replaces."""

    def __init__(self, build, folder, name):
        self.baton, self.name = f"{build}/baton", f"{name}-{os.getpid()}"
        self.log = open(f"{folder}/log", "w+")
        self.daemon = subprocess.Popen(
            [self.baton, "run", "-n", self.name, "--service", "web"]
            + ["--listen", LISTEN, "--notify", "--", f"{build}/examples/server"],
            stdout=self.log,
            stderr=self.log,
        )
        deadline = time.monotonic() + READY_S
        while self.ask("status", "web", check=False).returncode != 0:
            if time.monotonic() > deadline or self.daemon.poll() is not None:
                self.log.seek(0)
                sys.exit(f"{name}: the service does not serve:\n{self.log.read()}")
            time.sleep(0.05)

    def ask(self, *arguments, check=True):
        return subprocess.run(
            [self.baton, *arguments, "-n", self.name], capture_output=True, text=True, check=check
        )

    def restart(self):
        self.ask("restart", "web", "--quiet")

    def end(self):
        self.daemon.terminate()
        self.daemon.wait(30)
        self.log.close()


class Load:
    """bench/hammer, until it is told to stop."""

    def __init__(self, build, *options):
        self.process = subprocess.Popen(
            [f"{build}/bench/hammer", "--connect", LISTEN, "--duration", "0", "--json"]
            + [str(option) for option in options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, command):
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def report(self):
        self.say("report")
        return json.loads(self.process.stdout.readline())

    def stop(self):
        """What has been counted."""
        self.process.send_signal(signal.SIGINT)
        return json.loads(self.process.communicate(timeout=60)[0].splitlines()[-1])

    def kill(self):
        self.process.kill()
        self.process.wait()


def keep(result):
    """For bench/all."""
    if path := os.environ.get("BATON_BENCH_JSON"):
        with open(path, "w") as file:
            json.dump(result, file)
