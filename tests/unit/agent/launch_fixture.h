/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * launch_fixture: launch() with a shell script as the server; what it writes and how it ends is
 * collected. Included after cmocka.h.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/launch.h"
#include "common/clock.h"
#include "tests/unit/fakes/netns.h"

#define NOBODY     65534
#define OUTPUT_MAX 8192

struct fixture {
	struct processes *processes;
	struct address addresses[2];
	struct launch_spec spec;
	struct listeners listeners;
	struct launch request;
	char *argv[4];
	char *environment[8];
	char folder[64];
	char output[OUTPUT_MAX];
	int status;
	struct error err;
};

static inline int setup(void **data)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	strcpy(fixture.folder, "/tmp/test_launch.XXXXXX");
	if (!mkdtemp(fixture.folder) || chmod(fixture.folder, 0755) < 0)
		return -1;
	fixture.spec = (struct launch_spec){
		.service = (char *)"web",
		.mode = SOCKETS_INHERIT,
		.generation = 7,
		.instance = 2,
		.listen = fixture.addresses,
		.backlog = 5,
		.executable = (char *)"/bin/sh",
		.argv = fixture.argv,
		.environment = fixture.environment,
		.directory = (char *)"/",
	};
	fixture.request = (struct launch){
		.spec = &fixture.spec,
		.listeners = &fixture.listeners,
	};
	process_settings_init(&fixture.spec.process);
	if (processes_new(NULL, getpid(), &fixture.processes) < 0)
		return -1;
	fixture.request.processes = fixture.processes;
	fixture.argv[0] = (char *)"sh";
	fixture.argv[1] = (char *)"-c";
	fixture.environment[0] = (char *)"PATH=/usr/bin:/bin";
	*data = &fixture;
	return 0;
}

static inline int teardown(void **data)
{
	struct fixture *fixture = *data;

	listeners_close(&fixture->listeners);
	listeners_done(&fixture->listeners);
	processes_free(fixture->processes);
	return rmdir(fixture->folder);
}

static inline void listen_on(struct fixture *fixture, const char *first, const char *second)
{
	assert_int_equal(address_parse(first, &fixture->addresses[0], &fixture->err), 0);
	fixture->spec.n_listen = 1;
	if (second) {
		assert_int_equal(address_parse(second, &fixture->addresses[1], &fixture->err), 0);
		fixture->spec.n_listen = 2;
	}
	assert_int_equal(listeners_open(&fixture->spec, fixture->processes, NULL,
					&fixture->listeners, &fixture->err),
			 0);
}

static inline void read_all(int fd, char output[OUTPUT_MAX])
{
	size_t n = 0;
	ssize_t r;

	while (n < OUTPUT_MAX - 1 && (r = read(fd, output + n, OUTPUT_MAX - 1 - n)) > 0)
		n += (size_t)r;
	output[n] = '\0';
}

/* What the agent's loop does. A child that has failed is reaped. */
static inline int launch(const struct launch *request, pid_t *ret_pid, struct error *err)
{
	struct launching launching;
	struct pollfd waiting = {.events = POLLIN};
	pid_t pid;
	int r = launch_begin(request, &launching, err);

	if (r < 0)
		return r;
	waiting.fd = launching.fd;
	assert_int_equal(poll(&waiting, 1, 10000), 1);
	pid = launching.pid;
	r = launch_end(&launching, request->spec, err);
	assert_int_equal(launching.pid, 0);
	assert_int_equal(launching.fd, -1);
	if (r < 0)
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	else
		*ret_pid = pid;
	return r;
}

/* Launch, and when that has worked, collect what it writes and how it ends. */
static inline int run(struct fixture *fixture, pid_t *ret_pid)
{
	int fds[2], r;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fixture->request.stdout_fd = fixture->request.stderr_fd = fds[1];
	r = launch(&fixture->request, ret_pid, &fixture->err);
	close(fds[1]);
	if (r == 0) {
		read_all(fds[0], fixture->output);
		assert_int_equal(waitpid(*ret_pid, &fixture->status, 0), *ret_pid);
	}
	close(fds[0]);
	return r;
}

static inline pid_t run_script(struct fixture *fixture, const char *script)
{
	pid_t pid = 0;

	fixture->argv[2] = (char *)script;
	if (run(fixture, &pid) < 0)
		fail_msg("%s", fixture->err.text);
	return pid;
}

static inline void check_line(const struct fixture *fixture, const char *line)
{
	char wanted[512];

	snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	if (strncmp(fixture->output, wanted + 1, strlen(wanted + 1)) != 0 &&
	    !strstr(fixture->output, wanted))
		fail_msg("no line \"%s\" in:\n%s", line, fixture->output);
}

static inline size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static inline void check_failure(struct fixture *fixture, int expected, const char *text)
{
	pid_t pid = 0;

	fixture->argv[2] = (char *)"exit 0";
	assert_int_equal(run(fixture, &pid), expected);
	assert_string_equal(fixture->err.text, text);
	assert_int_equal(pid, 0);
	/* The child has been reaped. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}
