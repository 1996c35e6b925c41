# SPDX-License-Identifier: BSD-2-Clause
"""memcached, which cannot drain: on TERM it exits with status 0, in the middle of what it does."""

from servers import memcached
from underway import Client, cut, unharmed


class Storing(Client):
    """A value, half sent, right after a command that was answered."""

    def __init__(self):
        super().__init__()
        self.ask(b"version\r\n", b"\r\n")
        self.say(b"set key 0 0 10\r\nhello")

    def finish(self):
        return self.say(b"hello\r\n") and self.until_end(b"STORED\r\n")


def test_memcached_is_left_alone_until_its_clients_have_gone(t):
    unharmed(t, memcached(), Storing)


def test_memcached_term_cuts_commands(t):
    config = memcached()
    del config["drain"]["wait"]
    cut(t, config, Storing, "TERM")
