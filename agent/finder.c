/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/finder.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/holders.h"
#include "common/backoff.h"
#include "common/diag.h"
#include "common/log.h"
#include "common/privilege.h"

/* So many listening sockets are remembered; a host has a few hundred. */
#define SIGHTINGS_MAX 4096

/* A socket that so many looks found in no process of the instance is foreign. */
#define TRIES_MAX 8

/* Delays before a socket that was not found is looked for again: the first, and the longest. */
#define LOOK_AGAIN_MS     10
#define LOOK_AGAIN_MAX_MS 1000

enum verdict {
	VERDICT_NEW,      /* not decided yet */
	VERDICT_KNOWN,    /* it is among the listeners */
	VERDICT_STRANGER, /* it is the instance's, on an undeclared address */
	VERDICT_FOREIGN,  /* it is not the instance's, or cannot be steered */
};

/* A listening socket that the kernel has told of. */
struct sighting {
	uint64_t cookie;
	uint64_t inode;
	struct address address;
	enum verdict verdict;
	unsigned tries;
	uint64_t look_ms; /* NEW: do not look for its holder before this time */
};

struct sightings {
	struct sighting *list;
	size_t n;
	size_t size;
	int error; /* -ENOMEM: not all of them are there */
};

struct finder {
	const struct launch_spec *spec;
	const struct processes *processes;
	struct diag *diag;
	struct sightings last;              /* sorted by cookie */
	char trouble[PROTOCOL_TROUBLE_MAX]; /* see finder_trouble() */
	uint64_t trouble_cookie;            /* of the socket that it is about */
	uint32_t trouble_endpoint;          /* its endpoint */
	bool crowded_said;
};

int finder_new(const struct launch_spec *spec, const struct processes *processes,
	       struct finder **ret, struct error *err)
{
	cleanup(finder_free) struct finder *finder = calloc(1, sizeof(*finder));
	int r;

