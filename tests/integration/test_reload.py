# SPDX-License-Identifier: BSD-2-Clause
"""HUP to `batond -c FILE`: the file is read again, and what has changed is rolled."""

import signal

from harness import check, check_equal, get, wait_until
from services import example, generation_of, service


def two(t):
    """A daemon with two services, on ports 8080 (web) and 8081 (api)."""
    return t.daemon(web=service(example(t)), api=service(example(t), listen=["127.0.0.1:8081"]))


def reload(daemon):
    daemon.write_config()
    daemon.process.popen.send_signal(signal.SIGHUP)


def test_hup_rolls_only_the_service_that_has_changed(t):
    daemon = two(t)
    hammer = t.hammer("--short", 4, "--timeout", "10s", "--expect-status", 200)
    untouched = daemon.server_pid(service="api")
    since = daemon.last_seq()
    daemon.config["services"]["web"]["environment"] = {"COLOUR": "green"}
    reload(daemon)
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    with open(f"/proc/{daemon.server_pid()}/environ", "rb") as environ:
        check(b"COLOUR=green" in environ.read().split(b"\0"), "the environment is the old one")
    check_equal(generation_of(get().body), 2, "generation that answers")
    check_equal(daemon.server_pid(service="api"), untouched, "pid of the other service")
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_hup_starts_what_is_new_and_drains_what_is_gone(t):
    daemon = two(t)
    del daemon.config["services"]["api"]
    daemon.config["services"]["more"] = service(example(t), listen=["127.0.0.1:8082"])
    reload(daemon)

    def as_configured():
        services = daemon.api("/v1/services")[1]["services"]
        return {each["service"]: each["state"] for each in services} == {
            "web": "running", "more": "running"}
    wait_until(as_configured, "the services are those of the file")
    check_equal(get(port=8082).status, 200, "answer of the new service")
    check_equal(daemon.current(), 1, "generation of what has not changed")


def test_hup_with_a_bad_file_changes_nothing_and_says_why(t):
    daemon = two(t)
    pid = daemon.server_pid()
    daemon.config["services"]["web"]["instances"] = "two"
    reload(daemon)
    wait_until(lambda: "services.web.instances" in daemon.process.text(), "the mistake is logged")
    check_equal((daemon.server_pid(), daemon.state()), (pid, "running"), "pid and state")
    daemon.restart()
