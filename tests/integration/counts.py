# SPDX-License-Identifier: BSD-2-Clause
"""
counts: what things cost, in numbers that no clock is part of, against the ceilings in
tests/ceilings.json.

A ceiling is what was counted when it was recorded, and may be passed a little (MARGINS): on a busy
machine something is now and then done twice. A test counts again if a number is too high, and the
least counts: being busy makes no number smaller.

    make ceilings          counts all anew and writes the file
    make ceilings T=swap   ... what tests with "swap" in their names count
"""

import contextlib
import ctypes
import fcntl
import functools
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import time

from harness import BPFFS, check, libc, wait_until

FILE = pathlib.Path(__file__).resolve().parent.parent / "ceilings.json"
RECORD = "BATON_RECORD_CEILINGS"  # in the environment: write what is counted
TRIES = 4
IDLE_S = 1.0

# End of a row -> by which part of it, and by how much beside that, it may pass what was recorded.
# What is not here is more exact: one fork or execve(2) more for each swap is found.
MARGINS = {"calls": (0.15, 5), "allocations": (0.15, 20), "bytes written": (0.10, 200),
           "wake-ups": (0.25, 1), "runs": (0.05, 0.1), "KB": (0.15, 10),
           "KB each": (0.35, 10)}  # of a heap that others share: it has holes
MARGIN = (0.08, 0.6)

# Calls that are told by their name; of the others the sum alone.
NAMED = {
    "forks": ("clone", "clone3", "fork", "vfork"),
    "execve": ("execve", "execveat"),
    "fsync": ("fsync", "fdatasync"),
    "bpf": ("bpf",),
}
WRITES = ("write", "writev", "pwrite64", "pwritev", "sendfile", "copy_file_range")

MAP_LOOKUP, MAP_UPDATE, MAP_NEXT, OBJECT_GET, RAW_TRACEPOINT_OPEN = 1, 2, 4, 7, 17
SYS_BPF = {"x86_64": 321, "aarch64": 280}


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = libc.syscall(SYS_BPF[os.uname().machine], command, buffer, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}")
    return result


@functools.cache
def names_of_calls():
    """Number -> name, as the C library's headers have them."""
    shown = subprocess.run(["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", os.devnull],
                           capture_output=True, text=True, check=True).stdout
    return {int(number): name
            for name, number in re.findall(r"^#define __NR_(\w+) (\d+)$", shown, re.MULTILINE)}


def program_of(thread):
    """Whose thread it is; until an agent has named itself it may have the number of a file."""
    if thread.startswith("batond"):
        return "batond"
    return "agent" if thread == "baton-agent" or thread.isdigit() else None


class Calls(contextlib.ExitStack):
    """Counts the system calls of all batonds and agents of the test, from now until it is closed."""

    def __init__(self, t):
        super().__init__()
        folder = BPFFS / t.new_name()
        self.callback(shutil.rmtree, folder, ignore_errors=True)
        done = subprocess.run(["bpftool", "prog", "loadall", t.program("tests/counts/calls.bpf.o"),
                               folder, "pinmaps", folder], capture_output=True, text=True,
                              check=False)
        check(done.returncode == 0, f"bpftool: {done.stderr}")
        inode = os.stat("/proc/self/ns/net").st_ino
        with self.object(folder / "chosen") as chosen:
            key, value = struct.pack("=I", 0), struct.pack("=Q", inode)
            self.of_map(MAP_UPDATE, chosen, key, value)
        self.counts = self.enter_context(self.object(folder / "counts"))
        for program, point in (("enter", b"sys_enter"), ("leave", b"sys_exit")):
            with self.object(folder / program) as fd:
                name = ctypes.create_string_buffer(point)
                link = bpf(RAW_TRACEPOINT_OPEN,
                           struct.pack("=QI4x", ctypes.addressof(name), fd))
                self.callback(os.close, link)
        shutil.rmtree(folder)

    @staticmethod
    @contextlib.contextmanager
    def object(path):
        name = ctypes.create_string_buffer(os.fsencode(path))
        fd = bpf(OBJECT_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))
        try:
            yield fd
        finally:
            os.close(fd)

    @staticmethod
    def of_map(command, fd, key, value):
        """@value is given, or is a size, of what is returned."""
        key = ctypes.create_string_buffer(key, len(key)) if key else None
        value = ctypes.create_string_buffer(value, value if isinstance(value, int) else len(value))
        bpf(command, struct.pack("=I4xQQQ", fd, ctypes.addressof(key) if key else 0,
                                 ctypes.addressof(value), 0))
        return value.raw

    def rows(self):
        """Row -> number: "batond calls", "agent fsync", ... since the counting began."""
        rows = {f"{program} {row}": 0 for program in ("batond", "agent")
                for row in ("calls", "bytes written", *NAMED)}
        for thread, name, n, returned in self:
            program = program_of(thread)
            if not program:
                continue
            rows[f"{program} calls"] += n
            if name in WRITES:
                rows[f"{program} bytes written"] += returned
            for row, names in NAMED.items():
                if name in names:
                    rows[f"{program} {row}"] += n
        return rows

    def of_call(self, name, program="batond"):
        """How often a program has made the call of this name."""
        return sum(n for thread, call, n, _ in self
                   if call == name and program_of(thread) == program)

    def __iter__(self):
        """(name of the thread, name of the call, how often, what was returned) of each."""
        key = b""
        while True:
            try:
                key = self.of_map(MAP_NEXT, self.counts, key, 24)
            except FileNotFoundError:
                return
            calls, returned = struct.unpack("=QQ", self.of_map(MAP_LOOKUP, self.counts, key, 16))
            thread, number = struct.unpack("=16sQ", key)
            name = names_of_calls().get(number, str(number))
            yield thread.rstrip(b"\0").decode(errors="replace"), name, calls, returned


