# SPDX-License-Identifier: BSD-2-Clause
"""A service goes from a specific address to a wildcard that has it, and back, under load."""

import os
import signal

from harness import BPFFS, check, check_equal, connect, get, read_response, send_request, wait_until
from services import SOON, STANDS_STILL, binder, example, generation_of, pid_of, service
from swaps import GENTLE, check_unharmed
from test_addresses import A, check_all_unharmed, listed, loads, now, relisten, reload, wait_step

WIDE, DUAL, ONE6 = "0.0.0.0:8080", ":8080", "[::1]:8080"
WAYS = ((A, WIDE), (WIDE, A))


def check_serves(daemon, generation, *addresses):
    """Exactly these addresses are served, by this generation, and nothing chooses any more."""
    wait_until(lambda: listed(daemon) == list(addresses), "its addresses")
    check_equal(generation_of(get().body), generation, "who answers")
    check_equal(crossings(daemon), [], "what is left of the change")


def crossings(daemon):
    return [path.name for path in (BPFFS / daemon.name / "web").glob("cross+*")]


def go(daemon, after, generation, **changes):
    since = relisten(daemon, after, **changes)
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check_serves(daemon, generation, *after)


def test_wildcard_takes_the_place_of_a_specific_address_and_back(t):
    daemon = t.daemon(service(example(t), listen=[A]))
    hammers = loads(t, A)
    for generation, after in enumerate((WIDE, A, DUAL, WIDE, DUAL, A), start=2):
        go(daemon, [after], generation)
    check_all_unharmed(hammers)


def test_wildcard_takes_the_place_of_several_addresses_and_back(t):
    daemon = t.daemon(service(example(t), listen=[A, ONE6]))
    six = GENTLE.index("--sources")  # there are several in IPv4 only
    hammers = [*loads(t, A), t.hammer(*GENTLE[:six], *GENTLE[six + 2:], host="[::1]")]
    for generation, after in enumerate(([DUAL], [A, ONE6], [WIDE, "[::]:8080"], [DUAL]), start=2):
        go(daemon, after, generation)
        check_equal(generation_of(get(host="::1").body), generation, "who answers on ::1")
    check_all_unharmed(hammers)


def test_wildcard_is_taken_by_servers_that_bind_it(t):
    for mode in ("native", "transparent"):
        share = ["--share"] if mode == "native" else []

        def listening(address, mode=mode, share=share):
            return {"command": [str(word) for word in binder(t, "--listen", address, *share)],
                    "mode": mode}
        daemon = t.daemon(service(binder(t, "--listen", A, *share), listen=[A], mode=mode))
        hammers = loads(t, A)
        go(daemon, [WIDE], 2, **listening(WIDE))
        go(daemon, [A], 3, **listening(A))
        check_all_unharmed(hammers)
        daemon.stop()


def test_wildcard_gets_its_share_step_by_step(t):
    daemon = t.daemon(service(example(t), listen=[A], instances=3, rollout={
        "strategy": "rolling", "max_surge": 1, "max_unavailable": 0}))
    hammers = loads(t, A)
    go(daemon, [WIDE], 2)
    daemon.config["services"]["web"]["rollout"] = {
        "strategy": "canary", "steps": [{"weight": 25}], "promote_timeout": "1h"}
    since = relisten(daemon, [A])
    wait_step(daemon, "hold")
    seen = [generation_of(get().body) for _ in range(200)]
    check(20 <= seen.count(3) <= 90, f"a canary of 25%: {seen.count(3)} of 200")
    daemon.cli("promote", "web", expect=0)
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check_serves(daemon, 3, A)
    check_all_unharmed(hammers)


def test_release_that_fails_leaves_the_address_as_it_was(t):
    for before, after in WAYS:
        daemon = t.daemon(service(example(t), listen=[before]))
        hammers = loads(t, A)
        since = relisten(daemon, [after], health={"http": "/nowhere", **SOON})
        check(daemon.wait_end(since)["event"] in ("failed", "rolled-back"), "it fails")
        wait_until(lambda each=daemon: not crossings(each), "nothing chooses any more")
        check_equal((daemon.current(), generation_of(get().body)), (1, 1), "who serves")
        check_all_unharmed(hammers)
        daemon.stop()


