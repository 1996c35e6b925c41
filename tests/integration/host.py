# SPDX-License-Identifier: BSD-2-Clause
"""
host: executes a program on a host that lacks something, or in what a container runtime makes.

    host.py [STEP]... -- PROGRAM ARGUMENT...

Steps are carried out in their order; each is a word and its arguments, with "=" and "," between:

    ro=PATH               PATH is read-only
    hide=PATH             an empty read-only folder lies over PATH
    mask=PATH,...         each PATH shows nothing
    full=PATH             a file system without space lies over PATH
    tmp=PATH              an empty folder that can be written to lies over PATH
    umount=PATH           what is mounted on PATH, and below, is gone
    proc=OPTION,...       a /proc of its own, with these mount options
    sys=ro|rw             a /sys of its own, with cgroup v2 alone in it, and no bpffs
    cgroup=ro|rw          what is mounted below /sys/fs/cgroup is gone; cgroup v2 alone is there
    cgroup=v1             cgroup v2 is mounted nowhere
    bpffs=PATH            a bpffs of its own on PATH
    userns                a user namespace in which only root is mapped
    cgroupns              a cgroup namespace, its root our cgroup
    pidns                 a pid namespace; the program is its pid 1
    caps=NAME,...         these capabilities at most
    memlock=BYTES         RLIMIT_MEMLOCK
    uid=NUMBER            this user and group, without others
    deny=ERRNO,CALL,...   a seccomp filter: these system calls fail so; SOCKETS below are calls, too
    sysctl=NAME,VALUE     of this network namespace

What a test needs of it is made by the functions at the end, where the container runtimes are, too.
"""

import ctypes
import errno
import os
import pathlib
import platform
import resource
import signal
import struct
import sys

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE, MNT_DETACH = 16384, 1 << 18, 2
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x2000000, 0x10000000, 1 << 29
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 24, 38, 22, 2
PR_SET_PDEATHSIG = 1
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
ARGUMENTS = 16  # of a system call in struct seccomp_data
AF_INET6, AF_NETLINK, NETLINK_SOCK_DIAG = 10, 16, 4
SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF = 1, 51

# Numbers on x86-64 and on aarch64; those of later calls are the same everywhere.
OLD_CALLS = {
    "socket": (41, 198), "setsockopt": (54, 208), "ptrace": (101, 117), "mount": (165, 40), "umount2": (166, 39),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "unshare": (272, 97),
    "perf_event_open": (298, 241), "setns": (308, 268), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "memfd_create": (319, 279),
    "bpf": (321, 280), "userfaultfd": (323, 282),
}
CALLS = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "clone3": 435, "close_range": 436, "pidfd_getfd": 438,
    "mount_setattr": 442,
    **{name: numbers[platform.machine() == "aarch64"] for name, numbers in OLD_CALLS.items()},
}
# Calls with certain arguments: which argument, value.
SOCKETS = {"inet6": ("socket", ((0, AF_INET6),)),
           "sock_diag": ("socket", ((0, AF_NETLINK), (2, NETLINK_SOCK_DIAG))),
           "cbpf": ("setsockopt", ((1, SOL_SOCKET), (2, SO_ATTACH_REUSEPORT_CBPF)))}

CAPABILITIES = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
]

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result < 0:
        sys.exit(f"host.py: {what}: {os.strerror(ctypes.get_errno())}")


# ---- steps ---------------------------------------------------------------------------------------

def mount(source, target, kind, flags, options=""):
    check(libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags),
                     options.encode()), f"mount {kind} on {target}")


def own_mounts():
    """Only what follows is seen by nobody else."""
    if not own_mounts.made:
        check(libc.unshare(CLONE_NEWNS), "unshare mounts")
        mount("none", "/", "", MS_REC | MS_PRIVATE)
    own_mounts.made = True


own_mounts.made = False


def step_ro(path):
    own_mounts()
    mount(path, path, "", MS_BIND | MS_REC)
    mount("none", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY)


def step_hide(path):
    own_mounts()
    mount("hidden", path, "tmpfs", MS_RDONLY)


def step_mask(*paths):
    """As runtimes do it: a file shows nothing, a folder is empty."""
    for path in paths:
        if os.path.isdir(path):
            step_hide(path)
        elif os.path.exists(path):
            own_mounts()
            mount("/dev/null", path, "", MS_BIND)


def step_full(path):
    own_mounts()
    mount("full", path, "tmpfs", 0, "size=4k")
    pathlib.Path(path, "full").write_bytes(bytes(4096))


def step_tmp(path):
    own_mounts()
    mount("tmp", path, "tmpfs", 0)


def step_umount(path):
    own_mounts()
    while libc.umount2(path.encode(), MNT_DETACH) == 0:
        continue


def step_proc(*options):
    own_mounts()
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, ",".join(options))


def step_cgroup(how):
    if how == "v1":
        mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
        for point in [line.split()[4] for line in mounts if " - cgroup2 " in line]:
            step_umount(point)
        return
    step_umount("/sys/fs/cgroup")
    mount("cgroup", "/sys/fs/cgroup", "cgroup2", MS_RDONLY if how == "ro" else 0)


def step_sys(how):
    step_umount("/sys")
    flags = MS_RDONLY if how == "ro" else 0
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | flags)
    mount("cgroup", "/sys/fs/cgroup", "cgroup2", flags)


def step_bpffs(path):
    own_mounts()
    mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def step_userns():
    uid, gid = os.geteuid(), os.getegid()
    # Mounts of one's own, too: those from before belong to the namespace above.
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare users")
    own_mounts.made = True
    pathlib.Path("/proc/self/setgroups").write_text("deny")
    pathlib.Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    pathlib.Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def step_cgroupns():
    check(libc.unshare(CLONE_NEWCGROUP), "unshare cgroups")


