/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/reply.h"

#define OK "HTTP/1.1 200 OK\r\n"

static struct reply a;

/* Feed @text at once. */
static int feed(const char *text, size_t *ret_used)
{
	reply_begin(&a);
	return reply_feed(&a, text, strlen(text), ret_used);
}

static int feed_whole(const char *text)
{
	size_t used;
	int r = feed(text, &used);

	if (r == 1)
		assert_int_equal(used, strlen(text));
	return r;
}

static void assert_body(const char *body)
{
	assert_int_equal(a.body_length, strlen(body));
	assert_int_equal(a.body_kept, strlen(body));
	assert_memory_equal(a.body, body, strlen(body));
}

static void test_reply_content_length_is_counted(void **state)
{
	(void)state;
	assert_int_equal(feed_whole(OK "Content-Length: 5\r\n\r\nhello"), 1);
	assert_int_equal(a.status, 200);
	assert_true(a.keep_alive);
	assert_body("hello");
}

static void test_reply_chunked_is_put_together(void **state)
{
	(void)state;
	assert_int_equal(feed_whole(OK
				    "Transfer-Encoding: gzip, Chunked\r\nContent-Length: 1\r\n\r\n"
				    "5\r\nhello\r\nB;x=\"y\"\r\n, my world!\r\n0\r\n"
				    "Trailer: x\r\n\r\n"),
			 1);
	assert_body("hello, my world!");
	assert_true(a.keep_alive);
}

static void test_reply_until_the_end_needs_the_end(void **state)
{
	(void)state;
	assert_int_equal(feed_whole(OK "\r\nhello"), 0);
	assert_int_equal(reply_end(&a), 1);
	assert_body("hello");
	assert_false(a.keep_alive);
}

/* A coding that does not end in chunked lasts until the end, whatever Content-Length says. */
static void test_reply_unknown_coding_lasts_until_the_end(void **state)
{
	(void)state;
	assert_int_equal(feed_whole(OK "Content-Length: 2\r\nTransfer-Encoding: gzip\r\n\r\nhello"),
			 0);
	assert_int_equal(reply_end(&a), 1);
	assert_body("hello");
}

