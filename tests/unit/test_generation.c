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
	uint64_t live;
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
static struct steer *const endpoints[CONFIG_LISTEN_MAX];
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
	return generation_new(&context, 7, make_config(INSTANCES), make_release(), endpoints,
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
		assert_ptr_equal(i->endpoints, endpoints);
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
	assert_int_equal(generation_adopt(&context, config, found, 2, endpoints, &callbacks, &err,
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
					  endpoints, &callbacks, &err, &adopted, &err),
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

static void test_generation_serving_has_a_bit_for_each_instance(void **state)
{
	(void)state;
	assert_int_equal(generation_serving(g), 0);
	fakes[0].serving = fakes[2].serving = true;
	assert_int_equal(generation_serving(g), 5);
}

static void test_generation_is_named_by_any_table(void **state)
{
	static struct steer first, second;
	struct steer *const opened[] = {&first, &second};
	struct instance *last = &g->instances[INSTANCES - 1];

	(void)state;
	g->config->n_listen = 2;
	for (size_t k = 0; k < STEER_BUCKETS; k++)
		first.table.buckets[k] = second.table.buckets[k] =
			(struct steer_bucket){.primary = 5, .backup = STEER_NO_SLOT};
	for (size_t k = 0; k < INSTANCES; k++)
		g->instances[k].endpoints = opened;
	last->sockets[1].slot = 7;
	last->sockets[1].joined = true;
	assert_false(generation_is_named(g));
	second.table.buckets[3].backup = 7;
	assert_true(generation_is_named(g));
	last->sockets[1].joined = false;
	assert_false(generation_is_named(g));
	last->sockets[0].slot = 5;
	last->sockets[0].joined = true;
	assert_true(generation_is_named(g));
}

static void test_generation_counts_are_sums(void **state)
{
	uint32_t queued;
	uint64_t live;

	(void)state;
	for (uint32_t k = 0; k < INSTANCES; k++) {
		fakes[k].queued = 10 + k;
		fakes[k].live = UINT32_MAX - k;
	}
	assert_int_equal(generation_queued(g, &queued), 0);
	assert_int_equal(queued, 33);
	assert_int_equal(generation_live(g, &live), 0);
	assert_true(live == 3 * (uint64_t)UINT32_MAX - 3);
	/* One that could not be asked is not one that has none. */
	fakes[1].ask = -ETIMEDOUT;
	assert_int_equal(generation_queued(g, &queued), -ETIMEDOUT);
	assert_int_equal(generation_live(g, &live), -ETIMEDOUT);
}

static void test_generation_slots_are_of_serving_instances(void **state)
{
	uint16_t slots[INSTANCES + 1] = {99, 99, 99, 99};

	(void)state;
	for (uint16_t k = 0; k < INSTANCES; k++) {
		g->instances[k].sockets[0].slot = (uint16_t)(10 + k);
		g->instances[k].sockets[1].slot = (uint16_t)(20 + k);
	}
	assert_int_equal(generation_slots(g, 0, slots, INSTANCES), 0);
	fakes[0].serving = fakes[2].serving = true;
	assert_int_equal(generation_slots(g, 1, slots, INSTANCES), 2);
	assert_int_equal(slots[0], 20);
	assert_int_equal(slots[1], 22);
	assert_int_equal(slots[2], 99);
	fakes[1].serving = true;
	assert_int_equal(generation_slots(g, 0, slots, 2), 2);
	assert_int_equal(slots[0], 10);
	assert_int_equal(slots[1], 11);
	assert_int_equal(slots[2], 99);
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
		TEST(test_generation_serving_has_a_bit_for_each_instance),
		TEST(test_generation_is_named_by_any_table),
		TEST(test_generation_counts_are_sums),
		TEST(test_generation_slots_are_of_serving_instances),
	};
#undef TEST

	return cmocka_run_group_tests_name("generation", tests, NULL, NULL);
}
