# SPDX-License-Identifier: BSD-2-Clause
"""Gates: what they are asked and told, and what becomes of a rollout by their answers."""

import contextlib
import http.server
import threading

from harness import check, check_equal, refused, wait_until
from rollouts import (INSTANCES, Census, baton, check_exit, check_last, check_serves, four,
                      kill_daemon, load, named, sicken, wait_load, wait_waiting)
from services import LISTEN, soon
from swaps import check_unharmed

YES, NO, UNSURE = 0, 1, 2
GATE_PORT = 8090
POINTS = ("shift", "step", "leave")
# The step is held for a moment, and the end baked, so that the new ones have had connections.
CANARY = {"strategy": "canary", "steps": [{"weight": 50, "hold": "200ms"}], "bake": "200ms"}
BAKED = {"bake": "200ms"}

# What it is told is appended to "asked.POINT"; each time it is asked there it answers with the
# number in the next line of "verdict.POINT", or with yes where there is none.
SCRIPT = """\
#!/bin/sh
cd {folder} || exit 9
env | grep '^BATON_' | sort | tr '\\n' ';' >> asked.$BATON_STEP
echo >> asked.$BATON_STEP
verdict=$(sed -n "$(grep -c . asked.$BATON_STEP)p" verdict.$BATON_STEP 2>&-)
echo "looking at $BATON_STEP"
exit ${{verdict:-0}}
"""


def script(t):
    """A program to ask. See asked() and answer()."""
    return t.file("gate", SCRIPT.format(folder=t.tmp), 0o755)


def answer(t, **verdicts):
    """By point: what the program answers from now on, the first time, the second time ..."""
    for path in t.tmp.glob("asked.*"):
        path.unlink()
    for point, answers in verdicts.items():
        t.file(f"verdict.{point}", "".join(f"{each}\n" for each in answers))


def asked(t, point):
    """What the program was told each time it was asked: [{"BATON_SERVICE": "web", ...}]"""
    path = t.tmp / f"asked.{point}"
    lines = path.read_text().splitlines() if path.exists() else []
    return [dict(word.split("=", 1) for word in line.strip(";").split(";")) for line in lines]


def configure(daemon, *gates):
    daemon.config["services"]["web"]["gates"] = gates
    daemon.write_config()
    daemon.cli("reload", expect=0)


def begin(t, gate, rollout, **verdicts):
    """
    (daemon, load, `baton restart`, number of the last event before it). The verdicts are those of
    answer(). The first start has no gates: they would be asked at its shift, too.
    """
    daemon = t.daemon(four(t, rollout=rollout))
    configure(daemon, {"name": "smoke", **gate})
    answer(t, **verdicts)
    hammer = load(t)
    since = daemon.last_seq()
    return daemon, hammer, baton(t, daemon, "restart", "web"), since


def goes_on(t, daemon, hammer, restart):
    check_exit(restart, 0)
    check_last(daemon, "done", 0)
    check_serves(t, daemon, hammer, 2)
    check_unharmed(hammer, 400)


def goes_back(t, daemon, hammer, restart, status, reason=""):
    check_exit(restart, status)
    check_last(daemon, {3: "failed", 4: "rolled-back"}[status], status, reason)
    check(reason in restart.text(), f"{reason!r} is not told: {restart.text()}")
    check_serves(t, daemon, hammer, 1)
    check_unharmed(hammer, 400)


# ---- exec ----------------------------------------------------------------------------------------

def test_exec_gate_is_asked_at_each_point_and_told_where_it_is(t):
    daemon, hammer, restart, since = begin(t, {"exec": [script(t)]}, CANARY)
    goes_on(t, daemon, hammer, restart)
    rollout = daemon.events("done", since=since)[0]["rollout"]
    for point, weight in zip(POINTS, ("", "50", "100")):
        told = asked(t, point)
        for each in told:  # test_probe_ports has what they do
            check_equal(each.pop("BATON_PROBE_GENERATION"), "2", "whom its ports lead to")
            check("-" in each.pop("BATON_PROBE_PORTS"), "its ports")
        check_equal(told, [{
            "BATON_SERVICE": "web", "BATON_GENERATION": "2", "BATON_PREVIOUS": "1",
            "BATON_ROLLOUT": str(rollout), "BATON_ORDER": "restart", "BATON_STEP": point,
            "BATON_WEIGHT": weight, "BATON_REASON": "", "BATON_LISTEN": LISTEN,
            "BATON_LISTEN_ALL": LISTEN, "BATON_CONNECT": LISTEN, "BATON_CONNECT_ALL": LISTEN,
            "BATON_SOCKET": str(daemon.api_socket)}], f"told at {point}")
    gates = daemon.events("gate", since=since)
    check_equal([each["ok"] for each in gates], [True] * 3, "gates")
    for point, each in zip(POINTS, gates):
        check(f"looking at {point}" in each["message"], f"its last words: {each}")


