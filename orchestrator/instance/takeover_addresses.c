/* SPDX-License-Identifier: BSD-2-Clause */
/* Whose an address is, and which configuration an agent fits. */
#include <string.h>
#include <unistd.h>

#include "orchestrator/instance/takeover.h"

static bool declares(const struct service_config *config, const struct address *address)
{
	for (size_t k = 0; k < config->n_listen; k++)
		if (address_equal(&config->listen[k], address))
			return true;
	return false;
}

/* Has a steady agent of the service @id (!@of_id: of any other) the address, and not left yet? */
static bool has_steady(const struct takeover_list *list, const char *id, bool of_id,
		       const struct address *address)
{
	for (size_t k = 0; k < list->n; k++) {
		const struct takeover_agent *agent = list->agents[k];

		if (!agent->hello.steady || agent->hello.state >= AGENT_LEFT ||
		    (strcmp(agent->hello.service, id) == 0) != of_id)
			continue;
		for (size_t j = 0; j < agent->spec.n_listen; j++)
			if (address_equal(&agent->spec.listen[j], address))
				return true;
	}
	return false;
}

void takeover_settle(struct takeover_list *list, const char *id,
		     const struct service_config *config)
{
	for (size_t k = 0; k < list->n; k++) {
		struct takeover_agent *agent = list->agents[k];

		if (strcmp(agent->hello.service, id) != 0)
			continue;
		for (size_t j = 0; j < agent->spec.n_listen; j++) {
			const struct address *address = &agent->spec.listen[j];
			bool own = has_steady(list, id, true, address);

			agent->lost[j] = has_steady(list, id, false, address) &&
					 !(own && declares(config, address));
		}
	}
}

bool takeover_fits(const struct takeover_agent *agent, const struct service_config *config)
{
	uid_t uid = agent->spec.set_ids ? agent->spec.uid : geteuid();

	return uid == config->uid && agent->spec.n_listen <= CONFIG_LISTEN_MAX;
}
