# SPDX-License-Identifier: BSD-2-Clause
"""
docs/failures.md is what baton says: each of its failures, and each line of its table.

    python3 tests/integration/test_failures_page.py --write BUILDDIR [KEY...]

makes it so after a sentence of baton's has changed; read what `git diff` shows then.
"""

import contextlib
import os
import pathlib
import re
import signal
import sys

import failures_page as page
from harness import check, check_equal, connect, send_request, wait_until
from older import lay_out, old_agent
from services import merged, reconfigure

FOLDER = pathlib.Path(__file__).parent
BASE = {"listen": ["127.0.0.1:8080"], "health": {"http": "/healthz", "interval": "100ms"}}
SOON = {"health": {"timeout": "1s", "start_timeout": "3s"}}  # as the page says
UPGRADE = ("upgrade", "web", "--")
THE_SERVICE = "The service of these examples"


# ---- servers -------------------------------------------------------------------------------------

def program(t, name, source, *arguments):
    """A program of this name that runs one of the servers of these tests."""
    words = " ".join(map(str, (FOLDER / source, *arguments)))
    return t.file(name, f"#!/bin/sh\nexec /usr/bin/python3 -B {words}\n", 0o755)


def sick(t, name, way="well", words=""):
    """See sick.py: @words are its last ones."""
    return program(t, name, "sick.py", t.file(f"{name}.way", f"{way}\n{words}\n"))


def begin(t, server=None, **changes):
    """A daemon whose service has this server, and serves."""
    config = {"command": [server or sick(t, "server")], **BASE}
    return t.daemon(merged(config, **changes) if changes else config)


# ---- what is told of an order --------------------------------------------------------------------

def who_serves(daemon):
    serving = daemon.service()["serving"]
    if not serving:
        return "nothing"
    return "the old one" if serving["generation"] == 1 else "the new one"


def state_of(daemon, result):
    return f"`{daemon.state()}`, exit {result.status}"


def names_of(told):
    return ", ".join(f"`{event['event']}`" for event, _ in told)


END = ("exit", "serving", "step", "reason", "probe", "tail", "tail_stream", "lost", "message")


def ended(t, daemon, key, answer, *before, since, blocks=(), also=("exited",)):
    """
    A rollout has ended as it was to: check its section. @answer: what the order said; @before: blocks
    in front of that, @blocks: behind; @also: the events that are told beside its last one.
    """
    last = [each for each in daemon.events(since=since)
            if each["event"] in ("done", "failed", "rolled-back")][-1]
    told = [(each, ("instance", "message", "tail", "tail_stream"))
            for each in daemon.events(since=since) if each["event"] in also]
    told.append((last, END))
    status = daemon.cli("status", "web")
    page.check_page(key, [*before, answer, page.status(t, status), page.events(t, *told), *blocks],
                    [last["exit"], who_serves(daemon), state_of(daemon, status), names_of(told)])


def fails(t, key, way, words, changes=None, also=(), server=None, **config):
    """An upgrade to a server that fails in that way before it gets a connection."""
    daemon = begin(t, server, **config)
    if changes is SOON:
        reconfigure(daemon, health={"timeout": page.soon_for(1), "start_timeout": page.soon_for(3)})
    since = daemon.last_seq()
    order = (*UPGRADE, sick(t, "next", way, words))
    result = daemon.cli(*order, expect=3)
    changes = {**config, **(changes or {})}
    ended(t, daemon, key, page.command(t, result, *order),
          *([page.settings(changes)] if changes else []), since=since, also=also)


# ---- before the shift ----------------------------------------------------------------------------

def test_page_exit(t):
    fails(t, "exit", "exit", 'config.yaml:12: unknown key "prot"', also=("exited",))


def test_page_taken_file(t):
    fails(t, "taken file", "exit",
          "Error: Already running on PID 4711 (or pid file '/run/web.pid' is stale)",
          also=("exited",))


def test_page_hang(t):
    fails(t, "hang", "hang", "waiting for the database", SOON)


def test_page_503(t):
    fails(t, "503", "503", "cache: connection refused", SOON)


def test_page_command(t):
    ask = 'curl -fsS --local-port "$BATON_PROBE_PORTS" "http://$BATON_CONNECT/healthz"'
    health = {"exec": ["/bin/sh", "-c", ask], "interval": "100ms", "timeout": "3s",
              "start_timeout": "3s"}
    daemon = t.daemon({**BASE, "command": [sick(t, "server")],
                       "health": {**health, "start_timeout": page.soon_for(3)}})
    since = daemon.last_seq()
    order = (*UPGRADE, sick(t, "next", "503", "cache: connection refused"))
    result = daemon.cli(*order, expect=3)
    ended(t, daemon, "command", page.command(t, result, *order), page.settings({"health": health}),
          since=since, also=())


def test_page_slow(t):
    fails(t, "slow", "slow", "GET /healthz: asking the database", SOON)


def test_page_wrong_port(t):
    fails(t, "wrong port", "elsewhere", "listening on 127.0.0.1:8081", SOON, also=("undeclared",))


