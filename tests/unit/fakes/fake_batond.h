/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fakes of client.h for the tests of commands: they note what is asked and answer as the test says.
 * What a command prints is kept. To be included once, by the test itself.
 */
#pragma once

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"

static struct {
	char asked[512]; /* "GET /v1/services, POST /v1/... {}": in order, with the bodies */
	const char *services;
	const char *answer;        /* NULL: refused, as busy */
	const char *problem;       /* with this document */
	const char *const *events; /* of a stream, NULL-terminated; NULL: it breaks at once */
	const char *const *again;  /* of the next stream */
	unsigned returns;          /* so often it comes back after it has gone */
	unsigned looks;            /* so often it has come back */
	const char *status;        /* of the service, when it has come back */
	size_t taken;              /* how many events the command wanted */
	json_t *document;          /* .problem, while it is borrowed */
} batond;

static struct error err;
static char output[8192], errors[4096]; /* stdout and stderr of the last command */

/* ---- the client ----------------------------------------------------------------------------- */

enum cli_exit cli_client_find(const char *name, struct cli_client **ret, struct error *error)
{
	*ret = NULL;
	if (name && strcmp(name, "gone") == 0)
		return error_text(error, CLI_UNREACHABLE, "no daemon called \"gone\"");
	return CLI_DONE;
}

void cli_client_free(struct cli_client *client)
{
	assert_null(client);
	json_decref(batond.document);
	batond.document = NULL;
}

const char *cli_client_name(const struct cli_client *client)
{
	(void)client;
	return "baton";
}

const json_t *cli_client_problem(const struct cli_client *client)
{
	(void)client;
	return batond.document;
}

static void note(const char *method, const char *path, const char *body)
{
	size_t n = strlen(batond.asked);

	snprintf(batond.asked + n, sizeof(batond.asked) - n, "%s%s %s%s%s", n ? ", " : "", method,
		 path, body ? " " : "", body ? body : "");
}

static enum cli_exit answer(const char *text, json_t **ret, struct error *error)
{
	*ret = text ? json_loads(text, 0, NULL) : NULL;
	if (*ret)
		return CLI_DONE;
	batond.document = batond.problem ? json_loads(batond.problem, 0, NULL) : NULL;
	return error_text(error, CLI_BUSY, "refused");
}

enum cli_exit cli_client_get(struct cli_client *client, const char *path, json_t **ret,
			     struct error *error)
{
	(void)client;
	note("GET", path, NULL);
	if (strcmp(path, "/v1/services") == 0)
		return answer(batond.services, ret, error);
	if (batond.looks > 0 && batond.status)
		return answer(batond.status, ret, error);
	return answer(batond.answer, ret, error);
}

enum cli_exit cli_client_post(struct cli_client *client, const char *path, const json_t *body,
			      json_t **ret, struct error *error)
{
	char *text = body ? json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	(void)client;
	note("POST", path, text);
	free(text);
	return answer(batond.answer, ret, error);
}

enum cli_exit cli_client_follow(struct cli_client *client, const char *path,
				bool (*on_event)(void *userdata, const json_t *event),
				void *userdata, struct error *error)
{
	const char *const *events = batond.events;
	bool go_on = true;

	(void)client;
	note("GET", path, NULL);
	if (batond.again)
		batond.events = batond.again;
	for (size_t i = 0; go_on && events && events[i]; i++) {
		json_t *event = json_loads(events[i], 0, NULL);

		assert_non_null(event);
		batond.taken++;
		go_on = on_event(userdata, event);
		json_decref(event);
	}
	return events ? CLI_DONE : error_text(error, CLI_UNREACHABLE, "the connection broke");
}

bool cli_client_wait(struct cli_client *client, uint64_t timeout_ms)
{
	(void)client;
	assert_true(timeout_ms > 0);
	if (batond.returns == 0)
		return false;
	batond.returns--;
	batond.looks++;
	return true;
}

/* ---- running a command ---------------------------------------------------------------------- */

static int setup(void **state)
{
	(void)state;
	memset(&batond, 0, sizeof(batond));
	memset(&err, 0, sizeof(err));
	return 0;
}

/* What went to @fd since begin_capture() is in @text; @before is where it goes from now on. */
static void end_capture(FILE *file, int fd, int before, char *text, size_t size)
{
	size_t n;

	dup2(before, fd);
	close(before);
	rewind(file);
	n = fread(text, 1, size - 1, file);
	text[n] = '\0';
	fclose(file);
}

static int begin_capture(int fd, FILE **ret)
{
	int before = dup(fd);

	*ret = tmpfile();
	assert_non_null(*ret);
	assert_true(dup2(fileno(*ret), fd) >= 0);
	return before;
}

/* With stdout going into .output meanwhile, and stderr into .errors. */
static enum cli_exit run(enum cli_exit (*command)(const struct cli_options *, struct error *),
			 const struct cli_options *options)
{
	FILE *out_file, *err_file;
	int out_before, err_before;
	enum cli_exit r;

	fflush(stdout);
	out_before = begin_capture(STDOUT_FILENO, &out_file);
	err_before = begin_capture(STDERR_FILENO, &err_file);
	r = command(options, &err);
	fflush(stdout);
	fflush(stderr);
	end_capture(out_file, STDOUT_FILENO, out_before, output, sizeof(output));
	end_capture(err_file, STDERR_FILENO, err_before, errors, sizeof(errors));
	return r;
}
