/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/common/protocol_samples.h"

/* ---- hostile input -------------------------------------------------------------------------- */

static void check_cut(decoder *decode, const char *text, size_t length)
{
	struct error err;

	for (size_t n = 0; n < length; n++)
		assert_int_equal(decode_exactly(decode, text, n, &err), -EBADMSG);
	assert_int_equal(decode_exactly(decode, text, length, &err), 0);
}

static void test_protocol_cut_text_is_refused(void **state)
{
	(void)state;
	for_each_text(check_cut);
}

/* Every bit of every byte; what is still accepted is checked by the decoder's wrapper. */
static void check_flipped_bits(decoder *decode, const char *text, size_t length)
{
	char *copy = malloc(length);
	struct error err;

	assert_non_null(copy);
	memcpy(copy, text, length);
	for (size_t i = 0; i < length; i++) {
		for (int bit = 0; bit < 8; bit++) {
			copy[i] = (char)(text[i] ^ 1 << bit);
			decode_exactly(decode, copy, length, &err);
		}
		copy[i] = text[i];
	}
	free(copy);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

/* Several changes at once, with bytes that mean something to JSON. */
static void check_mangled(decoder *decode, const char *text, size_t length)
{
	static const char bytes[] = "{}[]\",:\\u0019-+.eE tfn\xff\x80\xc3";
	char *copy = malloc(length);
	uint32_t seed = 2463534242;
	struct error err;
	size_t from, to;

	assert_non_null(copy);
	for (int round = 0; round < 1000; round++) {
		memcpy(copy, text, length);
		for (uint32_t n = next_random(&seed) % 4; n > 0; n--)
			copy[next_random(&seed) % length] =
				bytes[next_random(&seed) % sizeof(bytes)];
		/* And a piece from elsewhere in the text. */
		from = next_random(&seed) % length;
		to = next_random(&seed) % length;
		memmove(copy + to, copy + from, (length - (from > to ? from : to)) / 2);
		decode_exactly(decode, copy, length, &err);
	}
	free(copy);
}

static void test_protocol_flipped_bits_never_crash(void **state)
{
	(void)state;
	for_each_text(check_flipped_bits);
}

static void test_protocol_mangled_text_never_crashes(void **state)
{
	(void)state;
	for_each_text(check_mangled);
}

static void test_protocol_deep_nesting_is_refused(void **state)
{
	size_t length = PROTOCOL_SPEC_MAX;
	char *text = malloc(length);
	struct error err;

	(void)state;
	assert_non_null(text);
	memset(text, '[', length);
	assert_int_equal(decode_exactly(try_spec, text, length, &err), -EBADMSG);
	assert_int_equal(decode_exactly(try_report, text, PROTOCOL_MESSAGE_MAX, &err), -EBADMSG);
	free(text);
}

/* ---- without memory ------------------------------------------------------------------------- */

static long allocations_left;

static void *allocate_some(size_t size)
{
	return allocations_left-- > 0 ? malloc(size) : NULL;
}

typedef int work(void);

static int work_encode_spec(void)
{
	struct launch_spec spec = full_spec();
	char *text = NULL;
	size_t length;
	int r = launch_spec_encode(&spec, &text, &length);

	free(text);
	return r;
}

static int work_encode_order(void)
{
	char *text = NULL;
	size_t length;
	int r = order_encode(&orders[2], &text, &length);

	free(text);
	return r;
}

static int work_encode_report(void)
{
	char *text = NULL;
	size_t length;
	int r = report_encode(&reports[0], &text, &length);

	free(text);
	return r;
}

static char *prepared_text;
static size_t prepared_length;

static int work_decode_spec(void)
{
	return try_spec(prepared_text, prepared_length, NULL);
}

static int work_decode_report(void)
{
	return try_report(prepared_text, prepared_length, NULL);
}

/* Fail jansson's first allocation, then its second, and so on until there is none to fail. */
static void check_without_memory(work *run, int other_error)
{
	long n;
	int r = -ENOMEM;

	json_set_alloc_funcs(allocate_some, free);
	for (n = 0; n < 10000 && r != 0; n++) {
		allocations_left = n;
		r = run();
		if (r != 0 && r != -ENOMEM && r != other_error)
			break;
	}
	json_set_alloc_funcs(malloc, free);
	if (r != 0)
		fail_msg("allocation %ld failed: %d", n, r);
	assert_true(n > 5);
}

static void test_protocol_encode_without_memory_is_enomem(void **state)
{
	(void)state;
	check_without_memory(work_encode_spec, -ENOMEM);
	check_without_memory(work_encode_order, -ENOMEM);
	check_without_memory(work_encode_report, -ENOMEM);
}

/* jansson calls a token for which it has no memory an invalid one. */
static void test_protocol_decode_without_memory_fails_cleanly(void **state)
{
	(void)state;
	encoded_spec(&prepared_text, &prepared_length);
	check_without_memory(work_decode_spec, -EBADMSG);
	free(prepared_text);
	assert_int_equal(report_encode(&reports[0], &prepared_text, &prepared_length), 0);
	check_without_memory(work_decode_report, -EBADMSG);
	free(prepared_text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocol_cut_text_is_refused),
		cmocka_unit_test(test_protocol_flipped_bits_never_crash),
		cmocka_unit_test(test_protocol_mangled_text_never_crashes),
		cmocka_unit_test(test_protocol_deep_nesting_is_refused),
		cmocka_unit_test(test_protocol_encode_without_memory_is_enomem),
		cmocka_unit_test(test_protocol_decode_without_memory_fails_cleanly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
