/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service_strangers: notices processes that listen on a service's addresses and that baton has not
 * started, or that have got away: a server that was started by hand with SO_REUSEPORT, a child that
 * has left its cgroup and keeps the listening socket. On the tier "hash" they get connections; on
 * the others they stand in the group, and nobody knows why until they are named.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orchestrator/config/config.h"
#include "orchestrator/host/occupants.h"

#define STRANGERS_MAX      16 /* known of one service at a time */
#define STRANGERS_GONE_MAX 64 /* sockets and cgroups of instances that have ended */

struct service;
struct instance;

struct service_stranger {
	struct occupant who;
	char address[ADDRESS_TEXT_MAX]; /* as it is declared */
	uint32_t generation; /* whose cgroup made the socket; 0: of no instance that is known */
	unsigned looks;      /* since it was seen first */
	bool ours;           /* a process of ours has it: it is none */
	bool told;
	bool seen; /* in the present look */
};

struct service_strangers {
	struct service_stranger list[STRANGERS_MAX];
	size_t n;
	/* Of instances that have ended, by which a child may be known: the latest, in turn. */
	struct {
		uint64_t id; /* a socket's cookie, or a cgroup's id */
		bool is_cgroup;
		uint32_t generation;
	} gone[STRANGERS_GONE_MAX];
	size_t n_gone;
};

/* Look at each endpoint; tell of strangers that have come and gone. */
void service_look_strangers(struct service *service);

/* All instances are gone, and the endpoints closed: tell who listens there all the same. */
void service_tell_leftovers(struct service *service);

/* @instance is about to be forgotten. */
void service_note_gone(struct service *service, const struct instance *instance);

/* The endpoints are new. */
void service_forget_strangers(struct service *service);
