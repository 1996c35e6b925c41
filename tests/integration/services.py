# SPDX-License-Identifier: BSD-2-Clause
"""services: the servers that the tests put behind baton, and how they are configured."""

import copy
import math
import os
import pathlib
import re
import shutil

from harness import Skip, check

LISTEN = "127.0.0.1:8080"
ECHO_MODULE = "/usr/lib/nginx/modules/ngx_http_echo_module.so"

# Intervals are short, so that tests are quick; deadlines are long, so that tests hold on a busy
# machine. A test that is about one of these says its own.
DEFAULTS = {
    "listen": [LISTEN],
    "health": {"http": "/healthz", "interval": "50ms", "timeout": "5s", "healthy": 2,
               "unhealthy": 3, "start_timeout": "60s"},
    "rollout": {"settle_timeout": "20s"},
    "drain": {"timeout": "60s", "kill_timeout": "10s", "leave_timeout": "5s"},
}

# For a server that a test makes stand still: its checks fail, and it is not to be replaced.
STANDS_STILL = {"health": {"unhealthy": 1000}}


def soon_ms(seconds):
    """soon() in milliseconds."""
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    return math.ceil(seconds * min(max(busy, 1.0), 5.0) * 10) * 100


def soon(seconds):
    """
    A deadline, for a configuration, that is to pass while the test waits. What has to happen before
    takes longer on a busy machine, so there it is longer, too.
    """
    return f"{soon_ms(seconds)}ms"


# For a server that is to fail its checks; see reconfigure().
SOON = {"start_timeout": soon(3), "timeout": soon(1)}


def service(command, **changes):
    """A service's configuration: the defaults, with @changes merged in one level deep."""
    return merged(DEFAULTS, command=[str(word) for word in command], **changes)


def merged(config, **changes):
    """A copy of a service's configuration with @changes merged in, one level deep."""
    result = copy.deepcopy(config)
    for key, value in changes.items():
        if isinstance(value, dict) and key in result:
            result[key].update(value)
        else:
            result[key] = value
    return result


def reconfigure(daemon, **changes):
    """
    Merge @changes into the configuration of "web", and have the daemon read it again. So what is
    to fail soon need not start soon: health=SOON counts for the generations that come.
    """
    services = daemon.config["services"]
    services["web"] = merged(services["web"], **changes)
    daemon.write_config()
    daemon.cli("reload", expect=0)


def condemned(daemon, order, words):
    """
    @order(), whose release is to fail its checks with @words, and what it returns. It fails soon;
    if it had not answered by then, on a busy machine, it is tried again with more time. (curl may
    lose an answer, see probe_set_repeat(): then it says that there was none in HTTP/2.)
    """
    for seconds in (3, 12, 48):
        reconfigure(daemon, health={"start_timeout": f"{seconds}s", "timeout": "2s"})
        result = order()
        last = re.search("last probe: (.*)", result.text)
        if last and not re.search("Connection refused|no answer (within|in HTTP/2)", last[1]):
            break
        if words in result.text:
            break
    check(words in result.text, f"{words!r} is not in {result.text}")
    return result


# ---- examples/server -----------------------------------------------------------------------------

def example(t, *options):
    """The command of the project's example server."""
    return [t.copy("examples/server", "server"), "--generation", "{generation}",
            "--instance", "{instance}", *options]


def generation_of(body):
    """Which generation of the example server wrote this body?"""
    found = re.search(r"generation[ =]+(\d+)", body)
    check(found, f"no generation in {body!r}")
    return int(found[1])


def pid_of(body):
    found = re.search(r"pid[ =]+(\d+)", body)
    check(found, f"no pid in {body!r}")
    return int(found[1])


def instance_of(body):
    """Which instance of the example server wrote this body?"""
    found = re.search(r"instance (\d+)", body)
    check(found, f"no instance in {body!r}")
    return int(found[1])


class Sickness:
    """Example servers whose /healthz says 503 while a file is there: one for each instance."""

    def __init__(self, t):
        self.t = t

    def command(self, *options):
        return example(self.t, "--unhealthy-while", self.t.tmp / "sick.{instance}", *options)

    def begin(self, *instances):
        for each in instances:
            (self.t.tmp / f"sick.{each}").touch()

    def end(self, *instances):
        for each in instances:
            (self.t.tmp / f"sick.{each}").unlink()


def unready(t, *options):
    """
    (command, file): an example server whose checks fail while the file is there, as it is now. What
    is to happen before it is ready need not be quick: the test takes the file away afterwards.
    """
    flag = t.tmp / "unready"
    flag.touch()
    return example(t, "--unhealthy-while", flag, *options), flag


# ---- nginx ---------------------------------------------------------------------------------------

NGINX_CONFIGURATION = """\
load_module {echo};
worker_processes 2;
user root;
events {{ worker_connections 2048; }}
http {{
	access_log off;
	client_body_temp_path {tmp}/body;
	proxy_temp_path {tmp}/proxy;
	fastcgi_temp_path {tmp}/fastcgi;
	uwsgi_temp_path {tmp}/uwsgi;
	scgi_temp_path {tmp}/scgi;
	server {{
		listen {listen} backlog=4096;
		location / {{ return 200 "pid $pid\\n"; }}
		location /healthz {{ return 200 "ok\\n"; }}
		location /post {{ echo_read_request_body; echo "pid $pid"; }}
	}}
}}
"""


def nginx(t, **changes):
    """A real nginx, with a pid file per generation; it takes its socket from $NGINX."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if not program or not pathlib.Path(ECHO_MODULE).exists():
        raise Skip("needs nginx with its echo module (Debian: nginx-light)")
    conf = t.file("nginx.conf", NGINX_CONFIGURATION.format(
        echo=ECHO_MODULE, tmp=t.tmp, listen=LISTEN))
    command = [program, "-e", "stderr", "-c", conf, "-g",
               f"daemon off; master_process on; pid {t.tmp}/nginx.{{generation}}.pid;"]
    changes.setdefault("drain", {})["signal"] = "SIGQUIT"
    return service(command, environment={"NGINX": "{fds:;};"}, nonblocking=True, **changes)


# ---- server.py -----------------------------------------------------------------------------------

def python(t, *options):
    """The command of a small server that tells how it was started (GET /how)."""
    source = pathlib.Path(__file__).with_name("server.py")
    return ["/usr/bin/python3", "-B", t.file(source.name, source.read_text()), *options]


# ---- binder.py -----------------------------------------------------------------------------------

def binder(t, *options):
    """The command of a small server that binds its sockets itself, if told to."""
    source = pathlib.Path(__file__).with_name("binder.py")
    return ["/usr/bin/python3", "-B", t.file(source.name, source.read_text()),
            "--say", "{generation}", *(str(option) for option in options)]


# ---- keeper.py -----------------------------------------------------------------------------------

def keeper(t, *options):
    """The command of a small server that keeps its connections as long as its clients do."""
    source = pathlib.Path(__file__).with_name("keeper.py")
    return ["/usr/bin/python3", "-B", t.file(source.name, source.read_text()),
            "--say", "generation {generation}", *(str(option) for option in options)]
