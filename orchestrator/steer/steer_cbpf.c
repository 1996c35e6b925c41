/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cbpf tier: a classic BPF program on the group, built anew for each change (classic.h), that
 * returns the position of a socket in the group; group.h knows the positions. Works for anybody.
 *
 * What it cannot do: a program returns one position and has no second choice. If a socket has died
 * the table sends connections to the decoy that took its place, until the next change or
 * steer_tend() notices and uses the backups. The kernel never asks it about the connections of a
 * closing listener (with net.ipv4.tcp_migrate_req they go by hash, some of them to decoys): so
 * steer away, and let the old listener accept what it has, before it leaves.
 *
 * The next daemon cannot see the program, and finds the positions of its predecessor's sockets when
 * they are joined (group.h also says what became of them when that died). With the first of them
 * it puts a program on the group that spreads connections over all sockets that are there, which is
 * what the kernel did until then; steer_attach() puts the published table in its place.
 *
 * Each change replaces a program that may be in use. Kernels without "bpf: Free reuseport cBPF prog
 * after RCU grace period" (upstream commit 18fc650ccd7f of April 2026, and backports of it) free a
 * classic one at once: a CPU that is still running it then reads freed memory. Nothing can be done
 * about that here but not to replace it without need.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "orchestrator/steer/group.h"
#include "orchestrator/steer/key.h"
#include "orchestrator/steer/steer_internal.h"
#include "orchestrator/steer/table.h"

#define TRY_MS 2000

struct pin {
	struct steer_pin_key source;
	uint16_t slot;
};

struct cbpf {
	struct steer steer; /* first */
	struct group *group;
	bool attached;
	bool has_member;    /* see struct steer_options */
	bool attach_wanted; /* with the next join */
	bool sticky;
	struct slots slots;
	struct steer_table table;
	struct pin pins[CLASSIC_PINS_MAX];
	size_t n_pins;
};

static struct cbpf *to_cbpf(struct steer *base)
{
	return (struct cbpf *)base;
}

/* ---- the program ---------------------------------------------------------------------------- */

/* The position of the socket in @slot; -ENOENT: there is none, or it has died. */
static int position_of(const struct cbpf *c, uint16_t slot)
{
	uint64_t cookie = slots_cookie(&c->slots, slot);

	return cookie ? group_find(c->group, cookie) : -ENOENT;
}

static uint16_t bucket_position(const struct cbpf *c, const struct steer_bucket *bucket)
{
	int position = position_of(c, bucket->primary);

	if (position < 0)
		position = position_of(c, bucket->backup);
	return position < 0 ? group_nowhere(c->group) : (uint16_t)position;
}

/* Before the table counts: over all that are there. */
static void spread(const struct cbpf *c, uint16_t ret[static STEER_BUCKETS])
{
	uint16_t members[POSITIONS_MAX];
	size_t n = group_members(c->group, members);

	if (n == 0)
		members[n++] = group_nowhere(c->group);
	if (n > CLASSIC_TARGETS_MAX)
		n = CLASSIC_TARGETS_MAX;
	for (size_t i = 0; i < STEER_BUCKETS; i++)
		ret[i] = members[i % n];
}

static int attach_program(void *userdata, const struct classic_pin *pin, struct error *err)
{
	struct cbpf *c = userdata;
	struct classic_pin pins[CLASSIC_PINS_MAX];
	struct classic classic = {.pins = pins, .sticky = c->sticky};
	struct sock_filter code[CLASSIC_MAX];
	size_t n;
	int r;

	assert(c->n_pins < CLASSIC_PINS_MAX);
	if (pin)
		pins[classic.n_pins++] = *pin;
	for (size_t k = 0; k < c->n_pins; k++) {
		int position = position_of(c, c->pins[k].slot);

		pins[classic.n_pins++] = (struct classic_pin){
			.source = c->pins[k].source,
			.position = position < 0 ? group_nowhere(c->group) : (uint16_t)position,
		};
	}
	if (c->attached) {
		for (size_t i = 0; i < STEER_BUCKETS; i++)
			classic.positions[i] = bucket_position(c, &c->table.buckets[i]);
	} else {
		spread(c, classic.positions);
	}
	r = classic_build(&classic, code, CLASSIC_MAX, &n);
	if (r < 0)
		return error_text(err, r, "the program is too large: %zu health checks at a time",
				  c->n_pins);
	return group_attach(c->group, code, n, err);
}

