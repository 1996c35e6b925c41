/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/print_status.h"

static const char running[] =
	"{'service':'api','state':'running','mode':'native','tier':'ebpf','instances':1,"
	"'command':['/srv/api','-g','daemon off;'],"
	"'endpoints':[{'listen':':8080','protocol':'tcp','program':{'id':12,'state':'attached'},"
	"'refused':0,'anchor':''}],"
	"'generations':[{'generation':3,'state':'current','executable':'/srv/api',"
	"'uptime_ms':7412345,'instances':[{'instance':0,'pid':4711,'agent_pid':2,"
	"'state':'running','ready':false,'restarts':0,"
	"'health':{'state':'healthy','last':'GET /healthz: 200','ago_ms':120},"
	"'connections':{'live':28,'queued':1,'steered':91180,'probes':4,'migrated':0}}]}],"
	"'rollout':null,"
	"'last_rollout':{'rollout':4,'order':'restart','result':'done','exit':0,'generation':3,"
	"'replaces':2,'cut':0,'took_ms':900,'time':'2026-01-01T12:00:00.000Z'}}";

static const char rolling[] =
	"{'service':'web','state':'rolling','reason':'old news','mode':'inherit','tier':'ebpf',"
	"'instances':2,'command':['current/web'],"
	"'endpoints':["
	"{'listen':'127.0.0.1:80','program':{'id':12,'state':'attached'},'refused':0,'anchor':''},"
	"{'listen':'[::1]:80','program':{'id':13,'state':'foreign'},'refused':4,"
	"'anchor':'holding'}],"
	"'generations':["
	"{'generation':5,'state':'candidate','executable':'/srv/43/web','uptime_ms':1234,"
	"'instances':["
	"{'instance':0,'pid':5100,'state':'running','ready':false,'restarts':0,"
	"'health':{'state':'unhealthy','last':'GET /: 503','ago_ms':1500},"
	"'connections':{'live':0,'queued':0,'steered':0,'migrated':0}},"
	"{'instance':1,'pid':null,'state':'failed','ready':true,'failure':'exited with status 1',"
	"'health':{'state':'unknown','last':''},'connections':null}]},"
	"{'generation':3,'state':'current','executable':'/srv/42/web','uptime_ms':60000,"
	"'instances':[{'instance':0,'pid':4711,'state':'running','ready':true,'restarts':2,"
	"'health':{'state':'healthy','last':'GET /: 200','ago_ms':20},"
	"'connections':{'live':31,'queued':0,'steered':91234,'migrated':40}}]}],"
	"'rollout':{'rollout':5,'order':'restart','step':'verify','generation':5,'replaces':3,"
	"'elapsed_ms':1240},"
	"'last_rollout':{'rollout':4,'order':'upgrade','result':'failed','exit':3,'generation':4,"
	"'replaces':3,'reason':'not healthy within 60s','probe':'GET /: 503',"
	"'tail':'listening\\npanic: \\u001b[2J\\n','cut':0,'took_ms':60012,"
	"'time':'2026-01-01T12:00:00.000Z'}}";

/* All that can be told at once. */
static const char full[] =
	"{'service':'web','state':'running','mode':'auto','tier':'cbpf',"
	"'tier_reason':'ebpf: Operation not permitted','paused':true,'hold_ms':90000,"
	"'failover':{'count':2,'carried':123,'last':'2026-01-01T12:00:00.500Z'},'instances':2,"
	"'endpoints':["
	"{'listen':'127.0.0.1:80','family':'IPv4-mapped',"
	"'program':{'id':13,'state':'foreign','who':'\\'nginx\\', pid 4'},"
	"'refused':0,'held':7,'expired':2},"
	"{'listen':':81','family':'dual-stack','program':{'id':14,'state':'attached','who':null},'refused':3,'held':0,"
	"'expired':0}],"
	"'generations':["
	"{'generation':5,'state':'current','mode':'native','uptime_ms':60000,"
	"'connections':{'live':9,'accepted':100,'closed':91,'reset':1,'queued':3,'steered':99,"
	"'backup':5,'probes':4,'migrated':0},'instances':["
	"{'instance':0,'pid':50,'state':'running','sockets':4,"
	"'undeclared':['127.0.0.1:9090','[::1]:9091'],"
	"'connections':{'live':4,'accepted':60,'closed':56,'reset':1,'queued':3,'steered':59,"
	"'backup':5,'probes':2,'migrated':0}},"
	"{'instance':1,'pid':51,'state':'running','sockets':4,'undeclared':['127.0.0.1:9090'],"
	"'lost':[{'listen':':81','since':'2026-01-01T12:00:00.000Z','why':'closed\\u0007'}],"
	"'connections':{'live':5,'accepted':40,'closed':35,'reset':0,'queued':0,'steered':40,"
	"'backup':0,'probes':2,'migrated':0}}]},"
	"{'generation':4,'state':'draining','mode':null,'uptime_ms':70000,"
	"'connections':{'live':1,'accepted':7,'queued':0,'steered':6},'instances':[]},"
	"{'generation':3,'state':'draining','mode':'transparent','uptime_ms':80000,"
	"'connections':{'live':2,'accepted':8,'queued':0,'steered':9,'migrated':1},'instances':["
	"{'instance':0,'pid':30,'state':'leaving','sockets':1,'undeclared':['0.0.0.0:1'],"
	"'connections':{'live':2,'accepted':8,'queued':0,'steered':9,'migrated':1}}]}]}";

