/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The child's process id is its own only until it has been reaped, which sd-event does after
 * on_ended() has returned: the process group is killed before that, or never.
 */
#include "orchestrator/host/command.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/clean.h"
#include "common/clock.h"
#include "common/closing.h"
#include "common/duration.h"
#include "common/expand.h"
#include "common/fields.h"
#include "common/log.h"
#include "common/signals.h"
#include "common/vector.h"
#include "orchestrator/host/command_leaf.h"

/* What a program without a limit of its own expects at most: select(2) can do no more. */
#define FILES_MAX 1024

/* After SIGKILL: a process that waits for a device does not end before that. */
#define KILL_WAIT_MS 1000

#define REAP_MS 20

/* What is read at the end at most: a few times what a pipe can hold (fcntl(2), F_SETPIPE_SZ). */
#define DRAIN_MAX (4 * 1024 * 1024)

/* 32-bit x86 and arm have older calls of these names, with ids of 16 bits. */
#ifdef SYS_setresuid32
#define SETGROUPS SYS_setgroups32
#define SETRESGID SYS_setresgid32
#define SETRESUID SYS_setresuid32
#else
#define SETGROUPS SYS_setgroups
#define SETRESGID SYS_setresgid
#define SETRESUID SYS_setresuid
#endif

enum step {
	STEP_CGROUP,
	STEP_SESSION,
	STEP_DESCRIPTORS,
	STEP_LIMIT,
	STEP_GROUPS,
	STEP_GROUP,
	STEP_USER,
	STEP_DIRECTORY,
	STEP_EXEC,
};

/* What the child says before it ends, when a step failed. */
struct failure {
	enum step step;
	int error;
	bool is_there; /* the program of STEP_EXEC */
};

/* Of a path in a message, so that the reason behind it has room. */
#define SHOWN_MAX 200

struct command {
	sd_event *event;
	void (*on_done)(void *userdata, const struct command_result *result);
	void *userdata;

	char *program, *directory; /* for messages */
	uid_t uid;
	gid_t gid;
	uint64_t timeout_ms;

	char leaf[CGROUP_PATH_MAX]; /* "": none */
	struct removals *removals;
	pid_t pid;       /* 0: reaped, or left to the loop */
	pid_t unwatched; /* it was killed, and nothing tells of its end; 0: none */
	int report_fd;
	int output_fd;
	bool deadline_passed;
	sd_event_source *child, *reader, *timer;

	char output[COMMAND_OUTPUT_MAX]; /* the end of it */
	size_t length;
};

/* ---- the child: async-signal-safe calls only ------------------------------------------------ */

/* 0, 1, 2 and the report's pipe as 3, which exec closes; none else. */
static int place_descriptors(int null, int output, int *report)
{
	int *from[] = {&null, &output, report};

	/* They may have the numbers that others must get. */
	for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
		int fd = fcntl(*from[i], F_DUPFD_CLOEXEC, 4);

		if (fd < 0)
			return -errno;
		*from[i] = fd;
	}
	if (dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 ||
	    dup3(*report, 3, O_CLOEXEC) < 0)
		return -errno;
	*report = 3;
	return closing_range(4, UINT_MAX);
}

/*
 * The daemon may have more descriptors open than a program should be allowed, which would break one
 * that uses select(2): while they are moved there is no limit but the hard one.
 */
static int place_within_limits(int null, int output, int *report, enum step *ret_step)
{
	struct rlimit limit, all;
	int r;

	*ret_step = STEP_LIMIT;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	all = limit;
	all.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &all) < 0)
		return -errno;
	*ret_step = STEP_DESCRIPTORS;
	r = place_descriptors(null, output, report);
	if (r < 0)
		return r;
	*ret_step = STEP_LIMIT;
	if (limit.rlim_cur > FILES_MAX)
		limit.rlim_cur = FILES_MAX;
	return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

/* Past the C library, which would have other threads do it as well: see command_leaf_fork(). */
static int become_user(const struct command_spec *spec, enum step *ret_step)
{
	if (!spec->set_ids)
		return 0;
	*ret_step = STEP_GROUPS;
	if (syscall(SETGROUPS, spec->n_groups, spec->groups) < 0)
		return -errno;
	*ret_step = STEP_GROUP;
	if (syscall(SETRESGID, spec->gid, spec->gid, spec->gid) < 0)
		return -errno;
	*ret_step = STEP_USER;
	return syscall(SETRESUID, spec->uid, spec->uid, spec->uid) < 0 ? -errno : 0;
}

