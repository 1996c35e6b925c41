/* SPDX-License-Identifier: BSD-2-Clause */
/* Against a tiny HTTP server on a unix socket: it sends what each test tells it to, then closes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/client.h"

#define REQUEST_MAX 8192

static struct {
	char folder[64];
	char path[96];
	int listening;
	pthread_t thread;
	const char *answer;
	const char *then; /* to the next connection; NULL: there is none */
	int times;        /* connections that were served */
	size_t repeat;    /* how often the answer's last part is sent */
	const char *repeated;
	char request[REQUEST_MAX];
} server;

static struct error err;

static void send_all(int fd, const char *text)
{
	size_t length = strlen(text), done = 0;

	while (done < length) {
		ssize_t n = send(fd, text + done, length - done, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		done += (size_t)n;
	}
}

static void serve_one(const char *answer)
{
	int fd = accept(server.listening, NULL, NULL);
	size_t n = 0;
	const char *end, *length;

	server.times++;
	for (;;) {
		ssize_t r = recv(fd, server.request + n, sizeof(server.request) - 1 - n, 0);

		if (r <= 0)
			break;
		n += (size_t)r;
		server.request[n] = '\0';
		end = strstr(server.request, "\r\n\r\n");
		length = strcasestr(server.request, "Content-Length: ");
		if (end && strlen(end + 4) >= (length ? strtoul(length + 16, NULL, 10) : 0))
			break;
	}
	send_all(fd, answer);
	for (size_t i = 0; i < server.repeat; i++)
		send_all(fd, server.repeated);
	close(fd);
}

static void *serve(void *unused)
{
	(void)unused;
	serve_one(server.answer);
	if (server.then)
		serve_one(server.then);
	return NULL;
}

/* One connection will be served with @answer. */
static void expect_request(const char *answer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", server.path);
	unlink(server.path);
	server.listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server.listening, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server.listening, 4), 0);
	server.answer = answer;
	server.times = 0;
	server.request[0] = '\0';
	err.text[0] = '\0';
	assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
}

static void end_request(void)
{
	pthread_join(server.thread, NULL);
	close(server.listening);
	server.repeat = 0;
	server.then = NULL;
}

static struct cli_client *new_client(void)
{
	struct cli_client *client;

	assert_int_equal(cli_client_new("test", server.path, &client, &err), CLI_DONE);
	return client;
}

static enum cli_exit get(const char *answer, json_t **ret)
{
	struct cli_client *client = new_client();
	enum cli_exit r;

	expect_request(answer);
	r = cli_client_get(client, "/v1/services", ret, &err);
	end_request();
	cli_client_free(client);
	return r;
}

struct seen {
	size_t n;
	size_t stop_at; /* 0: never */
	long long sum;
};

static bool on_event(void *userdata, const json_t *event)
{
	struct seen *seen = userdata;

	seen->n++;
	seen->sum += json_integer_value(json_object_get(event, "seq"));
	return seen->n != seen->stop_at;
}

static enum cli_exit follow(const char *answer, struct seen *seen)
{
	struct cli_client *client = new_client();
	enum cli_exit r;

	expect_request(answer);
	r = cli_client_follow(client, "/v1/events?follow=1", on_event, seen, &err);
	end_request();
	cli_client_free(client);
	return r;
}

#define HEAD(status) "HTTP/1.1 " status "\r\nConnection: close\r\n"

/* ---- plain requests ------------------------------------------------------------------------- */

static void test_client_get_returns_the_json(void **state)
{
	json_t *answer;

	(void)state;
	assert_int_equal(get(HEAD("200 OK") "Content-Length: 7\r\n\r\n{\"a\":1}", &answer),
			 CLI_DONE);
	assert_int_equal(json_integer_value(json_object_get(answer, "a")), 1);
	assert_memory_equal(server.request, "GET /v1/services HTTP/1.1\r\n", 27);
	json_decref(answer);
}

static void test_client_post_sends_the_body(void **state)
{
	struct cli_client *client = new_client();
	json_t *body = json_pack("{s:[s]}", "command", "x"), *answer;

	(void)state;
	expect_request(HEAD("202 Accepted") "Content-Length: 2\r\n\r\n{}");
	assert_int_equal(cli_client_post(client, "/v1/x", body, &answer, &err), CLI_DONE);
	end_request();
	assert_memory_equal(server.request, "POST /v1/x HTTP/1.1\r\n", 21);
	assert_non_null(strstr(server.request, "Content-Type: application/json\r\n"));
	assert_non_null(strstr(server.request, "\r\n\r\n{\"command\":[\"x\"]}"));
	json_decref(body);
	json_decref(answer);
	cli_client_free(client);
}

