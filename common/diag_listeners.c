/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag_internal.h"

/* ---- one of them, by its cookie ------------------------------------------------------------- */

struct listener_search {
	uint64_t cookie;
	bool found;
	struct inet_diag_msg message;
	struct diag_listener queue;
};

static void reset_search(void *userdata)
{
	struct listener_search *search = userdata;

	search->found = false;
}

static void match_listener(void *userdata, const struct nlmsghdr *header)
{
	const struct inet_diag_msg *message = mnl_nlmsg_get_payload(header);
	struct listener_search *search = userdata;

	if (message->idiag_state != TCP_LISTEN || diag_cookie(message) != search->cookie)
		return;
	search->found = true;
	search->message = *message;
	diag_read_queue(header, &search->queue);
}

static int find_listener(struct diag *diag, uint16_t port, uint64_t cookie,
			 struct inet_diag_msg *ret, struct diag_listener *ret_queue,
			 struct error *err)
{
	struct listener_search search = {.cookie = cookie};
	const struct diag_query query = {
		.port = port,
		.states = DIAG_STATE_BIT(TCP_LISTEN),
		.drops = true,
		.on_socket = match_listener,
		.userdata = &search,
	};
	int r = diag_dump(diag, &query, reset_search, err);

	if (r < 0)
		return r;
	if (!search.found)
		return error_text(err, -ENOENT,
				  "sock_diag: no socket with cookie %llu listens on port %u",
				  (unsigned long long)cookie, port);
	*ret = search.message;
	*ret_queue = search.queue;
	return 0;
}

/* ---- all of them ---------------------------------------------------------------------------- */

/*
 * A dump comes in several messages, and in each the kernel counts anew how far it had come. While
 * somebody begins to listen it may so tell of a socket twice. Therefore they are gathered first.
 */
struct listener_visit {
	void (*reset)(void *userdata);
	void *userdata;
	struct diag_listening *list;
	size_t n, size;
	bool without_memory;
};

static void reset_visit(void *userdata)
{
	struct listener_visit *visit = userdata;

	visit->n = 0;
	if (visit->reset)
		visit->reset(visit->userdata);
}

static void gather(struct listener_visit *visit, const struct diag_listening *listening)
{
	if (visit->n == visit->size) {
		size_t size = visit->size ? 2 * visit->size : 16;
		void *grown = reallocarray(visit->list, size, sizeof(*visit->list));

		if (!grown) {
			visit->without_memory = true;
			return;
		}
		visit->list = grown;
		visit->size = size;
	}
	visit->list[visit->n++] = *listening;
}

static int compare_cookies(const void *a, const void *b)
{
	uint64_t x = ((const struct diag_listening *)a)->cookie;
	uint64_t y = ((const struct diag_listening *)b)->cookie;

	return (x > y) - (x < y);
}

static void visit_listener(void *userdata, const struct nlmsghdr *header)
{
	const struct inet_diag_msg *message = mnl_nlmsg_get_payload(header);
	struct diag_listening listening = {
		.cookie = diag_cookie(message),
		.inode = message->idiag_inode,
		.uid = message->idiag_uid,
	};
	const struct nlattr *attribute;
	union diag_address local;

	if (message->idiag_state != TCP_LISTEN)
		return;
	diag_read_address(message, message->id.idiag_src, message->id.idiag_sport, &local);
	memcpy(&listening.local, &local, sizeof(listening.local));
	diag_read_queue(header, &listening.queue);
	for (attribute = mnl_nlmsg_get_payload_offset(header, sizeof(*message));
	     diag_is_attribute(attribute, mnl_nlmsg_get_payload_tail(header));
	     attribute = mnl_attr_next(attribute)) {
		if (mnl_attr_get_type(attribute) == INET_DIAG_SKV6ONLY &&
		    mnl_attr_validate(attribute, MNL_TYPE_U8) == 0)
			listening.v6only = mnl_attr_get_u8(attribute);
		if (mnl_attr_get_type(attribute) == INET_DIAG_CGROUP_ID &&
		    mnl_attr_validate(attribute, MNL_TYPE_U64) == 0)
			listening.cgroup_id = mnl_attr_get_u64(attribute);
	}
	gather(userdata, &listening);
}

