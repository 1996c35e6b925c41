/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A server may bind an IPv4 address by an IPv4 socket or by an IPv6 one, as ::ffff:ADDRESS (Java
 * does). Clients see no difference, but the kernel does: sockets of different families are never in
 * one group, and an IPv4 one takes every connection. Which it will be is known once the first
 * server listens. Then its endpoint is opened anew for that family, before anything serves; from
 * then on sockets of the other family cannot join.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/openers.h"
#include "orchestrator/instance/instance_internal.h"

#define ADVICE_MAX (192 + 2 * PROTOCOL_NAME_MAX)

/* What the sockets of endpoint @k are bound to. */
static const struct address *address_of(const struct instance *i, size_t k)
{
	const struct steer *endpoint = instance_endpoint(i, k);

	/* Of one that has left the endpoint may be closed. */
	return endpoint ? steer_address(endpoint) : &i->config->listen[k];
}

bool instance_is_twin(const struct instance *i, const struct report_socket *socket)
{
	struct address twin;

	return socket->endpoint < i->config->n_listen &&
	       address_twin(address_of(i, socket->endpoint), &twin) &&
	       strcmp(twin.text, socket->address) == 0;
}

/* ---- refusing ------------------------------------------------------------------------------- */

/* What to do about a server that binds the twin of @serving. */
static void advise(const struct instance *i, const struct address *serving,
		   char ret[static ADVICE_MAX])
{
	char how[64];

	if (address_is_mapped(serving))
		snprintf(how, sizeof(how), "bind %s", serving->text);
	else
		snprintf(how, sizeof(how),
			 "use IPv4 sockets (Java: -Djava.net.preferIPv4Stack=true)");
	snprintf(ret, ADVICE_MAX,
		 "the kernel moves no connection between the two; have it %s, or `baton stop %s` "
		 "and `baton start %s`",
		 how, i->config->name, i->config->name);
}

static const char *family_name(const struct address *address)
{
	return address->sa.sa_family == AF_INET ? "an IPv4 socket" : "an IPv6 socket";
}

static void fail(struct instance *i, const char *why)
{
	i->refused = true;
	instance_fail(i, why);
}

/* Clients that the wrong sockets would get from now on try again, and get to the right ones. */
static void deafen(const struct instance *i, const struct report *report, const int *fds)
{
	for (size_t j = 0; j < report->n_sockets; j++) {
		const struct report_socket *socket = &report->sockets[j];
		int r;

		if (!instance_is_twin(i, socket) ||
		    !address_is_mapped(address_of(i, socket->endpoint)))
			continue;
		r = steer_deafen(fds[j]);
		if (r < 0)
			log_warning("%s: keep connections from %s: %s", i->config->name,
				    socket->address, strerror(-r));
	}
}

static int refuse(struct instance *i, size_t k, const struct address *found, struct error *err)
{
	const struct address *serving = address_of(i, k);
	char advice[ADVICE_MAX];

	advise(i, serving, advice);
	error_text(err, -EXDEV, "listens on %s, %s, but other servers of it listen on %s, %s: %s",
		   found->text, family_name(found), serving->text, family_name(serving), advice);
	fail(i, err->text);
	return -EXDEV;
}

void instance_refuse_ipv4(struct instance *i, size_t k, pid_t pid, const char *comm)
{
	const struct address *serving = address_of(i, k);
	char advice[ADVICE_MAX], why[sizeof(i->failure)], who[OPENER_TEXT_MAX];

	advise(i, serving, advice);
	opener_describe(pid, comm, who);
	snprintf(why, sizeof(why),
		 "was kept from binding an IPv4 socket (%s), since other servers of it listen on "
		 "%s, %s: %s",
		 who, serving->text, family_name(serving), advice);
	if (i->phase <= INSTANCE_JOINED && i->role == INSTANCE_OUT && !i->steady)
		fail(i, why);
	else
		instance_note(i, EVENT_SOCKETS, "instance %u: %s", i->index, why);
	instance_changed(i);
}

/* ---- following ------------------------------------------------------------------------------ */

/* Has the server bound a twin for endpoint @k, and does the report name nothing else there? */
static bool has_only_twins(const struct instance *i, const struct report *report, size_t k)
{
	bool found = false;

	for (size_t j = 0; j < report->n_sockets; j++) {
		const struct report_socket *socket = &report->sockets[j];

		if (socket->endpoint != k)
			continue;
		if (!instance_is_twin(i, socket))
			return false;
		found |= socket->own;
	}
	return found;
}

int instance_meet_twins(struct instance *i, const struct report *report, const int *fds,
			struct error *err)
{
	for (size_t k = 0; k < i->config->n_listen; k++) {
		struct address twin;
		int r;

		if (!has_only_twins(i, report, k) || !address_twin(address_of(i, k), &twin))
			continue;
		if (i->callbacks->is_served(i->userdata, i, k)) {
			deafen(i, report, fds);
			return refuse(i, k, &twin, err);
		}
		r = i->callbacks->move_endpoint(i->userdata, i, k, &twin, err);
		if (r < 0) {
			fail(i, err->text);
			return -EXDEV;
		}
	}
	i->postponed = i->callbacks->is_moving(i->userdata);
	return i->postponed;
}

static void order_family(struct instance *i)
{
	instance_order(i, &(struct order){
				  .type = ORDER_FAMILY,
				  .endpoint = i->moved_to,
				  .on = address_are_twins(&i->config->listen[i->moved_to],
							  address_of(i, i->moved_to)),
			  });
}

void instance_tell_sockets(struct instance *i)
{
	if (i->awaited == 0 && !i->postponed)
		order_family(i);
}

void instance_ask_sockets(struct instance *i)
{
	if (i->postponed && i->phase <= INSTANCE_JOINED)
		order_family(i);
	i->postponed = false;
}

static bool forget(struct instance_sockets *set, size_t k)
{
	size_t kept = 0, before = set->n;

	for (size_t j = 0; j < before; j++)
		if (set->list[j].endpoint != k)
			set->list[kept++] = set->list[j];
	set->n = kept;
	return kept < before;
}

void instance_close_endpoint(struct instance *i, size_t k)
{
	instance_uncheck_endpoint(i, k);
	forget(&i->unused, k);
	if (forget(&i->sockets, k)) {
		i->sockets_version++;
		instance_retarget_ports(i);
	}
	if (k == 0)
		i->aimed = 0;
}

void instance_change_endpoint(struct instance *i, size_t k)
{
	bool checking = instance_is_checked(i);

	instance_uncheck_endpoint(i, k);
	instance_forget_verdicts_of(i, k);
	forget(&i->unused, k);
	forget(&i->arriving, k);
	if (forget(&i->sockets, k)) {
		i->sockets_version++;
		instance_retarget_ports(i);
	}
	if (checking)
		instance_check_endpoint(i, k);
	if (i->phase > INSTANCE_JOINED || i->lost)
		return;
	i->awaited++;
	i->moved_to = (uint32_t)k;
	order_family(i);
}
