/* SPDX-License-Identifier: BSD-2-Clause */
/* What is said to, and asked of, all instances of a set, which are fakes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "orchestrator/instance/instance_set.h"
#include "tests/unit/fakes/fake_instances.h"

#define N 3

static struct service_config config;
static struct health_config check = {.kind = HEALTH_KIND_HTTP};
static struct instance list[N];
static struct instances set;
static const struct instances none;
static struct error err;

static int set_up(void **state)
{
	(void)state;
	config = (struct service_config){.n_listen = 1, .health = {.list = &check, .n = 1}};
	fake_instances_reset();
	for (uint32_t k = 0; k < N; k++) {
		list[k] = (struct instance){.config = &config, .generation = 1, .index = k};
		assert_int_equal(check_set_make(&list[k].checks, &list[k], &config), 0);
		assert_int_equal(instance_start(&list[k], NULL, &err), 0);
		assert_int_equal(instances_add(&set, &list[k]), 0);
	}
	forget_calls();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (uint32_t k = 0; k < N; k++)
		instance_done(&list[k]);
	instances_done(&set);
	forget_calls();
	return 0;
}

/* ---- the set -------------------------------------------------------------------------------- */

static bool no_memory;

/* In the place of libc's. */
void *reallocarray(void *pointer, size_t n, size_t size)
{
	return no_memory ? NULL : realloc(pointer, n * size);
}

static void test_instances_without_memory_are_kept_all_the_same(void **state)
{
	static struct instance many[INSTANCES_MAX];
	struct instances sets[INSTANCES_SPARE] = {};

	(void)state;
	/* Twice: what is ended gives back what it had. */
	for (int round = 0; round < 2; round++) {
		for (size_t k = 0; k < INSTANCES_SPARE; k++) {
			instances_copy(&set, &sets[k]);
			no_memory = true;
			for (size_t n = 0; n < INSTANCES_MAX - N; n++)
				assert_int_equal(instances_add(&sets[k], &many[n]), 0);
			no_memory = false;
			assert_ptr_equal(sets[k].list[0], &list[0]);
			assert_ptr_equal(sets[k].list[INSTANCES_MAX - 1],
					 &many[INSTANCES_MAX - N - 1]);
			assert_int_equal(instances_add(&sets[k], &many[INSTANCES_MAX - 1]), -E2BIG);
		}
		for (size_t k = 0; k < INSTANCES_SPARE; k++)
			instances_done(&sets[k]);
	}
}

static void test_instances_add_has_each_once(void **state)
{
	(void)state;
	assert_int_equal(instances_add(&set, &list[1]), 0);
	assert_int_equal(set.n, N);
	assert_true(instances_have(&set, &list[1]));
	assert_false(instances_have(&none, &list[1]));
}

static void test_instances_remove_keeps_the_order_of_the_rest(void **state)
{
	(void)state;
	instances_remove(&set, &list[1]);
	assert_int_equal(set.n, 2);
	assert_ptr_equal(set.list[0], &list[0]);
	assert_ptr_equal(set.list[1], &list[2]);
	assert_false(instances_have(&set, &list[1]));
	instances_remove(&set, &list[1]);
	assert_int_equal(set.n, 2);
	instances_remove(&set, &list[2]);
	instances_remove(&set, &list[0]);
	assert_int_equal(set.n, 0);
}

static void test_instances_add_to_a_full_set_is_refused(void **state)
{
	static struct instance many[INSTANCES_MAX + 1];
	cleanup(instances_done) struct instances full = {}, copy = {};

	(void)state;
	for (size_t k = 0; k < INSTANCES_MAX; k++)
		assert_int_equal(instances_add(&full, &many[k]), 0);
	assert_int_equal(instances_add(&full, &many[INSTANCES_MAX]), -E2BIG);
	/* Those that it has need no room. */
	assert_int_equal(instances_add(&full, &many[0]), 0);
	assert_int_equal(full.n, INSTANCES_MAX);
	instances_copy(&full, &copy);
	assert_int_equal(copy.n, INSTANCES_MAX);
	assert_ptr_equal(copy.list[INSTANCES_MAX - 1], &many[INSTANCES_MAX - 1]);
	instances_copy(&none, &copy);
	assert_int_equal(copy.n, 0);
}

/* ---- orders --------------------------------------------------------------------------------- */