static void test_reply_without_body_is_done_at_once(void **state)
{
	(void)state;
	assert_int_equal(feed_whole("HTTP/1.1 204 No Content\r\n\r\n"), 1);
	assert_int_equal(feed_whole("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), 1);
	assert_int_equal(feed_whole(OK "Content-Length: 0\r\n\r\n"), 1);
	assert_int_equal(feed_whole("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), 1);
	assert_int_equal(feed_whole("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), 1);
	assert_int_equal(a.status, 101);
	assert_false(a.keep_alive);
}

static void test_reply_interim_answers_are_skipped(void **state)
{
	(void)state;
	assert_int_equal(feed_whole("HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n"
				    "HTTP/1.1 103 Early\r\nContent-Length: 7\r\n\r\n"
				    "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"),
			 1);
	assert_int_equal(a.status, 201);
	assert_true(a.keep_alive);
	assert_body("ok");
}

static void test_reply_connection_header_decides_keep_alive(void **state)
{
	(void)state;
	assert_int_equal(feed_whole(OK "Connection: x, CLOSE\r\nContent-Length: 0\r\n\r\n"), 1);
	assert_false(a.keep_alive);
	assert_int_equal(feed_whole("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"), 1);
	assert_false(a.keep_alive);
	assert_int_equal(
		feed_whole("HTTP/1.0 200 OK\r\nconnection:Keep-Alive\r\nContent-Length: 0\r\n\r\n"),
		1);
	assert_true(a.keep_alive);
	assert_int_equal(feed_whole(OK "Connection: closed\r\nContent-Length: 0\r\n\r\n"), 1);
	assert_true(a.keep_alive);
}

static void test_reply_surplus_is_not_used(void **state)
{
	const char *text = OK "Content-Length: 2\r\n\r\nokHTTP";
	size_t used;

	(void)state;
	assert_int_equal(feed(text, &used), 1);
	assert_int_equal(used, strlen(text) - 4);
	assert_int_equal(reply_feed(&a, "x", 1, &used), 1);
	assert_int_equal(used, 0);
}

static void test_reply_bare_line_feeds_are_accepted(void **state)
{
	(void)state;
	assert_int_equal(feed_whole("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"), 1);
	assert_body("ok");
}

static void test_reply_cut_anywhere_is_not_whole(void **state)
{
	static const char *const texts[] = {
		OK "Content-Length: 5\r\n\r\nhello",
		OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (size_t length = 0; length < strlen(texts[i]); length++) {
			size_t used;

			reply_begin(&a);
			assert_int_equal(reply_feed(&a, texts[i], length, &used), 0);
			assert_int_equal(used, length);
			assert_int_equal(a.received, length);
			assert_int_equal(reply_end(&a), -ENODATA);
		}
	}
}

static void test_reply_in_any_pieces_is_the_same(void **state)
{
	static const char text[] =
		"HTTP/1.1 100 Continue\r\n\r\n" OK "Transfer-Encoding: chunked\r\n\r\n"
		"5\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n";

	(void)state;
	for (size_t size = 1; size < sizeof(text); size++) {
		int r = 0;

		reply_begin(&a);
		for (size_t at = 0; at < strlen(text); at += size) {
			size_t n = strlen(text) - at < size ? strlen(text) - at : size;
			size_t used;

			assert_int_equal(r, 0);
			r = reply_feed(&a, text + at, n, &used);
			assert_int_equal(used, n);
		}
		assert_int_equal(r, 1);
		assert_body("hello!");
	}
}

static void test_reply_nonsense_is_refused(void **state)
{
	static const char *const texts[] = {
		"hello\r\n",
		"HTTP/2 200 OK\r\n",
		"HTTP/1.1 20 OK\r\n",
		"HTTP/1.1 2000 OK\r\n",
		"HTTP/1.1 099 OK\r\n",
		"HTTP/1.1  200 OK\r\n",
		"\r\n",
		OK "no colon\r\n",
		OK ": no name\r\n",
		OK "Content-Length : 5\r\n",
		OK "A: b\r\n folded\r\n",
		OK "Content-Length: \r\n",
		OK "Content-Length: -1\r\n",
		OK "Content-Length: 5x\r\n",
		OK "Content-Length: 99999999999999999999999\r\n",
		OK "Content-Length: 5\r\nContent-Length: 6\r\n",
		OK "Transfer-Encoding: chunked\r\n\r\n\r\n",
		OK "Transfer-Encoding: chunked\r\n\r\nx\r\n",
		OK "Transfer-Encoding: chunked\r\n\r\n5g\r\n",
		OK "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
		OK "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		size_t used;

		if (feed_whole(texts[i]) != -EBADMSG)
			fail_msg("accepted: %s", texts[i]);
		assert_int_equal(reply_feed(&a, "x", 1, &used), -EBADMSG);
		assert_int_equal(reply_end(&a), -ENODATA);
	}
}

static void test_reply_equal_lengths_twice_are_accepted(void **state)
{
	(void)state;
	assert_int_equal(feed_whole(OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"), 1);
}

/* Only lines that matter must fit; the bound of the head holds for all of them together. */
static void test_reply_long_lines_are_bounded(void **state)
{
	static char text[2 * REPLY_HEAD_MAX];
	size_t used, n;

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, OK "Cookie: ", strlen(OK "Cookie: "));
	memcpy(text + 1000, "\r\nContent-Length: 0\r\n\r\n", 24);
	reply_begin(&a);
	assert_int_equal(reply_feed(&a, text, 1000 + 23, &used), 1);

	memset(text, 'x', sizeof(text));
	memcpy(text, OK "Connection: ", strlen(OK "Connection: "));
	text[1000] = '\n';
	reply_begin(&a);
	assert_int_equal(reply_feed(&a, text, 1001, &used), -EBADMSG);

	memset(text, 'x', sizeof(text));
	n = strlen(OK "Cookie: ");
	memcpy(text, OK "Cookie: ", n);
	reply_begin(&a);
	assert_int_equal(reply_feed(&a, text, REPLY_HEAD_MAX, &used), 0);
	assert_int_equal(reply_feed(&a, text, REPLY_HEAD_MAX, &used), -EBADMSG);
}

static void test_reply_long_body_is_counted_but_not_kept(void **state)
{
	static char body[10000];
	size_t used;

	(void)state;
	memset(body, 'b', sizeof(body));
	reply_begin(&a);
	assert_int_equal(reply_feed(&a, OK "Content-Length: 20000\r\n\r\n",
				    strlen(OK "Content-Length: 20000\r\n\r\n"), &used),
			 0);
	assert_int_equal(reply_feed(&a, body, sizeof(body), &used), 0);
	assert_int_equal(reply_feed(&a, body, sizeof(body), &used), 1);
	assert_int_equal(a.body_length, 20000);
	assert_int_equal(a.body_kept, REPLY_BODY_KEPT);
}

static void test_reply_begin_forgets_the_last_one(void **state)
{
	(void)state;
	assert_int_equal(feed_whole("HTTP/1.0 500 No\r\nContent-Length: 2\r\n\r\nno"), 1);
	assert_int_equal(feed_whole(OK "Content-Length: 0\r\n\r\n"), 1);
	assert_int_equal(a.status, 200);
	assert_true(a.keep_alive);
	assert_body("");
}

/* Whatever comes, the parser stays in its bounds (the sanitizers watch) and counts right. */
static void test_reply_random_bytes_do_no_harm(void **state)
{
	static const char alphabet[] =
		"HTTP/1.1 200 OK\r\nContent-Length:5Transfer-Encoding chunked;0aF,";

	(void)state;
	srand(7);
	for (unsigned round = 0; round < 20000; round++) {
		char text[200] = OK "Transfer-Encoding: chunked\r\n\r\n";
		size_t start = (size_t)rand() % strlen(text), used;

		for (size_t i = start; i < sizeof(text); i++)
			text[i] = rand() % 50 ? alphabet[(size_t)rand() % strlen(alphabet)]
					      : (char)rand();
		reply_begin(&a);
		(void)reply_feed(&a, text, sizeof(text), &used);
		assert_true(used <= sizeof(text));
		assert_int_equal(a.received, used);
		assert_true(a.body_kept <= a.body_length);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reply_content_length_is_counted),
		cmocka_unit_test(test_reply_chunked_is_put_together),
		cmocka_unit_test(test_reply_until_the_end_needs_the_end),
		cmocka_unit_test(test_reply_unknown_coding_lasts_until_the_end),
		cmocka_unit_test(test_reply_without_body_is_done_at_once),
		cmocka_unit_test(test_reply_interim_answers_are_skipped),
		cmocka_unit_test(test_reply_connection_header_decides_keep_alive),
		cmocka_unit_test(test_reply_surplus_is_not_used),
		cmocka_unit_test(test_reply_bare_line_feeds_are_accepted),
		cmocka_unit_test(test_reply_cut_anywhere_is_not_whole),
		cmocka_unit_test(test_reply_in_any_pieces_is_the_same),
		cmocka_unit_test(test_reply_nonsense_is_refused),
		cmocka_unit_test(test_reply_equal_lengths_twice_are_accepted),
		cmocka_unit_test(test_reply_long_lines_are_bounded),
		cmocka_unit_test(test_reply_long_body_is_counted_but_not_kept),
		cmocka_unit_test(test_reply_begin_forgets_the_last_one),
		cmocka_unit_test(test_reply_random_bytes_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
