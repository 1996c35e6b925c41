# SPDX-License-Identifier: BSD-2-Clause
"""What a server is given: sockets, descriptors, environment, ids; and how it says it is ready."""

import collections
import contextlib
import grp
import json
import os
import pwd
import re
import signal
import stat

from harness import bodies, check, check_equal, get, wait_until
from services import SOON, example, generation_of, python, reconfigure, service, soon
from swaps import check_unharmed


def plain(command, **changes):
    """A service with the default check, which is that a connection is accepted."""
    config = service(command, **changes)
    config["health"].pop("http", None)
    return config


def how(**where):
    return json.loads(get("/how", **where).body)


def test_sockets_are_passed_the_way_of_systemd(t):
    daemon = t.daemon(plain(python(t), listen=["127.0.0.1:8080", "127.0.0.2:8081"]))
    seen = how()
    environment = seen["environment"]
    check_equal(environment["LISTEN_FDS"], "2", "LISTEN_FDS")
    check_equal(environment["LISTEN_PID"], str(seen["pid"]), "LISTEN_PID")
    check_equal(len(environment["LISTEN_FDNAMES"].split(":")), 2, "names in LISTEN_FDNAMES")
    check_equal(seen["pid"], daemon.server_pid(), "pid")
    for fd in ("3", "4"):
        check(seen["descriptors"][fd].startswith("socket:"), f"descriptors {seen['descriptors']}")


def test_no_descriptor_leaks_into_a_server(t):
    daemon = t.daemon(plain(python(t)))
    for generation in (1, 2):
        fds = how()["descriptors"]
        check_equal(sorted(fds, key=int), ["0", "1", "2", "3"],
                    f"descriptors of generation {generation}: {fds}")
        check_equal(fds["0"], "/dev/null", "stdin")
        daemon.restart()


def test_restarts_leave_no_descriptors_behind_in_the_daemon(t):
    daemon = t.daemon(service(example(t)))

    def descriptors():
        found = []
        for name in os.listdir(f"/proc/{daemon.pid}/fd"):
            with contextlib.suppress(OSError):
                found.append(re.sub(r"\d+", "N", os.readlink(f"/proc/{daemon.pid}/fd/{name}")))
        return collections.Counter(found)
    daemon.restart()
    daemon.restart()
    before = descriptors()
    for _ in range(5):
        daemon.restart()
    # A probe, or the connection of the last command, may be there at either moment.
    wait_until(lambda: sum((descriptors() - before).values()) <= 2,
               lambda: f"few more after five restarts: {descriptors() - before}")


def test_environment_is_built_anew_and_not_the_daemons(t):
    os.environ["SECRET_OF_THE_DAEMON"] = "x"
    t.daemon(plain(python(t), environment={"RUST_LOG": "info", "EMPTY": ""}))
    environment = how()["environment"]
    check_equal(environment.get("RUST_LOG"), "info", "RUST_LOG")
    check_equal(environment.get("EMPTY"), "", "EMPTY")
    check("SECRET_OF_THE_DAEMON" not in environment, "the daemon's environment leaks")
    check("PATH" in environment, "no PATH")


def test_placeholders_are_replaced_in_command_and_environment(t):
    command = python(t, "fd={fd}", "fds={fds:,}", "{generation}-{instance}", "{other}")
    daemon = t.daemon(plain(command, listen=["127.0.0.1:8080", "127.0.0.1:8081"],
                            environment={"NGINX": "{fds:;};", "G": "{generation}"}))
    daemon.restart()
    seen = how()
    check_equal(seen["argv"][1:], ["fd=3", "fds=3,4", "2-0", "{other}"], "arguments")
    check_equal(seen["environment"]["NGINX"], "3;4;", "NGINX")
    check_equal(seen["environment"]["G"], "2", "G")


