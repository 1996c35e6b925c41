# SPDX-License-Identifier: BSD-2-Clause
"""A daemon that dies leaves agents and servers at work; the next one finds them."""

import os
import signal

from harness import alive, bodies, check, check_equal, refused, timeout, wait_until
from services import example, generation_of, python, service
from swaps import check_unharmed


def kill_daemon(daemon):
    daemon.process.popen.send_signal(signal.SIGKILL)
    daemon.process.wait()


def test_service_goes_on_without_its_daemon(t):
    daemon = t.daemon(service(example(t)))
    hammer = t.hammer("--short", 8, "--keepalive", 4, "--timeout", "30s", "--expect-status", 200)
    kill_daemon(daemon)
    check_equal({generation_of(body) for body in bodies(50)}, {1}, "answers without a daemon")
    daemon.start()
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")


def test_next_daemon_takes_the_generation_over_and_can_replace_it(t):
    daemon = t.daemon(service(example(t)))
    pid = daemon.server_pid()
    hammer = t.hammer("--short", 8, "--keepalive", 4, "--timeout", "30s", "--expect-status", 200)
    kill_daemon(daemon)
    daemon.start()
    check_equal((daemon.current(), daemon.server_pid()), (1, pid), "generation and pid taken over")
    check_equal(daemon.service()["endpoints"][0]["program"]["state"], "attached", "program")
    daemon.restart()
    check_equal({generation_of(body) for body in bodies(50)}, {2}, "answers after a restart")
    check(daemon.server_pid() != pid, "the server is still the old one")
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")


STEPS = ("start", "verify", "shift", "settle", "bake", "leave", "drain")


def settled(daemon):
    """One generation is left, and it is the current one."""
    return [g["state"] for g in daemon.service()["generations"]] == ["current"]


def end_bake(daemon, since):
    """The commit, when it is asked for."""
    daemon.wait_event("settle", since=since)
    daemon.cli("promote", "web", "--no-wait", expect=0)


@timeout(600)
def test_daemon_killed_after_every_step_loses_nothing(t):
    daemon = t.daemon(service(example(t, "--ready-after", "200ms"), rollout={"bake": "10m"}))
    hammer = t.hammer("--short", 16, "--keepalive", 4, "--slow-post", 2, "--post-path", "/post",
                      "--post-duration", "200ms", "--sources", 16, "--timeout", "30s",
                      "--expect-status", 200)
    for step in STEPS:
        before, since = daemon.current(), daemon.last_seq()
        daemon.begin()
        if STEPS.index(step) >= STEPS.index("bake"):
            end_bake(daemon, since)
        daemon.wait_event(step, since=since)
        kill_daemon(daemon)
        daemon.start()
        wait_until(lambda: settled(daemon), f"one generation after a kill at {step}")
        # Until the commit the old one is kept, from then on the new one.
        kept = daemon.current() == before
        check_equal(kept, STEPS.index(step) < STEPS.index("bake"), f"old one kept after {step}")
        check_equal({generation_of(body) for body in bodies(20)}, {daemon.current()}, "answers")
    since = daemon.begin()
    end_bake(daemon, since)
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check_unharmed(hammer, 1000)


def test_server_that_crashes_while_the_daemon_is_away_is_started_again(t):
    daemon = t.daemon(service(example(t)))
    pid = daemon.server_pid()
    kill_daemon(daemon)
    os.kill(pid, signal.SIGKILL)
    check_equal({generation_of(body) for body in bodies(20)}, {1}, "answers without a daemon")
    daemon.start()
    check_equal(daemon.current(), 1, "generation")
    check(daemon.server_pid() not in (0, pid), "the server is still the dead one")


def test_instance_of_a_service_that_is_not_configured_any_more_is_left_alone(t):
    daemon = t.daemon(web=service(example(t)), api=service(example(t), listen=["127.0.0.1:8081"]))
    agent = daemon.service("api")["generations"][0]["instances"][0]["agent_pid"]
    kill_daemon(daemon)
    del daemon.config["services"]["api"]
    daemon.start()
    check_equal(bodies(1, port=8081)[0].split()[0], "generation", "an answer of the other service")
    check(f"pid {agent}" in daemon.process.text(), "its agent is not named in the log")
    os.kill(agent, signal.SIGTERM)
    wait_until(lambda: not alive(agent), "the agent to end")


