# SPDX-License-Identifier: BSD-2-Clause
"""Where a server's output goes: files that are rotated, the journal, batond's own."""

import collections
import os
import pathlib
import re
import signal
import stat

from harness import (alive, check, check_equal, command_of, get, send_signal, timeout, wait_until)
from journal import Journal, hide_run
from services import example, generation_of, keeper, service

LOAD = ("--short", 4, "--keepalive", 4, "--keepalive-pause", "5ms", "--sources", 8,
        "--timeout", "30s", "--expect-status", 200)
LINE = re.compile(r"(\d+) (\d+) (out|err)")
ENOUGH = 100  # lines in a file between two rotations


def to_files(t, command, **changes):
    logs = t.tmp / "log"
    logs.mkdir(exist_ok=True)
    changes.setdefault("stdout", str(logs / "out"))
    changes.setdefault("stderr", str(logs / "err"))
    return service(command, **changes)


def lines_of(path):
    return pathlib.Path(path).read_text().splitlines()


def wait_lines(path, number=ENOUGH):
    def there():
        return path.exists() and len(lines_of(path)) >= number
    wait_until(there, f"{number} lines in {path}")


def check_complete(lines, which, expected_pids):
    """Each process has numbered its lines: all are there, once, whole, and in their order."""
    seen = collections.defaultdict(list)
    for line in lines:
        found = LINE.fullmatch(line)
        if found:
            check_equal(found[3], which, f"the stream of {line!r}")
            seen[int(found[1])].append(int(found[2]))
        else:
            check_equal(line, "bye", "a line that is none")
    check_equal(set(seen), set(expected_pids), "processes that have written")
    for pid, numbers in seen.items():
        check_equal(numbers, list(range(1, len(numbers) + 1)), f"numbers of {pid}")
    return {pid: len(numbers) for pid, numbers in seen.items()}


# ---- files ---------------------------------------------------------------------------------------

def test_output_goes_to_files_made_as_batond_s_user(t):
    daemon = t.daemon(to_files(t, keeper(t, "--log"), user="nobody", umask="0077"))
    check_equal(get().body, "generation 1\n", "answer")
    for name in ("out", "err"):
        path = t.tmp / "log" / name
        wait_lines(path, 1)
        found = path.stat()
        check_equal((stat.S_IMODE(found.st_mode), found.st_uid), (0o640, 0), f"mode, owner: {name}")
    result = daemon.cli("reopen", expect=0)
    check("2 files opened anew" in result.text, f"said: {result}")


def test_one_file_for_both_streams_gets_both(t):
    path = t.tmp / "both"
    daemon = t.daemon(service(keeper(t, "--log"), stdout=str(path), stderr=str(path)))
    pid = daemon.server_pid()
    get()
    wait_until(lambda: {line.split()[2] for line in lines_of(path)} == {"out", "err"},
               "lines of both")
    check_equal({line.split()[0] for line in lines_of(path)}, {str(pid)}, "who has written")


def test_rotation_and_swaps_under_load_lose_no_line(t):
    daemon = t.daemon(to_files(t, keeper(t, "--log", "--last-words", "bye")))
    logs = t.tmp / "log"
    hammer = t.hammer(*LOAD)
    pids, frozen = [daemon.server_pid()], {}
    for turn in range(6):
        for name in ("out", "err"):
            wait_lines(logs / name)
            os.rename(logs / name, logs / f"{name}.{turn}")
        daemon.cli("reopen", "web", expect=0)
        for name in ("out", "err"):
            wait_lines(logs / name, 1)
            frozen[f"{name}.{turn}"] = (logs / f"{name}.{turn}").stat().st_size
        if turn % 2:
            daemon.restart()
            pids.append(daemon.server_pid())
    result = hammer.stop()
    check_equal(result["lost"], 0, f"lost: {result}")
    daemon.cli("stop", "web", expect=0)

    counts = {}
    for name in ("out", "err"):
        for turn in range(6):
            size = (logs / f"{name}.{turn}").stat().st_size
            check_equal(size, frozen[f"{name}.{turn}"], f"size of {name}.{turn} since the rotation")
        lines = [line for turn in range(6) for line in lines_of(logs / f"{name}.{turn}")]
        lines += lines_of(logs / name)
        counts[name] = check_complete(lines, name, pids)
        check_equal(lines.count("bye"), len(pids), "last words")
    check_equal(counts["out"], counts["err"], "lines of stdout and stderr")
    check(sum(counts["out"].values()) >= result["ok"], f"fewer lines than answers: {counts}")


