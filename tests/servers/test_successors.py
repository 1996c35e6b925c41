# SPDX-License-Identifier: BSD-2-Clause
"""
Servers that replace themselves by their own means, 20 seconds after their start and under load:
nothing is lost, no restart is counted, and the next `baton restart` reaches the successor.
"""

import contextlib
import os
import pathlib
import signal
import subprocess

from harness import alive, check_equal, stat_of, timeout, wait_until
from servers import (ADDRESS, FILES_LOAD, LOAD, apache, gunicorn, haproxy, haproxy_inherit,
                     haproxy_without_reuseport, nginx, nginx_inherit, program)
from services import service
from succession import check_succeeded, settle
from swaps import check_unharmed
from underway import Folders

AGE_S = 20.0
LOADED_S = 4.0  # before it replaces itself
ENOUGH = 1000  # answers


def children(daemon, pid):
    return [each for each in daemon.pids(1) if (stat_of(each) or (None, 0))[1] == pid]


def main_process(daemon):
    """The server's pid, once it is no longer the shell that has put it into the background."""
    def found():
        pid = daemon.server_pid()
        with contextlib.suppress(OSError):
            name = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
            return pid if name not in ("sh", "dash", "bash") else None
        return None
    return wait_until(found, "the server's main process")


def master(daemon):
    """The same, once it has its workers, too."""
    wait_until(lambda: len(children(daemon, main_process(daemon))) > 1, "it has its workers")
    return main_process(daemon)


def steps(daemon, old, start, *end):
    """@old is told to start another one by the signal @start, and to end by the signals @end."""
    os.kill(old, start)
    wait_until(lambda: [each for each in children(daemon, old) if len(children(daemon, each)) > 1],
               "the new master has its workers")
    new, = [each for each in children(daemon, old) if children(daemon, each)]
    for number in end:
        os.kill(old, number)
    return new


def succeeded(t, config, mode, replace, load=LOAD):
    """@replace(daemon, pid) has the server replace itself, and returns the pid of the new one."""
    daemon = t.daemon({**config, "mode": mode, "steering": "ebpf"})
    check_equal(daemon.generation()["mode"], mode, "mode")
    old = main_process(daemon)
    since = daemon.last_seq()
    settle(old, AGE_S - LOADED_S)
    hammer = t.hammer(*load)
    settle(old, AGE_S)
    new = replace(daemon, old)
    if new != old:
        check_succeeded(daemon, since, old, new)
        wait_until(lambda: not alive(old), "the old one has ended")
    check_equal(daemon.events("exited", since=since), [], "exits")
    daemon.restart()
    wait_until(lambda: not alive(new), "the successor has ended")
    last = daemon.service()["last_rollout"]
    check_equal((last["result"], last["cut"]), ("done", 0), "last rollout")
    check_unharmed(hammer, ENOUGH)


# ---- nginx: USR2, then QUIT ----------------------------------------------------------------------

def in_background(config):
    """In the foreground nginx ignores USR2: it sees that its parent is still the first one."""
    config["command"] = [word.replace("daemon off", "daemon on") for word in config["command"]]
    return config


def orphaned(t, config):
    """With sockets from its environment nginx never goes into the background: a shell puts it."""
    script = f'"$@" & until [ -s {t.tmp}/nginx.$GENERATION.pid ]; do sleep 0.1; done'
    config["command"] = ["/bin/sh", "-c", script, "sh", *config["command"]]
    config["environment"]["GENERATION"] = "{generation}"
    return config


def nginx_upgrade(daemon, old):
    return steps(daemon, old, signal.SIGUSR2, signal.SIGQUIT)


def nginx_upgrade_step_by_step(daemon, old):
    """With WINCH, as its manual has it: the old master stays for a while without workers."""
    new = steps(daemon, old, signal.SIGUSR2, signal.SIGWINCH)
    wait_until(lambda: children(daemon, old) == [new], "the old workers have ended")
    os.kill(old, signal.SIGQUIT)
    return new


@timeout(200)
def test_nginx_inherit_replaces_itself(t):
    succeeded(t, orphaned(t, nginx_inherit(t)), "inherit", nginx_upgrade)


@timeout(200)
def test_nginx_native_replaces_itself(t):
    succeeded(t, in_background(nginx(t, listen=f"{ADDRESS} backlog=4096 reuseport")), "native",
              nginx_upgrade)


@timeout(200)
def test_nginx_transparent_replaces_itself(t):
    succeeded(t, in_background(nginx(t)), "transparent", nginx_upgrade)


@timeout(200)
def test_nginx_replaces_itself_step_by_step(t):
    succeeded(t, in_background(nginx(t)), "transparent", nginx_upgrade_step_by_step)


@timeout(200)
def test_nginx_in_the_middle_of_its_own_upgrade_is_restarted(t):
    """Both masters serve: both are told to go."""
    daemon = t.daemon({**orphaned(t, nginx_inherit(t)), "mode": "inherit", "steering": "ebpf"})
    hammer = t.hammer(*LOAD)
    old = master(daemon)
    new = steps(daemon, old, signal.SIGUSR2)
    daemon.restart()
    wait_until(lambda: not alive(old) and not alive(new), "both have ended")
    check_equal(daemon.service()["last_rollout"]["cut"], 0, "cut")
    check_unharmed(hammer, ENOUGH)


# ---- haproxy: USR2 of its master; -sf ------------------------------------------------------------