/* A canary that waits for somebody, while the generation before the last still drains. */
static const char canary[] =
	"{'service':'web','state':'degraded','reason':'instance 1 of generation 3 is unhealthy',"
	"'mode':'auto','tier':'ebpf','strategy':'canary','instances':2,'command':['/srv/44/web'],"
	"'restarts':{'used':2,'max':5,'window_ms':60000},"
	"'generations':["
	"{'generation':4,'state':'candidate','mode':'inherit','executable':'/srv/44/web',"
	"'uptime_ms':61000,'share':{'aimed':25.0,'seen':24.62},"
	"'release':{'executable':'/srv/44/web','digest':'build-id:0123456789abcdef0123'},"
	"'connections':{'live':5,'accepted':24,'queued':0,'steered':25},'instances':["
	"{'instance':0,'pid':50,'state':'running','named':true,'share':{'aimed':12.5,'seen':12.1},"
	"'connections':{'live':3,'accepted':12,'queued':0,'steered':12}},"
	"{'instance':1,'pid':51,'state':'running','named':true,'share':{'aimed':12.5,"
	"'seen':12.52},'connections':{'live':2,'accepted':12,'queued':0,'steered':13}}]},"
	"{'generation':3,'state':'current','mode':'inherit','executable':'/srv/43/web',"
	"'uptime_ms':600000,'share':{'aimed':75,'seen':75.38},"
	"'release':{'digest':'sha256:fedcba9876543210'},"
	"'connections':{'live':9,'accepted':74,'queued':1,'steered':75},'instances':["
	"{'instance':0,'pid':40,'state':'running','named':true,'share':{'aimed':75,'seen':75.38},"
	"'health':{'state':'healthy','last':'GET /: 200','ago_ms':20},"
	"'connections':{'live':6,'accepted':70,'queued':1,'steered':71}},"
	"{'instance':1,'pid':41,'state':'running','named':false,'share':{'aimed':0,'seen':null},"
	"'health':{'state':'unhealthy','last':'GET /: 503','ago_ms':20},"
	"'connections':{'live':3,'accepted':4,'queued':0,'steered':4}}]},"
	"{'generation':2,'state':'draining','mode':'inherit','executable':'/srv/42/web',"
	"'uptime_ms':900000,'share':{'aimed':0.0,'seen':null},'release':{'digest':'sha256:'},"
	"'kinds':{'busy':1,'active':2,'idle':17},'drain_ms_left':24500,'instances':["
	"{'instance':0,'pid':30,'state':'draining','named':false,'share':{'aimed':0,'seen':null},"
	"'connections':{'live':20,'accepted':8,'queued':0,'steered':9}}]}],"
	"'rollout':{'rollout':5,'order':'upgrade','strategy':'canary','step':'hold',"
	"'generation':4,'replaces':3,'elapsed_ms':61000,'weight':25,'waiting':'promote',"
	"'waiting_ms':null,'instances':{'old':2,'new':2}}}";

/* JSON with ' for ", which no text here contains. */
static json_t *json(const char *text)
{
	char *copy = strdup(text);
	json_error_t error;
	json_t *value;

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	value = json_loads(copy, 0, &error);
	if (!value)
		print_error("%s at %d\n", error.text, error.position);
	assert_non_null(value);
	free(copy);
	return value;
}

typedef void (*page)(const struct print *to, const json_t *value);

static uint64_t now_ms;

static char *render(page function, const json_t *value, bool colour)
{
	char *text;
	size_t length;
	struct print to = {
		.out = open_memstream(&text, &length), .colour = colour, .now_ms = now_ms};

	function(&to, value);
	fclose(to.out);
	return text;
}

static void assert_page(page function, const char *source, const char *expected)
{
	json_t *value = json(source);
	char *text = render(function, value, false);

	assert_string_equal(text, expected);
	free(text);
	json_decref(value);
}

static void print_one_of_many(const struct print *to, const json_t *value)
{
	json_t *answer = json_pack("{s:[O]}", "services", value);

	print_statuses(to, answer);
	json_decref(answer);
}

static void list(const struct print *to, const json_t *value)
{
	print_list(to, value, false);
}

static void list_names(const struct print *to, const json_t *value)
{
	print_list(to, value, true);
}

