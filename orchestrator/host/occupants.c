/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/occupants.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/openers.h"

#define LISTENERS_MAX 65536 /* remembered of the host's */
#define SHARE         20    /* of the time, see the header */
#define NAMED_MAX     3     /* in one message */

struct census {
	struct occupant *list; /* sorted by port */
	size_t n, size;
	bool without_memory;
};

struct occupants {
	struct diag *diag;
	struct census census;
	uint64_t next_ms; /* not before */
};

int occupants_new(struct diag *diag, struct occupants **ret)
{
	struct occupants *occupants = calloc(1, sizeof(*occupants));

	if (!occupants)
		return -ENOMEM;
	occupants->diag = diag;
	*ret = occupants;
	return 0;
}

void occupants_free(struct occupants *occupants)
{
	if (!occupants)
		return;
	free(occupants->census.list);
	free(occupants);
}

/* ---- the census ----------------------------------------------------------------------------- */

static void forget(void *userdata)
{
	((struct census *)userdata)->n = 0;
}

static void note(void *userdata, const struct diag_listening *listening)
{
	struct census *census = userdata;
	struct occupant *to;

	if (census->n >= LISTENERS_MAX)
		return;
	if (census->n == census->size) {
		size_t size = census->size ? 2 * census->size : 64;
		void *grown = reallocarray(census->list, size, sizeof(*census->list));

		if (!grown) {
			census->without_memory = true;
			return;
		}
		census->list = grown;
		census->size = size;
	}
	to = &census->list[census->n];
	*to = (struct occupant){
		.cookie = listening->cookie,
		.inode = listening->inode,
		.cgroup_id = listening->cgroup_id,
		.uid = listening->uid,
		.queue = listening->queue,
	};
	if (address_from(&listening->local.sa, listening->v6only, &to->address) == 0)
		census->n++;
}

static int compare_ports(const void *a, const void *b)
{
	const struct occupant *x = a, *y = b;

	return address_port(&x->address) - address_port(&y->address);
}

static int take_census(struct diag *diag, struct census *census)
{
	int r;

	census->without_memory = false;
	r = diag_each_listener(diag, 0, forget, note, census, NULL);
	if (r == 0 && census->without_memory)
		r = -ENOMEM;
	if (r == 0 && census->n > 1)
		qsort(census->list, census->n, sizeof(*census->list), compare_ports);
	return r;
}

/* The first of the port; census->n: there is none. */
static size_t find_port(const struct census *census, uint16_t port)
{
	size_t low = 0, high = census->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (address_port(&census->list[middle].address) < port)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int renew(struct occupants *occupants)
{
	uint64_t now_ms = clock_monotonic_ms(), took_ms;
	int r;

	if (now_ms < occupants->next_ms)
		return 0;
	r = take_census(occupants->diag, &occupants->census);
	if (r < 0)
		return r;
	took_ms = clock_monotonic_ms() - now_ms;
	occupants->next_ms =
		now_ms + (SHARE * took_ms > OCCUPANTS_MS ? SHARE * took_ms : OCCUPANTS_MS);
	return 0;
}

int occupants_each(struct occupants *occupants, const struct address *address,
		   void (*found)(void *userdata, const struct occupant *occupant), void *userdata)
{
	const struct census *census = &occupants->census;
	uint16_t port = address_port(address);
	int r = renew(occupants);

	if (r < 0)
		return r;
	for (size_t k = find_port(census, port); k < census->n; k++) {
		if (address_port(&census->list[k].address) != port)
			break;
		if (address_equal(&census->list[k].address, address))
			found(userdata, &census->list[k]);
	}
	return 0;
}

/* The finalizer of MurmurHash3: cookies are small numbers, and their sum must not be another's. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 33) * 0xff51afd7ed558ccd;
	x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53;
	return x ^ x >> 33;
}

int occupants_print(struct occupants *occupants, const struct address *address, uint64_t *ret)
{
	const struct census *census = &occupants->census;
	uint16_t port = address_port(address);
	int r = renew(occupants);

	*ret = 0;
	if (r < 0)
		return r;
	/* They come in no order. */
	for (size_t k = find_port(census, port); k < census->n; k++) {
		if (address_port(&census->list[k].address) != port)
			break;
		*ret += mix(census->list[k].cookie);
	}
	return 0;
}

