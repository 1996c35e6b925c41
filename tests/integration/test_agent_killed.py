# SPDX-License-Identifier: BSD-2-Clause
"""The death of an agent costs nothing: its server goes on, and another agent looks after it."""

import os
import signal

from harness import (alive, begin_post, check, check_equal, get, read_response, refused, timeout,
                     wait_until)
from services import example, generation_of, service
from swaps import gentle

# Logs a line for each request, and dies of a broken pipe like a program in C.
LOGGER = """
import os, signal, socket, sys, threading
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
if sys.argv[1] == "inherit":
    listener = socket.socket(fileno=3)
else:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.argv[1] == "native":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", 8080))
listener.listen(4096)
live = set()
answer = f"generation {sys.argv[2]} pid {os.getpid()}\\n".encode()
def serve(sock):
    said = b""
    while b"\\r\\n\\r\\n" not in said:
        more = sock.recv(65536)
        if not more:
            break
        said += more
    if said:
        os.write(1, b"%d says %s\\n" % (os.getpid(), said.split()[1]))
        sock.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s"
                     % (len(answer), answer))
    sock.close()
    live.discard(sock)
def run():
    listener.settimeout(0.1)
    while True:
        try:
            sock = listener.accept()[0]
        except TimeoutError:
            if stop.is_set():
                return
            continue
        sock.settimeout(30)
        live.add(sock)
        threading.Thread(target=serve, args=(sock,), daemon=True).start()
run()
listener.close()
while live:
    stop.wait(0.02) and __import__("time").sleep(0.02)
"""

LOAD = ("--short", 4, "--rate", 200, "--timeout", "30s", "--expect-status", 200)


def logger(t, mode, **changes):
    command = ["/usr/bin/python3", "-B", t.file("logger.py", LOGGER), mode, "{generation}"]
    return service(command, mode=mode, stdout=str(t.tmp / "out.log"), **changes)


def agent_of(daemon, state="current"):
    return daemon.generation(state)["instances"][0]["agent_pid"]


def kill_agent(daemon, state="current"):
    """Kill the agent, and wait until another one has its server. Returns the server's pid."""
    agent, server, since = agent_of(daemon, state), daemon.server_pid(state), daemon.last_seq()
    os.kill(agent, signal.SIGKILL)
    daemon.wait_event("agent-lost", since=since)
    event = daemon.wait_event("agent-replaced", since=since)
    check(f"its server, pid {server}, is looked after" in event["message"], f"{event}")
    check(alive(server), "the server has ended")
    return server


def said(t, pid, path):
    return f"{pid} says {path}\n" in (t.tmp / "out.log").read_text()


def check_nothing_lost(hammer):
    wait_until(lambda: hammer.report()["ok"] > 50, "enough load")
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")


def check_cared_for(t, daemon, server):
    """The new agent does all that the first one did."""
    before = daemon.generation()["instances"][0]
    check_equal((before["pid"], before["restarts"], before["state"]), (server, 0, "running"),
                "the instance")
    check(before["agents_lost"] >= 1, f"no loss in status: {before}")
    get("/afterwards")
    wait_until(lambda: said(t, server, "/afterwards"), "what it writes is in the log")
    daemon.restart()
    check_equal(generation_of(get().body), 2, "generation that answers")
    check_equal(daemon.service()["last_rollout"]["result"], "done", "result")
    wait_until(lambda: not alive(server), "the old server has ended")


def steady(t, mode, steering):
    daemon = t.daemon(logger(t, mode, steering=steering))
    hammer = t.hammer(*LOAD)
    wait_until(lambda: hammer.report()["ok"] > 20, "the load has begun")
    for _ in range(2):
        server = kill_agent(daemon)
    check_cared_for(t, daemon, server)
    check_nothing_lost(hammer)
    check_equal(daemon.events("exited"), [], "exits")


def test_steady_inherit_ebpf(t):
    steady(t, "inherit", "ebpf")


def test_steady_native_ebpf(t):
    steady(t, "native", "ebpf")


def test_steady_transparent_ebpf(t):
    steady(t, "transparent", "ebpf")


def test_steady_inherit_cbpf(t):
    steady(t, "inherit", "cbpf")


def test_steady_native_cbpf(t):
    steady(t, "native", "cbpf")


