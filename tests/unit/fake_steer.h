/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_steer: endpoints without a kernel, and without a bpffs. The last table published for each
 * is kept; calls can be made to fail by the name of their function.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>

#include "orchestrator/bpffs.h"
#include "orchestrator/steer.h"
#include "tests/unit/fake_calls.h"

struct steer {
	struct address address;
	uid_t uid;
	bool attached;
	unsigned published; /* how often */
	struct steer_table table;
	uint16_t next_slot;
	struct steer_slot_stats slot_stats[8];
	struct steer_stats stats;
	bool not_taken_over;
	enum steer_program program;
};

static unsigned fake_steers_open;

/* "steer_publish": that one fails, for the endpoint with this address (NULL: for each of them). */
static struct {
	const char *function, *address;
	int code;
} fake_steer_failure;

static struct {
	uint16_t first_slot;
	bool drift;
} fake_steer_join;

static bool fake_steer_not_taken_over; /* an earlier daemon's maps do not fit */

static inline bool fake_steer_fails(const char *function, const char *address, struct error *err)
{
	if (!fake_steer_failure.function || strcmp(function, fake_steer_failure.function) != 0)
		return false;
	if (fake_steer_failure.address && strcmp(address, fake_steer_failure.address) != 0)
		return false;
	error_set(err, fake_steer_failure.code, "%s %s", function, address);
	return true;
}

static inline void fake_steer_reset(void)
{
	memset(&fake_steer_failure, 0, sizeof(fake_steer_failure));
	memset(&fake_steer_join, 0, sizeof(fake_steer_join));
	fake_steer_not_taken_over = false;
}

int bpffs_make(const char *name, const char *service, const char *key,
	       char ret[static BPFFS_PATH_MAX], struct error *err)
{
	if (fake_steer_fails("bpffs_make", key, err))
		return fake_steer_failure.code;
	snprintf(ret, BPFFS_PATH_MAX, "/pins/%s/%s/%s", name, service, key);
	return 0;
}

void bpffs_remove(const char *path)
{
	(void)path;
}

void bpffs_sweep(const char *name)
{
	(void)name;
}

int steer_open(const struct address *address, uid_t uid, const char *pin_dir,
	       struct inspect *inspect, struct steer **ret, struct error *err)
{
	struct steer *steer;

	(void)inspect;
	if (fake_steer_fails("steer_open", address->text, err))
		return fake_steer_failure.code;
	steer = calloc(1, sizeof(*steer));
	assert_non_null(steer);
	steer->address = *address;
	steer->uid = uid;
	steer->next_slot = fake_steer_join.first_slot;
	steer->not_taken_over = fake_steer_not_taken_over;
	fake_steers_open++;
	called("open %s %s", address->text, pin_dir);
	*ret = steer;
	return 0;
}

int steer_reset(struct steer *steer, struct error *err)
{
	if (fake_steer_fails("steer_reset", steer->address.text, err))
		return fake_steer_failure.code;
	called("reset %s", steer->address.text);
	return 0;
}

bool steer_is_taken_over(const struct steer *steer)
{
	return !steer->not_taken_over;
}

int steer_attach(struct steer *steer, struct error *err)
{
	if (fake_steer_fails("steer_attach", steer->address.text, err))
		return fake_steer_failure.code;
	called("attach %s", steer->address.text);
	steer->attached = true;
	return 0;
}

void steer_unpin_all(struct steer *steer)
{
	called("unpin %s", steer->address.text);
}

void steer_free(struct steer *steer)
{
	if (!steer)
		return;
	called("close %s", steer->address.text);
	fake_steers_open--;
	free(steer);
}

int steer_join(struct steer *steer, int listen_fd, uint16_t *ret_slot, bool *ret_drift,
	       struct error *err)
{
	if (fake_steer_fails("steer_join", steer->address.text, err))
		return fake_steer_failure.code;
	*ret_slot = steer->next_slot++;
	*ret_drift = fake_steer_join.drift;
	called("join %s fd %d slot %u", steer->address.text, listen_fd, *ret_slot);
	return 0;
}

void steer_release(struct steer *steer, uint16_t slot)
{
	called("release %s slot %u", steer->address.text, slot);
}

void steer_release_unclaimed(struct steer *steer)
{
	called("release unclaimed %s", steer->address.text);
}

bool steer_names(struct steer *steer, uint16_t slot)
{
	for (size_t k = 0; k < STEER_BUCKETS; k++)
		if (steer->table.buckets[k].primary == slot ||
		    steer->table.buckets[k].backup == slot)
			return true;
	return false;
}

int steer_publish(struct steer *steer, const struct steer_table *table, struct error *err)
{
	if (fake_steer_fails("steer_publish", steer->address.text, err))
		return fake_steer_failure.code;
	steer->table = *table;
	steer->published++;
	called("publish %s", steer->address.text);
	return 0;
}

int steer_pin(struct steer *steer, const struct sockaddr *source, uint16_t slot)
{
	(void)steer;
	(void)source;
	(void)slot;
	return 0;
}

void steer_unpin(struct steer *steer, const struct sockaddr *source)
{
	(void)steer;
	(void)source;
}

enum steer_program steer_check(struct steer *steer)
{
	return steer->program;
}

const char *steer_program_name(enum steer_program program)
{
	return program == STEER_PROGRAM_ATTACHED ? "attached" : "foreign";
}

uint32_t steer_program_id(const struct steer *steer)
{
	return address_port(&steer->address) + 1u;
}

const struct address *steer_address(const struct steer *steer)
{
	return &steer->address;
}

int steer_slot_stats(struct steer *steer, uint16_t slot, struct steer_slot_stats *ret)
{
	if (fake_steer_fails("steer_slot_stats", steer->address.text, NULL))
		return fake_steer_failure.code;
	assert_in_range(slot, 0, 7);
	*ret = steer->slot_stats[slot];
	return 0;
}

int steer_stats(struct steer *steer, struct steer_stats *ret)
{
	*ret = steer->stats;
	return 0;
}

void steer_log_init(void)
{
}