struct copying {
	struct occupant *list;
	size_t n, max;
};

static void copy(void *userdata, const struct occupant *occupant)
{
	struct copying *copying = userdata;

	if (copying->n < copying->max)
		copying->list[copying->n++] = *occupant;
}

int occupants_look(struct occupants *occupants, const struct address *address, struct occupant *ret,
		   size_t max)
{
	struct copying copying = {.list = ret, .max = max};
	int r = occupants_each(occupants, address, copy, &copying);

	return r < 0 ? r : (int)copying.n;
}

void occupants_forget(struct occupants *occupants)
{
	occupants->next_ms = 0;
}

/* ---- holders -------------------------------------------------------------------------------- */

void occupants_find_holders(struct occupant *list, size_t n, const struct openers_liking *liking)
{
	static const struct openers_liking whoever;
	struct opener openers[OCCUPANTS_SOUGHT_MAX];

	assert(n <= OCCUPANTS_SOUGHT_MAX);
	for (size_t k = 0; k < n; k++)
		openers[k] = (struct opener){.inode = list[k].inode};
	openers_find(openers, n, liking ? liking : &whoever);
	for (size_t k = 0; k < n; k++) {
		list[k].pid = openers[k].pid;
		memcpy(list[k].command, openers[k].command, sizeof(list[k].command));
	}
}

char *occupant_describe(const struct occupant *occupant, char ret[static OCCUPANT_TEXT_MAX])
{
	if (occupant->pid != 0)
		snprintf(ret, OCCUPANT_TEXT_MAX, "pid %d \"%s\" (uid %u)", (int)occupant->pid,
			 occupant->command, (unsigned)occupant->uid);
	else
		snprintf(ret, OCCUPANT_TEXT_MAX, "a process that cannot be found (uid %u)",
			 (unsigned)occupant->uid);
	return ret;
}

/* ---- in use --------------------------------------------------------------------------------- */

static size_t find_overlapping(const struct census *census, const struct address *address,
			       struct occupant *ret, size_t max)
{
	size_t n = 0;

	for (size_t k = find_port(census, address_port(address)); k < census->n && n < max; k++)
		if (address_overlaps(&census->list[k].address, address))
			ret[n++] = census->list[k];
	return n;
}

/* "pid 7 "nginx" (uid 33) on 0.0.0.0:80, pid 8 ..." Each process once. */
static void name_all(const struct occupant *list, size_t n, char *ret, size_t size)
{
	size_t length = 0;

	ret[0] = '\0';
	for (size_t k = 0; k < n && length < size; k++) {
		char text[OCCUPANT_TEXT_MAX];
		bool known = false;

		for (size_t j = 0; j < k && !known; j++)
			known = list[j].pid == list[k].pid;
		if (!known)
			length += (size_t)snprintf(
				ret + length, size - length, "%s%s on %s", length ? ", " : "",
				occupant_describe(&list[k], text), list[k].address.text);
	}
}

bool occupants_explain(struct diag *diag, const struct address *address, struct error *err)
{
	struct occupant list[NAMED_MAX];
	struct census census = {};
	uint64_t lingering = 0;
	char names[400];
	size_t n = 0;

	if (take_census(diag, &census) == 0)
		n = find_overlapping(&census, address, list, NAMED_MAX);
	free(census.list);
	if (n > 0) {
		occupants_find_holders(list, n, NULL);
		name_all(list, n, names, sizeof(names));
		error_text(err, 0,
			   "%s is in use by %s: end it, or declare another address (%.400s)",
			   address->text, names, strdupa(err->text));
		return false;
	}
	if (diag_lingering(diag, address_port(address), &lingering, NULL) < 0 || lingering == 0)
		return false;
	error_text(err, 0,
		   "nobody listens on %s, but %llu connections of an earlier server, which did not "
		   "set SO_REUSEADDR, are not over yet (TIME_WAIT and the like)",
		   address->text, (unsigned long long)lingering);
	return true;
}
