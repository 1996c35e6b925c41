/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/control.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/timer.h"

/* A report that the peer has no room for yet. */
struct waiting {
	enum report_type type;
	char *text;
	size_t length;
};

struct control {
	struct control_handlers handlers;
	void *userdata;
	sd_event *event;
	int listen_fd;
	int fd;           /* the connection; -1: none */
	uint32_t version; /* of the protocol, that is spoken on it */
	int kept[PROTOCOL_KEPT_MAX];
	size_t n_kept;
	sd_event_source *listen_source;
	sd_event_source *source;
	struct waiting waiting[CONTROL_WAITING_MAX]; /* the oldest first */
	size_t n_waiting;
	bool sockets_missed;
	bool dropped; /* some had to be; it has been said */
	/* The order that came last. It may be one that cannot be read yet: see take_order(). */
	char order[PROTOCOL_MESSAGE_MAX + 1];
	int order_fds[PROTOCOL_KEPT_MAX];
	size_t order_length, n_order_fds;
	struct timer order_again, connect_again;
};

/* Orders are handled before exits: an order that came before the server ended still counts. */
#define PRIORITY (SD_EVENT_PRIORITY_NORMAL - 1)

/* Empties the queue of a peer that has stopped sending; one that goes on must not keep us. */
#define DISCARD_MAX 256

/* The kernel takes no more than net.core.wmem_max of it, and doubles that: 416 KiB by default. */
#define SEND_BUFFER (1024 * 1024)

/*
 * If a unix socket is closed with data unread, the peer's next read fails with ECONNRESET, before
 * it gets the reports that are still queued for it (unix_release_sock()). So read everything first.
 */
static void discard_unread(int fd)
{
	char byte;

	for (int i = 0; i < DISCARD_MAX; i++)
		if (recv(fd, &byte, sizeof(byte), MSG_DONTWAIT) < 0)
			return;
}

static void remove_waiting(struct control *control, size_t k)
{
	assert(k < control->n_waiting);
	free(control->waiting[k].text);
	control->n_waiting--;
	memmove(&control->waiting[k], &control->waiting[k + 1],
		(control->n_waiting - k) * sizeof(control->waiting[0]));
}

static void close_all(const int *fds, size_t n)
{
	for (size_t k = 0; k < n; k++)
		close(fds[k]);
}

static void disconnect(struct control *control)
{
	timer_stop(&control->order_again);
	close_all(control->order_fds, control->n_order_fds);
	control->n_order_fds = 0;
	control->source = sd_event_source_disable_unref(control->source);
	while (control->n_waiting > 0)
		remove_waiting(control, control->n_waiting - 1);
	control->sockets_missed = control->dropped = false;
	if (control->fd < 0)
		return;
	discard_unread(control->fd);
	close(TAKE_FD(control->fd));
	if (control->handlers.on_disconnected)
		control->handlers.on_disconnected(control->userdata);
}

/* Nothing is lost: the next hello tells everything. */
static void fail(struct control *control, enum report_type type, int error)
{
	if (error != -EPIPE && error != -ECONNRESET)
		log_warning("control: cannot send a report (%s): %s", report_type_name(type),
			    strerror(-error));
	disconnect(control);
}

/* ---- what waits ----------------------------------------------------------------------------- */

static bool is_behind(const struct control *control)
{
	return control->n_waiting > 0 || control->sockets_missed;
}

static void watch(struct control *control)
{
	uint32_t events = is_behind(control) ? EPOLLIN | EPOLLOUT : EPOLLIN;
	int r = sd_event_source_set_io_events(control->source, events);

	/* What waits goes out with the next report. */
	if (r < 0)
		log_warning("control: watch the connection to batond: %s", strerror(-r));
}

