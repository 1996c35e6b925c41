# SPDX-License-Identifier: BSD-2-Clause
"""puma, which takes the socket that it is given for its address."""

from servers import found, puma


def test_puma_is_found_to_inherit_and_swapped_under_load(t):
    found(t, puma(t), "inherit")
