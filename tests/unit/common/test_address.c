/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "common/address.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct address parsed(const char *text)
{
	struct address address;
	struct error err;

	if (address_parse(text, &address, &err) != 0)
		fail_msg("%s", err.text);
	return address;
}

static void test_address_parse_valid_gives_canonical_text(void **state)
{
	static const struct {
		const char *text, *canonical;
	} cases[] = {
		{"127.0.0.1:8080", "127.0.0.1:8080"},
		{"0.0.0.0:1", "0.0.0.0:1"},
		{"255.255.255.254:65535", "255.255.255.254:65535"},
		{"[::1]:8080", "[::1]:8080"},
		{"[::]:8080", "[::]:8080"},
		{"[0:0:0:0:0:0:0:0]:8080", "[::]:8080"},
		{"[2001:DB8:0::0001]:443", "[2001:db8::1]:443"},
		{"[2001:db8:1111:2222:3333:4444:5555:6666]:65535",
		 "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"},
		{"[64:ff9b::1.2.3.4]:80", "[64:ff9b::102:304]:80"},
		{"[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80"},
		{"[::FFFF:7f00:1]:80", "[::ffff:127.0.0.1]:80"},
		{"[0:0:0:0:0:ffff:0:0]:80", "[::ffff:0.0.0.0]:80"},
		{":8080", ":8080"},
		{":1", ":1"},
		{":65535", ":65535"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_string_equal(parsed(cases[i].text).text, cases[i].canonical);
		assert_string_equal(parsed(cases[i].canonical).text, cases[i].canonical);
	}
}

static void test_address_parse_ipv4_fills_the_sockaddr(void **state)
{
	struct address address = parsed("192.0.2.7:8080");

	(void)state;
	assert_int_equal(address.sa.sa_family, AF_INET);
	assert_int_equal(address.length, sizeof(struct sockaddr_in));
	assert_int_equal(ntohs(address.in.sin_port), 8080);
	assert_int_equal(ntohl(address.in.sin_addr.s_addr), 0xc0000207);
	assert_false(address.dual_stack);
	assert_int_equal(address_port(&address), 8080);
}

static void test_address_parse_ipv6_fills_the_sockaddr(void **state)
{
	struct address address = parsed("[::1]:65535");

	(void)state;
	assert_int_equal(address.sa.sa_family, AF_INET6);
	assert_int_equal(address.length, sizeof(struct sockaddr_in6));
	assert_memory_equal(&address.in6.sin6_addr, &in6addr_loopback, 16);
	assert_int_equal(address.in6.sin6_scope_id, 0);
	assert_false(address.dual_stack);
	assert_int_equal(address_port(&address), 65535);
}

static void test_address_parse_port_alone_is_dual_stack(void **state)
{
	struct address address = parsed(":8080");

	(void)state;
	assert_int_equal(address.sa.sa_family, AF_INET6);
	assert_memory_equal(&address.in6.sin6_addr, &in6addr_any, 16);
	assert_true(address.dual_stack);
	assert_int_equal(address_port(&address), 8080);
}

static void test_address_parse_invalid_is_refused_with_the_reason(void **state)
{
	static const struct {
		const char *text, *reason;
	} cases[] = {
		{"", "no port"},
		{"8080", "no port"},
		{"127.0.0.1", "no port"},
		{":", "no port after the colon"},
		{"127.0.0.1:", "no port after the colon"},
		{"[::1]:", "no port after the colon"},
		{"[::1]", "no port after the closing bracket"},
		{"[::1]8080", "no port after the closing bracket"},
		{"[::1] :8080", "no port after the closing bracket"},
		{"[::1:8080", "no closing bracket"},
		{"localhost:80", "host names are refused"},
		{"*:80", "host names are refused"},
		{"http://1.2.3.4:80", "IPv6 address must be in brackets"},
		{"::1:80", "in brackets"},
		{":::80", "in brackets"},
		{"[127.0.0.1]:80", "not an IPv6 address"},
		{"[]:80", "not an IPv6 address"},
		{"[::g]:80", "not an IPv6 address"},
		{"[ ::1]:80", "not an IPv6 address"},
		{"[[::1]]:80", "no port after the closing bracket"},
		{"[1:2:3:4:5:6:7:8:9]:80", "not an IPv6 address"},
		{"[fe80::1%lo]:80", "scope"},
		{"[::1%1]:80", "scope"},
		{"[fe80::1]:80", "link-local"},
		{"1.2.3:80", "not an IP address"},
		{"1.2.3.4.5:80", "not an IP address"},
		{"1.2.3.256:80", "not an IP address"},
		{"01.2.3.4:80", "not an IP address"},
		{"0x7f.0.0.1:80", "not an IP address"},
		{"2130706433:80", "not an IP address"},
		{" 1.2.3.4:80", "not an IP address"},
		{"1.2.3.4 :80", "not an IP address"},
		{"1.2.3.4%lo:80", "not an IP address"},
		{"1.2.3.4: 80", "from 1 to 65535"},
		{"1.2.3.4:80 ", "from 1 to 65535"},
		{"1.2.3.4:80\n", "from 1 to 65535"},
		{"1.2.3.4:0", "from 1 to 65535"},
		{":0", "from 1 to 65535"},
		{":65536", "from 1 to 65535"},
		{":99999", "from 1 to 65535"},
		{":100000", "from 1 to 65535"},
		{":4294967376", "from 1 to 65535"},
		{":080", "from 1 to 65535"},
		{":+80", "from 1 to 65535"},
		{":-1", "from 1 to 65535"},
		{":http", "from 1 to 65535"},
		{":80a", "from 1 to 65535"},
		{":0x50", "from 1 to 65535"},
		{"11111111111111111111111111111111111111111111111111111:80", "too long"},
		{"[11111111111111111111111111111111111111111111111111111]:80", "too long"},
	};
	struct address address, before;
	struct error err;

	(void)state;
	memset(&before, 0x5a, sizeof(before));
	address = before;
	for (size_t i = 0; i < COUNT(cases); i++) {
		strcpy(err.text, "");
		if (address_parse(cases[i].text, &address, &err) != -EINVAL)
			fail_msg("\"%s\" was not refused", cases[i].text);
		if (!strstr(err.text, cases[i].reason) || !strstr(err.text, cases[i].text))
			fail_msg("\"%s\": the reason was: %s", cases[i].text, err.text);
		assert_int_equal(address_parse(cases[i].text, &address, NULL), -EINVAL);
	}
	assert_memory_equal(&address, &before, sizeof(address));
}

static void test_address_parse_very_long_text_is_refused(void **state)
{
	char text[4096];
	struct address address;
	struct error err;

	(void)state;
	memset(text, '1', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(address_parse(text, &address, &err), -EINVAL);
	text[0] = '[';
	assert_int_equal(address_parse(text, &address, &err), -EINVAL);
	text[0] = ':';
	assert_int_equal(address_parse(text, &address, &err), -EINVAL);
	text[2000] = ':';
	assert_int_equal(address_parse(text, &address, &err), -EINVAL);
}

/* Every pair: are they equal, do they overlap, do their keys differ? */
static void test_address_pairs_are_compared(void **state)
{
	static const char *const texts[] = {
		"127.0.0.1:80",
		"127.0.0.2:80",
		"0.0.0.0:80",
		"[::1]:80",
		"[::2]:80",
		"[::]:80",
		":80",
		"0.0.0.0:81",
		"[::]:81",
		":81",
		"[::ffff:127.0.0.1]:80",
		"[::ffff:0.0.0.0]:80",
	};
	/* clang-format off */
	static const bool overlap[COUNT(texts)][COUNT(texts)] = {
		/*		   .1 .2 v4 ::1 ::2 v6 any  81: v4 v6 any  mapped: .1 v4 */
		/* 127.0.0.1 */	 { 1, 0, 1, 0,  0,  0, 1,       0, 0, 0,           1, 1 },
		/* 127.0.0.2 */	 { 0, 1, 1, 0,  0,  0, 1,       0, 0, 0,           0, 1 },
		/* 0.0.0.0 */	 { 1, 1, 1, 0,  0,  0, 1,       0, 0, 0,           1, 1 },
		/* ::1 */	 { 0, 0, 0, 1,  0,  1, 1,       0, 0, 0,           0, 0 },
		/* ::2 */	 { 0, 0, 0, 0,  1,  1, 1,       0, 0, 0,           0, 0 },
		/* :: */	 { 0, 0, 0, 1,  1,  1, 1,       0, 0, 0,           0, 0 },
		/* any */	 { 1, 1, 1, 1,  1,  1, 1,       0, 0, 0,           1, 1 },
		/* 0.0.0.0:81 */ { 0, 0, 0, 0,  0,  0, 0,       1, 0, 1,           0, 0 },
		/* [::]:81 */	 { 0, 0, 0, 0,  0,  0, 0,       0, 1, 1,           0, 0 },
		/* :81 */	 { 0, 0, 0, 0,  0,  0, 0,       1, 1, 1,           0, 0 },
		/* mapped .1 */	 { 1, 0, 1, 0,  0,  0, 1,       0, 0, 0,           1, 1 },
		/* mapped v4 */	 { 1, 1, 1, 0,  0,  0, 1,       0, 0, 0,           1, 1 },
	};
	/* clang-format on */
	char key_a[ADDRESS_KEY_MAX], key_b[ADDRESS_KEY_MAX];
	struct address a, b;

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		for (size_t j = 0; j < COUNT(texts); j++) {
			a = parsed(texts[i]);
			b = parsed(texts[j]);
			if (address_overlaps(&a, &b) != overlap[i][j])
				fail_msg("overlap of %s and %s", texts[i], texts[j]);
			assert_int_equal(address_equal(&a, &b), i == j);
			assert_int_equal(strcmp(address_key(&a, key_a), address_key(&b, key_b)) ==
						 0,
					 i == j);
		}
	}
}

static void test_address_equal_ignores_spelling(void **state)
{
	struct address a = parsed("[0::0:1]:80"), b = parsed("[::1]:80");

	(void)state;
	assert_true(address_equal(&a, &b));
	/* What is not part of the address must not count either. */
	b.in6.sin6_flowinfo = 7;
	assert_true(address_equal(&a, &b));
}

static void test_address_local_replaces_wildcards_only(void **state)
{
	static const struct {
		const char *text, *local;
	} cases[] = {
		{"0.0.0.0:80", "127.0.0.1:80"},
		{"[::]:80", "[::1]:80"},
		{":65535", "127.0.0.1:65535"},
		{"192.0.2.1:80", "192.0.2.1:80"},
		{"[2001:db8::1]:1", "[2001:db8::1]:1"},
		{"[::ffff:0.0.0.0]:80", "127.0.0.1:80"},
		{"[::ffff:192.0.2.1]:80", "192.0.2.1:80"},
	};
	struct address local, expected, address;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		address = parsed(cases[i].text);
		expected = parsed(cases[i].local);
		memset(&local, 0x5a, sizeof(local));
		address_local(&address, &local);
		assert_string_equal(local.text, cases[i].local);
		assert_true(address_equal(&local, &expected));
		assert_int_equal(local.length, expected.length);
		/* In place as well. */
		address_local(&address, &address);
		assert_true(address_equal(&address, &expected));
	}
}

