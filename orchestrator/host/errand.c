/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/errand.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/closing.h"
#include "common/duration.h"
#include "common/write_all.h"
#include "orchestrator/host/sight.h"

#define REAP_MS    50
#define PLACE_MAX  4096
#define CHUNK      (64 * 1024)
#define ANSWER_MAX ((size_t)300 * 1024 * 1024)

/* Behind the answer: without it the helper has died before it had said all. */
struct trailer {
	uint64_t length;
	uint64_t whole;
};
#define WHOLE 0x77686f6c65000001ull

struct errand {
	sd_event *event;
	struct errand_spec spec;
	pid_t pid; /* 0: left to the loop */
	int fd;
	bool late;   /* it was killed, and has not ended yet */
	char *place; /* shared with the helper: what it looks at */
	char *bytes;
	size_t n, size;
	sd_event_source *child, *reader, *timer;
};

/* Those in uninterruptible sleep have been forgotten by whoever sent them, but live. */
static unsigned alive;

/* Then it takes no sources any more (-ESTALE), and none is needed: see errand_finish(). */
static bool loop_has_ended(const struct errand *e)
{
	return sd_event_get_state(e->event) == SD_EVENT_FINISHED;
}

/* ---- the helper ----------------------------------------------------------------------------- */

/* All but the standard ones, @a and @b (at most 0: none). */
static void close_others(int a, int b)
{
	int low = b > 0 && b < a ? b : a, high = b > a ? b : a;

	if (low > 3)
		closing_range(3, (unsigned)low - 1);
	if (high > low + 1)
		closing_range((unsigned)low + 1, (unsigned)high - 1);
	closing_range((unsigned)high + 1, UINT_MAX);
}

static void __attribute__((noreturn)) run_helper(const struct errand *e, pid_t daemon, int fd)
{
	struct trailer trailer = {.whole = WHOLE};
	const char *bytes;
	size_t n;

	/* Nobody would read what it sees. Only a write is to be finished. */
	if (!e->spec.finishes && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() != daemon)
		_exit(1);
	/* The signals that the loop takes are blocked still: those of a terminal are not for it. */
	(void)prctl(PR_SET_NAME, "batond-helper");
	close_others(fd, e->spec.keep_fd);
	sight_record(e->place, PLACE_MAX);
	e->spec.look(e->spec.userdata);
	bytes = sight_recorded(&n);
	trailer.length = n;
	_exit(bytes && write_all(fd, bytes, n) == 0 && write_all(fd, &trailer, sizeof(trailer)) == 0
		      ? 0
		      : 1);
}

/* ---- its end -------------------------------------------------------------------------------- */

/* Not sd_event_add_child(3): that would have SIGCHLD blocked, which helpers do not need. */
static int on_ended(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct errand *e = userdata;
	siginfo_t info = {};

	(void)revents;
	if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0)
		return 0;
	alive--;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	if (e)
		e->pid = 0;
	else /* Taking it back from the loop frees it, and the pidfd. */
		sd_event_source_set_floating(source, false);
	return 0;
}

/*
 * Where pidfd_open(2) is forbidden nobody tells of their end: they are asked for again and again,
 * as long as there are some.
 */
static struct unwatched {
	pid_t pid;
	struct errand *errand; /* NULL: it has been forgotten */
} unwatched[ERRANDS_MAX];
static size_t n_unwatched;

static void reap_unwatched(void)
{
	for (size_t k = n_unwatched; k-- > 0;) {
		if (waitpid(unwatched[k].pid, NULL, WNOHANG) == 0)
			continue;
		alive--;
		if (unwatched[k].errand)
			unwatched[k].errand->pid = 0;
		unwatched[k] = unwatched[--n_unwatched];
	}
}

static int on_reap(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)usec;
	(void)userdata;
	reap_unwatched();
	if (n_unwatched == 0) {
		sd_event_source_set_floating(source, false);
		return 0;
	}
	(void)sd_event_source_set_time_relative(source, REAP_MS * 1000);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int begin_unwatched(struct errand *e, pid_t pid)
{
	int r = n_unwatched > 0 ? 0
				: sd_event_add_time_relative(e->event, NULL, CLOCK_MONOTONIC,
							     REAP_MS * 1000, 1000, on_reap, NULL);

	if (r < 0)
		return r;
	unwatched[n_unwatched++] = (struct unwatched){pid, e};
	return 0;
}

