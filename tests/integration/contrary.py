# SPDX-License-Identifier: BSD-2-Clause
"""
contrary: a server that answers every connection in the way that a file names at that time.

    contrary.py FILE CERTIFICATES

FILE has one of the words of WAYS. "tls NAME" is HTTP/1 over TLS with NAME.pem and NAME.key of the
folder CERTIFICATES, "tls1.0 NAME" the same with no version later than 1.0.
"""

import os
import pathlib
import signal
import socket
import ssl
import struct
import sys
import threading
import time

WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
# RFC 9113: SETTINGS without a setting; GOAWAY, PROTOCOL_ERROR.
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
GOAWAY = b"\0\0\x08\7\0\0\0\0\0" + b"\0\0\0\0" + b"\0\0\0\1"


def well(sock):
    sock.recv(65536)
    sock.sendall(WELL)


def says(*parts, first=True):
    """Says it at once, or once something was asked."""
    def way(sock):
        if not first:
            sock.recv(65536)
        for part in parts:
            sock.sendall(part)
        if first:
            sock.recv(65536)
    return way


def status(line, *headers):
    lines = "\r\n".join((f"HTTP/1.1 {line}", *headers, "Content-Length: 0", "Connection: close", "", ""))
    return says(lines.encode("latin-1"), first=False)


def silent(sock):
    while sock.recv(65536):
        pass


def closes(_sock):
    pass


def closes_after(sock):
    sock.recv(65536)


def resets(sock):
    sock.recv(65536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half(sock):
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Ty")


def half_and_waits(sock):
    half(sock)
    silent(sock)


def endless(head, block):
    def way(sock):
        sock.recv(65536)
        sock.sendall(head)
        while True:
            sock.sendall(block)
    return way


def http1(sock):
    """As most: PRI is a method that it does not know, in a version that it does not know."""
    asked = sock.recv(65536)
    sock.sendall(b"HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n\r\n"
                 if asked.startswith(b"PRI ") else WELL)


def proxied(sock):
    """Wants a PROXY header, of either version."""
    asked = sock.recv(65536)
    if asked.startswith((b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n")):
        sock.sendall(WELL)


def strict(sock):
    """What is no request is answered as such."""
    asked = sock.recv(65536)
    sock.sendall(WELL if asked.startswith(b"GET ") else
                 b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


WAYS = {
    "well": well,
    "ssh": says(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    "smtp": says(b"220 mail.example.org ESMTP Postfix\r\n"),
    "redis": says(b"-ERR unknown command 'GET'\r\n", first=False),
    "silent": silent,
    "closes": closes,
    "closes-after": closes_after,
    "resets": resets,
    "half": half,
    "half-and-waits": half_and_waits,
    "endless-header": endless(b"HTTP/1.1 200 OK\r\n", b"X-Header: " + 1000 * b"x" + b"\r\n"),
    "endless-line": endless(b"HTTP/1.1 200 OK\r\nX-Header: ", 1000 * b"x"),
    "endless-status": endless(b"HTTP/1.1 200 ", 1000 * b"x"),
    "endless-body": endless(b"HTTP/1.1 200 OK\r\n\r\n", 8192 * b"x"),
    "endless-noise": endless(b"", 8192 * b"x"),
    "redirect": status("302 Found", "Location: https://login.example.org/?next=secret"),
    "unclean": status("503 No\x1b[31m\x9b\xff", "Location: /\x1b]0;title\x07\x9b2J"),
    "http1": http1,
    "http2": says(SETTINGS, GOAWAY),
    "proxied": proxied,
    "strict": strict,
    # Of nginx, which takes what is no request for one of HTTP/0.9.
    "page": says(b"<html>400 Bad Request</html>", first=False),
    "short-body": says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", first=False),
    "no-status": says(b"HTTP/1.1 OK\r\n\r\n", first=False),
    "old": says(b"HTTP/1.0 200 OK\r\n\r\nok", first=False),
}


def over_tls(name, latest):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    folder = pathlib.Path(sys.argv[2])
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if latest:
        context.minimum_version = context.maximum_version = latest
    if name != "none":
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")

    def way(sock):
        with context.wrap_socket(sock, server_side=True) as wrapped:
            well(wrapped)
    return way


def answer(sock):
    words = pathlib.Path(sys.argv[1]).read_text(encoding="ascii").split()
    with sock:
        try:
            if words[0].startswith("tls"):
                latest = ssl.TLSVersion.TLSv1 if words[0] == "tls1.0" else None
                over_tls(words[1], latest)(sock)
            else:
                WAYS[words[0]](sock)
        except OSError:  # the check has had enough; ssl.SSLError is one
            pass


def serve():
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=answer, args=(sock,), daemon=True).start()


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
listener = socket.socket(fileno=3)
threading.Thread(target=serve, daemon=True).start()
while True:
    time.sleep(0.1)
