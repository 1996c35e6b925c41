/* SPDX-License-Identifier: BSD-2-Clause */
/* Generations of one service with different addresses. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/service/takeover_fixture.h"

#define OTHER "127.0.0.1:90"

/* ENDPOINT_1, OTHER: ENDPOINT_0 goes, OTHER comes, and ENDPOINT_1 stands at another index. */
static struct service_config *other_addresses(void)
{
	struct service_config *config = make_config("/bin/web", ENDPOINT_1);

	assert_int_equal(address_parse(OTHER, &config->listen[1], NULL), 0);
	return config;
}

static size_t place_of(const char *text)
{
	struct address address;

	assert_int_equal(address_parse(text, &address, NULL), 0);
	return wiring_place(&service->wiring, &address);
}

static void assert_open(const char *a, const char *b, const char *c)
{
	const char *all[] = {ENDPOINT_0, ENDPOINT_1, OTHER};

	for (size_t k = 0; k < 3; k++) {
		bool expected =
			strcmp(all[k], a) == 0 || strcmp(all[k], b) == 0 || strcmp(all[k], c) == 0;

		assert_int_equal(place_of(all[k]) < WIRING_MAX, expected);
	}
}

/* A restart with the other addresses, whose instance is on trial. */
static void begin_other(void)
{
	const char *order_after;

	carry_out("start", NULL);
	fake(2, 0)->not_healthy = true;
	fake(2, 0)->sticky = true;
	assert_int_equal(reconfigure(other_addresses(), &order_after, &err), 0);
	assert_string_equal(order_after, "restart");
	order("restart", NULL);
	drive_until(run->machine.state == ROLLOUT_VERIFYING);
}

static void test_service_addresses_of_both_sides_are_open_in_a_rollout(void **state)
{
	(void)state;
	begin_other();
	assert_open(ENDPOINT_0, ENDPOINT_1, OTHER);
	assert_int_equal(place_of(ENDPOINT_1), 1); /* where it has been */
	assert_int_equal(place_of(OTHER), 2);
	assert_table(0, 10, STEER_NO_SLOT);
	assert_table(1, 11, STEER_NO_SLOT);
	assert_table(2, STEER_NO_SLOT, STEER_NO_SLOT);
	/* Whoever has an address serves it; slots are found by each side's own index of it. */
	fake(2, 0)->not_healthy = false;
	fake(1, 0)->queued = 1;
	look();
	drive_until(run->machine.state == ROLLOUT_SETTLING);
	assert_table(0, 10, STEER_NO_SLOT);
	assert_table(1, 20, 11);
	assert_table(2, 21, STEER_NO_SLOT);
	fake(1, 0)->queued = 0;
	drive_until(service->current->number == 2 && service->n_generations == 1);
	assert_open(ENDPOINT_1, OTHER, OTHER);
	assert_event("address", "listen", ENDPOINT_0);
}

static void test_service_addresses_of_a_side_that_fails_are_closed(void **state)
{
	(void)state;
	begin_other();
	forget_calls();
	fake_fail(2, 0, "exited with status 1");
	look();
	drive_until(service->n_generations == 1);
	assert_open(ENDPOINT_0, ENDPOINT_1, ENDPOINT_1);
	assert_non_null(strstr(calls, "unpin " OTHER "; close " OTHER));
	assert_table(0, 10, STEER_NO_SLOT);
	assert_table(1, 11, STEER_NO_SLOT);
}

static void test_service_addresses_that_cannot_be_opened_leave_all_as_it_was(void **state)
{
	static const char *const functions[] = {"steer_open", "steer_reset", "steer_attach"};
	const char *order_after;

	(void)state;
	carry_out("start", NULL);
	assert_int_equal(reconfigure(other_addresses(), &order_after, &err), 0);
	for (size_t k = 0; k < sizeof(functions) / sizeof(functions[0]); k++) {
		fake_steer_failure.function = functions[k];
		fake_steer_failure.address = OTHER;
		fake_steer_failure.code = -EADDRINUSE;
		refused("restart", NULL);
		assert_open(ENDPOINT_0, ENDPOINT_1, ENDPOINT_1);
		assert_int_equal(service->n_generations, 1);
	}
	fake_steer_failure.function = NULL;
	order("restart", NULL);
}

static void test_service_addresses_of_both_sides_are_taken_over(void **state)
{
	struct service_config *other = other_addresses();

	(void)state;
	find_agent(3, AGENT_RUNNING, true);
	find_agent(4, AGENT_RUNNING, false);
	agents[1].spec.listen = other->listen;
	named_before(3, 0);
	assert_int_equal(adopt(), 1);
	assert_int_equal(service->current->number, 3);
	assert_open(ENDPOINT_0, ENDPOINT_1, OTHER);
	assert_table(0, 30, STEER_NO_SLOT);
	assert_table(1, 31, STEER_NO_SLOT);
	drive_until(service->n_generations == 1);
	turn();
	assert_open(ENDPOINT_0, ENDPOINT_1, ENDPOINT_1);
	service_config_free(other);
}

