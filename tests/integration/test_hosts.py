# SPDX-License-Identifier: BSD-2-Clause
"""
Hosts that lack something, and containers as their runtimes make them: the best tier that works,
with the reason in status, log and doctor; a swap under load loses nothing; what cannot work is
refused at the start, with what to grant. Each row of TABLE is a test.
"""

import dataclasses
import json
import os
import pathlib
import re
import signal

from harness import (Process, bodies, check, check_equal, command_of, descendants, get, own_cgroup,
                     stat_of, wait_until)
from host import CRI_O, DOCKER, LXC, NSPAWN, PODMAN, container, host, podman_denies
from services import binder, example, generation_of, service
from swaps import check_unharmed, gentle, swap

NOBODY = 65534
SECCOMP = "a seccomp filter is in force"
MOUNT_BPFFS = "docker: -v /sys/fs/bpf:/bpf"
MOUNT_CGROUP = "docker: --security-opt writable-cgroups=true"
NO_BPF = "it is root, but without CAP_NET_ADMIN and CAP_BPF"
NOT_ROOTLESS = "this is a user namespace"

INHERIT, NATIVE = {"inherit"}, {"inherit", "native"}
ALL = {"inherit", "native", "transparent"}


@dataclasses.dataclass
class Row:
    """Where batond runs, and what must come of it."""
    steps: list  # of host.py
    tier: str = "ebpf"  # None: it is refused at the start
    says: str = None  # why it is not ebpf; None: it is. Or why it is refused.
    cgroup: str = None  # why instances have no cgroups; None: they have
    doctor: dict = dataclasses.field(default_factory=dict)  # of a check: what it says
    modes: dict = dataclasses.field(default_factory=dict)  # of the doctor, beside "inherit": "yes"
    can: set = None  # these modes alone
    mode: str = "auto"
    user: int = 0
    logs: str = None
    left: tuple = ()  # files of /run that stay after a stop