static void test_print_status_running_service_fits_in_few_lines(void **state)
{
	(void)state;
	assert_page(print_status, running,
		    "api  running  mode native, tier ebpf\n"
		    "  command    /srv/api -g 'daemon off;'\n"
		    "  endpoint   :8080  program 12 attached\n"
		    "  last       4, restart: generation 3 replaced 2, done in 900 ms, "
		    "2026-01-01 12:00:00 UTC\n"
		    "\n"
		    "  GENERATION   PID  STATE    LIVE  QUEUED  STEERED  UPTIME  HEALTH\n"
		    "  3 current   4711  running    28       1    91180  2h 03m  "
		    "healthy  GET /healthz: 200 (120 ms ago)\n");
}

/* One line cannot tell of several. */
static void test_print_status_several_checks_have_a_table(void **state)
{
	(void)state;
	assert_page(
		print_status,
		"{'service':'web','state':'degraded','generations':[{'generation':3,"
		"'state':'current','uptime_ms':1000,'instances':[{'instance':1,'pid':7,"
		"'state':'running','connections':{'live':0,'queued':0},"
		"'health':{'state':'unhealthy','last':'bad','checks':["
		"{'kind':'http','declared':true,'listen':'127.0.0.1:80','state':'healthy',"
		"'last':'GET /: 200 OK','failures':0,'ago_ms':20},"
		"{'kind':'notify','declared':true,'state':'unknown','failures':0},"
		"{'kind':'connect','declared':false,'listen':'127.0.0.1:81',"
		"'state':'unhealthy','failures':3,'last':'bad','ago_ms':1500}]}}]}]}",
		"web  degraded\n"
		"\n"
		"  GENERATION  PID  STATE    LIVE  QUEUED  STEERED  UPTIME  HEALTH\n"
		"  3 current     7  running     0       0        -  1.00 s  unhealthy  bad\n"
		"\n"
		"  GENERATION  INSTANCE  CHECK    LISTEN        STATE      FAILURES  LAST\n"
		"           3         1  http     127.0.0.1:80  healthy              GET /: 200 OK "
		"(20 ms ago)\n"
		"           3         1  notify                 unknown              -\n"
		"           3         1  connect  127.0.0.1:81  unhealthy         3  bad (1.50 s "
		"ago)\n");
}

/* One check and an address that is asked for a connection: the table of instances says it. */
static void test_print_status_one_check_that_is_good_has_no_table(void **state)
{
	static const char source[] =
		"{'service':'web','state':'running','generations':[{'generation':3,"
		"'instances':[{'instance':0,'health':{'state':'healthy','checks':["
		"{'kind':'http','declared':true,'state':'healthy'},"
		"{'kind':'connect','declared':false,'state':'healthy'}]}}]}]}";
	json_t *value = json(source);
	char *text = render(print_status, value, false);

	(void)state;
	assert_null(strstr(text, "CHECK"));
	free(text);
	json_decref(value);
}

static void test_print_status_of_many_good_checks_some_are_counted(void **state)
{
	json_t *checks = json_array(), *value;
	char *text;

	(void)state;
	for (int k = 0; k < 70; k++)
		json_array_append_new(checks, json_pack("{s:s, s:b, s:s}", "kind", "http",
							"declared", true, "state", "healthy"));
	json_array_append_new(checks, json_pack("{s:s, s:b, s:s, s:s}", "kind", "http", "declared",
						true, "state", "unhealthy", "last", "the bad one"));
	value = json_pack("{s:s, s:[{s:i, s:[{s:i, s:{s:s, s:o}}]}]}", "service", "web",
			  "generations", "generation", 1, "instances", "instance", 0, "health",
			  "state", "unhealthy", "checks", checks);
	text = render(print_status, value, false);
	assert_non_null(strstr(text, "the bad one"));
	assert_non_null(strstr(text, "  and 6 more checks that are good\n"));
	free(text);
	json_decref(value);
}

static void test_print_status_differs_and_rollback(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'running','command':['/srv/b'],"
		    "'differs':{'command':['/srv/a','x'],'environment':['A','B']},"
		    "'rollback':{'generation':3,'command':['/srv/a'],'digest':'sha256:"
		    "0123456789abcdef','age_ms':61000,'changed':'/srv/app.py'}}",
		    "web  running\n"
		    "  command    /srv/b\n"
		    "  differs    from the file: its command is /srv/a x; environment: A, B\n"
		    "             \"baton restart web --reset\" goes back to it\n"
		    "  rollback   to generation 3: /srv/a (sha256:0123456789ab), replaced 1m 01s "
		    "ago\n"
		    "             it would run what /srv/app.py is now, not what it was\n");
	assert_page(print_status,
		    "{'service':'web','state':'running','rollback':{'generation':3,"
		    "'command':['/srv/a'],'unknown':'/mnt/a: no answer within 1s'}}",
		    "web  running\n"
		    "  rollback   to generation 3: /srv/a\n"
		    "             whether its files are as they were is not known: /mnt/a: no "
		    "answer within 1s\n");
	assert_page(print_status,
		    "{'service':'web','state':'running','differs':{'environment':['A']},"
		    "'rollback':null}",
		    "web  running\n"
		    "  differs    from the file: environment: A\n"
		    "             \"baton restart web --reset\" goes back to it\n");
}

