/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/baton.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/libbaton/leave.h"
#include "agent/libbaton/notice.h"
#include "agent/libbaton/sockets.h"
#include "common/cleanup.h"
#include "common/clock.h"

#define BACKLOG_DEFAULT 4096
#define STATUS_MAX      255
#define LEFT_EVERY_MS   100

struct baton {
	pid_t pid; /* the process that has opened it */
	struct sockets sockets;
	struct notice notice;
	struct leave leave;
	atomic_bool stopped;                /* STOPPING=1 has been said */
	atomic_uint_least64_t left_next_ms; /* before this time baton_left() sends nothing */
};

/* -ECHILD is also what sd-bus returns if its objects are used across fork(2). */
static int check_handle(const struct baton *baton)
{
	if (!baton)
		return -EINVAL;
	return baton->pid == getpid() ? 0 : -ECHILD;
}

/* ---- options ------------------------------------------------------------------------------- */

/* Check the options. *ret has those of this library's version; NULL stands for all defaults. */
static int read_options(const struct baton_options *options, struct baton_options *ret,
			struct error *err)
{
	const unsigned char *bytes = (const unsigned char *)options;

	*ret = (struct baton_options)BATON_OPTIONS_INIT;
	if (!options)
		return 0;
	if (options->size < sizeof(*ret))
		return error_text(err, -EINVAL, "options: size %zu: use BATON_OPTIONS_INIT",
				  options->size);
	memcpy(ret, options, sizeof(*ret));
	for (size_t i = sizeof(*ret); i < options->size; i++)
		if (bytes[i] != 0)
			return error_text(
				err, -E2BIG,
				"options: the program uses one that this library does not "
				"have (it is older)");
	if (ret->flags & ~(BATON_BLOCKING | BATON_SHARE))
		return error_text(
			err, -EINVAL,
			"options: flags 0x%x: this library knows BATON_BLOCKING and BATON_SHARE",
			ret->flags);
	if (ret->reserved)
		return error_text(err, -EINVAL,
				  "options: reserved is not 0: use BATON_OPTIONS_INIT");
	if (ret->backlog < 0)
		return error_text(err, -EINVAL, "options: backlog %d: expected 0 or more",
				  ret->backlog);
	return 0;
}

/*
 * Write into the caller's buffer, if he has given one and the options are large enough to say so.
 */
static void say_why(const struct baton_options *options, const struct error *err)
{
	if (options && options->size >= sizeof(*options) && options->error && options->error_size)
		snprintf(options->error, options->error_size, "%s", err->text);
}

/* ---- open and close ------------------------------------------------------------------------ */

static int open_sockets(struct baton *baton, const struct baton_options *options, struct error *err)
{
	const struct sockets_wish wish = {
		.listen = options->listen,
		.backlog = options->backlog ? options->backlog : BACKLOG_DEFAULT,
		.blocking = options->flags & BATON_BLOCKING,
		.share = baton->notice.is_baton || options->flags & BATON_SHARE,
	};

	return sockets_open(&wish, &baton->sockets, err);
}

/* The signal first: leave_begin() makes sure that there is only one handle. */
static int open_all(struct baton *baton, const struct baton_options *options, struct error *err)
{
	int r;

	r = leave_begin(options->signal, &baton->leave, err);
	if (r < 0)
		return r;
	r = notice_open(&baton->notice, err);
	if (r == 0) {
		r = open_sockets(baton, options, err);
		if (r == 0)
			return 0;
		notice_done(&baton->notice);
	}
	leave_end(&baton->leave);
	return r;
}

int baton_open(const struct baton_options *options, struct baton **ret_baton)
{
	cleanup_free struct baton *baton = NULL;
	struct baton_options wanted;
	struct error err;
	int r;

	r = read_options(options, &wanted, &err);
	if (r == 0) {
		baton = calloc(1, sizeof(*baton));
		r = baton ? open_all(baton, &wanted, &err) : error_set(&err, -ENOMEM, "handle");
	}
	if (r < 0) {
		say_why(options, &err);
		return r;
	}
	baton->pid = getpid();
	sockets_keep(&baton->sockets);
	*ret_baton = TAKE_PTR(baton);
	return 0;
}