static void test_instances_orders_go_to_each(void **state)
{
	(void)state;
	instances_check(&set);
	assert_calls("check 1.0; check 1.1; check 1.2");
	instances_uncheck(&set);
	assert_calls("uncheck 1.0; uncheck 1.1; uncheck 1.2");
	instances_leave(&set);
	assert_calls("leave 1.0; leave 1.1; leave 1.2");
	fake(1, 0)->cannot_stop = true;
	instances_stop(&set);
	assert_calls("stop 1.0; stop 1.1; stop 1.2");
	/* What has stopped is not killed. */
	instances_kill(&set);
	assert_calls("kill 1.0");
	instances_stop(&none);
	instances_leave(&none);
	assert_calls("");
}

static void test_instances_steady_is_told_where_it_is_news(void **state)
{
	(void)state;
	list[1].steady = true;
	instances_steady(&set, true);
	assert_calls("steady 1.0 on; steady 1.2 on");
	instances_steady(&set, true);
	assert_calls("");
	instances_steady(&set, false);
	assert_calls("steady 1.0 off; steady 1.1 off; steady 1.2 off");
}

static void test_instances_name_sets_each_role(void **state)
{
	(void)state;
	instances_name(&set, INSTANCE_BACKUP);
	for (size_t k = 0; k < N; k++)
		assert_int_equal(list[k].role, INSTANCE_BACKUP);
	assert_calls("");
}

/* ---- questions ------------------------------------------------------------------------------ */

static void test_instances_of_an_empty_set_are_all_of_it(void **state)
{
	(void)state;
	assert_true(instances_are_listening(&none));
	assert_true(instances_are_healthy(&none));
	assert_true(instances_have_left(&none));
	assert_true(instances_have_stopped(&none));
	assert_true(instances_are_dead(&none));
	assert_true(instances_have_exited(&none));
	assert_null(instances_failed(&none));
	assert_int_equal(instances_serving(&none), 0);
}

static void test_instances_listen_when_each_runs_in_its_slots(void **state)
{
	(void)state;
	assert_true(instances_are_listening(&set));
	fake_phase(1, 2, INSTANCE_STARTING);
	assert_false(instances_are_listening(&set));
	fake_phase(1, 2, INSTANCE_JOINED);
	list[0].pid = 0;
	assert_false(instances_are_listening(&set));
	list[0].pid = 7;
	fake_phase(1, 1, INSTANCE_FAILED);
	assert_false(instances_are_listening(&set));
}

static void test_instances_are_healthy_when_each_is(void **state)
{
	(void)state;
	assert_true(instances_are_healthy(&set));
	fake(1, 2)->not_healthy = true;
	assert_false(instances_are_healthy(&set));
}

static void test_instances_have_left_or_stopped_when_each_has(void **state)
{
	(void)state;
	fake_left(1, 0);
	fake_left(1, 1);
	assert_false(instances_have_left(&set));
	fake_left(1, 2);
	assert_true(instances_have_left(&set));
	fake_stopped(1, 0);
	fake_stopped(1, 2);
	assert_false(instances_have_stopped(&set));
	fake_stopped(1, 1);
	assert_true(instances_have_stopped(&set));
}

static void test_instances_are_dead_when_none_serves(void **state)
{
	(void)state;
	fake(1, 0)->dead = fake(1, 2)->dead = true;
	assert_false(instances_are_dead(&set));
	assert_int_equal(instances_serving(&set), 1);
	fake(1, 1)->dead = true;
	assert_true(instances_are_dead(&set));
	assert_int_equal(instances_serving(&set), 0);
}

static void test_instances_have_exited_when_no_process_is_left(void **state)
{
	(void)state;
	fake(1, 0)->exited = fake(1, 1)->exited = true;
	assert_false(instances_have_exited(&set));
	fake_stopped(1, 2);
	assert_true(instances_have_exited(&set));
}

static void test_instances_failed_is_the_first_that_failed_or_is_unhealthy(void **state)
{
	(void)state;
	assert_null(instances_failed(&set));
	fake(1, 2)->unhealthy = true;
	assert_ptr_equal(instances_failed(&set), &list[2]);
	fake_fail(1, 1, "exited with status 1");
	assert_ptr_equal(instances_failed(&set), &list[1]);
	/* Not to have passed its checks yet is no failure. */
	fake(1, 0)->not_healthy = true;
	assert_ptr_equal(instances_failed(&set), &list[1]);
}

/* ---- sums ----------------------------------------------------------------------------------- */