static void test_print_status_queues_are_shown_if_they_overflow_or_are_short(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'running','endpoints':["
		    "{'listen':':80','queue':{'backlog':5,'configured':64,'waiting':6,"
		    "'dropped':1234567890,'lowered':true}},"
		    "{'listen':':81','queue':{'backlog':5,'configured':64,'waiting':0,'dropped':0,"
		    "'lowered':true}},"
		    "{'listen':':82','queue':{'backlog':511,'configured':4096,'waiting':3,"
		    "'dropped':0}}]}",
		    "web  running\n"
		    "  endpoints  :80\n"
		    "             queue overflowed: 1234567890 dropped, 5 may wait\n"
		    "             :81\n"
		    "             backlog 5, not the 64 of the file\n"
		    "             :82\n");
}

static void test_print_status_says_what_an_order_waits_for(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'running','rollout':null,'waits':{'rollout':7,"
		    "'order':'restart','reason':'4 of 4 rollouts are under way'}}",
		    "web  running\n"
		    "  waits      rollout 7, restart: 4 of 4 rollouts are under way\n");
	assert_page(print_status,
		    "{'service':'web','state':'starting','waits':{'rollout':null,"
		    "'order':'start','reason':'4 of 4 rollouts are under way'}}",
		    "web  starting\n"
		    "  waits      start: 4 of 4 rollouts are under way\n");
}

static void test_print_status_rollout_shows_both_generations_and_last_failure(void **state)
{
	(void)state;
	assert_page(print_status, rolling,
		    "web  rolling  mode inherit, tier ebpf, 2 instances\n"
		    "  command    current/web\n"
		    "  runs       /srv/43/web (generation 5)\n"
		    "             /srv/42/web (generation 3)\n"
		    "  endpoints  127.0.0.1:80  program 12 attached\n"
		    "             [::1]:80      program 13 foreign  anchor holding  4 refused\n"
		    "  rollout    5, restart: generation 5 replaces 3, at verify, 1.24 s so far\n"
		    "  before     4, upgrade: generation 4 did not replace 3, failed in 1m 00s, "
		    "2026-01-01 12:00:00 UTC\n"
		    "             not healthy within 60s\n"
		    "             last probe: GET /: 503\n"
		    "             last lines on its stderr:\n"
		    "             | listening\n"
		    "             | panic: \\x1b[2J\n"
		    "\n"
		    "  GENERATION   INSTANCE   PID  STATE                 LIVE  QUEUED  STEERED  "
		    "MIGRATED  UPTIME  HEALTH\n"
		    "  5 candidate         0  5100  running                  0       0        0"
		    "            1.23 s  unhealthy  GET /: 503 (1.50 s ago)\n"
		    "                      1     -  failed                   -       -        -"
		    "                    exited with status 1\n"
		    "  3 current           0  4711  running (2 restarts)    31       0    91234"
		    "        40  1m 00s  healthy, ready  GET /: 200 (20 ms ago)\n");
}

static void test_print_status_tells_all_there_is_to_tell(void **state)
{
	(void)state;
	now_ms = 1767268802000; /* 2026-01-01 12:00:02 UTC */
	assert_page(
		print_status, full,
		"web  running  PAUSED  mode auto (native), tier cbpf, 2 instances\n"
		"  endpoints  127.0.0.1:80 (IPv4-mapped)  program 13 foreign (\"nginx\", pid 4)  "
		"7 held  2 expired\n"
		"             :81                         program 14 attached  3 refused\n"
		"  lost       :81 by instance 1 of generation 5, 2.00 s ago: closed\\x07\n"
		"  undeclared 127.0.0.1:9090, [::1]:9091 (generation 5): not in \"listen\", so left "
		"alone\n"
		"             0.0.0.0:1 (generation 3): not in \"listen\", so left alone\n"
		"  tier       cbpf (ebpf: Operation not permitted)\n"
		"  paused     new connections wait up to 1m30s\n"
		"  failover   backups carried 123 connections, 2 times, last 1.50 s ago\n"
		"\n"
		"  GENERATION  MODE         INSTANCE  PID  STATE    SOCKETS  LIVE  QUEUED  STEERED  "
		"ACCEPTED  RESET  BACKUP  MIGRATED  UPTIME  HEALTH\n"
		"  5 current   native            all                            9       3       99  "
		"     100      1       5            1m 00s\n"
		"                                  0   50  running        4     4       3       59  "
		"      60      1       5                    -\n"
		"                                  1   51  running        4     5       0       40  "
		"      40                                   -\n"
		"  4 draining  -                                                1       0        6  "
		"       7                           1m 10s\n"
		"  3 draining  transparent         0   30  leaving        1     2       0        9  "
		"       8                        1  1m 20s  -\n");
	now_ms = 0;
}

