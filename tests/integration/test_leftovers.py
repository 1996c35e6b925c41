# SPDX-License-Identifier: BSD-2-Clause
"""What a batond that was killed has left: the next one removes it, or `baton doctor --clean`."""

import contextlib
import fcntl
import os
import pathlib
import signal

from harness import (BPFFS, alive, below, bodies, check, check_equal, leftovers, own_cgroup,
                     remove_cgroup, wait_until)
from rollouts import kill_daemon, settled
from services import example, generation_of, service

B = "127.0.0.1:8081"


def cgroups(base):
    return sorted(path.name for path in base.iterdir() if path.is_dir()) if base.is_dir() else []


def run_files(daemon):
    daemon.kept_events()  # the spare is gone
    run = pathlib.Path("/run") / daemon.name
    return sorted(str(path.relative_to(run)) for path in below(run) if not path.is_dir())


def pinned(daemon):
    return sorted(path.name for path in (BPFFS / daemon.name).glob("*"))


def of_instance(name):
    return [f"agents/{name}.handover", f"agents/{name}.sock", f"tell/{name}/baton"]


def kill_all(daemon, name="web"):
    """batond, the agents and the servers of a service, at once."""
    generations = daemon.service(name)["generations"]
    agents = [each["agent_pid"] for found in generations for each in found["instances"]]
    servers = [each["pid"] for found in generations for each in found["instances"]]
    kill_daemon(daemon)
    for pid in agents:
        os.kill(pid, signal.SIGSTOP)
    for pid in servers + agents:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in servers + agents), "they are gone")


# ---- the next batond -----------------------------------------------------------------------------

def test_next_batond_removes_what_is_of_nobody(t):
    daemon = t.daemon(web=service(example(t)), api=service(example(t), listen=[B]))
    kill_all(daemon, "api")
    check("api.1.0" in cgroups(own_cgroup() / daemon.name), "its cgroup is there")
    del daemon.config["services"]["api"]
    daemon.start()
    wait_until(lambda: cgroups(own_cgroup() / daemon.name) == ["anchor.web", "web.1.0"], "cgroups")
    check_equal(run_files(daemon), sorted(of_instance("web.1.0") + ["api.sock", "lock"]), "files")
    check_equal(pinned(daemon), ["web"], "pins")
    check_equal(generation_of(bodies(1)[0]), 1, "who answers")


def test_superseded_generation_that_ended_meanwhile_leaves_nothing(t):
    daemon = t.daemon(service(example(t), rollout={"bake": "10m"}))
    since = daemon.begin()
    wait_until(lambda: (daemon.service()["rollout"] or {}).get("step") == "bake", "the bake")
    old = next(each for each in daemon.service()["generations"] if each["generation"] == 1)
    kill_daemon(daemon)
    for pid in (old["instances"][0]["agent_pid"], old["instances"][0]["pid"]):
        os.kill(pid, signal.SIGKILL)
    daemon.start()
    wait_until(lambda: settled(daemon), "one generation is left")
    check(daemon.events("adopted", since=since), "it was not taken over")
    number = daemon.current()
    wait_until(lambda: cgroups(own_cgroup() / daemon.name) == ["anchor.web", f"web.{number}.0"],
               "cgroups")
    wait_until(lambda: [name for name in run_files(daemon) if "/" in name] ==
               of_instance(f"web.{number}.0"), "files")