def test_lines_that_a_killed_server_has_written_are_in_the_file(t):
    daemon = t.daemon(to_files(t, keeper(t, "--log")))
    first = daemon.server_pid()
    for _ in range(20):
        get()
    send_signal(first, signal.SIGKILL)
    wait_until(lambda: daemon.server_pid() not in (first, None), "another server")
    wait_until(lambda: get().status == 200, "it serves")

    def numbers():
        return [int(line.split()[1]) for line in lines_of(t.tmp / "log" / "out")
                if int(line.split()[0]) == first]
    wait_until(lambda: len(numbers()) >= 22, "what the first has written")  # 2 of them are checks
    check_equal(numbers(), list(range(1, len(numbers()) + 1)), "numbers")


def test_killed_batond_loses_no_line_and_the_next_one_can_reopen(t):
    daemon = t.daemon(to_files(t, keeper(t, "--log", "--last-words", "bye")))
    out, old = t.tmp / "log" / "out", t.tmp / "log" / "out.0"
    pid = daemon.server_pid()
    hammer = t.hammer(*LOAD)
    wait_lines(out)
    send_signal(daemon.pid, signal.SIGKILL)
    daemon.process.wait()
    wait_lines(out, len(lines_of(out)) + ENOUGH)
    daemon.start()
    os.rename(out, old)
    check("2 files opened anew" in daemon.cli("reopen", expect=0).text, "what is said")
    wait_lines(out)
    check_equal(hammer.stop()["lost"], 0, "lost")
    daemon.cli("stop", "web", expect=0)
    check_complete(lines_of(old) + lines_of(out), "out", [pid])


def test_stderr_in_a_file_is_quoted_after_a_failure_all_the_same(t):
    daemon = t.daemon(to_files(t, example(t)))
    result = daemon.upgrade(["/bin/sh", "-c", "echo no database >&2; echo starting; exit 4"],
                            expect=3)
    check("no database" in result.text, f"said: {result}")
    check("no database" in lines_of(t.tmp / "log" / "err"), "not in the file of stderr")
    check("starting" in lines_of(t.tmp / "log" / "out"), "not in the file of stdout")
    check_equal(generation_of(get().body), 1, "generation that answers")


def test_reopen_where_the_folder_is_gone_keeps_the_old_file_and_says_so(t):
    daemon = t.daemon(to_files(t, keeper(t, "--log")))
    logs, moved = t.tmp / "log", t.tmp / "moved"
    wait_lines(logs / "out", 1)
    logs.rename(moved)
    result = daemon.cli("reopen", "web", expect=1)
    for name in ("out", "err"):
        check(f"generation 1, instance 0: std{name}: {logs / name}: No such file or directory"
              in result.err, f"said: {result}")
    wait_until(lambda: "the old file stays in use" in daemon.process.text(), "it is logged")
    before = len(lines_of(moved / "out"))
    get()
    wait_until(lambda: len(lines_of(moved / "out")) > before, "the old file grows")
    logs.mkdir()
    daemon.cli("reopen", "web", expect=0)
    get()
    wait_lines(logs / "out", 1)
    wait_lines(logs / "err", 1)


def test_file_that_cannot_be_opened_fails_the_start_and_the_old_one_serves_on(t):
    daemon = t.daemon(to_files(t, example(t)))
    hammer = t.hammer(*LOAD)
    pid = daemon.server_pid()
    (t.tmp / "log").rename(t.tmp / "moved")
    result = daemon.restart(expect=3)
    for expected in ("stdout", str(t.tmp / "log" / "out"), "No such file or directory"):
        check(expected in result.text, f"{expected!r} is not in {result}")
    check_equal((daemon.server_pid(), daemon.state()), (pid, "running"), "what serves")
    check_equal(hammer.stop()["lost"], 0, "lost")


