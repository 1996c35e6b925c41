# SPDX-License-Identifier: BSD-2-Clause
"""A batond that does not read for a while is not dead, and neither is an agent that waits for it."""

import contextlib
import os
import pathlib
import signal
import socket

from harness import (alive, check, check_equal, get, send_signal, signal_all, stat_of, wait_stopped,
                     wait_until)
from rollouts import kill_daemon
from services import example, pid_of, service
from swaps import check_promised, promise_most

STATUSES = 700  # far more than what an agent's socket has room for
TALK_S = 200  # so long they may take on a busy machine, with sanitizers


def chatty(t):
    source = pathlib.Path(__file__).with_name("chatty.py")
    return ["/usr/bin/python3", "-B", t.file(source.name, source.read_text()), str(STATUSES)]


def test_stopped_batond_keeps_its_agents(t):
    """Much is said, and the server crashes and is started again, before batond reads on."""
    daemon = t.daemon(service(chatty(t)))
    first, since = daemon.server_pid(), daemon.last_seq()
    agent = stat_of(first)[1]
    send_signal(daemon.pid, signal.SIGSTOP)
    wait_stopped([daemon.pid])
    get("/talk", timeout_s=TALK_S)
    send_signal(first, signal.SIGKILL)
    wait_until(lambda: not alive(first), "it has ended")
    second = pid_of(get("/talk", timeout_s=TALK_S).body)
    check_equal(stat_of(second)[1], agent, "its agent")
    send_signal(daemon.pid, signal.SIGCONT)
    wait_until(lambda: daemon.server_pid() == second, "batond knows the new server")
    check_equal(daemon.events("agent-lost", since=since), [], "agents lost")
    check_equal(daemon.generation()["instances"][0]["restarts"], 1, "restarts")
    check_equal(alive(agent), True, "the agent lives")
    daemon.restart()


def test_agent_that_ends_while_batond_is_stopped_tells_how(t):
    """The last thing that it says waits for its reader, too."""
    daemon = t.daemon(service(chatty(t)))
    server, since = daemon.server_pid(), daemon.last_seq()
    agent = stat_of(server)[1]
    send_signal(daemon.pid, signal.SIGSTOP)
    wait_stopped([daemon.pid])
    get("/talk", timeout_s=TALK_S)
    send_signal(agent, signal.SIGTERM)
    wait_until(lambda: not alive(server), "the server has ended")
    send_signal(daemon.pid, signal.SIGCONT)
    wait_until(lambda: daemon.server_pid() not in (0, server), "another one serves")
    check_equal(daemon.events("agent-lost", since=since), [], "agents lost")
    wait_until(lambda: not alive(agent), "the agent has ended")


# ---- agents that answer late ---------------------------------------------------------------------

LOAD = ("--short", 4, "--keepalive", 2, "--timeout", "30s", "--expect-status", 200)
LATE_MS = 2500


@contextlib.contextmanager
def stopped(pids):
    """They stand still, and go on in the end."""
    signal_all(pids, signal.SIGSTOP)
    try:
        wait_stopped(pids)
        yield
    finally:
        signal_all([pid for pid in pids if alive(pid)], signal.SIGCONT)


def instances(daemon, name="web"):
    return daemon.generation(service=name)["instances"]


def agents_of(daemon, name="web"):
    return [each["agent_pid"] for each in instances(daemon, name)]


def servers_of(daemon, name="web"):
    return [each["pid"] for each in instances(daemon, name)]


