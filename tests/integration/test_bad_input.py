# SPDX-License-Identifier: BSD-2-Clause
"""
Mistakes in the configuration, and files that are not what they should be: what is good comes up,
nothing is waited for, and what is wrong is said where somebody looks.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess

from harness import check, check_equal, get, wait_until
from services import example, generation_of, merged, service, unready
from swaps import check_unharmed, gentle

# Whoever waits for a FIFO waits for ever; a busy machine does not take so long.
AT_ONCE_S = 20.0


def three(t):
    """"web" on port 8080, "api" on 8081, and "bad" on 8082, which has two mistakes."""
    bad = service(example(t), listen=["127.0.0.1:8082"], helth={}, instances="two")
    return t.daemon(web=service(example(t)), api=service(example(t), listen=["127.0.0.1:8081"]),
                    bad=bad, start=False)


def states(daemon):
    return {each["service"]: each["state"] for each in daemon.api("/v1/services")[1]["services"]}


def mend(daemon, t):
    daemon.config["services"]["bad"] = service(example(t), listen=["127.0.0.1:8082"])
    daemon.write_config()


def wait_states(daemon, **expected):
    wait_until(lambda: states(daemon) == expected, f"the services are {expected}")


# ---- one bad service -----------------------------------------------------------------------------

def test_bad_service_does_not_stop_the_others_at_a_start(t):
    daemon = three(t)
    path = str(t.tmp / "notify")
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(path)
    notify.settimeout(60)
    daemon.prefix = ["/usr/bin/env", f"NOTIFY_SOCKET={path}"]
    daemon.start_unready()
    daemon.prefix = []
    wait_states(daemon, web="running", api="running", bad="refused")
    while b"READY=1" not in (told := notify.recv(4096)):
        pass
    check(b"STATUS=1 of 3 services refused" in told, f"told: {told}")
    check_equal((get().status, get(port=8081).status), (200, 200), "answers")
    bad = daemon.service("bad")
    check_equal(len(bad["mistakes"]), 2, f"mistakes: {bad}")
    for expected in ("services.bad.helth", "services.bad.instances", "baton reload"):
        check(expected in bad["reason"], f"{expected!r} is not the reason: {bad}")
        check(expected in daemon.cli("status", "bad").text, f"{expected!r} is not in the status")
    listed = daemon.cli("list", expect=10)
    check("refused" in listed.out, "baton list does not tell")
    check_equal(daemon.cli("status", "web").status, 0, "exit status for one that is well")
    status, answer = daemon.api("/readyz")
    check_equal(status, 503, "readiness")
    check_equal({one["service"]: one["condition"] for one in answer["services"]},
                {"web": "well", "api": "well", "bad": "refused"}, "conditions")
    for expected in ("services.bad.helth", "services.bad.instances"):
        check(expected in daemon.process.text(), f"{expected!r} is not in the log")
    check_equal(len(daemon.events("refused", service="bad")), 2, "events")
    # There is nothing that could be ordered.
    for order in ("start", "restart", "stop"):
        result = daemon.cli(order, "bad", expect=1)
        check("services.bad.helth" in result.err and "baton reload" in result.err, f"{result}")
    # What is asked later stays strict.
    check_equal(daemon.cli("check", daemon.file).status, 1, "baton check")
    daemon.cli("reload", expect=1)
    wait_states(daemon, web="running", api="running", bad="refused")
    mend(daemon, t)
    answer = daemon.cli("reload", "--json", expect=0).json()
    check_equal((answer["started"], sorted(answer["unchanged"])), (["bad"], ["api", "web"]),
                f"{answer}")
    wait_states(daemon, web="running", api="running", bad="running")
    check_equal(get(port=8082).status, 200, "answer of the one that was mended")
    check_equal(daemon.current(), 1, "generation of one that was good")


def test_bad_service_alone_ends_the_start(t):
    daemon = t.daemon(service(example(t), helth={}), start=False)
    daemon.write_config()
    done = subprocess.run([str(each) for each in daemon.command()], capture_output=True, text=True,
                          check=False, timeout=60)
    check_equal(done.returncode, 1, "exit status")
    check("services.web.helth" in done.stderr, f"printed: {done.stderr}")


def test_service_that_turned_bad_goes_on_and_is_taken_over_when_mended(t):
    daemon = three(t)
    mend(daemon, t)
    daemon.start()
    pid = daemon.server_pid(service="bad")
    daemon.process.popen.send_signal(signal.SIGKILL)
    daemon.process.wait()
    daemon.config["services"]["bad"]["instances"] = "two"
    daemon.start_unready()
    wait_states(daemon, web="running", api="running", bad="refused")
    check_equal(get(port=8082).status, 200, "answer while it is refused")
    check("is taken over when" in daemon.process.text(), "the log does not tell")
    mend(daemon, t)
    daemon.cli("reload", expect=0)
    wait_states(daemon, web="running", api="running", bad="running")
    check_equal((daemon.current("bad"), daemon.server_pid(service="bad")), (1, pid),
                "generation and pid")
    daemon.restart(service="bad")
    check_equal(daemon.current("bad"), 2, "generation after a restart")


def test_folder_with_a_bad_dropin_is_read_without_it(t):
    daemon = three(t)
    mend(daemon, t)
    folder = t.tmp / "etc"
    (folder / "conf.d").mkdir(parents=True)
    api = daemon.config["services"].pop("api")
    del daemon.config["services"]["bad"]
    (folder / "conf.d" / "10.json").write_text('{"services": {"lost": ')
    (folder / "conf.d" / "20.json").write_text(
        '{"sevices": {}, "services": {"odd": {"command": ["/bin/true"], "listen": ":8083"}}}')
    os.mkfifo(folder / "conf.d" / "30.json")
    daemon.file = folder
    daemon.write_config = lambda: (folder / "baton.json").write_text(json.dumps(daemon.config))
    daemon.start_unready()
    wait_states(daemon, web="running", odd="refused")
    check("20.json: sevices" in daemon.service("odd")["reason"], f"{daemon.service('odd')}")
    for expected in ("10.json: line 1", "30.json: is not a regular file"):
        check(expected in daemon.process.text(), f"{expected!r} is not in the log")
    result = daemon.cli("check", folder, expect=1)
    for expected in ("10.json", "20.json", "30.json"):
        check(expected in result.text, f"{expected!r} is not in {result}")
    (folder / "conf.d" / "10.json").write_text(json.dumps({"services": {"api": api}}))
    (folder / "conf.d" / "20.json").unlink()
    (folder / "conf.d" / "30.json").unlink()
    daemon.cli("check", folder, expect=0)
    daemon.cli("check", folder / "conf.d", expect=0)
    daemon.cli("reload", expect=0)
    wait_states(daemon, web="running", api="running")


def test_check_without_a_file_reads_what_batond_would(t):
    etc = t.tmp / "etc"
    (etc / "baton" / "conf.d").mkdir(parents=True)

    def checked(expect, *args):
        """`baton check`, with that folder as its /etc."""
        command = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', etc,
                   t.program("baton"), "check", *args]
        done = subprocess.run([str(each) for each in command], capture_output=True, text=True,
                              check=False, timeout=60)
        check_equal(done.returncode, expect, f"exit status: {done}")
        return done.stdout + done.stderr

    check("/etc/baton/baton.json: No such file" in checked(1), "no file")
    (etc / "baton" / "baton.json").write_text("{}")
    check("/etc/baton/baton.json and /etc/baton/conf.d: ok, 0 services" in checked(0), "good")
    (etc / "baton" / "conf.d" / "10.json").write_text('{"servces": {}}')
    check("/etc/baton/conf.d/10.json: servces" in checked(1), "a bad one in conf.d")
    check_equal(json.loads(checked(1, "--json"))["total"], 1, "mistakes as JSON")
    # One file is that file alone.
    checked(0, "/etc/baton/baton.json")
    checked(1, "/etc/baton")


# ---- FIFOs and devices ---------------------------------------------------------------------------

def replace_by_fifo(path):
    path.unlink()
    os.mkfifo(path)


def test_fifo_in_place_of_a_file_is_refused_at_once(t):
    settings = t.tmp / "settings"
    settings.write_text("COLOUR=blue\n")
    program = pathlib.Path(t.copy("examples/server", "program"))
    command = [program, *example(t)[1:]]
    daemon = t.daemon(service(command, environment_file=str(settings)))
    hammer = gentle(t)
    replace_by_fifo(settings)
    for order in ("restart", "upgrade"):
        result = daemon.cli(order, "web", expect=3, deadline_s=AT_ONCE_S)
        check("settings: is not a regular file" in result.err, f"{result}")
    result = daemon.cli("reload", expect=1, deadline_s=AT_ONCE_S)
    check("settings: is not a regular file" in result.text, f"{result}")
    result = daemon.cli("check", daemon.file, expect=1, deadline_s=AT_ONCE_S)
    check("environment_file" in result.text, f"{result}")
    settings.unlink()
    settings.write_text("COLOUR=green\n")
    replace_by_fifo(program)
    result = daemon.cli("restart", "web", expect=3, deadline_s=AT_ONCE_S)
    check("not an executable file" in result.err, f"{result}")
    replace_by_fifo(daemon.file)
    result = daemon.cli("reload", expect=1, deadline_s=AT_ONCE_S)
    check("is not a regular file" in result.text, f"{result}")
    daemon.file.unlink()
    daemon.file.symlink_to("/dev/zero")
    daemon.cli("reload", expect=1, deadline_s=AT_ONCE_S)
    check_equal((daemon.current(), daemon.state()), (1, "running"), "generation and state")
    daemon.file.unlink()
    check_unharmed(hammer)


def test_check_reads_what_is_piped_into_it(t):
    daemon = t.daemon(service(example(t)), start=False)
    daemon.write_config()
    for text, status in ((daemon.file.read_text(), 0), ("{", 1)):
        done = subprocess.run([daemon.program_dir / "baton", "check", "/dev/stdin"], input=text,
                              capture_output=True, text=True, check=False, timeout=60)
        check_equal(done.returncode, status, f"exit status: {done}")


# ---- state.json ----------------------------------------------------------------------------------

def state_file(daemon):
    return pathlib.Path("/var/lib") / daemon.name / "state.json"


def damage(path, how):
    """Put something in the place of state.json that is none."""
    if path.exists():
        path.unlink()
    if how == "fifo":
        os.mkfifo(path)
    elif how == "device":
        path.symlink_to("/dev/zero")
    elif how == "folder":
        path.mkdir()
    elif how == "huge":
        path.touch()
        os.truncate(path, 1 << 40)
    else:
        path.write_text({"empty": "", "truncated": '{"version": 1, "serv', "foreign": "[1, 2]",
                         "newer": '{"version": 99, "services": {}}'}[how])


def test_state_that_cannot_be_used_is_moved_aside_and_services_come_up(t):
    daemon = t.daemon(service(example(t)), start=False)
    daemon.start()
    for how in ("empty", "truncated", "foreign", "newer", "huge", "fifo", "device", "folder"):
        path = state_file(daemon)
        daemon.stop()
        path.parent.mkdir(exist_ok=True)
        before = set(path.parent.iterdir())
        damage(path, how)
        daemon.start()
        aside = [each for each in path.parent.iterdir()
                 if each not in before and ".bad" in each.name]
        check_equal(len(aside), 1, f"{how}: moved aside")
        check(str(aside[0]) in daemon.process.text(), f"{how}: no warning: {daemon.process.text()}")
        check_equal(generation_of(get().body), 1, f"{how}: generation that answers")
        check(path.is_file() and not path.is_symlink(), f"{how}: not written again")
        daemon.restart()
        check_equal(daemon.current(), 2, f"{how}: generation")


def test_state_that_is_lost_under_a_running_service_uses_no_number_again(t):
    daemon = t.daemon(service(example(t)))
    daemon.restart()
    daemon.restart()
    daemon.process.popen.send_signal(signal.SIGKILL)
    daemon.process.wait()
    damage(state_file(daemon), "truncated")
    daemon.start()
    check_equal(daemon.current(), 3, "generation taken over")
    daemon.restart()
    check_equal(daemon.current(), 4, "the next one")


def test_no_space_for_state_does_not_keep_services_down(t):
    daemon = t.daemon(service(example(t)), start=False)
    folder = state_file(daemon).parent
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=True)
    try:
        with open(folder / "fill", "wb") as fill:
            try:
                fill.write(bytes(200000))
                fill.flush()
            except OSError:
                pass
        daemon.start()
        check("No space left" in daemon.process.text(), "no warning")
        daemon.restart()
        check_equal(daemon.current(), 2, "generation")
        (folder / "fill").unlink()
        daemon.restart()
        check('"generation": 3' in state_file(daemon).read_text(), "not written once there is room")
        daemon.stop()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


# ---- what a reload says --------------------------------------------------------------------------

def test_reload_says_replaced_only_of_what_has_begun(t):
    daemon = t.daemon(web=service(example(t), steering="hash"),
                      api=service(example(t), listen=["127.0.0.1:8081"]))
    since = daemon.last_seq()
    services = daemon.config["services"]
    # That the tier cannot do this is known only when it is to begin.
    services["web"]["rollout"].update(strategy="canary", steps=[{"weight": 50}, {"weight": 100}])
    services["web"]["environment"] = {"COLOUR": "green"}
    services["api"]["environment"] = {"COLOUR": "green"}
    daemon.write_config()
    result = daemon.cli("reload", "--json", expect=1)
    answer = result.json()
    check_equal((answer["changed"], answer["waiting"]), (["api"], []), f"{answer}")
    check_equal(answer["rollouts"]["api"]["order"], "restart", f"{answer}")
    check_equal([each["service"] for each in answer["refused"]], ["web"], f"{answer}")
    check("canary" in answer["refused"][0]["detail"], f"{answer}")
    check("canary" in daemon.wait_event("refused", since=since)["reason"], "event")
    check_equal(daemon.events("start", since=since), [], "begun")
    check_equal((daemon.current(), daemon.state()), (1, "running"), "generation and state")
    # It stays true when it is asked again.
    result = daemon.cli("reload", expect=1)
    check("web: refused" in result.out and "canary" in result.out, f"{result}")


def test_reload_under_a_rollout_says_that_it_waits(t):
    command, flag = unready(t)
    flag.unlink()
    daemon = t.daemon(service(command))
    flag.touch()
    since = daemon.begin()
    daemon.config["services"]["web"] = merged(daemon.config["services"]["web"],
                                              environment={"COLOUR": "green"})
    daemon.write_config()
    result = daemon.cli("reload", expect=0)
    check("not yet replaced" in result.out and "waits for rollout" in result.out, f"{result}")
    flag.unlink()
    daemon.wait_end(since)
    wait_until(lambda: daemon.current() == 3, "the changed one serves")


def test_reload_that_is_refused_afterwards_is_told_as_an_event(t):
    command, flag = unready(t)
    settings = t.tmp / "settings"
    settings.write_text("COLOUR=blue\n")
    flag.unlink()
    daemon = t.daemon(service(command, environment_file=str(settings)))
    flag.touch()
    since = daemon.begin()
    settings.write_text("COLOUR=green\n")
    daemon.config["services"]["web"]["environment"] = {"A": "1"}
    daemon.write_config()
    daemon.cli("reload", expect=0)
    settings.unlink()
    flag.unlink()
    event = daemon.wait_event("refused", since=since)
    check("settings" in event["reason"], f"{event}")
