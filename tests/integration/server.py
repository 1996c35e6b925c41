# SPDX-License-Identifier: BSD-2-Clause
"""
server: a small HTTP server for the tests that tells how it was started.

    server.py [--notify FILE] [ARG...]

Takes its sockets by LISTEN_FDS and checks LISTEN_PID. GET /how answers with JSON: arguments,
environment, descriptors, ids, folder, signals. With --notify it sends READY=1 to $NOTIFY_SOCKET
once FILE exists. TERM ends it, when it has answered what it has.
"""

import json
import os
import pathlib
import signal
import socket
import sys
import threading
import time


def descriptors():
    """fd -> what it is; read before anything of our own is open."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the folder itself, read a moment ago
    return found


def signals():
    status = pathlib.Path("/proc/self/status").read_text()
    fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    return {"blocked": int(fields["SigBlk"], 16), "ignored": int(fields["SigIgn"], 16)}


def how(fds):
    return {
        "argv": sys.argv, "environment": dict(os.environ), "descriptors": fds,
        "uid": os.getresuid(), "gid": os.getresgid(), "groups": sorted(os.getgroups()),
        "directory": os.getcwd(), "pid": os.getpid(), "ppid": os.getppid(), "sid": os.getsid(0),
        "umask": os.umask(0), "cgroup": pathlib.Path("/proc/self/cgroup").read_text(),
        **SIGNALS,
    }


ending = []


def serve(listener, answer):
    while True:
        listener.settimeout(0 if ending else 0.1)
        try:
            connection, _ = listener.accept()
        except (TimeoutError, BlockingIOError):
            if ending:
                return listener.close()
            continue
        connection.settimeout(60)
        with connection:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    chunk = connection.recv(65536)
                    if not chunk:
                        break
                    head += chunk
                else:
                    body = answer if head.startswith(b"GET /how ") else b"ok"
                    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
                                       b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            except OSError:
                pass


def notify(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        address = os.environ["NOTIFY_SOCKET"]
        sock.connect("\0" + address[1:] if address[0] == "@" else address)
        sock.send(text.encode())


SIGNALS = signals()  # Python changes some of its own when it starts: SIGPIPE and SIGXFSZ


def main():
    fds = descriptors()
    count = int(os.environ["LISTEN_FDS"])
    if int(os.environ["LISTEN_PID"]) != os.getpid():
        sys.exit(f"LISTEN_PID is {os.environ['LISTEN_PID']}, not {os.getpid()}")
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
    answer = json.dumps(how(fds)).encode()
    threads = [threading.Thread(target=serve, args=(socket.socket(fileno=fd), answer), daemon=True)
               for fd in range(3, 3 + count)]
    for thread in threads:
        thread.start()
    if "--notify" in sys.argv:
        flag = pathlib.Path(sys.argv[sys.argv.index("--notify") + 1])
        while not flag.exists() and not ending:
            time.sleep(0.01)
        notify("STATUS=here we go\nREADY=1\n")
    while not ending:
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


main()
