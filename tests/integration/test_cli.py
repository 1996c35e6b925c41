# SPDX-License-Identifier: BSD-2-Clause
"""The command line and the API: what they print, and with which exit status."""

import json
import subprocess

from harness import check, check_equal, get, leftovers, wait_until
from services import example, generation_of, service, unready


def curl(t, daemon, *args):
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "60", "--unix-socket",
         str(daemon.api_socket), *args],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=80)
    check_equal(done.returncode, 0, f"curl {args}: {done.stderr}")
    return done.stdout


# ---- exit statuses -------------------------------------------------------------------------------

def test_unknown_service_is_an_error_that_names_it(t):
    daemon = t.daemon(service(example(t)))
    for args in (("restart", "nosuch"), ("status", "nosuch"), ("stop", "nosuch"),
                 ("rollback", "nosuch")):
        result = daemon.cli(*args, expect=1)
        check("nosuch" in result.err, f"{args}: the service is not named: {result}")


def test_daemon_that_is_not_there_is_unreachable(t):
    daemon = t.daemon(service(example(t)), start=False)
    for args in (("status",), ("restart", "web"), ("stop", "web")):
        result = daemon.cli(*args, expect=7)
        check(daemon.name in result.err, f"{args}: the daemon is not named: {result}")


def test_wrong_usage_is_refused(t):
    daemon = t.daemon(service(example(t)), start=False)
    for args in ((), ("nosuchcommand",), ("restart", "web", "api"),
                 ("restart", "web", "--nosuchoption"),
                 ("restart", "bad/name"), ("status", "--listen", "127.0.0.1:8080"),
                 ("check", "a", "b"),
                 ("run", "--listen", "127.0.0.1:8080"), ("run", "--", "/bin/true")):
        result = daemon.cli(*args)
        check_equal(result.status, 2, f"baton {args}: {result}")
        check(result.err and not result.out, f"baton {args} says why on stderr alone: {result}")


def test_batond_with_wrong_usage_is_refused(t):
    for argv in ([], ["--nosuchoption"], ["-c"], ["-n", "bad/name", "-c", "x"]):
        process = t.spawn("batond", t.program("batond"), *argv)
        check(process.wait() in (1, 2), f"exit status of batond {argv}")
        check(process.text(), f"batond {argv} says nothing")


def test_second_daemon_of_the_same_name_is_refused_and_disturbs_nothing(t):
    daemon = t.daemon(service(example(t)))
    second = t.spawn("second", t.program("batond"), "-n", daemon.name, "-c", daemon.file)
    check_equal(second.wait(), 1, "exit status of a second daemon of the same name")
    for part in (f"pid {daemon.pid} has /run/{daemon.name}/lock", "-n gives this one another name"):
        check(part in second.text(), f"{part!r} is not in {second.text()}")
    check_equal(daemon.state(), "running", "state")
    check_equal(generation_of(get().body), 1, "generation that answers")
    daemon.restart()


def test_rollback_without_a_predecessor_is_an_error(t):
    daemon = t.daemon(service(example(t)))
    result = daemon.cli("rollback", "web", expect=1)
    check(result.err, f"nothing is said: {result}")
    check_equal(generation_of(get().body), 1, "generation that answers")


def test_restart_without_waiting_returns_at_once(t):
    daemon = t.daemon(service(example(t)))
    since = daemon.last_seq()
    command, flag = unready(t)
    daemon.cli("upgrade", "web", "--no-wait", "--", *command, expect=0)
    check(not daemon.events("done", since=since), "the rollout was over already")
    flag.unlink()
    check_equal(daemon.wait_end(since)["event"], "done", "end")


# ---- status --------------------------------------------------------------------------------------

