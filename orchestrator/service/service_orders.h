/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_orders: takes orders, and decides what becomes of one that comes while a rollout is under
 * way.
 *
 * common/orders.h lists all orders and what each takes. view/order_json.h makes a struct
 * service_order of a request. service_order() carries it out, refuses it (common/refusal.h), or
 * queues it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/orders.h"
#include "common/refusal.h"
#include "orchestrator/service/service_reopen.h"

#define SERVICE_COMMAND_MAX 256 /* arguments of an upgrade's command; variables it adds */

struct run;
struct service;

/* Fields that its type does not take are zero. */
struct service_order {
	enum service_order_type type;
	bool supersede;     /* undo the rollout under way, instead of being refused */
	bool force;         /* upgrade: even if exactly that runs already */
	bool reset;         /* restart: with the configuration's command and environment only */
	bool dry_run;       /* rollback: only say to what it would go */
	char **command;     /* upgrade; NULL: as the last upgrade, else as configured */
	char **environment; /* upgrade: added to what earlier upgrades have added */
	char **unset;       /* upgrade: names that are not added any more */
	uint32_t instances; /* scale; 0: as many as the service wants */
	bool scaled;        /* stop: it was a "scale" to no instances */

	/* reopen: how it went; called by the loop after service_order() has returned 0, .later */
	service_on_reopened *on_reopened;
	void *userdata;
};

/* Frees what the order holds, not the struct. */
void service_order_done(struct service_order *order);

/* 0 or -ENOMEM. */
int service_order_copy(const struct service_order *from, struct service_order *ret);

/* What has become of an order. At most one of .run, .queued and .message is set. */
struct service_answer {
	struct run *run;     /* that it has begun, undone or promoted; NULL: none */
	uint32_t queued;     /* the number of the rollout that will begin; 0: none */
	uint32_t supersedes; /* the number of the rollout that it undoes; 0: none */
	char message[512];   /* why no rollout begins */
	char note[512];      /* what is worth knowing of the rollout; "": nothing */
	bool unchanged;      /* ... because all is as ordered already */
	bool later;          /* the answer to "reopen" comes later: to the order's on_reopened */
};

/* An order that begins as soon as no rollout is undecided. */
struct service_next {
	bool used;
	struct service_order order;
	uint32_t id; /* of its rollout */
};

struct service_queue {
	struct service_next next; /* of an operator */
	bool has_own;             /* after that, by the service itself: */
	enum service_order_type own;
	bool unstarted;    /* the start that waited was refused, as the service's .refusal says */
	bool asked;        /* a helper reads files for the one that begins next: */
	uint32_t asked_id; /* of its rollout; 0: the service's own, */
	enum service_order_type asked_own; /* of this type */
};

/*
 * Refuse an order because of its files: @why says which do not answer. Returns negative.
 */
int service_refuse_silent(struct service *service, const struct error *why,
			  struct refusal *refusal);

/*
 * Carry out @order. Strings that must outlive the call are copied. Returns 0 with @ret filled, or
 * negative with @refusal filled. @refusal must be zeroed.
 */
int service_order(struct service *service, const struct service_order *order,
		  struct service_answer *ret, struct refusal *refusal);

/* An order of the service itself. It waits until no rollout is undecided. */
void service_order_later(struct service *service, enum service_order_type type);

/*
 * The same, but begun at once if nothing is in its way, so that the caller learns how that goes.
 * Returns 0 with @ret filled; 1 if it waits, with ret->message saying for what; negative with
 * @refusal filled.
 */
int service_order_now(struct service *service, enum service_order_type type,
		      struct service_answer *ret, struct refusal *refusal);

/* Begin what is queued, if it can begin now, as soon as its files are known (service_ahead.h). */
void service_begin_next(struct service *service);

/* Is an order queued that can begin now? */
bool service_is_about_to_begin(struct service *service);

/* Is one queued that could, if fewer services were starting servers ("rollouts_max")? */
bool service_waits_for_turn(struct service *service);

/* "2 of 2 rollouts are under way". Returns @ret. */
#define SERVICE_TURN_MAX 64
char *service_describe_turn(const struct service *service, char ret[static SERVICE_TURN_MAX]);
