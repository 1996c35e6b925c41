# SPDX-License-Identifier: BSD-2-Clause
"""
answers_grpc: a gRPC server that says how it is, by grpc.health.v1.Health.

    answers_grpc.py ADDRESS STATUS [CERTIFICATE KEY]

STATUS is what Check answers for the service "web" and for the server as a whole (a number of
HealthCheckResponse.ServingStatus), or "none": there is no such service. Messages are made by hand:
Debian 12 has no package of grpc_health. (This file must not be called so either: grpc imports
whatever has that name.)
"""

import signal
import sys
import threading
from concurrent import futures

import grpc

SERVICE = "grpc.health.v1.Health"
KNOWN = (b"", b"\x0a\x03web")  # HealthCheckRequest: field 1, a text

address, status, *files = sys.argv[1:]


def check_health(request, context):
    if request not in KNOWN:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return b"\x08" + bytes([int(status)])  # HealthCheckResponse: field 1, a number


# Before the first thread: a signal must wait for none of gRPC's.
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 1)])
if status != "none":
    method = grpc.unary_unary_rpc_method_handler(check_health)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Check": method}),))
if files:
    certificate, key = (open(name, "rb").read() for name in files)
    server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
else:
    server.add_insecure_port(address)
server.start()
while not ended.wait(0.1):
    pass
server.stop(5).wait()
