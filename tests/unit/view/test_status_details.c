/* SPDX-License-Identifier: BSD-2-Clause */
/* What is told of endpoints, generations and instances, and what they count. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/view/status_fixture.h"

static void test_status_command_is_what_runs_else_what_would(void **state)
{
	char *kept[] = {(char *)"/bin/upgraded", NULL};

	(void)state;
	service.history.command = kept;
	look();
	assert_text("command.0", "/bin/upgraded");
	service.current = add_generation(1);
	look();
	assert_int_equal(json_array_size(at("command")), 1);
	assert_text("command.0", "./web");
}

static void test_status_differs_from_the_file(void **state)
{
	char *kept[] = {(char *)"/bin/upgraded", NULL};
	char *added[] = {(char *)"A=secret", (char *)"B=", NULL};

	(void)state;
	look();
	assert_true(json_is_null(at("differs")));
	/* Before it runs by what would be started, then by what runs. */
	service.history.command = kept;
	service.history.environment = added;
	look();
	assert_text("differs.command.0", "/bin/web");
	assert_int_equal(json_array_size(at("differs.environment")), 2);
	assert_text("differs.environment.0", "A");
	assert_text("differs.environment.1", "B");
	service.current = add_generation(1);
	service.current->added = added + 1;
	look();
	assert_text("differs.command.0", "/bin/web");
	assert_int_equal(json_array_size(at("differs.environment")), 1);
}

static void test_status_names_what_a_rollback_goes_to(void **state)
{
	struct release gone = {.command = running_command,
			       .executable = (char *)"/none/web",
			       .digest = "sha256:12",
			       .hash = "sha256:12",
			       .inode = 5,
			       .directory = (char *)"/srv"};
	struct past newest = {.generation = 8, .release = &gone, .config = &config};
	struct past past = {.generation = 7,
			    .release = &gone,
			    .config = &config,
			    .began_ms = 1700000000042,
			    .ended_ms = clock_realtime_ms() - 5000};

	(void)state;
	look();
	assert_true(json_is_null(at("rollback")));
	service.history.past = (struct history){.list = {&past, &newest}, .n = 2};
	look();
	assert_number("rollback.generation", 7);
	assert_text("rollback.command.0", "./web");
	assert_text("rollback.executable", "/none/web");
	assert_text("rollback.digest", "sha256:12");
	assert_text("rollback.directory", "/srv");
	assert_text("rollback.began", "2023-11-14T22:13:20.042Z");
	assert_in_range(json_integer_value(at("rollback.age_ms")), 5000, 60000);
	assert_text("rollback.changed", "/none/web");
	past.end = PAST_ROLLED_BACK;
	look();
	assert_true(json_is_null(at("rollback")));
}

/* It need not be the one that is declared. */
static void test_status_endpoints_have_the_family_of_their_sockets(void **state)
{
	static const char *const cases[][2] = {
		{"127.0.0.1:80", "IPv4"},
		{"[::ffff:127.0.0.1]:80", "IPv4-mapped"},
		{"[::1]:80", "IPv6"},
		{":80", "dual-stack"},
	};

	(void)state;
	look();
	assert_none("endpoints.0", "family");
	open_endpoints();
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		assert_int_equal(address_parse(cases[k][0], &endpoint_0.address, NULL), 0);
		/* Only twins are of another family than declared. */
		if (!address_are_twins(&endpoint_0.address, &config.listen[0]))
			config.listen[0] = endpoint_0.address;
		look();
		assert_text("endpoints.0.family", cases[k][1]);
		assert_text("endpoints.0.listen", config.listen[0].text);
	}
}

