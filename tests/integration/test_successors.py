# SPDX-License-Identifier: BSD-2-Clause
"""
Servers that replace themselves: they start a successor, and end. Whatever accepts then is the
server; no restart is counted, nothing is lost, and the next restart reaches it. Who only has the
socket open is no server. Real ones are in tests/servers/test_successors.py.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import threading

from harness import (alive, bodies, check, check_equal, connect, get, read_response, send_request,
                     timeout, wait_until)
from losing import sysctl
from services import LISTEN, binder, pid_of, service
from succession import check_succeeded, settle
from swaps import GENTLE, check_promised, check_unharmed
from test_agent_killed import kill_agent
from test_takeover import kill_daemon

# After two seconds without a change the agent looks for sockets once a second only.
SETTLED_S = 3.0


def succeeding(t, mode, how, *options, steering="ebpf", **changes):
    """A service of a server that replaces itself; its successor has @how sockets."""
    words = [] if mode in ("inherit", "auto") else ["--listen", LISTEN]
    if mode == "native":
        words.append("--share")
    return service(binder(t, *words, "--succeed", how, "--waves-goodbye", t.tmp / "goodbye",
                          "--idle-grace", "1", *options), mode=mode, steering=steering, **changes)


def goodbyes(t):
    """The pids of the servers that were told to go."""
    with contextlib.suppress(FileNotFoundError):
        return [int(line) for line in (t.tmp / "goodbye").read_text().split()]
    return []


def answering():
    return pid_of(get().body)


def start_successor(daemon, generation=1):
    """Tell the server to start one. Both accept then. Returns its pid."""
    old = daemon.server_pid()
    others = set(daemon.pids(generation))
    os.kill(old, signal.SIGUSR2)
    wait_until(lambda: set(daemon.pids(generation)) - others, "a successor is there")
    new = (set(daemon.pids(generation)) - others).pop()
    wait_until(lambda: answering() == new, "the successor answers")
    return new


def succeed(daemon, age_s=SETTLED_S):
    """The server replaces itself, the old one drains and exits with 0. Returns the new pid."""
    old, since = daemon.server_pid(), daemon.last_seq()
    settle(old, age_s)
    new = start_successor(daemon)
    os.kill(old, signal.SIGTERM)
    check_succeeded(daemon, since, old, new)
    wait_until(lambda: not alive(old), "the old one has ended")
    for body in bodies(10):
        check_equal(pid_of(body), new, "who answers")
    return new


def succeeded_under_load(t, mode, how, steering="ebpf", times=2, age_s=SETTLED_S):
    """
    It replaces itself again and again under load, and then `baton restart` replaces it: the drain
    signal reaches the last successor, and nothing is lost in all this. (On the tier hash a rollout
    does not promise that; so there the load ends before.)
    """
    daemon = t.daemon(succeeding(t, mode, how, steering=steering))
    check_equal(daemon.service()["tier"], steering, "tier")
    hammer = t.hammer(*GENTLE)
    for _ in range(times):
        new = succeed(daemon, age_s)
    if steering == "hash":
        # What is queued in a socket of its own that closes is not all safe there.
        if how == "own":
            check_promised(hammer, steering)
        else:
            check_unharmed(hammer)
    daemon.restart()
    wait_until(lambda: not alive(new), "the last successor has ended")
    check_equal(goodbyes(t)[-1], new, "who was told to go last")
    check_equal(daemon.current(), 2, "generation")
    check_equal(daemon.service()["last_rollout"]["cut"], 0, "cut")
    if steering != "hash":
        check_unharmed(hammer)


# ---- in every mode, on every tier ----------------------------------------------------------------

def test_successor_inherit(t):
    succeeded_under_load(t, "inherit", "inherited")


def test_successor_auto(t):
    succeeded_under_load(t, "auto", "inherited")


def test_successor_native_with_the_same_socket(t):
    succeeded_under_load(t, "native", "inherited")


def test_successor_native_with_its_own_socket(t):
    succeeded_under_load(t, "native", "own")


def test_successor_transparent_with_the_same_socket(t):
    succeeded_under_load(t, "transparent", "inherited")


def test_successor_transparent_with_its_own_socket(t):
    succeeded_under_load(t, "transparent", "own")


def test_successor_cbpf(t):
    succeeded_under_load(t, "inherit", "inherited", steering="cbpf")


def test_successor_cbpf_native(t):
    succeeded_under_load(t, "native", "inherited", steering="cbpf")


def test_successor_hash(t):
    succeeded_under_load(t, "inherit", "inherited", steering="hash")


def test_successor_hash_native(t):
    succeeded_under_load(t, "native", "inherited", steering="hash")


def test_successor_auto_with_its_own_socket(t):
    """The first one has the socket that was passed, until then."""
    succeeded_under_load(t, "auto", "own")


def test_successor_hash_with_its_own_socket(t):
    """What is queued in a socket that closes moves only with this setting."""
    sysctl("tcp_migrate_req", 1)
    succeeded_under_load(t, "native", "own", steering="hash")


@timeout(300)
def test_successor_20_seconds_after_its_start(t):
    succeeded_under_load(t, "native", "own", times=1, age_s=20.0)


# ---- how it comes about --------------------------------------------------------------------------

def test_successor_of_a_server_that_crashes(t):
    """Its crash, in the middle of its own upgrade, is none of the service."""
    daemon = t.daemon(succeeding(t, "inherit", "inherited"))
    old, since = daemon.server_pid(), daemon.last_seq()
    new = start_successor(daemon)
    os.kill(old, signal.SIGKILL)
    check_succeeded(daemon, since, old, new)
    check("was killed by SIGKILL" in daemon.events("succeeded", since=since)[0]["message"],
          "how the old one ended is not told")
    check_equal(answering(), new, "who answers")


def test_successor_and_a_new_agent_find_each_other(t):
    """The agent is killed between two successions, and in the middle of one, under load."""
    daemon = t.daemon(succeeding(t, "native", "own"))
    hammer = t.hammer(*GENTLE)
    first = succeed(daemon)
    kill_agent(daemon)
    check_equal(daemon.server_pid(), first, "whose the new agent is")
    second, since = start_successor(daemon), daemon.last_seq()
    kill_agent(daemon)
    os.kill(first, signal.SIGTERM)
    check_succeeded(daemon, since, first, second)
    daemon.restart()
    wait_until(lambda: not alive(second), "the last successor has ended")
    check_equal(goodbyes(t)[-1], second, "who was told to go last")
    check_unharmed(hammer)


def test_successor_that_crashes_is_a_crash(t):
    daemon = t.daemon(succeeding(t, "inherit", "inherited"))
    new, since = succeed(daemon), daemon.last_seq()
    os.kill(new, signal.SIGKILL)
    daemon.wait_event("restarted", since=since)
    check_equal(len(daemon.events("exited", since=since)), 1, "exits")
    wait_until(lambda: daemon.generation()["instances"][0]["restarts"] == 1, "one restart")
    wait_until(lambda: answering() == daemon.server_pid(), "the first command serves again")


def test_successor_at_work_is_not_seen_to_wait(t):
    """
    Two servers that take one request after the other, each busy for a long time, without CPU: no
    moment shows one of them waiting. They are known by the connections that they take.
    """
    daemon = t.daemon(succeeding(t, "inherit", "inherited", "--sync", "--slow", "1.5",
                                 health={"http": "/healthz", "timeout": "60s"}))
    old, since = daemon.server_pid(), daemon.last_seq()
    new = start_successor(daemon)
    over = threading.Event()
    answers = []

    def load():
        while not over.is_set():
            answers.append(get("/slow", timeout_s=100).status)

    clients = [threading.Thread(target=load) for _ in range(8)]
    for client in clients:
        client.start()
    wait_until(lambda: len(answers) > 2, "both are at work")
    os.kill(old, signal.SIGTERM)
    check_succeeded(daemon, since, old, new)
    over.set()
    for client in clients:
        client.join()
    check_equal(set(answers), {200}, "answers")


def test_successor_that_was_started_by_hand(t):
    """In the instance's cgroup, but not by the server; in the background, as a daemon."""
    config = succeeding(t, "native", "own")
    daemon = t.daemon(config)
    old, since = daemon.server_pid(), daemon.last_seq()
    procs = pathlib.Path(daemon.cgroup(1)) / "cgroup.procs"
    command = [word.replace("{generation}", "1") for word in config["command"]]
    subprocess.run([*command, "--daemonize"], check=True,
                   preexec_fn=lambda: procs.write_text("0"))
    wait_until(lambda: answering() != old, "the second one answers")
    new, = set(daemon.pids(1)) - {old}
    os.kill(old, signal.SIGTERM)
    check_succeeded(daemon, since, old, new)
    daemon.restart()
    check_equal(goodbyes(t), [old, new], "who was told to go")
    check(not alive(new), "the one that was started by hand lives on")


