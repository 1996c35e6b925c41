/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/server.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clean.h"
#include "common/clock.h"
#include "common/pidfds.h"
#include "common/timer.h"

/* Children reaped at a time; the others stay zombies until the next SIGCHLD. */
#define REAP_MAX 4096

/* So often server_follow() tries again because a process has ended meanwhile. */
#define FOLLOW_TRIES 8

struct server {
	sd_event *event;
	server_handler on_exited;
	void *userdata;
	pid_t pid;
	int pidfd;
	struct timer reaped; /* until then somebody may reap it who is its parent */
	struct server_last last;
	sd_event_source *child_source;
	sd_event_source *pidfd_source;
};

static void forget(struct server *server)
{
	timer_stop(&server->reaped);
	server->pidfd_source = sd_event_source_disable_unref(server->pidfd_source);
	if (server->pidfd >= 0)
		close(TAKE_FD(server->pidfd));
	server->pid = 0;
}

void server_forget(struct server *server)
{
	forget(server);
}

/* The main process has ended. A code of 0 in @info: nobody tells how. */
static void ended(struct server *server, const siginfo_t *info)
{
	forget(server);
	if (info->si_code == 0)
		server->on_exited(SERVER_EXIT_UNKNOWN, 0, server->userdata);
	else if (info->si_code == CLD_EXITED)
		server->on_exited(info->si_status, 0, server->userdata);
	else
		server->on_exited(0, info->si_status, server->userdata);
}

static bool read_proc(pid_t pid, const char *file, char *ret, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, ret, size - 1);
	ret[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* A zombie still has its user ids; who is reaped has none. */
static void note_last(struct server *server, pid_t pid)
{
	struct server_last last = {};
	unsigned long faults;
	const char *line;
	char text[1024];

	server->last = last;
	if (!read_proc(pid, "status", text, sizeof(text)))
		return;
	line = strstr(text, "\nUid:");
	if (!line || sscanf(line, "\nUid: %*u %*u %*u %u", &last.uid) != 1)
		return;
	(void)sscanf(text, "Name:\t%15[^\n]", last.name);
	clean_name(last.name);
	/* Fields 10 and 11: faults of its own, and of the children that it has waited for. */
	if (read_proc(pid, "stat", text, sizeof(text)) && (line = strrchr(text, ')')) &&
	    sscanf(line + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %lu", &faults) == 1)
		last.had_children = faults > 0;
	last.known = true;
	server->last = last;
}

/* Reap @pid, which has ended. */
static void reap(struct server *server, pid_t pid)
{
	siginfo_t info = {0};

	if (pid == server->pid)
		note_last(server, pid);
	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0 &&
	    pid == server->pid)
		ended(server, &info);
}

void server_reap(struct server *server)
{
	for (int i = 0; i < REAP_MAX; i++) {
		siginfo_t info = {0};

		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
			return;
		reap(server, info.si_pid);
	}
}

static int on_child(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)source;
	(void)info;
	server_reap(userdata);
	return 0;
}

/* How a process has ended that is not our child: known once its parent has reaped it. */
static bool tells_exit(int pidfd, siginfo_t *ret)
{
	int status;

	if (!pidfds_status(pidfd, &status))
		return false;
	ret->si_code = WIFEXITED(status) ? CLD_EXITED : CLD_KILLED;
	ret->si_status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
	return true;
}

static int on_unreaped(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *server = userdata;
	siginfo_t info = {0};

	(void)source;
	(void)usec;
	(void)tells_exit(server->pidfd, &info);
	ended(server, &info);
	return 0;
}

/* It is another's child. EPOLLHUP comes when that one has reaped it, whatever is asked for. */
static void await_reaping(struct server *server, uint32_t events)
{
	siginfo_t info = {0};

	if (tells_exit(server->pidfd, &info) || (events & EPOLLHUP)) {
		ended(server, &info);
		return;
	}
	(void)sd_event_source_set_io_events(server->pidfd_source, 0);
	if (!timer_is_set(&server->reaped))
		timer_set(&server->reaped, server->event, clock_monotonic_ms() + SERVER_REAPED_MS,
			  on_unreaped, server);
}

static int on_pidfd(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct server *server = userdata;
	siginfo_t info = {0};

	(void)source;
	note_last(server, server->pid);
	if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) == 0) {
		if (info.si_pid != 0)
			ended(server, &info);
		return 0;
	}
	if (errno == ECHILD)
		await_reaping(server, events);
	return 0;
}

