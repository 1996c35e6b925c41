# SPDX-License-Identifier: BSD-2-Clause
"""
A server that takes its listening socket from baton, and ends on SIGTERM when its answers are sent.
Its page is in the file "greeting", which it reads when it starts.
"""

import http.server
import os
import pathlib
import signal
import socket
import threading

GREETING = pathlib.Path("greeting").read_text()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        page = "well" if self.path == "/healthz" else f"{GREETING.strip()} (generation " \
               f"{os.environ['GENERATION']})"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{page}\n".encode())

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # what has been asked is answered before the end


server = Server(("", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)  # LISTEN_FDS
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.1)
server.server_close()
