# SPDX-License-Identifier: BSD-2-Clause
"""Hooks: when they are run, what they are told, and what becomes of a rollout meanwhile."""

import os
import pwd
import signal

from harness import alive, begin_post, check, check_equal, get, wait_until
from services import LISTEN, example, generation_of, reconfigure, service, soon
from test_overlap import finish

NOBODY = pwd.getpwnam("nobody")
POINTS = ("before_start", "after_shift", "after_drain", "on_rollback", "on_failure")
LOAD = ("--short", 4, "--keepalive", 4, "--keepalive-pause", "10ms", "--timeout", "30s",
        "--expect-status", 200)

# Whole at once, so that who waits for a call sees all of it. Named by when the process was begun
# (proc_pid_stat(5), field 22): two calls at the same time may end in either order.
RECORDER = """\
#!/bin/sh
name=$(printf %020d.%010d "$(cut -d" " -f22 "/proc/$$/stat")" $$).$2
{ env | grep '^BATON_\\|^COLOUR\\|^USER='; echo "UID=$(id -u)"; echo "PWD=$PWD"; } >"$1/.$$"
mv "$1/.$$" "$1/$name"
echo "$2 was here" >&2
"""


class Calls:
    """A folder in which each call of a hook leaves a file with what it was told."""

    def __init__(self, t):
        self.folder = t.tmp / "calls"
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self.program = t.file("recorder", RECORDER, 0o755)

    def hooks(self, *points, **changes):
        return {**{point: [self.program, str(self.folder), point] for point in points}, **changes}

    def all(self):
        """(point, what it was told) of each call, in their order."""
        found = []
        for path in sorted(path for path in self.folder.iterdir() if path.name[0] != "."):
            lines = path.read_text().splitlines()
            found.append((path.suffix[1:], dict(line.split("=", 1) for line in lines)))
        return found

    def points(self):
        return [point for point, _ in self.all()]

    def wait(self, *points):
        """Wait until these have been called, in this order and no others; returns the last."""
        wait_until(lambda: len(self.points()) >= len(points), f"{points} are called")
        check_equal(self.points(), list(points), "calls")
        return self.all()[-1][1]

    def forget(self):
        for path in self.folder.iterdir():
            path.unlink()


def check_told(told, **expected):
    for name, value in expected.items():
        name = f"BATON_{name.upper()}"
        check(name in told, f"{name} is not in {told}")
        check_equal(told[name], str(value), name)


def with_hooks(t, command, hooks, **changes):
    return t.daemon(service(command, hooks=hooks, **changes))


def hook_event(daemon, point, since):
    def found():
        return [each for each in daemon.events("hook", since=since) if each["hook"] == point]
    return wait_until(found, f"event of {point}")[0]


def stubborn(t, name="stubborn"):
    """A hook that never ends, with a child, both deaf to TERM; writes their pids to a file."""
    pids = t.tmp / f"{name}.pids"
    return pids, ["/bin/sh", "-c", "trap '' TERM; sleep 1000 & echo $! $$ >$1.new; mv $1.new $1; "
                                   "wait; wait; sleep 1000", "sh", str(pids)]


def pids_in(path):
    wait_until(path.exists, "the hook runs")
    return [int(pid) for pid in path.read_text().split()]


def wait_gone(pids):
    wait_until(lambda: not any(alive(pid) for pid in pids), f"{pids} are gone")


# ---- when, and what they are told ----------------------------------------------------------------

