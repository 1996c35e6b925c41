/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steer_fixture: the ebpf tier on the real kernel: listeners, connections and instances' owners,
 * in a network namespace of their own. Connections carry one byte, an "x".
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/bpffs.h"
#include "orchestrator/steer/steer.h"
#include "orchestrator/steer/table.h"
#include "tests/unit/fakes/netns.h"

#define CONNECTIONS 200
#define DEADLINE_MS 20000

/* Another name in each process: tests run side by side. */
static inline const char *pins_name(void)
{
	static char name[32];

	if (!name[0])
		snprintf(name, sizeof(name), "test-steer-%d", (int)getpid());
	return name;
}

static struct inspect *inspect;
static const char *missing; /* why the tests are skipped; NULL: they are not */
static struct address address;
static struct steer_options options;
static struct error err;

/* ---- tap ---------------------------------------------------------------------------------- */

/* The maps of a service's tap, without their programs. */
struct tap {
	int counts, moved;
};

int tap_counts_fd(const struct tap *tap)
{
	return tap->counts;
}

void tap_probe(struct tap *tap, const struct sockaddr *source)
{
	(void)tap;
	(void)source;
}

void tap_unprobe(struct tap *tap, const struct sockaddr *source)
{
	(void)tap;
	(void)source;
}

int tap_moved_fd(const struct tap *tap)
{
	return tap->moved;
}

/* ---- groups and tables ---------------------------------------------------------------------- */

static inline int group_setup(void **state)
{
	(void)state;
	missing = netns_enter();
	if (missing) {
		print_message("%s\n", missing);
		return 0;
	}
	steer_log_init();
	if (inspect_open(&inspect, &err) < 0)
		print_message("no inspection: %s\n", err.text);
	return 0;
}

static inline int group_teardown(void **state)
{
	(void)state;
	inspect_free(inspect);
	return 0;
}

/* Before each test. */
static inline int setup(void **state)
{
	(void)state;
	assert_int_equal(address_parse("127.0.0.1:8080", &address, &err), 0);
	options = (struct steer_options){.tier = STEER_EBPF, .uid = geteuid(), .inspect = inspect};
	memset(&err, 0, sizeof(err));
	return 0;
}

static inline struct steer *open_steer(void)
{
	struct steer *steer = NULL;

	if (missing)
		skip();
	if (steer_open(&address, &options, &steer, &err) < 0 || steer_reset(steer, &err) < 0 ||
	    steer_attach(steer, &err) < 0)
		fail_msg("%s", err.text);
	return steer;
}

static inline int listener(const struct address *a)
{
	int fd;

	if (anchor_open(a, geteuid(), -1, &fd, NULL, &err) < 0)
		fail_msg("%s", err.text);
	return fd;
}

static inline uint16_t join_as(struct steer *steer, int fd, tap_owner owner)
{
	uint16_t slot;
	bool drift;

	if (steer_join(steer, fd, owner, &slot, &drift, &err) < 0)
		fail_msg("%s", err.text);
	assert_false(drift);
	return slot;
}

static inline uint16_t join(struct steer *steer, int fd)
{
	return join_as(steer, fd, 0);
}

/* Everything to @primary, and what that cannot take to @backup; -1: none. */
static inline void publish(struct steer *steer, int primary, int backup)
{
	struct table_share share = {(uint16_t)primary, 1};
	uint16_t b = (uint16_t)backup;
	struct steer_table table;

	table_compute(&share, primary >= 0, &b, backup >= 0, NULL, &table);
	assert_int_equal(steer_publish(steer, &table, &err), 0);
}

/* ---- pins, and the next daemon --------------------------------------------------------------- */

/* Where the maps are pinned; empty: nowhere. */
static char dir[BPFFS_PATH_MAX];

static inline void use_pins(const char *service)
{
	if (missing)
		skip();
	if (bpffs_make(pins_name(), service, "tcp", dir, &err) < 0)
		fail_msg("%s", err.text);
	options.pin_dir = dir;
}

static inline struct steer *open_successor(void)
{
	struct steer *steer = NULL;

	if (steer_open(&address, &options, &steer, &err) < 0)
		fail_msg("%s", err.text);
	return steer;
}

/* ---- connections ---------------------------------------------------------------------------- */

/* From a source address, where one is given. Returns the socket, or the negative errno. */
static inline int try_connect_from(const char *source, const struct address *to)
{
	int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in from = {.sin_family = AF_INET};
	int r;

	assert_true(fd >= 0);
	if (source) {
		assert_int_equal(inet_pton(AF_INET, source, &from.sin_addr), 1);
		assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	}
	r = connect(fd, &to->sa, to->length) < 0 ? -errno : fd;
	if (r < 0)
		close(fd);
	return r;
}

static inline int try_connect(void)
{
	return try_connect_from(NULL, &address);
}

static inline void connect_many(int *clients, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		clients[k] = try_connect();
		assert_true(clients[k] >= 0);
		assert_int_equal(write(clients[k], "x", 1), 1);
	}
}

static inline void close_many(const int *fds, size_t n)
{
	for (size_t k = 0; k < n; k++)
		close(fds[k]);
}

/* Accept everything queued, see that the byte arrived, and say how many there were. */
static inline size_t accept_all(int fd)
{
	size_t n = 0;

	for (;;) {
		int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		struct pollfd readable = {.fd = c, .events = POLLIN};
		char byte = 0;

		if (c < 0)
			return n;
		assert_int_equal(poll(&readable, 1, DEADLINE_MS), 1);
		assert_int_equal(read(c, &byte, 1), 1);
		assert_int_equal(byte, 'x');
		close(c);
		n++;
	}
}

/* The same of @n connections that have still to get there. */
static inline void accept_n(int fd, size_t n)
{
	size_t got = 0;

	for (int tries = 0; got < n && tries < DEADLINE_MS / 100; tries++) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};

		poll(&readable, 1, 100);
		got += accept_all(fd);
	}
	assert_int_equal(got, n);
}

static inline void assert_reset(int client)
{
	struct pollfd readable = {.fd = client, .events = POLLIN};
	char byte;

	assert_int_equal(poll(&readable, 1, DEADLINE_MS), 1);
	assert_int_equal(read(client, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
}

/* From now on @fd's connections stay half open until they say something. */
static inline void defer_accept(int fd)
{
	int seconds = 30;

	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)),
			 0);
}

/* The listening socket that steer has opened; there must be no other. */
static inline int anchor_of_this_process(void)
{
	int anchor = -1;

	for (int fd = 0; fd < 1024; fd++) {
		socklen_t length = sizeof(int);
		int listening = 0;

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0 ||
		    !listening)
			continue;
		assert_int_equal(anchor, -1);
		anchor = fd;
	}
	assert_true(anchor >= 0);
	return anchor;
}

static inline void say_x(const int *clients, size_t n)
{
	for (size_t k = 0; k < n; k++)
		assert_int_equal(write(clients[k], "x", 1), 1);
}