static int become(const struct command_spec *spec, pid_t daemon, int null, int output, int *report,
		  enum step *ret_step)
{
	int r;

	*ret_step = STEP_SESSION;
	if (setsid() < 0)
		return -errno;
	signals_reset();
	umask(022);
	r = place_within_limits(null, output, report, ret_step);
	if (r < 0)
		return r;
	r = become_user(spec, ret_step);
	if (r < 0)
		return r;
	/*
	 * The capabilities with which an ordinary user's daemon steers are not for its commands
	 * (Linux 4.3).
	 */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	/*
	 * If the daemon dies nobody else keeps the deadline. Set only now: a change of the user
	 * resets it.
	 */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	/* It has died already: then no signal comes. */
	if (getppid() != daemon)
		_exit(126);
	/* As the user: root may not be able to go where the user can (NFS, FUSE). */
	*ret_step = STEP_DIRECTORY;
	return chdir(spec->directory ? spec->directory : "/") < 0 ? -errno : 0;
}

/* @leaf is to be joined; -1: there is none, or the child is in it already. */
static void __attribute__((noreturn))
run_child(const struct command_spec *spec, pid_t daemon, int leaf, int null, int output, int report)
{
	static char *const nothing[] = {NULL};
	struct failure failure = {.step = STEP_CGROUP};

	failure.error = leaf >= 0 ? -command_leaf_join(leaf) : 0;
	if (failure.error == 0)
		failure.error = -become(spec, daemon, null, output, &report, &failure.step);
	if (failure.error == 0) {
		failure.step = STEP_EXEC;
		execve(spec->argv[0], spec->argv, spec->environment ? spec->environment : nothing);
		failure.error = errno;
		failure.is_there = access(spec->argv[0], F_OK) == 0;
	}
	if (write(report, &failure, sizeof(failure)) < 0)
		_exit(126);
	_exit(127);
}

/* ---- what it wrote -------------------------------------------------------------------------- */

static void keep(struct command *c, const char *data, size_t n)
{
	if (c->length + n > sizeof(c->output)) {
		size_t lost = c->length + n - sizeof(c->output);

		c->length -= lost;
		memmove(c->output, c->output + lost, c->length);
	}
	memcpy(c->output + c->length, data, n);
	c->length += n;
}

/* How much there was; 0 at the end, negative errno. */
static ssize_t read_some(struct command *c)
{
	char chunk[COMMAND_OUTPUT_MAX];
	ssize_t n = read(c->output_fd, chunk, sizeof(chunk));

	if (n > 0)
		keep(c, chunk, (size_t)n);
	return n < 0 ? -errno : n;
}

/* What is in the pipe now: somebody may hold its other end open for ever. */
static void drain(struct command *c)
{
	size_t total = 0;
	ssize_t n;

	do {
		n = read_some(c);
		total += n > 0 ? (size_t)n : 0;
	} while (total < DRAIN_MAX && (n > 0 || n == -EINTR));
}

static int on_output(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct command *c = userdata;
	ssize_t n;

	(void)fd;
	(void)revents;
	/* Once in a turn of the loop: others want theirs, too. */
	n = read_some(c);
	if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR))
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

/*
 * @n bytes of a line as text for a terminal, in at most @size - 1 bytes: cleaned, without blanks
 * around it. Returns its length.
 */
static size_t take_line(const char *line, size_t n, char *buffer, size_t size)
{
	char copy[COMMAND_OUTPUT_MAX];
	size_t from = 0;

	n = n < sizeof(copy) ? n : sizeof(copy);
	memcpy(copy, line, n);
	n = clean_text(copy, n);
	for (size_t k = 0; k < n; k++)
		if (copy[k] == '\t')
			copy[k] = ' ';
	while (from < n && copy[from] == ' ')
		from++;
	n = n - from < size ? n - from : size - 1;
	memcpy(buffer, copy + from, n);
	while (n > 0 && buffer[n - 1] == ' ')
		n--;
	buffer[n] = '\0';
	return n;
}

/*
 * Replace what is not UTF-8. A character cut in two at the end goes: each of its bytes would become
 * a "?" that was never written.
 */
static void finish_text(char *text, bool cut)
{
	size_t n = strlen(text);

	if (cut) {
		while (n > 0 && ((unsigned char)text[n - 1] & 0xc0) == 0x80)
			n--;
		if (n > 0 && ((unsigned char)text[n - 1] & 0xc0) == 0xc0)
			text[n - 1] = '\0';
	}
	fields_make_utf8(text);
}

