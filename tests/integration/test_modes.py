# SPDX-License-Identifier: BSD-2-Clause
"""
How a server comes by its sockets: passed to it, bound by itself with SO_REUSEPORT, or bound by
itself without knowing of it. IPv4, IPv6, both at once, and several addresses, in each of these.
Real servers in each mode are in tests/servers.
"""

import contextlib
import hashlib
import json
import pathlib
import signal
import socket
import time

from harness import (alive, bodies, check, check_equal, connect, get, read_response, refused,
                     send_request, wait_until)
from services import LISTEN, binder, example, generation_of, service, soon, soon_ms
from swaps import LOAD, check_unharmed, swap_many

SWAPS = 3


def own(t, mode, *listen, options=(), **changes):
    """A service of binder.py, which binds @listen itself unless @mode is to pass them."""
    words = []
    if mode != "inherit":
        words = [word for address in listen for word in ("--listen", address)]
    if mode == "native":
        words.append("--share")
    return service(binder(t, *words, *options), mode=mode, listen=list(listen), **changes)


def mode_of(daemon, service="web"):
    return daemon.generation(service=service)["mode"]


def by_generation(generation):
    def judge(body):
        check_equal(generation_of(body), generation, f"generation in {body!r}")
    return judge


def swapped(t, mode, listen, targets, **changes):
    """Swap a service under load on every one of @targets; nothing is lost on any."""
    daemon = t.daemon(own(t, mode, *listen, **changes))
    check_equal(mode_of(daemon), mode, "mode")
    check_equal([each["listen"] for each in daemon.service()["endpoints"]], list(listen),
                "endpoints")
    hammers = [t.hammer("--short", 4, "--rate", 400, "--keepalive", 2, "--slow-post", 1,
                        "--post-duration", "200ms", "--timeout", "30s", "--expect-status", 200,
                        host=host, port=port) for host, port in targets]
    for _ in range(SWAPS):
        daemon.restart()
        for host, port in targets:
            for body in bodies(5, host=host.strip("[]"), port=port):
                by_generation(daemon.current())(body)
    for hammer in hammers:
        check_unharmed(hammer)
    check_equal(daemon.service()["last_rollout"]["cut"], 0, "cut")


# ---- addresses -----------------------------------------------------------------------------------
# One of each when sockets are passed: test_instance.py.

V4 = ("127.0.0.1", 8080)
V6 = ("[::1]", 8080)
SEVERAL = ["127.0.0.1:8080", "127.0.0.1:8081", "[::1]:8080"]
SEVERAL_TARGETS = [V4, ("127.0.0.1", 8081), V6]


def test_native_ipv4(t):
    swapped(t, "native", ["127.0.0.1:8080"], [V4])


def test_native_ipv6(t):
    swapped(t, "native", ["[::1]:8080"], [V6])


def test_native_dual_stack(t):
    swapped(t, "native", [":8080"], [V4, V6])


def test_native_wildcards(t):
    swapped(t, "native", ["0.0.0.0:8080", "[::]:8080"], [V4, V6])


def test_transparent_ipv4(t):
    swapped(t, "transparent", ["127.0.0.1:8080"], [V4])


def test_transparent_ipv6(t):
    swapped(t, "transparent", ["[::1]:8080"], [V6])


def test_transparent_dual_stack(t):
    swapped(t, "transparent", [":8080"], [V4, V6])


def test_transparent_wildcards(t):
    swapped(t, "transparent", ["0.0.0.0:8080", "[::]:8080"], [V4, V6])


def test_inherit_several_endpoints(t):
    swapped(t, "inherit", SEVERAL, SEVERAL_TARGETS)


def test_native_several_endpoints(t):
    swapped(t, "native", SEVERAL, SEVERAL_TARGETS)


def test_transparent_several_endpoints(t):
    swapped(t, "transparent", SEVERAL, SEVERAL_TARGETS)


