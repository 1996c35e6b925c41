/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/successors.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "agent/acceptors.h"
#include "common/backoff.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/timer.h"

/* Delays between two looks: the first, and the longest. */
#define LOOK_MS     5
#define LOOK_MAX_MS 100

/* So often at most a signal waits for the next look, which shows whom it is for. */
#define TELL_LOOKS 20

/* So many servers at a time, beside the main process, are told of signals. */
#define TOLD_MAX 8

/* A server that was told of a signal. */
struct told {
	pid_t pid;
	int pidfd; /* -1: the system forbids pidfd_open(2) */
	int signal;
};

struct successors {
	sd_event *event;
	const struct processes *processes;
	struct sockets *sockets;
	const struct successors_handlers *handlers;
	void *userdata;

	struct told told[TOLD_MAX];
	size_t n_told;

	/* While seeking: */
	struct acceptors *acceptors; /* NULL: not seeking, or not looked yet */
	bool seeking;
	bool well;
	bool told_only;
	uint64_t began_ms;
	uint64_t worked_ms;        /* when a family that may follow was seen to work last */
	unsigned long long worked; /* what was seen of it then */
	unsigned tries;
	struct timer look;
};

int successors_new(sd_event *event, const struct processes *processes, struct sockets *sockets,
		   const struct successors_handlers *handlers, void *userdata,
		   struct successors **ret, struct error *err)
{
	struct successors *successors = calloc(1, sizeof(*successors));

	assert(handlers->on_found && handlers->on_none);
	if (!successors)
		return error_set(err, -ENOMEM, "successors");
	successors->event = sd_event_ref(event);
	successors->processes = processes;
	successors->sockets = sockets;
	successors->handlers = handlers;
	successors->userdata = userdata;
	*ret = successors;
	return 0;
}

void successors_stop(struct successors *successors)
{
	successors->seeking = false;
	timer_stop(&successors->look);
	acceptors_free(TAKE_PTR(successors->acceptors));
}

void successors_reset(struct successors *successors)
{
	successors_stop(successors);
	for (size_t i = 0; i < successors->n_told; i++)
		if (successors->told[i].pidfd >= 0)
			close(successors->told[i].pidfd);
	successors->n_told = 0;
}

void successors_free(struct successors *successors)
{
	if (!successors)
		return;
	successors_reset(successors);
	timer_done(&successors->look);
	sd_event_unref(successors->event);
	free(successors);
}

bool successors_seeks(const struct successors *successors)
{
	return successors->seeking;
}

/* ---- those that were told ------------------------------------------------------------------- */

static bool is_alive(const struct successors *successors, const struct told *told)
{
	struct pollfd poller = {.fd = told->pidfd, .events = POLLIN};

	if (told->pidfd < 0)
		return processes_contain(successors->processes, told->pid) > 0;
	return poll(&poller, 1, 0) == 0;
}

static void forget_ended(struct successors *successors)
{
	for (size_t i = successors->n_told; i-- > 0;) {
		struct told *told = &successors->told[i];

		if (is_alive(successors, told))
			continue;
		if (told->pidfd >= 0)
			close(told->pidfd);
		*told = successors->told[--successors->n_told];
	}
}

static void send_signal(const struct successors *successors, struct told *told, int signal)
{
	int r;

	if (told->signal == signal)
		return;
	told->signal = signal;
	/* Without a pidfd its pid may be another's by now. */
	if (told->pidfd < 0 && processes_contain(successors->processes, told->pid) <= 0)
		return;
	r = told->pidfd >= 0 ? pidfd_send_signal(told->pidfd, signal, NULL, 0)
			     : kill(told->pid, signal);
	if (r < 0 && errno != ESRCH)
		log_warning("send signal %d to pid %d, which serves, too: %s", signal,
			    (int)told->pid, strerror(errno));
}

static void tell(struct successors *successors, pid_t pid, int signal)
{
	struct told *told;

	for (size_t i = 0; i < successors->n_told; i++)
		if (successors->told[i].pid == pid)
			return;
	if (successors->n_told == TOLD_MAX)
		return;
	told = &successors->told[successors->n_told++];
	*told = (struct told){.pid = pid, .pidfd = pidfd_open(pid, 0)};
	/* Its pid was read a moment ago: is it still one of ours? */
	if (processes_contain(successors->processes, pid) > 0)
		send_signal(successors, told, signal);
}

bool successors_was_told(const struct successors *successors, pid_t pid, int signal)
{
	for (size_t i = 0; i < successors->n_told; i++)
		if (successors->told[i].pid == pid && successors->told[i].signal == signal)
			return true;
	return false;
}

/* ---- servers beside the main process -------------------------------------------------------- */

