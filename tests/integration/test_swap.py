# SPDX-License-Identifier: BSD-2-Clause
"""Servers are replaced under load at full speed, and no connection is lost."""

from harness import check_equal, timeout
from services import example, generation_of, nginx, service
from swaps import by_pid, check_unharmed, swap_many


@timeout(600)
def test_nginx_swapped_20_times_under_load_loses_nothing(t):
    daemon = t.daemon(nginx(t))
    swap_many(t, daemon, by_pid(daemon))


@timeout(600)
def test_example_server_swapped_20_times_under_load_loses_nothing(t):
    daemon = t.daemon(service(example(t)))

    def answered_by(generation):
        def judge(body):
            check_equal(generation_of(body), generation, f"generation in {body!r}")
        return judge
    swap_many(t, daemon, answered_by)


@timeout(600)
def test_example_server_swapped_with_clients_that_wait_for_the_old_one(t):
    """Slow requests only: each swap finds some under way, which the old generation finishes."""
    daemon = t.daemon(service(example(t)))
    hammer = t.hammer("--slow-post", 16, "--post-bytes", 2000, "--post-duration", "500ms",
                      "--post-path", "/post", "--short", 0, "--timeout", "30s",
                      "--expect-status", 200)
    for _ in range(5):
        daemon.restart()
    check_unharmed(hammer, 16)
