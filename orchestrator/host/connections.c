/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/connections.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "orchestrator/host/connections_internal.h"

/* More descriptors than this of one instance are not looked at. */
#define INODES_MAX (1u << 20)

/* ---- whose a connection is, without a cgroup ------------------------------------------------ */

struct inodes {
	uint64_t *list; /* sorted once complete */
	size_t n, size;
};

static int add_inode(struct inodes *inodes, uint64_t inode)
{
	if (inodes->n == inodes->size) {
		size_t size = inodes->size ? 2 * inodes->size : 256;
		uint64_t *list;

		if (size > INODES_MAX)
			return -E2BIG;
		list = realloc(inodes->list, size * sizeof(*list));
		if (!list)
			return -ENOMEM;
		inodes->list = list;
		inodes->size = size;
	}
	inodes->list[inodes->n++] = inode;
	return 0;
}

static int add_sockets_of(struct inodes *inodes, pid_t pid)
{
	struct dirent *entry;
	char path[64];
	int r = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	/* Only one that has ended has none: what others hold may not be counted as nothing. */
	if (!dir)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno;
	while (r == 0 && (errno = 0, entry = readdir(dir))) {
		uint64_t inode = processes_socket(pid, entry->d_name);

		if (inode != 0)
			r = add_inode(inodes, inode);
	}
	if (r == 0 && errno != 0 && errno != ENOENT && errno != ESRCH)
		r = -errno;
	closedir(dir);
	return r;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int read_inodes(const struct processes *processes, struct inodes *inodes)
{
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	int r = processes_list(processes, &pids, &n);

	for (size_t k = 0; r >= 0 && k < n; k++)
		r = add_sockets_of(inodes, pids[k]);
	if (r >= 0 && inodes->n > 0)
		qsort(inodes->list, inodes->n, sizeof(*inodes->list), compare);
	return r;
}

/* ---- each connection ------------------------------------------------------------------------ */

struct search {
	const struct connections_handler *handler;
	const struct inodes *inodes; /* NULL: the kernel has sorted already */
	const struct connections_of *of;
};

static void on_reset(void *userdata)
{
	const struct search *search = userdata;

	search->handler->forget(search->handler->userdata);
}

static void on_found(void *userdata, const struct diag_connection *connection)
{
	const struct search *search = userdata;
	const struct inodes *inodes = search->inodes;

	if (inodes && (inodes->n == 0 || !bsearch(&connection->inode, inodes->list, inodes->n,
						  sizeof(*inodes->list), compare)))
		return;
	if (search->of->skip && search->of->skip(search->of->skip_userdata, connection))
		return;
	search->handler->found(search->handler->userdata, connection);
}

/* Has an earlier endpoint the same port? (0.0.0.0:80 and [::]:80 are asked for together.) */
static bool asked_already(const struct connections_of *of, size_t k)
{
	for (size_t j = 0; j < k; j++)
		if (address_port(&of->listen[j]) == address_port(&of->listen[k]))
			return true;
	return false;
}

int connections_search(const struct connections_of *of, bool held,
		       const struct connections_handler *handler, struct error *err)
{
	struct inodes inodes = {};
	struct search search = {.handler = handler, .of = of};
	int r = 0;

	assert(!held || of->processes);
	if (held) {
		search.inodes = &inodes;
		r = read_inodes(of->processes, &inodes);
		if (r < 0)
			error_set(err, r, "look for the instance's sockets");
	}
	for (size_t k = 0; r >= 0 && k < of->n_listen; k++) {
		if (asked_already(of, k))
			continue;
		r = diag_each_connection(of->diag, address_port(&of->listen[k]), of->cgroup_id,
					 on_reset, on_found, &search, err);
		if (r >= 0 && handler->keep)
			handler->keep(handler->userdata);
	}
	free(inodes.list);
	return r;
}

int connections_each(const struct connections_of *of, const struct connections_handler *handler,
		     struct error *err)
{
	return connections_search(of, !of->cgroup_id, handler, err);
}

/* ---- what it is doing ----------------------------------------------------------------------- */

/* Has the server sent its FIN? Then nothing more is to be expected of it. */
static bool has_finished(uint8_t state)
{
	return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING ||
	       state == TCP_LAST_ACK;
}

/*
 * Was the last word the client's? The kernel's clock ticks every 1 to 10 ms, and a request that is
 * answered within one tick looks like an answer that is followed by the next request within one. If
 * there was an answer at all, the former is much more common. If there was none, the request came
 * within a tick of the connection's beginning.
 */
static bool awaits_answer(const struct diag_connection *connection)
{
	if (connection->since_received_ms == connection->since_sent_ms)
		return connection->bytes_received > 0 && connection->bytes_sent == 0;
	return connection->since_received_ms < connection->since_sent_ms;
}

enum connections_kind connections_kind(const struct diag_connection *connection, uint64_t quiet_ms)
{
	if (connection->receive_queue > 0 || connection->send_queue > 0)
		return CONNECTIONS_BUSY;
	if (!has_finished(connection->state)) {
		/* Not accepted yet; or the client's FIN, which no data's time tells of. */
		if (connection->inode == 0 || connection->state == TCP_CLOSE_WAIT)
			return CONNECTIONS_BUSY;
		if (awaits_answer(connection))
			return CONNECTIONS_BUSY;
	}
	return connection->idle_ms < quiet_ms ? CONNECTIONS_ACTIVE : CONNECTIONS_IDLE;
}

/* ---- counting ------------------------------------------------------------------------------- */

struct count {
	bool (*counts)(const struct diag_connection *connection, uint64_t ms);
	uint64_t ms;
	uint64_t kept, found;
};

/* However long nothing has moved: a connection with a request that is worked on is not idle. */
static bool is_not_idle(const struct diag_connection *connection, uint64_t idle_ms)
{
	return idle_ms == 0 || connections_kind(connection, idle_ms) != CONNECTIONS_IDLE;
}

/* A client that has closed its side will not say anything. */
static bool is_silent(const struct diag_connection *connection, uint64_t age_ms)
{
	return connection->state == TCP_ESTABLISHED && connection->bytes_received == 0 &&
	       connection->bytes_sent == 0 && connection->receive_queue == 0 &&
	       connection->send_queue == 0 &&
	       connection->since_received_ms + CONNECTIONS_TICK_MS >= age_ms;
}

static void count_found(void *userdata, const struct diag_connection *connection)
{
	struct count *count = userdata;

	if (diag_is_live(connection) && count->counts(connection, count->ms))
		count->found++;
}

static void count_keep(void *userdata)
{
	struct count *count = userdata;

	count->kept += count->found;
	count->found = 0;
}

static void count_forget(void *userdata)
{
	struct count *count = userdata;

	count->found = 0;
}

/* The kernel's own filter suffices, and nothing but numbers is asked of it. */
static int count_by_cgroup(const struct connections_of *of, uint64_t *ret)
{
	*ret = 0;
	for (size_t k = 0; k < of->n_listen; k++) {
		uint64_t live;
		int r;

		if (asked_already(of, k))
			continue;
		r = diag_connections(of->diag, address_port(&of->listen[k]), of->cgroup_id, &live,
				     NULL);
		if (r < 0)
			return r;
		*ret += live;
	}
	return 0;
}

static int count_each(const struct connections_of *of, struct count *count, uint64_t *ret)
{
	const struct connections_handler handler = {
		.found = count_found,
		.keep = count_keep,
		.forget = count_forget,
		.userdata = count,
	};
	int r = connections_each(of, &handler, NULL);

	*ret = count->kept;
	return r;
}

int connections_count(const struct connections_of *of, uint64_t idle_ms, uint64_t *ret)
{
	struct count count = {.counts = is_not_idle, .ms = idle_ms};

	if (of->cgroup_id && idle_ms == 0 && !of->skip)
		return count_by_cgroup(of, ret);
	return count_each(of, &count, ret);
}

int connections_silent(const struct connections_of *of, uint64_t age_ms, uint64_t *ret)
{
	struct count count = {.counts = is_silent, .ms = age_ms};

	return count_each(of, &count, ret);
}
