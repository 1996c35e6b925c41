/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/check_set.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

/* It is asked as often and as patiently as the first that is declared. One answer is enough. */
static struct health_config accept_check(const struct service_config *config)
{
	const struct health_config *first = &config->health.list[0];

	return (struct health_config){
		.kind = HEALTH_KIND_CONNECT,
		.interval_ms = first->interval_ms,
		.timeout_ms = first->timeout_ms,
		.healthy = 1,
		.unhealthy = first->unhealthy,
	};
}

static void add(struct check_set *set, struct instance *instance,
		const struct health_config *config, size_t endpoint, bool declared)
{
	assert(set->n < CHECK_SET_MAX);
	set->n_declared += declared;
	set->list[set->n++] = (struct instance_check){
		.instance = instance, .config = config, .endpoint = endpoint, .declared = declared};
}

int check_set_make(struct check_set *set, struct instance *instance,
		   const struct service_config *config)
{
	const struct checks_config *health = &config->health;
	uint32_t asked = 0; /* addresses, as bits */
	struct instance_check *list;

	_Static_assert(CONFIG_LISTEN_MAX < 32, "asked");
	assert(health->n > 0 && !set->list);
	list = calloc(health->n + config->n_listen, sizeof(*list));
	if (!list)
		return -ENOMEM;
	*set = (struct check_set){.list = list, .accept = accept_check(config)};
	for (size_t k = 0; k < health->n; k++) {
		size_t endpoint = service_config_asked(config, &health->list[k]);

		if (endpoint == config->n_listen && health_config_asks(&health->list[k]))
			continue;
		add(set, instance, &health->list[k], endpoint, true);
		asked |= UINT32_C(1) << endpoint;
	}
	for (size_t k = 0; k < config->n_listen; k++)
		if (!(asked & UINT32_C(1) << k))
			add(set, instance, &set->accept, k, false);
	return 0;
}

void check_set_done(struct check_set *set)
{
	for (size_t k = 0; k < set->n; k++)
		checker_done(&set->list[k].checker);
	free(set->list);
	*set = (struct check_set){};
}

/* What keeps it from being healthy: answers, or that there are none. */
static const struct probe_result *cause(const struct checker *checker)
{
	if (checker->health.state == HEALTH_UNKNOWN && checker->last.unasked)
		return &checker->last;
	return checker->has_bad ? &checker->bad : &checker->last;
}

const struct probe_result *instance_check_answer(const struct instance_check *check)
{
	const struct checker *checker = &check->checker;

	if (!checker->last_ms)
		return NULL;
	return checker->health.state == HEALTH_HEALTHY ? &checker->last : cause(checker);
}
