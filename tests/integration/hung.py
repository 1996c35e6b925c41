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

(LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, OPENDIR, RELEASEDIR, INTERRUPT,
 DESTROY, BATCH_FORGET) = (1, 2, 3, 14, 15, 18, 25, 26, 27, 29, 36, 38, 42)
ROOT = 1
ENOENT, ENOSYS = 2, 38


def fuse_device(path):
    """A container may have no such node, and the kernel the file system all the same."""
    if os.path.exists("/dev/fuse"):
        return "/dev/fuse"
    node = path.with_name(path.name + ".fuse")
    os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(10, 229))
    return node


class HungFolder:
    """
    Regular files in one folder, served through /dev/fuse. Nothing is cached by the kernel: each
    look asks. After hang() requests are read, and not answered: whoever has asked sleeps where not
    even SIGKILL reaches him.
    """

    def __init__(self, path, files):
        self.path, self.files = path, [(name, text.encode()) for name, text in files.items()]
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
        if opcode == LOOKUP:
            name = body.rstrip(b"\0").decode()
            found = [k for k, (known, _) in enumerate(self.files) if known == name]
            if not found:
                return ENOENT, b""
            number = found[0] + 2
            return 0, struct.pack("<QQQQII", number, 0, 0, 0, 0, 0) + self.attributes(number)
        if opcode == GETATTR:
            return 0, struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        if opcode in (OPEN, OPENDIR):
            return 0, struct.pack("<QII", 0, 1, 0)  # FOPEN_DIRECT_IO
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return 0, self.files[node - 2][1][offset:offset + size]
        if opcode in (RELEASE, RELEASEDIR, FLUSH, DESTROY):
            return 0, b""
        return ENOSYS, b""

    def attributes(self, node):
        mode, size = stat.S_IFDIR | 0o755, 0
        if node != ROOT:
            mode, size = stat.S_IFREG | 0o755, len(self.files[node - 2][1])
        return struct.pack("<6Q10I", node, size, 1, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


@contextlib.contextmanager
def hung_folder(t, **files):
    """A folder in the test's own, which answers at first."""
    folder = HungFolder(t.tmp / "remote", files)
    try:
        yield folder
    finally:
        folder.unmount()