def test_output_through_batond_reaches_its_own_and_says_whose_it_is(t):
    daemon = t.daemon(service(keeper(t, "--log")))
    pid = daemon.server_pid()
    get()
    for which in ("out", "err"):
        wait_until(lambda: f"\n[web] {pid} 1 {which}\n" in daemon.process.text(),
                   f"a line of {which}")
    result = daemon.cli("reopen", "web", expect=0)
    check("no output goes to a file" in result.text, f"said: {result}")


# It tries to look like batond, to erase what stands there, and to be urgent.
LIAR = r"""
import os, time
text = ("<3>urgent\nbatond: web: rollout 9: done\n\x1b[2K\rbatond: web: a\n"
        "\u202ebatond: web: b\n" + 5000 * "x" + "\nrest").encode() + b"\xc2\r\x9b2J\n"
os.write(1, text)
os.write(2, text)
time.sleep(1000)
"""


def test_output_through_batond_can_be_taken_for_nothing_else(t):
    """Two instances at once: no line is torn by another's, or by batond's."""
    daemon = t.daemon(service(["/usr/bin/python3", t.file("liar.py", LIAR)], instances=2,
                              health={"notify": True}), start=False)
    del daemon.config["services"]["web"]["health"]["http"]
    daemon.start_unready()
    wait_until(lambda: daemon.process.text().count("[web] rest??2J\n") == 4, "all of it")
    lines = daemon.process.text().split("\n")
    check_equal([line for line in lines if line and not line.startswith(("batond: ", "[web] "))], [],
                "lines of nobody")
    check_equal(sorted(line for line in lines if "rollout 9" in line or line[-3:] in (": a", ": b")),
                4 * ["[web] ?batond: web: b"] + 4 * ["[web] batond: web: a"] +
                4 * ["[web] batond: web: rollout 9: done"], "lines that lie")
    check_equal(sum(line.count("x") for line in lines if line.startswith("[web] x")), 20000, "x")


def test_reload_that_moves_the_output_to_a_file_rolls(t):
    daemon = t.daemon(service(keeper(t, "--log")))
    hammer = t.hammer(*LOAD)
    since = daemon.last_seq()
    daemon.config["services"]["web"].update(to_files(t, keeper(t, "--log")))
    daemon.write_config()
    daemon.cli("reload", expect=0)
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    wait_lines(t.tmp / "log" / "out")
    check_equal({line.split()[0] for line in lines_of(t.tmp / "log" / "out")},
                {str(daemon.server_pid())}, "who has written")
    check_equal(hammer.stop()["lost"], 0, "lost")


# ---- what reopen says, and what it leaves whole ---------------------------------------------------

def test_reopen_names_each_file_of_each_instance_that_could_not_be_opened(t):
    logs = t.tmp / "log"
    daemon = t.daemon(to_files(t, keeper(t, "--log"), instances=2))
    pids = {daemon.server_pid(instance=k) for k in range(2)}
    wait_lines(logs / "out", 1)
    os.rename(logs / "err", logs / "err.0")
    (logs / "err").mkdir()
    status, problem = daemon.api("/v1/services/web/reopen", "POST")
    check_equal((status, problem["code"]), (500, 1), f"answer: {problem}")
    check_equal(problem["mistakes"],
                [f"generation 1, instance {k}: stderr: {logs / 'err'}: Is a directory"
                 for k in range(2)], "mistakes")
    result = daemon.cli("reopen", "web", expect=1)
    for line in problem["mistakes"]:
        check(line in result.err, f"{line!r} is not in {result}")
    # What could not be opened is written on, and so is what could.
    for _ in range(40):
        get()

    def written(name):
        return {int(line.split()[0]) for line in lines_of(logs / name)}
    wait_until(lambda: written("err.0") == written("out") == pids, "lines of both in both")
    (logs / "err").rmdir()
    check_equal(daemon.api("/v1/services/web/reopen", "POST"),
                (200, {"service": "web", "files": 4, "message": "4 files opened anew"}), "answer")


