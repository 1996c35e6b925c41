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

#include "common/clock.h"
#include "common/duration.h"
#include "common/log.h"
#include "common/message.h"
#include "common/pidfds.h"
#include "common/timer.h"

/* The first one, unless the connection before was a short one, is made at once. */
#define RETRY_MS     20
#define RETRY_MAX_MS 1000
#define SHORT_MS     1000

struct agentlink {
	const struct agentlink_callbacks *callbacks;
	void *userdata;
	sd_event *event;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	pid_t pid;
	int pidfd; /* -1: the system forbids pidfd_open(2), it had ended by then, or is not known */
	int fd;    /* -1: there is no connection */
	sd_event_source *io;
	sd_event_source *end;  /* of .pidfd, while the agent has not greeted */
	struct timer timer;    /* until the next try, or the deadline */
	uint64_t deadline_ms;  /* until when it is to greet; 0: it has, or none is set */
	uint64_t connected_ms; /* when the connection was made */
	uint32_t retry_ms;     /* the delay before the next try */
	bool greets;           /* its hello is not whole yet */
	bool hung_up;          /* it has lost a connection, and not greeted since */
	bool lost;             /* on_lost has been called */
	enum agentlink_loss loss;
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

static uint32_t greeting_ms = AGENTLINK_DEADLINE_MS;

void agentlink_set_deadline(uint32_t deadline_ms)
{
	greeting_ms = deadline_ms;
}

uint32_t agentlink_deadline(void)
{
	return greeting_ms;
}

static void disconnect(struct agentlink *link)
{
	link->io = sd_event_source_disable_unref(link->io);
	if (link->fd >= 0)
		close(TAKE_FD(link->fd));
}

/* It has greeted, or never will. */
static void stop_waiting(struct agentlink *link)
{
	link->end = sd_event_source_disable_unref(link->end);
	timer_done(&link->timer);
	link->deadline_ms = 0;
	link->greets = link->hung_up = false;
	link->retry_ms = 0;
}

static void lose(struct agentlink *link, enum agentlink_loss loss)
{
	if (link->lost)
		return;
	stop_waiting(link);
	disconnect(link);
	link->lost = true;
	link->loss = loss;
	link->callbacks->on_lost(link->userdata);
}

/*
 * Only an agent that the kernel shows to be alive is worth another try. Whoever is not known is
 * alive if somebody listens at the socket.
 */
static bool is_dead(const struct agentlink *link)
{
	return link->pidfd >= 0 && !pidfds_alive(link->pidfd);
}

static void await_greeting(struct agentlink *link, bool now);

static bool has_hung_up(const struct agentlink *link)
{
	struct pollfd poller = {.fd = link->fd};

	return poll(&poller, 1, 0) > 0 && (poller.revents & (POLLHUP | POLLERR));
}

static void take_pid(struct agentlink *link, pid_t pid)
{
	if (pid <= 0 || (link->pid == pid && link->pidfd >= 0))
		return;
	link->end = sd_event_source_disable_unref(link->end);
	if (link->pidfd >= 0)
		close(TAKE_FD(link->pidfd));
	link->pid = pid;
	link->pidfd = pidfd_open(pid, 0);
	/* Its end of the connection is its own: while that is open the pid is, too. */
	if (link->pidfd >= 0 && has_hung_up(link))
		close(TAKE_FD(link->pidfd));
}

/* Its hello, and the reports right behind it for which that had no room. */
static void take_greeting(struct agentlink *link, const struct report *report)
{
	bool hello = report->type == REPORT_HELLO;

	if (hello)
		take_pid(link, report->agent_pid);
	if (!link->greets || !(hello || report->type == REPORT_SOCKETS) || report->more > 0)
		return;
	if (link->hung_up)
		log_info("agent %d has taken a new connection", (int)link->pid);
	stop_waiting(link);
}

#define WHO_MAX (sizeof(((struct sockaddr_un *)NULL)->sun_path) + 16)

/* By its pid, if that is known. Returns @ret. */
static char *describe(const struct agentlink *link, char ret[static WHO_MAX])
{
	if (link->pid > 0)
		snprintf(ret, WHO_MAX, "agent %d", (int)link->pid);
	else
		snprintf(ret, WHO_MAX, "agent at %s", link->path);
	return ret;
}

/* Returns 1: there may be more; 0: there is nothing now; a negative errno: the link has ended. */
static int receive_one(struct agentlink *link)
{
	int fds[PROTOCOL_FDS_MAX];
	struct report report;
	char who[WHO_MAX];
	struct error err;
	size_t length, n_fds;
	int r;

	r = message_receive(link->fd, link->buffer, sizeof(link->buffer), &length, fds,
			    PROTOCOL_FDS_MAX, &n_fds);
	if (r == -EAGAIN)
		return 0;
	if (r == -EMSGSIZE) {
		log_warning("%s: a report is ignored: it is longer than %d bytes, or carries "
			    "more than %d descriptors",
			    describe(link, who), PROTOCOL_MESSAGE_MAX, PROTOCOL_FDS_MAX);
		return 1;
	}
	if (r < 0 || length == 0)
		return r < 0 ? r : -ECONNRESET;
	r = report_decode(link->buffer, length, &report, &err);
	if (r < 0) {
		log_warning("%s: a report is ignored, as it cannot be read: %s",
			    describe(link, who), err.text);
	} else {
		take_greeting(link, &report);
		link->callbacks->on_report(link->userdata, &report, fds, n_fds);
	}
	for (size_t i = 0; i < n_fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return 1;
}

/* The connection has ended. */
static void hang_up(struct agentlink *link)
{
	bool greeted = !link->greets && !link->hung_up;

	disconnect(link);
	if (link->pidfd < 0 && !link->greets) {
		lose(link, AGENTLINK_ENDED); /* as far as anybody can tell */
		return;
	}
	if (is_dead(link)) {
		lose(link, AGENTLINK_ENDED);
		return;
	}
	link->hung_up |= greeted;
	if (greeted && link->callbacks->on_hung_up)
		link->callbacks->on_hung_up(link->userdata);
	await_greeting(link, greeted && clock_monotonic_ms() - link->connected_ms >= SHORT_MS);
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct agentlink *link = userdata;

	(void)source;
	(void)fd;
	(void)events;
	/* One message a turn, so that others have theirs: the loop will call again for the rest. */
	if (receive_one(link) < 0)
		hang_up(link);
	return 0;
}

/* ---- waiting for it to greet ---------------------------------------------------------------- */

static int connect_to(const char *path, int *ret_fd)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	strcpy(sun.sun_path, path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* -EAGAIN: its queue of connections is full; others have tried, too, and it does not accept. */
static int try_connect(struct agentlink *link)
{
	int r = connect_to(link->path, &link->fd);

	if (r < 0)
		return r;
	link->connected_ms = clock_monotonic_ms();
	link->greets = true;
	r = sd_event_add_io(link->event, &link->io, link->fd, EPOLLIN, on_readable, link);
	if (r < 0)
		disconnect(link);
	else if (link->hung_up)
		log_warning("agent %d has closed its connection to batond, and lives: it is asked "
			    "anew",
			    (int)link->pid);
	return r;
}

static int on_end(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct agentlink *link = userdata;

	(void)source;
	(void)fd;
	(void)events;
	/* What it has said before is still to be read; the end of that is seen, too. */
	if (link->fd >= 0)
		return sd_event_source_set_enabled(link->end, SD_EVENT_OFF);
	lose(link, link->loss);
	return 0;
}

/* Without this a try or the deadline finds out. */
static void watch_end(struct agentlink *link)
{
	if (link->pidfd < 0 || link->end)
		return;
	if (sd_event_add_io(link->event, &link->end, link->pidfd, EPOLLIN, on_end, link) < 0)
		log_warning("agent %d: its end is not watched: out of memory", (int)link->pid);
}

static void give_up(struct agentlink *link)
{
	char duration[DURATION_TEXT_MAX];

	if (link->pidfd < 0) {
		lose(link, AGENTLINK_UNKNOWN);
		return;
	}
	log_warning("agent %d has not answered for %s, and is ended", (int)link->pid,
		    duration_format(greeting_ms, duration));
	disconnect(link);
	link->loss = AGENTLINK_GIVEN_UP;
	watch_end(link);
	/* Another one comes in its place only when it has ended: on_end(). */
	if (pidfd_send_signal(link->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		log_error("agent %d cannot be ended: %s", (int)link->pid, strerror(errno));
}

/* It has answered, and this process has yet to read it: it was stopped itself, perhaps. */
static bool has_answered(const struct agentlink *link)
{
	struct pollfd poller = {.fd = link->fd, .events = POLLIN};

	return link->fd >= 0 && poll(&poller, 1, 0) > 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agentlink *link = userdata;

	(void)source;
	(void)usec;
	if (is_dead(link))
		lose(link, AGENTLINK_ENDED);
	else if (has_answered(link))
		timer_set(&link->timer, link->event, clock_monotonic_ms() + RETRY_MS, on_timer,
			  link);
	else if (clock_monotonic_ms() >= link->deadline_ms)
		give_up(link);
	else
		await_greeting(link, true);
	return 0;
}

/* Nobody listens, and no process is known that might again. */
static bool is_nobody(const struct agentlink *link, int r)
{
	return (r == -ECONNREFUSED || r == -ENOENT) && link->pidfd < 0;
}

/* Doubled with each try, up to the last of them. */
static uint32_t next_delay_ms(struct agentlink *link)
{
	link->retry_ms = link->retry_ms == 0                 ? RETRY_MS
			 : link->retry_ms < RETRY_MAX_MS / 2 ? 2 * link->retry_ms
							     : RETRY_MAX_MS;
	return link->retry_ms;
}

/* Until the deadline. @now: try to connect before anything else. */
static void await_greeting(struct agentlink *link, bool now)
{
	uint64_t now_ms = clock_monotonic_ms(), next_ms;

	if (link->deadline_ms == 0)
		link->deadline_ms = now_ms + greeting_ms;
	watch_end(link);
	if (link->fd < 0 && now && is_nobody(link, try_connect(link))) {
		lose(link, AGENTLINK_ENDED);
		return;
	}
	next_ms = link->deadline_ms;
	if (link->fd < 0 && now_ms + next_delay_ms(link) < next_ms)
		next_ms = now_ms + link->retry_ms;
	timer_set(&link->timer, link->event, next_ms, on_timer, link);
}

/* ---- starting one --------------------------------------------------------------------------- */

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

static void init(struct agentlink *link, sd_event *event,
		 const struct agentlink_callbacks *callbacks, void *userdata)
{
	link->event = sd_event_ref(event);
	link->fd = link->pidfd = -1;
	link->callbacks = callbacks;
	link->userdata = userdata;
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
	init(link, event, callbacks, userdata);
	r = spec_fd(spec, &spec_file, err);
	if (r < 0)
		return error_prefix(err, r, "agent");
	r = control_pair(socket_path, &control, &link->fd, err);
	if (r < 0)
		return error_prefix(err, r, "agent");
	strcpy(link->path, socket_path);
	link->connected_ms = clock_monotonic_ms();
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
	int r = start_agent(event, socket_path, spec, &start, callbacks, userdata, ret, err);

	if (r < 0)
		return r;
	(*ret)->greets = true;
	await_greeting(*ret, false);
	return 0;
}

/* ---- that of an earlier daemon -------------------------------------------------------------- */

int agentlink_connect(sd_event *event, const char *socket_path, pid_t pid, int pidfd,
		      const struct agentlink_callbacks *callbacks, void *userdata,
		      struct agentlink **ret, struct error *err)
{
	cleanup(agentlink_free) struct agentlink *link = calloc(1, sizeof(*link));
	int r;

	if (!link) {
		if (pidfd >= 0)
			close(pidfd);
		return error_set(err, -ENOMEM, "agent");
	}
	init(link, event, callbacks, userdata);
	link->pid = pid;
	link->pidfd = pidfd;
	link->greets = true;
	if (strlen(socket_path) >= sizeof(link->path))
		return error_text(err, -ENAMETOOLONG, "%s: too long for a unix socket",
				  socket_path);
	strcpy(link->path, socket_path);
	r = try_connect(link);
	if (is_nobody(link, r) || is_dead(link))
		return error_set(err, -ECONNREFUSED, "connect");
	if (r < 0 && r != -EAGAIN && r != -ECONNREFUSED && r != -ENOENT)
		return error_set(err, r, "connect");
	await_greeting(link, false);
	*ret = TAKE_PTR(link);
	return 0;
}

void agentlink_know(struct agentlink *link, pid_t pid, int pidfd)
{
	if (link->pidfd >= 0 || link->lost) {
		close(pidfd);
		return;
	}
	link->pid = pid;
	link->pidfd = pidfd;
	if (link->greets)
		watch_end(link);
}

void agentlink_rest(struct agentlink *link)
{
	stop_waiting(link);
	(void)sd_event_source_set_enabled(link->io, SD_EVENT_OFF);
}

void agentlink_listen(struct agentlink *link, const struct agentlink_callbacks *callbacks,
		      void *userdata)
{
	link->callbacks = callbacks;
	link->userdata = userdata;
	(void)sd_event_source_set_enabled(link->io, SD_EVENT_ON);
}

enum agentlink_loss agentlink_loss(const struct agentlink *link)
{
	return link->loss;
}

void agentlink_free(struct agentlink *link)
{
	if (!link)
		return;
	stop_waiting(link);
	disconnect(link);
	if (link->pidfd >= 0)
		close(link->pidfd);
	sd_event_unref(link->event);
	free(link);
}

pid_t agentlink_pid(const struct agentlink *link)
{
	return link->pid;
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

	if (link->lost)
		return -ENOTCONN;
	if (link->fd < 0 || link->hung_up)
		return -EAGAIN;
	r = order_encode(order, &text, &length);
	if (r < 0)
		return r;
	return message_send(link->fd, text, length, fds, n_fds);
}
