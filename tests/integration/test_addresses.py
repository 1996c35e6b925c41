# SPDX-License-Identifier: BSD-2-Clause
"""A reload changes the addresses of a service that runs: a rollout, without a gap."""

import signal

from harness import check, check_equal, get, refused, wait_until
from services import SOON, binder, example, generation_of, merged, service
from swaps import GENTLE, check_promised, promise_most

A, B, C = "127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082"
PORTS = {A: 8080, B: 8081, C: 8082}
TIERS = ("ebpf", "cbpf", "hash")


def reload(daemon, expect=0):
    daemon.write_config()
    return daemon.cli("reload", "--json", expect=expect).json()


def relisten(daemon, listen, **changes):
    """Reload with other addresses. Returns the number of the last event before."""
    since = now(daemon)
    services = daemon.config["services"]
    services["web"] = merged(services["web"], listen=listen, **changes)
    answer = reload(daemon)
    check_equal(answer["changed"], ["web"], f"changed: {answer}")
    return since


def now(daemon):
    """The number of the last event of any service."""
    return max(each["seq"] for name in daemon.config["services"]
               for each in daemon.events(service=name))


def wait_step(daemon, step, name="web"):
    wait_until(lambda: (daemon.service(name)["rollout"] or {}).get("step") == step, f"step {step}")


def loads(t, *addresses):
    """A load on each of the addresses, which has begun."""
    hammers = [t.hammer(*GENTLE, port=PORTS[address]) for address in addresses]
    for hammer in hammers:
        wait_until(lambda each=hammer: each.report()["ok"] >= 20, "the load has begun")
    return hammers


def check_all_unharmed(hammers, tier="ebpf"):
    """What the tier promises has been kept: nothing is lost, but for few on tier hash."""
    for hammer in hammers:
        check_promised(hammer, tier)


def listed(daemon, name="web"):
    return [each["listen"] for each in daemon.service(name)["endpoints"]]


def check_serves(daemon, generation, *addresses, name="web"):
    """Exactly these addresses are served, by this generation."""
    wait_until(lambda: listed(daemon, name) == list(addresses), "its addresses")
    for address, port in PORTS.items():
        if address in addresses:
            check_equal(generation_of(get(port=port).body), generation, f"who answers on {address}")
        else:
            wait_until(lambda port=port: refused(port), f"{address} is refused")


def change(t, daemon, tier, before, after, generation):
    """From these addresses to those under load; what both have loses nothing."""
    hammers = loads(t, *[address for address in before if address in after])
    since = relisten(daemon, after)
    check_equal(daemon.wait_end(since)["event"], "done", "end")
    check_serves(daemon, generation, *after)
    check_all_unharmed(hammers, tier)


def test_addresses_are_added_removed_reordered_and_replaced(t):
    for tier in TIERS:
        promise_most(tier)
        daemon = t.daemon(service(example(t), listen=[A], steering=tier))
        change(t, daemon, tier, [A], [A, B], 2)
        change(t, daemon, tier, [A, B], [B, A], 3)
        change(t, daemon, tier, [B, A], [C, A], 4)
        change(t, daemon, tier, [C, A], [A], 5)
        change(t, daemon, tier, [A], [B, C], 6)
        daemon.stop()


def test_addresses_change_for_servers_that_bind_them(t):
    for mode in ("native", "transparent"):
        share = ["--share"] if mode == "native" else []
        daemon = t.daemon(service(binder(t, "--listen", A, "--listen", B, *share), listen=[A, B],
                                  mode=mode))
        hammers = loads(t, B)
        daemon.config["services"]["web"]["command"] = [
            str(word) for word in binder(t, "--listen", C, "--listen", B, *share)]
        since = relisten(daemon, [C, B])
        check_equal(daemon.wait_end(since)["event"], "done", "end")
        check_serves(daemon, 2, C, B)
        check_all_unharmed(hammers)
        daemon.stop()


