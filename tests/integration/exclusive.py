# SPDX-License-Identifier: BSD-2-Clause
"""
exclusive: a server of which there can be only one.

    exclusive.py flock|sqlite|pidfile FILE GENERATION [CHILD]

It ends at once if another one has FILE. CHILD: a process of it outlives it for a while, and has
FILE, too. While there is a FILE.sick it answers with 503.
"""

import fcntl
import os
import pathlib
import signal
import socket
import sqlite3
import sys
import threading

IDLE_S = 60


def take_flock(path):
    lock = open(path, "a+")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def take_sqlite(path):
    database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    database.execute("BEGIN EXCLUSIVE")
    return database


def take_pidfile(path):
    path = pathlib.Path(path)
    try:
        os.kill(int(path.read_text()), 0)
    except (FileNotFoundError, ProcessLookupError):
        path.write_text(str(os.getpid()))
        return path
    raise OSError(f"pid {path.read_text()} lives")


TAKE = {"flock": take_flock, "sqlite": take_sqlite, "pidfile": take_pidfile}


def main(kind, path, generation, *options):
    try:
        taken = TAKE[kind](path)
    except (OSError, sqlite3.OperationalError) as error:
        sys.exit(f"{path} is in use: {error}")
    if "child" in options and os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.close(3)
        signal.pause()
    leaving = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())
    listener = socket.socket(fileno=3)
    listener.listen(1024)
    listener.settimeout(0.05)
    clients = []
    sick = pathlib.Path(f"{path}.sick")
    while not leaving.is_set():
        accept(listener, generation, sick, clients)
    while accept(listener, generation, sick, clients):
        pass
    listener.close()
    for thread in clients:
        thread.join()
    return taken


def accept(listener, generation, sick, clients):
    try:
        client, _ = listener.accept()
    except OSError:
        return False
    clients.append(threading.Thread(target=answer, args=(client, generation, sick)))
    clients[-1].start()
    return True


def answer(client, generation, sick):
    """Or nothing, if it says nothing for IDLE_S."""
    with client:
        client.settimeout(IDLE_S)
        try:
            if client.recv(4096):
                body = f"generation {generation}\n".encode()
                status = b"503 Service Unavailable" if sick.exists() else b"200 OK"
                client.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n"
                               b"Connection: close\r\n\r\n%s" % (status, len(body), body))
        except OSError:
            pass


main(*sys.argv[1:])
