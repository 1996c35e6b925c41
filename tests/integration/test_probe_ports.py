# SPDX-License-Identifier: BSD-2-Clause
"""
BATON_PROBE_PORTS: what a gate, a hook or a check by a command asks through the shared addresses is
answered by exactly whom it is about, also while clients are served by others.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

from harness import BPFFS, bodies, check, check_equal, get, wait_until
from rollouts import kill_daemon
from services import SOON, example, generation_of, instance_of, merged, service, soon
from swaps import check_unharmed, gentle
from test_own_checks import counted

V4, V6 = "127.0.0.1:8080", "[::1]:8080"
TIERS = ("ebpf", "cbpf")
POINTS = ("shift", "step", "leave")
CANARY = {"strategy": "canary", "steps": [{"weight": 50, "hold": "300ms"}], "bake": "100ms"}
ASKS = 3  # connections to each address, by one command

# Each answer is a line of "said.STEP", behind the generation that was promised. What cannot be asked
# fails the command.
SCRIPT = """\
#!/bin/sh
cd {folder} || exit 9
test -n "$BATON_PROBE_PORTS" || exit 0
test -e hold.$BATON_STEP && {{ echo $BATON_PROBE_PORTS > held.new; mv held.new held; exec sleep 60; }}
for address in $BATON_CONNECT_ALL; do
	for k in $(seq {asks}); do
		body=$(curl -gsS --max-time 20 --local-port "$BATON_PROBE_PORTS" "http://$address/") || exit 1
		echo "promised $BATON_PROBE_GENERATION of $BATON_GENERATION.$BATON_INSTANCE: $body" >> said.$BATON_STEP
	done