def test_addresses_of_a_release_that_fails_are_given_up(t):
    for tier in TIERS:
        promise_most(tier)
        daemon = t.daemon(service(example(t), listen=[A, B], steering=tier))
        hammers = loads(t, A, B)
        since = relisten(daemon, [B, C], health={"http": "/nowhere", **SOON})
        check(daemon.wait_end(since)["event"] in ("failed", "rolled-back"), "it fails")
        wait_until(lambda each=daemon: "8082" not in " ".join(
            address for address in listed(each)
            if any(found["listen"] == address and found["program"]
                   for found in each.service()["endpoints"])), "the new one is closed")
        check(refused(8082), "the new address is refused")
        for port in (8080, 8081):
            check_equal(generation_of(get(port=port).body), 1, f"who answers on {port}")
        check_all_unharmed(hammers, tier)
        daemon.stop()


def test_addresses_of_an_aborted_rollout_are_given_up(t):
    daemon = t.daemon(service(example(t), listen=[A, B], rollout={"bake": "1h"}))
    hammers = loads(t, A, B)
    since = relisten(daemon, [B, C])
    wait_step(daemon, "bake")
    check_equal(generation_of(get(port=8082).body), 2, "who answers on the new address")
    check_equal(generation_of(get(port=8080).body), 1, "who answers on the old one")
    daemon.cli("abort", "web", expect=0)
    check_equal(daemon.wait_end(since)["event"], "rolled-back", "end")
    wait_until(lambda: refused(8082), "the new address is refused")
    for port in (8080, 8081):
        check_equal(generation_of(get(port=port).body), 1, f"who answers on {port}")
    check_all_unharmed(hammers)


def test_rollback_goes_back_to_the_addresses_of_then(t):
    daemon = t.daemon(service(example(t), listen=[A, B]))
    since = relisten(daemon, [B, C], environment={"COLOUR": "green"})
    daemon.wait_end(since)
    hammers = loads(t, B)
    since = now(daemon)
    daemon.cli("rollback", "web", expect=0)
    daemon.wait_end(since)
    wait_until(lambda: refused(8082), "what only the other had is refused")
    for port in (8080, 8081):
        check_equal(generation_of(get(port=port).body), 3, f"who answers on {port}")
    check_all_unharmed(hammers)


STEPS = ("start", "verify", "settle", "bake")


def step_of(daemon):
    step = (daemon.service()["rollout"] or {}).get("step")
    return STEPS.index(step) if step in STEPS else -1


def test_batond_that_is_killed_while_addresses_change_leaves_those_that_serve(t):
    for step in ("verify", "settle", "bake"):
        daemon = t.daemon(service(example(t), listen=[A, B], rollout={"bake": "1h"}))
        hammers = loads(t, A, B)
        since = relisten(daemon, [B, C])
        wait_until(lambda each=daemon, at=step: step_of(each) >= STEPS.index(at), f"step {step}")
        daemon.process.popen.send_signal(signal.SIGKILL)
        daemon.process.popen.wait()
        daemon.start()
        daemon.wait_event("adopted", since=since)
        wait_until(lambda: refused(8082), "the new address is refused")
        for port in (8080, 8081):
            check_equal(generation_of(get(port=port).body), 1, f"who answers on {port}")
        wait_until(lambda each=daemon: len(each.service()["generations"]) == 1, "one is left")
        check_all_unharmed(hammers)
        # What the file says has not been forgotten.
        daemon.config["services"]["web"]["rollout"]["bake"] = "0"
        since = relisten(daemon, [B, C])
        check_equal(daemon.wait_end(since)["event"], "done", "end")
        check_equal(generation_of(get(port=8082).body), daemon.current(), "who answers")
        daemon.stop()


# ---- other names ---------------------------------------------------------------------------------

def rename(daemon, before, after, **changes):
    services = daemon.config["services"]
    services[after] = merged(services.pop(before), **changes)


