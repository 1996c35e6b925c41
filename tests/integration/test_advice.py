# SPDX-License-Identifier: BSD-2-Clause
"""Of a server whose sockets are not what its service declares people read what is so, and what to write."""

import pathlib

from harness import check
from services import service, soon

ODDBALL = pathlib.Path(__file__).with_name("oddball.py")
QUICK = {"start_timeout": soon(2), "timeout": soon(0.3), "interval": "50ms"}
V4, V6, BOTH = "127.0.0.1:8080", "[::1]:8080", ":8080"
WWW_DATA = 33
SHELL = pathlib.Path("/bin/sh").resolve().name


def oddball(t, *steps, **changes):
    source = t.file("oddball.py", ODDBALL.read_text())
    changes.setdefault("health", {}).update(QUICK)
    return service(["/usr/bin/python3", "-S", source, *steps], **changes)


def reads(t, config, *expected, unexpected=()):
    """A first start fails: status says all of @expected, and the reason is the same everywhere."""
    daemon = t.daemon(config, start=False).start_unready()
    daemon.wait_state("failed")
    status = daemon.cli("status", "web", expect=None).text
    reason = daemon.service()["reason"]
    for each in expected:
        check(each in reason, f"no {each!r}: {reason}")
        check(each in status, f"no {each!r}: {status}")
    for each in unexpected:
        check(each not in reason, f"{each!r}: {reason}")
    check(reason in daemon.wait_event("failed")["reason"], "the event's reason")
    return daemon


# ---- "Address already in use" --------------------------------------------------------------------

def test_server_that_changed_its_user_before_it_bound_is_told_the_user(t):
    config = oddball(t, f"user={WWW_DATA}", f"bind={V4}", mode="transparent")
    reads(t, config, "www-data (uid 33)", "root (uid 0)", '"user": "www-data"')


def test_server_that_changed_its_user_is_told_the_user_cbpf(t):
    config = oddball(t, "share", f"user={WWW_DATA}", f"bind={V4}", mode="native", steering="cbpf")
    reads(t, config, "www-data (uid 33)", "root (uid 0)", '"user": "www-data"')


def test_server_that_changed_its_user_is_told_the_user_hash(t):
    config = oddball(t, "share", f"bind={V4}", f"user={WWW_DATA}", f"bind={V4}", mode="native",
                     steering="hash")
    reads(t, config, "www-data (uid 33)", "root (uid 0)", '"user": "www-data"')


def test_worker_that_changed_its_user_is_told_the_user(t):
    script = t.file("oddball.py", ODDBALL.read_text())
    config = service(["/bin/sh", "-c", f"/usr/bin/python3 -S {script} user=33 bind={V4}; exit $?"],
                     mode="transparent", health=dict(QUICK))
    reads(t, config, "www-data (uid 33)", '"user": "www-data"')


def test_dual_stack_server_under_an_ipv4_service_is_told_to_declare_both(t):
    reads(t, oddball(t, "bind=[::]:8080"), V4, '"listen": ":8080"')


def test_dual_stack_server_under_the_ipv4_wildcard_is_told_to_declare_both(t):
    reads(t, oddball(t, "bind=[::]:8080", listen="0.0.0.0:8080"), '"listen": ":8080"')


def test_dual_stack_server_is_told_to_declare_both_cbpf(t):
    reads(t, oddball(t, "bind=[::]:8080", steering="cbpf"), '"listen": ":8080"')


def test_dual_stack_server_is_told_to_declare_both_hash(t):
    reads(t, oddball(t, "bind=[::]:8080", steering="hash"), '"listen": ":8080"')


def test_dual_stack_server_in_mode_native_is_told_to_declare_both(t):
    reads(t, oddball(t, "bind=[::]:8080", mode="native"), V4, '"listen": ":8080"')


def test_ipv4_server_under_a_dual_stack_service_is_told_what_it_binds(t):
    reads(t, oddball(t, "bind=0.0.0.0:8080", listen=BOTH), '"listen": "0.0.0.0:8080"',
          '"listen" says :8080')


def test_server_with_a_wildcard_under_a_declared_address_is_told_what_it_binds(t):
    reads(t, oddball(t, "bind=0.0.0.0:8080"), '"listen": "0.0.0.0:8080"')


def test_server_with_an_undeclared_port_that_the_other_generation_has_is_told(t):
    daemon = t.daemon(oddball(t, f"bind={V4}", "bind=127.0.0.1:9090"))
    result = daemon.cli("restart", "web", expect=3)
    check('"listen": ["127.0.0.1:8080", "127.0.0.1:9090"]' in result.text, result.text)


def test_server_that_does_not_share_is_told_the_mode(t):
    reads(t, oddball(t, f"bind={V4}", mode="native"), "reuse-port option",
          'use mode "transparent"')


def test_server_that_does_not_share_is_told_why_baton_cannot_make_it(t):
    reads(t, oddball(t, f"bind={V4}", mode="native", steering="cbpf"), "reuse-port option",
          "tier cbpf", unexpected=["run batond as root", 'use mode "transparent"'])


# ---- elsewhere -----------------------------------------------------------------------------------

def shares(t, declared, *steps, **changes):
    return oddball(t, "share", *steps, listen=declared, **changes)


def test_server_that_shares_a_dual_stack_socket_is_told_to_declare_both(t):
    reads(t, shares(t, V4, "bind=[::]:8080", mode="native"), V4, '"listen": ":8080"')


def test_server_that_shares_a_dual_stack_socket_is_told_to_declare_both_cbpf(t):
    reads(t, shares(t, "0.0.0.0:8080", "bind=[::]:8080", mode="native", steering="cbpf"),
          '"listen" says 0.0.0.0:8080', '"listen": ":8080"')