static void test_client_post_without_body_sends_none(void **state)
{
	struct cli_client *client = new_client();
	json_t *answer;

	(void)state;
	expect_request(HEAD("202 Accepted") "Content-Length: 2\r\n\r\n{}");
	assert_int_equal(cli_client_post(client, "/v1/x", NULL, &answer, &err), CLI_DONE);
	end_request();
	assert_non_null(strstr(server.request, "Content-Length: 0\r\n"));
	json_decref(answer);
	cli_client_free(client);
}

static void test_client_problem_gives_its_detail_and_code(void **state)
{
	json_t *answer;

	(void)state;
	assert_int_equal(
		get(HEAD("409 Conflict") "\r\n{\"title\":\"busy\",\"detail\":\"rollout 5\","
					 "\"code\":6}",
		    &answer),
		CLI_BUSY);
	assert_null(answer);
	assert_string_equal(err.text, "rollout 5");

	assert_int_equal(get(HEAD("404 No") "\r\n{\"title\":\"no such service\"}", &answer),
			 CLI_ERROR);
	assert_string_equal(err.text, "no such service");
}

static void test_client_problem_is_kept_until_the_next_request(void **state)
{
	struct cli_client *client = new_client();
	json_t *answer;

	(void)state;
	assert_null(cli_client_problem(client));
	for (int i = 0; i < 2; i++) {
		expect_request(
			HEAD("422 No") "\r\n{\"detail\":\"one\",\"mistakes\":[\"one\",\"two\"]}");
		assert_int_equal(cli_client_post(client, "/v1/reload", NULL, &answer, &err),
				 CLI_ERROR);
		end_request();
		assert_string_equal(err.text, "one");
		assert_int_equal(
			json_array_size(json_object_get(cli_client_problem(client), "mistakes")),
			2);
	}
	expect_request(HEAD("500 No") "\r\n[1]");
	assert_int_equal(cli_client_get(client, "/", &answer, &err), CLI_ERROR);
	end_request();
	assert_null(cli_client_problem(client));
	expect_request(HEAD("404 No") "\r\n{}");
	assert_int_equal(cli_client_get(client, "/", &answer, &err), CLI_ERROR);
	end_request();
	assert_non_null(cli_client_problem(client));
	expect_request(HEAD("200 OK") "\r\n{}");
	assert_int_equal(cli_client_get(client, "/", &answer, &err), CLI_DONE);
	end_request();
	json_decref(answer);
	assert_null(cli_client_problem(client));
	/* The last one is let go of with the client. */
	expect_request(HEAD("404 No") "\r\n{}");
	assert_int_equal(cli_client_get(client, "/", &answer, &err), CLI_ERROR);
	end_request();
	cli_client_free(client);
}

static void test_client_problem_never_passes_for_success(void **state)
{
	json_t *answer;

	(void)state;
	assert_int_equal(get(HEAD("500 No") "\r\n{\"detail\":\"x\",\"code\":0}", &answer),
			 CLI_ERROR);
	assert_int_equal(get(HEAD("500 No") "\r\n{\"detail\":\"x\",\"code\":256}", &answer),
			 CLI_ERROR);
	assert_int_equal(get(HEAD("500 No") "\r\n{\"detail\":\"x\",\"code\":-1}", &answer),
			 CLI_ERROR);
}

static void test_client_error_without_document_names_the_status(void **state)
{
	json_t *answer;

	(void)state;
	assert_int_equal(get(HEAD("503 No") "\r\n<html>", &answer), CLI_ERROR);
	assert_string_equal(err.text,
			    "the daemon answered with HTTP status 503, and did not say why");
	assert_int_equal(get(HEAD("302 Found") "Location: http://127.0.0.1:1/\r\n\r\n", &answer),
			 CLI_ERROR);
	assert_string_equal(err.text,
			    "the daemon answered with HTTP status 302, and did not say why");
}

