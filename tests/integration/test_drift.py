# SPDX-License-Identifier: BSD-2-Clause
"""A server that replaces the group's program is noticed, named, and put right or reported."""

import time

from harness import bodies, check, check_equal, get, wait_until
from services import STANDS_STILL, generation_of, service

# Takes over its group's steering when it is asked to: a classic program that always says "the
# first of the group", as a server would that wants one worker per CPU.
MEDDLER = r"""
import ctypes, os, socket, struct, sys, threading, time
SO_ATTACH_REUSEPORT_CBPF, SO_DETACH_REUSEPORT_BPF = 51, 68
listener = socket.socket(fileno=3)
def meddle():
    if sys.argv[2] == "detach":
        listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)
        return
    code = struct.pack("HBBI", 0x06, 0, 0, 0)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HL", 1, ctypes.addressof(buffer))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
def often():
    while True:
        meddle()
        time.sleep(0.005)
while True:
    connection, _ = listener.accept()
    head = connection.recv(4096).decode()
    if head.startswith("GET /meddle"):
        meddle()
    if head.startswith("GET /often"):
        threading.Thread(target=often, daemon=True).start()
    body = f"generation {sys.argv[1]} pid {os.getpid()}\n"
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
                       f"Connection: close\r\n\r\n{body}".encode())
    connection.close()
"""

KEPT = 64  # of one kind at once, of a service


def meddler(t, how, **changes):
    return service(["/usr/bin/python3", "-B", t.file("meddler.py", MEDDLER), "{generation}", how],
                   **changes)


def program(daemon):
    return daemon.service()["endpoints"][0]["program"]["state"]


def is_put_right(t, how):
    daemon = t.daemon(meddler(t, how))
    get("/meddle")
    event = daemon.wait_event("drift")
    check("put right" in event["message"], f"event: {event}")
    check("127.0.0.1:8080" in event["message"], f"event: {event}")
    check("python3" in event["message"] and str(daemon.server_pid()) in event["message"],
          f"who did it: {event}")
    check_equal(program(daemon), "attached", "program")
    # Steering works again: a swap is complete at its shift.
    daemon.restart()
    check_equal({generation_of(body) for body in bodies(50)}, {2}, "generations that answer")


def test_replaced_program_is_put_right(t):
    is_put_right(t, "replace")


def test_detached_program_is_put_right(t):
    is_put_right(t, "detach")


def test_drift_that_is_only_to_be_reported_is_left_and_told_once(t):
    daemon = t.daemon(meddler(t, "detach", drift="report"))
    get("/meddle")
    event = daemon.wait_event("drift")
    check("left as it is" in event["message"], f"event: {event}")
    check_equal(program(daemon), "missing", "program")
    # Several looks later there still is one event.
    seen = daemon.last_seq()
    wait_until(lambda: get().status == 200 and daemon.last_seq() >= seen, "it serves on")
    check_equal(len(daemon.events("drift")), 1, "events")
    daemon.restart()
    check_equal({generation_of(body) for body in bodies(50)}, {2}, "generations that answer")


def test_flood_of_drift_pushes_nothing_out_of_the_history(t):
    # Its program leads checks astray, too.
    daemon = t.daemon(meddler(t, "replace", **STANDS_STILL))
    first = daemon.events()[0]["seq"]
    started = time.monotonic()
    get("/often")
    wait_until(lambda: len(daemon.events("drift")) == KEPT, f"{KEPT} are kept")
    # Two more for every five milliseconds would be a hundred in a second.
    seen = daemon.last_seq()
    wait_until(lambda: time.monotonic() - started > 3 and get().status == 200, "it goes on")
    more = daemon.events("drift", since=seen)
    check(len(more) <= 3, f"{len(more)} more are kept")
    check("one in 10 minutes" in daemon.events("drift")[-1]["message"], "the last does not say so")
    check_equal(daemon.events()[0]["seq"], first, "oldest event")
    daemon.restart()