	if (!finder)
		return error_set(err, -ENOMEM, "finder");
	finder->spec = spec;
	finder->processes = processes;
	r = diag_open(&finder->diag, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(finder);
	return 0;
}

void finder_free(struct finder *finder)
{
	if (!finder)
		return;
	diag_free(finder->diag);
	free(finder->last.list);
	free(finder);
}

/* ---- what the kernel says ------------------------------------------------------------------- */

static void forget_sightings(void *userdata)
{
	((struct sightings *)userdata)->n = 0;
}

static void note_sighting(void *userdata, const struct diag_listening *listening)
{
	struct sightings *sightings = userdata;
	struct sighting *sighting;

	if (sightings->n >= SIGHTINGS_MAX)
		return;
	if (sightings->n == sightings->size) {
		size_t size = sightings->size ? 2 * sightings->size : 64;
		void *grown = reallocarray(sightings->list, size, sizeof(*sightings->list));

		if (!grown) {
			sightings->error = -ENOMEM;
			return;
		}
		sightings->list = grown;
		sightings->size = size;
	}
	sighting = &sightings->list[sightings->n];
	*sighting = (struct sighting){.cookie = listening->cookie, .inode = listening->inode};
	if (address_from(&listening->local.sa, listening->v6only, &sighting->address) == 0)
		sightings->n++;
}

static int compare_cookies(const void *a, const void *b)
{
	uint64_t x = ((const struct sighting *)a)->cookie, y = ((const struct sighting *)b)->cookie;

	return (x > y) - (x < y);
}

/* Copy what earlier looks have found out. */
static void remember(struct sightings *now, const struct sightings *before)
{
	for (size_t i = 0; i < now->n && before->n > 0; i++) {
		const struct sighting *known = bsearch(&now->list[i], before->list, before->n,
						       sizeof(*before->list), compare_cookies);

		if (!known)
			continue;
		now->list[i].verdict = known->verdict;
		now->list[i].tries = known->tries;
		now->list[i].look_ms = known->look_ms;
	}
}

/*
 * The id of the cgroup to filter by; 0: do not filter. The kernel compares the socket's own cgroup,
 * but not those above it. So the filter would hide the sockets of cgroups that the server has made
 * below. Each of these adds a link to the directory.
 */
static uint64_t cgroup_filter(const struct finder *finder)
{
	struct stat st;

	if (!finder->spec->cgroup || stat(finder->spec->cgroup, &st) < 0 || st.st_nlink > 2)
		return 0;
	return st.st_ino;
}

static int ask_kernel(struct finder *finder, uint64_t cgroup_id, struct error *err)
{
	struct sightings now = {0};
	int r;

	r = diag_each_listener(finder->diag, cgroup_id, forget_sightings, note_sighting, &now, err);
	if (r == 0 && now.error < 0)
		r = error_set(err, now.error, "listening sockets");
	if (r < 0) {
		free(now.list);
		return r;
	}
	if (now.n > 0)
		qsort(now.list, now.n, sizeof(*now.list), compare_cookies);
	remember(&now, &finder->last);
	free(finder->last.list);
	finder->last = now;
	return 0;
}

/* ---- whose they are ------------------------------------------------------------------------- */

/* The endpoint with its address, in either family, or -1. */
static int endpoint_of(const struct finder *finder, const struct sighting *sighting)
{
	for (size_t i = 0; i < finder->spec->n_listen; i++)
		if (address_equal(&finder->spec->listen[i], &sighting->address) ||
		    address_are_twins(&finder->spec->listen[i], &sighting->address))
			return (int)i;
	return -1;
}

/* How many of them the next report may have to name. */
static size_t count_present(const struct listeners *listeners)
{
	size_t n = 0;

	for (size_t i = 0; i < listeners->n; i++)
		n += !listeners->list[i].earlier &&
		     (listeners->list[i].counts || listeners->list[i].out_serial == 0);
	return n;
}

/* If it is the server's, it gets no connections. People must be able to find out why. */
static void note_trouble(struct finder *finder, const struct sighting *sighting, const char *format,
			 ...) __attribute__((format(printf, 3, 4)));

static void note_trouble(struct finder *finder, const struct sighting *sighting, const char *format,
			 ...)
{
	int endpoint = endpoint_of(finder, sighting);
	va_list ap;

	if (finder->trouble[0])
		return;
	va_start(ap, format);
	vsnprintf(finder->trouble, sizeof(finder->trouble), format, ap);
	va_end(ap);
	finder->trouble_cookie = sighting->cookie;
	finder->trouble_endpoint = endpoint < 0 ? 0 : (uint32_t)endpoint;
	log_warning("the server %s", finder->trouble);
}

/* Can the instance have no other socket? @n: how many it has already. */
static bool is_crowded(struct finder *finder, const struct sighting *sighting, bool ours, size_t n)
{
	if (n < PROTOCOL_SET_MAX)
		return false;
	/* Without a cgroup it may be anybody's. */
	if (ours)
		note_trouble(finder, sighting,
			     "listens on %s by a socket too many, which gets no connections: one "
			     "instance can have %d; have fewer workers with a socket each",
			     sighting->address.text, PROTOCOL_SET_MAX);
	else if (!finder->crowded_said)
		log_warning("more than %d listening sockets: further ones are not used",
			    PROTOCOL_SET_MAX);
	finder->crowded_said = true;
	return true;
}

/* Decide what can be decided without looking at processes. @ours: its cgroup is the instance's. */
static void judge(const struct finder *finder, struct sighting *sighting, bool ours,
		  struct listeners *listeners)
{
	if (listeners_find(listeners, sighting->cookie))
		sighting->verdict = VERDICT_KNOWN;
	else if (ours && endpoint_of(finder, sighting) < 0)
		sighting->verdict = VERDICT_STRANGER;
}

/* *ret: those whose holder must be looked for now. Those that do not fit wait for the next look. */
static void choose_candidates(struct finder *finder, bool ours, struct listeners *listeners,
			      uint64_t now_ms, struct listeners *ret)
{
	size_t n = count_present(listeners);

	for (size_t i = 0; i < finder->last.n; i++) {
		struct sighting *sighting = &finder->last.list[i];
		struct listener candidate = {
			.fd = -1,
			.cookie = sighting->cookie,
			.inode = sighting->inode,
			.own = true,
			.listens = true,
			.address = sighting->address,
		};
		int endpoint = endpoint_of(finder, sighting);

		if (sighting->verdict == VERDICT_NEW)
			judge(finder, sighting, ours, listeners);
		if (sighting->verdict != VERDICT_NEW || now_ms < sighting->look_ms)
			continue;
		candidate.endpoint = endpoint < 0 ? UINT32_MAX : (uint32_t)endpoint;
		if (endpoint < 0 || !is_crowded(finder, sighting, ours, n++))
			(void)listeners_add(ret, &candidate);
	}
}

static struct sighting *sighting_of(struct finder *finder, const struct listener *listener)
{
	const struct sighting key = {.cookie = listener->cookie};

