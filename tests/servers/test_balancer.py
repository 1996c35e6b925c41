# SPDX-License-Identifier: BSD-2-Clause
"""haproxy in front of two services, with checks of its own: one is stopped, and nothing is lost."""

import pathlib
import signal

from harness import check_equal, refused, timeout, wait_until
from servers import program
from services import service, soon, soon_ms
from swaps import check_unharmed

SHY = str(pathlib.Path(__file__).resolve().parents[1] / "integration" / "shy.py")
# No second try: whoever is refused once is lost.
CONFIGURATION = """\
global
	log stderr local0 info
defaults
	mode http
	retries 0
	timeout connect 10s
	timeout client 30s
	timeout server 30s
frontend front
	bind 127.0.0.1:8000
	default_backend back
backend back
	option httpchk GET /healthz
	timeout check 10s
	default-server inter 100ms fall 2 rise 1
	server web 127.0.0.1:8080 check
	server other 127.0.0.1:8081 check
"""
LOAD = ("--path", "/", "--short", 8, "--rate", 200, "--timeout", "30s", "--expect-status", 200)


def balanced(t, *options, **drain):
    """(daemon, load): two services behind haproxy, which has seen both."""
    def shy(name, port):
        config = service(["/usr/bin/python3", "-B", SHY, *(options if name == "web" else ())],
                         environment={"GENERATION": "{generation}"}, mode="inherit",
                         listen=[f"127.0.0.1:{port}"])
        config["drain"].update(drain)
        return config
    daemon = t.daemon(web=shy("web", 8080), other=shy("other", 8081))
    proxy = t.spawn("haproxy", program("haproxy", "haproxy"), "-db", "-f",
                    t.file("front.cfg", CONFIGURATION))
    wait_until(lambda: not refused(port=8000), "haproxy is there")
    hammer = t.hammer(*LOAD, port=8000)
    wait_until(lambda: hammer.report()["ok"] > 100, "the load has begun")
    return daemon, hammer, proxy


def sick():
    """So long haproxy has to see it."""
    return f"sick={soon_ms(3) / 1000}"


@timeout(300)
def test_balancer_stop_of_a_server_that_turns_its_health_loses_nothing(t):
    daemon, hammer, proxy = balanced(t, sick(), leave_timeout="30s")
    # The exit status may be 5: haproxy goes on asking for its check while the server ends.
    daemon.cli("stop", "web")
    check_equal(daemon.state("web"), "stopped", "state")
    before = hammer.report()["ok"]
    check_unharmed(hammer, at_least=before + 100)
    proxy.end()


@timeout(300)
def test_balancer_end_of_batond_is_open_until_the_server_has_closed(t):
    """The other one goes as well, but both are open for as long as their servers are."""
    daemon, hammer, proxy = balanced(t, sick(), leave_timeout="30s", delay=soon(3))
    daemon.process.popen.send_signal(signal.SIGTERM)
    before = hammer.report()["ok"]
    wait_until(lambda: hammer.report()["ok"] > before + 100, "load after the order")
    check_equal(hammer.stop()["lost"], 0, "lost")
    check_equal(daemon.process.wait(), 0, "batond's exit status")
    proxy.end()


@timeout(300)
def test_balancer_stop_after_a_fixed_delay_is_open_meanwhile(t):
    daemon, hammer, proxy = balanced(t, delay=soon(3))
    since = daemon.begin("stop")
    daemon.wait_event("delaying", since=since)
    before = hammer.report()["ok"]
    wait_until(lambda: hammer.report()["ok"] > before + 100, "load after the order")
    check_equal(hammer.stop()["lost"], 0, "lost")
    daemon.wait_end(since)
    proxy.end()
