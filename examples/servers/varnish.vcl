# Varnish behind baton; see docs/servers.md. Run as
#
#	varnishd -F -n /run/varnish.{generation} -f /etc/varnish/web.vcl -a 127.0.0.1:8080
#
# with "environment": {"GENERATION": "{generation}"}, if the application wants to know it.
vcl 4.1;

import std;

backend default {
	.host = "127.0.0.1";
	.port = "8000";
}

sub vcl_backend_fetch {
	set bereq.http.X-Generation = std.getenv("GENERATION");
}
