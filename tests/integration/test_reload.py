# SPDX-License-Identifier: BSD-2-Clause
"""HUP or `baton reload`: the configuration is read again, and what has changed is rolled."""

import json
import signal

from harness import bodies, check, check_equal, get, refused, wait_until
from services import example, generation_of, pid_of, python, service
from swaps import check_unharmed, gentle


def two(t):
    """A daemon with two services, on ports 8080 (web) and 8081 (api)."""
    return t.daemon(web=service(example(t)), api=service(example(t), listen=["127.0.0.1:8081"]))


def reload(daemon):
    daemon.write_config()
    daemon.process.popen.send_signal(signal.SIGHUP)


def test_hup_rolls_only_the_service_that_has_changed(t):
    daemon = two(t)
    hammer = t.hammer("--short", 4, "--timeout", "30s", "--expect-status", 200)
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


# ---- by order ------------------------------------------------------------------------------------

LISTS = ("started", "changed", "removed", "unchanged", "refused")


def ordered(daemon, **expected):
    """POST /v1/reload: which services are in which list; the others are empty."""
    daemon.write_config()
    status, answer = daemon.api("/v1/reload", "POST")
    check_equal(status, 200, f"{answer}")
    check_equal({key: sorted(answer[key]) for key in LISTS},
                {key: sorted(expected.get(key, [])) for key in LISTS}, "answer")
    check(answer["message"], "no message")
    return answer


def is_settled(daemon, service="web"):
    now = daemon.service(service)
    return (now["state"] == "running" and not now["rollout"] and
            [each["state"] for each in now["generations"]] == ["current"])


def wait_generation(daemon, generation, service="web"):
    wait_until(lambda: is_settled(daemon, service) and daemon.current(service) == generation,
               f"generation {generation} of {service} serves")


def test_reload_says_what_it_does_and_rolls_only_that(t):
    daemon = t.daemon(web=service(example(t)), api=service(example(t), listen=["127.0.0.1:8081"]),
                      old=service(example(t), listen=["127.0.0.1:8083"]))
    hammer = gentle(t)
    untouched = daemon.server_pid(service="api")
    ordered(daemon, unchanged=["web", "api", "old"])
    services = daemon.config["services"]
    services["web"]["environment"] = {"COLOUR": "green"}
    del services["old"]
    services["new"] = service(example(t), listen=["127.0.0.1:8082"])
    ordered(daemon, started=["new"], changed=["web"], removed=["old"], unchanged=["api"])
    wait_generation(daemon, 2)
    daemon.wait_state("running", "new")
    wait_until(lambda: daemon.api("/v1/services/old")[0] == 404, "the removed one is gone")
    check(refused(8083), "the removed one listens")
    check_equal([generation_of(get(port=port).body) for port in (8080, 8081, 8082)], [2, 1, 1],
                "who answers")
    check_equal(daemon.server_pid(service="api"), untouched, "pid of the other one")
    check_unharmed(hammer)


def test_reload_of_the_command_line_says_what_it_did(t):
    daemon = two(t)
    daemon.config["services"]["web"]["environment"] = {"COLOUR": "green"}
    daemon.write_config()
    result = daemon.cli("reload", expect=0)
    for expected in ("web", "changed"):
        check(expected in result.out, f"{expected!r} is not in {result}")
    wait_generation(daemon, 2)
    answer = daemon.cli("reload", "--json", expect=0).json()
    check_equal((answer["changed"], sorted(answer["unchanged"])), ([], ["api", "web"]), f"{answer}")
    check_equal(daemon.current(), 2, "generation")
    check(daemon.events("reloaded", service=""), "no event tells of it")


