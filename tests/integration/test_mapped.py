# SPDX-License-Identifier: BSD-2-Clause
"""
Servers that bind an IPv4 address on an IPv6 socket, as every Java program does. The kernel keeps
such sockets and IPv4 ones apart, and gives each connection to the latter: whatever serves must be
of one family, and baton finds out which.
"""

import json
import os
import signal
import socket

from harness import (bodies, check, check_equal, connect, get, read_response, refused, send_request,
                     wait_until)
from services import LISTEN, binder, example, generation_of, service
from swaps import LOAD, check_unharmed, gentle, swap_many
from test_takeover import kill_daemon

MAPPED = "[::ffff:127.0.0.1]:8080"
FAMILY = "IPv4-mapped"
SWAPS = 3


def by_generation(generation):
    def judge(body):
        check_equal(generation_of(body), generation, f"generation in {body!r}")
    return judge


def server(t, *options, bind=MAPPED, share=False):
    """The command of a server that binds @bind, whatever it is told."""
    return binder(t, "--listen", bind, *(["--share"] if share else []), *options)


def family(daemon):
    return daemon.service()["endpoints"][0]["family"]


def check_mapped(daemon):
    endpoint = daemon.service()["endpoints"][0]
    check_equal(endpoint["family"], FAMILY, "family of the sockets")
    check("(IPv4-mapped)" in daemon.cli("status", "web", expect=0).text or
          endpoint["listen"] != LISTEN, "status does not say of which family they are")
    if daemon.service()["tier"] == "ebpf":
        check_equal(endpoint["program"]["state"], "attached", "program")


# ---- found out -----------------------------------------------------------------------------------

def swapped(t, mode, steering, share, **changes):
    """Found out at the first start; then nothing is lost in swaps under load."""
    daemon = t.daemon(service(server(t, share=share), mode=mode, steering=steering, **changes))
    check_equal(daemon.service()["tier"], steering, "tier")
    check_equal(daemon.current(), 1, "found out without a second generation")
    check_mapped(daemon)
    swap_many(t, daemon, by_generation, SWAPS, LOAD)
    check_mapped(daemon)
    return daemon


def test_mapped_auto_is_found_out_and_swapped(t):
    daemon = swapped(t, "auto", "ebpf", share=False)
    check_equal(daemon.generation()["mode"], "transparent", "mode")


def test_mapped_transparent_is_found_out_and_swapped(t):
    swapped(t, "transparent", "ebpf", share=False)


def test_mapped_native_is_found_out_and_swapped(t):
    daemon = swapped(t, "native", "ebpf", share=True)
    check_equal(daemon.generation()["mode"], "native", "mode")


def test_mapped_native_is_found_out_and_swapped_by_cbpf(t):
    swapped(t, "native", "cbpf", share=True)


def test_mapped_auto_is_found_out_and_swapped_by_cbpf(t):
    swapped(t, "auto", "cbpf", share=True)


def test_mapped_instances_of_one_start_are_found_out_together(t):
    daemon = swapped(t, "auto", "ebpf", share=False, instances=3)
    pids = {each["pid"] for each in daemon.generation()["instances"]}
    check_equal({int(body.split()[-1]) for body in bodies(100)}, pids, "who answers")


def test_mapped_instances_of_one_start_are_found_out_together_by_cbpf(t):
    daemon = swapped(t, "native", "cbpf", share=True, instances=3)
    pids = {each["pid"] for each in daemon.generation()["instances"]}
    check_equal({int(body.split()[-1]) for body in bodies(100)}, pids, "who answers")


def test_mapped_server_with_several_sockets_is_found_out(t):
    daemon = t.daemon(service(server(t, "--sockets", 4, share=True), mode="native"))
    check_mapped(daemon)
    swap_many(t, daemon, by_generation, SWAPS, LOAD)


def test_mapped_server_that_binds_late_is_waited_for(t):
    """What was passed to it is of the other family, and would take the connections."""
    daemon = t.daemon(service(server(t, "--bind-after", 1.0), mode="auto", instances=2))
    check_mapped(daemon)
    swap_many(t, daemon, by_generation, 2, LOAD)


