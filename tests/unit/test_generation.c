/* SPDX-License-Identifier: BSD-2-Clause */
/* What a generation makes of its instances, which are fakes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "orchestrator/generation.h"
#include "orchestrator/vector.h"
#include "tests/unit/fake_calls.h"
#include "tests/unit/fake_steer.h"

#define INSTANCES 3

/* ---- fakes ---------------------------------------------------------------------------------- */

static struct {
	int start_error;
	int ask; /* what asking the kernel about it returns */
	bool healthy, unhealthy, serving, exited;
	uint32_t queued;
	uint64_t live, busy;
	struct hooks_count count;
	const char *mode;
} fakes[CONFIG_INSTANCES_MAX];

int instance_start(struct instance *i, const struct release *release, struct error *err)
{
	called("start %u %s", i->index, release->executable);
	if (fakes[i->index].start_error)
		return error_set(err, fakes[i->index].start_error, "instance %u", i->index);
	return 0;
}

void instance_adopt(struct instance *i, struct adopt_agent *agent)
{
	called("adopt %u", i->index);
	i->index = agent->spec.instance;
}

void instance_done(struct instance *i)
{
	called("done %u", i->index);
}

void instance_check(struct instance *i)
{
	called("check %u", i->index);
}

void instance_uncheck(struct instance *i)
{
	called("uncheck %u", i->index);
}

void instance_release_leftovers(struct instance *i)
{
	called("release leftovers %u", i->index);
}

void instance_release_unused(struct instance *i)
{
	called("release unused %u", i->index);
}

bool instance_is_healthy(const struct instance *i)
{
	return fakes[i->index].healthy;
}

bool instance_is_serving(const struct instance *i)
{
	return fakes[i->index].serving;
}

void instance_steady(struct instance *i, bool on)
{
	called("steady %u %d", i->index, on);
}

void instance_leave(struct instance *i)
{
	called("leave %u", i->index);
}

void instance_stop(struct instance *i)
{
	called("stop %u", i->index);
}

void instance_kill(struct instance *i)
{
	called("kill %u", i->index);
}

int instance_queued(struct instance *i, uint32_t *ret)
{
	*ret = fakes[i->index].queued;
	return fakes[i->index].ask;
}

int instance_live(struct instance *i, uint64_t *ret)
{
	*ret = fakes[i->index].live;
	return fakes[i->index].ask;
}

int instance_busy(struct instance *i, uint64_t idle_ms, uint64_t *ret)
{
	*ret = fakes[i->index].busy + idle_ms;
	return fakes[i->index].ask;
}

int instance_count(struct instance *i, struct hooks_count *ret)
{
	*ret = fakes[i->index].count;
	return fakes[i->index].ask;
}

const char *instance_mode(const struct instance *i)
{
	return fakes[i->index].mode;
}

bool instance_has_exited(const struct instance *i)
{
	return fakes[i->index].exited;
}

bool instance_is_unhealthy(const struct instance *i)
{
	return fakes[i->index].unhealthy;
}

void instance_describe_exit(const struct instance *i, char *ret, size_t size)
{
	snprintf(ret, size, "%u", i->index);
}

/* ---- life ----------------------------------------------------------------------------------- */

static struct context context;
static struct steer endpoint_0, endpoint_1;
static const struct wiring wiring = {.endpoints = {&endpoint_0, &endpoint_1}};
static const struct instance_callbacks callbacks;
static struct generation *g;
static struct error err;

static struct service_config *make_config(uint32_t instances)
{
	struct service_config config = {.name = (char *)"web", .instances = instances};
	struct service_config *copy = service_config_copy(&config);

	assert_non_null(copy);
	return copy;
}

static struct release *make_release(void)
{
	struct release *release = calloc(1, sizeof(*release));

	assert_non_null(release);
	release->executable = strdup("/bin/web");
	release->directory = strdup("/");
	return release;
}

static int set_up(void **state)
{
	(void)state;
	memset(fakes, 0, sizeof(fakes));
	forget_calls();
	endpoint_0 = endpoint_1 = (struct steer){};
	for (size_t k = 0; k < STEER_BUCKETS; k++)
		endpoint_0.table.buckets[k] = endpoint_1.table.buckets[k] =
			(struct steer_bucket){STEER_NO_SLOT, STEER_NO_SLOT};
	return generation_new(&context, 7, make_config(INSTANCES), make_release(), &wiring,
			      &callbacks, &err, &g, &err);
}

