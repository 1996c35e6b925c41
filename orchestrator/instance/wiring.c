/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/wiring.h"

#include <assert.h>

/* Twins are one endpoint: clients see no difference, and one of the two groups gets all of them. */
static bool is_for(const struct steer *endpoint, const struct address *declared)
{
	const struct address *bound = steer_address(endpoint);

	return address_equal(bound, declared) || address_are_twins(bound, declared);
}

size_t wiring_place(const struct wiring *wiring, const struct address *declared)
{
	WIRING_EACH (k, wiring)
		if (is_for(wiring->endpoints[k], declared))
			return k;
	return WIRING_MAX;
}

size_t wiring_place_of(const struct wiring *wiring, const struct steer *endpoint)
{
	size_t k = 0;

	while (k < WIRING_MAX && wiring->endpoints[k] != endpoint)
		k++;
	assert(k < WIRING_MAX);
	return k;
}

struct steer *wiring_endpoint(const struct wiring *wiring, const struct address *declared)
{
	size_t k = wiring_place(wiring, declared);

	return k < WIRING_MAX ? wiring->endpoints[k] : NULL;
}

size_t wiring_index(const struct wiring *wiring, size_t place, const struct service_config *config)
{
	size_t k = 0;

	while (k < config->n_listen && !is_for(wiring->endpoints[place], &config->listen[k]))
		k++;
	return k;
}

size_t wiring_free_place(const struct wiring *wiring)
{
	size_t k = 0;

	while (k < WIRING_MAX && wiring->endpoints[k])
		k++;
	return k;
}
