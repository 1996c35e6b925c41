# SPDX-License-Identifier: BSD-2-Clause
"""
What the host or a container forbids is named as such, and gone round where that is possible. Hosts
and containers as a whole: test_hosts.py.
"""

import json
import pathlib

from harness import check, check_equal
from host import host
from services import binder, example, service, soon

QUICK = {"start_timeout": soon(2), "timeout": soon(0.3), "interval": "50ms"}


def forbidding(t, error, *calls):
    """A prefix for commands: what runs behind it may not make these system calls."""
    return host(t, f"deny={error},{','.join(calls)}")


def without_cgroup2(t):
    return host(t, "cgroup=v1")


def daemon_behind(t, prefix, config, ready=True):
    daemon = t.daemon(config, start=False)
    daemon.prefix = prefix
    return daemon.start() if ready else daemon.start_unready()


def doctor_behind(t, prefix):
    process = t.spawn("doctor", *prefix, t.program("batond"), "--doctor", "--json")
    process.wait()
    return json.loads(process.text())


# ---- cgroups -------------------------------------------------------------------------------------

def test_server_that_does_not_share_is_told_that_cgroup_v2_is_missing(t):
    config = service(binder(t, "--listen", "127.0.0.1:8080"), mode="native", health=dict(QUICK))
    daemon = daemon_behind(t, without_cgroup2(t), config, ready=False)
    daemon.wait_state("failed")
    reason = daemon.service()["reason"]
    check("cgroup v2 is not mounted" in reason and "mount -t cgroup2" in reason, reason)
    check('use mode "transparent"' not in reason, reason)


def test_mode_transparent_without_cgroup_v2_is_refused_with_the_reason(t):
    config = service(binder(t, "--listen", "127.0.0.1:8080"), mode="transparent")
    daemon = daemon_behind(t, without_cgroup2(t), config, ready=False)
    daemon.wait_state("failed")
    reason = daemon.service()["reason"]
    check("cgroup v2 is not mounted" in reason and "mount -t cgroup2" in reason, reason)
    found = agrees_without_tier(t, without_cgroup2(t))
    check("mount -t cgroup2" in found["cgroup"]["how"], f"{found['cgroup']}")


def agrees_without_tier(t, prefix):
    report = doctor_behind(t, prefix)
    check_equal(report["modes"]["transparent"], "no", "mode transparent")
    return {each["name"]: each for each in report["checks"]}


# ---- processes -----------------------------------------------------------------------------------

def test_close_range_that_is_forbidden_is_done_without(t):
    daemon = daemon_behind(t, forbidding(t, "EPERM", "close_range"), service(example(t)))
    daemon.restart()
    fds = {int(path.name) for path in pathlib.Path(f"/proc/{daemon.server_pid()}/fd").iterdir()}
    check(max(fds) < 20, f"descriptors of the server: {fds}")


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
