/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/vector.h"

/*
 * Each string and each list of strings of a service, so that none can be forgotten when they are
 * copied and freed. What .process has is copied and freed by process_settings.h.
 */
static const size_t texts[] = {
	offsetof(struct service_config, name),
	offsetof(struct service_config, id),
	offsetof(struct service_config, user),
	offsetof(struct service_config, group),
	offsetof(struct service_config, home),
	offsetof(struct service_config, shell),
	offsetof(struct service_config, directory),
	offsetof(struct service_config, environment_file),
};

static const size_t vectors[] = {
	offsetof(struct service_config, command),
	offsetof(struct service_config, supplementary_groups),
	offsetof(struct service_config, environment),
	offsetof(struct service_config, hooks.command[HOOK_BEFORE_START]),
	offsetof(struct service_config, hooks.command[HOOK_AFTER_SHIFT]),
	offsetof(struct service_config, hooks.command[HOOK_AFTER_DRAIN]),
	offsetof(struct service_config, hooks.command[HOOK_ON_ROLLBACK]),
	offsetof(struct service_config, hooks.command[HOOK_ON_FAILURE]),
	offsetof(struct service_config, watch),
};

/* The same of a check. */
static const size_t check_texts[] = {
	offsetof(struct health_config, path),         offsetof(struct health_config, host),
	offsetof(struct health_config, method),       offsetof(struct health_config, body),
	offsetof(struct health_config, grpc_service), offsetof(struct health_config, tls_name),
	offsetof(struct health_config, tls_ca),
};

static const size_t check_vectors[] = {
	offsetof(struct health_config, headers),
	offsetof(struct health_config, exec),
};

#define N_CHECK_TEXTS   (sizeof(check_texts) / sizeof(check_texts[0]))
#define N_CHECK_VECTORS (sizeof(check_vectors) / sizeof(check_vectors[0]))

#define N_TEXTS   (sizeof(texts) / sizeof(texts[0]))
#define N_VECTORS (sizeof(vectors) / sizeof(vectors[0]))

_Static_assert(_HOOK_COUNT == 5, "each hook is in the list of vectors");

static char **text_at(const struct service_config *service, size_t i)
{
	return (char **)((char *)service + texts[i]);
}

static char ***vector_at(const struct service_config *service, size_t i)
{
	return (char ***)((char *)service + vectors[i]);
}

static char **check_text_at(const struct health_config *check, size_t i)
{
	return (char **)((char *)check + check_texts[i]);
}

static char ***check_vector_at(const struct health_config *check, size_t i)
{
	return (char ***)((char *)check + check_vectors[i]);
}

void health_config_done(struct health_config *check)
{
	for (size_t i = 0; i < N_CHECK_TEXTS; i++)
		free(*check_text_at(check, i));
	for (size_t i = 0; i < N_CHECK_VECTORS; i++)
		vector_free(*check_vector_at(check, i));
}

static void gate_done(struct gate_config *gate)
{
	free(gate->name);
	vector_free(gate->exec);
	free(gate->http);
}

void service_config_done(struct service_config *service)
{
	for (size_t i = 0; i < N_TEXTS; i++)
		free(*text_at(service, i));
	for (size_t i = 0; i < N_VECTORS; i++)
		vector_free(*vector_at(service, i));
	for (size_t i = 0; i < service->health.n; i++)
		health_config_done(&service->health.list[i]);
	free(service->health.list);
	for (size_t i = 0; i < service->n_gates; i++)
		gate_done(&service->gates[i]);
	free(service->gates);
	process_settings_done(&service->process);
}

void service_config_free(struct service_config *service)
{
	if (!service)
		return;
	service_config_done(service);
	free(service);
}

/* ---- copies --------------------------------------------------------------------------------- */