def test_successor_is_known_to_the_next_daemon(t):
    daemon = t.daemon(succeeding(t, "inherit", "inherited"))
    new = succeed(daemon)
    kill_daemon(daemon)
    daemon.start()
    daemon.wait_state("running")
    check_equal(daemon.server_pid(), new, "pid after the takeover")
    daemon.restart()
    check_equal(goodbyes(t)[-1], new, "who was told to go last")


def test_successor_without_a_daemon(t):
    """Nobody hears of it; the next hello says it."""
    daemon = t.daemon(succeeding(t, "inherit", "inherited"))
    old = daemon.server_pid()
    new = start_successor(daemon)
    kill_daemon(daemon)
    os.kill(old, signal.SIGTERM)
    wait_until(lambda: not alive(old), "the old one has ended")
    daemon.start()
    daemon.wait_state("running")
    wait_until(lambda: daemon.server_pid() == new, "status has the successor's pid")
    daemon.restart()
    check_equal(goodbyes(t)[-1], new, "who was told to go last")


# ---- both at once --------------------------------------------------------------------------------

def test_successor_beside_the_old_one_both_are_told_to_go(t):
    """In the middle of its own upgrade: the requests of both are finished."""
    daemon = t.daemon(succeeding(t, "inherit", "inherited", "--slow", "2"))
    hammer = t.hammer(*GENTLE)
    old = daemon.server_pid()
    new = start_successor(daemon)
    socks = [connect() for _ in range(16)]
    for sock in socks:
        send_request(sock, "/slow")
    daemon.restart()
    check_equal(sorted(goodbyes(t)), sorted([old, new]), "who was told to go")
    for sock in socks:
        check(pid_of(read_response(sock).body), "an answer")
    check_equal(daemon.service()["last_rollout"]["cut"], 0, "cut")
    wait_until(lambda: not alive(old) and not alive(new), "both have ended")
    check_unharmed(hammer)


