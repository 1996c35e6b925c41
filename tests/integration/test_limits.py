# SPDX-License-Identifier: BSD-2-Clause
"""What there may be at most: who asks for more is told the number; queues that overflow are told."""

import pathlib
import socket

from harness import check, check_equal, long, timeout, wait_until
from services import LISTEN, STANDS_STILL, example, merged, service
from swaps import check_nothing_lost, check_unharmed, gentle

DEAF = pathlib.Path(__file__).with_name("deaf.py")
MANY_SOCKETS = pathlib.Path(__file__).with_name("many_sockets.py")
MANY = 256  # instances: as many as a service can have


def deaf(t, *words):
    return ["/usr/bin/python3", "-S", t.file("deaf.py", DEAF.read_text()), *words]


# ---- instances -----------------------------------------------------------------------------------

@long
@timeout(400)
def test_as_many_instances_as_there_may_be_are_restarted_under_load(t):
    daemon = t.daemon(service(example(t), instances=MANY, steering="ebpf",
                              health={"interval": "1s"}))
    daemon.wait_state("running", deadline_s=200)
    check_equal(len(daemon.generation()["instances"]), MANY, "instances")
    hammer = gentle(t)
    daemon.cli("restart", "web", expect=0, deadline_s=300)
    check_equal(len(daemon.generation()["instances"]), MANY, "instances")
    check_unharmed(hammer)
    for asked in (257, 100000):
        refused = daemon.cli("scale", "web", asked)
        check(refused.status != 0 and "0 to 256" in refused.err and str(asked) in refused.err,
              f"{refused}")
    status, problem = daemon.api("/v1/services/web/scale", "POST", {"instances": 257})
    check_equal(status, 400, "status")
    check("to 256, not 257" in problem["detail"], f"{problem}")
    check_equal(daemon.service()["instances"], MANY, "instances")


# ---- listening sockets ---------------------------------------------------------------------------

ADDRESSES = ["127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083"]
# A new connection for each request: the server closes each after its answer.
SHORT = ("--path", "/", "--short", 8, "--rate", 300, "--sources", 8, "--timeout", "30s",
         "--expect-status", 200)


def server_of_many(t, number, addresses):
    return ["/usr/bin/python3", "-S", t.file("many_sockets.py", MANY_SOCKETS.read_text()), number,
            *addresses]


def sockets(daemon):
    return [each["sockets"] for each in daemon.generation()["instances"]]


@timeout(200)
def test_instance_with_64_sockets_on_each_of_4_addresses_is_swapped_under_load(t):
    """More than one message to batond can carry; a batond that takes over gets all of them, too."""
    daemon = t.daemon(service(server_of_many(t, 64, ADDRESSES), listen=ADDRESSES, mode="native",
                              steering="ebpf"))
    wait_until(lambda: sockets(daemon) == [256], "all sockets have joined")
    hammer = t.hammer(*SHORT)
    wait_until(lambda: hammer.report()["ok"] > 50, "the load has begun")
    daemon.restart()
    wait_until(lambda: sockets(daemon) == [256], "all sockets of the next generation have joined")
    daemon.process.popen.kill()
    daemon.process.popen.wait()
    daemon.start()
    wait_until(lambda: sockets(daemon) == [256], "all sockets are taken over")
    ok = hammer.report()["ok"]
    wait_until(lambda: hammer.report()["ok"] > ok + 100, "load after the takeover")
    daemon.restart()
    wait_until(lambda: sockets(daemon) == [256], "and replaced")
    check_nothing_lost(hammer.stop(), 100)


@timeout(200)
def test_socket_too_many_of_an_instance_is_told_with_the_number(t):
    # It is unhealthy for it, and another one would be as well.
    daemon = t.daemon(service(server_of_many(t, 1030, [LISTEN]), mode="native", steering="hash",
                              restart={"max": 0}))
    wait_until(lambda: sockets(daemon) == [1024], "as many as there can be")
    told = "by a socket too many, which gets no connections: one instance can have 1024"
    wait_until(lambda: told in daemon.generation()["instances"][0].get("unusable", ""),
               "it is in status")
    check(any(told in event["message"] for event in daemon.events("sockets")), "no event")


@timeout(200)
def test_restart_without_room_for_its_sockets_is_refused_with_the_numbers(t):
    daemon = t.daemon(service(server_of_many(t, 600, [LISTEN]), mode="native", steering="ebpf"))
    wait_until(lambda: sockets(daemon) == [600], "all sockets have joined")
    since = daemon.last_seq()
    refused = daemon.cli("restart", "web")
    told = ("1 more instance would need 600 listening sockets on 127.0.0.1:8080 (600 each), but "
            "600 of the 1024 that one address can have on tier ebpf are taken")
    check(refused.status != 0 and told in " ".join(refused.err.split()), f"{refused}")
    check_equal(daemon.events("start", since=since), [], "nothing was started")
    scaled = daemon.cli("scale", "web", 2)
    check(scaled.status != 0 and told in " ".join(scaled.err.split()), f"{scaled}")
    check_equal(daemon.current(), 1, "generation")


