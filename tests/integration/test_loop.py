# SPDX-License-Identifier: BSD-2-Clause
"""The loop never waits: one service's files hang, and all others are served, asked and rolled."""

import os
import pathlib
import re
import signal

from certificates import NAME, Authority
from harness import bodies, check, check_equal, send_signal, wait_until
from hung import hung_folder
from services import example, generation_of, service

# A turn of the loop that has waited for a file system would have lasted for seconds, if not for
# ever. What it takes on a busy machine, with sanitizers, is well below.
LONGEST_TURN_US = 2_000_000

OTHER = "127.0.0.1:8081"
CONTRARY = pathlib.Path(__file__).parent / "contrary.py"


def remote(t, folder, **changes):
    """A service that reads its environment, and a file that its command names, over there."""
    command = ["/bin/sh", "-c", "shift; exec \"$@\"", "sh", folder.path / "named",
               t.copy("examples/server", "web"), "--generation", "{generation}"]
    return service(command, environment_file=str(folder.path / "env"), **changes)


def other(t):
    return service(example(t), listen=[OTHER])


def longest_turn_us(daemon):
    status, answer = daemon.api("/v1/version")
    check_equal(status, 200, "GET /v1/version")
    return answer["loop"]["longest_us"]


def check_others(daemon, asks=True):
    """The API answers, and the other service is rolled; the one whose files hang answers by HTTP."""
    before = daemon.current("other")
    for path in ("/v1/services", "/v1/services/web", "/readyz", "/v1/events"):
        check_equal(daemon.api(path)[0], 200, f"GET {path}")
    daemon.restart(service="other")
    check_equal(daemon.current("other"), before + 1, "the other service's generation")
    check_equal(generation_of(bodies(1, port=8081)[0]), before + 1, "who answers there")
    if asks:
        check_equal(generation_of(bodies(1)[0]), daemon.current(),
                    "who answers for the one whose files hang")


def test_loop_files_that_hang_hold_up_only_their_own_service(t):
    """A restart and a reload that need them are refused with the path; nobody else is held up."""
    with hung_folder(t, env="A=1\n", named="1") as folder:
        daemon = t.daemon(web=remote(t, folder), other=other(t))
        daemon.cli("upgrade", "web", "--env", "B=2", expect=0)
        folder.hang()
        rollback = daemon.service()["rollback"]
        check_equal(rollback.get("unknown"), f"{folder.path}/named: no answer within 1s",
                    f"what status says of {rollback}")
        begun = t.spawn("restart", t.program("baton"), "-n", daemon.name, "restart", "web")
        wait_until(folder.asked, "the restart asks for its file")
        check_others(daemon)
        check_equal(begun.wait(), 3, f"exit of the restart: {begun.text()}")
        check(f"{folder.path}/env: no answer within 5s" in begun.text(), begun.text())
        reloaded = daemon.cli("reload", expect=1)
        check(f"{folder.path}/env: no answer within 5s" in reloaded.text, reloaded.text)
        check_others(daemon)
        longest = longest_turn_us(daemon)
        check(longest < LONGEST_TURN_US, f"the longest turn took {longest} us")
        folder.recover()
        daemon.restart()
        daemon.cli("reload", expect=0)
        daemon.stop()


def test_loop_watched_files_that_hang_hold_up_nobody(t):
    """What is watched is looked at every few seconds, and hangs; so does what a server is made of."""
    with hung_folder(t, env="A=1\n", named="1", watched="1") as folder:
        daemon = t.daemon(web=remote(t, folder, watch=[str(folder.path / "watched")]),
                          other=other(t))
        folder.hang()
        wait_until(folder.asked, "a watched path is looked at")
        # Its agent starts it again, which needs none of the files; batond looks at them.
        before = daemon.server_pid()
        send_signal(before, signal.SIGKILL)
        wait_until(lambda: daemon.server_pid() not in (None, before), "it is started again")
        said = re.compile(rf"watch: {re.escape(str(folder.path))}\S*: no answer within 5s")
        wait_until(lambda: said.search(daemon.process.text()), "its silence is told")
        check_others(daemon)
        longest = longest_turn_us(daemon)
        check(longest < LONGEST_TURN_US, f"the longest turn took {longest} us")
        folder.recover()
        daemon.stop()


def test_loop_state_folder_that_hangs_holds_up_nobody(t):
    """What batond keeps for the next one waits in /run; what a killed one has not written is told."""
    daemon = t.daemon(web=service(example(t)), other=other(t), start=False)
    with hung_folder(t, pathlib.Path("/var/lib") / daemon.name) as folder:
        daemon.start()
        epoch = daemon.api("/v1/version")[1]["epoch"]
        folder.hang()
        daemon.restart()
        daemon.cli("scale", "web", 2, expect=0)
        check_others(daemon)
        for name in ("state.json", "events.jsonl"):
            said = f"/var/lib/{daemon.name}/{name}: no answer within 5s"
            wait_until(lambda said=said: said in daemon.process.text(), f"{said!r} is in the log")
        check_others(daemon)
        longest = longest_turn_us(daemon)
        check(longest < LONGEST_TURN_US, f"the longest turn took {longest} us")
        events, current = daemon.events(), daemon.current()
        send_signal(daemon.process.popen.pid, signal.SIGKILL)
        daemon.process.wait()
        folder.recover()
        daemon.start()
        check_equal(daemon.events()[:len(events)], events, "what has happened before")
        check_equal(daemon.api("/v1/version")[1]["epoch"], epoch, "the epoch")
        check_equal((daemon.current(), len(daemon.generation()["instances"])), (current, 2),
                    "the generation and its instances")
        daemon.kept_events()
        daemon.stop()


def test_loop_ca_file_that_hangs_holds_up_nobody(t):
    """What is known of it is used, and it is read again when it does not suffice."""
    def show(way):
        os.replace(t.file("new", way), t.tmp / "way")

    show("tls good")
    ours = Authority(t.tmp / "keys")
    ours.sign("good")
    Authority(ours.folder, "theirs").sign("unknown")
    web = service(["/usr/bin/python3", CONTRARY, t.tmp / "way", ours.folder])
    with hung_folder(t, ca=ours.pem.read_text()) as folder:
        web["health"] = {"https": "/", "tls": {"name": NAME, "ca": str(folder.path / "ca")},
                         "interval": "100ms", "timeout": "10s", "unhealthy": 1000}
        daemon = t.daemon(web=web, other=other(t))
        folder.hang()
        daemon.restart()
        show("tls unknown")
        wait_until(folder.asked, "the file is read again")
        check_others(daemon, asks=False)
        wait_until(lambda: "nobody known here has signed" in
                   daemon.generation()["instances"][0]["health"]["last"], "the check has ended")
        check_others(daemon, asks=False)
        longest = longest_turn_us(daemon)
        check(longest < LONGEST_TURN_US, f"the longest turn took {longest} us")
        folder.recover()
        show("tls good")
        wait_until(lambda: "200 OK" in daemon.generation()["instances"][0]["health"]["last"],
                   "it is well again")
        daemon.stop()
