# SPDX-License-Identifier: BSD-2-Clause
"""A daemon that dies leaves agents and servers at work; the next one finds them."""

import os
import signal

from harness import (alive, begin_post, bodies, check, check_equal, connect, get, read_response,
                     refused, send_request, timeout, wait_until)
from rollouts import kill_daemon, settled
from services import Sickness, example, generation_of, python, service, unready
from swaps import check_unharmed


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


def end_bake(daemon, since):
    """The commit, when it is asked for."""
    daemon.wait_event("settle", since=since)
    daemon.cli("promote", "web", "--no-wait", expect=0)


def check_end(daemon, rollout, step, serves):
    """What the next one tells of a rollout that was killed after @step had ended."""
    undone = STEPS.index(step) < STEPS.index("bake")
    # Past the commit it may have ended before the kill: then that was told, and is no news.
    if not undone and "rollout" not in daemon.events("adopted")[-1]:
        return
    wait_until(lambda: ends(daemon, rollout), f"an end of rollout {rollout} is told")
    end, = ends(daemon, rollout)
    if not undone:
        expected = ("done", 0)
    elif STEPS.index(step) < STEPS.index("verify"):
        expected = ("failed", 3)
    else:
        expected = None if step == "verify" else ("rolled-back", 4)
    if expected:
        check_equal((end["event"], end["exit"]), expected, f"end after {step}: {end}")
    check_equal(end["serving"]["generation"], serves, f"who serves: {end}")
    check_equal((end.get("reason") or "").startswith("batond ended in the middle of step "), undone,
                f"reason: {end}")
    last = daemon.service()["last_rollout"]
    check_equal((last["rollout"], last["result"]), (rollout, end["event"]), "last rollout")


@timeout(600)
def test_daemon_killed_after_every_step_loses_nothing(t):
    sick = t.tmp / "sick.2"
    sick.touch()  # the second generation is killed before its checks are good
    daemon = t.daemon(service(example(t, "--unhealthy-while", t.tmp / "sick.{generation}"),
                              rollout={"bake": "10m"}))
    hammer = t.hammer("--short", 16, "--keepalive", 4, "--slow-post", 2, "--post-path", "/post",
                      "--post-duration", "200ms", "--sources", 16, "--timeout", "30s",
                      "--expect-status", 200)
    for step in STEPS:
        before, since = daemon.current(), daemon.last_seq()
        daemon.begin()
        if STEPS.index(step) >= STEPS.index("bake"):
            end_bake(daemon, since)
        rollout = daemon.wait_event(step, since=since)["rollout"]
        kill_daemon(daemon)
        sick.unlink(missing_ok=True)
        daemon.start()
        wait_until(lambda: settled(daemon), f"one generation after a kill at {step}")
        # Until the commit the old one is kept, from then on the new one.
        kept = daemon.current() == before
        check_end(daemon, rollout, step, before if kept else daemon.current())
        check_equal(kept, STEPS.index(step) < STEPS.index("bake"), f"old one kept after {step}")
        check_equal({generation_of(body) for body in bodies(20)}, {daemon.current()}, "answers")
    since = daemon.begin()
    end_bake(daemon, since)
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check_unharmed(hammer, 1000)


def test_server_that_crashes_while_the_daemon_is_away_is_started_again(t):
    daemon = t.daemon(service(example(t)))
    pid, since = daemon.server_pid(), daemon.last_seq()
    kill_daemon(daemon)
    os.kill(pid, signal.SIGKILL)
    check_equal({generation_of(body) for body in bodies(20)}, {1}, "answers without a daemon")
    daemon.start()
    exited = daemon.wait_event("exited", since=since)
    check("was killed by SIGKILL" in exited["message"], f"{exited}")
    daemon.wait_event("restarted", since=since)
    check_equal(daemon.current(), 1, "generation")
    check(daemon.server_pid() not in (0, pid), "the server is still the dead one")


