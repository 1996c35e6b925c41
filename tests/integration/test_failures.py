# SPDX-License-Identifier: BSD-2-Clause
"""What is said of a server that fails: how it ended, why, and what to do about it."""

import os
import pathlib
import signal

from harness import check, check_equal, own_cgroup, wait_until
from services import service, soon

SICK = pathlib.Path(__file__).with_name("sick.py")

QUICK = {"start_timeout": soon(2), "timeout": soon(0.3), "interval": "50ms", "unhealthy": 2}


def sick(t, **changes):
    """A service whose server is well, and the file that makes the next one sick."""
    way = pathlib.Path(t.file("way", "well"))
    command = ["/usr/bin/python3", "-S", str(SICK), str(way)]
    changes.setdefault("health", {}).update(QUICK)
    return service(command, mode="native", **changes), way


def check_told(daemon, result, way, event, stream):
    words = f"last words of {way}"
    check(words in result.text, f"{way}: the answer has no last words: {result.text}")
    check(f"last lines on its {stream}" in result.text, f"{way}: {result.text}")
    check("good bye" not in result.text, f"{way}: the answer has later words: {result.text}")
    told = daemon.events(event)[-1]
    last = daemon.service()["last_rollout"]
    for what in (told, last):
        check(words in what.get("tail", ""), f"{way}: no last words: {what}")
        check_equal(what["tail_stream"], stream, f"{way}: stream")
        check(what.get("tail_time"), f"{way}: no time: {what}")
    status = daemon.cli("status", "web", expect=None)
    check(words in status.text, f"{way}: status has no last words: {status.text}")


def fails(t, stream):
    # A busy machine answers late; nothing is to be replaced for that.
    config, file = sick(t, restart={"max": 0})
    daemon = t.daemon(config)
    reasons = {"exit": "exited with status 7", "listen-exit": "exited with status 7",
               "hang": "was not running within ", "503": "was not healthy within ",
               "slow": "was not healthy within ", "elsewhere": "listens on 127.0.0.1:8081"}
    for way, reason in reasons.items():
        file.write_text(f"{way} {stream}", encoding="ascii")
        result = daemon.cli("restart", "web", expect=3)
        check(reason in result.text, f"{way}: no {reason!r}: {result.text}")
        check("Invalid argument" not in result.text, f"{way}: {result.text}")
        check_told(daemon, result, way, "failed", stream)


def test_each_way_to_fail_is_told_with_the_last_words_on_stderr(t):
    fails(t, "stderr")


def test_each_way_to_fail_is_told_with_the_last_words_on_stdout(t):
    fails(t, "stdout")


def test_crash_in_the_bake_is_told_with_the_last_words(t):
    config, file = sick(t, rollout={"bake": "10m"})
    daemon = t.daemon(config)
    file.write_text("bake", encoding="ascii")
    result = daemon.cli("restart", "web", expect=4)
    check("exited with status 7" in result.text, result.text)
    check_told(daemon, result, "bake", "rolled-back", "stderr")


def test_crash_loop_is_told_with_the_last_words_and_what_to_type(t):
    config, file = sick(t, restart={"max": 2, "window": "10m", "delay": "10ms"})
    daemon = t.daemon(config)
    file.write_text("exit", encoding="ascii")
    os.kill(daemon.server_pid(), signal.SIGKILL)
    daemon.wait_state("failed")
    daemon.wait_event("degraded")
    for event in ("exited", "degraded"):
        check("last words of exit" in daemon.events(event)[-1].get("tail", ""),
              f"{event}: {daemon.events(event)[-1]}")
    failure = daemon.service()["failure"]
    check_equal(failure["tail"], "last words of exit", "words")
    check_equal(failure["connections"], "refused", "connections")
    check(failure["since"] and failure["tail_time"], f"times: {failure}")
    check(0 < failure["retry_ms"] <= 600_000, f"retry: {failure}")
    status = daemon.cli("status", "web", expect=None)
    for expected in ("since", "connections are refused", "started again in", "baton restart web",
                     "last words of exit"):
        check(expected in status.text, f"no {expected!r}: {status.text}")
    file.write_text("well", encoding="ascii")
    daemon.restart()
    check("failure" not in daemon.service(), "the failure is over")


def test_first_start_that_ends_at_once_is_told_by_its_exit(t):
    config, file = sick(t)
    file.write_text("listen-exit", encoding="ascii")
    daemon = t.daemon(start=False, **{"web": config})
    daemon.start_unready()
    wait_until(lambda: daemon.state() == "failed", "it has failed")
    check_equal(daemon.service()["reason"], "generation 1: instance 0 exited with status 7",
                "reason")
    failure = daemon.service()["failure"]
    check_equal((failure["tail"], failure["retry_ms"]), ("last words of listen-exit", None),
                "failure")
    check(failure["since"], f"since when: {failure}")


def test_replaced_instance_is_told_with_the_answer_that_condemned_it(t):
    config, _ = sick(t, restart={"delay": "1ms"})
    daemon = t.daemon(config)
    pid = daemon.server_pid()
    os.kill(pid, signal.SIGSTOP)
    replacing = daemon.wait_event("replacing")
    os.kill(pid, signal.SIGCONT)
    check("200" not in replacing["message"] and "no answer" in replacing["message"],
          f"{replacing}")


def leaves_of(daemon):
    folder = pathlib.Path(own_cgroup()) / daemon.name
    return sorted(path.name for path in folder.iterdir()
                  if path.is_dir() and path.name.count(".") == 2)


def test_server_with_threads_that_is_killed_is_said_to_be_killed_and_leaves_nothing(t):
    config, file = sick(t, restart={"max": 0}, drain={
        "timeout": "100ms", "kill_timeout": "100ms", "leave_timeout": "50ms"})
    file.write_text("ignore", encoding="ascii")
    daemon = t.daemon(config)
    for _ in range(8):
        daemon.restart()
    stops = [event["message"] for event in daemon.events("stop")]
    check_equal(len(stops), 8, "stops")
    for message in stops:
        check("was killed by SIGKILL (it did not stop by itself)" in message, message)
    wait_until(lambda: len(leaves_of(daemon)) == 1, "the cgroups of the old ones are gone")


def test_cgroups_that_an_earlier_batond_has_left_are_removed(t):
    config, _ = sick(t)
    daemon = t.daemon(config)
    folder = pathlib.Path(own_cgroup()) / daemon.name
    (folder / "web.77.0").mkdir()
    (folder / "gone.1.0").mkdir()
    daemon.process.popen.kill()
    daemon.process.wait()
    daemon.start()
    wait_until(lambda: leaves_of(daemon) == ["web.1.0"], "only what runs has a cgroup")


def test_generation_of_which_nothing_ran_is_not_said_to_have_exited(t):
    config, _ = sick(t)
    program = t.file("program", "#!/nonexistent/interpreter\n", 0o755)
    daemon = t.daemon(config)
    result = daemon.upgrade([str(program)], expect=3)
    check("generation 2 never ran" in result.text, result.text)
    check("exited" not in result.text, result.text)
