# SPDX-License-Identifier: BSD-2-Clause
"""journal: a journal of the test's own, or none, whatever the host has."""

import contextlib
import ctypes
import os
import pathlib
import selectors
import socket
import threading

from harness import Skip, libc

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 16384, 1 << 18
STREAM = pathlib.Path("/run/systemd/journal/stdout")
HEADER_LINES = 7  # sd_journal_stream_fd(3): identifier, unit, priority, level prefix, forwards


def mount(source, target, kind, flags):
    if libc.mount(source, target, kind, flags, None) != 0:
        raise Skip(f"cannot mount in a namespace of its own: {os.strerror(ctypes.get_errno())}")


def hide_run():
    """An empty /run, for this process and its children only: there is no journal then."""
    if libc.unshare(CLONE_NEWNS) != 0:
        raise Skip(f"cannot make a mount namespace: {os.strerror(ctypes.get_errno())}")
    mount(None, b"/", None, MS_REC | MS_PRIVATE)
    mount(b"tmpfs", b"/run", b"tmpfs", 0)


class Journal:
    """What systemd-journald is to its clients: reads streams of lines. Call hide_run() before."""

    def __init__(self):
        self.streams = []  # of each connection: what has been received
        self.listener = None
        self.selector = selectors.DefaultSelector()
        self.connections = []
        self.lock = threading.Lock()

    def start(self):
        STREAM.parent.mkdir(parents=True, exist_ok=True)
        STREAM.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(STREAM))
        self.listener.listen(64)
        threading.Thread(target=self.run, daemon=True).start()
        return self

    def run(self):
        self.selector.register(self.listener, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    connection, _ = self.listener.accept()
                    with self.lock:
                        self.connections.append(connection)
                        self.streams.append(bytearray())
                        number = len(self.streams) - 1
                    self.selector.register(connection, selectors.EVENT_READ, number)
                    continue
                data = key.fileobj.recv(65536)
                if not data:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()
                with self.lock:
                    self.streams[key.data] += data

    def drop(self):
        """End all streams, as a journal does that is started again."""
        with self.lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self.connections.clear()

    def lines(self, identifier, priority):
        """All that was written under that name with that priority (6: stdout, 3: stderr)."""
        found = []
        with self.lock:
            for stream in self.streams:
                lines = stream.decode(errors="replace").split("\n")
                if len(lines) > HEADER_LINES and (lines[0], lines[2]) == (identifier,
                                                                         str(priority)):
                    found += lines[HEADER_LINES:-1]
        return found
