# SPDX-License-Identifier: BSD-2-Clause
"""
Before the drain signal: connections on which nobody has said anything yet get time to do so, on every
way on which an instance goes. When a service is stopped, it is open until its server has left.

What each tier promises: the same. The connections that are waited for are those that were there when
the wait began: on ebpf and cbpf no others come, on hash (and while a service is stopped) some may.
"""

import contextlib
import pathlib
import signal
import time

from harness import (check, check_equal, connect, get, read_response, refused, send_request,
                     wait_until)
from services import generation_of, service, soon
from swaps import check_unharmed, gentle

SHY = str(pathlib.Path(__file__).with_name("shy.py"))
TIERS = ("ebpf", "cbpf", "hash")
# So long a test may take to say something, on a busy machine.
LONG = {"delay_max": "60s"}


def shy(t, *options, **changes):
    changes.setdefault("mode", "inherit")
    changes["drain"] = {**LONG, **changes.get("drain", {})}
    return t.daemon(service(["/usr/bin/python3", "-B", SHY, *options],
                            environment={"GENERATION": "{generation}"}, **changes))


def live(daemon):
    return sum(each["connections"]["live"] for each in daemon.service()["generations"])


@contextlib.contextmanager
def silent(daemon, number=10):
    """Clients that have connected, and whom the server has accepted."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect()) for _ in range(number)]
        wait_until(lambda: live(daemon) == number, "they are counted")
        yield socks


def speak(socks):
    """The generations that answer, one for each; None: lost."""
    answers = []
    for sock in socks:
        try:
            send_request(sock, headers=["Connection: close"])
            answers.append(generation_of(read_response(sock).body))
        except (OSError, AssertionError, ValueError):
            answers.append(None)
    return answers


def wait_delaying(daemon, since):
    event = daemon.wait_event("delaying", since=since)
    check("waiting for" in event["message"] and "not sent a request yet" in event["message"],
          f"message: {event}")
    return event


def spoken_in_time(daemon, order, *rest, end="done", number=10):
    """They say something while @order waits for them: nothing is lost."""
    with silent(daemon, number) as socks:
        since = daemon.begin(order, *rest)
        event = wait_delaying(daemon, since)
        check_equal(daemon.events("leave", since=since), [], "told before they have spoken")
        answers = speak(socks)
        result = daemon.wait_end(since)
    check(None not in answers, f"answers: {answers}")
    check_equal((result["event"], result["cut_by_server"]), (end, 0), "end")
    step = daemon.events("delay", since=since)[-1]
    check_equal(step["silent"], 0, f"left: {step}")
    return event, answers, since


# ---- restarts ------------------------------------------------------------------------------------

def test_delay_restart_waits_for_those_who_have_said_nothing_on_each_tier(t):
    for tier in TIERS:
        daemon = shy(t, steering=tier)
        check_equal(daemon.service()["tier"], tier, "tier")
        event, answers, since = spoken_in_time(daemon, "restart")
        check_equal(event["silent"], 10, f"silent on {tier}")
        check_equal(set(answers), {1}, "generations that answer")
        check_equal(generation_of(get().body), 2, "generation")
        shift, delay = (daemon.events(kind, since=since)[0]["seq"] for kind in ("shift", "delay"))
        check(shift < delay < daemon.events("leave", since=since)[0]["seq"], "order of the steps")
        daemon.end()


def test_delay_of_nothing_loses_them_all(t):
    """The server is such a one: without a delay it closes them."""
    for tier in TIERS:
        daemon = shy(t, steering=tier, drain={"delay": "0s"})
        with silent(daemon) as socks:
            since = daemon.last_seq()
            daemon.restart()
            check_equal(speak(socks), [None] * 10, f"answers on {tier}")
        check_equal(daemon.events("delaying", since=since), [], "nobody was waited for")
        daemon.end()


def test_delay_of_those_who_never_speak_ends(t):
    daemon = shy(t, drain={"delay_max": soon(0.7)})
    with silent(daemon, 3) as socks:
        since = daemon.begin()
        answers = speak(socks[:1])
        end = daemon.wait_end(since)
        check_equal(answers + speak(socks[1:]), [1, None, None], "answers")
    check_equal(end["event"], "done", "end")
    delay = daemon.events("delay", since=since)[0]
    check(delay["took_ms"] >= 700 and delay["silent"] == 2, f"delay: {delay}")
    check("have not sent a request within" in delay["message"], f"message: {delay}")


def test_delay_is_told_by_status_and_by_who_follows(t):
    daemon = shy(t)
    with silent(daemon, 2) as socks:
        order = t.spawn("restart", t.program("baton"), "-n", daemon.name, "restart", "web")
        said = "waiting for 2 connections that have not sent a request yet, up to 1m"
        wait_until(lambda: said in order.text(), "the order tells it")
        rollout = daemon.service()["rollout"]
        check_equal((rollout["step"], rollout["waiting"], rollout["silent"]), ("delay", "delay", 2),
                    f"{rollout}")
        check(0 < rollout["waiting_ms"] <= 60000, f"time left: {rollout}")
        text = daemon.cli("status", "web", expect=0).text
        check("for 2 connections that have not sent a request yet" in text, f"status: {text}")
        check_equal(speak(socks), [1, 1], "answers")
        check_equal(order.wait(), 0, f"exit: {order.text()}")


def test_delay_is_none_where_nobody_is_silent(t):
    """Clients that talk are not waited for, however many there are."""
    daemon = shy(t)
    hammer = gentle(t)
    with connect() as idle:
        send_request(idle)
        check_equal(read_response(idle).status, 200, "answer")
        for _ in range(5):
            daemon.restart()
    check_unharmed(hammer)
    # One who has connected this moment, and is just about to say something, may have been seen.
    for delay in daemon.events("delay"):
        check_equal(delay["silent"], 0, f"the idle one was waited for: {delay}")


def test_delay_of_a_server_that_speaks_first_is_none(t):
    greeter = t.file("greeter.py", """\
