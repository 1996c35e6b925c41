# SPDX-License-Identifier: BSD-2-Clause
"""php-fpm, which drains on QUIT, for as long as its process_control_timeout lasts: 0 by default."""

import struct

from servers import php_fpm
from underway import Client, cut, unharmed


def record(kind, body):
    """Of FastCGI, for request 1."""
    return struct.pack(">BBHHBB", 1, kind, 1, len(body), 0, 0) + body


class Waiting(Client):
    def __init__(self, script):
        super().__init__()
        pairs = {b"SCRIPT_FILENAME": str(script).encode(), b"REQUEST_METHOD": b"GET"}
        self.say(record(1, b"\0\1\0\0\0\0\0\0") +
                 record(4, b"".join(bytes((len(k), len(v))) + k + v for k, v in pairs.items())) +
                 record(4, b"") + record(5, b""))

    def finish(self):
        return self.until(lambda received: b"slow answer" in received)


def slow(t):
    """(a kind of client, what lets their requests be answered)"""
    go = t.tmp / "go"
    script = t.file("slow.php", f'<?php while (!file_exists("{go}")) {{ usleep(50000); '
                    'clearstatcache(); } echo "slow answer";')
    return lambda: Waiting(script), lambda: go.write_text("")


def test_php_fpm_quit_finishes_requests(t):
    kind, let_go = slow(t)
    unharmed(t, php_fpm(t), kind, let_go)


def test_php_fpm_term_cuts_requests(t):
    cut(t, php_fpm(t), slow(t)[0], "TERM")


def test_php_fpm_quit_cuts_requests_without_process_control_timeout(t):
    config = php_fpm(t, ("process_control_timeout = 30s", ""))
    cut(t, config, slow(t)[0], "QUIT")
