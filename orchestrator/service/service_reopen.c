/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/duration.h"
#include "orchestrator/service/service_internal.h"

#define WAITING_MAX (SERVICE_GENERATIONS_MAX * INSTANCES_MAX)

/* One file of stdout, one of stderr, for each instance. */
#define FAILURES_MAX (2 * WAITING_MAX)

struct reopening {
	uint32_t serial;
	uint64_t limit_ms, deadline_ms;
	service_on_reopened *on_reopened;
	void *userdata;
	const struct instance *waiting[WAITING_MAX]; /* whose agents have not answered yet */
	size_t n_waiting;
	struct reopen_result result;
	bool no_memory; /* for all the failures */
};

static void reopening_free(struct reopening *reopening)
{
	free(reopening->result.failures);
	free(reopening);
}

/* ---- what became of it ---------------------------------------------------------------------- */

static void fail(struct reopening *r, uint32_t generation, uint32_t instance, const char *why)
{
	struct reopen_result *result = &r->result;
	struct reopen_failure *grown;

	assert(result->n_failures < FAILURES_MAX);
	grown = realloc(result->failures, (result->n_failures + 1) * sizeof(*grown));
	if (!grown) {
		r->no_memory = true;
		return;
	}
	result->failures = grown;
	grown = &grown[result->n_failures++];
	*grown = (struct reopen_failure){.generation = generation, .instance = instance};
	snprintf(grown->text, sizeof(grown->text), "%s", why);
}

static bool writes_files(const struct service_config *config)
{
	for (size_t k = 0; k < sizeof(config->process.output) / sizeof(config->process.output[0]);
	     k++)
		if (config->process.output[k] == OUTPUT_FILE)
			return true;
	return false;
}

/* Its agent will not answer. Whether there are files is known as its configuration has it. */
static void fail_silent(struct reopening *r, const struct instance *i, int why)
{
	char text[160];

	if (why == -ESRCH || !writes_files(i->config))
		return;
	if (why == -ENOTCONN)
		snprintf(text, sizeof(text), "its agent is gone, and nobody takes its output");
	else if (why == -EOPNOTSUPP)
		snprintf(text, sizeof(text),
			 "its agent is of an earlier baton, and does not say whether it could: the "
			 "log may; \"baton restart\" replaces it");
	else
		snprintf(text, sizeof(text), "its agent could not be told: %s", strerror(-why));
	fail(r, i->generation, i->index, text);
}

/* False: it was not waited for. */
static bool wait_no_more(struct reopening *r, const struct instance *i)
{
	for (size_t k = 0; k < r->n_waiting; k++)
		if (r->waiting[k] == i) {
			r->waiting[k] = r->waiting[--r->n_waiting];
			return true;
		}
	return false;
}

void service_reopened(struct service *s, const struct instance *i, const struct report *report)
{
	for (size_t k = 0; k < s->reopening.n; k++) {
		struct reopening *r = s->reopening.list[k];

		if (r->serial != report->serial || !wait_no_more(r, i))
			continue;
		r->result.files += report->files;
		if (report->stdout_failure[0])
			fail(r, i->generation, i->index, report->stdout_failure);
		if (report->stderr_failure[0])
			fail(r, i->generation, i->index, report->stderr_failure);
	}
	service_poke(s);
}

void service_forget_reopening(struct service *s, const struct instance *i)
{
	for (size_t k = 0; k < s->reopening.n; k++)
		if (wait_no_more(s->reopening.list[k], i))
			service_poke(s);
}

/* ---- the end -------------------------------------------------------------------------------- */

/* One that has ended, or lost its agent, will not answer. */
static void drop_gone(struct reopening *r)
{
	for (size_t k = r->n_waiting; k > 0; k--) {
		const struct instance *i = r->waiting[k - 1];

		if (!i->lost && !instance_has_stopped(i))
			continue;
		fail_silent(r, i, instance_has_stopped(i) ? -ESRCH : -ENOTCONN);
		wait_no_more(r, i);
	}
}