def test_reopen_does_not_say_done_for_an_agent_that_does_not_answer(t):
    daemon = t.daemon(to_files(t, keeper(t, "--log"), instances=2))
    agent = daemon.service()["generations"][0]["instances"][1]["agent_pid"]
    os.kill(agent, signal.SIGSTOP)
    try:
        waiting = t.spawn("reopen", t.program("baton"), "-n", daemon.name, "reopen", "web")
        # Nobody else waits for that agent.
        while waiting.running():
            check_equal(daemon.state(), "running", "state meanwhile")
        check_equal(waiting.wait(), 1, "exit status")
        check("generation 1, instance 1: its agent has not answered within 10s" in waiting.text(),
              f"said: {waiting.text()}")
        check("instance 0" not in waiting.text(), f"said: {waiting.text()}")
    finally:
        os.kill(agent, signal.SIGCONT)
    daemon.cli("reopen", "web", expect=0)


def test_reopen_says_that_an_agent_is_gone(t):
    daemon = t.daemon(to_files(t, keeper(t, "--log"), instances=2, restart={"max": 0}))
    agent = daemon.service()["generations"][0]["instances"][1]["agent_pid"]
    # No other agent can go on without it.
    (daemon.api_socket.parent / "agents" / "web.1.1.handover").unlink()
    os.kill(agent, signal.SIGKILL)
    daemon.wait_event("agent-lost")
    result = daemon.cli("reopen", "web", expect=1)
    check("generation 1, instance 1: its agent is gone, and nobody takes its output" in result.err,
          f"said: {result}")


WRITER = '''
import os, signal, sys
stop = []
signal.signal(signal.SIGUSR1, lambda *_: stop.append(1))
number = 0
while not stop:
    number += 1
    line = b"%d %s .\\n" % (number, b"x" * (number * 7919 % 2000 + 1))
    for which in 1, 2:
        # In two pieces: a reopen may come between.
        cut = number * 31 % len(line)
        os.write(which, line[:cut])
        os.write(which, line[cut:])
os.write(1, b"end")
os.write(2, b"end")
open(sys.argv[1], "w").close()
signal.pause()
'''


def pieces(folder, name):
    """The files that one stream went to, in their order."""
    old = sorted(folder.glob(f"{name}.*"), key=lambda path: int(path.suffix[1:]))
    return [*old, folder / name]


@timeout(300)
def test_hundreds_of_reopens_under_a_fast_writer_leave_every_line_whole(t):
    logs = t.tmp / "log"
    writer = t.file("writer.py", WRITER)
    command = ["/bin/sh", "-c", f"python3 {writer} {t.tmp}/paused & exec {' '.join(example(t))}"]
    daemon = t.daemon(to_files(t, command, mode="inherit"))
    pid = next(pid for pid in daemon.pids(1) if "writer.py" in command_of(pid)
               and "/bin/sh" not in command_of(pid))
    sizes = {}
    for turn in range(300):
        for name in ("out", "err"):
            os.rename(logs / name, logs / f"{name}.{turn}")
        check_equal(daemon.api("/v1/services/web/reopen", "POST")[0], 200, "answer")
        # Once it is answered nothing goes to the old file any more.
        for name in ("out", "err"):
            sizes[f"{name}.{turn}"] = (logs / f"{name}.{turn}").stat().st_size
    send_signal(pid, signal.SIGUSR1)
    wait_until((t.tmp / "paused").exists, "the writer to pause")
    daemon.cli("stop", "web", expect=0)
    for name in ("out", "err"):
        files = pieces(logs, name)
        check_equal(len(files), 301, "files")
        number = 0
        for path in files:
            if path.name in sizes:
                check_equal(path.stat().st_size, sizes[path.name], f"size of {path.name}")
            text = path.read_bytes()
            if path == files[-1]:
                check(text.endswith(b"end"), "the half line at the end is not there")
                text = text[:-3]
            check(not text or text.endswith(b"\n"), f"{path.name} ends within a line")
            for line in text.splitlines():
                found = line.split()
                if not (len(found) == 3 and found[0].isdigit() and found[2] == b"."):
                    check(b" " in line and b"x" not in line, f"torn: {line!r} in {path.name}")
                    continue
                number += 1
                check_equal((int(found[0]), len(found[1])), (number, number * 7919 % 2000 + 1),
                            f"line of {path.name}")
        check(number > 1000, f"only {number} lines")


