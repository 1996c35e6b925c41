# SPDX-License-Identifier: BSD-2-Clause
"""recorded: what batond and agents of an earlier version have said (tests/recorded/record.py)."""

import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "recorded"


class Message:
    """A line of a session: who says it, with how many descriptors, and its bytes."""

    def __init__(self, line):
        self.who, _, rest = line.partition(" ")
        fds, _, text = rest.partition(" ")
        self.n_fds = int(fds or 0)
        self.text = text
        self.json = json.loads(text) if text else {}
        self.type = self.json.get("type", self.who)


def session(version):
    """Its messages, in their order."""
    return [Message(line) for line in (FOLDER / str(version) / "session").read_text().split("\n")
            if line]


def spec_of(messages):
    return next(message for message in messages if message.who == "spec").json


def lacks(new, old, where=""):
    """
    What an end that has learnt to read @old would miss in @new: members that are not there, or are
    of another type. Of arrays of objects each is looked at as the first of the old ones.
    """
    if type(new) is not type(old):
        return [f"{where or 'all of it'}: {new!r}, not as {old!r}"]
    if isinstance(old, dict):
        return [text for key, value in old.items() for text in (
            lacks(new[key], value, f"{where}.{key}") if key in new else [f"{where}.{key}"])]
    if isinstance(old, list) and old:
        return [text for value in new for text in lacks(value, old[0], f"{where}[]")]
    return []
