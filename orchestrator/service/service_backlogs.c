/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "orchestrator/host/file.h"
#include "orchestrator/service/service_internal.h"

#define SOMAXCONN_FILE "/proc/sys/net/core/somaxconn"
#define SOMAXCONN_SIZE 32

/* ---- the list ------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	uint64_t x = ((const struct service_backlog_socket *)a)->cookie;
	uint64_t y = ((const struct service_backlog_socket *)b)->cookie;

	return (x > y) - (x < y);
}

static struct service_backlog_socket *find(const struct service_backlogs *queues, uint64_t cookie)
{
	const struct service_backlog_socket key = {.cookie = cookie};

	if (queues->n == 0)
		return NULL;
	return bsearch(&key, queues->list, queues->n, sizeof(key), compare);
}

static size_t count_sockets(const struct service *s)
{
	size_t n = 0;

	for (size_t k = 0; k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			n += s->generations[k]->instances.list[j]->sockets.n;
	return n;
}

static void add_sockets(const struct service *s, const struct generation *g,
			const struct instance *i, struct service_backlogs *ret)
{
	for (size_t k = 0; k < i->sockets.n; k++) {
		const struct instance_socket *socket = &i->sockets.list[k];
		size_t place = wiring_place(&s->wiring, &i->config->listen[socket->endpoint]);

		/* It is closed for this instance. */
		if (place == WIRING_MAX)
			continue;
		ret->list[ret->n++] = (struct service_backlog_socket){
			.cookie = socket->cookie,
			.generation = i->generation,
			.instance = i->index,
			.place = place,
			.configured = i->config->backlog,
			.must = i->config->backlog_set,
			.taken_over = g->taken_over,
		};
	}
}

/* All sockets of the service; none without memory. */
static void list_sockets(const struct service *s, struct service_backlogs *ret)
{
	size_t n = count_sockets(s);

	*ret = (struct service_backlogs){};
	ret->list = n > 0 ? calloc(n, sizeof(*ret->list)) : NULL;
	for (size_t k = 0; ret->list && k < s->n_generations; k++)
		for (size_t j = 0; j < s->generations[k]->instances.n; j++)
			add_sockets(s, s->generations[k], s->generations[k]->instances.list[j],
				    ret);
	if (ret->n > 1)
		qsort(ret->list, ret->n, sizeof(*ret->list), compare);
}

static void on_occupant(void *userdata, const struct occupant *occupant)
{
	struct service_backlog_socket *socket = find(userdata, occupant->cookie);

	if (!socket)
		return;
	socket->waiting = occupant->queue.queued;
	socket->backlog = occupant->queue.backlog;
	socket->dropped = occupant->queue.dropped;
	socket->seen = true;
}

/* ---- telling -------------------------------------------------------------------------------- */

/* ": net.core.somaxconn is 128", or that the server says so; "" if it is as configured. */
static void explain(const struct service_backlog_socket *socket, char *ret, size_t size)
{
	cleanup_free char *text = NULL;
	unsigned long somaxconn = 0;

	ret[0] = '\0';
	if (socket->backlog >= (uint32_t)socket->configured)
		return;
	if (file_read(SOMAXCONN_FILE, SOMAXCONN_SIZE, &text, NULL) >= 0)
		somaxconn = strtoul(text, NULL, 10);
	if (somaxconn == socket->backlog)
		snprintf(ret, size, ", which is what net.core.somaxconn allows");
	else
		snprintf(ret, size, ", which its server has set by listen(2); \"backlog\" is %d",
			 socket->configured);
}

static void tell_overflow(struct service *s, const struct service_backlog_socket *socket)
{
	const char *address = s->endpoints.declared[socket->place].text;
	uint64_t n = s->backlogs.endpoints[socket->place].untold;
	char why[128], message[ADDRESS_TEXT_MAX + 320];

	explain(socket, why, sizeof(why));
	snprintf(message, sizeof(message),
		 "the accept queue of instance %u on %s has overflowed: %llu connection attempt%s "
		 "dropped; %u may wait%s",
		 socket->instance, address, (unsigned long long)n, n == 1 ? "" : "s",
		 socket->backlog, why);
	service_tell(s, &(struct event){.kind = EVENT_QUEUE,
					.message = message,
					.listen = address,
					.generation = socket->generation,
					.has_instance = true,
					.instance = socket->instance});
	s->backlogs.endpoints[socket->place].untold = 0;
	s->backlogs.endpoints[socket->place].told_ms = clock_monotonic_ms();
}

