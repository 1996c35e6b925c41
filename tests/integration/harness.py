# SPDX-License-Identifier: BSD-2-Clause
"""
harness: what the integration tests stand on.

Each test is a function test_...(t) of a test_*.py, run in a process of its own (by tests/run):

    python3 harness.py BUILDDIR FILE TEST [--keep]

The process enters a network namespace of its own, so that ports are free and nothing leaves the
host; the mount namespace stays, so that bpffs and cgroups are where they are. Each daemon has a
name of its own (t<pid>-<n>), hence its own folders, cgroup and pins. Every wait has a deadline and
ends as soon as its condition holds. When the test is over, whichever way, everything it started is
ended by pid and everything it made is removed; what a clean stop should have removed and has not
fails the test, and so does a process left behind or a sanitizer's complaint in any log.

Exit status: 0 passed, 1 failed, 77 skipped (the last line says why).
"""

import contextlib
import ctypes
import fcntl
import functools
import http.client
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

DEADLINE_S = 60.0  # for things that take well below a second: the machine may be busy
POLL_S = 0.01
LOG_LINES = 250  # of each log, shown after a failure
SKIP_STATUS = 77

SANITIZER_STATUS = "99"
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": f"halt_on_error=1:detect_leaks=1:exitcode={SANITIZER_STATUS}",
    "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:exitcode={SANITIZER_STATUS}",
}
COMPLAINT = re.compile(r"AddressSanitizer|LeakSanitizer|UndefinedBehavior|: runtime error: ")

CLONE_NEWNET = 0x40000000
PR_SET_CHILD_SUBREAPER = 36
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """The test cannot run here."""


class TimedOut(BaseException):
    """tests/run has lost its patience: clean up."""


def timeout(seconds):
    """Decorator: how long tests/run lets a test run (it reads the source; else 300)."""
    def mark(function):
        function.timeout_s = seconds
        return function
    return mark


def long(function):
    """Decorator: half a minute or more, so tests/run begins it first (it reads the source)."""
    return function


def check(condition, text):
    """An assertion that stays with python -O and always says what it saw."""
    if not condition:
        raise AssertionError(text() if callable(text) else text)


def check_equal(got, expected, what):
    check(got == expected, f"{what}: got {got!r}, expected {expected!r}")


def wait_until(condition, what, deadline_s=DEADLINE_S, poll_s=POLL_S):
    """Wait until @condition() is true and return what it returned."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline_s} s still not so: "
                                 f"{what() if callable(what) else what}")
        time.sleep(poll_s)


# ---- processes ---------------------------------------------------------------------------------

def stat_of(pid):
    """(state, parent) of a process, None where there is none."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2:].split()
    return fields[0], int(fields[1])


def alive(pid):
    found = stat_of(pid)
    return found is not None and found[0] not in "ZX"


