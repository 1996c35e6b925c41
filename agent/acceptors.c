/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/acceptors.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/waits.h"
#include "common/diag.h"
#include "common/log.h"

#define DESCRIPTORS_MAX 16384
#define SOCKETS_MAX     65536
#define EPOLLS_MAX      16

/* A growing list of inodes; full: not all of them are there. */
struct inodes {
	uint64_t *list;
	size_t n;
	size_t size;
	bool full;
};

struct acceptors {
	const struct processes *processes;
	struct diag *diag;

	struct acceptor families[ACCEPTORS_MAX]; /* of the last look */
	size_t n_families;
	struct inodes known; /* sockets that a family had when it was first looked at; sorted */
};

/* What one look has found out so far. */
struct look {
	struct acceptors *acceptors;
	struct waits_sockets listening;
	uint64_t inodes[LISTENERS_MAX];
	uint16_t ports[LISTENERS_MAX];
	size_t n_ports;
	struct process_kin *kin;
	size_t n_kin;
	struct acceptor *families;
	size_t n_families;
	struct inodes accepted; /* connections that some process has accepted; sorted */
	bool counted;           /* .accepted has been asked for */
};

/* ---- inodes --------------------------------------------------------------------------------- */

static void add_inode(struct inodes *inodes, uint64_t inode)
{
	if (inodes->n == inodes->size) {
		size_t size = inodes->size ? 2 * inodes->size : 256;
		void *grown = size > SOCKETS_MAX
				      ? NULL
				      : reallocarray(inodes->list, size, sizeof(*inodes->list));

		if (!grown) {
			inodes->full = true;
			return;
		}
		inodes->list = grown;
		inodes->size = size;
	}
	inodes->list[inodes->n++] = inode;
}

static int compare_inodes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void sort_inodes(struct inodes *inodes)
{
	if (inodes->n > 0)
		qsort(inodes->list, inodes->n, sizeof(*inodes->list), compare_inodes);
}

static bool has_inode(const struct inodes *inodes, uint64_t inode)
{
	return inodes->n > 0 &&
	       bsearch(&inode, inodes->list, inodes->n, sizeof(*inodes->list), compare_inodes);
}

/* ---- connections ---------------------------------------------------------------------------- */

static void forget_nothing(void *userdata)
{
	(void)userdata; /* what a repeated dump tells again does no harm */
}

static void note_connection(void *userdata, const struct diag_connection *connection)
{
	if (connection->inode != 0)
		add_inode(userdata, connection->inode);
}

static const struct inodes *accepted(struct look *look)
{
	struct error err;

	if (look->counted)
		return &look->accepted;
	look->counted = true;
	for (size_t i = 0; i < look->n_ports; i++)
		if (diag_each_connection(look->acceptors->diag, look->ports[i], 0, forget_nothing,
					 note_connection, &look->accepted, &err) < 0)
			log_debug("who accepts: %s", err.text);
	sort_inodes(&look->accepted);
	return &look->accepted;
}

/* ---- one process ---------------------------------------------------------------------------- */

/* What a process has open. */
struct table {
	bool holds; /* one of the listening sockets */
	struct inodes sockets;
	int epolls[EPOLLS_MAX];
	size_t n_epolls;
};

static void note_descriptor(const struct look *look, pid_t pid, const char *name, struct table *ret)
{
	char path[64], target[64];
	unsigned long long inode;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", (int)pid, name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return;
	target[n] = '\0';
	if (strcmp(target, "anon_inode:[eventpoll]") == 0 && ret->n_epolls < EPOLLS_MAX)
		ret->epolls[ret->n_epolls++] = (int)strtol(name, NULL, 10);
	if (sscanf(target, "socket:[%llu]", &inode) != 1)
		return;
	if (waits_have(&look->listening, inode))
		ret->holds = true;
	else
		add_inode(&ret->sockets, inode);
}

static void read_table(const struct look *look, pid_t pid, struct table *ret)
{
	struct dirent *entry;
	char path[64];
	DIR *dir;

	*ret = (struct table){0};
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return;
	for (int i = 0; i < DESCRIPTORS_MAX && (entry = readdir(dir)); i++)
		if (entry->d_name[0] != '.')
			note_descriptor(look, pid, entry->d_name, ret);
	closedir(dir);
}

/* ---- families ------------------------------------------------------------------------------- */

static struct acceptor *find_family(struct acceptor *families, size_t n, pid_t head,
				    unsigned long long start)
{
	for (size_t i = 0; i < n; i++)
		if (families[i].head == head && families[i].start == start)
			return &families[i];
	return NULL;
}

/* NULL: there is no room for another one. */
static struct acceptor *family_of(struct look *look, const struct process_kin *kin)
{
	struct acceptor *family =
		find_family(look->families, look->n_families, kin->head, kin->start);