static int tear_down(void **state)
{
	(void)state;
	generation_free(g);
	g = NULL;
	return 0;
}

/* ---- making --------------------------------------------------------------------------------- */

static void test_generation_new_prepares_each_instance(void **state)
{
	(void)state;
	assert_int_equal(g->number, 7);
	assert_false(g->adopted);
	assert_int_equal(g->n_instances, INSTANCES);
	assert_in_range(g->started_ms, 1, clock_monotonic_ms());
	assert_in_range(g->started_realtime_ms, 1, clock_realtime_ms());
	for (uint32_t k = 0; k < INSTANCES; k++) {
		const struct instance *i = &g->instances[k];

		assert_ptr_equal(i->context, &context);
		assert_ptr_equal(i->config, g->config);
		assert_ptr_equal(i->wiring, &wiring);
		assert_ptr_equal(i->callbacks, &callbacks);
		assert_ptr_equal(i->userdata, &err);
		assert_int_equal(i->generation, 7);
		assert_int_equal(i->index, k);
	}
	assert_calls(""); /* nothing is started yet */
}

static void test_generation_free_is_done_with_each_instance(void **state)
{
	(void)state;
	generation_free(g);
	g = NULL;
	assert_calls("done 0; done 1; done 2");
	generation_free(NULL);
}

static void test_generation_adopt_has_as_many_instances_as_agents(void **state)
{
	char *argv[] = {(char *)"web", (char *)"--port", NULL};
	struct adopt_agent agents[2] = {};
	struct adopt_agent *const found[] = {&agents[0], &agents[1]};
	struct service_config *config = make_config(4);
	struct generation *adopted = NULL;

	(void)state;
	for (uint32_t k = 0; k < 2; k++) {
		agents[k].hello.generation = 12;
		agents[k].spec.instance = 2 * k + 1; /* two of four are gone */
		agents[k].spec.executable = (char *)"/bin/adopted";
		agents[k].spec.directory = (char *)"/srv";
		agents[k].spec.argv = argv;
	}
	assert_int_equal(generation_adopt(&context, config, found, 2, &wiring, &callbacks, &err,
					  &adopted, &err),
			 0);
	assert_int_equal(adopted->number, 12);
	assert_true(adopted->adopted);
	assert_int_equal(adopted->n_instances, 2);
	assert_int_equal(adopted->instances[1].index, 3);
	assert_int_equal(adopted->instances[1].generation, 12);
	assert_ptr_not_equal(adopted->config, config);
	assert_int_equal(adopted->config->instances, 2);
	assert_int_equal(config->instances, 4);
	assert_string_equal(adopted->release->executable, "/bin/adopted");
	assert_string_equal(adopted->release->directory, "/srv");
	assert_true(vector_equal(adopted->release->command, argv));
	assert_calls("adopt 0; adopt 1");
	generation_free(adopted);
	service_config_free(config);
}

static void test_generation_adopt_of_too_many_is_refused(void **state)
{
	struct adopt_agent agent = {.spec.executable = (char *)"/x", .spec.directory = (char *)"/"};
	struct adopt_agent *found[CONFIG_INSTANCES_MAX + 1];
	struct service_config *config = make_config(1);
	struct generation *adopted = NULL;

	(void)state;
	for (size_t k = 0; k < CONFIG_INSTANCES_MAX + 1; k++)
		found[k] = &agent;
	assert_int_equal(generation_adopt(&context, config, found, CONFIG_INSTANCES_MAX + 1,
					  &wiring, &callbacks, &err, &adopted, &err),
			 -E2BIG);
	assert_null(adopted);
	assert_calls("");
	service_config_free(config);
}

/* ---- orders --------------------------------------------------------------------------------- */

static void test_generation_start_starts_all(void **state)
{
	(void)state;
	assert_int_equal(generation_start(g, &err), 0);
	assert_calls("start 0 /bin/web; start 1 /bin/web; start 2 /bin/web");
}

/* Each must have a state that a stop can be built on. */
static void test_generation_start_goes_on_after_a_failure_and_tells_the_first(void **state)
{
	(void)state;
	fakes[1].start_error = -EBUSY;
	fakes[2].start_error = -ENOENT;
	assert_int_equal(generation_start(g, &err), -EBUSY);
	assert_string_equal(err.text, "instance 1: Device or resource busy");
	assert_calls("start 0 /bin/web; start 1 /bin/web; start 2 /bin/web");
}

