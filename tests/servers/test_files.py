# SPDX-License-Identifier: BSD-2-Clause
"""Files that a server wants for itself: what is said when the other generation has them, and the remedy."""

from harness import check, check_equal
from servers import ADDRESS, gunicorn, nginx
from services import reconfigure


def told(t, config, *expected):
    """The second generation does not start, and the order says why, and what to write."""
    daemon = t.daemon(config)
    result = daemon.cli("restart", "web", expect=3)
    for each in expected:
        check(each in result.text, f"no {each!r}: {result.text}")
    check_equal(daemon.current(), 1, "who serves")
    return daemon


def mended(daemon, **changes):
    since = daemon.last_seq()
    reconfigure(daemon, **changes)
    check_equal(daemon.wait_end(since)["event"], "done", "end")


def test_gunicorn_pid_file_is_told_with_its_remedy(t):
    config = gunicorn(t, "--pid", f"{t.tmp}/g.pid")
    pid_file = f"{t.tmp}/g.{{generation}}.pid"
    daemon = told(t, config, f"its pid file ({t.tmp}/g.pid) says that it runs already",
                  f'such as "{pid_file}"', "Already running on PID")
    command = [pid_file if word == f"{t.tmp}/g.pid" else word for word in config["command"]]
    mended(daemon, command=command)


def test_nginx_unix_socket_is_told(t):
    config = nginx(t, f"{ADDRESS}; listen unix:{t.tmp}/web.sock")
    told(t, config, f"the unix socket that it binds ({t.tmp}/web.sock) is there already",
         f'such as "{t.tmp}/web.{{generation}}.sock"', "98: Address already in use")
