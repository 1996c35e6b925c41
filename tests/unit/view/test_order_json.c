/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "common/vector.h"
#include "orchestrator/view/order_json.h"

static struct service_order order;
static struct refusal refusal;

static int parse(const char *name, const char *body)
{
	json_t *json = body ? json_loads(body, 0, NULL) : NULL;
	int r;

	assert_true(!body || json);
	service_order_done(&order);
	refusal = (struct refusal){};
	r = order_parse(name, json, &order, &refusal);
	json_decref(json);
	return r;
}

static void assert_bad(const char *name, const char *body, enum refusal_kind kind, const char *why)
{
	assert_true(parse(name, body) < 0);
	assert_int_equal(refusal.kind, kind);
	assert_string_equal(refusal.why.text, why);
}

static int done(void **state)
{
	(void)state;
	service_order_done(&order);
	return 0;
}

static void test_order_parse_of_no_body_and_an_empty_one_is_the_same(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++) {
		assert_int_equal(parse("restart", k ? "{}" : NULL), 0);
		assert_int_equal(order.type, SERVICE_ORDER_RESTART);
		assert_false(order.supersede);
		assert_null(order.command);
	}
}

static void test_order_parse_reads_all_of_an_upgrade(void **state)
{
	char *command[] = {(char *)"/bin/web", (char *)"", NULL};

	(void)state;
	assert_int_equal(parse("upgrade", "{\"command\": [\"/bin/web\", \"\"], \"force\": true, "
					  "\"environment\": {\"B\": \"2\", \"A\": \"\"}, "
					  "\"supersede\": true}"),
			 0);
	assert_true(vector_equal(order.command, command));
	assert_int_equal(vector_length(order.environment), 2);
	assert_true(order.force);
	assert_true(order.supersede);
}

/* Nothing is added is another thing than: what was added before. */
static void test_order_parse_tells_an_environment_from_none(void **state)
{
	(void)state;
	assert_int_equal(parse("upgrade", "{\"force\": false}"), 0);
	assert_null(order.environment);
	assert_false(order.force);
}

static void test_order_parse_reads_a_number_of_instances(void **state)
{
	(void)state;
	assert_int_equal(parse("scale", "{\"instances\": 16}"), 0);
	assert_int_equal(order.instances, 16);
}

static void test_order_parse_takes_scaling_to_none_for_stop(void **state)
{
	(void)state;
	assert_int_equal(parse("scale", "{\"instances\": 0, \"supersede\": true}"), 0);
	assert_int_equal(order.type, SERVICE_ORDER_STOP);
	assert_true(order.scaled);
	assert_true(order.supersede);
	assert_int_equal(parse("stop", NULL), 0);
	assert_false(order.scaled);
}

static void test_order_parse_refuses_with_the_member_named(void **state)
{
	(void)state;
	assert_bad("restart", "{\"force\": true}", REFUSAL_BAD_REQUEST,
		   "force: unknown key (restart takes \"reset\", \"supersede\")");
	assert_bad("promote", "{\"supersede\": true}", REFUSAL_BAD_REQUEST,
		   "supersede: unknown key (promote takes none)");
	assert_bad("upgrade", "{\"instances\": 2}", REFUSAL_BAD_REQUEST,
		   "instances: unknown key (upgrade takes \"command\", \"environment\", "
		   "\"unset\", \"force\", \"supersede\")");
	assert_bad("stop", "{\"supersede\": 1}", REFUSAL_BAD_REQUEST,
		   "supersede: expected true or false");
	assert_bad("upgrade", "{\"command\": []}", REFUSAL_BAD_REQUEST,
		   "command: expected an array of 1 to 256 strings");
	assert_bad("upgrade", "{\"command\": [\"\"]}", REFUSAL_BAD_REQUEST,
		   "command[0]: expected a non-empty string");
	assert_bad("upgrade", "{\"command\": [\"/bin/web\", 7]}", REFUSAL_BAD_REQUEST,
		   "command[1]: expected a string");
	assert_bad("upgrade", "{\"environment\": []}", REFUSAL_BAD_REQUEST,
		   "environment: expected an object of at most 256 strings");
	assert_bad("upgrade", "{\"environment\": {\"A\": 1}}", REFUSAL_BAD_REQUEST,
		   "environment.A: expected a string");
}

static void test_order_parse_needs_instances_to_scale(void **state)
{
	static const char *const bodies[] = {NULL, "{}", "{\"instances\": \"2\"}"};

	(void)state;
	for (size_t k = 0; k < sizeof(bodies) / sizeof(bodies[0]); k++)
		assert_bad("scale", bodies[k], REFUSAL_BAD_REQUEST,
			   "instances: expected a number from 0 (stops the service) to 256");
	assert_bad("scale", "{\"instances\": -1}", REFUSAL_BAD_REQUEST,
		   "instances: expected a number from 0 (stops the service) to 256, not -1");
	assert_bad("scale", "{\"instances\": 257}", REFUSAL_BAD_REQUEST,
		   "instances: expected a number from 0 (stops the service) to 256, not 257");
	assert_int_equal(parse("scale", "{\"instances\": 256}"), 0);
	assert_int_equal(order.instances, 256);
}

static void test_order_parse_of_an_unknown_one_names_those_there_are(void **state)
{
	(void)state;
	assert_bad("reload", NULL, REFUSAL_NO_ORDER,
		   "unknown order \"reload\" (restart, upgrade, rollback, promote, abort, start, "
		   "stop, scale, pause, resume, reopen)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_parse_of_no_body_and_an_empty_one_is_the_same),
		cmocka_unit_test(test_order_parse_reads_all_of_an_upgrade),
		cmocka_unit_test(test_order_parse_tells_an_environment_from_none),
		cmocka_unit_test(test_order_parse_reads_a_number_of_instances),
		cmocka_unit_test(test_order_parse_refuses_with_the_member_named),
		cmocka_unit_test(test_order_parse_takes_scaling_to_none_for_stop),
		cmocka_unit_test(test_order_parse_needs_instances_to_scale),
		cmocka_unit_test(test_order_parse_of_an_unknown_one_names_those_there_are),
	};

	return cmocka_run_group_tests_name("order_json", tests, NULL, done);
}
