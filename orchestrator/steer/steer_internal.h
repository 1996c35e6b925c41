/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steer_internal: what steer.c and the tiers share. Nobody else includes this.
 *
 * steer.c chooses the tier and hands each call on; steer_ebpf.c, steer_cbpf.c and steer_hash.c each
 * fill one table of functions. A tier's own struct begins with struct steer. Slots and tables that
 * are handed on are within range: steer.c asserts it.
 */
#pragma once

#include <errno.h>

#include "orchestrator/steer/slots.h"
#include "orchestrator/steer/steer.h"

struct steer_ops {
	/*
	 * Allocate, and fill everything but .ops, .tier and .address, which steer.c sets
	 * afterwards. Required.
	 */
	int (*open)(const struct address *address, const struct steer_options *options,
		    struct steer **ret, struct error *err);
	void (*free)(struct steer *steer); /* required */
	int (*try)(struct error *err);     /* required */

	/* As in steer.h. NULL: does nothing, or what steer.h says of tiers that cannot. */
	int (*rehome)(struct steer *steer, const struct steer_options *options, struct error *err);
	void (*lend)(struct steer *steer, struct tap *tap);
	int (*reset)(struct steer *steer, struct error *err);
	bool (*is_taken_over)(const struct steer *steer);
	int (*attach)(struct steer *steer, struct error *err);
	void (*unpin_all)(struct steer *steer);
	int (*listen)(struct steer *steer, int backlog, bool nonblocking, int *ret_fd,
		      struct error *err);
	int (*join)(struct steer *steer, int listen_fd, tap_owner owner, uint16_t *ret_slot,
		    bool *ret_drift, struct error *err); /* required */
	int (*rejoin)(struct steer *steer, uint16_t slot, int listen_fd, struct error *err);
	bool (*has)(struct steer *steer, uint16_t slot);     /* NULL: it cannot be told */
	void (*release)(struct steer *steer, uint16_t slot); /* required */
	void (*release_unclaimed)(struct steer *steer);
	int (*publish)(struct steer *steer, const struct steer_table *table,
		       struct error *err);                          /* required */
	int (*table)(struct steer *steer, struct steer_table *ret); /* required */
	int (*pin)(struct steer *steer, const struct sockaddr *source, uint16_t slot);
	void (*unpin)(struct steer *steer, const struct sockaddr *source);
	int (*hold)(struct steer *steer, bool on);
	int (*held)(struct steer *steer, uint32_t *ret);
	int (*held_dropped)(struct steer *steer, uint64_t *ret);
	int (*unhold)(struct steer *steer, struct error *err);
	unsigned (*expire)(struct steer *steer, unsigned n);
	enum steer_program (*check)(struct steer *steer, char *ret_who, size_t size); /* required */
	int (*repair)(struct steer *steer, struct error *err);
	void (*withdraw)(struct steer *steer);
	void (*tend)(struct steer *steer);
	uint32_t (*program_id)(const struct steer *steer);
	int (*try_crossing)(struct error *err);
	int (*share)(struct steer *first, struct steer *second, uint32_t share);
	bool (*competes)(const struct steer *steer);
	int (*beacon)(const struct steer *steer);
	int (*anchor)(const struct steer *steer, uint64_t *ret_cookie);
	bool (*is_own)(const struct steer *steer, uint64_t cookie); /* NULL: none is */
	void (*tidy)(struct steer *steer);
	const struct slots *(*slots)(const struct steer *steer); /* required */
	int (*slot_stats)(struct steer *steer, uint16_t slot, struct steer_slot_stats *ret);
	int (*stats)(struct steer *steer, struct steer_stats *ret);
};

struct steer {
	const struct steer_ops *ops;
	enum steer_tier tier;
	struct address address;
};

extern const struct steer_ops steer_ebpf_ops, steer_cbpf_ops, steer_hash_ops;