/* Nobody has to do anything: it ends by itself. */
static void test_print_status_delay_tells_who_is_waited_for(void **state)
{
	static const char service[] =
		"{'service':'web','state':'rolling','strategy':'blue-green','generations':[],"
		"'rollout':{'rollout':5,'order':'restart','step':'delay','strategy':'blue-green',"
		"'generation':4,'replaces':3,'elapsed_ms':1000,'waiting':'delay',"
		"'waiting_ms':1500%s}}";
	static const struct {
		const char *silent, *expected;
	} cases[] = {
		{",'silent':1",
		 "  waits      for 1 connection that has not sent a request yet, 1.50 s left\n"},
		{",'silent':20",
		 "  waits      for 20 connections that have not sent a request yet, 1.50 s left\n"},
		{"", "  waits      for drain.delay, 1.50 s left\n"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		char source[512], *printed;
		json_t *value;

		snprintf(source, sizeof(source), service, cases[k].silent);
		value = json(source);
		printed = render(print_status, value, false);
		assert_non_null(strstr(printed, cases[k].expected));
		assert_null(strstr(printed, "baton promote"));
		free(printed);
		json_decref(value);
	}
}

static void test_print_status_canary_tells_shares_and_what_it_waits_for(void **state)
{
	(void)state;
	assert_page(print_status, canary,
		    "web  degraded: instance 1 of generation 3 is unhealthy\n"
		    "  steering   mode auto (inherit), tier ebpf, canary, 2 instances\n"
		    "  command    /srv/44/web\n"
		    "  runs       /srv/44/web (generation 4, build-id:0123456789ab)\n"
		    "             /srv/43/web (generation 3, sha256:fedcba987654)\n"
		    "             /srv/42/web (generation 2)\n"
		    "  restarts   2 of 5 within 1m\n"
		    "  drain      generation 2: 1 busy, 2 active, 17 idle, 24.5 s left\n"
		    "  rollout    5, upgrade: generation 4 replaces 3, at hold, 1m 01s "
		    "so far\n"
		    "             weight 25.0%, instances: 2 new, 2 old\n"
		    "  waits      for a promotion\n"
		    "             \"baton promote web\" goes on, \"baton abort web\" "
		    "goes back\n"
		    "\n"
		    "  GENERATION   INSTANCE  PID  STATE     SHARE   SEEN  LIVE  "
		    "QUEUED  STEERED   UPTIME  HEALTH\n"
		    "  4 candidate       all                 25.0%  24.6%     5        "
		    "       25   1m 01s\n"
		    "                      0   50  running   12.5%  12.1%     3        "
		    "       12           -\n"
		    "                      1   51  running   12.5%  12.5%     2        "
		    "       13           -\n"
		    "  3 current         all                 75.0%  75.4%     9       "
		    "1       75  10m 00s\n"
		    "                      0   40  running   75.0%  75.4%     6       "
		    "1       71           healthy  GET /: 200 (20 ms ago)\n"
		    "                      1   41  running    0.0%      -     3        "
		    "        4           out of the table, unhealthy  GET /: 503 (20 ms ago)\n"
		    "  2 draining          0   30  draining   0.0%      -    20        "
		    "        9  15m 00s  -\n");
	/* The digests are for who asks about one service. */
	assert_page(print_one_of_many, canary,
		    "web  degraded: instance 1 of generation 3 is unhealthy\n"
		    "  steering   mode auto (inherit), tier ebpf, canary, 2 instances\n"
		    "  command    /srv/44/web\n"
		    "  runs       /srv/43/web (generation 3)\n"
		    "             /srv/42/web (generation 2)\n"
		    "  restarts   2 of 5 within 1m\n"
		    "  drain      generation 2: 1 busy, 2 active, 17 idle, 24.5 s left\n"
		    "  rollout    5, upgrade: generation 4 replaces 3, at hold, 1m 01s "
		    "so far\n"
		    "             weight 25.0%, instances: 2 new, 2 old\n"
		    "  waits      for a promotion\n"
		    "             \"baton promote web\" goes on, \"baton abort web\" "
		    "goes back\n"
		    "\n"
		    "  GENERATION   INSTANCE  PID  STATE     SHARE   SEEN  LIVE  "
		    "QUEUED  STEERED   UPTIME  HEALTH\n"
		    "  4 candidate       all                 25.0%  24.6%     5        "
		    "       25   1m 01s\n"
		    "                      0   50  running   12.5%  12.1%     3        "
		    "       12           -\n"
		    "                      1   51  running   12.5%  12.5%     2        "
		    "       13           -\n"
		    "  3 current         all                 75.0%  75.4%     9       "
		    "1       75  10m 00s\n"
		    "                      0   40  running   75.0%  75.4%     6       "
		    "1       71           healthy  GET /: 200 (20 ms ago)\n"
		    "                      1   41  running    0.0%      -     3        "
		    "        4           out of the table, unhealthy  GET /: 503 (20 ms ago)\n"
		    "  2 draining          0   30  draining   0.0%      -    20        "
		    "        9  15m 00s  -\n");
}

static void test_print_status_rolling_counts_both_sides(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'rolling','mode':'auto','strategy':'rolling',"
		    "'rollout':{'rollout':5,'order':'restart','strategy':'rolling',"
		    "'step':'verify','generation':4,'replaces':3,'weight':null,'waiting':null,"
		    "'instances':{'old':3,'new':1}}}",
		    "web  rolling  mode auto, rolling\n"
		    "  rollout    5, restart: generation 4 replaces 3, at verify\n"
		    "             instances: 1 new, 3 old\n");
	/* One that was begun before the configuration changed; one of each is no news. */
	assert_page(print_status,
		    "{'service':'web','state':'rolling','strategy':'blue-green',"
		    "'rollout':{'rollout':5,'order':'restart','strategy':'canary','step':'hold',"
		    "'generation':4,'replaces':3,'weight':0.98,'waiting':'hold',"
		    "'waiting_ms':45000,'instances':{'old':1,'new':1}}}",
		    "web  rolling\n"
		    "  rollout    5, canary restart: generation 4 replaces 3, at hold\n"
		    "             weight 1.0%\n"
		    "  waits      for the end of the hold, 45.0 s left\n"
		    "             \"baton promote web\" goes on, \"baton abort web\" goes back\n");
}

