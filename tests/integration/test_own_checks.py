# SPDX-License-Identifier: BSD-2-Clause
"""Numbers about clients are about clients: baton's own checks are in none of them."""

import json
import signal

from harness import (check_equal, connect, read_response, send_request, signal_all,
                     wait_stopped, wait_until)
from services import STANDS_STILL, example, service

COUNTERS = ("accepted", "steered", "refused", "reset", "closed", "migrated", "backup", "held", "live",
            "queued", "expired")
TIERS = ("ebpf", "cbpf", "hash")
OFTEN = {"interval": "20ms"}


def counted(value, path=""):
    """Each counter in a status that is not 0, by its path."""
    found = {}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        if isinstance(each, (dict, list)):
            found.update(counted(each, f"{path}.{key}"))
        elif key in COUNTERS and isinstance(each, int) and each:
            found[f"{path}.{key}"] = each
    return found


def check_zeros(daemon, when):
    check_equal(counted(daemon.service()), {}, f"counters {when}")
    shown = json.loads(daemon.cli("connections", "web", "--json", expect=0).out)
    check_equal((shown["total"], shown["connections"]), (0, []), f"connections {when}")


def test_own_checks_of_healthy_servers_are_not_counted(t):
    for tier in TIERS:
        # On tier hash a check of one instance may wait in the queue of another.
        daemon = t.daemon(service(example(t), instances=1 if tier == "hash" else 2, steering=tier,
                                  health=OFTEN))
        for _ in range(50):
            check_zeros(daemon, f"of a service that is checked, tier {tier}")
        for _ in range(3):
            daemon.restart()
            check_zeros(daemon, f"after a swap, tier {tier}")
        daemon.end()


def test_own_checks_of_failed_releases_are_not_counted(t):
    """Some exit, some bind the address themselves and leave the socket that was passed alone."""
    daemon = t.daemon(service(example(t), health={"http": "/", **OFTEN}))
    for k in range(12):
        command = [["/bin/false"],
                   ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "8080"]][k % 2]
        daemon.cli("upgrade", "web", "--", *command)
        check_zeros(daemon, f"after {k + 1} releases")


def test_own_checks_that_a_hanging_server_keeps_are_not_counted(t):
    """Each leaves a connection in its queue, whose client is long gone."""
    for tier in TIERS:
        daemon = t.daemon(service(example(t), steering=tier,
                                  health={"interval": "20ms", "timeout": "50ms",
                                          **STANDS_STILL["health"]}))
        pids = [daemon.server_pid()]
        signal_all(pids, signal.SIGSTOP)
        wait_stopped(pids)
        for _ in range(30):
            check_zeros(daemon, f"of a server that hangs, tier {tier}")
        with connect() as sock:
            send_request(sock)
            wait_until(lambda: daemon.generation()["connections"]["queued"] == 1,
                       f"a client is counted, tier {tier}")
            signal_all(pids, signal.SIGCONT)
            check_equal(read_response(sock).status, 200, "answer")
        daemon.end()


def test_own_checks_do_not_hide_clients(t):
    for tier in TIERS:
        daemon = t.daemon(service(example(t), steering=tier, health=OFTEN))
        socks = [connect() for _ in range(20)]
        for sock in socks:
            send_request(sock)
            read_response(sock)
        for _ in range(20):
            connections = daemon.generation()["connections"]
            check_equal(connections["live"], 20, f"live on tier {tier}")
        shown = json.loads(daemon.cli("connections", "web", "--json", expect=0).out)
        check_equal(shown["total"], 20, f"connections on tier {tier}")
        if tier == "ebpf":
            check_equal((connections["accepted"], connections["steered"]), (20, 20), "counters")
        for sock in socks:
            sock.close()
        wait_until(lambda: daemon.generation()["connections"]["live"] == 0, "they end")
        daemon.end()
