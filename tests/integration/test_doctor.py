# SPDX-License-Identifier: BSD-2-Clause
"""baton doctor: tells the truth to root and to everybody else, and leaves nothing behind."""

import json
import pathlib
import signal
import subprocess

from harness import BPFFS, Result, check, check_equal, own_cgroup, wait_until

NOBODY = 65534

# Settings of this host and properties of this kernel: the test takes them as they are.
GIVEN = {"kernel", "capabilities", "tcp-migrate-req", "somaxconn", "nofile", "memlock",
         "local-ports"}

# What no ordinary user is permitted.
NEEDS_ROOT = {"sockarray", "sk-reuseport", "migrate", "steer", "bpffs", "cgroup"}


def doctor(t, *args, **options):
    """`baton doctor`, from a folder that every user can reach. Its pid is in the result."""
    t.copy("batond", "batond")
    with subprocess.Popen([t.copy("baton", "baton"), "doctor", *args], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=t.tmp,
                          **options) as process:
        out, err = process.communicate(timeout=100)
    result = Result(process.returncode, out, err)
    result.pid = process.pid
    t.complain(f"baton doctor {args}", result.err)
    return result


def as_nobody(t, *args):
    return doctor(t, *args, user=NOBODY, group=NOBODY, extra_groups=[])


def settings():
    return [pathlib.Path(path).read_text() for path in
            ("/proc/sys/net/ipv4/tcp_migrate_req", "/proc/sys/net/core/somaxconn")]


def sockets():
    """TCP sockets of this network namespace, those in TIME_WAIT too."""
    return [line for family in ("tcp", "tcp6")
            for line in pathlib.Path(f"/proc/net/{family}").read_text().splitlines()[1:]]


def traces(pid):
    """What the doctor with this pid makes. (baton becomes batond: the pid is that of both.)"""
    return [path for folder in (own_cgroup(), BPFFS)
            for path in folder.glob(f"baton-doctor-{pid}-*")]


def check_nothing_left(t, *pids):
    """Nothing of these doctors: others, not of this test, may run at the same time."""
    check_equal([path for pid in pids for path in traces(pid)], [], "left over")
    check_equal(sockets(), [], "sockets left over")
    t.check_no_processes()


def by_name(report):
    return {each["name"]: each for each in report["checks"]}


def check_well_formed(report):
    """Every check says all that its state demands."""
    for key in ("ok", "missing", "warnings", "kernel", "user", "tiers", "modes", "checks"):
        check(key in report, f"no {key}")
    check_equal(set(report["tiers"]), {"ebpf", "cbpf", "hash"}, "tiers")
    check_equal(set(report["modes"]), {"inherit", "native", "transparent"}, "modes")
    for each in report["checks"]:
        check(each["state"] in ("works", "missing", "warning"), f"state of {each}")
        for key in ("name", "title", "purpose"):
            check(each[key], f"{key} of {each}")
        for key in ("reason", "cost", "how"):
            check(bool(each[key]) == (each["state"] != "works"), f"{key} of {each}")
    states = [each["state"] for each in report["checks"]]
    check_equal(report["missing"], states.count("missing"), "number of missing")
    check_equal(report["warnings"], states.count("warning"), "number of warnings")
    check_equal(report["ok"], report["missing"] == 0, "ok")


def test_root_has_all_that_is_needed(t):
    before = settings()
    result = doctor(t, "--json")
    check_equal(result.status, 0, f"exit status: {result}")
    check_equal(result.err, "", "stderr")
    report = result.json()
    check_well_formed(report)
    wrong = [each for each in report["checks"]
             if each["state"] != "works" and each["name"] not in GIVEN]
    check_equal(wrong, [], "does not work")
    check_equal(report["tiers"]["ebpf"] in ("yes", "limited"), True, "tier ebpf")
    check_equal(settings(), before, "settings")
    check_nothing_left(t, result.pid)


def test_nobody_is_told_what_is_missing(t):
    result = as_nobody(t, "--json")
    check_equal(result.status, 1, f"exit status: {result}")
    report = result.json()
    check_well_formed(report)
    check("65534" in report["user"], f"user: {report['user']}")
    found = by_name(report)
    check_equal({name for name, each in found.items() if each["state"] == "missing"}, NEEDS_ROOT,
                "missing")
    for name in NEEDS_ROOT:
        check(found[name]["errno"] in ("EPERM", "EACCES"), f"errno of {found[name]}")
        check("root" in found[name]["how"], f"how of {found[name]}")
    check_equal(report["tiers"]["ebpf"], "no", "tier ebpf")
    check(report["tiers"]["cbpf"] != "no", "tier cbpf")
    check_equal(report["modes"]["transparent"], "no", "mode transparent")
    check(report["modes"]["native"] != "no", "mode native")
    check("CAP_BPF" in found["capabilities"]["reason"], f"{found['capabilities']}")
    check_nothing_left(t, result.pid)


def test_people_read_one_line_for_what_works(t):
    result = doctor(t)
    check_equal(result.status, 0, f"exit status: {result}")
    check("\n  works    SO_REUSEPORT " in result.out, result.out)
    check("\n  tier ebpf         yes" in result.out, result.out)
    check("MISSING" not in result.out, result.out)
    check("\neverything that baton needs works" in result.out, result.out)


def test_people_read_why_and_how_for_what_does_not(t):
    result = as_nobody(t)
    check_equal(result.status, 1, f"exit status: {result}")
    lines = result.out.splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("  MISSING  socket array"))
    check("Operation not permitted" in lines[at + 1] and "why:" in lines[at + 1], lines[at + 1])
    check("without: no tier ebpf" in lines[at + 2], lines[at + 2])
    check("how:     run it as root" in lines[at + 3], lines[at + 3])
    check(any(line.startswith("  tier ebpf         no: socket array") for line in lines),
          result.out)
    check("are missing" in lines[-1], lines[-1])


def test_sysctl_is_read_where_the_daemon_would_run(t):
    setting = pathlib.Path("/proc/sys/net/ipv4/tcp_migrate_req")
    for value, state in (("0", "warning"), ("1", "works")):
        setting.write_text(value)
        found = by_name(doctor(t, "--json").json())
        check_equal(found["tcp-migrate-req"]["state"], state, f"with {value}")
        check_equal(found["migrate"]["state"], "works", f"migration by program with {value}")


def test_signal_waits_until_everything_is_removed(t):
    process = t.spawn("doctor", t.program("batond"), "--doctor", "--json")
    wait_until(lambda: traces(process.pid) or not process.running(),
               "it is under way", poll_s=0.0005)
    process.popen.send_signal(signal.SIGTERM)
    check(process.wait() in (0, -signal.SIGTERM), f"status {process.popen.returncode}")
    check_nothing_left(t, process.pid)


def test_two_at_a_time_do_not_meet(t):
    processes = [t.spawn("doctor", t.program("batond"), "--doctor", "--json") for _ in range(4)]
    for process in processes:
        check_equal(process.wait(), 0, f"exit status: {process.text()}")
        check_well_formed(json.loads(process.text()))
    check_nothing_left(t, *(process.pid for process in processes))


def test_wrong_usage_is_refused(t):
    check_equal(doctor(t, "something").status, 2, "exit status")
    check_equal(doctor(t, "--listen", "127.0.0.1:80").status, 2, "exit status")


def test_it_takes_a_moment(t):
    """No check hangs: one that does is ended at its deadline, and says so."""
    result = doctor(t, "--json")
    late = [each for each in result.json()["checks"] if "did not end" in (each["reason"] or "")]
    check_equal(late, [], "checks that did not end")