def test_steady_hash(t):
    """On this tier a restart may lose connections, so the load ends before."""
    daemon = t.daemon(logger(t, "inherit", steering="hash"))
    hammer = t.hammer(*LOAD)
    wait_until(lambda: hammer.report()["ok"] > 20, "the load has begun")
    server = kill_agent(daemon)
    check_nothing_lost(hammer)
    check_cared_for(t, daemon, server)


def test_crash_after_it_is_an_exit_that_is_mended(t):
    daemon = t.daemon(logger(t, "inherit"))
    server = kill_agent(daemon)
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: daemon.server_pid() not in (0, server), "another server runs")
    check_equal(daemon.current(), 1, "generation")
    check_equal(daemon.generation()["instances"][0]["restarts"], 1, "restarts")
    get("/again")
    wait_until(lambda: said(t, daemon.server_pid(), "/again"), "what it writes is in the log")


def test_stop_after_it_waits_for_what_is_left(t):
    daemon = t.daemon(service(example(t)))
    kill_agent(daemon)
    sock = begin_post(size=10, sent=5)
    stop = t.spawn("stop", t.program("baton"), "-n", daemon.name, "stop", "web")
    wait_until(refused, "it listens no more")
    sock.sendall(b"67890")
    check_equal(read_response(sock).status, 200, "the answer to the rest")
    check_equal(stop.wait(), 0, f"exit status: {stop.text()}")


def test_in_the_bake(t):
    """The agents of both sides are killed, under load."""
    daemon = t.daemon(service(example(t), rollout={"bake": "10m"}))
    old = daemon.server_pid()
    hammer = gentle(t)
    since = daemon.last_seq()
    daemon.begin()
    daemon.wait_event("settle", since=since)
    for generation in daemon.service()["generations"]:
        for instance in generation["instances"]:
            os.kill(instance["agent_pid"], signal.SIGKILL)
    n = sum(len(g["instances"]) for g in daemon.service()["generations"])
    check_equal(n, 2, "instances")
    wait_until(lambda: len(daemon.events("agent-replaced", since=since)) == n, "new agents")
    daemon.cli("promote", "web", expect=0)
    check_equal(daemon.wait_end(since)["event"], "done", "the rollout's end")
    check_equal(generation_of(get().body), 2, "generation that answers")
    check_nothing_lost(hammer)
    wait_until(lambda: not alive(old), "the old server has ended")


def test_in_verify(t):
    command = example(t, "--unhealthy-while", t.tmp / "sick.{generation}")
    (t.tmp / "sick.2").touch()
    daemon = t.daemon(service(command))
    hammer = gentle(t)
    since = daemon.last_seq()
    daemon.begin()
    daemon.wait_event("start", since=since)
    states = [g["state"] for g in daemon.service()["generations"]]
    kill_agent(daemon, next(state for state in states if state != "current"))
    (t.tmp / "sick.2").unlink()
    check_equal(daemon.wait_end(since)["event"], "done", "the rollout's end")
    check_equal(generation_of(get().body), 2, "generation that answers")
    check_nothing_lost(hammer)
    os.kill(daemon.server_pid(), signal.SIGKILL)
    wait_until(lambda: daemon.events("restarted", since=since), "it is steady")


@timeout(300)
def test_in_the_drain(t):
    daemon = t.daemon(service(example(t)))
    old = daemon.server_pid()
    sock = begin_post(size=10, sent=5)
    since = daemon.last_seq()
    daemon.begin()
    daemon.wait_event("leave", since=since)
    states = [g["state"] for g in daemon.service()["generations"]]
    check_equal(len(states), 2, f"generations: {states}")
    kill_agent(daemon, next(state for state in states if state != "current"))
    sock.sendall(b"67890")
    check_equal(read_response(sock).status, 200, "the answer to the rest")
    ended = daemon.wait_end(since)
    check_equal((ended["event"], ended["cut"]), ("done", 0), "the rollout's end")
    wait_until(lambda: not alive(old), "the old server has ended")


def kill_both(daemon, agent):
    """While batond is down."""
    daemon.process.popen.send_signal(signal.SIGKILL)
    daemon.process.wait()
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: not alive(agent), "the agent has ended")


