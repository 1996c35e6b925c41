# SPDX-License-Identifier: BSD-2-Clause
"""server: says which release it is, and which schema its database has."""

import http.server
import os
import signal
import socket
import sqlite3
import threading


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        database = sqlite3.connect(os.environ["DATABASE"], timeout=30)
        schema = database.execute("PRAGMA user_version").fetchone()[0]
        database.execute("SELECT count(*) FROM visits")
        database.close()
        body = f"release {os.environ['RELEASE']}, schema {schema}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for answers that are under way


drain = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: drain.set())
server = Server(("", 0), Answer, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)  # the first of LISTEN_FDS
threading.Thread(target=server.serve_forever, args=(0.05,)).start()
while not drain.wait(0.1):
    pass
server.shutdown()
server.server_close()