def test_exec_gate_is_asked_only_where_it_says(t):
    gate = {"exec": [script(t)], "at": "leave"}
    daemon, hammer, restart, _ = begin(t, gate, CANARY)
    goes_on(t, daemon, hammer, restart)
    check_equal([len(asked(t, point)) for point in POINTS], [0, 0, 1], "asked")


def test_first_start_is_asked_about_at_the_shift_only(t):
    gate = {"name": "smoke", "exec": [script(t)]}
    daemon = t.daemon(four(t, rollout=CANARY, gates=[gate]))
    check_equal(named(daemon), {1: INSTANCES}, "named instances")
    check_equal([len(asked(t, point)) for point in POINTS], [1, 0, 0], "asked")
    check_equal(asked(t, "shift")[0]["BATON_PREVIOUS"], "", "the generation before")


def test_first_start_that_a_gate_refuses_fails(t):
    answer(t, shift=[NO])
    gate = {"name": "smoke", "exec": [script(t)]}
    daemon = t.daemon(four(t, gates=[gate]), start=False)
    daemon.start_unready()
    daemon.wait_state("failed")
    check("gate smoke: exited with status 1" in daemon.service()["reason"], "reason")
    check(refused(), "it is reached")
    daemon.cli("start", "web", expect=0)
    check_equal(named(daemon), {2: INSTANCES}, "named instances")


def refuses(t, point, status, verdict=NO):
    daemon, hammer, restart, since = begin(t, {"exec": [script(t)]}, CANARY, **{point: [verdict]})
    goes_back(t, daemon, hammer, restart, status, f"gate smoke: exited with status {verdict}")
    check_equal(daemon.events("gate", since=since)[-1]["ok"], False, "the gate's event")
    expected = [1 if POINTS.index(each) <= POINTS.index(point) else 0 for each in POINTS]
    check_equal([len(asked(t, each)) for each in POINTS], expected, "asked")


def test_exec_gate_that_says_no_at_the_shift_fails(t):
    refuses(t, "shift", 3)


def test_exec_gate_that_says_no_at_the_step_is_rolled_back(t):
    refuses(t, "step", 4)


def test_exec_gate_that_says_no_before_the_leave_is_rolled_back(t):
    refuses(t, "leave", 4)


def test_exec_gate_that_ends_with_another_status_is_rolled_back(t):
    refuses(t, "leave", 4, verdict=77)


def pauses(t, point, order):
    """(daemon, load, restart), where the gate was unsure at @point and @order was given"""
    gate = {"exec": [script(t)]}
    daemon, hammer, restart, since = begin(t, gate, CANARY, **{point: [UNSURE]})
    event = wait_waiting(daemon, since, "gate")
    check("gate smoke is unsure: exited with status 2" in event["message"], f"event {event}")
    check_equal(len(asked(t, point)), 1, "asked")
    check(restart.running(), f"restart has ended: {restart.text()}")
    hammer.phase("waits")
    wait_until(lambda: hammer.report()["ok"] > 300, "load")
    daemon.cli(order, "web", expect=0)
    return daemon, hammer, restart


def test_exec_gate_unsure_at_the_shift_pauses_until_promoted(t):
    goes_on(t, *pauses(t, "shift", "promote"))


def test_exec_gate_unsure_at_the_step_pauses_until_promoted(t):
    goes_on(t, *pauses(t, "step", "promote"))


def test_exec_gate_unsure_before_the_leave_pauses_until_promoted(t):
    goes_on(t, *pauses(t, "leave", "promote"))


def test_exec_gate_unsure_at_the_shift_fails_by_abort(t):
    goes_back(t, *pauses(t, "shift", "abort"), 3)


def test_exec_gate_unsure_at_the_step_is_rolled_back_by_abort(t):
    goes_back(t, *pauses(t, "step", "abort"), 4)