static void forget_unwatched(const struct errand *e)
{
	for (size_t k = 0; k < n_unwatched; k++)
		if (unwatched[k].errand == e)
			unwatched[k].errand = NULL;
}

/* The loop reaps it, whenever it ends. */
static void leave_to_loop(struct errand *e)
{
	if (e->pid == 0)
		return;
	e->pid = 0;
	forget_unwatched(e);
	if (!e->child)
		return;
	sd_event_source_set_userdata(e->child, NULL);
	if (sd_event_source_set_floating(e->child, true) >= 0)
		e->child = sd_event_source_unref(e->child);
}

static void free_errand(struct errand *e)
{
	if (!e)
		return;
	leave_to_loop(e);
	sd_event_source_disable_unref(e->child);
	sd_event_source_disable_unref(e->reader);
	sd_event_source_disable_unref(e->timer);
	if (e->fd >= 0)
		close(e->fd);
	if (e->place)
		munmap(e->place, PLACE_MAX);
	sd_event_unref(e->event);
	free(e->bytes);
	free(e);
}
DEFINE_CLEANUP(struct errand *, free_errand);

static void kill_helper(const struct errand *e)
{
	if (e->pid > 0)
		kill(e->pid, SIGKILL);
}

static void say_late(const struct errand *e, struct error *ret)
{
	uint64_t timeout_ms = e->spec.timeout_ms;
	char limit[DURATION_TEXT_MAX];

	duration_format(timeout_ms, limit);
	e->place[PLACE_MAX - 1] = '\0';
	error_text(ret, -ETIMEDOUT, "%.800s%sno answer within %s", e->place,
		   e->place[0] ? ": " : "", limit);
}

/* Is all of it there? */
static bool is_whole(const struct errand *e)
{
	struct trailer trailer;

	if (e->n < sizeof(trailer))
		return false;
	memcpy(&trailer, e->bytes + e->n - sizeof(trailer), sizeof(trailer));
	return trailer.whole == WHOLE && trailer.length == e->n - sizeof(trailer);
}

static void finish(struct errand *e, int r, const struct error *why)
{
	const struct errand_spec spec = e->spec;
	cleanup_free char *bytes = TAKE_PTR(e->bytes);
	size_t n = e->n;

	free_errand(e);
	if (r == 0)
		sight_use(bytes, n - sizeof(struct trailer));
	spec.on_seen(spec.userdata, r, why);
	sight_forget();
}

static void finish_answered(struct errand *e)
{
	struct error why = {};

	if (is_whole(e)) {
		finish(e, 0, &why);
		return;
	}
	if (e->late) {
		say_late(e, &why);
		finish(e, -ETIMEDOUT, &why);
		return;
	}
	error_text(&why, -EIO, "%.800s%sthe process that was to look ended without an answer",
		   e->place, e->place[0] ? ": " : "");
	finish(e, -EIO, &why);
}

static bool make_room(struct errand *e)
{
	size_t size = e->size ? 2 * e->size : CHUNK;
	char *bytes;

	if (e->size - e->n >= CHUNK / 2)
		return true;
	bytes = size <= 2 * ANSWER_MAX ? realloc(e->bytes, size) : NULL;
	if (!bytes)
		return false;
	e->bytes = bytes;
	e->size = size;
	return true;
}

/* True: it has said all, or can say no more. */
static bool read_some(struct errand *e)
{
	ssize_t n = -1;

	errno = ENOMEM;
	if (make_room(e))
		n = read(e->fd, e->bytes + e->n, e->size - e->n);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	e->n += n > 0 ? (size_t)n : 0;
	return n <= 0;
}

static int on_answer(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct errand *e = userdata;

	(void)source;
	(void)fd;
	(void)revents;
	if (read_some(e)) {
		kill_helper(e);
		finish_answered(e);
	}
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct errand *e = userdata;
	struct error why;

	(void)source;
	(void)usec;
	say_late(e, &why);
	if (!e->spec.finishes)
		kill_helper(e);
	if (!e->spec.on_late) {
		finish(e, -ETIMEDOUT, &why);
		return 0;
	}
	e->late = !e->spec.finishes;
	e->spec.on_late(e->spec.userdata, &why);
	return 0;
}