static int copy_text(const char *text, char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

/* NULL stays NULL: "none" is not "an empty one" everywhere. */
static int copy_vector(char *const *vector, char ***ret)
{
	*ret = NULL;
	return vector ? vector_copy(vector, ret) : 0;
}

static int copy_check(const struct health_config *check, struct health_config *ret)
{
	int r = 0;

	*ret = *check;
	for (size_t i = 0; i < N_CHECK_TEXTS; i++)
		*check_text_at(ret, i) = NULL;
	for (size_t i = 0; i < N_CHECK_VECTORS; i++)
		*check_vector_at(ret, i) = NULL;
	for (size_t i = 0; i < N_CHECK_TEXTS && r == 0; i++)
		r = copy_text(*check_text_at(check, i), check_text_at(ret, i));
	for (size_t i = 0; i < N_CHECK_VECTORS && r == 0; i++)
		r = copy_vector(*check_vector_at(check, i), check_vector_at(ret, i));
	return r;
}

static int copy_checks(const struct checks_config *checks, struct checks_config *copy)
{
	int r = 0;

	if (checks->n == 0)
		return 0;
	copy->list = calloc(checks->n, sizeof(*copy->list));
	if (!copy->list)
		return -ENOMEM;
	while (r == 0 && copy->n < checks->n) {
		r = copy_check(&checks->list[copy->n], &copy->list[copy->n]);
		copy->n++;
	}
	return r;
}

static int copy_gate(const struct gate_config *gate, struct gate_config *ret)
{
	int r;

	*ret = *gate;
	ret->exec = NULL;
	ret->http = NULL;
	r = copy_text(gate->name, &ret->name);
	if (r == 0)
		r = copy_vector(gate->exec, &ret->exec);
	return r < 0 ? r : copy_text(gate->http, &ret->http);
}

static int copy_gates(const struct service_config *service, struct service_config *copy)
{
	int r = 0;

	if (service->n_gates == 0)
		return 0;
	copy->gates = calloc(service->n_gates, sizeof(*copy->gates));
	if (!copy->gates)
		return -ENOMEM;
	while (r == 0 && copy->n_gates < service->n_gates) {
		r = copy_gate(&service->gates[copy->n_gates], &copy->gates[copy->n_gates]);
		copy->n_gates++;
	}
	return r;
}

/* Let go of everything that a plain assignment has left to be shared. */
static void forget_shared(struct service_config *copy)
{
	for (size_t i = 0; i < N_TEXTS; i++)
		*text_at(copy, i) = NULL;
	for (size_t i = 0; i < N_VECTORS; i++)
		*vector_at(copy, i) = NULL;
	copy->health.list = NULL;
	copy->health.n = 0;
	copy->gates = NULL;
	copy->n_gates = 0;
	process_settings_init(&copy->process);
}

struct service_config *service_config_copy(const struct service_config *service)
{
	cleanup(service_config_free) struct service_config *copy = calloc(1, sizeof(*copy));
	int r = copy ? 0 : -ENOMEM;

	assert(service->n_gates <= CONFIG_GATES_MAX && service->health.n <= CONFIG_CHECKS_MAX &&
	       service->n_listen <= CONFIG_LISTEN_MAX);
	if (r < 0)
		return NULL;
	*copy = *service;
	forget_shared(copy);
	for (size_t i = 0; i < N_TEXTS && r == 0; i++)
		r = copy_text(*text_at(service, i), text_at(copy, i));
	for (size_t i = 0; i < N_VECTORS && r == 0; i++)
		r = copy_vector(*vector_at(service, i), vector_at(copy, i));
	if (r == 0)
		r = copy_checks(&service->health, &copy->health);
	if (r == 0)
		r = copy_gates(service, copy);
	if (r == 0)
		r = process_settings_copy(&service->process, &copy->process);
	return r < 0 ? NULL : TAKE_PTR(copy);
}

const char *service_config_id(const struct service_config *service)
{
	return service->id ? service->id : service->name;
}

int service_config_rename(struct service_config *service, const char *name, const char *id)
{
	char *new_name = strdup(name), *new_id = strdup(id);

	if (!new_name || !new_id) {
		free(new_name);
		free(new_id);
		return -ENOMEM;
	}
	free(service->name);
	free(service->id);
	service->name = new_name;
	service->id = new_id;
	return 0;
}

#define SWAP(a, b)                                                                                 \
	do {                                                                                       \
		__typeof__(a) swapped_ = (a);                                                      \
		(a) = (b);                                                                         \
		(b) = swapped_;                                                                    \
	} while (0)

/* The old ones go with the copy. */
int service_config_take_policies(struct service_config *config, const struct service_config *from)
{
	struct service_config *copy = service_config_copy(from);

	if (!copy)
		return -ENOMEM;
	SWAP(config->gates, copy->gates);
	SWAP(config->n_gates, copy->n_gates);
	SWAP(config->rollout, copy->rollout);
	SWAP(config->hooks, copy->hooks);
	SWAP(config->drain, copy->drain);
	service_config_free(copy);
	return 0;
}

/* ---- comparison ----------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_listen(const struct service_config *a, const struct service_config *b)
{
	if (a->n_listen != b->n_listen || a->mode != b->mode || a->backlog != b->backlog ||
	    a->nonblocking != b->nonblocking)
		return false;
	/* Also in the same order: it is the order in which the sockets are passed. */
	for (size_t i = 0; i < a->n_listen; i++)
		if (!address_equal(&a->listen[i], &b->listen[i]))
			return false;
	return true;
}

static bool same_account(const struct service_config *a, const struct service_config *b)
{
	return a->set_ids == b->set_ids && a->uid == b->uid && a->gid == b->gid &&
	       a->n_groups == b->n_groups &&
	       memcmp(a->groups, b->groups, a->n_groups * sizeof(a->groups[0])) == 0 &&
	       same_text(a->user, b->user) && same_text(a->group, b->group) &&
	       same_text(a->home, b->home) && same_text(a->shell, b->shell) &&
	       vector_equal(a->supplementary_groups, b->supplementary_groups);
}

static bool same_resources(const struct cgroup_limits *a, const struct cgroup_limits *b)
{
	return a->memory_max == b->memory_max && a->cpu_max == b->cpu_max &&
	       a->pids_max == b->pids_max;
}

bool service_config_same_release(const struct service_config *a, const struct service_config *b)
{
	return same_text(a->name, b->name) && vector_equal(a->command, b->command) &&
	       same_listen(a, b) && same_account(a, b) && same_text(a->directory, b->directory) &&
	       vector_equal(a->environment, b->environment) &&
	       same_text(a->environment_file, b->environment_file) &&
	       a->environment_inherit == b->environment_inherit &&
	       process_settings_equal(&a->process, &b->process) &&
	       same_resources(&a->resources, &b->resources);
}

/* FNV-1a. The end of each text counts, and so does that there is none. */
static void mix(uint64_t *hash, const char *text)
{
	size_t n = text ? strlen(text) + 1 : 0;

	for (size_t i = 0; i < n; i++)
		*hash = (*hash ^ (unsigned char)text[i]) * 0x100000001b3;
	*hash = (*hash ^ 0xff) * 0x100000001b3;
}

uint64_t service_config_base(const struct service_config *service)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (char **word = service->command; word && *word; word++)
		mix(&hash, *word);
	mix(&hash, NULL);
	for (char **entry = service->environment; entry && *entry; entry++)
		mix(&hash, *entry);
	mix(&hash, service->environment_file);
	mix(&hash, service->directory);
	mix(&hash, service->user);
	return hash;
}