def test_mapped_beside_another_endpoint(t):
    daemon = t.daemon(service(server(t, "--listen", "[::1]:8080"), mode="auto",
                              listen=[LISTEN, "[::1]:8080"]))
    check_equal([each["family"] for each in daemon.service()["endpoints"]], [FAMILY, "IPv6"],
                "families")
    hammers = [gentle(t), t.hammer("--short", 4, "--rate", 200, "--timeout", "30s",
                                   "--expect-status", 200, host="[::1]")]
    for _ in range(SWAPS):
        daemon.restart()
    for hammer in hammers:
        check_unharmed(hammer)


def test_mapped_by_hash_is_swapped(t):
    """There is no group of the daemon's: what serves is of the family that its servers bind."""
    daemon = t.daemon(service(server(t, share=True), mode="native", steering="hash"))
    check_mapped(daemon)
    for generation in (2, 3):
        daemon.restart()
        check_equal({generation_of(body) for body in bodies(20)}, {generation}, "who answers")
    check_mapped(daemon)


def test_mapped_auto_by_hash_is_found_out(t):
    """What is passed listens late there, and not at all if it is not used."""
    daemon = t.daemon(service(server(t, share=True), mode="auto", steering="hash"))
    check_mapped(daemon)
    daemon.restart()
    check_equal({generation_of(body) for body in bodies(20)}, {2}, "who answers")


def test_mapped_rolls_one_after_the_other(t):
    daemon = t.daemon(service(server(t), mode="auto", instances=3,
                              rollout={"strategy": "rolling", "max_surge": 1}))
    hammer = gentle(t)
    daemon.restart()
    daemon.cli("scale", "web", 4, expect=0)
    check_unharmed(hammer)
    check_mapped(daemon)


def test_mapped_wildcard(t):
    daemon = t.daemon(service(server(t, bind="[::ffff:0.0.0.0]:8080"), mode="auto",
                              listen=["0.0.0.0:8080"]))
    check_equal(family(daemon), FAMILY, "family")
    swap_many(t, daemon, by_generation, 1, LOAD)


# ---- declared ------------------------------------------------------------------------------------

def declared(t, mode, steering, command):
    daemon = t.daemon(service(command, mode=mode, steering=steering, listen=[MAPPED]))
    check_mapped(daemon)
    check(not [each for each in daemon.events("sockets")], "it was opened anew")
    swap_many(t, daemon, by_generation, SWAPS, LOAD)


def test_mapped_declared_and_passed(t):
    declared(t, "inherit", "ebpf", example(t))


def test_mapped_declared_and_passed_by_cbpf(t):
    declared(t, "inherit", "cbpf", example(t))


def test_mapped_declared_and_bound(t):
    declared(t, "transparent", "ebpf", server(t))


def test_mapped_declared_and_bound_by_cbpf(t):
    declared(t, "native", "cbpf", server(t, share=True))


# ---- remembered ----------------------------------------------------------------------------------

def taken_over(t, steering, mode="native", share=True):
    daemon = t.daemon(service(server(t, share=share), mode=mode, steering=steering))
    pid = daemon.server_pid()
    hammer = gentle(t)
    kill_daemon(daemon)
    check_equal({generation_of(body) for body in bodies(50)}, {1}, "answers without a daemon")
    daemon.start()
    check_equal((daemon.current(), daemon.server_pid()), (1, pid), "what was taken over")
    check_mapped(daemon)
    daemon.restart()
    check_mapped(daemon)
    check_equal({generation_of(body) for body in bodies(50)}, {2}, "answers after a restart")
    check_unharmed(hammer)


def test_mapped_is_taken_over(t):
    taken_over(t, "ebpf", "auto", share=False)


def test_mapped_native_is_taken_over(t):
    taken_over(t, "ebpf")


def test_mapped_is_taken_over_by_cbpf(t):
    taken_over(t, "cbpf")


