/* SPDX-License-Identifier: BSD-2-Clause */
/* What servers of Debian 12 say when a file that they want for themselves is there already. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/wanted_files.h"

#define COUNT(array_) (sizeof(array_) / sizeof((array_)[0]))

static const struct {
	const char *tail;
	enum wanted_file_kind kind;
	const char *path;
} words[] = {
	/* node 20 */
	{"Error: listen EADDRINUSE: address already in use /run/web.sock\n"
	 "    at Server.setupListenHandle [as _listen2] (node:net:1886:21)\n"
	 "  code: 'EADDRINUSE',\n  errno: -98,\n  syscall: 'listen',\n  address: '/run/web.sock',\n",
	 WANTED_FILE_SOCKET, "/run/web.sock"},
	/* nginx 1.22 */
	{"2026/11/30 04:23:23 [emerg] 18660#18660: bind() to unix:/run/ng.sock failed (98: Address "
	 "already in use)\n2026/11/30 04:59:12 [emerg] 12021#12021: still could not bind()\n",
	 WANTED_FILE_SOCKET, "/run/ng.sock"},
	/* puma 5.6 */
	{"/usr/lib/ruby/gems/puma-5.6.5/lib/puma/binder.rb:425:in `add_unix_listener': There is "
	 "already a server bound to: /run/puma.sock (RuntimeError)\n"
	 "\tfrom /usr/lib/ruby/gems/puma-5.6.5/lib/puma/binder.rb:222:in `block in parse'\n",
	 WANTED_FILE_SOCKET, "/run/puma.sock"},
	/* lighttpd 1.4.69 */
	{"2026-11-30 04:58:39: (network.c.479) server socket is still in use: /run/li.sock\n",
	 WANTED_FILE_SOCKET, "/run/li.sock"},
	/* unicorn 6.0 */
	{"/usr/lib/ruby/vendor_ruby/unicorn/http_server.rb:206:in `pid=': Already running on "
	 "PID:8886 (or pid=/run/uni.pid is stale) (ArgumentError)\n",
	 WANTED_FILE_PID, "/run/uni.pid"},
	/* gunicorn 20.1, with a relative path */
	{"Error: Already running on PID 15275 (or pid file 'g.pid' is stale)\n", WANTED_FILE_PID,
	 ""},
	/* pgbouncer 1.18 */
	{"2026-11-30 04:58:39.635 UTC [9084] FATAL pidfile exists, another instance running?\n",
	 WANTED_FILE_PID, ""},
	/* squid 5.7 */
	{"2026/11/30 04:58:39| FATAL: Squid is already running: Found fresh instance PID file "
	 "(/run/squid.9.pid) with PID 8897\n    exception location: Instance.cc(121) "
	 "ThrowIfAlreadyRunningWith\n",
	 WANTED_FILE_PID, "/run/squid.9.pid"},
	/* varnish 7.1 */
	{"Error: Varnishd is already running (pid=8889) (pidfile=/run/vn/_.pid)\n", WANTED_FILE_PID,
	 "/run/vn/_.pid"},
	/* apache2 2.4 */
	{"httpd (pid 11858) already running\n", WANTED_FILE_PID, ""},
	/* sqlite3 of Python 3.11 */
	{"sqlite3.OperationalError: database is locked\n", WANTED_FILE_LOCK, ""},
	/* LevelDB, InnoDB, PostgreSQL */
	{"IO error: lock /var/lib/x/LOCK: already held by process\n", WANTED_FILE_LOCK,
	 "/var/lib/x/LOCK"},
	{"InnoDB: Unable to lock ./ibdata1 error: 11\n", WANTED_FILE_LOCK, ""},
	{"FATAL:  lock file \"/run/postmaster.pid\" already exists\n", WANTED_FILE_LOCK,
	 "/run/postmaster.pid"},
	{"could not lock /run/web.lock: Resource temporarily unavailable", WANTED_FILE_LOCK,
	 "/run/web.lock"},
	/* The last one counts. */
	{"could not lock /run/a\npidfile exists\nbye\n", WANTED_FILE_PID, ""},
	/* Addresses, other words, memory. */
	{"", WANTED_FILE_NONE, ""},
	{"nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)\n",
	 WANTED_FILE_NONE, ""},
	{"Error: listen EADDRINUSE: address already in use :::8080\n", WANTED_FILE_NONE, ""},
	{"OSError: [Errno 98] Address already in use\n  File \"/usr/lib/x.py\"\n", WANTED_FILE_NONE,
	 ""},
	{"http://127.0.0.1//x: address already in use //x\n", WANTED_FILE_NONE, ""},
	{"unable to block: the clock is held by nobody\n", WANTED_FILE_NONE, ""},
	{"cannot lock memory: Cannot allocate memory\n", WANTED_FILE_NONE, ""},
	{"failed to load poetry.lock\n", WANTED_FILE_NONE, ""},
	{"a migration is already running\n", WANTED_FILE_NONE, ""},
};

