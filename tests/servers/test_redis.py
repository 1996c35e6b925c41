# SPDX-License-Identifier: BSD-2-Clause
"""redis, which cannot drain: on TERM it exits with status 0, in the middle of what it does."""

from servers import redis
from underway import BIG, Client, cut, unharmed


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Waiting(Client):
    """A command that waits, right after one that was answered."""

    seconds = b"1"

    def __init__(self):
        super().__init__()
        self.ask(command(b"PING"), b"+PONG\r\n")
        self.say(command(b"BLPOP", b"queue", self.seconds))

    def finish(self):
        return self.until_end(b"*-1\r\n")


class Blocked(Waiting):
    """Until it is cut."""

    seconds = b"0"


class Large(Client):
    """A large value, half read."""

    def __init__(self):
        super().__init__()
        self.ask(command(b"SET", b"big", bytes(BIG)), b"+OK\r\n")
        self.say(command(b"GET", b"big"))
        self.until(len)

    def finish(self):
        return self.until(lambda received: len(received) > BIG)


def test_redis_is_left_alone_until_its_clients_have_gone(t):
    unharmed(t, redis(t), Waiting)


def test_redis_term_cuts_commands(t):
    cut(t, without_wait(redis(t)), Blocked, "TERM")


def test_redis_term_cuts_answers(t):
    cut(t, without_wait(redis(t)), Large, "TERM")


def without_wait(config):
    del config["drain"]["wait"]
    return config
