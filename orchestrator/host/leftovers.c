/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/leftovers.h"

#include <dirent.h>
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/handover.h"
#include "common/notify_path.h"
#include "orchestrator/host/file.h"

#define SOCKET_END   ".sock"
#define HANDOVER_END ".handover"

/* ---- names: there can be many instances ------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* NULL: there is none. An instance begins with its id. */
static const char *find_name(void *const *names, const char *name)
{
	const char *const *node = tfind(name, names, compare);

	return node ? *node : NULL;
}

static void forget(void *name)
{
	(void)name;
}

void leftovers_done(struct leftovers *left)
{
	tdestroy(left->by_id, forget);
	tdestroy(left->living, forget);
	for (size_t k = 0; k < left->n_instances; k++)
		free(left->instances[k]);
	free(left->instances);
	free(left->items);
	*left = (struct leftovers){};
}

/* ---- folders -------------------------------------------------------------------------------- */

typedef int on_entry(struct leftovers *left, const char *folder, const char *name,
		     struct error *err);

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

static bool begins_with(const char *name, const char *begin)
{
	return strncmp(name, begin, strlen(begin)) == 0;
}

/* A folder that is not there has no entries. */
static int each_entry(struct leftovers *left, const char *folder, on_entry *function,
		      struct error *err)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0 : error_set(err, -errno, "%s", folder);
	while (r >= 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = function(left, folder, entry->d_name, err);
	closedir(dir);
	return r;
}

/* ---- instances ------------------------------------------------------------------------------ */

/* Whoever has bound the socket notices nothing of this: it is of another type. */
static bool has_owner(const char *path)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return false;
	strcpy(address.sun_path, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return true;
	return errno != ECONNREFUSED && errno != ENOENT && errno != ENOTSOCK;
}

static bool server_lives(const char *path)
{
	struct handover handover;
	struct error err;
	bool lives;

	if (handover_read(path, &handover, &err) < 0)
		return false;
	lives = handover_is_alive(&handover);
	handover_done(&handover);
	return lives;
}

static void look_whether_it_lives(const struct leftovers *left, struct leftovers_instance *i)
{
	char path[PATHS_MAX + CGROUP_LEAF_MAX + 16];

	snprintf(path, sizeof(path), "%s/%s" SOCKET_END, left->paths->agents_dir, i->id);
	if (has_owner(path)) {
		snprintf(i->lives, sizeof(i->lives), "its agent runs");
		return;
	}
	snprintf(path, sizeof(path), "%s/%s" HANDOVER_END, left->paths->agents_dir, i->id);
	if (server_lives(path))
		snprintf(i->lives, sizeof(i->lives), "its server runs, without an agent");
}

static struct leftovers_instance *make_instance(struct leftovers *left, const char *id)
{
	struct leftovers_instance **list = reallocarray(left->instances, left->n_instances + 1,
							sizeof(struct leftovers_instance *));
	struct leftovers_instance *i = calloc(1, sizeof(*i));

	if (list)
		left->instances = list;
	if (i)
		snprintf(i->id, sizeof(i->id), "%s", id);
	if (!list || !i || !tsearch(i->id, &left->by_id, compare)) {
		free(i);
		return NULL;
	}
	list[left->n_instances++] = i;
	(void)cgroup_parse_leaf(id, i->service);
	return i;
}

/* NULL: there is no memory. */
static struct leftovers_instance *add_instance(struct leftovers *left, const char *id)
{
	struct leftovers_instance *i =
		(struct leftovers_instance *)(uintptr_t)find_name(&left->by_id, id);

	if (i || left->n_instances == LEFTOVERS_MAX)
		return i;
	i = make_instance(left, id);
	if (i)
		look_whether_it_lives(left, i);
	return i;
}

/* Is @name "web.3.0" with @end behind it? */
static bool is_instance(const char *name, const char *end, char ret_id[static CGROUP_LEAF_MAX])
{
	char service[CGROUP_LEAF_MAX];

	if (end[0] && !ends_with(name, end))
		return false;
	if (strlen(name) - strlen(end) >= CGROUP_LEAF_MAX)
		return false;
	snprintf(ret_id, CGROUP_LEAF_MAX, "%.*s", (int)(strlen(name) - strlen(end)), name);
	return cgroup_parse_leaf(ret_id, service) == CGROUP_LEAF_INSTANCE;
}