static void test_client_answer_that_is_not_json_is_an_error(void **state)
{
	json_t *answer;

	(void)state;
	assert_int_equal(get(HEAD("200 OK") "\r\n<html>", &answer), CLI_ERROR);
	assert_non_null(strstr(err.text, "/api.sock does not speak JSON: is it batond?"));
	assert_null(answer);
	assert_int_equal(get(HEAD("200 OK") "\r\n", &answer), CLI_ERROR);
	assert_null(answer);
}

static void test_client_answer_too_large_is_an_error(void **state)
{
	static char mebibyte[1024 * 1024 + 1];
	json_t *answer;

	(void)state;
	memset(mebibyte, ' ', sizeof(mebibyte) - 1);
	server.repeated = mebibyte;
	server.repeat = CLI_ANSWER_MAX / (1024 * 1024) + 1;
	assert_int_equal(get(HEAD("200 OK") "\r\n", &answer), CLI_ERROR);
	assert_string_equal(err.text, "the daemon's answer is longer than 67108864 bytes");
}

static void test_client_answer_cut_short_is_unreachable(void **state)
{
	json_t *answer;

	(void)state;
	assert_int_equal(get(HEAD("200 OK") "Content-Length: 100\r\n\r\n{}", &answer),
			 CLI_UNREACHABLE);
	assert_null(answer);
	assert_int_equal(get("", &answer), CLI_UNREACHABLE);
	assert_non_null(strstr(err.text, "the connection to the daemon called \"test\" broke"));
}

/* ---- busy ----------------------------------------------------------------------------------- */

#define BUSY(seconds)                                                                              \
	HEAD("503 Service Unavailable")                                                            \
	"Retry-After: " seconds "\r\n\r\n{\"detail\": \"batond is busy\", \"code\": 6}"

static void test_client_busy_daemon_is_asked_again(void **state)
{
	struct cli_client *client = new_client();
	json_t *answer;

	(void)state;
	server.then = HEAD("200 OK") "\r\n{\"services\": []}";
	assert_int_equal(get(BUSY("1"), &answer), CLI_DONE);
	assert_true(json_is_array(json_object_get(answer, "services")));
	assert_int_equal(server.times, 2);
	json_decref(answer);
	/* Nothing was begun: so an order is safe, too. */
	server.then = HEAD("202 Accepted") "\r\n{\"rollout\": 5}";
	expect_request(BUSY("1"));
	assert_int_equal(cli_client_post(client, "/v1/services/web/stop", NULL, &answer, &err),
			 CLI_DONE);
	end_request();
	assert_null(cli_client_problem(client));
	json_decref(answer);
	cli_client_free(client);
}

static void test_client_busy_for_long_is_busy_not_unreachable(void **state)
{
	json_t *answer;

	(void)state;
	assert_int_equal(get(BUSY("11"), &answer), CLI_BUSY);
	assert_string_equal(err.text, "batond is busy");
	assert_int_equal(server.times, 1);
}

/* It says no more than that it cannot: so it would be the same again. */
static void test_client_unavailable_is_not_asked_again(void **state)
{
	json_t *answer;

	(void)state;
	assert_int_equal(
		get(HEAD("503 Service Unavailable") "\r\n{\"detail\": \"ending\"}", &answer),
		CLI_ERROR);
	assert_int_equal(server.times, 1);
}

static void test_client_follow_that_is_refused_is_begun_again(void **state)
{
	struct seen seen = {};

	(void)state;
	server.then = HEAD("200 OK") "\r\n{\"seq\": 3}\n";
	assert_int_equal(follow(BUSY("1"), &seen), CLI_DONE);
	assert_int_equal(seen.n, 1);
	assert_int_equal(seen.sum, 3);
}

/* Its queue is full: the kernel refuses at once, whoever asks without waiting. */
static void test_client_queue_that_is_full_is_busy(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct cli_client *client = new_client();
	int waiting[8], n = 0;
	json_t *answer;

	(void)state;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", server.path);
	unlink(server.path);
	server.listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server.listening, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server.listening, 1), 0);
	for (; n < 8; n++) {
		waiting[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (connect(waiting[n], (struct sockaddr *)&address, sizeof(address)) < 0)
			break;
	}
	assert_true(n < 8);
	assert_int_equal(cli_client_get(client, "/", &answer, &err), CLI_BUSY);
	assert_non_null(strstr(err.text, "the daemon called \"test\" "));
	for (; n >= 0; n--)
		close(waiting[n]);
	close(server.listening);
	cli_client_free(client);
}

