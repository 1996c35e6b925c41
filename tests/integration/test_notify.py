# SPDX-License-Identifier: BSD-2-Clause
"""Hostile neighbours at the notify socket and at the API: descriptors, and who may say READY=1."""

import array
import contextlib
import os
import pathlib
import pwd
import signal
import socket
import struct
import time

from harness import check, check_equal, get, send_signal, wait_until
from services import example, service

NOBODY = pwd.getpwnam("nobody")
STRANGER = 4711  # neither root nor the service's user
LINGER_S = 60
SOON_S = 20  # much less: what does not wait for the lingering socket

"".encode("idna")  # loaded while we are root, who can read all of Python


def environment(pid):
    pairs = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(pair.decode().split("=", 1) for pair in pairs if b"=" in pair)


def as_user(uid, gid, function):
    """Run it in a child of that user; what it returns is a word of ten letters at most."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            said = function()
        except OSError as error:
            said = error.strerror
        except BaseException as error:  # pylint: disable=broad-except
            said = repr(error)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        said = stream.read().decode()
    os.waitpid(pid, 0)
    return said


@contextlib.contextmanager
def lingering():
    """A socket whose close(2) takes LINGER_S; at the end its peer resets it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(bytes(65536))
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER_S))
    try:
        yield sock
    finally:
        peer.close()
        sock.close()


def send_with(sock, text, passed):
    """Send it with the descriptor, and be the one who does not have that any more."""
    sock.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                           array.array("i", [passed.fileno()]))])


def check_agent_answers(daemon):
    began = time.monotonic()
    daemon.cli("restart", "web", expect=0)
    check(time.monotonic() - began < SOON_S, "the agent has waited for a lingering socket")
    get()


def test_notify_socket_takes_nothing_of_strangers_and_no_descriptors(t):
    daemon = t.daemon(service(example(t), user="nobody"))
    path = environment(daemon.server_pid())["NOTIFY_SOCKET"]
    check(path.startswith(f"/run/{daemon.name}/tell/web."), f"NOTIFY_SOCKET: {path}")

    def attack():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(path)
            with lingering() as passed:
                send_with(sock, b"READY=1", passed)
                os.close(passed.detach())  # the one in the message is the last
        return "sent"
    check_equal(as_user(STRANGER, STRANGER, attack), "Permission denied", "a stranger")
    # The service's own user reaches the socket; where the kernel can, it refuses descriptors.
    said = as_user(NOBODY.pw_uid, NOBODY.pw_gid, attack)
    check(said in ("sent", "Operation not permitted"), f"the service's user: {said}")
    check_agent_answers(daemon)
    generation = daemon.current()
    daemon.stop()
    check(not os.path.exists(path), f"left behind after generation {generation}: {path}")


def test_reader_of_the_api_cannot_stop_batond_with_a_descriptor(t):
    daemon = t.daemon(service(example(t)))
    with lingering() as passed, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(daemon.api_socket))
        try:
            send_with(sock, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", passed)
        except PermissionError:
            pass  # Linux 6.16 and later
        else:
            os.close(passed.detach())
        began = time.monotonic()
        daemon.cli("status", "web", expect=0)
        check(time.monotonic() - began < SOON_S, "batond has waited for a lingering socket")


def test_ready_of_a_process_of_the_same_user_outside_does_not_count(t):
    go = t.tmp / "go"
    config = service([t.file("server.py", f"""#!/usr/bin/python3
import os, socket, time
def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(text, os.environ["NOTIFY_SOCKET"])
listener = socket.socket(fileno=3)
while not os.path.exists("{go}"):
    time.sleep(0.05)
if os.fork() == 0:
    tell(b"READY=1")  # and is gone when it is looked at
    os._exit(0)
while True:
    listener.accept()[0].close()
""", 0o755)], user="nobody", mode="inherit")
    config["health"] = {"notify": True, "start_timeout": "60s"}
    daemon = t.daemon(config, start=False).start_unready()

    def instance():
        found = daemon.service()["generations"]
        return found[0]["instances"][0] if found and found[0]["instances"] else {}
    wait_until(lambda: instance().get("pid"), "the server")
    path = environment(instance()["pid"])["NOTIFY_SOCKET"]

    def pretend():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"STATUS=pretended\nREADY=1", path)
        return "sent"
    check_equal(as_user(NOBODY.pw_uid, NOBODY.pw_gid, pretend), "sent", "of the same user")
    # Messages are read in their order: after the server's own, that one has been judged.
    go.touch()
    daemon.wait_state("running")
    check_equal(len(daemon.events("ready")), 1, "times that it was ready")
    check("pretended" not in str(daemon.service()), "what was pretended is told")


def test_agent_that_is_killed_gives_its_notify_socket_to_the_next(t):
    daemon = t.daemon(service(example(t), user="nobody"))
    since = daemon.last_seq()
    pid = daemon.server_pid()
    path = environment(pid)["NOTIFY_SOCKET"]
    agent = daemon.service()["generations"][0]["instances"][0]["agent_pid"]
    send_signal(agent, signal.SIGKILL)
    daemon.wait_event("agent-replaced", since=since)
    info = os.stat(path)
    check_equal(info.st_uid, NOBODY.pw_uid, "owner of the socket")
    check_equal(daemon.server_pid(), pid, "the server")
    check_equal(os.stat(os.path.dirname(path)).st_mode & 0o777, 0o710, "mode of its folder")
    daemon.stop()
    check(not os.path.exists(path), f"left behind: {path}")
