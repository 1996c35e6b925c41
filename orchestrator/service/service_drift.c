/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/openers.h"
#include "orchestrator/service/service_internal.h"

static void tell_drift(struct service *s, size_t k, enum steer_program program, const char *who,
		       const char *outcome)
{
	const char *address = s->endpoints.declared[k].text;
	char what[256], message[sizeof(what) + sizeof(s->drift.culprit.text) + 200];

	if (program == STEER_PROGRAM_MISSING)
		snprintf(what, sizeof(what), "baton's program was taken off %s", address);
	else
		snprintf(what, sizeof(what), "%.120s had replaced baton's on %s", who, address);
	snprintf(message, sizeof(message), "%s%s; %s", what, s->drift.culprit.text, outcome);
	service_tell(s, &(struct event){.kind = EVENT_DRIFT,
					.message = message,
					.has_instance = s->drift.culprit.text[0] != '\0',
					.generation = s->drift.culprit.text[0]
							      ? s->drift.culprit.generation
							      : 0,
					.instance = s->drift.culprit.instance,
					.listen = address});
}

/* Nothing of the endpoint is steered then: the service says so, for as long as that is so. */
static void note_failure(struct service *s, size_t k, const char *who, const struct error *err,
			 char *outcome, size_t size)
{
	snprintf(outcome, size, "cannot be put right: %.120s", err->text);
	snprintf(s->drift.failure, sizeof(s->drift.failure),
		 "connections to %s are not steered: %.60s has replaced baton's program, and it %s",
		 s->endpoints.declared[k].text, who[0] ? who : "somebody", outcome);
}

/*
 * Another program may have chosen the daemon's own socket, which nobody accepts from. What has come
 * there goes to where the table says; if connections are held they wait there anyway.
 */
static void bring_back(struct service *s, size_t k, char *outcome, size_t size)
{
	struct error err;
	int n = s->hold.on ? 0 : steer_unhold(s->wiring.endpoints[k], &err);

	if (n < 0 && n != -EOPNOTSUPP)
		log_warning("%s: %s", s->config->name, err.text);
	if (n > 0)
		snprintf(outcome, size,
			 "put right; %d connection%s that nobody would have accepted %s sent on", n,
			 n == 1 ? "" : "s", n == 1 ? "was" : "were");
	else
		snprintf(outcome, size, "put right");
}

/* Drift is told once until the program has been ours again. Each look tries to repair it. */
static void look_drift_of(struct service *s, size_t k)
{
	char who[128], outcome[160] = "left as it is (drift: report)";
	enum steer_program program = steer_check(s->wiring.endpoints[k], who, sizeof(who));
	bool before = s->drift.drifted[k];
	struct error err;

	s->drift.drifted[k] = program == STEER_PROGRAM_MISSING || program == STEER_PROGRAM_FOREIGN;
	if (!s->drift.drifted[k])
		return;
	if (s->config->drift == DRIFT_REPAIR) {
		s->drift.drifted[k] = steer_repair(s->wiring.endpoints[k], &err) < 0;
		if (s->drift.drifted[k])
			note_failure(s, k, who, &err, outcome, sizeof(outcome));
		else
			bring_back(s, k, outcome, sizeof(outcome));
	}
	if (s->drift.drifted[k] && s->config->drift == DRIFT_REPORT)
		steer_withdraw(s->wiring.endpoints[k]);
	if (!before || !s->drift.drifted[k])
		tell_drift(s, k, program, who, outcome);
}

void service_look_drift(struct service *s)
{
	bool before = s->drift.failure[0] != '\0';

	s->drift.failure[0] = '\0';
	SERVICE_OWN (k, s)
		look_drift_of(s, k);
	if (before != (s->drift.failure[0] != '\0'))
		service_poke(s);
	s->drift.culprit.text[0] = '\0';
}

void service_note_culprit(struct service *s, uint32_t generation, uint32_t instance, pid_t pid,
			  const char *comm)
{
	char who[OPENER_TEXT_MAX];

	opener_describe(pid, comm, who);
	snprintf(s->drift.culprit.text, sizeof(s->drift.culprit.text),
		 " (set by %s, instance %u of generation %u)", who, instance, generation);
	s->drift.culprit.generation = generation;
	s->drift.culprit.instance = instance;
}

void service_forget_drift(struct service *s)
{
	memset(s->drift.drifted, 0, sizeof(s->drift.drifted));
	s->drift.failure[0] = '\0';
}
