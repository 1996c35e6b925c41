/* SPDX-License-Identifier: BSD-2-Clause */
/* What is refused, and in which words. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/config/config_fixture.h"

/* ---- single mistakes ------------------------------------------------------------------------ */

static const struct {
	const char *json;
	const char *mistake; /* after "FILE: " */
} single[] = {
	/* syntax and top level */
	{"{\n  \"services\": {,}\n}", "line 2, column 16: string or '}' expected near ','"},
	{"\xef\xbb\xbf{} x", "line 1, column 4: end of file expected near 'x'"},
	{"", "line 1, column 0: '[' or '{' expected near end of file"},
	{"[]", "expected an object, not an array"},
	{"{\"services\":{},\"services\":{}}",
	 "line 1, column 25: duplicate object key near '\"services\"'"},
	{"{} x", "line 1, column 4: end of file expected near 'x'"},
	{"{\"servcies\":{}}", "servcies: unknown key (did you mean \"services\"?)"},
	{"{\"xyzzy\":{}}",
	 "xyzzy: unknown key (there are: $schema, source, api, rollouts_max, services)"},
	{"{\"rollouts_max\":4097}", "rollouts_max: 4097 is out of range (0 to 4096)"},
	{"{\"rollouts_max\":-1}", "rollouts_max: -1 is out of range (0 to 4096)"},
	{"{\"rollouts_max\":\"2\"}", "rollouts_max: expected a whole number, not a string"},
	{"{\"services\":[]}", "services: expected an object of services by name, not an array"},
	{"{\"services\":{\"a\":3}}", "services.a: expected an object, not a whole number"},
	{"{\"$schema\":1}", "$schema: expected a string, not a whole number"},
	{"{\"api\":{\"group\":\"no-such-group\"}}",
	 "api.group: there is no group \"no-such-group\""},
	{"{\"api\":{\"group\":\"\"}}", "api.group: is empty"},
	{"{\"api\":{\"http\":\"127.0.0.1:9180\"}}", "api.http: unknown key (there are: group)"},
	{"{\"services\":{\"a.b\":{\"command\":[\"/bin/true\"],\"listen\":\":1\"}}}",
	 "services.a.b: \"a.b\" is not a name: 1 to 63 letters, digits, \"_\" and \"-\", not "
	 "starting with \"-\""},
	/* command */
	{"{\"services\":{\"web\":{\"listen\":\":1\"}}}", "services.web.command: missing"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":\"true\"}}}",
	 "services.web.command: expected an array of strings, not a string"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[]}}}",
	 "services.web.command: is empty: the program to run is missing"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"\",\"x\"]}}}",
	 "services.web.command[0]: is empty: the program to run is missing"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"/bin/true\",8080]}}}",
	 "services.web.command[1]: expected a string, not a whole number"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"/no/such\"]}}}",
	 "services.web.command[0]: \"/no/such\": No such file or directory"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"etc/passwd\"]}}}",
	 "services.web.command[0]: \"//etc/passwd\": not an executable file"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"/usr\"]}}}",
	 "services.web.command[0]: \"/usr\": Is a directory"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"no-such-program\"]}}}",
	 "services.web.command[0]: \"no-such-program\": no such program in the PATH of the service "
	 "(/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"true\"],"
	 "\"environment\":{\"PATH\":\"/nowhere:/etc\"}}}}",
	 "services.web.command[0]: \"true\": no such program in the PATH of the service "
	 "(/nowhere:/etc)"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"passwd\"],"
	 "\"environment\":{\"PATH\":\"/etc\"}}}}",
	 "services.web.command[0]: \"passwd\": /etc/passwd is not an executable file"},
	/* listen */
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"]}}}", "services.web.listen: missing"},
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":[]}}}",
	 "services.web.listen: is empty: at least one address is needed"},
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":8080}}}",
	 "services.web.listen: expected a string or an array of strings, not a whole number"},
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":[\":1\",2]}}}",
	 "services.web.listen[1]: expected a string such as \"127.0.0.1:8080\", not a whole number"},
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":"
	 "[\"127.0.0.1:1\",\"127.0.0.1:2\",\"127.0.0.1:1\"]}}}",
	 "services.web.listen[2]: \"127.0.0.1:1\" is services.web.listen[0] already"},
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":"
	 "[\"127.0.0.1:1\",\"0.0.0.0:1\"]}}}",
	 "services.web.listen[1]: \"0.0.0.0:1\" overlaps with \"127.0.0.1:1\" of "
	 "services.web.listen[0]"},
	{"{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":"
	 "[\"127.0.0.1:1\",\"[::ffff:127.0.0.1]:1\"]}}}",
	 "services.web.listen[1]: \"[::ffff:127.0.0.1]:1\" overlaps with \"127.0.0.1:1\" of "
	 "services.web.listen[0]"},
	{"{\"services\":{\"a\":{\"command\":[\"/bin/true\"],\"listen\":\"[::1]:80\"},"
	 "\"b\":{\"command\":[\"/bin/true\"],\"listen\":[\"127.0.0.1:81\",\":80\"]}}}",
	 "services.b.listen[1]: \":80\" overlaps with \"[::1]:80\" of services.a.listen"},
	{"{\"services\":{\"a\":{\"command\":[\"/bin/true\"],\"listen\":[\"[::1]:80\"]},"
	 "\"b\":{\"command\":[\"/bin/true\"],\"listen\":\"[::1]:80\"}}}",
	 "services.b.listen: \"[::1]:80\" is services.a.listen[0] already"},
	/* words and numbers */
	{SERVICE(",\"mode\":\"magic\""),
	 "services.web.mode: \"magic\" is unknown (expected \"auto\", \"inherit\", \"native\" or "
	 "\"transparent\")"},
	{SERVICE(",\"mode\":\"Native\""),
	 "services.web.mode: \"Native\" is unknown (expected \"auto\", \"inherit\", \"native\" or "
	 "\"transparent\")"},
	{SERVICE(",\"mode\":null"), "services.web.mode: expected a string, not null"},
	{SERVICE(",\"steering\":\"xdp\""),
	 "services.web.steering: \"xdp\" is unknown (expected \"auto\", \"ebpf\", \"cbpf\" or "
	 "\"hash\")"},
	{SERVICE(",\"drift\":\"ignore\""),
	 "services.web.drift: \"ignore\" is unknown (expected \"repair\" or \"report\")"},
	{SERVICE(",\"agent_lost\":\"ignore\""),
	 "services.web.agent_lost: \"ignore\" is unknown (expected \"adopt\" or \"replace\")"},
	{SERVICE(",\"drift\":true"), "services.web.drift: expected a string, not true"},
	{SERVICE(",\"sticky\":\"source\""),
	 "services.web.sticky: expected true or false, not a string"},
	{SERVICE(",\"hold\":true"),
	 "services.web.hold: expected a duration (a string such as \"2s\"), not true"},
	{SERVICE(",\"hold\":5"),
	 "services.web.hold: 5 is not a duration (expected a number with a unit: 500ms, 2s, "
	 "1m30s)"},
	{SERVICE(",\"hold\":\"601s\""), "services.web.hold: \"601s\" is too long (at most 10m)"},
	{SERVICE(",\"stiky\":true"), "services.web.stiky: unknown key (did you mean \"sticky\"?)"},
	/* what does not go together */
	{SERVICE(",\"mode\":\"transparent\",\"steering\":\"cbpf\""),
	 "services.web.mode: \"transparent\" needs the ebpf tier, but \"steering\" is \"cbpf\": "
	 "leave \"steering\" out, or use \"native\" where the server shares its port itself"},
	{SERVICE(",\"steering\":\"hash\",\"mode\":\"transparent\""),
	 "services.web.mode: \"transparent\" needs the ebpf tier, but \"steering\" is \"hash\": "
	 "leave \"steering\" out, or use \"native\" where the server shares its port itself"},
	{SERVICE(",\"steering\":\"hash\",\"hold\":\"1ms\""),
	 "services.web.hold: needs the ebpf tier, but \"steering\" is \"hash\": leave one of them "
	 "out"},
	{SERVICE(",\"steering\":\"cbpf\",\"hold\":\"5s\""),
	 "services.web.hold: needs the ebpf tier, but \"steering\" is \"cbpf\": leave one of them "
	 "out"},
	{SERVICE(",\"steering\":\"hash\",\"sticky\":true"),
	 "services.web.sticky: needs the ebpf or the cbpf tier, but \"steering\" is \"hash\": leave "
	 "one of them out"},
	{SERVICE(",\"mode\":\"native\",\"nonblocking\":true"),
	 "services.web.nonblocking: is for sockets that are passed, but with \"mode\" \"native\" "
	 "none is: leave it out"},
	{SERVICE(",\"mode\":\"transparent\",\"nonblocking\":true"),
	 "services.web.nonblocking: is for sockets that are passed, but with \"mode\" "
	 "\"transparent\" none is: leave it out"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"mode\":\"native\","
	 "\"command\":[\"/bin/true\",\"--json={}\",\"--fd={{fd}\"]}}}",
	 "services.web.command[2]: \"{fd}\" stands for sockets that are passed, but with \"mode\" "
	 "\"native\" none is: leave it out, or use \"inherit\" or \"auto\""},
	{SERVICE(",\"mode\":\"transparent\",\"environment\":{\"NGINX\":\"{fds:;};\"}"),
	 "services.web.environment.NGINX: \"{fds:;}\" stands for sockets that are passed, but with "
	 "\"mode\" \"transparent\" none is: leave it out, or use \"inherit\" or \"auto\""},
	{SERVICE(",\"mode\":\"native\",\"environment\":{\"A\":\"{fds:0123456789abcde}\"}"),
	 "services.web.environment.A: \"{fds:0123456789abcde}\" stands for sockets that are passed, "
	 "but with \"mode\" \"native\" none is: leave it out, or use \"inherit\" or \"auto\""},
	{SERVICE(",\"environment_file\":\"/etc/web.{instance}.env\""),
	 "services.web.environment_file: \"{instance}\" stands for one instance, but the file is "
	 "read once for all of them: leave it out, or use {generation}"},
	{SERVICE(",\"hooks\":{\"after_shift\":[\"/bin/true\",\"-x\",\"/run/{instance}\"]}"),
	 "services.web.hooks.after_shift[2]: \"{instance}\" stands for one instance, but a hook is "
	 "run once for all of them: leave it out, or use {generation}"},
	{SERVICE(",\"gates\":[{\"http\":\"http://h/\"},{\"exec\":[\"/bin/true\",\"{instance}\"]}]"),
	 "services.web.gates[1].exec[1]: \"{instance}\" stands for one instance, but a gate is "
	 "asked once for all of them: leave it out, or use {generation}"},
	{SERVICE(",\"gates\":[{\"http\":\"http://h/{generation}/{instance}\"}]"),
	 "services.web.gates[0].http: \"{instance}\" stands for one instance, but a gate is asked "
	 "once for all of them: leave it out, or use {generation}"},
	{SERVICE(",\"watch\":[\"/etc/web\",\"/srv/{generation}\"]"),
	 "services.web.watch[1]: \"/srv/{generation}\": what is watched is the same for all "
	 "generations and instances, so {generation} and {instance} stand for nothing here"},
	{SERVICE(",\"directory\":\"/no/such/{generation}\""),
	 "services.web.directory: /no/such: No such file or directory"},
	{SERVICE(",\"stdout\":\"/no/such/{instance}/log\""),
	 "services.web.stdout: /no/such: No such file or directory"},
	{SERVICE(",\"stderr\":\"/etc/passwd/{instance}/log\""),
	 "services.web.stderr: /etc/passwd: Not a directory"},
	{"{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"bin/true\"],"
	 "\"directory\":\"/usr/{instance}\"}}}",
	 "services.web.command[0]: \"bin/true\" counts from \"directory\", which is another one for "
	 "each generation or instance: write the absolute path of the program"},
	{SERVICE(",\"drain\":{\"signal\":\"QUIT\",\"wait\":\"connections\"}"),
	 "services.web.drain.signal: is not sent where \"wait\" is \"connections\": leave it out, or "
	 "set \"wait\" to \"exit\""},
	/* Also where it is the default: it was written down to be sent. */
	{SERVICE(",\"drain\":{\"wait\":\"connections\",\"signal\":\"SIGTERM\"}"),
	 "services.web.drain.signal: is not sent where \"wait\" is \"connections\": leave it out, or "
	 "set \"wait\" to \"exit\""},
	/* A contradiction to what was not understood is none. */
	{SERVICE(",\"drain\":{\"wait\":\"connections\",\"signal\":\"KILL\"}"),
	 "services.web.drain.signal: \"KILL\" ends the server at once, without a drain"},
	{SERVICE(",\"drain\":{\"wait\":\"connections\",\"delay\":\"2s\"}"),
	 "services.web.drain.delay: comes before a signal that is not sent where \"wait\" is "
	 "\"connections\": leave it out, or set \"wait\" to \"exit\""},
	{SERVICE(",\"drain\":{\"delay\":\"2h\"}"),
	 "services.web.drain.delay: \"2h\" is too long (at most 1h)"},
	{SERVICE(",\"drain\":{\"delay\":\"often\"}"),
	 "services.web.drain.delay: \"often\" is neither \"auto\" nor a duration (a number with a "
	 "unit: 500ms, 2s)"},
	{SERVICE(",\"drain\":{\"delay\":true}"),
	 "services.web.drain.delay: expected \"auto\" or a duration (a string such as \"2s\"), not "
	 "true"},
	{SERVICE(",\"drain\":{\"wait\":\"requests\",\"signal\":\"TERM\"}"),
	 "services.web.drain.wait: \"requests\" is unknown (expected \"exit\" or "
	 "\"connections\")"},
	{SERVICE(",\"steering\":\"cbfp\",\"hold\":\"5s\",\"mode\":\"transparent\""),
	 "services.web.steering: \"cbfp\" is unknown (expected \"auto\", \"ebpf\", \"cbpf\" or "
	 "\"hash\")"},
	{SERVICE(",\"instances\":0"), "services.web.instances: 0 is out of range (1 to 256)"},
	{SERVICE(",\"instances\":257"), "services.web.instances: 257 is out of range (1 to 256)"},
	{SERVICE(",\"instances\":-1"), "services.web.instances: -1 is out of range (1 to 256)"},
	{SERVICE(",\"instances\":4294967297"),
	 "services.web.instances: 4294967297 is out of range (1 to 256)"},
	{SERVICE(",\"instances\":\"2\""),
	 "services.web.instances: expected a whole number, not a string"},
	{SERVICE(",\"instances\":1.5"),
	 "services.web.instances: expected a whole number, not a number with a fraction"},
	{SERVICE(",\"backlog\":0"), "services.web.backlog: 0 is out of range (1 to 65535)"},
	/* environment, directory */
	{SERVICE(",\"environment\":[]"),
	 "services.web.environment: expected an object of strings, not an array"},
	{SERVICE(",\"environment\":{\"PORT\":80}"),
	 "services.web.environment.PORT: expected a string, not a whole number"},
	{SERVICE(",\"environment\":{\"\":\"x\"}"),
	 "services.web.environment.: the name of a variable is empty"},
	{SERVICE(",\"environment\":{\"A=B\":\"x\"}"),
	 "services.web.environment.A=B: \"A=B\" cannot be the name of a variable"},
	{SERVICE(",\"environment\":{\"A\\nB\":\"x\"}"),
	 "services.web.environment.A?B: \"A?B\" cannot be the name of a variable"},
	{SERVICE(",\"environment\":{\"LISTEN_FDS\":\"1\"}"),
	 "services.web.environment.LISTEN_FDS: \"LISTEN_FDS\" is set by baton itself"},
	{SERVICE(",\"environment\":{\"NOTIFY_SOCKET\":\"1\"}"),
	 "services.web.environment.NOTIFY_SOCKET: \"NOTIFY_SOCKET\" is set by baton itself"},
	{SERVICE(",\"environment_inherit\":\"yes\""),
	 "services.web.environment_inherit: expected true or false, not a string"},
	{SERVICE(",\"environment_file\":\"/no/such\""),
	 "services.web.environment_file: /no/such: No such file or directory"},
	{SERVICE(",\"environment_file\":\"web.env\""),
	 "services.web.environment_file: \"web.env\" does not start with \"/\""},
	{SERVICE(",\"environment_file\":\"/usr\""),
	 "services.web.environment_file: /usr: Is a directory"},
	{SERVICE(",\"directory\":\"srv\""),
	 "services.web.directory: \"srv\" does not start with \"/\""},
	{SERVICE(",\"directory\":\"/no/such\""),
	 "services.web.directory: /no/such: No such file or directory"},
	{SERVICE(",\"directory\":\"/etc/passwd\""),
	 "services.web.directory: /etc/passwd: Not a directory"},
	{SERVICE(",\"directory\":\"\""), "services.web.directory: is empty"},
	{SERVICE(",\"enviroment\":{}"),
	 "services.web.enviroment: unknown key (did you mean \"environment\"?)"},
	/* health */
	{SERVICE(",\"health\":\"/\""),
	 "services.web.health: expected an object or an array of objects, not a string"},
	{SERVICE(",\"health\":{\"interval\":\"1x\"}"),
	 "services.web.health.interval: \"1x\" is not a duration (expected a number with a unit: "
	 "500ms, 2s, 1m30s)"},
	{SERVICE(",\"health\":{\"interval\":5}"),
	 "services.web.health.interval: 5 is not a duration (expected a number with a unit: 500ms, "
	 "2s, 1m30s)"},
	{SERVICE(",\"health\":{\"interval\":true}"),
	 "services.web.health.interval: expected a duration (a string such as \"2s\"), not true"},
	{SERVICE(",\"health\":{\"interval\":\"0\"}"),
	 "services.web.health.interval: \"0\" is too short (at least 10ms)"},
	{SERVICE(",\"health\":{\"interval\":\"61m\"}"),
	 "services.web.health.interval: \"61m\" is too long (at most 1h)"},
	{SERVICE(",\"health\":{\"interval\":\"1000d\"}"),
	 "services.web.health.interval: \"1000d\" is too long (at most 1h)"},
	{SERVICE(",\"health\":{\"timeout\":\"0\"}"),
	 "services.web.health.timeout: \"0\" is too short (at least 1ms)"},
	{SERVICE(",\"health\":{\"start_timeout\":\"0s\"}"),
	 "services.web.health.start_timeout: \"0s\" is too short (at least 1ms)"},
	{SERVICE(",\"health\":{\"healthy\":0}"),
	 "services.web.health.healthy: 0 is out of range (1 to 1000)"},
	{SERVICE(",\"health\":{\"unhealthy\":0}"),
	 "services.web.health.unhealthy: 0 is out of range (1 to 1000)"},
	{SERVICE(",\"health\":{\"http\":\"healthz\"}"),
	 "services.web.health.http: \"healthz\" does not start with \"/\" (it is a path: "
	 "\"/healthz\")"},
	{SERVICE(",\"health\":{\"http\":\"/a b\"}"),
	 "services.web.health.http: \"/a b\" has a blank or control character in it; write it as "
	 "%20"},
	{SERVICE(",\"health\":{\"http\":\"/a\\r\\nX: y\"}"),
	 "services.web.health.http: \"/a??X: y\" has a blank or control character in it; write it "
	 "as %20"},
	{SERVICE(",\"health\":{\"http\":\"/\",\"host\":\"a\\nb\"}"),
	 "services.web.health.host: \"a?b\" is not a host name"},
	{SERVICE(",\"health\":{\"http\":\"/\",\"https\":\"/\"}"),
	 "services.web.health.https: another kind of check is there already: leave one"},
	{SERVICE(",\"health\":{\"https\":\"/\",\"notify\":true}"),
	 "services.web.health: \"https\" and \"notify\" exclude each other"},
	{SERVICE(",\"health\":{\"http\":\"/\",\"tls\":true}"),
	 "services.web.health: \"http\" has no \"tls\": write \"https\""},
	{SERVICE(",\"health\":{\"https\":\"/\",\"tls\":false}"),
	 "services.web.health: \"https\" without \"tls\": write \"http\""},
	{SERVICE(",\"health\":{\"tls\":true}"),
	 "services.web.health: \"tls\" needs \"https\", \"http2\" or \"grpc\""},
	{SERVICE(",\"health\":{\"exec\":\"/bin/true\"}"),
	 "services.web.health.exec: expected an array of strings, not a string"},
	{SERVICE(",\"health\":{\"exec\":[\"/nowhere/ask\"]}"),
	 "services.web.health.exec[0]: \"/nowhere/ask\": No such file or directory"},
	{SERVICE(",\"health\":{\"exec\":[\"/bin/true\",\"{fd}\"]}"),
	 "services.web.health: \"exec\" has no socket for {fd}: that is the server's, and the command "
	 "connects to it"},
	{SERVICE(",\"health\":{\"exec\":[\"/bin/true\"],\"https\":\"/\"}"),
	 "services.web.health: \"https\" and \"exec\" exclude each other"},
	{SERVICE(",\"health\":{\"exec\":[\"/bin/true\"],\"notify\":true}"),
	 "services.web.health: \"exec\" and \"notify\" exclude each other"},
	{SERVICE(",\"health\":{\"exec\":[\"/bin/true\"],\"proxy_protocol\":1}"),
	 "services.web.health: \"proxy_protocol\" and \"exec\" exclude each other: the command makes "
	 "its connections itself"},
	{SERVICE(",\"health\":{\"exec\":[\"/bin/true\"],\"status\":200}"),
	 "services.web.health: \"status\" needs \"http\""},
	{SERVICE(",\"health\":{\"grpc\":1}"),
	 "services.web.health.grpc: expected true, or the name of a gRPC service, not a whole number"},
	{SERVICE(",\"health\":{\"grpc\":\"a b\"}"),
	 "services.web.health.grpc: \"a b\" is not the name of a gRPC service"},
	{SERVICE(",\"health\":{\"http\":\"/\",\"grpc\":true}"),
	 "services.web.health.grpc: another kind of check is there already: leave one"},
	{SERVICE(",\"health\":{\"grpc\":true,\"method\":\"GET\"}"),
	 "services.web.health: \"grpc\" says itself what is asked and what is good: leave "
	 "\"method\", \"status\", \"body\" and \"follow\" out"},
	{SERVICE(",\"health\":{\"https\":\"/\",\"tls\":{\"ca\":\"a.pem\"}}"),
	 "services.web.health.tls: \"ca\" is not an absolute path"},
	{SERVICE(",\"health\":{\"https\":\"/\",\"tls\":{\"ca\":\"/a\",\"verify\":false}}"),
	 "services.web.health.tls: \"ca\" is not used when \"verify\" is false"},
	{SERVICE(",\"health\":{\"https\":\"/\",\"tls\":{\"name\":\"a/b\"}}"),
	 "services.web.health.tls: \"name\" is not a host name"},
	{SERVICE(",\"health\":{\"http\":\"/\",\"method\":\"get\"}"),
	 "services.web.health.method: \"get\" is not a method (such as \"GET\", \"HEAD\")"},
	{SERVICE(",\"health\":{\"method\":\"GET\"}"),
	 "services.web.health: \"method\" needs \"http\""},
	{SERVICE(",\"health\":{\"http\":\"/\",\"headers\":{\"Host\":\"a\"}}"),
	 "services.web.health.headers.Host: write it as \"host\""},
	{SERVICE(",\"health\":{\"http\":\"/\",\"headers\":{\"a b\":\"c\"}}"),
	 "services.web.health.headers.a b: this is not the name of a header"},
	{SERVICE(",\"health\":{\"http\":\"/\",\"headers\":{\"X\":\"a\\r\\nY: b\"}}"),
	 "services.web.health.headers.X: is empty, or has a line end in it"},
	{SERVICE(",\"health\":{\"http\":\"/\",\"headers\":{\"Connection\":\"close\"}}"),
	 "services.web.health.headers.Connection: a check says that itself: leave it out"},
	{SERVICE(",\"health\":{\"http\":\"/\",\"body\":\"(\"}"),
	 "services.web.health.body: \"(\" is not an extended regular expression: Unmatched ( or \\("},
	{SERVICE(",\"health\":{\"http\":\"/\",\"body\":\"(a)\\\\1\"}"),
	 "services.web.health.body: has a reference back (\\1) in it"},
	{SERVICE(",\"health\":{\"http\":\"/\",\"body\":\"a\",\"method\":\"HEAD\"}"),
	 "services.web.health: an answer to \"HEAD\" has no body to match \"body\""},
	{SERVICE(",\"health\":{\"proxy_protocol\":3}"),
	 "services.web.health.proxy_protocol: 3 is out of range (1 to 2)"},
	{SERVICE(",\"health\":{\"proxy_protocol\":1,\"notify\":true}"),
	 "services.web.health: \"proxy_protocol\" and \"notify\" exclude each other"},
	{SERVICE(",\"health\":{\"host\":\"a\"}"), "services.web.health: \"host\" needs \"http\""},
	{SERVICE(",\"health\":{\"status\":200}"), "services.web.health: \"status\" needs \"http\""},
	{SERVICE(",\"health\":{\"http\":\"/\",\"notify\":true}"),
	 "services.web.health: \"http\" and \"notify\" exclude each other"},
	{SERVICE(",\"health\":{\"timeout\":\"3s\",\"start_timeout\":\"2s\"}"),
	 "services.web.health: \"timeout\" (3s) is longer than \"start_timeout\" (2s)"},
	{SERVICE(",\"health\":{\"interval\":\"1m\",\"healthy\":3,\"start_timeout\":\"2m\"}"),
	 "services.web.health: 3 checks every \"interval\" take 2m at least, but \"start_timeout\" "
	 "is 2m"},
	/* rollout, drain */
	{SERVICE(",\"rollout\":{\"strategy\":\"red-black\"}"),
	 "services.web.rollout.strategy: \"red-black\" is unknown (expected \"blue-green\", "
	 "\"rolling\", \"canary\" or \"stop-first\")"},
	{SERVICE(",\"rollout\":{\"bake\":\"8d\"}"),
	 "services.web.rollout.bake: \"8d\" is too long (at most 7d)"},
	{SERVICE(",\"drain\":{\"signal\":\"SIGKILL\"}"),
	 "services.web.drain.signal: \"SIGKILL\" ends the server at once, without a drain"},
	{SERVICE(",\"drain\":{\"signal\":\"STOP\"}"),
	 "services.web.drain.signal: \"STOP\" halts the server instead of ending it"},
	{SERVICE(",\"drain\":{\"signal\":\"SIGCHLD\"}"),
	 "services.web.drain.signal: \"SIGCHLD\" does not end a server"},
	{SERVICE(",\"drain\":{\"signal\":\"SIGFOO\"}"),
	 "services.web.drain.signal: \"SIGFOO\" is not a signal (expected a name: \"SIGTERM\", "
	 "\"QUIT\")"},
	{SERVICE(",\"drain\":{\"signal\":15}"),
	 "services.web.drain.signal: expected the name of a signal (\"SIGTERM\"), not a whole "
	 "number"},
	{SERVICE(",\"drain\":{\"kill-timeout\":\"1s\"}"),
	 "services.web.drain.kill-timeout: unknown key (did you mean \"kill_timeout\"?)"},
	{SERVICE(",\"drain\":{\"timeuot\":\"1s\"}"),
	 "services.web.drain.timeuot: unknown key (did you mean \"timeout\"?)"},
	{SERVICE(",\"drain\":{\"idle_timeout\":\"31d\"}"),
	 "services.web.drain.idle_timeout: \"31d\" is too long (at most 30d)"},
	{SERVICE(",\"drain\":{\"wait\":1}"),
	 "services.web.drain.wait: expected a string, not a whole number"},
	{SERVICE(",\"drain\":{\"timeout\":\"31d\"}"),
	 "services.web.drain.timeout: \"31d\" is too long (at most 30d)"},
};