def test_successor_is_let_finish_what_the_old_one_has_finished(t):
    """The old one ends first, while both drain: that is not the end of the drain."""
    daemon = t.daemon(succeeding(t, "inherit", "inherited", "--slow", "4"))
    old = daemon.server_pid()
    new = start_successor(daemon)
    pids = []
    for _ in range(100):
        sock = connect()
        send_request(sock, "/slow")
        pids.append(sock)
    order = daemon.begin()
    answers = [pid_of(read_response(sock).body) for sock in pids]
    check(set(answers) <= {old, new}, f"answers of {set(answers)}")
    check_equal(daemon.wait_end(order)["event"], "done", "result")
    check_equal(daemon.service()["last_rollout"]["cut"], 0, "cut")


def test_successor_stop_reaches_both(t):
    daemon = t.daemon(succeeding(t, "inherit", "inherited"))
    old = daemon.server_pid()
    new = start_successor(daemon)
    daemon.cli("stop", "web", expect=0)
    check_equal(sorted(goodbyes(t)), sorted([old, new]), "who was told to go")


# ---- who is none ---------------------------------------------------------------------------------

def restarted(daemon, pid, number):
    """@pid is ended by the signal @number, and what remains is no server: it is started again."""
    since = daemon.last_seq()
    os.kill(pid, number)
    daemon.wait_event("restarted", since=since)
    check_equal(daemon.events("succeeded", since=since), [], "successions")
    check_equal(daemon.generation()["instances"][0]["restarts"], 1, "restarts")
    wait_until(lambda: answering() == daemon.server_pid(), "it serves again")


def with_helper(t, mode):
    """A server with a program beside it that has the socket, and does nothing with it."""
    daemon = t.daemon(succeeding(t, mode, "inherited"))
    pid = daemon.server_pid()
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: len(daemon.pids(1)) == 2, "the helper is there")
    return daemon, pid


def test_helper_with_the_socket_is_no_successor_of_a_crash(t):
    daemon, pid = with_helper(t, "inherit")
    restarted(daemon, pid, signal.SIGKILL)
    check_equal(set(daemon.pids(1)), {daemon.server_pid()}, "processes: the helper is still there")


def test_helper_with_the_socket_is_no_successor_of_an_exit(t):
    daemon, pid = with_helper(t, "native")
    restarted(daemon, pid, signal.SIGTERM)


def test_helper_that_was_forked_is_no_successor(t):
    """It has the socket of its parent, but not even another program."""
    daemon = t.daemon(succeeding(t, "inherit", "inherited", "--keeper"))
    restarted(daemon, daemon.server_pid(), signal.SIGTERM)


def test_workers_that_have_lost_their_master_are_no_successors(t):
    config = service(["/usr/bin/python3", "-c", WORKERS], mode="inherit")
    daemon = t.daemon(config)
    restarted(daemon, daemon.server_pid(), signal.SIGKILL)


WORKERS = """
import os, signal, socket
sock = socket.socket(fileno=3)
for _ in range(2):
    if not os.fork():
        while True:
            c, _ = sock.accept()
            c.recv(4096)
            body = b'generation 1 pid %d\\n' % os.getppid()
            c.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s'
                      % (len(body), body))
            c.close()
while True:
    signal.pause()
"""
