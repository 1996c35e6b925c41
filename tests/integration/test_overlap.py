# SPDX-License-Identifier: BSD-2-Clause
"""Orders that meet other orders, drains that overlap, and what is remembered meanwhile."""

import os
import signal

from harness import (begin_post, bodies, check, check_equal, connect, get, read_response, refused,
                     wait_until)
from services import example, generation_of, service


def version(t, number):
    """The example server with a version of its own in its body, whatever the generation."""
    return [t.copy("examples/server", "server"), "--generation", number]


def served(number):
    check_equal({generation_of(body) for body in bodies(10)}, {number}, "version that answers")


def numbers(daemon):
    return {g["generation"]: g["state"] for g in daemon.service()["generations"]}


def finish(sock):
    """Send the other half of begin_post() and see that it is answered in full."""
    sock.sendall(b"x" * 5)
    check_equal(read_response(sock).status, 200, "answer to a slow POST")


def hup(daemon):
    daemon.process.popen.send_signal(signal.SIGHUP)


def test_two_old_generations_drain_at_once_and_both_finish(t):
    daemon = t.daemon(service(example(t)))
    with begin_post() as first:
        since = daemon.begin()
        daemon.wait_event("leave", since=since)
        with begin_post() as second:
            since = daemon.begin()
            daemon.wait_event("leave", since=since)
            check_equal(numbers(daemon), {1: "draining", 2: "draining", 3: "current"}, "states")
            finish(second)
            wait_until(lambda: 2 not in numbers(daemon), "generation 2 to go")
        finish(first)
        wait_until(lambda: numbers(daemon) == {3: "current"}, "generation 1 to go")


def test_stop_while_an_old_generation_drains_ends_both(t):
    daemon = t.daemon(service(example(t)))
    with begin_post() as first:
        since = daemon.begin()
        daemon.wait_event("leave", since=since)
        daemon.process.popen.send_signal(signal.SIGTERM)
        wait_until(refused, "new connections are refused")
        finish(first)
    check_equal(daemon.process.wait(), 0, "exit status of batond")


def test_service_that_is_stopping_is_busy(t):
    daemon = t.daemon(service(example(t)))
    with begin_post() as slow:
        since = daemon.begin("stop")
        daemon.wait_event("leave", since=since)
        for order in ("stop", "restart", "start", "rollback"):
            result = daemon.cli(order, "web", "--no-wait")
            check_equal(result.status, 6, f"exit status of {order}: {result}")
        hup(daemon)
        daemon.process.popen.send_signal(signal.SIGTERM)
        finish(slow)
    check_equal(daemon.process.wait(), 0, "exit status of batond")


def test_rollback_during_the_drain_returns_to_the_one_that_drains(t):
    daemon = t.daemon(service(version(t, "101")))
    with begin_post() as slow:
        since = daemon.last_seq()
        daemon.upgrade(version(t, "102"), "--no-wait", expect=0)
        daemon.wait_event("leave", since=since)
        served(102)
        daemon.cli("rollback", "web", expect=0)
        served(101)
        daemon.restart()
        served(101)
        finish(slow)


def test_restart_during_the_drain_of_an_upgrade_keeps_its_command(t):
    daemon = t.daemon(service(version(t, "101")))
    with begin_post() as slow:
        since = daemon.last_seq()
        daemon.upgrade(version(t, "102"), "--no-wait", expect=0)
        daemon.wait_event("leave", since=since)
        daemon.restart()
        served(102)
        finish(slow)


def test_upgrade_survives_the_daemon(t):
    daemon = t.daemon(service(version(t, "101")))
    daemon.upgrade(version(t, "102"), expect=0)
    daemon.process.popen.send_signal(signal.SIGKILL)
    daemon.process.wait()
    daemon.start()
    daemon.restart()
    served(102)


def test_rolled_back_rollout_that_still_drains_is_not_in_the_way(t):
    daemon = t.daemon(service(example(t), rollout={"bake": "10m"}))
    since = daemon.begin()
    daemon.wait_event("settle", since=since)
    with begin_post() as slow:
        daemon.cli("rollback", "web", "--no-wait", expect=0)
        daemon.wait_event("leave", since=since)
        daemon.begin()
        wait_until(lambda: numbers(daemon).get(3) == "candidate" or
                   numbers(daemon).get(3) == "current", "the next one to begin")
        finish(slow)


