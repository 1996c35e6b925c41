# SPDX-License-Identifier: BSD-2-Clause
"""Another number of instances, by order: up, down, refused, kept."""

from harness import bodies, check, check_equal, own_cgroup, wait_until
from services import SOON, Sickness, example, generation_of, pid_of, service
from swaps import check_unharmed, gentle


def pids(daemon):
    return {each["pid"] for each in daemon.generation()["instances"]}


def counted(daemon):
    """Cgroups of the service with a process in them."""
    return len([folder for folder in (own_cgroup() / daemon.name).glob("web.*")
                if (folder / "cgroup.procs").read_text().split()])


def scale(daemon, number, expect=0):
    return daemon.cli("scale", "web", number, expect=expect)


def check_number(daemon, number):
    now = daemon.service()
    check_equal((now["state"], now["instances"], len(now["generations"])), ("running", number, 1),
                "state, instances, generations")
    serving = pids(daemon)
    check_equal((len(serving), counted(daemon)), (number, number), "servers and cgroups")
    check_equal({pid_of(body) for body in bodies(40 * number)}, serving, "who answers")


def restart_daemon(daemon):
    """A clean stop, and another one on the same state."""
    daemon.stop()
    daemon.start()


# ---- up and down ---------------------------------------------------------------------------------

def test_scale_up_and_down_under_load_loses_nothing(t):
    daemon = t.daemon(service(example(t)))
    hammer = gentle(t)
    before = pids(daemon)
    for number in (4, 2, 5, 1, 3):
        since = daemon.last_seq()
        result = scale(daemon, number)
        check("done" in result.out, f"the rollout is not shown: {result}")
        check_equal(daemon.events("scaled", since=since)[-1]["instances"], number, "event")
        after = pids(daemon)
        check(before <= after or after <= before, f"some were replaced: {before} to {after}")
        check_number(daemon, number)
        before = after
    check_equal(daemon.current(), 1, "generation")
    check_unharmed(hammer)


def test_scale_down_drains_what_goes(t):
    """Requests under way on those that go are answered."""
    daemon = t.daemon(service(example(t), instances=6))
    hammer = t.hammer("--short", 2, "--rate", 100, "--slow-post", 12, "--post-duration", "600ms",
                      "--post-path", "/post", "--sources", 12, "--timeout", "30s",
                      "--expect-status", 200)
    wait_until(lambda: hammer.report()["ok"] > 50, "the load has begun")
    scale(daemon, 1)
    check_number(daemon, 1)
    check_equal(daemon.service()["last_rollout"]["cut"], 0, "cut")
    check_unharmed(hammer, 50)


def test_scale_takes_the_unhealthy_ones_first(t):
    sickness = Sickness(t)
    daemon = t.daemon(service(sickness.command(), instances=4, restart={"max": 0}))
    sickness.begin(0, 2)
    wait_until(lambda: len(daemon.events("unhealthy")) == 2, "two are unhealthy")
    hammer = gentle(t)
    scale(daemon, 2)
    check_equal(sorted(each["instance"] for each in daemon.generation()["instances"]), [1, 3],
                "the instances that have stayed")
    daemon.wait_state("running")
    check_unharmed(hammer)


# ---- nothing to do, mistakes ---------------------------------------------------------------------

def test_scale_to_the_same_number_says_so_and_does_nothing(t):
    daemon = t.daemon(service(example(t), instances=2))
    before, since = pids(daemon), daemon.last_seq()
    result = scale(daemon, 2)
    check("2 instances already" in result.text, f"{result}")
    check_equal(daemon.events(since=since), [], "events")
    check_equal(pids(daemon), before, "servers")
    status, answer = daemon.api("/v1/services/web/scale", "POST", {"instances": 2})
    check_equal((status, answer["unchanged"], answer["service"]), (200, True, "web"), "API")


def test_scale_out_of_range_is_refused(t):
    daemon = t.daemon(service(example(t)))
    for number in ("257", "two", "1.5", "99999999999999999999"):
        result = scale(daemon, number, expect=2)
        check("256" in result.err or "number" in result.err, f"scale {number}: {result}")
    for body in ({}, {"instances": "2"}, {"instances": -1}, {"instances": 257}, {"instances": 1.5},
                 {"instances": None}, {"instances": 2, "force": True}):
        status, answer = daemon.api("/v1/services/web/scale", "POST", body)
        check_equal((status, answer["code"]), (400, 2), f"{body}: {answer}")
    check_equal(daemon.api("/v1/services/web/scale", "POST")[0], 400, "without a body")
    check_number(daemon, 1)


