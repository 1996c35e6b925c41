/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/group.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "common/diag.h"
#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/group_internal.h"
#include "orchestrator/steer/socket.h"

#define DECOY_BACKLOG 128

/* How often a socket that was moved is looked for again before we give up. */
#define PLACE_TRIES 4

/* ---- sockets -------------------------------------------------------------------------------- */

static int open_decoy(struct group *g, struct error *err)
{
	cleanup_close int fd = -1;
	unsigned k = 0;
	int r, mss;

	while (k < POSITIONS_MAX && g->decoys[k].fd >= 0)
		k++;
	if (k == POSITIONS_MAX)
		return error_text(err, -ENOSPC, "more than %d decoys", POSITIONS_MAX);
	mss = (int)(GROUP_DECOY_MSS + k);
	r = anchor_bind(&g->address, g->options.uid, &fd, err);
	if (r < 0)
		return r;
	if (setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss)) < 0)
		return error_set(err, -errno, "TCP_MAXSEG");
	if (listen(fd, DECOY_BACKLOG) < 0)
		return error_set(err, -errno, "listen");
	g->decoys[k] = (struct decoy){.cookie = steer_cookie(fd), .fd = fd};
	positions_opened(&g->positions, g->decoys[k].cookie);
	TAKE_FD(fd);
	return 0;
}

static struct decoy *find_decoy(struct group *g, uint64_t cookie)
{
	for (size_t k = 0; k < POSITIONS_MAX; k++)
		if (g->decoys[k].fd >= 0 && g->decoys[k].cookie == cookie)
			return &g->decoys[k];
	return NULL;
}

bool group_is_decoy(const struct group *g, uint64_t cookie)
{
	for (size_t k = 0; k < POSITIONS_MAX; k++)
		if (g->decoys[k].fd >= 0 && g->decoys[k].cookie == cookie)
			return true;
	return false;
}

static void close_decoy(struct group *g, uint64_t cookie)
{
	struct decoy *decoy = find_decoy(g, cookie);

	if (!decoy)
		return;
	/*
	 * What is in its queue is reset by the kernel. Closing alone is not enough: a child between
	 * fork(2) and exec(2) may have it too, and then it would go at some later time.
	 */
	shutdown(decoy->fd, SHUT_RD);
	close(decoy->fd);
	decoy->fd = -1;
	positions_closed(&g->positions, cookie);
}

unsigned group_sweep(struct group *g)
{
	unsigned n = 0;

	for (size_t k = 0; k < POSITIONS_MAX; k++)
		if (g->decoys[k].fd >= 0)
			n += anchor_sweep(g->decoys[k].fd);
	return n;
}

int group_attach(struct group *g, struct sock_filter *code, size_t n, struct error *err)
{
	const struct sock_fprog program = {.len = (unsigned short)n, .filter = code};
	int fd = g->member_fd;

	for (size_t k = 0; fd < 0 && k < POSITIONS_MAX; k++)
		fd = g->decoys[k].fd;
	if (fd < 0)
		return error_text(err, -ENOTCONN, "the group has not been entered");
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) == 0)
		return 0;
	if (errno == ENOMEM)
		return error_text(
			err, -ENOMEM,
			"attach a program of %zu instructions: Cannot allocate memory (is "
			"net.core.optmem_max large enough?)",
			n);
	return error_set(err, -errno, "attach the program to the group");
}

/* ---- who is there --------------------------------------------------------------------------- */

struct census {
	const struct address *address;
	uint64_t cookies[POSITIONS_MAX];
	size_t n; /* may be more than there is room for */
};

static void reset_census(void *userdata)
{
	struct census *census = userdata;

	census->n = 0;
}

static void count_listener(void *userdata, const struct diag_listening *listening)
{
	struct census *census = userdata;

	if (!socket_is_of_group(census->address, &listening->local.sa, listening->v6only))
		return;
	if (census->n < POSITIONS_MAX)
		census->cookies[census->n] = listening->cookie;
	census->n++;
}

static bool is_counted(const struct census *census, uint64_t cookie)
{
	for (size_t i = 0; i < census->n; i++)
		if (census->cookies[i] == cookie)
			return true;
	return false;
}

/* Sockets that have come stand at the end, as far as we know, in some order. */
static int add_member(struct group *g, uint64_t cookie, struct error *err)
{
	int r = positions_added(&g->positions, cookie);

	if (r < 0)
		return error_text(err, r, "more sockets in the group than can be steered");
	g->positions.list[g->positions.n - 1].lost = true;
	return 0;
}