	if (family || look->n_families == ACCEPTORS_MAX)
		return family;
	family = &look->families[look->n_families++];
	*family = (struct acceptor){
		.head = kin->head,
		.forked = kin->forked,
		.start = kin->start,
	};
	return family;
}

/* Does it have connections that were accepted? And one that its family did not have before? */
static void see_connections(struct look *look, const struct table *table, bool is_new,
			    struct acceptor *family)
{
	struct acceptors *acceptors = look->acceptors;

	for (size_t i = 0; i < table->sockets.n; i++) {
		uint64_t inode = table->sockets.list[i];

		if (has_inode(accepted(look), inode)) {
			family->connected = true;
			family->accepts |= !is_new && !acceptors->known.full &&
					   !has_inode(&acceptors->known, inode);
		}
	}
}

static bool watches(const struct look *look, const struct process_kin *kin,
		    const struct table *table)
{
	if (kin->pid != kin->head || kin->forked)
		return false;
	for (size_t i = 0; i < table->n_epolls; i++)
		if (waits_in_epoll(kin->pid, table->epolls[i], &look->listening))
			return true;
	return false;
}

/* *fresh gets the sockets of a family that was not there at the last look. */
static void see_process(struct look *look, const struct process_kin *kin, struct inodes *fresh)
{
	struct acceptors *acceptors = look->acceptors;
	struct acceptor *family, *before;
	struct table table;

	read_table(look, kin->pid, &table);
	family = table.holds ? family_of(look, kin) : NULL;
	if (family) {
		before = find_family(acceptors->families, acceptors->n_families, kin->head,
				     kin->start);
		family->accepts |= before && before->accepts;
		if (!family->accepts)
			family->accepts =
				watches(look, kin, &table) || waits_for(kin->pid, &look->listening);
		see_connections(look, &table, !before, family);
		for (size_t i = 0; !before && i < table.sockets.n; i++)
			add_inode(fresh, table.sockets.list[i]);
	}
	free(table.sockets.list);
}

static int compare_families(const void *a, const void *b)
{
	const struct acceptor *x = a, *y = b;

	if (x->start != y->start)
		return (x->start > y->start) - (x->start < y->start);
	return (x->head > y->head) - (x->head < y->head);
}

static void see_all(struct look *look)
{
	struct acceptors *acceptors = look->acceptors;
	struct inodes fresh = {0};

	for (size_t i = 0; i < look->n_kin; i++)
		see_process(look, &look->kin[i], &fresh);
	for (size_t i = 0; i < look->n_kin; i++) {
		struct acceptor *family = find_family(look->families, look->n_families,
						      look->kin[i].head, look->kin[i].start);

		if (family)
			family->ticks += look->kin[i].ticks;
	}
	for (size_t i = 0; i < fresh.n; i++)
		add_inode(&acceptors->known, fresh.list[i]);
	acceptors->known.full |= fresh.full;
	sort_inodes(&acceptors->known);
	free(fresh.list);
}

/* ---- the whole ------------------------------------------------------------------------------ */

int acceptors_new(const struct processes *processes, struct acceptors **ret, struct error *err)
{
	cleanup(acceptors_free) struct acceptors *acceptors = calloc(1, sizeof(*acceptors));
	int r;

	if (!acceptors)
		return error_set(err, -ENOMEM, "who accepts");
	acceptors->processes = processes;
	r = diag_open(&acceptors->diag, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(acceptors);
	return 0;
}

void acceptors_free(struct acceptors *acceptors)
{
	if (!acceptors)
		return;
	diag_free(acceptors->diag);
	free(acceptors->known.list);
	free(acceptors);
}

static void note_listeners(const struct listeners *listeners, struct look *ret)
{
	ret->listening.inodes = ret->inodes;
	for (size_t i = 0; i < listeners->n; i++) {
		const struct listener *listener = &listeners->list[i];
		uint16_t port = address_port(&listener->address);
		bool known = false;

		if (!listener->counts || !listener->listens)
			continue;
		ret->inodes[ret->listening.n++] = listener->inode;
		for (size_t k = 0; k < ret->n_ports; k++)
			known |= ret->ports[k] == port;
		if (!known)
			ret->ports[ret->n_ports++] = port;
	}
}

int acceptors_look(struct acceptors *acceptors, const struct listeners *listeners,
		   struct acceptor ret[static ACCEPTORS_MAX])
{
	struct look look = {.acceptors = acceptors, .families = ret};
	int r;

	note_listeners(listeners, &look);
	if (look.listening.n == 0) {
		acceptors->n_families = 0;
		return 0;
	}
	r = processes_kin(acceptors->processes, &look.kin, &look.n_kin);
	if (r < 0)
		return r;
	see_all(&look);
	if (look.n_families > 0)
		qsort(ret, look.n_families, sizeof(*ret), compare_families);
	memcpy(acceptors->families, ret, look.n_families * sizeof(*ret));
	acceptors->n_families = look.n_families;
	free(look.kin);
	free(look.accepted.list);
	return (int)look.n_families;
}