/* The head of @main's family; 0: it is alone, so there is nobody else. */
static pid_t head_among_others(const struct successors *successors, pid_t main)
{
	cleanup_free struct process_kin *kin = NULL;
	bool others = false;
	pid_t head = 0;
	size_t n = 0;

	if (processes_kin(successors->processes, &kin, &n) < 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (kin[i].pid == main)
			head = kin[i].head;
	for (size_t i = 0; i < n; i++)
		others |= kin[i].head != head;
	return others ? head : 0;
}

static bool serves(const struct acceptor *family)
{
	return family->accepts || family->connected;
}

/* Look until all of them are seen to serve: in one moment a server need not wait. */
static int look_well(struct successors *successors, struct acceptors *acceptors,
		     struct acceptor families[static ACCEPTORS_MAX])
{
	bool all = false;
	int n = 0;

	for (int i = 0; i < TELL_LOOKS && !all; i++) {
		if (i > 0)
			(void)poll(NULL, 0, LOOK_MS);
		n = acceptors_look(acceptors, sockets_listeners(successors->sockets), families);
		all = true;
		for (int k = 0; k < n; k++)
			all &= serves(&families[k]);
	}
	return n;
}

static void tell_others(struct successors *successors, pid_t head, int signal)
{
	cleanup(acceptors_free) struct acceptors *acceptors = NULL;
	struct acceptor families[ACCEPTORS_MAX];
	bool beside = false;
	struct error err;
	int n;

	if (acceptors_new(successors->processes, &acceptors, &err) < 0)
		return;
	n = look_well(successors, acceptors, families);
	for (int i = 0; i < n; i++)
		beside |= families[i].head == head && serves(&families[i]);
	for (int i = 0; beside && i < n; i++)
		if (families[i].head != head && serves(&families[i]))
			tell(successors, families[i].head, signal);
}

void successors_tell(struct successors *successors, pid_t main, int signal)
{
	pid_t head;

	forget_ended(successors);
	for (size_t i = 0; i < successors->n_told; i++)
		if (successors->told[i].pid != main)
			send_signal(successors, &successors->told[i], signal);
	head = main != 0 ? head_among_others(successors, main) : 0;
	if (head != 0)
		tell_others(successors, head, signal);
}

/* ---- seeking -------------------------------------------------------------------------------- */

static int on_look(sd_event_source *source, uint64_t usec, void *userdata);

static void found_none(struct successors *successors)
{
	successors_stop(successors);
	successors->handlers->on_none(successors->userdata);
}

/* The handler may ask whether it is still being sought, or begin to seek the next one. */
static bool follow(struct successors *successors, pid_t pid)
{
	successors->seeking = false;
	if (!successors->handlers->on_found(pid, successors->userdata)) {
		successors->seeking = true;
		return false;
	}
	if (!successors->seeking)
		successors_stop(successors);
	return true;
}

static bool follow_told(struct successors *successors)
{
	forget_ended(successors);
	for (size_t i = 0; i < successors->n_told; i++)
		if (follow(successors, successors->told[i].pid))
			return true;
	return false;
}

static bool may_follow(const struct successors *successors, const struct acceptor *family)
{
	return successors->well || !family->forked;
}

/* Is one of them worth waiting for? */
static bool may_still_accept(struct successors *successors, const struct acceptor *families, int n)
{
	uint64_t now_ms = clock_monotonic_ms();
	unsigned long long worked = 0;
	bool any = false, connected = false;

	for (int i = 0; i < n; i++) {
		if (!may_follow(successors, &families[i]))
			continue;
		any = true;
		connected |= families[i].connected;
		worked += families[i].ticks + (unsigned long long)families[i].head;
	}
	if (connected || worked != successors->worked)
		successors->worked_ms = now_ms;
	successors->worked = worked;
	return any && now_ms - successors->began_ms < SUCCESSORS_SEEK_MS &&
	       now_ms - successors->worked_ms < SUCCESSORS_IDLE_MS;
}

static int look(struct successors *successors, struct acceptor families[static ACCEPTORS_MAX])
{
	struct error err;

	/* The new one may have bound its own sockets a moment ago. */
	sockets_look_and_tell(successors->sockets);
	if (!successors->acceptors &&
	    acceptors_new(successors->processes, &successors->acceptors, &err) < 0) {
		log_warning("%s", err.text);
		return 0;
	}
	return acceptors_look(successors->acceptors, sockets_listeners(successors->sockets),
			      families);
}

static void seek(struct successors *successors)
{
	struct acceptor families[ACCEPTORS_MAX];
	int n;

	if (follow_told(successors))
		return;
	n = successors->told_only ? 0 : look(successors, families);
	for (int i = 0; i < n; i++)
		if (families[i].accepts && may_follow(successors, &families[i]) &&
		    follow(successors, families[i].head))
			return;
	if (!may_still_accept(successors, families, n)) {
		found_none(successors);
		return;
	}
	timer_set(&successors->look, successors->event,
		  clock_monotonic_ms() +
			  backoff_delay_ms(LOOK_MS, LOOK_MAX_MS, successors->tries++),
		  on_look, successors);
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	seek(userdata);
	return 0;
}

void successors_seek(struct successors *successors, bool well, bool told_only)
{
	assert(!successors->seeking);
	successors->seeking = true;
	successors->well = well;
	successors->told_only = told_only;
	successors->began_ms = successors->worked_ms = clock_monotonic_ms();
	successors->worked = 0;
	successors->tries = 0;
	seek(successors);
}