def test_native_several_sockets_of_one_address_all_get_connections(t):
    """As nginx has one for each worker: none of them is forgotten, none left behind."""
    daemon = t.daemon(own(t, "native", LISTEN, options=("--sockets", 4)))
    swap_many(t, daemon, by_generation, SWAPS, LOAD)


def test_native_several_instances(t):
    daemon = t.daemon(own(t, "native", LISTEN, instances=3))
    swap_many(t, daemon, by_generation, SWAPS, LOAD)
    pids = {each["pid"] for each in daemon.generation()["instances"]}
    answered = {int(body.split()[-1]) for body in bodies(100)}
    check_equal(answered, pids, "who answers")


def test_transparent_several_instances(t):
    daemon = t.daemon(own(t, "transparent", LISTEN, instances=3))
    swap_many(t, daemon, by_generation, SWAPS, LOAD)
    pids = {each["pid"] for each in daemon.generation()["instances"]}
    answered = {int(body.split()[-1]) for body in bodies(100)}
    check_equal(answered, pids, "who answers")


# ---- the same address twice ----------------------------------------------------------------------

def shared_endpoint_refused(t, mode, first, second):
    """Two services on one endpoint: the later one is refused, and told with file and key."""
    daemon = t.daemon(web=own(t, mode, first), api=own(t, mode, second), start=False)
    daemon.start_unready()
    daemon.wait_state("running")
    checked = daemon.cli("check", daemon.file)
    check(checked.status != 0, f"baton check is content: {checked}")
    for said in (daemon.cli("status", "api", expect=10).text, checked.text):
        for expected in (str(daemon.file), "services.web.listen", "services.api.listen", first,
                         second):
            check(expected in said.replace("\n", " "), f"{expected!r} is not in {said!r}")
    check_equal({generation_of(body) for body in bodies(20)}, {1}, "who answers")
    check_equal(daemon.service()["condition"], "well", "condition of the first")


def test_endpoint_shared_by_two_services_is_refused_inherit(t):
    shared_endpoint_refused(t, "inherit", "127.0.0.1:8080", "127.0.0.1:8080")


def test_endpoint_shared_by_two_services_is_refused_native(t):
    shared_endpoint_refused(t, "native", "127.0.0.1:8080", "0.0.0.0:8080")


def test_endpoint_shared_by_two_services_is_refused_transparent(t):
    shared_endpoint_refused(t, "transparent", ":8080", "[::1]:8080")


def test_reload_that_would_share_an_endpoint_is_refused_and_changes_nothing(t):
    daemon = t.daemon(web=service(example(t)), api=service(example(t), listen=["127.0.0.1:8081"]))
    daemon.config["services"]["api"]["listen"] = [LISTEN]
    daemon.write_config()
    daemon.process.popen.send_signal(signal.SIGHUP)
    wait_until(lambda: "services.api.listen" in daemon.process.text(), "the mistake is named")
    check(str(daemon.file) in daemon.process.text(), "the file is not named")
    check_equal([generation_of(get(port=port).body) for port in (8080, 8081)], [1, 1], "answers")


# ---- servers that go about it in their own way ---------------------------------------------------

def test_server_that_daemonizes_is_followed(t):
    """Its main process is gone long before it serves; what it left is still the instance."""
    daemon = t.daemon(own(t, "transparent", LISTEN, options=("--daemonize",)))
    swap_many(t, daemon, by_generation, SWAPS, LOAD)
    for body in bodies(10):
        check(int(body.split()[-1]) in daemon.pids(daemon.current()), f"answered by {body!r}")


def test_server_that_executes_itself_again_is_followed(t):
    daemon = t.daemon(own(t, "transparent", LISTEN, options=("--execute-again",)))
    swap_many(t, daemon, by_generation, SWAPS, LOAD)


def test_native_server_that_serves_in_a_child_is_followed(t):
    """The parent has closed the sockets: the agent finds them where they are."""
    swap_many(t, t.daemon(own(t, "native", LISTEN, options=("--fork",))), by_generation, SWAPS)


def test_transparent_server_that_serves_in_a_child_is_followed(t):
    swap_many(t, t.daemon(own(t, "transparent", LISTEN, options=("--fork",))), by_generation, SWAPS)


