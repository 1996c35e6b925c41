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

int service_check_overlaps(const struct service *s, const struct service_config *config,
			   struct error *err)
{
	for (size_t k = 0; k < config->n_listen; k++) {
		const struct address *other = service_overlap(s, &config->listen[k]);

		if (other)
			return error_text(
				err, -EBUSY,
				"%s overlaps with %s, which is served, and the kernel moves "
				"no connection between the two: change it while the service "
				"is stopped (\"baton stop %s\")",
				config->listen[k].text, other->text, s->config->name);
	}
	return 0;
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
