# SPDX-License-Identifier: BSD-2-Clause
"""Who else is on a service's port is named: strangers, children that got away, what lingers."""

import os
import pathlib
import socket
import subprocess

from harness import check, check_equal, get, own_cgroup, refused, wait_until
from services import binder, example, service, soon

ODDBALL = pathlib.Path(__file__).with_name("oddball.py")
V4 = "127.0.0.1:8080"


def oddball(t, *steps):
    return ["/usr/bin/python3", "-S", t.file("oddball.py", ODDBALL.read_text()), *steps]


def is_named(t, steering, listen=V4):
    daemon = t.daemon(service(example(t), listen=[listen], steering=steering))
    stranger = t.spawn("stranger", *oddball(t, "share", f"bind={V4 if listen == V4 else '[::]:8080'}"))
    event = daemon.wait_event("stranger")
    for each in (f"pid {stranger.pid}", "python3", listen, "has not started it"):
        check(each in event["message"], f"no {each!r}: {event}")
    named = daemon.service()["endpoints"][0]["strangers"]
    check_equal([(each["pid"], each["command"]) for each in named],
                [(stranger.pid, "python3")], "strangers")
    status = daemon.cli("status", "web", expect=None).out
    check(f'pid {stranger.pid} "python3"' in status, status)
    gets = "its share of the connections" if steering == "hash" else "gets no connections"
    check(gets in event["message"], f"{event}")
    if steering != "hash":
        for _ in range(20):
            check("generation 1" in get().body, "who answers")
    # Told once, and again when it has gone.
    daemon.restart()
    check_equal(len(daemon.events("stranger")), 1, "events")
    stranger.popen.kill()
    wait_until(lambda: len(daemon.events("stranger")) == 2, "it has gone")
    check("no more" in daemon.events("stranger")[-1]["message"], "the event")
    check_equal(daemon.service()["endpoints"][0]["strangers"], [], "strangers")


def test_stranger_in_the_group_is_named_ebpf(t):
    is_named(t, "ebpf")


def test_stranger_in_the_group_is_named_cbpf(t):
    is_named(t, "cbpf")


def test_stranger_in_the_group_is_named_hash(t):
    is_named(t, "hash")


def test_stranger_in_a_dual_stack_group_is_named(t):
    is_named(t, "ebpf", ":8080")


def test_nobody_is_called_a_stranger_who_is_none(t):
    """Servers that bind several sockets, workers, restarts: none of it is a stranger."""
    config = service(binder(t, "--listen", V4, "--share", "--sockets", 3, "--fork"), instances=2)
    daemon = t.daemon(config)
    for _ in range(3):
        daemon.restart()
    seen = daemon.last_seq()
    wait_until(lambda: daemon.last_seq() >= seen and get().status == 200, "it serves")
    check_equal(daemon.events("stranger"), [], "strangers")


# ---- children that have got away -----------------------------------------------------------------

# Leaves a child behind that has the listening socket and moves to another cgroup.
AWAY = """
import os, signal, socket, subprocess, sys, threading
listener = socket.socket(fileno=3)
listener.listen(128)
os.set_inheritable(3, True)
if sys.argv[1] == "1":
    child = subprocess.Popen(["/bin/sleep", "1000"], close_fds=False, start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    open(sys.argv[2] + "/cgroup.procs", "w").write(str(child.pid))
    open(sys.argv[3], "w").write(str(child.pid))
    os.set_inheritable(3, False)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    sock = listener.accept()[0]
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 0\\r\\n\\r\\n")
    sock.close()
"""


def away(t, **changes):
    pid = t.tmp / "away.pid"
    command = ["/usr/bin/python3", "-S", t.file("away.py", AWAY), "{generation}", own_cgroup(), pid]
    return service(command, mode="inherit", drain={"leave_timeout": "1s"}, **changes), pid


def orphan_is_named(t, steering):
    config, file = away(t, steering=steering)
    daemon = t.daemon(config)
    pid = int(file.read_text())
    try:
        daemon.restart()
        event = daemon.wait_event("stranger")
        for each in (f"pid {pid}", "sleep", "generation 1", "has got away", "was shut down"):
            check(each in event["message"], f"no {each!r}: {event}")
        status = daemon.cli("status", "web", expect=None).out
        check("sleep" not in status, f"it listens: {status}")
        check(f"pid={pid}," not in listening(), f"it listens: {listening()}")
        # Nobody hangs at it.
        check_equal([get().status for _ in range(50)], [200] * 50, "answers")
        check_equal(len(daemon.events("stranger")), 1, "told once")
    finally:
        os.kill(pid, 9)


def test_orphan_that_keeps_a_listener_is_named_ebpf(t):
    orphan_is_named(t, "ebpf")


def test_orphan_that_keeps_a_listener_is_named_cbpf(t):
    orphan_is_named(t, "cbpf")


def test_orphan_that_keeps_a_listener_is_named_hash(t):
    orphan_is_named(t, "hash")


def listening():
    return subprocess.run(["ss", "-Htlnp", "sport = 8080"], capture_output=True, text=True,
                          check=True).stdout


def with_orphan(t, begin, **changes):
    """@begin(daemon, pid) with a service that has left a child behind; it is ended afterwards."""
    config, file = away(t, **changes)
    daemon = t.daemon(config)
    pid = int(file.read_text())
    try:
        begin(daemon, pid)
    finally:
        os.kill(pid, 9)


