# SPDX-License-Identifier: BSD-2-Clause
"""storm: random orders from several clients at once, and what must be left when it is over."""

import collections
import json
import os
import random
import signal
import threading

from harness import BPFFS, below, check, check_equal, own_cgroup, wait_until
from services import example, service, soon

# Exit statuses: done; nothing to do, or not now; refused; undone before, after the shift; busy.
MAY_EXIT = {0, 1, 3, 4, 6, 8}
STATUS_MAY_EXIT = {0, 9, 10}
# What is unhealthy is given up soon, for the storm to go on.
HASTE = {"start_timeout": soon(2), "timeout": soon(1)}
LISTEN_STATE = "0A"  # of /proc/net/tcp
LAST = ("done", "failed", "rolled-back")

STRATEGIES = (
    {"strategy": "blue-green"},
    {"strategy": "blue-green", "bake": "200ms"},
    {"strategy": "rolling", "max_surge": 1, "max_unavailable": 0},
    {"strategy": "rolling", "max_surge": 2, "max_unavailable": 1},
    {"strategy": "canary", "steps": [{"weight": 10, "hold": "100ms"}, {"weight": 50},
                                     {"weight": 100}], "promote_timeout": "1s"},
)


def seed():
    """$BATON_TEST_SEED, or another one each time; it is printed, for a failure to be repeated."""
    number = int(os.environ.get("BATON_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"BATON_TEST_SEED={number}")
    return number


def config_of(t, pick):
    """The service as the file of this moment has it."""
    config = service(example(t), instances=pick.randint(1, 3), restart={"max": 64, "delay": "50ms"},
                     environment={"FILE": str(pick.randint(1, 3))},
                     health=HASTE,
                     drain={"generations_max": 8, "timeout": "15s"})
    config["rollout"] = {"settle_timeout": "2s", **pick.choice(STRATEGIES)}
    return config


class Client:
    """One who orders at random, one order after the other."""

    def __init__(self, t, daemon, number, words):
        self.t = t
        self.daemon = daemon
        self.pick = random.Random(f"{number}")
        self.words = words
        self.given = []
        self.wrong = []

    def upgrade(self):
        pick = self.pick
        options = pick.choice(((), ("--force",), ("--env", f"COLOUR={pick.randint(1, 3)}")))
        if pick.random() < 0.3:
            return "upgrade", "web", *options
        program = self.t.copy("examples/server", f"server-{pick.randint(1, 3)}")
        behave = pick.choice(((), ("--ready-after", "150ms"), ("--startup-delay", "100ms"),
                              ("--unhealthy",), ("--exit-at-once", "3")))
        return ("upgrade", "web", *options, "--", program, *example(self.t)[1:], *behave)

    def reload(self):
        path = self.t.tmp / f"{self.daemon.file.name}.{threading.get_ident()}"
        path.write_text(json.dumps({"services": {"web": config_of(self.t, self.pick)}}))
        path.rename(self.daemon.file)
        if self.pick.random() < 0.3:
            self.daemon.process.popen.send_signal(signal.SIGHUP)
            return "status", "web"
        return ("reload",)

    def words_of(self, word):
        if word == "upgrade":
            return self.upgrade()
        if word == "reload":
            return self.reload()
        if word == "scale":
            return "scale", "web", str(self.pick.randint(1, 4))
        return word, "web"

    def order(self, *words):
        result = self.daemon.cli(*words, deadline_s=100.0)
        self.given.append((result.status, *words))
        may = STATUS_MAY_EXIT if words[0] == "status" else MAY_EXIT
        check(result.status in may, f"baton {' '.join(words)}: {result}")

    def give(self):
        """One order, whatever becomes of it."""
        word = self.pick.choice(self.words)
        if word == "pause":
            # Not for long: whoever waits is not lost, but the load is to go on.
            self.order("pause", "web")
            word = "resume"
        words = list(self.words_of(word))
        if word in ("restart", "upgrade", "rollback", "scale", "stop", "start"):
            if self.pick.random() < 0.5:
                words.insert(2, "--supersede")
            if self.pick.random() < 0.5:
                words.insert(2, "--no-wait")
        self.order(*words)

    def run(self, count):
        try:
            for _ in range(count):
                self.give()
        except BaseException as error:  # pylint: disable=broad-except
            self.wrong.append(repr(error))


def rage(clients, count):
    """Each of @clients gives @count orders, all at the same time."""
    threads = [threading.Thread(target=each.run, args=(count,)) for each in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in clients:
        print(f"{len(each.given)} orders:", collections.Counter(
            (words[1], words[0]) for words in each.given))
        check(not each.wrong, f"{each.wrong}; before: {each.given}")


def calm_down(daemon):
    """Let whatever is under way end."""
    def calm():
        daemon.cli("promote", "web", "--no-wait")
        now = daemon.service()
        return (not now["rollout"] and now["state"] in ("running", "stopped", "failed") and
                len(now["generations"]) <= 1)
    wait_until(calm, lambda: f"calm: {daemon.service()}", poll_s=0.05)


# ---- what there is -------------------------------------------------------------------------------

def listening():
    """The listening TCP sockets of this network namespace, but for those without a port."""
    found = collections.Counter()
    for family in ("tcp", "tcp6"):
        with open(f"/proc/self/net/{family}", encoding="ascii") as table:
            for line in table.readlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN_STATE:
                    found[int(fields[1].rsplit(":", 1)[1], 16)] += 1
    return dict(found)


def inventory(daemon):
    """How many there are of everything that a generation could leave behind."""
    agents = daemon.api_socket.parent / "agents"
    return {
        "cgroups": len([path for path in below(own_cgroup() / daemon.name) if path.is_dir()]),
        "pins": len([path for path in below(BPFFS / daemon.name) if not path.is_dir()]),
        "agents' sockets": len(list(agents.iterdir())),
        "listening sockets": listening(),
        "children": len(children_of(daemon.pid)),
        "descriptors": len(os.listdir(f"/proc/{daemon.pid}/fd")),
    }


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return children.read().split()


PASSING = ("children", "descriptors")  # helpers, and the connections of checks: some come and go


def steady_inventory(daemon, samples=20):
    """
    As soon as it is the same so many times in a row; of what comes and goes, the least that there
    was: on a busy machine hardly a look finds none of it.
    """
    least, looks = {}, 0

    def steady():
        nonlocal least, looks
        now = inventory(daemon)
        for name in PASSING:
            now[name] = min(now[name], least.get(name, now[name]))
        looks = looks + 1 if now == least else 1
        least = now
        return least if looks >= samples else None
    return wait_until(steady, "nothing comes or goes", poll_s=0.02)


def check_same(daemon, before):
    """The same as @before, as soon as what has ended is cleared away."""
    def same():
        now = inventory(daemon)
        # Some of the daemon's own may have been open for a moment only.
        return ({**now, "descriptors": 0} == {**before, "descriptors": 0} and
                now["descriptors"] <= before["descriptors"])
    wait_until(same, lambda: f"nothing left over: {inventory(daemon)}, before {before}")


def check_all_ended(text):
    """Of the events of a service, one a line: each rollout has exactly one that is the last."""
    begun, ended = set(), collections.Counter()
    for line in filter(None, text.splitlines()):
        event = json.loads(line)
        if event.get("rollout"):
            begun.add(event["rollout"])
            ended[event["rollout"]] += event["event"] in LAST
    check(len(begun) > 10, f"hardly any rollouts: {begun}")
    check_equal({number: ended[number] for number in begun if ended[number] != 1}, {},
                "rollouts without, or with several, ends")