done
test ! -e refuse.$BATON_STEP
"""


def script(t, asks=ASKS):
    return str(t.file("ask", SCRIPT.format(folder=t.tmp, asks=asks), 0o755))


def said(t, step):
    """[(generation promised, generation that answered, instance that answered)]; then forget it."""
    path = t.tmp / f"said.{step}"
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    path.unlink()
    return [(int(re.search(r"promised (\d+)", line)[1]),
             generation_of(line.split(": ", 1)[1]), instance_of(line)) for line in lines]


def check_said(t, step, generation, addresses=2, instances=(0, 1)):
    answers = said(t, step)
    check_equal(len(answers), ASKS * addresses, f"answers at {step}")
    check_equal({each[:2] for each in answers}, {(generation, generation)}, f"who answers at {step}")
    check_equal({each[2] for each in answers}, set(instances), f"instances at {step}")


def asking(t, tier, **changes):
    ask = [script(t)]
    hooks = {name: ask for name in ("before_start", "after_shift", "after_drain", "on_rollback",
                                    "on_failure")}
    return service(example(t), **{**dict(
        listen=[V4, V6], instances=2, steering=tier, rollout=CANARY, hooks=hooks,
        gates=[{"name": "ask", "exec": ask, "min_connections": 0}]), **changes})


def pins(daemon, service_name="web"):
    """How many pins there are in the kernel (tier ebpf)."""
    found = 0
    for path in sorted((BPFFS / daemon.name / service_name).glob("tcp-*/pins")):
        dump = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", str(path)],
                              capture_output=True, text=True, check=True,
                              env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"})
        found += dump.stdout.count('"key"')
    return found


def wait_hook(daemon, hook, times=1):
    """Nothing else waits for it. It has done well."""
    ended = lambda: [each for each in daemon.events("hook") if each["hook"] == hook]
    wait_until(lambda: len(ended()) >= times, f"{hook} has ended")
    check_equal({each["ok"] for each in ended()}, {True}, f"{ended()}")


def check_not_counted(daemon, when):
    check_equal(counted(daemon.service()), {}, f"counters {when}")
    shown = json.loads(daemon.cli("connections", "web", "--json", expect=0).out)
    check_equal((shown["total"], shown["connections"]), (0, []), f"connections {when}")


# ---- gates and hooks -----------------------------------------------------------------------------

def rollouts(t, tier):
    """One that is done, one that a gate refuses, one that is undone, each under load."""
    daemon = t.daemon(asking(t, tier))
    check_said(t, "shift", 1)  # the first start has gates, too
    wait_hook(daemon, "after_shift")
    check_said(t, "after_shift", 1)
    check_equal(said(t, "before_start"), [], "nobody was there to ask")
    hammer = gentle(t)

    daemon.restart()
    wait_hook(daemon, "after_shift", 2)
    wait_hook(daemon, "after_drain")
    check_said(t, "before_start", 1)
    for point in (*POINTS, "after_shift", "after_drain"):
        check_said(t, point, 2)

    (t.tmp / "refuse.shift").touch()
    daemon.restart(expect=3)
    check_said(t, "shift", 3)
    wait_hook(daemon, "on_failure")
    check_said(t, "on_failure", 2)
    (t.tmp / "refuse.shift").unlink()

    (t.tmp / "refuse.step").touch()
    daemon.restart(expect=4)
    check_said(t, "step", 4)
    wait_hook(daemon, "on_rollback")
    check_said(t, "on_rollback", 2)
    check_unharmed(hammer, 400)
    check_equal({generation_of(body) for body in bodies(20)}, {2}, "who serves")


def test_ports_of_gates_and_hooks_reach_their_side_ebpf(t):
    rollouts(t, "ebpf")


def test_ports_of_gates_and_hooks_reach_their_side_cbpf(t):
    rollouts(t, "cbpf")


def test_ports_are_of_each_kind_of_address(t):
    """
    Wildcards are asked at loopback addresses; 127.0.0.5 is asked from 127.0.0.1. At the shift of a
    first start nobody serves: who connects from another port is refused.
    """
    for tier in TIERS:
        for listen in (["0.0.0.0:8080", "[::]:8080"], [":8080", "127.0.0.5:8081"]):
            daemon = t.daemon(asking(t, tier, listen=listen, rollout={}, hooks={}))
            check_said(t, "shift", 1)
            check_not_counted(daemon, f"after gates that ask {listen} on tier {tier}")
            daemon.end()


def test_ports_are_not_counted_as_clients(t):
    for tier in TIERS:
        daemon = t.daemon(asking(t, tier))
        daemon.restart()
        check_not_counted(daemon, f"after gates and hooks on tier {tier}")
        daemon.end()


def test_ports_are_not_told_on_the_hash_tier(t):
    gate = {"name": "ask", "exec": ["/bin/sh", "-c", f"env > {t.tmp}/told"]}
    daemon = t.daemon(service(example(t), steering="hash", gates=[gate]))
    told = (t.tmp / "told").read_text()
    check("BATON_PROBE" not in told and f"BATON_CONNECT={V4}\n" in told, told)
    daemon.end()


# ---- they end ------------------------------------------------------------------------------------

def test_ports_are_let_go_when_a_command_ends_or_batond_dies(t):
    daemon = t.daemon(asking(t, "ebpf"))
    wait_hook(daemon, "after_shift")
    wait_until(lambda: pins(daemon) == 0, "no pin is left after a rollout")

    # At its deadline.
    daemon.config["services"]["web"]["gates"][0]["timeout"] = soon(3)
    daemon.write_config()
    daemon.cli("reload", expect=0)
    (t.tmp / "hold.shift").touch()
    restart = t.spawn("restart", *daemon.prefix, daemon.program_dir / "baton", "-n", daemon.name,
                      "restart", "web")
    wait_until((t.tmp / "held").exists, "the gate runs")
    check(pins(daemon) > 0, "its ports are pinned")
    check_equal(restart.wait(), 3, "exit status")
    wait_until(lambda: pins(daemon) == 0, "no pin is left after a deadline")

    # A gate runs when batond dies; nobody waits for it any more.
    (t.tmp / "held").unlink()
    daemon.begin("restart")
    wait_until((t.tmp / "held").exists, "the gate runs")
    first = int((t.tmp / "held").read_text().split("-")[0])
    kill_daemon(daemon)
    (t.tmp / "hold.shift").unlink()
    daemon.start()
    wait_until(lambda: pins(daemon) == 0, "no pin is left after a takeover")
    body = subprocess.run(["curl", "-sS", "--local-port", f"{first}-{first + 15}", f"http://{V4}/"],
                          capture_output=True, text=True, check=True).stdout
    check_equal(generation_of(body), 1, "who serves")


# ---- checks by a command -------------------------------------------------------------------------

def checked(t, tier, **changes):
    health = {"http": None, "exec": [script(t, 1)], "interval": "200ms", "timeout": "10s"}
    config = merged(service(example(t), **{**dict(listen=[V4, V6], instances=2, steering=tier),
                                           **changes}), health=health)
    del config["health"]["http"]
    return config


def asked_by_checks(t):
    path = t.tmp / "said.check"
    text = path.read_text() if path.exists() else ""
    return set(re.findall(r"of (\d+)\.(\d+): ", text))


def check_checked(t, generation):
    """Each instance has been asked and has answered itself."""
    path = t.tmp / "said.check"
    asked = re.findall(r"of (\d+)\.(\d+): (.*)", path.read_text())
    path.unlink()
    for wanted, instance, body in asked:
        check_equal((generation_of(body), instance_of(body)), (int(wanted), int(instance)), "answer")
    found = {(int(wanted), int(instance)) for wanted, instance, _ in asked}
    check({(generation, 0), (generation, 1)} <= found, f"asked: {found}")


def test_check_by_a_command_asks_its_instance(t):
    for tier in TIERS:
        daemon = t.daemon(checked(t, tier))
        check_checked(t, 1)
        hammer = gentle(t)
        daemon.restart()
        check_unharmed(hammer, 200)
        check_checked(t, 2)
        kill_daemon(daemon)
        daemon.start()
        (t.tmp / "said.check").unlink(missing_ok=True)
        wait_until(lambda: len(asked_by_checks(t)) == 2, "the next batond asks")
        check_checked(t, 2)
        daemon.end()


def test_check_by_a_command_decides(t):
    daemon = t.daemon(checked(t, "ebpf", health={"start_timeout": "20s"}))
    health = [each["health"] for each in daemon.generation()["instances"]]
    check_equal({each["state"] for each in health}, {"healthy"}, "states")
    check("ask: exited with status 0" in health[0]["last"], f"answer: {health[0]}")

    # Its last words are those of the check; what cannot be run says nothing of the server.
    daemon.config["services"]["web"]["health"].update(
        {"exec": ["/bin/sh", "-c", "echo first; echo it lacks a table; exit 3"],
         **SOON})
    daemon.write_config()
    daemon.cli("reload", expect=0)
    failed = daemon.restart(expect=3)
    check("sh: exited with status 3: it lacks a table" in failed.text, failed.text)

    daemon.config["services"]["web"]["health"]["exec"] = ["/bin/sh", "-c", "exec sleep 30"]
    daemon.write_config()
    daemon.cli("reload", expect=0)
    failed = daemon.restart(expect=3)
    check("sh: did not end within " in failed.text, failed.text)
    check_equal(get().status, 200, "what serves")


def test_check_that_cannot_be_run_condemns_nobody(t):
    # No script, whose interpreter could find it gone after the exec.
    ask = pathlib.Path(shutil.copy("/bin/true", t.tmp / "check"))
    config = merged(service(example(t)), health={"exec": [str(ask)], "interval": "50ms",
                                                 "unhealthy": 1})
    del config["health"]["http"]
    daemon = t.daemon(config)
    pid = daemon.server_pid()
    ask.unlink()
    health = lambda: daemon.generation()["instances"][0]["health"]
    wait_until(lambda: health().get("unasked"), "it cannot be asked")
    check("not asked: check: exec" in health()["last"], f"answer: {health()}")
    check_equal((health()["state"], daemon.server_pid()), ("healthy", pid), "the server")
    shutil.copy("/bin/true", t.tmp / "check.new")
    (t.tmp / "check.new").rename(ask)
    wait_until(lambda: not health().get("unasked"), "it is asked again")
