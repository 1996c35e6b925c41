/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands that begin a rollout and watch it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/fakes/fake_batond.h"

static const struct cli_options for_web = {.arguments = {"web"}, .n_arguments = 1};

#define ANSWER                                                                                     \
	"{\"service\": \"web\", \"order\": \"restart\", \"rollout\": 7, \"generation\": 4, "       \
	"\"replaces\": 3, \"seq\": 40}"
#define FOLLOW "GET /v1/events?service=web&since=40&follow=1"
#define DONE   "{\"event\": \"done\", \"rollout\": 7, \"exit\": 0}"
#define UNDONE                                                                                     \
	"{\"event\": \"rolled-back\", \"rollout\": 7, \"exit\": 4, \"reason\": \"x\", "            \
	"\"serving\": {\"generation\": 3, \"instances\": 1, \"wanted\": 1}}"
#define WAITING                                                                                    \
	"{\"event\": \"waiting\", \"rollout\": 7, \"reason\": \"promote\", "                       \
	"\"message\": \"baton promote web goes on\"}"

#define DROPPED "{\"event\": \"dropped\", \"seq\": 90, \"missed\": 50}"

#define EVENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- what is asked -------------------------------------------------------------------------- */

static void test_orders_each_has_its_path_and_no_body(void **state)
{
	static const struct {
		enum cli_exit (*command)(const struct cli_options *, struct error *);
		const char *order;
	} cases[] = {
		{cmd_restart, "restart"}, {cmd_rollback, "rollback"}, {cmd_start, "start"},
		{cmd_stop, "stop"},       {cmd_promote, "promote"},   {cmd_abort, "abort"},
	};
	char expected[128];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup(NULL);
		batond.answer = ANSWER;
		batond.events = EVENTS(DONE);
		assert_int_equal(run(cases[i].command, &for_web), CLI_DONE);
		snprintf(expected, sizeof(expected), "POST /v1/services/web/%s, " FOLLOW,
			 cases[i].order);
		assert_string_equal(batond.asked, expected);
		assert_string_equal(output, "web: generation 4 replaces 3\n"
					    "done: generation 4 serves, generation 3 is gone\n");
	}
}

static void test_orders_follow_from_the_epoch_of_the_answer(void **state)
{
	(void)state;
	batond.answer = "{\"service\": \"web\", \"order\": \"restart\", \"rollout\": 7, "
			"\"generation\": 4, \"replaces\": 3, \"seq\": 40, "
			"\"epoch\": \"0123456789abcdef\"}";
	batond.events = EVENTS(DONE);
	assert_int_equal(run(cmd_restart, &for_web), CLI_DONE);
	assert_string_equal(batond.asked,
			    "POST /v1/services/web/restart, "
			    "GET /v1/events?service=web&since=0123456789abcdef:40&follow=1");
}

/* The last event may be among those that were dropped: then the status knows how it has ended. */
static void test_orders_that_miss_events_look_for_the_end(void **state)
{
	(void)state;
	batond.answer = ANSWER;
	batond.events = EVENTS(DROPPED, DONE);
	batond.again = EVENTS(UNDONE);
	assert_int_equal(run(cmd_restart, &for_web), CLI_ROLLED_BACK);
	assert_string_equal(batond.asked,
			    "POST /v1/services/web/restart, " FOLLOW ", GET /v1/services/web, "
			    "GET /v1/events?service=web&since=90&follow=1");
	setup(NULL);
	/* The same document answers the order and the question. */
	batond.answer =
		"{\"service\": \"web\", \"order\": \"restart\", \"rollout\": 7, \"generation\": "
		"4, \"replaces\": 3, \"seq\": 40, \"last_rollout\": {\"rollout\": 7, \"result\": "
		"\"done\", \"exit\": 5, \"cut\": 2}}";
	batond.events = EVENTS(DROPPED);
	assert_int_equal(run(cmd_restart, &for_web), CLI_CUT);
	assert_string_equal(batond.asked,
			    "POST /v1/services/web/restart, " FOLLOW ", GET /v1/services/web");
	assert_non_null(strstr(output, "done: generation 4 serves"));
}

