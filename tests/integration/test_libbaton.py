# SPDX-License-Identifier: BSD-2-Clause
"""A server that uses libbaton takes part in its replacement; and it serves without baton, too."""

import pathlib
import re
import signal
import subprocess

from harness import (Process, begin_post, bodies, check, check_equal, connect, get, read_response,
                     timeout, wait_until)
from services import LISTEN, generation_of, pid_of, service
from test_swap import swap_many

ROOT = pathlib.Path(__file__).resolve().parents[2]


def libbaton(t, **changes):
    """The example, checked by what it says (READY=1) and by nothing else."""
    config = service([t.copy("examples/libbaton_server", "libbaton_server")],
                     environment={"GENERATION": "{generation}"}, **changes)
    del config["health"]["http"]
    config["health"]["notify"] = True
    return config


@timeout(600)
def test_libbaton_server_swapped_20_times_under_load_loses_nothing(t):
    daemon = t.daemon(libbaton(t))

    def answered_by(generation):
        def judge(body):
            check_equal(generation_of(body), generation, f"generation in {body!r}")
        return judge
    swap_many(t, daemon, answered_by)


def test_libbaton_server_takes_the_sockets_of_every_endpoint(t):
    daemon = t.daemon(libbaton(t, listen=[LISTEN, "[::1]:8081"]))
    pid = daemon.server_pid()
    check_equal(pid_of(get().body), pid, "who answers on the first")
    check_equal(pid_of(get(port=8081, host="::1").body), pid, "who answers on the second")
    for each in daemon.service()["endpoints"]:
        check_equal(each["program"]["state"], "attached", f"program of {each['listen']}")


def test_libbaton_server_leaves_at_another_drain_signal(t):
    config = libbaton(t, drain={"signal": "SIGUSR1"})
    config["environment"]["BATON_DRAIN_SIGNAL"] = "USR1"
    daemon = t.daemon(config)
    sock = begin_post("/", size=10, sent=5)
    wait_until(lambda: daemon.service()["generations"][0]["instances"][0]["connections"]["live"],
               "the old generation has the connection")
    since = daemon.begin()
    daemon.wait_event("leave", since=since)
    sock.sendall(b"x" * 5)
    check_equal(generation_of(read_response(sock).body), 1, "who answers what it had begun")
    sock.close()
    end = daemon.wait_end(since)
    check_equal((end["event"], end["cut"]), ("done", 0), f"end: {end}")
    check_equal(generation_of(get().body), 2, "who answers")


# ---- without baton -------------------------------------------------------------------------------

def alone(t, *addresses, label="alone"):
    return Process(t, label, [t.program("examples/libbaton_server"), *addresses])


def reachable(port=8080):
    try:
        connect(port).close()
        return True
    except (ConnectionRefusedError, ConnectionResetError):
        # Reset: the handshake met the close. Nothing steers here, so that can happen.
        return False


def test_libbaton_server_serves_by_itself_and_drains_at_term(t):
    server = alone(t, LISTEN, "127.0.0.1:8081")
    wait_until(lambda: reachable() and reachable(8081), "it listens")
    check_equal({pid_of(body) for body in bodies(5)}, {server.pid}, "who answers")
    sock = begin_post("/", size=10, sent=5)
    get()  # the half request has been accepted before this one was answered
    server.popen.send_signal(signal.SIGTERM)
    wait_until(lambda: not reachable() and not reachable(8081), "it listens no more")
    check(server.running(), "it has not waited for the request")
    sock.sendall(b"x" * 5)
    check_equal(read_response(sock).status, 200, "answer to the request it had begun")
    sock.close()
    check_equal(server.wait(), 0, "exit status")


def test_libbaton_server_does_not_join_a_port_by_accident(t):
    first = alone(t, LISTEN)
    wait_until(reachable, "it listens")
    second = alone(t, "127.0.0.1:8081", LISTEN, label="second")
    check_equal(second.wait(), 1, "exit status of a second one")
    check(f"listen {LISTEN}: bind: Address already in use" in second.text(),
          f"no reason: {second.text()}")
    check_equal(pid_of(get().body), first.pid, "who answers")


def test_libbaton_server_says_what_is_wrong_with_an_address(t):
    server = alone(t, LISTEN, "127.0.0.1:99999")
    check_equal(server.wait(), 1, "exit status")
    check('listen: "127.0.0.1:99999": the port must be' in server.text(),
          f"no reason: {server.text()}")


# ---- the library ---------------------------------------------------------------------------------

def declared():
    text = (ROOT / "agent" / "baton.h").read_text()
    return set(re.findall(r"^BATON_PUBLIC .*?\b(baton_\w+)\(", text, re.MULTILINE))


def exported(t, *options):
    done = subprocess.run(["nm", "--defined-only", *options], capture_output=True, text=True,
                          check=True)
    found = re.findall(r"^[0-9a-f]* ?([A-Z]) (\S+)$", done.stdout, re.MULTILINE)
    return {name for kind, name in found if kind != "A"}  # A: the names of versions


def test_libbaton_exports_what_its_header_declares_and_nothing_else(t):
    functions = declared()
    check(len(functions) > 10, f"functions found in agent/baton.h: {functions}")
    shared = exported(t, "-D", t.program("libbaton.so.0.1.0"))
    unversioned = {name for name in shared if "@@LIBBATON_0.1" not in name}
    check_equal(unversioned, set(), "without a version")
    check_equal({name.split("@")[0] for name in shared}, functions, "exported by libbaton.so")
    check_equal(exported(t, t.program("libbaton.a")), functions, "global in libbaton.a")
