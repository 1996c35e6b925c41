# SPDX-License-Identifier: BSD-2-Clause
"""
servers: real servers as they come with Debian 12, in every way in which they can come by their
sockets. What they read is what users are shown in examples/servers, but for the lines that differ
from mode to mode.

A function here returns a service's configuration; the tests are what ask for a mode.
"""

import os
import pathlib
import shutil
import subprocess

from harness import Skip, check, check_equal, get, refused, wait_until
from services import ECHO_MODULE, generation_of, pid_of, service
from swaps import by_pid, swap_many

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "servers"
ADDRESS = "127.0.0.1:8080"
SWAPS = 10
FOUND_SWAPS = 3

# Bounded, so that the two processors that a test machine may have are not all that is measured;
# test_swap.py is the one at full speed.
LOAD = ("--path", "/", "--short", 16, "--rate", 1200, "--sources", 16,
        "--keepalive", 4, "--keepalive-pause", "20ms",
        "--slow-post", 4, "--post-bytes", 4000, "--post-duration", "300ms", "--post-path", "/post",
        "--timeout", "30s", "--expect-status", 200)
ANSWERS_MIN = 100  # for each swap: fewer are no load


# What stands behind a proxy.
APPLICATION = """\
load_module {echo};
master_process off;
daemon off;
pid {tmp}/application.pid;
events {{ worker_connections 2048; }}
http {{
	access_log off;
	client_body_temp_path {tmp}/body;
	proxy_temp_path {tmp}/proxy;
	fastcgi_temp_path {tmp}/fastcgi;
	uwsgi_temp_path {tmp}/uwsgi;
	scgi_temp_path {tmp}/scgi;
	keepalive_requests 1000000;
	server {{
		listen 127.0.0.1:8000 backlog=4096;
		location / {{ return 200 "generation $http_x_generation\n"; }}
		location /post {{ echo_read_request_body; echo "generation $http_x_generation"; }}
		location /slow.cgi {{ echo_sleep {slow_s}; echo "slow answer"; }}
		location /big {{ root {tmp}; }}
	}}
}}
"""


def program(name, package):
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if not found:
        raise Skip(f"needs {name} (make deps-servers; Debian: {package})")
    return found


def changed(t, name, *changes):
    """A copy of an example in which each (old, new) of @changes has been replaced."""
    text = (EXAMPLES / name).read_text()
    for old, new in changes:
        check(text.count(old) == 1, f"{old!r} is not once in examples/servers/{name}")
        text = text.replace(old, new)
    return t.file(name, text)


# ---- the servers ---------------------------------------------------------------------------------

def nginx(t, listen=f"{ADDRESS} backlog=4096", workers=2, **changes):
    """@listen: of the configuration's listen directive."""
    conf = changed(t, "nginx.conf", ("worker_processes 2;", f"load_module {ECHO_MODULE};\n"
                                     f"worker_processes {workers};"),
                   (f"listen {ADDRESS};", f"listen {listen};\n\t\tlocation /post "
                    "{ echo_read_request_body; echo pid $pid; }"))
    if not pathlib.Path(ECHO_MODULE).exists():
        raise Skip("needs nginx with its echo module (Debian: nginx-light)")
    command = [program("nginx", "nginx-light"), "-e", "stderr", "-c", conf, "-g",
               f"daemon off; pid {t.tmp}/nginx.{{generation}}.pid;"]
    return service(command, drain={"signal": "QUIT"}, **changes)


def nginx_inherit(t):
    return nginx(t, environment={"NGINX": "{fds:;};"}, nonblocking=True)


def haproxy(t, *lines, **changes):
    """@lines: changes of the configuration."""
    conf = changed(t, "haproxy.cfg", *lines)
    health = {"notify": True}
    config = service([program("haproxy", "haproxy"), "-Ws", "-f", conf],
                     drain={"signal": "USR1"}, **changes)
    del config["health"]["http"]
    config["health"].update(health)
    return config


def haproxy_inherit(t):
    return haproxy(t, (f"\tbind {ADDRESS}\n", '\tbind "fd@${FD}"\n'), environment={"FD": "{fd}"})


def haproxy_without_reuseport(t):
    return haproxy(t, ("# noreuseport", "noreuseport"))


