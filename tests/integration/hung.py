# SPDX-License-Identifier: BSD-2-Clause
"""hung: a file system that can be made to answer nobody, as one of a host that has gone away."""

import contextlib
import ctypes
import os
import stat
import struct
import threading

from harness import Skip, libc

MNT_FORCE, MNT_DETACH = 1, 2

(LOOKUP, FORGET, GETATTR, SETATTR, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, OPEN, READ, WRITE, RELEASE,
 FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET) = (
     1, 2, 3, 4, 8, 9, 10, 11, 12, 14, 15, 16, 18, 25, 26, 27, 28, 29, 36, 38, 42)
ROOT = 1
ENOENT, ENOSYS = 2, 38
SETS_SIZE = 1 << 3


def fuse_device(path):
    """A container may have no such node, and the kernel the file system all the same."""
    if os.path.exists("/dev/fuse"):
        return "/dev/fuse"
    node = path.with_name(path.name + ".fuse")
    os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(10, 229))
    return node


class HungFolder:
    """
    Regular files and folders in memory, served through /dev/fuse. Nothing is cached by the kernel:
    each look asks. After hang() requests are read, and not answered: whoever has asked sleeps where
    not even SIGKILL reaches him. There are no lists of names.
    """

    def __init__(self, path, files):
        self.path = path
        self.data = {ROOT: None}  # node -> bytes; None: a folder
        self.names = {}  # (folder, name) -> node
        for name, text in files.items():
            self.make(ROOT, name, bytearray(text.encode()))
        self.hanging = False
        self.waiting = []  # requests without an answer
        self.lock = threading.Lock()
        path.mkdir()
        try:
            self.fd = os.open(fuse_device(path), os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise Skip(f"/dev/fuse: {error}") from error
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"hung", os.fsencode(path), b"fuse", 0, options) < 0:
            raise Skip(f"mount a FUSE file system: {os.strerror(ctypes.get_errno())}")
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def hang(self):
        with self.lock:
            self.hanging = True

    def recover(self):
        """Answer again, those who still wait, too."""
        with self.lock:
            self.hanging = False
            waiting, self.waiting = self.waiting, []
        for request in waiting:
            self.answer(request)

    def asked(self):
        """How many wait for an answer."""
        with self.lock:
            return len(self.waiting)

    def unmount(self):
        libc.umount2(os.fsencode(self.path), MNT_FORCE)  # all who wait get an error
        libc.umount2(os.fsencode(self.path), MNT_DETACH)
        self.thread.join(10)
        os.close(self.fd)

    # -- requests

    def serve(self):
        while True:
            try:
                request = os.read(self.fd, 256 * 1024)
            except InterruptedError:
                continue
            except OSError:  # unmounted
                return
            opcode = struct.unpack_from("<I", request, 4)[0]
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            with self.lock:
                if self.hanging:
                    self.waiting.append(request)
                    continue
            self.answer(request)

    def answer(self, request):
        opcode, unique, node = struct.unpack_from("<IQQ", request, 4)
        error, body = self.reply(opcode, node, request[40:])
        with contextlib.suppress(OSError):  # who asked has gone away
            os.write(self.fd, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)

    def reply(self, opcode, node, body):
        if opcode == INIT:
            return 0, struct.pack("<IIIIHHIIHH8I", 7, 31, 0, 0, 12, 9, 4096, 1, 1, 0, *[0] * 8)
        if opcode in (LOOKUP, MKNOD, MKDIR, UNLINK, RMDIR, RENAME):
            return self.reply_name(opcode, node, body)
        if opcode == GETATTR:
            return 0, struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        if opcode == SETATTR:
            valid, _, _, size = struct.unpack_from("<IIQQ", body)
            if valid & SETS_SIZE:
                self.data[node] = self.data[node][:size].ljust(size, b"\0")
            return 0, struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        if opcode in (OPEN, OPENDIR):
            return 0, struct.pack("<QII", 0, 1, 0)  # FOPEN_DIRECT_IO
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return 0, bytes(self.data[node][offset:offset + size])
        if opcode == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            self.data[node] = self.data[node].ljust(offset, b"\0")
            self.data[node][offset:offset + size] = body[40:40 + size]
            return 0, struct.pack("<II", size, 0)
        if opcode in (READDIR, RELEASE, RELEASEDIR, FLUSH, DESTROY):
            return 0, b""
        return ENOSYS, b""

    def reply_name(self, opcode, folder, body):
        head = {MKNOD: 16, MKDIR: 8, RENAME: 8}.get(opcode, 0)
        name, *more = [each.decode() for each in body[head:].split(b"\0")[:-1]]
        if opcode in (MKNOD, MKDIR):
            self.make(folder, name, bytearray() if opcode == MKNOD else None)
        node = self.names.get((folder, name))
        if node is None:
            return ENOENT, b""
        if opcode in (UNLINK, RMDIR, RENAME):
            del self.names[folder, name]
            if opcode == RENAME:
                self.names[struct.unpack_from("<Q", body)[0], more[0]] = node
            return 0, b""
        return 0, struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + self.attributes(node)

    def make(self, folder, name, data):
        node = len(self.data) + 1  # whoever has a removed one open may go on with it
        self.data[node] = data
        self.names[folder, name] = node

    def attributes(self, node):
        data = self.data[node]
        mode, size = (stat.S_IFDIR, 0) if data is None else (stat.S_IFREG, len(data))
        links = 1 if node == ROOT or node in self.names.values() else 0
        return struct.pack("<6Q10I", node, size, 1, 1, 1, 1, 0, 0, 0, mode | 0o755, links, 0, 0, 0,
                           4096, 0)


@contextlib.contextmanager
def hung_folder(t, path=None, **files):
    """A folder in the test's own, or @path, which answers at first."""
    folder = HungFolder(path or t.tmp / "remote", files)
    try:
        yield folder
    finally:
        folder.unmount()