static void test_orders_supersede_is_sent_and_the_undone_is_told(void **state)
{
	struct cli_options options = for_web;

	(void)state;
	options.supersede = true;
	batond.answer = "{\"service\": \"web\", \"order\": \"restart\", \"rollout\": 7, "
			"\"supersedes\": 6, \"generation\": null, \"replaces\": 3, \"seq\": 40}";
	batond.events = EVENTS("{\"event\": \"stop\", \"rollout\": 6}",
			       "{\"event\": \"failed\", \"rollout\": 5, \"exit\": 3}",
			       "{\"event\": \"failed\", \"rollout\": 6, \"exit\": 3}",
			       "{\"event\": \"reloaded\"}",
			       "{\"event\": \"done\", \"rollout\": 7, \"generation\": 5, "
			       "\"replaces\": 3, \"exit\": 0}");
	assert_int_equal(run(cmd_restart, &options), CLI_DONE);
	assert_string_equal(batond.asked,
			    "POST /v1/services/web/restart {\"supersede\":true}, " FOLLOW);
	assert_string_equal(output, "web: restart, once rollout 6 is undone\n"
				    "  undone   rollout 6 has ended: failed\n"
				    "done: generation 5 serves, generation 3 is gone\n");
	/* A program is told of its own rollout alone. */
	options.json = true;
	assert_int_equal(run(cmd_restart, &options), CLI_DONE);
	assert_null(strstr(output, "\"rollout\":6"));
}