/* Once all is known of each. */
static int note_living(struct leftovers *left)
{
	for (size_t k = 0; k < left->n_instances; k++) {
		struct leftovers_instance *i = left->instances[k];

		if (i->lives[0] && (!tsearch(i->id, &left->living, compare) ||
				    !tsearch(i->service, &left->living, compare)))
			return -ENOMEM;
	}
	return 0;
}

size_t leftovers_living(const struct leftovers *left)
{
	size_t n = 0;

	for (size_t k = 0; k < left->n_instances; k++)
		n += left->instances[k]->lives[0] != '\0';
	return n;
}

static int no_memory(struct error *err)
{
	return error_set(err, -ENOMEM, "what is left");
}

/* ---- items ---------------------------------------------------------------------------------- */

static struct leftovers_item *add(struct leftovers *left, enum leftovers_kind kind,
				  const char *folder, const char *name, const char *of)
{
	struct leftovers_item *item;

	if (left->n_items == LEFTOVERS_MAX)
		return left->items;
	item = reallocarray(left->items, left->n_items + 1, sizeof(*item));
	if (!item)
		return NULL;
	left->items = item;
	item += left->n_items++;
	*item = (struct leftovers_item){.kind = kind};
	snprintf(item->path, sizeof(item->path), "%s%s%s", folder, name[0] ? "/" : "", name);
	snprintf(item->of, sizeof(item->of), "%s", of);
	return item;
}

/* ---- cgroups -------------------------------------------------------------------------------- */

static int note_leaf(struct leftovers *left, const char *base, const char *name, struct error *err)
{
	char path[CGROUP_PATH_MAX], service[CGROUP_LEAF_MAX];
	enum cgroup_leaf kind = cgroup_parse_leaf(name, service);
	struct leftovers_instance *i;
	struct stat st;

	if (snprintf(path, sizeof(path), "%s/%s", base, name) >= (int)sizeof(path) ||
	    lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	if (kind == CGROUP_LEAF_INSTANCE) {
		i = add_instance(left, name);
		if (!i)
			return no_memory(err);
		/* Cannot be told: as if one was there. */
		if (!i->lives[0] && cgroup_populated(path) != 0)
			snprintf(i->lives, sizeof(i->lives), "processes are in its cgroup");
	}
	if (!add(left, LEFTOVERS_CGROUP, base, name, kind == CGROUP_LEAF_INSTANCE ? name : service))
		return no_memory(err);
	return 0;
}

struct bases {
	struct leftovers *left;
	struct error *err;
	int result;
};

static void on_base(void *userdata, const char *base)
{
	struct bases *bases = userdata;
	struct leftovers_item *item;

	if (bases->result < 0)
		return;
	bases->result = each_entry(bases->left, base, note_leaf, bases->err);
	item = bases->result < 0 ? NULL : add(bases->left, LEFTOVERS_CGROUP, base, "", "");
	if (item)
		item->is_folder = true;
	else if (bases->result >= 0)
		bases->result = no_memory(bases->err);
}

static int find_cgroups(struct leftovers *left, struct error *err)
{
	struct bases bases = {.left = left, .err = err};
	int r = cgroup_each_base(left->paths->name, on_base, &bases);

	return r < 0 ? error_set(err, r, "look for cgroups") : bases.result;
}

/* ---- pins ----------------------------------------------------------------------------------- */

/* What else has a folder of this name in bpffs, has nothing of this kind in it. */
static bool are_ours(const char *folder)
{
	static const char *const names[] = {"tap/counts", "tap/moved", "tap/layout", "tap/events"};
	char path[PATHS_MAX + 512];

	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[k]);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

static bool has_endpoint(const char *folder)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		char path[PATHS_MAX + 512];

		snprintf(path, sizeof(path), "%s/%s/slots", folder, entry->d_name);
		found = begins_with(entry->d_name, "cross+") ||
			(entry->d_name[0] != '.' && access(path, F_OK) == 0);
	}
	if (dir)
		closedir(dir);
	return found;
}

static int note_pins(struct leftovers *left, const char *folder, const char *name,
		     struct error *err)
{
	char path[PATHS_MAX + 512];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (!are_ours(path) && !has_endpoint(path))
		return 0;
	return add(left, LEFTOVERS_PINS, folder, name, name) ? 0 : no_memory(err);
}

static int find_pins(struct leftovers *left, struct error *err)
{
	return left->pins_dir[0] ? each_entry(left, left->pins_dir, note_pins, err) : 0;
}

/* The folder above is whose lock they are under: it stays. */
static int remove_pins(const char *path)
{
	file_remove_tree(path);
	return access(path, F_OK) == 0 ? -EBUSY : 0;
}