def check_shut(daemon, pid, since=0):
    event = daemon.wait_event("stranger", since=since)
    for each in (f'pid {pid} "sleep"', "has got away", "was shut down"):
        check(each in event["message"], f"no {each!r}: {event}")
    check(f"pid={pid}," not in listening(), f"it listens: {listening()}")


def test_orphan_that_is_left_by_a_stop_keeps_no_port(t):
    def begin(daemon, pid):
        daemon.cli("stop", "web", expect=0)
        check_shut(daemon, pid)
        check_equal(listening(), "", "who listens")
        daemon.cli("start", "web", expect=0)
        check_equal(get().status, 200, "it serves")
    with_orphan(t, begin)


def test_orphan_that_is_left_by_a_crash_keeps_no_port(t):
    def begin(daemon, pid):
        os.kill(daemon.server_pid(), 9)
        check_shut(daemon, pid)
    with_orphan(t, begin, restart={"max": 0})


def test_orphan_whose_agent_and_server_are_killed_keeps_no_port(t):
    def begin(daemon, pid):
        os.kill(daemon.generation()["instances"][0]["agent_pid"], 19)
        os.kill(daemon.server_pid(), 9)
        os.kill(daemon.generation()["instances"][0]["agent_pid"], 9)
        check_shut(daemon, pid)
    with_orphan(t, begin, restart={"max": 0})


def next_one_serves(t, steering):
    def begin(daemon, pid):
        agent, server = daemon.generation()["instances"][0]["agent_pid"], daemon.server_pid()
        os.kill(agent, 19)
        os.kill(server, 9)
        daemon.process.popen.kill()
        daemon.process.wait()
        os.kill(agent, 9)
        check(f"pid={pid}," in listening(), f"it does not listen: {listening()}")
        daemon.start()
        check_shut(daemon, pid)
        check_equal(get().status, 200, "it serves")
    with_orphan(t, begin, steering=steering)


def test_orphan_of_a_batond_that_was_killed_with_everything_ebpf(t):
    next_one_serves(t, "ebpf")


def test_orphan_of_a_batond_that_was_killed_with_everything_cbpf(t):
    next_one_serves(t, "cbpf")


def test_orphan_of_a_batond_that_was_killed_with_everything_hash(t):
    next_one_serves(t, "hash")


# ---- a port that is taken ------------------------------------------------------------------------

def test_start_names_who_has_the_port(t):
    other = t.spawn("other", *oddball(t, f"bind={V4}"))
    wait_until(lambda: not refused(), "it listens")
    daemon = t.daemon(service(example(t)), start=False).start_unready()
    daemon.wait_state("failed")
    reason = daemon.service()["reason"]
    check(f'{V4} is in use by pid {other.pid} "python3" (uid 0) on {V4}' in reason, reason)


def test_start_names_who_has_an_address_that_overlaps(t):
    other = t.spawn("other", *oddball(t, "bind=0.0.0.0:8080"))
    wait_until(lambda: not refused(), "it listens")
    daemon = t.daemon(service(example(t), steering="cbpf"), start=False).start_unready()
    daemon.wait_state("failed")
    reason = daemon.service()["reason"]
    check(f'pid {other.pid} "python3" (uid 0) on 0.0.0.0:8080' in reason, reason)


def linger(reuse):
    """A connection in TIME_WAIT at the server's side, of a server that is gone."""
    with socket.socket() as listener:
        if reuse:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 8080))
        listener.listen()
        client = socket.create_connection(("127.0.0.1", 8080))
        listener.accept()[0].close()
    client.close()


def forget_lingering():
    """Let what is in TIME_WAIT go now, as the kernel does after a minute."""
    # Their number is limited: those that are there already stay. So destroy them by sock_diag.
    os.system("ss -K state time-wait sport = :8080 >/dev/null")


def test_start_waits_for_connections_of_an_earlier_server(t):
    linger(reuse=False)
    config = service(example(t), health={"start_timeout": "100s"})
    daemon = t.daemon(config, start=False).start_unready()
    event = daemon.wait_event("refused")
    for each in ("nobody listens on 127.0.0.1:8080", "TIME_WAIT", "tried again"):
        check(each in event["message"], f"no {each!r}: {event}")
    check("listens there" not in event["message"], f"{event}")
    check_equal(daemon.state(), "starting", "state")
    forget_lingering()
    daemon.wait_state("running", deadline_s=90)
    check_equal(get().status, 200, "it serves")


test_start_waits_for_connections_of_an_earlier_server.timeout_s = 180


def test_start_waits_no_longer_than_its_timeout(t):
    linger(reuse=False)
    config = service(example(t), health={"start_timeout": soon(1), "timeout": soon(0.5)})
    daemon = t.daemon(config, start=False).start_unready()
    daemon.wait_state("failed")
    reason = daemon.service()["reason"]
    check("nobody listens on 127.0.0.1:8080" in reason, reason)
    check_equal(len(daemon.events("refused")), 2, "events")


def test_server_without_reuseaddr_shares_although_connections_linger(t):
    linger(reuse=True)
    t.daemon(service(oddball(t, "strict", f"bind={V4}")))
    check_equal(get().status, 200, "it serves")


def test_server_without_reuseaddr_is_started_again_while_connections_linger(t):
    linger(reuse=True)
    config = service(oddball(t, "strict", "share", f"bind={V4}"), mode="native", steering="hash")
    daemon = t.daemon(config)
    event = daemon.events("exited")[0]
    check("started again" in event["message"] and "in use" in event["tail"], f"{event}")
    check_equal(get().status, 200, "it serves")