static void test_orders_upgrade_sends_what_is_given(void **state)
{
	char program[] = "./server", argument[] = "-x";
	char *command[] = {program, argument, NULL};
	struct cli_options options = for_web;

	(void)state;
	options.no_wait = true;
	batond.answer = ANSWER;
	assert_int_equal(run(cmd_upgrade, &options), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/services/web/upgrade {}");
	setup(NULL);
	batond.answer = ANSWER;
	options.command = command;
	options.force = options.supersede = true;
	options.run.environment[0] = "A=";
	options.run.environment[1] = "B=x=y";
	options.run.n_environment = 2;
	options.unset[0] = "C";
	options.n_unset = 1;
	assert_int_equal(run(cmd_upgrade, &options), CLI_DONE);
	assert_string_equal(batond.asked,
			    "POST /v1/services/web/upgrade {\"command\":[\"./server\",\"-x\"],"
			    "\"environment\":{\"B\":\"x=y\"},\"force\":true,"
			    "\"supersede\":true,\"unset\":[\"C\",\"A\"]}");
	setup(NULL);
	batond.answer = ANSWER;
	options.command = NULL;
	options.force = options.supersede = false;
	options.run.n_environment = 1;
	options.n_unset = 0;
	assert_int_equal(run(cmd_upgrade, &options), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/services/web/upgrade {\"unset\":[\"A\"]}");
}

static void test_orders_upgrade_bad_arguments_are_usage(void **state)
{
	char bytes[] = "\xff";
	char *nothing[] = {NULL}, *broken[] = {bytes, NULL};
	struct cli_options options = for_web;

	(void)state;
	options.command = nothing;
	assert_int_equal(run(cmd_upgrade, &options), CLI_USAGE);
	assert_non_null(strstr(err.text, "no command after \"--\""));
	options.command = broken;
	assert_int_equal(run(cmd_upgrade, &options), CLI_USAGE);
	assert_non_null(strstr(err.text, "is not UTF-8 text"));
	options.command = NULL;
	options.run.environment[0] = "=x";
	options.run.n_environment = 1;
	assert_int_equal(run(cmd_upgrade, &options), CLI_USAGE);
	assert_string_equal(err.text, "--env: \"=x\" is not NAME=VALUE");
	assert_string_equal(batond.asked, "");
}

static void test_orders_flags_are_sent(void **state)
{
	struct cli_options options = for_web;

	(void)state;
	options.no_wait = true;
	options.reset = true;
	batond.answer = ANSWER;
	assert_int_equal(run(cmd_restart, &options), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/services/web/restart {\"reset\":true}");
	setup(NULL);
	options.dry_run = true;
	batond.answer = "{\"service\": \"web\", \"message\": \"rollback would go\"}";
	assert_int_equal(run(cmd_rollback, &options), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/services/web/rollback {\"dry_run\":true}");
}

static void test_orders_scale_takes_the_last_argument(void **state)
{
	static const char *const bad[] = {"257", "-1", "x", "", "1x"};
	struct cli_options options = {.arguments = {"web", "4"}, .n_arguments = 2};

	(void)state;
	options.no_wait = true;
	batond.answer = ANSWER;
	assert_int_equal(run(cmd_scale, &options), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/services/web/scale {\"instances\":4}");
	setup(NULL);
	batond.answer = ANSWER;
	batond.services = "{\"services\": [{\"service\": \"web\"}]}";
	options.arguments[0] = "16";
	options.n_arguments = 1;
	options.supersede = true;
	assert_int_equal(run(cmd_scale, &options), CLI_DONE);
	assert_string_equal(batond.asked, "GET /v1/services, POST /v1/services/web/scale "
					  "{\"instances\":16,\"supersede\":true}");
	setup(NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		options.arguments[0] = bad[i];
		assert_int_equal(run(cmd_scale, &options), CLI_USAGE);
		assert_non_null(strstr(err.text, "is not a number of instances (0 to 256)"));
	}
	assert_string_equal(batond.asked, "");
}

/* ---- what is answered ----------------------------------------------------------------------- */

static void test_orders_unchanged_is_said_and_done(void **state)
{
	struct cli_options options = for_web;

	(void)state;
	batond.answer = "{\"service\": \"web\", \"unchanged\": true, "
			"\"message\": \"generation 3 runs this release already\"}";
	assert_int_equal(run(cmd_upgrade, &options), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/services/web/upgrade {}");
	assert_string_equal(output, "web: generation 3 runs this release already\n");
	options.quiet = true;
	assert_int_equal(run(cmd_upgrade, &options), CLI_DONE);
	assert_string_equal(output, "");
	options.json = true;
	assert_int_equal(run(cmd_upgrade, &options), CLI_DONE);
	assert_non_null(strstr(output, "\"unchanged\": true"));
	batond.answer = "{\"service\": \"web\", \"unchanged\": true}";
	assert_int_equal(run(cmd_restart, &for_web), CLI_DONE);
	assert_string_equal(output, "web: unchanged\n");
}

/* As of a service that is stopped: there is no rollout to be waited for. */
static void test_orders_answer_without_a_rollout_is_the_end(void **state)
{
	(void)state;
	batond.answer = "{\"service\": \"web\", \"message\": \"3 instances when it is started\"}";
	assert_int_equal(run(cmd_upgrade, &for_web), CLI_DONE);
	assert_string_equal(output, "web: 3 instances when it is started\n");
	batond.answer = "{\"service\": \"web\", \"message\": 3}";
	assert_int_equal(run(cmd_upgrade, &for_web), CLI_ERROR);
}

static void test_orders_no_wait_prints_the_answer_alone(void **state)
{
	struct cli_options options = for_web;

	(void)state;
	options.no_wait = true;
	batond.answer = ANSWER;
	assert_int_equal(run(cmd_promote, &options), CLI_DONE);
	assert_string_equal(batond.asked, "POST /v1/services/web/promote");
	assert_string_equal(output, "web: generation 4 replaces 3\n");
	options.quiet = true;
	assert_int_equal(run(cmd_promote, &options), CLI_DONE);
	assert_string_equal(output, "");
	options.json = true;
	assert_int_equal(run(cmd_promote, &options), CLI_DONE);
	assert_non_null(strstr(output, "\"rollout\": 7"));
}

static void test_orders_refused_or_answered_with_nonsense_fail(void **state)
{
	static const char *const nonsense[] = {
		"{}",
		"[]",
		"{\"service\": \"web\"}",
		"{\"service\": \"web\", \"unchanged\": false}",
		"{\"service\": \"api\", \"unchanged\": true}",
		"{\"service\": \"web\", \"rollout\": 7}",
		"{\"service\": \"web\", \"rollout\": -7, \"seq\": 1}",
	};
	const struct cli_options gone = {.name = "gone"};

	(void)state;
	assert_int_equal(run(cmd_promote, &for_web), CLI_BUSY);
	assert_string_equal(err.text, "refused");
	assert_string_equal(output, "");
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		batond.answer = nonsense[i];
		assert_int_equal(run(cmd_abort, &for_web), CLI_ERROR);
		assert_non_null(strstr(err.text, "abort: the daemon\'s answer is not one that"));
	}
	assert_int_equal(run(cmd_abort, &gone), CLI_UNREACHABLE);
}

/* ---- how it goes on ------------------------------------------------------------------------- */

static void test_orders_promote_ends_at_the_next_wait(void **state)
{
	struct cli_options options = for_web;

	(void)state;
	batond.answer = ANSWER;
	batond.events = EVENTS("{\"event\": \"hold\", \"rollout\": 7, \"message\": \"25%\"}",
			       WAITING, UNDONE);
	assert_int_equal(run(cmd_promote, &options), CLI_DONE);
	assert_int_equal(batond.taken, 2);
	assert_string_equal(output, "web: generation 4 replaces 3\n"
				    "  hold     25%\n"
				    "  waiting  baton promote web goes on\n");
	options.json = true;
	assert_int_equal(run(cmd_promote, &options), CLI_DONE);
	assert_non_null(strstr(output, "\"event\":\"waiting\""));
	options.json = false;
	options.quiet = true;
	assert_int_equal(run(cmd_promote, &options), CLI_DONE);
	assert_string_equal(output, "");
}

static void test_orders_others_go_on_waiting(void **state)
{
	(void)state;
	batond.answer = ANSWER;
	batond.events = EVENTS(WAITING, "{\"event\": \"waiting\", \"rollout\": 6}", DONE, UNDONE);
	assert_int_equal(run(cmd_restart, &for_web), CLI_DONE);
	assert_int_equal(batond.taken, 3);
	assert_string_equal(output, "web: generation 4 replaces 3\n"
				    "  waiting  baton promote web goes on\n"
				    "done: generation 4 serves, generation 3 is gone\n");
}

static void test_orders_abort_wants_the_rollback(void **state)
{
	static const char cut[] = "{\"event\": \"done\", \"rollout\": 7, \"exit\": 5, \"cut\": 2}";

	(void)state;
	batond.answer = ANSWER;
	batond.events = EVENTS(UNDONE);
	assert_int_equal(run(cmd_abort, &for_web), CLI_DONE);
	assert_non_null(strstr(output, "rolled back: x\n  generation 3 serves again\n"));
	batond.events = EVENTS("{\"event\": \"failed\", \"rollout\": 7, \"exit\": 3}");
	assert_int_equal(run(cmd_abort, &for_web), CLI_DONE);
	batond.events = EVENTS(cut); /* it came too late */
	assert_int_equal(run(cmd_abort, &for_web), CLI_CUT);
	/* A rollback that undoes what another order has begun wants it as well; nobody else does.
	 */
	batond.events = EVENTS(UNDONE);
	assert_int_equal(run(cmd_rollback, &for_web), CLI_DONE);
	assert_int_equal(run(cmd_stop, &for_web), CLI_DONE);
	assert_int_equal(run(cmd_restart, &for_web), CLI_ROLLED_BACK);
	assert_int_equal(run(cmd_promote, &for_web), CLI_ROLLED_BACK);
	batond.answer =
		"{\"service\": \"web\", \"order\": \"rollback\", \"rollout\": 7, \"seq\": 1}";
	assert_int_equal(run(cmd_rollback, &for_web), CLI_ROLLED_BACK);
}

static void test_orders_lost_sight_is_unreachable(void **state)
{
	(void)state;
	batond.answer = ANSWER;
	assert_int_equal(run(cmd_promote, &for_web), CLI_UNREACHABLE);
	assert_string_equal(
		err.text,
		"web: lost sight of rollout 7 before its end (see \"baton status web\"): the connection "
		"broke");
	batond.events = EVENTS(WAITING);
	assert_int_equal(run(cmd_restart, &for_web), CLI_UNREACHABLE);
	assert_non_null(strstr(err.text, "ended the connection"));
}

static void test_orders_next_daemon_tells_the_end(void **state)
{
	struct cli_options quiet = for_web;

	(void)state;
	quiet.quiet = true;
	batond.answer = ANSWER;
	batond.returns = 5;
	batond.status = "{\"service\": \"web\", \"rollout\": null}";
	batond.again =
		EVENTS("{\"seq\": 51, \"event\": \"done\", \"rollout\": 6, \"exit\": 0}",
		       "{\"seq\": 52, \"event\": \"rolled-back\", \"rollout\": 7, \"exit\": 4, "
		       "\"reason\": \"batond ended in the middle of step bake\"}");
	assert_int_equal(run(cmd_restart, &for_web), CLI_ROLLED_BACK);
	assert_int_equal(batond.looks, 1);
	assert_string_equal(output, "web: generation 4 replaces 3\n"
				    "  batond is gone; waiting for the next one to take over\n"
				    "rolled back: batond ended in the middle of step bake\n");
	assert_string_equal(err.text, "");
	batond.events = NULL;
	batond.again = EVENTS("{\"seq\": 52, \"event\": \"done\", \"rollout\": 7, \"exit\": 5}");
	assert_int_equal(run(cmd_restart, &quiet), CLI_CUT);
}

/* Its history has a gap: then the status may know. */
static void test_orders_next_daemon_that_misses_events_is_asked_for_the_end(void **state)
{
	(void)state;
	batond.answer = ANSWER;
	batond.returns = 5;
	batond.status = "{\"service\": \"web\", \"rollout\": null, \"last_rollout\": "
			"{\"rollout\": 7, \"result\": \"failed\", \"exit\": 3}}";
	batond.again = EVENTS("{\"seq\": 2, \"epoch\": \"0\", \"event\": \"dropped\"}");
	assert_int_equal(run(cmd_restart, &for_web), CLI_NOT_HEALTHY);
}

/* What the next one does not know it will not come to know, once nothing is under way. */
static void test_orders_next_daemon_that_knows_nothing_is_not_waited_for(void **state)
{
	(void)state;
	batond.answer = ANSWER;
	batond.returns = 100;
	batond.status = "{\"service\": \"web\", \"rollout\": null, \"state\": \"running\"}";
	batond.again = EVENTS("{\"seq\": 51, \"event\": \"done\", \"rollout\": 6, \"exit\": 0}");
	assert_int_equal(run(cmd_restart, &for_web), CLI_ERROR);
	assert_int_equal(batond.looks, 2000 / CLI_RETRY_MS);
	assert_string_equal(
		err.text,
		"web: lost sight of rollout 7 before its end (see \"baton status web\"): batond was started anew, "
		"and does not know how it has ended");
	/* As long as something is under way its end may come. */
	batond.looks = 0;
	batond.returns = 30;
	batond.events = NULL;
	batond.status = "{\"service\": \"web\", \"rollout\": {\"rollout\": 8}}";
	assert_int_equal(run(cmd_restart, &for_web), CLI_UNREACHABLE);
	assert_int_equal(batond.looks, 30);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(test_orders_each_has_its_path_and_no_body),
		TEST(test_orders_follow_from_the_epoch_of_the_answer),
		TEST(test_orders_that_miss_events_look_for_the_end),
		TEST(test_orders_supersede_is_sent_and_the_undone_is_told),
		TEST(test_orders_upgrade_sends_what_is_given),
		TEST(test_orders_upgrade_bad_arguments_are_usage),
		TEST(test_orders_flags_are_sent),
		TEST(test_orders_scale_takes_the_last_argument),
		TEST(test_orders_unchanged_is_said_and_done),
		TEST(test_orders_answer_without_a_rollout_is_the_end),
		TEST(test_orders_no_wait_prints_the_answer_alone),
		TEST(test_orders_refused_or_answered_with_nonsense_fail),
		TEST(test_orders_promote_ends_at_the_next_wait),
		TEST(test_orders_others_go_on_waiting),
		TEST(test_orders_abort_wants_the_rollback),
		TEST(test_orders_lost_sight_is_unreachable),
		TEST(test_orders_next_daemon_tells_the_end),
		TEST(test_orders_next_daemon_that_misses_events_is_asked_for_the_end),
		TEST(test_orders_next_daemon_that_knows_nothing_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
