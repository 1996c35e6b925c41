/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton-agent: one instance's parent. See agent/agent.h; batond starts it (orchestrator/).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/relay.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/protocol.h"

static const char usage[] =
	"Usage: baton-agent --spec-fd N --control-fd M\n"
	"\n"
	"Runs one instance of a service. Started by batond, not by hand.\n"
	"\n"
	"      --spec-fd N     launch specification (JSON, read from offset 0)\n"
	"      --control-fd M  listening AF_UNIX SOCK_SEQPACKET socket for orders\n"
	"      --version       print the version\n"
	"  -h, --help          print this\n";

struct arguments {
	int spec_fd;
	int control_fd;
};

static int parse_fd(const char *text)
{
	char *end;
	long fd;

	errno = 0;
	fd = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || fd <= STDERR_FILENO || fd > INT_MAX)
		return -EINVAL;
	return fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0 ? -EBADF : (int)fd;
}

/* Returns 0 to go on, else 1 + exit status. */
static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{"spec-fd", required_argument, NULL, 's'},
		{"control-fd", required_argument, NULL, 'c'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int option;

	*ret = (struct arguments){.spec_fd = -1, .control_fd = -1};
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 's':
			ret->spec_fd = parse_fd(optarg);
			break;
		case 'c':
			ret->control_fd = parse_fd(optarg);
			break;
		case 'v':
			printf("baton-agent %s\n", BATON_VERSION);
			return 1 + EXIT_SUCCESS;
		case 'h':
			fputs(usage, stdout);
			return 1 + EXIT_SUCCESS;
		default:
			fputs(usage, stderr);
			return 1 + 2;
		}
	}
	if (ret->spec_fd < 0 || ret->control_fd < 0 || ret->spec_fd == ret->control_fd ||
	    optind != argc) {
		fputs("baton-agent: --spec-fd and --control-fd must name two open descriptors\n",
		      stderr);
		return 1 + 2;
	}
	return 0;
}

/* The agent outlives batond: it must not keep anything of batond's open by accident. */
static void close_others(const struct arguments *arguments)
{
	unsigned a = (unsigned)arguments->spec_fd, b = (unsigned)arguments->control_fd;
	unsigned low = a < b ? a : b, high = a < b ? b : a;

	if (low > 3)
		close_range(3, low - 1, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	close_range(high + 1, UINT_MAX, 0);
}

static int open_stdio(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int read_spec(int fd, struct launch_spec *ret, struct error *err)
{
	cleanup_free char *text = malloc(PROTOCOL_SPEC_MAX + 1);
	size_t length = 0;
	ssize_t n = 1;

	if (!text)
		return error_set(err, -ENOMEM, "specification");
	while (n > 0 && length <= PROTOCOL_SPEC_MAX) {
		n = pread(fd, text + length, PROTOCOL_SPEC_MAX + 1 - length, (off_t)length);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			return error_set(err, -errno, "specification");
		else
			length += (size_t)n;
	}
	if (length > PROTOCOL_SPEC_MAX)
		return error_text(err, -EMSGSIZE, "specification: longer than %d bytes",
				  PROTOCOL_SPEC_MAX);
	return launch_spec_decode(text, length, ret, err);
}

static void become_independent(void)
{
	static const int ignored[] = {SIGPIPE, SIGHUP, SIGINT};

	/* Fails where it leads a process group already, for instance under a debugger. */
	(void)setsid();
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

int main(int argc, char **argv)
{
	struct launch_spec spec = {0};
	struct arguments arguments;
	struct error err;
	int r;

	r = open_stdio();
	if (r < 0)
		return EXIT_FAILURE;
	log_init("baton-agent", LOG_LEVEL_INFO);
	r = parse_arguments(argc, argv, &arguments);
	if (r > 0)
		return r - 1;
	close_others(&arguments);
	become_independent();
	relay_detach_stdio();
	r = read_spec(arguments.spec_fd, &spec, &err);
	if (r == 0 && fcntl(arguments.spec_fd, F_SETFD, FD_CLOEXEC) < 0)
		r = error_set(&err, -errno, "specification");
	if (r == 0)
		r = agent_run(&spec, arguments.spec_fd, arguments.control_fd, &err);
	if (r < 0)
		log_error("%s", err.text);
	launch_spec_done(&spec);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
