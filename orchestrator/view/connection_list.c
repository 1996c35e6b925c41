/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/view/connection_list.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "orchestrator/view/connection_json.h"

#define PIECE_CONNECTIONS 64

/* There may be 100,000 of them: so without the room that is left in a sockaddr_storage. */
struct entry {
	uint64_t cookie, inode;
	struct sockaddr_in6 local, peer; /* or of another family, which is shorter */
	unsigned char
		rest[sizeof(struct diag_connection) - offsetof(struct diag_connection, state)];
	uint32_t generation, instance;
};

struct connection_list {
	char *service;
	struct entry *entries;
	size_t n, size, limit;
	uint64_t now_ns;
	uint64_t total;
	/* As of the last keep: a dump that was inconsistent is begun again from here. */
	uint64_t kept_total;
	size_t kept;
	bool no_memory;
	const struct instance *instance; /* whose are being looked at */
	bool begun, ended;               /* the text is */
	size_t told;                     /* so many are in it */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- asking the kernel ---------------------------------------------------------------------- */

static void pack(const struct diag_connection *connection, struct entry *ret)
{
	ret->cookie = connection->cookie;
	ret->inode = connection->inode;
	memcpy(&ret->local, &connection->local, sizeof(ret->local));
	memcpy(&ret->peer, &connection->peer, sizeof(ret->peer));
	memcpy(ret->rest, &connection->state, sizeof(ret->rest));
}

static void unpack(const struct entry *entry, struct diag_connection *ret)
{
	*ret = (struct diag_connection){.cookie = entry->cookie, .inode = entry->inode};
	memcpy(&ret->local, &entry->local, sizeof(entry->local));
	memcpy(&ret->peer, &entry->peer, sizeof(entry->peer));
	memcpy(&ret->state, entry->rest, sizeof(entry->rest));
}

static bool make_room(struct connection_list *list)
{
	size_t size = list->size ? 2 * list->size : 256;
	struct entry *entries;

	if (list->n < list->size)
		return true;
	entries = reallocarray(list->entries, size, sizeof(*entries));
	if (!entries) {
		list->no_memory = true;
		return false;
	}
	list->entries = entries;
	list->size = size;
	return true;
}

static void on_found(void *userdata, const struct diag_connection *connection)
{
	struct connection_list *list = userdata;
	struct entry *entry;

	list->total++;
	if (list->n >= list->limit || !make_room(list))
		return;
	entry = &list->entries[list->n++];
	pack(connection, entry);
	entry->generation = list->instance->generation;
	entry->instance = list->instance->index;
}

static void on_keep(void *userdata)
{
	struct connection_list *list = userdata;

	list->kept = list->n;
	list->kept_total = list->total;
}

static void on_forget(void *userdata)
{
	struct connection_list *list = userdata;

	list->n = list->kept;
	list->total = list->kept_total;
}

static int add_instance(struct connection_list *list, struct instance *i, struct error *err)
{
	const struct connections_handler handler = {
		.found = on_found,
		.keep = on_keep,
		.forget = on_forget,
		.userdata = list,
	};
	struct connections_of of;

	instance_connections_of(i, &of);
	if (instance_has_stopped(i) || (!of.cgroup_id && !of.processes))
		return 0;
	list->instance = i;
	return connections_each(&of, &handler, err);
}

static int ask(struct connection_list *list, struct service *s, struct error *err)
{
	struct diag *diag = s->context->diag;
	int r = 0;

	if (s->wiring.tap)
		diag_set_births(diag, tap_births_fd(s->wiring.tap));
	for (size_t k = s->n_generations; r >= 0 && k-- > 0;)
		for (size_t j = 0; r >= 0 && j < s->generations[k]->instances.n; j++)
			r = add_instance(list, s->generations[k]->instances.list[j], err);
	diag_set_births(diag, -1);
	if (r >= 0 && list->no_memory)
		r = error_set(err, -ENOMEM, "connections");
	return r < 0 ? r : 0;
}

int connection_list_new(struct service *s, size_t limit, struct connection_list **ret,
			struct error *err)
{
	cleanup(connection_list_free) struct connection_list *list = calloc(1, sizeof(*list));
	int r;

	if (!list || !(list->service = strdup(s->config->name)))
		return error_set(err, -ENOMEM, "connections");
	list->limit = limit;
	list->now_ns = now_ns();
	r = ask(list, s, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(list);
	return 0;
}

void connection_list_free(struct connection_list *list)
{
	if (!list)
		return;
	free(list->service);
	free(list->entries);
	free(list);
}

/* ---- the text ------------------------------------------------------------------------------- */

static int tell_beginning(struct connection_list *list, FILE *to)
{
	json_t *name = json_string(list->service);
	int r = name ? json_dumpf(name, to, JSON_ENCODE_ANY | JSON_EMBED) : -1;

	json_decref(name);
	list->begun = true;
	return r;
}

static int tell_connection(struct connection_list *list, FILE *to)
{
	const struct entry *entry = &list->entries[list->told];
	struct diag_connection connection;
	json_t *json;
	int r;

	unpack(entry, &connection);
	json = connection_json(&connection, list->now_ns);
	if (!json)
		return -1;
	json_object_set_new(json, "generation", json_integer(entry->generation));
	json_object_set_new(json, "instance", json_integer(entry->instance));
	if (list->told++ > 0)
		fputc(',', to);
	r = json_dumpf(json, to, JSON_COMPACT);
	json_decref(json);
	return r;
}

static int tell(struct connection_list *list, FILE *to)
{
	int r = 0;

	if (list->ended)
		return 0;
	if (!list->begun) {
		fputs("{\"service\":", to);
		r = tell_beginning(list, to);
		fprintf(to, ",\"total\":%" PRIu64 ",\"shown\":%zu,\"connections\":[", list->total,
			list->n);
	}
	for (size_t k = 0; r == 0 && k < PIECE_CONNECTIONS && list->told < list->n; k++)
		r = tell_connection(list, to);
	if (r == 0 && list->told == list->n) {
		fputs("]}\n", to);
		list->ended = true;
	}
	return r;
}

char *connection_list_next(struct connection_list *list)
{
	cleanup_free char *text = NULL;
	size_t length = 0;
	FILE *to = open_memstream(&text, &length);
	int r;

	if (!to)
		return NULL;
	r = tell(list, to);
	if (fclose(to) != 0 || r < 0)
		return NULL;
	return TAKE_PTR(text);
}