static void test_status_endpoints_have_their_program(void **state)
{
	(void)state;
	look();
	assert_int_equal(json_array_size(at("endpoints")), 2);
	assert_text("endpoints.1.listen", "127.0.0.1:81");
	assert_text("endpoints.1.protocol", "tcp");
	assert_true(json_is_null(at("endpoints.1.program")));
	assert_none("endpoints.1", "refused");
	assert_none("endpoints.1", "held");
	open_endpoints();
	endpoint_1.program = STEER_PROGRAM_FOREIGN;
	endpoint_1.foreign = "program 9 \"other\"";
	endpoint_1.stats.refused = 9;
	endpoint_1.held = 4;
	service.hold.expired[1] = 3;
	look();
	assert_text("endpoints.0.listen", "127.0.0.1:80");
	assert_text("endpoints.0.program.state", "attached");
	assert_number("endpoints.0.program.id", 81);
	assert_none("endpoints.0.program", "who");
	assert_number("endpoints.0.refused", 0);
	assert_number("endpoints.0.held", 0);
	assert_number("endpoints.0.expired", 0);
	assert_text("endpoints.1.program.state", "foreign");
	assert_number("endpoints.1.program.id", 82);
	assert_text("endpoints.1.program.who", "program 9 \"other\"");
	assert_number("endpoints.1.refused", 9);
	assert_number("endpoints.1.held", 4);
	assert_number("endpoints.1.expired", 3);
}

static void test_status_generation_has_what_it_runs(void **state)
{
	(void)state;
	service.current = add_generation(2);
	look();
	assert_number("generations.0.generation", 2);
	assert_text("generations.0.executable", "/srv/v1/web");
	assert_text("generations.0.directory", "/srv/v1");
	assert_text("generations.0.started", "2023-11-14T22:13:20.042Z");
	assert_in_range(json_integer_value(at("generations.0.uptime_ms")), 5000, 65000);
	assert_int_equal(json_array_size(at("generations.0.instances")), 1);
}

static void test_status_instance_has_what_is_known_of_it(void **state)
{
	struct instance *i;

	(void)state;
	service.current = add_generation(1);
	i = add_instance(service.current);
	i->pid = 777;
	i->ready = true;
	i->restarts = 3;
	i->protocol = 1;
	i->agent_said = AGENT_DELAYING;
	look();
	assert_number("generations.0.instances.0.instance", 0);
	assert_text("generations.0.instances.0.state", "running");
	assert_true(json_is_false(at("generations.0.instances.0.ready")));
	assert_none("generations.0.instances.0", "failure");
	assert_none("generations.0.instances.0", "protocol"); /* no hello has come */
	assert_number("generations.0.instances.1.protocol", 1);
	assert_number("generations.0.instances.1.instance", 1);
	assert_number("generations.0.instances.1.pid", 777);
	assert_number("generations.0.instances.1.agent_pid", 500);
	assert_text("generations.0.instances.1.state", "delaying");
	assert_true(json_is_true(at("generations.0.instances.1.ready")));
	assert_number("generations.0.instances.1.restarts", 3);
	assert_text("generations.0.instances.1.cgroup", "/cgroup/web");
}

static void test_status_instance_without_agent_or_process_says_so(void **state)
{
	struct instance *i;

	(void)state;
	service.current = add_generation(1);
	i = service.current->instances.list[0];
	i->lost = true;
	i->link = NULL;
	look();
	assert_text("generations.0.instances.0.state", "agent-lost");
	assert_number("generations.0.instances.0.agent_pid", 0);
	i->phase = INSTANCE_STOPPED;
	look();
	assert_text("generations.0.instances.0.state", "stopped");
}

