# SPDX-License-Identifier: BSD-2-Clause
"""swaps: a service is replaced again and again under load, and nothing is lost."""

from harness import bodies, check, check_equal, wait_until
from losing import sysctl
from services import pid_of

# At full speed. Every kind of client is there: new connections, one after the other; requests on
# one connection; bodies that are half sent when the swap comes.
LOAD = ("--path", "/", "--short", 32, "--keepalive", 8, "--keepalive-pause", "10ms",
        "--slow-post", 4, "--post-bytes", 4000, "--post-duration", "300ms",
        "--post-path", "/post", "--sources", 16, "--timeout", "30s", "--expect-status", 200)
# The same kinds at a pace that leaves time for much else, for tests with many servers.
GENTLE = ("--path", "/", "--short", 8, "--rate", 500, "--keepalive", 4, "--keepalive-pause", "20ms",
          "--slow-post", 2, "--post-bytes", 4000, "--post-duration", "300ms", "--post-path",
          "/post", "--sources", 8, "--timeout", "30s", "--expect-status", 200)
ANSWERS_MIN = 20  # of the load, after each swap; they are judged too
# On tier hash an old socket gets connections until it closes, and what is under way then may be
# reset, a few in hundreds of rollouts (docs/configuration.md; bench/tiers measures them).
RESET_MOST = 2


def begun(t, load):
    """A hammer that has got its first answers."""
    hammer = t.hammer(*load)
    wait_until(lambda: hammer.report()["ok"] >= ANSWERS_MIN, "the load has begun")
    return hammer


def gentle(t):
    return begun(t, GENTLE)


def check_unharmed(hammer, at_least=100):
    """End the load when it was one; nothing of it is lost. Returns its counts."""
    wait_until(lambda: hammer.report()["ok"] > at_least, "enough load")
    result = hammer.stop()
    check_nothing_lost(result, at_least)
    return result


def promise_most(tier):
    """What tier hash loses depends on this setting. To be called before the daemon starts."""
    if tier == "hash":
        sysctl("tcp_migrate_req", 1)


def check_promised(hammer, tier, at_least=100):
    """End the load; what @tier promises has been kept."""
    if tier != "hash":
        return check_unharmed(hammer, at_least)
    wait_until(lambda: hammer.report()["ok"] > at_least, "enough load")
    result = hammer.stop()
    reset = result["losses"]["reset"] + result["losses"]["closed_early"]
    check(result["lost"] == reset <= RESET_MOST, f"lost: {result}")
    check(result["ok"] > at_least, f"hardly any load: {result}")
    return result


def bodies_of(result, name):
    """{body: how many such answers a phase has}, those to slow POSTs left out."""
    return {each["body"]: each["count"] for phase in result["phases"] if phase["name"] == name
            for each in phase["bodies"]}


def answers(result, name):
    return sum(bodies_of(result, name).values())


def swap(t, daemon, hammer, number, answered_by, **where):
    """
    One `baton restart` under load. From the shift on every new connection must be answered by the
    new generation: @answered_by(generation) returns what judges a body.
    """
    since = daemon.last_seq()
    hammer.say("swap begin")
    hammer.phase(f"swap-{number}")
    restart = t.spawn(f"restart-{number}", *daemon.prefix, daemon.program_dir / "baton", "-n",
                      daemon.name, "restart", "web")
    generation = daemon.wait_event("shift", since=since)["generation"]
    who = answered_by(generation)
    for body in bodies(30, **where):
        who(body)
    check_equal(restart.wait(), 0, f"exit status of restart {number}: {restart.text()}")
    hammer.say("swap end")
    hammer.phase(f"after-{number}")
    for body in bodies(20, **where):
        who(body)
    wait_until(lambda: answers(hammer.report(), f"after-{number}") >= ANSWERS_MIN,
               f"load after swap {number}")
    # Judged while the generation runs: whoever answers can be looked up.
    hammer.phase(f"judged-{number}")
    for body in bodies_of(hammer.report(), f"after-{number}"):
        who(body)
    check_equal(daemon.current(), generation, "current generation")


def swap_many(t, daemon, answered_by, swaps=20, load=LOAD, at_least=1000):
    """Swap @swaps times under @load; returns the load's counts, in which nothing is lost."""
    hammer = begun(t, load)
    for number in range(swaps):
        swap(t, daemon, hammer, number, answered_by)
    result = check_unharmed(hammer, at_least)
    last = daemon.service()["last_rollout"]
    check_equal((last["result"], last["cut"]), ("done", 0), "last rollout")
    check_equal(len(daemon.service()["generations"]), 1, "generations left")
    return result


def by_pid(daemon):
    """Bodies say the pid of who answered. A master may begin a worker when others have answered."""
    def answered_by(generation):
        pids = daemon.pids(generation)
        check(pids, f"no process is in the cgroup of generation {generation}")

        def judge(body):
            if pid_of(body) not in pids:
                pids.update(daemon.pids(generation))
            check(pid_of(body) in pids,
                  f"generation {generation} is {pids}, but the answer is from {body!r}")
        return judge
    return answered_by


def check_nothing_lost(result, at_least=1000):
    """@at_least: so many answers, else it was no load."""
    check(result["lost"] == 0, f"lost: {result}")
    check(result["ok"] > at_least, f"hardly any load: {result}")
