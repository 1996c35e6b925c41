/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/view/connection_list.h"

#include <errno.h>
#include <time.h>

#include "orchestrator/view/connection_json.h"

struct list {
	json_t *array;
	size_t limit;
	uint64_t now_ns;
	uint64_t total;
	/* As of the last keep: a dump that was inconsistent is begun again from here. */
	uint64_t kept_total;
	size_t kept;
	const struct instance *instance; /* whose are being looked at */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void on_found(void *userdata, const struct diag_connection *connection)
{
	struct list *list = userdata;
	json_t *json;

	list->total++;
	if (json_array_size(list->array) >= list->limit)
		return;
	json = connection_json(connection, list->now_ns);
	if (!json)
		return;
	json_object_set_new(json, "generation", json_integer(list->instance->generation));
	json_object_set_new(json, "instance", json_integer(list->instance->index));
	json_array_append_new(list->array, json);
}

static void on_keep(void *userdata)
{
	struct list *list = userdata;

	list->kept = json_array_size(list->array);
	list->kept_total = list->total;
}

static void on_forget(void *userdata)
{
	struct list *list = userdata;

	while (json_array_size(list->array) > list->kept)
		json_array_remove(list->array, json_array_size(list->array) - 1);
	list->total = list->kept_total;
}

static int add_instance(struct list *list, struct instance *i, struct error *err)
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

json_t *connection_list(struct service *s, size_t limit, struct error *err)
{
	struct list list = {.array = json_array(), .limit = limit, .now_ns = now_ns()};
	struct diag *diag = s->context->diag;
	int r = 0;

	if (s->wiring.tap)
		diag_set_births(diag, tap_births_fd(s->wiring.tap));
	for (size_t k = s->n_generations; r >= 0 && k-- > 0;)
		for (size_t j = 0; r >= 0 && j < s->generations[k]->instances.n; j++)
			r = add_instance(&list, s->generations[k]->instances.list[j], err);
	diag_set_births(diag, -1);
	if (r < 0) {
		json_decref(list.array);
		return NULL;
	}
	return json_pack("{s:s, s:I, s:I, s:o}", "service", s->config->name, "total",
			 (json_int_t)list.total, "shown", (json_int_t)json_array_size(list.array),
			 "connections", list.array);
}
