/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/instance/socket_list.h"

#include <errno.h>
#include <stdlib.h>

#define SIZE_FIRST 2

int instance_sockets_add(struct instance_sockets *list, const struct instance_socket *socket)
{
	if (list->n == list->size) {
		size_t size = list->size > 0 ? 2 * list->size : SIZE_FIRST;
		void *grown = reallocarray(list->list, size, sizeof(*list->list));

		if (!grown)
			return -ENOMEM;
		list->list = grown;
		list->size = size;
	}
	list->list[list->n++] = *socket;
	return 0;
}

void instance_sockets_done(struct instance_sockets *list)
{
	free(list->list);
	*list = (struct instance_sockets){};
}
