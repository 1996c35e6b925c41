/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tap_fixture: tap on real cgroups, below the own one, in a network namespace of its own.
 *
 * A socket belongs to the cgroup that its maker is in at socket(2), so a test that only needs the
 * sockets of an instance moves into its cgroup for that moment.
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "common/clock.h"
#include "common/log.h"
#include "orchestrator/steer/bpffs.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/steer/tap.h"
#include "tests/unit/fakes/count_fds.h"
#include "tests/unit/fakes/netns.h"

#define PATIENCE_MS 20000
#define LEAVES      2

static const char *missing; /* why the tests are skipped; NULL: they are not */
static char home[CGROUP_PATH_MAX], base[CGROUP_PATH_MAX], leaves[LEAVES][CGROUP_PATH_MAX];
static sd_event *loop;
static struct error err;

/* What the callbacks were called with last, and how often. */
static struct {
	unsigned zeros, programs, ipv4, listens;
	uint32_t generation, instance;
	size_t endpoint;
	pid_t pid;
	char comm[32];
	struct tap *free_in_zero; /* on_zero frees it */
} seen;

static void on_zero(void *userdata, uint32_t generation, uint32_t instance)
{
	assert_ptr_equal(userdata, &seen);
	seen.zeros++;
	seen.generation = generation;
	seen.instance = instance;
	tap_free(seen.free_in_zero);
}

static void on_program(void *userdata, uint32_t generation, uint32_t instance, pid_t pid,
		       const char *comm)
{
	assert_ptr_equal(userdata, &seen);
	seen.programs++;
	seen.generation = generation;
	seen.instance = instance;
	seen.pid = pid;
	snprintf(seen.comm, sizeof(seen.comm), "%s", comm);
}

static void on_ipv4(void *userdata, uint32_t generation, uint32_t instance, size_t k, pid_t pid,
		    const char *comm)
{
	on_program(userdata, generation, instance, pid, comm);
	seen.programs--;
	seen.ipv4++;
	seen.endpoint = k;
}

static void on_listen(void *userdata, uint32_t generation, uint32_t instance)
{
	assert_ptr_equal(userdata, &seen);
	seen.listens++;
	seen.generation = generation;
	seen.instance = instance;
}

static const struct tap_callbacks callbacks = {
	.on_listen = on_listen,
	.on_zero = on_zero,
	.on_program = on_program,
	.on_ipv4 = on_ipv4,
};

/* ---- cgroups -------------------------------------------------------------------------------- */

static inline void enter(const char *cgroup)
{
	char procs[CGROUP_PATH_MAX + 16];
	int fd;

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup);
	fd = open(procs, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "0", 1), 1);
	close(fd);
}

static inline int fixture_open(void **state)
{
	(void)state;
	missing = netns_enter();
	if (!missing && cgroup_base(".", home, &err) < 0)
		missing = err.text;
	if (missing) {
		print_message("skipped: %s\n", missing);
		return 0;
	}
	log_init("test", LOG_LEVEL_ERROR);
	return sd_event_new(&loop) < 0 ? -1 : 0;
}

static inline int fixture_close(void **state)
{
	(void)state;
	sd_event_unref(loop);
	return 0;
}

static inline int setup(void **state)
{
	char name[64];

	(void)state;
	memset(&seen, 0, sizeof(seen));
	memset(&err, 0, sizeof(err));
	if (missing)
		return 0;
	snprintf(name, sizeof(name), "baton-test-tap-%d", getpid());
	if (cgroup_base(name, base, &err) < 0)
		return -1;
	for (size_t k = 0; k < LEAVES; k++) {
		uint64_t id;

		snprintf(name, sizeof(name), "web.1.%zu", k);
		if (cgroup_create(base, name, leaves[k], &id, &err) < 0)
			return -1;
	}
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	if (missing)
		return 0;
	cgroup_kill(base);
	cgroup_wait_empty(base, PATIENCE_MS);
	return cgroup_remove(base);
}

/* ---- tap ---------------------------------------------------------------------------------- */

