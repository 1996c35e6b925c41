# SPDX-License-Identifier: BSD-2-Clause
"""apache2, which drains on WINCH. On TERM it closes what it has, and exits with status 0."""

from harness import timeout
from servers import FILES_LOAD, SWAPS, apache, by_generation, found, swapped
from underway import Download, Folders, Idle, Waiting, cut, unharmed

MODULES = "/usr/lib/apache2/modules"


def with_cgi(t):
    return apache(t, f"LoadModule cgid_module {MODULES}/mod_cgid.so",
                  f"LoadModule mime_module {MODULES}/mod_mime.so", "TypesConfig /dev/null",
                  f"ScriptSock {t.tmp}/${{GENERATION}}.sock", "AddHandler cgi-script .cgi",
                  f"<Directory {t.tmp}/www>", "Options +ExecCGI", "</Directory>")


@timeout(600)
def test_apache_transparent_swapped_10_times_under_load(t):
    Folders(t, SWAPS + 1)
    swapped(t, apache(t), "transparent", by_generation, FILES_LOAD)


def test_apache_is_found_to_need_transparent(t):
    Folders(t, SWAPS + 1)
    found(t, apache(t), "transparent", by_generation, FILES_LOAD)


def test_apache_winch_finishes_downloads(t):
    Folders(t, 2)
    unharmed(t, apache(t), Download)


def test_apache_winch_finishes_requests(t):
    let_go = Folders(t, 2).let_go
    unharmed(t, with_cgi(t), Waiting, let_go)


def test_apache_winch_closes_idle_connections(t):
    Folders(t, 2)
    unharmed(t, apache(t), Idle)


def test_apache_term_cuts_requests(t):
    Folders(t, 2)
    cut(t, with_cgi(t), Waiting, "TERM")
