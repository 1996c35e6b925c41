/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_orders: orders as values, and what becomes of one that comes while another is under way.
 *
 * Which orders there are, and what each takes, is in common/orders.h. Whoever reads an order from
 * outside (view/order_json.h) makes a struct service_order of it; here it is carried out, refused
 * (common/refusal.h), or queued.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/orders.h"
#include "common/refusal.h"

#define SERVICE_COMMAND_MAX 256 /* arguments of an upgrade's command; variables it adds */

struct run;
struct service;

/* What is not of its type is zero. */
struct service_order {
	enum service_order_type type;
	bool supersede; /* undo what is under way, instead of being refused */
	bool force;     /* upgrade: also to what runs already */
	bool reset;     /* restart: with the configuration's command and environment only */
	bool dry_run;   /* rollback: only say to what it would go */
	char **command; /* upgrade; NULL: the one of the configuration, or of the last upgrade */
	char **environment; /* upgrade: added to what earlier upgrades have added */
	char **unset;       /* upgrade: names that are not added any more */
	uint32_t instances; /* scale; 0: as many as are wanted already */
};

/* Frees what the order holds, not the struct. */
void service_order_done(struct service_order *order);

/* What has become of an order. */
struct service_answer {
	struct run *run; /* begun; or undone, or promoted; NULL: none, see below */
	uint32_t queued; /* the number of the rollout that begins when another has been undone */
	uint32_t supersedes; /* which; 0: none */
	char message[512];   /* nothing had to be begun, and why */
	char note[512];      /* what is worth knowing of what was begun; "": nothing */
	bool unchanged;      /* ... because all is so already */
};

/* An order that begins as soon as nothing is undecided any more. */
struct service_next {
	bool used;
	struct service_order order;
	uint32_t id; /* of its rollout; 0: nobody has been told */
};

struct service_queue {
	struct service_next next; /* what an operator wants */
	bool has_own;             /* what the service itself wants after that: */
	enum service_order_type own;
};

/*
 * Carry out @order. Its strings are copied where they must outlive the call. Returns 0 with @ret
 * filled, or negative with @refusal filled. Pause and resume answer with a message only.
 */
int service_order(struct service *service, const struct service_order *order,
		  struct service_answer *ret, struct refusal *refusal);

/* The same for one that the service gives itself: where something is under way it waits for that.
 */
void service_order_later(struct service *service, enum service_order_type type);

/* Begin what is queued, if nothing is undecided any more. */
void service_begin_next(struct service *service);

/* Something is queued, and can begin now. */
bool service_is_about_to_begin(struct service *service);
