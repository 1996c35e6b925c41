/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/view/event_json.h"

#include "orchestrator/view/tail_json.h"

static json_t *number_or_null(uint32_t number)
{
	return number ? json_integer(number) : json_null();
}

static json_t *of_rollout(const struct event *e)
{
	return json_pack("{s:I, s:s, s:o, s:o, s:I}", "rollout", (json_int_t)e->rollout, "order",
			 e->order, "generation", number_or_null(e->generation), "replaces",
			 number_or_null(e->replaces), "elapsed_ms", (json_int_t)e->elapsed_ms);
}

/* Who ended them is left out if nothing counts that. */
static json_t *drain_json(const struct event *e)
{
	json_t *json = json_pack("{s:I, s:I, s:I, s:I}", "ended", (json_int_t)e->drain.ended,
				 "cut_by_server", (json_int_t)e->drain.cut_by_server, "left",
				 (json_int_t)e->drain.left, "idle", (json_int_t)e->drain.idle);

	if (e->drain.counted)
		json_object_update_new(json, json_pack("{s:I, s:I, s:I}", "by_client",
						       (json_int_t)e->drain.by_client, "by_server",
						       (json_int_t)e->drain.by_server, "reset",
						       (json_int_t)e->drain.reset));
	return json;
}

static json_t *of_step(const struct event *e)
{
	json_t *json = of_rollout(e);

	json_object_set_new(json, "ok", json_boolean(e->ok));
	if (e->aborted)
		json_object_set_new(json, "aborted", json_true());
	json_object_set_new(json, "took_ms", json_integer((json_int_t)e->took_ms));
	if (e->drain.known)
		json_object_set_new(json, "connections", drain_json(e));
	return json;
}

/* Null: nothing does. */
static json_t *serving_json(const struct event *e)
{
	if (e->serving.generation == 0)
		return json_null();
	return json_pack("{s:I, s:I, s:I}", "generation", (json_int_t)e->serving.generation,
			 "instances", (json_int_t)e->serving.instances, "wanted",
			 (json_int_t)e->serving.wanted);
}

/* Connections that nothing could take. */
static json_t *held_json(const struct event *e)
{
	return json_pack("{s:I, s:I, s:I}", "released", (json_int_t)e->held.released, "refused",
			 (json_int_t)e->held.refused, "longest_ms", (json_int_t)e->held.longest_ms);
}

static json_t *of_result(const struct event *e)
{
	json_t *json =
		json_pack("{s:I, s:s, s:s, s:i, s:o, s:o, s:I, s:I, s:I}", "rollout",
			  (json_int_t)e->rollout, "order", e->order, "result", event_name(e->kind),
			  "exit", e->exit, "generation", number_or_null(e->generation), "replaces",
			  number_or_null(e->replaces), "cut", (json_int_t)e->cut, "cut_by_server",
			  (json_int_t)e->cut_by_server, "took_ms", (json_int_t)e->took_ms);

	if (e->serving.known)
		json_object_set_new(json, "serving", serving_json(e));
	if (e->started_again)
		json_object_set_new(json, "started_again", json_true());
	return json;
}

static json_t *of_note(const struct event *e)
{
	json_t *json = json_object();

	if (e->rollout)
		json_object_set_new(json, "rollout", json_integer(e->rollout));
	if (e->generation)
		json_object_set_new(json, "generation", json_integer(e->generation));
	if (e->instances)
		json_object_set_new(json, "instances", json_integer(e->instances));
	if (e->hook)
		json_object_update_new(json, json_pack("{s:s, s:b}", "hook", e->hook, "ok", e->ok));
	return json;
}

json_t *event_json(const struct event *e)
{
	static json_t *(*const by_form[])(const struct event *) = {
		[EVENT_FORM_STEP] = of_step,
		[EVENT_FORM_WAITING] = of_rollout,
		[EVENT_FORM_RESULT] = of_result,
		[EVENT_FORM_NOTE] = of_note,
	};
	const struct {
		const char *key, *text;
	} texts[] = {
		{"message", e->message}, {"step", e->step},     {"reason", e->reason},
		{"probe", e->probe},     {"listen", e->listen}, {"path", e->path},
		{"lost", e->lost},
	};
	json_t *json = by_form[event_form(e->kind)](e);

	if (e->held.released > 0 || e->held.refused > 0)
		json_object_set_new(json, "held", held_json(e));
	if (e->silent.known)
		json_object_set_new(json, "silent", json_integer((json_int_t)e->silent.n));
	if (e->has_instance)
		json_object_set_new(json, "instance", json_integer(e->instance));
	if (e->pid > 0)
		json_object_set_new(json, "pid", json_integer(e->pid));
	if (e->passed > 0)
		json_object_set_new(json, "passed", json_integer((json_int_t)e->passed));
	if (e->succeeds > 0)
		json_object_set_new(json, "succeeds", json_integer(e->succeeds));
	for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
		if (texts[k].text)
			json_object_set_new(json, texts[k].key, json_string(texts[k].text));
	tail_json(json, e->tail ? e->tail : "", e->tail_stdout, e->tail_realtime_ms);
	return json;
}