static void test_wanted_files_words_of_servers_are_understood(void **state)
{
	(void)state;
	for (size_t k = 0; k < COUNT(words); k++) {
		struct wanted_file found;

		wanted_file_find(words[k].tail, &found);
		if (found.kind != words[k].kind || strcmp(found.path, words[k].path) != 0)
			fail_msg("%s: %d \"%s\"", words[k].tail, found.kind, found.path);
	}
}

static void test_wanted_files_long_lines_and_paths_are_bounded(void **state)
{
	char tail[4096], path[200];
	struct wanted_file found;

	(void)state;
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	snprintf(tail, sizeof(tail), "address already in use %s\n", path);
	wanted_file_find(tail, &found);
	assert_int_equal(found.kind, WANTED_FILE_NONE);
	memset(tail, 'a', sizeof(tail) - 1);
	strcpy(tail + sizeof(tail) - 40, " database is locked");
	wanted_file_find(tail, &found);
	assert_int_equal(found.kind, WANTED_FILE_NONE);
}

static void check(const struct wanted_file_facts *facts, const char *expected)
{
	char got[ADVICE_TEXT_MAX];

	assert_string_equal(wanted_file_advise(facts, got), expected);
}

static void test_wanted_files_sentence_says_what_to_write(void **state)
{
	(void)state;
	check(&(struct wanted_file_facts){.file = {WANTED_FILE_SOCKET, "/run/web.sock"},
					  .others = true},
	      "the unix socket that it binds (/run/web.sock) is there already; most likely the other "
	      "generation has it: give each one a file of its own by the command or the environment, "
	      "such as \"/run/web.{generation}.sock\", or write \"strategy\": \"stop-first\"");
	check(&(struct wanted_file_facts){.file = {WANTED_FILE_PID, "/run.d/.web"},
					  .others = true,
					  .several = true},
	      "its pid file (/run.d/.web) says that it runs already; most likely the other instance or "
	      "generation has it: give each one a file of its own by the command or the environment, "
	      "such as \"/run.d/.web.{generation}.{instance}\", or write \"strategy\": "
	      "\"stop-first\"");
	check(&(struct wanted_file_facts){.file = {WANTED_FILE_LOCK, ""}, .others = true},
	      "what it locks is locked already; most likely the other generation has it: give each one a file "
	      "of its own by the command or the environment, or write \"strategy\": \"stop-first\"");
}

static void test_wanted_files_sentence_without_another_one(void **state)
{
	(void)state;
	check(&(struct wanted_file_facts){.file = {WANTED_FILE_SOCKET, "/run/web.sock"}},
	      "the unix socket that it binds (/run/web.sock) is there already: another server has it, "
	      "which is to be ended, or an earlier one has left it behind: remove it then");
	check(&(struct wanted_file_facts){.file = {WANTED_FILE_SOCKET, "/run/web.sock"},
					  .again = true,
					  .others = true},
	      "the unix socket that it binds (/run/web.sock) is there already, left behind by the "
	      "server that ended before: have it remove the file when it starts");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wanted_files_words_of_servers_are_understood),
		cmocka_unit_test(test_wanted_files_long_lines_and_paths_are_bounded),
		cmocka_unit_test(test_wanted_files_sentence_says_what_to_write),
		cmocka_unit_test(test_wanted_files_sentence_without_another_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
