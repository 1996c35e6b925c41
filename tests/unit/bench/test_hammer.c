/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The load generator against a server that misbehaves in one known way: every request must come
 * out as exactly that, and as nothing else.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/summary.h"
#include "common/cleanup.h"
#include "tests/unit/bench/hammer_server.h"

static void test_hammer_good_answers_are_ok(void **state)
{
	(void)state;
	start_server((struct step){.answer = GOOD}, (struct step){.answer = GOOD});
	run(SHORT "--expect-body hello");
	assert_all(OUTCOME_OK);
	assert_int_equal(tally.connections[KIND_SHORT], tally_requests(&tally, KIND_SHORT));
	assert_int_equal(tally.outside.count, tally_requests(&tally, KIND_SHORT));
}

static void test_hammer_answer_until_close_is_ok(void **state)
{
	(void)state;
	start_server((struct step){.answer = "HTTP/1.1 200 OK\r\n\r\nhello", .manner = CLOSES},
		     (struct step){0});
	run(SHORT "--expect-body hello");
	assert_all(OUTCOME_OK);
}

static void test_hammer_refused(void **state)
{
	(void)state;
	run("--short 1 --keepalive 1 --slow-post 1 --idle 1 --duration 60ms");
	assert_all(OUTCOME_REFUSED);
	for (enum kind kind = 0; kind < _KIND_COUNT; kind++)
		assert_true(tally_lost(&tally, kind) > 0);
	assert_int_equal(tally_connections(&tally), 0);
}

static void test_hammer_reset_at_once(void **state)
{
	(void)state;
	start_server((struct step){.unread = true, .manner = RESETS}, (struct step){0});
	run(SHORT);
	assert_all(OUTCOME_RESET);
}

static void test_hammer_reset_in_the_answer(void **state)
{
	(void)state;
	start_server((struct step){.answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel",
				   .manner = RESETS},
		     (struct step){0});
	run(SHORT);
	assert_all(OUTCOME_RESET);
}

static void test_hammer_closed_without_answer(void **state)
{
	(void)state;
	start_server((struct step){.manner = CLOSES}, (struct step){0});
	run(SHORT);
	assert_all(OUTCOME_CLOSED_EARLY);
}

static void test_hammer_closed_in_the_answer(void **state)
{
	(void)state;
	start_server((struct step){.answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel",
				   .manner = CLOSES},
		     (struct step){0});
	run(SHORT);
	assert_all(OUTCOME_CLOSED_EARLY);
}

static void test_hammer_silence_times_out(void **state)
{
	(void)state;
	start_server((struct step){.manner = HOLDS}, (struct step){0});
	run(SHORT "--timeout 20ms");
	assert_all(OUTCOME_TIMED_OUT);
}

static void test_hammer_half_an_answer_times_out(void **state)
{
	(void)state;
	start_server((struct step){.answer = "HTTP/1.1 200 OK\r\n", .manner = HOLDS},
		     (struct step){0});
	run(KEEP "--timeout 20ms");
	assert_all(OUTCOME_TIMED_OUT);
}

static void test_hammer_unfinished_after_the_grace_is_stuck(void **state)
{
	(void)state;
	start_server((struct step){.manner = HOLDS}, (struct step){0});
	run("--short 3 --duration 20ms --timeout 10s --grace 20ms");
	assert_all(OUTCOME_STUCK);
	assert_int_equal(count(OUTCOME_STUCK), 3);
}

static void test_hammer_wrong_status(void **state)
{
	(void)state;
	start_server((struct step){.answer = "HTTP/1.1 500 No\r\nContent-Length: 6\r\n\r\nhello\n"},
		     (struct step){0});
	run(SHORT "--expect-body hello");
	assert_all(OUTCOME_WRONG_STATUS);
}

static void test_hammer_nonsense_is_wrong_status(void **state)
{
	(void)state;
	start_server((struct step){.answer = "SSH-2.0-OpenSSH\r\n", .manner = CLOSES},
		     (struct step){0});
	run(SHORT);
	assert_all(OUTCOME_WRONG_STATUS);
}

static void test_hammer_wrong_body(void **state)
{
	(void)state;
	start_server((struct step){.answer = GOOD}, (struct step){.answer = GOOD});
	run(SHORT "--expect-body hell");
	assert_all(OUTCOME_WRONG_BODY);
}

static void test_hammer_surplus_is_wrong_body(void **state)
{
	(void)state;
	start_server((struct step){.answer = GOOD "more"}, (struct step){0});
	run(SHORT);
	assert_all(OUTCOME_WRONG_BODY);
}

/* A multicast address has no TCP. */
static void test_hammer_other_errors_are_lost_with_their_number(void **state)
{
	(void)state;
	run_at("224.0.0.1:80", SHORT);
	assert_all(OUTCOME_OTHER);
	assert_int_equal(tally.n_errnos, 1);
	assert_int_equal(tally.errnos[0].code, ENETUNREACH);
	assert_int_equal(tally.errnos[0].count, count(OUTCOME_OTHER));
}