static void test_status_health_is_the_last_answer(void **state)
{
	struct checker *checker, *other;

	(void)state;
	service.current = add_generation(1);
	checker = &service.current->instances.list[0]->checks.list[0].checker;
	other = &service.current->instances.list[0]->checks.list[1].checker;
	other->health.state = HEALTH_HEALTHY;
	look();
	assert_text("generations.0.instances.0.health.state", "unknown");
	assert_none("generations.0.instances.0.health", "last");
	assert_none("generations.0.instances.0.health", "ago_ms");
	checker->health.state = HEALTH_HEALTHY;
	checker->last_ms = clock_monotonic_ms() - 300;
	strcpy(checker->last.text, "GET /: 200 OK");
	look();
	assert_text("generations.0.instances.0.health.state", "healthy");
	assert_text("generations.0.instances.0.health.last", "GET /: 200 OK");
	assert_in_range(json_integer_value(at("generations.0.instances.0.health.ago_ms")), 300,
			60300);
	assert_none("generations.0.instances.0.health", "unasked");
	checker->last.unasked = true;
	look();
	assert_true(json_is_true(at("generations.0.instances.0.health.unasked")));
	checker->last.unasked = false;
	/* Of all endpoints. */
	other->health.state = HEALTH_UNHEALTHY;
	other->last_ms = 1;
	strcpy(other->last.text, "127.0.0.1:81: connect: Connection refused");
	look();
	assert_text("generations.0.instances.0.health.state", "unhealthy");
	assert_text("generations.0.instances.0.health.last",
		    "127.0.0.1:81: connect: Connection refused");
	assert_none("generations.0.instances.0", "lost");
}

static void test_status_shows_each_check_of_an_instance(void **state)
{
	struct instance_check *list;

	(void)state;
	declared[0].path = (char *)"/";
	declared[1] = (struct health_config){.kind = HEALTH_KIND_NOTIFY};
	config.health.n = 2;
	service.current = add_generation(1);
	list = service.current->instances.list[0]->checks.list;
	list[0].checker.health = (struct health){.state = HEALTH_UNHEALTHY, .failures = 4};
	list[0].checker.last_ms = clock_monotonic_ms() - 300;
	list[0].checker.has_bad = true;
	strcpy(list[0].checker.bad.text, "GET /: 503");
	look();
#define CHECK_OF(k_, member_) "generations.0.instances.0.health.checks." k_ member_
	assert_int_equal(json_array_size(at("generations.0.instances.0.health.checks")), 3);
	assert_text(CHECK_OF("0", ".kind"), "http");
	assert_text(CHECK_OF("0", ".listen"), "127.0.0.1:80");
	assert_text(CHECK_OF("0", ".state"), "unhealthy");
	assert_text(CHECK_OF("0", ".last"), "GET /: 503");
	assert_number(CHECK_OF("0", ".failures"), 4);
	assert_in_range(json_integer_value(at(CHECK_OF("0", ".ago_ms"))), 300, 60300);
	assert_true(json_is_true(at(CHECK_OF("0", ".declared"))));
	assert_text(CHECK_OF("1", ".kind"), "notify");
	assert_text(CHECK_OF("1", ".state"), "unknown");
	assert_text(CHECK_OF("1", ".last"), "no READY=1 yet");
	assert_none(CHECK_OF("1", ""), "listen");
	assert_text(CHECK_OF("2", ".kind"), "connect");
	assert_text(CHECK_OF("2", ".listen"), "127.0.0.1:81");
	assert_true(json_is_false(at(CHECK_OF("2", ".declared"))));
	assert_none(CHECK_OF("2", ""), "last");
}

static void test_status_lost_endpoints_are_named_with_their_time(void **state)
{
	struct instance *i;

	(void)state;
	service.current = add_generation(1);
	i = service.current->instances.list[0];
	i->has_loss = true;
	strcpy(i->loss_answer.text, "nothing of it listens");
	i->losses[1] = (struct instance_loss){
		.had = true, .told = true, .since_ms = 1, .since_realtime_ms = 1000};
	look();
	assert_text("generations.0.instances.0.health.state", "unhealthy");
	assert_text("generations.0.instances.0.health.last", "nothing of it listens");
	assert_text("generations.0.instances.0.lost.0.listen", config.listen[1].text);
	assert_text("generations.0.instances.0.lost.0.since", "1970-01-01T00:00:01.000Z");
	assert_non_null(strstr(json_string_value(at("generations.0.instances.0.lost.0.why")),
			       config.listen[1].text));
	assert_int_equal(json_array_size(at("generations.0.instances.0.lost")), 1);
}