def test_abort_in_the_bake_gives_the_address_back(t):
    for before, after in WAYS:
        daemon = t.daemon(service(example(t), listen=[before], rollout={"bake": "1h"}))
        hammers = loads(t, A)
        since = relisten(daemon, [after])
        wait_step(daemon, "bake")
        check_equal(generation_of(get().body), 2, "who answers in the bake")
        daemon.cli("abort", "web", expect=0)
        check_equal(daemon.wait_end(since)["event"], "rolled-back", "end")
        check_equal(generation_of(get().body), 1, "who answers")
        wait_until(lambda each=daemon: not crossings(each), "nothing chooses any more")
        check_all_unharmed(hammers)
        daemon.stop()


def test_batond_that_is_killed_in_between_leaves_the_address_served(t):
    for before, after in WAYS:
        for step in ("verify", "bake"):
            daemon = t.daemon(service(example(t), listen=[before], rollout={"bake": "1h"}))
            hammers = loads(t, A)
            if step == "verify":
                daemon.config["services"]["web"]["health"]["http"] = "/nowhere"
            since = relisten(daemon, [after])
            wait_step(daemon, step)
            daemon.process.popen.send_signal(signal.SIGKILL)
            daemon.process.popen.wait()
            count = hammers[0].report()["ok"]
            wait_until(lambda hammer=hammers[0], n=count: hammer.report()["ok"] > n + 100,
                       "it is served without a batond")
            daemon.start()
            daemon.wait_event("adopted", since=since)
            wait_until(lambda each=daemon: len(each.service()["generations"]) == 1, "one is left")
            check_equal(generation_of(get().body), 1, "who answers")
            wait_until(lambda each=daemon: not crossings(each), "nothing chooses any more")
            check_all_unharmed(hammers)
            daemon.stop()


def test_what_is_queued_at_the_old_address_is_taken_before_it_goes(t):
    for before, after in WAYS:
        daemon = t.daemon(service(example(t), listen=[before], **STANDS_STILL))
        pid = pid_of(get().body)
        os.kill(pid, signal.SIGSTOP)
        clients = [connect() for _ in range(20)]
        for client in clients:
            send_request(client, headers=["Connection: close"])
        since = relisten(daemon, [after])
        wait_step(daemon, "settle")
        check_equal(generation_of(get().body), 2, "who answers what comes now")
        os.kill(pid, signal.SIGCONT)
        for client in clients:
            check_equal(generation_of(read_response(client).body), 1, "who had it queued")
            client.close()
        check_equal(daemon.wait_end(since)["event"], "done", "end")
        check_serves(daemon, 2, after)
        daemon.stop()


def test_handshake_that_is_half_done_ends_at_the_old_address(t):
    def deferring(address):
        return binder(t, "--listen", address, "--share", "--defer-accept", 30)
    daemon = t.daemon(service(deferring(A), listen=[A], mode="native"))
    hammers = loads(t, A)
    clients = [connect() for _ in range(20)]  # the server sends its SYN-ACK again until one speaks
    since = relisten(daemon, [WIDE], command=[str(word) for word in deferring(WIDE)])
    wait_step(daemon, "settle")
    for client in clients:
        send_request(client, headers=["Connection: close"])
        check_equal(generation_of(read_response(client).body), 1, "who had its handshake")
        client.close()
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check_serves(daemon, 2, WIDE)
    check_all_unharmed(hammers)


def test_wildcard_is_refused_where_nothing_can_choose(t):
    for tier in ("cbpf", "hash"):
        for before, after in WAYS:
            daemon = t.daemon(service(example(t), listen=[before], steering=tier))
            hammers = loads(t, A)
            daemon.config["services"]["web"]["listen"] = [after]
            detail = reload(daemon, expect=1)["refused"][0]["detail"]
            check(f"{after} overlaps with {before}" in detail, detail)
            check(f"on tier {tier} no connection moves" in detail, detail)
            check_equal(daemon.current(), 1, "who serves")
            check_all_unharmed(hammers)
            daemon.stop()
