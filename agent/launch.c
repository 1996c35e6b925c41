/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/launch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/apply.h"
#include "common/expand.h"
#include "common/closing.h"
#include "common/signals.h"
#include "common/vector.h"

/* The steps of the child, in their order. */
enum step {
	STEP_CGROUP,
	STEP_SESSION,
	STEP_DESCRIPTORS,
	STEP_OOM_SCORE,
	STEP_LIMITS,
	STEP_NICE,
	STEP_GROUPS,
	STEP_GROUP,
	STEP_BOUNDING_SET,
	STEP_KEEP,
	STEP_USER,
	STEP_CAPABILITIES,
	STEP_DIRECTORY,
	STEP_NO_NEW_PRIVILEGES,
	STEP_EXEC,
};

/* What the child tells the parent if a step fails. */
struct failure {
	enum step step;
	int which; /* which limit or capability; -1: none in particular */
	int error;
};

/* Everything that the child needs. It is made before the fork: the child must not allocate. */
struct child {
	const struct launch_spec *spec;
	char **argv;
	char **environment;
	char *directory;  /* NULL: stay where the agent is */
	char *listen_pid; /* in environment: "LISTEN_PID=" and room for digits; NULL: no sockets */
	int from[3 + PROTOCOL_SOCKETS_MAX]; /* the descriptors that become 0, 1, 2, 3 ... */
	int n;                              /* of them */
	int cgroup_fd;
	int report_fd;
};

#define PID_DIGITS 11

/* ---- the environment ------------------------------------------------------------------------ */

