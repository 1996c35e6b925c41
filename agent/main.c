/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton-agent: the parent of one instance's server. batond starts it; agent.h says what it does.
 * Here are the command line, and what makes the process independent of batond.
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
#include "agent/memory.h"
#include "agent/relay.h"
#include "common/cleanup.h"
#include "common/closing.h"
#include "common/handover.h"
#include "common/log.h"
#include "common/open_files.h"
#include "common/protocol.h"

static const char usage[] =
	"Usage: baton-agent --spec-fd N --control-fd M [--socket-fds A,B... | --handover-fd H]\n"
	"\n"
	"Runs one instance of a service. Started by batond, not by hand.\n"
	"\n"
	"      --spec-fd N     launch specification (JSON, read from offset 0)\n"
	"      --control-fd M  listening AF_UNIX SOCK_SEQPACKET socket for orders\n"
	"      --socket-fds A,B...\n"
	"                      the service's listening sockets, in the specification's order\n"
	"      --handover-fd H what an agent that was killed has noted: go on with its server\n"
	"      --version       print the version\n"
	"  -h, --help          print this\n";

struct arguments {
	int spec_fd;
	int control_fd;
	int handover_fd; /* -1: none */
	int socket_fds[PROTOCOL_LISTEN_MAX];
	size_t n_socket_fds;
	bool bad;
};

static int parse_fd(const char *text, const char **ret_end)
{
	char *end;
	long fd;

	errno = 0;
	fd = strtol(text, &end, 10);
	if (errno != 0 || end == text || fd <= STDERR_FILENO || fd > INT_MAX)
		return -EINVAL;
	*ret_end = end;
	return fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0 ? -EBADF : (int)fd;
}

static int parse_only_fd(const char *text)
{
	const char *end;
	int fd = parse_fd(text, &end);

	return fd >= 0 && *end != '\0' ? -EINVAL : fd;
}

/* Numbers separated by commas; none may come twice. */
static int parse_fds(const char *text, struct arguments *ret)
{
	for (ret->n_socket_fds = 0; ret->n_socket_fds < PROTOCOL_LISTEN_MAX; text++) {
		int fd = parse_fd(text, &text);

		if (fd < 0)
			return fd;
		for (size_t i = 0; i < ret->n_socket_fds; i++)
			if (ret->socket_fds[i] == fd)
				return -EINVAL;
		ret->socket_fds[ret->n_socket_fds++] = fd;
		if (*text != ',')
			return *text == '\0' ? 0 : -EINVAL;
	}
	return -E2BIG;
}

/* Is @fd one of the sockets? */
static bool is_socket_fd(const struct arguments *arguments, int fd)
{
	for (size_t i = 0; i < arguments->n_socket_fds; i++)
		if (arguments->socket_fds[i] == fd)
			return true;
	return false;
}

static bool is_good_handover(const struct arguments *arguments)
{
	int fd = arguments->handover_fd;

	return fd >= 0 && fd != arguments->spec_fd && fd != arguments->control_fd &&
	       arguments->n_socket_fds == 0;
}

static bool are_good(const struct arguments *arguments)
{
	return !arguments->bad && arguments->spec_fd >= 0 && arguments->control_fd >= 0 &&
	       arguments->spec_fd != arguments->control_fd &&
	       (arguments->handover_fd == -1 || is_good_handover(arguments)) &&
	       !is_socket_fd(arguments, arguments->spec_fd) &&
	       !is_socket_fd(arguments, arguments->control_fd);
}

/* Returns 0 to go on, or 1 + the exit status. */
static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{"spec-fd", required_argument, NULL, 's'},
		{"control-fd", required_argument, NULL, 'c'},
		{"socket-fds", required_argument, NULL, 'l'},
		{"handover-fd", required_argument, NULL, 'o'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int option;

	*ret = (struct arguments){.spec_fd = -1, .control_fd = -1, .handover_fd = -1};
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 's':
			ret->spec_fd = parse_only_fd(optarg);
			break;
		case 'c':
			ret->control_fd = parse_only_fd(optarg);
			break;
		case 'l':
			ret->bad |= parse_fds(optarg, ret) < 0;
			break;
		case 'o':
			ret->handover_fd = parse_only_fd(optarg);
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
	if (are_good(ret) && optind == argc)
		return 0;
	fputs("baton-agent: --spec-fd, --control-fd, --socket-fds and --handover-fd must name "
	      "open descriptors, each another one\n",
	      stderr);
	return 1 + 2;
}

