/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket, the launch specification, and the fork: what an agent begins with. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/memory_file.h"
#include "orchestrator/instance/agentlink_internal.h"

int agentlink_spec(const struct launch_spec *spec, const char *socket_path, int *ret_fd,
		   struct error *err)
{
	cleanup_free char *folder = strdup(socket_path);
	cleanup_free char *text = NULL;
	size_t length;
	int r;

	if (!folder)
		return error_set(err, -ENOMEM, "launch specification");
	r = launch_spec_encode(spec, &text, &length);
	if (r < 0)
		return error_set(err, r, "encode the launch specification");
	return memory_file_make("baton-launch-spec", text, length, false, dirname(folder), ret_fd,
				err);
}

int agentlink_pair(const char *path, int *ret_listen_fd, int *ret_fd, struct error *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	cleanup_close int listen_fd = -1, fd = -1;

	if (strlen(path) >= sizeof(sun.sun_path))
		return error_text(err, -ENAMETOOLONG,
				  "%s: longer than a unix socket's path may be (%zu); use shorter "
				  "names",
				  path, sizeof(sun.sun_path) - 1);
	strcpy(sun.sun_path, path);
	listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listen_fd < 0 || fd < 0)
		return error_set(err, -errno, "control socket");
	unlink(path);
	if (bind(listen_fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return error_set(err, -errno, "bind %s", path);
	if (listen(listen_fd, 4) < 0)
		return error_set(err, -errno, "listen %s", path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return error_set(err, -errno, "connect %s", path);
	*ret_listen_fd = TAKE_FD(listen_fd);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Runs in the child, so it calls only async-signal-safe functions. */
static void __attribute__((noreturn)) exec_agent(const struct agent_start *start, char *const *argv)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fcntl(start->spec_fd, F_SETFD, 0);
	fcntl(start->control_fd, F_SETFD, 0);
	for (size_t i = 0; i < start->n_socket_fds; i++)
		fcntl(start->socket_fds[i], F_SETFD, 0);
	if (start->handover_fd >= 0)
		fcntl(start->handover_fd, F_SETFD, 0);
	execv(start->program, argv);
	_exit(127);
}

/* "5,6,7" */
static void list_fds(const struct agent_start *start, char ret[static 16 * PROTOCOL_LISTEN_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < start->n_socket_fds; i++)
		n += (size_t)snprintf(ret + n, 16 * PROTOCOL_LISTEN_MAX - n, "%s%d",
				      i > 0 ? "," : "", start->socket_fds[i]);
}

/* The agent's arguments, with the texts that they point to. */
struct agent_argv {
	char spec[16], control[16], fds[16 * PROTOCOL_LISTEN_MAX];
	char *argv[8];
};

static void make_argv(const struct agent_start *start, struct agent_argv *ret)
{
	size_t n = 0;

	snprintf(ret->spec, sizeof(ret->spec), "%d", start->spec_fd);
	snprintf(ret->control, sizeof(ret->control), "%d", start->control_fd);
	ret->argv[n++] = (char *)"baton-agent";
	ret->argv[n++] = (char *)"--spec-fd";
	ret->argv[n++] = ret->spec;
	ret->argv[n++] = (char *)"--control-fd";
	ret->argv[n++] = ret->control;
	if (start->handover_fd >= 0) {
		snprintf(ret->fds, sizeof(ret->fds), "%d", start->handover_fd);
		ret->argv[n++] = (char *)"--handover-fd";
		ret->argv[n++] = ret->fds;
	} else if (start->n_socket_fds > 0) {
		list_fds(start, ret->fds);
		ret->argv[n++] = (char *)"--socket-fds";
		ret->argv[n++] = ret->fds;
	}
	ret->argv[n] = NULL;
}

int agentlink_fork(const struct agent_start *start, pid_t *ret_pid, struct error *err)
{
	struct agent_argv argv;
	pid_t pid;

	make_argv(start, &argv);
	if (access(start->program, X_OK) < 0)
		return error_set(err, -errno, "%s", start->program);
	pid = fork();
	if (pid < 0)
		return error_set(err, -errno, "start %s", start->program);
	if (pid == 0)
		exec_agent(start, argv.argv);
	*ret_pid = pid;
	return 0;
}
