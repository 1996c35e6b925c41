/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_reply: an answer that is not there yet when the request is made. Part of api.h.
 *
 * The backend is given a reply with each order. To answer later it calls api_reply_wait(), and,
 * when it knows, api_reply_send(), once. Meanwhile the client waits, and nobody else. A client that
 * goes away is answered all the same; nothing comes of it.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "orchestrator/api/api_problem.h"

struct MHD_Connection;

/* The members are the API's. */
struct api_reply {
	struct MHD_Connection *connection;
	struct api_reply *next;
	bool waits; /* the backend has called api_reply_wait() */
	bool ready; /* ... and api_reply_send(), with: */
	json_t *answer;
	struct api_problem problem;
	bool suspended; /* the connection is */
	bool abandoned; /* the connection is gone: api_reply_send() frees it */
	void (*on_ready)(void *userdata);
	void *userdata;
};

/* ---- for the backend ------------------------------------------------------------------------- */

void api_reply_wait(struct api_reply *reply);

/* @answer is consumed; NULL: @problem is sent, and what it holds is taken over. */
void api_reply_send(struct api_reply *reply, json_t *answer, struct api_problem *problem);

/* ---- for the API ----------------------------------------------------------------------------- */

/* @on_ready is called when the answer is there. NULL: no memory. */
struct api_reply *api_reply_new(struct MHD_Connection *connection, void (*on_ready)(void *userdata),
				void *userdata);
/* Nobody waits for it any more. */
void api_reply_free(struct api_reply *reply);