static void test_generation_orders_go_to_each_instance(void **state)
{
	(void)state;
	generation_check(g);
	assert_calls("check 0; check 1; check 2");
	generation_uncheck(g);
	assert_calls("uncheck 0; uncheck 1; uncheck 2");
	generation_release_unused(g);
	assert_calls("release unused 0; release unused 1; release unused 2");
	generation_steady(g, true);
	assert_calls("steady 0 1; steady 1 1; steady 2 1");
	generation_steady(g, false);
	assert_calls("steady 0 0; steady 1 0; steady 2 0");
	generation_leave(g);
	assert_calls("leave 0; leave 1; leave 2");
	generation_stop(g);
	assert_calls("stop 0; stop 1; stop 2");
	generation_kill(g);
	assert_calls("kill 0; kill 1; kill 2");
}

/* ---- what is true of it --------------------------------------------------------------------- */

static void test_generation_listens_when_every_instance_runs_in_its_slots(void **state)
{
	(void)state;
	for (size_t k = 0; k < INSTANCES; k++) {
		assert_false(generation_is_listening(g));
		g->instances[k].joined = true;
		assert_false(generation_is_listening(g));
		g->instances[k].pid = 100;
	}
	assert_true(generation_is_listening(g));
	g->instances[1].failed = true;
	assert_false(generation_is_listening(g));
	g->instances[1].failed = false;
	g->instances[2].joined = false;
	assert_false(generation_is_listening(g));
}

static void test_generation_is_healthy_when_every_instance_is(void **state)
{
	(void)state;
	for (size_t k = 0; k < INSTANCES; k++) {
		assert_false(generation_is_healthy(g));
		fakes[k].healthy = true;
	}
	assert_true(generation_is_healthy(g));
	fakes[0].healthy = false;
	assert_false(generation_is_healthy(g));
}

static void test_generation_has_left_when_every_instance_has(void **state)
{
	(void)state;
	for (size_t k = 0; k < INSTANCES; k++) {
		assert_false(generation_has_left(g));
		g->instances[k].left = true;
	}
	assert_true(generation_has_left(g));
}

static void test_generation_has_stopped_when_every_instance_has(void **state)
{
	(void)state;
	for (size_t k = INSTANCES; k-- > 0;) {
		assert_false(generation_has_stopped(g));
		g->instances[k].stopped = true;
	}
	assert_true(generation_has_stopped(g));
}

static void test_generation_is_dead_when_no_instance_serves(void **state)
{
	(void)state;
	assert_true(generation_is_dead(g));
	fakes[2].serving = true;
	assert_false(generation_is_dead(g));
}

static void test_generation_failed_is_the_first_that_failed_or_is_unhealthy(void **state)
{
	(void)state;
	assert_null(generation_failed(g));
	g->instances[2].failed = true;
	assert_ptr_equal(generation_failed(g), &g->instances[2]);
	fakes[1].unhealthy = true;
	assert_ptr_equal(generation_failed(g), &g->instances[1]);
}

static void test_generation_has_exited_when_no_process_is_left(void **state)
{
	(void)state;
	for (size_t k = 0; k < INSTANCES; k++) {
		assert_false(generation_has_exited(g));
		fakes[k].exited = true;
	}
	assert_true(generation_has_exited(g));
}

/* One more socket of an instance. */
static void give_socket(size_t instance, uint32_t endpoint, uint16_t slot)
{
	struct instance_sockets *sockets = &g->instances[instance].sockets;

	sockets->list[sockets->n++] =
		(struct instance_socket){.cookie = slot, .endpoint = endpoint, .slot = slot};
}

static void test_generation_serving_counts_instances(void **state)
{
	(void)state;
	assert_int_equal(generation_serving(g), 0);
	fakes[0].serving = fakes[2].serving = true;
	assert_int_equal(generation_serving(g), 2);
}

