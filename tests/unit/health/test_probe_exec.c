/* SPDX-License-Identifier: BSD-2-Clause */
/* Checks by a command: whose turn it is, and what their ends mean. Commands are played. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>

#include "common/clock.h"
#include "orchestrator/health/probe_exec.h"
#include "tests/unit/fakes/fake_command.h"

#define DEADLINE_MS 30000
#define MANY        (PROBE_EXEC_MAX + 5)

static sd_event *loop;
static struct probe_exec_room room;
static struct health_config health = {.kind = HEALTH_KIND_EXEC, .timeout_ms = 1234};
static char *argv[] = {(char *)"/opt/ask", (char *)"it", NULL};
static struct error err;
static int begin_error;
static unsigned begun, ended;

/* One that waits for an answer. */
struct asker {
	struct probe_exec *probe;
	unsigned answers;
	struct probe_result result;
	bool again; /* ask once more when the answer comes */
};
static struct asker askers[MANY];

static int begin(void *userdata, const struct health_config *asked, struct command_spec *ret,
		 void **ret_state, struct error *why)
{
	assert_ptr_equal(userdata, &askers);
	assert_ptr_equal(asked, &health);
	if (begin_error)
		return error_set(why, begin_error, "no port");
	begun++;
	*ret = (struct command_spec){.argv = argv, .directory = "/"};
	*ret_state = &begun;
	return 0;
}

static void end(void *state)
{
	assert_ptr_equal(state, &begun);
	ended++;
}

static const struct probe_exec_host host = {.begin = begin, .end = end};

static void ask(struct asker *asker);

static void on_done(void *userdata, const struct probe_result *result)
{
	struct asker *asker = userdata;

	asker->probe = NULL;
	asker->answers++;
	asker->result = *result;
	if (asker->again)
		ask(asker);
}

static void ask(struct asker *asker)
{
	assert_int_equal(probe_exec_start(loop, &room, &host, &askers, &health, on_done, asker,
					  &asker->probe, &err),
			 0);
}

static int set_up(void **state)
{
	(void)state;
	memset(askers, 0, sizeof(askers));
	room = (struct probe_exec_room){0};
	begin_error = 0;
	begun = ended = 0;
	return sd_event_new(&loop);
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t k = 0; k < MANY; k++)
		probe_exec_cancel(TAKE_PTR(askers[k].probe));
	assert_int_equal(begun, ended);
	assert_int_equal(room.running, 0);
	assert_null(room.first);
	fake_commands_reset();
	forget_calls();
	loop = sd_event_unref(loop);
	return 0;
}

/* Until nothing happens any more. */
static void settle(void)
{
	while (sd_event_run(loop, 0) > 0)
		;
}

static void check_answer(size_t k, bool ok, bool unasked, const char *text)
{
	assert_int_equal(askers[k].answers, 1);
	assert_int_equal(askers[k].result.ok, ok);
	assert_int_equal(askers[k].result.unasked, unasked);
	assert_string_equal(askers[k].result.text, text);
}

static void test_probe_exec_status_0_is_good(void **state)
{
	(void)state;
	ask(&askers[0]);
	assert_int_equal(n_fake_commands, 0); /* the loop's turn, not the caller's */
	settle();
	assert_int_equal(n_fake_commands, 1);
	assert_int_equal(fake_commands[0].spec.timeout_ms, 1234);
	fake_command_end(0, 0, "exited with status 0: PONG");
	check_answer(0, true, false, "ask: exited with status 0: PONG");
	assert_int_equal(ended, 1);
}

static void test_probe_exec_other_ends_are_bad(void **state)
{
	struct command_result results[] = {
		{.exit_code = 1, .text = "exited with status 1"},
		{.exit_signal = SIGSEGV, .text = "was killed by SIGSEGV"},
		{.timed_out = true, .exit_signal = SIGKILL, .text = "did not end within 1s"},
	};

	(void)state;
	for (size_t k = 0; k < 3; k++) {
		char text[64];

		ask(&askers[k]);
		settle();
		fake_commands[k].alive = false;
		fake_commands[k].on_done(fake_commands[k].userdata, &results[k]);
		snprintf(text, sizeof(text), "ask: %s", results[k].text);
		check_answer(k, false, false, text);
	}
}

/* Whatever keeps the command from running says nothing of the server. */
static void test_probe_exec_that_cannot_run_is_unasked(void **state)
{
	struct command_result result = {
		.exit_code = 127, .start_error = -ENOENT, .text = "exec /opt/ask: No such file"};

	(void)state;
	begin_error = -EADDRNOTAVAIL;
	ask(&askers[0]);
	settle();
	check_answer(0, false, true, "not asked: no port: Cannot assign requested address");
	assert_int_equal(ended, 0);

	begin_error = 0;
	fake_command_error = -EAGAIN;
	ask(&askers[1]);
	settle();
	check_answer(1, false, true,
		     "not asked: ask: exec /opt/ask: Resource temporarily unavailable");
	assert_int_equal(ended, 1);

	fake_command_error = 0;
	ask(&askers[2]);
	settle();
	fake_commands[0].alive = false;
	fake_commands[0].on_done(fake_commands[0].userdata, &result);
	check_answer(2, false, true, "not asked: ask: exec /opt/ask: No such file");
}

static void test_probe_exec_many_take_turns(void **state)
{
	(void)state;
	for (size_t k = 0; k < MANY; k++)
		ask(&askers[k]);
	settle();
	assert_int_equal(fake_commands_alive(), PROBE_EXEC_MAX);
	/* One that waits goes; the next in the row gets its turn. */
	probe_exec_cancel(TAKE_PTR(askers[PROBE_EXEC_MAX].probe));
	fake_command_end(3, 0, "exited with status 0");
	settle();
	assert_int_equal(fake_commands_alive(), PROBE_EXEC_MAX);
	assert_ptr_equal(fake_commands[PROBE_EXEC_MAX].userdata, askers[PROBE_EXEC_MAX + 1].probe);
	/* One that runs goes. */
	probe_exec_cancel(TAKE_PTR(askers[0].probe));
	settle();
	assert_int_equal(fake_commands_alive(), PROBE_EXEC_MAX);
	assert_ptr_equal(fake_commands[PROBE_EXEC_MAX + 1].userdata,
			 askers[PROBE_EXEC_MAX + 2].probe);
}

static void test_probe_exec_may_be_asked_anew_from_its_answer(void **state)
{
	(void)state;
	askers[0].again = true;
	ask(&askers[0]);
	for (size_t k = 0; k < 5; k++) {
		settle();
		fake_command_end(k, 0, "exited with status 0");
	}
	assert_int_equal(askers[0].answers, 5);
}

#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_probe_exec_status_0_is_good),
		TEST(test_probe_exec_other_ends_are_bad),
		TEST(test_probe_exec_that_cannot_run_is_unasked),
		TEST(test_probe_exec_many_take_turns),
		TEST(test_probe_exec_may_be_asked_anew_from_its_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