# The rows of docs/containers.md are called after their runtimes.
TABLE = {
    # ---- BPF ----
    "bpf_refused": Row(["deny=EPERM,bpf"], "cbpf", SECCOMP, doctor={"sockarray": SECCOMP}),
    "bpf_hidden": Row(["deny=ENOSYS,bpf"], "cbpf", SECCOMP, doctor={"steer": SECCOMP}),
    "no_cap_bpf": Row([f"caps={','.join([*LXC[:-3], 'PERFMON'])}".replace("SYS_ADMIN,", "")],
                      "cbpf", "it is root, but without CAP_BPF",
                      doctor={"capabilities": "CAP_BPF"}),
    # It loads and attaches steering; what it counts connections with needs CAP_NET_ADMIN.
    "cap_bpf_alone": Row([f"caps={','.join([*DOCKER, 'BPF'])}"],
                         doctor={"sockops": "CAP_NET_ADMIN"},
                         logs="connections are counted by looking at them"),
    "memlock_0": Row(["memlock=0"]),
    # ---- bpffs ----
    "bpffs_read_only": Row(["ro=/sys/fs/bpf"], "cbpf", MOUNT_BPFFS, doctor={"bpffs": MOUNT_BPFFS}),
    "bpffs_read_only_and_another": Row(["ro=/sys/fs/bpf", "bpffs=/mnt"]),
    "bpffs_not_mounted": Row(["umount=/sys/fs/bpf"], doctor={"bpffs": "batond will"}),
    "bpffs_not_mounted_nor_permitted": Row(
        ["umount=/sys/fs/bpf", f"caps={','.join([*DOCKER, 'BPF', 'NET_ADMIN'])}"], "cbpf",
        MOUNT_BPFFS, doctor={"bpffs": MOUNT_BPFFS}),
    "no_sys": Row(["hide=/sys"], "cbpf", MOUNT_BPFFS, "something else is mounted over"),
    # ---- cgroups ----
    "cgroup_read_only": Row(["cgroup=ro"], cgroup=MOUNT_CGROUP, doctor={"cgroup": MOUNT_CGROUP}),
    "cgroup_v1_alone": Row(["cgroup=v1"], cgroup="mount -t cgroup2",
                           doctor={"cgroup": "mount -t cgroup2"}),
    "no_cgroups": Row(["umount=/sys/fs/cgroup"], cgroup="mount -t cgroup2"),
    "cgroup_v2_over_others": Row(["cgroup=rw"], mode="transparent"),
    # ---- /proc, /tmp, /run ----
    "no_proc": Row(["hide=/proc"], None, "mount -t proc proc /proc",
                   doctor={"proc": "mount -t proc proc /proc"}),
    "proc_hides_others": Row(["proc=hidepid=2"]),
    "proc_hides_others_from_nobody": Row(["proc=hidepid=2", f"uid={NOBODY}"], "cbpf",
                                         "run it as root", "run it as root", user=NOBODY),
    "proc_has_pids_alone": Row(["proc=subset=pid"]),
    "run_read_only": Row(["ro=/run"], None, "docker: --tmpfs /run",
                         doctor={"run-folder": "docker: --tmpfs /run"}),
    "state_read_only": Row(["ro=/var/lib"], doctor={"state-folder": "docker: -v baton:"},
                           logs="make its folder: Read-only file system", left=["state.json"]),
    # ---- calls ----
    "no_pidfds": Row(["deny=ENOSYS,pidfd_open,pidfd_getfd,clone3,close_range"],
                     doctor={"pidfd-getfd": SECCOMP}, modes={"native": "no"}),
    "no_memfd": Row(["deny=ENOSYS,memfd_create"]),
    "no_sock_diag": Row(["deny=EPERM,sock_diag"], None, "NETLINK_SOCK_DIAG",
                        doctor={"diag-port": SECCOMP}),
    "no_ipv6": Row(["deny=EAFNOSUPPORT,inet6"], doctor={"bind-hook": "there is no IPv6 here"}),
    # ---- containers: docs/containers.md ----
    "docker": Row(container(DOCKER), "cbpf", NO_BPF, MOUNT_CGROUP, can=INHERIT,
                  doctor={"pidfd-getfd": SECCOMP}),
    "docker_with_ptrace": Row(container(DOCKER, "SYS_PTRACE"), "cbpf", NO_BPF, MOUNT_CGROUP,
                              can=NATIVE, mode="native"),
    "docker_with_bpf_without_bpffs": Row(container(DOCKER, "BPF", "NET_ADMIN"), "cbpf",
                                         MOUNT_BPFFS, MOUNT_CGROUP, can=INHERIT),
    "docker_with_bpf": Row(container(DOCKER, "BPF", "NET_ADMIN", bpffs=True),
                           cgroup=MOUNT_CGROUP, can=INHERIT),
    "docker_with_bpf_and_cgroup": Row(
        container(DOCKER, "BPF", "NET_ADMIN", bpffs=True, cgroup="rw"),
        doctor={"tcp-iterator": "CAP_PERFMON"}, can=INHERIT),
    "docker_with_all": Row(
        container(DOCKER, "BPF", "NET_ADMIN", "PERFMON", "SYS_PTRACE", bpffs=True, cgroup="rw"),
        can=ALL, modes={"native": "yes", "transparent": "yes"}, mode="transparent"),
    "docker_with_all_but_perfmon": Row(
        container(DOCKER, "BPF", "NET_ADMIN", "SYS_PTRACE", bpffs=True, cgroup="rw"), can=ALL,
        mode="transparent", logs="who ends a connection can be told in part only"),
    "docker_user": Row([*container(DOCKER), f"uid={NOBODY}"], "cbpf", "run it as root",
                       MOUNT_CGROUP, can=INHERIT, user=NOBODY),
    # Capabilities that are added are those of root: another user has them only as a limit.
    "docker_user_with_bpf": Row([*container(DOCKER, "BPF", "NET_ADMIN", bpffs=True),
                                 f"uid={NOBODY}"], "cbpf", "run it as root", MOUNT_CGROUP,
                                can=INHERIT, user=NOBODY),
    "kubernetes_restricted": Row([*container([]), f"uid={NOBODY}"], "cbpf", "run it as root",
                                 MOUNT_CGROUP, can=INHERIT, user=NOBODY),
    "cri_o": Row(container(CRI_O, denies=podman_denies), "cbpf", NO_BPF, MOUNT_CGROUP, can=NATIVE),
    "podman": Row(container(PODMAN, denies=podman_denies), "cbpf", NO_BPF, MOUNT_CGROUP,
                  can=NATIVE, mode="native"),
    "podman_rootless": Row(container(PODMAN, denies=podman_denies, userns=True), "cbpf",
                           NOT_ROOTLESS, MOUNT_CGROUP, doctor={"steer": NOT_ROOTLESS}, can=NATIVE),
    "podman_with_all": Row(
        container(PODMAN, "BPF", "NET_ADMIN", "PERFMON", "SYS_PTRACE", bpffs=True, cgroup="rw",
                  denies=podman_denies), can=ALL, mode="transparent"),
    "nspawn": Row(container(NSPAWN, cgroup="rw", denies=lambda _: ["deny=EPERM,bpf,pidfd_getfd,"
                                                                  "perf_event_open,keyctl"]),
                  "cbpf", "without CAP_NET_ADMIN", doctor={"pidfd-getfd": SECCOMP}, can=INHERIT),
    "nspawn_with_bpf": Row(
        container(NSPAWN, "NET_ADMIN", cgroup="rw", bpffs=True,
                  denies=lambda _: ["deny=EPERM,keyctl"]), can=ALL, mode="transparent"),
    "lxc_privileged": Row(container(LXC, cgroup="rw", denies=lambda _: []), can=ALL,
                          mode="transparent"),
    "lxc": Row(container(LXC, cgroup="rw", denies=lambda _: [], userns=True), "cbpf",
               NOT_ROOTLESS, can=NATIVE, mode="native"),
}


