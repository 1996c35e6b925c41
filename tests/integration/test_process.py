# SPDX-License-Identifier: BSD-2-Clause
"""What a server is given besides its sockets: read back from /proc while it serves."""

import grp
import os
import pathlib
import pwd
import resource
import signal

from harness import check, check_equal, get, own_cgroup, wait_until
from processes import (capabilities_of, directory_of, ids_of, limit_of, nice_of, oom_score_of,
                       status_of)
from services import LISTEN, example, generation_of, service

NOBODY = pwd.getpwnam("nobody")
GROUPS = ("audio", "video")
GIDS = {grp.getgrnam(name).gr_gid for name in GROUPS}
NET_BIND_SERVICE = 1 << 10
FILES_SOFT = 777  # what batond is started with, where a test is about that
LOAD = ("--short", 4, "--keepalive", 4, "--keepalive-pause", "10ms", "--timeout", "30s",
        "--expect-status", 200)


def reload(daemon, **changes):
    """Change keys of the service, read the file again, and wait for the rollout's last event."""
    since = daemon.last_seq()
    daemon.config["services"]["web"].update(changes)
    daemon.write_config()
    daemon.cli("reload", expect=0)
    return daemon.wait_end(since)


def everything(t):
    """A service that says something about all of it."""
    return service(
        example(t), user="nobody", supplementary_groups=list(GROUPS),
        limits={"nofile": "1000:2000", "core": 0, "sigpending": "100:200"}, umask="0027", nice=5,
        no_new_privileges=True, capabilities=["CAP_NET_BIND_SERVICE"], oom_score_adj=300,
        directory=str(t.tmp))


def check_everything(t, pid):
    check_equal(ids_of(pid), ({NOBODY.pw_uid}, {NOBODY.pw_gid}, {NOBODY.pw_gid} | GIDS), "ids")
    check_equal(limit_of(pid, "Max open files"), ("1000", "2000"), "nofile")
    check_equal(limit_of(pid, "Max core file size"), ("0", "0"), "core")
    check_equal(limit_of(pid, "Max pending signals"), ("100", "200"), "sigpending")
    status = status_of(pid)
    check_equal(status["Umask"], "0027", "umask")
    check_equal(status["NoNewPrivs"], "1", "no_new_privileges")
    check_equal(capabilities_of(pid),
                dict.fromkeys(("Inh", "Prm", "Eff", "Bnd", "Amb"), NET_BIND_SERVICE),
                "capabilities")
    check_equal(nice_of(pid), 5, "nice")
    check_equal(oom_score_of(pid), 300, "oom_score_adj")
    check_equal(directory_of(pid), str(t.tmp), "directory")


def test_server_is_given_all_that_is_configured(t):
    daemon = t.daemon(everything(t))
    check_everything(t, daemon.server_pid())
    hammer = t.hammer(*LOAD)
    daemon.restart()
    check_everything(t, daemon.server_pid())
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_server_that_is_started_again_after_a_crash_is_given_the_same(t):
    daemon = t.daemon(everything(t))
    before = daemon.server_pid()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: daemon.server_pid() not in (before, 0, None), "another server")
    wait_until(lambda: generation_of(get().body), "it serves")
    check_everything(t, daemon.server_pid())


def test_agent_keeps_what_it_needs_whatever_its_server_is_given(t):
    daemon = t.daemon(everything(t))
    agent = daemon.generation()["instances"][0]["agent_pid"]
    check_equal(ids_of(agent)[0], {0}, "uids of the agent")
    check_equal(nice_of(agent), nice_of(daemon.pid), "nice of the agent")
    check_equal(oom_score_of(agent), oom_score_of(daemon.pid), "oom_score_adj of the agent")


def test_root_keeps_only_the_capabilities_that_are_listed(t):
    daemon = t.daemon(service(example(t), capabilities=["NET_BIND_SERVICE", "cap_kill"]))
    kept = NET_BIND_SERVICE | 1 << 5
    found = capabilities_of(daemon.server_pid())
    check_equal({name: found[name] for name in ("Prm", "Eff", "Bnd")},
                dict.fromkeys(("Prm", "Eff", "Bnd"), kept), "capabilities")
    check_equal(ids_of(daemon.server_pid())[0], {0}, "uids")


def test_empty_list_of_capabilities_keeps_none(t):
    daemon = t.daemon(service(example(t), capabilities=[]))
    check_equal(set(capabilities_of(daemon.server_pid()).values()), {0}, "capabilities")