def test_server_runs_as_the_configured_user(t):
    nobody = pwd.getpwnam("nobody")
    daemon = t.daemon(plain(python(t), user="nobody", directory="/tmp"))
    seen = how()
    check_equal(seen["uid"], [nobody.pw_uid] * 3, "uids")
    check_equal(seen["gid"], [nobody.pw_gid] * 3, "gids")
    check(set(seen["groups"]) <= {nobody.pw_gid}, f"groups {seen['groups']}")
    check_equal(seen["directory"], "/tmp", "folder")
    environment = seen["environment"]
    check_equal((environment["USER"], environment["LOGNAME"]), ("nobody", "nobody"), "USER")
    daemon.restart()
    check_equal(how()["pid"], daemon.server_pid(), "pid after a restart")


def test_server_of_another_user_can_be_replaced_under_load(t):
    daemon = t.daemon(service(example(t), user="nobody"))
    hammer = t.hammer("--short", 8, "--keepalive", 4, "--timeout", "30s", "--expect-status", 200)
    for _ in range(5):
        daemon.restart()
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")


def test_server_runs_with_the_configured_group(t):
    t.daemon(plain(python(t), user="nobody", group="daemon"))
    gid = grp.getgrnam("daemon").gr_gid
    check_equal(how()["gid"], [gid] * 3, "gids")


def test_server_starts_with_plain_signals_in_a_cgroup_of_its_own(t):
    daemon = t.daemon(plain(python(t)))
    seen = how()
    python_ignores = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    check_equal(seen["blocked"], 0, "blocked signals")
    check_equal(seen["ignored"] & ~python_ignores, 0, "ignored signals")
    check(f"/{daemon.name}/web.1.0" in seen["cgroup"], f"cgroup {seen['cgroup']}")


def test_control_sockets_are_for_nobody_else(t):
    daemon = t.daemon(service(example(t), user="nobody"))
    agents = daemon.api_socket.parent / "agents"
    check_equal(stat.S_IMODE(agents.stat().st_mode), 0o700, "mode of agents/")
    mode = stat.S_IMODE(daemon.api_socket.stat().st_mode)
    check(mode & 0o007 == 0, f"mode of the API's socket: {mode:o}")


# ---- readiness -----------------------------------------------------------------------------------

def notify(command, **health):
    config = plain(command)
    config["health"].update({"notify": True, **health})
    return config


def test_notify_the_new_generation_serves_when_it_says_ready(t):
    ready = t.tmp / "ready"
    ready.touch()
    daemon = t.daemon(notify(python(t, "--notify", ready)))
    old = how()["pid"]
    ready.unlink()
    since = daemon.begin()
    new = wait_until(lambda: (daemon.generation("candidate") or {}).get("generation"),
                     "the candidate is there")
    wait_until(lambda: daemon.generation("candidate")["instances"][0]["pid"], "its server runs")
    for _ in range(20):
        check_equal(how()["pid"], old, "who answers before READY=1")
    check(not daemon.events("verify", since=since), "verified without READY=1")
    ready.touch()
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check_equal(daemon.current(), new, "current generation")
    check(how()["pid"] != old, "the old one still answers")


def test_notify_that_never_comes_fails_the_rollout(t):
    ready = t.tmp / "ready"
    ready.touch()
    daemon = t.daemon(notify(python(t, "--notify", ready)))
    old = how()["pid"]
    reconfigure(daemon, health={"start_timeout": soon(1), "timeout": soon(0.5)})
    ready.unlink()
    result = daemon.restart(expect=3)
    check("READY=1" in result.text or "ready" in result.text, f"no reason: {result}")
    check_equal(how()["pid"], old, "who answers")


def test_connect_check_needs_a_server_that_accepts(t):
    daemon = t.daemon(plain(example(t)))
    reconfigure(daemon, health={"start_timeout": soon(1), "timeout": soon(0.3)})
    daemon.upgrade(example(t, "--never-accept"), expect=3)
    check_equal(generation_of(get().body), 1, "generation that answers")
    reconfigure(daemon, health={"start_timeout": "60s"})
    daemon.restart()


# ---- endpoints -----------------------------------------------------------------------------------