def test_exec_gate_unsure_before_the_leave_is_rolled_back_by_abort(t):
    goes_back(t, *pauses(t, "leave", "abort"), 4)


def test_exec_gate_unsure_that_nobody_promotes_is_rolled_back(t):
    rollout = {**BAKED, "promote_timeout": "600ms"}
    daemon, hammer, restart, _ = begin(t, {"exec": [script(t)]}, rollout, leave=[UNSURE])
    goes_back(t, daemon, hammer, restart, 4, "nobody promoted it within 600ms")


def test_exec_gate_that_does_not_end_is_killed_and_rolled_back(t):
    # What it has started goes as well: else the test would find it.
    program = t.file("gate", "#!/bin/sh\n/bin/sleep 300 &\nwait\n", 0o755)
    gate = {"exec": [program], "at": "leave", "timeout": "600ms"}
    daemon, hammer, restart, _ = begin(t, gate, BAKED)
    goes_back(t, daemon, hammer, restart, 4, "gate smoke: did not end within 600ms")


def test_exec_gate_that_does_not_end_is_aborted(t):
    program = t.file("gate", f"#!/bin/sh\n: > {t.tmp}/began\nexec /bin/sleep 300\n", 0o755)
    daemon, hammer, restart, _ = begin(t, {"exec": [program], "at": "leave"}, BAKED)
    wait_until((t.tmp / "began").exists, "the gate is asked")
    daemon.cli("abort", "web", expect=0)
    goes_back(t, daemon, hammer, restart, 4, "abort")


def test_new_server_that_turns_unhealthy_while_a_gate_is_asked_fails(t):
    program = t.file("gate", f"#!/bin/sh\n: > {t.tmp}/began\nexec /bin/sleep 300\n", 0o755)
    daemon, hammer, restart, _ = begin(t, {"exec": [program], "at": "shift"}, BAKED)
    wait_until((t.tmp / "began").exists, "the gate is asked")
    sicken(t, 2, 3)
    goes_back(t, daemon, hammer, restart, 3, "turned unhealthy")


def test_daemon_killed_while_a_gate_is_asked_goes_back_and_leaves_no_program(t):
    program = t.file("gate", f"#!/bin/sh\n: > {t.tmp}/began\nexec /bin/sleep 300\n", 0o755)
    daemon, hammer, _, _ = begin(t, {"exec": [program], "at": "leave"}, BAKED)
    wait_until((t.tmp / "began").exists, "the gate is asked")
    kill_daemon(daemon)
    daemon.start()
    check_serves(t, daemon, hammer, 1)
    check_unharmed(hammer, 400)


# ---- rolling -------------------------------------------------------------------------------------

def test_rolling_asks_before_each_batch_and_goes_back_in_the_middle(t):
    gate = {"exec": [script(t)], "at": "shift"}
    daemon, hammer, restart, _ = begin(t, gate, {"strategy": "rolling"}, shift=[YES, YES, NO])
    with Census(daemon) as census:
        goes_back(t, daemon, hammer, restart, 4, "gate smoke: exited with status 1")
    census.check(INSTANCES, INSTANCES + 1)
    check_equal(len(asked(t, "shift")), 3, "asked")


def test_rolling_without_surge_asks_about_new_instances_only(t):
    # Each batch is to have connections by then.
    rollout = {"strategy": "rolling", "max_surge": 0, "max_unavailable": 1, "bake": soon(0.4)}
    gate = {"exec": [script(t)], "at": ["shift", "leave"], "min_connections": 1}
    daemon, hammer, restart, since = begin(t, gate, rollout)
    goes_on(t, daemon, hammer, restart)
    check_equal(daemon.events("waiting", since=since), [], "nobody was waited for")
    # When the last one comes nothing is left to go back to.
    check_equal(len(asked(t, "shift")), INSTANCES - 1, "asked at the shift")
    check_equal(len(asked(t, "leave")), INSTANCES - 1, "asked before the leave")


# ---- http ----------------------------------------------------------------------------------------

class Gate(http.server.ThreadingHTTPServer):
    """Answers every GET with .status; .paths are those that were asked for."""

    def __init__(self, status):
        self.status = status
        self.paths = []
        self.going_on = threading.Event()
        super().__init__(("127.0.0.1", GATE_PORT), GateRequest)