def judge(generation):
    def who(body):
        check_equal(generation_of(body), generation, "generation that answers")
    return who


# ---- what is run there ---------------------------------------------------------------------------

def programs(t):
    """A folder with the programs, which every user can reach."""
    for name in ("batond", "baton-agent", "baton"):
        t.copy(name, name)
    return t.tmp


def prefix_of(t, row):
    prefix = host(t, *row.steps)
    if row.user:
        home = t.tmp / "home"
        home.mkdir(mode=0o700, exist_ok=True)
        os.chown(home, row.user, row.user)
        prefix += ["/usr/bin/env", f"XDG_RUNTIME_DIR={home}", f"XDG_STATE_HOME={home}"]
    return prefix


def daemon_on(t, row, config):
    daemon = t.daemon(config, start=False)
    daemon.prefix = prefix_of(t, row)
    daemon.program_dir = programs(t)
    if row.user:
        daemon.api_socket = t.tmp / "home" / daemon.name / "api.sock"
    return daemon


def config_of(t, row):
    if row.mode == "auto":
        return service(example(t))
    share = ["--share"] if row.mode == "native" else []
    return service(binder(t, "--listen", "127.0.0.1:8080", *share), mode=row.mode)


# ---- what it says --------------------------------------------------------------------------------

def ask_doctor(t, row):
    process = t.spawn("doctor", *prefix_of(t, row), programs(t) / "batond", "--doctor", "--json")
    process.wait()
    report = json.loads(process.text())
    found = {each["name"]: each for each in report["checks"]}
    for name, expected in row.doctor.items():
        said = " ".join(filter(None, (found[name][key] for key in ("note", "reason", "how"))))
        check(expected in said, f"{expected!r} is not what the doctor says of {name}: {said}")
    best = next((name for name in ("ebpf", "cbpf", "hash") if report["tiers"][name] != "no"), None)
    check_equal(best, row.tier, f"best tier of the doctor: {json.dumps(report, indent=1)}")
    for mode, verdict in row.modes.items():
        check_equal(report["modes"][mode], verdict, f"mode {mode} of the doctor")
    if row.can:
        check_equal({mode for mode, verdict in report["modes"].items() if verdict != "no"},
                    row.can, "modes of the doctor")
    return report


def check_refused(t, row):
    daemon = daemon_on(t, row, service(example(t)))
    daemon.write_config()
    process = daemon.process = Process(t, daemon.name, daemon.command())
    check_equal(process.wait(), 1, "exit status")
    check(row.says in process.text(), f"{row.says!r} is not what is said: {process.text()}")


def check_reasons(daemon, row):
    status = daemon.service()
    log, text = daemon.process.text(), daemon.cli("status", "web", expect=0).out
    check_equal(status["tier"], row.tier, f"tier: {status.get('tier_reason')}")
    for key, expected in (("tier_reason", row.says), ("cgroup_reason", row.cgroup)):
        check_equal(key in status, bool(expected), f"{key}: {status.get(key)}")
        for said in (status[key], log, text) if expected else ():
            check(expected in said, f"{expected!r} is not what is said as {key}: {said}")
    if not row.user:
        check("run it as root" not in status.get("tier_reason", ""), "root is told to be root")
    check(not row.logs or row.logs in log, f"{row.logs!r} is not in the log: {log}")


def holds(t, row):
    if "hide=/proc" in row.steps and t.build.name == "asan":
        return  # LeakSanitizer does not work without, and reads its options there
    ask_doctor(t, row)
    if not row.tier:
        check_refused(t, row)
        return
    daemon = daemon_on(t, row, config_of(t, row)).start()
    check_reasons(daemon, row)
    hammer = gentle(t)
    swap(t, daemon, hammer, 1, judge)
    check_unharmed(hammer)
    check_equal((daemon.service()["last_rollout"]["result"],
                 daemon.service()["last_rollout"]["cut"]), ("done", 0), "last rollout")
    daemon.stop(left=row.left)


globals().update({f"test_{name}": lambda t, row=row: holds(t, row) for name, row in TABLE.items()})