static void test_print_status_waiting_says_what_for(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'rolling','rollout':{'rollout':5,'order':'restart',"
		    "'step':'wait','generation':4,'replaces':3,'waiting':'gate',"
		    "'waiting_ms':60000,'reason':'gate errors is unsure: 3 requests'}}",
		    "web  rolling\n"
		    "  rollout    5, restart: generation 4 replaces 3, at wait\n"
		    "  waits      for somebody to decide, 1m 00s left\n"
		    "             gate errors is unsure: 3 requests\n"
		    "             \"baton promote web\" goes on, \"baton abort web\" goes back\n");
	assert_page(print_status,
		    "{'service':'web','state':'rolling','rollout':{'rollout':5,'order':'restart',"
		    "'step':'wait','generation':4,'replaces':3,'waiting':'something new'}}",
		    "web  rolling\n"
		    "  rollout    5, restart: generation 4 replaces 3, at wait\n"
		    "  waits      something new\n"
		    "             \"baton promote web\" goes on, \"baton abort web\" goes back\n");
}

static void test_print_status_degraded_without_ways_or_reason(void **state)
{
	(void)state;
	assert_page(print_status, "{'service':'web','state':'degraded'}", "web  degraded\n");
	assert_page(print_status,
		    "{'service':'web','state':'degraded','reason':'no restarts left',"
		    "'restarts':{'used':5,'max':5,'window_ms':0}}",
		    "web  degraded: no restarts left\n"
		    "  restarts   5 of 5\n");
	assert_page(print_status,
		    "{'service':'web','state':'running',"
		    "'restarts':{'used':0,'max':5,'window_ms':60000}}",
		    "web  running\n");
}

static void test_print_status_drain_as_far_as_it_is_known(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'running','generations':["
		    "{'generation':3,'state':'draining','drain_ms_left':1000,'instances':[]},"
		    "{'generation':2,'state':'draining','kinds':{'busy':4,'idle':null},"
		    "'drain_ms_left':null,'instances':[]}]}",
		    "web  running\n"
		    "  drain      generation 3: 1.00 s left\n"
		    "             generation 2: 4 busy\n"
		    "\n"
		    "  GENERATION  UPTIME\n"
		    "  3 draining       -\n"
		    "  2 draining       -\n");
}

/* "named" of an instance whose generation takes part, and of others; no share, an older daemon. */
static void test_print_status_out_of_the_table_only_where_others_serve(void **state)
{
	(void)state;
	assert_page(
		print_status,
		"{'service':'web','state':'running','generations':["
		"{'generation':3,'state':'current','uptime_ms':1000,'instances':["
		"{'instance':0,'pid':1,'state':'running','named':true},"
		"{'instance':1,'pid':2,'state':'running','named':false,'ready':true},"
		"{'instance':2,'pid':3,'state':'failed','named':false,'failure':'exited'}]},"
		"{'generation':4,'state':'candidate','uptime_ms':10,'instances':["
		"{'instance':0,'pid':4,'state':'running','named':false}]}]}",
		"web  running\n"
		"\n"
		"  GENERATION   INSTANCE  PID  STATE    LIVE  QUEUED  STEERED  UPTIME  HEALTH\n"
		"  3 current           0    1  running     -       -        -  1.00 s  -\n"
		"                      1    2  running     -       -        -          out of the "
		"table, ready\n"
		"                      2    3  failed      -       -        -          exited\n"
		"  4 candidate         0    4  running     -       -        -   10 ms  -\n");
}

