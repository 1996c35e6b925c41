/* SPDX-License-Identifier: BSD-2-Clause */
/* Paths whose change begins a restart. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

static struct service_config *with_watch(const char *path)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_0);

	assert_int_equal(vector_append(&config->watch, strdup(path)), 0);
	return config;
}

static void test_service_reconfigure_watches_what_is_configured_now(void **state)
{
	(void)state;
	assert_null(fake_watch);
	reconfigured(with_watch("/srv/current"), NULL);
	assert_string_equal(fake_watch->paths[0], "/srv/current");
	reconfigured(with_watch("/srv/other"), NULL);
	assert_string_equal(fake_watch->paths[0], "/srv/other");
	reconfigured(make_config("/bin/web", ENDPOINT_0), NULL);
	assert_null(fake_watch);
}

/* One that is as it was may be waiting for a change to come to rest. */
static void test_service_reconfigure_keeps_a_watch_that_is_the_same(void **state)
{
	(void)state;
	reconfigured(with_watch("/srv/current"), NULL);
	assert_int_equal(fake_watches, 1);
	reconfigured(with_watch("/srv/current"), NULL);
	assert_int_equal(fake_watches, 1);
	assert_ptr_equal(service->watcher, fake_watch);
	reconfigured(with_watch("/srv/other"), NULL);
	assert_int_equal(fake_watches, 2);
}

static void test_service_watched_path_that_changes_begins_a_restart(void **state)
{
	(void)state;
	reconfigured(with_watch("/srv/current"), NULL);
	carry_out("start", NULL);
	strcpy(release_edition, "2");
	fake_watch_change("/srv/current");
	assert_event("changed", "message", "/srv/current has changed");
	assert_event("changed", "path", "/srv/current");
	drive_until(n_ended == 2);
	assert_int_equal(service->last.order, RUN_ORDER_RESTART);
	assert_int_equal(service->current->number, 2);
	assert_string_equal(service->current->release->digest, "build-id:2");
}

static void test_service_watched_path_during_a_rollout_waits_for_its_end(void **state)
{
	(void)state;
	reconfigured(with_watch("/srv/current"), NULL);
	carry_out("start", NULL);
	restart_until_verify(2);
	strcpy(release_edition, "2");
	fake_watch_change("/srv/current");
	fake_watch_change("/srv/current");
	turn();
	assert_int_equal(last_number, 2);
	pass_checks(2);
	drive_until(n_ended == 3);
	assert_string_equal(service->current->release->digest, "build-id:2");
	turn();
	/* Once is enough. */
	assert_int_equal(service->current->number, 3);
	assert_null(service_run(service));
}

/* What has been started since has found what there is now. */
static void test_service_watched_path_that_is_old_news_changes_nothing(void **state)
{
	(void)state;
	reconfigured(with_watch("/srv/current"), NULL);
	carry_out("start", NULL);
	fake_watch_moved_ms = service->current->started_ms;
	fake_watch_change("/srv/current");
	assert_null(newest_event("changed"));
	fake_watch_moved_ms++;
	fake_watch_change("/srv/current");
	assert_int_equal(count_events("changed"), 1);
	drive_until(n_ended == 2);
	assert_int_equal(service->current->number, 2);
}

/* There may be too many generations for the moment: it waits for one of them to end. */
static void test_service_watched_path_waits_for_room(void **state)
{
	struct service_config *config = with_watch("/srv/current");

	(void)state;
	config->drain.generations_max = 2;
	reconfigured(config, NULL);
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	fake_watch_change("/srv/current");
	turn();
	assert_int_equal(last_number, 2);
	assert_int_equal(n_ended, 1);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 3);
	assert_int_equal(service->current->number, 3);
}

static void test_service_watched_path_of_a_stopped_one_changes_nothing(void **state)
{
	(void)state;
	reconfigured(with_watch("/srv/current"), NULL);
	fake_watch_change("/srv/current");
	turn();
	assert_null(newest_event("changed"));
	assert_null(service_run(service));
	carry_out("start", NULL);
	fake(1, 0)->live = 1;
	order("stop", NULL);
	drive_until(run->machine.state == ROLLOUT_DRAINING);
	fake_watch_change("/srv/current");
	assert_null(newest_event("changed"));
	assert_false(service->queue.has_own);
	fake(1, 0)->live = 0;
	drive_until(n_ended == 2);
	assert_int_equal(last_number, 1);
}

static void test_service_shutdown_ends_the_watch(void **state)
{
	(void)state;
	reconfigured(with_watch("/srv/current"), NULL);
	carry_out("start", NULL);
	service_shutdown(service, "batond is shutting down");
	assert_null(fake_watch);
	drive_until(service_is_idle(service));
}

static void test_service_watch_that_cannot_be_had_is_no_failure(void **state)
{
	(void)state;
	fake_watch_error = -EMFILE;
	reconfigured(with_watch("/srv/current"), NULL);
	assert_null(service->watcher);
	carry_out("start", NULL);
	assert_int_equal(service->current->number, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_reconfigure_watches_what_is_configured_now),
		TEST(test_service_reconfigure_keeps_a_watch_that_is_the_same),
		TEST(test_service_watched_path_that_changes_begins_a_restart),
		TEST(test_service_watched_path_during_a_rollout_waits_for_its_end),
		TEST(test_service_watched_path_that_is_old_news_changes_nothing),
		TEST(test_service_watched_path_waits_for_room),
		TEST(test_service_watched_path_of_a_stopped_one_changes_nothing),
		TEST(test_service_shutdown_ends_the_watch),
		TEST(test_service_watch_that_cannot_be_had_is_no_failure),
	};
#undef TEST

	return cmocka_run_group_tests_name("service watch", tests, NULL, NULL);
}
