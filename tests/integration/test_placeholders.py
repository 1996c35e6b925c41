# SPDX-License-Identifier: BSD-2-Clause
"""{generation} and {instance}: in the directory, the files of the output, hooks, gates, variables."""

import json
import os
import re
import signal

from harness import check, check_equal, get, send_signal, wait_until
from services import python, reconfigure, service

INSTANCES = 2


def configuration(t):
    """Everything that may be of a generation is; a hook makes what must be there."""
    (t.tmp / "run").mkdir()
    for generation in range(1, 6):
        (t.tmp / f"env.{generation}").write_text(f"FILE={generation}\n")
    program = ["/bin/sh", "-c", 'echo "in $PWD"; exec "$@"', "sh", *python(t)]
    make = 'pwd; for i in 0 1; do mkdir -p "run/$1.$i"; done; echo "$OF $1" >"hook.$1"'
    ask = 'echo "$OF $1" >"gate.$1"'
    return service(program, instances=INSTANCES, directory=f"{t.tmp}/run/{{generation}}.{{instance}}",
                   stdout=f"{t.tmp}/out.{{generation}}.{{instance}}",
                   environment={"OF": "{generation}", "WHO": "{generation}.{instance}"},
                   environment_file=f"{t.tmp}/env.{{generation}}",
                   hooks={"before_start": ["/bin/sh", "-c", f"cd {t.tmp}; {make}", "sh",
                                           "{generation}"]},
                   gates=[{"at": "shift", "exec": ["/bin/sh", "-c", f"cd ..; {ask}", "sh",
                                                   "{generation}"]}])


def check_generation(t, number):
    """Each instance is where it is to be, and so is its output."""
    def answers():
        found = {}
        for _ in range(20):
            how = json.loads(get(path="/how").body)
            found[how["directory"]] = how["environment"]
        return found
    wait_until(lambda: len(answers()) == INSTANCES, f"both instances of {number} answer")
    for directory, environment in answers().items():
        where = os.path.relpath(directory, t.tmp / "run")
        check(where in (f"{number}.0", f"{number}.1"), f"{number} runs in {directory}")
        check_equal([environment[name] for name in ("OF", "WHO", "FILE")],
                    [str(number), where, str(number)], "variables")
        check_equal((t.tmp / f"out.{where}").read_text(), f"in {directory}\n", "output")
    for point in ("hook", "gate"):
        place = t.tmp / f"{point}.{number}"
        check_equal(place.read_text(), f"{number} {number}\n", f"what the {point} was told")


def test_placeholders_are_of_each_generation_and_instance(t):
    daemon = t.daemon(configuration(t))
    check_generation(t, 1)
    daemon.restart()
    check_generation(t, 2)

    # Rotated, by the path that it really has.
    for index in range(INSTANCES):
        os.rename(t.tmp / f"out.2.{index}", t.tmp / f"out.2.{index}.old")
    check("2 files opened anew" in daemon.cli("reopen", expect=0).text, "reopen")
    check((t.tmp / "out.2.1").exists(), "the file was not made anew")
    for index in range(INSTANCES):
        os.rename(t.tmp / f"out.2.{index}.old", t.tmp / f"out.2.{index}")

    # The next batond takes over what runs, and finds that it is what the file says.
    send_signal(daemon.pid, signal.SIGKILL)
    daemon.process.wait()
    daemon.start()
    daemon.cli("reload", expect=0)
    check_equal(daemon.current(), 2, "generation after a takeover and a reload")
    # What a generation has been given is looked at under its own number.
    (t.tmp / "env.2").write_text("FILE=2\nMORE=1\n")
    daemon.cli("reload", expect=0)
    daemon.wait_event("done", since=0)
    wait_until(lambda: daemon.current() == 3, "the edited file is noticed")
    check_generation(t, 3)
    daemon.cli("rollback", "web", expect=0)


def test_placeholders_of_what_is_not_there_are_told_with_their_values(t):
    daemon = t.daemon(configuration(t))
    reconfigure(daemon, hooks={"before_start": ["/bin/true"]}, gates=[])
    result = daemon.cli("restart", "web", expect=3)
    check(re.search(f"chdir {t.tmp}/run/2.[01]: No such file or directory", result.text),
          result.text)
    for index in range(INSTANCES):
        (t.tmp / "run" / f"3.{index}").mkdir()
    # What runs is another one then: the reload begins a rollout.
    since = daemon.last_seq()
    reconfigure(daemon, stderr=f"{t.tmp}/no.{{generation}}/err")
    reason = daemon.wait_end(since)["reason"]
    check(f"stderr: {t.tmp}/no.3/err: No such file or directory" in reason, reason)
    (t.tmp / "env.4").unlink()
    result = daemon.cli("restart", "web", expect=3)
    check(f"environment: {t.tmp}/env.4: No such file or directory" in result.text, result.text)
    check_equal(daemon.current(), 1, "who serves")