static void test_address_twins_are_one_place_for_clients(void **state)
{
	static const char *const pairs[][2] = {
		{"127.0.0.1:80", "[::ffff:127.0.0.1]:80"},
		{"0.0.0.0:65535", "[::ffff:0.0.0.0]:65535"},
	};
	struct address a, b, twin;

	(void)state;
	for (size_t k = 0; k < COUNT(pairs); k++) {
		a = parsed(pairs[k][0]);
		b = parsed(pairs[k][1]);
		assert_false(address_is_mapped(&a));
		assert_true(address_is_mapped(&b));
		assert_true(address_twin(&a, &twin));
		assert_memory_equal(&twin.in6, &b.in6, sizeof(b.in6));
		assert_int_equal(twin.length, sizeof(b.in6));
		assert_string_equal(twin.text, b.text);
		/* In place as well. */
		assert_true(address_twin(&twin, &twin));
		assert_true(address_equal(&twin, &a));
		assert_int_equal(twin.length, sizeof(a.in));
		assert_true(address_are_twins(&a, &b));
		assert_true(address_are_twins(&b, &a));
		assert_false(address_are_twins(&a, &a));
		assert_false(address_are_twins(&b, &b));
	}
	a = parsed("127.0.0.2:80");
	b = parsed("[::ffff:127.0.0.1]:80");
	assert_false(address_are_twins(&a, &b));
}