def descendants(pid):
    """Pids of all processes below @pid, parents first."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (found := stat_of(int(entry))):
            children.setdefault(found[1], []).append(int(entry))
    result = []
    queue = [pid]
    while queue:
        below = children.get(queue.pop(0), [])
        result += below
        queue += below
    return result


def command_of(pid):
    try:
        raw = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "?"
    return raw.replace(b"\0", b" ").decode(errors="replace").strip() or "?"


def send_signal(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_tree(pid):
    """SIGKILL a process and all below it, found by their parents."""
    for each in [pid, *descendants(pid)]:
        send_signal(each, signal.SIGKILL)


def signal_all(pids, number):
    for pid in pids:
        send_signal(pid, number)


def wait_stopped(pids):
    """Wait until SIGSTOP has taken effect: it is not immediate."""
    for pid in pids:
        wait_until(lambda: (stat_of(pid) or "T")[0] in "tT", f"process {pid} is stopped")


# ---- what a daemon has on the host ---------------------------------------------------------------

def own_cgroup():
    """The cgroup v2 folder of this process (that of a daemon it starts too)."""
    mount = None
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[0] == "cgroup2":
            mount = pathlib.Path(left.split()[4])
            break
    if mount is None:
        raise Skip("no cgroup v2 is mounted")
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return mount / line[3:].lstrip("/")
    raise Skip("this process is in no cgroup v2")


BPFFS = pathlib.Path("/sys/fs/bpf")


def below(folder):
    """Every path below it; what goes away meanwhile is left out."""
    return [pathlib.Path(path, name) for path, folders, files in os.walk(folder)
            for name in folders + files]


def cgroup_pids(folder):
    """Pids in a cgroup and below it."""
    pids = set()
    for procs in below(folder):
        with contextlib.suppress(OSError):
            if procs.name == "cgroup.procs":
                pids.update(int(pid) for pid in procs.read_text().split())
    return pids


def remove_cgroup(folder):
    if not folder.is_dir():
        return
    with contextlib.suppress(OSError):
        (folder / "cgroup.kill").write_text("1")

    def remove():
        for each in sorted([folder, *(p for p in folder.rglob("*") if p.is_dir())], reverse=True):
            with contextlib.suppress(OSError):
                each.rmdir()
        return not folder.exists()
    with contextlib.suppress(AssertionError):
        wait_until(remove, f"{folder} is removed")


def leftovers(name):
    """What is there of the daemon @name (apart from its state, which is meant to stay)."""
    found = [own_cgroup() / name, BPFFS / name]
    run = pathlib.Path("/run") / name
    if run.is_dir():
        found += [path for path in below(run) if not path.is_dir()]
    return [str(path) for path in found if path.exists()]


def remove_daemon(name):
    remove_cgroup(own_cgroup() / name)
    for folder in (BPFFS / name, pathlib.Path("/run") / name, pathlib.Path("/var/lib") / name):
        shutil.rmtree(folder, ignore_errors=True)


def sweep(prefix):
    """Remove what a test that was killed has left behind."""
    names = set()
    with contextlib.suppress(Skip):
        for folder in (own_cgroup(), BPFFS, pathlib.Path("/run"), pathlib.Path("/var/lib")):
            names.update(path.name for path in folder.glob(prefix + "*"))
        for name in names:
            remove_daemon(name)
    for folder in pathlib.Path(tempfile.gettempdir()).glob(f"baton-{prefix}*"):
        shutil.rmtree(folder, ignore_errors=True)


# ---- what docs/api.md says of events ----------------------------------------------------------

EVENTS_PAGE = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "api.md"
EVENT_FIELDS = {"seq", "epoch", "time", "service", "event", "message"}


def quoted(text):
    return set(re.findall(r"`([a-z_-]+)`", text))


@functools.cache
def documented_events():
    """For each kind of event: the fields that it may have beside those that all have, and must."""
    page = EVENTS_PAGE.read_text()
    page = page[page.index("\n## Events\n"):page.index("\nClients must let pass")]
    may, must = {}, {}
    for table in re.findall(r"^\| event \|.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE):
        for row in table.splitlines():
            kinds, cell = (part.strip() for part in row.split("|")[1:3])
            own = quoted(cell)
            for other in re.findall(r"\bas `([a-z-]+)`", cell):
                own |= may.get(other, set())
            for kind in quoted(kinds):
                may[kind] = own
                must[kind] = (EVENT_FIELDS |
                              quoted("".join(re.findall("^`generation`, `instance`", cell))))
    return may, must


def undocumented(events):
    """What is wrong with events: one line each."""
    may, must = documented_events()
    for each in events:
        if each["event"] not in may:
            yield f"docs/api.md does not know this event: {each}"
            continue
        extra = each.keys() - may[each["event"]] - EVENT_FIELDS - {"passed"}  # of a flood
        lacking = must[each["event"]] - each.keys()
        if extra or lacking:
            yield f"docs/api.md does not know {sorted(extra)} of, or lists {sorted(lacking)}: {each}"


# ---- clients ---------------------------------------------------------------------------------

class Response:
    def __init__(self, status, body):
        self.status = status
        self.body = body

    def __repr__(self):
        return f"{self.status} {self.body!r}"


def connect(port=8080, host="127.0.0.1", timeout_s=DEADLINE_S):
    return socket.create_connection((host, port), timeout_s)


def send_request(sock, path="/", method="GET", headers=(), body=b""):
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
    sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)


def read_response(sock):
    """The next answer on @sock; ConnectionError where it ends before a whole one."""
    answer = http.client.HTTPResponse(sock)
    try:
        answer.begin()
        return Response(answer.status, answer.read().decode(errors="replace"))
    except (http.client.IncompleteRead, http.client.BadStatusLine) as error:
        raise ConnectionError(f"cut: {error!r}") from error
    finally:
        answer.close()


def get(path="/", port=8080, host="127.0.0.1", timeout_s=DEADLINE_S):
    """One request over a new connection."""
    with connect(port, host, timeout_s) as sock:
        send_request(sock, path, headers=["Connection: close"])
        return read_response(sock)


def refused(port=8080, host="127.0.0.1"):
    """Is a new connection refused?"""
    try:
        connect(port, host).close()
    except ConnectionRefusedError:
        return True
    return False


def bodies(count, path="/", port=8080, host="127.0.0.1"):
    """The bodies that @count new connections were answered with, one after the other."""
    result = []
    for _ in range(count):
        answer = get(path, port, host)
        check_equal(answer.status, 200, f"GET {path}")
        result.append(answer.body)
    return result


def begin_post(path="/post", port=8080, size=10, sent=5):
    """A connection whose request is half sent; the rest is size - sent bytes."""
    sock = connect(port)
    send_request(sock, path, "POST", [f"Content-Length: {size}"], b"x" * sent)
    return sock


# ---- the products ----------------------------------------------------------------------------

class Result:
    """What a command said."""

    def __init__(self, status, out, err):
        self.status = status
        self.out = out
        self.err = err

    @property
    def text(self):
        return self.out + self.err

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"exit status {self.status}\n-- stdout\n{self.out}\n-- stderr\n{self.err}"


class ApiConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout_s=DEADLINE_S):
        super().__init__("localhost", timeout=timeout_s)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Process:
    """A program in the background, its output in a log that a failure shows."""

    def __init__(self, t, label, argv, environment=None, stdin=subprocess.DEVNULL, stdout=None,
                 pass_fds=()):
        self.t = t
        self.label = label
        self.log = t.new_log(label)
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(
                [str(arg) for arg in argv], stdin=stdin, stdout=stdout or log, stderr=log,
                env={**os.environ, **(environment or {})}, cwd=t.tmp, pass_fds=pass_fds)
        t.processes.append(self)

    @property
    def pid(self):
        return self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def wait(self, deadline_s=DEADLINE_S):
        try:
            return self.popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.label} has not ended after {deadline_s} s") from None

    def end(self, deadline_s=20.0):
        """At the end of the test: whatever it takes."""
        if self.running():
            self.popen.terminate()
            try:
                self.popen.wait(deadline_s)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        self.popen.wait()

    def text(self):
        return self.log.read_text(errors="replace")


class Daemon:
    """One batond of a name of its own, and what can be asked of it."""

    def __init__(self, t, config):
        self.t = t
        self.name = t.new_name()
        self.config = config
        self.file = t.tmp / f"{self.name}.json"
        self.api_socket = pathlib.Path("/run") / self.name / "api.sock"
        self.process = None
        self.prefix = []  # what to run everything with, as another user for instance
        self.program_dir = t.build

    def write_config(self):
        self.file.write_text(json.dumps(self.config, indent=2))

    def command(self):
        return [*self.prefix, self.program_dir / "batond", "-n", self.name, "-c", self.file]

    def start(self, *argv):
        """Start and wait until every service runs. @argv: another program (and its arguments)."""
        self.write_config()
        argv = argv or self.command()
        self.process = Process(self.t, self.name, argv)
        services = list((self.config or {}).get("services", {}))
        for service in services:
            self.wait_state("running", service)
        return self

    def start_unready(self, *options):
        """Start and wait for the API only. @options: further ones of batond."""
        self.write_config()
        self.process = Process(self.t, self.name, [*self.command(), *options])
        wait_until(self.ready, "the API to answer")
        return self

    @property
    def pid(self):
        return self.process.pid

    def ready(self):
        """Does the API answer?"""
        check(self.process is None or self.process.running(),
              lambda: f"the daemon has ended with status {self.process.popen.returncode}")
        try:
            return self.api("/healthz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    # -- asking

    def api(self, path, method="GET", body=None):
        """(status, decoded answer)"""
        connection = ApiConnection(self.api_socket)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if "json" in (answer.getheader("Content-Type") or "") and "events" not in path:
            return answer.status, json.loads(text)
        return answer.status, text

    def service(self, service="web"):
        status, answer = self.api(f"/v1/services/{service}")
        check_equal(status, 200, f"GET /v1/services/{service}: {answer}")
        return answer

    def state(self, service="web"):
        return self.service(service)["state"]

    def wait_state(self, state, service="web", deadline_s=DEADLINE_S):
        wait_until(self.ready, "the daemon answers")

        def reached():
            now = self.service(service)
            check(now["state"] != "failed" or state == "failed",
                  lambda: f"service failed: {now.get('reason')}\n{json.dumps(now, indent=1)}")
            return now["state"] == state
        wait_until(reached, f"{service} is {state}", deadline_s)

    def generation(self, state="current", service="web"):
        """The generation in a state, None where there is none."""
        for each in self.service(service)["generations"]:
            if each["state"] == state:
                return each
        return None

    def current(self, service="web"):
        found = self.generation("current", service)
        check(found, lambda: f"no current generation: {self.service(service)}")
        return found["generation"]

    def server_pid(self, state="current", service="web", instance=0):
        """The pid of an instance's server; 0 if it does not run, or is not there."""
        found = self.generation(state, service)
        instances = found["instances"] if found else []
        return instances[instance]["pid"] or 0 if instance < len(instances) else 0

    def cgroup(self, generation, service="web", instance=0):
        return own_cgroup() / self.name / f"{service}.{generation}.{instance}"

    def pids(self, generation, service="web", instance=0):
        """Every process of an instance, from its cgroup."""
        return cgroup_pids(self.cgroup(generation, service, instance))

    def events(self, event=None, service="web", since=0):
        status, text = self.api(f"/v1/events?service={service}&since={since}")
        check_equal(status, 200, "GET /v1/events")
        found = [json.loads(line) for line in text.splitlines() if line]
        check(not (wrong := list(undocumented(found))), lambda: "\n".join(wrong))
        return [each for each in found if event is None or each["event"] == event]

    def wait_event(self, event, service="web", since=0, deadline_s=DEADLINE_S):
        return wait_until(lambda: self.events(event, service, since),
                          f"event {event} of {service}", deadline_s)[-1]

    def last_seq(self):
        return max((each["seq"] for each in self.events()), default=0)

    def event_files(self):
        """Where its events are kept, the older file first."""
        newer = pathlib.Path("/var/lib") / self.name / "events.jsonl"
        return [pathlib.Path(f"{newer}.1"), newer]

    def kept_events(self):
        """All events that are in its files."""
        # What has just happened is written a moment later.
        spare = pathlib.Path("/run") / self.name / "events.jsonl"
        if self.process and self.process.running():
            wait_until(lambda: not spare.exists(), f"the file has what is in {spare}")
        lines = []
        for path in self.event_files():
            if path.is_file():
                lines += path.read_text().splitlines()[1:]
        return [json.loads(line) for line in lines]

    # -- ordering

    def cli(self, *args, expect=None, deadline_s=100.0):
        """`baton ARGS`; where @expect is given that must be its exit status."""
        argv = [*self.prefix, self.program_dir / "baton", "-n", self.name, *map(str, args)]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=deadline_s, check=False, cwd=self.t.tmp)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"baton {' '.join(map(str, args))}: no end after {deadline_s} s, "
                                 f"printed {error.stdout!r} {error.stderr!r}") from None
        result = Result(done.returncode, done.stdout, done.stderr)
        self.t.complain(f"baton {args}", result.err)
        check(expect is None or result.status == expect,
              lambda: f"baton {' '.join(map(str, args))}: expected exit status {expect}, "
                      f"got {result}")
        return result

    def restart(self, expect=0, service="web"):
        return self.cli("restart", service, expect=expect)

    def upgrade(self, command, *options, expect=None, service="web"):
        return self.cli("upgrade", service, *options, "--", *command, expect=expect)

    def begin(self, order="restart", *rest, service="web"):
        """Start a rollout and return at once: the number of the last event before it."""
        since = self.last_seq()
        self.cli(order, service, "--no-wait", *rest, expect=0)
        return since

    def wait_end(self, since, service="web", deadline_s=DEADLINE_S):
        """Wait for a rollout's last event and return it."""
        def ended():
            return [each for each in self.events(None, service, since)
                    if each["event"] in ("done", "failed", "rolled-back")]
        return wait_until(ended, "the rollout ends", deadline_s)[0]

    # -- ending

    def stop(self, expect=0, number=signal.SIGTERM, deadline_s=DEADLINE_S, left=()):
        """A clean stop: exit status @expect and nothing left over but the files @left of /run."""
        self.process.popen.send_signal(number)
        status = self.process.wait(deadline_s)
        check_equal(status, expect, "batond's exit status")
        self.check_clean(left)

    def check_clean(self, left=()):
        """batond has ended by itself: it has left nothing but the files @left of /run."""
        expected = [str(pathlib.Path("/run") / self.name / file) for file in left]
        check_equal(leftovers(self.name), expected, "left over after a clean stop")
        self.t.check_no_processes()

    def end(self):
        if self.process:
            self.process.end()
        remove_daemon(self.name)


