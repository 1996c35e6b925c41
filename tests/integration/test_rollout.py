# SPDX-License-Identifier: BSD-2-Clause
"""A rollout as its user sees it: what is waited for, what fails, what is told."""

import json
import os
import pathlib
import signal

from harness import bodies, check, check_equal, get, wait_until
from services import (DEFAULTS, condemned, example, generation_of, reconfigure, service, soon,
                      unready)


def stats_of(pid, path):
    """What the example server counts at this moment."""
    path.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    wait_until(path.exists, "the server writes its statistics")
    return json.loads(path.read_text())


def test_new_generation_gets_only_probes_before_the_shift(t):
    daemon = t.daemon(service(example(t)))
    hammer = t.hammer("--short", 8, "--timeout", "30s", "--expect-status", 200)
    path = t.tmp / "stats"
    command, flag = unready(t, "--stats-file", path)
    since = daemon.begin("upgrade", "--", *command)
    daemon.wait_event("probe", since=since)  # it answers: it is listening in the group
    pid = daemon.server_pid("candidate")
    served = hammer.report()["ok"]
    looks = 0

    def watched():
        nonlocal looks
        looks += 1
        seen = stats_of(pid, path)
        check_equal(seen["other"], 0, f"requests that are not probes: {seen}")
        # A probe is a connection first and counted as a probe when its request is read.
        check(seen["connections"] - seen["probes"] <= 1, f"connections that are no probes: {seen}")
        steered = daemon.generation("candidate")["instances"][0]["connections"]["steered"]
        check_equal(steered, 0, "steered to the candidate")
        return looks >= 20 and seen["probes"] >= 5 and hammer.report()["ok"] > served + 2000
    wait_until(watched, "it has been watched for long enough")
    check_equal(daemon.events("shift", since=since), [], "shifts of one that is not healthy")
    flag.unlink()

    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check_equal(generation_of(get().body), 2, "generation that answers")
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_first_start_is_not_reached_before_it_is_healthy(t):
    daemon = t.daemon(service(example(t, "--ready-after", "700ms")), start=False)
    daemon.start()
    answer = get()
    check_equal((answer.status, generation_of(answer.body)), (200, 1), "first answer")


# ---- candidates that fail ------------------------------------------------------------------------

def candidate_fails(t, *options, probe="", reason="", tail="", **changes):
    """
    Upgrade under load to a server with @options: it must be refused, everything be explained, and
    the old one be left as it was.
    """
    daemon = t.daemon(service(example(t), **changes))
    before = daemon.generation()
    hammer = t.hammer("--short", 16, "--keepalive", 4, "--slow-post", 2, "--post-path", "/post",
                      "--post-duration", "300ms", "--timeout", "30s", "--expect-status", 200)

    result = condemned(daemon, lambda: daemon.upgrade(example(t, *options), expect=3),
                       probe or reason or tail)
    for expected in (probe, reason, tail):
        check(expected in result.text, f"{expected!r} is not in what is printed: {result}")

    now = daemon.service()
    check_equal(now["state"], "running", "state")
    check_equal(now["last_rollout"]["result"], "failed", "last rollout")
    check_equal(now["last_rollout"]["exit"], 3, "last rollout's exit")
    check(now["last_rollout"]["reason"], "no reason in status")
    after = daemon.generation()
    check_equal((after["generation"], after["instances"][0]["pid"]),
                (before["generation"], before["instances"][0]["pid"]), "the one that serves")
    check_equal(len(now["generations"]), 1, "generations left")

    # What has failed once does not stand in the way of the next.
    reconfigure(daemon, health=DEFAULTS["health"])
    good = daemon.upgrade(example(t), "--force", expect=0)
    check(good.text, "an upgrade shows its steps")
    check_equal({generation_of(body) for body in bodies(20)}, {daemon.current()},
                "answers after a good upgrade")
    lost = hammer.stop()
    check_equal(lost["lost"], 0, f"lost: {lost}")


def test_candidate_that_answers_503_is_refused(t):
    candidate_fails(t, "--unhealthy", probe="503")


def test_candidate_that_exits_at_once_is_refused(t):
    candidate_fails(t, "--exit-at-once", "9", reason="9")


def test_candidate_that_never_accepts_is_refused(t):
    candidate_fails(t, "--never-accept", probe="/healthz")


def test_candidate_that_hangs_is_refused(t):
    candidate_fails(t, "--hang", probe="/healthz")


def test_candidate_that_ignores_term_is_killed(t):
    candidate_fails(t, "--unhealthy", "--ignore-term", probe="503",
                    drain={"leave_timeout": "300ms", "kill_timeout": "300ms"})


def test_candidate_that_says_why_on_stderr_is_quoted(t):
    daemon = t.daemon(service(example(t)))
    result = daemon.upgrade(["/bin/sh", "-c", "echo no database >&2; echo at all >&2; exit 4"],
                            expect=3)
    for expected in ("no database", "at all", "4"):
        check(expected in result.text, f"{expected!r} is not in {result}")
    check_equal(generation_of(get().body), 1, "generation that answers")
    check("no database" in daemon.service()["last_rollout"]["tail"], "no tail in status")


def test_candidate_that_cannot_be_executed_is_refused(t):
    daemon = t.daemon(service(example(t)))
    script = t.file("no-interpreter", "#!/nonexistent/interpreter\n", 0o755)
    result = daemon.upgrade([script])
    check_equal(result.status, 3, f"exit status: {result}")
    check("interpreter" in result.text, f"no reason in {result}")
    check_equal(generation_of(get().body), 1, "generation that answers")


