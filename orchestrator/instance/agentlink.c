/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/agentlink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/message.h"
#include "common/versions.h"

struct agentlink {
	const struct agentlink_callbacks *callbacks;
	void *userdata;
	pid_t pid;
	int pidfd; /* -1: the system forbids pidfd_open(2), or it had ended by then */
	int fd;
	uint32_t version;   /* that is spoken; 0: no hello has come */
	struct error unfit; /* no version is spoken by both; .text is "" else */
	sd_event_source *io;
	char buffer[PROTOCOL_MESSAGE_MAX + 1];
};

/* ---- starting ------------------------------------------------------------------------------- */

/* The launch specification as a sealed file that only the agent will read. */
static int spec_fd(const struct launch_spec *spec, int *ret_fd, struct error *err)
{
	cleanup_close int fd = -1;
	cleanup_free char *text = NULL;
	size_t length;
	int r;

	r = launch_spec_encode(spec, &text, &length);
	if (r < 0)
		return error_set(err, r, "encode the launch specification");
	fd = memfd_create("baton-launch-spec", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return error_set(err, -errno, "make a file in memory for the launch specification");
	if (pwrite(fd, text, length, 0) != (ssize_t)length)
		return error_set(err, -EIO, "write the launch specification");
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return error_set(err, -errno, "seal the launch specification");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* A listening control socket and a connection to it. */
static int control_pair(const char *path, int *ret_listen_fd, int *ret_fd, struct error *err)
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

/* The agent's program and descriptors, which are close-on-exec here, and not in the child. */
struct start {
	const char *program;
	int spec_fd;
	int control_fd;
	const int *socket_fds;
	size_t n_socket_fds;
	int handover_fd; /* -1: none */
};

/* Runs in the child, so it calls only async-signal-safe functions. */
static void __attribute__((noreturn)) exec_agent(const struct start *start, char *const *argv)
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
static void list_fds(const struct start *start, char ret[static 16 * PROTOCOL_LISTEN_MAX])
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

static void make_argv(const struct start *start, struct agent_argv *ret)
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

static int fork_agent(const struct start *start, pid_t *ret_pid, struct error *err)
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

/* ---- talking -------------------------------------------------------------------------------- */

static void lose(struct agentlink *link)
{
	if (link->fd < 0)
		return;
	link->io = sd_event_source_disable_unref(link->io);
	close(TAKE_FD(link->fd));
	link->callbacks->on_lost(link->userdata);
}

/*
 * The agent may be of another version of baton, and its hello one that cannot be read here: so the
 * versions are asked about first.
 */
static int meet(struct agentlink *link, size_t length, struct error *err)
{
	static const struct version_range ours = {PROTOCOL_OLDEST, PROTOCOL_VERSION};
	uint32_t version;
	int r = versions_meet(link->buffer, length, &ours, &version, err);

	if (r < 0)
		link->unfit = *err;
	else if (version > 0)
		link->version = version;
	return r;
}

/* As report_decode(); -EPROTONOSUPPORT: it is the hello of an agent that cannot be talked to. */
static int decode(struct agentlink *link, size_t length, struct report *ret, struct error *err)
{
	struct error why;
	int r = report_decode(link->buffer, length, ret, err);

	if (r == 0 && ret->type != REPORT_HELLO)
		return 0;
	if (meet(link, length, &why) < 0) {
		*err = why;
		return -EPROTONOSUPPORT;
	}
	/* An agent that says one number expects no answer. One that gets none speaks the oldest. */
	if (r == 0 && ret->newest > 0)
		(void)agentlink_order(
			link, &(struct order){.type = ORDER_VERSION, .version = link->version});
	return r;
}

/* Returns 1: there may be more; 0: there is nothing now; a negative errno: the link has ended. */
static int receive_one(struct agentlink *link)
{
	int fds[PROTOCOL_FDS_MAX];
	struct report report;
	struct error err;
	size_t length, n_fds;
	int r;

	r = message_receive(link->fd, link->buffer, sizeof(link->buffer), &length, fds,
			    PROTOCOL_FDS_MAX, &n_fds);
	if (r == -EAGAIN)
		return 0;
	if (r == -EMSGSIZE) {
		log_warning("agent %d: a report is ignored: it is longer than %d bytes, or carries "
			    "more than %d descriptors",
			    (int)link->pid, PROTOCOL_MESSAGE_MAX, PROTOCOL_FDS_MAX);
		return 1;
	}
	if (r < 0 || length == 0)
		return r < 0 ? r : -ECONNRESET;
	r = decode(link, length, &report, &err);
	if (r == -EPROTONOSUPPORT)
		log_error("agent %d: %s", (int)link->pid, err.text);
	else if (r < 0)
		log_warning("agent %d: a report is ignored, as it cannot be read: %s",
			    (int)link->pid, err.text);
	else
		link->callbacks->on_report(link->userdata, &report, fds, n_fds);
	for (size_t i = 0; i < n_fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return r == -EPROTONOSUPPORT ? r : 1;
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct agentlink *link = userdata;

	(void)source;
	(void)fd;
	(void)events;
	/* One message a turn, so that others have theirs: the loop will call again for the rest. */
	if (receive_one(link) < 0)
		lose(link);
	return 0;
}

/* Reaps an agent that has ended. on_lost is called when its connection ends. */
static int on_agent_exit(sd_event_source *source, const siginfo_t *info, void *userdata)
{
	(void)userdata;
	/* Only the loop owns the source: if it no longer does, the source and its pidfd are freed.
	 */
	sd_event_source_set_floating(source, false);
	if (info->si_code != CLD_EXITED || info->si_status != 0)
		log_warning("agent %d ended with %s %d", (int)info->si_pid,
			    info->si_code == CLD_EXITED ? "status" : "signal", info->si_status);
	return 0;
}

/* @start has the program and the descriptors that only some agents get. */
static int start_agent(sd_event *event, const char *socket_path, const struct launch_spec *spec,
		       struct start *start, const struct agentlink_callbacks *callbacks,
		       void *userdata, struct agentlink **ret, struct error *err)
{
	cleanup(agentlink_free) struct agentlink *link = calloc(1, sizeof(*link));
	cleanup_close int spec_file = -1, control = -1;
	int r;

	if (!link)
		return error_set(err, -ENOMEM, "agent");
	link->fd = link->pidfd = -1;
	link->callbacks = callbacks;
	link->userdata = userdata;
	r = spec_fd(spec, &spec_file, err);
	if (r < 0)
		return error_prefix(err, r, "agent");
	r = control_pair(socket_path, &control, &link->fd, err);
	if (r < 0)
		return error_prefix(err, r, "agent");
	r = sd_event_add_io(event, &link->io, link->fd, EPOLLIN, on_readable, link);
	if (r < 0)
		return error_set(err, r, "agent: watch the control socket");
	start->spec_fd = spec_file;
	start->control_fd = control;
	r = fork_agent(start, &link->pid, err);
	if (r < 0) {
		unlink(socket_path);
		return error_prefix(err, r, "agent");
	}
	/* It is a child that has not been reaped: the pid is its own. */
	link->pidfd = pidfd_open(link->pid, 0);
	/* Without a pointer to the source the loop owns it, until on_agent_exit() (floating). */
	r = sd_event_add_child(event, NULL, link->pid, WEXITED, on_agent_exit, NULL);
	if (r < 0)
		log_warning("agent %d cannot be watched: %s", (int)link->pid, strerror(-r));
	*ret = TAKE_PTR(link);
	return 0;
}

int agentlink_start(sd_event *event, const char *program, const char *socket_path,
		    const struct launch_spec *spec, const int *socket_fds,
		    const struct agentlink_callbacks *callbacks, void *userdata,
		    struct agentlink **ret, struct error *err)
{
	struct start start = {
		.program = program,
		.socket_fds = socket_fds,
		.n_socket_fds = spec->sockets_given ? spec->n_listen : 0,
		.handover_fd = -1,
	};

	if (spec->sockets_given && !socket_fds)
		return error_text(err, -EINVAL, "agent: no sockets to give it");
	return start_agent(event, socket_path, spec, &start, callbacks, userdata, ret, err);
}

int agentlink_adopt(sd_event *event, const char *program, const char *socket_path,
		    const struct launch_spec *spec, int handover_fd,
		    const struct agentlink_callbacks *callbacks, void *userdata,
		    struct agentlink **ret, struct error *err)
{
	struct start start = {.program = program, .handover_fd = handover_fd};

	return start_agent(event, socket_path, spec, &start, callbacks, userdata, ret, err);
}

static int connect_to(const char *path, int *ret_fd, struct error *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return error_set(err, -errno, "control socket");
	if (strlen(path) >= sizeof(sun.sun_path))
		return error_text(err, -ENAMETOOLONG, "%s: too long for a unix socket", path);
	strcpy(sun.sun_path, path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return error_set(err, -errno, "connect");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static bool has_hung_up(const struct agentlink *link)
{
	struct pollfd poller = {.fd = link->fd};

	return poll(&poller, 1, 0) > 0 && (poller.revents & (POLLHUP | POLLERR));
}

int agentlink_receive(struct agentlink *link, int timeout_ms, enum report_type type,
		      struct report *ret, int *ret_fds, size_t *ret_n_fds, struct error *err)
{
	const char *name = report_type_name(type);
	struct pollfd waiting = {.fd = link->fd, .events = POLLIN};
	size_t length = 0;
	int r;

	if (poll(&waiting, 1, timeout_ms) <= 0)
		return error_text(err, -ETIMEDOUT, "no %s within %d ms", name, timeout_ms);
	r = message_receive(link->fd, link->buffer, sizeof(link->buffer), &length, ret_fds,
			    PROTOCOL_FDS_MAX, ret_n_fds);
	if (r < 0)
		return error_set(err, r, "%s", name);
	if (length == 0)
		return error_text(err, -ECONNRESET, "it closed the connection");
	r = decode(link, length, ret, err);
	if (r >= 0 && ret->type != type)
		r = error_text(err, -EBADMSG, "it began with %s, not with %s",
			       report_type_name(ret->type), name);
	if (r < 0)
		for (size_t k = 0; k < *ret_n_fds; k++)
			close(ret_fds[k]);
	return r;
}

int agentlink_connect(sd_event *event, const char *socket_path, int timeout_ms,
		      struct agentlink **ret, struct report *ret_hello, int *ret_fds,
		      size_t *ret_n_fds, struct error *err)
{
	cleanup(agentlink_free) struct agentlink *link = calloc(1, sizeof(*link));
	int r;

	if (!link)
		return error_set(err, -ENOMEM, "agent");
	link->fd = link->pidfd = -1;
	r = connect_to(socket_path, &link->fd, err);
	if (r < 0)
		return r;
	r = agentlink_receive(link, timeout_ms, REPORT_HELLO, ret_hello, ret_fds, ret_n_fds, err);
	if (r < 0)
		return r;
	link->pid = ret_hello->agent_pid;
	link->pidfd = pidfd_open(link->pid, 0);
	/* Its end of the connection is its own: while that is open the pid is, too. */
	if (link->pidfd >= 0 && has_hung_up(link))
		close(TAKE_FD(link->pidfd));
	r = sd_event_add_io(event, &link->io, link->fd, EPOLLIN, on_readable, link);
	if (r >= 0)
		r = sd_event_source_set_enabled(link->io, SD_EVENT_OFF);
	if (r < 0) {
		for (size_t k = 0; k < *ret_n_fds; k++)
			close(ret_fds[k]);
		return error_set(err, r, "watch the control socket");
	}
	*ret = TAKE_PTR(link);
	return 0;
}

int agentlink_adopt_wait(sd_event *event, const char *program, const char *socket_path,
			 const struct launch_spec *spec, int handover_fd, int timeout_ms,
			 struct agentlink **ret, struct report *ret_hello, int *ret_fds,
			 size_t *ret_n_fds, struct error *err)
{
	cleanup(agentlink_free) struct agentlink *link = NULL;
	int r;

	r = agentlink_adopt(event, program, socket_path, spec, handover_fd, NULL, NULL, &link, err);
	if (r < 0)
		return r;
	/* As of agentlink_connect(): no callback before agentlink_listen(). */
	(void)sd_event_source_set_enabled(link->io, SD_EVENT_OFF);
	r = agentlink_receive(link, timeout_ms, REPORT_HELLO, ret_hello, ret_fds, ret_n_fds, err);
	if (r < 0) {
		(void)agentlink_signal(link, SIGKILL);
		return r;
	}
	*ret = TAKE_PTR(link);
	return 0;
}

void agentlink_listen(struct agentlink *link, const struct agentlink_callbacks *callbacks,
		      void *userdata)
{
	link->callbacks = callbacks;
	link->userdata = userdata;
	sd_event_source_set_enabled(link->io, SD_EVENT_ON);
}

void agentlink_free(struct agentlink *link)
{
	if (!link)
		return;
	sd_event_source_disable_unref(link->io);
	if (link->fd >= 0)
		close(link->fd);
	if (link->pidfd >= 0)
		close(link->pidfd);
	free(link);
}

pid_t agentlink_pid(const struct agentlink *link)
{
	return link->pid;
}

uint32_t agentlink_version(const struct agentlink *link)
{
	return link->version;
}

const char *agentlink_unfit(const struct agentlink *link)
{
	return link->unfit.text[0] ? link->unfit.text : NULL;
}

int agentlink_signal(const struct agentlink *link, int signal)
{
	int r;

	if (link->pidfd >= 0)
		r = pidfd_send_signal(link->pidfd, signal, NULL, 0);
	else if (link->fd >= 0 && !has_hung_up(link))
		r = kill(link->pid, signal);
	else
		return -ESRCH;
	return r < 0 ? -errno : 0;
}

int agentlink_order(struct agentlink *link, const struct order *order)
{
	return agentlink_order_with(link, order, NULL, 0);
}

int agentlink_order_with(struct agentlink *link, const struct order *order, const int *fds,
			 size_t n_fds)
{
	cleanup_free char *text = NULL;
	size_t length;
	int r;

	if (link->fd < 0)
		return -ENOTCONN;
	r = order_encode(order, &text, &length);
	if (r < 0)
		return r;
	return message_send(link->fd, text, length, fds, n_fds);
}
