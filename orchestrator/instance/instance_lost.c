/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/orphans.h"
#include "common/pidfds.h"
#include "orchestrator/instance/instance_internal.h"

#define LOST_POLL_MS      20 /* after it was told to leave or to stop */
#define LOST_IDLE_POLL_MS 500

/*
 * Without a cgroup and without an agent the processes that the server has forked cannot be found.
 * Then its main process stands for all of them.
 */
int instance_populated(const struct instance *i)
{
	if (i->cgroup[0])
		return cgroup_populated(i->cgroup);
	if (i->processes)
		return processes_any(i->processes);
	if (i->has_pidfd)
		return pidfds_alive(i->pidfd);
	/* A question only: it may be another process by now, and nobody signals that. */
	return i->pid > 0 && (kill(i->pid, 0) == 0 || errno == EPERM);
}

/* The pidfd is older than the answer: so it is of a process of the instance, or of none. */
static bool is_ours(const struct instance *i, pid_t pid, int pidfd)
{
	return i->processes && processes_contain(i->processes, pid) > 0 && pidfds_alive(pidfd);
}

void instance_know_pid(struct instance *i, pid_t pid)
{
	cleanup_close int pidfd = -1;

	if (i->has_pidfd)
		close(i->pidfd);
	i->has_pidfd = false;
	i->pid = pid;
	if (pid <= 0)
		return;
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0 || !is_ours(i, pid, pidfd))
		return;
	i->pidfd = TAKE_FD(pidfd);
	i->has_pidfd = true;
}

void instance_signal_main(struct instance *i, int signal)
{
	if (i->has_pidfd && pidfd_send_signal(i->pidfd, signal, NULL, 0) < 0 && errno != ESRCH)
		log_warning("%s: send signal %d to pid %d: %s", i->config->name, signal,
			    (int)i->pid, strerror(errno));
}

/* If the kernel cannot tell, the answer is yes: a deadline ends the waiting. */
static bool still_listens(struct instance *i, const struct instance_socket *s)
{
	struct diag_listener listener;

	return diag_listener(i->context->diag, address_port(&i->config->listen[s->endpoint]),
			     s->cookie, &listener, NULL) != -ENOENT;
}

static void check_left(struct instance *i)
{
	bool late = clock_monotonic_ms() >= i->lost_deadline_ms;
	bool open = false;

	for (size_t k = 0; k < i->sockets.n; k++) {
		const struct instance_socket *s = &i->sockets.list[k];

		if (!still_listens(i, s))
			continue;
		open = true;
		if (late && diag_destroy_listener(i->context->diag,
						  address_port(&i->config->listen[s->endpoint]),
						  s->cookie, NULL) == 0)
			i->forced = true;
	}
	/* After the deadline there is nothing more to try. */
	if (!open || late)
		instance_enter(i, INSTANCE_LEFT);
}

/* As many at a time as are shut down at once. */
static void shut_orphans_of(struct instance *i, const struct instance_sockets *sockets)
{
	struct orphan list[ORPHANS_MAX];
	char text[ORPHAN_TEXT_MAX];
	size_t n;

	for (size_t from = 0; from < sockets->n; from += n) {
		int left;

		for (n = 0; from + n < sockets->n && n < ORPHANS_MAX; n++) {
			const struct instance_socket *socket = &sockets->list[from + n];
			const struct address *address = &i->config->listen[socket->endpoint];

			orphan_init(&list[n], socket->cookie, address->text, address_port(address));
		}
		left = orphans_shut(i->context->diag, list, n);
		for (int k = 0; k < left; k++)
			instance_note(i, EVENT_STRANGER, "instance %u of generation %u: %s",
				      i->index, i->generation, orphan_describe(&list[k], text));
	}
}

void instance_shut_orphans(struct instance *i)
{
	if (!i->context->diag)
		return;
	shut_orphans_of(i, &i->sockets);
	shut_orphans_of(i, &i->unused);
}

static void kill_populated(struct instance *i)
{
	i->killed = true;
	if (i->cgroup[0])
		cgroup_kill(i->cgroup);
	else
		instance_signal_main(i, SIGKILL);
}

static int poll_lost(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct instance *i = userdata;

	(void)usec;
	if (instance_has_stopped(i)) /* the daemon has killed it meanwhile */
		return 0;
	if (i->phase == INSTANCE_LEAVING)
		check_left(i);
	else if (i->phase == INSTANCE_JOINED)
		instance_drop_silent(i);
	/* If the kernel cannot tell whether any is left, one may be: look again. */
	if (instance_populated(i) == 0) {
		/* Nobody was there to be told how. */
		if (i->pid > 0)
			i->ending = ENDING_UNKNOWN;
		instance_know_pid(i, 0);
		instance_shut_orphans(i);
		instance_fail(i, "its processes are gone");
		instance_enter(i, INSTANCE_STOPPED);
	} else if (i->phase == INSTANCE_STOPPING && clock_monotonic_ms() >= i->lost_deadline_ms) {
		kill_populated(i);
	}
	instance_changed(i);
	if (instance_has_stopped(i))
		return 0;
	sd_event_source_set_time_relative(
		source, (instance_is_leaving(i) ? LOST_POLL_MS : LOST_IDLE_POLL_MS) * 1000);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

void instance_watch_lost(struct instance *i)
{
	int r;

	/* They were found below the agent, whose pid may be another process's by now. */
	if (!i->cgroup[0])
		processes_free(TAKE_PTR(i->processes));
	r = sd_event_add_time_relative(i->context->event, &i->lost_timer, CLOCK_MONOTONIC, 0, 1000,
				       poll_lost, i);
	if (r < 0)
		log_error("%s: instance %u of generation %u has lost its agent, and cannot be "
			  "watched: %s",
			  i->config->name, i->index, i->generation, strerror(-r));
}

void instance_signal_lost(struct instance *i, int signal)
{
	if (signal != 0 && instance_populated(i) > 0)
		instance_signal_main(i, signal);
}

void instance_hurry_lost(struct instance *i, uint64_t deadline_ms)
{
	assert(i->lost);
	sd_event_source_set_time_relative(i->lost_timer, 0);
	i->lost_deadline_ms = deadline_ms;
}
