/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_lend: an address goes from one service to another, without a gap. The one that has it,
 * the lender, goes on serving there, and lends the endpoint to the other, the borrower. Servers of
 * the borrower join in slots that no table names, and are checked through pins, like those of a new
 * generation. Once the borrower has committed to them the endpoint is its own: its table is
 * published, its program counts, and the pins lie in its folder. Only then the lender may change,
 * or go. If the borrower fails the endpoint is the lender's as before.
 *
 * A service has one partner at a time.
 */
#pragma once

#include <stdbool.h>

#include "orchestrator/instance/instances.h"

struct service;

struct service_lending {
	struct service *partner;   /* the last one, as long as both are there; or NULL */
	bool lent[WIRING_MAX];     /* the partner has borrowed it */
	bool borrowed[WIRING_MAX]; /* it is the partner's */
};

/* Does @service wait until another one has what it lends? */
bool service_lends(const struct service *service);
bool service_borrows(const struct service *service);

/* What is borrowed at @place goes back: nothing of @borrower listens there. */
void service_give_back(struct service *borrower, size_t place);

/* Where the lender has what @borrower has borrowed at @place. */
size_t service_lender_place(const struct service *borrower, size_t place);

/* The endpoint is not of @service any more: its instances have no sockets there from now on. */
void service_forget_endpoint(struct service *service, size_t place);

/* @service is about to end: it has no partner any more. */
void service_part(struct service *service);