/* Append ": " and the last line that says anything, if there is one. */
static void append_last_line(const struct command *c, char *text, size_t size)
{
	char line[COMMAND_TEXT_MAX];
	size_t end = c->length, used = strlen(text), n = 0;

	while (end > 0 && n == 0) {
		const char *newline = memrchr(c->output, '\n', end);
		size_t start = newline ? (size_t)(newline - c->output) + 1 : 0;

		n = take_line(c->output + start, end - start, line, sizeof(line));
		end = newline ? start - 1 : 0;
	}
	if (n == 0)
		return;
	snprintf(text + used, size - used, ": %s", line);
	finish_text(text, used + 2 + n >= size - 1);
}

/* ---- what became of it ---------------------------------------------------------------------- */

static int say_failure(const struct command *c, const struct failure *failure, struct error *err)
{
	int r = -failure->error;

	switch (failure->step) {
	case STEP_CGROUP:
		return error_set(err, r, "join the cgroup %.*s", SHOWN_MAX, c->leaf);
	case STEP_SESSION:
		return error_set(err, r, "begin a session of its own");
	case STEP_LIMIT:
		return error_set(err, r, "limit open files");
	case STEP_DESCRIPTORS:
		return error_set(err, r, "pass descriptors");
	case STEP_GROUPS:
		return error_set(err, r, "set supplementary groups");
	case STEP_GROUP:
		return error_set(err, r, "set gid %u", c->gid);
	case STEP_USER:
		return error_set(err, r, "set uid %u", c->uid);
	case STEP_DIRECTORY:
		return error_set(err, r, "chdir %.*s", SHOWN_MAX, c->directory);
	case STEP_EXEC:
		break;
	}
	/* execve(2): ENOENT, too, if the interpreter of a script or program is missing. */
	if (r == -ENOENT && failure->is_there)
		return error_text(err, r, "exec %.*s: its interpreter or loader does not exist",
				  SHOWN_MAX, c->program);
	if (r == -ENOEXEC)
		return error_text(err, r,
				  "exec %.*s: Exec format error (a script begins with a line like "
				  "#!/bin/sh)",
				  SHOWN_MAX, c->program);
	return error_set(err, r, "exec %.*s", SHOWN_MAX, c->program);
}

/* 0: it runs, or this is not known; negative errno: a step failed. */
static int read_report(struct command *c, struct error *err)
{
	struct failure failure;
	ssize_t n;

	do
		n = read(c->report_fd, &failure, sizeof(failure));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(failure) ? say_failure(c, &failure, err) : 0;
}

static void describe_signal(int number, char *text, size_t size)
{
	const char *name = sigabbrev_np(number);

	if (name)
		snprintf(text, size, "was killed by SIG%s", name);
	else
		snprintf(text, size, "was killed by signal %d", number);
}

/* @info is NULL if it has not even ended by SIGKILL. */
static void describe(struct command *c, const siginfo_t *info, struct command_result *ret)
{
	bool exited = info && info->si_code == CLD_EXITED;
	char limit[DURATION_TEXT_MAX];
	struct error err;

	if (exited)
		ret->exit_code = info->si_status;
	else
		ret->exit_signal = info ? info->si_status : SIGKILL;
	/* One that had ended by itself when it was to be killed has given its answer. */
	ret->timed_out = c->deadline_passed && ret->exit_signal == SIGKILL;
	ret->start_error = read_report(c, &err);
	if (ret->start_error < 0) {
		snprintf(ret->text, sizeof(ret->text), "%.*s", (int)sizeof(ret->text) - 1,
			 err.text);
		finish_text(ret->text, strlen(err.text) >= sizeof(ret->text));
		return;
	}
	if (ret->timed_out)
		snprintf(ret->text, sizeof(ret->text), "did not end within %s%s",
			 duration_format(c->timeout_ms, limit),
			 info ? "" : ", nor when it was killed");
	else if (exited)
		snprintf(ret->text, sizeof(ret->text), "exited with status %d", ret->exit_code);
	else
		describe_signal(ret->exit_signal, ret->text, sizeof(ret->text));
	append_last_line(c, ret->text, sizeof(ret->text));
}

/* ---- its end -------------------------------------------------------------------------------- */

