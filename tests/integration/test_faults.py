# SPDX-License-Identifier: BSD-2-Clause
"""
One call of the C library fails in the midst of a rollout under load: an allocation, or a system
call that Linux may refuse. The rollout is done or has failed with one message, nobody lost a
connection, nothing is left over, and the next rollout works.

Here a sample of the calls; "make faults" goes through all of them.
"""

from faults import run

SAMPLE_S = 6.0


def test_faults_of_batond_on_ebpf(t):
    run(t, "ebpf", "batond", SAMPLE_S)


def test_faults_of_agents_on_ebpf(t):
    run(t, "ebpf", "agent", SAMPLE_S)


def test_faults_of_batond_on_cbpf(t):
    run(t, "cbpf", "batond", SAMPLE_S)


def test_faults_of_agents_on_cbpf(t):
    run(t, "cbpf", "agent", SAMPLE_S)


def test_faults_of_batond_on_hash(t):
    run(t, "hash", "batond", SAMPLE_S)


def test_faults_of_agents_on_hash(t):
    run(t, "hash", "agent", SAMPLE_S)