def test_half_a_line_at_a_reopen_is_whole_in_one_of_the_two_files(t):
    logs = t.tmp / "log"
    fifo = t.tmp / "say"
    os.mkfifo(fifo)
    command = ["/bin/sh", "-c", f"cat {fifo} & exec {' '.join(example(t))}"]
    daemon = t.daemon(to_files(t, command, mode="inherit"))
    with open(fifo, "wb", buffering=0) as say:
        say.write(b"one\nabc")
        wait_until(lambda: "one" in lines_of(logs / "out"), "the first line")
        os.rename(logs / "out", logs / "out.0")
        check("2 files opened anew" in daemon.cli("reopen", "web", expect=0).text, "answer")
        say.write(b"def\nlast")
        wait_until(lambda: "abcdef" in lines_of(logs / "out"), "the line, whole")
        os.rename(logs / "out", logs / "out.1")
        daemon.cli("reopen", "web", expect=0)
    daemon.cli("stop", "web", expect=0)
    for name, expected in (("out.0", ["one"]), ("out.1", ["abcdef"]), ("out", ["last"])):
        found = [line for line in lines_of(logs / name) if line in ("one", "abcdef", "last")
                 or line in "abcdef"]
        check_equal(found, expected, f"lines of {name}")


# ---- the journal ---------------------------------------------------------------------------------

def test_journal_gets_both_streams_under_the_name_of_the_service(t):
    hide_run()
    journal = Journal().start()
    daemon = t.daemon(service(keeper(t, "--log", "--last-words", "bye"), stdout="journal",
                              stderr="journal"))
    hammer = t.hammer(*LOAD)
    pids = [daemon.server_pid()]
    wait_until(lambda: len(journal.lines("web", 6)) > ENOUGH, "lines in the journal")
    daemon.restart()
    pids.append(daemon.server_pid())
    check_equal(hammer.stop()["lost"], 0, "lost")
    daemon.cli("stop", "web", expect=0)
    for name, priority in (("out", 6), ("err", 3)):
        wait_until(lambda: journal.lines("web", priority).count("bye") == 2, "last words")
        check_complete(journal.lines("web", priority), name, pids)


def test_journal_that_is_started_again_gets_what_comes_then(t):
    hide_run()
    journal = Journal().start()
    daemon = t.daemon(service(keeper(t, "--log"), stdout="journal"))
    get()
    wait_until(lambda: journal.lines("web", 6), "a line in the journal")
    before = len(journal.lines("web", 6))
    journal.drop()

    def more():
        get()
        return len(journal.lines("web", 6)) > before + 5
    wait_until(more, "lines in the journal again")
    check_complete(journal.lines("web", 6), "out", [daemon.server_pid()])


def test_journal_where_there_is_none_fails_the_start_and_the_old_one_serves_on(t):
    hide_run()
    daemon = t.daemon(service(example(t)))
    hammer = t.hammer(*LOAD)
    pid = daemon.server_pid()
    since = daemon.last_seq()
    daemon.config["services"]["web"]["stderr"] = "journal"
    daemon.write_config()
    daemon.cli("reload", expect=0)
    end = daemon.wait_end(since)
    result = daemon.restart(expect=3)
    for text in (end["reason"], result.text):
        check("stderr: no journal can be reached here" in text, f"said: {text}")
    check_equal((daemon.server_pid(), daemon.state()), (pid, "running"), "what serves")
    check(alive(pid), "the server has ended")
    check_equal(hammer.stop()["lost"], 0, "lost")