void baton_close(struct baton *baton)
{
	if (!baton)
		return;
	sockets_done(&baton->sockets);
	notice_done(&baton->notice);
	leave_end(&baton->leave);
	free(baton);
}

/* ---- listening ----------------------------------------------------------------------------- */

int baton_socket_count(const struct baton *baton)
{
	int r = check_handle(baton);

	return r < 0 ? r : baton->sockets.n;
}

int baton_socket(const struct baton *baton, int index)
{
	int r = check_handle(baton);

	if (r < 0)
		return r;
	return index < 0 || index >= baton->sockets.n ? -ERANGE : baton->sockets.list[index].fd;
}

const char *baton_socket_name(const struct baton *baton, int index)
{
	return baton_socket(baton, index) < 0 ? NULL : baton->sockets.list[index].name;
}

int baton_inherited(const struct baton *baton)
{
	int r = check_handle(baton);

	return r < 0 ? r : baton->sockets.inherited;
}

int baton_stop_listening(struct baton *baton)
{
	int r = check_handle(baton);

	if (r < 0)
		return r;
	sockets_done(&baton->sockets);
	return atomic_exchange(&baton->stopped, true)
		       ? 0
		       : notice_send(&baton->notice, "STOPPING=1", true);
}

/* ---- telling ------------------------------------------------------------------------------- */

int baton_ready(struct baton *baton)
{
	int r = check_handle(baton);

	return r < 0 ? r : notice_send(&baton->notice, "READY=1", true);
}

/* Cut where a character begins: all bytes of a character but its first are 10xxxxxx (RFC 3629). */
static size_t cut_length(const char *text)
{
	size_t length = strnlen(text, STATUS_MAX + 1);

	if (length <= STATUS_MAX)
		return length;
	length = STATUS_MAX;
	while (length > STATUS_MAX - 3 && ((unsigned char)text[length] & 0xc0) == 0x80)
		length--;
	return length;
}

int baton_status(struct baton *baton, const char *text)
{
	static const char prefix[] = "STATUS=";
	char message[sizeof(prefix) + STATUS_MAX];
	int r = check_handle(baton);

	if (r < 0)
		return r;
	if (!text)
		return -EINVAL;
	snprintf(message, sizeof(message), "%s%.*s", prefix, (int)cut_length(text), text);
	/* A newline would begin another assignment (sd_notify(3)). */
	for (char *c = message; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	return notice_send(&baton->notice, message, false);
}

int baton_left(struct baton *baton, unsigned long connections)
{
	uint64_t now_ms = clock_monotonic_ms();
	uint_least64_t next_ms;
	char text[64];
	int r = check_handle(baton);

	if (r < 0)
		return r;
	next_ms = atomic_load(&baton->left_next_ms);
	/* If several threads call at once, one of them sends; their numbers are equally new. */
	if (connections > 0 &&
	    (now_ms < next_ms || !atomic_compare_exchange_strong(&baton->left_next_ms, &next_ms,
								 now_ms + LEFT_EVERY_MS)))
		return 0;
	snprintf(text, sizeof(text), "%lu connection%s left", connections,
		 connections == 1 ? "" : "s");
	return baton_status(baton, text);
}

int baton_done(struct baton *baton)
{
	int r = check_handle(baton);

	if (r < 0)
		return r;
	atomic_store(&baton->stopped, true);
	return notice_send(&baton->notice, "STOPPING=1\nSTATUS=done", true);
}

/* ---- leaving ------------------------------------------------------------------------------- */

int baton_leave_fd(const struct baton *baton)
{
	int r = check_handle(baton);

	return r < 0 ? r : baton->leave.fd;
}

int baton_asked(const struct baton *baton)
{
	int r = check_handle(baton);

	return r < 0 ? r : leave_asked();
}

int baton_ask(struct baton *baton)
{
	int r = check_handle(baton);

	if (r == 0)
		leave_ask();
	return r;
}