/* For the addresses @texts, separated by blanks. */
static inline struct tap *open_tap(const char *pin_dir, const char *texts)
{
	struct address addresses[TAP_LISTEN_MAX];
	struct tap *tap = NULL;
	char copy[256], *rest = copy, *text;
	size_t n = 0;

	if (missing)
		skip();
	snprintf(copy, sizeof(copy), "%s", texts);
	while ((text = strsep(&rest, " ")))
		assert_int_equal(address_parse(text, &addresses[n++], &err), 0);
	if (tap_open(loop, pin_dir, NULL, &callbacks, &seen, &tap, &err) < 0 ||
	    tap_declare(tap, addresses, n, &err) < 0)
		fail_msg("%s", err.text);
	return tap;
}

/* Leaf @k is instance @k of generation 1. */
static inline void attach(struct tap *tap, uint32_t k, bool share)
{
	if (tap_attach(tap, leaves[k], 1, k, share, &err) < 0)
		fail_msg("%s", err.text);
}

static inline struct tap_count count_of(struct tap *tap, uint32_t k)
{
	struct tap_count count;

	assert_int_equal(tap_count(tap, 1, k, &count), 0);
	return count;
}

#define assert_count(tap, k, accepted_, live_, closed_, reset_)                                    \
	do {                                                                                       \
		struct tap_count now_ = count_of(tap, k);                                          \
		assert_int_equal(now_.accepted, accepted_);                                        \
		assert_int_equal(now_.live, live_);                                                \
		assert_int_equal(now_.closed, closed_);                                            \
		assert_int_equal(now_.reset, reset_);                                              \
	} while (0)

/* Run the loop until @condition, at most PATIENCE_MS. */
#define wait_for(condition)                                                                        \
	do {                                                                                       \
		uint64_t deadline_ = clock_monotonic_ms() + PATIENCE_MS;                           \
		while (!(condition)) {                                                             \
			assert_true(sd_event_run(loop, 2000) >= 0);                                \
			if (clock_monotonic_ms() > deadline_)                                      \
				fail_msg("never: %s", #condition);                                 \
		}                                                                                  \
	} while (0)

/* Everything that is there for the loop already. */
static inline void run_loop(void)
{
	for (int n = 0; n < 100 && sd_event_run(loop, 0) > 0; n++)
		;
}

/* ---- sockets -------------------------------------------------------------------------------- */

/* A TCP socket of the cgroup (NULL: of nobody's), for @text's family. */
static inline int socket_in(const char *cgroup, const struct address *address)
{
	int fd, zero = 0, on = 1;

	if (cgroup)
		enter(cgroup);
	fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (cgroup)
		enter(home);
	assert_true(fd >= 0);
	/* Connections of earlier tests are in TIME_WAIT. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, address_v6only(address) ? &on : &zero,
			   sizeof(on));
	return fd;
}

/* Bind and listen; the descriptor, or the negative errno of what failed. */
static inline int listen_on(int fd, const struct address *address)
{
	if (bind(fd, &address->sa, address->length) < 0 || listen(fd, 4096) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

static inline struct address parse(const char *text)
{
	struct address address;

	if (address_parse(text, &address, &err) < 0)
		fail_msg("%s", err.text);
	return address;
}

static inline int listener_in(const char *cgroup, const char *text)
{
	struct address address = parse(text);

	return listen_on(socket_in(cgroup, &address), &address);
}

static inline int client_of(const char *text)
{
	struct address address = parse(text), local;
	int fd;

	address_local(&address, &local);
	fd = socket(local.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (connect(fd, &local.sa, local.length) < 0)
		fail_msg("connect to %s: %s", text, strerror(errno));
	return fd;
}

static inline int accept_from(int listener)
{
	struct pollfd readable = {.fd = listener, .events = POLLIN};
	int fd;

	assert_int_equal(poll(&readable, 1, PATIENCE_MS), 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* With a reset, not a FIN. */
static inline void abort_fd(int fd)
{
	struct linger linger = {.l_onoff = 1};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	close(fd);
}

static inline uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length), 0);
	return cookie;
}
