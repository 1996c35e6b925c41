/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/service/underway.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fields.h"
#include "orchestrator/host/file.h"

#define FILE_MAX (64 * 1024)
#define VERSION  1

static const struct field fields[] = {
	FIELD_INTEGER(struct underway, id, 1, UINT32_MAX, 1),
	FIELD_INTEGER(struct underway, generation, 0, UINT32_MAX, 1),
	FIELD_INTEGER(struct underway, replaces, 0, UINT32_MAX, 1),
	FIELD_BOOLEAN(struct underway, partial, 1),
	FIELD_BOOLEAN(struct underway, quits, 1),
	FIELD_BOOLEAN(struct underway, shifted, 1),
	FIELD_BOOLEAN(struct underway, undone, 1),
	FIELD_BOOLEAN(struct underway, committed, 1),
	FIELD_INTEGER(struct underway, instances_before, 0, UINT32_MAX, 1),
	FIELD_INTEGER(struct underway, instances_wanted, 0, UINT32_MAX, 1),
	FIELD_TEXT(struct underway, step, 1),
	FIELD_TEXT(struct underway, reason, 1),
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

void underway_path(const struct paths *paths, const char *service, char ret[static PATHS_MAX])
{
	snprintf(ret, PATHS_MAX, "%s/rollouts.%s.json", paths->run_dir, service);
}

/* ---- writing -------------------------------------------------------------------------------- */

static int encode_one(const struct underway *u, json_t *array)
{
	json_t *json = json_pack("{s:s, s:I, s:I, s:I, s:I}", "order", run_order_name(u->order),
				 "began_ms", (json_int_t)u->began_ms, "cut", (json_int_t)u->cut,
				 "cut_by_server", (json_int_t)u->cut_by_server, "unexpected",
				 (json_int_t)u->unexpected);

	/* The array owns it from here on. */
	if (json_array_append_new(array, json) < 0)
		return -ENOMEM;
	return fields_encode(json, fields, N_FIELDS, 0, u);
}

static int encode(const struct underway_list *list, char **ret, size_t *ret_length)
{
	cleanup(json_decref) json_t *root = json_pack("{s:i, s:b, s:[]}", "version", VERSION,
						      "paused", list->paused, "rollouts");
	int r = root ? 0 : -ENOMEM;

	for (size_t k = 0; k < list->n && r == 0; k++)
		r = encode_one(&list->list[k], json_object_get(root, "rollouts"));
	return r < 0 ? r : fields_dump(root, FILE_MAX, ret, ret_length);
}

int underway_write(const char *path, const struct underway_list *list, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t length;
	int r;

	assert(list->n <= UNDERWAY_MAX);
	if (list->n == 0 && !list->paused)
		return unlink(path) < 0 && errno != ENOENT ? error_set(err, -errno, "%s", path) : 0;
	r = encode(list, &text, &length);
	if (r == 0)
		r = file_replace_volatile(path, text, length, 0600);
	return r < 0 ? error_set(err, r, "%s", path) : 0;
}

/* ---- reading -------------------------------------------------------------------------------- */

static int decode_order(const json_t *json, enum run_order *ret)
{
	const char *name = json_string_value(json_object_get(json, "order"));

	for (int k = 0; name && k < _RUN_ORDER_COUNT; k++)
		if (strcmp(name, run_order_name((enum run_order)k)) == 0) {
			*ret = (enum run_order)k;
			return 0;
		}
	return -EBADMSG;
}

/* Numbers of 64 bits, which fields.h does not have. One that is not there is 0. */
static int decode_large(const json_t *json, const char *key, uint64_t *ret)
{
	json_int_t value = json_integer_value(json_object_get(json, key));

	*ret = value < 0 ? 0 : (uint64_t)value;
	return value < 0 ? -EBADMSG : 0;
}

static int decode_one(const json_t *json, struct underway *ret)
{
	int r;

	*ret = (struct underway){};
	if (!json_is_object(json))
		return -EBADMSG;
	r = decode_large(json, "began_ms", &ret->began_ms);
	if (r == 0)
		r = decode_large(json, "cut", &ret->cut);
	if (r == 0)
		r = decode_large(json, "cut_by_server", &ret->cut_by_server);
	if (r == 0)
		r = decode_large(json, "unexpected", &ret->unexpected);
	if (r == 0)
		r = decode_order(json, &ret->order);
	return r < 0 ? r : fields_decode(json, fields, N_FIELDS, 0, ret, NULL);
}

static int check_version(const json_t *root)
{
	json_int_t version = json_integer_value(json_object_get(root, "version"));

	if (version > VERSION)
		return -EPROTONOSUPPORT;
	return version == VERSION ? 0 : -EBADMSG;
}

static int decode(const char *text, size_t length, struct underway_list *ret)
{
	cleanup(json_decref) json_t *root = NULL;
	const json_t *list = NULL, *json;
	size_t k;
	int r = fields_load(text, length, FILE_MAX, &root, NULL);

	if (r < 0)
		return r;
	/* Whatever the rest is: connections wait, and an order of a person's ends that. */
	ret->paused = json_is_true(json_object_get(root, "paused"));
	r = check_version(root);
	if (r == 0)
		r = fields_get_array(root, "rollouts", UNDERWAY_MAX, &list, NULL);
	if (r < 0)
		return r;
	json_array_foreach (list, k, json) {
		r = decode_one(json, &ret->list[ret->n]);
		if (r < 0)
			return r;
		ret->n++;
	}
	return 0;
}

static const char *why_not(int error)
{
	if (error == -EPROTONOSUPPORT)
		return "a later version of baton has written it";
	return error == -EBADMSG ? "it is damaged" : file_why(error);
}

int underway_read(const char *path, struct underway_list *ret, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t length;
	bool paused;
	int r;

	*ret = (struct underway_list){};
	r = file_read(path, FILE_MAX, &text, &length);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = decode(text, length, ret);
	if (r == 0)
		return 0;
	paused = ret->paused;
	*ret = (struct underway_list){};
	ret->paused = paused;
	(void)underway_write(path, ret, NULL);
	return error_text(err, -EBADMSG,
			  "%s: %s; it is removed, and how the rollouts have ended that an earlier "
			  "batond had begun is not told%s",
			  path, why_not(r), paused ? "; its service stays paused" : "");
}