def haproxy_reload(daemon, old):
    """The master goes on: it executes itself again."""
    before = set(children(daemon, old))
    os.kill(old, signal.SIGUSR2)
    wait_until(lambda: children(daemon, old) and not before & set(children(daemon, old)),
               "the old worker has ended")
    return old


def haproxy_alone(t, *lines):
    """Without a master."""
    config = haproxy(t, *lines)
    config["command"] = [word if word != "-Ws" else "-db" for word in config["command"]]
    del config["health"]["notify"]
    return config


def haproxy_soft_stop(daemon, old):
    """Another one is started by hand, in the background and inside the instance's cgroup."""
    procs = pathlib.Path(daemon.cgroup(1)) / "cgroup.procs"
    command = daemon.config["services"]["web"]["command"]
    subprocess.run([word if word != "-db" else "-D" for word in command] + ["-sf", str(old)],
                   check=True, preexec_fn=lambda: procs.write_text("0"))
    wait_until(lambda: not alive(old), "the old one has ended")
    new, = daemon.pids(1)
    return new


@timeout(200)
def test_haproxy_inherit_reloads_itself(t):
    succeeded(t, haproxy_inherit(t), "inherit", haproxy_reload)


@timeout(200)
def test_haproxy_native_reloads_itself(t):
    succeeded(t, haproxy(t), "native", haproxy_reload)


@timeout(200)
def test_haproxy_transparent_reloads_itself(t):
    succeeded(t, haproxy_without_reuseport(t), "transparent", haproxy_reload)


@timeout(200)
def test_haproxy_native_is_replaced_by_hand(t):
    succeeded(t, haproxy_alone(t), "native", haproxy_soft_stop)


@timeout(200)
def test_haproxy_transparent_is_replaced_by_hand(t):
    succeeded(t, haproxy_alone(t, ("# noreuseport", "noreuseport")), "transparent",
              haproxy_soft_stop)


# ---- gunicorn: USR2, then TERM -------------------------------------------------------------------

def gunicorn_upgrade(daemon, old):
    return steps(daemon, old, signal.SIGUSR2, signal.SIGTERM)


@timeout(200)
def test_gunicorn_inherit_cannot_replace_itself_and_nothing_is_lost(t):
    """It passes on descriptors that it has closed: the new one ends, the old one serves on."""
    daemon = t.daemon({**gunicorn(t), "mode": "inherit", "steering": "ebpf"})
    hammer = t.hammer(*LOAD)
    old, since = master(daemon), daemon.last_seq()
    workers = set(children(daemon, old))
    os.kill(old, signal.SIGUSR2)
    wait_until(lambda: set(children(daemon, old)) - workers, "the new one is there")
    wait_until(lambda: set(children(daemon, old)) == workers, "the new one has ended")
    check_equal([daemon.events(name, since=since) for name in ("exited", "succeeded")], [[], []],
                "exits and successions")
    check_equal(daemon.server_pid(), old, "pid")
    daemon.restart()
    check_unharmed(hammer, ENOUGH)


@timeout(200)
def test_gunicorn_native_replaces_itself(t):
    succeeded(t, gunicorn(t, "-b", ADDRESS, "--reuse-port"), "native", gunicorn_upgrade)


@timeout(200)
def test_gunicorn_transparent_replaces_itself(t):
    succeeded(t, gunicorn(t, "-b", ADDRESS), "transparent", gunicorn_upgrade)


# ---- unicorn: USR2, then QUIT --------------------------------------------------------------------

RACK = """
run lambda { |env|
  env["rack.input"].read
  [200, {"Content-Type" => "text/plain"}, ["generation #{ENV["GENERATION"]} pid #{$$}\\n"]]
}
"""
# One request at a time for each of its workers: slow clients would keep them all.
UNICORN_LOAD = ("--path", "/", "--short", 4, "--rate", 400, "--sources", 16, "--timeout", "30s",
                "--expect-status", 200)


def unicorn(t, *lines):
    rackup = t.file("config.ru", RACK)
    conf = t.file("unicorn.rb", "\n".join(("worker_processes 3", *lines, "")))
    return service([program("unicorn", "unicorn"), "-E", "none", "-c", conf, rackup],
                   environment={"GENERATION": "{generation}"}, drain={"signal": "QUIT"})


def unicorn_upgrade(daemon, old):
    return steps(daemon, old, signal.SIGUSR2, signal.SIGQUIT)


@timeout(200)
def test_unicorn_inherit_replaces_itself(t):
    succeeded(t, unicorn(t), "inherit", unicorn_upgrade, UNICORN_LOAD)


@timeout(200)
def test_unicorn_native_replaces_itself(t):
    succeeded(t, unicorn(t, f'listen "{ADDRESS}", reuseport: true'), "native", unicorn_upgrade,
              UNICORN_LOAD)


@timeout(200)
def test_unicorn_transparent_replaces_itself(t):
    succeeded(t, unicorn(t, f'listen "{ADDRESS}"'), "transparent", unicorn_upgrade, UNICORN_LOAD)


# ---- apache2: graceful ---------------------------------------------------------------------------

def apache_graceful(daemon, old):
    before = set(children(daemon, old))
    os.kill(old, signal.SIGUSR1)
    wait_until(lambda: children(daemon, old) and not before & set(children(daemon, old)),
               "the old workers have ended")
    return old


@timeout(200)
def test_apache_is_graceful(t):
    Folders(t, 2)
    succeeded(t, apache(t), "transparent", apache_graceful, FILES_LOAD)
