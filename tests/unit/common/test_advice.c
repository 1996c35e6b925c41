/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/advice.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LISTS_MAX    4

/* Fill in a list of addresses that ends with NULL. Returns how many there are. */
static size_t parse(const char *const *texts, struct address *ret)
{
	size_t n = 0;

	for (; n < LISTS_MAX && texts[n]; n++)
		assert_int_equal(address_parse(texts[n], &ret[n], NULL), 0);
	return n;
}

/* ---- addresses ------------------------------------------------------------------------------ */

static const struct addresses_case {
	const char *declared[LISTS_MAX];
	uint32_t missing;
	const char *strangers[LISTS_MAX];
	const char *says;
} addresses_cases[] = {
	{{"127.0.0.1:80"}, 0, {NULL}, ""},
	/* Dual-stack, whatever is declared of the port. */
	{{"127.0.0.1:80"},
	 1,
	 {":80"},
	 "listens on :80 (IPv4 and IPv6 by one socket), but \"listen\" says 127.0.0.1:80: write "
	 "\"listen\": \":80\", or have it listen on 127.0.0.1:80"},
	{{"0.0.0.0:80", "[::]:80"},
	 3,
	 {":80"},
	 "listens on :80 (IPv4 and IPv6 by one socket), but \"listen\" says 0.0.0.0:80 and "
	 "[::]:80: write \"listen\": \":80\", or have it listen on 0.0.0.0:80 and [::]:80"},
	{{"127.0.0.1:80", "127.0.0.1:81"},
	 1,
	 {":80"},
	 "listens on :80 (IPv4 and IPv6 by one socket), but \"listen\" says 127.0.0.1:80: write "
	 "\"listen\": [\"127.0.0.1:81\", \":80\"], or have it listen on 127.0.0.1:80"},
	/* The other way round. */
	{{":80"},
	 1,
	 {"0.0.0.0:80"},
	 "listens on 0.0.0.0:80, but \"listen\" says :80: write \"listen\": \"0.0.0.0:80\", or "
	 "have it listen on :80"},
	{{":80"},
	 1,
	 {"0.0.0.0:80", "[::]:80"},
	 "listens on 0.0.0.0:80 and [::]:80, but \"listen\" says :80: write \"listen\": "
	 "[\"0.0.0.0:80\", \"[::]:80\"], or have it listen on :80"},
	{{"127.0.0.1:80"},
	 1,
	 {"0.0.0.0:80"},
	 "listens on 0.0.0.0:80, but \"listen\" says 127.0.0.1:80: write \"listen\": "
	 "\"0.0.0.0:80\", or have it listen on 127.0.0.1:80"},
	{{"0.0.0.0:80"},
	 1,
	 {"127.0.0.1:80"},
	 "listens on 127.0.0.1:80, but \"listen\" says 0.0.0.0:80: write \"listen\": "
	 "\"127.0.0.1:80\", or have it listen on 0.0.0.0:80"},
	/* Another port; one of the right port comes first. */
	{{"127.0.0.1:80"},
	 1,
	 {"127.0.0.1:8080"},
	 "listens on 127.0.0.1:8080, but \"listen\" says 127.0.0.1:80: write \"listen\": "
	 "\"127.0.0.1:8080\", or have it listen on 127.0.0.1:80"},
	{{"127.0.0.1:80"},
	 1,
	 {"127.0.0.1:2", "[::1]:80"},
	 "listens on [::1]:80, but \"listen\" says 127.0.0.1:80: write \"listen\": "
	 "\"[::1]:80\", or have it listen on 127.0.0.1:80"},
	{{"127.0.0.1:80"},
	 0,
	 {"127.0.0.1:2"},
	 "listens on 127.0.0.1:2, which \"listen\" does not name"},
	/* Some are missing. */
	{{"127.0.0.1:80", "127.0.0.1:81"},
	 2,
	 {NULL},
	 "does not listen on 127.0.0.1:81, which \"listen\" names: have it listen there, or take "
	 "it out"},
	{{"127.0.0.1:80", "127.0.0.1:81", "127.0.0.1:82", "127.0.0.1:83"},
	 14,
	 {NULL},
	 "does not listen on 127.0.0.1:81, 127.0.0.1:82 and 127.0.0.1:83, which \"listen\" names: "
	 "have it listen there, or take them out"},
	/* What cannot be declared. */
	{{"127.0.0.1:80"},
	 1,
	 {"[::ffff:127.0.0.1]:80"},
	 "listens on [::ffff:127.0.0.1]:80 (IPv4 by an IPv6 socket, which is not of its group): "
	 "have it use an IPv4 socket for 127.0.0.1 (Java: -Djava.net.preferIPv4Stack=true)"},
};