static int take_census(struct group *g, struct error *err)
{
	struct census census = {.address = &g->address};
	int r;

	r = diag_each_listener(g->diag, 0, reset_census, count_listener, &census, err);
	if (r < 0)
		return r;
	if (census.n > POSITIONS_MAX)
		return error_text(err, -ENOSPC, "more than %d sockets in the group", POSITIONS_MAX);
	/* From the end: what moves into a gap has been looked at already. */
	for (size_t i = g->positions.n; i-- > 0;) {
		const struct position *p = &g->positions.list[i];

		if (!p->decoy && !is_counted(&census, p->cookie))
			positions_removed(&g->positions, p->cookie);
	}
	for (size_t i = 0; r >= 0 && i < census.n; i++)
		if (positions_find(&g->positions, census.cookies[i]) < 0)
			r = add_member(g, census.cookies[i], err);
	return r;
}

/* ---- putting the decoys right --------------------------------------------------------------- */

/*
 * Close the decoy that stands at the position which the model has for @cookie. Which decoy that is
 * is measured: sockets that died in another order than we heard of have mixed the decoys up.
 * -ESTALE: none stands there.
 */
static int close_decoy_at(struct group *g, uint64_t cookie, struct error *err)
{
	size_t position = (size_t)positions_find(&g->positions, cookie);
	uint64_t there = 0;
	int r;

	g->closing = (int)position;
	r = group_ask(g, position, &there, err);
	if (r >= 0 && !there)
		r = error_text(err, -ESTALE, "the order of the group cannot be made out");
	if (r >= 0) {
		positions_found(&g->positions, there, position);
		close_decoy(g, there);
	}
	g->closing = -1;
	return r;
}

static bool last_is_lost(const struct group *g)
{
	return g->positions.n > 0 && g->positions.list[g->positions.n - 1].lost;
}

/*
 * Do the steps that are left. @patient: not while the last socket is lost, which is still to be
 * found: a decoy behind it would keep it there for ever.
 */
static int settle(struct group *g, bool patient, bool *ret_moved, struct error *err)
{
	bool asked = false;

	*ret_moved = false;
	for (int n = 0; n < 4 * POSITIONS_MAX; n++) {
		enum positions_step step;
		uint64_t cookie;
		int r;

		step = positions_next(&g->positions, &cookie);
		if (step == POSITIONS_DONE || (patient && last_is_lost(g)))
			return 0;
		if (step == POSITIONS_CLOSE && !g->positions.list[g->positions.n - 1].decoy)
			*ret_moved = true;
		r = step == POSITIONS_OPEN ? open_decoy(g, err) : close_decoy_at(g, cookie, err);
		if (r == -ESTALE && !asked) {
			asked = true;
			r = group_ask_all(g, err);
		}
		if (r < 0)
			return r;
	}
	return error_text(err, -ESTALE, "the order of the group cannot be made out");
}

static struct position *find_member(struct group *g, uint64_t cookie)
{
	int position = positions_find(&g->positions, cookie);

	return position < 0 ? NULL : &g->positions.list[position];
}

/*
 * Find the socket, move it to the position that it should have, and look whether it is there:
 * others may have come or gone meanwhile.
 */
static int place(struct group *g, int fd, uint64_t cookie, struct error *err)
{
	/* A decoy whose queue is full does not answer. */
	group_sweep(g);
	for (int n = 0; n < PLACE_TRIES; n++) {
		struct position *member;
		bool moved;
		int r;

		r = take_census(g, err);
		if (r < 0)
			return r;
		member = find_member(g, cookie);
		if (!member || member->decoy)
			return error_text(err, -EINVAL, "the socket does not listen there");
		if (member->lost)
			r = group_locate(g, fd, cookie, err);
		if (r >= 0)
			r = settle(g, true, &moved, err);
		if (r < 0 || !moved)
			return r;
		member = find_member(g, cookie);
		member->lost = true;
	}
	return error_text(err, -EAGAIN, "too many sockets come and go");
}

/* ---- life ----------------------------------------------------------------------------------- */

int group_open(const struct address *address, const struct group_options *options,
	       struct group **ret, struct error *err)
{
	cleanup(group_free) struct group *g = calloc(1, sizeof(*g));
	cleanup_close int fd = -1;
	int r;

