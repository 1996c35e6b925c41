/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tiers [ROTATIONS [CLIENTS]]: what replacing a listener loses on each tier of steering.
 *
 * Clients connect as fast as they are answered, one byte each. Meanwhile one listener after the
 * other takes over from the one before: both listen for a moment, then the old one retires, as the
 * row says. Every connection that was refused, reset or left without its byte is lost. Needs no
 * privilege, but a kernel that lets its users have namespaces; the ebpf tier is shown to root only.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/steer.h"

#define CLIENTS_MAX 256
#define PERIOD_MS   10 /* both listen; and between two rotations */
#define SETTLE_MS   2

enum retirement { CLOSE_AT_ONCE, ACCEPT_ALL, STEER_AWAY };

struct row {
	const char *name;
	enum steer_tier tier;
	enum retirement retirement;
	bool migrate;
};

static const struct row rows[] = {
	{"hash, closes at once", STEER_HASH, CLOSE_AT_ONCE, false},
	{"hash, closes at once", STEER_HASH, CLOSE_AT_ONCE, true},
	{"hash, accepts what it has, closes", STEER_HASH, ACCEPT_ALL, false},
	{"hash, accepts what it has, closes", STEER_HASH, ACCEPT_ALL, true},
	{"cbpf, steered away first", STEER_CBPF, STEER_AWAY, false},
	{"cbpf, steered away first", STEER_CBPF, STEER_AWAY, true},
	{"ebpf, steered away first", STEER_EBPF, STEER_AWAY, false},
	{"ebpf, steered away first", STEER_EBPF, STEER_AWAY, true},
};

static struct address address;
static atomic_bool clients_stop;
static atomic_ulong answered, lost;

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "tiers: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- clients -------------------------------------------------------------------------------- */

static void *run_client(void *argument)
{
	/* Each client has an address of its own, so that ports do not run out. */
	struct sockaddr_in source = {.sin_family = AF_INET,
				     .sin_addr.s_addr =
					     htonl(0x7f000100u + (uint32_t)(uintptr_t)argument)};
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	const struct timeval patience = {.tv_sec = 5};
	const int on = 1;

	while (!clients_stop) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		char byte;

		if (fd < 0)
			die("socket");
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (bind(fd, (struct sockaddr *)&source, sizeof(source)) < 0)
			die("bind");
		if (connect(fd, &address.sa, address.length) == 0 && recv(fd, &byte, 1, 0) == 1)
			answered++;
		else
			lost++;
		close(fd);
	}
	return NULL;
}

/* ---- servers -------------------------------------------------------------------------------- */

struct server {
	int fd;
	atomic_bool stop, drain;
	pthread_t thread;
	uint16_t slot;
};

static bool answer_one(int fd)
{
	int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	if (c < 0)
		return false;
	if (send(c, "x", 1, MSG_NOSIGNAL) < 0)
		errno = 0; /* the client counts it */
	close(c);
	return true;
}

static void *run_server(void *argument)
{
	struct server *server = argument;
	struct pollfd readable = {.fd = server->fd, .events = POLLIN};

	while (!server->stop) {
		poll(&readable, 1, 1);
		while (!server->stop && answer_one(server->fd))
			;
	}
	while (server->drain && answer_one(server->fd))
		;
	close(server->fd);
	return NULL;
}

static void begin(struct steer *steer, struct server *server)
{
	struct error err = {};
	bool drift;
	int r;

	if (steer_can(steer_tier(steer), STEER_MAKES_SOCKETS))
		r = steer_listen(steer, 4096, true, &server->fd, &err);
	else
		r = anchor_open(&address, geteuid(), -1, &server->fd, NULL, &err);
	if (r >= 0)
		r = steer_join(steer, server->fd, 0, &server->slot, &drift, &err);
	if (r < 0) {
		errno = -r;
		die(err.text);
	}
	server->stop = server->drain = false;
	if (pthread_create(&server->thread, NULL, run_server, server) != 0)
		die("pthread_create");
}