def test_agent_that_does_not_answer_keeps_its_server_serving(t):
    daemon = t.daemon(service(example(t)))
    agent = daemon.service()["generations"][0]["instances"][0]["agent_pid"]
    hammer = t.hammer("--short", 4, "--timeout", "30s", "--expect-status", 200)
    kill_daemon(daemon)
    os.kill(agent, signal.SIGSTOP)
    try:
        daemon.start_unready()
        wait_until(lambda: daemon.state() == "failed", "the service to be given up")
        check("still serves" in daemon.service()["reason"], f"{daemon.service()}")
        check_equal({generation_of(body) for body in bodies(20)}, {1}, "answers")
    finally:
        os.kill(agent, signal.SIGCONT)
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")
    kill_daemon(daemon)
    daemon.start()
    check_equal(daemon.current(), 1, "taken over by the next daemon")


def test_listen_that_changed_meanwhile_leaves_the_old_one_serving(t):
    daemon = t.daemon(service(example(t)))
    agent = daemon.service()["generations"][0]["instances"][0]["agent_pid"]
    hammer = t.hammer("--short", 4, "--timeout", "30s", "--expect-status", 200)
    kill_daemon(daemon)
    daemon.config["services"]["web"]["listen"] = ["127.0.0.1:8080", "127.0.0.1:8081"]
    daemon.start_unready()
    wait_until(lambda: daemon.state() == "failed", "the service to be given up")
    check(f"pid {agent}" in daemon.service()["reason"], f"{daemon.service()}")
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")
    os.kill(agent, signal.SIGTERM)
    wait_until(lambda: not alive(agent), "the agent to end")
    daemon.cli("start", "web", expect=0)
    check_equal(daemon.state(), "running", "state after a start")


def test_generation_with_a_dead_instance_is_taken_over(t):
    daemon = t.daemon(service(example(t), instances=2))
    exhaust(daemon, 0)
    check_equal({generation_of(body) for body in bodies(40)}, {1}, "answers of the other one")
    kill_daemon(daemon)
    daemon.start()
    check_equal(daemon.current(), 1, "generation")
    check_equal({generation_of(body) for body in bodies(40)}, {1}, "answers after the takeover")


def exhaust(daemon, index):
    """Kill an instance's server until its agent gives it up."""
    def state():
        return daemon.generation()["instances"][index]
    for _ in range(8):
        before = state()
        if before["state"] == "failed":
            return
        if before["pid"]:
            os.kill(before["pid"], signal.SIGKILL)
        wait_until(lambda: state()["state"] == "failed" or state()["pid"] not in (0, before["pid"]),
                   "the agent to do something about it")
    check(state()["state"] == "failed", f"not given up: {state()}")


def test_instance_that_is_given_up_gets_no_connections(t):
    daemon = t.daemon(service(example(t), instances=3))
    exhaust(daemon, 0)
    exhaust(daemon, 1)
    wait_until(lambda: "new table: 1 of 3" in daemon.process.text(), "the table without them")
    check_equal(len(bodies(200)), 200, "answers of the one that is left")


def test_candidate_that_never_passed_its_checks_is_not_adopted(t):
    daemon = t.daemon(service(python(t), health={"http": "/", "status": 299}), start=False)
    daemon.start_unready()
    wait_until(lambda: daemon.events("probe"), "a failed check")
    kill_daemon(daemon)
    daemon.start_unready()
    wait_until(lambda: daemon.events("done"), "the leftover to be retired")
    check_equal(daemon.events("adopted"), [], "adoptions")
    check(refused(), "an unverified server is reached")


def test_second_daemon_on_the_address_is_refused_and_disturbs_nothing(t):
    daemon = t.daemon(service(example(t)))
    hammer = t.hammer("--short", 8, "--timeout", "30s", "--expect-status", 200)
    other = t.daemon(service(example(t)), start=False)
    other.start_unready()
    wait_until(lambda: other.state() == "failed", "the second one to give up")
    check("another batond" in other.service()["reason"], f"{other.service()}")
    check_equal(daemon.service()["endpoints"][0]["program"]["state"], "attached", "program")
    other.process.popen.send_signal(signal.SIGTERM)
    check_equal(other.process.wait(), 0, "exit status of the second one")
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")


def test_second_daemon_of_the_name_leaves_the_first_one_its_folders(t):
    daemon = t.daemon(service(example(t)))
    daemon.cli("stop", "web", expect=0)
    second = t.spawn("second", t.program("batond"), "-n", daemon.name, "-c", daemon.file)
    check_equal(second.wait(), 1, f"exit status: {second.text()}")
    daemon.cli("start", "web", expect=0)
    check_equal(daemon.state(), "running", "state of the first")
