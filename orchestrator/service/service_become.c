/* SPDX-License-Identifier: BSD-2-Clause */
/* What a service that runs can become by a rollout. */
#include <errno.h>

#include "orchestrator/service/service_internal.h"

/* Tier and stickiness cannot change while the endpoints are open. */
static bool same_steering(const struct service *s, const struct service_config *config)
{
	char reason[TIERS_REASON_MAX];
	enum steer_tier tier;

	return config->sticky == s->config->sticky &&
	       tiers_choose(&s->context->tiers, config->steering, &tier, reason, NULL) >= 0 &&
	       tier == s->wiring.tier;
}

const struct address *service_overlap(const struct service *s, const struct address *address)
{
	if (service_has(s, address))
		return NULL;
	WIRING_EACH (k, &s->wiring)
		if (address_overlaps(&s->endpoints.declared[k], address))
			return &s->endpoints.declared[k];
	return NULL;
}

/* Does @address, which is open, compete with another one that is? */
static const struct address *find_rival(const struct service *s, const struct address *address)
{
	WIRING_EACH (k, &s->wiring)
		if (!address_equal(&s->endpoints.declared[k], address) &&
		    address_overlaps(&s->endpoints.declared[k], address))
			return &s->endpoints.declared[k];
	return NULL;
}

/*
 * A program chooses between two endpoints, and knows nothing of a third one, which only generations
 * have that have yet to leave.
 */
static int check_crossing(const struct service *s, const struct address *wanted,
			  const struct address *other, struct error *err)
{
	const struct address *rival = find_rival(s, other);
	int r;

	if (!steer_can(s->wiring.tier, STEER_CAN_CROSS))
		return error_text(err, -EBUSY,
				  "%s overlaps with %s, which is served, and on tier %s no "
				  "connection moves between the two: change it while the service "
				  "is stopped (\"baton stop %s\"), or have it steered on tier ebpf "
				  "(\"baton doctor\" says what that needs)",
				  wanted->text, other->text, steer_tier_name(s->wiring.tier),
				  s->config->name);
	if (rival)
		return error_text(err, -EBUSY,
				  "%s overlaps with %s, which %s has yet to give way to: try again "
				  "when its servers have left",
				  wanted->text, other->text, rival->text);
	r = steer_try_crossing(err);
	return r < 0 ? error_prefix(
			       err, r,
			       "%s overlaps with %s, which is served, and what moves "
			       "connections between the two does not work here: change it while "
			       "the service is stopped (\"baton stop %s\")",
			       wanted->text, other->text, s->config->name)
		     : 0;
}

int service_check_overlaps(const struct service *s, const struct service_config *config,
			   struct error *err)
{
	int r = 0;

	for (size_t k = 0; r >= 0 && k < config->n_listen; k++) {
		const struct address *other = service_overlap(s, &config->listen[k]);

		if (other)
			r = check_crossing(s, &config->listen[k], other, err);
	}
	return r < 0 ? -EBUSY : 0;
}

int service_can_become(const struct service *s, const struct service_config *config,
		       struct error *err)
{
	if (!s->endpoints.open)
		return 0;
	if (s->config->uid == config->uid && same_steering(s, config))
		return service_check_overlaps(s, config, err);
	return error_text(err, -EBUSY,
			  "\"user\", \"steering\" and \"sticky\" can only be changed while "
			  "it is stopped (\"baton stop %s\")",
			  s->config->name);
}
