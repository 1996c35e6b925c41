# SPDX-License-Identifier: BSD-2-Clause
"""Watched paths: what they lead to is replaced, and the service rolled: once, when it is whole."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal

from harness import ApiConnection, bodies, check, check_equal, get, wait_stopped, wait_until
from services import example, generation_of, service, soon, unready
from swaps import check_unharmed, gentle


def releases(t, *numbers):
    """Folders release-N with a server in each, whole from the first moment on."""
    for number in numbers:
        folder = t.tmp / f"new-{number}"
        folder.mkdir()
        shutil.copy(t.program("examples/server"), folder / "server")
        folder.chmod(0o755)
        folder.rename(t.tmp / f"release-{number}")


@contextlib.contextmanager
def at_once(daemon):
    """The daemon stands still meanwhile: then it sees all that has happened at the same time."""
    daemon.process.popen.send_signal(signal.SIGSTOP)
    try:
        wait_stopped([daemon.pid])
        yield
    finally:
        daemon.process.popen.send_signal(signal.SIGCONT)


def point(t, number, name="current"):
    """The link, to another release, in one step."""
    link = t.tmp / f"{name}.new"
    link.symlink_to(f"release-{number}")
    link.rename(t.tmp / name)


def watched(t, web):
    """A daemon with the service, and another one that quiet() is told the time by."""
    program = t.copy("examples/server", "clock")
    return t.daemon(web=web, clock=service([program, *example(t)[1:]], watch=program,
                                           listen=["127.0.0.1:8099"]))


def quiet(t, daemon):
    """
    Wait for longer than things must be at rest before a change is told: until the other service,
    whose file is replaced now, has been rolled.
    """
    before = daemon.current("clock")
    replace(t, t.tmp / "clock")
    wait_until(lambda: daemon.current("clock") > before, "the other service is rolled")


def linked(t, **changes):
    """A service that runs what "current" leads to, and watches it."""
    releases(t, 1, 2, 3)
    point(t, 1)
    current = t.tmp / "current"
    return watched(t, service([current / "server", *example(t)[1:]], watch=[str(current)],
                              **changes))


def settled(daemon):
    now = daemon.service()
    return (now["state"] == "running" and not now["rollout"] and
            [each["state"] for each in now["generations"]] == ["current"])


def wait_rolled(daemon, generation):
    wait_until(lambda: settled(daemon) and daemon.current() == generation,
               f"generation {generation} serves")


def executable(daemon):
    return daemon.generation()["release"]["executable"]


# ---- a symlink -----------------------------------------------------------------------------------

def test_swapped_symlink_rolls_once_to_what_it_leads_to(t):
    daemon = linked(t)
    hammer = gentle(t)
    for number in (2, 3, 1):
        before, since = daemon.current(), daemon.last_seq()
        point(t, number)
        wait_rolled(daemon, before + 1)
        check_equal(executable(daemon), str(t.tmp / f"release-{number}" / "server"), "executable")
        changed = daemon.events("changed", since=since)
        check_equal(len(changed), 1, f"changes told: {changed}")
        check(str(t.tmp / "current") in changed[0]["message"], f"{changed}")
    check_equal({generation_of(body) for body in bodies(20)}, {4}, "who answers")
    check_equal(len(daemon.events("done")), 4, "rollouts")
    check_unharmed(hammer)


def test_symlink_swapped_several_times_at_once_rolls_once_to_the_last(t):
    daemon = linked(t)
    with at_once(daemon):
        for number in (2, 1, 3, 1, 2, 3):
            point(t, number)
    wait_rolled(daemon, 2)
    check_equal(executable(daemon), str(t.tmp / "release-3" / "server"), "executable")
    point(t, 2)
    wait_rolled(daemon, 3)
    check_equal(len(daemon.events("changed")), 2, "changes told")


def test_symlink_that_dangles_is_waited_for(t):
    daemon = linked(t)
    hammer = gentle(t)
    point(t, 4)
    quiet(t, daemon)
    check_equal(daemon.events("changed"), [], "told while it leads nowhere")
    releases(t, 4)
    wait_rolled(daemon, 2)
    check_equal(executable(daemon), str(t.tmp / "release-4" / "server"), "executable")
    check_equal(len(daemon.events("changed")), 1, "changes told")
    check_unharmed(hammer)


def test_symlink_that_leads_to_a_broken_release_leaves_the_old_one(t):
    daemon = linked(t)
    hammer = gentle(t)
    broken = t.tmp / "release-4" / "server"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho broken release >&2\nexit 7\n")
    broken.chmod(0o755)
    point(t, 4)
    end = daemon.wait_event("failed")
    check_equal(end["exit"], 3, f"{end}")
    check_equal({generation_of(body) for body in bodies(20)}, {1}, "who answers")
    point(t, 2)
    wait_until(lambda: settled(daemon) and "release-2" in executable(daemon), "the next one serves")
    check_unharmed(hammer)


# ---- a file --------------------------------------------------------------------------------------

def programmed(t, **changes):
    """A service that runs, and watches, one file."""
    program = pathlib.Path(t.copy("examples/server", "program"))
    web = service([program, *example(t)[1:]], watch=str(program), **changes)
    return watched(t, web), program


NUMBERS = itertools.count(1)


def replace(t, program, mode=0o755):
    """By a copy that is renamed over it; each has something else behind the program."""
    new = pathlib.Path(f"{program}.new")
    shutil.copy(t.program("examples/server"), new)
    with open(new, "ab") as file:
        file.write(b"%d" % next(NUMBERS))
    new.chmod(mode)
    new.rename(program)


def test_file_replaced_by_rename_rolls_once(t):
    daemon, program = programmed(t)
    hammer = gentle(t)
    before = daemon.generation()["release"]
    replace(t, program)
    wait_rolled(daemon, 2)
    after = daemon.generation()["release"]
    check(before["inode"] != after["inode"], "it runs the same file")
    check_equal(after["inode"], program.stat().st_ino, "inode")
    check(before["digest"] != after["digest"], f"digest: {after}")
    check_equal(len(daemon.events("changed")), 1, "changes told")
    check_unharmed(hammer)


def test_half_copied_file_is_not_rolled_before_it_is_whole_and_executable(t):
    daemon, program = programmed(t)
    hammer = gentle(t)
    content = pathlib.Path(t.program("examples/server")).read_bytes() + b"new"
    program.unlink()
    with open(program, "wb") as copy:
        copy.write(content[:len(content) // 2])
        copy.flush()
        quiet(t, daemon)
        check_equal(daemon.events("changed"), [], "told while it is being written")
        copy.write(content[len(content) // 2:])
    quiet(t, daemon)
    check_equal(daemon.events("changed"), [], "told before it is executable")
    program.chmod(0o755)
    wait_rolled(daemon, 2)
    check_equal(generation_of(get().body), 2, "who answers")
    check_equal(len(daemon.events("changed")), 1, "changes told")
    check_unharmed(hammer)


def test_file_written_in_place_rolls_when_it_is_closed(t):
    """A file of settings, whose inode stays."""
    settings = pathlib.Path(t.file("settings", "COLOUR=blue\n"))
    daemon = watched(t, service(example(t), watch=[str(settings)], environment_file=str(settings)))
    with open(settings, "w", encoding="ascii") as file:
        file.write("COLOUR=")
        file.flush()
        quiet(t, daemon)
        check_equal(daemon.events("changed"), [], "told while it is being written")
        file.write("green\n")
    wait_rolled(daemon, 2)
    with open(f"/proc/{daemon.server_pid()}/environ", "rb") as environ:
        check(b"COLOUR=green" in environ.read().split(b"\0"), "the environment is the old one")


def test_file_that_says_the_same_is_not_rolled(t):
    """Touched, written once more, replaced by an equal one; an edit that hides is another thing."""
    settings = pathlib.Path(t.file("settings", "COLOUR=blue\n"))
    daemon = watched(t, service(example(t), watch=[str(settings)], environment_file=str(settings)))
    times = (settings.stat().st_atime_ns, settings.stat().st_mtime_ns)
    os.utime(settings)
    quiet(t, daemon)
    settings.write_text("COLOUR=blue\n", encoding="ascii")
    quiet(t, daemon)
    new = pathlib.Path(t.file("settings.new", "COLOUR=blue\n"))
    new.rename(settings)
    quiet(t, daemon)
    check_equal((daemon.current(), daemon.events("changed")), (1, []), "generation, changes")
    settings.write_text("COLOUR=pink\n", encoding="ascii")
    os.utime(settings, ns=times)
    wait_rolled(daemon, 2)
    check_equal(len(daemon.events("changed")), 1, "changes told")


def test_certificate_and_key_make_one_rollout(t):
    """They come one after the other, each at rest for longer than the usual time before the next."""
    names = [t.file("tls.pem", "one"), t.file("tls.key", "one")]
    daemon = watched(t, service(example(t), watch={"paths": names, "settle": soon(8)}))
    hammer = gentle(t)
    for name in names:
        pathlib.Path(name).write_text("two", encoding="ascii")
        quiet(t, daemon)
        check_equal(daemon.events("changed"), [], f"told before {name} was at rest for so long")
    wait_rolled(daemon, 2)
    quiet(t, daemon)
    check_equal((daemon.current(), len(daemon.events("changed"))), (2, 1), "generation, changes")
    check_unharmed(hammer)


def test_several_paths_that_change_together_roll_once(t):
    names = [str(t.tmp / f"file-{k}") for k in range(4)]
    for name in names:
        t.file(os.path.basename(name), "one")
    daemon = watched(t, service(example(t), watch=names))
    with at_once(daemon):
        for name in names:
            replace(t, name, 0o644)
    wait_rolled(daemon, 2)
    quiet(t, daemon)
    check_equal((daemon.current(), len(daemon.events("changed"))), (2, 1), "generation, changes")


def test_what_happens_inside_a_watched_folder_does_not_count(t):
    daemon = linked(t)
    (t.tmp / "release-1" / "log").write_text("something")
    replace(t, t.tmp / "release-1" / "other")
    quiet(t, daemon)
    check_equal((daemon.current(), daemon.events("changed")), (1, []), "generation, changes")


# ---- when ----------------------------------------------------------------------------------------

def test_change_during_a_rollout_is_rolled_afterwards(t):
    daemon = linked(t)
    hammer = gentle(t)
    command, flag = unready(t)
    since = daemon.begin("upgrade", "--", t.tmp / "current" / "server", *command[1:])
    wait_until(lambda: daemon.service()["rollout"], "a rollout is under way")
    point(t, 2)
    daemon.wait_event("changed", since=since)
    flag.unlink()
    check_equal(daemon.wait_end(since)["event"], "done", "end of the first")
    wait_rolled(daemon, 3)
    check_equal(executable(daemon), str(t.tmp / "release-2" / "server"), "executable")
    check_unharmed(hammer)


def test_change_while_stopped_does_nothing_until_the_start(t):
    daemon = linked(t)
    daemon.cli("stop", "web", expect=0)
    since = daemon.last_seq()
    point(t, 2)
    quiet(t, daemon)
    check_equal((daemon.state(), daemon.events(since=since)), ("stopped", []), "state, events")
    daemon.cli("start", "web", expect=0)
    check_equal(executable(daemon), str(t.tmp / "release-2" / "server"), "executable")
    quiet(t, daemon)
    check_equal(daemon.current(), 2, "generation")
    point(t, 3)
    wait_rolled(daemon, 3)


def test_restart_by_hand_is_not_followed_by_another_for_the_same_change(t):
    """Both mean the same release: who deploys moves the link and orders, and it is rolled once."""
    daemon = linked(t)
    hammer = gentle(t)
    since = daemon.last_seq()
    with contextlib.closing(ApiConnection(daemon.api_socket)) as order:
        with at_once(daemon):
            point(t, 2)
            order.request("POST", "/v1/services/web/restart")
        answer = json.loads(order.getresponse().read())
    check_equal(answer.get("order"), "restart", f"answer: {answer}")
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    quiet(t, daemon)
    wait_until(lambda: settled(daemon), "nothing is under way")
    check_equal(executable(daemon), str(t.tmp / "release-2" / "server"), "executable")
    check_equal(daemon.current(), 2, "generation")
    check_unharmed(hammer)


def test_reload_adds_and_removes_watched_paths(t):
    daemon = linked(t)
    del daemon.config["services"]["web"]["watch"]
    daemon.write_config()
    daemon.cli("reload", expect=0)
    point(t, 2)
    quiet(t, daemon)
    check_equal((daemon.current(), daemon.events("changed")), (1, []), "generation, changes")
    daemon.config["services"]["web"]["watch"] = str(t.tmp / "current")
    daemon.write_config()
    daemon.cli("reload", expect=0)
    wait_until(lambda: settled(daemon), "the reload has been carried out")
    before = daemon.current()
    point(t, 3)
    wait_rolled(daemon, before + 1)
    check_equal(executable(daemon), str(t.tmp / "release-3" / "server"), "executable")