static void test_address_of_ipv6_alone_has_no_twin(void **state)
{
	static const char *const texts[] = {"[::1]:80", "[::]:80", ":80", "[::1.2.3.4]:80"};
	struct address address, twin;

	(void)state;
	for (size_t k = 0; k < COUNT(texts); k++) {
		address = parsed(texts[k]);
		assert_false(address_twin(&address, &twin));
		assert_false(address_is_mapped(&address));
		assert_false(address_are_twins(&address, &address));
	}
}

/* What bind(2) takes: it refuses a mapped address on a socket that is IPv6 only. */
static void test_address_v6only_is_what_its_sockets_must_have(void **state)
{
	static const struct {
		const char *text;
		bool v6only;
	} cases[] = {
		{"127.0.0.1:80", false},
		{"[::1]:80", true},
		{"[::]:80", true},
		{":80", false},
		{"[::ffff:127.0.0.1]:80", false},
	};

	(void)state;
	for (size_t k = 0; k < COUNT(cases); k++) {
		struct address address = parsed(cases[k].text);

		assert_int_equal(address_v6only(&address), cases[k].v6only);
	}
}

static void test_address_key_is_a_path_component(void **state)
{
	static const struct {
		const char *text, *key;
	} cases[] = {
		{"127.0.0.1:8080", "tcp-127_0_0_1-8080"},
		{":8080", "tcp-any-8080"},
		{"[::]:8080", "tcp----8080"},
		{"[::1]:8080", "tcp---1-8080"},
		{"[::1.2.3.4]:8080", "tcp---1_2_3_4-8080"},
		{"[::ffff:1.2.3.4]:8080", "tcp---ffff-1_2_3_4-8080"},
		{"[::1:2:3:4]:8080", "tcp---1-2-3-4-8080"},
	};
	char key[ADDRESS_KEY_MAX];
	struct address address;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		address = parsed(cases[i].text);
		memset(key, 'x', sizeof(key));
		assert_ptr_equal(address_key(&address, key), key);
		assert_string_equal(key, cases[i].key);
		assert_null(strpbrk(key, "./:"));
	}
}