def restarted_under_load(t, daemon, *targets):
    hammers = [t.hammer("--short", 4, "--timeout", "30s", "--expect-status", 200,
                        host=host, port=port) for host, port in targets]
    for _ in range(3):
        daemon.restart()
    for host, port in targets:
        host = host.strip("[]")
        check_equal({generation_of(body) for body in bodies(5, host=host, port=port)}, {4},
                    f"answers at {host} port {port}")
    for hammer in hammers:
        check_unharmed(hammer)


def test_ipv6_endpoint(t):
    daemon = t.daemon(service(example(t), listen=["[::1]:8080"]))
    restarted_under_load(t, daemon, ("[::1]", 8080))


def test_dual_stack_endpoint(t):
    daemon = t.daemon(service(example(t), listen=[":8080"]))
    restarted_under_load(t, daemon, ("[::1]", 8080), ("127.0.0.1", 8080))


def test_two_endpoints(t):
    daemon = t.daemon(service(example(t), listen=["127.0.0.1:8080", "[::]:8081"]))
    check_equal([each["listen"] for each in daemon.service()["endpoints"]],
                ["127.0.0.1:8080", "[::]:8081"], "endpoints")
    restarted_under_load(t, daemon, ("127.0.0.1", 8080), ("[::1]", 8081))


def test_both_wildcards_of_one_port(t):
    daemon = t.daemon(service(example(t), listen=["0.0.0.0:8080", "[::]:8080"]))
    restarted_under_load(t, daemon, ("127.0.0.1", 8080), ("[::1]", 8080))


def test_two_services_are_replaced_at_the_same_time(t):
    daemon = t.daemon(web=service(example(t)), api=service(example(t), listen=["127.0.0.1:8081"]))
    web = t.hammer("--short", 4, "--timeout", "30s", "--expect-status", 200)
    api = t.hammer("--short", 4, "--timeout", "30s", "--expect-status", 200, port=8081)
    ends = [(name, daemon.begin(service=name)) for name in ("web", "api")]
    for name, since in ends:
        check_equal(daemon.wait_end(since, name)["event"], "done", f"end of {name}")
    for hammer in (web, api):
        result = hammer.stop()
        check_equal(result["lost"], 0, f"lost: {result}")


FORGETFUL = """
import signal, socket, sys, threading
def serve(listener):
    while True:
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(60)
            try:
                if sock.recv(65536):
                    sock.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 2\\r\\n\\r\\nok")
            except OSError:
                pass
for fd in range(3, 3 + int(sys.argv[1])):
    threading.Thread(target=serve, args=(socket.socket(fileno=fd),), daemon=True).start()
while True:
    signal.pause()
"""


def test_server_that_forgets_its_second_socket_is_refused(t):
    script = t.file("forgetful.py", FORGETFUL)
    command = ["/usr/bin/python3", script]
    daemon = t.daemon(service([*command, "2"], listen=["127.0.0.1:8080", "127.0.0.1:8081"]))
    reconfigure(daemon, health=SOON)
    result = daemon.upgrade([*command, "1"])
    check_equal(result.status, 3, f"exit status: {result}")
    check("accepted" in result.text, f"no reason: {result}")
    for port in (8080, 8081):
        check_equal(get(port=port).body, "ok", f"answer on port {port}")


def test_candidate_that_nobody_can_look_after_is_refused(t):
    """Its agent dies, and no other can go on without what that one has noted."""
    daemon = t.daemon(service(example(t)))
    since = daemon.last_seq()
    daemon.upgrade(example(t, "--ready-after", "60s"), "--no-wait", expect=0)
    wait_until(lambda: daemon.server_pid("candidate"), "the candidate runs")
    (daemon.api_socket.parent / "agents" / "web.2.0.handover").unlink()
    os.kill(daemon.generation("candidate")["instances"][0]["agent_pid"], signal.SIGKILL)
    end = daemon.wait_end(since)
    check_equal((end["event"], end["exit"]), ("failed", 3), f"end: {end}")
    check("agent" in end["reason"], f"reason: {end}")
    check_equal(generation_of(get().body), 1, "generation that answers")
