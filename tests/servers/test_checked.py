# SPDX-License-Identifier: BSD-2-Clause
"""
Each kind of check against a real server of its kind: a release that passes, one that fails, one that
is not what is asked for.
"""

import subprocess

from harness import check_equal
from servers import ADDRESS, program
from services import condemned, service

NAME = "www.example.org"
OFTEN = {"interval": "100ms", "start_timeout": "60s", "timeout": "5s"}

NGINX = """
error_log stderr warn;
events {{}}
http {{
	access_log off;
	client_body_temp_path {tmp}/body; proxy_temp_path {tmp}/proxy; fastcgi_temp_path {tmp}/fastcgi;
	uwsgi_temp_path {tmp}/uwsgi; scgi_temp_path {tmp}/scgi;
	{servers}
}}
"""
SERVER = """server {{
		listen {address}{options};
		{lines}
		location / {{ return {status} "{body}"; }}
	}}"""
# RFC 6066: a name that it does not have is refused.
STRICT = f"server {{ listen {ADDRESS} ssl default_server; ssl_reject_handshake on; }}\n\t"


def certificate(t, name, kind="valid"):
    """Its file and its key's: signed by itself, so that it is its own authority."""
    cert, key = t.tmp / f"{name}.{kind}.pem", t.tmp / f"{name}.{kind}.key"
    subprocess.run([program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-addext",
                    f"subjectAltName=DNS:{name}", "-days", "10", "-out", cert, "-keyout", key],
                   check=True, capture_output=True)
    return str(cert), str(key)


def tls(files, name=NAME):
    return (f"server_name {name}; ssl_protocols TLSv1.3; ssl_certificate {files[0]}; "
            f"ssl_certificate_key {files[1]};")


def nginx(t, file, options="", lines="", status=200, body="ok", before=""):
    """The command of a release whose configuration is @file."""
    server = SERVER.format(address=ADDRESS, options=options, lines=lines, status=status, body=body)
    conf = t.file(file, NGINX.format(tmp=t.tmp, servers=before + server))
    return [program("nginx", "nginx-light"), "-e", "stderr", "-c", str(conf), "-g",
            f"daemon off; pid {t.tmp}/{file}.{{generation}}.pid;"]


def checked(t, command, health):
    """A daemon whose service is checked by @health and nothing else."""
    config = service(command, drain={"signal": "QUIT"})
    config["health"] = {**OFTEN, **health}
    return t.daemon(config)


def passes(daemon, words):
    daemon.restart()
    found = daemon.generation()["instances"][0]["health"]
    check_equal((found["state"], found["last"]), ("healthy", words), "check")


def fails(daemon, command, words):
    before = daemon.current()
    condemned(daemon, lambda: daemon.cli("upgrade", "web", "--", *command, expect=3), words)
    check_equal(daemon.current(), before, "generation that serves")


def test_checked_https_with_strict_names(t):
    ours, theirs = certificate(t, NAME), certificate(t, "other.example.org")
    daemon = checked(t, nginx(t, "good.conf", " ssl", tls(ours), before=STRICT),
                     {"https": "/", "body": "^ok$", "tls": {"name": NAME, "ca": ours[0]}})
    passes(daemon, "GET /: 200 OK")
    fails(daemon, nginx(t, "bad.conf", " ssl", tls(ours), before=STRICT, status=503),
          "GET /: 503 Service Temporarily Unavailable is not in 200-299")
    fails(daemon, nginx(t, "body.conf", " ssl", tls(ours), before=STRICT, body="nok"),
          "GET /: 200 OK, but its body does not match")
    fails(daemon, nginx(t, "none.conf", " ssl", tls(theirs, "other.example.org"), before=STRICT),
          "GET /: TLS alert unrecognized_name: the server has no certificate for this name")
    fails(daemon, nginx(t, "other.conf", " ssl", tls(theirs)),
          "GET /: the certificate is self-signed")
    fails(daemon, nginx(t, "plain.conf"), 'GET /: this port speaks plain HTTP/1: use "http"')
    daemon.end()
    daemon = checked(t, nginx(t, "plain.conf"), {"http": "/"})
    fails(daemon, nginx(t, "good.conf", " ssl", tls(ours)), 'this port speaks TLS: use "https"')


def test_checked_http2(t):
    ours = certificate(t, NAME)
    daemon = checked(t, nginx(t, "good.conf", " http2"), {"http2": "/"})
    passes(daemon, "GET /: 200")
    fails(daemon, nginx(t, "bad.conf", " http2", status=503), "GET /: 503 is not in 200-299")
    fails(daemon, nginx(t, "old.conf"), "GET /: no answer in HTTP/2")
    fails(daemon, nginx(t, "tls.conf", " ssl http2", tls(ours)), "GET /: no answer in HTTP/2")
    daemon.end()
    daemon = checked(t, nginx(t, "tls.conf", " ssl http2", tls(ours)),
                     {"http2": "/", "host": NAME, "tls": {"ca": ours[0]}})
    passes(daemon, "GET /: 200")
    fails(daemon, nginx(t, "old.conf", " ssl", tls(ours)),
          "the server does not offer HTTP/2 here (ALPN)")
    daemon.end()
    daemon = checked(t, nginx(t, "plain.conf"), {"http": "/"})
    fails(daemon, nginx(t, "good.conf", " http2"),
          'GET /: the server speaks HTTP/2 here: use "http2"')


def test_checked_nginx_with_proxy_protocol(t):
    for version in (1, 2):
        daemon = checked(t, nginx(t, "good.conf", " proxy_protocol",
                                  body="$proxy_protocol_server_port"),
                         {"http": "/", "proxy_protocol": version, "body": "^8080$"})
        passes(daemon, "GET /: 200 OK")
        fails(daemon, nginx(t, "bad.conf", " proxy_protocol", status=503), "is not in 200-299")
        fails(daemon, nginx(t, "plain.conf"), "the server may not expect the PROXY protocol")
        daemon.end()
    daemon = checked(t, nginx(t, "plain.conf"), {"http": "/"})
    fails(daemon, nginx(t, "good.conf", " proxy_protocol"),
          'if the server expects the PROXY protocol: set "proxy_protocol"')


HAPROXY = """
defaults
	mode http
	timeout client 10s
	timeout server 10s
	timeout connect 1s
frontend web
	bind {address}{options}
	http-request return status {status} content-type text/plain string "%[dst_port]"
"""


def test_checked_haproxy_with_accept_proxy(t):
    def haproxy(file, options="", status=200):
        conf = t.file(file, HAPROXY.format(address=ADDRESS, options=options, status=status))
        return [program("haproxy", "haproxy"), "-W", "-f", str(conf)]

    for version in (1, 2):
        config = service(haproxy("good.cfg", " accept-proxy"), drain={"signal": "USR1"})
        config["health"] = {**OFTEN, "http": "/", "proxy_protocol": version}
        daemon = t.daemon(config)
        passes(daemon, "GET /: 200 OK")
        fails(daemon, haproxy("bad.cfg", " accept-proxy", 503), "is not in 200-299")
        daemon.end()
    config["health"] = {**OFTEN, "http": "/"}
    config["command"] = haproxy("plain.cfg")
    daemon = t.daemon(config)
    fails(daemon, haproxy("good.cfg", " accept-proxy"),
          'if the server expects the PROXY protocol: set "proxy_protocol"')