def test_containers_page_says_what_its_tests_do(_t):
    """Its table of grants: tier, modes, test."""
    page = (pathlib.Path(__file__).parents[2] / "docs/containers.md").read_text()
    named = set()
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or not cells[1].startswith("`"):
            continue
        can = ALL if cells[2] == "all" else set(re.findall(r"`(\w+)`", cells[2]))
        for name in re.findall(r"`(\w+)`", cells[4]):
            named.add(name)
            check_equal((TABLE[name].tier, TABLE[name].can), (cells[1].strip("`"), can), line)
    check_equal(named, {name for name, row in TABLE.items() if row.can}, "rows of the page")


# ---- what is no row of a table -------------------------------------------------------------------

def test_classic_programs_refused_leave_the_hash(t):
    """Its rotations are tested elsewhere; nothing of this tier promises a swap without a loss."""
    row = Row(["deny=EPERM,bpf,cbpf"], "hash", "cbpf:")
    ask_doctor(t, row)
    config = service(example(t), health={"notify": True})
    del config["health"]["http"]
    daemon = daemon_on(t, row, config).start()
    check_reasons(daemon, row)
    daemon.restart()
    check_equal({generation_of(body) for body in bodies(20)}, {2}, "who answers")
    daemon.stop()


def test_ipv6_address_on_a_host_without_is_refused_with_the_reason(t):
    for steps, expected in ((["deny=EAFNOSUPPORT,inet6"], "this host has no IPv6"),
                            (["sysctl=net.ipv6.conf.lo.disable_ipv6,1"], "disable_ipv6")):
        daemon = daemon_on(t, Row(steps), service(example(t), listen=["[::1]:8080"]))
        daemon.start_unready().wait_state("failed")
        check(expected in daemon.service()["reason"], f"{daemon.service()['reason']}")
        daemon.stop()


def test_no_room_in_tmp_concerns_nobody(t):
    folder = pathlib.Path("/var/tmp") / t.new_name()
    folder.mkdir()
    try:
        t.tmp, tmp = folder, t.tmp
        daemon = daemon_on(t, Row(["full=/tmp"]), service(example(t))).start()
        daemon.restart()
        daemon.stop()
        t.tmp = tmp
    finally:
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()


def zombies(pid):
    return [each for each in descendants(pid) if (stat_of(each) or "?")[0] == "Z"]


def test_batond_as_pid_1_reaps_what_is_left_to_it(t):
    """In a container orphans become children of its first process."""
    row = Row(container(DOCKER, "SYS_PTRACE"))
    daemon = daemon_on(t, row, service(example(t))).start()
    hammer = gentle(t)
    agent = next(each for each in descendants(daemon.pid) if "baton-agent" in command_of(each))
    since = daemon.last_seq()
    os.kill(agent, signal.SIGKILL)
    daemon.wait_event("agent-replaced", since=since)
    daemon.restart()
    wait_until(lambda: not zombies(daemon.pid), lambda: f"zombies: {zombies(daemon.pid)}")
    check_unharmed(hammer)
    daemon.stop()


def test_batond_as_pid_1_makes_room_for_resources(t):
    """Both of its processes leave the cgroup in which the instances' controllers are enabled."""
    config = service(example(t), resources={"pids_max": 100})
    daemon = daemon_on(t, Row(["pidns", "proc", "cgroup=rw"]), config)
    daemon.start_unready()
    leaf = own_cgroup() / "batond"
    both = descendants(daemon.pid)[:2]
    wait_until(lambda: set(both) <= set(map(int, (leaf / "cgroup.procs").read_text().split())),
               f"{both} are in {leaf}")
    daemon.stop()


def test_two_containers_of_one_name_do_not_share_pins(t):
    """They share the host's bpffs, but no /run: only the first has tier ebpf."""
    config = service(example(t))
    first = t.daemon(config)
    second = daemon_on(t, Row(["tmp=/run", "tmp=/var/lib", "umount=/sys/fs/cgroup"]),
                       service(example(t), listen=["127.0.0.1:8081"]))
    second.name = first.name
    second.file = t.tmp / "second.json"
    second.write_config()
    process = second.process = Process(t, "second", second.command())
    wait_until(lambda: "another batond called" in process.text(), "the second one says why")
    check("tier cbpf" in process.text() and "-n, BATON_NAME" in process.text(), process.text())
    wait_until(lambda: "rollout 1: done" in process.text(), "the second one serves")
    hammer = gentle(t)
    swap(t, first, hammer, 1, judge)
    process.popen.terminate()
    check_equal(process.wait(), 0, "exit status of the second one")
    check_unharmed(hammer)
    check_equal(first.service()["tier"], "ebpf", "tier of the first one")
    check_equal(get().status, 200, "the first one serves")
    first.stop()