def check_late(t, steering):
    """One of two agents is late: its service waits, another one does not."""
    promise_most(steering)
    other = service(example(t), listen=["127.0.0.1:8081"], steering=steering)
    daemon = t.daemon(web=service(example(t), instances=2, steering=steering), api=other)
    agents, servers = agents_of(daemon), servers_of(daemon)
    hammer, since = t.hammer(*LOAD), daemon.last_seq()
    with stopped(agents[:1]):
        kill_daemon(daemon)
        daemon.start_unready()
        daemon.wait_state("running", "api")
        late = wait_until(lambda: [each for each in daemon.service().get("awaited", [])
                                   if each["waited_ms"] > LATE_MS], "one is late")
        check_equal([(each["agent_pid"], each["pid"]) for each in late],
                    [(agents[0], servers[0])], "who is late")
        check_equal(daemon.state(), "waiting", "state")
        refused = daemon.restart(expect=6)
        for pid in (agents[0], servers[0]):
            check(f"pid {pid}" in refused.err, lambda: f"who is awaited: {refused}")
        daemon.restart(service="api")
        check_equal([alive(pid) for pid in agents + servers], [True] * 4, "all live")
    daemon.wait_state("running")
    check_equal((agents_of(daemon), servers_of(daemon)), (agents, servers), "agents and servers")
    check_equal(daemon.events("agent-lost", since=since), [], "agents lost")
    daemon.restart()
    check_promised(hammer, steering)
    check("pid 0" not in daemon.process.text(), daemon.process.text())


def test_agent_that_answers_late_is_taken_over_ebpf(t):
    check_late(t, "ebpf")


def test_agent_that_answers_late_is_taken_over_cbpf(t):
    check_late(t, "cbpf")


def test_agent_that_answers_late_is_taken_over_hash(t):
    check_late(t, "hash")


def test_hundred_agents_that_answer_late_are_all_taken_over(t):
    daemon = t.daemon(service(example(t), instances=100))
    agents, servers = agents_of(daemon), servers_of(daemon)
    with stopped(agents):
        kill_daemon(daemon)
        daemon.start_unready()
        wait_until(lambda: len([each for each in daemon.service()["awaited"]
                                if each["waited_ms"] > LATE_MS]) == 100, "all are late")
        check("and 99 more" in daemon.service()["reason"], daemon.service()["reason"])
    daemon.wait_state("running")
    check_equal((agents_of(daemon), servers_of(daemon)), (agents, servers), "agents and servers")


def take_over_late(t, daemon, agents, *argv):
    """Another batond, while these agents stand still: for the block to go on with."""
    @contextlib.contextmanager
    def late():
        with stopped(agents):
            kill_daemon(daemon)
            daemon.write_config()
            daemon.start_unready(*argv)
            wait_until(lambda: daemon.state(list(daemon.config["services"])[0]) == "waiting",
                       "it waits")
            yield
    return late()


def test_agent_that_never_answers_is_replaced(t):
    daemon = t.daemon(service(example(t), instances=2))
    agents, servers = agents_of(daemon), servers_of(daemon)
    hammer, since = t.hammer(*LOAD), daemon.last_seq()
    with take_over_late(t, daemon, agents[:1], "--agent-timeout", "6s"):
        check("does not answer within 6s" in daemon.service()["reason"], daemon.service()["reason"])
        daemon.wait_event("agent-replaced", since=since)
        daemon.wait_state("running")
        check_equal(alive(agents[0]), False, "it lives")
    check_equal((agents_of(daemon)[1], servers_of(daemon)), (agents[1], servers), "what goes on")
    daemon.restart()
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_reload_and_stop_wait_for_an_agent_that_is_late(t):
    daemon = t.daemon(service(example(t), instances=2))
    servers = servers_of(daemon)
    with take_over_late(t, daemon, agents_of(daemon)[:1]):
        daemon.config["services"]["web"]["instances"] = 3
        daemon.write_config()
        check("taken over first" in daemon.cli("reload", expect=0).out, "what reload says")
    wait_until(lambda: daemon.state() == "running" and len(instances(daemon)) == 3, "three")
    check_equal(servers_of(daemon)[:2], servers, "its servers")
    with take_over_late(t, daemon, agents_of(daemon)[:1]):
        send_signal(daemon.pid, signal.SIGTERM)
        wait_until(lambda: "stopping" in daemon.process.text(), "it is told to stop")
        check_equal([alive(pid) for pid in servers], [True, True], "servers live")
    check_equal(daemon.process.wait(), 0, "batond's exit status")
    daemon.check_clean()


def test_second_signal_kills_what_is_late(t):
    daemon = t.daemon(service(example(t), instances=2))
    with take_over_late(t, daemon, agents_of(daemon)[:1]):
        for _ in range(2):
            send_signal(daemon.pid, signal.SIGTERM)
            wait_until(lambda: "stopping" in daemon.process.text(), "it is told to stop")
        check_equal(daemon.process.wait(), 0, "batond's exit status")
    daemon.check_clean()


