# SPDX-License-Identifier: BSD-2-Clause
"""
Pins of a batond that was killed are gone, or are of maps of another shape, when the next one comes:
it goes on around the servers that run, and nobody is refused.
"""

import shutil
import subprocess

from harness import BPFFS, DEADLINE_S, Skip, bodies, check, check_equal, timeout, wait_until
from rollouts import kill_daemon, settled
from services import binder, example, generation_of, service
from swaps import GENTLE, check_unharmed
from test_addresses import A, loads, relisten, wait_step
from test_crossing import WAYS
from test_hold import ask_later, held

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


# ---- more than one of everything -----------------------------------------------------------------

PORTS = (8080, 8081, 8082, 8083)
PREFIXES = ((), WITHOUT_SYS_ADMIN)


def mixed(t, **changes):
    """Services of each mode, with several addresses and instances."""
    share = ["--share"] if changes.get("steering") == "cbpf" else []  # else it is transparent
    return {"web": service(example(t), instances=2,
                           listen=["127.0.0.1:8080", "127.0.0.1:8081"], **changes),
            "native": service(binder(t, "--listen", "127.0.0.1:8082", "--share"), mode="native",
                              listen=["127.0.0.1:8082"], instances=2, **changes),
            "other": service(binder(t, "--listen", "127.0.0.1:8083", *share), listen=["127.0.0.1:8083"],
                             **changes)}


def check_all_gone(t, prefix=(), rounds=2, **changes):
    """The daemon is killed, and everything that it has pinned is removed."""
    daemon = t.daemon(**mixed(t, **changes), start=False)
    daemon.prefix = prefix
    daemon.start()
    hammers = [t.hammer(*GENTLE, port=port) for port in PORTS]
    for hammer in hammers:
        wait_until(lambda each=hammer: each.report()["ok"] >= 20, "the load has begun")
    for _ in range(rounds):
        kill_daemon(daemon)
        shutil.rmtree(BPFFS / daemon.name, ignore_errors=True)
        daemon.start()
        for name in ("web", "native", "other"):
            check_equal((daemon.state(name), daemon.current(name)), ("running", 1), name)
    for name in ("web", "native", "other"):
        daemon.restart(service=name)
        check_equal(daemon.service(name)["last_rollout"]["cut"], 0, f"cut: {name}")
    for hammer in hammers:
        check_unharmed(hammer)
    daemon.stop()


def test_all_pins_of_several_services_are_gone(t):
    check_all_gone(t)


def test_all_pins_of_several_services_are_gone_and_their_maps_too(t):
    check_all_gone(t, WITHOUT_SYS_ADMIN)


def test_all_pins_are_gone_on_a_tier_that_has_none(t):
    check_all_gone(t, steering="cbpf", rounds=1)


def test_what_waits_goes_on_to_wait_when_the_pins_are_gone(t):
    for prefix in PREFIXES:
        daemon = t.daemon(service(example(t)), start=False)
        daemon.prefix = prefix
        daemon.start()
        daemon.cli("pause", "web", expect=0)
        results = []
        threads = [ask_later(results) for _ in range(10)]
        wait_until(lambda each=daemon: held(each) == 10, "the connections wait")
        kill_daemon(daemon)
        shutil.rmtree(BPFFS / daemon.name)
        threads += [ask_later(results) for _ in range(5)]
        daemon.start()
        threads += [ask_later(results) for _ in range(5)]
        wait_until(lambda each=daemon: held(each) == 20, "all of them wait")
        check_equal(results, [], "answers during the pause")
        daemon.cli("resume", "web", expect=0)
        for thread in threads:
            thread.join(DEADLINE_S)
        check_equal([generation_of(body) for body in results], [1] * 20, "answers")
        daemon.stop()


@timeout(200)
def test_pins_that_are_gone_in_the_middle_of_a_rollout(t):
    for prefix in PREFIXES:
        daemon = t.daemon(service(example(t), instances=2, rollout={"bake": "10m"}), start=False)
        daemon.prefix = prefix
        daemon.start()
        hammer = t.hammer(*GENTLE)
        for step in ("start", "verify", "shift", "bake"):
            since = daemon.last_seq()
            daemon.begin()
            daemon.wait_event(step, since=since) if step != "bake" else wait_until(
                lambda each=daemon: (each.service()["rollout"] or {}).get("step") == "bake", step)
            kill_daemon(daemon)
            shutil.rmtree(BPFFS / daemon.name)
            daemon.start()
            wait_until(lambda each=daemon: settled(each), f"one generation after {step}")
            serves_on(daemon, 1)
            check_equal(hammer.report()["lost"], 0, f"lost at {step}")
        check_unharmed(hammer)
        daemon.stop()


# ---- two endpoints that compete ------------------------------------------------------------------

BEACONS, CONTROL = ("beacons", ("sockmap", 4, 8, 4)), ("control", ("array", 4, 64, 1))


def check_crossing(t, prefix, before, after, *damages):
    """batond is killed in the bake of a change of the address, and pins of the change are damaged."""
    daemon = t.daemon(service(example(t), listen=[before], rollout={"bake": "1h"}), start=False)
    daemon.prefix = prefix
    daemon.start()
    hammer, = loads(t, A)
    for name, shape in damages:
        since = relisten(daemon, [after])
        wait_step(daemon, "bake")
        pin = next((BPFFS / daemon.name / "web").glob("cross+*")) / name
        kill_daemon(daemon)
        if shape:
            replace(pin, shape)
        else:
            pin.unlink()
        daemon.config["services"]["web"]["listen"] = [before]
        daemon.start()
        daemon.wait_event("adopted", since=since)
        wait_until(lambda: settled(daemon), "one generation is left")
        check_equal(generation_of(bodies(1)[0]), 1, "who answers")
        check_equal(hammer.report()["lost"], 0, f"lost: {name}, {shape}")
    check_unharmed(hammer)
    daemon.stop()


def test_pins_between_two_addresses_that_are_gone_or_of_another_shape(t):
    check_crossing(t, (), *WAYS[0], BEACONS, ("control", None))


@timeout(120)
def test_pins_between_two_addresses_whose_maps_cannot_be_opened_otherwise(t):
    check_crossing(t, WITHOUT_SYS_ADMIN, *WAYS[0], ("beacons", None))
    check_crossing(t, WITHOUT_SYS_ADMIN, *WAYS[1], CONTROL)
