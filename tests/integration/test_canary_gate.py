# SPDX-License-Identifier: BSD-2-Clause
"""examples/canary-gate, as it is: a gate sees that a page is wrong before any client does."""

import json
import pathlib
import re

from harness import bodies, check, check_equal, wait_until
from swaps import check_nothing_lost

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "canary-gate"
LOAD = ("--path", "/", "--short", 4, "--rate", 200, "--sources", 8, "--timeout", "30s",
        "--expect-status", 200)

# For the daemon alone the example is in /srv/web, where its README has it copied to.
THERE = ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
         'mount -t tmpfs none /srv; mkdir /srv/web; mount -o bind "$0" /srv/web; exec "$@"']


def start(t):
    """(daemon, the folder that is its /srv/web)"""
    folder = t.tmp / "web"
    folder.mkdir()
    for path in EXAMPLE.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
        (folder / path.name).chmod(path.stat().st_mode)
    daemon = t.daemon(start=False, **json.loads((folder / "baton.json").read_text())["services"])
    daemon.prefix = [*THERE, folder]
    daemon.start()
    return daemon, folder


def test_canary_gate_as_its_readme_says(t):
    daemon, folder = start(t)
    hammer = t.hammer(*LOAD)
    wait_until(lambda: hammer.report()["ok"] >= 20, "the load has begun")

    # The lines of the README.
    readme = (folder / "README.md").read_text()
    greetings = re.findall(r"echo '(.*)' > /srv/web/greeting", readme)
    check_equal(len(greetings), 2, "releases in the README")
    (folder / "greeting").write_text(greetings[0])
    done = daemon.restart()
    check_equal(done.text.count("gate smoke: exited with status 0: 4 pages of generation 2 are right"),
                3, f"gates in {done.text}")
    (folder / "greeting").write_text(greetings[1])
    failed = daemon.restart(expect=3)
    said = re.search(r"exit 3: (gate smoke: .*) \.\.\.", readme)[1]
    check(said in failed.text, f"no {said!r}: {failed.text}")

    wait_until(lambda: hammer.report()["ok"] > 200, "enough load")
    result = hammer.stop()
    check_nothing_lost(result, 200)
    seen = {each["body"].strip() for phase in result["phases"] for each in phase["bodies"]}
    check_equal(seen, {"Hello, world (generation 1)", f"{greetings[0]} (generation 2)"}, "pages")
    check_equal({body.strip() for body in bodies(10)}, {f"{greetings[0]} (generation 2)"}, "pages")
