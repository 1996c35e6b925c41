# SPDX-License-Identifier: BSD-2-Clause
"""Several checks of one service: of several addresses, of one, and what the server says itself."""

import json
import signal

from harness import check, check_equal, wait_until
from services import SOON, Sickness, example, reconfigure, service
from swaps import GENTLE, check_unharmed

FIRST, SECOND = "127.0.0.1:8080", "127.0.0.1:8081"


def asks(**question):
    return {"interval": "50ms", "timeout": "5s", "start_timeout": "60s", **question}


def health(daemon, instance=0):
    return daemon.generation()["instances"][instance]["health"]


def checks(daemon):
    """(kind, address, state, words) of each check of the first instance, and whether it is ours."""
    return [(each["kind"], each.get("listen"), each["state"], each.get("last"), each["declared"])
            for each in health(daemon)["checks"]]


def hammers(t):
    """A load on each address."""
    return [t.hammer(*GENTLE, port=port) for port in (8080, 8081)]


def test_check_of_the_second_address_reaches_the_new_instance_alone(t):
    """Under load: one that fails there fails the rollout, in its words, and the old one is well."""
    command = example(t, "--unhealthy-while", t.tmp / "sick.{generation}")
    both = [asks(http="/"), asks(http="/healthz", listen=SECOND)]
    daemon = t.daemon(service(command, listen=[FIRST, SECOND], health=both))
    check_equal(checks(daemon), [("http", FIRST, "healthy", f"{FIRST}: GET /: 200 OK", True),
                                 ("http", SECOND, "healthy", f"{SECOND}: GET /healthz: 200 OK",
                                  True)], "checks")
    load = hammers(t)
    reconfigure(daemon, health=[{**each, **SOON} for each in both])
    since = daemon.last_seq()
    (t.tmp / "sick.2").touch()
    failed = daemon.cli("restart", "web", expect=3).text
    words = f"{SECOND}: GET /healthz: 503 Service Unavailable is not in 200-299"
    check(words in failed and f"{FIRST}:" not in failed, f"another check is named: {failed}")
    bad = [each for each in daemon.events(since=since) if each["event"] in ("unhealthy", "probe")]
    check_equal({(each["generation"], each["event"]) for each in bad}, {(2, "probe")}, "events")
    check(all(SECOND in each["message"] for each in bad), f"words: {bad}")
    reconfigure(daemon, health=both)
    for _ in range(3):
        daemon.restart()
    for hammer in load:
        check_unharmed(hammer)


def test_two_checks_of_one_address(t):
    """One of them fails: the instance is out until it is good again, the other one stays good."""
    sickness = Sickness(t)
    both = [asks(http="/", unhealthy=1000), asks(http="/healthz", unhealthy=2, healthy=1)]
    daemon = t.daemon(service(sickness.command(), instances=2, health=both,
                              restart={"delay": "5m"}))
    check_equal([each[:3] for each in checks(daemon)],
                [("http", FIRST, "healthy")] * 2, "checks")
    since = daemon.last_seq()
    sickness.begin(0)
    event = daemon.wait_event("unhealthy", since=since)
    check("GET /healthz: 503" in event["message"], f"words: {event}")
    found = health(daemon)
    check_equal([each["state"] for each in found["checks"]], ["healthy", "unhealthy"], "states")
    check(found["checks"][1]["failures"] >= 2 and found["checks"][0]["failures"] == 0,
          f"failures in a row: {found}")
    check_equal(found["last"], found["checks"][1]["last"], "the words that decide")
    shown = daemon.cli("status", "web").out
    check("FAILURES" in shown and shown.count("GET /healthz: ") >= 2, f"table of checks: {shown}")
    sickness.end(0)
    daemon.wait_event("recovered", since=since)
    wait_until(lambda: health(daemon)["state"] == "healthy", "it is well again")


def test_notify_among_several(t):
    """What says no READY=1 is not healthy, however well it answers."""
    both = [asks(http="/"), {"notify": True}]
    daemon = t.daemon(service(example(t), health=both))
    check_equal([each[:4] for each in checks(daemon)],
                [("http", FIRST, "healthy", "GET /: 200 OK"), ("notify", None, "healthy", "READY=1")],
                "checks")
    reconfigure(daemon, health=[asks(http="/", **SOON), {"notify": True, **SOON}])
    failed = daemon.upgrade(["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "8080"],
                            expect=3).text
    check("did not send READY=1 within " in failed, f"reason: {failed}")


def test_reload_changes_the_array(t):
    """What runs keeps its checks, and what they know; the next generation has the new ones."""
    one = asks(http="/healthz")
    daemon = t.daemon(service(example(t), listen=[FIRST, SECOND], health=one))
    alone, pid = checks(daemon), daemon.server_pid()
    check_equal([(each[0], each[1], each[4]) for each in alone],
                [("http", FIRST, True), ("connect", SECOND, False)], "checks of an object")
    since = daemon.last_seq()
    reconfigure(daemon, health=[one])
    reconfigure(daemon, health=[one, asks(http="/", listen=SECOND)])
    check_equal((checks(daemon), daemon.server_pid(), daemon.current()), (alone, pid, 1),
                "what runs after the reload")
    check_equal([each["event"] for each in daemon.events(since=since)
                 if each["event"] in ("start", "healthy", "unhealthy", "probe")], [], "events")
    daemon.restart()
    check_equal([each[:3] for each in checks(daemon)],
                [("http", FIRST, "healthy"), ("http", SECOND, "healthy")], "checks of the array")
    # The next batond asks as the file says.
    pid = daemon.server_pid()
    daemon.config["services"]["web"]["health"] = [one]
    daemon.process.popen.send_signal(signal.SIGKILL)
    daemon.process.wait()
    daemon.start()
    wait_until(lambda: health(daemon)["state"] == "healthy", "its checks are good")
    check_equal((checks(daemon), daemon.server_pid()), (alone, pid), "after a takeover")
    # No array of 65.
    daemon.config["services"]["web"]["health"] = [one] * 65
    daemon.write_config()
    for refused in (daemon.cli("check", daemon.file), daemon.cli("reload")):
        check(refused.status != 0 and "services.web.health: 65 checks: at most 64 are possible"
              in refused.text, f"refusal: {refused}")
    daemon.config["services"]["web"]["health"] = [{**one, "listen": "127.0.0.1:9"}]
    daemon.write_config()
    refused = daemon.cli("check", daemon.file)
    check(f'{daemon.file}: services.web.health[0].listen: "127.0.0.1:9" is no address of this '
          f'service (expected "{FIRST}" or "{SECOND}")' in refused.text, f"refusal: {refused}")


def test_as_many_checks_as_there_may_be(t):
    """All 64 are asked; nothing is lost by them, and none is counted as a client."""
    many = [asks(http="/", interval="500ms", healthy=1, listen=(FIRST, SECOND)[k % 2])
            for k in range(64)]
    daemon = t.daemon(service(example(t), listen=[FIRST, SECOND], health=many))
    daemon.restart()
    found = health(daemon)["checks"]
    check_equal((len(found), {each["state"] for each in found}), (64, {"healthy"}), "checks")
    shown = json.loads(daemon.cli("connections", "web", "--json", expect=0).out)
    check_equal(shown["total"], 0, "connections")