static void test_advice_addresses_name_both_and_what_to_write(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(addresses_cases); i++) {
		const struct addresses_case *c = &addresses_cases[i];
		char strangers[LISTS_MAX][ADDRESS_TEXT_MAX], got[ADVICE_TEXT_MAX];
		struct address declared[LISTS_MAX];
		struct advice_addresses facts = {
			.declared = declared,
			.missing = c->missing,
			.strangers = (const char(*)[ADDRESS_TEXT_MAX])strangers,
		};

		facts.n_declared = parse(c->declared, declared);
		for (; c->strangers[facts.n_strangers]; facts.n_strangers++)
			strcpy(strangers[facts.n_strangers], c->strangers[facts.n_strangers]);
		assert_string_equal(advice_addresses(&facts, got), c->says);
	}
}

static void test_advice_that_does_not_fit_is_cut(void **state)
{
	char strangers[8][ADDRESS_TEXT_MAX], got[ADVICE_TEXT_MAX];
	struct address declared[32];
	const struct advice_addresses facts = {
		.declared = declared,
		.n_declared = COUNT(declared),
		.missing = UINT32_MAX,
		.strangers = (const char(*)[ADDRESS_TEXT_MAX])strangers,
		.n_strangers = COUNT(strangers),
	};

	(void)state;
	for (size_t k = 0; k < COUNT(declared); k++)
		assert_int_equal(address_parse("[2001:db8:1:2:3:4:5:6]:65535", &declared[k], NULL),
				 0);
	for (size_t k = 0; k < COUNT(strangers); k++)
		strcpy(strangers[k], "[2001:db8:1:2:3:4:5:7]:65535");
	assert_int_equal(strlen(advice_addresses(&facts, got)), ADVICE_TEXT_MAX - 1);
}

/* ---- in use --------------------------------------------------------------------------------- */

#define UNSHARED                                                                                   \
	"the server binds 127.0.0.1:80 itself and does not share it: switch on its reuse-port "    \
	"option (SO_REUSEPORT), or "
#define ALSO "; if it binds [::], for IPv4 and IPv6, also write \"listen\": \":80\""
#define AS_WWW_DATA                                                                                \
	.owner = 0, .owner_name = "root", .has_uid = true, .uid = 33, .user_name = "www-data"

static const struct in_use_case {
	const char *declared[LISTS_MAX];
	const char *bound;
	struct advice_in_use facts;
	const char *says;
} in_use_cases[] = {
	/* The address comes before the user: it is wrong in any case. */
	{{"127.0.0.1:80"},
	 ":80",
	 {.shares = true, AS_WWW_DATA},
	 "the server binds :80 (IPv4 and IPv6 by one socket), but \"listen\" says 127.0.0.1:80, "
	 "and only what it says is shared: write \"listen\": \":80\", or have the server bind "
	 "127.0.0.1:80"},
	{{"0.0.0.0:80", "127.0.0.1:81"},
	 ":80",
	 {.shares = true},
	 "the server binds :80 (IPv4 and IPv6 by one socket), but \"listen\" says 0.0.0.0:80, "
	 "and only what it says is shared: write \"listen\": [\"127.0.0.1:81\", \":80\"], or have "
	 "the server bind 0.0.0.0:80"},
	{{":80"},
	 "0.0.0.0:80",
	 {.shares = true},
	 "the server binds 0.0.0.0:80, but \"listen\" says :80, and only what it says is shared: "
	 "write \"listen\": \"0.0.0.0:80\", or have the server bind :80"},
	{{"127.0.0.1:80"},
	 "127.0.0.1:9090",
	 {.shares = true},
	 "the server binds 127.0.0.1:9090, which \"listen\" does not name, and which the other "
	 "generation or somebody else has: write \"listen\": [\"127.0.0.1:80\", "
	 "\"127.0.0.1:9090\"], or give each generation another one ({generation})"},
	{{"127.0.0.1:80"},
	 "127.0.0.1:9090",
	 {.shares = true, .holder = "pid 7 \"nginx\""},
	 "the server binds 127.0.0.1:9090, which \"listen\" does not name, and which pid 7 "
	 "\"nginx\" has: write \"listen\": [\"127.0.0.1:80\", \"127.0.0.1:9090\"], or give each "
	 "generation another one ({generation})"},
	/* Another user. */
	{{"127.0.0.1:80"},
	 "127.0.0.1:80",
	 {.shares = true, AS_WWW_DATA},
	 "the server binds it as www-data (uid 33), but the sockets of this address belong "
	 "to root (uid 0), and only one user can share an address: write \"user\": \"www-data\", "
	 "or have the server bind all its sockets before it changes its user"},
	{{"127.0.0.1:80"},
	 NULL,
	 {.owner = 1000, .has_uid = true, .uid = 4711},
	 "the server binds it as uid 4711, but the sockets of this address belong to uid "
	 "1000, and only one user can share an address: write \"user\" as the name of uid 4711, "
	 "or have the server bind all its sockets before it changes its user"},
	/* Nobody listens there. */
	{{"127.0.0.1:80"},
	 NULL,
	 {.lingers = true},
	 "nobody listens there, but connections of an earlier server are not over yet "
	 "(TIME_WAIT), and the server binds without SO_REUSEADDR: switch that on, or wait a minute"},
	{{"127.0.0.1:80"},
	 "127.0.0.1:80",
	 {.holder = "pid 7 \"nginx\""},
	 "pid 7 \"nginx\" has it, and does not share it: end it"},
	/* The right address and user: it does not share. */
	{{"127.0.0.1:80"}, NULL, {.could_share = true}, UNSHARED "use mode \"transparent\"" ALSO},
	{{"127.0.0.1:80"},
	 NULL,
	 {.cannot_share = ""},
	 UNSHARED "have it take its socket from its parent (LISTEN_FDS, {fd})" ALSO},
	{{"127.0.0.1:80"},
	 NULL,
	 {.cannot_share = "there is no cgroup v2"},
	 UNSHARED "have it take its socket from its parent (LISTEN_FDS, {fd})" ALSO "; mode "
		  "\"transparent\" does not work here: there is no cgroup v2"},
	{{"127.0.0.1:80"},
	 "127.0.0.1:80",
	 {.inherits = true, .could_share = true},
	 UNSHARED "have it take the socket that is passed to it (LISTEN_FDS, {fd}), or use mode "
		  "\"auto\""},
	{{"127.0.0.1:80"},
	 NULL,
	 {.wrapper = "dumb-init"},
	 "the server binds its address itself, although a socket was passed to it: LISTEN_PID has "
	 "the pid of \"dumb-init\", not of the server that it started; " ADVICE_WRAPPER},
	/* "[::]:80" is told as ":80", because nobody sees IPV6_V6ONLY. */
	{{"[::]:80"},
	 ":80",
	 {.shares = true, .has_uid = true},
	 "mode \"transparent\" makes the server share exactly what \"listen\" says, and nothing "
	 "else: have it bind that"},
};