def test_user_without_capabilities_has_none_and_may_be_given_groups_only(t):
    daemon = t.daemon(service(example(t), user="nobody", group="audio"))
    found = capabilities_of(daemon.server_pid())
    check_equal((found["Prm"], found["Eff"], found["Amb"]), (0, 0, 0), "capabilities")
    check_equal(ids_of(daemon.server_pid())[1], {grp.getgrnam("audio").gr_gid}, "gids")


# ---- what nothing is said about ------------------------------------------------------------------

def test_server_without_limits_has_those_that_batond_was_started_with(t):
    daemon = t.daemon(service(example(t)), start=False)
    daemon.prefix = ["/bin/sh", "-c", f'ulimit -S -n {FILES_SOFT}; umask 077; exec "$@"', "sh"]
    daemon.start()
    check(int(limit_of(daemon.pid, "Max open files")[0]) > FILES_SOFT, "batond has raised its own")
    pid = daemon.server_pid()
    check_equal(limit_of(pid, "Max open files"),
                (str(FILES_SOFT), limit_of(daemon.pid, "Max open files")[1]), "nofile")
    check_equal(status_of(pid)["Umask"], "0022", "umask")
    check_equal(status_of(pid)["NoNewPrivs"], "0", "no_new_privileges")
    check_equal(nice_of(pid), nice_of(daemon.pid), "nice")
    check_equal(oom_score_of(pid), oom_score_of(daemon.pid), "oom_score_adj")


def test_server_of_baton_run_has_the_limits_of_the_shell_that_started_it(t):
    daemon = t.daemon(None, start=False)
    daemon.process = t.spawn(
        daemon.name, "/bin/sh", "-c", f'ulimit -S -n {FILES_SOFT}; umask 077; exec "$@"', "sh",
        t.program("baton"), "-n", daemon.name, "run", "--listen", LISTEN, "--service", "web",
        "--health", "/healthz", "--", *example(t))
    daemon.wait_state("running")
    for _ in range(2):
        pid = daemon.server_pid()
        check_equal(limit_of(pid, "Max open files")[0], str(FILES_SOFT), "nofile")
        check_equal(status_of(pid)["Umask"], "0022", "umask")
        daemon.restart()


# ---- what cannot be had --------------------------------------------------------------------------

def check_old_serves(daemon, hammer, pid):
    """The start of a generation has failed: nothing of that is to be noticed."""
    check_equal(daemon.server_pid(), pid, "the server")
    check_equal(daemon.state(), "running", "state")
    check_equal(len(daemon.service()["generations"]), 1, "generations left")
    check_equal(generation_of(get().body), 1, "generation that answers")
    lost = hammer.stop()
    check_equal(lost["lost"], 0, f"lost: {lost}")


def test_limit_that_cannot_be_set_is_named_and_the_old_one_serves_on(t):
    """The hard limit of batond is lowered while it runs, and it may not raise it again."""
    daemon = t.daemon(service(example(t), limits={"core": "0:4096"}), start=False)
    daemon.prefix = ["/usr/bin/setpriv", "--bounding-set=-sys_resource",
                     "--inh-caps=-sys_resource"]
    daemon.start()
    hammer = t.hammer(*LOAD)
    pid = daemon.server_pid()
    check_equal(limit_of(pid, "Max core file size"), ("0", "4096"), "core")
    resource.prlimit(daemon.pid, resource.RLIMIT_CORE, (0, 0))
    result = daemon.restart(expect=3)
    check("limit core 0:4096: Operation not permitted" in result.text, f"said: {result}")
    check_equal(daemon.service()["last_rollout"]["step"], "start", "step")
    check_old_serves(daemon, hammer, pid)


def test_program_that_the_user_may_not_execute_is_named_and_the_old_one_serves_on(t):
    command = [t.copy("examples/server", "closed"), *example(t)[1:]]
    daemon = t.daemon(service(command, user="nobody"))
    hammer = t.hammer(*LOAD)
    pid = daemon.server_pid()
    os.chmod(command[0], 0o744)
    result = daemon.restart(expect=3)
    check(f"exec {command[0]}: Permission denied" in result.text, f"said: {result}")
    check_old_serves(daemon, hammer, pid)


def controllers():
    """Those of the topmost cgroup above our own."""
    folder, found = own_cgroup(), set()
    while (folder / "cgroup.controllers").exists():
        found = set((folder / "cgroup.controllers").read_text().split())
        folder = folder.parent
    return found