int diag_each_listener(struct diag *diag, uint64_t cgroup_id, void (*reset)(void *userdata),
		       void (*found)(void *userdata, const struct diag_listening *listening),
		       void *userdata, struct error *err)
{
	struct listener_visit visit = {.reset = reset, .userdata = userdata};
	const struct diag_query query = {
		.cgroup_id = cgroup_id,
		.states = DIAG_STATE_BIT(TCP_LISTEN),
		.drops = true,
		.on_socket = visit_listener,
		.userdata = &visit,
	};
	int r = diag_dump(diag, &query, reset_visit, err);

	if (r == 0 && visit.without_memory)
		r = error_set(err, -ENOMEM, "sock_diag");
	if (r == 0 && visit.n > 1)
		qsort(visit.list, visit.n, sizeof(*visit.list), compare_cookies);
	for (size_t k = 0; r == 0 && k < visit.n; k++)
		if (k == 0 || visit.list[k].cookie != visit.list[k - 1].cookie)
			found(userdata, &visit.list[k]);
	free(visit.list);
	return r;
}

/* ---- one ------------------------------------------------------------------------------------ */

static void remember(void *userdata, const struct diag_listening *listening)
{
	struct diag_memory *memory = userdata;
	void *grown;

	if (memory->n == memory->size) {
		memory->size = memory->size ? 2 * memory->size : 64;
		grown = reallocarray(memory->list, memory->size, sizeof(*memory->list));
		if (!grown) {
			memory->size = memory->n;
			return;
		}
		memory->list = grown;
	}
	memory->list[memory->n++] = *listening;
}

/* Whose queue was empty; NULL: it has to be asked about. */
static const struct diag_listening *recall(struct diag *diag, uint64_t cookie)
{
	const struct diag_listening wanted = {.cookie = cookie};
	struct diag_memory *memory = diag_memory(diag);
	const struct diag_listening *found;

	if (!memory->on)
		return NULL;
	if (!memory->taken && diag_each_listener(diag, 0, NULL, remember, memory, NULL) < 0)
		memory->n = 0;
	memory->taken = true;
	/* They come sorted by their cookies. */
	found = memory->n == 0 ? NULL
			       : bsearch(&wanted, memory->list, memory->n, sizeof(wanted),
					 compare_cookies);
	return found && found->queue.queued == 0 ? found : NULL;
}

int diag_listener(struct diag *diag, uint16_t port, uint64_t cookie, struct diag_listener *ret,
		  struct error *err)
{
	const struct diag_listening *known = recall(diag, cookie);
	struct inet_diag_msg message;

	if (!known)
		return find_listener(diag, port, cookie, &message, ret, err);
	*ret = known->queue;
	return 0;
}

/* ---- destroy -------------------------------------------------------------------------------- */

int diag_destroy_listener(struct diag *diag, uint16_t port, uint64_t cookie, struct error *err)
{
	struct inet_diag_msg listener;
	struct diag_listener queue;
	int r = find_listener(diag, port, cookie, &listener, &queue, err);

	if (r < 0)
		return r;
	for (unsigned i = 1; i <= DIAG_DESTROY_TRIES; i++) {
		listener.id.idiag_dport = htons((uint16_t)i);
		r = diag_destroy(diag, listener.idiag_family, &listener.id, err);
		/* -ENOENT: the kernel looked at another member of the group. */
		if (r != -ENOENT)
			return r;
	}
	r = find_listener(diag, port, cookie, &listener, &queue, err);
	if (r < 0)
		return r;
	return error_text(err, -EAGAIN, "sock_diag: %d lookups on port %u missed the socket",
			  DIAG_DESTROY_TRIES, port);
}