def test_mapped_is_taken_over_by_hash(t):
    daemon = t.daemon(service(server(t, share=True), mode="native", steering="hash"))
    kill_daemon(daemon)
    daemon.start()
    check_mapped(daemon)
    daemon.restart()
    check_equal({generation_of(body) for body in bodies(20)}, {2}, "who answers")


def test_mapped_start_that_a_daemon_died_in_goes_on(t):
    """The next one hears of both: what was passed, and what was bound."""
    daemon = t.daemon(service(server(t, "--bind-after", 0.5), mode="auto", instances=2),
                      start=False)
    daemon.start_unready()
    daemon.wait_event("sockets")
    kill_daemon(daemon)
    daemon.start()
    check_mapped(daemon)
    hammer = gentle(t)
    daemon.restart()
    check_unharmed(hammer)


def test_mapped_is_taken_over_although_the_state_is_lost(t):
    """The agents say of which family the sockets are."""
    daemon = t.daemon(service(server(t), mode="auto"))
    kill_daemon(daemon)
    state = f"/var/lib/{daemon.name}/state.json"
    with open(state, encoding="utf-8") as file:
        kept = json.load(file)
    check_equal(kept["services"]["web"].pop("twins"), [MAPPED], "what was noted")
    with open(state, "w", encoding="utf-8") as file:
        json.dump(kept, file)
    daemon.start()
    check_mapped(daemon)
    hammer = gentle(t)
    daemon.restart()
    check_unharmed(hammer)


def ask_early(daemon, wanted):
    """Start the daemon; the answer to a connection that is made before its server listens."""
    daemon.start_unready()
    wait_until(lambda: not refused(), "connections are held")
    with connect() as sock:
        send_request(sock, headers=["Connection: close"])
        answer = read_response(sock) if wanted else sock.recv(1)
    daemon.wait_state("running")
    return answer


def test_mapped_is_remembered_by_the_next_daemon_so_that_it_can_hold(t):
    """Connections that wait at the anchor can go to sockets of its family only."""
    daemon = t.daemon(service(server(t, "--bind-after", 1.0), mode="auto", hold="30s"))
    since = daemon.last_seq()
    daemon.stop()
    check_equal(generation_of(ask_early(daemon, True).body), 2, "who answers")
    check_mapped(daemon)
    check(not daemon.events("sockets", since=since), "it was found out again")


# ---- the other family ----------------------------------------------------------------------------

ADVICE = {LISTEN: "bind [::ffff:127.0.0.1]:8080", MAPPED: "-Djava.net.preferIPv4Stack=true"}


def refused_upgrade(t, serving, coming, steering, mode="native", share=True):
    """A server of the other family is refused, with a reason, and nothing is lost."""
    daemon = t.daemon(service(server(t, bind=serving, share=share), mode=mode, steering=steering))
    before = family(daemon)
    hammer = gentle(t)
    for number in (1, 2):
        answer = daemon.upgrade(server(t, bind=coming, share=share), expect=3)
        text = " ".join(answer.text.split())
        for expected in (MAPPED, "IPv4 socket", "IPv6 socket", ADVICE[coming], "baton stop web",
                         "baton start web"):
            check(expected in text, f"{expected!r} is not in {text!r}")
        hammer.phase(f"after-{number}")
        check_equal({generation_of(body) for body in bodies(20)}, {1}, "who answers")
        check_equal(family(daemon), before, "family")
    check_unharmed(hammer)
    # What serves can be replaced by its like, and after a stop by the other.
    daemon.cli("restart", "web", "--reset", expect=0)
    daemon.cli("stop", "web", expect=0)
    daemon.config["services"]["web"]["command"] = [str(word) for word in
                                                  server(t, bind=coming, share=share)]
    daemon.write_config()
    daemon.cli("reload", expect=0)
    daemon.cli("start", "web", expect=0)
    check_equal(get().status, 200, "answer of the other family")
    check(family(daemon) != before, "the family is still the old one")
    swap_many(t, daemon, by_generation, 1, LOAD, at_least=100)


