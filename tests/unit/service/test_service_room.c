/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether an address has room for more listening sockets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

static void taken(uint32_t used, uint32_t max)
{
	service->wiring.endpoints[0]->used = used;
	service->wiring.endpoints[0]->max = max;
}

static void refused_for(const char *name, const char *body, enum refusal_kind kind, const char *why)
{
	refused(name, body);
	assert_int_equal(refusal.kind, kind);
	assert_string_equal(refusal.why.text, why);
}

static void test_service_restart_without_room_is_refused_with_the_numbers(void **state)
{
	(void)state;
	service->instances = 2;
	carry_out("start", NULL);
	taken(1022, 1024);
	assert_int_equal(service_check_slots(service, 2, &err), 0);
	assert_int_equal(service_check_slots(service, 3, &err), -ENOSPC);
	taken(1023, 1024);
	refused_for(
		"restart", NULL, REFUSAL_START_CONFLICT,
		"2 more instances would need 2 listening sockets on " ENDPOINT_0
		" (1 each), but 1023 of the 1024 that one address can have on tier ebpf are taken: "
		"have fewer instances, fewer sockets for each, or strategy \"rolling\"");
	assert_int_equal(service->current->number, 1);
	assert_int_equal(service->n_generations, 1);
}

/* One after the other needs room for one. */
static void test_service_rolling_restart_needs_room_for_its_surge(void **state)
{
	(void)state;
	service->instances = 4;
	service->config->rollout.strategy = ROLLOUT_ROLLING;
	service->config->rollout.max_surge = 1;
	carry_out("start", NULL);
	taken(1024, 1024);
	refused_for(
		"restart", NULL, REFUSAL_START_CONFLICT,
		"1 more instance would need 1 listening sockets on " ENDPOINT_0
		" (1 each), but 1024 of the 1024 that one address can have on tier ebpf are taken: "
		"have fewer instances, fewer sockets for each, or strategy \"rolling\"");
	taken(1023, 1024);
	carry_out("restart", NULL);
	assert_int_equal(service->current->number, 2);
}

static void test_service_scale_without_room_is_refused_and_forgotten(void **state)
{
	(void)state;
	carry_out("start", NULL);
	taken(250, 256);
	refused_for(
		"scale", "{\"instances\": 8}", REFUSAL_CANNOT_SCALE,
		"7 more instances would need 7 listening sockets on " ENDPOINT_0
		" (1 each), but 250 of the 256 that one address can have on tier ebpf are taken: "
		"have fewer instances, fewer sockets for each, or strategy \"rolling\"");
	assert_int_equal(service->instances, 1);
	assert_int_equal(remembered_instances, 0);
	carry_out("scale", "{\"instances\": 7}");
	assert_int_equal(service->instances, 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_service_restart_without_room_is_refused_with_the_numbers),
		TEST(test_service_rolling_restart_needs_room_for_its_surge),
		TEST(test_service_scale_without_room_is_refused_and_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
