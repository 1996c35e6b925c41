/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/instance/instance_internal.h"

/* So long a server may take from closing its sockets to its end, on a machine that is busy. */
#define TROUBLE_MS 1000

/* Nothing of the set that is arriving is taken any more. */
#define ARRIVED_NEVER UINT32_MAX

/* ---- joining -------------------------------------------------------------------------------- */

static tap_owner owner_of(const struct instance *i)
{
	return (tap_owner)i->generation << 32 | i->index;
}

static struct steer *endpoint_of(const struct instance *i, const struct instance_socket *socket)
{
	return instance_endpoint(i, socket->endpoint);
}

static const struct instance_socket *find(const struct instance_sockets *sockets, uint64_t cookie)
{
	for (size_t k = 0; k < sockets->n; k++)
		if (sockets->list[k].cookie == cookie)
			return &sockets->list[k];
	return NULL;
}

static int join(struct instance *i, const struct report_socket *socket, int fd,
		struct instance_socket *ret, struct error *err)
{
	const struct steer *endpoint = NULL;
	bool drift = false;
	int r;

	if (socket->endpoint < i->config->n_listen)
		endpoint = instance_endpoint(i, socket->endpoint);
	if (!endpoint || strcmp(socket->address, steer_address(endpoint)->text) != 0)
		return error_text(err, -EBADMSG, "the agent's socket for %s is of no endpoint",
				  socket->address);
	if (steer_cookie(fd) != socket->cookie)
		return error_text(err, -EBADMSG,
				  "the agent's socket for %s is not the one it names",
				  socket->address);
	*ret = (struct instance_socket){
		.cookie = socket->cookie,
		.endpoint = socket->endpoint,
		.own = socket->own,
	};
	r = steer_join(endpoint_of(i, ret), fd, owner_of(i), &ret->slot, &drift, err);
	if (r >= 0 && drift)
		instance_note(i, EVENT_DRIFT,
			      "the program of %s's group had been replaced; put right",
			      socket->address);
	return r;
}

static void release(struct instance *i, const struct instance_socket *socket)
{
	steer_release(endpoint_of(i, socket), socket->slot);
}

static const struct instance_socket *find_known(const struct instance *i, uint64_t cookie)
{
	const struct instance_socket *known = find(&i->sockets, cookie);

	return known ? known : find(&i->unused, cookie);
}

/* Its slot may be empty: it has stopped listening, and begun again. */
static int rejoin(const struct instance *i, const struct instance_socket *known, int fd,
		  struct error *err)
{
	if (steer_cookie(fd) != known->cookie)
		return 0;
	return steer_rejoin(endpoint_of(i, known), known->slot, fd, err);
}

static int add_one(struct instance *i, const struct report_socket *socket, int fd,
		   struct instance_sockets *set, struct error *err)
{
	const struct instance_socket *known = find_known(i, socket->cookie);
	struct instance_socket one;
	int r = 0;

	/* An earlier part of the set has it. */
	if (find(&i->arriving, socket->cookie))
		return 0;
	if (find(set, socket->cookie))
		return error_text(err, -EBADMSG, "the agent names a socket for %s twice",
				  socket->address);
	if (known && known->loose)
		r = rejoin(i, known, fd, err);
	if (known)
		one = *known;
	else
		r = join(i, socket, fd, &one, err);
	one.loose = false;
	if (r >= 0 && instance_sockets_add(set, &one) < 0) {
		if (!known)
			release(i, &one);
		r = error_set(err, -ENOMEM, "%s", socket->address);
	}
	return r;
}

/* A socket that its server listens on gets no connections: the instance is unhealthy for it. */
static void refuse(struct instance *i, uint32_t endpoint, const char *why)
{
	/* Once, however many there are and however often they are reported. */
	if (strcmp(i->refusal, why) != 0)
		instance_note(i, EVENT_SOCKETS, "instance %u: %s", i->index, why);
	snprintf(i->refusal, sizeof(i->refusal), "%s", why);
	instance_unsteered(i, endpoint, why);
}

static bool any_unsteered(const struct instance *i)
{
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (i->losses[k].unsteered[0])
			return true;
	return false;
}