static void test_address_from_socket_is_the_one_that_was_parsed(void **state)
{
	static const struct {
		const char *text;
		bool v6only;
	} cases[] = {
		{"127.0.0.1:8080", false},      {"0.0.0.0:1", false}, {"[::1]:65535", false},
		{"[::1]:65535", true},          {"[::]:8080", true},  {":8080", false},
		{"[::ffff:1.2.3.4]:80", false},
	};
	struct address address, other;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		address = parsed(cases[i].text);
		assert_int_equal(address_from(&address.sa, cases[i].v6only, &other), 0);
		assert_true(address_equal(&address, &other));
		assert_string_equal(address.text, other.text);
		assert_int_equal(address.length, other.length);
	}
}

static void test_address_from_socket_has_a_text_whatever_it_is(void **state)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
	struct sockaddr other = {.sa_family = AF_UNIX};
	struct address address;

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "::ffff:127.0.0.1", &in6.sin6_addr), 1);
	assert_int_equal(address_from((struct sockaddr *)&in6, false, &address), 0);
	assert_string_equal(address.text, "[::ffff:127.0.0.1]:80");
	assert_int_equal(inet_pton(AF_INET6, "fe80::1", &in6.sin6_addr), 1);
	in6.sin6_scope_id = 2;
	assert_int_equal(address_from((struct sockaddr *)&in6, true, &address), 0);
	assert_string_equal(address.text, "[fe80::1]:80");
	assert_int_equal(address_from(&other, false, &address), -EAFNOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_address_parse_valid_gives_canonical_text),
		cmocka_unit_test(test_address_parse_ipv4_fills_the_sockaddr),
		cmocka_unit_test(test_address_parse_ipv6_fills_the_sockaddr),
		cmocka_unit_test(test_address_parse_port_alone_is_dual_stack),
		cmocka_unit_test(test_address_parse_invalid_is_refused_with_the_reason),
		cmocka_unit_test(test_address_parse_very_long_text_is_refused),
		cmocka_unit_test(test_address_pairs_are_compared),
		cmocka_unit_test(test_address_equal_ignores_spelling),
		cmocka_unit_test(test_address_local_replaces_wildcards_only),
		cmocka_unit_test(test_address_twins_are_one_place_for_clients),
		cmocka_unit_test(test_address_of_ipv6_alone_has_no_twin),
		cmocka_unit_test(test_address_v6only_is_what_its_sockets_must_have),
		cmocka_unit_test(test_address_key_is_a_path_component),
		cmocka_unit_test(test_address_from_socket_is_the_one_that_was_parsed),
		cmocka_unit_test(test_address_from_socket_has_a_text_whatever_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