def test_server_that_binds_late_is_waited_for(t):
    daemon = t.daemon(own(t, "transparent", LISTEN, options=("--bind-after", 1.0)))
    swap_many(t, daemon, by_generation, 2, LOAD)


def test_mode_can_change_from_generation_to_generation(t):
    """In mode auto, each one is taken as it comes."""
    daemon = t.daemon(service(example(t), mode="auto"))
    hammer = t.hammer("--short", 8, "--rate", 800, "--timeout", "30s", "--expect-status", 200)
    seen = [mode_of(daemon)]
    for command in (binder(t, "--listen", LISTEN), binder(t, "--listen", LISTEN, "--share"),
                    binder(t)):
        daemon.upgrade(command, expect=0)
        seen.append(mode_of(daemon))
        by_generation(daemon.current())(get().body)
    check_equal(seen, ["inherit", "transparent", "native", "inherit"], "modes found")
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")


def test_listener_on_an_undeclared_address_is_reported_and_not_touched(t):
    daemon = t.daemon(own(t, "native", LISTEN, options=("--listen", "127.0.0.1:9999")))

    def told():
        return "127.0.0.1:9999" in json.dumps([daemon.service(), daemon.events()])
    wait_until(told, "the stranger's address is reported")
    check_equal(generation_of(get(port=9999).body), 1, "answer of the undeclared address")
    check_equal(generation_of(get().body), 1, "answer of the declared one")
    check_equal([each["listen"] for each in daemon.service()["endpoints"]], [LISTEN], "endpoints")


def test_sockets_that_are_passed_and_not_used_are_dropped(t):
    """Mode auto: the server binds the address itself, and nobody would accept from the other."""
    daemon = t.daemon(service(binder(t, "--listen", LISTEN), mode="auto"))
    check_equal(mode_of(daemon), "transparent", "mode")
    check_equal(len(bodies(200)), 200, "answers")


# ---- a server that does not share its port, and is not made to -----------------------------------

WORDS = ("Address already in use", "does not share", "transparent")


def check_explained(text):
    for expected in WORDS:
        check(expected in text, f"{expected!r} is not in {text!r}")


def selfish(t):
    return binder(t, "--listen", LISTEN)


def test_first_start_of_a_server_that_does_not_share_says_why(t):
    daemon = t.daemon(service(selfish(t), mode="native"), start=False)
    daemon.start_unready()
    wait_until(lambda: daemon.state() == "failed", "the start has failed")
    check_explained(json.dumps(daemon.service()))
    check_explained(daemon.cli("start", "web", expect=8).text)


def test_upgrade_to_a_server_that_does_not_share_says_why(t):
    daemon = t.daemon(own(t, "native", LISTEN))
    check_explained(daemon.upgrade(selfish(t), expect=3).text)
    check_explained(json.dumps(daemon.service()["last_rollout"]))
    check_equal(generation_of(get().body), 1, "generation that answers")
    daemon.restart()


def test_server_that_does_not_share_where_nothing_can_make_it_says_why(t):
    """Mode auto without BPF."""
    daemon = t.daemon(service(selfish(t), mode="auto", steering="cbpf"), start=False)
    daemon.start_unready()
    wait_until(lambda: daemon.state() == "failed", "the start has failed")
    check_explained(json.dumps(daemon.service()))


# ---- servers that cannot drain -------------------------------------------------------------------

DOWNLOAD_BYTES = 16 * 1024 * 1024
DOWNLOAD_CHUNK = 128 * 1024
DOWNLOAD_PAUSE_S = 0.02
# What the kernel has taken from the server is as good as sent, and it need not stay for that.
BUFFERED_BYTES = int(pathlib.Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])