static void test_status_health_by_notify_is_ready(void **state)
{
	(void)state;
	declared[0].kind = HEALTH_KIND_NOTIFY;
	service.current = add_generation(1);
	look();
	assert_text("generations.0.instances.0.health.state", "unknown");
	assert_text("generations.0.instances.0.health.last", "no READY=1 yet");
	service.current->instances.list[0]->ready = true;
	for (size_t k = 0; k < service.current->instances.list[0]->checks.n; k++)
		service.current->instances.list[0]->checks.list[k].checker.health.state =
			HEALTH_HEALTHY;
	look();
	assert_text("generations.0.instances.0.health.state", "healthy");
	assert_text("generations.0.instances.0.health.last", "READY=1");
}

static void test_status_connections_are_summed_over_endpoints(void **state)
{
	(void)state;
	service.current = add_generation(1);
	endpoint_0.slot_stats[1] = (struct steer_slot_stats){1, 2, 3, 4};
	endpoint_1.slot_stats[1] = (struct steer_slot_stats){10, 20, 30, 40};
	endpoint_1.slot_stats[2] = (struct steer_slot_stats){100, 100, 100, 100}; /* another's */
	fake_listeners[0] = (struct fake_listener){.port = 80, .cookie = 10, .queued = 5};
	fake_listeners[1] = (struct fake_listener){.port = 81, .cookie = 11, .queued = 6};
	fake_connections[0].port = 80;
	fake_connections[0].cgroup_id = 1;
	fake_connections[0].live = 7;
	fake_connections[1].port = 81;
	fake_connections[1].cgroup_id = 1;
	look();
	assert_number("generations.0.instances.0.connections.live", 7);
	assert_number("generations.0.instances.0.connections.queued", 11);
	assert_number("generations.0.instances.0.connections.steered", 33);
	assert_number("generations.0.instances.0.connections.backup", 22);
	assert_number("generations.0.instances.0.connections.probes", 33);
	assert_number("generations.0.instances.0.connections.migrated", 44);
	service.current->instances.list[0]->sockets.n = 1;
	look();
	assert_number("generations.0.instances.0.connections.steered", 3);
	assert_number("generations.0.instances.0.connections.queued", 5);
	fake_steer_failure.function = "steer_slot_stats";
	fake_steer_failure.code = -EIO;
	look();
	assert_number("generations.0.instances.0.connections.steered", 0);
}

/* What the kernel counts costs nothing to read, so the list is not asked for. */
static void test_status_connections_are_counted_where_there_are_hooks(void **state)
{
	struct generation *g;

	(void)state;
	g = service.current = add_generation(1);
	look();
	assert_none("generations.0.connections", "accepted");
	add_instance(g);
	service.wiring.tap = &hooks;
	for (uint32_t k = 0; k < 2; k++)
		assert_int_equal(tap_attach(&hooks, "", 1, k, false, NULL), 0);
	fake_tap_set(&hooks, 1, 0,
		     (struct tap_count){.accepted = 9, .live = 5, .closed = 4, .reset = 1});
	fake_tap_set(&hooks, 1, 1,
		     (struct tap_count){.accepted = 90, .live = 50, .closed = 40, .reset = 10});
	look();
	assert_number("generations.0.instances.1.connections.accepted", 90);
	assert_number("generations.0.instances.1.connections.live", 50);
	assert_number("generations.0.instances.1.connections.closed", 40);
	assert_number("generations.0.instances.1.connections.reset", 10);
	assert_number("generations.0.connections.accepted", 99);
	assert_number("generations.0.connections.live", 55);
	assert_number("generations.0.connections.closed", 44);
	assert_number("generations.0.connections.reset", 11);
}

/* A number that nobody counts is not 0. */
static void test_status_on_a_lower_tier_leaves_out_what_is_not_counted(void **state)
{
	static const char *const fields[] = {"steered",  "backup", "probes", "migrated",
					     "accepted", "closed", "reset"};

	(void)state;
	service.wiring.tier = endpoint_0.tier = endpoint_1.tier = STEER_HASH;
	strcpy(service.endpoints.tier_reason, "ebpf: Operation not permitted");
	service.current = add_generation(1);
	look();
	assert_text("tier", "hash");
	assert_text("tier_reason", "ebpf: Operation not permitted");
	assert_number("generations.0.connections.live", 0);
	assert_number("generations.0.connections.queued", 0);
	for (size_t k = 0; k < sizeof(fields) / sizeof(fields[0]); k++) {
		assert_none("generations.0.connections", fields[k]);
		assert_none("generations.0.instances.0.connections", fields[k]);
	}
	assert_text("endpoints.0.program.state", "none");
	assert_none("endpoints.0", "refused");
	assert_none("endpoints.0", "held");
	assert_none("endpoints.0", "expired");
}