static void test_print_status_hold_without_a_pause(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'running','mode':'auto','paused':false,"
		    "'hold_ms':5000,'failover':{'count':0,'carried':0,'last':null},"
		    "'generations':[{'generation':1,'state':'candidate','mode':'transparent',"
		    "'instances':[]}]}",
		    "web  running  mode auto (transparent)\n"
		    "  hold       new connections wait up to 5s where nothing can take them\n"
		    "\n"
		    "  GENERATION   UPTIME\n"
		    "  1 candidate       -\n");
}

static void test_print_status_failover_once_at_a_time(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'running','failover':{'count':1,'carried':1,"
		    "'last':'2026-01-01T12:00:00.000Z'}}",
		    "web  running\n"
		    "  failover   backups carried 1 connection, 2026-01-01 12:00:00 UTC\n");
}

static void test_print_status_failed_with_a_tier_has_its_reason_first(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'failed','reason':'no port','mode':'auto',"
		    "'tier':'hash'}",
		    "web  failed: no port\n"
		    "  steering   mode auto, tier hash\n");
}

static void test_print_status_failed_service_says_why(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'failed','reason':'exited with status 1\\u0007',"
		    "'last_rollout':{'rollout':1,'order':'start','result':'failed','generation':1,"
		    "'replaces':null,'reason':'exited with status 1','tail':'no such file'}}",
		    "web  failed: exited with status 1\\x07\n"
		    "  last       1, start: generation 1, failed\n"
		    "             exited with status 1\n"
		    "             last lines on its stderr:\n"
		    "             | no such file\n");
}

static void test_print_status_cut_connections_are_counted(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'stopped','last_rollout':{'rollout':9,"
		    "'order':'stop','result':'done','generation':null,'replaces':3,'cut':1}}",
		    "web  stopped\n"
		    "  last       9, stop: generation 3, done, 1 connection cut\n");
}

static void test_print_status_state_is_coloured(void **state)
{
	json_t *value = json("{'service':'web','state':'failed'}");
	char *text = render(print_status, value, true);

	(void)state;
	assert_string_equal(text, "\033[1mweb\033[0m  \033[31mfailed\033[0m\n");
	free(text);
	json_decref(value);
}

static void test_print_statuses_are_parted_by_empty_lines(void **state)
{
	(void)state;
	assert_page(print_statuses,
		    "{'services':[{'service':'a','state':'stopped'},{'service':'b',"
		    "'state':'stopped'}]}",
		    "a  stopped\n\nb  stopped\n");
	assert_page(print_statuses, "{'services':[]}", "no services\n");
}

static void test_print_list_has_one_line_per_service(void **state)
{
	char *both;

	(void)state;
	assert_true(asprintf(&both, "{'services':[%s,%s,{'service':'c','state':'stopped'}]}",
			     running, rolling) > 0);
	assert_page(list, both,
		    "SERVICE  STATE             GENERATION  TIER  LIVE  LISTENS ON\n"
		    "api      running                    3  ebpf    28  :8080\n"
		    "web      rolling (verify)           3  ebpf    31  127.0.0.1:80, [::1]:80\n"
		    "c        stopped                    -           0\n");
	assert_page(list_names, both, "api\nweb\nc\n");
	assert_page(list, "{'services':[{'service':'w','state':'running','paused':true}]}",
		    "SERVICE  STATE             GENERATION  LIVE\n"
		    "w        running (paused)           -     0\n");
	assert_page(list, "{'services':[{'service':'w','state':'running','waits':{}}]}",
		    "SERVICE  STATE            GENERATION  LIVE\n"
		    "w        running (waits)           -     0\n");
	assert_page(list,
		    "{'services':[{'service':'w','state':'rolling','rollout':{'step':'wait',"
		    "'waiting':'gate'}},{'service':'x','state':'rolling','rollout':{"
		    "'step':'hold','waiting':'hold'}},{'service':'y','state':'degraded'}]}",
		    "SERVICE  STATE              GENERATION  LIVE\n"
		    "w        rolling (waiting)           -     0\n"
		    "x        rolling (hold)              -     0\n"
		    "y        degraded                    -     0\n");
	assert_page(list, "{'services':[]}", "no services\n");
	assert_page(list_names, "{'services':[]}", "");
	free(both);
}

