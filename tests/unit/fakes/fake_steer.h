/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_steer: endpoints without a kernel, and without a bpffs. The last table published for each
 * is kept; calls can be made to fail by the name of their function. Each tier can what the real
 * one can.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "orchestrator/steer/steer.h"
#include "tests/unit/fakes/fake_calls.h"

struct steer {
	enum steer_tier tier;
	struct address address;
	uid_t uid;
	bool sticky;
	struct tap *tap;
	bool attached;
	unsigned published, tended; /* how often */
	struct steer_table table;
	uint16_t next_slot;
	bool empty[STEER_SLOTS]; /* slots whose socket has gone */
	uint32_t used, max;      /* slots; max 0: STEER_SLOTS */
	tap_owner last_owner;    /* of what joined last */
	struct steer_slot_stats slot_stats[STEER_SLOTS];
	struct steer_stats stats;
	bool not_taken_over;
	bool hold;
	uint32_t held;      /* how many wait */
	uint64_t dropped;   /* attempts, since more could not wait */
	uint32_t half_open; /* wait, too, but are not counted */
	bool nobody_takes;  /* what waits: no socket of the table listens */
	enum steer_program program;
	const char *foreign; /* whose the program is, if it is FOREIGN; NULL: nobody knows */
	size_t n_beside;     /* endpoints that were open, and compete with it */
	int beacon;          /* 0: none */
	int anchor;          /* 0: nothing waits */
};

/* steer_is_own(): the daemon's own socket in each group. */
#define FAKE_OWN_COOKIE 0x0b7a70

/* How connections are shared out between two endpoints: the last time of each two. */
#define FAKE_CROSSINGS_MAX 16
static struct {
	const struct steer *first, *second;
	uint32_t share;
} fake_crossings[FAKE_CROSSINGS_MAX];
static size_t n_fake_crossings;

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

static bool fake_steer_not_taken_over;    /* an earlier daemon's maps do not fit */
static uint64_t fake_steer_old_backups;   /* what each slot has carried for an earlier daemon */
static uint16_t fake_steer_old_slots[16]; /* that its table names, on each endpoint */
static size_t n_fake_steer_old_slots;

#define FAKE_PINS_MAX 256

/* "127.0.0.1:61000": on which endpoint, to which slot. */
static struct fake_pin {
	const struct steer *steer;
	char source[ADDRESS_TEXT_MAX];
	uint16_t slot;
} fake_pins[FAKE_PINS_MAX];
static size_t n_fake_pins;

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
	n_fake_crossings = 0;
	fake_steer_not_taken_over = false;
	fake_steer_old_backups = 0;
	n_fake_steer_old_slots = 0;
	n_fake_pins = 0;
}

int bpffs_make(const char *name, const char *service, const char *key,
	       char ret[static BPFFS_PATH_MAX], struct error *err)
{
	if (fake_steer_fails("bpffs_make", key, err))
		return fake_steer_failure.code;
	snprintf(ret, BPFFS_PATH_MAX, "/pins/%s/%s/%s", name, service, key);
	return 0;
}

int bpffs_try(const char *name, const char *key, struct error *err)
{
	(void)name;
	return fake_steer_fails("bpffs_try", key, err) ? fake_steer_failure.code : 0;
}

int bpffs_claim(const char *name, int *ret_fd, struct error *err)
{
	*ret_fd = -1;
	return fake_steer_fails("bpffs_claim", name, err) ? fake_steer_failure.code : 0;
}

const char *bpffs_how(int code)
{
	return code == -EROFS ? "mount it writable" : "";
}

void bpffs_remove(const char *path)
{
	(void)path;
}

void bpffs_sweep(const char *name)
{
	(void)name;
}

/* ---- tiers ---------------------------------------------------------------------------------- */

const char *steer_tier_name(enum steer_tier tier)
{
	static const char *const names[_STEER_TIER_COUNT] = {"ebpf", "cbpf", "hash"};

	return names[tier];
}

/* For steer_try() the "address" of a failure is the name of the tier. */
int steer_try(enum steer_tier tier, struct error *err)
{
	return fake_steer_fails("steer_try", steer_tier_name(tier), err) ? fake_steer_failure.code
									 : 0;
}

/* The kernel wakes whoever gets a connection that moves. */
static bool fake_steer_migrates;

bool steer_can(enum steer_tier tier, enum steer_ability ability)
{
	switch (ability) {
	case STEER_CAN_PIN:
	case STEER_CAN_SHIFT:
		return tier != STEER_HASH;
	case STEER_CAN_BACKUP:
	case STEER_CAN_HOLD:
	case STEER_CAN_COUNT:
	case STEER_CAN_CHECK:
	case STEER_CAN_CROSS:
		return tier == STEER_EBPF;
	case STEER_MAKES_SOCKETS:
		return tier == STEER_CBPF;
	case STEER_CAN_MIGRATE:
		return tier == STEER_EBPF && fake_steer_migrates;
	}
	return false;
}

/* ---- life ----------------------------------------------------------------------------------- */

