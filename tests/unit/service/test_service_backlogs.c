/* SPDX-License-Identifier: BSD-2-Clause */
/* How full accept queues are, and what they have dropped. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

/* What the kernel says of the socket of instance 0 of generation 1 on the first endpoint. */
static struct occupant *occupant;

static void start(void)
{
	context.occupants = FAKE_OCCUPANTS;
	service->config->backlog = 64;
	service->config->backlog_set = true;
	carry_out("start", NULL);
	occupant = fake_occupants_add(ENDPOINT_0, fake_there(1, 0)->sockets.list[0].cookie, 0);
	occupant->queue = (struct diag_listener){.queued = 2, .backlog = 64};
}

static void look_backlogs(uint32_t dropped)
{
	occupant->queue.dropped = dropped;
	service_look_backlogs(service);
}

static size_t told(void)
{
	size_t n = 0;
	json_t *event = newest_event("queue");

	n = event != NULL;
	json_decref(event);
	return n;
}

static void test_service_backlogs_are_what_the_kernel_says(void **state)
{
	struct service_backlog one, all;

	(void)state;
	start();
	service_backlog_of_endpoint(service, 0, &all);
	assert_int_equal(all.sockets, 0);
	look_backlogs(0);
	service_backlog_of_endpoint(service, 0, &all);
	service_backlog_of_instance(service, fake_there(1, 0), &one);
	assert_int_equal(all.sockets, 1);
	assert_int_equal(all.waiting, 2);
	assert_int_equal(one.backlog, 64);
	assert_int_equal(one.configured, 64);
	assert_false(one.lowered);
	assert_int_equal(told(), 0);
	/* Of a socket that nobody has looked at nothing is said. */
	service_backlog_of_endpoint(service, 1, &all);
	assert_int_equal(all.sockets, 0);
}

static void test_service_backlogs_overflow_is_told_once_in_a_while(void **state)
{
	struct service_backlog all;

	(void)state;
	start();
	look_backlogs(0);
	look_backlogs(3);
	assert_event("queue", "message",
		     "the accept queue of instance 0 on " ENDPOINT_0
		     " has overflowed: 3 connection attempts dropped; 64 may wait");
	look_backlogs(10);
	look_backlogs(10);
	service_backlog_of_endpoint(service, 0, &all);
	assert_int_equal(all.dropped, 10);
	assert_event("queue", "message",
		     "the accept queue of instance 0 on " ENDPOINT_0
		     " has overflowed: 3 connection attempts dropped; 64 may wait");
	/* A minute later. */
	service->backlogs.endpoints[0].told_ms -= SERVICE_BACKLOGS_TELL_MS;
	look_backlogs(11);
	assert_event("queue", "message",
		     "the accept queue of instance 0 on " ENDPOINT_0
		     " has overflowed: 8 connection attempts dropped; 64 may wait");
}

static void test_service_backlogs_lowered_one_is_told_if_the_file_has_it(void **state)
{
	struct service_backlog one;

	(void)state;
	start();
	occupant->queue.backlog = 5;
	look_backlogs(0);
	assert_event("queue", "message",
		     "instance 0 listens on " ENDPOINT_0
		     " with a backlog of 5, which its server has set by listen(2); \"backlog\" is "
		     "64: raise it there, or lower \"backlog\"");
	service_backlog_of_instance(service, fake_there(1, 0), &one);
	assert_true(one.lowered);
}

static void test_service_backlogs_default_is_no_wish(void **state)
{
	struct service_backlog one;

	(void)state;
	start();
	fake_there(1, 0)->config = service->current->config;
	service->current->config->backlog_set = false;
	occupant->queue.backlog = 5;
	look_backlogs(0);
	assert_int_equal(told(), 0);
	service_backlog_of_instance(service, fake_there(1, 0), &one);
	assert_false(one.lowered);
	assert_int_equal(one.backlog, 5);
}

/* The kernel counts from the socket's beginning, and an earlier batond has told. */
static void test_service_backlogs_of_earlier_times_are_no_news(void **state)
{
	struct service_backlog all;

	(void)state;
	start();
	service->current->taken_over = true;
	look_backlogs(7);
	assert_int_equal(told(), 0);
	service_backlog_of_endpoint(service, 0, &all);
	assert_int_equal(all.dropped, 7);
	look_backlogs(8);
	assert_int_equal(told(), 1);
}

static void test_service_backlogs_stand_if_nobody_can_tell(void **state)
{
	struct service_backlog all;

	(void)state;
	start();
	look_backlogs(0);
	fake_occupants.error = -EPERM;
	look_backlogs(9);
	service_backlog_of_endpoint(service, 0, &all);
	assert_int_equal(all.sockets, 1);
	assert_int_equal(all.dropped, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_service_backlogs_are_what_the_kernel_says),
		TEST(test_service_backlogs_overflow_is_told_once_in_a_while),
		TEST(test_service_backlogs_lowered_one_is_told_if_the_file_has_it),
		TEST(test_service_backlogs_default_is_no_wish),
		TEST(test_service_backlogs_of_earlier_times_are_no_news),
		TEST(test_service_backlogs_stand_if_nobody_can_tell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
