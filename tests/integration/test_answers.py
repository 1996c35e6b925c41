# SPDX-License-Identifier: BSD-2-Clause
"""
What is said of an answer that is not the one asked for: each names what a person can change.
"""

import os
import pathlib

from certificates import NAME, Authority, self_signed
from harness import check_equal, wait_until
from services import service

CONTRARY = pathlib.Path(__file__).parent / "contrary.py"
PROXY = ' (if the server expects the PROXY protocol: set "proxy_protocol")'
PROXY_OR_TLS = (' (if the server expects the PROXY protocol: set "proxy_protocol"; if it speaks '
                'TLS: use "https")')
NO_PROXY = (' (if the server does not expect the PROXY protocol: leave "proxy_protocol" out; if it '
            'speaks TLS: use "https")')
CLOSED = "the connection was closed without an answer"
RESET = "Connection reset by peer"
NO_HTTP2 = ('no answer in HTTP/2: use "http" if the server speaks HTTP/1, add "tls" if it speaks '
            'TLS, "proxy_protocol" if it expects that')

HTTP = {
    "well": "200 OK",
    "old": "200 OK",
    "ssh": 'the answer is not HTTP/1: "SSH-2.0-OpenSSH_9.2p1 Debian-2"',
    "smtp": 'the answer is not HTTP/1: "220 mail.example.org ESMTP Postfix"',
    "redis": '''the answer is not HTTP/1: "-ERR unknown command 'GET'"''',
    "silent": "no answer within 300ms (connected, nothing received)",
    "closes": CLOSED + PROXY_OR_TLS,
    "resets": RESET + PROXY_OR_TLS,
    "half": "200 OK, but the connection was closed within its header",
    "half-and-waits": "200 OK, but its end did not come within 300ms",
    "short-body": "200 OK, but its end did not come: the connection was closed",
    "endless-header": "200 OK, but its header does not end: over 100 kB of it came",
    "endless-line": "200 OK, but its header does not end: over 100 kB of it came",
    "endless-status": "the first line of the answer does not end",
    "endless-body": "200 OK",
    "endless-noise": f'the answer is not HTTP/1: "{79 * "x"}"',
    "no-status": 'the answer begins with "HTTP/", but has no status line of HTTP/1',
    "redirect": "302 Found (Location: https://login.example.org/) is not in 200-299",
    "unclean": "503 No?[31m?? (Location: /) is not in 200-299",
    "http2": 'the server speaks HTTP/2 here: use "http2"',
    "proxied": CLOSED + PROXY_OR_TLS,
    "tls good": RESET + PROXY_OR_TLS,  # OpenSSL sends no alert to whoever speaks HTTP
}
HTTPS = {
    "tls good": "200 OK",
    "tls other": f'the certificate is not for "{NAME}" ("tls": {{"name": ...}})',
    "tls expired": "the certificate has expired",
    "tls early": "the certificate is not yet valid",
    "tls unknown": 'nobody known here has signed the certificate ("tls": {"ca": FILE})',
    "tls self": 'the certificate is self-signed ("tls": {"ca": FILE} or {"verify": false})',
    "tls none": "TLS alert handshake_failure: no version or cipher in common, or the server has no "
                "certificate",
    "tls1.0 good": "the server's TLS is too old for this host's OpenSSL: it signs with SHA-1 or MD5",
    "well": 'this port speaks plain HTTP/1: use "http"',
    "http2": 'this port speaks plain HTTP/2: use "http2" or "grpc" without "tls"',
    "ssh": 'the answer is not TLS: "SSH-2.0-OpenSSH_9.2p1 Debian-2"',
    "silent": "no answer within 300ms (connected, nothing received)",
    "closes-after": CLOSED + PROXY,
    "resets": RESET + PROXY,
}
# nghttp2 keeps for itself what came in the place of HTTP/2.
HTTP2 = {
    **{way: NO_HTTP2 for way in ("well", "ssh", "redis", "closes", "closes-after", "resets",
                                 "http1", "proxied", "tls good")},
    "silent": "no answer within 300ms (connected, nothing received)",
}
HTTP2_TLS = {
    "tls good": "200 OK, but by HTTP/1: the server does not offer HTTP/2 here (ALPN): use "
                '"https"',
    "well": 'this port speaks plain HTTP/1: use "http"',
    "http2": 'this port speaks plain HTTP/2: use "http2" or "grpc" without "tls"',
}
PROXIED = {
    "proxied": "200 OK",
    "strict": "400 Bad Request is not in 200-299: the server may not expect the PROXY protocol",
    "page": f'the answer is not HTTP/1: "<html>400 Bad Request</html>"{NO_PROXY}',
    "closes-after": CLOSED + NO_PROXY,
    "resets": RESET + NO_PROXY,
    "tls good": RESET + NO_PROXY,
}


def certificates(folder):
    """All that a server may show; returns the authority's."""
    ours = Authority(folder)
    ours.sign("good")
    ours.sign("other", name="other.example.org")
    ours.sign("expired", last="20200201000000Z")
    ours.sign("early", first="20800101000000Z")
    Authority(folder, "theirs").sign("unknown")
    self_signed(folder, "self")
    return str(ours.pem)


def asked(t, question, what, table, folder="/"):
    """One server, which answers in one way after the other."""
    way = t.tmp / "way"

    def answers_by(word):
        new = t.tmp / "way.new"
        new.write_text(word)
        os.replace(new, way)

    def last():
        found = daemon.service()["generations"]
        found = found and found[0]["instances"]
        return found[0]["health"].get("last") if found else None

    answers_by(next(iter(table)))
    config = service(["/usr/bin/python3", CONTRARY, way, folder])
    config["health"] = {**question, "interval": "20ms", "timeout": "300ms", "unhealthy": 1000,
                        "start_timeout": "10m"}
    daemon = t.daemon(config, start=False).start_unready()
    for word, words in table.items():
        answers_by(word)
        wait_until(lambda: last() == f"{what}: {words}",
                   lambda: f"{question}, asked of {word}: {last()!r} is {what + ': ' + words!r}")
    check_equal(daemon.service()["generations"][0]["instances"][0]["health"].get("unasked"), None,
                "unasked")
    daemon.end()


def test_answers_to_http_are_explained(t):
    folder = t.tmp / "certificates"
    certificates(folder)
    asked(t, {"http": "/"}, "GET /", HTTP, folder)


def test_answers_to_https_are_explained(t):
    folder = t.tmp / "certificates"
    tls = {"name": NAME, "ca": certificates(folder)}
    asked(t, {"https": "/", "tls": tls}, "GET /", HTTPS, folder)
    asked(t, {"http2": "/", "tls": tls}, "GET /", HTTP2_TLS, folder)


def test_answers_to_http2_and_grpc_are_explained(t):
    folder = t.tmp / "certificates"
    certificates(folder)
    asked(t, {"http2": "/"}, "GET /", HTTP2, folder)
    asked(t, {"grpc": True}, "grpc", HTTP2, folder)


def test_answers_to_a_proxy_header_are_explained(t):
    folder = t.tmp / "certificates"
    certificates(folder)
    for version in (1, 2):
        asked(t, {"http": "/", "proxy_protocol": version}, "GET /", PROXIED, folder)
