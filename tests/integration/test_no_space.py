# SPDX-License-Identifier: BSD-2-Clause
"""
No space for what batond has to remember, and no descriptors for what it does: nothing is refused that
can go on without them, no number is used twice, nothing is unhealthy for it, and nothing spins.
"""

import contextlib
import os
import pathlib
import resource
import subprocess
import time

from harness import check, check_equal, descendants, wait_until
from services import example, service
from swaps import check_unharmed, gentle

SHORT_S = 2.0


@contextlib.contextmanager
def small_disk(daemon):
    """/var/lib/NAME on a file system of its own, with hardly any room."""
    folder = pathlib.Path("/var/lib") / daemon.name
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Take all that is free; returns what gives it back."""
    def refill():
        with contextlib.suppress(OSError), open(folder / "fill", "ab", 0) as file:
            while True:
                file.write(bytes(4096))
    refill()
    return (folder / "fill").unlink


def cover(folder):
    """Another file system lies over it, read-only: one with open files cannot be made so."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", folder], check=True)
    return lambda: subprocess.run(["umount", "-l", folder], check=True)


def kill(daemon):
    daemon.process.popen.kill()
    daemon.process.wait()


def go_without(t, take_away):
    """batond cannot write its state meanwhile, and is killed twice."""
    daemon = t.daemon(service(example(t)), start=False)
    with small_disk(daemon) as folder:
        daemon.start()
        hammer = gentle(t)
        give_back = take_away(folder)
        daemon.restart()
        daemon.cli("scale", "web", 2, expect=0)
        check_equal(daemon.upgrade(["/bin/false"]).status, 3, "exit status of an upgrade that fails")
        check_equal(daemon.current(), 2, "current generation")
        # Of generation 3 nothing is left but its number.
        kill(daemon)
        daemon.start()
        check_equal(daemon.service()["serving"]["wanted"], 2, "instances wanted")
        daemon.restart()
        check_equal(daemon.current(), 4, "the number after one that failed")
        text = daemon.process.text()
        for words in ("state.json lacks what was to be written last", "what it should hold is in /run"):
            check_equal(text.count(words), 1, f"how often it says {words!r}: {text}")
        kill(daemon)
        give_back()
        daemon.start()
        daemon.restart()
        check_equal(daemon.current(), 5, "the number after space has come")
        spare = pathlib.Path("/run") / daemon.name / "state.json"
        check(not spare.exists(), "the spare is removed")
        kept = (folder / "state.json").read_text()
        check('"generation": 5' in kept and '"instances": 2' in kept, kept)
        check_unharmed(hammer)
        daemon.stop()


def test_no_space_full_disk_refuses_nothing(t):
    go_without(t, fill)


def test_no_space_read_only_disk_refuses_nothing(t):
    go_without(t, cover)


def test_no_space_is_told_when_it_is_over(t):
    daemon = t.daemon(service(example(t)), start=False)
    with small_disk(daemon) as folder:
        daemon.start()
        give_back = fill(folder)
        daemon.restart()
        give_back()
        # Without anything that happens.
        wait_until(lambda: "state.json: can be written again" in daemon.process.text(),
                   "it is written by itself")
        check('"generation": 2' in (folder / "state.json").read_text(), "the number is written")
        daemon.stop()


# ---- descriptors -------------------------------------------------------------------------------

@contextlib.contextmanager
def no_descriptors(pid):
    """The process can open nothing more."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def starve(t, pid, daemon, hammer):
    """The process has no descriptors for a while; what serves goes on, and nothing spins."""
    generation = daemon.current()
    since = daemon.last_seq()
    # A connection that wants to be taken meanwhile.
    with no_descriptors(pid):
        used = cpu_s(pid)
        asking = t.spawn("asking", t.program("baton"), "-n", daemon.name, "status")
        began = time.monotonic()
        wait_until(lambda: time.monotonic() > began + SHORT_S, "a while")
        spent, passed = cpu_s(pid) - used, time.monotonic() - began
        check(spent < passed / 4, f"spins: {spent} s of {passed}")
    asking.wait()
    check_equal(daemon.current(), generation, "the generation that serves")
    found = [each for each in daemon.events(None, "web", since)
             if each["event"] in ("unhealthy", "lost", "degraded", "restart")]
    check_equal(found, [], "what it was held against")
    daemon.restart()
    check(hammer.report()["lost"] == 0, "lost connections")


def test_no_descriptors_harm_nothing(t):
    config = service(example(t), health={"interval": "20ms", "unhealthy": 2})
    daemon = t.daemon(config)
    hammer = gentle(t)
    starve(t, daemon.pid, daemon, hammer)
    agents = [pid for pid in descendants(daemon.pid)
              if pathlib.Path(f"/proc/{pid}/comm").read_text().startswith("baton-agent")]
    check_equal(len(agents), 1, "agents")
    starve(t, agents[0], daemon, hammer)
    check_unharmed(hammer)