def test_hooks_of_a_rollout_are_called_in_order_and_told_about_it(t):
    calls = Calls(t)
    daemon = with_hooks(t, example(t), calls.hooks(*POINTS), user="nobody", directory=str(t.tmp),
                        environment={"COLOUR": "green"})
    told = calls.wait("before_start", "after_shift")
    check_told(told, service="web", generation=1, previous="", step="after_shift", weight=100,
               listen=LISTEN, socket=daemon.api_socket, reason="")
    calls.forget()

    hammer = t.hammer(*LOAD)
    daemon.restart()
    calls.wait("before_start", "after_shift", "after_drain")
    rollout = daemon.service()["last_rollout"]["rollout"]
    for point, told in calls.all():
        check_told(told, service="web", generation=2, previous=1, order="restart", step=point,
                   rollout=rollout, reason="")
        check_equal((told["UID"], told["USER"], told["PWD"], told["COLOUR"]),
                    (str(NOBODY.pw_uid), "nobody", str(t.tmp), "green"), f"as who {point} runs")
    check_equal(calls.all()[0][1]["BATON_WEIGHT"], "", "weight before the shift")
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_after_shift_is_called_while_the_old_one_still_drains(t):
    calls = Calls(t)
    daemon = with_hooks(t, example(t), calls.hooks("after_shift", "after_drain"))
    calls.wait("after_shift")
    with begin_post() as slow:
        since = daemon.begin()
        calls.wait("after_shift", "after_shift")
        daemon.wait_event("leave", since=since)
        check_equal(calls.points(), ["after_shift"] * 2, "calls while it drains")
        finish(slow)
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check_told(calls.wait("after_shift", "after_shift", "after_drain"), generation=2, previous=1)


def test_rollout_that_fails_before_the_shift_calls_on_failure(t):
    calls = Calls(t)
    daemon = with_hooks(t, example(t), calls.hooks(*POINTS))
    calls.wait("before_start", "after_shift")
    calls.forget()
    hammer = t.hammer(*LOAD)
    daemon.upgrade(["/bin/sh", "-c", "echo no disk >&2; exit 5"], expect=3)
    told = calls.wait("before_start", "on_failure")
    check_told(told, generation=2, previous=1, order="upgrade", step="on_failure")
    check("exited with status 5" in told["BATON_REASON"], f"reason: {told}")
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_rollout_that_is_undone_after_the_shift_calls_on_rollback(t):
    calls = Calls(t)
    daemon = with_hooks(t, example(t), calls.hooks(*POINTS), rollout={"bake": "10m"})
    calls.wait("before_start", "after_shift")
    calls.forget()
    hammer = t.hammer(*LOAD)
    since = daemon.begin()
    daemon.wait_event("settle", since=since)
    calls.wait("before_start", "after_shift")
    daemon.cli("abort", "web")
    check_equal(daemon.wait_end(since)["event"], "rolled-back", "end")
    told = calls.wait("before_start", "after_shift", "on_rollback")
    check_told(told, generation=2, previous=1, order="restart", step="on_rollback")
    check(told["BATON_REASON"], "no reason is told")
    check_equal(generation_of(get().body), 1, "generation that answers")
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_crash_of_the_new_one_in_the_bake_calls_on_rollback_with_the_reason(t):
    calls = Calls(t)
    daemon = with_hooks(t, example(t), calls.hooks("on_rollback", "on_failure"),
                        rollout={"bake": "10m"})
    since = daemon.begin()
    daemon.wait_event("settle", since=since)
    os.kill(daemon.server_pid(), signal.SIGKILL)
    check_equal(daemon.wait_end(since)["event"], "rolled-back", "end")
    told = calls.wait("on_rollback")
    check("SIGKILL" in told["BATON_REASON"], f"reason: {told}")


def test_scaling_and_stopping_call_no_before_start(t):
    calls = Calls(t)
    daemon = with_hooks(t, example(t), calls.hooks(*POINTS))
    calls.wait("before_start", "after_shift")
    calls.forget()
    daemon.cli("scale", "web", "2", expect=0)
    daemon.cli("scale", "web", "1", expect=0)
    check_equal(calls.points(), [], "calls of scaling")
    daemon.cli("stop", "web", expect=0)
    told = calls.wait("after_drain")
    check_told(told, generation="", previous=1, order="stop")


# ---- before_start decides ------------------------------------------------------------------------

def check_nothing_was_started(daemon, hammer, pid, since):
    check_equal(daemon.server_pid(), pid, "the server")
    check_equal(daemon.state(), "running", "state")
    check_equal(daemon.events("start", since=since), [], "starts")
    wait_until(lambda: len(daemon.service()["generations"]) == 1, "no other generation is left")
    check(not daemon.cgroup(2).exists(), "a cgroup is left")
    check_equal(generation_of(get().body), 1, "generation that answers")
    lost = hammer.stop()
    check_equal(lost["lost"], 0, f"lost: {lost}")


