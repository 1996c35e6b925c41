# SPDX-License-Identifier: BSD-2-Clause
"""The reuseport group: whose program is on it, and what strangers in it get."""

import ctypes
import socket
import struct

from harness import bodies, check, check_equal
from services import example, generation_of, service

SO_ATTACH_REUSEPORT_CBPF = 51


def test_program_is_attached_and_named(t):
    daemon = t.daemon(service(example(t)))
    program = daemon.service()["endpoints"][0]["program"]
    check_equal(program["state"], "attached", "program")
    check(program["id"] > 0, f"id {program['id']}")


def stranger():
    """A listener of our own in the service's group, as anybody of the same user can make one."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", 8080))
    sock.listen(10)
    return sock


def test_stranger_in_the_group_gets_no_connection(t):
    daemon = t.daemon(service(example(t)))
    with stranger() as sock:
        sock.setblocking(False)
        check_equal({generation_of(body) for body in bodies(200)}, {1}, "answers")
        daemon.restart()
        check_equal({generation_of(body) for body in bodies(200)}, {2}, "answers")
        try:
            sock.accept()
        except BlockingIOError:
            return
        raise AssertionError("the stranger got a connection")


def test_program_replaced_by_a_stranger_is_reported_and_put_back(t):
    daemon = t.daemon(service(example(t)))
    with stranger() as sock:
        # "return 0": everything to the first member of the group, whoever that is.
        code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
        program = struct.pack("HxxxxxxP", 1, ctypes.addressof(code))
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
        # Unless that has been put right already.
        check(daemon.service()["endpoints"][0]["program"]["state"] != "attached" or
              daemon.events("drift"), "the foreign program is not noticed")
        daemon.restart()
        check(daemon.events("drift"), "no drift event")
    check_equal(daemon.service()["endpoints"][0]["program"]["state"], "attached", "program")
    check_equal({generation_of(body) for body in bodies(50)}, {2}, "answers")