int steer_open(const struct address *address, const struct steer_options *options,
	       struct steer **ret, struct error *err)
{
	struct steer *steer;

	if (fake_steer_fails("steer_open", address->text, err))
		return fake_steer_failure.code;
	steer = calloc(1, sizeof(*steer));
	assert_non_null(steer);
	steer->tier = options->tier;
	steer->address = *address;
	steer->uid = options->uid;
	steer->sticky = options->sticky;
	steer->n_beside = options->n_beside;
	steer->tap = options->tap;
	steer->next_slot = fake_steer_join.first_slot;
	steer->not_taken_over = fake_steer_not_taken_over;
	for (size_t k = 0; k < STEER_SLOTS; k++)
		steer->slot_stats[k].backup = fake_steer_old_backups;
	for (size_t k = 0; k < STEER_BUCKETS; k++)
		steer->table.buckets[k] = (struct steer_bucket){
			.primary = k < n_fake_steer_old_slots ? fake_steer_old_slots[k]
							      : STEER_NO_SLOT,
			.backup = STEER_NO_SLOT,
		};
	fake_steers_open++;
	called("open %s %s", address->text,
	       options->pin_dir ? options->pin_dir : steer_tier_name(options->tier));
	*ret = steer;
	return 0;
}

const struct address *steer_address(const struct steer *steer)
{
	return &steer->address;
}

int steer_rehome(struct steer *steer, const struct steer_options *options, struct error *err)
{
	if (fake_steer_fails("steer_rehome", steer->address.text, err))
		return fake_steer_failure.code;
	steer->tap = options->tap;
	called("rehome %s %s", steer->address.text, options->pin_dir ? options->pin_dir : "-");
	return 0;
}