def test_next_batond_of_another_cgroup_empties_the_earlier_one(t):
    daemon = t.daemon(service(example(t)))
    before = own_cgroup() / daemon.name
    other = own_cgroup() / f"{daemon.name}-other"
    other.mkdir()
    try:
        kill_daemon(daemon)
        daemon.prefix = ["/bin/sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', other]
        daemon.start()
        check_equal(cgroups(before), ["web.1.0"], "what lives stays where it was")
        daemon.restart()
        wait_until(lambda: cgroups(before) == [], "the superseded one is removed")
        kill_daemon(daemon)
        daemon.start()
        check_equal(generation_of(bodies(1)[0]), 2, "who answers")
        check(not before.exists(), "its folder is left")
        daemon.process.popen.send_signal(signal.SIGTERM)
        check_equal(daemon.process.wait(), 0, "exit status")
    finally:
        remove_cgroup(other)


# ---- baton doctor --clean ------------------------------------------------------------------------

def clean(daemon, *options, expect=0):
    return daemon.cli("doctor", "--clean", *options, expect=expect)


def left(daemon, *options, expect=0):
    return clean(daemon, "--json", *options, expect=expect).json()


def spare(daemon):
    """Where the state is until it is written."""
    return pathlib.Path("/run") / daemon.name / "state.json"


def await_written(daemon):
    wait_until(lambda: not spare(daemon).exists(), "what was to be written is")
    daemon.kept_events()  # and so are these


def test_clean_lists_what_is_left_and_removes_it_on_request(t):
    daemon = t.daemon(service(example(t), instances=2, listen=["127.0.0.1:8080", B]))
    await_written(daemon)
    kill_all(daemon)
    before = leftovers(daemon.name)
    said = clean(daemon)
    check_equal(leftovers(daemon.name), before, "listing changes nothing")
    for text in (f"no batond \"{daemon.name}\" runs", "web.1.1.sock", f"{BPFFS}/{daemon.name}/web",
                 f"{own_cgroup()}/{daemon.name}/web.1.0", "--clean --yes"):
        check(text in said.out, f"{text}: {said}")
    found = left(daemon)
    check_equal(found["living"], [], "who lives")
    check_equal({each["kind"] for each in found["left"]}, {"cgroup", "pins", "file", "state"},
                f"{found}")
    check_equal({each["state"] for each in found["left"] if each["kind"] != "state"}, {"left"},
                f"{found}")
    found = left(daemon, "--yes")
    check_equal({each["state"] for each in found["left"] if each["kind"] != "state"}, {"removed"},
                f"{found}")
    check_equal(leftovers(daemon.name), [], "left over")
    check(not (pathlib.Path("/run") / daemon.name).exists(), "the run directory is left")
    state = pathlib.Path("/var/lib") / daemon.name
    check((state / "state.json").exists(), "the state is gone")
    # It may also be where it is kept until it can be written.
    spare(daemon).parent.mkdir()
    spare(daemon).write_text("{}")
    clean(daemon, "--yes")
    check(spare(daemon).exists(), "what could not be written is gone")
    clean(daemon, "--yes", "--state")
    check(not state.exists() and not spare(daemon).exists(), "the state is left")
    check("none has left anything" in clean(daemon).out, "words")
    daemon.start()
    check_equal(daemon.current(), 1, "it begins anew")


def test_clean_leaves_alone_what_lives(t):
    daemon = t.daemon(web=service(example(t)), api=service(example(t), listen=[B]))
    pid = daemon.server_pid(service="web")
    agent = daemon.generation()["instances"][0]["agent_pid"]
    kill_all(daemon, "api")
    said = clean(daemon, "--yes", "--state", expect=9)
    check("web.1.0: its agent runs" in said.out, f"{said}")
    check_equal(cgroups(own_cgroup() / daemon.name), ["anchor.web", "web.1.0"], "cgroups")
    check_equal(pinned(daemon), ["web"], "pins")
    check(set(of_instance("web.1.0")) <= set(run_files(daemon)), "files")
    check((pathlib.Path("/var/lib") / daemon.name / "state.json").exists(), "its state is gone")
    check_equal(left(daemon, expect=9)["living"],
                [{"instance": "web.1.0", "reason": "its agent runs"}], "who lives")
    # Its server alone is enough.
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: not alive(agent), "the agent is gone")
    found = left(daemon, "--yes", expect=9)
    check_equal([each["instance"] for each in found["living"]], ["web.1.0"], "who lives")
    check(alive(pid), "the server was ended")
    daemon.start()
    check_equal((daemon.current(service="web"), daemon.server_pid(service="web")), (1, pid),
                "what is taken over")


def test_clean_touches_nothing_while_a_batond_runs(t):
    daemon = t.daemon(service(example(t)))
    await_written(daemon)
    before = leftovers(daemon.name)
    for options in ((), ("--yes",), ("--yes", "--state")):
        said = clean(daemon, *options, expect=6)
        check(f"pid {daemon.pid}" in said.err and "nothing was touched" in said.err, f"{said}")
    check_equal(leftovers(daemon.name), before, "what is there")
    check_equal(generation_of(bodies(1)[0]), 1, "who answers")


def test_clean_touches_nothing_that_is_not_batons(t):
    name = t.new_name()
    run, state = pathlib.Path("/run") / name, pathlib.Path("/var/lib") / name
    pins = BPFFS / name / "theirs"
    for folder in (run, state, pins):
        folder.mkdir(parents=True)
    files = [run / "theirs.pid", state / "data.json"]
    for path in files:
        path.write_text("x")
    try:
        result = t.spawn("clean", t.program("baton"), "-n", name, "doctor", "--clean", "--yes",
                         "--state")
        check_equal(result.wait(), 0, f"{result.text()}")
        check_equal([path for path in [*files, pins] if not path.exists()], [], "removed")
    finally:
        for path in files:
            path.unlink(missing_ok=True)
        for folder in (pins, pins.parent, run, state):
            folder.rmdir()


@contextlib.contextmanager
def batond_elsewhere(name):
    """Its pins, and its claim to them: another container's, with a /run of its own."""
    pins = BPFFS / name / "elsewhere"
    pins.mkdir(parents=True)
    claim = os.open(BPFFS / name, os.O_RDONLY)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX)
        yield pins
    finally:
        os.close(claim)
        pins.rmdir()
        pins.parent.rmdir()


def test_clean_touches_nothing_of_a_batond_in_another_container(t):
    name = t.new_name()
    with batond_elsewhere(name) as pins:
        result = t.spawn("clean", t.program("baton"), "-n", name, "doctor", "--clean", "--yes")
        check_equal(result.wait(), 6, f"{result.text()}")
        check("in another container" in result.text() and "nothing was touched" in result.text(),
              result.text())
        check(pins.exists(), "its pins are gone")


def test_start_touches_nothing_of_a_batond_in_another_container(t):
    daemon = t.daemon(service(example(t)), start=False)
    with batond_elsewhere(daemon.name) as pins:
        daemon.start()
        check("in another container" in daemon.service()["tier_reason"], f"{daemon.service()}")
        check(pins.exists(), "its pins are gone")
        daemon.process.end()
        check(pins.exists(), "its pins are gone at the end")


def test_clean_options_belong_together(t):
    daemon = t.daemon(service(example(t)))
    for option in ("--yes", "--state"):
        check("--clean" in daemon.cli("doctor", option, expect=2).err, option)