	if (!g)
		return error_set(err, -ENOMEM, "group");
	g->address = *address;
	g->options = *options;
	g->member_fd = g->closing = -1;
	for (size_t k = 0; k < POSITIONS_MAX; k++)
		g->decoys[k].fd = -1;
	r = diag_open(&g->diag, err);
	if (r >= 0)
		r = anchor_bind(&g->address, g->options.uid, &fd, err);
	if (r >= 0)
		r = take_census(g, err);
	if (r >= 0 && g->positions.n == 0)
		r = group_enter(g, -1, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(g);
	return 0;
}

void group_free(struct group *g)
{
	if (!g)
		return;
	/* The last one first: as long as there are some behind them, no real socket moves. */
	for (size_t i = g->positions.n; i-- > 0;)
		if (g->positions.list[i].decoy)
			close_decoy(g, g->positions.list[i].cookie);
	diag_free(g->diag);
	free(g);
}

bool group_is_entered(const struct group *g)
{
	return g->entered;
}

int group_enter(struct group *g, int member_fd, struct error *err)
{
	bool moved;
	int r;

	assert(!g->entered);
	r = take_census(g, err);
	if (r < 0)
		return r;
	if (member_fd < 0 && g->positions.n > 0)
		return error_text(err, -EADDRINUSE,
				  "others listen there already: is another batond, or a `baton "
				  "run`, serving it?");
	if (member_fd >= 0) {
		if (!find_member(g, steer_cookie(member_fd)))
			return error_text(err, -EINVAL, "the socket does not listen there");
		g->member_fd = member_fd;
		r = g->options.program(g->options.userdata, NULL, err);
		g->member_fd = -1;
	}
	if (r >= 0)
		r = settle(g, false, &moved, err);
	if (r >= 0)
		g->entered = true;
	return r;
}

/* ---- members -------------------------------------------------------------------------------- */

static int make_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

int group_listen(struct group *g, int backlog, bool nonblocking, int *ret_fd, struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	r = anchor_bind(&g->address, g->options.uid, &fd, err);
	if (r < 0)
		return r;
	/* Then those that stand before this one are known. */
	r = take_census(g, err);
	if (r < 0)
		return r;
	if (listen(fd, backlog) < 0)
		return error_set(err, -errno, "listen");
	r = place(g, fd, steer_cookie(fd), err);
	if (r < 0)
		return r;
	/* Our own connections: nothing else can have come here. */
	anchor_sweep(fd);
	if (!nonblocking) {
		r = make_blocking(fd);
		if (r < 0)
			return error_set(err, r, "duplicate a socket");
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int group_join(struct group *g, int fd, uint64_t cookie, struct error *err)
{
	return group_find(g, cookie) >= 0 ? 0 : place(g, fd, cookie, err);
}

int group_rejoin(struct group *g, int fd, uint64_t cookie, struct error *err)
{
	struct position *member = find_member(g, cookie);

	if (member && !member->decoy)
		member->lost = true;
	return place(g, fd, cookie, err);
}

bool group_has_changed(struct group *g)
{
	struct census census = {.address = &g->address};

	if (diag_each_listener(g->diag, 0, reset_census, count_listener, &census, NULL) < 0 ||
	    census.n > POSITIONS_MAX)
		return false;
	for (size_t i = 0; i < g->positions.n; i++)
		if (!is_counted(&census, g->positions.list[i].cookie))
			return true;
	return census.n != g->positions.n;
}

int group_update(struct group *g, bool patient, struct error *err)
{
	bool moved;
	int r = take_census(g, err);

	return r < 0 ? r : settle(g, patient, &moved, err);
}

int group_find(const struct group *g, uint64_t cookie)
{
	int position = positions_find(&g->positions, cookie);

	return position >= 0 && g->positions.list[position].lost ? -ENOENT : position;
}

uint16_t group_nowhere(const struct group *g)
{
	/* The lowest does not move before it is closed; which decoy is being closed is known. */
	for (size_t i = 0; i < g->positions.n; i++)
		if (g->positions.list[i].decoy && (int)i != g->closing)
			return (uint16_t)i;
	return 0;
}

size_t group_members(const struct group *g, uint16_t ret[static POSITIONS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < g->positions.n; i++)
		if (!g->positions.list[i].decoy)
			ret[n++] = (uint16_t)i;
	return n;
}