def test_scale_whose_new_instance_never_gets_healthy_leaves_things_as_they_were(t):
    sickness = Sickness(t)
    daemon = t.daemon(service(sickness.command(), instances=2, restart={"delay": "60s"},
                              health=SOON))
    sickness.begin(3)
    before = pids(daemon)
    hammer = gentle(t)
    result = scale(daemon, 4, expect=3)
    check("503" in result.text, f"no reason: {result}")
    check_equal(pids(daemon), before, "servers")
    check_number(daemon, 2)
    sickness.end(3)
    scale(daemon, 4)
    check_number(daemon, 4)
    check_unharmed(hammer)


# ---- kept ----------------------------------------------------------------------------------------

def test_scale_while_stopped_counts_at_the_start(t):
    daemon = t.daemon(service(example(t)))
    daemon.cli("stop", "web", expect=0)
    result = scale(daemon, 3)
    check("3 instances" in result.text, f"{result}")
    check_equal((daemon.state(), daemon.service()["instances"]), ("stopped", 3), "state, number")
    daemon.cli("start", "web", expect=0)
    check_number(daemon, 3)


def test_scale_to_none_stops_and_says_so(t):
    daemon = t.daemon(service(example(t), instances=3))
    result = scale(daemon, 0)
    check("scaling to 0 stops the service" in result.text and "3 instances" in result.text,
          f"{result}")
    check_equal((daemon.state(), daemon.service()["instances"]), ("stopped", 3), "state, number")
    result = scale(daemon, 0, expect=1)
    check("stopped already" in result.err, f"{result}")
    daemon.cli("start", "web", expect=0)
    check_number(daemon, 3)
    status, answer = daemon.api("/v1/services/web/scale", "POST", {"instances": 0})
    check_equal((status, answer["order"]), (202, "stop"), f"API: {answer}")


def test_scaled_number_survives_restart_upgrade_and_the_daemon(t):
    daemon = t.daemon(service(example(t)))
    hammer = gentle(t)
    scale(daemon, 3)
    daemon.restart()
    check_number(daemon, 3)
    daemon.upgrade(example(t, "--startup-delay", "10ms"), expect=0)
    check_number(daemon, 3)
    check_equal({generation_of(body) for body in bodies(30)}, {3}, "generation")
    daemon.cli("rollback", "web", expect=0)
    check_number(daemon, 3)
    daemon.process.popen.kill()
    daemon.process.popen.wait()
    daemon.start()
    check_number(daemon, 3)
    check_equal(daemon.current(), 4, "generation taken over")
    check_unharmed(hammer)
    restart_daemon(daemon)
    check_number(daemon, 3)
    scale(daemon, 1)
    restart_daemon(daemon)
    check_number(daemon, 1)


def test_scale_that_failed_is_not_what_the_next_daemon_starts(t):
    sickness = Sickness(t)
    daemon = t.daemon(service(sickness.command(),
                              health=SOON))
    sickness.begin(1)
    scale(daemon, 2, expect=3)
    sickness.end(1)
    restart_daemon(daemon)
    check_number(daemon, 1)


# ---- other orders meanwhile ----------------------------------------------------------------------

def test_scale_during_a_rollout_is_busy_or_takes_its_place(t):
    daemon = t.daemon(service(example(t, "--unhealthy-while", t.tmp / "sick.{generation}")))
    hammer = gentle(t)
    (t.tmp / "sick.2").touch()
    since = daemon.begin()
    scale(daemon, 2, expect=6)
    check_equal(daemon.service()["instances"], 1, "number after the refusal")
    daemon.cli("scale", "web", 2, "--supersede", expect=0)
    check_equal(daemon.wait_end(since)["event"], "failed", "end of the restart")
    check_number(daemon, 2)
    check_equal(daemon.current(), 1, "generation")
    check_unharmed(hammer)


def test_scale_that_is_superseded_is_undone(t):
    sickness = Sickness(t)
    daemon = t.daemon(service(sickness.command()))
    sickness.begin(1, 2)
    hammer = gentle(t)
    first = t.spawn("scale", t.program("baton"), "-n", daemon.name, "scale", "web", "3")
    wait_until(lambda: daemon.service()["rollout"], "scaling has begun")
    daemon.cli("restart", "web", "--supersede", expect=0)
    check_equal(first.wait(), 3, f"exit status of the first: {first.text()}")
    check_number(daemon, 1)
    check_equal(daemon.current(), 2, "generation")
    check_unharmed(hammer)