/* ---- modes, strangers, pauses, failovers ---------------------------------------------------- */

static void test_status_mode_is_what_was_asked_for_and_what_was_found(void **state)
{
	struct instance *i;

	(void)state;
	config.mode = SOCKETS_TRANSPARENT;
	service.current = add_generation(1);
	i = service.current->instances.list[0];
	i->phase = INSTANCE_STARTING;
	look();
	assert_text("mode", "transparent");
	assert_text("tier", "ebpf");
	assert_true(json_is_null(at("generations.0.mode")));
	i->phase = INSTANCE_JOINED;
	look();
	assert_text("generations.0.mode", "inherit");
	i->sockets.list[1].own = true;
	look();
	assert_text("generations.0.mode", "native");
}

/* Sockets that nobody has looked at have no queue. */
static void test_status_queues_are_those_that_were_looked_at(void **state)
{
	struct service_backlog_socket seen[] = {
		{.cookie = 10,
		 .place = 0,
		 .waiting = 2,
		 .backlog = 5,
		 .dropped = 7,
		 .configured = 64,
		 .must = true,
		 .seen = true},
		{.cookie = 11, .place = 1, .configured = 64, .seen = false},
	};

	(void)state;
	service.current = add_generation(1);
	service.backlogs.list = seen;
	service.backlogs.n = 2;
	service.backlogs.endpoints[0].dropped = 9;
	look();
	assert_number("generations.0.instances.0.queue.backlog", 5);
	assert_number("generations.0.instances.0.queue.configured", 64);
	assert_number("generations.0.instances.0.queue.waiting", 2);
	assert_number("generations.0.instances.0.queue.dropped", 7);
	assert_true(json_is_true(at("generations.0.instances.0.queue.lowered")));
	assert_number("endpoints.0.queue.dropped", 9);
	assert_number("endpoints.0.queue.backlog", 5);
	assert_null(json_object_get(at("endpoints.1"), "queue"));
	service.backlogs.list = NULL;
	service.backlogs.n = 0;
}

static void test_status_instance_has_its_sockets_and_undeclared_addresses(void **state)
{
	struct instance *i;

	(void)state;
	service.current = add_generation(1);
	look();
	assert_number("generations.0.instances.0.sockets", 2);
	assert_int_equal(json_array_size(at("generations.0.instances.0.undeclared")), 0);
	i = service.current->instances.list[0];
	instance_sockets_add(&i->sockets, &(struct instance_socket){.cookie = 12, .slot = 5});
	strcpy(i->strangers[0], "127.0.0.1:9000");
	strcpy(i->strangers[1], "[::]:9001");
	i->n_strangers = 2;
	look();
	assert_number("generations.0.instances.0.sockets", 3);
	assert_int_equal(json_array_size(at("generations.0.instances.0.undeclared")), 2);
	assert_text("generations.0.instances.0.undeclared.1", "[::]:9001");
}

static void test_status_paused_says_how_long_connections_wait(void **state)
{
	(void)state;
	service.current = add_generation(1);
	service.hold.paused = true;
	look();
	assert_true(json_is_true(at("paused")));
	assert_number("hold_ms", 30000);
	assert_text("state", "running");
	config.hold_ms = 5000;
	look();
	assert_number("hold_ms", 5000);
}

static void test_status_failover_has_when_it_was_and_how_many(void **state)
{
	(void)state;
	service.failover = (struct service_failover){
		.count = 2, .carried = 4321, .last_realtime_ms = 1700000000042};
	look();
	assert_number("failover.count", 2);
	assert_number("failover.carried", 4321);
	assert_text("failover.last", "2023-11-14T22:13:20.042Z");
}