def test_rollback_of_what_is_under_way_succeeds(t):
    daemon = t.daemon(service(example(t), rollout={"bake": "10m"}))
    since = daemon.begin()
    daemon.wait_event("settle", since=since)
    daemon.cli("rollback", "web", expect=0)
    check_equal(generation_of(get().body), 1, "generation that answers")
    check_equal(daemon.service()["last_rollout"]["reason"], "rolled back by request", "reason")


def test_first_start_can_be_stopped(t):
    daemon = t.daemon(service(example(t, "--ready-after", "60s"), health={"start_timeout": "90s"}),
                      start=False)
    daemon.start_unready()
    daemon.cli("stop", "web", expect=0)
    check_equal(daemon.service()["generations"], [], "generations")


def test_hup_during_a_rollout_is_carried_out_after_it(t):
    daemon = t.daemon(service(version(t, "101"), rollout={"bake": "1s"}))
    since = daemon.begin()
    daemon.wait_event("settle", since=since)
    daemon.config["services"]["web"]["command"] = version(t, "102")
    daemon.write_config()
    hup(daemon)
    wait_until(lambda: generation_of(get().body) == 102, "the changed file to be rolled")


def test_hup_after_a_failed_rollout_tries_again(t):
    daemon = t.daemon(service(version(t, "101")))
    flag = t.tmp / "works"
    script = t.file("server.sh", f"#!/bin/sh\ntest -e {flag} || exit 7\n"
                    f"exec {' '.join(version(t, '102'))}\n", 0o755)
    daemon.config["services"]["web"]["command"] = [script]
    daemon.write_config()
    since = daemon.last_seq()
    hup(daemon)
    check_equal(daemon.wait_end(since)["event"], "failed", "end of the first try")
    flag.touch()
    hup(daemon)
    wait_until(lambda: generation_of(get().body) == 102, "the second try")


def test_hup_after_the_file_changed_while_the_daemon_was_away_rolls(t):
    daemon = t.daemon(service(version(t, "101")))
    daemon.process.popen.send_signal(signal.SIGKILL)
    daemon.process.wait()
    daemon.config["services"]["web"]["command"] = version(t, "102")
    daemon.start()
    served(101)
    hup(daemon)
    wait_until(lambda: generation_of(get().body) == 102, "the changed file to be rolled")


def test_rollback_after_listen_has_changed_brings_the_addresses_back(t):
    daemon = t.daemon(service(example(t), listen=["127.0.0.1:8080", "127.0.0.1:8081"]))
    daemon.restart()
    daemon.cli("stop", "web", expect=0)
    daemon.config["services"]["web"]["listen"] = ["127.0.0.1:8080"]
    daemon.write_config()
    hup(daemon)
    wait_until(lambda: "configuration re-read" in daemon.process.text(), "the reload")
    daemon.cli("start", "web", expect=0)
    check_equal([each["listen"] for each in daemon.service()["endpoints"]], ["127.0.0.1:8080"],
                "addresses")
    daemon.cli("rollback", "web", expect=0)
    check_equal([each["listen"] for each in daemon.service()["endpoints"]],
                ["127.0.0.1:8080", "127.0.0.1:8081"], "addresses")
    served(daemon.current())


def test_drain_waits_for_the_children_of_a_wrapper(t):
    server = t.copy("examples/server", "server")
    script = t.file("wrapper.sh", f'#!/bin/sh\n{server} --fd 3 --generation "$1" &\nwait\n', 0o755)
    daemon = t.daemon(service([script, "{generation}"],
                              drain={"leave_timeout": "300ms", "kill_timeout": "300ms"}))
    with connect() as sock:
        sock.sendall(b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nxxxxx")
        wait_until(lambda: daemon.generation()["instances"][0]["connections"]["live"] == 1,
                   "the connection is counted")
        since = daemon.begin()
        daemon.wait_event("leave", since=since)
        old = daemon.pids(1)
        check(old, "no process of the wrapper is left")
        # The shell has died of TERM; its child, which nobody told, still has the request.
        finish(sock)
    daemon.wait_end(since)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in old), "the old to go")