/* ---- nobody there --------------------------------------------------------------------------- */

static void assert_unreachable(const char *why)
{
	struct cli_client *client = new_client();
	char expected[512];
	json_t *answer;

	assert_int_equal(cli_client_get(client, "/", &answer, &err), CLI_UNREACHABLE);
	assert_null(answer);
	snprintf(expected, sizeof(expected),
		 "no daemon called \"test\" answers on %s: %s (is batond running? -n NAME chooses "
		 "another)",
		 server.path, why);
	assert_string_equal(err.text, expected);
	cli_client_free(client);
}

static void test_client_without_daemon_is_unreachable(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	(void)state;
	unlink(server.path);
	assert_unreachable("No such file or directory");

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", server.path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_unreachable("Connection refused");
}

/* In a child, as nobody: the status is what the client returned, with 100 for the wrong text. */
static int get_as_nobody(void)
{
	struct cli_client *client;
	json_t *answer;
	int r;

	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 99;
	if (cli_client_new("test", server.path, &client, &err) != CLI_DONE)
		return 98;
	r = (int)cli_client_get(client, "/", &answer, &err);
	cli_client_free(client);
	return strstr(err.text, "belongs to user root: Permission denied") ? r : 100;
}

static void test_client_not_allowed_names_the_owner(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0) {
		print_message("needs root\n");
		skip();
	}
	unlink(server.path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", server.path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(chmod(server.path, 0600), 0);
	/* First the socket alone is closed to others, then its folder as well. */
	for (mode_t mode = 0755; mode >= 0700; mode -= 055) {
		assert_int_equal(chmod(server.folder, mode), 0);
		pid = fork();
		if (pid == 0)
			_exit(get_as_nobody());
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), CLI_UNREACHABLE);
	}
	close(fd);
}

static void test_client_socket_path_too_long_is_an_error(void **state)
{
	struct cli_client *client;
	char path[200];

	(void)state;
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(cli_client_new("test", path, &client, &err), CLI_ERROR);
	assert_null(client);
	cli_client_free(client);
}

static void test_client_find_refuses_a_bad_name(void **state)
{
	struct cli_client *client;

	(void)state;
	assert_int_equal(cli_client_find("a/b", &client, &err), CLI_USAGE);
	assert_null(client);
}

/* ---- streams -------------------------------------------------------------------------------- */

static void test_client_follow_sees_every_line(void **state)
{
	struct seen seen = {0};

	(void)state;
	/* Chunks end where they like: inside lines, after several of them; empty lines pass. */
	assert_int_equal(follow(HEAD("200 OK") "Transfer-Encoding: chunked\r\n\r\n"
					       "4\r\n{\"se\r\n"
					       "12\r\nq\":1}\n{\"seq\":2}\r\n\n\r\n"
					       "9\r\n\n{\"seq\":4\r\n"
					       "1\r\n}\r\n"
					       "0\r\n\r\n",
				&seen),
			 CLI_DONE);
	assert_int_equal(seen.n, 3);
	assert_int_equal(seen.sum, 7);
}

static void test_client_follow_stops_when_told(void **state)
{
	struct seen seen = {.stop_at = 2};

	(void)state;
	assert_int_equal(
		follow(HEAD("200 OK") "\r\n{\"seq\":1}\n{\"seq\":2}\n{\"seq\":4}\n", &seen),
		CLI_DONE);
	assert_int_equal(seen.n, 2);
	assert_int_equal(seen.sum, 3);
}

static void test_client_follow_broken_stream_is_unreachable(void **state)
{
	struct seen seen = {0};

	(void)state;
	assert_int_equal(follow(HEAD("200 OK") "Transfer-Encoding: chunked\r\n\r\n"
					       "a\r\n{\"seq\":1}\n\r\n",
				&seen),
			 CLI_UNREACHABLE);
	assert_int_equal(seen.n, 1);
	assert_non_null(strstr(err.text, "broke"));
}