def is_plain(build):
    """Sanitizers, and what measures coverage, make calls and keep memory of their own."""
    return build.name not in ("asan", "coverage")


def per_unit(after, before, units):
    """What each of so many units has added to the rows of a count."""
    return {row: (after[row] - before[row]) / units for row in after}


def cost(calls, act, units):
    """
    The rows of @act(), which does the same @units times, for each unit. What batond and its agents
    do anyhow while time passes is taken off: on a busy machine more time passes.
    """
    begin, first = time.monotonic(), calls.rows()
    time.sleep(IDLE_S)
    middle, second = time.monotonic(), calls.rows()
    act()
    end, third = time.monotonic(), calls.rows()
    parts = (end - middle) / (middle - begin)
    return {row: max(0, n - (second[row] - first[row]) * parts) / units
            for row, n in ((row, third[row] - second[row]) for row in third)}


# ---- ceilings ------------------------------------------------------------------------------------

def record(name, rows):
    """Put the rows of @name into the file; several tests may do so at a time."""
    with open(FILE, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        ceilings = json.loads(file.read() or "{}")
        ceilings[name] = {row: round(n, 2) for row, n in rows.items()}
        file.truncate(0)
        file.write(json.dumps(ceilings, indent="\t", sort_keys=True) + "\n")


def too_high(name, rows):
    """A sentence for each row of @name that is above its ceiling, or has none."""
    ceilings = json.loads(FILE.read_text())
    known = ceilings.get(name, {})
    for row, n in rows.items():
        part, spare = next((margin for end, margin in MARGINS.items() if row.endswith(end)), MARGIN)
        if row not in known:
            yield f'{name}: "{row}" is {n:.2f} and has no ceiling in {FILE.name}'
        elif n > (most := known[row] * (1 + part) + spare):
            yield (f'{name}: "{row}" was {known[row]:.2f} when it was recorded, may be {most:.2f}, '
                   f"and is {n:.2f}")


def check_ceilings(name, count, tries=TRIES):
    """
    None of the rows that @count() returns is above its ceiling. It is called again, up to @tries
    times, if one is, and the least of each row counts.
    """
    rows = count()
    recording = os.environ.get(RECORD) == "1"
    for _ in range(tries - 1):
        if not recording and not list(too_high(name, rows)):
            break
        again = count()
        rows = {row: min(n, again[row]) for row, n in rows.items()}
    if recording:
        record(name, rows)
        return
    wrong = list(too_high(name, rows))
    check(not wrong, lambda: "\n".join([*wrong, "If that is as it must be: make ceilings"]))


def settled(value, what, polls=5):
    """Wait until @value() has been the same for half a second; that value."""
    seen = []

    def same():
        seen.append(value())
        return len(seen) > polls and seen[-polls - 1:] == [seen[-1]] * (polls + 1)
    wait_until(same, lambda: f"{what} settles: {seen[-20:]}", poll_s=0.1)
    return seen[-1]
