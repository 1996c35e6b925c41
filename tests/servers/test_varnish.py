# SPDX-License-Identifier: BSD-2-Clause
"""varnish, a proxy that cannot drain: on TERM it exits with status 0, in the middle of requests."""

from servers import PYTHON_LOAD, application, by_generation, found, varnish
from underway import Waiting, cut


def test_varnish_is_found_to_need_transparent_and_swapped_under_load(t):
    application(t)
    config = varnish(t, drain={"wait": "connections", "idle_timeout": "2s"})
    found(t, config, "transparent", by_generation, PYTHON_LOAD)


def test_varnish_term_cuts_requests(t):
    application(t, slow_s=50)
    cut(t, varnish(t), Waiting, "TERM")
