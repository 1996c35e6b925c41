# SPDX-License-Identifier: BSD-2-Clause
"""Without privileges: batond, agents and servers run as nobody, on the tiers that need none."""

import os
import pathlib
import pwd
import shutil
import signal

from harness import (alive, begin_post, bodies, check, check_equal, get, read_response, refused,
                     timeout, wait_until)
from services import SOON, example, generation_of, reconfigure, service
from swaps import check_unharmed, gentle, swap_many

NOBODY = pwd.getpwnam("nobody")
BINDER = pathlib.Path(__file__).with_name("binder.py")


def as_nobody(t, config):
    """A daemon of nobody's, with the programs and folders that it can reach."""
    programs = t.tmp / "programs"
    programs.mkdir(mode=0o755)
    for name in ("batond", "baton-agent", "baton"):
        shutil.copy(t.program(name), programs / name)
        (programs / name).chmod(0o755)
    home = t.tmp / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    daemon = t.daemon(config, start=False)
    daemon.program_dir = programs
    daemon.prefix = ["/usr/bin/setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}",
                     "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
                     "env", f"XDG_RUNTIME_DIR={home}", f"XDG_STATE_HOME={home}"]
    daemon.api_socket = pathlib.Path(home) / daemon.name / "api.sock"
    return daemon.start()


def judge(generation):
    def who(body):
        check_equal(generation_of(body), generation, "generation that answers")
    return who


@timeout(600)
def test_cbpf_swaps_20_times_as_nobody_and_loses_nothing(t):
    daemon = as_nobody(t, service(example(t)))
    status = daemon.service()
    check_equal(status["tier"], "cbpf", f"tier: {status}")
    check("ebpf" in status["tier_reason"], f"reason: {status['tier_reason']}")
    text = daemon.cli("status", expect=0).out
    check("cbpf" in text, f"status: {text}")
    pid = daemon.server_pid()
    check_equal(pathlib.Path(f"/proc/{pid}").stat().st_uid, NOBODY.pw_uid, "the server's user")
    swap_many(t, daemon, judge)
    daemon.stop()


@timeout(600)
def test_cbpf_swaps_four_instances_as_nobody_and_loses_nothing(t):
    daemon = as_nobody(t, service(example(t), instances=4))
    swap_many(t, daemon, judge, swaps=5)
    daemon.stop()


def test_cbpf_probes_reach_the_candidate_only(t):
    daemon = as_nobody(t, service(example(t)))
    reconfigure(daemon, health=SOON)
    daemon.upgrade(example(t, "--unhealthy"), expect=3)
    check_equal({generation_of(body) for body in bodies(50)}, {1}, "generations that answer")
    daemon.stop()


@timeout(600)
def test_hash_swaps_as_nobody(t):
    pathlib.Path("/proc/sys/net/ipv4/tcp_migrate_req").write_text("1")
    config = service(example(t), steering="hash", health={"notify": True})
    del config["health"]["http"]
    daemon = as_nobody(t, config)
    check_equal(daemon.service()["tier"], "hash", "tier")
    for generation in range(2, 6):
        daemon.restart()
        check_equal({generation_of(body) for body in bodies(50)}, {generation}, "who answers")
    daemon.stop()


def test_server_that_does_not_share_is_explained_without_privileges(t):
    """Nothing can make it share its port here: the user reads why, and what to do."""
    daemon = as_nobody(t, service(example(t)))
    binder = t.file("binder.py", BINDER.read_text())
    said = daemon.upgrade(["/usr/bin/python3", "-B", binder, "--listen", "127.0.0.1:8080"],
                          expect=3)
    for expected in ("Address already in use", "does not share", "transparent"):
        check(expected in said.text, f"{expected!r} is not in what is printed: {said}")
    check_equal(generation_of(get().body), 1, "generation that answers")
    daemon.stop()


def test_crash_of_the_server_as_nobody_is_mended(t):
    daemon = as_nobody(t, service(example(t)))
    pid = daemon.server_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: daemon.server_pid() not in (0, pid), "another server runs")
    check_equal(get().status, 200, "answer")
    daemon.stop()


def test_killed_batond_of_nobody_is_succeeded(t):
    daemon = as_nobody(t, service(example(t)))
    pid = daemon.server_pid()
    daemon.process.popen.kill()
    daemon.process.popen.wait()
    check_equal(generation_of(get().body), 1, "generation that answers")
    daemon.start()
    check_equal(daemon.server_pid(), pid, "the same server")
    check_equal({generation_of(body) for body in bodies(30)}, {1}, "generations that answer")
    daemon.restart()
    check_equal({generation_of(body) for body in bodies(30)}, {2}, "generations that answer")
    daemon.stop()


def kill_agent(daemon):
    agent, server = daemon.generation()["instances"][0]["agent_pid"], daemon.server_pid()
    since = daemon.last_seq()
    os.kill(agent, signal.SIGKILL)
    daemon.wait_event("agent-replaced", since=since)
    check_equal(daemon.server_pid(), server, "the server")
    return server


def test_killed_agent_of_nobody_is_succeeded(t):
    daemon = as_nobody(t, service(example(t)))
    hammer = gentle(t)
    for _ in range(2):
        server = kill_agent(daemon)
    daemon.restart()
    check_equal({generation_of(body) for body in bodies(30)}, {2}, "generations that answer")
    wait_until(lambda: not alive(server), "the old server has ended")
    check_unharmed(hammer)
    server = kill_agent(daemon)
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: daemon.server_pid() not in (0, server), "another server runs")
    daemon.stop()


def test_killed_agent_and_batond_of_nobody_are_succeeded(t):
    daemon = as_nobody(t, service(example(t)))
    agent, server = daemon.generation()["instances"][0]["agent_pid"], daemon.server_pid()
    hammer = gentle(t)
    daemon.process.popen.kill()
    daemon.process.popen.wait()
    os.kill(agent, signal.SIGKILL)
    daemon.start()
    daemon.wait_event("agent-replaced")
    check_equal(daemon.server_pid(), server, "the server")
    daemon.restart()
    wait_until(lambda: not alive(server), "the old server has ended")
    check_unharmed(hammer)
    daemon.stop()
    check(refused(), "a stopped service takes connections")


def test_drain_as_nobody_waits_for_connections(t):
    daemon = as_nobody(t, service(example(t)))
    sock = begin_post()
    since = daemon.begin()
    daemon.wait_event("leave", since=since)
    check_equal(daemon.generation("draining")["connections"]["live"], 1, "live")
    sock.sendall(b"y" * 5)
    check_equal(read_response(sock).status, 200, "status")
    sock.close()
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    daemon.stop()
    check(refused(), "a stopped service takes connections")
