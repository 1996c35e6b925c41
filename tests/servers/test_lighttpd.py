# SPDX-License-Identifier: BSD-2-Clause
"""lighttpd, which drains on INT. On TERM it ends at once, with status 1."""

from harness import timeout
from servers import FILES_LOAD, SWAPS, by_generation, found, lighttpd, swapped
from underway import Download, Folders, Idle, Waiting, cut, unharmed

CGI = ('server.modules += ( "mod_cgi" )', 'cgi.assign = ( ".cgi" => "" )')


@timeout(600)
def test_lighttpd_transparent_swapped_10_times_under_load(t):
    Folders(t, SWAPS + 1)
    swapped(t, lighttpd(t), "transparent", by_generation, FILES_LOAD)


def test_lighttpd_is_found_to_need_transparent(t):
    Folders(t, SWAPS + 1)
    found(t, lighttpd(t), "transparent", by_generation, FILES_LOAD)


def test_lighttpd_int_finishes_downloads(t):
    Folders(t, 2)
    unharmed(t, lighttpd(t), Download)


def test_lighttpd_int_finishes_requests(t):
    let_go = Folders(t, 2).let_go
    unharmed(t, lighttpd(t, *CGI), Waiting, let_go)


def test_lighttpd_int_closes_idle_connections(t):
    Folders(t, 2)
    unharmed(t, lighttpd(t), Idle)


def test_lighttpd_term_cuts_downloads(t):
    Folders(t, 2)
    cut(t, lighttpd(t), Download, "TERM")


def test_lighttpd_term_cuts_requests(t):
    Folders(t, 2)
    cut(t, lighttpd(t, *CGI), Waiting, "TERM")
