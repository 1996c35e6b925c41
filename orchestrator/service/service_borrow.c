/* SPDX-License-Identifier: BSD-2-Clause */
/* The two ends of lending: an endpoint is lent, and is kept by the borrower. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "orchestrator/service/service_internal.h"

/* ---- lending -------------------------------------------------------------------------------- */

static int check_partners(const struct service *lender, const struct service *borrower,
			  struct error *err)
{
	const struct service *list[] = {lender, borrower};

	if (lender->config->uid != borrower->config->uid ||
	    lender->config->sticky != borrower->config->sticky ||
	    lender->wiring.tier != borrower->wiring.tier)
		return error_text(err, -EBUSY,
				  "it has another \"user\", \"steering\" or \"sticky\" than %s, "
				  "which has the address: their servers cannot share it",
				  lender->config->name);
	for (size_t k = 0; k < 2; k++)
		if ((service_lends(list[k]) || service_borrows(list[k])) &&
		    list[k]->lending.partner != list[!k])
			return error_text(
				err, -EBUSY,
				"%s is handing over an address already; reload again when "
				"that is done",
				list[k]->config->name);
	return 0;
}

static void lend(struct service *lender, size_t from, struct service *borrower, size_t to)
{
	borrower->wiring.endpoints[to] = lender->wiring.endpoints[from];
	borrower->endpoints.declared[to] = lender->endpoints.declared[from];
	borrower->lending.borrowed[to] = true;
	lender->lending.lent[from] = true;
	lender->lending.partner = borrower;
	borrower->lending.partner = lender;
	steer_lend(lender->wiring.endpoints[from], borrower->wiring.tap);
}

int service_lend(struct service *lender, struct service *borrower,
		 const struct service_config *config, struct error *err)
{
	bool was_open = borrower->endpoints.open;
	int r = was_open ? 0 : service_open_wiring(borrower, err);

	if (r < 0)
		return r;
	r = check_partners(lender, borrower, err);
	for (size_t k = 0; r >= 0 && k < config->n_listen; k++) {
		size_t from = wiring_place(&lender->wiring, &config->listen[k]), to;

		if (from == WIRING_MAX ||
		    wiring_place(&borrower->wiring, &config->listen[k]) < WIRING_MAX)
			continue;
		to = wiring_free_place(&borrower->wiring);
		if (to == WIRING_MAX)
			r = error_text(err, -EBUSY, "it has %d addresses open already", WIRING_MAX);
		else
			lend(lender, from, borrower, to);
	}
	if (r < 0 && !was_open)
		service_close_endpoints(borrower);
	return r;
}

/* ---- handing over --------------------------------------------------------------------------- */

static void tell_kept(struct service *s, size_t place, const char *before)
{
	char message[PROTOCOL_NAME_MAX + 64];

	snprintf(message, sizeof(message), "taken over from %s", before);
	service_tell(s, &(struct event){.kind = EVENT_ADDRESS,
					.message = message,
					.listen = s->endpoints.declared[place].text});
}

static void keep(struct service *borrower, size_t place)
{
	struct service *lender = borrower->lending.partner;
	size_t from = service_lender_place(borrower, place);
	struct error err;

	borrower->lending.borrowed[place] = false;
	lender->lending.lent[from] = false;
	/* It steers on as before: only what outlives the daemon would not be found. */
	if (service_rehome_endpoint(borrower, place, &err) < 0)
		log_error("%s: %s", borrower->config->name, err.text);
	service_join_hold(borrower, place);
	tell_kept(borrower, place, lender->config->name);
}

void service_keep_borrowed(struct service *borrower)
{
	struct service *lender = borrower->lending.partner;
	bool kept[WIRING_MAX];
	struct error err;

	if (!service_borrows(borrower))
		return;
	memcpy(kept, borrower->lending.borrowed, sizeof(kept));
	for (size_t k = 0; k < WIRING_MAX; k++)
		if (kept[k])
			keep(borrower, k);
	if (service_publish(borrower, &err) < 0)
		log_error("%s: %s", borrower->config->name, err.text);
	/* No table names the lender's servers any more. */
	for (size_t k = 0; k < WIRING_MAX; k++)
		if (kept[k])
			service_forget_endpoint(
				lender,
				wiring_place_of(&lender->wiring, borrower->wiring.endpoints[k]));
	lender->on_end(lender->userdata, lender);
}
