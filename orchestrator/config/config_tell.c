/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>

#include "orchestrator/config/config.h"
#include "orchestrator/host/environment.h"

#define ADDRESSES_TEXT_MAX (CONFIG_LISTEN_MAX * (ADDRESS_TEXT_MAX + 1))

/* "127.0.0.1:80 [::1]:80" */
static void list_addresses(const struct service_config *config, bool local,
			   char ret[static ADDRESSES_TEXT_MAX])
{
	size_t used = 0;

	ret[0] = '\0';
	for (size_t k = 0; k < config->n_listen; k++) {
		struct address address = config->listen[k];

		if (local)
			address_local(&config->listen[k], &address);
		used += (size_t)snprintf(ret + used, ADDRESSES_TEXT_MAX - used, "%s%s",
					 k > 0 ? " " : "", address.text);
	}
}

int config_tell_addresses(const struct service_config *config, char ***environment)
{
	char text[ADDRESSES_TEXT_MAX];
	struct address local;
	int r;

	address_local(&config->listen[0], &local);
	r = environment_set(environment, "BATON_LISTEN", config->listen[0].text);
	if (r == 0)
		r = environment_set(environment, "BATON_CONNECT", local.text);
	list_addresses(config, false, text);
	if (r == 0)
		r = environment_set(environment, "BATON_LISTEN_ALL", text);
	list_addresses(config, true, text);
	return r < 0 ? r : environment_set(environment, "BATON_CONNECT_ALL", text);
}