/* Takes over @text. */
static void add_waiting(struct control *control, enum report_type type, char *text, size_t length)
{
	for (size_t k = 0; type == REPORT_NOTIFY && k < control->n_waiting; k++) {
		if (control->waiting[k].type == type) {
			remove_waiting(control, k);
			break;
		}
	}
	if (control->n_waiting == CONTROL_WAITING_MAX) {
		if (!control->dropped)
			log_warning("control: batond does not read: of more than %d reports the "
				    "oldest are dropped",
				    CONTROL_WAITING_MAX);
		control->dropped = true;
		remove_waiting(control, 0);
	}
	control->waiting[control->n_waiting++] =
		(struct waiting){.type = type, .text = text, .length = length};
}

/* Until the peer has no room for the next one. */
static void send_waiting(struct control *control)
{
	while (control->n_waiting > 0) {
		const struct waiting *first = &control->waiting[0];
		int r = message_send(control->fd, first->text, first->length, NULL, 0);

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			fail(control, first->type, r);
			return;
		}
		remove_waiting(control, 0);
	}
	control->dropped = false;
	if (!control->sockets_missed)
		return;
	control->sockets_missed = false;
	if (control->handlers.on_sockets_missed)
		control->handlers.on_sockets_missed(control->userdata);
}

void control_flush(struct control *control, int timeout_ms)
{
	uint64_t deadline_ms = clock_monotonic_ms() + (uint64_t)timeout_ms;

	while (control->fd >= 0 && is_behind(control)) {
		struct pollfd out = {.fd = control->fd, .events = POLLOUT};
		uint64_t now_ms = clock_monotonic_ms();

		if (now_ms >= deadline_ms || poll(&out, 1, (int)(deadline_ms - now_ms)) <= 0)
			return;
		send_waiting(control);
	}
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Returns 0, 1 (the peer has no room: @text waits, and is taken over), or a negative errno. */
static int send_or_wait(struct control *control, enum report_type type, char *text, size_t length,
			const int *fds, size_t n_fds)
{
	int r = is_behind(control) ? -EAGAIN : message_send(control->fd, text, length, fds, n_fds);

	if (r != -EAGAIN)
		return r;
	if (type == REPORT_SOCKETS) {
		control->sockets_missed = true;
		free(text);
	} else {
		add_waiting(control, type, text, length);
	}
	watch(control);
	return 1;
}

static void send_report(struct control *control, const struct report *report, const int *fds,
			size_t n_fds)
{
	cleanup_free char *text = NULL;
	size_t length;
	int r;

	r = report_encode(report, &text, &length);
	if (r == 0 && report->type == REPORT_HELLO)
		r = message_send(control->fd, text, length, fds, n_fds);
	else if (r == 0)
		r = send_or_wait(control, report->type, text, length, fds, n_fds);
	if (r > 0)
		text = NULL;
	else if (r < 0)
		fail(control, report->type, r);
}

void control_send_with(struct control *control, const struct report *report, const int *fds,
		       size_t n_fds)
{
	assert(report->type == REPORT_SOCKETS);
	if (control->fd >= 0)
		send_report(control, report, fds, n_fds);
}

void control_send(struct control *control, const struct report *report)
{
	if (control->fd >= 0)
		send_report(control, report, NULL, 0);
}

/* They are not used here: what counts is that they are open when batond has died. */
static void keep(struct control *control, const int *fds, size_t n)
{
	close_all(control->kept, control->n_kept);
	memcpy(control->kept, fds, n * sizeof(*fds));
	control->n_kept = n;
}

static int on_order_again(sd_event_source *source, uint64_t usec, void *userdata);

/* Not yet: batond would wait for what it has ordered. False: the order is lost after all. */
static bool wait_for_memory(struct control *control, const char *text, size_t length,
			    const int *fds, size_t n_fds)
{
	if (!control->source || sd_event_source_set_enabled(control->source, SD_EVENT_OFF) < 0)
		return false;
	timer_again(&control->order_again, control->event, on_order_again, control);
	if (!timer_is_set(&control->order_again)) {
		(void)sd_event_source_set_enabled(control->source, SD_EVENT_ON);
		return false;
	}
	memmove(control->order, text, length);
	memmove(control->order_fds, fds, n_fds * sizeof(*fds));
	control->order_length = length;
	control->n_order_fds = n_fds;
	return true;
}

/* What the agent says is in this version from now on. */
static void take_version(struct control *control, uint32_t version)
{
	if (version >= PROTOCOL_OLDEST && version <= PROTOCOL_VERSION)
		control->version = version;
	else
		log_warning("control: batond takes version %u of the protocol, which is none that "
			    "this agent speaks (%d to %d): version %u is spoken on",
			    version, PROTOCOL_OLDEST, PROTOCOL_VERSION, control->version);
}

static void take_order(struct control *control, const char *text, size_t length, const int *fds,
		       size_t n_fds)
{
	struct error err;
	struct order order;
	int r = order_decode(text, length, &order, &err);

	if (r == -ENOMEM && wait_for_memory(control, text, length, fds, n_fds))
		return;
	if (r >= 0 && order.type == ORDER_KEEP) {
		keep(control, fds, n_fds);
		return;
	}
	close_all(fds, n_fds);
	if (r < 0)
		log_warning("control: an order is ignored, as it cannot be read: %s", err.text);
	else if (n_fds > 0)
		log_warning("control: an order (%s) is ignored, as it carries descriptors",
			    order_type_name(order.type));
	else if (order.type == ORDER_VERSION)
		take_version(control, order.version);
	else
		control->handlers.on_order(&order, control->userdata);
}

static int on_order_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct control *control = userdata;
	size_t n_fds = control->n_order_fds;

	(void)source, (void)usec;
	(void)sd_event_source_set_enabled(control->source, SD_EVENT_ON);
	control->n_order_fds = 0;
	take_order(control, control->order, control->order_length, control->order_fds, n_fds);
	return 0;
}

