/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Local ports of commands, pinned to instances. Those that are pinned now are in a list of the
 * daemon's, so that an instance that gets other sockets, or ends, finds those that lead to it.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "orchestrator/host/environment.h"
#include "orchestrator/instance/instance_internal.h"

/* An address is asked from itself; from 127.0.0.1, if it is of 127.0.0.0/8; from ::1 (":PORT"). */
#define PORT_SOURCES_MAX 3

struct instance_ports {
	struct context *context;
	struct instance_ports *next, *previous;
	struct local_ports_range range;
	struct instance
		*whom[INSTANCE_PORTS_MAX]; /* port k is whom[k % n_whom]'s; NULL: it is gone */
	size_t n_whom;
	uint32_t generation; /* of the first */
};

/* ---- from where ----------------------------------------------------------------------------- */

static void add_source(struct address ret[static PORT_SOURCES_MAX], size_t *n, const char *text)
{
	if (address_parse(text, &ret[*n], NULL) == 0)
		(*n)++;
}

static bool is_loopback_net(const struct address *a)
{
	return a->sa.sa_family == AF_INET && (ntohl(a->in.sin_addr.s_addr) >> 24) == 127 &&
	       a->in.sin_addr.s_addr != htonl(INADDR_LOOPBACK);
}

/*
 * The addresses that a command on this host connects to @declared from, if it does not choose one
 * itself: what the kernel's routes to its own addresses say (ip route show table local).
 */
static size_t sources_of(const struct address *declared,
			 struct address ret[static PORT_SOURCES_MAX])
{
	size_t n = 1;

	address_local(declared, &ret[0]);
	if (is_loopback_net(&ret[0]))
		add_source(ret, &n, "127.0.0.1:1");
	if (declared->dual_stack)
		add_source(ret, &n, "[::1]:1");
	return n;
}

static const struct sockaddr *with_port(struct address *source, uint16_t port)
{
	if (source->sa.sa_family == AF_INET6)
		source->in6.sin6_port = htons(port);
	else
		source->in.sin_port = htons(port);
	return &source->sa;
}

/* ---- pinning -------------------------------------------------------------------------------- */

/* The @turn-th of its sockets on endpoint @e; NULL: it has none there. */
static const struct instance_socket *socket_of(const struct instance *i, size_t e, size_t turn)
{
	size_t n = 0;

	for (size_t k = 0; k < i->sockets.n; k++)
		n += i->sockets.list[k].endpoint == e;
	if (n == 0)
		return NULL;
	turn %= n;
	for (size_t k = 0; k < i->sockets.n; k++)
		if (i->sockets.list[k].endpoint == e && turn-- == 0)
			return &i->sockets.list[k];
	return NULL;
}

/* Call @each for the ports that lead to whom[@w], from everywhere, on each of its endpoints. */
static int each_pin(struct instance_ports *p, size_t w,
		    int (*each)(struct instance *i, size_t e, size_t turn,
				const struct sockaddr *source))
{
	struct instance *i = p->whom[w];
	int r = 0;

	for (size_t e = 0; e < i->config->n_listen; e++) {
		struct address sources[PORT_SOURCES_MAX];
		size_t n = sources_of(&i->config->listen[e], sources);

		for (size_t k = w; k < p->range.n && r >= 0; k += p->n_whom)
			for (size_t s = 0; s < n && r >= 0; s++)
				r = each(i, e, k / p->n_whom,
					 with_port(&sources[s], (uint16_t)(p->range.first + k)));
	}
	return r;
}

static int pin(struct instance *i, size_t e, size_t turn, const struct sockaddr *source)
{
	const struct instance_socket *socket = socket_of(i, e, turn);
	struct steer *steer = instance_endpoint(i, e);
	struct address address;
	int r;

	/* What is not there cannot be reached: the port leads where the table says. */
	if (!socket || !steer)
		return 0;
	/* Nobody but an earlier range of ours can have pinned it; its end was not seen here. */
	steer_unpin(steer, source);
	r = steer_pin(steer, source, socket->slot);
	if (r < 0)
		return r;
	address_local(&i->config->listen[e], &address);
	sources_add(&i->pinned[e], i->context->diag, &address, source);
	return 0;
}

