# SPDX-License-Identifier: BSD-2-Clause
"""What hooks, gates and checks by a command start does not outlive them, in whatever session it is."""

import os
import signal

from harness import alive, check, check_equal, get, own_cgroup, remove_cgroup, wait_until
from services import example, generation_of, reconfigure, service
from test_forbidden import daemon_behind, without_cgroup2

# Leaves a process in a session of its own behind, says who it is, then goes on as it is told.
LEAVER = """\
#!/bin/sh
setsid sh -c 'echo $$ >"$0.new"; exec sleep 1000' "$1.$$" &
while ! [ -s "$1.$$.new" ]; do :; done
mv "$1.$$.new" "$1.$$"
shift
exec "$@"
"""


class Leaver:
    """A command that leaves a process behind, and the processes that its calls have left."""

    def __init__(self, t, name):
        self.folder = t.tmp / name
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self.program = t.file("leaver", LEAVER, 0o755)

    def command(self, *then):
        return [self.program, f"{self.folder}/pid", *(then or ("true",))]

    def left(self):
        return [int(path.read_text()) for path in self.folder.iterdir() if path.suffix != ".new"]

    def await_left(self):
        return wait_until(self.left, f"{self.folder.name} was called")


def leaves(daemon):
    return [path.name for path in (own_cgroup() / daemon.name).glob("command.*")]


def check_nothing_is_left(daemon, *leavers):
    for each in leavers:
        wait_until(lambda: not any(alive(pid) for pid in each.await_left()),
                   f"what {each.folder.name} has left is gone")
    wait_until(lambda: not leaves(daemon), "the leaves are gone")


def test_what_is_left_in_the_background_does_not_outlive_its_command(t):
    hook, gate, asked = (Leaver(t, name) for name in ("hook", "gate", "check"))
    config = service(example(t), hooks={"before_start": hook.command()},
                     gates=[{"name": "smoke", "at": "shift", "exec": gate.command()}])
    config["health"] = {"exec": asked.command(), "interval": "50ms", "start_timeout": "60s"}
    daemon = t.daemon(config)
    daemon.restart()
    check_equal(generation_of(get().body), 2, "generation that answers")
    daemon.cli("stop", "web", expect=0)  # so that nothing is asked any more
    check_nothing_is_left(daemon, hook, gate, asked)


def test_deadline_ends_children_in_new_sessions(t):
    hook = Leaver(t, "hook")
    daemon = t.daemon(service(example(t)))
    reconfigure(daemon, hooks={"before_start": hook.command("sleep", "1000"), "timeout": "4s"})
    result = daemon.restart(expect=3)
    check("before_start did not end within 4s" in result.text, result.text)
    check_nothing_is_left(daemon, hook)
    check_equal(generation_of(get().body), 1, "generation that answers")


def check_next_daemon_ends_them(t, number):
    hook = Leaver(t, "hook")
    daemon = t.daemon(service(example(t), hooks={"after_shift": hook.command("sleep", "1000"),
                                                 "timeout": "10m"}))
    hook.await_left()
    check_equal(len(leaves(daemon)), 1, "leaves while it runs")
    daemon.process.popen.send_signal(number)
    daemon.process.wait()
    daemon.start()
    check_nothing_is_left(daemon, hook)
    check_equal(generation_of(get().body), 1, "generation that answers")


def test_killed_batond_has_what_its_hooks_have_left_ended_by_the_next(t):
    check_next_daemon_ends_them(t, signal.SIGKILL)


def test_batond_that_leaves_takes_its_hooks_with_it(t):
    check_next_daemon_ends_them(t, signal.SIGUSR2)


def test_without_cgroups_the_process_group_is_ended_and_that_is_said(t):
    hook = Leaver(t, "hook")
    daemon = daemon_behind(t, without_cgroup2(t), service(example(t), user="nobody"))
    check("instances, hooks, gates and checks get no cgroups: " in daemon.process.text(),
          daemon.process.text())
    group = hook.folder / "group.new"
    reconfigure(daemon, hooks={"before_start": hook.command(
        "/bin/sh", "-c", f"sleep 1000 & echo $! >{group}; exit 0")})
    daemon.restart()
    wait_until(lambda: not alive(int(group.read_text())), "what is in its process group is gone")
    (pid,) = hook.await_left()
    check(alive(pid), "a process in another session was killed")
    os.kill(pid, signal.SIGKILL)


# ---- a cgroup that was killed before -------------------------------------------------------------

JOIN = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'


def test_batond_in_a_cgroup_that_was_killed_before_starts_servers_and_commands(t):
    """
    What a unit's cgroup keeps when systemd has killed all of it. Linux 6.18 kills whoever begins in
    a cgroup that was not killed as often as that of its parent.
    """
    done = t.tmp / "done"
    config = service(example(t), hooks={"before_start": ["touch", str(done)]})
    daemon = t.daemon(config, start=False)
    folder = own_cgroup() / f"{daemon.name}-killed"
    folder.mkdir()
    (folder / "cgroup.kill").write_text("1")
    try:
        daemon.start("/bin/sh", "-c", JOIN, "sh", folder, *daemon.command())
        check(done.exists(), "its hook has run")
        done.unlink()
        daemon.restart()
        check(done.exists(), "its hook has run again")
        check_equal(generation_of(get().body), 2, "who answers")
        check("cgroup_reason" not in daemon.service(), f"cgroups: {daemon.service()}")
        daemon.stop()
    finally:
        daemon.end()
        remove_cgroup(folder)