static void test_client_follow_bad_line_is_an_error(void **state)
{
	struct seen seen = {0};

	(void)state;
	assert_int_equal(follow(HEAD("200 OK") "\r\n{\"seq\":1}\nnonsense\n{\"seq\":2}\n", &seen),
			 CLI_ERROR);
	assert_int_equal(seen.n, 1);
	assert_int_equal(follow(HEAD("200 OK") "\r\n[1]", &seen), CLI_ERROR);
	assert_string_equal(err.text, "the daemon sent a line that is not JSON");
	assert_int_equal(seen.n, 1);
}

static void test_client_follow_endless_line_is_an_error(void **state)
{
	static char mebibyte[1024 * 1024 + 1];
	struct seen seen = {0};

	(void)state;
	memset(mebibyte, ' ', sizeof(mebibyte) - 1);
	server.repeated = mebibyte;
	server.repeat = CLI_LINE_MAX / (1024 * 1024) + 1;
	assert_int_equal(follow(HEAD("200 OK") "\r\n", &seen), CLI_ERROR);
	assert_string_equal(err.text, "the daemon's answer is longer than 1048576 bytes");
}

static void test_client_follow_problem_is_no_event(void **state)
{
	struct seen seen = {0};

	(void)state;
	assert_int_equal(
		follow(HEAD("403 Forbidden") "\r\n{\"detail\":\"no\",\"code\":1}\n", &seen),
		CLI_ERROR);
	assert_string_equal(err.text, "no");
	assert_int_equal(seen.n, 0);
}

/* ---- a daemon that has gone ------------------------------------------------------------------ */

static void test_client_waits_until_the_daemon_is_back(void **state)
{
	struct cli_client *client = new_client();

	(void)state;
	unlink(server.path);
	assert_false(cli_client_wait(client, 1));
	/* One that answers with an error is not there yet. */
	expect_request(HEAD("503 No") "\r\n{}");
	assert_false(cli_client_wait(client, 1));
	end_request();
	expect_request(HEAD("200 OK") "\r\n{\"pid\": 1}");
	assert_true(cli_client_wait(client, 60000));
	end_request();
	assert_memory_equal(server.request, "GET /v1/version HTTP/1.1\r\n", 26);
	cli_client_free(client);
}

static int make_folder(void **state)
{
	(void)state;
	snprintf(server.folder, sizeof(server.folder), "/tmp/test-client.XXXXXX");
	if (!mkdtemp(server.folder))
		return -1;
	snprintf(server.path, sizeof(server.path), "%s/api.sock", server.folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(server.path);
	return rmdir(server.folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_get_returns_the_json),
		cmocka_unit_test(test_client_post_sends_the_body),
		cmocka_unit_test(test_client_post_without_body_sends_none),
		cmocka_unit_test(test_client_problem_gives_its_detail_and_code),
		cmocka_unit_test(test_client_problem_is_kept_until_the_next_request),
		cmocka_unit_test(test_client_problem_never_passes_for_success),
		cmocka_unit_test(test_client_error_without_document_names_the_status),
		cmocka_unit_test(test_client_answer_that_is_not_json_is_an_error),
		cmocka_unit_test(test_client_answer_too_large_is_an_error),
		cmocka_unit_test(test_client_answer_cut_short_is_unreachable),
		cmocka_unit_test(test_client_busy_daemon_is_asked_again),
		cmocka_unit_test(test_client_busy_for_long_is_busy_not_unreachable),
		cmocka_unit_test(test_client_unavailable_is_not_asked_again),
		cmocka_unit_test(test_client_follow_that_is_refused_is_begun_again),
		cmocka_unit_test(test_client_queue_that_is_full_is_busy),
		cmocka_unit_test(test_client_without_daemon_is_unreachable),
		cmocka_unit_test(test_client_not_allowed_names_the_owner),
		cmocka_unit_test(test_client_socket_path_too_long_is_an_error),
		cmocka_unit_test(test_client_find_refuses_a_bad_name),
		cmocka_unit_test(test_client_follow_sees_every_line),
		cmocka_unit_test(test_client_follow_stops_when_told),
		cmocka_unit_test(test_client_follow_broken_stream_is_unreachable),
		cmocka_unit_test(test_client_follow_bad_line_is_an_error),
		cmocka_unit_test(test_client_follow_endless_line_is_an_error),
		cmocka_unit_test(test_client_follow_problem_is_no_event),
		cmocka_unit_test(test_client_waits_until_the_daemon_is_back),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
