# SPDX-License-Identifier: BSD-2-Clause
"""What runs as root is built so that a mistake in it is hard to use."""

import subprocess

from harness import check


def readelf(t, program, *options):
    return subprocess.run(["readelf", "-W", *options, t.program(program)], check=True, text=True,
                          capture_output=True).stdout


def hardened(t, program):
    check("Type:                              DYN" in readelf(t, program, "-h"),
          f"{program} has a fixed address (-pie)")
    headers, dynamic = readelf(t, program, "-l"), readelf(t, program, "-d")
    check("GNU_RELRO" in headers and "BIND_NOW" in dynamic,
          f"{program}: its table of functions can be written to (-z relro -z now)")
    check("RWE" not in headers, f"{program}: memory that can be written to is executable")
    symbols = readelf(t, program, "-s")
    check("__stack_chk_fail" in symbols, f"{program} is built without -fstack-protector")
    check("snprintf_chk" in symbols, f"{program} is built without _FORTIFY_SOURCE")


def test_hardening_batond(t):
    hardened(t, "batond")


def test_hardening_agent(t):
    hardened(t, "baton-agent")


def test_hardening_cli(t):
    hardened(t, "baton")
