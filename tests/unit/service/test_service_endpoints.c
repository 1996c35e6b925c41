/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening and closing endpoints. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/service_fixture.h"

/* ---- tiers and hooks ------------------------------------------------------------------------ */

static void test_service_opens_on_the_tier_that_works(void **state)
{
	(void)state;
	context.tiers.list[STEER_EBPF].works = false;
	strcpy(context.tiers.list[STEER_EBPF].reason, "Operation not permitted");
	order("start", NULL);
	/* Nothing of it needs bpffs, a cgroup or hooks. */
	assert_calls("open " ENDPOINT_0 " cbpf; open " ENDPOINT_1 " cbpf; " RESET_ALL
		     "attach " ENDPOINT_0 "; attach " ENDPOINT_1);
	assert_int_equal(service->wiring.tier, STEER_CBPF);
	assert_string_equal(service->endpoints.tier_reason, "ebpf: Operation not permitted");
	assert_null(service->wiring.tap);
	drive_until(n_ended == 1);
	assert_table(0, 10, STEER_NO_SLOT);
	carry_out("stop", NULL);
	/* It is found out anew when it is opened again. */
	context.tiers.list[STEER_EBPF].works = true;
	carry_out("start", NULL);
	assert_int_equal(service->wiring.tier, STEER_EBPF);
	assert_string_equal(service->endpoints.tier_reason, "");
}

static void test_service_tier_that_does_not_work_is_no_start(void **state)
{
	(void)state;
	service->config->steering = STEERING_EBPF;
	context.tiers.list[STEER_EBPF].works = false;
	strcpy(context.tiers.list[STEER_EBPF].reason, "Operation not permitted");
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start",
		       "steering \"ebpf\" does not work here: Operation not permitted");
	assert_calls("");
	assert_false(service->endpoints.open);
}

static void test_service_endpoints_know_hooks_and_stickiness(void **state)
{
	(void)state;
	service->config->sticky = true;
	carry_out("start", NULL);
	for (size_t e = 0; e < 2; e++) {
		assert_true(service->wiring.endpoints[e]->sticky);
		assert_ptr_equal(service->wiring.endpoints[e]->tap, service->wiring.tap);
	}
	assert_non_null(service->wiring.tap);
	/* What waits at the anchors is counted, too. */
	assert_non_null(fake_tap_find(service->wiring.tap, STEER_ANCHOR_GENERATION, 0));
}

/* Counting by looking is as good, only slower; but nothing else makes a server share its port. */
static void test_service_without_hooks_starts_where_they_are_not_needed(void **state)
{
	(void)state;
	fake_tap_failure.function = "tap_open";
	fake_tap_failure.code = -ENOSYS;
	service->config->mode = SOCKETS_TRANSPARENT;
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start",
		       "mode \"transparent\": tap_open: Function not implemented");
	assert_int_equal(fake_steers_open, 0);
	forget_calls();
	service->config->mode = SOCKETS_AUTO;
	carry_out("start", NULL);
	assert_null(service->wiring.tap);
	assert_null(strstr(calls, "cgroup"));
}

static void test_service_transparent_needs_ebpf_and_a_cgroup(void **state)
{
	(void)state;
	service->config->mode = SOCKETS_TRANSPARENT;
	context.cgroup_base[0] = '\0';
	strcpy(context.no_cgroup, "mount it");
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start",
		       "mode \"transparent\": it needs a cgroup for each instance: mount it");
	strcpy(context.cgroup_base, "/cgroup/test");
	service->config->steering = STEERING_HASH;
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start",
		       "mode \"transparent\": it needs tier ebpf, this is tier hash (\"steering\" "
		       "says so)");
	service->config->steering = STEERING_AUTO;
	carry_out("start", NULL);
}

/* Nor do programs that count and cannot be loaded: they are first, on that cgroup. */
static void test_service_anchor_cgroup_that_cannot_be_made_leaves_nothing(void **state)
{
	(void)state;
	fake_cgroup.create_error = -ENOSPC;
	service->config->mode = SOCKETS_TRANSPARENT;
	refused("start", NULL);
	assert_refused(500, 1, "Cannot start",
		       "mode \"transparent\": cgroup anchor.web: No space left on device");
	assert_calls("tap open /pins/test/web/tap; tap close");
	assert_int_equal(fake_tap_open, 0);
	service->config->mode = SOCKETS_AUTO;
	carry_out("start", NULL);
	assert_null(service->wiring.tap);
	assert_string_equal(service->wiring.no_tap, "cgroup anchor.web: No space left on device");
	assert_int_equal(fake_tap_open, 0);
}

/* ---- what cannot be opened ------------------------------------------------------------------ */

static void test_service_endpoints_that_cannot_be_had_are_all_closed(void **state)
{
	static const struct {
		const char *function, *address, *detail;
	} cases[] = {
		{"bpffs_make", "tcp-127_0_0_1-80", "bpffs_make tcp-127_0_0_1-80: "},
		{"bpffs_make", "tcp---1-81", "bpffs_make tcp---1-81: "},
		{"steer_open", ENDPOINT_0, "steer_open " ENDPOINT_0 ": "},
		{"steer_open", ENDPOINT_1, "steer_open " ENDPOINT_1 ": "},
		{"steer_reset", ENDPOINT_0, "steer_reset " ENDPOINT_0 ": "},
		{"steer_reset", ENDPOINT_1, "steer_reset " ENDPOINT_1 ": "},
		{"steer_attach", ENDPOINT_0, "steer_attach " ENDPOINT_0 ": "},
		{"steer_attach", ENDPOINT_1, "steer_attach " ENDPOINT_1 ": "},
	};

	(void)state;
	fake_steer_failure.code = -EIO;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		char detail[128];

		fake_steer_failure.function = cases[k].function;
		fake_steer_failure.address = cases[k].address;
		snprintf(detail, sizeof(detail), "%sInput/output error", cases[k].detail);
		refused("start", NULL);
		assert_refused(500, 1, "Cannot start", detail);
		assert_nothing_left();
	}
	assert_int_equal(last_number, 0);
	fake_steer_failure.function = NULL;
	carry_out("start", NULL);
	assert_int_equal(service->current->number, 1);
}

/* Somebody else is there: that is for the user to settle, not an accident. */
static void test_service_endpoint_that_is_taken_is_a_conflict(void **state)
{
	(void)state;
	fake_steer_failure.function = "steer_attach";
	fake_steer_failure.code = -EADDRINUSE;
	refused("start", NULL);
	assert_refused(409, 1, "Cannot start",
		       "steer_attach " ENDPOINT_0 ": Address already in use");
	assert_nothing_left();
	fake_steer_failure.function = NULL;
	gone_error = -EBUSY;
	forget_calls();
	refused("start", NULL);
	assert_refused(409, 1, "Cannot start", "web.1.0.sock: Device or resource busy");
	assert_calls("");
	assert_nothing_left();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_opens_on_the_tier_that_works),
		TEST(test_service_tier_that_does_not_work_is_no_start),
		TEST(test_service_endpoints_know_hooks_and_stickiness),
		TEST(test_service_without_hooks_starts_where_they_are_not_needed),
		TEST(test_service_transparent_needs_ebpf_and_a_cgroup),
		TEST(test_service_anchor_cgroup_that_cannot_be_made_leaves_nothing),
		TEST(test_service_endpoints_that_cannot_be_had_are_all_closed),
		TEST(test_service_endpoint_that_is_taken_is_a_conflict),
	};
#undef TEST

	return cmocka_run_group_tests_name("service endpoints", tests, NULL, NULL);
}
