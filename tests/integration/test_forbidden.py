# SPDX-License-Identifier: BSD-2-Clause
"""What the host or a container forbids is named as such, and gone round where that is possible."""

import json
import pathlib

from harness import Skip, check, check_equal, get, own_cgroup, wait_until
from services import binder, example, service

SANDBOX = pathlib.Path(__file__).with_name("sandbox.py")
QUICK = {"start_timeout": "2s", "timeout": "300ms", "interval": "50ms"}
IPPROTO_MPTCP = 262


def forbidding(t, error, *calls):
    """A prefix for commands: what runs behind it may not make these system calls."""
    return ["/usr/bin/python3", "-S", t.file("sandbox.py", SANDBOX.read_text()), error,
            ",".join(calls)]


def without_cgroup2():
    mount = next(line.split()[4] for line in
                 pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
                 if " - cgroup2 " in line)
    own_cgroup()  # or skip
    return ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
            f'umount -l {mount}; exec "$@"', "sh"]


IN_A_USER_NAMESPACE = ["/usr/bin/unshare", "--user", "--map-root-user"]
WITHOUT_CAPABILITY = ["/usr/bin/setpriv", "--bounding-set=-bpf,-sys_admin"]


def daemon_behind(t, prefix, config, ready=True):
    daemon = t.daemon(config, start=False)
    daemon.prefix = prefix
    return daemon.start() if ready else daemon.start_unready()


def doctor_behind(t, prefix):
    process = t.spawn("doctor", *prefix, t.program("batond"), "--doctor", "--json")
    process.wait()
    return json.loads(process.text())


def agrees(t, prefix, daemon):
    """The doctor says of the tier what the daemon does, and why the higher one does not work."""
    report = doctor_behind(t, prefix)
    tier = daemon.service()["tier"]
    for name in ("ebpf", "cbpf", "hash"):
        if report["tiers"][name] != "no":
            check_equal(tier, name, f"tier of the daemon; the doctor says {report['tiers']}")
            break
    return {each["name"]: each for each in report["checks"]}


# ---- privileges ----------------------------------------------------------------------------------

def is_told(t, prefix, expected):
    """On tier cbpf: why not ebpf, by the daemon and by the doctor."""
    daemon = daemon_behind(t, prefix, service(example(t)))
    reason = daemon.service()["tier_reason"]
    check_equal(daemon.service()["tier"], "cbpf", "tier")
    check(expected in reason and "run it as root" not in reason, f"reason: {reason}")
    check(expected in daemon.cli("status", "web", expect=0).out, "status")
    found = agrees(t, prefix, daemon)
    for name in ("sockarray", "sk-reuseport", "steer"):
        check(expected in found[name]["how"], f"{found[name]}")
    check_equal(get().status, 200, "it serves")
    daemon.restart()


def test_root_under_a_seccomp_filter_is_told_of_the_filter(t):
    is_told(t, forbidding(t, "EPERM", "bpf"), "a seccomp filter is in force")


def test_root_under_a_seccomp_filter_that_hides_the_call_is_told_of_the_filter(t):
    is_told(t, forbidding(t, "ENOSYS", "bpf"), "a seccomp filter is in force")


def test_root_in_a_user_namespace_is_told_of_the_namespace(t):
    try:
        is_told(t, IN_A_USER_NAMESPACE, "this is a user namespace")
    except AssertionError as error:
        if "unshare" in str(error):
            raise Skip("no user namespaces here") from None
        raise


def test_root_without_a_capability_is_told_which(t):
    is_told(t, WITHOUT_CAPABILITY, "it is root, but without CAP_BPF")


# ---- cgroups -------------------------------------------------------------------------------------

def test_server_that_does_not_share_is_told_that_cgroup_v2_is_missing(t):
    config = service(binder(t, "--listen", "127.0.0.1:8080"), mode="native", health=dict(QUICK))
    daemon = daemon_behind(t, without_cgroup2(), config, ready=False)
    daemon.wait_state("failed")
    reason = daemon.service()["reason"]
    check("cgroup v2 is not mounted" in reason and "mount -t cgroup2" in reason, reason)
    check('use mode "transparent"' not in reason, reason)


def test_mode_transparent_without_cgroup_v2_is_refused_with_the_reason(t):
    config = service(binder(t, "--listen", "127.0.0.1:8080"), mode="transparent")
    daemon = daemon_behind(t, without_cgroup2(), config, ready=False)
    daemon.wait_state("failed")
    reason = daemon.service()["reason"]
    check("cgroup v2 is not mounted" in reason and "mount -t cgroup2" in reason, reason)
    found = agrees_without_tier(t, without_cgroup2())
    check("mount -t cgroup2" in found["cgroup"]["how"], f"{found['cgroup']}")


def agrees_without_tier(t, prefix):
    report = doctor_behind(t, prefix)
    check_equal(report["modes"]["transparent"], "no", "mode transparent")
    return {each["name"]: each for each in report["checks"]}


# ---- pins ----------------------------------------------------------------------------------------

def test_bpffs_that_cannot_be_written_leaves_a_tier_that_works(t):
    prefix = ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
              "mount -o bind /sys/fs/bpf /sys/fs/bpf; mount -o remount,bind,ro /sys/fs/bpf; "
              'exec "$@"', "sh"]
    daemon = daemon_behind(t, prefix, service(example(t)))
    check("Read-only file system" in daemon.service()["tier_reason"], "reason")
    found = agrees(t, prefix, daemon)
    check("writable" in found["bpffs"]["how"], f"{found['bpffs']}")
    daemon.restart()


# ---- processes -----------------------------------------------------------------------------------

def test_close_range_that_is_forbidden_is_done_without(t):
    daemon = daemon_behind(t, forbidding(t, "EPERM", "close_range"), service(example(t)))
    daemon.restart()
    fds = {int(path.name) for path in pathlib.Path(f"/proc/{daemon.server_pid()}/fd").iterdir()}
    check(max(fds) < 20, f"descriptors of the server: {fds}")


def test_pidfds_that_are_forbidden_are_done_without_where_sockets_are_passed(t):
    prefix = forbidding(t, "ENOSYS", "pidfd_open", "pidfd_getfd", "clone3", "close_range")
    daemon = daemon_behind(t, prefix, service(example(t)))
    pid = daemon.server_pid()
    daemon.restart()
    wait_until(lambda: daemon.server_pid() != pid, "another server")
    daemon.stop()


def is_told_of_getfd(t, error):
    config = service(binder(t, "--listen", "127.0.0.1:8080", "--share"), health=dict(QUICK))
    prefix = forbidding(t, error, "pidfd_open", "pidfd_getfd")
    daemon = daemon_behind(t, prefix, config, ready=False)
    daemon.wait_state("failed")
    reason = daemon.service()["reason"]
    for each in ("listens on 127.0.0.1:8080", "pidfd_getfd", "a seccomp filter is in force",
                 'mode "inherit"'):
        check(each in reason, f"no {each!r}: {reason}")
    event = daemon.wait_event("sockets")
    check("pidfd_getfd" in event["message"], f"{event}")
    report = doctor_behind(t, prefix)
    found = {each["name"]: each for each in report["checks"]}
    check_equal(report["modes"]["native"], "no", "mode native")
    check("a seccomp filter is in force" in found["pidfd-getfd"]["how"], f"{found['pidfd-getfd']}")


def test_pidfd_getfd_that_is_forbidden_is_named(t):
    is_told_of_getfd(t, "EPERM")


def test_pidfd_getfd_that_is_hidden_is_named(t):
    is_told_of_getfd(t, "ENOSYS")