def test_first_start_that_fails_is_reported_and_can_be_repeated(t):
    flag = t.tmp / "works"
    command = ["/bin/sh", "-c", f"test -e {flag} || {{ echo not yet >&2; exit 3; }}; exec \"$@\"",
               "sh", *example(t)]
    daemon = t.daemon(service(command), start=False)
    daemon.write_config()
    daemon.process = t.spawn(daemon.name, t.program("batond"), "-n", daemon.name, "-c", daemon.file)
    daemon.wait_state("failed")
    check("not yet" in json.dumps(daemon.service()), f"no reason: {daemon.service()}")
    flag.touch()
    daemon.cli("start", "web", expect=0)
    check_equal(get().status, 200, "answer")


# ---- orders -------------------------------------------------------------------------------------

def test_rollback_returns_to_the_command_before_the_upgrade(t):
    daemon = t.daemon(service(example(t), environment={"WHICH": "old"}))
    other = example(t)
    other[0] = t.copy("examples/server", "server-2")

    def executable():
        return daemon.generation()["executable"]
    check_equal(executable(), example(t)[0], "executable")
    daemon.upgrade(other, expect=0)
    check_equal(executable(), other[0], "executable after the upgrade")
    daemon.cli("rollback", "web", expect=0)
    check_equal(executable(), example(t)[0], "executable after the rollback")
    check_equal(generation_of(get().body), 3, "generation that answers")
    daemon.restart()
    check_equal(executable(), example(t)[0], "executable after a restart after the rollback")


def test_restart_after_an_upgrade_stays_with_its_command(t):
    daemon = t.daemon(service(example(t)))
    other = [t.copy("examples/server", "server-2"), *example(t)[1:]]
    daemon.upgrade(other, expect=0)
    daemon.restart()
    check_equal(daemon.generation()["executable"], other[0], "executable after a restart")


def test_restart_follows_a_moved_symlink_and_reads_the_environment_file_again(t):
    for number in (1, 2):
        t.copy("examples/server", f"release-{number}")
    link = t.tmp / "current"
    link.symlink_to("release-1")
    t.file("env", "COLOUR=blue\n")
    daemon = t.daemon(service([link, *example(t)[1:]], environment_file=str(t.tmp / "env")))
    check_equal(daemon.generation()["executable"], str(t.tmp / "release-1"), "executable")
    link.unlink()
    link.symlink_to("release-2")
    t.file("env", "COLOUR=green\n")
    daemon.restart()
    check_equal(daemon.generation()["executable"], str(t.tmp / "release-2"), "executable")
    environment = pathlib.Path(f"/proc/{daemon.server_pid()}/environ").read_bytes().split(b"\0")
    check(b"COLOUR=green" in environment, f"environment: {environment}")


def test_steps_are_reported_in_order(t):
    daemon = t.daemon(service(example(t)))
    since = daemon.last_seq()
    result = daemon.restart()
    steps = [each["event"] for each in daemon.events(since=since) if "rollout" in each]
    check_equal([step for step in steps if step != "probe"],
                ["start", "verify", "shift", "settle", "leave", "drain", "stop", "done"], "steps")
    for step in ("start", "verify", "shift", "settle", "leave", "drain", "stop"):
        check(step in result.text, f"step {step} is not in {result}")


def test_bake_keeps_the_old_generation_for_its_time(t):
    daemon = t.daemon(service(example(t), rollout={"bake": soon(1)}))
    since = daemon.begin()
    daemon.wait_event("shift", since=since)
    daemon.wait_event("settle", since=since)
    check(daemon.generation("previous"), f"no previous generation: {daemon.service()}")
    check_equal(generation_of(get().body), 2, "generation that answers")
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check(daemon.events("bake", since=since)[0]["took_ms"] >= 1000, "baked too short")


def test_generation_that_dies_while_baking_is_rolled_back(t):
    daemon = t.daemon(service(example(t), rollout={"bake": "10m"}))
    hammer = t.hammer("--short", 4, "--timeout", "30s", "--expect-status", 200)
    since = daemon.last_seq()
    restart = t.spawn("restart", t.program("baton"), "-n", daemon.name, "restart", "web")
    daemon.wait_event("settle", since=since)
    new = wait_until(daemon.generation, "a current generation")
    check_equal(new["generation"], 2, "current generation")
    os.kill(new["instances"][0]["pid"], signal.SIGKILL)
    check_equal(restart.wait(), 4, f"exit status: {restart.text()}")
    check_equal({generation_of(body) for body in bodies(20)}, {1}, "answers after the rollback")
    result = hammer.stop()
    check_equal(result["losses"]["refused"], 0, f"refused: {result}")


def test_second_order_is_refused_as_busy_and_names_the_first(t):
    daemon = t.daemon(service(example(t)))
    command, flag = unready(t)
    since = daemon.begin("upgrade", "--", *command)
    wait_until(lambda: daemon.service()["rollout"], "a rollout is under way")
    result = daemon.restart(expect=6)
    for expected in ("upgrade", "generation 2"):
        check(expected in result.text, f"{expected!r} is not in {result}")
    flag.unlink()
    check_equal(daemon.wait_end(since)["event"], "done", "end of the first")
    daemon.restart()