def test_failing_before_start_aborts_and_nothing_is_started(t):
    flag = t.tmp / "broken"
    calls = Calls(t)
    hooks = calls.hooks("after_shift", "after_drain", "on_failure", before_start=[
        "/bin/sh", "-c", f"echo migrating; test -e {flag} || exit 0; echo no such table; exit 9"])
    daemon = with_hooks(t, example(t), hooks)
    calls.wait("after_shift")
    calls.forget()
    hammer = t.hammer(*LOAD)
    pid = daemon.server_pid()
    flag.touch()
    since = daemon.last_seq()
    result = daemon.restart(expect=3)
    for expected in ("before_start", "exited with status 9", "no such table"):
        check(expected in result.text, f"{expected!r} is not in {result}")
    last = daemon.service()["last_rollout"]
    check_equal((last["result"], last["exit"], last["step"]), ("failed", 3, "prepare"), "end")
    told = calls.wait("on_failure")
    check("exited with status 9" in told["BATON_REASON"], f"reason: {told}")
    check_nothing_was_started(daemon, hammer, pid, since)
    flag.unlink()
    daemon.restart()


def test_before_start_that_cannot_be_executed_any_more_aborts_and_is_named(t):
    program = t.file("migrate", "#!/bin/sh\nexit 0\n", 0o755)
    daemon = with_hooks(t, example(t), {"before_start": [program]})
    hammer = t.hammer(*LOAD)
    pid, since = daemon.server_pid(), daemon.last_seq()
    os.unlink(program)
    result = daemon.restart(expect=3)
    check(program in result.text and "before_start" in result.text, f"said: {result}")
    check_nothing_was_started(daemon, hammer, pid, since)


def test_before_start_that_hangs_is_killed_with_its_children_and_aborts(t):
    pids, command = stubborn(t)
    daemon = with_hooks(t, example(t), {})
    reconfigure(daemon, hooks={"before_start": command, "timeout": "4s"})
    hammer = t.hammer(*LOAD)
    pid, since = daemon.server_pid(), daemon.last_seq()
    result = daemon.restart(expect=3)
    check("before_start" in result.text and "4s" in result.text, f"said: {result}")
    wait_gone(pids_in(pids))
    check_nothing_was_started(daemon, hammer, pid, since)


def test_abort_while_before_start_runs_kills_it(t):
    flag = t.tmp / "hang"
    pids, command = stubborn(t)
    script = f'test -e {flag} || exit 0; exec "$@"'
    daemon = with_hooks(t, example(t), {"before_start": ["/bin/sh", "-c", script, "sh", *command],
                                        "timeout": "60s"})
    hammer = t.hammer(*LOAD)
    pid, since = daemon.server_pid(), daemon.last_seq()
    flag.touch()
    daemon.begin()
    running = pids_in(pids)
    check_equal(daemon.service()["rollout"]["step"], "prepare", "step")
    daemon.cli("abort", "web")
    check_equal(daemon.wait_end(since)["event"], "failed", "end")
    wait_gone(running)
    check_nothing_was_started(daemon, hammer, pid, since)


def test_first_start_whose_before_start_fails_can_be_repeated(t):
    flag = t.tmp / "works"
    daemon = t.daemon(service(example(t), hooks={
        "before_start": ["/bin/sh", "-c", f"test -e {flag} || {{ echo not yet; exit 4; }}"]}),
        start=False)
    daemon.start_unready()
    daemon.wait_state("failed")
    check("not yet" in daemon.service()["reason"], f"reason: {daemon.service()}")
    flag.touch()
    daemon.cli("start", "web", expect=0)
    check_equal(get().status, 200, "answer")


# ---- the others only report ----------------------------------------------------------------------