/* If the agent tells the same set again, sockets may have stopped listening and begun again. */
static void rejoin_known(struct instance *i, const struct report *report, const int *fds)
{
	for (size_t k = 0; k < report->n_sockets; k++) {
		const struct instance_socket *known = find(&i->sockets, report->sockets[k].cookie);
		struct error err;

		if (!known || rejoin(i, known, fds[k], &err) >= 0)
			continue;
		i->sockets.list[known - i->sockets.list].loose = true;
		refuse(i, known->endpoint, err.text);
	}
}

/* Of the wrong family, beside others of the right one: they are in no group with these. */
static void refuse_twin(struct instance *i, const struct report_socket *socket)
{
	char why[2 * ADDRESS_TEXT_MAX + 64];

	if (i->phase != INSTANCE_JOINED || !socket->own)
		return;
	snprintf(why, sizeof(why), "%s: the kernel does not steer between it and %s",
		 socket->address, steer_address(instance_endpoint(i, socket->endpoint))->text);
	refuse(i, socket->endpoint, why);
}

/* Its endpoint went to another service, which serves there. */
static bool is_closed(const struct instance *i, const struct report_socket *socket)
{
	return i->phase == INSTANCE_JOINED && socket->endpoint < i->config->n_listen &&
	       !instance_endpoint(i, socket->endpoint);
}

/*
 * The set that @report names, without those that are deaf. New sockets get slots. If one cannot,
 * the instance is unhealthy; but if it has not joined yet, or if its agent lies, that is a failure,
 * and the new slots are free again.
 */
static int join_new(struct instance *i, const struct report *report, const int *fds,
		    struct instance_sockets *ret, bool *ret_changed, struct error *err)
{
	int r = 0;

	ret->n = 0;
	for (size_t k = 0; r >= 0 && k < report->n_sockets; k++) {
		const struct report_socket *socket = &report->sockets[k];

		if (instance_is_twin(i, socket)) {
			refuse_twin(i, socket);
			continue;
		}
		if (socket->deaf || is_closed(i, socket))
			continue;
		r = add_one(i, socket, fds[k], ret, err);
		if (r < 0 && r != -EBADMSG && i->phase == INSTANCE_JOINED) {
			refuse(i, socket->endpoint, err->text);
			r = 0;
			continue;
		}
		*ret_changed |= !find(&i->sockets, socket->cookie);
	}
	for (size_t k = 0; r < 0 && k < ret->n; k++)
		if (!find_known(i, ret->list[k].cookie))
			release(i, &ret->list[k]);
	return r;
}

static int take_set(struct instance *i, const struct report *report, const int *fds,
		    struct instance_sockets *ret, bool *ret_changed, struct error *err)
{
	int r = instance_meet_twins(i, report, fds, err);

	return r != 0 ? r : join_new(i, report, fds, ret, ret_changed, err);
}

/*
 * Sockets that are missing in @next become unused; unused ones that are in @next are used again.
 * Returns whether any is missing.
 */
static bool retire_missing(struct instance *i, const struct instance_sockets *next)
{
	size_t kept = 0;
	bool any = false;

	for (size_t k = 0; k < i->unused.n; k++)
		if (!find(next, i->unused.list[k].cookie))
			i->unused.list[kept++] = i->unused.list[k];
	i->unused.n = kept;
	for (size_t k = 0; k < i->sockets.n; k++) {
		if (find(next, i->sockets.list[k].cookie))
			continue;
		any = true;
		if (i->unused.n == PROTOCOL_SET_MAX ||
		    instance_sockets_add(&i->unused, &i->sockets.list[k]) < 0)
			/* A table may still name the slot. Then its backup gets the connections. */
			release(i, &i->sockets.list[k]);
	}
	return any;
}

/* The next part of a set: what is new in it is of use at once. -ENOMEM. */
static int take_part(struct instance *i, const struct instance_sockets *part)
{
	for (size_t k = 0; k < part->n; k++) {
		const struct instance_socket *socket = &part->list[k];

		if (instance_sockets_add(&i->arriving, socket) < 0)
			return -ENOMEM;
		if (find(&i->sockets, socket->cookie))
			continue;
		if (instance_sockets_add(&i->sockets, socket) < 0)
			return -ENOMEM;
		for (size_t j = 0; j < i->unused.n; j++)
			if (i->unused.list[j].cookie == socket->cookie)
				i->unused.list[j--] = i->unused.list[--i->unused.n];
	}
	return 0;
}

