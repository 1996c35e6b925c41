# SPDX-License-Identifier: BSD-2-Clause
"""nginx in front of a service, with a pool of connections that it keeps; docs/servers.md has a table."""

from harness import check, refused, wait_until
from servers import SWAPS, node, program
from swaps import check_nothing_lost

FRONT = """\
worker_processes 1;
master_process off;
daemon off;
pid {tmp}/front.pid;
events {{ worker_connections 2048; }}
http {{
	access_log off;
	client_body_temp_path {tmp}/body;
	proxy_temp_path {tmp}/proxy;
	fastcgi_temp_path {tmp}/fastcgi;
	uwsgi_temp_path {tmp}/uwsgi;
	scgi_temp_path {tmp}/scgi;
	upstream web {{
		server 127.0.0.1:8080;
		keepalive 32;
	}}
	server {{
		listen 127.0.0.1:8000 backlog=4096;
		location / {{
			proxy_pass http://web;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_next_upstream error timeout non_idempotent;
		}}
	}}
}}
"""
# More POST than GET: a proxy repeats those of its own accord.
LOAD = ("--path", "/", "--keepalive", 3, "--keepalive-pause", "1ms",
        "--slow-post", 9, "--post-bytes", 100, "--post-duration", "1ms", "--post-path", "/post",
        "--timeout", "30s", "--expect-status", 200)


def test_front_with_non_idempotent_loses_neither_get_nor_post(t):
    daemon = t.daemon(node(t))
    t.spawn("front", program("nginx", "nginx-light"), "-e", "stderr", "-c",
            t.file("front.conf", FRONT.format(tmp=t.tmp)))
    wait_until(lambda: not refused(port=8000), "the front is there")
    hammer = t.hammer(*LOAD, port=8000)
    for _ in range(SWAPS):
        before = hammer.report()["ok"]
        wait_until(lambda: hammer.report()["ok"] > before + 100, "load before the swap")
        daemon.restart()
    result = hammer.stop()
    check_nothing_lost(result)
    check(result["slow_post"]["ok"] > 100 if "slow_post" in result else True, f"POST: {result}")
