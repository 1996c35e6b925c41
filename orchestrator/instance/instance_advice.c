/* SPDX-License-Identifier: BSD-2-Clause */
/* Gathers the facts from which common/advice.h makes sentences. */
#include <string.h>

#include "common/advice.h"
#include "orchestrator/host/account.h"
#include "orchestrator/instance/instance_internal.h"

/* Has it answered a question there, whatever the answer was? */
static bool has_answered(const struct instance *i, size_t k)
{
	const struct checker *checker = &i->checkers[k];

	return checker->health.state == HEALTH_HEALTHY ||
	       (checker->last_ms && checker->last.status != 0);
}

static bool has_own(const struct instance *i, size_t k)
{
	for (size_t j = 0; j < i->sockets.n; j++)
		if (i->sockets.list[j].endpoint == k && i->sockets.list[j].own)
			return true;
	return false;
}

static bool has_any(const struct instance *i, size_t k)
{
	for (size_t j = 0; j < i->sockets.n; j++)
		if (i->sockets.list[j].endpoint == k)
			return true;
	return false;
}

/*
 * The endpoints that its server has no socket for. A passed socket that nobody accepts from is
 * none, if the server has others that it binds itself.
 */
static uint32_t missing(const struct instance *i)
{
	bool binds = i->n_strangers > 0;
	uint32_t ret = 0;

	for (size_t k = 0; k < i->config->n_listen; k++)
		binds |= has_own(i, k);
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (!has_own(i, k) && !has_answered(i, k) && (binds || !has_any(i, k)))
			ret |= UINT32_C(1) << k;
	return ret;
}

char *instance_advise(const struct instance *i, char ret[static ADVICE_TEXT_MAX])
{
	const struct advice_addresses facts = {
		.declared = i->config->listen,
		.n_declared = i->config->n_listen,
		.missing = missing(i),
		.strangers = i->strangers,
		.n_strangers = i->n_strangers,
	};

	return advice_addresses(&facts, ret);
}

char *instance_advise_in_use(const struct instance *i, const struct report *report,
			     char ret[static ADVICE_TEXT_MAX])
{
	cleanup(account_free) struct account *owner = NULL, *user = NULL;
	const struct service_config *c = i->config;
	struct tap *tap = i->cgroup[0] ? i->wiring->tap : NULL;
	struct advice_in_use facts = {
		.declared = c->listen,
		.n_declared = c->n_listen,
		.lingers = report->lingers,
		.owner = c->uid,
		.has_uid = report->has_uid,
		.uid = report->uid,
		.shares = tap && (c->mode == SOCKETS_AUTO || c->mode == SOCKETS_TRANSPARENT),
		.could_share = tap,
		.cannot_share = i->wiring->no_tap,
	};
	struct tap_bound bound = {};

	if (advice_find_address(i->tail, &bound.address) == 0)
		facts.bound = &bound.address;
	if (tap && tap_bound(tap, i->generation, i->index, &bound) >= 0) {
		facts.bound = &bound.address;
		/* A worker of the server's may have changed its user, and not the server itself. */
		if (bound.uid != c->uid) {
			facts.has_uid = true;
			facts.uid = bound.uid;
		}
	}
	if (account_by_uid(facts.owner, &owner) == 0)
		facts.owner_name = owner->name;
	if (facts.has_uid && account_by_uid(facts.uid, &user) == 0)
		facts.user_name = user->name;
	return advice_in_use(&facts, ret);
}
