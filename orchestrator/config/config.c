/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/vector.h"
#include "orchestrator/config/config_internal.h"
#include "orchestrator/host/file.h"
#include "orchestrator/host/sight.h"

/* ---- objects -------------------------------------------------------------------------------- */

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_services; i++)
		service_config_done(&config->services[i]);
	free(config->services);
	for (size_t i = 0; i < config->n_refused; i++) {
		free(config->refused[i].name);
		vector_free(config->refused[i].mistakes);
	}
	free(config->refused);
	free(config->file);
	free(config->api_group);
	free(config);
}

const struct service_config *config_find(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_services; i++)
		if (strcmp(config->services[i].name, name) == 0)
			return &config->services[i];
	return NULL;
}

const struct config_refused *config_find_refused(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_refused; i++)
		if (strcmp(config->refused[i].name, name) == 0)
			return &config->refused[i];
	return NULL;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Who wrote the text may say what it is called: "baton run" passes "command line". */
static const char *source_of(const json_t *root, const char *file)
{
	const char *source = json_string_value(json_object_get(root, "source"));

	return source && source[0] ? source : file;
}

static int read_text(struct config_reading *reading, const char *text, size_t length)
{
	json_error_t error;
	json_t *root;
	int r;

	length -= (size_t)(file_text(text) - text);
	text = file_text(text);
	errno = 0;
	root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
	/* jansson calls a lack of memory a syntax error in some places; malloc(3) does not. */
	if (!root && errno == ENOMEM)
		return -ENOMEM;
	if (!root) {
		config_mistake(reading, "", "line %d, column %d: %s", error.line, error.column,
			       error.text);
		return 0;
	}
	reading->source = source_of(root, reading->source);
	r = config_read_root(reading, root);
	reading->source = NULL; /* may be of the root */
	json_decref(root);
	return r;
}

static int read_file(struct config_reading *reading, const char *file, enum path_use use)
{
	cleanup_free char *text = NULL;
	struct error err;
	size_t length;
	int r;

	reading->source = file;
	r = file_read_for(NULL, file, use, CONFIG_FILE_MAX, &text, &length, &err);
	if (r == -ENOMEM)
		return r;
	if (r == -EFBIG)
		config_mistake(reading, "", "larger than %d bytes", CONFIG_FILE_MAX);
	else if (r < 0)
		config_mistake(reading, "", "%s", err.text);
	return r < 0 ? 0 : read_text(reading, text, length);
}

static int add_complaints(struct config_complaints *to, char *const *texts, size_t total)
{
	for (; texts && *texts; texts++) {
		char *copy = strdup(*texts);

		if (!copy || vector_append(&to->texts, copy) < 0)
			return -ENOMEM;
	}
	to->total += total;
	return 0;
}

/* What else the file at fault has said does not count either. */
static int refuse_dropin(struct config_reading *reading, const char *file, size_t first_draft)
{
	struct config *config = reading->config;

	for (size_t i = first_draft; i < reading->n_drafts; i++) {
		int r = add_complaints(&reading->drafts[i]->complaints, reading->file.texts,
				       reading->file.total);

		if (r < 0)
			return r;
	}
	if (reading->api_source && strcmp(reading->api_source, file) == 0) {
		free(TAKE_PTR(reading->api_source));
		free(TAKE_PTR(config->api_group));
		config->api_gid = (gid_t)-1;
	}
	if (reading->rollouts_source && strcmp(reading->rollouts_source, file) == 0) {
		free(TAKE_PTR(reading->rollouts_source));
		config->rollouts_max = 0;
	}
	vector_free(TAKE_PTR(reading->file.texts));
	reading->file.total = 0;
	return 0;
}

static int read_dropin(struct config_reading *reading, const char *folder, const char *name)
{
	size_t first_draft = reading->n_drafts;
	cleanup_free char *file = NULL;
	int r;

	if (asprintf(&file, "%s/%s", folder, name) < 0) {
		file = NULL;
		return -ENOMEM;
	}
	r = read_file(reading, file, PATH_READ);
	return r == 0 && reading->file.total ? refuse_dropin(reading, file, first_draft) : r;
}

/* "*.json", but not what editors and package managers hide. */
static bool is_dropin(const char *name)
{
	size_t n = strlen(name);

	return name[0] != '.' && n > 5 && strcmp(name + n - 5, ".json") == 0;
}

/* Returns how many files there are. */
static int read_dropins(struct config_reading *reading, const char *folder)
{
	cleanup(vector_free) char **names = NULL;
	int n = file_list(folder, is_dropin, &names), r = 0;

	reading->source = folder;
	if (n == -ENOENT)
		return 0;
	if (n == -ENOMEM)
		return n;
	if (n < 0)
		config_mistake(reading, "", "%s", strerror(-n));
	else if (n > CONFIG_DROPINS_MAX)
		config_mistake(reading, "", "more than %d files", CONFIG_DROPINS_MAX);
	/* The mistakes above make the folder incomplete, not what there is in it bad. */
	vector_free(TAKE_PTR(reading->file.texts));
	reading->file.total = 0;
	for (int i = 0; i < n && i < CONFIG_DROPINS_MAX && r == 0; i++)
		r = read_dropin(reading, folder, names[i]);
	return r < 0 ? r : n < 0 ? 1 : n;
}