def test_renamed_service_is_replaced_without_a_gap(t):
    for tier in TIERS:
        promise_most(tier)
        daemon = t.daemon(service(example(t), listen=[A], steering=tier))
        hammers = loads(t, A)
        since = now(daemon)
        rename(daemon, "web", "site")
        answer = reload(daemon)
        check_equal(answer["renamed"], [{"service": "site", "before": "web"}], "renamed")
        check_equal((answer["changed"], answer["removed"]), (["site"], []), "changed, removed")
        check_equal(daemon.wait_end(since, service="site")["event"], "done", "end")
        check_serves(daemon, 2, A, name="site")
        check_equal(daemon.api("/v1/services/web")[0], 404, "status of the old name")
        # A next batond knows it by its new name, and the old name is free.
        daemon.process.popen.send_signal(signal.SIGKILL)
        daemon.process.popen.wait()
        daemon.config["services"]["web"] = service(example(t), listen=[B], steering=tier)
        daemon.write_config()
        daemon.start()
        check_equal(generation_of(get(port=8080).body), 2, "who answers on the renamed one")
        daemon.wait_state("running", "web")
        check_equal(generation_of(get(port=8081).body), 1, "who answers on the new one")
        since = now(daemon)
        daemon.restart(service="site")
        daemon.restart(service="web")
        check_all_unharmed(hammers, tier)
        daemon.stop()


def test_service_that_was_renamed_while_no_batond_ran_is_taken_over(t):
    daemon = t.daemon(service(example(t), listen=[A]))
    hammers = loads(t, A)
    daemon.process.popen.send_signal(signal.SIGKILL)
    daemon.process.popen.wait()
    rename(daemon, "web", "site")
    daemon.write_config()
    daemon.start()
    daemon.wait_state("running", "site")
    check_equal(generation_of(get().body), 1, "who answers")
    daemon.restart(service="site")
    check_equal(generation_of(get().body), 2, "who answers")
    check_all_unharmed(hammers)


def test_renamed_service_that_cannot_be_replaced_goes_on(t):
    daemon = t.daemon(service(example(t), listen=[A]))
    hammers = loads(t, A)
    rename(daemon, "web", "site", user="nobody")
    answer = reload(daemon, expect=1)
    check_equal(answer["removed"], [], "removed")
    check("web has 127.0.0.1:8080, and goes on" in answer["refused"][0]["detail"], f"{answer}")
    check_equal(daemon.state(), "running", "the old one")
    rename(daemon, "site", "site", user="root")
    answer = reload(daemon)
    check_equal(answer["renamed"], [{"service": "site", "before": "web"}], "renamed")
    daemon.wait_state("running", "site")
    wait_until(lambda: generation_of(get().body) == 2, "the new one answers")
    check_all_unharmed(hammers)


# ---- from one service to another -----------------------------------------------------------------

def test_address_moves_to_another_service_without_a_gap(t):
    for tier in TIERS:
        promise_most(tier)
        daemon = t.daemon(web=service(example(t), listen=[A, B], steering=tier),
                          api=service(example(t), listen=[C], steering=tier))
        hammers = loads(t, A, B, C)
        since = now(daemon)
        services = daemon.config["services"]
        services["web"]["listen"], services["api"]["listen"] = [A], [C, B]
        answer = reload(daemon)
        check_equal(answer["changed"], ["api"], f"{answer}")
        check_equal([each["service"] for each in answer["waiting"]], ["web"], "waiting")
        check_equal(daemon.wait_end(since, service="api")["event"], "done", "end")
        check_equal(daemon.wait_end(since, service="web")["event"], "done", "end")
        check_equal((listed(daemon), listed(daemon, "api")), ([A], [C, B]), "addresses")
        for name in ("web", "api"):
            daemon.restart(service=name)
        check_all_unharmed(hammers, tier)
        for name in ("web", "api"):
            check_equal(daemon.events("stranger", service=name), [], "strangers")
        daemon.stop()


