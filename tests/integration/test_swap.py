# SPDX-License-Identifier: BSD-2-Clause
"""Real servers are replaced under load, and no connection is lost."""

from harness import bodies, check, check_equal, timeout
from services import example, generation_of, nginx, pid_of, service

SWAPS = 20
LOAD = ("--path", "/", "--short", 32, "--keepalive", 8, "--keepalive-pause", "10ms",
        "--slow-post", 4, "--post-bytes", 4000, "--post-duration", "300ms",
        "--post-path", "/post", "--sources", 16, "--timeout", "10s", "--expect-status", 200)


def swap(t, daemon, hammer, number, answered_by):
    """
    One `baton restart` under load. From the shift on every new connection must be answered by the
    new generation; @answered_by(body) says whether it was one of the set it returns for it.
    """
    since = daemon.last_seq()
    hammer.say("swap begin")
    hammer.phase(f"swap-{number}")
    restart = t.spawn(f"restart-{number}", t.program("baton"), "-n", daemon.name, "restart", "web")
    generation = daemon.wait_event("shift", since=since)["generation"]
    who = answered_by(generation)
    for body in bodies(30):
        who(body)
    check_equal(restart.wait(), 0, f"exit status of restart {number}: {restart.text()}")
    hammer.say("swap end")
    hammer.phase(f"after-{number}")
    for body in bodies(20):
        who(body)
    check_equal(daemon.current(), generation, "current generation")
    return who


def swap_many(t, daemon, answered_by):
    hammer = t.hammer(*LOAD)
    judges = {f"after-{n}": swap(t, daemon, hammer, n, answered_by) for n in range(SWAPS)}
    result = hammer.stop()

    check_nothing_lost(result)
    phases = {phase["name"]: [each["body"] for each in phase["bodies"]]
              for phase in result["phases"]}
    for name, judge in judges.items():
        check(phases.get(name), f"no load in phase {name}")
        for body in phases[name]:
            judge(body)
    last = daemon.service()["last_rollout"]
    check_equal((last["result"], last["cut"]), ("done", 0), "last rollout")
    check_equal(len(daemon.service()["generations"]), 1, "generations left")


def check_nothing_lost(result):
    check(result["lost"] == 0, f"lost: {result}")
    check(result["ok"] > 1000, f"hardly any load: {result}")


@timeout(240)
def test_nginx_swapped_20_times_under_load_loses_nothing(t):
    daemon = t.daemon(nginx(t))

    def answered_by(generation):
        pids = daemon.pids(generation)
        check(len(pids) >= 3, f"a master and two workers are expected in the cgroup: {pids}")

        def judge(body):
            # A worker that died would be replaced; nothing here kills one.
            check(pid_of(body) in pids,
                  f"generation {generation} is {pids}, but the answer is from {body!r}")
        return judge
    swap_many(t, daemon, answered_by)


@timeout(240)
def test_example_server_swapped_20_times_under_load_loses_nothing(t):
    daemon = t.daemon(service(example(t)))

    def answered_by(generation):
        def judge(body):
            check_equal(generation_of(body), generation, f"generation in {body!r}")
        return judge
    swap_many(t, daemon, answered_by)


@timeout(240)
def test_example_server_swapped_with_clients_that_wait_for_the_old_one(t):
    """Slow requests only: each swap finds some under way, which the old generation finishes."""
    daemon = t.daemon(service(example(t)))
    hammer = t.hammer("--slow-post", 16, "--post-bytes", 2000, "--post-duration", "500ms",
                      "--post-path", "/post", "--short", 0, "--timeout", "10s",
                      "--expect-status", 200)
    for _ in range(5):
        daemon.restart()
    result = hammer.stop()
    check(result["lost"] == 0, f"lost: {result}")
    check(result["ok"] > 16, f"hardly any load: {result}")