/* ---- releases ------------------------------------------------------------------------------- */

static void test_status_release_is_what_a_generation_was_started_as(void **state)
{
	(void)state;
	strcpy(release.digest, "build-id:abc");
	release.inode = 77;
	release.size = 12345;
	release.mtime_ms = 1700000000042;
	release.files[0].path = (char *)"/srv/v1/app.py";
	release.n_files = 1;
	service.current = add_generation(1);
	look();
	assert_text("generations.0.release.command.0", "./web");
	assert_text("generations.0.release.executable", "/srv/v1/web");
	assert_text("generations.0.release.digest", "build-id:abc");
	assert_number("generations.0.release.inode", 77);
	assert_number("generations.0.release.size", 12345);
	assert_text("generations.0.release.mtime", "2023-11-14T22:13:20.042Z");
	assert_text("generations.0.release.directory", "/srv/v1");
	assert_text("generations.0.release.files.0", "/srv/v1/app.py");
}

/* ---- strategy, restarts --------------------------------------------------------------------- */

static void test_status_strategy_is_the_configured_one(void **state)
{
	(void)state;
	config.rollout.strategy = ROLLOUT_CANARY;
	look();
	assert_text("strategy", "canary");
	config.rollout.strategy = ROLLOUT_ROLLING;
	look();
	assert_text("strategy", "rolling");
}

static void test_status_restarts_are_those_within_the_window(void **state)
{
	uint64_t now_ms = clock_monotonic_ms();

	(void)state;
	config.restart = (struct restart_config){.max = 5, .window_ms = 3600000};
	restarts_take(&service.healing.restarts, now_ms);
	restarts_take(&service.healing.restarts, now_ms);
	look();
	assert_number("restarts.used", 2);
	assert_number("restarts.max", 5);
	assert_number("restarts.window_ms", 3600000);
	service.healing.restarts.at_ms[0] = now_ms - 3600001;
	look();
	assert_number("restarts.used", 1);
}

/* ---- shares --------------------------------------------------------------------------------- */

static void test_status_shares_are_aimed_at_and_seen(void **state)
{
	struct generation *g;

	(void)state;
	g = service.current = add_generation(1);
	add_instance(g);
	add_generation(2);
	instances[0][0].aimed = 512;
	instances[0][1].aimed = 256;
	instances[1][0].aimed = 256;
	endpoint_0.slot_stats[1].primary = 150;
	endpoint_0.slot_stats[1].backup = 1;
	endpoint_0.slot_stats[11].primary = 20;
	endpoint_0.slot_stats[2].primary = 40;
	endpoint_1.slot_stats[2].primary = 4000; /* of the first endpoint is what counts */
	instances[0][0].shifted = 100;           /* by an earlier table */
	look();
	assert_real("generations.0.instances.0.share.aimed", 50.0);
	assert_real("generations.0.instances.1.share.aimed", 25.0);
	assert_real("generations.0.share.aimed", 75.0);
	assert_real("generations.1.share.aimed", 25.0);
	/* 51, 20 and 40 of 111 */
	assert_real("generations.0.instances.0.share.seen", 45.9);
	assert_real("generations.0.instances.1.share.seen", 18.0);
	assert_real("generations.0.share.seen", 64.0);
	assert_real("generations.1.share.seen", 36.0);
	assert_true(json_is_true(at("generations.0.instances.0.named")));
	instances[0][1].aimed = 0;
	look();
	assert_true(json_is_false(at("generations.0.instances.1.named")));
	assert_real("generations.0.instances.1.share.aimed", 0.0);
}

static void test_status_shares_of_no_connections_are_not_known(void **state)
{
	(void)state;
	service.current = add_generation(1);
	instances[0][0].aimed = 1024;
	look();
	assert_real("generations.0.share.aimed", 100.0);
	assert_true(json_is_null(at("generations.0.share.seen")));
	assert_true(json_is_null(at("generations.0.instances.0.share.seen")));
	/* Nor where nothing counts them. */
	service.wiring.tier = STEER_HASH;
	endpoint_0.slot_stats[1].primary = 10;
	look();
	assert_true(json_is_null(at("generations.0.share.seen")));
}