static void test_advice_in_use_names_the_first_cause(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(in_use_cases); i++) {
		const struct in_use_case *c = &in_use_cases[i];
		struct address declared[LISTS_MAX], bound;
		struct advice_in_use facts = c->facts;
		char got[ADVICE_TEXT_MAX];

		facts.declared = declared;
		facts.n_declared = parse(c->declared, declared);
		if (c->bound) {
			assert_int_equal(address_parse(c->bound, &bound, NULL), 0);
			facts.bound = &bound;
		}
		assert_string_equal(advice_in_use(&facts, got), c->says);
	}
}

static void test_advice_in_use_is_recognised(void **state)
{
	static const struct {
		const char *tail;
		bool says;
	} cases[] = {
		{"", false},
		{"OSError: [Errno 98] Address already in use", true},
		{"nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)\nmore",
		 true},
		{"listen tcp :80: bind: address already in use\n", true},
		{"Error: listen EADDRINUSE: address :::80", true},
		{"code: 'eaddrinuse'", true},
		{"ADDRESS ALREADY IN USE", true},
		{"the address is used already", false},
		{"address already in us", false},
		{"EADDRNOTAVAIL", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (advice_says_in_use(cases[i].tail) != cases[i].says)
			fail_msg("%s", cases[i].tail);
}

static void test_advice_wrappers_are_known_by_their_names(void **state)
{
	(void)state;
	assert_true(advice_is_wrapper("sh"));
	assert_true(advice_is_wrapper("dumb-init"));
	assert_true(advice_is_wrapper("npm run start"));
	assert_false(advice_is_wrapper(""));
	assert_false(advice_is_wrapper("shared"));
	assert_false(advice_is_wrapper("python3"));
	assert_false(advice_is_wrapper("nginx"));
}

static void test_advice_finds_the_address_in_last_words(void **state)
{
	static const struct {
		const char *tail, *address;
	} cases[] = {
		{"", NULL},
		{"listening on 127.0.0.1:80\n", NULL},
		{"OSError: [Errno 98] Address already in use", NULL},
		{"nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)\nmore",
		 "0.0.0.0:80"},
		{"[emerg] bind() to [::1]:80 failed (98: Address already in use)", "[::1]:80"},
		{"[emerg] bind() to [::]:80 failed (98: Address already in use)", ":80"},
		{"up\n2026/01/01 main.go:7: listen tcp :80: bind: address already in use\n", ":80"},
		{"listen tcp 127.0.0.1:9090: bind: address already in use", "127.0.0.1:9090"},
		{"Error: listen EADDRINUSE: address already in use :::3000\n    at x (net:1:2)",
		 ":3000"},
		{"Error: listen EADDRINUSE: address already in use 127.0.0.1:3000",
		 "127.0.0.1:3000"},
		{"EADDRINUSE: localhost:80", NULL},
		{"EADDRINUSE :::", NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct address got = {.text = "none"};
		int r = advice_find_address(cases[i].tail, &got);

		assert_int_equal(r, cases[i].address ? 0 : -ENOENT);
		assert_string_equal(got.text, cases[i].address ? cases[i].address : "none");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_advice_addresses_name_both_and_what_to_write),
		cmocka_unit_test(test_advice_that_does_not_fit_is_cut),
		cmocka_unit_test(test_advice_in_use_names_the_first_cause),
		cmocka_unit_test(test_advice_in_use_is_recognised),
		cmocka_unit_test(test_advice_wrappers_are_known_by_their_names),
		cmocka_unit_test(test_advice_finds_the_address_in_last_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