static void kill_all(struct command *c)
{
	if (c->pid == 0)
		return;
	kill(-c->pid, SIGKILL);
	kill(c->pid, SIGKILL); /* it may not have come to setsid(2) */
	if (c->leaf[0])
		command_leaf_kill(c->leaf);
}

/* Killed, but not reaped: the loop does it, and nobody is told. */
static void leave_to_loop(struct command *c)
{
	if (c->pid == 0)
		return;
	c->pid = 0;
	sd_event_source_set_userdata(c->child, NULL);
	/* It belongs to the loop alone then. */
	if (sd_event_source_set_floating(c->child, true) >= 0)
		c->child = sd_event_source_unref(c->child);
}

static void free_command(struct command *c)
{
	if (!c)
		return;
	leave_to_loop(c);
	if (c->leaf[0])
		command_leaf_remove(c->leaf, c->removals);
	sd_event_source_disable_unref(c->child);
	sd_event_source_disable_unref(c->reader);
	sd_event_source_disable_unref(c->timer);
	if (c->report_fd >= 0)
		close(c->report_fd);
	if (c->output_fd >= 0)
		close(c->output_fd);
	sd_event_unref(c->event);
	free(c->program);
	free(c->directory);
	free(c);
}
DEFINE_CLEANUP(struct command *, free_command);

static void finish(struct command *c, const siginfo_t *info)
{
	void (*on_done)(void *userdata, const struct command_result *result) = c->on_done;
	struct command_result result = {0};
	void *userdata = c->userdata;

	drain(c);
	describe(c, info, &result);
	free_command(c);
	on_done(userdata, &result);
}

static int on_ended(sd_event_source *source, const siginfo_t *info, void *userdata)
{
	struct command *c = userdata;

	if (!c) {
		/* Taking it back from the loop frees it, and its pidfd. */
		sd_event_source_set_floating(source, false);
		return 0;
	}
	/* What it leaves behind must not go on beside what comes next. */
	kill_all(c);
	c->pid = 0;
	finish(c, info);
	return 0;
}

/* It is asked for again and again. Then the command is freed. */
static int reap_unwatched(struct command *c)
{
	int r;

	if (waitpid(c->unwatched, NULL, WNOHANG) != 0) {
		free_command(c);
		return 0;
	}
	r = sd_event_source_set_time_relative(c->timer, REAP_MS * 1000);
	return r < 0 ? r : sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct command *c = userdata;
	int r = 0;

	(void)usec;
	if (c->unwatched)
		return reap_unwatched(c);
	kill_all(c);
	if (!c->deadline_passed) {
		c->deadline_passed = true;
		r = sd_event_source_set_time(source, (clock_monotonic_ms() + KILL_WAIT_MS) * 1000);
		if (r >= 0)
			r = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
		if (r >= 0)
			return 0;
	}
	log_warning("%s does not end, though it was killed", c->program);
	finish(c, NULL);
	return 0;
}

/* ---- starting ------------------------------------------------------------------------------- */

/* Both ends are close-on-exec; what is read here does not wait. */
static int open_pipe(const struct command_spec *spec, int *ret_reader, int *ret_writer)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ret_reader = fds[0];
	*ret_writer = fds[1];
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	/*
	 * A program that opens /dev/stderr anew needs the right to. (A daemon that may not give it
	 * cannot set ids, either.)
	 */
	if (spec->set_ids && fchown(fds[1], spec->uid, spec->gid) < 0 && errno != EPERM)
		return -errno;
	return 0;
}

/* The loop's sources but the child's own: after the fork as little as possible may fail. */
static int watch(struct command *c)
{
	uint64_t end_ms = clock_monotonic_ms() + c->timeout_ms;
	int r;

	r = sd_event_add_io(c->event, &c->reader, c->output_fd, EPOLLIN, on_output, c);
	if (r < 0)
		return r;
	return sd_event_add_time(c->event, &c->timer, CLOCK_MONOTONIC, end_ms * 1000, 1000,
				 on_timer, c);
}

/* Without a leaf it is killed by its process group; that is said once, as it concerns all. */
static void open_leaf(struct command *c, const struct command_spec *spec, int *ret_fd)
{
	static bool told;
	struct error err;

	if (!spec->cgroup_base || !spec->cgroup_base[0])
		return;
	c->removals = spec->removals;
	if (command_leaf_open(spec->cgroup_base, c->leaf, ret_fd, &err) >= 0)
		return;
	c->leaf[0] = '\0';
	if (!told)
		log_warning("%s runs without a cgroup of its own, so a child of it that begins a "
			    "session outlives it: %s",
			    c->program, err.text);
	told = true;
}