def test_status_as_json_is_what_the_api_says(t):
    daemon = t.daemon(service(example(t)))
    printed = daemon.cli("status", "web", "--json", expect=0).json()
    for key in ("service", "state", "mode", "tier", "instances", "endpoints", "generations",
                "rollout", "last_rollout"):
        check(key in printed, f"no {key} in {printed}")
    check_equal((printed["service"], printed["state"], printed["mode"], printed["tier"]),
                ("web", "running", "auto", "ebpf"), "status")
    check_equal(set(printed), set(daemon.service()), "keys")
    everything = daemon.cli("status", "--json", expect=0).json()
    check_equal([each["service"] for each in everything["services"]], ["web"], "services")


def test_status_for_people_names_what_matters(t):
    daemon = t.daemon(service(example(t)))
    daemon.restart()
    pid = str(daemon.server_pid())
    text = daemon.cli("status", "web", expect=0).out
    for expected in ("web", "running", "127.0.0.1:8080", pid, "healthy", "attached"):
        check(expected in text, f"{expected!r} is not in\n{text}")
    check("web" in daemon.cli("status", expect=0).out, "no service in the list")


def test_status_counts_connections_by_kind(t):
    daemon = t.daemon(service(example(t)))
    before = daemon.generation()["instances"][0]["connections"]["steered"]
    for _ in range(25):
        get()
    connections = daemon.generation()["instances"][0]["connections"]
    check_equal(connections["steered"] - before, 25, "steered")
    check(connections["probes"] >= 2, f"probes: {connections}")


# ---- check ---------------------------------------------------------------------------------------

MISTAKES = {
    "nonsense": {},
    "services": {
        "a": {"command": ["/nonexistent/program"], "listen": ["127.0.0.1:8080"]},
        "b": {"command": ["/bin/true"], "listen": ["localhost:80"], "user": "no-such-user-here"},
        "c": {"command": ["/bin/true"], "listen": ["127.0.0.1:8081"],
              "health": {"interval": "1x", "htpt": "/"}},
        "d": {"command": "/bin/true", "listen": ["127.0.0.1:8082"], "instances": "two"},
        "e": {"command": ["/bin/true"], "listen": ["127.0.0.1:8080"]},
        "f": {"command": ["/bin/true"], "listen": ["127.0.0.1:8083"],
              "drain": {"signal": "SIGNOPE"}},
        "g": {"listen": ["127.0.0.1:8084"], "directory": "/nonexistent"},
        "h": {"command": ["/bin/true"]},
    },
}

EXPECTED = [
    "nonsense", "services.a.command", "/nonexistent/program", "services.b.listen[0]",
    "localhost:80", "services.b.user", "no-such-user-here", "services.c.health.interval",
    "\"1x\" is not a duration", "services.c.health.htpt", "http", "services.d.command",
    "services.d.instances", "services.e.listen", "services.f.drain.signal", "SIGNOPE",
    "services.g", "services.g.directory", "services.h",
]


def test_check_reports_every_mistake_at_once_and_touches_nothing(t):
    daemon = t.daemon(service(example(t)), start=False)
    bad = t.file("bad.json", json.dumps(MISTAKES))
    result = daemon.cli("check", bad, expect=1)
    for expected in EXPECTED:
        check(expected in result.text, f"{expected!r} is not in {result}")
    for line in result.err.splitlines():
        check(bad in line or not line.strip().startswith("services."), f"no file in {line!r}")
    check_equal(leftovers(daemon.name), [], "made by check")


def test_check_of_a_good_file_is_content(t):
    daemon = t.daemon(service(example(t)), start=False)
    daemon.write_config()
    daemon.cli("check", daemon.file, expect=0)
    check_equal(leftovers(daemon.name), [], "made by check")


def test_check_as_json_lists_the_mistakes(t):
    daemon = t.daemon(service(example(t)), start=False)
    bad = t.file("bad.json", json.dumps(MISTAKES))
    text = json.dumps(daemon.cli("check", bad, "--json", expect=1).json())
    check("services.f.drain.signal" in text, f"printed: {text}")