static void publish(struct steer *steer, const struct server *server)
{
	const struct table_share share = {.slot = server->slot, .weight = 1};
	struct steer_table table;
	struct error err = {};

	table_compute(&share, 1, NULL, 0, NULL, &table);
	if (steer_publish(steer, &table, &err) < 0)
		die(err.text);
}

static void retire(struct steer *steer, struct server *server, enum retirement how)
{
	if (how == STEER_AWAY)
		usleep(SETTLE_MS * 1000);
	server->drain = how != CLOSE_AT_ONCE;
	server->stop = true;
	pthread_join(server->thread, NULL);
	steer_release(steer, server->slot);
}

/* ---- one row -------------------------------------------------------------------------------- */

static void run_row(const struct row *row, unsigned rotations, size_t n_clients)
{
	const struct steer_options options = {.tier = row->tier, .uid = geteuid()};
	struct server servers[2] = {};
	pthread_t clients[CLIENTS_MAX];
	struct error err = {};
	struct steer *steer;
	uint64_t began;

	if (steer_open(&address, &options, &steer, &err) < 0 || steer_reset(steer, &err) < 0 ||
	    steer_attach(steer, &err) < 0)
		die(err.text);
	begin(steer, &servers[0]);
	publish(steer, &servers[0]);
	answered = lost = 0;
	clients_stop = false;
	began = clock_monotonic_ms();
	for (size_t k = 0; k < n_clients; k++)
		if (pthread_create(&clients[k], NULL, run_client, (void *)(uintptr_t)k) != 0)
			die("pthread_create");
	for (unsigned n = 0; n < rotations; n++) {
		struct server *old = &servers[n % 2], *new = &servers[(n + 1) % 2];

		begin(steer, new);
		usleep(PERIOD_MS * 1000);
		publish(steer, new);
		retire(steer, old, row->retirement);
		usleep(PERIOD_MS * 1000);
	}
	clients_stop = true;
	for (size_t k = 0; k < n_clients; k++)
		pthread_join(clients[k], NULL);
	printf("%-36s %d %11lu %8lu %8.1f\n", row->name, row->migrate, answered + lost, lost,
	       (double)(clock_monotonic_ms() - began) / 1000);
	fflush(stdout);
	retire(steer, &servers[rotations % 2], CLOSE_AT_ONCE);
	steer_free(steer);
}

/* ---- surroundings --------------------------------------------------------------------------- */

/* Enter a new network namespace; as an ordinary user inside a new user namespace. */
static void enter_namespace(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	cleanup_close int fd = -1;

	if (unshare(CLONE_NEWNET | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) < 0)
		die("unshare");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		die("set lo up");
}

/*
 * The kernel reads it when a reuseport group is made (sock_reuseport.c): so set it before each row.
 */
static void set_migrate(bool on)
{
	cleanup_close int fd = open("/proc/sys/net/ipv4/tcp_migrate_req", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, on ? "1" : "0", 1) != 1)
		die("/proc/sys/net/ipv4/tcp_migrate_req");
}

int main(int argc, char **argv)
{
	unsigned rotations = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100;
	size_t clients = argc > 2 ? strtoul(argv[2], NULL, 10) : 16;

	if (argc > 3 || rotations == 0 || clients == 0 || clients > CLIENTS_MAX) {
		fprintf(stderr, "usage: tiers [ROTATIONS [CLIENTS]]\n");
		return 2;
	}
	enter_namespace();
	if (address_parse("127.0.0.1:8080", &address, NULL) < 0)
		die("address");
	printf("%u rotations, %zu clients\n", rotations, clients);
	printf("%-34s migrate connections     lost  seconds\n", "the old one ...");
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		set_migrate(rows[k].migrate);
		if (steer_try(rows[k].tier, NULL) < 0)
			continue;
		run_row(&rows[k], rotations, clients);
	}
	return 0;
}
