# SPDX-License-Identifier: BSD-2-Clause
"""grpc.health.v1 of gRPC's own server, in plain text and over TLS."""

import pathlib
import subprocess

from harness import Skip
from servers import ADDRESS
from services import service
from test_checked import NAME, OFTEN, certificate, fails, passes

NONE = ("grpc: UNIMPLEMENTED (12): Method not found!: the server has no "
        "grpc.health.v1.Health")
PYTHON = "/usr/bin/python3"  # another one has no Debian packages
SERVER = pathlib.Path(__file__).parent / "answers_grpc.py"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = "1", "2", "3"


def server(*arguments):
    if subprocess.run([PYTHON, "-c", "import grpc"], check=False, capture_output=True).returncode:
        raise Skip("needs gRPC's server (make deps-servers; Debian: python3-grpcio)")
    return [PYTHON, str(SERVER), ADDRESS, *arguments]


def checked(t, command, **health):
    config = service(command)
    config["health"] = {**OFTEN, **health}
    return t.daemon(config)


def test_grpc_health_of_a_real_server(t):
    daemon = checked(t, server(SERVING), grpc=True)
    passes(daemon, "grpc: SERVING")
    fails(daemon, server(NOT_SERVING), "grpc: NOT_SERVING")
    fails(daemon, server("none"), NONE)
    ours = certificate(t, NAME)
    fails(daemon, server(SERVING, *ours), "grpc: no answer in HTTP/2")
    daemon.end()


def test_grpc_health_of_one_service(t):
    daemon = checked(t, server(SERVING), grpc="web")
    passes(daemon, "grpc web: SERVING")
    fails(daemon, server(SERVICE_UNKNOWN), "grpc web: SERVICE_UNKNOWN")


def test_grpc_health_over_tls(t):
    ours, theirs = certificate(t, NAME), certificate(t, "other.example.org")
    daemon = checked(t, server(SERVING, *ours), grpc=True, tls={"name": NAME, "ca": ours[0]})
    passes(daemon, "grpc: SERVING")
    fails(daemon, server(NOT_SERVING, *ours), "grpc: NOT_SERVING")
    fails(daemon, server(SERVING, *theirs), "grpc: the certificate is self-signed")
    fails(daemon, server(SERVING), "grpc: this port speaks plain HTTP/2: use \"http2\" or \"grpc\"")