static void test_generation_is_named_by_any_table(void **state)
{
	(void)state;
	give_socket(INSTANCES - 1, 0, 4);
	give_socket(INSTANCES - 1, 1, 7);
	assert_false(generation_is_named(g));
	endpoint_1.table.buckets[3].backup = 7;
	assert_true(generation_is_named(g));
	/* On the other endpoint that slot is somebody else's. */
	endpoint_1.table.buckets[3].backup = STEER_NO_SLOT;
	endpoint_0.table.buckets[3].backup = 7;
	assert_false(generation_is_named(g));
	endpoint_0.table.buckets[STEER_BUCKETS - 1].primary = 4;
	assert_true(generation_is_named(g));
	g->instances[INSTANCES - 1].sockets.n = 0;
	assert_false(generation_is_named(g));
}

static void test_generation_counts_are_sums(void **state)
{
	struct hooks_count count;
	uint32_t queued;
	uint64_t n;

	(void)state;
	for (uint32_t k = 0; k < INSTANCES; k++) {
		fakes[k].queued = 10 + k;
		fakes[k].live = UINT32_MAX - k;
		fakes[k].busy = 20 + k;
		fakes[k].count = (struct hooks_count){1 + k, 10 + k, 100 + k, 1000 + k};
	}
	assert_int_equal(generation_queued(g, &queued), 0);
	assert_int_equal(queued, 33);
	assert_int_equal(generation_live(g, &n), 0);
	assert_true(n == 3 * (uint64_t)UINT32_MAX - 3);
	assert_int_equal(generation_busy(g, 1000, &n), 0);
	assert_int_equal(n, 63 + 3 * 1000); /* each was asked with the same idle time */
	assert_int_equal(generation_count(g, &count), 0);
	assert_int_equal(count.accepted, 6);
	assert_int_equal(count.live, 33);
	assert_int_equal(count.closed, 303);
	assert_int_equal(count.reset, 3003);
	/* One that could not be asked is not one that has none. */
	fakes[1].ask = -ETIMEDOUT;
	assert_int_equal(generation_queued(g, &queued), -ETIMEDOUT);
	assert_int_equal(generation_live(g, &n), -ETIMEDOUT);
	assert_int_equal(generation_busy(g, 0, &n), -ETIMEDOUT);
	assert_int_equal(generation_count(g, &count), -ETIMEDOUT);
}

static void test_generation_mode_is_the_first_that_is_known(void **state)
{
	(void)state;
	assert_null(generation_mode(g));
	fakes[2].mode = "native";
	assert_string_equal(generation_mode(g), "native");
	fakes[1].mode = "transparent";
	assert_string_equal(generation_mode(g), "transparent");
}

/* Another one whenever a table would be, and only then. */
static void test_generation_version_follows_what_serves(void **state)
{
	uint64_t seen[8];
	size_t n = 0;

	(void)state;
	seen[n++] = generation_version(g);
	fakes[0].serving = true;
	seen[n++] = generation_version(g);
	fakes[2].serving = true;
	seen[n++] = generation_version(g);
	fakes[0].serving = false; /* as many as before, but others */
	seen[n++] = generation_version(g);
	g->instances[2].sockets_version++;
	seen[n++] = generation_version(g);
	g->instances[0].sockets_version++;
	seen[n++] = generation_version(g);
	fakes[0].serving = true;
	seen[n++] = generation_version(g);
	for (size_t k = 0; k < n; k++)
		for (size_t j = 0; j < k; j++)
			assert_true(seen[k] != seen[j]);
	g->instances[1].pid = 77;
	fakes[1].healthy = true;
	assert_true(generation_version(g) == seen[n - 1]);
}

/* ---- shares --------------------------------------------------------------------------------- */

static uint64_t weight_of(const struct table_share *shares, size_t n, uint16_t slot)
{
	for (size_t k = 0; k < n; k++)
		if (shares[k].slot == slot)
			return shares[k].weight;
	fail_msg("slot %u has no share", slot);
	return 0;
}

static void test_generation_shares_are_of_serving_instances_on_that_endpoint(void **state)
{
	struct table_share shares[STEER_SLOTS];

	(void)state;
	for (uint16_t k = 0; k < INSTANCES; k++) {
		give_socket(k, 0, (uint16_t)(10 + k));
		give_socket(k, 1, (uint16_t)(20 + k));
	}
	assert_int_equal(generation_shares(g, 0, shares, STEER_SLOTS), 0);
	fakes[0].serving = fakes[2].serving = true;
	assert_int_equal(generation_shares(g, 1, shares, STEER_SLOTS), 2);
	assert_int_equal(shares[0].slot, 20);
	assert_int_equal(shares[1].slot, 22);
	assert_int_equal(shares[0].weight, shares[1].weight);
	assert_in_range(shares[0].weight, 1, TABLE_WEIGHT_MAX);
}