static void test_config_each_mistake_is_named_with_its_path(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++) {
		load_bad(single[i].json);
		expect_mistake(0, single[i].mistake);
		if (mistakes.total != 1)
			fail_msg("%zu mistakes instead of one: %s ... %s", mistakes.total,
				 mistakes.list[0].text, mistakes.list[1].text);
	}
}

static void test_config_every_status_mistake_is_refused(void **state)
{
	static const char *const bad[] = {
		"99",          "600",           "\"\"",       "\"20\"",          "\"2000\"",
		"\"200-\"",    "\"-200\"",      "\"200-20\"", "\"300-200\"",     "\"200-600\"",
		"\"099-200\"", "\"200 - 300\"", "\"2xx\"",    "\"200-300-400\"", "\"200-3000\"",
		"1e2",         "[[200]]",
	};
	char json[512];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(json, sizeof(json), SERVICE(",\"health\":{\"http\":\"/\",\"status\":%s}"),
			 bad[i]);
		load_bad(json);
		if (mistakes.total != 1 ||
		    !strstr(mistakes.list[0].text, ": services.web.health.status"))
			fail_msg("%s: %s", bad[i], mistakes.list[0].text);
	}
	load_bad(SERVICE(",\"health\":{\"http\":\"/\",\"status\":[]}"));
	expect_mistake(0, "services.web.health.status: is empty: no answer would be good");
	load_bad(SERVICE(",\"health\":{\"http\":\"/\",\"status\":[1,2,3,4,5,6,7,8,9]}"));
	expect_mistake(0, "services.web.health.status: more than 8 entries");
}