# ---- what the file may ask for -------------------------------------------------------------------

def test_more_than_there_may_be_is_refused_by_check_and_reload(t):
    """Before anything of it is started, with what was asked for and what is possible."""
    config = service(example(t))
    daemon = t.daemon(config)
    gate = {"exec": ["/bin/true"]}
    canary = {"strategy": "canary",
              "steps": [{"weight": weight} for weight in range(1, 66)] + [{"weight": 100}]}
    for changes, told in (({"instances": 257}, "257 is out of range (1 to 256)"),
                          ({"gates": 65 * [gate]}, "65 gates: at most 64 are possible"),
                          ({"rollout": canary}, "66 steps: at most 64 are possible"),
                          ({"listen": [f"127.0.0.1:{8100 + k}" for k in range(17)]},
                           "17 addresses: at most 16 are possible")):
        daemon.config["services"]["web"] = merged(config, **changes)
        daemon.write_config()
        for command in (("check", daemon.file), ("reload",)):
            refused = daemon.cli(*command)
            check(refused.status != 0 and told in refused.err + refused.out,
                  f"{command} of {told!r}: {refused}")
    check_equal(daemon.current(), 1, "generation")
    # As many as there may be.
    canary = {"strategy": "canary",
              "steps": [{"weight": weight} for weight in range(1, 64)] + [{"weight": 100}]}
    daemon.config["services"]["web"] = merged(config, gates=64 * [gate], rollout=canary)
    daemon.write_config()
    daemon.cli("check", daemon.file, expect=0)
    daemon.cli("reload", expect=0)


# ---- accept queues -------------------------------------------------------------------------------

def queue(daemon):
    return daemon.service()["endpoints"][0].get("queue", {})


def fill(number):
    """Connections that nobody accepts; those that find no room are not waited for."""
    host, port = LISTEN.split(":")
    sockets = []
    for _ in range(number):
        sockets.append(socket.socket())
        sockets[-1].setblocking(False)
        try:
            sockets[-1].connect((host, int(port)))
        except BlockingIOError:
            pass
    return sockets


def overflows(t, steering):
    silent = t.tmp / "silent"
    daemon = t.daemon(merged(service(deaf(t, "5", silent), mode="inherit", steering=steering),
                             backlog=64, **STANDS_STILL))
    wait_until(lambda: queue(daemon).get("backlog") == 5, "the backlog that counts")
    check_equal((queue(daemon)["configured"], queue(daemon)["dropped"]), (64, 0), "queue")
    event = daemon.wait_event("queue")
    for each in (LISTEN, "backlog of 5", "listen(2)", '"backlog" is 64'):
        check(each in event["message"], f"no {each!r}: {event}")
    check("backlog 5, not the 64 of the file" in daemon.cli("status", "web").out, "status")
    silent.write_text("")
    sockets = fill(40)
    wait_until(lambda: queue(daemon)["dropped"] > 0, "the overflow is in status")
    wait_until(lambda: len(daemon.events("queue")) == 2, "the overflow is told")
    event = daemon.events("queue")[-1]
    for each in (LISTEN, "has overflowed", "5 may wait"):
        check(each in event["message"], f"no {each!r}: {event}")
    found = daemon.service()["generations"][0]["instances"][0]["queue"]
    check(found["waiting"] >= 5 and found["dropped"] > 0 and found["backlog"] == 5, f"{found}")
    text = daemon.cli("status", "web").out
    check("queue overflowed: " in text and " dropped, 5 may wait" in text, text)
    check(all(len(line) <= 80 for line in text.splitlines() if "overflowed" in line), text)
    # However many more there are, one event a minute is enough.
    dropped = queue(daemon)["dropped"]
    sockets += fill(20)
    wait_until(lambda: queue(daemon)["dropped"] > dropped, "more are dropped")
    check_equal(len(daemon.events("queue")), 2, "events")
    for each in sockets:
        each.close()
    silent.unlink()


def test_overflow_of_an_accept_queue_is_told_ebpf(t):
    overflows(t, "ebpf")


def test_overflow_of_an_accept_queue_is_told_hash(t):
    overflows(t, "hash")


def test_queue_that_nobody_asked_to_be_longer_is_not_warned_of(t):
    daemon = t.daemon(service(deaf(t), mode="inherit"))
    wait_until(lambda: queue(daemon).get("backlog") == 5, "the backlog that counts")
    check(queue(daemon)["configured"] > 5 and "lowered" not in queue(daemon), "queue")
    check_equal(daemon.events("queue"), [], "events")
    check("backlog" not in daemon.cli("status", "web", expect=0).out, "status")
