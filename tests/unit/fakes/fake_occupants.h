/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_occupants: who listens, as a test says. Nobody, unless it does. */
#pragma once

#include <stdio.h>
#include <string.h>

#include "orchestrator/host/occupants.h"

#define FAKE_OCCUPANTS_MAX 32

/* For a context: occupants_look() is never asked through it. */
#define FAKE_OCCUPANTS ((struct occupants *)&fake_occupants)

static struct {
	struct occupant list[FAKE_OCCUPANTS_MAX];
	size_t n;
	int error; /* of asking */
	unsigned searches;
	bool lingers; /* occupants_explain() */
} fake_occupants;

static inline void fake_occupants_reset(void)
{
	memset(&fake_occupants, 0, sizeof(fake_occupants));
}

static inline struct occupant *fake_occupants_add(const char *address, uint64_t cookie, pid_t pid)
{
	struct occupant *ret = &fake_occupants.list[fake_occupants.n++];

	*ret = (struct occupant){.cookie = cookie, .inode = cookie, .pid = pid, .uid = 7};
	assert_int_equal(address_parse(address, &ret->address, NULL), 0);
	strcpy(ret->command, "name");
	return ret;
}

int occupants_each(struct occupants *occupants, const struct address *address,
		   void (*found)(void *userdata, const struct occupant *occupant), void *userdata)
{
	assert_ptr_equal(occupants, FAKE_OCCUPANTS);
	if (fake_occupants.error < 0)
		return fake_occupants.error;
	for (size_t k = 0; k < fake_occupants.n; k++) {
		struct occupant one = fake_occupants.list[k];

		one.pid = 0;
		if (address_equal(&one.address, address))
			found(userdata, &one);
	}
	return 0;
}

int occupants_print(struct occupants *occupants, const struct address *address, uint64_t *ret)
{
	assert_ptr_equal(occupants, FAKE_OCCUPANTS);
	*ret = 0;
	for (size_t k = 0; k < fake_occupants.n; k++)
		if (address_port(&fake_occupants.list[k].address) == address_port(address))
			*ret += fake_occupants.list[k].cookie;
	return fake_occupants.error;
}

int occupants_look(struct occupants *occupants, const struct address *address, struct occupant *ret,
		   size_t max)
{
	size_t n = 0;

	assert_ptr_equal(occupants, FAKE_OCCUPANTS);
	if (fake_occupants.error < 0)
		return fake_occupants.error;
	for (size_t k = 0; k < fake_occupants.n && n < max; k++) {
		if (!address_equal(&fake_occupants.list[k].address, address))
			continue;
		ret[n] = fake_occupants.list[k];
		ret[n++].pid = 0;
	}
	return (int)n;
}

void occupants_forget(struct occupants *occupants)
{
	assert_ptr_equal(occupants, FAKE_OCCUPANTS);
}

void occupants_find_holders(struct occupant *list, size_t n, const struct openers_liking *liking)
{
	(void)liking;
	fake_occupants.searches++;
	for (size_t k = 0; k < n; k++)
		for (size_t j = 0; j < fake_occupants.n; j++)
			if (fake_occupants.list[j].cookie == list[k].cookie)
				list[k] = fake_occupants.list[j];
}

char *occupant_describe(const struct occupant *occupant, char ret[static OCCUPANT_TEXT_MAX])
{
	snprintf(ret, OCCUPANT_TEXT_MAX, "pid %d \"%s\"", (int)occupant->pid, occupant->command);
	return ret;
}

bool occupants_explain(struct diag *diag, const struct address *address, struct error *err)
{
	(void)diag;
	if (fake_occupants.lingers)
		error_text(err, 0, "nobody listens on %s", address->text);
	return fake_occupants.lingers;
}