def caddy(t):
    # Unlike the others it would answer a POST at once, without having read it.
    conf = changed(t, "Caddyfile", ('\trespond "generation {$GENERATION}"',
                                    '\trespond "generation {$GENERATION}"\n'
                                    '\trespond /post "{http.request.body}"'))
    return service([program("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", conf],
                   environment={"GENERATION": "{generation}", "XDG_DATA_HOME": str(t.tmp),
                                "XDG_CONFIG_HOME": str(t.tmp)})


def gunicorn(t, *options):
    changed(t, "app.py")
    return service([program("gunicorn", "gunicorn"), "--chdir", t.tmp, "-w", "2", "-k", "gthread",
                    "--threads", "16", *options, "app:app"],
                   environment={"GENERATION": "{generation}"})


def node(t, **changes):
    return service([program("node", "nodejs"), changed(t, "node.js")], **changes)


def node_inherit(t):
    return node(t, environment={"FD": "{fd}"})


def java(t, *options, **changes):
    """Compiled once; it starts in half a second then."""
    source = changed(t, "Server.java")
    subprocess.run([program("javac", "openjdk-17-jdk-headless"), "-d", t.tmp, source], check=True)
    return service([program("java", "openjdk-17-jdk-headless"), "-XX:+UseSerialGC",
                    "-XX:TieredStopAtLevel=1", *options, "-cp", t.tmp, "Server"], **changes)


def python(t):
    """python3 -m http.server: a folder for each generation, and no drain of its own."""
    for generation in range(1, SWAPS + 2):
        folder = t.tmp / str(generation)
        folder.mkdir()
        (folder / "index.html").write_text(f"generation {generation}\n")
        (folder / "healthz").write_text("ok\n")
    host, port = ADDRESS.split(":")
    return service([program("python3", "python3"), "-m", "http.server", "--bind", host,
                    "--directory", f"{t.tmp}/{{generation}}", port], drain={"wait": "connections"})


def lighttpd(t, *lines, **changes):
    """@lines are added to the configuration; documents are in folders, see underway.Folders."""
    conf = changed(t, "lighttpd.conf", ('"/var/www/"', f'"{t.tmp}/www/"'),
                   ('( "index.html" )\n', "\n".join(('( "index.html" )', *lines, ""))))
    return service([program("lighttpd", "lighttpd"), "-D", "-f", conf],
                   environment={"GENERATION": "{generation}"}, drain={"signal": "INT"}, **changes)


def apache(t, *lines):
    conf = changed(t, "apache2.conf", ("ServerRoot /etc/apache2", f"ServerRoot {t.tmp}"),
                   ("DefaultRuntimeDir /run/apache2", f"DefaultRuntimeDir {t.tmp}"),
                   ("PidFile /run/apache2", f"PidFile {t.tmp}"),
                   ("DocumentRoot /var/www", f"DocumentRoot {t.tmp}/www"),
                   ("DirectoryIndex index.html\n",
                    "\n".join(("DirectoryIndex index.html", *lines, ""))))
    return service([program("apache2", "apache2-bin"), "-D", "FOREGROUND", "-f", conf],
                   environment={"GENERATION": "{generation}"}, drain={"signal": "WINCH"})


def php_fpm(t, *changes):
    conf = changed(t, "php-fpm.conf", *changes)
    os.chmod(t.tmp, 0o755)
    return without_http(service([program("php-fpm8.2", "php8.2-fpm"), "-F", "-y", conf, "-n"],
                                drain={"signal": "QUIT"}))


def puma(t):
    config = changed(t, "config.ru")
    return service([program("puma", "puma"), "-t", "16:16", "-b", f"tcp://{ADDRESS}", config],
                   environment={"GENERATION": "{generation}"})


def asgi(t, *command, **changes):
    """uvicorn or hypercorn."""
    changed(t, "asgi.py")
    return service([*command, "asgi:app"], directory=str(t.tmp),
                   environment={"GENERATION": "{generation}"}, **changes)


def uwsgi(t, *options, **changes):
    """TERM is told to be what others mean by it: by itself uwsgi starts anew."""
    if not pathlib.Path("/usr/lib/uwsgi/plugins/python3_plugin.so").exists():
        raise Skip("needs uwsgi's plugin for Python (Debian: uwsgi-plugin-python3)")
    changed(t, "app.py")
    return service([program("uwsgi", "uwsgi"), "--plugin", "python3", "--master",
                    "--protocol", "http", "--listen", "1024", "--processes", "2", "--threads", "8", "--wsgi-file",
                    f"{t.tmp}/app.py", "--callable", "app", *options],
                   environment={"GENERATION": "{generation}"}, **changes)


def application(t, slow_s=3):
    """
    nginx on port 8000 for proxies: it answers with the generation that the proxy tells it; what is
    slow after @slow_s seconds.
    """
    if not pathlib.Path(ECHO_MODULE).exists():
        raise Skip("needs nginx with its echo module (Debian: nginx-light)")
    conf = t.file("application.conf", APPLICATION.format(echo=ECHO_MODULE, tmp=t.tmp, slow_s=slow_s))
    with open(t.tmp / "big", "wb") as big:
        big.truncate(12 << 20)
    os.chmod(t.tmp, 0o755)
    process = t.spawn("application", program("nginx", "nginx-light"), "-e", "stderr", "-c", conf)
    wait_until(lambda: not refused(port=8000), "the application is there")
    return process


def varnish(t, **changes):
    os.chmod(t.tmp, 0o755)
    return service([program("varnishd", "varnish"), "-F", "-n", f"{t.tmp}/varnish.{{generation}}",
                    "-f", changed(t, "varnish.vcl"), "-a", ADDRESS, "-s", "malloc,32m"],
                   environment={"GENERATION": "{generation}"}, **changes)


def squid(t, *lines, **changes):
    # Names of clients are asked of nobody: no network leads there.
    conf = changed(t, "squid.conf", ("/run/squid.", f"{t.tmp}/squid."),
                   ("cache deny all", "cache deny all\ndns_nameservers 127.0.0.1"), *lines)
    os.chmod(t.tmp, 0o777)
    return service([program("squid", "squid"), "-N", "-n", "{generation}", "-f", conf], **changes)


def redis(t):
    return without_http(service([program("redis-server", "redis-server"), "--bind", "127.0.0.1",
                                 "--port", "8080", "--save", "", "--dir", t.tmp],
                                drain={"wait": "connections"}))


def memcached():
    """The user is baton's to change: memcached changes its own before it binds."""
    return without_http(service([program("memcached", "memcached"), "-l", "127.0.0.1", "-p", "8080",
                                 "-U", "0"], user="nobody", drain={"wait": "connections"}))


def pgbouncer(t, backend):
    """@backend: the port of the database behind it. It refuses to run as root."""
    conf = t.file("pgbouncer.ini", "\n".join((
        "[databases]", f"web = host=127.0.0.1 port={backend} user=web", "[pgbouncer]",
        "listen_addr = 127.0.0.1", "listen_port = 8080", "auth_type = any", "unix_socket_dir =",
        "pidfile =", "")))
    os.chmod(t.tmp, 0o755)
    config = without_http(service([program("pgbouncer", "pgbouncer"), conf], user="nobody",
                                  drain={"wait": "connections"}))
    config["health"]["notify"] = True
    return config


def without_http(config):
    """Good if it accepts a connection."""
    del config["health"]["http"]
    return config


# Five may wait to be accepted, a POST is answered with 501, no connection is kept.
PYTHON_LOAD = ("--path", "/", "--short", 4, "--rate", 600, "--sources", 16, "--timeout", "30s",
               "--expect-status", 200)


# Without slow POSTs, for servers that answer with files.
FILES_LOAD = ("--path", "/", "--short", 16, "--rate", 1200, "--sources", 16,
              "--keepalive", 4, "--keepalive-pause", "20ms", "--timeout", "30s",
              "--expect-status", 200)


# ---- what is asked of each -----------------------------------------------------------------------

def by_each_of(workers):
    """by_pid, and each of a generation's @workers gets connections: the first one's before swaps."""
    def by_worker(daemon):
        def answered_by(generation):
            judge = by_pid(daemon)(generation)
            found = set()

            def all_found():
                body = get().body
                judge(body)
                found.add(pid_of(body))
                return len(found) >= workers
            wait_until(all_found, lambda: f"{workers} workers of generation {generation} answer: "
                                          f"{len(found)} have", poll_s=0)
            return judge

        answered_by(daemon.current())
        return answered_by
    return by_worker


def by_generation(_daemon):
    """Bodies say the generation."""
    def answered_by(generation):
        def judge(body):
            check_equal(generation_of(body), generation, f"generation in {body!r}")
        return judge
    return answered_by


def swapped(t, config, mode, judge=by_pid, load=LOAD, found=None):
    """
    Ten swaps under load in @mode: nothing is lost. What the generations are found to be is @found
    where it is given. Returns the load's counts.
    """
    return swapped_times(t, config, mode, found or mode, judge, load, SWAPS)


def found(t, config, mode, judge=by_pid, load=LOAD):
    """Mode auto, which is to find out that it is @mode; fewer swaps."""
    swapped_times(t, config, "auto", mode, judge, load, FOUND_SWAPS)


def swapped_times(t, config, mode, found_mode, judge, load, swaps):
    daemon = t.daemon({**config, "mode": mode, "steering": "ebpf"})
    check_equal(daemon.service()["tier"], "ebpf", "tier")
    check_equal(daemon.generation()["mode"], found_mode, "mode of the first generation")
    result = swap_many(t, daemon, judge(daemon), swaps, load, at_least=ANSWERS_MIN * swaps)
    check_equal(daemon.generation()["mode"], found_mode, "mode of the last generation")
    check_equal(result["early_answers"], 0, "POSTs that were answered before they were sent")
    return result
