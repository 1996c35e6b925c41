/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "orchestrator/steer/group_internal.h"
#include "orchestrator/steer/key.h"

/* A listener with a full queue does not answer at all. */
#define ANSWER_MS   500
#define SILENCE_MAX 3

/* RFC 7323: what the option takes from each segment. */
#define TIMESTAMPS_SIZE 12

/* What Linux says of a listener without TCP_MAXSEG (tcp.c: TCP_MSS_DEFAULT). */
#define MSS_NOT_SET 536

/*
 * The MSS of a socket that is searched. The first one is above what networks have, and harms
 * nobody. It does not show if the loopback device has a small MTU, or the socket a small buffer:
 * the client keeps to half of the window (tcp_output.c: tcp_bound_to_half_wnd()). The second one
 * shows.
 */
static const unsigned searched_mss[] = {30011, GROUP_DECOY_MSS - 50};

/* ---- one connection ------------------------------------------------------------------------- */

/* Bound to a port of its own: nobody else has its pin. */
static int open_client(const struct address *local, int *ret_fd, struct steer_pin_key *ret_source,
		       struct error *err)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	const struct timeval patience = {.tv_usec = ANSWER_MS * 1000};
	struct address source = *local;
	cleanup_close int fd = -1;
	socklen_t length = source.length;

	fd = socket(local->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, -errno, "make a socket");
	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return error_set(err, -errno, "set a socket's options");
	source.in.sin_port = 0; /* in the same place for both families */
	if (bind(fd, &source.sa, source.length) < 0 || getsockname(fd, &source.sa, &length) < 0)
		return error_set(err, -errno, "bind a source port");
	(void)key_of(&source.sa, ret_source); /* one of the two families */
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int read_mss(int fd, unsigned *ret, struct error *err)
{
	struct tcp_info info;
	socklen_t length = sizeof(info);
	int mss;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
		return error_set(err, -errno, "TCP_INFO");
	length = sizeof(mss);
	if (getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &length) < 0)
		return error_set(err, -errno, "TCP_MAXSEG");
	*ret = (unsigned)mss + (info.tcpi_options & TCPI_OPT_TIMESTAMPS ? TIMESTAMPS_SIZE : 0);
	return 0;
}

/* The MSS of who answers at @position. 0: nobody does. */
static int ask_mss(struct group *g, size_t position, unsigned *ret, struct error *err)
{
	struct classic_pin pin = {.position = (uint16_t)position};
	cleanup_close int fd = -1;
	struct address local;
	int r;

	address_local(&g->address, &local);
	r = open_client(&local, &fd, &pin.source, err);
	if (r >= 0)
		r = g->options.program(g->options.userdata, &pin, err);
	if (r < 0)
		return r;
	if (connect(fd, &local.sa, local.length) == 0)
		return read_mss(fd, ret, err);
	if (errno != EINPROGRESS) /* the timeout */
		return error_set(err, -errno, "connect to %s", local.text);
	*ret = 0;
	return 0;
}

/* Whose MSS that is; 0: not one of our decoys'. */
static uint64_t decoy_with_mss(const struct group *g, unsigned mss)
{
	unsigned k = mss - GROUP_DECOY_MSS;

	if (mss < GROUP_DECOY_MSS || k >= POSITIONS_MAX || g->decoys[k].fd < 0)
		return 0;
	return g->decoys[k].cookie;
}

static int count_silence(unsigned mss, int *silent, struct error *err)
{
	if (mss == 0 && ++*silent == SILENCE_MAX)
		return error_text(err, -ETIMEDOUT, "the sockets there do not answer");
	return 0;
}

int group_ask(struct group *g, size_t position, uint64_t *ret_cookie, struct error *err)
{
	unsigned mss = 0;
	int r = ask_mss(g, position, &mss, err);

	if (r >= 0)
		*ret_cookie = decoy_with_mss(g, mss);
	return r;
}

int group_ask_all(struct group *g, struct error *err)
{
	int silent = 0;

	for (size_t position = 0; position < g->positions.n; position++) {
		unsigned mss = 0;
		uint64_t decoy;
		int r;

		r = ask_mss(g, position, &mss, err);
		if (r >= 0)
			r = count_silence(mss, &silent, err);
		if (r < 0)
			return r;
		decoy = decoy_with_mss(g, mss);
		if (decoy)
			positions_found(&g->positions, decoy, position);
	}
	return 0;
}

/* ---- searching ------------------------------------------------------------------------------ */

/*
 * The position to ask next: that of the socket in the model; those of others that are lost; those
 * of decoys, from the end; the rest. -1: all have been asked.
 */
static int next_place(const struct group *g, uint64_t cookie, const bool *asked)
{
	int guess = positions_find(&g->positions, cookie), best = -1, best_rank = 0;

	if (guess >= 0 && !asked[guess])
		return guess;
	for (size_t i = 0; i < g->positions.n; i++) {
		const struct position *p = &g->positions.list[i];
		int rank = p->lost ? 3 : p->decoy ? 2 : 1;

		if (!asked[i] && (rank > best_rank || (rank == 2 && best_rank == 2))) {
			best = (int)i;
			best_rank = rank;
		}
	}
	return best;
}

static int search(struct group *g, uint64_t cookie, unsigned mss, struct error *err)
{
	bool asked[POSITIONS_MAX] = {};
	int place, silent = 0;

	while ((place = next_place(g, cookie, asked)) >= 0) {
		unsigned answer = 0;
		uint64_t decoy;
		int r;

		r = ask_mss(g, (size_t)place, &answer, err);
		if (r >= 0)
			r = count_silence(answer, &silent, err);
		if (r < 0)
			return r;
		asked[place] = true;
		decoy = decoy_with_mss(g, answer);
		if (answer == mss || decoy)
			positions_found(&g->positions, decoy ? decoy : cookie, (size_t)place);
		if (answer == mss)
			return 0;
	}
	return -ENOENT;
}

int group_locate(struct group *g, int fd, uint64_t cookie, struct error *err)
{
	socklen_t length = sizeof(int);
	int before, r = -ENOENT;

	if (getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &before, &length) < 0)
		return error_set(err, -errno, "TCP_MAXSEG");
	if (before == MSS_NOT_SET)
		before = 0;
	for (size_t k = 0; r == -ENOENT && k < sizeof(searched_mss) / sizeof(*searched_mss); k++) {
		int mss = (int)searched_mss[k];

		if (setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss)) < 0)
			return error_set(err, -errno, "TCP_MAXSEG");
		r = search(g, cookie, searched_mss[k], err);
		setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &before, sizeof(before));
	}
	if (r == -ENOENT)
		return error_text(err, -EINVAL,
				  "the socket is not in the group: a connection reaches it from no "
				  "position");
	return r;
}