static int unpin(struct instance *i, size_t e, size_t turn, const struct sockaddr *source)
{
	struct steer *steer = instance_endpoint(i, e);

	(void)turn;
	if (steer)
		steer_unpin(steer, source);
	return 0;
}

/* Its command has ended: what the server still has of it is known by its cookie from now on. */
static int let_go(struct instance *i, size_t e, size_t turn, const struct sockaddr *source)
{
	struct address address;

	address_local(&i->config->listen[e], &address);
	sources_close(&i->pinned[e], i->context->diag, &address, source);
	return unpin(i, e, turn, source);
}

void instance_retarget_ports(struct instance *i)
{
	for (struct instance_ports *p = i->context->ports; p; p = p->next)
		for (size_t w = 0; w < p->n_whom; w++) {
			int r;

			if (p->whom[w] != i)
				continue;
			each_pin(p, w, unpin);
			r = each_pin(p, w, pin);
			if (r < 0)
				log_warning("%s: local ports of a command cannot be pinned to "
					    "other sockets of instance %u: %s",
					    i->config->name, i->index, strerror(-r));
		}
}

void instance_leave_ports(struct instance *i)
{
	for (struct instance_ports *p = i->context->ports; p; p = p->next)
		for (size_t w = 0; w < p->n_whom; w++) {
			if (p->whom[w] != i)
				continue;
			each_pin(p, w, let_go);
			p->whom[w] = NULL;
		}
}

/* ---- for a command -------------------------------------------------------------------------- */

/* Those that listen: the others cannot be reached. */
static size_t choose(struct instance *const *list, size_t n,
		     struct instance *ret[static INSTANCE_PORTS_MAX])
{
	size_t chosen = 0;

	for (size_t k = 0; k < n && chosen < INSTANCE_PORTS_MAX; k++)
		if (list[k]->sockets.n > 0)
			ret[chosen++] = list[k];
	return chosen;
}

static void enlist(struct instance_ports *p)
{
	p->next = p->context->ports;
	if (p->next)
		p->next->previous = p;
	p->context->ports = p;
}

static void delist(struct instance_ports *p)
{
	if (p->next)
		p->next->previous = p->previous;
	if (p->previous)
		p->previous->next = p->next;
	else
		p->context->ports = p->next;
}

void instance_ports_close(struct instance_ports *p)
{
	if (!p)
		return;
	for (size_t w = 0; w < p->n_whom; w++)
		if (p->whom[w])
			each_pin(p, w, let_go);
	local_ports_give(&p->context->local_ports, &p->range);
	delist(p);
	free(p);
}

int instance_ports_open(struct instance *const *list, size_t n, uint16_t wanted,
			struct instance_ports **ret, struct error *err)
{
	struct instance_ports *p;
	int r;

	assert(wanted > 0 && wanted <= INSTANCE_PORTS_MAX);
	*ret = NULL;
	if (n == 0 || !steer_can(list[0]->wiring->tier, STEER_CAN_PIN))
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_set(err, -ENOMEM, "local ports");
	p->context = list[0]->context;
	enlist(p);
	p->n_whom = choose(list, n, p->whom);
	if (p->n_whom == 0) {
		instance_ports_close(p);
		return 0;
	}
	p->generation = p->whom[0]->generation;
	r = local_ports_take(&p->context->local_ports, wanted, &p->range, err);
	if (r >= 0 && p->n_whom > p->range.n)
		p->n_whom = p->range.n;
	for (size_t w = 0; r >= 0 && w < p->n_whom; w++) {
		r = each_pin(p, w, pin);
		if (r < 0)
			error_set(err, r, "pin local ports %u to %u to an instance", p->range.first,
				  p->range.first + p->range.n - 1);
	}
	if (r < 0) {
		instance_ports_close(p);
		return r;
	}
	*ret = p;
	return 0;
}

int instance_ports_tell(const struct instance_ports *p, char ***environment)
{
	char text[24];
	int r;

	if (!p)
		return 0;
	snprintf(text, sizeof(text), "%u-%u", p->range.first, p->range.first + p->range.n - 1);
	r = environment_set(environment, "BATON_PROBE_PORTS", text);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%u", p->generation);
	return environment_set(environment, "BATON_PROBE_GENERATION", text);
}
