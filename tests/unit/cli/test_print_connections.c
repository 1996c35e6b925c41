/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/print_connections.h"

/* JSON with ' for ", which no text here contains. */
static json_t *json(const char *text)
{
	char *copy = strdup(text);
	json_t *value;

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	value = json_loads(copy, 0, NULL);
	assert_non_null(value);
	free(copy);
	return value;
}

static char *render(const json_t *value)
{
	char *text;
	size_t length;
	struct print to = {.out = open_memstream(&text, &length)};

	print_connections(&to, value);
	fclose(to.out);
	return text;
}

static void assert_page(const char *source, const char *expected)
{
	json_t *value = json(source);
	char *text = render(value);

	assert_string_equal(text, expected);
	free(text);
	json_decref(value);
}

static const char three[] =
	"{'service':'web','total':3,'shown':3,'connections':["
	"{'generation':12,'instance':0,'peer':'10.1.2.3:50123','local':'127.0.0.1:80',"
	"'state':'ESTABLISHED','live':true,'accepted':true,'age_ms':61000,'idle_ms':20,"
	"'received':512,'sent':1234567,'receive_queue':0,'send_queue':65536},"
	"{'generation':12,'instance':1,'peer':'[2001:db8::1]:443','local':'127.0.0.1:80',"
	"'state':'ESTABLISHED','live':true,'accepted':false,'age_ms':null,'idle_ms':4000,"
	"'received':0,'sent':0,'receive_queue':100,'send_queue':0},"
	"{'generation':9,'instance':0,'peer':'10.1.2.3:1','local':'127.0.0.1:80',"
	"'state':'FIN_WAIT2','live':false,'accepted':true,'age_ms':5,'idle_ms':0,"
	"'received':1,'sent':2,'receive_queue':0,'send_queue':0}]}";

static void test_print_connections_are_a_table_with_a_total(void **state)
{
	(void)state;
	assert_page(three,
		    "GENERATION  INSTANCE  PEER               STATE"
		    "                               AGE    IDLE  RECEIVED    SENT  UNREAD  "
		    "UNSENT\n"
		    "        12         0  10.1.2.3:50123     ESTABLISHED"
		    "                      1m 01s   20 ms     512 B  1.2 MB     0 B   65 kB\n"
		    "        12         1  [2001:db8::1]:443  ESTABLISHED, not accepted yet"
		    "         -  4.00 s       0 B     0 B   100 B     0 B\n"
		    "         9         0  10.1.2.3:1         FIN_WAIT2, closed by the server"
		    "    5 ms    0 ms       1 B     2 B     0 B     0 B\n"
		    "web: 3 connections\n");
}

static void test_print_connections_of_several_addresses_name_them(void **state)
{
	(void)state;
	assert_page(
		"{'service':'web','total':2,'connections':["
		"{'peer':'1.1.1.1:1','local':'127.0.0.1:80'},"
		"{'peer':'1.1.1.1:2','local':'127.0.0.1:81'}]}",
		"GENERATION  INSTANCE  PEER       LOCAL         STATE  AGE  IDLE  RECEIVED  SENT"
		"  UNREAD  UNSENT\n"
		"         -         -  1.1.1.1:1  127.0.0.1:80  -        -     -         -     -"
		"       -       -\n"
		"         -         -  1.1.1.1:2  127.0.0.1:81  -        -     -         -     -"
		"       -       -\n"
		"web: 2 connections\n");
}

static void test_print_connections_cut_short_say_so(void **state)
{
	(void)state;
	assert_page("{'service':'web','total':0,'shown':0,'connections':[]}",
		    "web: no connections\n");
	assert_page("{'service':'web','total':1,'shown':0,'connections':[]}",
		    "web: 1 connection, 0 of them shown (see --limit)\n");
	assert_page("{'service':'web','total':4321,'shown':0,'connections':[]}",
		    "web: 4321 connections, 0 of them shown (see --limit)\n");
}

/* Whatever a daemon of another version leaves out or changes, there is a page, and it is clean. */
static void test_print_connections_any_member_may_be_anything(void **state)
{
	static const char *const keys[] = {
		"generation", "instance", "peer",     "local", "state",         "live",
		"accepted",   "age_ms",   "received", "sent",  "receive_queue", "send_queue",
	};
	json_t *others[] = {json_null(),   json_integer(-1), json_string("\n\033"), json_array(),
			    json_object(), json_true(),      json_real(1e300)};

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		char *text;

		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
			json_t *page = json(three);
			json_t *list = json_object_get(page, "connections");

			json_object_set(json_array_get(list, 1), keys[k], others[i]);
			json_array_set(list, 2, others[i]);
			text = render(page);
			assert_null(strchr(text, '\033'));
			assert_non_null(strstr(text, "web: 3 connections\n"));
			free(text);
			json_object_set(page, "total", others[i]);
			json_object_set(page, "service", others[i]);
			json_object_set(page, "connections", others[i]);
			free(render(page));
			json_decref(page);
		}
		free(render(others[i]));
		json_decref(others[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_print_connections_are_a_table_with_a_total),
		cmocka_unit_test(test_print_connections_of_several_addresses_name_them),
		cmocka_unit_test(test_print_connections_cut_short_say_so),
		cmocka_unit_test(test_print_connections_any_member_may_be_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