/* A folder in place of the file. */
static int read_folder(struct config_reading *reading, const char *folder)
{
	cleanup_free char *file = NULL, *dropins = NULL;
	int r;

	if (asprintf(&file, "%s/baton.json", folder) < 0) {
		file = NULL;
		return -ENOMEM;
	}
	if (asprintf(&dropins, "%s/conf.d", folder) < 0) {
		dropins = NULL;
		return -ENOMEM;
	}
	if (sight_access(file, F_OK) == 0) {
		r = read_file(reading, file, PATH_READ_OR_PIPE);
		reading->unusable = reading->file.total > 0;
		return r < 0 ? r : read_dropins(reading, dropins);
	}
	r = read_dropins(reading, folder);
	reading->source = folder;
	if (r == 0)
		config_mistake(reading, "", "has no *.json file in it");
	return r;
}

static int compare_services(const void *a, const void *b)
{
	const struct service_config *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int compare_refused(const void *a, const void *b)
{
	const struct config_refused *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* Has it, or another one of its name, a mistake? */
static bool is_refused(const struct config_reading *reading, const struct config_draft *draft)
{
	for (size_t i = 0; i < reading->n_drafts; i++)
		if (reading->drafts[i]->complaints.total > 0 &&
		    strcmp(reading->drafts[i]->service.name, draft->service.name) == 0)
			return true;
	return false;
}

/* Two of one name become one. */
static int collect_refused(struct config *config, struct config_draft *draft)
{
	struct config_complaints all = {};
	struct config_refused *refused;
	int r;

	refused = (struct config_refused *)config_find_refused(config, draft->service.name);
	if (!refused) {
		refused = &config->refused[config->n_refused];
		refused->name = strdup(draft->service.name);
		if (!refused->name)
			return -ENOMEM;
		config->n_refused++;
	}
	all.texts = TAKE_PTR(refused->mistakes);
	all.total = refused->total;
	r = add_complaints(&all, draft->complaints.texts, draft->complaints.total);
	refused->mistakes = all.texts;
	refused->total = all.total;
	return r;
}

/* Move the services out of the drafts. */
static int collect(struct config_reading *reading)
{
	size_t n = reading->n_drafts ? reading->n_drafts : 1;
	struct config *config = reading->config;
	int r = 0;

	config->services = calloc(n, sizeof(*config->services));
	config->refused = calloc(n, sizeof(*config->refused));
	if (!config->services || !config->refused)
		return -ENOMEM;
	for (size_t i = 0; i < reading->n_drafts && r == 0; i++) {
		struct config_draft *draft = reading->drafts[i];

		if (is_refused(reading, draft))
			r = collect_refused(config, draft);
		else
			config->services[config->n_services++] = draft->service;
	}
	/* What has been moved is not freed with the draft; names were needed until now. */
	for (size_t i = 0; i < reading->n_drafts; i++)
		if (config_find(config, reading->drafts[i]->service.name))
			reading->drafts[i]->service = (struct service_config){};
	qsort(config->services, config->n_services, sizeof(*config->services), compare_services);
	qsort(config->refused, config->n_refused, sizeof(*config->refused), compare_refused);
	return r;
}

static int read_all(struct config_reading *reading, const char *file, const char *dropins)
{
	const struct config_mistakes *mistakes = reading->mistakes;
	struct stat st;
	int r;

	reading->config->file = strdup(file);
	if (!reading->config->file)
		return -ENOMEM;
	if (sight_stat(file, &st) == 0 && S_ISDIR(st.st_mode)) {
		r = read_folder(reading, file);
	} else {
		r = read_file(reading, file, PATH_READ_OR_PIPE);
		reading->unusable = reading->file.total > 0;
	}
	if (r >= 0 && dropins)
		r = read_dropins(reading, dropins);
	if (r < 0 || reading->no_memory)
		return r < 0 ? r : -ENOMEM;
	if (reading->unusable || (mistakes->total && !reading->lenient))
		return -EINVAL;
	r = collect(reading);
	return r == 0 && mistakes->total && !reading->config->n_services ? -EINVAL : r;
}

static int load(const char *file, const char *dropins, bool lenient, struct config **ret,
		struct config_mistakes *ret_mistakes)
{
	cleanup(config_free) struct config *config = calloc(1, sizeof(*config));
	struct config_reading reading = {
		.config = config, .mistakes = ret_mistakes, .lenient = lenient};
	int r;

	*ret = NULL;
	ret_mistakes->n = 0;
	ret_mistakes->total = 0;
	if (!config)
		return -ENOMEM;
	config->api_gid = (gid_t)-1;
	r = read_all(&reading, file, dropins);
	for (size_t i = 0; i < reading.n_drafts; i++)
		config_draft_free(reading.drafts[i]);
	vector_free(reading.file.texts);
	free(reading.api_source);
	free(reading.rollouts_source);
	if (r == 0)
		*ret = TAKE_PTR(config);
	return r;
}

int config_load(const char *file, const char *dropins, struct config **ret,
		struct config_mistakes *ret_mistakes)
{
	return load(file, dropins, false, ret, ret_mistakes);
}

int config_load_start(const char *file, const char *dropins, struct config **ret,
		      struct config_mistakes *ret_mistakes)
{
	return load(file, dropins, true, ret, ret_mistakes);
}