static int on_message(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct control *control = userdata;
	int fds[PROTOCOL_KEPT_MAX];
	size_t length, n_fds;
	int r;

	(void)source;
	if (events & EPOLLOUT) {
		send_waiting(control);
		if (control->fd < 0)
			return 0;
		watch(control);
	}
	r = message_receive(fd, control->order, sizeof(control->order), &length, fds,
			    PROTOCOL_KEPT_MAX, &n_fds);
	if (r == -EAGAIN)
		return 0;
	if (r == -EMSGSIZE) {
		log_warning("control: a message is ignored: it is longer than %d bytes, or carries "
			    "more than %d descriptors",
			    PROTOCOL_MESSAGE_MAX, PROTOCOL_KEPT_MAX);
		return 0;
	}
	timer_begin(&control->order_again);
	if (r < 0 || length == 0)
		disconnect(control);
	else
		take_order(control, control->order, length, fds, n_fds);
	return 0;
}

static bool may_command(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return false;
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	log_warning("control: pid %d of uid %u is refused: only root and uid %u may give orders",
		    (int)peer.pid, peer.uid, geteuid());
	return false;
}

static void greet(struct control *control)
{
	int fds[PROTOCOL_FDS_MAX];
	struct report hello = {
		.type = REPORT_HELLO, .version = PROTOCOL_OLDEST, .newest = PROTOCOL_VERSION};
	size_t n_fds = 0;

	control->version = PROTOCOL_OLDEST;
	control->handlers.on_hello(&hello, fds, &n_fds, control->userdata);
	assert(n_fds <= PROTOCOL_FDS_MAX);
	send_report(control, &hello, fds, n_fds);
	if (control->fd >= 0 && control->handlers.on_connected)
		control->handlers.on_connected(control->userdata);
}

static int on_connect_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct control *control = userdata;

	(void)source, (void)usec;
	(void)sd_event_source_set_enabled(control->listen_source, SD_EVENT_ON);
	return 0;
}