/* Replace the @at-th value below @value (depth first) by @by; counts @at down to 0. */
static void replace(json_t *value, size_t *at, json_t *by)
{
	const char *key;
	json_t *inner;
	size_t i;

	json_array_foreach (value, i, inner) {
		if (*at && --*at == 0) {
			json_array_set(value, i, by);
			return;
		}
		replace(inner, at, by);
		if (!*at)
			return;
	}
	if (!json_is_object(value))
		return;
	json_object_foreach (value, key, inner) {
		if (*at && --*at == 0) {
			json_object_set(value, key, by);
			return;
		}
		replace(inner, at, by);
		if (!*at)
			return;
	}
}

/* Whatever a daemon of another version leaves out or changes, there is a page, and it is clean. */
static size_t replace_each_member(const char *source)
{
	json_t *others[] = {json_null(),           json_integer(-1),
			    json_string("\n\033"), json_array(),
			    json_object(),         json_true(),
			    json_real(1e300),      json_pack("[[], {}, n, s]", "\033")};
	size_t replaced = 0;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		for (size_t at = 1;; at++) {
			json_t *services = json("{'services':[]}");
			json_t *service = json(source);
			size_t left = at;
			char *text;

			replace(service, &left, others[i]);
			json_array_append(json_object_get(services, "services"), service);
			text = render(print_statuses, services, false);
			assert_null(strchr(text, '\033'));
			assert_true(strlen(text) > 0);
			free(text);
			free(render(list, services, true));
			json_decref(service);
			json_decref(services);
			if (left)
				break;
			replaced++;
		}
		json_decref(others[i]);
	}
	return replaced;
}

static void test_print_status_any_member_may_be_anything(void **state)
{
	(void)state;
	assert_true(replace_each_member(rolling) > 600);
	assert_true(replace_each_member(full) > 600);
	assert_true(replace_each_member(canary) > 600);
}

static void test_print_status_failed_service_says_what_follows(void **state)
{
	(void)state;
	assert_page(print_status,
		    "{'service':'web','state':'failed','reason':'exited with status 1',"
		    "'failure':{'since':null,'retry_ms':41001,'connections':'refused',"
		    "'advice':'type this','tail':'panic','tail_stream':'stdout'}}",
		    "web  failed: exited with status 1\n"
		    "  clients    connections are refused\n"
		    "  next       it is started again in 42s\n"
		    "             type this\n"
		    "             last lines on its stdout:\n"
		    "             | panic\n");
	/* The last rollout has told its words already. */
	assert_page(print_status,
		    "{'service':'web','state':'failed','reason':'exited with status 1',"
		    "'failure':{'since':null,'retry_ms':null,'connections':'wait','tail':'no'},"
		    "'last_rollout':{'rollout':1,'order':'start','result':'failed','generation':1,"
		    "'replaces':null,'reason':'exited with status 1','tail':'no'}}",
		    "web  failed: exited with status 1\n"
		    "  clients    new connections wait\n"
		    "  next       it is not started again by itself\n"
		    "  last       1, start: generation 1, failed\n"
		    "             exited with status 1\n"
		    "             last lines on its stderr:\n"
		    "             | no\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_print_status_running_service_fits_in_few_lines),
		cmocka_unit_test(test_print_status_several_checks_have_a_table),
		cmocka_unit_test(test_print_status_one_check_that_is_good_has_no_table),
		cmocka_unit_test(test_print_status_of_many_good_checks_some_are_counted),
		cmocka_unit_test(test_print_status_differs_and_rollback),
		cmocka_unit_test(test_print_status_queues_are_shown_if_they_overflow_or_are_short),
		cmocka_unit_test(test_print_status_says_what_an_order_waits_for),
		cmocka_unit_test(test_print_status_rollout_shows_both_generations_and_last_failure),
		cmocka_unit_test(test_print_status_tells_all_there_is_to_tell),
		cmocka_unit_test(test_print_status_delay_tells_who_is_waited_for),
		cmocka_unit_test(test_print_status_canary_tells_shares_and_what_it_waits_for),
		cmocka_unit_test(test_print_status_rolling_counts_both_sides),
		cmocka_unit_test(test_print_status_waiting_says_what_for),
		cmocka_unit_test(test_print_status_degraded_without_ways_or_reason),
		cmocka_unit_test(test_print_status_drain_as_far_as_it_is_known),
		cmocka_unit_test(test_print_status_out_of_the_table_only_where_others_serve),
		cmocka_unit_test(test_print_status_hold_without_a_pause),
		cmocka_unit_test(test_print_status_failover_once_at_a_time),
		cmocka_unit_test(test_print_status_failed_with_a_tier_has_its_reason_first),
		cmocka_unit_test(test_print_status_failed_service_says_why),
		cmocka_unit_test(test_print_status_cut_connections_are_counted),
		cmocka_unit_test(test_print_status_state_is_coloured),
		cmocka_unit_test(test_print_statuses_are_parted_by_empty_lines),
		cmocka_unit_test(test_print_list_has_one_line_per_service),
		cmocka_unit_test(test_print_status_any_member_may_be_anything),
		cmocka_unit_test(test_print_status_failed_service_says_what_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