def test_server_of_two_wildcards_in_one_socket_is_told_to_declare_both(t):
    reads(t, shares(t, ["0.0.0.0:8080", "[::]:8080"], "bind=[::]:8080", mode="native"),
          '"listen": ":8080"')


def test_server_with_a_wildcard_instead_of_an_address_is_told_both(t):
    reads(t, shares(t, V4, "bind=0.0.0.0:8080", mode="native"), "listens on 0.0.0.0:8080",
          f'"listen" says {V4}', '"listen": "0.0.0.0:8080"')


def test_server_with_an_address_instead_of_a_wildcard_is_told_both(t):
    reads(t, shares(t, "0.0.0.0:8080", f"bind={V4}", mode="native"), f"listens on {V4}",
          '"listen" says 0.0.0.0:8080', f'"listen": "{V4}"')


def test_server_with_an_address_instead_of_a_dual_stack_wildcard_is_told_both(t):
    reads(t, shares(t, BOTH, f"bind={V4}", mode="native"), f"listens on {V4}",
          f'"listen" says {BOTH}', f'"listen": "{V4}"')


def test_server_with_two_sockets_instead_of_a_dual_stack_one_is_told_all(t):
    reads(t, shares(t, BOTH, "v6only", "bind=0.0.0.0:8080", "bind=[::]:8080", mode="native"),
          '"listen": ["0.0.0.0:8080", "[::]:8080"]')


def test_server_on_another_port_is_told_both_hash(t):
    reads(t, shares(t, V4, "bind=127.0.0.1:8081", mode="native", steering="hash"),
          "listens on 127.0.0.1:8081", f'"listen" says {V4}', '"listen": "127.0.0.1:8081"')


# ---- missing -------------------------------------------------------------------------------------

def test_addresses_that_are_missing_are_named(t):
    reads(t, shares(t, [V4, "127.0.0.1:8081", "127.0.0.1:8082"], "bind=127.0.0.1:8081",
                    mode="native"), f"does not listen on {V4} and 127.0.0.1:8082")


def test_address_that_is_missing_is_named_although_a_socket_was_passed_for_it(t):
    reads(t, oddball(t, f"bind={V4}", listen=[V4, "127.0.0.1:8081"]),
          "does not listen on 127.0.0.1:8081")


# ---- unusable ------------------------------------------------------------------------------------

def test_listener_with_mptcp_is_told(t):
    config = shares(t, V4, "mptcp", f"bind={V4}", mode="native")
    daemon = reads(t, config, f"listens on {V4} with MPTCP", "have it listen with TCP")
    check("MPTCP" in daemon.wait_event("sockets")["message"], "the event")


def test_listener_with_mptcp_makes_unhealthy_although_it_serves_by_another_socket(t):
    config = shares(t, [V4, "127.0.0.1:8081"], f"bind={V4}", "bind=127.0.0.1:8081", "mptcp",
                    f"bind={V4}", mode="native", restart={"max": 0})
    daemon = t.daemon(config)
    told = daemon.wait_event("unhealthy")["message"]
    check(f"its server listens on {V4} with MPTCP" in told, told)
    check("MPTCP" in daemon.generation()["instances"][0]["unusable"], "unusable")
    status = daemon.cli("status", "web").out
    check(f"unusable   instance 0 of generation 1 listens on {V4} with MPTCP" in status, status)


# ---- wrappers ------------------------------------------------------------------------------------

def wrapped(t, *steps, shell="exit", **changes):
    """A shell that does not exec its server: LISTEN_PID names the shell."""
    script = t.file("oddball.py", ODDBALL.read_text())
    command = f"/usr/bin/python3 -S {script} {' '.join(steps)}; {shell}"
    return service(["/bin/sh", "-c", command], health=dict(QUICK), **changes)


def test_server_behind_a_wrapper_that_waits_for_ever_is_told_whose_pid_listen_pid_has(t):
    daemon = reads(t, wrapped(t, "passed", mode="inherit"), "LISTEN_PID", "python3", SHELL, "exec",
                   "{fd}")
    check("was not healthy" in daemon.service()["reason"], "reason")


def test_server_behind_a_wrapper_that_binds_is_told_whose_pid_listen_pid_has(t):
    config = wrapped(t, f"bind={V4}", shell="exit 3", mode="inherit")
    reads(t, config, "Address already in use", "LISTEN_PID", f'"{SHELL}"', "exec", "{fd}")


def test_server_behind_a_wrapper_that_ends_is_told_whose_pid_listen_pid_has(t):
    config = wrapped(t, "unknown", shell="exit 3", mode="inherit")
    reads(t, config, "exited with status 3", "LISTEN_PID", f'"{SHELL}"', "exec", "{fd}")


def test_server_behind_a_wrapper_is_found_by_itself_where_baton_shares_its_port(t):
    daemon = t.daemon(wrapped(t, f"bind={V4}"))
    check(daemon.generation()["mode"] == "transparent", "mode")


def test_shell_that_execs_its_server_is_no_wrapper(t):
    script = t.file("oddball.py", ODDBALL.read_text())
    config = service(["/bin/sh", "-c", f"true & wait; exec /usr/bin/python3 -S {script} deaf"],
                     mode="inherit", health=dict(QUICK))
    reads(t, config, "was not healthy", unexpected=["LISTEN_PID"])


def test_server_in_mode_inherit_that_binds_is_told_to_take_the_socket(t):
    reads(t, oddball(t, f"bind={V4}", mode="inherit"), "the socket that is passed to it",
          'mode "auto"', unexpected=["LISTEN_PID"])
