# SPDX-License-Identifier: BSD-2-Clause
"""`baton run`: one service in the foreground, without a configuration file."""

import os
import pathlib
import signal

from harness import check, check_equal, get, wait_until
from services import LISTEN, example, generation_of, soon


def begin(t, command, *options):
    """`baton run` of a service called web; returns at once."""
    daemon = t.daemon(None, start=False)
    daemon.process = t.spawn(
        daemon.name, t.program("baton"), "-n", daemon.name, "run", "--listen", LISTEN,
        "--service", "web", *options, "--", *command)
    return daemon


def start(t, command, *options):
    """`baton run` with a health check; returns when it serves."""
    daemon = begin(t, command, "--health", "/healthz", *options)
    daemon.wait_state("running")
    check_equal(generation_of(get().body), 1, "generation that answers")
    return daemon


def answering(generation):
    """Is a connection answered by this generation?"""
    def condition():
        try:
            return generation_of(get().body) == generation
        except ConnectionError:
            return False
    return condition


def test_run_serves_and_hup_replaces_and_term_stops(t):
    daemon = start(t, example(t))
    daemon.process.popen.send_signal(signal.SIGHUP)
    wait_until(answering(2), "the second generation answers")
    daemon.stop()


def test_run_is_seen_by_the_command_line(t):
    daemon = start(t, example(t))
    check_equal(daemon.cli("status", "--json", expect=0).json()["services"][0]["service"], "web",
                "service")
    daemon.restart()
    check_equal(generation_of(get().body), 2, "generation that answers")
    daemon.process.popen.send_signal(signal.SIGHUP)
    wait_until(answering(3), "the third generation answers")


def test_run_names_the_service_after_the_command(t):
    daemon = t.daemon(None, start=False)
    daemon.process = t.spawn(daemon.name, t.program("baton"), "-n", daemon.name, "run",
                             "--listen", LISTEN, "--", *example(t))
    daemon.wait_state("running", "server")


def test_run_without_health_option_waits_for_an_accepted_connection(t):
    daemon = begin(t, example(t, "--startup-delay", "700ms"))
    daemon.wait_state("running")
    check_equal(generation_of(get().body), 1, "generation that answers")


def test_run_passes_the_environment_and_the_folder_on(t):
    """Unlike a service of the daemon: it is the user's own shell that starts this one."""
    os.environ["FROM_THE_SHELL"] = "x"
    daemon = start(t, example(t))
    server = pathlib.Path(f"/proc/{daemon.server_pid()}")
    check(b"FROM_THE_SHELL=x" in (server / "environ").read_bytes().split(b"\0"), "environment")
    check_equal(os.readlink(server / "cwd"), str(t.tmp), "folder")


def test_run_whose_first_start_fails_exits_8_and_says_why(t):
    daemon = begin(t, ["/bin/sh", "-c", "echo no disk >&2; exit 5"])
    check_equal(daemon.process.wait(), 8, "exit status")
    check("no disk" in daemon.process.text(), f"no reason: {daemon.process.text()}")
    daemon.check_clean()


def test_run_whose_first_start_is_unhealthy_exits_8_and_says_why(t):
    daemon = begin(t, example(t, "--unhealthy"), "--health", "/healthz", "--start-timeout", soon(3))
    check_equal(daemon.process.wait(), 8, "exit status")
    check("503" in daemon.process.text(), f"no reason: {daemon.process.text()}")
    daemon.check_clean()


def test_run_whose_restart_fails_keeps_the_old_one(t):
    """The same command, which by now fails: what was there goes on."""
    flag = t.tmp / "broken"
    daemon = start(t, ["/bin/sh", "-c", f"test -e {flag} && exit 1; exec \"$@\"", "sh",
                       *example(t)])
    flag.touch()
    daemon.process.popen.send_signal(signal.SIGHUP)
    daemon.wait_event("failed")
    check_equal(generation_of(get().body), 1, "generation that answers")
    check(daemon.process.running(), "batond has ended")


def test_run_of_a_missing_program_exits_and_names_it(t):
    daemon = begin(t, ["/nonexistent/server"])
    check(daemon.process.wait() not in (0, 2), "exit status")
    check("/nonexistent/server" in daemon.process.text(), f"said: {daemon.process.text()}")
    daemon.check_clean()


def test_run_with_a_bad_address_names_it(t):
    daemon = t.daemon(None, start=False)
    result = daemon.cli("run", "--listen", "localhost:80", "--", "/bin/true")
    check(result.status in (1, 2), f"exit status: {result}")
    check("localhost:80" in result.text, f"said: {result}")