void steer_lend(struct steer *steer, struct tap *tap)
{
	called("%s %s", tap ? "lend" : "take back", steer->address.text);
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

/* ---- sockets and tables --------------------------------------------------------------------- */

/* Not a socket at all. */
int steer_listen(struct steer *steer, int backlog, bool nonblocking, int *ret_fd, struct error *err)
{
	if (!steer_can(steer->tier, STEER_MAKES_SOCKETS))
		return error_text(err, -EOPNOTSUPP, "%s", steer->address.text);
	if (fake_steer_fails("steer_listen", steer->address.text, err))
		return fake_steer_failure.code;
	called("listen %s backlog %d%s", steer->address.text, backlog,
	       nonblocking ? " nonblocking" : "");
	*ret_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(*ret_fd >= 0);
	return 0;
}

int steer_join(struct steer *steer, int listen_fd, tap_owner owner, uint16_t *ret_slot,
	       bool *ret_drift, struct error *err)
{
	if (fake_steer_fails("steer_join", steer->address.text, err))
		return fake_steer_failure.code;
	*ret_slot = steer->next_slot++;
	*ret_drift = fake_steer_join.drift;
	steer->last_owner = owner;
	called("join %s fd %d slot %u", steer->address.text, listen_fd, *ret_slot);
	return 0;
}

int steer_rejoin(struct steer *steer, uint16_t slot, int listen_fd, struct error *err)
{
	(void)listen_fd;
	if (fake_steer_fails("steer_rejoin", steer->address.text, err))
		return fake_steer_failure.code;
	called("rejoin %s %u", steer->address.text, slot);
	return 0;
}

bool steer_has(struct steer *steer, uint16_t slot)
{
	return !steer->empty[slot];
}

void steer_release(struct steer *steer, uint16_t slot)
{
	called("release %s slot %u", steer->address.text, slot);
}

void steer_room(const struct steer *steer, uint32_t *ret_used, uint32_t *ret_max)
{
	*ret_used = steer->used;
	*ret_max = steer->max ? steer->max : STEER_SLOTS;
}

void steer_release_unclaimed(struct steer *steer)
{
	called("release unclaimed %s", steer->address.text);
}

bool steer_names(struct steer *steer, uint16_t slot)
{
	if (fake_steer_fails("steer_table", steer->address.text, NULL))
		return true;
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

int steer_table(struct steer *steer, struct steer_table *ret)
{
	if (fake_steer_fails("steer_table", steer->address.text, NULL))
		return fake_steer_failure.code;
	*ret = steer->table;
	return 0;
}

static inline struct fake_pin *fake_find_pin(const struct steer *steer, const char *source)
{
	for (size_t k = 0; k < n_fake_pins; k++)
		if (fake_pins[k].steer == steer && strcmp(fake_pins[k].source, source) == 0)
			return &fake_pins[k];
	return NULL;
}

int steer_pin(struct steer *steer, const struct sockaddr *source, uint16_t slot)
{
	struct address address;

	if (fake_steer_fails("steer_pin", steer->address.text, NULL))
		return fake_steer_failure.code;
	assert_int_equal(address_from(source, false, &address), 0);
	if (fake_find_pin(steer, address.text))
		return -EEXIST;
	assert_true(n_fake_pins < FAKE_PINS_MAX);
	fake_pins[n_fake_pins] = (struct fake_pin){.steer = steer, .slot = slot};
	memcpy(fake_pins[n_fake_pins++].source, address.text, sizeof(address.text));
	return 0;
}

void steer_unpin(struct steer *steer, const struct sockaddr *source)
{
	struct address address;
	struct fake_pin *pin;

	assert_int_equal(address_from(source, false, &address), 0);
	pin = fake_find_pin(steer, address.text);
	if (pin)
		*pin = fake_pins[--n_fake_pins];
}

/* ---- hold ----------------------------------------------------------------------------------- */

int steer_hold(struct steer *steer, bool on)
{
	if (!steer_can(steer->tier, STEER_CAN_HOLD))
		return on ? -EOPNOTSUPP : 0;
	if (fake_steer_fails("steer_hold", steer->address.text, NULL))
		return fake_steer_failure.code;
	steer->hold = on;
	called("hold %s %s", steer->address.text, on ? "on" : "off");
	return 0;
}

int steer_held_dropped(struct steer *steer, uint64_t *ret)
{
	*ret = steer->dropped;
	return 0;
}

int steer_held(struct steer *steer, uint32_t *ret)
{
	*ret = steer->held;
	return steer_can(steer->tier, STEER_CAN_HOLD) ? 0 : -EOPNOTSUPP;
}

int steer_unhold(struct steer *steer, struct error *err)
{
	uint32_t held = steer->held;

	if (fake_steer_fails("steer_unhold", steer->address.text, err))
		return fake_steer_failure.code;
	if (steer->nobody_takes)
		return 0;
	if (held > 0 || steer->half_open > 0)
		called("unhold %s", steer->address.text);
	steer->held = steer->half_open = 0;
	return (int)held;
}

unsigned steer_expire(struct steer *steer, unsigned n)
{
	n = n < steer->held ? n : steer->held;
	steer->held -= n;
	called("expire %s %u", steer->address.text, n);
	return n;
}

/* ---- looking -------------------------------------------------------------------------------- */

enum steer_program steer_check(struct steer *steer, char *ret_who, size_t size)
{
	if (size > 0)
		snprintf(ret_who, size, "%s", steer->foreign ? steer->foreign : "");
	return steer_can(steer->tier, STEER_CAN_CHECK) ? steer->program : STEER_PROGRAM_NONE;
}

const char *steer_program_name(enum steer_program program)
{
	static const char *const names[] = {"attached", "missing", "foreign", "unknown", "none"};

	return names[program];
}

int steer_repair(struct steer *steer, struct error *err)
{
	if (fake_steer_fails("steer_repair", steer->address.text, err))
		return fake_steer_failure.code;
	called("repair %s", steer->address.text);
	steer->program = STEER_PROGRAM_ATTACHED;
	return 0;
}

int steer_try_crossing(struct error *err)
{
	return fake_steer_fails("steer_try_crossing", "", err) ? fake_steer_failure.code : 0;
}

int steer_share(struct steer *first, struct steer *second, uint32_t share)
{
	size_t k = 0;

	called("share %s %s %u", first->address.text, second->address.text, share);
	if (fake_steer_fails("steer_share", first->address.text, NULL))
		return fake_steer_failure.code;
	while (k < n_fake_crossings &&
	       (fake_crossings[k].first != first || fake_crossings[k].second != second))
		k++;
	assert_true(k < FAKE_CROSSINGS_MAX);
	if (k == n_fake_crossings)
		n_fake_crossings++;
	fake_crossings[k].first = first;
	fake_crossings[k].second = second;
	fake_crossings[k].share = share;
	return 0;
}

bool steer_competes(const struct steer *steer)
{
	return steer->n_beside > 0;
}

int steer_beacon(const struct steer *steer, uint64_t *ret_cookie)
{
	*ret_cookie = (uint64_t)steer->beacon;
	return steer->beacon > 0 ? steer->beacon : -1;
}

int steer_anchor(const struct steer *steer, uint64_t *ret_cookie)
{
	*ret_cookie = (uint64_t)steer->anchor;
	return steer->anchor > 0 ? steer->anchor : -1;
}

void inspect_forget(struct inspect *inspect)
{
	(void)inspect;
}

bool steer_is_own(const struct steer *steer, uint64_t cookie)
{
	(void)steer;
	return cookie == FAKE_OWN_COOKIE;
}

void steer_tidy(struct steer *steer)
{
	(void)steer;
}

void steer_tend(struct steer *steer)
{
	steer->tended++;
}

void steer_withdraw(struct steer *steer)
{
	called("withdraw %s", steer->address.text);
}

enum steer_tier steer_tier(const struct steer *steer)
{
	return steer->tier;
}

uint32_t steer_program_id(const struct steer *steer)
{
	return address_port(&steer->address) + 1u;
}

int steer_slot_stats(struct steer *steer, uint16_t slot, struct steer_slot_stats *ret)
{
	if (fake_steer_fails("steer_slot_stats", steer->address.text, NULL))
		return fake_steer_failure.code;
	assert_in_range(slot, 0, STEER_SLOTS - 1);
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