static void test_config_placeholder_from_elsewhere_is_told_with_its_variable(void **state)
{
	char json[512];

	(void)state;
	write_file("web.env", "A=1\nB='x{fd}'\nC={fd}\n", 0644);
	/* "environment" wins over the file: C is not what the file says. */
	snprintf(json, sizeof(json),
		 SERVICE(",\"mode\":\"native\",\"environment\":{\"C\":\"\"},"
			 "\"environment_file\":\"%s/web.env\""),
		 folder);
	load_bad(json);
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0,
		       "services.web.environment_file: \"{fd}\" of \"B\" stands for sockets that "
		       "are passed, but with \"mode\" \"native\" none is: leave it out, or use "
		       "\"inherit\" or \"auto\"");

	assert_int_equal(setenv("BATON_TEST_VARIABLE", "{fds:}", 1), 0);
	config_free(load_good(SERVICE(",\"mode\":\"native\"")));
	load_bad(SERVICE(",\"mode\":\"native\",\"environment_inherit\":true"));
	assert_int_equal(unsetenv("BATON_TEST_VARIABLE"), 0);
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.web.environment_inherit: \"{fds:}\" of \"BATON_TEST_VARIABLE\" "
			  "stands for sockets that are passed, but with \"mode\" \"native\" none "
			  "is: leave it out, or use \"inherit\" or \"auto\"");
}