	return bsearch(&key, finder->last.list, finder->last.n, sizeof(*finder->last.list),
		       compare_cookies);
}

/*
 * The instance holds it: add it to the listeners, with its descriptor, if its address is declared.
 */
static enum verdict take(struct listeners *listeners, struct listener *candidate)
{
	if (candidate->endpoint == UINT32_MAX)
		return VERDICT_STRANGER;
	if (listeners_add(listeners, candidate) < 0)
		return VERDICT_NEW;
	candidate->fd = -1;
	return VERDICT_KNOWN;
}

static bool is_refused(int error)
{
	return error == -EACCES || error == -EPERM || error == -ENOSYS;
}

/* Forget it if its socket is gone, or could be taken after all. */
static void forget_trouble(struct finder *finder)
{
	const struct sighting key = {.cookie = finder->trouble_cookie}, *found = NULL;

	if (!finder->trouble[0])
		return;
	if (finder->last.n > 0)
		found = bsearch(&key, finder->last.list, finder->last.n, sizeof(*finder->last.list),
				compare_cookies);
	if (!found || found->verdict == VERDICT_KNOWN)
		finder->trouble[0] = '\0';
}

/* What refuses: that we look into the process, or the system call itself? */
static void note_refused(struct finder *finder, const struct sighting *sighting, int error)
{
	static const struct privilege_need need = {.call = "pidfd_open(2) and pidfd_getfd(2)"};
	pid_t blind = holders_blind(finder->processes);
	char advice[PRIVILEGE_TEXT_MAX];

	if (blind != 0) {
		note_trouble(finder, sighting,
			     "listens on %s, but baton may not look into pid %d: is it a program "
			     "with file capabilities, or of another user?",
			     sighting->address.text, (int)blind);
		return;
	}
	note_trouble(finder, sighting,
		     "listens on %s, but its socket cannot be taken (pidfd_getfd: %s%s); or use "
		     "mode \"inherit\"",
		     sighting->address.text, strerror(-error),
		     privilege_explain(error, &need, advice));
}

/* It cannot change: do not look for it again. */
static void refuse_mptcp(struct finder *finder, struct sighting *sighting)
{
	note_trouble(finder, sighting,
		     "listens on %s with MPTCP, which cannot be steered: have it listen with TCP",
		     sighting->address.text);
	sighting->verdict = VERDICT_FOREIGN;
}

/* It was not found, or could not be fetched (@error): look again later, or give it up. */
static void postpone(struct finder *finder, bool ours, struct sighting *sighting, int error,
		     uint64_t now_ms)
{
	bool blind = endpoint_of(finder, sighting) >= 0 && is_refused(error);
	uint64_t delay_ms = backoff_delay_ms(LOOK_AGAIN_MS, LOOK_AGAIN_MAX_MS, sighting->tries);

	if (++sighting->tries >= TRIES_MAX && blind) {
		note_refused(finder, sighting, error);
	} else if (sighting->tries >= TRIES_MAX && !ours) {
		sighting->verdict = VERDICT_FOREIGN;
		return;
	}
	sighting->look_ms = now_ms + delay_ms;
	if (sighting->tries < TRIES_MAX || blind || endpoint_of(finder, sighting) < 0)
		return;
	if (error < 0)
		note_trouble(finder, sighting,
			     "listens on %s, but no duplicate of its socket can be had: %s",
			     sighting->address.text, strerror(-error));
	else
		note_trouble(finder, sighting,
			     "listens on %s by a socket that no process of the instance has open: "
			     "it gave it away, or left its cgroup",
			     sighting->address.text);
}

int finder_look(struct finder *finder, struct listeners *listeners, uint64_t now_ms,
		struct error *err)
{
	uint64_t cgroup_id = cgroup_filter(finder);
	struct listeners candidates = {0};
	int r, error;

	r = ask_kernel(finder, cgroup_id, err);
	if (r < 0)
		return r;
	forget_trouble(finder);
	choose_candidates(finder, cgroup_id != 0, listeners, now_ms, &candidates);
	if (candidates.n == 0) {
		listeners_done(&candidates);
		return 0;
	}
	error = holders_fetch(finder->processes, &candidates);
	for (size_t i = 0; i < candidates.n; i++) {
		struct listener *candidate = &candidates.list[i];
		struct sighting *sighting = sighting_of(finder, candidate);

		if (candidate->fd >= 0)
			sighting->verdict = take(listeners, candidate);
		else if (candidate->mptcp)
			refuse_mptcp(finder, sighting);
		if (sighting->verdict == VERDICT_NEW)
			postpone(finder, cgroup_id != 0, sighting, error, now_ms);
	}
	listeners_close(&candidates);
	listeners_done(&candidates);
	return 0;
}

uint64_t finder_delay_ms(const struct finder *finder, uint64_t now_ms)
{
	uint64_t delay_ms = UINT64_MAX;

	for (size_t i = 0; i < finder->last.n; i++) {
		const struct sighting *sighting = &finder->last.list[i];
		uint64_t one_ms = LOOK_AGAIN_MAX_MS; /* one that was passed over: it is crowded */

		if (sighting->verdict != VERDICT_NEW)
			continue;
		if (sighting->look_ms > now_ms)
			one_ms = sighting->look_ms - now_ms;
		if (one_ms < delay_ms)
			delay_ms = one_ms;
	}
	return delay_ms;
}

const char *finder_trouble(const struct finder *finder, uint32_t *ret_endpoint)
{
	*ret_endpoint = finder->trouble[0] ? finder->trouble_endpoint : 0;
	return finder->trouble;
}

/* ---- strangers ------------------------------------------------------------------------------ */

static int compare_texts(const void *a, const void *b)
{
	return strcmp(a, b);
}

size_t finder_strangers(const struct finder *finder,
			char ret[static PROTOCOL_STRANGERS_MAX][ADDRESS_TEXT_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < finder->last.n && n < PROTOCOL_STRANGERS_MAX; i++) {
		const struct sighting *sighting = &finder->last.list[i];
		bool known = sighting->verdict != VERDICT_STRANGER;

		for (size_t j = 0; j < n && !known; j++)
			known = strcmp(ret[j], sighting->address.text) == 0;
		if (!known)
			strcpy(ret[n++], sighting->address.text);
	}
	qsort(ret, n, sizeof(ret[0]), compare_texts);
	return n;
}