/* Put the program of now on the group, and reset what went astray until then. */
static int refresh(struct cbpf *c, struct error *err)
{
	int r = attach_program(c, NULL, err);

	group_sweep(c->group);
	return r;
}

/* After something that changes positions, and returned @r. */
static int refresh_after(struct cbpf *c, int r, struct error *err)
{
	struct error second = {};
	int r2;

	if (!group_is_entered(c->group))
		return r;
	r2 = refresh(c, &second);
	if (r < 0 || r2 >= 0)
		return r;
	return error_text(err, r2, "%s", second.text);
}

/* Take notice of sockets that have died. */
static void update(struct cbpf *c, bool patient)
{
	struct error err = {};

	if (group_update(c->group, patient, &err) < 0)
		log_warning("%s: %s", c->steer.address.text, err.text);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void cbpf_free(struct steer *base)
{
	struct cbpf *c = to_cbpf(base);

	group_free(c->group);
	slots_done(&c->slots);
	free(c);
}

static void free_cbpf(struct cbpf *c)
{
	if (c)
		cbpf_free(&c->steer);
}
DEFINE_CLEANUP(struct cbpf *, free_cbpf);

static int cbpf_open(const struct address *address, const struct steer_options *options,
		     struct steer **ret, struct error *err)
{
	cleanup(free_cbpf) struct cbpf *c = calloc(1, sizeof(*c));
	const struct group_options group = {
		.uid = options->uid,
		.program = attach_program,
		.userdata = c,
	};
	int r;

	if (!c)
		return error_set(err, -ENOMEM, "steer");
	c->sticky = options->sticky;
	c->has_member = options->has_member;
	c->slots.max = CLASSIC_TARGETS_MAX;
	table_clear(&c->table);
	r = group_open(address, &group, &c->group, err);
	if (r >= 0)
		r = refresh_after(c, 0, err);
	if (r < 0)
		return error_prefix(err, r, "%s", address->text);
	*ret = &TAKE_PTR(c)->steer;
	return 0;
}

static int cbpf_reset(struct steer *base, struct error *err)
{
	struct cbpf *c = to_cbpf(base);

	slots_done(&c->slots);
	table_clear(&c->table);
	c->n_pins = 0;
	return refresh_after(c, 0, err);
}

static int cbpf_attach(struct steer *base, struct error *err)
{
	struct cbpf *c = to_cbpf(base);
	const char *text = c->steer.address.text;
	unsigned swept;
	int r = 0;

	c->attach_wanted = !group_is_entered(c->group) && c->has_member;
	if (c->attach_wanted)
		return 0;
	if (!group_is_entered(c->group))
		r = group_enter(c->group, -1, err);
	if (r >= 0) {
		update(c, false);
		swept = group_sweep(c->group);
		if (swept > 0)
			log_info("%s: %u connections came before anything could serve them; reset",
				 text, swept);
		c->attached = true;
		r = refresh(c, err);
		c->attached = r >= 0;
	}
	return r < 0 ? error_prefix(err, r, "steer: %s", text) : 0;
}

/* ---- slots ---------------------------------------------------------------------------------- */

static int cbpf_listen(struct steer *base, int backlog, bool nonblocking, int *ret_fd,
		       struct error *err)
{
	struct cbpf *c = to_cbpf(base);
	cleanup_close int fd = -1;
	int r = 0;

	if (!group_is_entered(c->group))
		r = group_enter(c->group, -1, err);
	if (r >= 0)
		r = group_listen(c->group, backlog, nonblocking, &fd, err);
	r = refresh_after(c, r, err);
	if (r < 0)
		return error_prefix(err, r, "%s: a socket for a server", c->steer.address.text);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int cbpf_join(struct steer *base, int listen_fd, tap_owner owner, uint16_t *ret_slot,
		     bool *ret_drift, struct error *err)
{
	struct cbpf *c = to_cbpf(base);
	uint64_t cookie = steer_cookie(listen_fd);
	const char *text = c->steer.address.text;
	uint16_t slot;
	int r;

	(void)owner;
	*ret_drift = false;
	if (cookie == 0)
		return error_text(err, -EINVAL, "%s: not a socket", text);
	r = slots_choose(&c->slots, cookie, &slot, err);
	if (r < 0)
		return error_prefix(err, r, "%s", text);
	if (!group_is_entered(c->group))
		r = group_enter(c->group, listen_fd, err);
	if (r >= 0)
		r = group_join(c->group, listen_fd, cookie, err);
	r = refresh_after(c, r, err);
	if (r < 0)
		return error_prefix(err, r, "%s", text);
	slots_take(&c->slots, slot, cookie);
	*ret_slot = slot;
	return c->attach_wanted ? cbpf_attach(base, err) : 0;
}

static int cbpf_rejoin(struct steer *base, uint16_t slot, int listen_fd, struct error *err)
{
	struct cbpf *c = to_cbpf(base);
	uint64_t cookie = slots_cookie(&c->slots, slot);
	int r;

	if (!cookie)
		return error_text(err, -EINVAL, "%s: slot %u is free", c->steer.address.text, slot);
	r = group_rejoin(c->group, listen_fd, cookie, err);
	r = refresh_after(c, r, err);
	return r < 0 ? error_prefix(err, r, "%s", c->steer.address.text) : 0;
}

/* What has changed in the group since cbpf_tend() is not known. */
static bool cbpf_has(struct steer *base, uint16_t slot)
{
	return !to_cbpf(base)->attached || position_of(to_cbpf(base), slot) >= 0;
}

static void cbpf_release(struct steer *base, uint16_t slot)
{
	struct cbpf *c = to_cbpf(base);
	struct error err = {};

	if (!slots_cookie(&c->slots, slot))
		return;
	slots_free(&c->slots, slot);
	if (!group_is_entered(c->group))
		return;
	update(c, true);
	if (refresh(c, &err) < 0)
		log_warning("%s: %s", c->steer.address.text, err.text);
}

static void cbpf_tend(struct steer *base)
{
	struct cbpf *c = to_cbpf(base);
	struct error err = {};

	if (!c->attached)
		return;
	if (group_has_changed(c->group)) {
		update(c, true);
		if (refresh(c, &err) < 0)
			log_warning("%s: %s", c->steer.address.text, err.text);
	}
	group_sweep(c->group);
}

static int cbpf_publish(struct steer *base, const struct steer_table *table, struct error *err)
{
	struct cbpf *c = to_cbpf(base);
	struct steer_table before = c->table;
	int r;

	c->table = *table;
	if (!c->attached)
		return 0;
	/* What the table names must be protected, whoever else is still to come. */
	update(c, false);
	r = refresh(c, err);
	if (r < 0) {
		c->table = before;
		return error_prefix(err, r, "%s", c->steer.address.text);
	}
	return 0;
}

static int cbpf_table(struct steer *base, struct steer_table *ret)
{
	*ret = to_cbpf(base)->table;
	return 0;
}

/* ---- pins ----------------------------------------------------------------------------------- */

static size_t find_pin(const struct cbpf *c, const struct steer_pin_key *source)
{
	size_t k = 0;

	while (k < c->n_pins && memcmp(&c->pins[k].source, source, sizeof(*source)) != 0)
		k++;
	return k;
}

static int cbpf_pin(struct steer *base, const struct sockaddr *source, uint16_t slot)
{
	struct cbpf *c = to_cbpf(base);
	struct steer_pin_key key;
	int r = key_of(source, &key);

	if (r < 0)
		return r;
	if (find_pin(c, &key) < c->n_pins)
		return -EEXIST;
	/* One is kept free for group.c to search with. */
	if (c->n_pins == CLASSIC_PINS_MAX - 1)
		return -ENOSPC;
	c->pins[c->n_pins++] = (struct pin){.source = key, .slot = slot};
	if (!group_is_entered(c->group))
		return 0;
	r = refresh(c, NULL);
	if (r < 0)
		c->n_pins--;
	return r;
}

static void cbpf_unpin(struct steer *base, const struct sockaddr *source)
{
	struct cbpf *c = to_cbpf(base);
	struct steer_pin_key key;
	struct error err = {};
	size_t k;

	if (key_of(source, &key) < 0)
		return;
	k = find_pin(c, &key);
	if (k == c->n_pins)
		return;
	c->pins[k] = c->pins[--c->n_pins];
	if (group_is_entered(c->group) && refresh(c, &err) < 0)
		log_warning("%s: %s", c->steer.address.text, err.text);
}

/* ---- looking -------------------------------------------------------------------------------- */

/* The kernel tells nobody which program a group has. */
static enum steer_program cbpf_check(struct steer *base, char *ret_who, size_t size)
{
	(void)base, (void)ret_who, (void)size;
	return STEER_PROGRAM_UNKNOWN;
}

/* ---- trying --------------------------------------------------------------------------------- */

/* A port of our own to try on: bound, but not listening. */
static int reserve(int *ret_fd, struct address *ret, struct error *err)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(in);
	char text[ADDRESS_TEXT_MAX];
	int on = 1, r;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&in, &length) < 0)
		return error_set(err, -errno, "a port on the loopback device");
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(in.sin_port));
	r = address_parse(text, ret, err);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* A connection reaches the socket that the table names. */