/* ---- sending -------------------------------------------------------------------------------- */

static int watch(struct errand *e)
{
	uint64_t end_ms = clock_monotonic_ms() + e->spec.timeout_ms;
	int r;

	if (loop_has_ended(e))
		return 0;
	r = sd_event_add_io(e->event, &e->reader, e->fd, EPOLLIN, on_answer, e);
	if (r < 0)
		return r;
	/* What was seen may be old news soon, and orders that come next may need it. */
	(void)sd_event_source_set_priority(e->reader, SD_EVENT_PRIORITY_IMPORTANT);
	return sd_event_add_time(e->event, &e->timer, CLOCK_MONOTONIC, end_ms * 1000, 1000,
				 on_deadline, e);
}

static int watch_end(struct errand *e, pid_t pid)
{
	cleanup_close int pidfd = -1;
	int r;

	if (loop_has_ended(e))
		return 0;
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0)
		return errno == EPERM || errno == ENOSYS ? begin_unwatched(e, pid) : -errno;
	r = sd_event_add_io(e->event, &e->child, pidfd, EPOLLIN, on_ended, e);
	if (r < 0)
		return r;
	r = sd_event_source_set_io_fd_own(e->child, true);
	if (r >= 0)
		(void)TAKE_FD(pidfd);
	return r;
}

static int start(struct errand *e, int writer, struct error *err)
{
	pid_t daemon = getpid();
	pid_t pid = fork();
	int r;

	if (pid < 0)
		return error_set(err, -errno, "start a process that looks");
	if (pid == 0)
		run_helper(e, daemon, writer);
	alive++;
	r = watch_end(e, pid);
	if (r < 0) {
		/* It has hardly begun, and closes its end of the pipe. */
		kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, __WALL);
		alive--;
		return error_set(err, r, "watch the process that looks");
	}
	e->pid = pid;
	return 0;
}

static int prepare(struct errand *e, int *ret_writer)
{
	int fds[2];

	e->place = mmap(NULL, PLACE_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (e->place == MAP_FAILED) {
		e->place = NULL;
		return -errno;
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	e->fd = fds[0];
	*ret_writer = fds[1];
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return watch(e);
}

int errand_start(sd_event *event, const struct errand_spec *spec, struct errand **ret,
		 struct error *err)
{
	cleanup(free_errand) struct errand *e = NULL;
	cleanup_close int writer = -1;
	int r;

	assert(spec->look && spec->on_seen && (!spec->finishes || spec->on_late));
	if (alive >= ERRANDS_MAX)
		return error_text(err, -EAGAIN,
				  "%u processes that look at files wait for an answer already",
				  alive);
	e = calloc(1, sizeof(*e));
	if (!e)
		return error_set(err, -ENOMEM, "start a process that looks");
	e->event = sd_event_ref(event);
	e->spec = *spec;
	e->fd = -1;
	if (!e->spec.timeout_ms)
		e->spec.timeout_ms = ERRAND_TIMEOUT_MS;
	r = prepare(e, &writer);
	if (r < 0)
		return error_set(err, r, "start a process that looks");
	r = start(e, writer, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(e);
	return 0;
}

void errand_cancel(struct errand *e)
{
	if (!e)
		return;
	kill_helper(e);
	free_errand(e);
}

/* No loop does it any more. It has said all, and ends at once. */
static void reap(struct errand *e)
{
	if (e->pid == 0 || !loop_has_ended(e))
		return;
	kill_helper(e);
	if (waitpid(e->pid, NULL, __WALL) != e->pid)
		return;
	alive--;
	forget_unwatched(e);
	e->pid = 0;
}

bool errand_finish(struct errand *e, uint64_t timeout_ms)
{
	uint64_t now_ms = clock_monotonic_ms(), end_ms = now_ms + timeout_ms;
	struct error why = {};
	bool done = false;

	while (!done && now_ms < end_ms) {
		struct pollfd poller = {.fd = e->fd, .events = POLLIN};

		if (poll(&poller, 1, (int)(end_ms - now_ms)) > 0)
			done = read_some(e);
		now_ms = clock_monotonic_ms();
	}
	if (!done || !is_whole(e)) {
		errand_cancel(e);
		return false;
	}
	reap(e);
	finish(e, 0, &why);
	return true;
}