def test_page_one_port_of_two(t):
    listen = ["127.0.0.1:8080", "127.0.0.1:8081"]
    fails(t, "one port of two", "well", "", SOON, server=sick(t, "server", "two"), listen=listen)


# ---- after the shift -----------------------------------------------------------------------------

def test_page_stop_first(t):
    fails(t, "stop first", "exit", 'config.yaml:12: unknown key "prot"', also=("exited",),
          rollout={"strategy": "stop-first"})


def test_page_crash_in_the_bake(t):
    bake = {"rollout": {"bake": "5m"}}
    daemon = begin(t, **bake)
    since = daemon.last_seq()
    order = (*UPGRADE, sick(t, "next", "well", "panic: index out of range"))
    with running(t, daemon, *order) as upgrade:
        wait_until(lambda: (daemon.service()["rollout"] or {}).get("step") == "bake", "it bakes")
        os.kill(daemon.server_pid("current"), signal.SIGUSR1)
    check_equal(upgrade.status, 4, "exit status")
    ended(t, daemon, "crash in the bake", page.command(t, upgrade, *order), page.settings(bake),
          since=since)


def test_page_lost_address(t):
    bake = {"listen": ["127.0.0.1:8080", "127.0.0.1:8081"], "rollout": {"bake": "5m"}}
    daemon = begin(t, sick(t, "server", "two"), **bake)
    since = daemon.last_seq()
    order = (*UPGRADE, sick(t, "next", "closes", "tls: certificate expired, 8081 is closed"))
    with running(t, daemon, *order) as upgrade:
        wait_until(lambda: (daemon.service()["rollout"] or {}).get("step") == "bake", "it bakes")
        os.kill(daemon.server_pid("current"), signal.SIGUSR1)
    check_equal(upgrade.status, 4, "exit status")
    ended(t, daemon, "lost address", page.command(t, upgrade, *order), page.settings(bake),
          since=since, also=())


class Running:
    """An order that is under way: its text so far, and its exit status."""

    def __init__(self, t, daemon, *words):
        self.process = t.spawn("order", t.program("baton"), "-n", daemon.name, *words)
        self.status = None

    @property
    def text(self):
        return self.process.text()


@contextlib.contextmanager
def running(t, daemon, *words):
    """An order in the background; it ends with the block."""
    order = Running(t, daemon, *words)
    yield order
    order.status = order.process.wait()


GATE = {"gates": [{"name": "errors", "at": ["leave"], "http": "http://127.0.0.1:9090/verdict",
                   "min_connections": 100}]}


def test_page_gate_unsure(t):
    daemon = begin(t)
    reconfigure(daemon, **GATE)
    since = daemon.last_seq()
    order = (*UPGRADE, sick(t, "next"))
    with running(t, daemon, *order) as upgrade:
        waiting = daemon.wait_event("waiting", since=since)
        wait_until(lambda: "waiting" in upgrade.text, "the order tells it")
        so_far = "console", page.plain(t, f"$ baton {' '.join(order)}\n{upgrade.text}")
        status = daemon.cli("status", "web")
        told = [(waiting, ("generation", "replaces", "reason", "message"))]
        blocks = [page.settings(GATE), so_far, page.status(t, status), page.events(t, *told)]
        state, serves = state_of(daemon, status), who_serves(daemon) + "; the old one stands by"
        abort = daemon.cli("abort", "web", expect=0)
    check_equal(upgrade.status, 4, "exit status")
    blocks.append(page.command(t, abort, "abort", "web"))
    rest = upgrade.text.splitlines()[-2:]
    blocks.append(("console", page.plain(t, "\n".join([*rest, "$ echo $?", f"{upgrade.status}\n"]))))
    page.check_page("gate unsure", blocks, ["none yet; 4 after `abort`", serves, state, names_of(told)])


def test_page_busy(t):
    daemon = begin(t)
    reconfigure(daemon, **GATE)
    since = daemon.last_seq()
    with running(t, daemon, *UPGRADE, sick(t, "next")):
        daemon.wait_event("waiting", since=since)
        result = daemon.cli("restart", "web", expect=6)
        status = daemon.cli("status", "web")
        page.check_page("busy", [page.command(t, result, "restart", "web")],
                        [6, "as before", state_of(daemon, status), "none"])
        daemon.cli("promote", "web", expect=0)


# ---- nothing serves ------------------------------------------------------------------------------

def test_page_crash_loop(t):
    restart = {"restart": {"max": 2, "window": "10m", "delay": "100ms"}}
    daemon = begin(t, **restart)
    sick(t, "server", "exit", "disk full")
    since = daemon.last_seq()
    os.kill(daemon.server_pid(), signal.SIGKILL)
    degraded = daemon.wait_event("degraded", since=since)
    daemon.wait_state("failed")
    told = [(each, ("instance", "message", "tail", "tail_stream"))
            for each in daemon.events(since=since) if each["event"] in ("exited", "restarted")]
    told.append((degraded, ("instance", "reason", "tail", "tail_stream")))
    status = daemon.cli("status", "web", expect=10)
    blocks = [page.settings(restart), page.status(t, status), page.events(t, *told)]
    result = daemon.cli("restart", "web", expect=8)
    page.check_page("crash loop", [*blocks, page.command(t, result, "restart", "web")],
                    [f"{result.status} for `restart`", who_serves(daemon), state_of(daemon, status),
                     "`exited`, `restarted`, `degraded`"])