static void test_config_every_contradiction_is_told(void **state)
{
	(void)state;
	load_bad("{\"services\":{\"web\":{\"command\":[\"/bin/true\",\"{fd}\",\"{fds: }\"],"
		 "\"listen\":\":1\",\"mode\":\"transparent\",\"steering\":\"hash\","
		 "\"nonblocking\":true,\"sticky\":true,\"hold\":\"1s\","
		 "\"drain\":{\"wait\":\"connections\",\"signal\":\"INT\"}}}}");
	assert_int_equal(mistakes.total, 7);
	assert_non_null(strstr(mistakes.list[0].text, "services.web.drain.signal: "));
	assert_non_null(strstr(mistakes.list[1].text, "services.web.mode: "));
	assert_non_null(strstr(mistakes.list[2].text, "services.web.hold: "));
	assert_non_null(strstr(mistakes.list[3].text, "services.web.sticky: "));
	assert_non_null(strstr(mistakes.list[4].text, "services.web.nonblocking: "));
	assert_non_null(strstr(mistakes.list[5].text, "services.web.command[1]: \"{fd}\""));
	assert_non_null(strstr(mistakes.list[6].text, "services.web.command[2]: \"{fds: }\""));
}

static void test_config_all_mistakes_come_at_once_in_order(void **state)
{
	(void)state;
	load_bad("{\"api\":{\"group\":7},\n"
		 "\"services\":{\n"
		 "\"web\":{\"command\":[\"/no/such\"],\"listen\":\"localhost:80\",\n"
		 "	  \"health\":{\"interval\":\"1x\",\"http\":\"h\"},\"usr\":\"x\"},\n"
		 "\"api\":{\"listen\":[\":0\"],\"drain\":{\"signal\":\"KILL\"}}}}");
	assert_int_equal(mistakes.total, 9);
	assert_int_equal(mistakes.n, 9);
	expect_mistake(0, "api.group: expected a string, not a whole number");
	assert_non_null(strstr(mistakes.list[1].text, ": services.web.listen: \"localhost:80\""));
	assert_non_null(strstr(mistakes.list[2].text, ": services.web.health.interval: "));
	assert_non_null(strstr(mistakes.list[3].text, ": services.web.health.http: "));
	expect_mistake(4, "services.web.usr: unknown key (did you mean \"user\"?)");
	expect_mistake(5, "services.web.command[0]: \"/no/such\": No such file or directory");
	assert_non_null(strstr(mistakes.list[6].text, ": services.api.listen[0]: "));
	assert_non_null(strstr(mistakes.list[7].text, ": services.api.drain.signal: "));
	expect_mistake(8, "services.api.command: missing");
}