int server_new(sd_event *event, server_handler on_exited, void *userdata, struct server **ret,
	       struct error *err)
{
	cleanup(server_free) struct server *server = calloc(1, sizeof(*server));
	sigset_t mask;
	int r;

	if (!server)
		return error_set(err, -ENOMEM, "server");
	server->event = sd_event_ref(event);
	server->on_exited = on_exited;
	server->userdata = userdata;
	server->pidfd = -1;
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
		return error_set(err, -errno, "block SIGCHLD");
	r = sd_event_add_signal(event, &server->child_source, SIGCHLD, on_child, server);
	if (r < 0)
		return error_set(err, r, "watch SIGCHLD");
	*ret = TAKE_PTR(server);
	return 0;
}

void server_free(struct server *server)
{
	if (!server)
		return;
	forget(server);
	timer_done(&server->reaped);
	sd_event_source_disable_unref(server->child_source);
	sd_event_unref(server->event);
	free(server);
}

/* Containers may forbid pidfd_open(2): SIGCHLD tells of children without. */
static bool is_forbidden(int error)
{
	return error == ENOSYS || error == EPERM;
}

static bool is_child(pid_t pid)
{
	siginfo_t info;

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static int watch_by(struct server *server, pid_t pid, int pidfd, struct error *err)
{
	int r;

	forget(server);
	server->pid = pid;
	server->pidfd = pidfd;
	if (pidfd < 0)
		return 0;
	r = sd_event_add_io(server->event, &server->pidfd_source, pidfd, EPOLLIN, on_pidfd, server);
	if (r < 0)
		return error_set(err, r, "watch pid %d", (int)pid);
	return 0;
}

int server_watch(struct server *server, pid_t pid, struct error *err)
{
	int pidfd;

	assert(pid > 0);
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0 && !(is_forbidden(errno) && is_child(pid)))
		return error_set(err, -errno, "watch pid %d", (int)pid);
	return watch_by(server, pid, pidfd, err);
}

int server_watch_member(struct server *server, pid_t pid, const struct processes *processes,
			struct error *err)
{
	cleanup_close int pidfd = pidfd_open(pid, 0);

	if (pidfd < 0 && !(is_forbidden(errno) && is_child(pid)))
		return error_set(err, -errno, "watch pid %d", (int)pid);
	if (processes_contain(processes, pid) <= 0 || (pidfd >= 0 && !pidfds_alive(pidfd)))
		return error_text(err, -ESRCH, "watch pid %d: it is no process of the instance",
				  (int)pid);
	return watch_by(server, pid, TAKE_FD(pidfd), err);
}

int server_watch_started(struct server *server, pid_t pid, uint64_t started, struct error *err)
{
	cleanup_close int pidfd = pidfd_open(pid, 0);
	uint64_t found;

	if (pidfd < 0)
		return error_set(err, -errno, "watch pid %d", (int)pid);
	if (processes_started(pid, &found) < 0 || found != started)
		return error_text(err, -ESRCH, "watch pid %d: it has ended", (int)pid);
	return watch_by(server, pid, TAKE_FD(pidfd), err);
}

/* Is there a child that has ended and was not reaped? */
static bool has_unreaped(void)
{
	siginfo_t info = {0};

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

/*
 * processes_oldest_child() looks at one process after the other. So it can miss a process: its
 * parent forks after the child's turn is over, and has ended when its own turn comes. The parent is
 * then a zombie, because only the agent reaps it: if there is one, look again.
 */
bool server_follow(struct server *server, const struct processes *processes)
{
	struct error err;
	pid_t pid;

	for (int i = 0; i < FOLLOW_TRIES; i++) {
		if (processes_oldest_child(processes, &pid) < 0)
			return false;
		if (pid != 0 && server_watch(server, pid, &err) == 0)
			return true;
		if (pid == 0 && !has_unreaped())
			return false;
	}
	return false;
}

pid_t server_pid(const struct server *server)
{
	return server->pid;
}

const struct server_last *server_last(const struct server *server)
{
	return &server->last;
}

int server_signal(const struct server *server, int signal)
{
	if (server->pid == 0)
		return -ESRCH;
	/* It is a child, then, and keeps its pid until it is reaped. */
	if (server->pidfd < 0)
		return kill(server->pid, signal) < 0 ? -errno : 0;
	return pidfd_send_signal(server->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}