class GateRequest(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        self.server.paths.append(self.path)
        if self.server.status is None:
            self.server.going_on.wait()
            return
        body = b"3 of 40 failed\n"
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


@contextlib.contextmanager
def http_gate(status):
    """@status None: it never answers."""
    server = Gate(status)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.going_on.set()
        server.shutdown()
        server.server_close()


def http_gate_config(**more):
    return {"http": f"http://127.0.0.1:{GATE_PORT}/verdict?of=web", **more}


def test_http_gate_that_says_yes_at_each_point_goes_on(t):
    with http_gate(200) as gate:
        daemon, hammer, restart, _ = begin(t, http_gate_config(), CANARY)
        goes_on(t, daemon, hammer, restart)
    check_equal(gate.paths, ["/verdict?of=web"] * 3, "asked")


def test_http_gate_goes_by_the_statuses_it_wants(t):
    with http_gate(404) as gate:
        daemon, hammer, restart, _ = begin(t, http_gate_config(status=[204, "400-404"]), BAKED)
        goes_on(t, daemon, hammer, restart)
    check_equal(len(gate.paths), 2, "asked at the shift and before the leave")


def test_http_gate_that_says_no_is_rolled_back(t):
    with http_gate(503):
        daemon, hammer, restart, _ = begin(t, http_gate_config(at="leave"), BAKED)
        goes_back(t, daemon, hammer, restart, 4, "gate smoke: ")
        check("503" in restart.text(), f"the answer is not told: {restart.text()}")


def test_http_gate_that_nobody_answers_is_rolled_back(t):
    daemon, hammer, restart, _ = begin(t, http_gate_config(at="step"), CANARY)
    goes_back(t, daemon, hammer, restart, 4, "gate smoke: ")


def test_http_gate_that_does_not_answer_in_time_is_rolled_back(t):
    with http_gate(None) as gate:
        config = http_gate_config(at="leave", timeout="600ms")
        daemon, hammer, restart, _ = begin(t, config, BAKED)
        goes_back(t, daemon, hammer, restart, 4, "gate smoke: ")
        check_equal(len(gate.paths), 1, "asked")


# ---- several, and too little traffic -------------------------------------------------------------

def test_gates_of_a_point_are_asked_in_order_until_one_says_no(t):
    first = {"name": "first", "exec": [script(t)], "at": "shift"}
    with http_gate(500) as gate:
        second = {"name": "second", **http_gate_config(at="shift")}
        third = {"name": "third", "exec": [script(t)], "at": "shift"}
        daemon = t.daemon(four(t, rollout=BAKED))
        configure(daemon, first, second, third)
        hammer = load(t)
        restart = baton(t, daemon, "restart", "web")
        goes_back(t, daemon, hammer, restart, 3, "gate second: ")
        check_equal((len(asked(t, "shift")), len(gate.paths)), (1, 1), "asked")


def too_little(t, order):
    """Nobody connects but the checks: the gate is not even asked, and somebody must decide."""
    gate = {"name": "smoke", "exec": [script(t)], "at": "leave", "min_connections": 100}
    daemon = t.daemon(four(t, rollout=BAKED, gates=[gate]))
    since = daemon.last_seq()
    restart = baton(t, daemon, "restart", "web")
    event = wait_waiting(daemon, since, "gate")
    check("gate smoke is unsure: 0 connections" in event["message"] and
          "wants 100" in event["message"], f"event {event}")
    check_equal(asked(t, "leave"), [], "asked")
    check(restart.running(), f"restart has ended: {restart.text()}")
    hammer = load(t)
    daemon.cli(order, "web", expect=0)
    return daemon, hammer, restart


def test_too_little_traffic_waits_and_goes_on_when_promoted(t):
    goes_on(t, *too_little(t, "promote"))
    check_equal(asked(t, "leave"), [], "asked")


def test_too_little_traffic_waits_and_goes_back_when_aborted(t):
    goes_back(t, *too_little(t, "abort"), 4)


def test_enough_traffic_is_asked_about(t):
    gate = {"exec": [script(t)], "at": "leave", "min_connections": 100}
    daemon, hammer, restart, since = begin(t, gate, {"bake": "10m"})
    daemon.wait_event("settle", since=since)
    hammer.phase("bake")
    wait_load(hammer, "bake")
    daemon.cli("promote", "web", expect=0)
    goes_on(t, daemon, hammer, restart)
    check_equal(daemon.events("waiting", since=since), [], "nobody was waited for")
    check_equal(len(asked(t, "leave")), 1, "asked")