static int start(struct command *c, const struct command_spec *spec, int null, int output,
		 int report, struct error *err)
{
	cleanup_close int leaf = -1;
	pid_t daemon = getpid();
	bool join = false;
	pid_t pid;
	int r;

	open_leaf(c, spec, &leaf);
	pid = leaf >= 0 ? command_leaf_fork(leaf, &join) : fork();
	if (pid < 0)
		return error_set(err, -errno, "start a process");
	if (pid == 0)
		run_child(spec, daemon, join ? leaf : -1, null, output, report);
	r = sd_event_add_child(c->event, &c->child, pid, WEXITED, on_ended, c);
	if (r < 0) {
		c->unwatched = pid;
		return error_set(err, r, "watch the process");
	}
	c->pid = pid;
	return 0;
}

/* Nobody waits for it, as it may be on its way to a file system that hangs. */
static void discard(struct command *c)
{
	kill(c->unwatched, SIGKILL);
	c->reader = sd_event_source_disable_unref(c->reader);
	(void)reap_unwatched(c);
}

static struct expand_values values_of(const struct command_spec *spec)
{
	return (struct expand_values){
		.generation = spec->generation,
		.instance = spec->instance,
		.stay = spec->of_instance ? EXPAND_FDS : EXPAND_FDS | EXPAND_INSTANCE,
	};
}

static int expand_directory(const struct command_spec *spec, char **ret)
{
	const struct expand_values values = values_of(spec);
	const char *directory = spec->directory ? spec->directory : "/";

	return spec->of_instance ? expand(directory, &values, ret)
				 : expand_common_folder(directory, ret);
}

static struct command *make_command(sd_event *event, const struct command_spec *spec)
{
	cleanup(free_command) struct command *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->event = sd_event_ref(event);
	c->report_fd = c->output_fd = -1;
	c->uid = spec->uid;
	c->gid = spec->gid;
	c->timeout_ms = spec->timeout_ms;
	c->program = strdup(spec->argv[0]);
	if (!c->program || expand_directory(spec, &c->directory) < 0)
		return NULL;
	return TAKE_PTR(c);
}

static int expand_environment(const struct command_spec *spec, const struct expand_values *values,
			      char ***ret)
{
	int r = 0;

	for (char *const *entry = spec->environment; entry && *entry && r == 0; entry++) {
		char *text;

		if (expand_find(*entry, values->stay))
			continue;
		r = expand(*entry, values, &text);
		if (r == 0)
			r = vector_append(ret, text);
	}
	return r;
}

/* Without placeholders. */
static int expand_spec(const struct command_spec *spec, char ***ret_argv, char ***ret_environment)
{
	const struct expand_values values = values_of(spec);
	int r = expand_vector(spec->argv, &values, ret_argv);

	return r < 0 ? r : expand_environment(spec, &values, ret_environment);
}

int command_start(sd_event *event, const struct command_spec *spec,
		  void (*on_done)(void *userdata, const struct command_result *result),
		  void *userdata, struct command **ret, struct error *err)
{
	cleanup(free_command) struct command *c = make_command(event, spec);
	cleanup_close int null = -1, output = -1, report = -1;
	cleanup(vector_free) char **argv = NULL, **environment = NULL;
	struct command_spec ready = *spec;
	int r;

	assert(strchr(spec->argv[0], '/') && on_done);
	if (!c)
		return error_set(err, -ENOMEM, "start %s", spec->argv[0]);
	c->on_done = on_done;
	c->userdata = userdata;
	r = expand_spec(spec, &argv, &environment);
	if (r < 0)
		return error_set(err, r, "start %s", spec->argv[0]);
	ready.argv = argv;
	ready.environment = environment;
	ready.directory = c->directory;
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0)
		return error_set(err, -errno, "/dev/null");
	r = open_pipe(spec, &c->output_fd, &output);
	if (r >= 0)
		r = open_pipe(spec, &c->report_fd, &report);
	if (r < 0)
		return error_set(err, r, "make a pipe for its output");
	r = watch(c);
	if (r < 0)
		return error_set(err, r, "watch the process");
	r = start(c, &ready, null, output, report, err);
	if (c->unwatched)
		discard(TAKE_PTR(c));
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

void command_cancel(struct command *command)
{
	if (!command)
		return;
	kill_all(command);
	free_command(command);
}