static void tell_lowered(struct service *s, const struct service_backlog_socket *socket)
{
	const char *address = s->endpoints.declared[socket->place].text;
	char why[128], message[ADDRESS_TEXT_MAX + 320];

	explain(socket, why, sizeof(why));
	snprintf(message, sizeof(message),
		 "instance %u listens on %s with a backlog of %u%s: raise it there, or lower "
		 "\"backlog\"",
		 socket->instance, address, socket->backlog, why);
	service_tell(s, &(struct event){.kind = EVENT_QUEUE,
					.message = message,
					.listen = address,
					.generation = socket->generation,
					.has_instance = true,
					.instance = socket->instance});
}

/* Once for each generation, unless it lowers it further. */
static void look_backlog(struct service *s, const struct service_backlog_socket *socket)
{
	__auto_type endpoint = &s->backlogs.endpoints[socket->place];

	if (!socket->must || socket->backlog >= (uint32_t)socket->configured)
		return;
	if (endpoint->lowered_for == socket->generation && endpoint->lowered <= socket->backlog)
		return;
	endpoint->lowered_for = socket->generation;
	endpoint->lowered = socket->backlog;
	tell_lowered(s, socket);
}

static void look_drops(struct service *s, const struct service_backlog_socket *socket,
		       const struct service_backlog_socket *before)
{
	__auto_type endpoint = &s->backlogs.endpoints[socket->place];
	uint32_t known = before && before->seen ? before->dropped : 0;
	uint32_t more = socket->dropped > known ? socket->dropped - known : 0;

	endpoint->dropped += more;
	if (!(before && before->seen) && socket->taken_over)
		return;
	endpoint->untold += more;
	if (endpoint->untold > 0 && more > 0 &&
	    (endpoint->told_ms == 0 ||
	     clock_monotonic_ms() - endpoint->told_ms >= SERVICE_BACKLOGS_TELL_MS))
		tell_overflow(s, socket);
}

/* ---- looking -------------------------------------------------------------------------------- */

void service_look_backlogs(struct service *s)
{
	struct service_backlogs now, before = s->backlogs;

	if (!s->context->occupants || !s->endpoints.open)
		return;
	list_sockets(s, &now);
	WIRING_EACH (k, &s->wiring)
		/* If nobody can tell, what was known stands. */
		if (occupants_each(s->context->occupants, steer_address(s->wiring.endpoints[k]),
				   on_occupant, &now) < 0) {
			free(now.list);
			return;
		}
	s->backlogs.list = now.list;
	s->backlogs.n = now.n;
	for (size_t k = 0; k < now.n; k++) {
		if (!now.list[k].seen)
			continue;
		look_drops(s, &now.list[k], find(&before, now.list[k].cookie));
		look_backlog(s, &now.list[k]);
	}
	free(before.list);
}

static void add(const struct service_backlog_socket *socket, struct service_backlog *ret)
{
	if (!socket || !socket->seen)
		return;
	if (ret->sockets++ == 0 || socket->backlog < ret->backlog)
		ret->backlog = socket->backlog;
	ret->configured = socket->configured;
	ret->waiting += socket->waiting;
	ret->dropped += socket->dropped;
	ret->lowered |= socket->must && socket->backlog < (uint32_t)socket->configured;
}

void service_backlog_of_endpoint(const struct service *s, size_t place, struct service_backlog *ret)
{
	*ret = (struct service_backlog){};
	for (size_t j = 0; j < s->backlogs.n; j++)
		if (s->backlogs.list[j].place == place)
			add(&s->backlogs.list[j], ret);
	ret->dropped = s->backlogs.endpoints[place].dropped;
}

void service_backlog_of_instance(const struct service *s, const struct instance *i,
				 struct service_backlog *ret)
{
	*ret = (struct service_backlog){};
	for (size_t k = 0; k < i->sockets.n; k++)
		add(find(&s->backlogs, i->sockets.list[k].cookie), ret);
}

void service_backlogs_done(struct service_backlogs *queues)
{
	free(queues->list);
	*queues = (struct service_backlogs){};
}