/* ---- draining ------------------------------------------------------------------------------- */

static void test_status_draining_says_what_its_connections_do(void **state)
{
	struct generation *old;
	struct run *run;

	(void)state;
	old = add_generation(1);
	service.current = add_generation(2);
	run = add_run(0, RUN_ORDER_RESTART, service.current, old, ROLLOUT_DRAINING);
	commit(run);
	run->deadline_ms = clock_monotonic_ms() + 30000;
	fake_connections[0].port = 80;
	fake_connections[0].cgroup_id = 1;
	fake_connections[0].live = 4;
	fake_connections[0].inode = 5;
	fake_connections[0].idle_ms = 100000;
	fake_connections[1].port = 81;
	fake_connections[1].cgroup_id = 1;
	look();
	assert_text("generations.0.state", "draining");
	assert_in_range(json_integer_value(at("generations.0.drain_ms_left")), 1, 30000);
	assert_int_equal(json_integer_value(at("generations.0.kinds.busy")) +
				 json_integer_value(at("generations.0.kinds.active")) +
				 json_integer_value(at("generations.0.kinds.idle")),
			 4);
	assert_number("generations.0.kinds.idle", 4);
	assert_none("generations.1", "kinds");
	assert_none("generations.1", "drain_ms_left");
	run->deadline_ms = 1;
	look();
	assert_number("generations.0.drain_ms_left", 0);
	run->machine.state = ROLLOUT_STOPPING;
	look();
	assert_none("generations.0", "kinds");
}

/* What the kernel cannot say is left out. */
static void test_status_draining_without_an_answer_has_no_kinds(void **state)
{
	struct generation *old;

	(void)state;
	old = add_generation(1);
	service.current = add_generation(2);
	commit(add_run(0, RUN_ORDER_RESTART, service.current, old, ROLLOUT_DRAINING));
	look();
	assert_none("generations.0", "kinds");
	assert_number("generations.0.drain_ms_left", 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_status_command_is_what_runs_else_what_would),
		TEST(test_status_differs_from_the_file),
		TEST(test_status_names_what_a_rollback_goes_to),
		TEST(test_status_endpoints_have_the_family_of_their_sockets),
		TEST(test_status_endpoints_have_their_program),
		TEST(test_status_generation_has_what_it_runs),
		TEST(test_status_instance_has_what_is_known_of_it),
		TEST(test_status_instance_without_agent_or_process_says_so),
		TEST(test_status_health_is_the_last_answer),
		TEST(test_status_shows_each_check_of_an_instance),
		TEST(test_status_lost_endpoints_are_named_with_their_time),
		TEST(test_status_health_by_notify_is_ready),
		TEST(test_status_connections_are_summed_over_endpoints),
		TEST(test_status_connections_are_counted_where_there_are_hooks),
		TEST(test_status_on_a_lower_tier_leaves_out_what_is_not_counted),
		TEST(test_status_mode_is_what_was_asked_for_and_what_was_found),
		TEST(test_status_queues_are_those_that_were_looked_at),
		TEST(test_status_instance_has_its_sockets_and_undeclared_addresses),
		TEST(test_status_paused_says_how_long_connections_wait),
		TEST(test_status_failover_has_when_it_was_and_how_many),
		TEST(test_status_release_is_what_a_generation_was_started_as),
		TEST(test_status_strategy_is_the_configured_one),
		TEST(test_status_restarts_are_those_within_the_window),
		TEST(test_status_shares_are_aimed_at_and_seen),
		TEST(test_status_shares_of_no_connections_are_not_known),
		TEST(test_status_draining_says_what_its_connections_do),
		TEST(test_status_draining_without_an_answer_has_no_kinds),
	};
#undef TEST

	return cmocka_run_group_tests_name("status details", tests, NULL, NULL);
}