def while_batond_is_down(t, mode, steering):
    daemon = t.daemon(logger(t, mode, steering=steering))
    hammer = t.hammer(*LOAD)
    server, agent = daemon.server_pid(), agent_of(daemon)
    kill_both(daemon, agent)
    get("/between")
    daemon.start()
    event = daemon.wait_event("agent-replaced")
    check(f"the one before, pid {agent}" in event["message"], f"{event}")
    wait_until(lambda: said(t, server, "/between"), "what it wrote meanwhile is in the log")
    check_equal((daemon.current(), daemon.server_pid()), (1, server), "what serves")
    check_cared_for(t, daemon, server)
    check_nothing_lost(hammer)


def test_while_batond_is_down_inherit_ebpf(t):
    while_batond_is_down(t, "inherit", "ebpf")


def test_while_batond_is_down_native_cbpf(t):
    while_batond_is_down(t, "native", "cbpf")


def test_while_batond_is_down_and_the_old_one_drains(t):
    daemon = t.daemon(service(example(t)))
    sock = begin_post(size=10, sent=5)
    since = daemon.last_seq()
    daemon.begin()
    daemon.wait_event("leave", since=since)
    agents = [i["agent_pid"] for g in daemon.service()["generations"] for i in g["instances"]]
    check_equal(len(agents), 2, "agents")
    kill_both(daemon, agents[0])
    os.kill(agents[1], signal.SIGKILL)
    daemon.start()
    check_equal(daemon.current(), 2, "generation that serves")
    sock.sendall(b"67890")
    check_equal(read_response(sock).status, 200, "the answer to the rest")
    wait_until(lambda: len(daemon.service()["generations"]) == 1, "the old generation is gone")


def test_replace_is_a_rollout_of_that_one_instance(t):
    daemon = t.daemon(logger(t, "inherit", agent_lost="replace", instances=2))
    pids = [daemon.server_pid(instance=k) for k in range(2)]
    hammer = t.hammer(*LOAD)
    kill_agent(daemon)
    event = daemon.wait_event("replacing")
    check("\"agent_lost\" is \"replace\"" in event["reason"], f"{event}")
    wait_until(lambda: len(daemon.generation()["instances"]) == 2 and not alive(pids[0]),
               "the old server has ended")
    left = {i["pid"] for i in daemon.generation()["instances"]}
    check(pids[1] in left and len(left) == 2, f"{left}, not {pids}")
    check_nothing_lost(hammer)


def test_agent_that_is_killed_while_it_starts_its_server_fails_it(t):
    """There is nothing to go on with: the new generation is given up, and the old one serves."""
    daemon = t.daemon(service(example(t)))
    hammer = gentle(t)
    flag = t.tmp / "stuck"
    daemon.config["services"]["web"]["command"] = ["/bin/sh", "-c", f"touch {flag}; exec sleep 60"]
    daemon.write_config()
    daemon.cli("reload", "--no-wait", expect=None)
    wait_until(flag.exists, "the new one runs")

    def started():
        new = next(g for g in daemon.service()["generations"] if g["state"] != "current")
        return new["instances"][0]["pid"] and new["instances"][0]
    new = wait_until(started, "batond has heard of it")
    pid, agent = new["pid"], new["agent_pid"]
    os.kill(pid, signal.SIGKILL)
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: len(daemon.service()["generations"]) == 1, "the new generation is gone")
    check_equal(generation_of(get().body), 1, "generation that answers")
    check_nothing_lost(hammer)


def test_service_that_was_renamed(t):
    """What its agents and files are called is what the service was called first."""
    daemon = t.daemon(logger(t, "inherit"))
    hammer = t.hammer(*LOAD)
    daemon.config["services"] = {"site": daemon.config["services"]["web"]}
    daemon.write_config()
    daemon.cli("reload", expect=0)
    wait_until(lambda: not daemon.service("site")["rollout"], "the reload has been carried out")
    before = daemon.service("site")["generations"][0]["instances"][0]
    since = daemon.last_seq()
    os.kill(before["agent_pid"], signal.SIGKILL)
    daemon.wait_event("agent-replaced", service="site", since=since)
    after = daemon.service("site")["generations"][0]["instances"][0]
    check_equal((after["pid"], after["agents_lost"]), (before["pid"], 1), "server, lost agents")
    daemon.cli("restart", "site", expect=0)
    check_nothing_lost(hammer)