static void test_hammer_want_of_descriptors_is_its_own_fault(void **state)
{
	struct rlimit before, none;
	int next = dup(0);

	(void)state;
	/* The three of the loop and its thread fit, no connection does. */
	assert_true(next > 0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = (rlim_t)next + 3, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	run("--short 1 --duration 60ms");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_all(OUTCOME_CLIENT_ERROR);
	assert_int_equal(tally.errnos[0].code, EMFILE);
}

/* ---- idle clients, commands, output --------------------------------------------------------- */

static void test_hammer_idle_clients_stay_silent(void **state)
{
	(void)state;
	start_server((struct step){.unread = true, .manner = HOLDS}, (struct step){0});
	run("--short 0 --idle 5 --duration 60ms");
	assert_int_equal(tally_requests(&tally, _KIND_COUNT), 0);
	assert_int_equal(tally.connections[KIND_IDLE], 5);
	assert_int_equal(tally.silent_open, 5);
	assert_int_equal(tally_exit_status(&tally), 0);
}

static void test_hammer_idle_clients_notice_their_end(void **state)
{
	(void)state;
	start_server((struct step){.unread = true, .manner = RESETS}, (struct step){0});
	run("--short 0 --idle 2 --duration 60ms");
	assert_int_equal(tally_lost(&tally, _KIND_COUNT), 0);
	assert_int_equal(tally.silent_reset, tally.connections[KIND_IDLE]);
	assert_true(tally.silent_reset >= 2);
	assert_int_equal(tally.silent_open, 0);
}

static void test_hammer_end_of_commands_means_nothing(void **state)
{
	(void)state;
	start_server((struct step){.answer = GOOD}, (struct step){0});
	close(commands[1]);
	commands[1] = -1;
	run(SHORT);
	assert_true(tally.end_us - tally.begin_us >= 60000);
	assert_all(OUTCOME_OK);
}

static void test_hammer_unknown_commands_are_counted(void **state)
{
	char line[600];

	(void)state;
	start_server((struct step){.answer = GOOD}, (struct step){0});
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 2] = '\n';
	line[sizeof(line) - 1] = '\0';
	say("nonsense\n\nphase\nphase \nstop now\nswap end\n");
	say(line);
	run(SHORT);
	assert_int_equal(tally.commands_refused, 7);
	assert_int_equal(tally.n_phases, 1);
}

static off_t reported(void)
{
	struct stat st;

	assert_int_equal(fstat(fileno(output), &st), 0);
	return st.st_size;
}

/* Say it, and wait until it has taken effect: what "report" prints comes after it. */
static void say_and_wait(const char *text)
{
	off_t before = reported();

	say(text);
	say("report\n");
	for (int i = 0; reported() == before && i < 2000; i++)
		poll(NULL, 0, 10);
	assert_true(reported() > before);
}

/* The server changes its answer, then says so: whoever connects after that gets the new one. */
static void change_after_ten(unsigned number)
{
	if (number == 10) {
		server.steps[0].answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew";
		say_and_wait("phase after\n");
	} else if (number == 40) {
		say("stop\n");
	}
}

static void test_hammer_phases_tell_old_answers_from_new(void **state)
{
	(void)state;
	server.before = change_after_ten;
	start_server((struct step){.answer = GOOD}, (struct step){0});
	output = tmpfile();
	run("--short 1 --duration 20s");
	fclose(TAKE_PTR(output));
	assert_all(OUTCOME_OK);
	assert_int_equal(tally.n_phases, 2);
	assert_string_equal(tally.phases[1].name, "after");
	assert_int_equal(tally.phases[1].n_bodies, 1);
	assert_memory_equal(tally.phases[1].bodies[0].text, "new", 3);
	assert_true(tally.phases[1].connections >= 20);
	assert_int_equal(tally.phases[1].bodies[0].count, tally.phases[1].connections);
	assert_memory_equal(tally.phases[0].bodies[0].text, "hello", 5);
	assert_int_equal(tally.phases[0].bodies[0].count, 10);
}

static void swap_after_five(unsigned number)
{
	if (number == 5)
		say_and_wait("swap begin\n");
	else if (number == 15)
		say_and_wait("swap end\n");
	else if (number == 30)
		say("stop\n");
}

static uint64_t field(json_t *object, const char *name)
{
	json_t *value = json_object_get(object, name);

	if (!json_is_integer(value))
		fail_msg("no number \"%s\"", name);
	return (uint64_t)json_integer_value(value);
}

