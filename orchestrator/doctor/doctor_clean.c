/* SPDX-License-Identifier: BSD-2-Clause */
/* "baton doctor --clean": says what is left, and removes it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/exit_status.h"
#include "common/log.h"
#include "orchestrator/doctor/doctor_internal.h"
#include "orchestrator/host/lock.h"
#include "orchestrator/steer/steer.h"

/* ---- for people ----------------------------------------------------------------------------- */

static const char *kind_name(enum leftovers_kind kind)
{
	static const char *const names[] = {
		[LEFTOVERS_CGROUP] = "cgroup",
		[LEFTOVERS_PINS] = "pins",
		[LEFTOVERS_FILE] = "file",
		[LEFTOVERS_STATE] = "state",
	};

	return names[kind];
}

static size_t count(const struct leftovers *left, bool removed)
{
	size_t n = 0;

	for (size_t k = 0; k < left->n_items; k++)
		n += removed ? left->items[k].removed
			     : !left->items[k].removed && !left->items[k].kept[0];
	return n;
}

static void print_instances(FILE *out, const struct leftovers *left)
{
	for (size_t k = 0; k < left->n_instances; k++)
		if (left->instances[k]->lives[0])
			fprintf(out, "  lives    %s: %s\n", left->instances[k]->id,
				left->instances[k]->lives);
}

void doctor_left_print(FILE *out, const struct leftovers *left, bool listed)
{
	size_t n = count(left, !listed), living = leftovers_living(left);
	const char *name = left->paths->name;

	if (left->n_items == 0 && living == 0) {
		fprintf(out, "no batond \"%s\" runs, and none has left anything\n", name);
		return;
	}
	fprintf(out, "no batond \"%s\" runs; an earlier one has left:\n\n", name);
	print_instances(out, left);
	for (size_t k = 0; k < left->n_items; k++) {
		const struct leftovers_item *item = &left->items[k];

		fprintf(out, "  %-7s  %s%s", kind_name(item->kind), item->path,
			item->removed ? " (removed)" : "");
		if (item->kept[0])
			fprintf(out, " (stays: %s)", item->kept);
		putc('\n', out);
	}
	putc('\n', out);
	if (listed && n > 0)
		fprintf(out, "\"baton -n %s doctor --clean --yes\" removes %zu of these\n", name,
			n);
	else
		fprintf(out, "%zu %s removed\n", n, n == 1 ? "was" : "were");
	if (living > 0)
		fprintf(out,
			"what lives is left alone: a batond \"%s\" takes it over, and SIGTERM to "
			"its agent ends it\n",
			name);
}

/* ---- for programs --------------------------------------------------------------------------- */

static json_t *item_json(const struct leftovers_item *item)
{
	const char *state = item->removed ? "removed" : item->kept[0] ? "stays" : "left";

	return json_pack("{s:s, s:s, s:s?, s:s, s:s?}", "kind", kind_name(item->kind), "path",
			 item->path, "of", item->of[0] ? item->of : NULL, "state", state, "reason",
			 item->kept[0] ? item->kept : NULL);
}

json_t *doctor_left_json(const struct leftovers *left)
{
	json_t *living = json_array(), *items = json_array();

	for (size_t k = 0; k < left->n_instances; k++)
		if (left->instances[k]->lives[0])
			json_array_append_new(living, json_pack("{s:s, s:s}", "instance",
								left->instances[k]->id, "reason",
								left->instances[k]->lives));
	for (size_t k = 0; k < left->n_items; k++)
		json_array_append_new(items, item_json(&left->items[k]));
	return json_pack("{s:s, s:o, s:o}", "name", left->paths->name, "living", living, "left",
			 items);
}

static int print(const struct leftovers *left, const struct doctor_clean_options *options)
{
	json_t *json;

	if (!options->json) {
		doctor_left_print(stdout, left, !options->remove);
	} else {
		json = doctor_left_json(left);
		if (!json)
			return -ENOMEM;
		json_dumpf(json, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(json);
	}
	return fflush(stdout) != 0 || ferror(stdout) ? -EIO : 0;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/*
 * While we have the lock no batond of that name starts. Without the file none runs: to list what is
 * left, that is enough.
 */
static int lock(const struct paths *paths, bool remove, int *ret, struct error *err)
{
	*ret = -1;
	if (!remove && access(paths->lock_file, F_OK) < 0)
		return 0;
	if (mkdir(paths->run_dir, 0755) < 0 && errno != EEXIST)
		return error_set(err, -errno, "mkdir %s", paths->run_dir);
	return lock_take(paths->lock_file, 0, ret, err);
}

static bool any_failed(const struct leftovers *left)
{
	for (size_t k = 0; k < left->n_items; k++)
		if (left->items[k].failed)
			return true;
	return false;
}

/* *ret: "" if there are none. The lock says nothing of a batond in another container: the pins do.
 */
static int claim_pins(const char *name, char ret[static BPFFS_PATH_MAX], int *ret_fd,
		      struct error *err)
{
	int r = bpffs_folder(name, ret);

	if (r < 0)
		return error_set(err, r, "find the bpffs mount");
	if (r == 0 || access(ret, F_OK) < 0) {
		ret[0] = '\0';
		return 0;
	}
	r = bpffs_claim(name, ret_fd, err);
	return r == -EBUSY ? r : 0;
}

static int clean(const struct doctor_clean_options *options, const struct paths *paths,
		 struct error *err)
{
	char pins_dir[BPFFS_PATH_MAX] = "";
	cleanup_close int pins_fd = -1;
	struct leftovers left;
	int r = claim_pins(paths->name, pins_dir, &pins_fd, err), status;

	if (r >= 0)
		r = leftovers_find(paths, pins_dir, options->state, &left, err);
	if (r < 0)
		return r;
	if (options->remove) {
		leftovers_remove(&left);
		(void)rmdir(pins_dir);
	}
	status = leftovers_living(&left) > 0            ? EXIT_STATUS_DEGRADED
		 : options->remove && any_failed(&left) ? EXIT_STATUS_ERROR
							: EXIT_STATUS_DONE;
	r = print(&left, options);
	leftovers_done(&left);
	return r < 0 ? error_set(err, r, "print") : status;
}

int doctor_clean(const struct doctor_clean_options *options)
{
	cleanup_close int fd = -1;
	struct paths paths;
	struct error err;
	int r = paths_init(options->name, &paths, &err);

	/* What the lock says is said below. */
	log_init("batond", LOG_LEVEL_ERROR);
	if (r >= 0)
		r = lock(&paths, options->remove, &fd, &err);
	if (r >= 0)
		r = clean(options, &paths, &err);
	if (r == -EBUSY)
		log_error("%s: it removes what it needs no more itself, and nothing was touched",
			  err.text);
	else if (r < 0)
		log_error("%s", err.text);
	if (options->remove && fd >= 0 && rmdir(paths.agents_dir) < 0 && errno == ENOENT) {
		/* As batond does at its end. */
		lock_remove(paths.lock_file);
		(void)rmdir(paths.run_dir);
	}
	return r == -EBUSY ? EXIT_STATUS_BUSY : r < 0 ? EXIT_STATUS_ERROR : r;
}