def step_pidns():
    """We stay outside, hand signals on and end as the program does."""
    check(libc.unshare(CLONE_NEWPID), "unshare pids")
    pid = os.fork()
    if pid == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, lambda number, _frame: os.kill(pid, number))
    status = os.waitpid(pid, 0)[1]
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def step_caps(*names):
    for number, name in enumerate(CAPABILITIES):
        if name not in names:
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)


def step_memlock(size):
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (int(size), int(size)))


def step_uid(number):
    os.setgroups([])
    os.setgid(int(number))
    os.setuid(int(number))


def step_sysctl(name, value):
    pathlib.Path("/proc/sys", name.replace(".", "/")).write_text(value)


def load(offset):
    return struct.pack("HBBI", LOAD, 0, 0, offset)


def give(value):
    return struct.pack("HBBI", RETURN, 0, 0, value)


def refuse(code, number, arguments=()):
    """Instructions: if it is this call with these arguments it fails with @code."""
    rest = [(0, number)] + [(ARGUMENTS + 8 * place, value) for place, value in arguments]
    program = b""
    for place, (offset, value) in enumerate(rest):
        # Over the pairs that follow, and over the end.
        over = 2 * (len(rest) - place - 1) + 1
        program += load(offset) + struct.pack("HBBI", JUMP_IF_EQUAL, 0, over, value)
    return program + give(RET_ERRNO | code)


def step_deny(error, *calls):
    code = getattr(errno, error)
    program = b""
    for call in calls:
        name, arguments = SOCKETS.get(call, (call, ()))
        program += refuse(code, CALLS[name], arguments)
    program += give(RET_ALLOW)
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HL", len(program) // 8, ctypes.addressof(buffer))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0), "seccomp")


STEPS = {name[len("step_"):]: function for name, function in list(globals().items())
         if name.startswith("step_")}


def main(arguments):
    end = arguments.index("--")
    for step in arguments[:end]:
        name, _, rest = step.partition("=")
        STEPS[name](*filter(None, rest.split(",")))
    os.execv(arguments[end + 1], arguments[end + 1:])


# ---- for tests -----------------------------------------------------------------------------------

def host(t, *steps):
    """A prefix for commands: what runs behind it runs on such a host."""
    tool = pathlib.Path(__file__)
    return ["/usr/bin/python3", "-S", "-E", t.file(tool.name, tool.read_text()), *steps, "--"]


# What the runtimes leave of root's capabilities.
PODMAN = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP",
          "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"]
DOCKER = [*PODMAN, "AUDIT_WRITE", "MKNOD", "NET_RAW"]  # and containerd
CRI_O = [each for each in PODMAN if each not in ("SETFCAP", "SYS_CHROOT")]
NSPAWN = [*DOCKER, "AUDIT_CONTROL", "DAC_READ_SEARCH", "IPC_OWNER", "LEASE", "LINUX_IMMUTABLE",
          "NET_BROADCAST", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_PTRACE", "SYS_RESOURCE",
          "SYS_TTY_CONFIG"]
LXC = [each for each in CAPABILITIES
       if each not in ("MAC_ADMIN", "MAC_OVERRIDE", "SYS_TIME", "SYS_MODULE", "SYS_RAWIO")]

# What their seccomp profiles refuse, as far as baton or a server could want it: to everybody, and
# to those without a capability.
NEVER = ["keyctl", "add_key", "request_key", "userfaultfd", "io_uring_setup", "io_uring_enter",
         "io_uring_register"]
MOUNTS = ["mount", "umount2", "unshare", "setns", "open_tree", "move_mount", "fsopen", "fsconfig",
          "fsmount", "fspick", "mount_setattr"]
MASKED = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi",
          "/proc/acpi", "/proc/interrupts", "/sys/firmware"]


def docker_denies(capabilities):
    """Docker's profile, and containerd's, which is made after it."""
    refused = list(NEVER)
    if not {"SYS_ADMIN", "BPF"} & set(capabilities):
        refused.append("bpf")
    if not {"SYS_ADMIN", "PERFMON"} & set(capabilities):
        refused.append("perf_event_open")
    if "SYS_PTRACE" not in capabilities:
        refused += ["pidfd_getfd", "kcmp"]
    if "SYS_ADMIN" in capabilities:
        return [f"deny=EPERM,{','.join(refused)}"]
    return [f"deny=EPERM,{','.join(refused + MOUNTS)}", "deny=ENOSYS,clone3"]


def podman_denies(capabilities):
    """It lets mounts through, which then lack a capability, and hides what it does not know."""
    refused = list(NEVER)
    if "SYS_ADMIN" not in capabilities:
        refused += ["perf_event_open"] + ([] if "BPF" in capabilities else ["bpf"])
    return [f"deny=EPERM,{','.join(refused)}"]


def container(base, *added, cgroup="ro", bpffs=False, denies=docker_denies, userns=False):
    """
    Steps: a container of a runtime that leaves the capabilities @base. What is granted beyond that:
    capabilities @added, a writable cgroup, a bpffs of its own. @userns: it is rootless.
    """
    capabilities = [*base, *added]
    return ["cgroupns", f"sys={cgroup}", *(["bpffs=/mnt"] if bpffs else []),
            *(["userns"] if userns else []), "pidns", "proc", f"mask={','.join(MASKED)}",
            "ro=/proc/sys", f"caps={','.join(capabilities)}", *denies(capabilities)]


if __name__ == "__main__":
    main(sys.argv[1:])