def test_server_that_is_ill_after_a_takeover_is_replaced_at_once(t):
    sickness = Sickness(t)
    daemon = t.daemon(service(sickness.command(), instances=2, restart={"delay": "100ms"},
                              health={"start_timeout": "10m"}))
    since = daemon.last_seq()
    kill_daemon(daemon)
    sickness.begin(1)
    daemon.start()
    # It had passed its checks: start_timeout is not for it.
    told = daemon.wait_event("unhealthy", since=since)
    check("instance 1" in told["message"] and "503" in told["message"], f"{told}")
    replacing = daemon.wait_event("replacing", since=since)
    check("instance 1" in replacing["message"], f"{replacing}")
    sickness.end(1)
    check_equal(daemon.wait_end(since)["event"], "done", "end")


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


def test_listen_that_changed_meanwhile_is_for_the_next_reload(t):
    daemon = t.daemon(service(example(t)))
    hammer = t.hammer("--short", 4, "--timeout", "30s", "--expect-status", 200)
    kill_daemon(daemon)
    daemon.config["services"]["web"]["listen"] = ["127.0.0.1:8080", "127.0.0.1:8081"]
    daemon.start()
    check_equal((daemon.current(), daemon.state()), (1, "running"), "generation and state")
    check(refused(8081), "the new address is refused")
    since = daemon.last_seq()
    daemon.cli("reload", expect=0)
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check_equal(get(port=8081).status, 200, "answer at the new address")
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")


def test_user_that_changed_meanwhile_leaves_the_old_one_serving(t):
    daemon = t.daemon(service(example(t)))
    agent = daemon.service()["generations"][0]["instances"][0]["agent_pid"]
    hammer = t.hammer("--short", 4, "--timeout", "30s", "--expect-status", 200)
    kill_daemon(daemon)
    daemon.config["services"]["web"]["user"] = "nobody"
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


# ---- what is told of a rollout in whose middle batond was killed ---------------------------------

def ends(daemon, rollout):
    """
    The last events of the rollout: there is to be one. Earlier batonds may have had one of that
    number, too.
    """
    adopted = daemon.events("adopted")
    return [each for each in daemon.events(since=adopted[-1]["seq"] if adopted else 0)
            if each.get("rollout") == rollout
            and each["event"] in ("done", "failed", "rolled-back")]


def killed_at(t, daemon, step, order="restart", *arguments):
    """
    Kill batond as soon as the order is at @step, while a command waits for it, and start the next
    one. Returns the number of the rollout, and the command.
    """
    waiting = t.spawn("waiting", t.program("baton"), "-n", daemon.name, order, "web", *arguments)

    def there():
        rollout = daemon.service()["rollout"]
        return rollout and rollout["step"] == step and rollout
    rollout = wait_until(there, f"step {step}", poll_s=0.002)["rollout"]
    kill_daemon(daemon)
    daemon.start_unready()
    return rollout, waiting


def check_told(daemon, rollout, waiting, step, event, status, reason):
    """The same in the event, in the status, and for whoever has waited."""
    wait_until(lambda: ends(daemon, rollout), f"an end of rollout {rollout} is told")
    end, = ends(daemon, rollout)
    check_equal((end["event"], end["exit"], end["step"]), (event, status, step), f"end: {end}")
    check_equal(end.get("reason"), reason, f"reason: {end}")
    last = daemon.service()["last_rollout"]
    check_equal({key: last[key] for key in ("rollout", "result", "exit", "generation", "replaces")},
                {"rollout": rollout, "result": event, "exit": status,
                 "generation": end["generation"], "replaces": end["replaces"]}, "last rollout")
    check_equal(end["serving"]["generation"], daemon.current(), f"who serves: {end}")
    check_equal(waiting.wait(), status, f"exit status: {waiting.text()}")
    check("batond is gone; waiting for the next one" in waiting.text(), waiting.text())


# Steps that can be made to last, and how.
LINGERING = {
    "prepare": {"hooks": {"before_start": ["/bin/sleep", "60"], "timeout": "100s"}},
    "verify": {},
    "gate": {"gates": [{"name": "slow", "at": "shift", "exec": ["/bin/sleep", "60"],
                        "timeout": "100s"}]},
    "hold": {"rollout": {"strategy": "canary",
                         "steps": [{"weight": 50, "hold": "10m"}, {"weight": 100}]}},
    "bake": {"rollout": {"bake": "10m"}},
}