def test_mapped_is_refused_beside_ipv4(t):
    refused_upgrade(t, LISTEN, MAPPED, "ebpf")


def test_mapped_is_refused_beside_ipv4_auto(t):
    refused_upgrade(t, LISTEN, MAPPED, "ebpf", "auto", share=False)


def test_mapped_is_refused_beside_ipv4_by_cbpf(t):
    refused_upgrade(t, LISTEN, MAPPED, "cbpf")


def test_ipv4_is_refused_beside_mapped(t):
    refused_upgrade(t, MAPPED, LISTEN, "ebpf")


def test_ipv4_is_refused_beside_mapped_auto(t):
    refused_upgrade(t, MAPPED, LISTEN, "ebpf", "auto", share=False)


def test_ipv4_is_refused_beside_mapped_by_cbpf(t):
    """It cannot be kept from listening, and has every connection from then on: it finishes them."""
    refused_upgrade(t, MAPPED, LISTEN, "cbpf")


def refused_by_hash(t, serving, coming):
    daemon = t.daemon(service(server(t, bind=serving, share=True), mode="native", steering="hash"))
    hammer = gentle(t)
    text = " ".join(daemon.upgrade(server(t, bind=coming, share=True), expect=3).text.split())
    check(ADVICE[coming] in text, f"no advice in {text!r}")
    check_equal({generation_of(body) for body in bodies(20)}, {1}, "who answers")
    check_unharmed(hammer)


def test_mapped_is_refused_beside_ipv4_by_hash(t):
    refused_by_hash(t, LISTEN, MAPPED)


def test_ipv4_is_refused_beside_mapped_by_hash(t):
    refused_by_hash(t, MAPPED, LISTEN)


def test_inherit_goes_on_beside_mapped(t):
    """What is passed is of the family that serves: the same address, as far as servers can tell."""
    daemon = t.daemon(service(server(t), mode="auto"))
    hammer = gentle(t)
    daemon.upgrade(binder(t), expect=0)
    check_equal(daemon.generation()["mode"], "inherit", "mode")
    check_mapped(daemon)
    daemon.upgrade(server(t), expect=0)
    check_equal(daemon.generation()["mode"], "transparent", "mode")
    check_unharmed(hammer)


# ---- what else there is --------------------------------------------------------------------------

def test_mapped_server_that_crashes_is_started_again(t):
    daemon = t.daemon(service(server(t), mode="auto", instances=2,
                              restart={"delay": "50ms"}))
    pid = daemon.server_pid()
    check_equal(len(bodies(20)), 20, "answers")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: daemon.server_pid() not in (0, pid), "another server runs")
    check_equal(len(bodies(50)), 50, "answers")
    check_mapped(daemon)
    hammer = gentle(t)
    daemon.restart()
    check_unharmed(hammer)


def test_mapped_connections_are_counted_and_listed(t):
    daemon = t.daemon(service(server(t), mode="auto"))
    with connect() as sock:
        send_request(sock)
        read_response(sock)
        here = sock.getsockname()

        def listed():
            status, answer = daemon.api("/v1/services/web/connections")
            check_equal(status, 200, "status")
            return [each for each in answer["connections"]
                    if each["peer"] == f"{here[0]}:{here[1]}"]
        check_equal(len(wait_until(listed, "the connection is listed")), 1, "connections listed")

        def counted():
            return daemon.generation()["instances"][0]["connections"]["live"] == 1
        wait_until(counted, "the connection is counted, and no check besides")


def test_mapped_pause_holds_and_resume_sends_on(t):
    daemon = t.daemon(service(server(t), mode="auto"))
    daemon.cli("pause", "web", expect=0)
    with socket.create_connection(("127.0.0.1", 8080), 30) as sock:
        send_request(sock, headers=["Connection: close"])
        wait_until(lambda: daemon.service()["endpoints"][0]["held"] == 1, "one waits")
        daemon.cli("resume", "web", expect=0)
        check_equal(generation_of(read_response(sock).body), 1, "who answers")