static void say_numbers(void)
{
	for (uint32_t k = 0; k < N; k++) {
		struct fake_instance *f = fake(1, k);

		f->queued = 1 + k;
		f->live = 10 + k;
		f->idle = 2;
		f->kinds = (struct connections_kinds){.busy = 1, .active = 10 + k, .idle = 100};
		f->count = (struct tap_count){
			.accepted = 1000, .live = 20 + k, .closed = 300, .reset = 4 + k};
	}
}

static void test_instances_numbers_are_sums(void **state)
{
	struct connections_kinds kinds;
	struct tap_count count;
	uint32_t queued;
	uint64_t n;

	(void)state;
	say_numbers();
	assert_int_equal(instances_queued(&set, &queued), 0);
	assert_int_equal(queued, 6);
	assert_int_equal(instances_live(&set, &n), 0);
	assert_int_equal(n, 33);
	assert_int_equal(instances_busy(&set, 0, &n), 0);
	assert_int_equal(n, 33);
	assert_int_equal(instances_busy(&set, 500, &n), 0);
	assert_int_equal(n, 27);
	assert_int_equal(fake(1, 2)->idle_ms, 500);
	assert_int_equal(instances_kinds(&set, &kinds), 0);
	assert_int_equal(kinds.busy, 3);
	assert_int_equal(kinds.active, 33);
	assert_int_equal(kinds.idle, 300);
	for (uint32_t k = 0; k < N; k++)
		fake(1, k)->counted = true;
	assert_int_equal(instances_count(&set, &count), 0);
	assert_int_equal(count.accepted, 3000);
	assert_int_equal(count.live, 63);
	assert_int_equal(count.closed, 900);
	assert_int_equal(count.reset, 15);
	assert_int_equal(instances_live(&none, &n), 0);
	assert_int_equal(n, 0);
}

/* Not to know of one of them is not to know. */
static void test_instances_numbers_are_unknown_where_one_is(void **state)
{
	struct connections_kinds kinds;
	struct tap_count count;
	uint32_t queued;
	uint64_t n;

	(void)state;
	say_numbers();
	fake(1, 1)->ask_error = -ENOBUFS;
	assert_int_equal(instances_queued(&set, &queued), -ENOBUFS);
	assert_int_equal(instances_live(&set, &n), -ENOBUFS);
	assert_int_equal(instances_busy(&set, 0, &n), -ENOBUFS);
	assert_int_equal(instances_kinds(&set, &kinds), -ENOBUFS);
	fake(1, 0)->counted = fake(1, 2)->counted = true;
	assert_int_equal(instances_count(&set, &count), -ENODATA);
}

static void test_instances_cut_is_of_each_and_goes_on_after_an_error(void **state)
{
	uint64_t n;

	(void)state;
	say_numbers();
	assert_int_equal(instances_cut(&set, &n, &err), 0);
	assert_int_equal(n, 33);
	assert_calls("cut 1.0; cut 1.1; cut 1.2");
	say_numbers();
	fake(1, 0)->cut_error = -EPERM;
	fake(1, 1)->cut_error = -ENOBUFS;
	assert_int_equal(instances_cut(&set, &n, &err), -EPERM);
	assert_string_equal(err.text, "sock_diag: Operation not permitted");
	assert_int_equal(n, 12);
	assert_calls("cut 1.0; cut 1.1; cut 1.2");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_instances_without_memory_are_kept_all_the_same),
		TEST(test_instances_add_has_each_once),
		TEST(test_instances_remove_keeps_the_order_of_the_rest),
		TEST(test_instances_add_to_a_full_set_is_refused),
		TEST(test_instances_orders_go_to_each),
		TEST(test_instances_steady_is_told_where_it_is_news),
		TEST(test_instances_name_sets_each_role),
		TEST(test_instances_of_an_empty_set_are_all_of_it),
		TEST(test_instances_listen_when_each_runs_in_its_slots),
		TEST(test_instances_are_healthy_when_each_is),
		TEST(test_instances_have_left_or_stopped_when_each_has),
		TEST(test_instances_are_dead_when_none_serves),
		TEST(test_instances_have_exited_when_no_process_is_left),
		TEST(test_instances_failed_is_the_first_that_failed_or_is_unhealthy),
		TEST(test_instances_numbers_are_sums),
		TEST(test_instances_numbers_are_unknown_where_one_is),
		TEST(test_instances_cut_is_of_each_and_goes_on_after_an_error),
	};
#undef TEST

	return cmocka_run_group_tests_name("instance set", tests, NULL, NULL);
}