def check_killed_at(t, step):
    late = ["--unhealthy"] if step == "verify" else []
    daemon = t.daemon(service(example(t)))
    # The first start has none of it: it would linger, too.
    daemon.config["services"]["web"] = service(example(t), **LINGERING[step])
    kill_daemon(daemon)
    daemon.start()
    hammer = t.hammer("--short", 4, "--timeout", "30s", "--expect-status", 200)
    number, waiting = killed_at(t, daemon, step, "upgrade", "--force", "--", *example(t, *late))
    shifted = step in ("hold", "bake")
    check_told(daemon, number, waiting, step, "rolled-back" if shifted else "failed",
               4 if shifted else 3, f"batond ended in the middle of step {step}")
    check_equal(daemon.current(), 1, "generation that serves")
    check_equal({generation_of(body) for body in bodies(20)}, {1}, "answers")
    adopted = daemon.events("adopted")[-1]
    check(f"rollout {number} (upgrade), at step {step}: generation 1 serves on"
          in adopted["message"], f"{adopted}")
    # Nothing is left to tell, and its number is not given again.
    check(not list(daemon.api_socket.parent.glob("rollouts.*")), "the file is left")
    if step in ("verify", "hold", "bake"):
        check(daemon.cli("restart", "web", "--no-wait", "--json").json()["rollout"] > number,
              "the number is used again")
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_rollout_in_whose_preparation_batond_was_killed_has_failed(t):
    check_killed_at(t, "prepare")


def test_rollout_in_whose_checks_batond_was_killed_has_failed(t):
    check_killed_at(t, "verify")


def test_rollout_at_whose_gate_batond_was_killed_has_failed(t):
    check_killed_at(t, "gate")


def test_canary_in_whose_hold_batond_was_killed_was_rolled_back(t):
    check_killed_at(t, "hold")


def test_rollout_in_whose_bake_batond_was_killed_was_rolled_back(t):
    check_killed_at(t, "bake")


@timeout(300)
def test_rollout_that_the_next_batond_finishes_is_done_with_what_was_cut(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "4s"}))
    held = begin_post()
    rollout, waiting = killed_at(t, daemon, "drain")
    check_told(daemon, rollout, waiting, "drain", "done", 5, None)
    end, = ends(daemon, rollout)
    check_equal((end["cut"], end["generation"], end["replaces"]), (1, 2, 1), f"{end}")
    check("batond had ended at step drain, and the next one finished it" in end["message"],
          f"{end}")
    check_equal(daemon.current(), 2, "generation that serves")
    held.close()


def test_rollout_is_told_by_the_third_batond_if_the_second_is_killed_too(t):
    daemon = t.daemon(service(example(t), drain={"timeout": "60s"}))
    with begin_post() as held:
        rollout, waiting = killed_at(t, daemon, "drain")
        wait_until(lambda: (daemon.service()["rollout"] or {}).get("order") == "retire",
                   "the next one drains")
        check_equal(ends(daemon, rollout), [], "told before it is known what is lost")
        kill_daemon(daemon)
        daemon.start_unready()
        held.sendall(b"x" * 5)
        check(held.recv(100).startswith(b"HTTP/1.1 200"), "the answer")
    check_told(daemon, rollout, waiting, "drain", "done", 0, None)


def test_first_start_in_whose_middle_batond_was_killed_has_failed(t):
    command, flag = unready(t)
    daemon = t.daemon(service(command), start=False)
    daemon.start_unready()
    rollout = wait_until(lambda: daemon.service()["rollout"], "it starts")["rollout"]
    kill_daemon(daemon)
    flag.unlink()
    daemon.start()
    wait_until(lambda: ends(daemon, rollout), "an end is told")
    end, = ends(daemon, rollout)
    check_equal((end["event"], end["order"], end["replaces"]), ("failed", "start", None), f"{end}")
    check(end["reason"].startswith("batond ended in the middle of step "), f"{end}")
    check_equal(daemon.state(), "running", "state")
    check_equal(daemon.service()["last_rollout"]["result"], "done", "the later start is the last")


def test_stop_in_whose_middle_batond_was_killed_is_carried_out(t):
    daemon = t.daemon(service(example(t), drain={"shutdown_timeout": "60s"}))
    with begin_post() as held:
        rollout, waiting = killed_at(t, daemon, "drain", "stop")
        check_equal(ends(daemon, rollout), [], "it is not over")
        held.sendall(b"x" * 5)
        check(held.recv(100).startswith(b"HTTP/1.1 200"), "the answer")
    wait_until(lambda: ends(daemon, rollout), "an end is told")
    check_equal(waiting.wait(), 0, f"exit status: {waiting.text()}")
    check_equal(daemon.state(), "stopped", "state")
    check(refused(), "a connection is taken")
    daemon.cli("start", "web", expect=0)