/* ---- files ---------------------------------------------------------------------------------- */

static int note_agent(struct leftovers *left, const char *folder, const char *name,
		      struct error *err)
{
	char id[CGROUP_LEAF_MAX];

	if (!is_instance(name, SOCKET_END, id) && !is_instance(name, HANDOVER_END, id))
		return 0;
	return add_instance(left, id) && add(left, LEFTOVERS_FILE, folder, name, id)
		       ? 0
		       : no_memory(err);
}

static int note_tell(struct leftovers *left, const char *folder, const char *name,
		     struct error *err)
{
	char id[CGROUP_LEAF_MAX], below[PATHS_MAX + CGROUP_LEAF_MAX];
	struct leftovers_item *item;

	if (!is_instance(name, "", id))
		return 0;
	snprintf(below, sizeof(below), "%s/%s", folder, name);
	if (!add_instance(left, id) || !add(left, LEFTOVERS_FILE, below, &NOTIFY_PATH_FILE[1], id))
		return no_memory(err);
	item = add(left, LEFTOVERS_FILE, folder, name, id);
	if (item)
		item->is_folder = true;
	return item ? 0 : no_memory(err);
}

#define ROLLOUTS     "rollouts."
#define ROLLOUTS_END ".json"

static int note_run_file(struct leftovers *left, const char *folder, const char *name,
			 struct error *err)
{
	size_t n = strlen(ROLLOUTS), m = strlen(ROLLOUTS_END);
	char service[CGROUP_LEAF_MAX] = "";

	if (begins_with(name, ROLLOUTS) && ends_with(name, ROLLOUTS_END))
		snprintf(service, sizeof(service), "%.*s", (int)(strlen(name) - n - m), name + n);
	else if (strcmp(name, "api.sock") != 0)
		return 0;
	return add(left, LEFTOVERS_FILE, folder, name, service) ? 0 : no_memory(err);
}

static int add_folder(struct leftovers *left, const char *path, struct error *err)
{
	struct leftovers_item *item;

	if (access(path, F_OK) < 0)
		return 0;
	item = add(left, LEFTOVERS_FILE, path, "", "");
	if (item)
		item->is_folder = true;
	return item ? 0 : no_memory(err);
}

static int find_files(struct leftovers *left, struct error *err)
{
	const struct paths *paths = left->paths;
	char tell[PATHS_MAX + sizeof(NOTIFY_PATH_FOLDER)];
	int r;

	snprintf(tell, sizeof(tell), "%s%.*s", paths->run_dir, (int)strlen(NOTIFY_PATH_FOLDER) - 1,
		 NOTIFY_PATH_FOLDER);
	r = each_entry(left, paths->agents_dir, note_agent, err);
	if (r >= 0)
		r = each_entry(left, tell, note_tell, err);
	if (r >= 0)
		r = each_entry(left, paths->run_dir, note_run_file, err);
	if (r >= 0)
		r = add_folder(left, tell, err);
	return r < 0 ? r : add_folder(left, paths->agents_dir, err);
}

/* ---- state ---------------------------------------------------------------------------------- */

static int note_state(struct leftovers *left, const char *folder, const char *name,
		      struct error *err)
{
	if (!begins_with(name, "state.json") && !begins_with(name, "events.jsonl"))
		return 0;
	return add(left, LEFTOVERS_STATE, folder, name, "") ? 0 : no_memory(err);
}

static int note_history(struct leftovers *left, const char *folder, const char *name,
			struct error *err)
{
	if (!ends_with(name, ".json"))
		return 0;
	return add(left, LEFTOVERS_STATE, folder, name, "") ? 0 : no_memory(err);
}

