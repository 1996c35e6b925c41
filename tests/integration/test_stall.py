# SPDX-License-Identifier: BSD-2-Clause
"""A batond that does not read for a while is not dead, and neither is an agent that waits for it."""

import pathlib
import signal

from harness import alive, check_equal, get, send_signal, stat_of, wait_stopped, wait_until
from services import pid_of, service

STATUSES = 700  # far more than what an agent's socket has room for


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
    get("/talk")
    send_signal(first, signal.SIGKILL)
    wait_until(lambda: not alive(first), "it has ended")
    second = pid_of(get("/talk").body)
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
    get("/talk")
    send_signal(agent, signal.SIGTERM)
    wait_until(lambda: not alive(server), "the server has ended")
    send_signal(daemon.pid, signal.SIGCONT)
    wait_until(lambda: daemon.server_pid() not in (0, server), "another one serves")
    check_equal(daemon.events("agent-lost", since=since), [], "agents lost")
    wait_until(lambda: not alive(agent), "the agent has ended")