static int compare_fds(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return (x > y) - (x < y);
}

/* Close all other descriptors: the agent outlives batond, and must not keep its files open. */
static void close_others(const struct arguments *arguments)
{
	unsigned keep[3 + PROTOCOL_LISTEN_MAX] = {(unsigned)arguments->spec_fd,
						  (unsigned)arguments->control_fd};
	size_t n = 2;
	unsigned next = STDERR_FILENO + 1;

	for (size_t i = 0; i < arguments->n_socket_fds; i++)
		keep[n++] = (unsigned)arguments->socket_fds[i];
	if (arguments->handover_fd >= 0)
		keep[n++] = (unsigned)arguments->handover_fd;
	qsort(keep, n, sizeof(keep[0]), compare_fds);
	for (size_t i = 0; i < n; i++) {
		if (keep[i] > next)
			(void)closing_range(next, keep[i] - 1);
		next = keep[i] + 1;
	}
	(void)closing_range(next, UINT_MAX);
}

/* Make sure that descriptors 0, 1 and 2 are open: no other file may get their numbers. */
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

/* @spec->sockets_given: by batond, to the agent that started the server. */
static int check_sockets(const struct arguments *arguments, const struct launch_spec *spec,
			 struct error *err)
{
	if (arguments->handover_fd >= 0 || !spec->sockets_given ||
	    arguments->n_socket_fds == spec->n_listen)
		return 0;
	return error_text(err, -EINVAL, "%zu listening sockets were given for %zu addresses",
			  arguments->n_socket_fds, spec->n_listen);
}

static int run(const struct arguments *arguments, struct error *err)
{
	cleanup(handover_done) struct handover *handover = NULL;
	struct handover read = {};
	struct launch_spec spec = {0};
	bool given;
	int r;

	r = read_spec(arguments->spec_fd, &spec, err);
	if (r == 0)
		r = check_sockets(arguments, &spec, err);
	if (r == 0 && arguments->handover_fd >= 0) {
		r = handover_read_fd(arguments->handover_fd, &read, err);
		handover = &read;
		close(arguments->handover_fd);
	}
	given = spec.sockets_given && !handover;
	for (size_t i = 0; r == 0 && !given && i < arguments->n_socket_fds; i++)
		close(arguments->socket_fds[i]);
	if (r == 0)
		r = agent_run(&spec, arguments->spec_fd, arguments->control_fd,
			      given ? arguments->socket_fds : NULL, handover, err);
	launch_spec_done(&spec);
	return r;
}

static void become_independent(void)
{
	/* SIGXFSZ: instead the relay gets EFBIG for a file that may not grow. */
	static const int ignored[] = {SIGPIPE, SIGHUP, SIGINT, SIGXFSZ};

	/* It fails if the agent leads a process group already, for example under a debugger. */
	(void)setsid();
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	/* Started by a descriptor, it would be called by its number. */
	(void)prctl(PR_SET_NAME, "baton-agent", 0, 0, 0);
}

int main(int argc, char **argv)
{
	struct arguments arguments;
	struct error err;
	int r;

	memory_prepare();
	r = open_stdio();
	if (r < 0)
		return EXIT_FAILURE;
	log_init("baton-agent", LOG_LEVEL_INFO);
	r = parse_arguments(argc, argv, &arguments);
	if (r > 0)
		return r - 1;
	close_others(&arguments);
	become_independent();
	/* A duplicate of each listening socket is kept. */
	open_files_raise();
	relay_detach_stdio();
	r = run(&arguments, &err);
	if (r < 0)
		log_error("%s", err.text);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
