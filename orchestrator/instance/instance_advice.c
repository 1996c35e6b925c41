/* SPDX-License-Identifier: BSD-2-Clause */
/* Gathers the facts from which common/advice.h makes sentences. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/advice.h"
#include "common/clean.h"
#include "common/wanted_files.h"
#include "common/cleanup.h"
#include "orchestrator/host/account.h"
#include "orchestrator/instance/instance_internal.h"

/* Has it answered a question there, whatever the answer was? */
static bool has_answered(const struct instance *i, size_t k)
{
	for (size_t j = 0; j < i->checks.n; j++) {
		const struct checker *checker = &i->checks.list[j].checker;

		if (i->checks.list[j].endpoint != k)
			continue;
		if (checker->health.state == HEALTH_HEALTHY ||
		    (checker->last_ms && checker->last.status != 0))
			return true;
	}
	return false;
}

static bool has_own(const struct instance *i, size_t k)
{
	for (size_t j = 0; j < i->sockets.n; j++)
		if (i->sockets.list[j].endpoint == k && i->sockets.list[j].own)
			return true;
	return false;
}

static bool has_any(const struct instance *i, size_t k)
{
	for (size_t j = 0; j < i->sockets.n; j++)
		if (i->sockets.list[j].endpoint == k)
			return true;
	return false;
}

/*
 * The endpoints that its server has no socket for. A passed socket that nobody accepts from is
 * none, if the server has others that it binds itself.
 */
static uint32_t missing(const struct instance *i)
{
	bool binds = i->n_strangers > 0;
	uint32_t ret = 0;

	for (size_t k = 0; k < i->config->n_listen; k++)
		binds |= has_own(i, k);
	for (size_t k = 0; k < i->config->n_listen; k++)
		if (!has_own(i, k) && !has_answered(i, k) && (binds || !has_any(i, k)))
			ret |= UINT32_C(1) << k;
	return ret;
}

/* "" if that cannot be told, or it is a kernel thread. */
static void read_link(pid_t pid, const char *file, char *ret, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	n = readlink(path, ret, size - 1);
	ret[n > 0 ? n : 0] = '\0';
	clean_name(ret);
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A process of the instance that executes another program than the main process does; 0: none. */
static pid_t find_other_program(const struct instance *i, const char *program, char *ret,
				size_t size)
{
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;

	if (!i->processes || processes_list(i->processes, &pids, &n) < 0)
		return 0;
	for (size_t k = 0; k < n; k++) {
		if (pids[k] == i->pid || (i->link && pids[k] == agentlink_pid(i->link)))
			continue;
		read_link(pids[k], "exe", ret, size);
		if (ret[0] && strcmp(ret, program) != 0)
			return pids[k];
	}
	return 0;
}

/* Sockets were passed, and nobody uses them: does LISTEN_PID name somebody else than the server? */
static void advise_wrapper(const struct instance *i, char ret[static ADVICE_TEXT_MAX])
{
	char program[PATH_MAX], other[PATH_MAX];
	bool passed = i->config->mode == SOCKETS_INHERIT || i->config->mode == SOCKETS_AUTO;
	pid_t pid;

	for (size_t k = 0; k < i->config->n_listen; k++)
		passed &= !has_answered(i, k) && !has_own(i, k);
	if (!passed || i->names_fds || i->ready || i->pid == 0)
		return;
	read_link(i->pid, "exe", program, sizeof(program));
	pid = program[0] ? find_other_program(i, program, other, sizeof(other)) : 0;
	if (pid != 0)
		snprintf(
			ret, ADVICE_TEXT_MAX,
			"is most likely pid %d (%.64s), but LISTEN_PID has the pid of its wrapper, "
			"%d (%.64s); " ADVICE_WRAPPER,
			(int)pid, last_part(other), (int)i->pid, last_part(program));
}

_Static_assert(PROTOCOL_TROUBLE_MAX <= ADVICE_TEXT_MAX, "it fits");

char *instance_advise(const struct instance *i, char ret[static ADVICE_TEXT_MAX])
{
	const struct advice_addresses facts = {
		.declared = i->config->listen,
		.n_declared = i->config->n_listen,
		.missing = missing(i),
		.strangers = i->strangers,
		.n_strangers = i->n_strangers,
	};

	/* It would be among those that are missing. */
	if (i->unusable[0])
		strcpy(ret, i->unusable);
	else if (i->obstacle[0] && i->pid == 0)
		snprintf(ret, ADVICE_TEXT_MAX, "%.*s", ADVICE_TEXT_MAX - 1, i->obstacle);
	else if (!advice_addresses(&facts, ret)[0])
		advise_wrapper(i, ret);
	return ret;
}

char *instance_advise_file(const struct instance *i, bool sockets, char ret[static ADVICE_TEXT_MAX])
{
	bool several = i->config->instances > 1;
	struct wanted_file_facts facts = {
		.again = i->restarts > 0,
		.several = several,
	};

	ret[0] = '\0';
	wanted_file_find(i->tail, &facts.file);
	if (!facts.file.kind || (sockets && facts.file.kind != WANTED_FILE_SOCKET))
		return ret;
	facts.others = several || i->callbacks->is_served(i->userdata, i, 0);
	return wanted_file_advise(&facts, ret);
}

char *instance_advise_in_use(const struct instance *i, const struct report *report,
			     char ret[static ADVICE_TEXT_MAX])
{
	cleanup(account_free) struct account *owner = NULL, *user = NULL;
	const struct service_config *c = i->config;
	struct tap *tap = i->cgroup[0] ? i->wiring->tap : NULL;
	struct advice_in_use facts = {
		.declared = c->listen,
		.n_declared = c->n_listen,
		.lingers = report->lingers,
		.wrapper = report->wrapper[0] ? report->wrapper : NULL,
		.owner = c->uid,
		.has_uid = report->has_uid,
		.uid = report->uid,
		.shares = tap && (c->mode == SOCKETS_AUTO || c->mode == SOCKETS_TRANSPARENT),
		.inherits = c->mode == SOCKETS_INHERIT,
		.could_share = tap,
		.cannot_share = i->wiring->no_tap,
	};
	struct tap_bound bound = {};

	if (advice_find_address(i->tail, &bound.address) == 0)
		facts.bound = &bound.address;
	if (tap && tap_bound(tap, i->generation, i->index, &bound) >= 0) {
		facts.bound = &bound.address;
		/* A worker of the server's may have changed its user, and not the server itself. */
		if (bound.uid != c->uid) {
			facts.has_uid = true;
			facts.uid = bound.uid;
		}
	}
	if (account_of_this_host(facts.owner, &owner) == 0)
		facts.owner_name = owner->name;
	if (facts.has_uid && account_of_this_host(facts.uid, &user) == 0)
		facts.user_name = user->name;
	return advice_in_use(&facts, ret);
}