/* The set is whole: what is not in it is gone. Returns whether anything is. */
static bool complete(struct instance *i, uint32_t serial)
{
	struct instance_sockets before = i->sockets;
	bool any = retire_missing(i, &i->arriving);

	i->sockets = i->arriving;
	i->arriving = before;
	i->arriving.n = 0;
	i->sockets_serial = serial;
	return any;
}

static bool every_endpoint_has_one(const struct instance *i)
{
	for (size_t k = 0; k < i->config->n_listen; k++) {
		bool found = false;

		for (size_t j = 0; j < i->sockets.n && !found; j++)
			found = i->sockets.list[j].endpoint == k;
		if (!found)
			return false;
	}
	return true;
}

static void take_strangers(struct instance *i, const struct report *report)
{
	for (size_t k = 0; k < report->n_strangers; k++) {
		bool known = false;

		for (size_t j = 0; j < i->n_strangers && !known; j++)
			known = strcmp(i->strangers[j], report->strangers[k]) == 0;
		if (!known)
			instance_note(i, EVENT_UNDECLARED,
				      "instance %u listens on %s, which the service does not "
				      "declare: left alone",
				      i->index, report->strangers[k]);
	}
	memcpy(i->strangers, report->strangers, sizeof(i->strangers));
	i->n_strangers = report->n_strangers;
}

/* What was wrong with them is found out anew. */
static void take_losses(struct instance *i, const struct report *report)
{
	for (size_t k = 0; report->first == 0 && k < i->config->n_listen; k++) {
		i->losses[k].unsteered[0] = '\0';
		i->losses[k].deaf = false;
	}
	for (size_t k = 0; k < report->n_sockets; k++)
		if (report->sockets[k].endpoint < i->config->n_listen)
			i->losses[report->sockets[k].endpoint].deaf |= report->sockets[k].deaf;
}

static void note_deaf_in(struct instance_sockets *set, const struct report *report)
{
	for (size_t k = 0; k < set->n; k++)
		for (size_t j = 0; j < report->n_sockets; j++)
			if (report->sockets[j].cookie == set->list[k].cookie)
				set->list[k].loose |= report->sockets[j].deaf;
}

/* Their slots are empty, until they listen again. They are unused once the set is whole. */
static void note_deaf(struct instance *i, const struct report *report)
{
	note_deaf_in(&i->sockets, report);
	note_deaf_in(&i->unused, report);
}

static void take_unusable(struct instance *i, const struct report *report)
{
	i->unusable_endpoint = report->trouble_endpoint;
	if (report->trouble[0] && strcmp(i->unusable, report->trouble) != 0)
		instance_note(i, EVENT_SOCKETS, "instance %u %s", i->index, report->trouble);
	memcpy(i->unusable, report->trouble, sizeof(i->unusable));
}

static int on_trouble(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct instance *i = userdata;

	(void)source;
	(void)usec;
	if (i->phase != INSTANCE_STARTING || !i->trouble[0])
		return 0;
	instance_fail(i, i->trouble);
	instance_changed(i);
	return 0;
}

/*
 * A socket that cannot join may be of a server that is ending: its listening sockets are closed
 * first. So there is time for its exit to be told, which is the cause then, or for other sockets.
 */
static void note_trouble(struct instance *i, const char *why)
{
	if (!i->trouble[0])
		timer_set(&i->trouble_timer, i->context->event, clock_monotonic_ms() + TROUBLE_MS,
			  on_trouble, i);
	snprintf(i->trouble, sizeof(i->trouble), "%s", why);
	instance_ask(i);
}