def test_reload_finds_an_edited_environment_file_and_another_link(t):
    settings = t.tmp / "settings"
    settings.write_text("COLOUR=blue\n")
    link = t.tmp / "current"
    for number in (1, 2):
        t.file(f"release-{number}", f'#!/bin/sh\nRELEASE={number} exec "$@"\n', 0o755)
    link.symlink_to("release-1")
    daemon = t.daemon(web=service(python(t), environment_file=str(settings)),
                      api=service([link, *python(t)], listen=["127.0.0.1:8081"]))
    hammer = gentle(t)
    ordered(daemon, unchanged=["web", "api"])
    settings.write_text("COLOUR=green\n")
    ordered(daemon, changed=["web"], unchanged=["api"])
    wait_generation(daemon, 2)
    check_equal(json.loads(get("/how").body)["environment"]["COLOUR"], "green", "colour")
    link.unlink()
    link.symlink_to("release-2")
    ordered(daemon, changed=["api"], unchanged=["web"])
    wait_generation(daemon, 2, "api")
    check_equal(json.loads(get("/how", 8081).body)["environment"]["RELEASE"], "2", "release")
    ordered(daemon, unchanged=["web", "api"])
    check_unharmed(hammer)


def test_reload_with_mistakes_is_refused_with_all_of_them(t):
    daemon = two(t)
    pid, since = daemon.server_pid(), daemon.last_seq()
    daemon.config["services"]["web"].update(instances="two", comand=["x"])
    daemon.config["services"]["api"]["health"]["interval"] = "1x"
    daemon.write_config()
    mistakes = ("services.web.instances", "services.web.comand", "services.api.health.interval")
    status, answer = daemon.api("/v1/reload", "POST")
    check_equal((status, answer["code"], len(answer["mistakes"])), (422, 1, 3), f"{answer}")
    check_equal(answer["detail"], answer["mistakes"][0], "detail")
    result = daemon.cli("reload", expect=1)
    for expected in (*mistakes, str(daemon.file)):
        check(expected in result.err, f"{expected!r} is not in {result}")
        check(any(expected in text for text in answer["mistakes"]), f"{expected!r}: {answer}")
    daemon.file.write_text('{"services": }')
    check("line 1" in daemon.cli("reload", expect=1).err, "a mistake in the syntax")
    daemon.file.unlink()
    check(str(daemon.file) in daemon.cli("reload", expect=1).err, "a file that is gone")
    check_equal((daemon.server_pid(), daemon.state(), daemon.events(since=since)),
                (pid, "running", []), "pid, state, events")
    check_equal(generation_of(get(port=8081).body), 1, "the other one")


def test_reload_refuses_what_can_only_change_while_stopped_and_does_the_rest(t):
    daemon = two(t)
    hammer = gentle(t)
    daemon.config["services"]["web"]["sticky"] = True
    daemon.config["services"]["api"]["environment"] = {"COLOUR": "green"}
    daemon.write_config()
    result = daemon.cli("reload")
    check(result.status != 0, f"a refusal that nobody sees: {result}")
    for expected in ("web", "sticky", "baton stop web"):
        check(expected in result.text, f"{expected!r} is not in {result}")
    wait_generation(daemon, 2, "api")
    check_equal((daemon.current(), generation_of(get().body)), (1, 1), "the one that is refused")
    check_unharmed(hammer)
    daemon.cli("stop", "web", expect=0)
    ordered(daemon, unchanged=["web", "api"])
    daemon.cli("start", "web", expect=0)
    check_equal(len({pid_of(body) for body in bodies(20)}), 1, "who answers one client")


def test_reload_scales_where_the_number_in_the_file_has_changed(t):
    daemon = two(t)
    hammer = gentle(t)
    daemon.config["services"]["web"]["instances"] = 3
    ordered(daemon, changed=["web"], unchanged=["api"])
    wait_until(lambda: is_settled(daemon) and len(daemon.generation()["instances"]) == 3, "three")
    check_equal(daemon.current(), 1, "generation")
    # What was ordered stays until the file says something else.
    daemon.cli("scale", "web", 2, expect=0)
    ordered(daemon, unchanged=["web", "api"])
    check_equal(len(daemon.generation()["instances"]), 2, "instances")
    daemon.config["services"]["web"]["instances"] = 1
    ordered(daemon, changed=["web"], unchanged=["api"])
    wait_until(lambda: is_settled(daemon) and len(daemon.generation()["instances"]) == 1, "one")
    check_unharmed(hammer)