def test_after_shift_that_hangs_does_not_hold_up_the_rollout_and_is_killed_with_its_children(t):
    pids, command = stubborn(t)
    daemon = with_hooks(t, example(t), {})
    reconfigure(daemon, hooks={"after_shift": command, "timeout": soon(4)})
    hammer = t.hammer(*LOAD)
    since = daemon.last_seq()
    daemon.restart()
    running = pids_in(pids)
    check(not daemon.events("hook", since=since), "the rollout has waited for the hook")
    event = hook_event(daemon, "after_shift", since)
    check_equal(event["ok"], False, "ok")
    check("did not end within " in event["message"], f"event: {event}")
    wait_gone(running)
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_hook_that_fails_later_is_reported_with_its_output_and_changes_nothing(t):
    daemon = with_hooks(t, example(t), {
        "after_shift": ["/bin/sh", "-c", "echo first; echo cannot reach consul >&2; exit 6"],
        "after_drain": ["/bin/sh", "-c", "echo the cache is warm"]})
    since = daemon.last_seq()
    daemon.restart()
    event = hook_event(daemon, "after_shift", since)
    check_equal(event["ok"], False, "ok")
    for expected in ("after_shift", "exited with status 6", "cannot reach consul"):
        check(expected in event["message"], f"{expected!r} is not in {event}")
    event = hook_event(daemon, "after_drain", since)
    check_equal(event["ok"], True, "ok")
    check("the cache is warm" in event["message"], f"event: {event}")
    wait_until(lambda: "cannot reach consul" in daemon.process.text(), "it is logged")


def test_batond_that_stops_waits_for_a_hook_up_to_its_timeout(t):
    pids, command = stubborn(t)
    daemon = with_hooks(t, example(t), {"after_shift": command, "timeout": "4s"})
    running = pids_in(pids)
    daemon.stop()
    check("after_shift did not end within 4s" in daemon.process.text(), "it is not logged")
    wait_gone(running)


def test_after_drain_of_the_last_generation_is_done_before_batond_ends(t):
    flag = t.tmp / "done"
    daemon = with_hooks(t, example(t), {"after_drain": ["/bin/sh", "-c", f"sleep 1; >{flag}"]})
    daemon.stop()
    check(flag.exists(), "the hook was not waited for")


def test_second_term_to_batond_kills_a_hook_that_runs(t):
    pids, command = stubborn(t)
    daemon = with_hooks(t, example(t), {"after_shift": command, "timeout": "10m"})
    running = pids_in(pids)
    daemon.process.popen.send_signal(signal.SIGTERM)
    wait_until(lambda: not daemon.service()["generations"], "the server is gone")
    check(daemon.process.running(), "the first TERM did not wait for the hook")
    daemon.process.popen.send_signal(signal.SIGTERM)
    daemon.process.wait()
    wait_gone(running)
    daemon.check_clean()


def test_hooks_that_a_reload_has_changed_count_for_the_next_rollout(t):
    calls = Calls(t)
    daemon = with_hooks(t, example(t), calls.hooks("after_shift"))
    calls.wait("after_shift")
    pid = daemon.server_pid()
    daemon.config["services"]["web"]["hooks"] = calls.hooks("before_start", "after_drain")
    daemon.write_config()
    daemon.cli("reload", expect=0)
    check_equal(daemon.server_pid(), pid, "the server")
    calls.forget()
    daemon.cli("stop", "web", expect=0)
    calls.wait("after_drain")
    daemon.cli("start", "web", expect=0)
    calls.wait("after_drain", "before_start")


def test_rollback_calls_the_hooks_of_the_file_as_it_is_now(t):
    calls = Calls(t)
    daemon = with_hooks(t, example(t), calls.hooks("after_shift"))
    calls.wait("after_shift")
    daemon.config["services"]["web"]["hooks"] = calls.hooks("before_start", "after_drain")
    daemon.write_config()
    daemon.cli("reload", expect=0)
    calls.forget()
    daemon.cli("upgrade", "web", "--env", "RELEASE=2", expect=0)
    calls.wait("before_start", "after_drain")
    daemon.cli("rollback", "web", expect=0)
    calls.wait("before_start", "after_drain", "before_start", "after_drain")
