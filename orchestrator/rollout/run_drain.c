/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of the connections that the victims have when they leave, and what is waited for
 * before that.
 */
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/config/config.h"
#include "orchestrator/rollout/run_internal.h"

/* What a shell makes of a signal, and servers that end as told by one, too. */
#define EXIT_OF_SIGNAL 128

/*
 * How many connections the victims have, without those that have been idle for @idle_ms.
 *
 * The counters still count connections that only the kernel has to do with. The kernel's list still
 * has connections that have migrated to others. The smaller number is right.
 */
static uint64_t still_open(struct run *run, uint64_t idle_ms)
{
	uint64_t live, listed;
	uint32_t queued;

	if (instances_live(&run->victims, &live) < 0)
		live = run->drain.began_with;
	else if (!run->host->wiring->tap && instances_queued(&run->victims, &queued) == 0)
		live += queued;
	if (instances_busy(&run->victims, idle_ms, &listed) < 0)
		return live;
	if (!run->host->wiring->tap && instances_queued(&run->victims, &queued) == 0)
		listed += queued;
	return listed < live ? listed : live;
}

bool run_delay_is_fixed(const struct run *run)
{
	return run->victims.n > 0 && !run->victims.list[0]->config->drain.delay_auto;
}

/* Its server has ended by itself, and not as one that has done its work. */
static bool ended_badly(const struct instance *i)
{
	return i->pid == 0 && i->ran && i->ending == ENDING_TOLD &&
	       (i->exit_signal != 0 || i->exit_code != 0);
}

static void count(struct instance *i, struct tap_count *ret)
{
	if (instance_count(i, ret) < 0)
		*ret = (struct tap_count){};
}

void run_drain_note(struct run *run)
{
	for (size_t k = 0; k < run->victims.n; k++)
		count(run->victims.list[k], &run->victims.list[k]->settle_before);
	run->drain_noted = true;
}

void run_drain_begin(struct run *run)
{
	uint64_t end_ms = run->drain.end_ms;

	run->drain = (struct run_drain){.end_ms = end_ms};
	if (instances_live(&run->victims, &run->drain.began_with) < 0)
		run->drain.began_with = 0;
	run->drain.seen = run->drain.seen_last = run->drain.began_with;
	for (size_t k = 0; k < run->victims.n; k++) {
		struct instance *i = run->victims.list[k];

		count(i, &i->drain_before);
		if (!run->drain_noted)
			i->settle_before = i->drain_before;
	}
	run->drain_noted = false;
}

bool run_drain_see(struct run *run, uint64_t busy)
{
	struct run_drain *drain = &run->drain;
	bool none = busy == 0 && drain->seen_last == 0;

	drain->seen = busy > drain->seen_last ? busy : drain->seen_last;
	drain->seen_last = busy;
	return none;
}

