/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/run_config.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/fields.h"

char *cli_run_service_name(const char *command, char buffer[static CLI_SERVICE_MAX])
{
	const char *slash = strrchr(command, '/');
	size_t n = 0;

	for (const char *c = slash ? slash + 1 : command; *c && n < CLI_SERVICE_MAX - 1; c++) {
		bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
			     (*c >= '0' && *c <= '9') || *c == '_';

		if (plain)
			buffer[n++] = *c;
		else if (n && buffer[n - 1] != '-')
			buffer[n++] = '-';
	}
	while (n && buffer[n - 1] == '-')
		n--;
	buffer[n] = '\0';
	if (!n)
		strcpy(buffer, "service");
	return buffer;
}

/* Set @key of @object to the text @value. */
static int put_text(json_t *object, const char *key, const char *value, struct error *err)
{
	json_t *text = json_string(value);

	if (!text)
		return error_text(err, -EINVAL, "%s: \"%s\" is not UTF-8 text", key, value);
	return json_object_set_new(object, key, text) < 0 ? error_set(err, -ENOMEM, "%s", key) : 0;
}

static int put_texts(json_t *object, const char *key, const char *const *values, size_t n,
		     struct error *err)
{
	json_t *array = json_array();

	if (json_object_set_new(object, key, array) < 0)
		return error_set(err, -ENOMEM, "%s", key);
	for (size_t i = 0; i < n; i++) {
		json_t *text = json_string(values[i]);

		if (!text)
			return error_text(err, -EINVAL, "%s: \"%s\" is not UTF-8 text", key,
					  values[i]);
		if (json_array_append_new(array, text) < 0)
			return error_set(err, -ENOMEM, "%s", key);
	}
	return 0;
}

/* Set @key of @object to a new object, and return that, borrowed; NULL without memory. */
static json_t *put_object(json_t *object, const char *key)
{
	json_t *inner = json_object();

	return json_object_set_new(object, key, inner) < 0 ? NULL : inner;
}

/* batond checks names more strictly; here it suffices that they can be printed. */
static bool is_variable(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return length > 0;
}

int cli_run_environment(const struct cli_run_options *options, json_t *object, struct error *err)
{
	json_t *environment;
	int r = 0;

	if (!options->n_environment)
		return 0;
	environment = put_object(object, "environment");
	if (!environment)
		return error_set(err, -ENOMEM, "environment");
	for (size_t i = 0; r == 0 && i < options->n_environment; i++) {
		const char *text = options->environment[i];
		const char *equals = strchr(text, '=');
		cleanup_free char *name = NULL;

		if (!equals || !is_variable(text, (size_t)(equals - text)))
			return error_text(err, -EINVAL, "--env: \"%s\" is not NAME=VALUE", text);
		name = strndup(text, (size_t)(equals - text));
		if (!name)
			return error_set(err, -ENOMEM, "environment");
		r = put_text(environment, name, equals + 1, err);
	}
	return r;
}

static int put_health(json_t *service, const struct cli_run_options *options, struct error *err)
{
	json_t *health;
	int r = 0;

	if (options->health && options->notify)
		return error_text(err, -EINVAL,
				  "--health and --notify exclude each other: readiness comes from "
				  "one of them");
	if (!options->health && !options->notify && !options->start_timeout)
		return 0;
	health = put_object(service, "health");
	if (!health)
		return error_set(err, -ENOMEM, "health");
	if (options->health)
		r = put_text(health, "http", options->health, err);
	if (r == 0 && options->notify && json_object_set_new(health, "notify", json_true()) < 0)
		r = error_set(err, -ENOMEM, "health");
	if (r == 0 && options->start_timeout)
		r = put_text(health, "start_timeout", options->start_timeout, err);
	return r;
}

static int put_drain(json_t *service, const struct cli_run_options *options, struct error *err)
{
	json_t *drain;
	int r = 0;

	if (!options->drain_signal && !options->drain_timeout)
		return 0;
	drain = put_object(service, "drain");
	if (!drain)
		return error_set(err, -ENOMEM, "drain");
	if (options->drain_signal)
		r = put_text(drain, "signal", options->drain_signal, err);
	if (r == 0 && options->drain_timeout)
		r = put_text(drain, "timeout", options->drain_timeout, err);
	return r;
}

/* The options that are each a key of the service with a text. */
static int put_words(json_t *service, const struct cli_run_options *options, struct error *err)
{
	const struct {
		const char *key, *value;
	} words[] = {
		{"mode", options->mode},
		{"steering", options->steering},
		{"hold", options->hold},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(words) / sizeof(words[0]); i++)
		if (words[i].value)
			r = put_text(service, words[i].key, words[i].value, err);
	return r;
}

static int put_service(json_t *service, const struct cli_run_options *options,
		       const char *directory, char *const *command, struct error *err)
{
	size_t n = 0;
	int r;

	while (command[n])
		n++;
	r = put_texts(service, "command", (const char *const *)command, n, err);
	if (r == 0)
		r = put_texts(service, "listen", options->listen, options->n_listen, err);
	if (r == 0)
		r = put_text(service, "directory", directory, err);
	if (r == 0 && json_object_set_new(service, "environment_inherit", json_true()) < 0)
		r = error_set(err, -ENOMEM, "environment_inherit");
	if (r == 0 && options->nonblocking &&
	    json_object_set_new(service, "nonblocking", json_true()) < 0)
		r = error_set(err, -ENOMEM, "nonblocking");
	if (r == 0 && options->instances &&
	    json_object_set_new(service, "instances", json_integer(options->instances)) < 0)
		r = error_set(err, -ENOMEM, "instances");
	if (r == 0)
		r = put_words(service, options, err);
	if (r == 0)
		r = cli_run_environment(options, service, err);
	if (r == 0)
		r = put_health(service, options, err);
	if (r == 0)
		r = put_drain(service, options, err);
	return r;
}

int cli_run_config(const struct cli_run_options *options, const char *directory,
		   char *const *command, json_t **ret, struct error *err)
{
	cleanup(json_decref) json_t *config = json_object();
	char name[CLI_SERVICE_MAX];
	json_t *services, *service;
	int r;

	assert(command && command[0]);
	*ret = NULL;
	if (!options->n_listen)
		return error_text(err, -EINVAL,
				  "no address to listen on: name at least one, for example\n"
				  "    baton run --listen 127.0.0.1:8080 -- %s",
				  command[0]);
	r = put_text(config, "source", "command line", err);
	if (r < 0)
		return r;
	services = put_object(config, "services");
	service = put_object(services, options->service ? options->service
							: cli_run_service_name(command[0], name));
	if (!service)
		return error_text(err, -EINVAL, "--service: not a name");
	r = put_service(service, options, directory, command, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(config);
	return 0;
}