def test_check_of_what_is_not_json_names_the_line(t):
    daemon = t.daemon(service(example(t)), start=False)
    result = daemon.cli("check", t.file("bad.json", "{\n \"services\": {,}\n}\n"), expect=1)
    check("2" in result.text and "bad.json" in result.text, f"no line: {result}")


def test_check_of_a_missing_file_names_it(t):
    daemon = t.daemon(service(example(t)), start=False)
    result = daemon.cli("check", t.tmp / "nosuch.json", expect=1)
    check("nosuch.json" in result.text, f"no file: {result}")


def test_batond_refuses_a_bad_file_before_it_touches_anything(t):
    daemon = t.daemon(service(example(t)), start=False)
    bad = t.file("bad.json", json.dumps(MISTAKES))
    process = t.spawn("batond", t.program("batond"), "-n", daemon.name, "-c", bad)
    check_equal(process.wait(), 1, "exit status")
    for expected in EXPECTED:
        check(expected in process.text(), f"{expected!r} is not in {process.text()}")
    check_equal(leftovers(daemon.name), [], "made by batond")


# ---- the API with other clients ------------------------------------------------------------------

def test_curl_reads_status_and_restarts(t):
    daemon = t.daemon(service(example(t)))
    check_equal(curl(t, daemon, "http://b/healthz"), "ok\n", "healthz")
    check_equal(json.loads(curl(t, daemon, "http://b/v1/services/web"))["state"], "running",
                "state")
    version = json.loads(curl(t, daemon, "http://b/v1/version"))
    check_equal(version["pid"], daemon.pid, "pid in version")
    answer = json.loads(curl(t, daemon, "-X", "POST", "http://b/v1/services/web/restart"))
    check_equal((answer["order"], answer["generation"], answer["replaces"]), ("restart", 2, 1),
                "answer")
    daemon.wait_end(answer["seq"])
    check_equal(generation_of(get().body), 2, "generation that answers")


def test_events_can_be_followed(t):
    daemon = t.daemon(service(example(t)))
    since = daemon.last_seq()
    follow = t.spawn("follow", "curl", "--silent", "--no-buffer", "--max-time", "60",
                     "--unix-socket", daemon.api_socket,
                     f"http://b/v1/events?service=web&since={since}&follow=1")
    daemon.restart()

    def events():
        lines = follow.text().splitlines()
        return [json.loads(line)["event"] for line in lines if line.endswith("}")]
    wait_until(lambda: "done" in events(), "the stream has the last event")
    check(events()[0] == "start" and "shift" in events(), f"events: {events()}")
    check(follow.running(), "the stream has ended")


def test_errors_of_the_api_are_problem_documents(t):
    daemon = t.daemon(service(example(t)))
    for method, path, body, expected in (
            ("GET", "/nosuch", None, 404), ("GET", "/v1/services/nosuch", None, 404),
            ("POST", "/v1/services/nosuch/restart", None, 404),
            ("POST", "/v1/services/web/nosuch", None, 404),
            ("POST", "/v1/services/web/upgrade", {"command": 7}, 400),
            ("POST", "/v1/services/web/upgrade", [], 400),
            ("DELETE", "/v1/services/web", None, 405)):
        status, answer = daemon.api(path, method, body)
        check_equal(status, expected, f"{method} {path}")
        for key in ("title", "status", "detail", "code"):
            check(key in answer, f"{method} {path}: no {key} in {answer}")
        check_equal(answer["status"], expected, f"{method} {path}: status in the document")


def test_busy_service_answers_409(t):
    daemon = t.daemon(service(example(t)))
    command, flag = unready(t)
    since = daemon.begin("upgrade", "--", *command)
    status, answer = daemon.api("/v1/services/web/restart", "POST")
    check_equal((status, answer["code"]), (409, 6), f"answer {answer}")
    flag.unlink()
    check_equal(daemon.wait_end(since)["event"], "done", "end")