def test_resources_are_set_or_the_controller_that_is_missing_is_named(t):
    daemon = t.daemon(service(example(t)))
    hammer = t.hammer(*LOAD)
    pid = daemon.server_pid()
    end = reload(daemon, resources={"memory_max": "512M", "pids_max": 200})
    if end["event"] == "done" and {"memory", "pids"} <= controllers():
        folder = daemon.cgroup(2)
        check_equal((folder / "memory.max").read_text().strip(), str(512 << 20), "memory.max")
        check_equal((folder / "pids.max").read_text().strip(), "200", "pids.max")
        check_equal(hammer.stop()["lost"], 0, "lost")
        return
    result = daemon.restart(expect=3)
    for expected in ("resources.", "controller"):
        check(expected in end["reason"], f"{expected!r} is not in {end}")
        check(expected in result.text, f"{expected!r} is not in {result}")
    check_old_serves(daemon, hammer, pid)


def test_resources_at_the_first_start_fail_it_or_are_set(t):
    daemon = t.daemon(service(example(t), resources={"pids_max": 200}), start=False)
    daemon.start_unready()
    wait_until(lambda: daemon.state() in ("running", "failed"), "the start ends")
    if daemon.state() == "running":
        check_equal((daemon.cgroup(1) / "pids.max").read_text().strip(), "200", "pids.max")
        return
    check("pids" not in controllers(), f"the controller is there: {daemon.service()}")
    check("resources.pids_max" in daemon.service()["reason"], f"reason: {daemon.service()}")


# ---- a reload ------------------------------------------------------------------------------------

def test_reload_that_changes_a_limit_rolls_and_one_that_changes_nothing_does_not(t):
    daemon = t.daemon(service(example(t), limits={"nofile": 1000}))
    hammer = t.hammer(*LOAD)
    for number, limits, name, expected in (
            (2, {"nofile": "1100:2000"}, "Max open files", ("1100", "2000")),
            (3, {"nofile": "1100:2000", "core": 0}, "Max core file size", ("0", "0"))):
        check_equal(reload(daemon, limits=limits)["event"], "done", "end")
        check_equal(generation_of(get().body), number, "generation that answers")
        check_equal(limit_of(daemon.server_pid(), name), expected, name)
    pid = daemon.server_pid()
    daemon.cli("reload", expect=0)
    check_equal((daemon.server_pid(), daemon.current(), daemon.state()), (pid, 3, "running"),
                "what serves")
    daemon.cli("rollback", "web", expect=0)
    check_equal(limit_of(daemon.server_pid(), "Max open files"), ("1100", "2000"), "nofile")
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_reload_of_each_setting_of_the_process_rolls(t):
    changes = {"umask": "0077", "nice": 7, "no_new_privileges": True, "oom_score_adj": 400,
               "capabilities": [], "directory": str(t.tmp), "stdout": str(t.tmp / "out")}
    daemon = t.daemon(service(example(t)))
    for number, (key, value) in enumerate(changes.items(), 2):
        check_equal(reload(daemon, **{key: value})["event"], "done", f"end for {key}")
        check_equal(daemon.current(), number, f"generation after {key} has changed")
    pid = daemon.server_pid()
    status = status_of(pid)
    check_equal((status["Umask"], status["NoNewPrivs"], nice_of(pid), oom_score_of(pid)),
                ("0077", "1", 7, 400), "umask, no_new_privileges, nice, oom_score_adj")
    check(pathlib.Path(t.tmp / "out").exists(), "the file of stdout is not there")


def test_reload_with_a_limit_above_the_hard_one_is_refused_with_its_path(t):
    daemon = t.daemon(service(example(t)))
    daemon.config["services"]["web"]["limits"] = {"nofile": "2000:1000"}
    daemon.write_config()
    result = daemon.cli("reload")
    check(result.status != 0, f"exit status: {result}")
    check("services.web.limits.nofile" in result.text, f"said: {result}")
    check_equal(daemon.current(), 1, "generation")


def test_server_whose_cgroup_somebody_kills_is_started_again(t):
    """Linux 6.18 kills whoever begins in a cgroup that was killed, if its parent is elsewhere."""
    daemon = t.daemon(service(example(t)))
    for _ in range(2):
        old = daemon.server_pid()
        (daemon.cgroup(1) / "cgroup.kill").write_text("1")
        wait_until(lambda pid=old: daemon.server_pid() not in (0, pid), "it runs again")
        check_equal(generation_of(get().body), 1, "who answers")
    daemon.restart()
    check_equal(generation_of(get().body), 2, "who answers")
