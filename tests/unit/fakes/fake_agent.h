/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_agent: the agent's end of a control socket, in the test's own process. A thread takes one
 * connection and greets it with a prepared message, since agentlink_connect() waits for that; what
 * comes after, the test says itself over .fd. Included after cmocka.h.
 */
#pragma once

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/message.h"
#include "common/protocol.h"
#include "tests/unit/fakes/count_fds.h"

#define FAKE_AGENT_WAIT_MS 10000

struct fake_agent {
	char path[108];
	int listen_fd;
	int fd;           /* the connection; -1: none came */
	const char *text; /* the greeting; NULL: none */
	size_t length;
	int fds[PROTOCOL_FDS_MAX + 1];
	size_t n_fds;
	bool closes; /* the connection, at once after the greeting */
	int result;  /* of sending it */
	pthread_t thread;
};

static inline void fake_agent_listen(struct fake_agent *agent, const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	*agent = (struct fake_agent){.fd = -1};
	assert_true(strlen(path) < sizeof(sun.sun_path));
	strcpy(sun.sun_path, path);
	strcpy(agent->path, path);
	agent->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_true(agent->listen_fd >= 0);
	assert_int_equal(bind(agent->listen_fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(agent->listen_fd, 4), 0);
}

static inline void *fake_agent_main(void *userdata)
{
	struct fake_agent *agent = userdata;
	struct pollfd waiting = {.fd = agent->listen_fd, .events = POLLIN};

	if (poll(&waiting, 1, FAKE_AGENT_WAIT_MS) != 1)
		return NULL;
	agent->fd = accept4(agent->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (agent->fd >= 0 && agent->text)
		agent->result = message_send(agent->fd, agent->text, agent->length, agent->fds,
					     agent->n_fds);
	if (agent->fd >= 0 && agent->closes) {
		close(agent->fd);
		agent->fd = -1;
	}
	return NULL;
}

/* From here on until fake_agent_join() the struct belongs to the thread. */
static inline void fake_agent_answer(struct fake_agent *agent)
{
	assert_int_equal(pthread_create(&agent->thread, NULL, fake_agent_main, agent), 0);
}

static inline void fake_agent_join(struct fake_agent *agent)
{
	assert_int_equal(pthread_join(agent->thread, NULL), 0);
	assert_int_equal(agent->result, 0);
	assert_true(agent->closes || agent->fd >= 0);
}

/* Has the other end of the connection been closed, with nothing said before? */
static inline bool fake_agent_is_alone(struct fake_agent *agent)
{
	char byte;

	return recv(agent->fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static inline void fake_agent_close(struct fake_agent *agent)
{
	if (agent->fd >= 0)
		close(agent->fd);
	if (agent->listen_fd >= 0)
		close(agent->listen_fd);
	agent->fd = agent->listen_fd = -1;
}
