# SPDX-License-Identifier: BSD-2-Clause
"""uwsgi, with a master and two workers."""

from servers import found, uwsgi

GRACEFUL = ("--hook-master-start", "unix_signal:15 gracefully_kill_them_all")


def test_uwsgi_is_found_to_inherit_and_swapped_under_load(t):
    found(t, uwsgi(t, *GRACEFUL), "inherit")
