/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/agentlink_internal.h"

#include <errno.h>
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
#include "common/versions.h"

/* The first one, unless the connection before was a short one, is made at once. */
#define RETRY_MS     20
#define RETRY_MAX_MS 1000
#define SHORT_MS     1000

#define LATE_MAX 16

struct agentlink {
	const struct agentlink_callbacks *callbacks;
	void *userdata;
	sd_event *event;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	pid_t pid;
	int pidfd; /* -1: the system forbids pidfd_open(2), it had ended by then, or is not known */
	int fd;    /* -1: there is no connection */
	sd_event_source *io;
	sd_event_source *end;  /* of .pidfd */
	struct timer timer;    /* until the next try, or the deadline */
	uint64_t deadline_ms;  /* until when it is to greet; 0: it has, or none is set */
	uint64_t connected_ms; /* when the connection was made */
	uint32_t retry_ms;     /* the delay before the next try */
	bool greets;           /* its hello is not whole yet */
	bool hung_up;          /* it has lost a connection, and not greeted since */
	bool lost;             /* on_lost has been called */
	enum agentlink_loss loss;
	uint32_t version;   /* that is spoken; 0: no hello has come */
	struct error unfit; /* no version is spoken by both; .text is "" else */
	bool unreaped;      /* our child, and nobody waits for its end: see await_end() */
	char buffer[PROTOCOL_MESSAGE_MAX + 1];
	/* Of the report in .buffer, which cannot be read yet: see take_report(). */
	size_t length, n_fds;
	int fds[PROTOCOL_FDS_MAX];
	struct timer again;
	/* Orders for which there was no memory, in this process or in the kernel; oldest first. */
	struct order late[LATE_MAX];
	size_t n_late;
	struct timer late_timer;
};

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

/*
 * Have the agent reaped when it ends. Without memory or descriptors that cannot be arranged; it is
 * tried again when the connection ends and when the link is freed. Until then a zombie stays a
 * child of ours, so its pid is its own.
 */
static void await_end(struct agentlink *link)
{
	if (!link->unreaped)
		return;
	/* Without a pointer to the source the loop owns it, until on_agent_exit() (floating). */
	if (sd_event_add_child(link->event, NULL, link->pid, WEXITED, on_agent_exit, NULL) >= 0 ||
	    waitpid(link->pid, NULL, WNOHANG) != 0)
		link->unreaped = false;
}

/* What waited for memory was for this connection. */
static void disconnect(struct agentlink *link)
{
	link->io = sd_event_source_disable_unref(link->io);
	timer_stop(&link->again);
	timer_stop(&link->late_timer);
	while (link->n_fds > 0)
		close(link->fds[--link->n_fds]);
	link->n_late = 0;
	if (link->fd >= 0)
		close(TAKE_FD(link->fd));
}

static void forget_end(struct agentlink *link)
{
	link->end = sd_event_source_disable_unref(link->end);
}

/* It has greeted, or never will. */
static void stop_waiting(struct agentlink *link)
{
	timer_done(&link->timer);
	link->deadline_ms = 0;
	link->greets = link->hung_up = false;
	link->retry_ms = 0;
}

