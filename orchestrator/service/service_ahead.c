/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/service_ahead.h"

#include <errno.h>

#include "orchestrator/host/errand.h"
#include "orchestrator/service/service_internal.h"

/* One order, whose helper is on its way. */
struct ahead {
	struct ahead *next;
	struct service *service;
	struct service_order order;
	service_on_ahead *on_ahead;
	void *userdata;
	struct errand *errand;
};

bool service_asks_files(const struct service_order *order)
{
	return order->type == SERVICE_ORDER_RESTART || order->type == SERVICE_ORDER_UPGRADE ||
	       order->type == SERVICE_ORDER_START || order->type == SERVICE_ORDER_ROLLBACK;
}

static void look(void *userdata)
{
	const struct ahead *ahead = userdata;

	order_look(ahead->service, &ahead->order);
}

static void free_ahead(struct ahead *ahead)
{
	errand_cancel(ahead->errand);
	service_order_done(&ahead->order);
	free(ahead);
}

static void finish(struct ahead *ahead, int r, const struct error *why)
{
	struct service *s = ahead->service;
	struct ahead **link = &s->ahead;

	while (*link != ahead)
		link = &(*link)->next;
	*link = ahead->next;
	/* It may free the service. */
	ahead->on_ahead(ahead->userdata, s, &ahead->order, r, why);
	free_ahead(ahead);
}

static void on_seen(void *userdata, int r, const struct error *why)
{
	struct ahead *ahead = userdata;

	ahead->errand = NULL;
	finish(ahead, r, why);
}

int service_send_ahead(struct service *s, const struct service_order *order,
		       service_on_ahead *on_ahead, void *userdata, struct error *err)
{
	struct errand_spec spec = {.look = look, .on_seen = on_seen};
	struct ahead *ahead = calloc(1, sizeof(*ahead));
	int r;

	if (!ahead || service_order_copy(order, &ahead->order) < 0) {
		free(ahead);
		return error_text(err, -ENOMEM, "out of memory");
	}
	ahead->service = s;
	ahead->on_ahead = on_ahead;
	ahead->userdata = userdata;
	ahead->next = s->ahead;
	s->ahead = ahead;
	spec.userdata = ahead;
	r = errand_start(s->context->event, &spec, &ahead->errand, err);
	if (r >= 0)
		return 0;
	s->ahead = ahead->next;
	free_ahead(ahead);
	return r;
}

void service_stop_ahead(struct service *s)
{
	struct error why;

	error_text(&why, -ESHUTDOWN, "batond is shutting down");
	while (s->ahead)
		finish(s->ahead, -ESHUTDOWN, &why);
}

void service_drop_ahead(struct service *s)
{
	while (s->ahead) {
		struct ahead *ahead = s->ahead;

		s->ahead = ahead->next;
		free_ahead(ahead);
	}
}