def test_service_that_was_renamed_waits_for_its_agents(t):
    """They have answered nobody yet: what they have written down says which address is theirs."""
    daemon = t.daemon(service(example(t)))
    agents, servers = agents_of(daemon), servers_of(daemon)
    daemon.config["services"]["other"] = daemon.config["services"].pop("web")
    with take_over_late(t, daemon, agents):
        pass
    daemon.wait_state("running", "other")
    check_equal(servers_of(daemon, "other"), servers, "its server")


def test_agent_that_is_late_and_of_no_service_is_left_alone(t):
    """Until its service is configured again."""
    daemon = t.daemon(web=service(example(t)), api=service(example(t), listen=["127.0.0.1:8081"]))
    agents, servers = agents_of(daemon), servers_of(daemon)
    web = daemon.config["services"].pop("web")
    with stopped(agents):
        kill_daemon(daemon)
        daemon.start()
        check(f"pid {agents[0]}" in daemon.process.text(), daemon.process.text())
        daemon.config["services"]["web"] = web
        daemon.write_config()
        daemon.cli("reload", expect=0)
        check_equal(daemon.state(), "waiting", "state")
    daemon.wait_state("running")
    check_equal((agents_of(daemon), servers_of(daemon)), (agents, servers), "agent and server")


# ---- agents that hang up -------------------------------------------------------------------------

def hang_up(t, daemon):
    """A connection to the agent, which ends that of batond's."""
    path = pathlib.Path("/run") / daemon.name / "agents" / "web.1.0.sock"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(str(path))
    check(b"hello" in sock.recv(1 << 16), "it greets")
    return sock


def test_agent_that_hangs_up_is_not_dead(t):
    daemon = t.daemon(service(example(t)))
    agent, server, since = agents_of(daemon), servers_of(daemon), daemon.last_seq()
    sock = hang_up(t, daemon)
    wait_until(lambda: sock.recv(1 << 16) == b"", "batond has connected again")
    os.kill(server[0], signal.SIGKILL)
    daemon.wait_event("restarted", since=since)
    check_equal(agents_of(daemon), agent, "its agent")
    check_equal(daemon.events("agent-lost", since=since), [], "agents lost")
    daemon.restart()


def test_server_that_crashes_while_its_agent_has_hung_up_is_known_to_have(t):
    daemon = t.daemon(service(example(t)))
    agent, server, since = agents_of(daemon), servers_of(daemon), daemon.last_seq()
    with stopped([daemon.pid]):
        sock = hang_up(t, daemon)
        os.kill(server[0], signal.SIGKILL)
        wait_until(lambda: not alive(server[0]), "it has ended")
        wait_until(lambda: b'"started"' in sock.recv(1 << 16), "another one runs")
        sock.close()
    daemon.wait_event("restarted", since=since)
    check_equal((agents_of(daemon), instances(daemon)[0]["restarts"]), (agent, 1),
                "agent and restarts")
    check_equal(pid_of(get().body), servers_of(daemon)[0], "who serves")
    daemon.restart()


def test_agent_that_hangs_up_and_dies_is_replaced(t):
    daemon = t.daemon(service(example(t)))
    agent, server, since = agents_of(daemon)[0], servers_of(daemon), daemon.last_seq()
    hammer = t.hammer(*LOAD)
    with contextlib.ExitStack() as stack:
        # Before batond can connect again: what connects then is not answered.
        with stopped([daemon.pid]):
            sock = hang_up(t, daemon)
            stack.enter_context(stopped([agent]))
            sock.close()
        wait_until(lambda: "agent_silent_ms" in instances(daemon)[0], "it does not answer")
        check_equal(agents_of(daemon), [agent], "its agent")
        os.kill(agent, signal.SIGKILL)
        daemon.wait_event("agent-replaced", since=since)
    check_equal(servers_of(daemon), server, "its server")
    daemon.restart()
    check_equal(hammer.stop()["lost"], 0, "lost")
