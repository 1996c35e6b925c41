/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/vector.h"
#include "orchestrator/service/service_internal.h"

void service_order_done(struct service_order *order)
{
	vector_free(TAKE_PTR(order->command));
	vector_free(TAKE_PTR(order->environment));
	vector_free(TAKE_PTR(order->unset));
}

int service_order_copy(const struct service_order *from, struct service_order *ret)
{
	int r = 0;

	*ret = *from;
	ret->command = ret->environment = ret->unset = NULL;
	if (from->command)
		r = vector_copy(from->command, &ret->command);
	if (r >= 0 && from->environment)
		r = vector_copy(from->environment, &ret->environment);
	if (r >= 0 && from->unset)
		r = vector_copy(from->unset, &ret->unset);
	if (r < 0)
		service_order_done(ret);
	return r;
}