def test_page_first_start(t):
    server = sick(t, "server", "exit", 'config.yaml:12: unknown key "prot"')
    daemon = t.daemon(start=False, web={"command": [server], **BASE})
    daemon.start_unready()
    wait_until(lambda: daemon.state() == "failed", "it has failed")
    since = daemon.last_seq()
    result = daemon.cli("restart", "web", expect=8)
    ended(t, daemon, "first start", page.command(t, result, "restart", "web"), since=since)


# ---- the old one goes, or falls ------------------------------------------------------------------

@contextlib.contextmanager
def clients(daemon, number):
    """So many wait for an answer that does not come."""
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            send_request(stack.enter_context(connect()), "/wait")
        wait_until(lambda: daemon.generation()["connections"]["live"] == number, "they are counted")
        yield


def cut(t, key, arguments, number, also, **changes):
    server = program(t, "server", "hasty.py", *arguments)
    daemon = begin(t, server)
    if changes:
        reconfigure(daemon, **changes)
        wait_until(lambda: not daemon.service()["rollout"], "it is as configured")
    with clients(daemon, number):
        since = daemon.last_seq()
        order = (*UPGRADE, program(t, "next", "hasty.py", "answer"))
        result = daemon.cli(*order, expect=5)
    ended(t, daemon, key, page.command(t, result, *order),
          *([page.settings(changes)] if changes else []), since=since, also=also)


def test_page_cut_by_the_server(t):
    cut(t, "cut by the server", ["die"], 3, ("drain",))


def test_page_cut_at_the_deadline(t):
    cut(t, "cut at the deadline", ["answer", "60"], 3, ("drain", "stop"),
        drain={"timeout": "1s", "kill_timeout": "1s"})


def test_page_killed(t):
    daemon = begin(t)
    since = daemon.last_seq()
    os.kill(daemon.server_pid(), signal.SIGKILL)
    daemon.wait_event("healthy", since=since)
    told = [(each, ("instance", "message")) for each in daemon.events(since=since)]
    status = daemon.cli("status", "web", expect=0)
    page.check_page("killed", [page.status(t, status), page.events(t, *told)],
                    ["nobody gave an order", "the same", state_of(daemon, status), names_of(told)])


def test_page_does_not_stop(t):
    drain = {"drain": {"kill_timeout": "1s", "leave_timeout": "500ms"}}
    daemon = begin(t, sick(t, "server", "ignore"), **drain)
    since = daemon.last_seq()
    order = (*UPGRADE, sick(t, "next"))
    result = daemon.cli(*order, expect=0)
    ended(t, daemon, "does not stop", page.command(t, result, *order), page.settings(drain),
          since=since, also=("leave", "stop"))


# ---- baton is upgraded ----------------------------------------------------------------------------

def test_page_other_version(t):
    daemon, agents = lay_out(t, {"command": [sick(t, "server")], **BASE})
    agent = old_agent(t, daemon, agents, speaks="7")
    daemon.start_unready()
    told = [(each, ("reason",)) for each in daemon.events("refused")]
    status = daemon.cli("status", "web", expect=9)
    result = daemon.cli("restart", "web")
    blocks = [page.status(t, status), page.events(t, *told),
              page.command(t, result, "restart", "web")]
    page.check_page("other version",
                    [(kind, text.replace(daemon.name, "baton")) for kind, text in blocks],
                    [f"{result.status} for `restart`", "the old one", state_of(daemon, status),
                     names_of(told)])
    os.kill(agent.pid, signal.SIGTERM)
    agent.wait()
    check_equal(daemon.state(), "failed", "state when that has ended, too")


# ---- the page ------------------------------------------------------------------------------------

def names():
    """{key: name of its test}"""
    return {name.removeprefix("test_page_").replace("_", " "): name
            for name in globals() if name.startswith("test_page_")}


def test_service_of_the_page(_t):
    page.check_page(THE_SERVICE, [page.settings({"command": ["/srv/web/server"], **BASE})])


def test_each_failure_has_its_section_its_line_and_its_test(t):
    text = page.PAGE.read_text(encoding="utf-8")
    tested = set(names())
    there = set(page.sections(text)) - {THE_SERVICE}
    check_equal(sorted(there), sorted(tested), "sections that have a test")
    check_equal(sorted(page.rows(text)), sorted(tested), "lines of the table that have a test")
    check_equal(list(page.rows(text)), [key for key in page.sections(text) if key != THE_SERVICE],
                "the order of the lines")
    for link in re.findall(r"\]\(#([^)]*)\)", text):
        check(link in [page.anchor(line) for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)],
              f"{page.PAGE.name} has no heading #{link}")


if __name__ == "__main__":
    sys.exit(page.write(__file__, {**names(), THE_SERVICE: "test_service_of_the_page"}))
