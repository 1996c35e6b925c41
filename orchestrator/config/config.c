/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/config/config_internal.h"
#include "orchestrator/host/file.h"

/* ---- objects -------------------------------------------------------------------------------- */

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_services; i++)
		service_config_done(&config->services[i]);
	free(config->services);
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

static int read_file(struct config_reading *reading, const char *file)
{
	cleanup_free char *text = NULL;
	size_t length;
	int r;

	reading->source = file;
	r = file_read(file, CONFIG_FILE_MAX, &text, &length);
	if (r == -ENOMEM)
		return r;
	if (r == -EFBIG)
		config_mistake(reading, "", "larger than %d bytes", CONFIG_FILE_MAX);
	else if (r < 0)
		config_mistake(reading, "", "%s", strerror(-r));
	return r < 0 ? 0 : read_text(reading, text, length);
}

/* "*.json", but not what editors and package managers hide. */
static int is_dropin(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0;
}

/* Not alphasort(3), whose order depends on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_dropins(struct config_reading *reading, const char *folder)
{
	struct dirent **entries = NULL;
	int n = scandir(folder, &entries, is_dropin, by_name);
	int r = 0;

	reading->source = folder;
	if (n < 0 && errno == ENOENT)
		return 0;
	if (n < 0 && errno == ENOMEM)
		return -ENOMEM;
	if (n < 0)
		config_mistake(reading, "", "%s", strerror(errno));
	else if (n > CONFIG_DROPINS_MAX)
		config_mistake(reading, "", "more than %d files", CONFIG_DROPINS_MAX);
	for (int i = 0; i < n; i++) {
		cleanup_free char *file = NULL;

		if (r == 0 && i < CONFIG_DROPINS_MAX)
			r = asprintf(&file, "%s/%s", folder, entries[i]->d_name) < 0
				    ? (file = NULL, -ENOMEM)
				    : read_file(reading, file);
		free(entries[i]);
	}
	free(entries);
	return r;
}

static int compare_services(const void *a, const void *b)
{
	const struct service_config *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* Move the services out of the drafts. */
static int collect(struct config_reading *reading)
{
	struct config *config = reading->config;

	config->services =
		calloc(reading->n_drafts ? reading->n_drafts : 1, sizeof(*config->services));
	if (!config->services)
		return -ENOMEM;
	for (size_t i = 0; i < reading->n_drafts; i++) {
		config->services[i] = reading->drafts[i]->service;
		reading->drafts[i]->service = (struct service_config){0};
	}
	config->n_services = reading->n_drafts;
	qsort(config->services, config->n_services, sizeof(*config->services), compare_services);
	return 0;
}

static int read_all(struct config_reading *reading, const char *file, const char *dropins)
{
	int r;

	reading->config->file = strdup(file);
	if (!reading->config->file)
		return -ENOMEM;
	r = read_file(reading, file);
	if (r == 0 && dropins)
		r = read_dropins(reading, dropins);
	if (r < 0)
		return r;
	return reading->mistakes->total ? -EINVAL : collect(reading);
}

int config_load(const char *file, const char *dropins, struct config **ret,
		struct config_mistakes *ret_mistakes)
{
	cleanup(config_free) struct config *config = calloc(1, sizeof(*config));
	struct config_reading reading = {.config = config, .mistakes = ret_mistakes};
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
	free(reading.api_source);
	if (r == 0)
		*ret = TAKE_PTR(config);
	return r;
}