static void test_hammer_report_and_summary_are_json(void **state)
{
	json_t *interim, *final, *inside;
	char text[65536];

	(void)state;
	server.before = swap_after_five;
	start_server((struct step){.answer = GOOD}, (struct step){0});
	output = tmpfile();
	run("--short 1 --duration 20s");
	assert_int_equal(summary_json(&tally, &settings, 0, false, output), 0);
	rewind(output);
	/* At the swap's begin, at its end, and at the load's. */
	assert_non_null(fgets(text, sizeof(text), output));
	assert_non_null(fgets(text, sizeof(text), output));
	interim = json_loads(text, 0, NULL);
	assert_non_null(fgets(text, sizeof(text), output));
	final = json_loads(text, 0, NULL);
	fclose(TAKE_PTR(output));
	assert_non_null(interim);
	assert_non_null(final);
	assert_true(json_is_true(json_object_get(interim, "interim")));
	assert_true(json_is_false(json_object_get(final, "interim")));
	assert_true(field(interim, "requests") < field(final, "requests"));
	assert_int_equal(field(final, "requests"), tally_requests(&tally, _KIND_COUNT));
	assert_int_equal(field(final, "ok"), field(final, "requests"));
	assert_int_equal(field(final, "lost"), 0);
	assert_int_equal(field(json_object_get(final, "losses"), "closed_early"), 0);
	assert_int_equal(field(final, "in_flight"), 0);
	inside = json_object_get(json_object_get(final, "latency_us"), "inside");
	assert_in_range(field(inside, "count"), 9, 12);
	assert_true(field(inside, "p50") <= field(inside, "max"));
	assert_int_equal(json_array_size(json_object_get(final, "swaps")), 1);
	json_decref(interim);
	json_decref(final);
}

static void test_hammer_table_names_every_loss(void **state)
{
	cleanup_free char *text = NULL;
	size_t size;
	FILE *table = open_memstream(&text, &size);

	(void)state;
	run(SHORT);
	assert_int_equal(summary_table(&tally, &settings, table), 0);
	fclose(table);
	for (enum outcome outcome = OUTCOME_REFUSED; outcome <= OUTCOME_OTHER; outcome++)
		assert_non_null(strstr(text, outcome_name(outcome)));
	assert_non_null(strstr(text, "such as:"));
	assert_non_null(strstr(text, "ECONNREFUSED"));
}

/* ---- several threads ------------------------------------------------------------------------ */

static void test_hammer_threads_share_the_clients(void **state)
{
	(void)state;
	start_server((struct step){.unread = true, .manner = HOLDS}, (struct step){0});
	run("--short 0 --idle 5 --duration 60ms --threads 3");
	assert_int_equal(tally.connections[KIND_IDLE], 5);
	assert_int_equal(tally.silent_open, 5);
}

static void test_hammer_threads_are_counted_together(void **state)
{
	(void)state;
	server.before = change_after_ten;
	start_server((struct step){.answer = GOOD}, (struct step){0});
	output = tmpfile();
	run("--short 4 --duration 20s --threads 3");
	fclose(TAKE_PTR(output));
	assert_all(OUTCOME_OK);
	assert_int_equal(tally.n_phases, 2);
	assert_int_equal(tally.phases[0].connections + tally.phases[1].connections,
			 tally_requests(&tally, _KIND_COUNT));
	assert_int_equal(tally.phases[1].n_bodies, 1);
	assert_memory_equal(tally.phases[1].bodies[0].text, "new", 3);
	assert_int_equal(tally.outside.count, tally_requests(&tally, _KIND_COUNT));
}

static void test_hammer_threads_keep_the_rate_together(void **state)
{
	(void)state;
	start_server((struct step){.answer = GOOD}, (struct step){0});
	run("--short 2 --duration 500ms --rate 100 --threads 4");
	assert_all(OUTCOME_OK);
	/* One more than in the duration, by each of two: those at its very beginning. */
	assert_in_range(tally_requests(&tally, _KIND_COUNT), 2, 52);
}

static void test_hammer_threads_without_clients_just_end(void **state)
{
	(void)state;
	start_server((struct step){.answer = GOOD}, (struct step){0});
	run("--short 1 --duration 100ms --threads 8");
	assert_all(OUTCOME_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_hammer_good_answers_are_ok),
		TEST(test_hammer_answer_until_close_is_ok),
		TEST(test_hammer_refused),
		TEST(test_hammer_reset_at_once),
		TEST(test_hammer_reset_in_the_answer),
		TEST(test_hammer_closed_without_answer),
		TEST(test_hammer_closed_in_the_answer),
		TEST(test_hammer_silence_times_out),
		TEST(test_hammer_half_an_answer_times_out),
		TEST(test_hammer_unfinished_after_the_grace_is_stuck),
		TEST(test_hammer_wrong_status),
		TEST(test_hammer_nonsense_is_wrong_status),
		TEST(test_hammer_wrong_body),
		TEST(test_hammer_surplus_is_wrong_body),
		TEST(test_hammer_other_errors_are_lost_with_their_number),
		TEST(test_hammer_want_of_descriptors_is_its_own_fault),
		TEST(test_hammer_idle_clients_stay_silent),
		TEST(test_hammer_idle_clients_notice_their_end),
		TEST(test_hammer_end_of_commands_means_nothing),
		TEST(test_hammer_unknown_commands_are_counted),
		TEST(test_hammer_phases_tell_old_answers_from_new),
		TEST(test_hammer_report_and_summary_are_json),
		TEST(test_hammer_table_names_every_loss),
		TEST(test_hammer_threads_share_the_clients),
		TEST(test_hammer_threads_are_counted_together),
		TEST(test_hammer_threads_keep_the_rate_together),
		TEST(test_hammer_threads_without_clients_just_end),
	};

	return cmocka_run_group_tests(tests, own_network, NULL);
}
