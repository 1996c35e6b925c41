# SPDX-License-Identifier: BSD-2-Clause
"""
Pins of a batond that was killed are gone, or are of maps of another shape, when the next one comes:
it goes on around the servers that run, and nobody is refused.
"""

import shutil
import subprocess

from harness import (BPFFS, Skip, bodies, check, check_equal, timeout, wait_until)
from rollouts import kill_daemon
from services import binder, example, generation_of, service
from swaps import GENTLE, check_unharmed

PINNED = ("program", "layout", "slots", "tables", "control", "pins", "slot_stats", "stats")
# Of each map: what another version of baton could have there.
OTHERS = {
    "slots": (("reuseport_sockarray", 4, 8, 257), ("reuseport_sockarray", 4, 4, 1025)),
    "tables": (("array", 4, 4096, 4), ("array", 4, 8192, 2)),
    "control": (("array", 4, 64, 1),),
    "pins": (("hash", 20, 4, 16), ("hash", 24, 4, 1024)),
    "slot_stats": (("percpu_array", 4, 32, 256), ("percpu_hash", 4, 64, 1024)),
    "stats": (("percpu_array", 4, 8, 1),),
    "layout": (("array", 4, 4, 1),),  # version 0
}
WITHOUT_SYS_ADMIN = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")


def folder(daemon, key="127_0_0_1_8080", name="web"):
    found = [path for path in (BPFFS / daemon.name / name).glob("*") if path.name != "tap"]
    check(found, "no folder of pins")
    return found[0] if len(found) == 1 else BPFFS / daemon.name / name / key


def make_map(path, kind, key, value, entries):
    program = shutil.which("bpftool", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not program:
        raise Skip("needs bpftool")
    flags = ["flags", "1"] if kind in ("hash", "percpu_hash") else []  # BPF_F_NO_PREALLOC
    result = subprocess.run(
        [program, "map", "create", str(path), "type", kind, "key", str(key), "value", str(value),
         "entries", str(entries), "name", path.name, *flags], capture_output=True, text=True,
        check=False)
    check_equal(result.returncode, 0, f"bpftool: {result.stderr}")


def replace(path, shape):
    path.unlink()
    make_map(path, *shape)


def serves_on(daemon, generation, *ports):
    """The next batond has taken everything over, and says so."""
    check_equal((daemon.state(), daemon.current()), ("running", generation), "state, generation")
    for endpoint in daemon.service()["endpoints"]:
        check_equal(endpoint["program"]["state"], "attached", f"{endpoint}")
        check(not endpoint["program"].get("drift"), f"{endpoint}")
    for port in ports or (8080,):
        check_equal({generation_of(body) for body in bodies(20, port=port)}, {generation},
                    f"answers on {port}")


def around(daemon, change, what):
    """batond is killed, its pins are changed, and another one is started."""
    kill_daemon(daemon)
    change()
    daemon.start()
    try:
        serves_on(daemon, daemon.current())
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error


def pins_of(daemon):
    return sorted(path.name for path in folder(daemon).iterdir())


def pins_are_whole(daemon):
    check_equal(pins_of(daemon), sorted(PINNED), "pins")


def ways(daemon, names=PINNED):
    """(what, function): each kind of damage."""
    yield "the folder of the service", lambda: shutil.rmtree(BPFFS / daemon.name / "web")
    yield "all folders", lambda: shutil.rmtree(BPFFS / daemon.name)
    for name in names:
        yield f"no {name}", lambda name=name: (folder(daemon) / name).unlink()
        for shape in OTHERS.get(name, ()):
            yield (f"{name} of another shape, {shape}",
                   lambda name=name, shape=shape: replace(folder(daemon) / name, shape))


def check_ways(t, daemon, *names):
    hammer = t.hammer(*GENTLE)
    wait_until(lambda: hammer.report()["ok"] >= 20, "the load has begun")
    for what, change in ways(daemon, *names):
        around(daemon, change, what)
        pins_are_whole(daemon)
        check_equal(hammer.report()["lost"], 0, f"lost: {what}")
    daemon.restart()
    serves_on(daemon, 2)
    check_unharmed(hammer)
    check_equal(daemon.service()["last_rollout"]["cut"], 0, "cut")


@timeout(200)
def test_pins_that_are_gone_or_of_another_shape(t):
    check_ways(t, t.daemon(service(example(t), instances=2)))


@timeout(200)
def test_pins_that_are_gone_and_maps_that_cannot_be_opened_otherwise(t):
    daemon = t.daemon(service(example(t), instances=2), start=False)
    daemon.prefix = WITHOUT_SYS_ADMIN
    daemon.start()
    check_ways(t, daemon, ("program", "slots", "tables"))
