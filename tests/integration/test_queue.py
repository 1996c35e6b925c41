# SPDX-License-Identifier: BSD-2-Clause
"""Connections that the old generation has not accepted yet are answered by the new one."""

import contextlib
import os
import signal
import socket

from harness import check, check_equal, connect, read_response, send_request, signal_all
from harness import wait_stopped, wait_until
from services import STANDS_STILL, example, generation_of, service, unready

CLIENTS = 40
PATIENT = {**STANDS_STILL, "rollout": {"settle_timeout": "60s"}}
QUICK = {**STANDS_STILL, "rollout": {"settle_timeout": "300ms"},
         "drain": {"leave_timeout": "300ms", "kill_timeout": "300ms"}}


def pause_old(daemon):
    """Stop every process of the current generation in its tracks; returns their pids."""
    pids = daemon.pids(daemon.current())
    check(pids, "no process in the generation's cgroup")
    signal_all(pids, signal.SIGSTOP)
    wait_stopped(pids)
    return pids


def queued(daemon, generation):
    """How many connections wait in a generation's queues. Checks that nobody answers do, too."""
    for each in daemon.service()["generations"]:
        if each["generation"] == generation:
            return sum(instance["connections"]["queued"] for instance in each["instances"])
    return 0


def fill_queue(stack, count=CLIENTS, half_close=False):
    """Clients that have connected and sent a request, and that nobody has accepted."""
    clients = []
    for _ in range(count):
        sock = stack.enter_context(connect())
        send_request(sock, headers=["Connection: close"])
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        clients.append(sock)
    return clients


def generations(clients):
    return [generation_of(read_response(sock).body) for sock in clients]


def test_old_killed_after_the_shift_its_queue_is_answered_by_the_new(t):
    daemon = t.daemon(service(example(t), **PATIENT))
    pids = pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack)
        wait_until(lambda: queued(daemon, 1) >= CLIENTS, "all are queued at the old one")
        since = daemon.begin()
        daemon.wait_event("shift", since=since)
        signal_all(pids, signal.SIGKILL)
        check_equal(generations(clients), [2] * CLIENTS, "who answered")
    end = daemon.wait_end(since)
    check_equal((end["event"], end["cut"]), ("done", 0), "end")


def test_old_killed_before_the_shift_its_queue_is_answered(t):
    """By the new one, or by the old one started again: both are right, a reset is not."""
    daemon = t.daemon(service(example(t), **STANDS_STILL))
    pids = pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack)
        command, flag = unready(t)
        since = daemon.begin("upgrade", "--", *command)
        wait_until(lambda: daemon.generation("candidate"), "the candidate is there")
        signal_all(pids, signal.SIGKILL)
        flag.unlink()
        check(set(generations(clients)) <= {1, 2}, "answered by a stranger")
    daemon.wait_end(since)
    check_equal(daemon.state(), "running", "state")


def test_old_stopped_and_not_killed_its_queue_is_answered_by_the_new(t):
    daemon = t.daemon(service(example(t), **QUICK))
    pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack)
        since = daemon.begin()
        check_equal(generations(clients), [2] * CLIENTS, "who answered")
        end = daemon.wait_end(since)
    check_equal((end["event"], end["cut"]), ("done", 0), "end")


def test_half_closed_clients_in_the_queue_are_answered(t):
    daemon = t.daemon(service(example(t), **QUICK))
    pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack, half_close=True)
        since = daemon.begin()
        check_equal(generations(clients), [2] * CLIENTS, "who answered")
        check_equal(daemon.wait_end(since)["event"], "done", "end")


def test_settle_lets_the_old_one_accept_what_is_its_own(t):
    daemon = t.daemon(service(example(t), **PATIENT))
    pids = pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack)
        since = daemon.begin()
        daemon.wait_event("shift", since=since)
        signal_all(pids, signal.SIGCONT)
        check_equal(generations(clients), [1] * CLIENTS, "who answered")
        end = daemon.wait_end(since)
    check_equal((end["event"], end["cut"]), ("done", 0), "end")


def test_server_killed_alone_its_queue_is_answered_by_the_one_started_again(t):
    daemon = t.daemon(service(example(t), **STANDS_STILL))
    pids = pause_old(daemon)
    with contextlib.ExitStack() as stack:
        clients = fill_queue(stack)
        signal_all(pids, signal.SIGKILL)
        check_equal(generations(clients), [1] * CLIENTS, "who answered")
    check(daemon.server_pid() not in pids, "the server's pid is the old one")
    check(os.path.exists(f"/proc/{daemon.server_pid()}"), "no server")