static void test_config_more_mistakes_than_fit_are_counted(void **state)
{
	char json[8192] = "{";
	size_t n = 1;

	(void)state;
	for (int i = 0; i < CONFIG_MISTAKES_MAX + 36; i++)
		n += (size_t)snprintf(json + n, sizeof(json) - n, "%s\"key%d\":1", i ? "," : "", i);
	snprintf(json + n, sizeof(json) - n, "}");
	load_bad(json);
	assert_int_equal(mistakes.n, CONFIG_MISTAKES_MAX);
	assert_int_equal(mistakes.total, CONFIG_MISTAKES_MAX + 36);
}

static void test_config_mistake_with_a_very_long_key_is_cut(void **state)
{
	char json[8192];

	(void)state;
	snprintf(json, sizeof(json), "{\"%04000d\":{\"%03000d\":1}}", 0, 0);
	load_bad(json);
	assert_int_equal(mistakes.total, 1);
	assert_non_null(strstr(mistakes.list[0].text, "unknown key (there are: "));
}

static void test_config_too_many_things_are_refused(void **state)
{
	cleanup(config_free) struct config *config = NULL;
	char *json = malloc(512 * 1024);
	size_t n;

	(void)state;
	assert_non_null(json);
	n = (size_t)sprintf(json,
			    "{\"services\":{\"web\":{\"command\":[\"/bin/true\"],\"listen\":[");
	for (int i = 0; i <= CONFIG_LISTEN_MAX; i++)
		n += (size_t)sprintf(json + n, "%s\":%d\"", i ? "," : "", 1000 + i);
	sprintf(json + n, "]}}}");
	load_bad(json);
	expect_mistake(0, "services.web.listen: 17 addresses: at most 16 are possible");

	n = (size_t)sprintf(json, "{\"services\":{");
	for (int i = 0; i <= CONFIG_SERVICES_MAX; i++)
		n += (size_t)sprintf(json + n,
				     "%s\"s%d\":{\"command\":[\"/bin/true\"],\"listen\":\":%d\"}",
				     i ? "," : "", i, 1000 + i);
	sprintf(json + n, "}}");
	/* One beyond the limit; then as many as there may be. */
	load_bad(json);
	assert_int_equal(mistakes.total, 1);
	expect_mistake(0, "services.s4096: more than 4096 services");
	sprintf(strstr(json, ",\"s4096\""), "}}");
	config = load_good(json);
	assert_int_equal(config->n_services, CONFIG_SERVICES_MAX);

	n = (size_t)sprintf(json,
			    "{\"services\":{\"web\":{\"listen\":\":1\",\"command\":[\"/bin/true\"");
	for (int i = 0; i < 1024; i++)
		n += (size_t)sprintf(json + n, ",\"\"");
	sprintf(json + n, "]}}}");
	load_bad(json);
	expect_mistake(0, "services.web.command: more than 1024 arguments");
	free(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config_each_mistake_is_named_with_its_path),
		TEST(test_config_every_status_mistake_is_refused),
		TEST(test_config_placeholder_from_elsewhere_is_told_with_its_variable),
		TEST(test_config_every_contradiction_is_told),
		TEST(test_config_all_mistakes_come_at_once_in_order),
		TEST(test_config_more_mistakes_than_fit_are_counted),
		TEST(test_config_mistake_with_a_very_long_key_is_cut),
		TEST(test_config_too_many_things_are_refused),
	};

	return cmocka_run_group_tests_name("config_mistakes", tests, NULL, NULL);
}
