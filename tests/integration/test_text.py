# SPDX-License-Identifier: BSD-2-Clause
"""Text from outside: whatever a server says, and however it is called, no control character is shown."""

import json
import unicodedata

from harness import check, check_equal, get, wait_until
from services import service

# A colour, a title, the 8-bit CSI (also with a carriage return in it, or a whole sequence), a cursor
# at home, half a character, and a text that runs backwards.
EVIL = (b"\x1b[31mE\x1b]0;t\x07\xc2\x9b2J\xc2\r\x9b2J\xc2\x1b[m\x9b2J\x9b2J\x7f\xe2\x80\xae\xff\xc3\x00"
        b"\xe2\x80\xa8Z")
HOSTILE = rf"""
import ctypes, os, socket, sys, threading
EVIL = {EVIL!r}
SO_DETACH_REUSEPORT_BPF, PR_SET_NAME = 68, 15
libc = ctypes.CDLL(None)
listener = socket.socket(fileno=3)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = os.environ["NOTIFY_SOCKET"]
notify.connect("\0" + address[1:] if address[0] == "@" else address)
notify.send(b"STATUS=" + EVIL)
status = b"200"
while True:
    connection, _ = listener.accept()
    head = connection.recv(4096)
    if head.startswith(b"GET /evil"):
        libc.prctl(PR_SET_NAME, b"\x1b[2J\xc2\x9b\"\n\xff\xc3\xa4", 0, 0, 0)
        listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)
        os.write(2, EVIL + b"\n")
        status = b"503"
    if head.startswith(b"GET /end"):
        os._exit(3)
    line = EVIL.replace(b"\r", b"").replace(b"\0", b"")
    connection.sendall(b"HTTP/1.1 " + status + b" " + line + b"\r\nLocation: /" + line +
                       b"\r\nContent-Length: " + str(len(EVIL)).encode() +
                       b"\r\nConnection: close\r\n\r\n" + EVIL)
    connection.close()
"""


def controls(text):
    """Those that a terminal obeys, or that turn text around; NL and TAB are none here."""
    return {char for char in text if char not in "\n\t" and
            (unicodedata.category(char) == "Cc" or 0x2028 <= ord(char) <= 0x202e or
             0x2066 <= ord(char) <= 0x2069)}


def texts(value):
    """All texts in a JSON value."""
    if isinstance(value, dict):
        return [text for key, each in value.items() for text in (key, *texts(each))]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


def check_shown(daemon, expected):
    """In status, events, log and command line; each of @expected is somewhere."""
    shown = texts(daemon.service()) + texts(daemon.events())
    for words in (("status",), ("status", "web"), ("events",), ("list",)):
        shown.append(daemon.cli(*words).text)
    status = daemon.cli("status", "web", "--json").out
    events = daemon.cli("events", "--json").out
    shown += [status, *texts(json.loads(status)), events]
    shown += [text for line in events.splitlines() for text in texts(json.loads(line))]
    shown.append(daemon.process.log.read_bytes().decode())  # UTF-8, or this fails
    for text in shown:
        check_equal(controls(text), set(), f"control characters in {text!r}")
    for each in expected:
        check(any(each in text for text in shown), f"{each!r} is nowhere in {shown}")


def test_text_of_a_hostile_server_is_cleaned_wherever_it_is_shown(t):
    daemon = t.daemon(service(["/usr/bin/python3", "-B", t.file("hostile.py", HOSTILE)],
                              health={"http": "/", "unhealthy": 1}, restart={"max": 0}))
    wait_until(lambda: any("E?" in text for text in texts(daemon.service())), "its status")
    check_shown(daemon, ["E?]0;t?"])
    get("/evil")
    daemon.wait_event("drift")
    daemon.wait_event("unhealthy")
    check_shown(daemon, ['"?? ??"', "503 ?[31mE", "[web] E?]0;t?"])
    get_ended = daemon.last_seq()
    try:
        get("/end")
    except OSError:
        pass
    daemon.wait_event("exited", since=get_ended)
    check_shown(daemon, ["E?]0;t??2J"])
