# SPDX-License-Identifier: BSD-2-Clause
"""Releases: what an upgrade finds, what it changes, what is kept."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess

from harness import bodies, check, check_equal, get, wait_until
from services import example, generation_of, python, service
from swaps import check_unharmed, gentle


def release(daemon):
    return daemon.generation()["release"]


def how(port=8080):
    """How server.py says that it was started."""
    return json.loads(get("/how", port).body)


def restart_daemon(daemon):
    """A clean stop, and another one on the same state."""
    daemon.stop()
    daemon.start()


def kill_daemon(daemon):
    daemon.process.popen.kill()
    daemon.process.popen.wait()


# ---- the same ------------------------------------------------------------------------------------

def test_upgrade_to_the_same_release_says_so_and_does_nothing(t):
    daemon = t.daemon(service(example(t)))
    pid, since = daemon.server_pid(), daemon.last_seq()
    for result in (daemon.cli("upgrade", "web", expect=0), daemon.upgrade(example(t), expect=0)):
        for expected in ("generation 1", "already", release(daemon)["digest"]):
            check(expected in result.text, f"{expected!r} is not in {result}")
    answer = daemon.cli("upgrade", "web", "--json", expect=0).json()
    check_equal((answer["unchanged"], answer["service"]), (True, "web"), f"{answer}")
    check_equal(daemon.api("/v1/services/web/upgrade", "POST")[0], 200, "status of the API")
    check_equal((daemon.server_pid(), daemon.events(since=since)), (pid, []), "pid and events")


def test_upgrade_with_force_rolls_the_same_release(t):
    daemon = t.daemon(service(example(t)))
    hammer = gentle(t)
    daemon.cli("upgrade", "web", "--force", expect=0)
    daemon.upgrade(example(t), "--force", expect=0)
    check_equal({generation_of(body) for body in bodies(20)}, {3}, "who answers")
    check_unharmed(hammer)


def test_upgrade_to_the_same_release_after_an_upgrade_and_a_rollback(t):
    daemon = t.daemon(service(example(t)))
    other = [t.copy("examples/server", "server-2"), *example(t)[1:]]
    daemon.upgrade(other, expect=0)
    check("generation 2" in daemon.upgrade(other, expect=0).text, "the upgrade is not known")
    check("generation 2" in daemon.cli("upgrade", "web", expect=0).text, "without a command")
    daemon.cli("rollback", "web", expect=0)
    check("generation 3" in daemon.cli("upgrade", "web", expect=0).text, "after the rollback")
    check_equal(daemon.current(), 3, "generation")


def test_upgrade_to_the_same_release_is_known_after_a_takeover(t):
    daemon = t.daemon(service(example(t), environment={"COLOUR": "blue"}))
    kill_daemon(daemon)
    daemon.start()
    check("generation 1" in daemon.cli("upgrade", "web", expect=0).text, "it is not known")
    check_equal(daemon.current(), 1, "generation")


# ---- another -------------------------------------------------------------------------------------

def test_upgrade_finds_another_content_under_the_same_path(t):
    """A script whose text changes, and a program that is built anew."""
    script = t.tmp / "script"

    def write(colour):
        text = f'#!/bin/sh\nexport COLOUR={colour}\nexec "$@"\n'
        t.file("script.new", text, 0o755)
        (t.tmp / "script.new").rename(script)
    write("blue")
    daemon = t.daemon(service([script, *python(t)]))
    hammer = gentle(t)
    before = release(daemon)
    check(before["digest"].startswith("sha256:"), f"{before}")
    check_equal(how()["environment"]["COLOUR"], "blue", "colour")
    daemon.cli("upgrade", "web", expect=0)
    check_equal(daemon.current(), 1, "generation")
    write("green")
    daemon.cli("upgrade", "web", expect=0)
    check_equal((daemon.current(), how()["environment"]["COLOUR"]), (2, "green"), "what runs")
    check(release(daemon)["digest"] != before["digest"], "the digest is the same")
    check_unharmed(hammer)


def test_upgrade_of_a_script_that_is_edited_in_place_keeping_its_size(t):
    script = pathlib.Path(t.file("script", '#!/bin/sh\nexport COLOUR=blue\nexec "$@"\n', 0o755))
    daemon = t.daemon(service([script, *python(t)]))
    times = script.stat()
    script.write_text('#!/bin/sh\nexport COLOUR=pink\nexec "$@"\n')
    os.utime(script, ns=(times.st_atime_ns, times.st_mtime_ns))
    daemon.cli("upgrade", "web", expect=0)
    check_equal((daemon.current(), how()["environment"]["COLOUR"]), (2, "pink"), "what runs")


def test_upgrade_to_another_environment_survives_restarts_and_daemons(t):
    daemon = t.daemon(service(python(t), environment={"COLOUR": "blue", "SHAPE": "round"}))
    hammer = gentle(t)

    def environment():
        found = how()["environment"]
        return tuple(found.get(name) for name in ("COLOUR", "SHAPE", "SIZE"))
    daemon.cli("upgrade", "web", "--env", "COLOUR=green", "--env", "SIZE=a b=c", expect=0)
    expected = ("green", "round", "a b=c")
    check_equal((environment(), daemon.current()), (expected, 2), "after the upgrade")
    daemon.cli("upgrade", "web", "--env", "COLOUR=green", "--env", "SIZE=a b=c", expect=0)
    check_equal(daemon.current(), 2, "the same once more")
    daemon.restart()
    check_equal(environment(), expected, "after a restart")
    kill_daemon(daemon)
    daemon.start()
    daemon.restart()
    check_equal(environment(), expected, "after a takeover and a restart")
    daemon.cli("upgrade", "web", "--env", "SIZE=", "--env", "SHAPE=flat", expect=0)
    check_equal(environment(), ("green", "flat", None), "another upgrade, which takes one away")
    daemon.cli("rollback", "web", expect=0)
    check_equal(environment(), expected, "after a rollback")
    check_unharmed(hammer)
    daemon.cli("stop", "web", expect=0)
    daemon.cli("start", "web", expect=0)
    check_equal(environment(), expected, "after a stop and a start")
    restart_daemon(daemon)
    check_equal(environment(), expected, "after a stop and a start of batond")
    differs = daemon.service()["differs"]
    check_equal(differs, {"environment": ["COLOUR", "SIZE"]}, "what differs from the file")
    check("baton restart web --reset" in daemon.cli("status", "web").text, "it is not said")
    daemon.cli("upgrade", "web", "--unset", "SIZE", expect=0)
    check_equal(environment(), ("green", "round", None), "after --unset")
    daemon.cli("restart", "web", "--reset", expect=0)
    check_equal(environment(), ("blue", "round", None), "as it is configured")
    check_equal(daemon.service()["differs"], None, "what differs from the file")


def test_upgrade_with_a_bad_environment_is_refused(t):
    daemon = t.daemon(service(example(t)))
    since = daemon.last_seq()
    for word in ("COLOUR", "=blue", "LISTEN_FDS=3", "NOTIFY_SOCKET=x"):
        daemon.cli("upgrade", "web", "--env", word, expect=2)
    check_equal(daemon.events(since=since), [], "events")


def test_upgrade_to_another_program_survives_restarts_and_daemons(t):
    daemon = t.daemon(service(example(t)))
    other = [t.copy("examples/server", "server-2"), *example(t)[1:]]
    hammer = gentle(t)
    daemon.upgrade(other, expect=0)
    daemon.restart()
    check_equal(release(daemon)["executable"], other[0], "after a restart")
    kill_daemon(daemon)
    daemon.start()
    daemon.restart()
    check_equal(release(daemon)["executable"], other[0], "after a takeover and a restart")
    check_equal(daemon.service()["command"], other, "command in the status")
    check_unharmed(hammer)
    restart_daemon(daemon)
    check_equal(release(daemon)["executable"], other[0], "after a stop and a start of batond")
    check_equal(daemon.service()["differs"], {"command": example(t)}, "what differs")


# ---- back ----------------------------------------------------------------------------------------

def rollback_of(daemon):
    return daemon.service()["rollback"]


def test_rollback_goes_further_back_each_time_across_daemons(t):
    """Never to what was thrown out, whether batond is killed, stopped or goes on."""
    programs = [example(t)] + [[t.copy("examples/server", f"server-{k}"), *example(t)[1:]]
                               for k in (2, 3, 4)]
    daemon = t.daemon(service(programs[0]))
    hammer = gentle(t)
    check_equal(rollback_of(daemon), None, "before anything")
    for command in programs[1:]:
        daemon.upgrade(command, expect=0)
    check_equal(rollback_of(daemon)["command"], programs[2], "announced")
    kill_daemon(daemon)
    daemon.start()
    check_equal(rollback_of(daemon)["generation"], 3, "after a takeover")
    daemon.cli("rollback", "web", expect=0)
    check_equal(release(daemon)["command"], programs[2], "the first rollback")
    check_unharmed(hammer)
    restart_daemon(daemon)
    check_equal(release(daemon)["command"], programs[2], "after a stop and a start of batond")
    dry = daemon.cli("rollback", "web", "--dry-run", expect=0).text
    check("generation 2" in dry and programs[1][0] in dry and "ago" in dry, f"{dry}")
    check("generation 2" in daemon.cli("status", "web").text, "the status does not say it")
    check_equal(release(daemon)["command"], programs[2], "a dry run")
    daemon.cli("rollback", "web", expect=0)
    check_equal(release(daemon)["command"], programs[1], "the second")
    daemon.cli("rollback", "web", expect=0)
    check_equal(release(daemon)["command"], programs[0], "the third")
    refused = daemon.cli("rollback", "web", expect=1)
    check("no earlier release that has served well" in refused.text, f"{refused}")
    check_equal(release(daemon)["command"], programs[0], "the fourth")


def test_rollback_never_goes_to_what_crashed_in_its_bake(t):
    daemon = t.daemon(service(example(t), rollout={"bake": "30s"}))
    other = [t.copy("examples/server", "server-2"), *example(t)[1:]]
    daemon.cli("upgrade", "web", "--no-wait", "--", *other, expect=0)
    wait_until(lambda: (daemon.service()["rollout"] or {}).get("step") == "bake", "it bakes")
    pid = next(i["pid"] for g in daemon.service()["generations"] if g["generation"] == 2
               for i in g["instances"])
    os.kill(pid, 9)
    wait_until(lambda: daemon.service()["rollout"] is None, "it is rolled back")
    check_equal((daemon.current(), rollback_of(daemon)), (1, None), "what serves, the way back")
    daemon.cli("rollback", "web", expect=1)


def test_rollback_says_that_a_file_is_not_what_it_was(t):
    """A script that an interpreter runs, edited where it lies: a reload and a takeover know it."""
    script = t.tmp / "app.py"
    shutil.copy(python(t)[2], script)
    daemon = t.daemon(service([*python(t)[:2], script]))
    kill_daemon(daemon)
    daemon.start()
    check("already" in daemon.cli("upgrade", "web", expect=0).text, "not known after a takeover")
    os.utime(script)
    check("already" in daemon.cli("upgrade", "web", expect=0).text, "touched is not changed")
    with script.open("a") as file:
        file.write("# another one\n")
    text = daemon.cli("upgrade", "web", expect=0).text
    check(f"rollback would run what {script} is now, not what it was" in text, f"{text}")
    check_equal((daemon.current(), rollback_of(daemon)["changed"]), (2, str(script)), "status")
    dry = daemon.cli("rollback", "web", "--dry-run", expect=0).text
    check(f"it would run what {script} is now, not what it was" in dry, f"{dry}")
    text = daemon.cli("rollback", "web", expect=0).text
    check(f"rollback runs what {script} is now, not what it was" in text, f"{text}")
    daemon.cli("rollback", "web", expect=1)


def test_script_is_known_by_its_own_content_after_a_takeover(t):
    """Though it has changed, what runs is what it was; and an interpreter says nothing."""
    script = t.tmp / "script"

    def write(colour):
        script.write_text(f'#!/bin/sh\nexport COLOUR={colour}\nexec "$@"\n')
        script.chmod(0o755)
    write("blue")
    daemon = t.daemon(service([script, *python(t)]))
    digest = release(daemon)["digest"]
    check_equal(digest, f"sha256:{hashlib.sha256(script.read_bytes()).hexdigest()}", "digest")
    kill_daemon(daemon)
    write("pink")
    daemon.start()
    check_equal(release(daemon)["digest"], digest, "after a takeover")
    daemon.cli("upgrade", "web", expect=0)
    check_equal((daemon.current(), how()["environment"]["COLOUR"]), (2, "pink"), "what runs")
    write("blue")
    daemon.cli("rollback", "web", expect=0)
    check_equal((release(daemon)["digest"], how()["environment"]["COLOUR"]), (digest, "blue"),
                "after a rollback to what lies there again")


def test_rollback_to_what_is_gone_is_refused(t):
    daemon = t.daemon(service([t.copy("examples/server", "first"), *example(t)[1:]]))
    daemon.upgrade(example(t), expect=0)
    (t.tmp / "first").unlink()
    for option in ([], ["--dry-run"]):
        refused = daemon.cli("rollback", "web", *option, expect=3)
        check("generation 1 cannot be started any more" in refused.text, f"{refused}")
    check_equal(daemon.current(), 2, "generation")


def test_reload_says_what_it_overrides(t):
    daemon = t.daemon(service(example(t)))
    daemon.upgrade([t.copy("examples/server", "server-2"), *example(t)[1:]], "--env", "A=b",
                   expect=0)
    daemon.config["services"]["web"]["command"][0] = t.copy("examples/server", "server-3")
    daemon.write_config()
    check("server-2" in daemon.cli("reload", expect=0).text, "reload does not say it")
    wait_until(lambda: daemon.current() == 3 and not daemon.service()["rollout"], "it is replaced")
    told = [e["message"] for e in daemon.events(since=0) if e["event"] == "overridden"]
    check(len(told) == 1 and "server-2" in told[0] and told[0].endswith("environment: A"), f"{told}")
    check_equal(daemon.service()["differs"], None, "what differs from the file")


def test_upgrade_to_a_program_that_is_not_there_is_refused(t):
    daemon = t.daemon(service(example(t)))
    pid, since = daemon.server_pid(), daemon.last_seq()
    missing = str(t.tmp / "missing")
    text = t.file("text", "no program")
    for path in (missing, text, str(t.tmp)):
        result = daemon.upgrade([path], expect=3)
        check(path in result.text, f"the path is not named: {result}")
    check_equal((daemon.server_pid(), daemon.events(since=since)), (pid, []), "pid and events")


# ---- status --------------------------------------------------------------------------------------

def build_id_of(path):
    notes = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True)
    found = [line.split()[-1] for line in notes.stdout.splitlines() if "Build ID" in line]
    return found[0] if found else None


def test_status_shows_what_was_found(t):
    link = t.tmp / "current"
    (t.tmp / "release").mkdir()
    program = t.tmp / "release" / "server"
    shutil.copy(t.program("examples/server"), program)
    link.symlink_to("release")
    command = [str(link / "server"), *example(t)[1:]]
    daemon = t.daemon(service(command, directory=str(link)))
    found, stat = release(daemon), program.stat()
    check_equal((found["command"], found["executable"], found["directory"]),
                (command, str(program), str(t.tmp / "release")), "command, executable, directory")
    check_equal((found["inode"], found["size"]), (stat.st_ino, stat.st_size), "inode, size")
    check(str(found["mtime"]).startswith("20") and found["mtime"].endswith("Z"), f"{found}")
    if shutil.which("readelf") and build_id_of(program):
        check_equal(found["digest"], f"build-id:{build_id_of(program)}", "digest")
    text = daemon.cli("status", "web", expect=0).out
    check(str(program) in text, f"the executable is not shown: {text}")
    kill_daemon(daemon)
    daemon.start()
    check_equal({key: release(daemon)[key] for key in ("executable", "digest", "inode", "size")},
                {key: found[key] for key in ("executable", "digest", "inode", "size")},
                "after a takeover")


# ---- looked up anew ------------------------------------------------------------------------------

def test_symlinked_directory_is_looked_up_anew_at_each_rollout(t):
    for number in (1, 2, 3):
        (t.tmp / f"release-{number}").mkdir()
    link = t.tmp / "current"

    def point(number):
        (t.tmp / "new").symlink_to(f"release-{number}")
        (t.tmp / "new").rename(link)
    point(1)
    daemon = t.daemon(service(python(t), directory=str(link)))
    hammer = gentle(t)
    check_equal(how()["directory"], str(t.tmp / "release-1"), "directory")
    point(2)
    check_equal(how()["directory"], str(t.tmp / "release-1"), "directory before a restart")
    daemon.restart()
    check_equal((how()["directory"], release(daemon)["directory"]), (str(t.tmp / "release-2"),) * 2,
                "directory after a restart")
    point(3)
    daemon.cli("upgrade", "web", expect=0)
    check_equal((how()["directory"], daemon.current()), (str(t.tmp / "release-3"), 3),
                "directory and generation after an upgrade")
    daemon.cli("rollback", "web", expect=0)
    check_equal(how()["directory"], str(t.tmp / "release-2"), "directory after a rollback")
    check_unharmed(hammer)


def test_instance_that_is_replaced_is_of_the_release_that_runs(t):
    """Not of what the link leads to by now: a generation is one release."""
    for number in (1, 2):
        (t.tmp / f"release-{number}").mkdir()
        shutil.copy(t.program("examples/server"), t.tmp / f"release-{number}" / "server")
    link = t.tmp / "current"
    link.symlink_to("release-1")
    daemon = t.daemon(service([str(link / "server"), *example(t)[1:]]))
    hammer = gentle(t)
    link.unlink()
    link.symlink_to("release-2")
    daemon.cli("scale", "web", 3, expect=0)
    wait_until(lambda: daemon.state() == "running", "it is running")
    running = {os.readlink(f"/proc/{each['pid']}/exe")
               for each in daemon.generation()["instances"]}
    check_equal(running, {str(t.tmp / "release-1" / "server")}, "what runs")
    check_unharmed(hammer)