/* One worker more is not one instance more. */
static void test_generation_shares_of_each_instance_are_the_same(void **state)
{
	static const size_t sockets[INSTANCES] = {1, 4, 16};
	struct table_share shares[STEER_SLOTS];
	uint16_t slot = 0;
	uint64_t first;
	size_t n;

	(void)state;
	for (size_t k = 0; k < INSTANCES; k++) {
		fakes[k].serving = true;
		for (size_t j = 0; j < sockets[k]; j++)
			give_socket(k, 0, slot++);
	}
	n = generation_shares(g, 0, shares, STEER_SLOTS);
	assert_int_equal(n, 21);
	first = weight_of(shares, n, 0);
	for (uint16_t k = 1; k < 5; k++)
		assert_int_equal(4 * weight_of(shares, n, k), first);
	for (uint16_t k = 5; k < 21; k++)
		assert_int_equal(16 * weight_of(shares, n, k), first);
}

static void test_generation_shares_of_many_sockets_are_none_too_many(void **state)
{
	struct table_share shares[PROTOCOL_SOCKETS_MAX + 1] = {};
	uint64_t sum = 0;

	(void)state;
	fakes[0].serving = fakes[1].serving = true;
	for (uint16_t k = 0; k < PROTOCOL_SOCKETS_MAX; k++)
		give_socket(0, 0, k);
	give_socket(1, 0, 100);
	assert_int_equal(generation_shares(g, 0, shares, PROTOCOL_SOCKETS_MAX + 1),
			 PROTOCOL_SOCKETS_MAX + 1);
	/* To the nearest one that the table can tell. */
	for (size_t k = 0; k < PROTOCOL_SOCKETS_MAX; k++)
		sum += shares[k].weight;
	assert_in_range(sum, shares[PROTOCOL_SOCKETS_MAX].weight - STEER_BUCKETS,
			shares[PROTOCOL_SOCKETS_MAX].weight);
	memset(shares, 0xff, sizeof(shares));
	assert_int_equal(generation_shares(g, 0, shares, 3), 3);
	assert_int_equal(shares[3].slot, UINT16_MAX);
}

/* It still runs, but has no socket there (any more). */
static void test_generation_shares_without_a_socket_are_none(void **state)
{
	struct table_share shares[4];

	(void)state;
	fakes[0].serving = true;
	give_socket(0, 1, 20);
	assert_int_equal(generation_shares(g, 0, shares, 4), 0);
	assert_int_equal(generation_shares(g, 1, shares, 4), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_generation_new_prepares_each_instance),
		TEST(test_generation_free_is_done_with_each_instance),
		TEST(test_generation_adopt_has_as_many_instances_as_agents),
		TEST(test_generation_adopt_of_too_many_is_refused),
		TEST(test_generation_start_starts_all),
		TEST(test_generation_start_goes_on_after_a_failure_and_tells_the_first),
		TEST(test_generation_orders_go_to_each_instance),
		TEST(test_generation_listens_when_every_instance_runs_in_its_slots),
		TEST(test_generation_is_healthy_when_every_instance_is),
		TEST(test_generation_has_left_when_every_instance_has),
		TEST(test_generation_has_stopped_when_every_instance_has),
		TEST(test_generation_is_dead_when_no_instance_serves),
		TEST(test_generation_failed_is_the_first_that_failed_or_is_unhealthy),
		TEST(test_generation_has_exited_when_no_process_is_left),
		TEST(test_generation_serving_counts_instances),
		TEST(test_generation_is_named_by_any_table),
		TEST(test_generation_counts_are_sums),
		TEST(test_generation_mode_is_the_first_that_is_known),
		TEST(test_generation_version_follows_what_serves),
		TEST(test_generation_shares_are_of_serving_instances_on_that_endpoint),
		TEST(test_generation_shares_of_each_instance_are_the_same),
		TEST(test_generation_shares_of_many_sockets_are_none_too_many),
		TEST(test_generation_shares_without_a_socket_are_none),
	};
#undef TEST

	return cmocka_run_group_tests_name("generation", tests, NULL, NULL);
}
