/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keep-alive connections and slow POSTs: what is excused, and what never is.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/bench/hammer_server.h"

#define BODY_BYTES 3000 /* POST says so */

/* ---- keep-alive ----------------------------------------------------------------------------- */

static void test_hammer_keepalive_uses_one_connection(void **state)
{
	(void)state;
	start_server((struct step){.answer = GOOD}, (struct step){.answer = GOOD});
	run(KEEP "--duration 1s ");
	assert_all(OUTCOME_OK);
	assert_true(tally_requests(&tally, KIND_KEEPALIVE) > 5);
	assert_int_equal(tally.connections[KIND_KEEPALIVE], 1);
	assert_int_equal(tally.retried, 0);
}

static void test_hammer_keepalive_honours_connection_close(void **state)
{
	(void)state;
	start_server((struct step){.answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n"
					     "Content-Length: 0\r\n\r\n",
				   .manner = CLOSES},
		     (struct step){0});
	run(KEEP);
	assert_all(OUTCOME_OK);
	assert_int_equal(tally.connections[KIND_KEEPALIVE], tally_requests(&tally, KIND_KEEPALIVE));
	assert_int_equal(tally.retried + tally.idle_closed, 0);
}

static void keepalive_race(enum manner manner)
{
	start_server((struct step){.answer = GOOD}, (struct step){.manner = manner});
	run(KEEP);
	assert_all(OUTCOME_OK);
	assert_true(tally.retried > 0);
	assert_int_equal(tally.connections[KIND_KEEPALIVE], tally.retried + 1);
}

static void test_hammer_keepalive_closed_before_any_byte_is_retried(void **state)
{
	(void)state;
	keepalive_race(CLOSES);
}

static void test_hammer_keepalive_reset_before_any_byte_is_retried(void **state)
{
	(void)state;
	keepalive_race(RESETS);
}

static void test_hammer_keepalive_closed_while_idle_is_seen(void **state)
{
	(void)state;
	start_server((struct step){.answer = GOOD, .manner = CLOSES}, (struct step){0});
	run(KEEP);
	assert_all(OUTCOME_OK);
	assert_true(tally.idle_closed > 0);
}

static void test_hammer_keepalive_first_request_is_not_excused(void **state)
{
	(void)state;
	start_server((struct step){.manner = CLOSES}, (struct step){0});
	run(KEEP);
	assert_all(OUTCOME_CLOSED_EARLY);
	assert_int_equal(tally.retried, 0);
}

/* The second request of each connection got one byte: lost, and nothing retried. */
static void keepalive_cut(enum manner manner, enum outcome outcome)
{
	start_server((struct step){.answer = GOOD}, (struct step){.answer = "H", .manner = manner});
	run(KEEP);
	assert_int_equal(tally.retried, 0);
	assert_true(count(outcome) > 0);
	assert_int_equal(tally_lost(&tally, _KIND_COUNT), count(outcome));
	assert_true(count(OUTCOME_OK) - count(outcome) <= 1);
	assert_int_equal(tally_exit_status(&tally), 1);
}

static void test_hammer_keepalive_closed_after_a_byte_is_lost(void **state)
{
	(void)state;
	keepalive_cut(CLOSES, OUTCOME_CLOSED_EARLY);
}

static void test_hammer_keepalive_reset_after_a_byte_is_lost(void **state)
{
	(void)state;
	keepalive_cut(RESETS, OUTCOME_RESET);
}

/* ---- slow POSTs ----------------------------------------------------------------------------- */

static void test_hammer_slow_post_sends_all_of_it_slowly(void **state)
{
	(void)state;
	start_server((struct step){.answer = GOOD}, (struct step){.answer = GOOD});
	run(POST);
	assert_all(OUTCOME_OK);
	assert_int_equal(server.post_bytes, BODY_BYTES * tally_requests(&tally, KIND_POST));
	assert_int_equal(tally.early_answers, 0);
	/* 20 ms each, one after the other, the last begun before 60 ms */
	assert_in_range(tally_requests(&tally, KIND_POST), 1, 3);
	assert_true(tally.end_us - tally.begin_us >= 20000 * tally_requests(&tally, KIND_POST));
}

static void test_hammer_slow_post_closed_in_the_middle_is_lost(void **state)
{
	(void)state;
	start_server((struct step){.unread = true, .manner = RESETS}, (struct step){0});
	run(POST);
	assert_all(OUTCOME_RESET);
	assert_int_equal(tally.retried, 0);
}

static void test_hammer_slow_post_closed_after_the_body_is_lost(void **state)
{
	(void)state;
	start_server((struct step){.manner = CLOSES}, (struct step){0});
	run(POST);
	assert_all(OUTCOME_CLOSED_EARLY);
}

static void test_hammer_slow_post_early_answer_is_noted(void **state)
{
	(void)state;
	start_server((struct step){.unread = true, .answer = GOOD, .manner = HOLDS},
		     (struct step){0});
	run(POST);
	assert_all(OUTCOME_OK);
	/* Not each: this process may have been asleep for the length of a whole request. */
	assert_in_range(tally.early_answers, 1, tally_requests(&tally, KIND_POST));
}

/* The answer that came before the reset is still read. */
static void test_hammer_slow_post_refusal_before_a_reset_is_read(void **state)
{
	(void)state;
	start_server((struct step){.unread = true,
				   .manner = RESETS,
				   .answer = "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"},
		     (struct step){0});
	run(POST);
	assert_all(OUTCOME_WRONG_STATUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_hammer_keepalive_uses_one_connection),
		TEST(test_hammer_keepalive_honours_connection_close),
		TEST(test_hammer_keepalive_closed_before_any_byte_is_retried),
		TEST(test_hammer_keepalive_reset_before_any_byte_is_retried),
		TEST(test_hammer_keepalive_closed_while_idle_is_seen),
		TEST(test_hammer_keepalive_first_request_is_not_excused),
		TEST(test_hammer_keepalive_closed_after_a_byte_is_lost),
		TEST(test_hammer_keepalive_reset_after_a_byte_is_lost),
		TEST(test_hammer_slow_post_sends_all_of_it_slowly),
		TEST(test_hammer_slow_post_closed_in_the_middle_is_lost),
		TEST(test_hammer_slow_post_closed_after_the_body_is_lost),
		TEST(test_hammer_slow_post_early_answer_is_noted),
		TEST(test_hammer_slow_post_refusal_before_a_reset_is_read),
	};

	return cmocka_run_group_tests(tests, own_network, NULL);
}