def test_address_moves_to_a_new_service_and_that_of_a_removed_one(t):
    daemon = t.daemon(web=service(example(t), listen=[A, B]), api=service(example(t), listen=[C]))
    hammers = loads(t, A, B, C)
    since = now(daemon)
    services = daemon.config["services"]
    services["web"]["listen"] = [A]
    services["new"] = service(example(t), listen=[B])
    reload(daemon)
    for name in ("new", "web"):
        check_equal(daemon.wait_end(since, service=name)["event"], "done", "end")
    since = now(daemon)
    del services["api"]
    services["new"]["listen"] = [C, B]
    reload(daemon)
    check_equal(daemon.wait_end(since, service="new")["event"], "done", "end")
    wait_until(lambda: daemon.api("/v1/services/api")[0] == 404, "the removed one is gone")
    check_all_unharmed(hammers)


def test_address_stays_if_the_other_service_fails(t):
    daemon = t.daemon(web=service(example(t), listen=[A, B]), api=service(example(t), listen=[C]))
    hammers = loads(t, A, B, C)
    since = now(daemon)
    services = daemon.config["services"]
    services["web"]["listen"] = [A]
    services["api"] = merged(services["api"], listen=[B, C], health={"http": "/nowhere", **SOON})
    reload(daemon)
    check(daemon.wait_end(since, service="api")["event"] in ("failed", "rolled-back"), "it fails")
    event = daemon.wait_event("refused", since=since)
    check("it stays as it is: api has not taken over 127.0.0.1:8081" in event["message"], f"{event}")
    check_equal((daemon.current(), daemon.current("api")), (1, 1), "who serves")
    check_all_unharmed(hammers)


def test_addresses_that_two_services_exchange_are_refused(t):
    daemon = t.daemon(web=service(example(t), listen=[A]), api=service(example(t), listen=[B]))
    hammers = loads(t, A, B)
    services = daemon.config["services"]
    services["web"]["listen"], services["api"]["listen"] = [B], [A]
    answer = reload(daemon, expect=1)
    check_equal(sorted(each["service"] for each in answer["refused"]), ["api", "web"], "refused")
    check("exchanges addresses" in answer["refused"][0]["detail"], f"{answer}")
    check_equal((daemon.current(), daemon.current("api")), (1, 1), "who serves")
    check_all_unharmed(hammers)


def test_batond_that_is_killed_while_an_address_moves_leaves_it_where_it_is_served(t):
    for name, step in (("api", "verify"), ("web", "bake")):
        daemon = t.daemon(web=service(example(t), listen=[A, B], rollout={"bake": "1h"}),
                          api=service(example(t), listen=[C]))
        hammers = loads(t, A, B, C)
        services = daemon.config["services"]
        services["web"]["listen"], services["api"]["listen"] = [A], [C, B]
        if name == "api":
            services["api"]["health"]["http"] = "/nowhere"
        reload(daemon)
        wait_step(daemon, step, name)
        daemon.process.popen.send_signal(signal.SIGKILL)
        daemon.process.popen.wait()
        services["api"]["health"]["http"] = "/healthz"
        services["web"]["rollout"]["bake"] = "0"
        daemon.write_config()
        daemon.start()
        for each in ("web", "api"):
            daemon.wait_state("running", each)
        reload(daemon)
        wait_until(lambda each=daemon: (listed(each), listed(each, "api")) == ([A], [C, B]),
                   "the address is where the file says")
        check_all_unharmed(hammers)
        daemon.stop()


# ---- what cannot be done -------------------------------------------------------------------------

def test_addresses_that_overlap_with_those_of_another_service_are_refused(t):
    """Of the same service: test_crossing.py."""
    for wide in ("0.0.0.0:8080", ":8080"):
        for before, after in ((A, wide), (wide, A)):
            daemon = t.daemon(service(example(t), listen=[before]))
            hammers = loads(t, A)
            rename(daemon, "web", "site", listen=[after])
            answer = reload(daemon, expect=1)
            check(f"{after} overlaps with {before}" in answer["refused"][0]["detail"], f"{answer}")
            check_equal((daemon.current(), answer["removed"]), (1, []), "who serves, removed")
            check_all_unharmed(hammers)
            daemon.stop()
