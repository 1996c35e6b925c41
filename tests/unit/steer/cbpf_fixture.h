/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cbpf_fixture: for the tests of the cbpf tier, on real groups and as nobody: this tier is for
 * those who have no privilege.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/steer.h"
#include "orchestrator/steer/table.h"
#include "tests/unit/fakes/netns.h"

#define NOBODY  65534
#define MEMBERS 64

static const char *missing;     /* why the tests are skipped; NULL: they are not */
static struct address endpoint; /* of the test that runs */
static struct address target;   /* where its clients connect to */

/* The last one is dual-stack: tests go on with an IPv6 client of it. */
static const char *const endpoints[] = {
	"127.0.0.1:8080",          "[::1]:8080", "0.0.0.0:8080", "[::]:8080",
	"[::ffff:127.0.0.1]:8080", ":8080"};
#define N_ENDPOINTS (sizeof(endpoints) / sizeof(endpoints[0]))

/* ---- sockets -------------------------------------------------------------------------------- */

static inline void use_endpoint(const char *text)
{
	assert_int_equal(address_parse(text, &endpoint, NULL), 0);
	address_local(&endpoint, &target);
}

/* A client that leaves no TIME_WAIT behind. */
static inline int new_client(void)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	const struct timeval patience = {.tv_sec = 5};
	int fd = socket(target.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static inline int connected(void)
{
	int fd = new_client();

	assert_int_equal(connect(fd, &target.sa, target.length), 0);
	return fd;
}

/* Which of @fds has a connection in its queue? It is taken out. */
static inline size_t accepted_by(const int *fds, size_t n)
{
	struct pollfd polls[MEMBERS];

	assert_true(n <= MEMBERS);
	for (size_t k = 0; k < n; k++)
		polls[k] = (struct pollfd){.fd = fds[k], .events = POLLIN};
	if (poll(polls, n, 5000) <= 0)
		fail_msg("the connection has reached none of them");
	for (size_t k = 0; k < n; k++) {
		if (polls[k].revents & POLLIN) {
			close(accept4(fds[k], NULL, NULL, SOCK_CLOEXEC));
			return k;
		}
	}
	fail_msg("no listener is readable");
	return n;
}

static inline size_t reached(const int *fds, size_t n)
{
	int client = connected();
	size_t k = accepted_by(fds, n);

	close(client);
	return k;
}

static inline void assert_all_reach(const int *fds, size_t n, size_t who, int times)
{
	while (times-- > 0)
		assert_int_equal(reached(fds, n), who);
}

/* A listening socket that somebody else has made. */
static inline int foreign(void)
{
	int fd;
	struct error err = {};

	if (anchor_open(&endpoint, geteuid(), -1, &fd, NULL, &err) < 0)
		fail_msg("%s", err.text);
	return fd;
}

static inline void close_all(const int *fds, size_t n)
{
	for (size_t k = 0; k < n; k++)
		close(fds[k]);
}

/* ---- the tier ------------------------------------------------------------------------------- */

static inline struct steer *open_with(bool sticky)
{
	const struct steer_options options = {
		.tier = STEER_CBPF, .uid = geteuid(), .sticky = sticky};
	struct steer *steer = NULL;
	struct error err = {};

	if (steer_open(&endpoint, &options, &steer, &err) < 0)
		fail_msg("%s", err.text);
	return steer;
}

static inline void attach(struct steer *steer)
{
	struct error err = {};

	if (steer_attach(steer, &err) < 0)
		fail_msg("%s", err.text);
}

static inline struct steer *open_steer(void)
{
	struct steer *steer;

	if (missing)
		skip();
	steer = open_with(false);
	assert_int_equal(steer_reset(steer, NULL), 0);
	attach(steer);
	return steer;
}

static inline uint16_t join(struct steer *steer, int fd)
{
	struct error err = {};
	uint16_t slot = STEER_NO_SLOT;
	bool drift = true;

	if (steer_join(steer, fd, 0, &slot, &drift, &err) < 0)
		fail_msg("%s", err.text);
	assert_false(drift);
	return slot;
}

/* Sockets of others are searched with connections, which a server would accept and find reset. */
static inline uint16_t join_foreign(struct steer *steer, int fd, const int *others, size_t n)
{
	uint16_t slot = join(steer, fd);

	anchor_sweep(fd);
	for (size_t k = 0; k < n; k++)
		anchor_sweep(others[k]);
	return slot;
}

static inline int make(struct steer *steer, uint16_t *ret_slot)
{
	struct error err = {};
	int fd;

	if (steer_listen(steer, 4096, true, &fd, &err) < 0)
		fail_msg("%s", err.text);
	*ret_slot = join(steer, fd);
	return fd;
}

static inline void publish_shares(struct steer *steer, const uint16_t *slots, size_t n,
				  const uint16_t *backup, size_t n_backup)
{
	struct table_share shares[MEMBERS];
	struct steer_table table;
	struct error err = {};

	for (size_t k = 0; k < n; k++)
		shares[k] = (struct table_share){.slot = slots[k], .weight = 1};
	table_compute(shares, n, backup, n_backup, NULL, &table);
	if (steer_publish(steer, &table, &err) < 0)
		fail_msg("%s", err.text);
}

static inline void publish(struct steer *steer, uint16_t slot)
{
	publish_shares(steer, &slot, 1, NULL, 0);
}

/* A client that is bound to a port, and where it comes from. */
static inline int bound_client(struct sockaddr_storage *ret_source)
{
	struct address source = target;
	socklen_t length = sizeof(*ret_source);
	int fd = new_client();

	source.in.sin_port = 0;
	assert_int_equal(bind(fd, &source.sa, source.length), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret_source, &length), 0);
	return fd;
}

/* Which of @fds gets a connection that is pinned to @slot? */
static inline size_t reached_by_pin(struct steer *steer, uint16_t slot, const int *fds, size_t n)
{
	struct sockaddr_storage source = {};
	int client = bound_client(&source);
	size_t k;

	assert_int_equal(steer_pin(steer, (struct sockaddr *)&source, slot), 0);
	assert_int_equal(connect(client, &target.sa, target.length), 0);
	k = accepted_by(fds, n);
	steer_unpin(steer, (struct sockaddr *)&source);
	close(client);
	return k;
}

static inline void assert_pins_reach(struct steer *steer, const int *fds, const uint16_t *slots,
				     size_t n)
{
	for (size_t k = 0; k < n; k++)
		assert_int_equal(reached_by_pin(steer, slots[k], fds, n), k);
}

/* ---- the process ---------------------------------------------------------------------------- */

static inline size_t open_descriptors(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static inline void become_nobody(void)
{
	assert_int_equal(setgroups(0, NULL), 0);
	assert_int_equal(setresgid(NOBODY, NOBODY, NOBODY), 0);
	assert_int_equal(setresuid(NOBODY, NOBODY, NOBODY), 0);
	/* For the leak checker, which looks at the process from outside. */
	assert_int_equal(prctl(PR_SET_DUMPABLE, 1), 0);
}