/* The file says something else by now: that is for a reload. */
static void test_service_addresses_are_those_of_what_is_taken_over(void **state)
{
	struct service_config *other = other_addresses();

	(void)state;
	find_agent(3, AGENT_RUNNING, true);
	agents[0].spec.listen = other->listen;
	named_before(3, 0);
	assert_int_equal(adopt(), 1);
	assert_open(ENDPOINT_1, OTHER, OTHER);
	turn();
	assert_open(ENDPOINT_1, OTHER, OTHER);
	service_config_free(other);
}

/* ---- lending --------------------------------------------------------------------------------- */

static struct service *api;

/* Another service, which is to have ENDPOINT_1 of "web", and OTHER. */
static struct service_config *api_config(void)
{
	struct service_config *config = other_addresses();

	free(config->name);
	config->name = strdup("api");
	config->id = strdup("web"); /* as the fakes know it */
	assert_true(config->name && config->id);
	return config;
}

static void on_api_end(void *userdata, struct service *s)
{
	assert_null(userdata);
	assert_ptr_equal(s, api);
}

static void make_api(void)
{
	carry_out("start", NULL);
	assert_int_equal(service_new(&context, api_config(), on_api_end, NULL, &api, &err), 0);
}

static void start_api(void)
{
	const struct service_order start = {.type = SERVICE_ORDER_START};

	assert_int_equal(service_lend(service, api, api->config, &err), 0);
	assert_int_equal(service_order(api, &start, &answer, &refusal), 0);
}

static int tear_down_api(void **state)
{
	service_free(TAKE_PTR(api));
	return tear_down(state);
}

static void test_service_lends_an_endpoint_until_the_other_has_committed(void **state)
{
	struct steer *lent;

	(void)state;
	make_api();
	lent = service->wiring.endpoints[1];
	fake(2, 0)->not_healthy = true;
	start_api();
	turn();
	assert_true(service_lends(service) && service_borrows(api));
	assert_ptr_equal(api->wiring.endpoints[0], lent);
	assert_table(1, 11, STEER_NO_SLOT); /* it serves on */
	fake(2, 0)->not_healthy = false;
	api->generations[0]->callbacks->on_change(api->generations[0]->userdata);
	drive_until(api->current);
	assert_false(service_lends(service) || service_borrows(api));
	assert_non_null(strstr(calls, "rehome " ENDPOINT_1 " /pins/test/web/tcp---1-81"));
	assert_ptr_equal(lent->tap, api->wiring.tap);
	assert_int_equal(lent->table.buckets[0].primary, 20);
	assert_int_equal(place_of(ENDPOINT_1), WIRING_MAX);
	/* What it still has it serves. */
	assert_table(0, 10, STEER_NO_SLOT);
	assert_int_equal(service->current->instances.list[0]->sockets.n, 1);
}

static void test_service_has_back_what_the_other_could_not_take(void **state)
{
	(void)state;
	make_api();
	fake(2, 0)->not_healthy = true;
	start_api();
	turn();
	fake_fail(2, 0, "exited with status 1");
	api->generations[0]->callbacks->on_change(api->generations[0]->userdata);
	drive_until(!service_lends(service));
	assert_false(api->endpoints.open);
	assert_table(1, 11, STEER_NO_SLOT);
	assert_null(strstr(calls, "unpin " ENDPOINT_1));
}

static void test_service_that_ends_takes_nothing_of_its_partner_along(void **state)
{
	(void)state;
	make_api();
	fake(2, 0)->not_healthy = true;
	start_api();
	turn();
	service_part(service);
	assert_false(service_lends(service) || service_borrows(api));
	assert_null(api->wiring.endpoints[0]);
	assert_non_null(service->wiring.endpoints[1]);
}

static void test_service_lends_nothing_to_one_of_another_user(void **state)
{
	(void)state;
	make_api();
	api->config->uid = 34;
	assert_int_equal(service_lend(service, api, api->config, &err), -EBUSY);
	assert_non_null(strstr(err.text, "\"user\""));
	assert_false(service_lends(service));
	assert_false(api->endpoints.open);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_adoption, tear_down)
#define LEND(name) cmocka_unit_test_setup_teardown(name, set_up_adoption, tear_down_api)
		TEST(test_service_addresses_of_both_sides_are_open_in_a_rollout),
		TEST(test_service_addresses_of_a_side_that_fails_are_closed),
		TEST(test_service_addresses_that_cannot_be_opened_leave_all_as_it_was),
		TEST(test_service_addresses_of_both_sides_are_taken_over),
		TEST(test_service_addresses_are_those_of_what_is_taken_over),
		LEND(test_service_lends_an_endpoint_until_the_other_has_committed),
		LEND(test_service_has_back_what_the_other_could_not_take),
		LEND(test_service_that_ends_takes_nothing_of_its_partner_along),
		LEND(test_service_lends_nothing_to_one_of_another_user),
	};

	return cmocka_run_group_tests_name("service_addresses", tests, NULL, NULL);
}