static int try_connection(const struct address *address, int listener, struct error *err)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	struct pollfd readable = {.fd = listener, .events = POLLIN};
	cleanup_close int accepted = -1, fd = -1;

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, -errno, "make a socket");
	/* It is closed first, and leaves nothing in TIME_WAIT. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (connect(fd, &address->sa, address->length) < 0 && errno != EINPROGRESS)
		return error_set(err, -errno, "connect");
	if (poll(&readable, 1, TRY_MS) == 1)
		accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (accepted < 0)
		return error_text(err, -EPROTO, "a connection did not go where the program says");
	return 0;
}

static int try_steering(struct steer *base, struct error *err)
{
	const struct table_share second = {.slot = 1, .weight = 1};
	cleanup_close int fd0 = -1, fd1 = -1;
	struct steer_table table;
	uint16_t slot = 0;
	bool drift;
	int r;

	r = cbpf_attach(base, err);
	if (r >= 0)
		r = cbpf_listen(base, 16, true, &fd0, err);
	if (r >= 0)
		r = cbpf_listen(base, 16, true, &fd1, err);
	if (r >= 0)
		r = cbpf_join(base, fd0, 0, &slot, &drift, err);
	if (r >= 0)
		r = cbpf_join(base, fd1, 0, &slot, &drift, err);
	if (r < 0)
		return r;
	table_compute(&second, 1, NULL, 0, NULL, &table);
	r = cbpf_publish(base, &table, err);
	return r < 0 ? r : try_connection(&base->address, fd1, err);
}

static int cbpf_try(struct error *err)
{
	const struct steer_options options = {.tier = STEER_CBPF, .uid = geteuid()};
	cleanup_close int reserved = -1;
	struct address address;
	struct steer *base;
	int r;

	r = reserve(&reserved, &address, err);
	if (r >= 0)
		r = cbpf_open(&address, &options, &base, err);
	if (r < 0)
		return r;
	base->address = address;
	r = try_steering(base, err);
	cbpf_free(base);
	return r;
}

static bool cbpf_is_own(const struct steer *base, uint64_t cookie)
{
	return group_is_decoy(((const struct cbpf *)base)->group, cookie);
}

static const struct slots *cbpf_slots(const struct steer *base)
{
	return &((const struct cbpf *)base)->slots;
}

const struct steer_ops steer_cbpf_ops = {
	.open = cbpf_open,
	.free = cbpf_free,
	.try = cbpf_try,
	.reset = cbpf_reset,
	.attach = cbpf_attach,
	.listen = cbpf_listen,
	.join = cbpf_join,
	.rejoin = cbpf_rejoin,
	.has = cbpf_has,
	.release = cbpf_release,
	.tend = cbpf_tend,
	.is_own = cbpf_is_own,
	.publish = cbpf_publish,
	.table = cbpf_table,
	.pin = cbpf_pin,
	.unpin = cbpf_unpin,
	.check = cbpf_check,
	.slots = cbpf_slots,
};