def test_scale_in_whose_middle_batond_was_killed_is_carried_out(t):
    sickness = Sickness(t)
    sickness.begin(1, 2)
    daemon = t.daemon(service(sickness.command()))
    rollout, waiting = killed_at(t, daemon, "verify", "scale", "3")
    sickness.end(1, 2)
    check_equal(waiting.wait(), 0, f"exit status: {waiting.text()}")
    end, = ends(daemon, rollout)
    check_equal((end["event"], end["serving"]["instances"]), ("done", 3), f"{end}")
    check_equal(len(daemon.generation()["instances"]), 3, "instances")


def test_order_that_waits_when_batond_is_killed_is_told_that_it_did_not_begin(t):
    daemon = t.daemon(service(example(t), rollout={"bake": "10m"},
                              drain={"timeout": "60s", "generations_max": 2}))
    since = daemon.begin()
    daemon.wait_event("settle", since=since)
    with begin_post():
        waiting = t.spawn("waiting", t.program("baton"), "-n", daemon.name, "restart", "web",
                          "--supersede")
        # It waits until the second generation, which is undone, has drained.
        undone = daemon.wait_event("superseded")["rollout"]
        daemon.wait_event("leave", since=since)
        kill_daemon(daemon)
        daemon.start_unready()
    check_equal(waiting.wait(), 3, f"exit status: {waiting.text()}")
    check("batond ended before it began" in waiting.text(), waiting.text())
    end, = ends(daemon, undone)
    check_equal((end["event"], end["reason"]), ("rolled-back", "superseded by restart"), f"{end}")


def test_command_that_waits_gives_up_if_no_batond_comes(t):
    daemon = t.daemon(service(example(t), rollout={"bake": "10m"}))
    waiting = t.spawn("waiting", t.program("baton"), "-n", daemon.name, "restart", "web")
    daemon.wait_event("settle")
    kill_daemon(daemon)
    check_equal(waiting.wait(), 7, f"exit status: {waiting.text()}")
    check("lost sight of rollout" in waiting.text(), waiting.text())
    daemon.start()


def test_service_that_is_paused_stays_so_under_the_next_batond(t):
    daemon = t.daemon(service(example(t)))
    daemon.cli("pause", "web", expect=0)
    kill_daemon(daemon)
    daemon.start()
    check_equal(daemon.service()["paused"], True, "paused")
    check("it stays paused" in daemon.events("adopted")[-1]["message"], "what is told")
    with connect() as waiting:
        send_request(waiting, headers=["Connection: close"])
        waiting.settimeout(0.5)
        try:
            waiting.recv(1)
            check(False, "it is served")
        except TimeoutError:
            pass
        waiting.settimeout(60)
        daemon.cli("resume", "web", expect=0)
        check_equal(read_response(waiting).status, 200, "answer")


def check_waits_on(t, end):
    """A connection that waits when batond goes by @end() is served under the next one."""
    daemon = t.daemon(service(example(t)))
    daemon.cli("pause", "web", expect=0)
    with connect() as waiting:
        send_request(waiting, headers=["Connection: close"])
        wait_until(lambda: daemon.service()["endpoints"][0]["held"] == 1, "one waits")
        end(daemon)
        with connect() as later:  # nor is one refused meanwhile
            send_request(later, headers=["Connection: close"])
            daemon.start()
            wait_until(lambda: daemon.service()["endpoints"][0]["held"] == 2, "both wait on")
            daemon.cli("resume", "web", expect=0)
            for sock in (waiting, later):
                check_equal(read_response(sock).status, 200, "answer")


def test_connection_that_waits_when_batond_is_killed_waits_on(t):
    check_waits_on(t, kill_daemon)


def test_connection_that_waits_when_batond_leaves_waits_on(t):
    def leave(daemon):
        result = daemon.cli("leave", expect=0)
        check("1 connection waits on" in result.text, result.text)
        daemon.process.wait()
    check_waits_on(t, leave)
