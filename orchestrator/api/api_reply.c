/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/api/api_reply.h"

#include <assert.h>
#include <stdlib.h>

void api_reply_wait(struct api_reply *reply)
{
	reply->waits = true;
}

void api_reply_send(struct api_reply *reply, json_t *answer, struct api_problem *problem)
{
	assert(reply->waits && !reply->ready);
	reply->ready = true;
	reply->answer = answer;
	if (!answer) {
		reply->problem = *problem;
		problem->mistakes = NULL;
	}
	if (reply->abandoned)
		api_reply_free(reply);
	else
		reply->on_ready(reply->userdata);
}

struct api_reply *api_reply_new(struct MHD_Connection *connection, void (*on_ready)(void *userdata),
				void *userdata)
{
	struct api_reply *reply = calloc(1, sizeof(*reply));

	if (!reply)
		return NULL;
	reply->connection = connection;
	reply->on_ready = on_ready;
	reply->userdata = userdata;
	return reply;
}

void api_reply_free(struct api_reply *reply)
{
	/* The backend has it still. */
	if (reply->waits && !reply->ready) {
		reply->abandoned = true;
		return;
	}
	json_decref(reply->answer);
	api_problem_done(&reply->problem);
	free(reply);
}