static void lose(struct agentlink *link, enum agentlink_loss loss)
{
	if (link->lost)
		return;
	await_end(link);
	forget_end(link);
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
static void watch_end(struct agentlink *link);

static bool has_hung_up(const struct agentlink *link)
{
	struct pollfd poller = {.fd = link->fd};

	return poll(&poller, 1, 0) > 0 && (poller.revents & (POLLHUP | POLLERR));
}

static void take_pid(struct agentlink *link, pid_t pid)
{
	if (pid <= 0 || (link->pid == pid && link->pidfd >= 0))
		return;
	forget_end(link);
	if (link->pidfd >= 0)
		close(TAKE_FD(link->pidfd));
	link->pid = pid;
	link->pidfd = pidfd_open(pid, 0);
	/* Its end of the connection is its own: while that is open the pid is, too. */
	if (link->pidfd >= 0 && has_hung_up(link))
		close(TAKE_FD(link->pidfd));
	watch_end(link);
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

	if (r == -ENOMEM || (r == 0 && ret->type != REPORT_HELLO))
		return r;
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

static int on_again(sd_event_source *source, uint64_t usec, void *userdata);

/* Not yet: a report that is lost would be missed until a deadline. False: it is lost after all. */
static bool wait_for_memory(struct agentlink *link)
{
	if (sd_event_source_set_enabled(link->io, SD_EVENT_OFF) < 0)
		return false;
	timer_again(&link->again, link->event, on_again, link);
	if (timer_is_set(&link->again))
		return true;
	(void)sd_event_source_set_enabled(link->io, SD_EVENT_ON);
	return false;
}

/*
 * What is in .buffer. Whoever hears of it may free the link. -EPROTONOSUPPORT: the agent cannot be
 * talked to.
 */
static int take_report(struct agentlink *link)
{
	int fds[PROTOCOL_FDS_MAX];
	size_t n_fds = link->n_fds;
	struct report report;
	char who[WHO_MAX];
	struct error err;
	int r = decode(link, link->length, &report, &err);

	if (r == -ENOMEM && wait_for_memory(link))
		return 0;
	memcpy(fds, link->fds, n_fds * sizeof(fds[0]));
	link->n_fds = 0;
	if (r < 0 && r != -EPROTONOSUPPORT) {
		log_warning("%s: a report is ignored, as it cannot be read: %s",
			    describe(link, who), err.text);
	} else if (r == 0) {
		take_greeting(link, &report);
		link->callbacks->on_report(link->userdata, &report, fds, n_fds);
	}
	for (size_t i = 0; i < n_fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return r == -EPROTONOSUPPORT ? r : 0;
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agentlink *link = userdata;

	(void)source, (void)usec;
	(void)sd_event_source_set_enabled(link->io, SD_EVENT_ON);
	if (link->end)
		(void)sd_event_source_set_enabled(link->end, SD_EVENT_ON);
	if (take_report(link) < 0)
		lose(link, AGENTLINK_UNFIT);
	return 0;
}

/* Returns 1: there may be more; 0: there is nothing now; a negative errno: the link has ended. */
static int receive_one(struct agentlink *link)
{
	char who[WHO_MAX];
	int r;

	r = message_receive(link->fd, link->buffer, sizeof(link->buffer), &link->length, link->fds,
			    PROTOCOL_FDS_MAX, &link->n_fds);
	if (r == -EAGAIN)
		return 0;
	if (r == -EMSGSIZE) {
		log_warning("%s: a report is ignored: it is longer than %d bytes, or carries "
			    "more than %d descriptors",
			    describe(link, who), PROTOCOL_MESSAGE_MAX, PROTOCOL_FDS_MAX);
		return 1;
	}
	if (r < 0 || link->length == 0)
		return r < 0 ? r : -ECONNRESET;
	timer_begin(&link->again);
	return take_report(link) < 0 ? -EPROTONOSUPPORT : 1;
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
	int r;

	(void)source;
	(void)fd;
	(void)events;
	/* One message a turn, so that others have theirs: the loop will call again for the rest. */
	r = receive_one(link);
	if (r == -EPROTONOSUPPORT)
		lose(link, AGENTLINK_UNFIT);
	else if (r < 0)
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

/*
 * What it has said before is read first, one message a turn. The end of the connection tells
 * nothing: a child of the agent that has yet to exec has it, too, and may hang.
 */
static int on_end(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct agentlink *link = userdata;
	int r = 0;

	(void)source;
	(void)fd;
	(void)events;
	if (timer_is_set(&link->again)) /* on_again() goes on */
		return sd_event_source_set_enabled(link->end, SD_EVENT_OFF);
	if (link->fd >= 0)
		r = receive_one(link);
	if (r <= 0)
		lose(link, r == -EPROTONOSUPPORT ? AGENTLINK_UNFIT : link->loss);
	return 0;
}

/* Without this the connection, a try or the deadline finds out. */
static void watch_end(struct agentlink *link)
{
	if (link->pidfd < 0 || link->end || link->lost)
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

static int on_late(sd_event_source *source, uint64_t usec, void *userdata);

static int prepare_timers(struct agentlink *link)
{
	int r = timer_prepare(&link->again, link->event, on_again, link);

	return r < 0 ? r : timer_prepare(&link->late_timer, link->event, on_late, link);
}

/*
 * Pages of its own: it has room for the longest report, of which one page is used as a rule. From
 * calloc(3) it could be a block that was in use before, and be cleared, and thereby had, in full.
 */
static struct agentlink *allocate(void)
{
	void *link = mmap(NULL, sizeof(struct agentlink), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return link == MAP_FAILED ? NULL : link;
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
		       struct agent_start *start, const struct agentlink_callbacks *callbacks,
		       void *userdata, struct agentlink **ret, struct error *err)
{
	cleanup(agentlink_free) struct agentlink *link = allocate();
	cleanup_close int spec_file = -1, control = -1;
	int r;

	if (!link)
		return error_set(err, -ENOMEM, "agent");
	init(link, event, callbacks, userdata);
	r = agentlink_spec(spec, socket_path, &spec_file, err);
	if (r < 0)
		return error_prefix(err, r, "agent");
	r = agentlink_pair(socket_path, &control, &link->fd, err);
	if (r < 0)
		return error_prefix(err, r, "agent");
	strcpy(link->path, socket_path);
	link->connected_ms = clock_monotonic_ms();
	r = sd_event_add_io(event, &link->io, link->fd, EPOLLIN, on_readable, link);
	if (r >= 0)
		r = prepare_timers(link);
	if (r < 0)
		return error_set(err, r, "agent: watch the control socket");
	start->spec_fd = spec_file;
	start->control_fd = control;
	r = agentlink_fork(start, &link->pid, err);
	if (r < 0) {
		unlink(socket_path);
		return error_prefix(err, r, "agent");
	}
	/* It is a child that has not been reaped: the pid is its own. */
	link->pidfd = pidfd_open(link->pid, 0);
	link->unreaped = true;
	await_end(link);
	watch_end(link);
	*ret = TAKE_PTR(link);
	return 0;
}

int agentlink_start(sd_event *event, const char *program, const char *socket_path,
		    const struct launch_spec *spec, const int *socket_fds,
		    const struct agentlink_callbacks *callbacks, void *userdata,
		    struct agentlink **ret, struct error *err)
{
	struct agent_start start = {
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
	struct agent_start start = {.program = program, .handover_fd = handover_fd};
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
	cleanup(agentlink_free) struct agentlink *link = allocate();
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
	r = prepare_timers(link);
	if (r < 0)
		return error_set(err, r, "connect");
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
	watch_end(link);
}

void agentlink_rest(struct agentlink *link)
{
	forget_end(link);
	stop_waiting(link);
	(void)sd_event_source_set_enabled(link->io, SD_EVENT_OFF);
}

void agentlink_listen(struct agentlink *link, const struct agentlink_callbacks *callbacks,
		      void *userdata)
{
	link->callbacks = callbacks;
	link->userdata = userdata;
	(void)sd_event_source_set_enabled(link->io, SD_EVENT_ON);
	watch_end(link);
}

enum agentlink_loss agentlink_loss(const struct agentlink *link)
{
	return link->loss;
}

void agentlink_free(struct agentlink *link)
{
	if (!link)
		return;
	await_end(link);
	forget_end(link);
	stop_waiting(link);
	disconnect(link);
	timer_done(&link->again);
	timer_done(&link->late_timer);
	if (link->pidfd >= 0)
		close(link->pidfd);
	sd_event_unref(link->event);
	munmap(link, sizeof(*link));
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

static int send_now(struct agentlink *link, const struct order *order, const int *fds, size_t n_fds)
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

static bool is_lack(int r)
{
	return r == -ENOMEM || r == -ENOBUFS;
}

static int on_late(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agentlink *link = userdata;

	(void)source, (void)usec;
	while (link->n_late > 0) {
		int r = send_now(link, &link->late[0], NULL, 0);

		if (is_lack(r)) {
			timer_again(&link->late_timer, link->event, on_late, link);
			return 0;
		}
		if (r < 0)
			log_warning("agent %d: order %s: %s", (int)link->pid,
				    order_type_name(link->late[0].type), strerror(-r));
		memmove(&link->late[0], &link->late[1], --link->n_late * sizeof(link->late[0]));
	}
	return 0;
}

int agentlink_order(struct agentlink *link, const struct order *order)
{
	int r = link->n_late > 0 ? -ENOMEM : send_now(link, order, NULL, 0);

	if (!is_lack(r) || link->n_late == LATE_MAX)
		return r;
	if (link->n_late == 0) {
		timer_begin(&link->late_timer);
		timer_again(&link->late_timer, link->event, on_late, link);
	}
	link->late[link->n_late++] = *order;
	return 0;
}

int agentlink_order_with(struct agentlink *link, const struct order *order, const int *fds,
			 size_t n_fds)
{
	return send_now(link, order, fds, n_fds);
}