static int find_state(struct leftovers *left, struct error *err)
{
	char history[PATHS_MAX + 16];
	int r;

	/* What could not be written to the other one. */
	if ((access(left->paths->spare_file, F_OK) == 0 &&
	     !add(left, LEFTOVERS_STATE, left->paths->spare_file, "", "")) ||
	    (access(left->paths->event_spare, F_OK) == 0 &&
	     !add(left, LEFTOVERS_STATE, left->paths->event_spare, "", "")))
		return no_memory(err);
	/* Whose folder it is otherwise cannot be told. */
	if (access(left->paths->state_file, F_OK) < 0)
		return 0;
	snprintf(history, sizeof(history), "%s/history", left->paths->state_dir);
	r = each_entry(left, history, note_history, err);
	if (r >= 0 && access(history, F_OK) == 0)
		r = add(left, LEFTOVERS_STATE, history, "", "") ? 0 : no_memory(err);
	if (r >= 0)
		r = each_entry(left, left->paths->state_dir, note_state, err);
	if (r >= 0)
		r = add(left, LEFTOVERS_STATE, left->paths->state_dir, "", "") ? 0 : no_memory(err);
	return r;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static void judge(struct leftovers *left, bool state)
{
	bool any_lives = leftovers_living(left) > 0;

	for (size_t k = 0; k < left->n_items; k++) {
		struct leftovers_item *item = &left->items[k];

		if (item->of[0] && find_name(&left->living, item->of))
			snprintf(item->kept, sizeof(item->kept), "%s lives", item->of);
		else if (item->kind == LEFTOVERS_STATE && any_lives)
			snprintf(item->kept, sizeof(item->kept), "instances live");
		else if (item->kind == LEFTOVERS_STATE && !state)
			snprintf(item->kept, sizeof(item->kept),
				 "it outlives batond on purpose; --state removes it, too");
		else if (item->kind == LEFTOVERS_CGROUP && !item->is_folder &&
			 cgroup_populated(item->path) != 0)
			snprintf(item->kept, sizeof(item->kept), "processes are in it");
		else if (item->is_folder && !item->of[0] && any_lives)
			snprintf(item->kept, sizeof(item->kept), "instances live");
	}
}

int leftovers_find(const struct paths *paths, const char *pins_dir, bool state,
		   struct leftovers *ret, struct error *err)
{
	int r;

	*ret = (struct leftovers){.paths = paths, .pins_dir = pins_dir};
	r = find_files(ret, err);
	if (r >= 0)
		r = find_cgroups(ret, err);
	if (r >= 0)
		r = find_pins(ret, err);
	if (r >= 0)
		r = find_state(ret, err);
	if (r >= 0 && note_living(ret) < 0)
		r = no_memory(err);
	if (r >= 0)
		judge(ret, state);
	else
		leftovers_done(ret);
	return r;
}

static bool is_below(const char *path, const char *folder)
{
	return begins_with(path, folder) && path[strlen(folder)] == '/';
}

/* An earlier daemon's, elsewhere. Its anchors are of no use any more, whoever lives. */
static void judge_elsewhere(const struct leftovers *left, struct leftovers_item *item)
{
	char service[CGROUP_LEAF_MAX];
	const char *slash = strrchr(item->path, '/');

	if (cgroup_parse_leaf(slash + 1, service) == CGROUP_LEAF_INSTANCE)
		return;
	item->kept[0] = '\0';
	/* Its leaves come before it. */
	for (size_t k = 0; item->is_folder && k < left->n_items; k++)
		if (left->items[k].kept[0] && is_below(left->items[k].path, item->path))
			snprintf(item->kept, sizeof(item->kept), "instances live");
}

void leftovers_keep(struct leftovers *left, const char *cgroup_base,
		    bool (*is_known)(void *userdata, const char *service), void *userdata)
{
	for (size_t k = 0; k < left->n_items; k++) {
		struct leftovers_item *item = &left->items[k];
		char service[CGROUP_LEAF_MAX];

		if (item->kind == LEFTOVERS_CGROUP && !is_below(item->path, cgroup_base) &&
		    strcmp(item->path, cgroup_base) != 0) {
			judge_elsewhere(left, item);
			continue;
		}
		if (item->kept[0] || cgroup_parse_leaf(item->of, service) == CGROUP_LEAF_INSTANCE)
			continue;
		if (!item->of[0] || is_known(userdata, item->of))
			snprintf(item->kept, sizeof(item->kept), "batond runs");
	}
}

static int remove_item(const struct leftovers_item *item)
{
	switch (item->kind) {
	case LEFTOVERS_CGROUP:
		return cgroup_remove(item->path);
	case LEFTOVERS_PINS:
		return remove_pins(item->path);
	case LEFTOVERS_FILE:
	case LEFTOVERS_STATE:
		break;
	}
	return remove(item->path) < 0 && errno != ENOENT ? -errno : 0;
}

void leftovers_remove(struct leftovers *left)
{
	for (size_t k = 0; k < left->n_items; k++) {
		struct leftovers_item *item = &left->items[k];
		int r;

		if (item->kept[0])
			continue;
		r = remove_item(item);
		item->removed = r == 0;
		item->failed = r < 0;
		if (r < 0)
			snprintf(item->kept, sizeof(item->kept), "%s", strerror(-r));
	}
}