/* What waits to be taken would wake us again and again, until there is a descriptor for it. */
static void connect_later(struct control *control, int error)
{
	if (error != EMFILE && error != ENFILE && error != ENOMEM && error != ENOBUFS)
		return;
	timer_again(&control->connect_again, control->event, on_connect_again, control);
	if (timer_is_set(&control->connect_again))
		(void)sd_event_source_set_enabled(control->listen_source, SD_EVENT_OFF);
}

static int on_connect(sd_event_source *source, int listen_fd, uint32_t events, void *userdata)
{
	struct control *control = userdata;
	cleanup_close int fd = -1;
	int r;

	(void)source;
	(void)events;
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		connect_later(control, errno);
	if (fd < 0 || !may_command(fd))
		return 0;
	timer_begin(&control->connect_again);
	disconnect(control);
	r = sd_event_add_io(control->event, &control->source, fd, EPOLLIN, on_message, control);
	if (r >= 0)
		r = sd_event_source_set_priority(control->source, PRIORITY);
	if (r < 0) {
		log_warning("control: watch the connection to batond: %s", strerror(-r));
		control->source = sd_event_source_disable_unref(control->source);
		return 0;
	}
	/* A large set is sent at once, in several messages. Never less than what it was. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BUFFER}, sizeof(int));
	control->fd = TAKE_FD(fd);
	greet(control);
	return 0;
}

int control_new(sd_event *event, int fd, const struct control_handlers *handlers, void *userdata,
		struct control **ret, struct error *err)
{
	cleanup(control_free) struct control *control = calloc(1, sizeof(*control));
	int r;

	assert(fd >= 0 && handlers->on_hello && handlers->on_order);
	if (!control) {
		close(fd);
		return error_set(err, -ENOMEM, "control");
	}
	control->handlers = *handlers;
	control->userdata = userdata;
	control->event = sd_event_ref(event);
	control->listen_fd = fd;
	control->fd = -1;
	/* accept4() must not wait if the client has gone meanwhile. */
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return error_set(err, -errno, "control socket");
	r = sd_event_add_io(event, &control->listen_source, fd, EPOLLIN, on_connect, control);
	if (r >= 0)
		r = timer_prepare(&control->order_again, event, on_order_again, control);
	if (r >= 0)
		r = timer_prepare(&control->connect_again, event, on_connect_again, control);
	if (r < 0)
		return error_set(err, r, "control socket");
	*ret = TAKE_PTR(control);
	return 0;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	control->handlers.on_disconnected = NULL;
	disconnect(control);
	timer_done(&control->order_again);
	timer_done(&control->connect_again);
	close_all(control->kept, control->n_kept);
	sd_event_source_disable_unref(control->listen_source);
	close(control->listen_fd);
	sd_event_unref(control->event);
	free(control);
}

void control_hold(struct control *control, bool on)
{
	(void)sd_event_source_set_enabled(control->listen_source, on ? SD_EVENT_OFF : SD_EVENT_ON);
}

void control_take(struct control *control)
{
	if (control->fd < 0)
		(void)on_connect(control->listen_source, control->listen_fd, EPOLLIN, control);
}

bool control_connected(const struct control *control)
{
	return control->fd >= 0;
}

uint32_t control_version(const struct control *control)
{
	return control->fd >= 0 ? control->version : 0;
}

uint32_t control_kept(const struct control *control)
{
	return (uint32_t)control->n_kept;
}

char *control_path(const struct control *control, char ret[static PATHS_MAX])
{
	struct sockaddr_un address = {0};
	socklen_t size = sizeof(address) - 1; /* sun_path need not end with a NUL (unix(7)) */

	ret[0] = '\0';
	if (getsockname(control->listen_fd, (struct sockaddr *)&address, &size) == 0)
		snprintf(ret, PATHS_MAX, "%s", address.sun_path);
	return ret;
}

void control_unlink(struct control *control)
{
	char path[PATHS_MAX];

	if (control_path(control, path)[0] != '\0')
		(void)unlink(path);
}
