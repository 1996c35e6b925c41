# SPDX-License-Identifier: BSD-2-Clause
"""squid, a proxy: on TERM it finishes requests, and stays until its shutdown_lifetime is over."""

from servers import application, by_generation, found, squid
from underway import Waiting, unharmed

DRAIN = {"kill_timeout": "1s"}


def test_squid_is_found_to_need_transparent_and_swapped_under_load(t):
    application(t)
    found(t, squid(t, drain=DRAIN), "transparent", by_generation)


def test_squid_term_finishes_requests(t):
    application(t)
    unharmed(t, squid(t, drain={**DRAIN, "signal": "TERM"}), Waiting)
