/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/closer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/message.h"

/* Numbers of descriptors go through this pipe, to the thread at its other end. */
static int pipe_writer = -1;
static atomic_uint pending;

_Static_assert(CLOSER_PENDING_MAX >= 2 * MESSAGE_FDS_MAX, "one message fits");
_Static_assert(CLOSER_PENDING_MAX * sizeof(int) <= 65536, "a pipe takes all of them (pipe(7))");

static void *run(void *userdata)
{
	int reader = (int)(long)userdata, fd;

	while (read(reader, &fd, sizeof(fd)) == (ssize_t)sizeof(fd)) {
		close(fd);
		atomic_fetch_sub(&pending, 1);
	}
	return NULL;
}

/* Signals are for the thread that has the loop. */
static int start_thread(int reader)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int r;

	sigfillset(&all);
	r = pthread_attr_init(&attributes);
	if (r != 0)
		return -r;
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, &attributes, run, (void *)(long)reader);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return -r;
}

static int start(void)
{
	cleanup_close int reader = -1, writer = -1;
	int fds[2], r;

	if (pipe_writer >= 0)
		return 0;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	reader = fds[0];
	writer = fds[1];
	r = start_thread(reader);
	if (r < 0)
		return r;
	(void)TAKE_FD(reader);
	pipe_writer = TAKE_FD(writer);
	return 0;
}

bool closer_has_room(void)
{
	return atomic_load(&pending) + MESSAGE_FDS_MAX <= CLOSER_PENDING_MAX;
}

void closer_close(int fd)
{
	if (start() < 0) {
		log_warning("a descriptor that came with a notification is closed here: no thread "
			    "can be started for it");
		close(fd);
		return;
	}
	atomic_fetch_add(&pending, 1);
	if (write(pipe_writer, &fd, sizeof(fd)) != (ssize_t)sizeof(fd)) {
		atomic_fetch_sub(&pending, 1);
		close(fd);
	}
}
