# SPDX-License-Identifier: BSD-2-Clause
"""Two daemons of one name: the second waits for one that is about to end (test_cli: or is refused)."""

import signal

from harness import check_equal, send_signal, wait_until
from services import example, service


def test_successor_waits_for_a_daemon_that_is_about_to_end(t):
    daemon = t.daemon(service(example(t)))
    pid = daemon.server_pid()
    # It ends, but not yet: it stands still, and has the lock.
    send_signal(daemon.pid, signal.SIGSTOP)
    second = t.spawn("second", *daemon.command())
    wait_until(lambda: f"for pid {daemon.pid}, which has /run/" in second.text(), "it waits")
    send_signal(daemon.pid, signal.SIGKILL)
    daemon.process.wait()
    daemon.process = second
    daemon.wait_state("running")
    check_equal(daemon.server_pid(), pid, "the server goes on")
    daemon.stop()
