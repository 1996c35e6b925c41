# SPDX-License-Identifier: BSD-2-Clause
"""Files that root opens on a service's behalf, in folders that the service's user can write to."""

import os
import pathlib
import pwd

from harness import check, check_equal, get
from services import example, service

NOBODY = pwd.getpwnam("nobody").pw_uid
SECRET = "root's\n"


def folder_of_nobody(t, name="own"):
    folder = t.tmp / name
    folder.mkdir()
    os.chown(folder, NOBODY, -1)
    return folder


def secret(t):
    path = pathlib.Path(t.file("secret", SECRET, 0o600))
    return path


def intruder(t, log, trick):
    """A server that, before it serves, does @trick to its log and writes to it."""
    text = f"#!/bin/sh\n{trick}\necho intruder >&2\nexec {' '.join(map(str, example(t)))}\n"
    return [t.file("server.sh", text, 0o755)]


def check_untouched(path):
    check_equal(path.read_text(), SECRET, "root's file")


def test_log_that_becomes_a_link_is_not_followed(t):
    target, logs = secret(t), folder_of_nobody(t)
    log = logs / "err"
    command = intruder(t, log, f"rm -f {log}; ln -s {target} {log}")
    daemon = t.daemon(service(command, user="nobody", stderr=str(log)))
    get()
    # Its log is the one that it had: so the new one is refused, and says so.
    said = daemon.cli("reopen", "web")
    for part in ("is a symbolic link", f"uid {NOBODY} can write to its folder {logs}",
                 "the old one is written on"):
        check(part in said.text, f"{part!r} is not in {said}")
    result = daemon.cli("restart", "web")
    check(result.status != 0 and "is a symbolic link" in result.text, f"restart: {result}")
    get()
    check_untouched(target)


def test_log_with_another_name_is_refused(t):
    target, logs = secret(t), folder_of_nobody(t)
    os.link(target, logs / "err")
    daemon = t.daemon(service(example(t), user="nobody", stderr=str(logs / "err")), start=False)
    daemon.write_config()
    result = daemon.cli("check", str(daemon.file))
    check(result.status == 1 and "services.web.stderr" in result.text
          and "several names (hard links)" in result.text, f"check: {result}")
    check_untouched(target)


def test_environment_file_and_configuration_follow_no_link_of_others(t):
    target, own = secret(t), folder_of_nobody(t)
    target.write_text("SECRET=root\n")
    os.symlink(target, own / "link")
    os.mkfifo(own / "fifo")
    daemon = t.daemon(service(example(t), user="nobody"))
    for name, why in (("link", "is a symbolic link"), ("fifo", "is not a regular file")):
        config = {"environment_file": str(own / name)}
        daemon.config["services"]["web"].update(config)
        daemon.write_config()
        result = daemon.cli("reload")
        check(result.status == 1 and why in result.text, f"{name}: {result}")
        check("SECRET" not in result.text, f"content is told: {result}")
    os.symlink(daemon.file, own / "baton.json")
    result = daemon.cli("check", str(own / "baton.json"))
    check(result.status == 1 and "is a symbolic link" in result.text, f"check: {result}")
    get()


def test_link_of_root_and_rotation_with_another_owner_go_on(t):
    real = t.tmp / "real"
    real.mkdir()
    os.symlink("real", t.tmp / "log")
    (t.tmp / "web.env").write_text("A=1\n")
    os.symlink("web.env", t.tmp / "current.env")
    daemon = t.daemon(service(example(t), user="nobody", stderr=str(t.tmp / "log" / "err"),
                              environment_file=str(t.tmp / "current.env")))
    get()
    # As logrotate with "create 0640 nobody adm".
    os.rename(real / "err", real / "err.1")
    (real / "err").touch(0o640)
    os.chown(real / "err", NOBODY, 4)
    check("1 file opened anew" in daemon.cli("reopen", "web", expect=0).text, "reopen")
    daemon.restart()
    get()


def test_what_the_user_may_open_himself_he_may_link(t):
    own = folder_of_nobody(t)
    (own / "3").mkdir()
    os.chown(own / "3", NOBODY, -1)
    os.symlink("3", own / "current")
    (own / "3" / "env").write_text("A=1\n")
    os.chmod(own / "3" / "env", 0o600)
    os.chown(own / "3" / "env", NOBODY, -1)
    daemon = t.daemon(service(example(t), user="nobody", stderr=str(own / "current" / "err"),
                              environment_file=str(own / "current" / "env")))
    get()
    check_equal((own / "3" / "err").stat().st_uid, NOBODY, "owner of the log")
    daemon.restart()
