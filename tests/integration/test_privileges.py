# SPDX-License-Identifier: BSD-2-Clause
"""batond gives up what it does not need; what it starts has what it had."""

import os
import pathlib
import pwd
import re

from harness import check, check_equal, get
from processes import capabilities_of, status_of
from services import example, generation_of, service
from swaps import GENTLE, check_unharmed

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOBODY = pwd.getpwnam("nobody")
# In the order of SECURITY.md, as of capabilities(7).
USED = {"BPF": 39, "NET_ADMIN": 12, "PERFMON": 38, "SYS_ADMIN": 21, "SYS_PTRACE": 19,
        "NET_BIND_SERVICE": 10, "CHOWN": 0, "SETUID": 7, "SETGID": 6, "KILL": 5, "DAC_OVERRIDE": 1}
AT_TIMES = ("SYS_ADMIN",)
SYS_NICE = 1 << 23


def mask(*names):
    return sum(1 << USED[name] for name in names)


def bounded(*names):
    """A prefix for commands: with these capabilities and no others."""
    return ["/usr/bin/setpriv", "--inh-caps=-all",
            "--bounding-set=-all," + ",".join(f"+{name}" for name in names)]


def named_in_the_unit():
    text = (ROOT / "packaging/systemd/baton.service.in").read_text()
    return [name.lower() for name in
            re.search(r"^#CapabilityBoundingSet=(.*)$", text, re.M)[1].replace("CAP_", "").split()]


def test_batond_keeps_what_it_uses_and_its_children_have_all(t):
    told = t.tmp / "told"
    daemon = t.daemon(service(example(t), hooks={
        "before_start": ["/bin/sh", "-c", f"cat /proc/self/status >{told}"]}))
    own = capabilities_of(daemon.pid)
    agent = daemon.generation()["instances"][0]["agent_pid"]
    check_equal(own["Prm"], own["Bnd"] & mask(*USED), "what batond may have")
    check_equal(own["Eff"], own["Prm"] & ~mask(*AT_TIMES), "what batond has")
    for what, pid in (("server", daemon.server_pid()), ("agent", agent)):
        found = capabilities_of(pid)
        check_equal((found["Prm"], found["Eff"], found["Bnd"]), (own["Bnd"],) * 3,
                    f"capabilities of the {what}")
        check_equal(status_of(pid)["NoNewPrivs"], status_of(daemon.pid)["NoNewPrivs"], what)
    hook = dict(line.split(":\t", 1) for line in told.read_text().splitlines())
    check_equal(int(hook["CapEff"], 16), own["Bnd"], "capabilities of root's hook")


def exercise(t, daemon, user):
    """What takes privileges: a low port, users, hooks, other users' processes, BPF."""
    hammer = t.hammer(*GENTLE, port=80)
    daemon.restart()
    check_equal(generation_of(get(port=80).body), 2, "generation that answers")
    check_equal(status_of(daemon.server_pid())["Uid"].split()[0], str(user), "the server's user")
    check_unharmed(hammer)
    daemon.process.popen.kill()
    daemon.process.wait()
    daemon.start()
    daemon.restart()
    check_equal(daemon.service()["tier"], "ebpf", "tier")
    check_equal(daemon.service()["endpoints"][0]["program"]["state"], "attached", "program")
    daemon.cli("stop", "web", expect=0)


def test_line_of_the_unit_is_enough_for_batond_and_its_agents(t):
    secret = t.file("secret.env", "COLOUR=green\n", 0o600)
    config = service(example(t), user="nobody", listen=["127.0.0.1:80"], environment_file=secret,
                     hooks={"before_start": ["/usr/bin/id"]}, stderr=str(t.tmp / "web.log"),
                     gates=[{"name": "smoke", "at": "shift", "exec": ["/bin/true"]}],
                     capabilities=["NET_BIND_SERVICE"], no_new_privileges=True)
    names = named_in_the_unit()
    check(set(USED) < {name.upper() for name in names}, f"the unit names {names}")
    if capabilities_of("self")["Bnd"] & SYS_NICE:
        config["nice"] = -1
    daemon = t.daemon(config, start=False)
    daemon.prefix = bounded(*names)
    daemon.start()
    exercise(t, daemon, NOBODY.pw_uid)


def test_batond_that_is_given_less_says_what_it_cannot_do(t):
    daemon = t.daemon(service(example(t)), start=False)
    daemon.prefix = bounded(*(name.lower() for name in USED if name != "KILL"))
    daemon.start()
    text = daemon.process.text()
    check_equal(text.count("without CAP_"), 1, text)
    check("without CAP_KILL batond cannot signal processes of other users" in text, text)


def test_run_folder_of_somebody_else_is_not_used(t):
    daemon = t.daemon(service(example(t)), start=False)
    folder = daemon.api_socket.parent
    folder.mkdir()
    try:
        os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
        daemon.write_config()
        process = t.spawn("batond", *daemon.command())
        check_equal(process.wait(), 1, "exit status")
        check(f"{folder}: is not a folder that only this user (uid 0) can write to" in
              process.text(), process.text())
        check_equal(list(folder.iterdir()), [], "what was put there")
    finally:
        folder.rmdir()


def test_what_is_not_for_others_is_closed_to_them(t):
    daemon = t.daemon(service(example(t)))
    daemon.restart()
    daemon.kept_events()  # else a file on its way to its name may be among them
    run, state = daemon.api_socket.parent, pathlib.Path("/var/lib") / daemon.name
    pins = pathlib.Path("/sys/fs/bpf") / daemon.name
    closed = [run / "agents", state, pins, *pins.iterdir(), *state.iterdir(), daemon.api_socket]
    check(len(closed) > 5, f"looked at {closed}")
    for path in closed:
        check_equal(path.stat().st_mode & 0o077, 0, f"rights of others on {path}")
