# SPDX-License-Identifier: BSD-2-Clause
"""
grpc_client.py ADDRESS: call the service's own method, and end with an error if the answer is not the
one that is expected. Without generated code, so that the bytes are to be seen; Debian: python3-grpcio.
"""

import sys

import grpc

METHOD, QUESTION, EXPECTED = "/example.Echo/Say", b"ready?", b"ready?"

with grpc.insecure_channel(sys.argv[1]) as channel:
    try:
        answer = channel.unary_unary(METHOD)(QUESTION, timeout=4)
    except grpc.RpcError as error:
        sys.exit(f"{METHOD}: {error.code().name}: {error.details()}")
if answer != EXPECTED:
    sys.exit(f"{METHOD}: answers {answer!r}, not {EXPECTED!r}")
print(f"{METHOD}: {answer.decode()}")