import signal, socket
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
listener = socket.socket(fileno=3)
listener.settimeout(0.1)
clients = []
while not told:
    try:
        clients.append(listener.accept()[0])
        clients[-1].sendall(b"hello\\n")
    except TimeoutError:
        pass
""")
    config = service(["/usr/bin/python3", "-B", greeter], mode="inherit", drain=LONG)
    del config["health"]["http"]
    daemon = t.daemon(config)
    with connect() as sock:
        check_equal(sock.recv(16), b"hello\n", "greeting")
        daemon.restart()
    check_equal(daemon.events("delaying"), [], "it was waited for")


def test_delay_that_is_fixed_is_waited_for_whoever_is_there(t):
    daemon = shy(t, drain={"delay": "600ms"})
    since = daemon.last_seq()
    result = daemon.restart()
    check("waiting for 600ms before the drain signal" in result.text, f"said: {result}")
    delay = daemon.events("delay", since=since)[0]
    check(delay["took_ms"] >= 600 and "silent" not in delay, f"delay: {delay}")


# ---- every other way -----------------------------------------------------------------------------

def test_delay_rolling_waits_in_each_batch(t):
    for tier in TIERS:
        daemon = shy(t, instances=2, steering=tier, rollout={"strategy": "rolling"})
        with silent(daemon, 16) as socks:
            since = daemon.begin()
            answers = []
            wait_delaying(daemon, since)
            answers = speak(socks)
            end = daemon.wait_end(since)
        check_equal((end["event"], set(answers)), ("done", {1}), f"end on {tier}")
        daemon.end()


def test_delay_scaling_down_waits(t):
    for tier in TIERS:
        daemon = shy(t, instances=2, steering=tier)
        spoken_in_time(daemon, "scale", "1", number=16)
        daemon.end()


def test_delay_rollback_waits_for_clients_of_the_new_one(t):
    daemon = shy(t, rollout={"bake": "60s"})
    since = daemon.begin()
    daemon.wait_event("settle", since=since)
    with silent(daemon, 4) as socks:
        daemon.cli("abort", "web", "--no-wait", expect=0)
        wait_delaying(daemon, since)
        check_equal(speak(socks), [2] * 4, "answers")
        check_equal(daemon.wait_end(since)["event"], "rolled-back", "end")


def test_delay_can_be_undone_until_it_is_over(t):
    """The old side still backs the new one up, and is named again at once."""
    daemon = shy(t)
    with silent(daemon, 2) as socks:
        since = daemon.begin()
        wait_delaying(daemon, since)
        daemon.cli("abort", "web", expect=0)
        check_equal(daemon.current(), 1, "current generation")
        check_equal(speak(socks), [1, 1], "answers")


def test_delay_retired_after_a_takeover_waits(t):
    """The next daemon keeps the old generation, which had not been told to go. The new one goes."""
    daemon = shy(t)
    with contextlib.ExitStack() as stack:
        old = [stack.enter_context(connect()) for _ in range(4)]
        wait_until(lambda: live(daemon) == 4, "they are counted")
        since = daemon.begin()
        wait_delaying(daemon, since)
        new = [stack.enter_context(connect()) for _ in range(3)]
        wait_until(lambda: live(daemon) == 7, "the new ones are counted")
        since = daemon.last_seq()
        daemon.process.popen.send_signal(signal.SIGKILL)
        daemon.process.wait()
        daemon.start()
        check_equal(wait_delaying(daemon, since)["silent"], 3, "silent")
        check_equal(speak(new), [2] * 3, "answers of the new one")
        check_equal(speak(old), [1] * 4, "answers of the old one")
    wait_until(lambda: len(daemon.service()["generations"]) == 1, "one generation is left")
    check_equal(daemon.current(), 1, "current generation")


# ---- the end -------------------------------------------------------------------------------------

def test_delay_stop_waits(t):
    for tier in TIERS:
        daemon = shy(t, steering=tier)
        spoken_in_time(daemon, "stop")
        check_equal(daemon.state(), "stopped", "state")
        check(refused(), "a stopped service accepts")
        daemon.end()


def test_delay_end_of_batond_waits(t):
    daemon = shy(t)
    with silent(daemon) as socks:
        since = daemon.last_seq()
        daemon.process.popen.send_signal(signal.SIGTERM)
        wait_delaying(daemon, since)
        check_equal(speak(socks), [1] * 10, "answers")
    check_equal(daemon.process.wait(), 0, "batond's exit status")
    daemon.check_clean()


def test_delay_is_no_longer_than_the_end_may_take(t):
    daemon = shy(t, drain={"shutdown_timeout": "600ms"})
    with silent(daemon, 2):
        began = time.monotonic()
        daemon.cli("stop", "web", expect=0)
        check(time.monotonic() - began < 30, "it was waited for longer")


def status_of(path):
    try:
        return get(path).status
    except OSError:
        return None


def test_stop_is_open_until_the_server_has_closed(t):
    """Whoever balances load in front sees by the check that it goes, before anybody is refused."""
    for tier in TIERS:
        daemon = shy(t, "sick=4", steering=tier, instances=2 if tier == "ebpf" else 1)
        since = daemon.begin("stop")
        wait_until(lambda: status_of("/healthz") == 503, "it is told to drain")
        # Until then: what is in the queue of the last socket when it closes is nobody's.
        end = time.monotonic() + 2
        for _ in range(50):
            check_equal(status_of("/"), 200, f"answer of one that is being stopped on {tier}")
            if time.monotonic() > end:
                break
        check_equal(daemon.wait_end(since)["exit"], 0, "exit")
        leave = daemon.events("leave", since=since)[0]
        check(leave["took_ms"] >= 3900, f"it was refused sooner: {leave}")
        check("new connections are refused" in leave["message"], f"message: {leave}")
        check(refused(), "a stopped service accepts")
        daemon.end()


def test_stop_shuts_what_is_still_open_at_the_leave_timeout(t):
    daemon = shy(t, "sick=60", drain={"leave_timeout": "500ms", "shutdown_timeout": "1s",
                                      "kill_timeout": "300ms"})
    since = daemon.begin("stop")
    leave = daemon.wait_event("leave", since=since)
    check("had to be shut down" in leave["message"], f"message: {leave}")
    check(refused(), "it still accepts")
    daemon.wait_end(since)


def test_stop_of_a_server_that_accepts_no_more_refuses(t):
    """It would let them wait, and reset them when it closes."""
    daemon = shy(t, "deaf=3", drain={"leave_timeout": "60s"})
    since = daemon.begin("stop")
    with contextlib.ExitStack() as stack:
        def deaf():
            with contextlib.suppress(OSError):
                stack.enter_context(connect())
            return refused()
        wait_until(deaf, "new connections are refused")
        check_equal(daemon.events("leave", since=since), [], "it has left already")
    check_equal(daemon.wait_end(since)["event"], "done", "end")


# ---- who is idle ---------------------------------------------------------------------------------

def test_idle_timeout_does_not_cut_a_request_that_is_worked_on(t):
    for tier in TIERS:
        daemon = shy(t, steering=tier, drain={"wait": "connections", "idle_timeout": "500ms"})
        with connect() as slow, connect() as idle:
            send_request(idle)
            check_equal(read_response(idle).status, 200, "answer")
            send_request(slow, path="/slow/3")
            since = daemon.begin()
            check_equal(generation_of(read_response(slow).body), 1, "generation that answers")
            end = daemon.wait_end(since)
        check_equal((end["event"], end["exit"]), ("done", 0), f"end on {tier}")
        drain = daemon.events("drain", since=since)[0]
        check("idle one" in drain["message"], f"the idle one was waited for: {drain}")
        daemon.end()