def test_reload_of_policies_rolls_nothing_and_counts_from_then_on(t):
    daemon = two(t)
    hammer = gentle(t)
    web = daemon.config["services"]["web"]
    web["rollout"].update(strategy="canary", steps=[{"weight": 50}, {"weight": 100}])
    web["restart"] = {"max": 7}
    ordered(daemon, unchanged=["web", "api"])
    now = daemon.service()
    check_equal((now["strategy"], now["restarts"]["max"], daemon.current()), ("canary", 7, 1),
                "strategy, restarts, generation")
    since = daemon.begin()
    daemon.wait_event("waiting", since=since)
    daemon.cli("promote", "web", expect=0)
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check_unharmed(hammer)


def test_reload_wins_over_the_command_of_an_earlier_upgrade(t):
    daemon = two(t)
    hammer = gentle(t)
    other = [t.copy("examples/server", "server-2"), *example(t)[1:]]
    daemon.upgrade(other, expect=0)
    ordered(daemon, unchanged=["web", "api"])
    check_equal(daemon.generation()["executable"], other[0], "executable")
    daemon.config["services"]["web"]["environment"] = {"COLOUR": "green"}
    ordered(daemon, changed=["web"], unchanged=["api"])
    wait_generation(daemon, 3)
    check_equal(daemon.generation()["executable"], example(t)[0], "executable")
    check_unharmed(hammer)


def test_reload_of_a_stopped_service_does_not_start_it(t):
    daemon = two(t)
    daemon.cli("stop", "web", expect=0)
    daemon.config["services"]["web"]["environment"] = {"COLOUR": "green"}
    ordered(daemon, unchanged=["web", "api"])
    check_equal(daemon.state(), "stopped", "state")
    daemon.cli("start", "web", expect=0)
    with open(f"/proc/{daemon.server_pid()}/environ", "rb") as environ:
        check(b"COLOUR=green" in environ.read().split(b"\0"), "the environment is the old one")


def test_reload_of_baton_run_is_refused(t):
    name = t.new_name()
    run = t.spawn("run", t.program("baton"), "-n", name, "run", "--listen", "127.0.0.1:8080", "--",
                  *example(t)[:1])
    cli = [t.program("baton"), "-n", name]
    wait_until(lambda: not refused(), "it listens")
    again = t.spawn("reload", *cli, "reload")
    check_equal(again.wait(), 1, f"exit status: {again.text()}")
    check("no configuration" in again.text(), f"no reason: {again.text()}")
    run.popen.terminate()
    run.wait()


def test_reload_starts_a_service_whose_first_start_failed(t):
    daemon = t.daemon(service(python(t), health={"http": "/", "status": 299, "timeout": "300ms",
                                                 "start_timeout": "1s"}), start=False)
    daemon.start_unready()
    daemon.wait_state("failed")
    daemon.config["services"]["web"] = service(python(t))
    ordered(daemon, started=["web"])
    daemon.wait_state("running")


def test_reload_does_not_bring_again_what_was_rolled_back(t):
    current = t.tmp / "current"
    for name in ("a", "b"):
        (t.tmp / name).mkdir()
    current.symlink_to("a")
    daemon = t.daemon(service(example(t), directory=str(current)))
    hammer = gentle(t)
    (t.tmp / "next").symlink_to("b")
    (t.tmp / "next").rename(current)
    daemon.restart()
    daemon.cli("rollback", "web", expect=0)
    check_equal(daemon.generation()["directory"], str(t.tmp / "a"), "folder after the rollback")
    ordered(daemon, unchanged=["web"])
    check_equal(daemon.generation()["directory"], str(t.tmp / "a"), "folder after the reload")
    # What is asked for is done all the same.
    daemon.restart()
    check_equal(daemon.generation()["directory"], str(t.tmp / "b"), "folder after a restart")
    # A restart of the same has not changed what there is to go back to.
    daemon.restart()
    daemon.cli("rollback", "web", expect=0)
    check_equal(daemon.generation()["directory"], str(t.tmp / "a"), "folder after another rollback")
    check_unharmed(hammer)
