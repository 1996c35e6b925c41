# SPDX-License-Identifier: BSD-2-Clause
"""server: HTTP over TLS, by the certificate that is there when it starts."""

import http.server
import os
import pathlib
import signal
import socket
import ssl
import threading


class Answer(http.server.BaseHTTPRequestHandler):
    def setup(self):
        self.request.do_handshake()  # in the connection's own thread, not where others wait
        super().setup()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", 3)
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for answers that are under way

    def handle_error(self, request, client_address):
        pass  # clients that go away


folder = pathlib.Path(os.environ["CERTIFICATES"])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder / "tls.pem", folder / "tls.key")
drain = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: drain.set())
server = Server(("", 0), Answer, bind_and_activate=False)
server.socket.close()
server.socket = context.wrap_socket(socket.socket(fileno=3), server_side=True,
                                    do_handshake_on_connect=False)  # fd 3: the first of LISTEN_FDS
threading.Thread(target=server.serve_forever, args=(0.05,)).start()
while not drain.wait(0.1):
    pass
server.shutdown()
server.server_close()
