# SPDX-License-Identifier: BSD-2-Clause
"""
sandbox: executes a program under a seccomp filter that forbids some system calls, as containers do.

    sandbox.py ERRNO CALL[,CALL...] PROGRAM ARGUMENT...
"""

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000

CALLS = {"pidfd_open": 434, "clone3": 435, "close_range": 436, "pidfd_getfd": 438,
         "bpf": 280 if platform.machine() == "aarch64" else 321}

code = int(getattr(errno, sys.argv[1]))
numbers = [CALLS[name] for name in sys.argv[2].split(",")]
program = struct.pack("HBBI", LOAD_NUMBER, 0, 0, 0)
for place, number in enumerate(numbers):
    program += struct.pack("HBBI", JUMP_IF_EQUAL, len(numbers) - place, 0, number)
program += struct.pack("HBBI", RETURN, 0, 0, RET_ALLOW)
program += struct.pack("HBBI", RETURN, 0, 0, RET_ERRNO | code)
buffer = ctypes.create_string_buffer(program, len(program))
fprog = struct.pack("HL", len(program) // 8, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[3], sys.argv[3:])
