/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/service_lend.h"

#include "orchestrator/service/service_internal.h"

static bool any(const bool list[static WIRING_MAX])
{
	for (size_t k = 0; k < WIRING_MAX; k++)
		if (list[k])
			return true;
	return false;
}

bool service_lends(const struct service *s)
{
	return any(s->lending.lent);
}

bool service_borrows(const struct service *s)
{
	return any(s->lending.borrowed);
}

size_t service_lender_place(const struct service *borrower, size_t place)
{
	return wiring_place_of(&borrower->lending.partner->wiring,
			       borrower->wiring.endpoints[place]);
}

void service_forget_endpoint(struct service *s, size_t place)
{
	struct steer *steer = s->wiring.endpoints[place];

	for (size_t g = 0; g < s->n_generations; g++) {
		const struct generation *of = s->generations[g];
		size_t k = wiring_index(&s->wiring, place, of->config);

		for (size_t j = 0; k < of->config->n_listen && j < of->instances.n; j++) {
			struct instance *i = of->instances.list[j];

			for (size_t m = 0; m < i->sockets.n; m++)
				if (i->sockets.list[m].endpoint == k)
					steer_release(steer, i->sockets.list[m].slot);
			instance_close_endpoint(i, k);
		}
	}
	s->wiring.endpoints[place] = NULL;
	s->endpoints.declared[place] = (struct address){};
}

void service_give_back(struct service *borrower, size_t place)
{
	struct service *lender = borrower->lending.partner;
	size_t from = service_lender_place(borrower, place);

	service_forget_endpoint(borrower, place);
	borrower->lending.borrowed[place] = false;
	lender->lending.lent[from] = false;
	steer_lend(lender->wiring.endpoints[from], NULL);
}

void service_part(struct service *s)
{
	struct service *partner = s->lending.partner;

	if (!partner)
		return;
	for (size_t k = 0; k < WIRING_MAX; k++) {
		if (s->lending.borrowed[k])
			service_give_back(s, k);
		if (partner->lending.borrowed[k])
			service_give_back(partner, k);
	}
	partner->lending.partner = s->lending.partner = NULL;
}