static uint64_t since(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

/* By the counters of the kernel. */
static int add_counted(struct run_drain *drain, struct instance *i, bool tells)
{
	const struct tap_count *before = &i->drain_before;
	bool badly = ended_badly(i);
	struct tap_count now;
	uint64_t at_exit, by_server, cut;
	int r = instance_count(i, &now);

	if (r < 0)
		return r;
	/* What a server cut that died before it was told to leave is a loss of this rollout, too.
	 */
	at_exit = since(now.at_exit, (badly ? &i->settle_before : before)->at_exit);
	by_server = since(now.by_server, before->by_server);
	cut = since(now.cut, (badly ? &i->settle_before : before)->cut);
	drain->early |= badly && before->at_exit > i->settle_before.at_exit;
	/* Without knowing which of them the end of its process has closed: all that it closed. */
	if (badly && !tells) {
		cut += by_server + since(now.reset, before->reset);
		by_server = 0;
	}
	drain->by_client += since(now.by_client, before->by_client);
	drain->by_server += by_server + (badly ? 0 : at_exit);
	drain->cut_by_server += cut + (badly ? at_exit : 0);
	drain->reset += since(now.reset, before->reset);
	drain->moved += since(now.moved_out, before->moved_out);
	return 0;
}

/* A connection that the server has reset counts as reset and as cut; say it once. */
static void say_once(struct run_drain *drain)
{
	uint64_t known = drain->by_client + drain->by_server + drain->cut_by_server;
	uint64_t left = drain->left + drain->idle + drain->moved;
	uint64_t ended = drain->began_with > left ? drain->began_with - left : 0;

	if (ended < known)
		ended = known;
	drain->ended = ended;
	if (drain->reset > ended - known)
		drain->reset = ended - known;
}

static const struct instance *worst(const struct instances *set)
{
	for (size_t k = 0; k < set->n; k++)
		if (ended_badly(set->list[k]))
			return set->list[k];
	return NULL;
}

/* Why, in words that follow "were cut by the server". */
static void blame(struct run *run)
{
	const struct drain_config *drain = &run->victims.list[0]->config->drain;
	bool is_told = drain->wait != DRAIN_WAIT_CONNECTIONS;
	const struct instance *i = worst(&run->victims);
	char *why = run->cut_why, how[128];
	size_t n;

	if (!i && !is_told) {
		snprintf(why, sizeof(run->cut_why), ", which had not answered in full");
	} else if (!i) {
		snprintf(why, sizeof(run->cut_why),
			 ", which had not answered in full: does it drain on %s (drain.signal)?",
			 config_signal_name(drain->signal));
	} else if (is_told && (i->exit_signal == drain->signal ||
			       i->exit_code == EXIT_OF_SIGNAL + drain->signal)) {
		snprintf(why, sizeof(run->cut_why), ": it does not drain on %s (drain.signal?)",
			 config_signal_name(drain->signal));
	} else {
		instance_describe_exit(i, how, sizeof(how));
		n = (size_t)snprintf(why, sizeof(run->cut_why), ": it %s %s", how,
				     run->drain.early ? "before it was told to drain"
						      : "while it drained");
		/* It chose to end: the signal may be one that it does not drain on. */
		if (is_told && i->exit_signal == 0 && n < sizeof(run->cut_why))
			snprintf(why + n, sizeof(run->cut_why) - n,
				 "; does it drain on %s (drain.signal)?",
				 config_signal_name(drain->signal));
	}
}

void run_drain_end(struct run *run, bool at_deadline)
{
	struct run_drain *drain = &run->drain;
	struct tap *tap = run->host->wiring->tap;
	bool tells = !tap || tap_tells_ends(tap), badly = false,
	     gone = instances_have_exited(&run->victims);

	if (at_deadline) {
		drain->left = still_open(run, run_idle_timeout_ms(run));
		drain->idle = still_open(run, 0) - drain->left;
	} else {
		drain->idle = gone ? 0 : still_open(run, 0);
	}
	drain->counted = run->victims.n > 0;
	for (size_t k = 0; k < run->victims.n; k++) {
		struct instance *i = run->victims.list[k];

		badly |= ended_badly(i);
		drain->counted &= add_counted(drain, i, tells) >= 0;
	}
	/* Without counters: those that were there at the last look before it ended. */
	if (!drain->counted && gone && badly)
		drain->cut_by_server = drain->seen;
	if (drain->counted)
		say_once(drain);
	else
		drain->ended = since(drain->began_with, drain->left + drain->idle);
	run->cut += drain->left;
	run->cut_by_server += drain->cut_by_server;
	if (drain->cut_by_server > 0)
		blame(run);
	if (run->victims.n > 0 && !run->victims.list[0]->config->drain.expect_cut)
		run->unexpected += drain->left + drain->cut_by_server;
}

static size_t add_part(char *ret, size_t size, size_t n, const char *between, uint64_t number,
		       const char *what)
{
	if (number == 0 || n >= size)
		return n;
	return n + (size_t)snprintf(ret + n, size - n, "%s%llu %s", between,
				    (unsigned long long)number, what);
}

/* "5 connections ended: 3 finished by clients, 2 reset; 1 idle one was not waited for" */
void run_drain_describe(const struct run *run, char *ret, size_t size)
{
	const struct run_drain *d = &run->drain;
	unsigned long long all = d->began_with;
	size_t n, before;

	if (d->left > 0) {
		snprintf(ret, size, "%llu of %llu connection%s left at the deadline",
			 (unsigned long long)d->left, all, all == 1 ? "" : "s");
		return;
	}
	n = (size_t)snprintf(ret, size, "%llu connection%s ended", (unsigned long long)d->ended,
			     d->ended == 1 ? "" : "s");
	before = n;
	n = add_part(ret, size, n, n == before ? ": " : ", ", d->by_client, "finished by clients");
	n = add_part(ret, size, n, n == before ? ": " : ", ", d->by_server, "closed by the server");
	n = add_part(ret, size, n, n == before ? ": " : ", ", d->reset, "reset");
	n = add_part(ret, size, n, n == before ? ": " : ", ", d->cut_by_server,
		     "cut by the server");
	add_part(ret, size, n, "; ", d->idle,
		 d->idle == 1 ? "idle one was not waited for" : "idle ones were not waited for");
}

void run_drain_event(const struct run *run, struct event *ret)
{
	const struct run_drain *d = &run->drain;

	ret->drain.known = true;
	ret->drain.counted = d->counted;
	ret->drain.ended = d->ended;
	ret->drain.by_client = d->by_client;
	ret->drain.by_server = d->by_server;
	ret->drain.reset = d->reset;
	ret->drain.cut_by_server = d->cut_by_server;
	ret->drain.left = d->left;
	ret->drain.idle = d->idle;
}
