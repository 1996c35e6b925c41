# SPDX-License-Identifier: BSD-2-Clause
"""
squid, a proxy. On TERM it finishes requests that it has passed on, not all others, and stays until its
shutdown_lifetime is over: so nothing is sent to it before its clients have gone.
"""

from servers import PYTHON_LOAD, application, by_generation, found, squid
from underway import Waiting, unharmed

WAIT = {"wait": "connections", "idle_timeout": "2s", "kill_timeout": "1s"}
LOAD = (*PYTHON_LOAD, "--slow-post", 4, "--post-bytes", 4000, "--post-duration", "300ms",
        "--post-path", "/post")


def test_squid_is_found_to_need_transparent_and_swapped_under_load(t):
    application(t)
    found(t, squid(t, drain=WAIT), "transparent", by_generation, LOAD)


def test_squid_term_finishes_requests_that_it_has_passed_on(t):
    application(t)
    unharmed(t, squid(t, drain={"kill_timeout": "1s", "signal": "TERM"}), Waiting)
