# SPDX-License-Identifier: BSD-2-Clause
"""uvicorn and hypercorn, with a socket that is passed, and with one of their own."""

from servers import asgi, found, program

UVICORN = "uvicorn"
HYPERCORN = ("-m", "hypercorn", "--graceful-timeout", "30", "-b")


def python():
    return program("python3", "python3")


def test_uvicorn_with_a_descriptor_inherits_swapped_under_load(t):
    found(t, asgi(t, program(UVICORN, UVICORN), "--fd", "{fd}"), "inherit")


def test_uvicorn_as_it_is_is_found_to_need_transparent(t):
    found(t, asgi(t, program(UVICORN, UVICORN), "--host", "127.0.0.1", "--port", "8080"),
          "transparent")


def test_hypercorn_with_a_descriptor_inherits_swapped_under_load(t):
    found(t, asgi(t, python(), *HYPERCORN, "fd://{fd}"), "inherit")


def test_hypercorn_as_it_is_is_found_to_need_transparent(t):
    found(t, asgi(t, python(), *HYPERCORN, "127.0.0.1:8080"), "transparent")
