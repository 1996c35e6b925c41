# SPDX-License-Identifier: BSD-2-Clause
"""
Servers that a command asks, by tools that can choose their local port and by such that cannot: the
commands are those of docs/servers.md.
"""

import json
import pathlib
import re

from harness import check, check_equal
from servers import program, redis, without_http
from services import reconfigure, service

TOP = pathlib.Path(__file__).resolve().parents[2]
SECTION = "## Asking one instance, by tools of all kinds"


def documented(t, words):
    """The one check of the section in whose command @words are, with its paths made the test's."""
    text = (TOP / "docs/servers.md").read_text().split(SECTION)[1].split("\n## ")[0]
    blocks = [json.loads("{" + each + "}") for each in re.findall(r"```json\n(.*?)```", text, re.S)]
    found = [each["health"] for each in blocks if words in " ".join(each["health"]["exec"])]
    check_equal(len(found), 1, f"checks with {words!r} in {SECTION!r}")
    paths = {"/usr/local/bin/probe-relay": TOP / "examples/probe-relay",
             "/usr/local/bin/grpc_client.py": TOP / "examples/grpc_client.py",
             "/run/cache/": f"{t.tmp}/"}
    command = json.dumps(found[0]["exec"])
    for path, other in paths.items():
        command = command.replace(path, str(other))
    # The deadlines of tests are long; what is bad is so at once.
    return {**found[0], "exec": json.loads(command), "interval": "100ms", "timeout": "4s"}


def good_and_bad(t, config, bad, said):
    """
    A first release that is good, a second one beside it, and then one that the check condemns:
    clients are left with the one before.
    """
    daemon = t.daemon(config)
    daemon.restart()
    check_equal(daemon.current(), 2, "generation")
    # On a busy machine it may not have come to answer by then.
    for seconds in (4, 16, 64):
        reconfigure(daemon, health={"start_timeout": f"{seconds}s"})
        daemon.cli("upgrade", "web", "--", *bad, expect=3)
        last = daemon.service()["last_rollout"]
        if re.search(said, last.get("probe", "")):
            break
    check(re.search(said, last.get("probe", "")), f"no {said!r}: {last}")
    check_equal(daemon.current(), 2, "generation")


def redis_checked(t, words, *options):
    program("redis-cli", "redis-tools")
    config = redis(t)
    config["command"] += options
    return {**config, "health": {**config["health"], **documented(t, words)}}


def test_redis_is_asked_by_curl(t):
    config = redis_checked(t, "telnet://")
    good_and_bad(t, config, [*config["command"], "--requirepass", "x"], "exited with status 1")


def test_redis_is_asked_by_redis_cli_through_the_relay(t):
    config = redis_checked(t, "probe-relay redis-cli")
    good_and_bad(t, config, [*config["command"], "--requirepass", "x"],
                 r"probe-relay: exited with status 1: NOAUTH Authentication required")


def test_redis_is_asked_by_redis_cli_on_a_socket_of_its_own(t):
    sock = ("--unixsocket", f"{t.tmp}/{{generation}}.{{instance}}.sock")
    config = redis_checked(t, "redis-cli -e -s", *sock)
    good_and_bad(t, config, [*config["command"], "--requirepass", "x"], "NOAUTH")


GRPC_SERVER = """\
import os, signal, sys, threading
from concurrent import futures
import grpc

class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/example.Echo/Say":
            return grpc.unary_unary_rpc_method_handler(lambda request, _: request[:int(sys.argv[1])])

server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 1)])
server.add_generic_rpc_handlers([Handler()])
server.add_insecure_port("127.0.0.1:8080")
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
server.start()
while not ended.wait(0.1):
    pass
server.stop(5).wait()
"""


def test_grpc_method_is_asked_through_the_relay(t):
    command = ["/usr/bin/python3", t.file("grpc_server.py", GRPC_SERVER), "100"]
    config = without_http(service(command))
    config["health"].update(documented(t, "grpc_client"))
    good_and_bad(t, config, [*command[:2], "3"], r"answers b'rea', not b'ready\?'")