static bool names_variable(const char *entry, const char *name)
{
	size_t n = strlen(name);

	return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

/* Is it a variable that baton sets itself? */
static bool is_ours(const char *entry)
{
	static const char *const names[] = {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
					    "NOTIFY_SOCKET"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names_variable(entry, names[i]))
			return true;
	return false;
}

static char *listen_names(const struct launch *launch)
{
	const struct listeners *listeners = launch->listeners;
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	if (!file)
		return NULL;
	fputs("LISTEN_FDNAMES=", file);
	for (size_t i = 0; i < listeners->n; i++)
		fprintf(file, "%s%s.%u", i > 0 ? ":" : "", launch->spec->service,
			address_port(&listeners->list[i].address));
	if (fclose(file) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/*
 * Go (since 1.24) listens with MPTCP, and no BPF program can choose among MPTCP sockets. GODEBUG
 * turns that off. @present is the variable as it is specified ("GODEBUG=..."), or NULL. Returns the
 * variable as it is to be, malloc'ed; NULL without memory.
 */
static char *without_mptcp(const char *present)
{
	char *text;

	if (!present || present[strlen("GODEBUG=")] == '\0')
		return strdup("GODEBUG=multipathtcp=0");
	if (strstr(present, "multipathtcp"))
		return strdup(present);
	return asprintf(&text, "%s,multipathtcp=0", present) < 0 ? NULL : text;
}

/* Replace GODEBUG, or append it: @vector has room for one more and the NULL. */
static int add_go_switch(char **vector, size_t *n)
{
	size_t i = 0;
	char *text;

	while (i < *n && !names_variable(vector[i], "GODEBUG"))
		i++;
	text = without_mptcp(i < *n ? vector[i] : NULL);
	if (!text)
		return -ENOMEM;
	if (i == *n)
		++*n;
	free(vector[i]);
	vector[i] = text;
	return 0;
}

/*
 * Append the variables that baton adds: @vector has room for four more and the NULL. *ret_pid is
 * LISTEN_PID, whose value only the child knows.
 */
static int add_variables(const struct launch *launch, char **vector, size_t n, char **ret_pid)
{
	if (launch->listeners->n > 0) {
		if (asprintf(&vector[n], "LISTEN_FDS=%zu", launch->listeners->n) < 0) {
			vector[n] = NULL;
			return -ENOMEM;
		}
		n++;
		if (asprintf(&vector[n], "LISTEN_PID=%*d", PID_DIGITS, 0) < 0) {
			vector[n] = NULL;
			return -ENOMEM;
		}
		*ret_pid = vector[n++];
		vector[n] = listen_names(launch);
		if (!vector[n++])
			return -ENOMEM;
	}
	if (launch->notify_socket &&
	    asprintf(&vector[n], "NOTIFY_SOCKET=%s", launch->notify_socket) < 0) {
		vector[n] = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int make_environment(const struct launch *launch, const struct expand_values *values,
			    char ***ret, char **ret_pid)
{
	char **vector, **grown;
	size_t n = 0;
	int r;

	r = expand_vector(launch->spec->environment, values, &vector);
	if (r < 0)
		return r;
	for (size_t i = 0; vector[i]; i++) {
		if (is_ours(vector[i]))
			free(vector[i]);
		else
			vector[n++] = vector[i];
	}
	vector[n] = NULL;
	grown = reallocarray(vector, n + 6, sizeof(*vector));
	if (!grown) {
		vector_free(vector);
		return -ENOMEM;
	}
	vector = grown;
	memset(vector + n, 0, 6 * sizeof(*vector));
	if (launch->spec->mode != SOCKETS_INHERIT)
		r = add_go_switch(vector, &n);
	if (r == 0)
		r = add_variables(launch, vector, n, ret_pid);
	if (r < 0) {
		vector_free(vector);
		return r;
	}
	*ret = vector;
	return 0;
}

/* ---- the child: async-signal-safe calls only ------------------------------------------------ */

static void write_pid(char *variable)
{
	char *digits = strchr(variable, '=') + 1;
	char reversed[PID_DIGITS];
	unsigned pid = (unsigned)getpid();
	int n = 0;

	for (; pid > 0; pid /= 10)
		reversed[n++] = (char)('0' + pid % 10);
	while (n > 0)
		*digits++ = reversed[--n];
	*digits = '\0';
}

/*
 * Move all descriptors to their places, and close the others. One may lie in the place of another,
 * so first duplicate all of them to higher numbers.
 */
static int place_descriptors(struct child *child)
{
	int above = child->n + 1; /* child->n will be the report pipe */

	for (int i = 0; i < child->n; i++) {
		child->from[i] = fcntl(child->from[i], F_DUPFD_CLOEXEC, above);
		if (child->from[i] < 0)
			return -errno;
	}
	if (child->report_fd != child->n) {
		if (dup3(child->report_fd, child->n, O_CLOEXEC) < 0)
			return -errno;
		child->report_fd = child->n;
	}
	for (int i = 0; i < child->n; i++)
		if (dup2(child->from[i], i) < 0)
			return -errno;
	return closing_range((unsigned)above, UINT_MAX);
}

static int join_cgroup(struct child *child)
{
	return child->cgroup_fd >= 0 && write(child->cgroup_fd, "0", 1) < 0 ? -errno : 0;
}

static int begin_session(struct child *child)
{
	if (setsid() < 0)
		return -errno;
	signals_reset();
	umask(child->spec->process.umask);
	return 0;
}

static int set_groups(struct child *child)
{
	const struct launch_spec *spec = child->spec;

	return spec->set_ids && setgroups(spec->n_groups, spec->groups) < 0 ? -errno : 0;
}

static int set_group(struct child *child)
{
	const struct launch_spec *spec = child->spec;

	return spec->set_ids && setresgid(spec->gid, spec->gid, spec->gid) < 0 ? -errno : 0;
}

static int set_user(struct child *child)
{
	const struct launch_spec *spec = child->spec;

	return spec->set_ids && setresuid(spec->uid, spec->uid, spec->uid) < 0 ? -errno : 0;
}

/* As the user, who may go to folders that root cannot enter (NFS, FUSE). */
static int enter_directory(struct child *child)
{
	return child->directory && chdir(child->directory) < 0 ? -errno : 0;
}

static int execute(struct child *child)
{
	if (child->listen_pid)
		write_pid(child->listen_pid);
	execve(child->spec->executable, child->argv, child->environment);
	return -errno;
}

static int take_step(struct child *child, enum step step, int *ret_which)
{
	const struct process_settings *process = &child->spec->process;

	switch (step) {
	case STEP_CGROUP:
		return join_cgroup(child);
	case STEP_SESSION:
		return begin_session(child);
	case STEP_DESCRIPTORS:
		return place_descriptors(child);
	case STEP_OOM_SCORE:
		return apply_oom_score(process);
	case STEP_LIMITS:
		return apply_limits(process, ret_which);
	case STEP_NICE:
		return apply_nice(process);
	case STEP_GROUPS:
		return set_groups(child);
	case STEP_GROUP:
		return set_group(child);
	case STEP_BOUNDING_SET:
		return apply_bounding_set(process, ret_which);
	case STEP_KEEP:
		return apply_keep(process);
	case STEP_USER:
		return set_user(child);
	case STEP_CAPABILITIES:
		return apply_capabilities(process, geteuid() == 0, ret_which);
	case STEP_DIRECTORY:
		return enter_directory(child);
	case STEP_NO_NEW_PRIVILEGES:
		return apply_no_new_privileges(process);
	case STEP_EXEC:
		return execute(child);
	}
	return -EINVAL;
}

static void __attribute__((noreturn)) run_child(struct child *child)
{
	struct failure failure = {.step = STEP_CGROUP, .which = -1};

	/* The last step returns only if it has failed. */
	while ((failure.error = -take_step(child, failure.step, &failure.which)) == 0)
		failure.step++;
	if (write(child->report_fd, &failure, sizeof(failure)) < 0)
		_exit(126);
	_exit(127);
}

/* ---- the parent ----------------------------------------------------------------------------- */

static void limit_text(uint64_t value, char ret[static 24])
{
	if (value == PROCESS_UNLIMITED)
		strcpy(ret, "unlimited");
	else
		snprintf(ret, 24, "%" PRIu64, value);
}

static int describe_limit(const struct launch_spec *spec, const struct failure *failure,
			  struct error *err)
{
	const struct process_limit *limit;
	char soft[24], hard[24];

	if (failure->which < 0 || failure->which >= PROCESS_LIMITS_MAX)
		return error_set(err, -failure->error, "limits");
	limit = &spec->process.limits[failure->which];
	limit_text(limit->soft, soft);
	limit_text(limit->hard, hard);
	return error_set(err, -failure->error, "limit %s %s:%s", process_limit_name(failure->which),
			 soft, hard);
}

static int describe_capability(const struct failure *failure, const char *what, struct error *err)
{
	const char *name = process_capability_name(failure->which);

	if (failure->which < 0)
		return error_set(err, -failure->error, "capabilities");
	if (!name)
		return error_set(err, -failure->error, "capabilities: %s number %d", what,
				 failure->which);
	return error_set(err, -failure->error, "capabilities: %s %s", what, name);
}

static bool is_kept(const struct launch_spec *spec, int capability)
{
	return capability >= 0 && capability < 64 && (spec->process.capabilities >> capability & 1);
}

/* Say it better than strerror(3): ENOENT need not be about the file, EAGAIN not about memory. */
static int describe_exec(const struct launch_spec *spec, int r, struct error *err)
{
	if (r == -ENOENT && access(spec->executable, F_OK) == 0)
		return error_text(err, r, "exec %s: its interpreter or loader does not exist",
				  spec->executable);
	if (r == -EAGAIN)
		return error_text(err, r,
				  "exec %s: uid %u has more processes than limit nproc allows",
				  spec->executable, spec->set_ids ? spec->uid : geteuid());
	return error_set(err, r, "exec %s", spec->executable);
}

static int describe_failure(const struct launch_spec *spec, const char *directory,
			    const struct failure *failure, struct error *err)
{
	int r = -failure->error;

	switch (failure->step) {
	case STEP_CGROUP:
		return error_set(err, r, "join cgroup %s", spec->cgroup);
	case STEP_SESSION:
		return error_set(err, r, "begin a session of its own");
	case STEP_DESCRIPTORS:
		return error_set(err, r, "pass descriptors");
	case STEP_OOM_SCORE:
		return error_set(err, r, "oom_score_adjust %d", spec->process.oom_score_adjust);
	case STEP_LIMITS:
		return describe_limit(spec, failure, err);
	case STEP_NICE:
		return error_set(err, r, "nice %d", spec->process.nice);
	case STEP_GROUPS:
		return error_set(err, r, "set supplementary groups");
	case STEP_GROUP:
		return error_set(err, r, "set gid %u", spec->gid);
	case STEP_BOUNDING_SET:
		return describe_capability(failure, is_kept(spec, failure->which) ? "keep" : "drop",
					   err);
	case STEP_USER:
		return error_set(err, r, "set uid %u", spec->uid);
	case STEP_KEEP:
		return error_set(err, r, "keep capabilities");
	case STEP_CAPABILITIES:
		return describe_capability(failure, "keep", err);
	case STEP_DIRECTORY:
		return error_set(err, r, "chdir %s", directory);
	case STEP_NO_NEW_PRIVILEGES:
		return error_set(err, r, "no_new_privileges");
	case STEP_EXEC:
		break;
	}
	return describe_exec(spec, r, err);
}

static void done(struct launching *launching)
{
	if (launching->pidfd >= 0)
		close(launching->pidfd);
	if (launching->fd >= 0)
		close(launching->fd);
	free(launching->directory);
	*launching = (struct launching){.pidfd = -1, .fd = -1};
}

/* The end of the pipe means that exec has closed it. */
int launch_end(struct launching *launching, const struct launch_spec *spec, struct error *err)
{
	struct failure failure;
	ssize_t n;
	int r = 0;

	assert(launching->pid > 0);
	do
		n = read(launching->fd, &failure, sizeof(failure));
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(failure))
		r = describe_failure(spec, launching->directory, &failure, err);
	else if (n != 0)
		r = error_text(err, -EIO,
			       "exec %s: the process that was to do it ended without a word",
			       spec->executable);
	done(launching);
	return r;
}

/* If it is in uninterruptible sleep, it ends later. */
void launch_give_up(struct launching *launching)
{
	if (launching->pidfd >= 0)
		(void)pidfd_send_signal(launching->pidfd, SIGKILL, NULL, 0);
	else if (launching->pid > 0)
		(void)kill(launching->pid, SIGKILL);
	done(launching);
}

static int run(const struct launch *launch, struct child *child, struct launching *ret,
	       struct error *err)
{
	cleanup_close int reader = -1, writer = -1;
	int pipe_fds[2];
	bool inside;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_set(err, -errno, "make a pipe to the server");
	reader = pipe_fds[0];
	writer = pipe_fds[1];
	child->report_fd = writer;
	ret->pid = processes_fork(launch->processes, &inside);
	if (ret->pid < 0)
		return error_set(err, -errno, "start a process");
	if (ret->pid == 0) {
		if (inside)
			child->cgroup_fd = -1;
		run_child(child);
	}
	/* It has not been reaped: the pid is its own. */
	ret->pidfd = pidfd_open(ret->pid, 0);
	ret->fd = TAKE_FD(reader);
	ret->directory = TAKE_PTR(child->directory);
	return 0;
}

static int expand_all(const struct launch *launch, struct child *child, struct error *err)
{
	int fds[PROTOCOL_SOCKETS_MAX], r;
	struct expand_values values = {
		.fds = fds,
		.n_fds = launch->listeners->n,
		.generation = launch->spec->generation,
		.instance = launch->spec->instance,
	};

	for (int i = 0; i < (int)launch->listeners->n; i++)
		fds[i] = LAUNCH_FDS_START + i;
	r = expand_vector(launch->spec->argv, &values, &child->argv);
	if (r == 0)
		r = make_environment(launch, &values, &child->environment, &child->listen_pid);
	if (r == -EINVAL && launch->spec->n_listen > 0)
		return error_text(err, r,
				  "{fd} or {fds:} is used, but in this mode (%s) no socket "
				  "is passed",
				  socket_mode_name(launch->spec->mode));
	if (r == -EINVAL)
		return error_text(err, r, "{fd} or {fds:} is used, but nothing is listened on");
	if (r < 0)
		return error_set(err, r, "expand the command and environment");
	if (!launch->spec->directory)
		return 0;
	values.stay = EXPAND_FDS;
	r = expand(launch->spec->directory, &values, &child->directory);
	return r < 0 ? error_set(err, r, "expand the directory") : 0;
}

int launch_begin(const struct launch *launch, struct launching *ret, struct error *err)
{
	struct child child = {.spec = launch->spec, .cgroup_fd = -1};
	cleanup_close int null = -1, cgroup = -1;
	int r;

	*ret = (struct launching){.pidfd = -1, .fd = -1};
	assert(launch->spec && launch->processes && launch->stdout_fd >= 0 &&
	       launch->stderr_fd >= 0);
	assert(launch->listeners->n <= PROTOCOL_SOCKETS_MAX);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0)
		return error_set(err, -errno, "/dev/null");
	r = processes_open_join(launch->processes, &cgroup, err);
	if (r < 0)
		return r;
	child.cgroup_fd = cgroup;
	child.from[child.n++] = null;
	child.from[child.n++] = launch->stdout_fd;
	child.from[child.n++] = launch->stderr_fd;
	for (size_t i = 0; i < launch->listeners->n; i++)
		child.from[child.n++] = launch->listeners->list[i].fd;
	r = expand_all(launch, &child, err);
	if (r == 0)
		r = run(launch, &child, ret, err);
	if (r < 0)
		done(ret);
	vector_free(child.argv);
	vector_free(child.environment);
	free(child.directory);
	return r;
}