def http_server(t, **drain):
    """python3 -m http.server: no SO_REUSEPORT, no drain signal; TERM ends it in mid-sentence."""
    folder = t.tmp / "files"
    folder.mkdir()
    (folder / "healthz").write_text("ok\n")
    block = hashlib.sha256(b"baton").digest()
    with open(folder / "large", "wb") as large:
        for _ in range(DOWNLOAD_BYTES // len(block)):
            large.write(block)
            block = hashlib.sha256(block).digest()
    host, port = LISTEN.split(":")
    return service(["/usr/bin/python3", "-m", "http.server", "--bind", host, "--directory", folder,
                    port], mode="transparent", drain={"wait": "connections", **drain})


class Download:
    """A client that reads slowly, and takes little in advance."""

    def __init__(self, stack, t):
        self.expected = hashlib.sha256((t.tmp / "files" / "large").read_bytes()).hexdigest()
        self.sock = stack.enter_context(socket.socket())
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.sock.settimeout(60)
        self.sock.connect(("127.0.0.1", 8080))
        send_request(self.sock, "/large")
        self.data = bytearray()

    def read(self, pause_s=DOWNLOAD_PAUSE_S):
        """Some more; False at the end."""
        time.sleep(pause_s)
        chunk = self.sock.recv(DOWNLOAD_CHUNK, socket.MSG_WAITALL)
        self.data += chunk
        return bool(chunk)

    def check_whole(self):
        head, _, body = bytes(self.data).partition(b"\r\n\r\n")
        check(b" 200 " in head.split(b"\r\n")[0], f"status: {head!r}")
        check_equal(len(body), DOWNLOAD_BYTES, "bytes")
        check_equal(hashlib.sha256(body).hexdigest(), self.expected, "SHA-256")


def test_download_from_a_server_that_cannot_drain_is_finished_across_a_restart(t):
    daemon = t.daemon(http_server(t, timeout="60s"))
    old = daemon.server_pid()
    with contextlib.ExitStack() as stack:
        download = Download(stack, t)
        check(download.read(), "nothing comes")
        since = daemon.begin()
        daemon.wait_event("shift", since=since)
        while download.read():
            check(alive(old) or len(download.data) >= DOWNLOAD_BYTES - BUFFERED_BYTES,
                  f"the server is gone after {len(download.data)} bytes")
        download.check_whole()
    end = daemon.wait_end(since)
    check_equal((end["event"], end["cut"]), ("done", 0), "end")
    check(daemon.server_pid() != old and not alive(old), "the old server is still there")


def test_idle_connections_are_not_waited_for_and_busy_ones_are(t):
    limit_ms = soon_ms(4)
    daemon = t.daemon(http_server(t, timeout="60s", idle_timeout=f"{limit_ms}ms"))
    old = daemon.server_pid()
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(connect())
        download = Download(stack, t)
        check(download.read(), "nothing comes")
        since = daemon.begin()
        daemon.wait_event("shift", since=since)
        busy_until = time.monotonic() + 1.2 * limit_ms / 1000
        # One that is read from all the time is not idle, however long it takes.
        while download.read(0.1 if time.monotonic() < busy_until else 0):
            pass
        download.check_whole()
        # The silent one would stay for as long as it is let, and the deadline is far away.
        check_equal(daemon.wait_end(since)["event"], "done", "end")
        silent.settimeout(60)
        with contextlib.suppress(ConnectionError):
            check_equal(silent.recv(1), b"", "the silent connection was to end with its server")
    check(not alive(old), "the old server is still there")


def test_keepalive_connection_of_a_server_that_cannot_drain_is_served_until_the_deadline(t):
    """Nothing tells it to close them, so they are all used until they are cut, and counted."""
    daemon = t.daemon(service(binder(t), mode="inherit",
                              drain={"wait": "connections", "timeout": soon(2),
                                     "kill_timeout": "500ms"}))
    with connect() as sock:
        for number in range(3):
            if number == 1:
                since = daemon.begin()
                daemon.wait_event("settle", since=since)
            send_request(sock)
            check_equal(generation_of(read_response(sock).body), 1, "who answers on the old one")
        check_equal(generation_of(get().body), 2, "who answers a new connection")
        end = daemon.wait_end(since)
    check_equal((end["event"], end["cut"]), ("done", 1), "end")