static void drop_late(struct reopening *r)
{
	char limit[DURATION_TEXT_MAX], text[96];

	snprintf(text, sizeof(text), "its agent has not answered within %s",
		 duration_format(r->limit_ms, limit));
	for (; r->n_waiting > 0; r->n_waiting--)
		fail(r, r->waiting[r->n_waiting - 1]->generation,
		     r->waiting[r->n_waiting - 1]->index, text);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	service_poke(userdata);
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct reopen_failure *x = a, *y = b;

	if (x->generation != y->generation)
		return x->generation < y->generation ? -1 : 1;
	return x->instance < y->instance ? -1 : x->instance > y->instance;
}

static void finish(struct service *s, struct reopening *r)
{
	struct reopen_failure unknown = {
		.text = "out of memory: not every failure can be told; the log has them"};

	if (r->result.n_failures > 1)
		qsort(r->result.failures, r->result.n_failures, sizeof(unknown), compare);
	if (r->no_memory && r->result.n_failures > 0)
		r->result.failures[r->result.n_failures - 1] = unknown;
	else if (r->no_memory)
		r->result = (struct reopen_result){r->result.files, &unknown, 1};
	r->on_reopened(r->userdata, s, &r->result);
	if (r->result.failures == &unknown)
		r->result.failures = NULL;
	reopening_free(r);
}

void service_look_reopening(struct service *s)
{
	struct service_reopening *all = &s->reopening;
	uint64_t now_ms = clock_monotonic_ms();

	for (size_t k = 0; k < all->n;) {
		struct reopening *r = all->list[k];

		drop_gone(r);
		if (now_ms >= r->deadline_ms)
			drop_late(r);
		if (r->n_waiting > 0) {
			k++;
			continue;
		}
		all->n--;
		memmove(&all->list[k], &all->list[k + 1], (all->n - k) * sizeof(all->list[0]));
		finish(s, r);
	}
	if (all->n > 0)
		timer_set(&all->timer, s->context->event, all->list[0]->deadline_ms, on_timer, s);
	else
		timer_stop(&all->timer);
}

/* ---- the beginning -------------------------------------------------------------------------- */

static void tell(struct reopening *r, struct instance *i)
{
	int why = instance_reopen(i, r->serial);

	if (why < 0) {
		fail_silent(r, i, why);
		return;
	}
	assert(r->n_waiting < WAITING_MAX);
	r->waiting[r->n_waiting++] = i;
}

int service_reopen(struct service *s, service_on_reopened *on_reopened, void *userdata,
		   struct error *err)
{
	struct service_reopening *all = &s->reopening;
	struct reopening *r;

	assert(on_reopened);
	if (all->n == SERVICE_REOPENS_MAX)
		return error_text(err, -EBUSY,
				  "%d orders to reopen wait for the agents already: try again",
				  SERVICE_REOPENS_MAX);
	r = calloc(1, sizeof(*r));
	if (!r)
		return error_set(err, -ENOMEM, "reopen");
	/* 0 is what earlier daemons say. */
	all->serial = all->serial == UINT32_MAX ? 1 : all->serial + 1;
	r->serial = all->serial;
	r->limit_ms = all->limit_ms ? all->limit_ms : SERVICE_REOPEN_MS;
	r->deadline_ms = clock_monotonic_ms() + r->limit_ms;
	r->on_reopened = on_reopened;
	r->userdata = userdata;
	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			tell(r, s->generations[k]->instances.list[j]);
	all->list[all->n++] = r;
	service_poke(s);
	return 0;
}

void service_reopening_done(struct service_reopening *all)
{
	for (size_t k = 0; k < all->n; k++)
		reopening_free(all->list[k]);
	all->n = 0;
	timer_done(&all->timer);
}

void service_reopen_message(const struct reopen_result *result, char *ret, size_t size)
{
	if (result->n_failures == 0 && result->files == 0)
		snprintf(ret, size, "no output goes to a file");
	else if (result->n_failures == 0)
		snprintf(ret, size, "%u file%s opened anew", result->files,
			 result->files == 1 ? "" : "s");
	else
		snprintf(ret, size,
			 "not every file was opened anew; where that failed, the old one is "
			 "written on: generation %u, instance %u: %.600s%s",
			 result->failures[0].generation, result->failures[0].instance,
			 result->failures[0].text, result->n_failures > 1 ? "; ..." : "");
}