class Hammer:
    """The load generator; stop() gives its counts."""

    def __init__(self, t, *args, port=8080, host="127.0.0.1"):
        self.process = Process(
            t, "hammer", [t.program("bench/hammer"), "--connect", f"{host}:{port}", "--json",
                          "--duration", "0", *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.output = b""

    def say(self, line):
        self.process.popen.stdin.write(line.encode() + b"\n")
        self.process.popen.stdin.flush()

    def read(self, deadline_s):
        """One line of JSON."""
        end = time.monotonic() + deadline_s
        out = self.process.popen.stdout.fileno()
        while b"\n" not in self.output:
            readable = select.select([out], [], [], max(0.0, end - time.monotonic()))[0]
            check(readable, f"hammer says nothing for {deadline_s} s")
            chunk = os.read(out, 65536)
            check(chunk, "hammer has ended without a word")
            self.output += chunk
        line, self.output = self.output.split(b"\n", 1)
        return json.loads(line)

    def report(self):
        """The counts so far. Everything said before has been taken note of."""
        self.say("report")
        return self.read(DEADLINE_S)

    def phase(self, name):
        """From when this returns, connections belong to another phase."""
        self.say(f"phase {name}")
        self.report()

    def stop(self):
        """The last counts. (The exit status tells no more: 1 where something was lost.)"""
        self.say("stop")
        counts = self.read(DEADLINE_S)
        self.process.wait()
        return counts


# ---- one test ----------------------------------------------------------------------------------

class Test:
    """Handed to a test function: makes things, and unmakes them at the end."""

    def __init__(self, build, keep=False):
        self.build = pathlib.Path(build).resolve()
        self.keep = keep
        self.tmp = pathlib.Path(tempfile.mkdtemp(prefix=f"baton-t{os.getpid()}-"))
        self.tmp.chmod(0o755)  # servers of other users read what is in it
        self.processes = []
        self.daemons = []
        self.logs = []
        self.complaints = []
        self.names = 0

    def new_name(self):
        self.names += 1
        name = f"t{os.getpid()}-{self.names}"
        # A test that was killed may have had this number, and have left its state.
        with contextlib.suppress(Skip):
            remove_daemon(name)
        return name

    def new_log(self, label):
        log = self.tmp / f"{len(self.logs)}-{label}.log"
        self.logs.append(log)
        return log

    def program(self, name):
        path = self.build / name
        check(path.is_file(), f"{path} is not built")
        return str(path)

    def file(self, name, text, mode=0o644):
        path = self.tmp / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def copy(self, program, name):
        """A copy of a program in a folder that every user can reach (a checkout may not be)."""
        path = self.tmp / name
        if not path.exists():
            shutil.copy(self.program(program), path)
            path.chmod(0o755)
        return str(path)

    def daemon(self, service=None, start=True, **services):
        """A daemon with one service "web", or with several by name."""
        config = {"services": services or {"web": service}}
        daemon = Daemon(self, config)
        self.daemons.append(daemon)
        return daemon.start() if start else daemon

    def hammer(self, *args, **where):
        return Hammer(self, *args, **where)

    def spawn(self, label, *argv, **options):
        return Process(self, label, argv, **options)

    def complain(self, where, text):
        """Remember what a sanitizer says in @text."""
        for line in text.splitlines():
            if COMPLAINT.search(line):
                self.complaints.append(f"{where}: {line}")

    def check_no_processes(self, deadline_s=20.0):
        """Nothing is below us but what we have started ourselves and not ended yet."""
        ours = {process.pid for process in self.processes}

        def orphans():
            reap(ours)
            return [pid for pid in descendants(os.getpid()) if pid not in ours and alive(pid)]
        try:
            wait_until(lambda: not orphans(), "no process is left over", deadline_s)
        except AssertionError:
            left = [f"{pid} ({command_of(pid)})" for pid in orphans()]
            check(not left, f"processes left over: {', '.join(left)}")

    def close(self, clean):
        """
        End and remove everything; returns what is wrong with what was found. @clean: the test has
        passed, so every daemon must be able to stop by itself and leave nothing.
        """
        wrong = []
        for daemon in self.daemons if clean else ():
            try:
                if daemon.process and daemon.process.running():
                    daemon.stop()
            except AssertionError as error:
                wrong.append(f"{daemon.name}: {error}")
        for process in reversed(self.processes):
            process.end(20.0 if clean else 1.0)
        for daemon in self.daemons if clean else ():
            wrong += undocumented(daemon.kept_events())
        for daemon in self.daemons:
            daemon.end()
        try:
            self.check_no_processes(20.0 if clean else 0.0)
        except AssertionError as error:
            wrong.append(str(error))
            for pid in descendants(os.getpid()):
                send_signal(pid, signal.SIGKILL)
        for log in self.logs:
            if log.exists():
                self.complain(log.name, log.read_text(errors="replace"))
        return wrong + self.complaints

    def show_logs(self):
        for log in self.logs:
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            print(f"---- {log.name}: last {min(len(lines), LOG_LINES)} of {len(lines)} lines")
            print("\n".join(lines[-LOG_LINES:]))

    def remove(self):
        if self.keep:
            print(f"kept: {self.tmp}")
        else:
            shutil.rmtree(self.tmp, ignore_errors=True)


def reap(spared):
    """Collect orphans that have ended; children in @spared are somebody else's to wait for."""
    for pid in descendants(os.getpid()):
        found = stat_of(pid)
        if pid not in spared and found and found == ("Z", os.getpid()):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def enter_namespace():
    if os.geteuid() != 0:
        raise Skip("needs root (network namespace, BPF, cgroups)")
    if libc.unshare(CLONE_NEWNET) != 0:
        raise Skip(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))
    # Orphans become our children: nothing can be left over unseen.
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    own_cgroup()


def on_terminate(_number, _frame):
    raise TimedOut


def load(path, name):
    sys.path.insert(0, str(pathlib.Path(path).parent))
    return getattr(__import__(pathlib.Path(path).stem), name)


def run(build, path, name, keep):
    function = load(path, name)
    try:
        enter_namespace()
    except Skip as skip:
        print(skip)
        return SKIP_STATUS
    test = Test(build, keep)
    failed = skipped = None
    try:
        function(test)
    except Skip as skip:
        skipped = str(skip)
    except TimedOut:
        failed = "stopped by tests/run:\n" + traceback.format_exc()
    except Exception:  # pylint: disable=broad-except
        failed = traceback.format_exc()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wrong = test.close(clean=not failed)
    if failed or wrong:
        print((failed or "") + "\n".join(wrong))
        test.show_logs()
    test.remove()
    if failed or wrong:
        return 1
    if skipped:
        print(skipped)
        return SKIP_STATUS
    return 0


if __name__ == "__main__":
    # Tests import this file by its name: one copy of it only.
    sys.modules["harness"] = sys.modules["__main__"]
    os.environ.update({key: os.environ.get(key, value) for key, value in SANITIZER_OPTIONS.items()})
    signal.signal(signal.SIGTERM, on_terminate)
    sys.exit(run(sys.argv[1], sys.argv[2], sys.argv[3], "--keep" in sys.argv[4:]))