void instance_take_sockets(struct instance *i, const struct report *report, const int *fds,
			   size_t n_fds)
{
	cleanup(instance_sockets_done) struct instance_sockets next = {};
	bool changed = false;
	struct error err;
	int r;

	take_strangers(i, report);
	take_unusable(i, report);
	take_losses(i, report);
	if (report->first == 0)
		i->arriving.n = i->arrived = 0;
	if (i->phase > INSTANCE_JOINED || report->first != i->arrived)
		return;
	if (n_fds < report->n_sockets)
		r = error_text(&err, -EBADMSG, "the agent sent %zu descriptors for %zu sockets",
			       n_fds, report->n_sockets);
	else
		r = take_set(i, report, fds, &next, &changed, &err);
	if (r == 0 && take_part(i, &next) < 0)
		r = error_set(&err, -ENOMEM, "listening sockets");
	i->arrived = r == 0 ? report->first + (uint32_t)report->n_sockets : ARRIVED_NEVER;
	/* It has failed already, or the agent reports once more. */
	if (r == -EXDEV || r > 0)
		return;
	if (r == -EBADMSG && i->phase == INSTANCE_STARTING) {
		instance_fail(i, err.text);
		return;
	}
	if (r < 0 && i->phase == INSTANCE_STARTING) {
		note_trouble(i, err.text);
		return;
	}
	if (r < 0) {
		refuse(i, 0, err.text);
		return;
	}
	i->trouble[0] = '\0';
	note_deaf(i, report);
	if (report->more == 0)
		changed |= complete(i, report->serial);
	if (report->more == 0 && !any_unsteered(i))
		i->refusal[0] = '\0';
	if (!changed) {
		if (report->type == REPORT_SOCKETS)
			rejoin_known(i, report, fds);
		return;
	}
	i->sockets_version++;
	if (i->phase == INSTANCE_STARTING && every_endpoint_has_one(i))
		instance_enter(i, INSTANCE_JOINED);
	instance_retarget_checks(i);
	instance_retarget_ports(i);
}

/* If the kernel cannot tell, it listens. */
static bool is_silent(struct instance *i, const struct instance_socket *s)
{
	struct diag_listener listener;

	return diag_listener(i->context->diag, address_port(&i->config->listen[s->endpoint]),
			     s->cookie, &listener, NULL) == -ENOENT;
}

void instance_drop_silent(struct instance *i)
{
	cleanup(instance_sockets_done) struct instance_sockets next = {};
	struct instance_sockets before = i->sockets;

	for (size_t k = 0; k < i->sockets.n; k++)
		if (!is_silent(i, &i->sockets.list[k]) &&
		    instance_sockets_add(&next, &i->sockets.list[k]) < 0)
			return;
	if (!retire_missing(i, &next))
		return;
	i->sockets = next;
	next = before;
	i->sockets_version++;
	instance_retarget_checks(i);
	instance_retarget_ports(i);
	instance_look_losses(i);
}

void instance_look_slots(struct instance *i)
{
	bool empty = false;

	if (i->phase != INSTANCE_JOINED || i->pid == 0)
		return;
	for (size_t k = 0; k < i->sockets.n; k++)
		empty |= !steer_has(endpoint_of(i, &i->sockets.list[k]), i->sockets.list[k].slot);
	if (empty)
		instance_tell_sockets(i);
}

void instance_release_unused(struct instance *i)
{
	size_t kept = 0, before = i->unused.n;

	for (size_t k = 0; k < i->unused.n; k++) {
		if (steer_names(endpoint_of(i, &i->unused.list[k]), i->unused.list[k].slot))
			i->unused.list[kept++] = i->unused.list[k];
		else
			release(i, &i->unused.list[k]);
	}
	i->unused.n = kept;
	/* The serial says which set this is about: the agent may have sent a newer one. */
	if (before > 0 && kept == 0)
		instance_order(i,
			       &(struct order){.type = ORDER_RELEASE, .serial = i->sockets_serial});
}

void instance_release_leftovers(struct instance *i)
{
	if (!instance_is_leaving(i))
		instance_order(i,
			       &(struct order){.type = ORDER_RELEASE, .serial = i->sockets_serial});
}

void instance_release_all(struct instance *i)
{
	for (size_t k = 0; k < i->sockets.n; k++)
		release(i, &i->sockets.list[k]);
	for (size_t k = 0; k < i->unused.n; k++)
		release(i, &i->unused.list[k]);
	i->sockets.n = i->unused.n = i->arriving.n = 0;
}

const char *instance_mode(const struct instance *i)
{
	bool own = false, forced = false;

	if (!instance_has_joined(i) || i->sockets.n == 0)
		return NULL;
	for (size_t k = 0; k < i->sockets.n; k++) {
		own |= i->sockets.list[k].own;
		forced |= i->wiring->tap && tap_forced(i->wiring->tap, i->sockets.list[k].cookie);
	}
	return forced ? "transparent" : own ? "native" : "inherit";
}
