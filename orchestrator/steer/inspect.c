/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/inspect.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/privilege.h"
#include "ebpf/inspect.h"
#include "ebpf/inspect.skel.h"

struct inspect {
	struct inspect_bpf *skeleton;
	struct bpf_link *link;
	uint32_t n_watched;
	uint64_t walks;   /* through all that are watched */
	uint64_t seen_ms; /* when the last of them was; CLOCK_MONOTONIC; 0: never */
};

int inspect_open(struct inspect **ret, struct error *err)
{
	cleanup(inspect_free) struct inspect *inspect = calloc(1, sizeof(*inspect));
	char advice[PRIVILEGE_TEXT_MAX];
	libbpf_print_fn_t print;
	int r;

	if (!inspect)
		return error_set(err, -ENOMEM, "inspect");
	/* If it is refused the caller says so, and libbpf would guess the wrong reason. */
	print = libbpf_set_print(NULL);
	inspect->skeleton = inspect_bpf__open_and_load();
	r = inspect->skeleton ? 0 : -errno;
	libbpf_set_print(print);
	if (r < 0)
		return error_text(err, r, "load inspect.bpf.o: %s%s", strerror(-r),
				  privilege_explain(r, &privilege_iterator, advice));
	inspect->link = bpf_program__attach_iter(inspect->skeleton->progs.inspect, NULL);
	if (!inspect->link) {
		r = -errno;
		return error_set(err, r, "attach the tcp iterator");
	}
	*ret = TAKE_PTR(inspect);
	return 0;
}

void inspect_free(struct inspect *inspect)
{
	if (!inspect)
		return;
	bpf_link__destroy(inspect->link);
	inspect_bpf__destroy(inspect->skeleton);
	free(inspect);
}

static int walk(struct inspect *inspect, struct error *err)
{
	cleanup_close int fd = bpf_iter_create(bpf_link__fd(inspect->link));
	char nothing[64];
	ssize_t n;

	if (fd < 0)
		return error_set(err, -errno, "start the tcp iterator");
	do
		n = read(fd, nothing, sizeof(nothing));
	while (n < 0 && errno == EINTR);
	/* EAGAIN is how the program ends the walk. */
	return n < 0 && errno != EAGAIN ? error_set(err, -errno, "read the tcp iterator") : 0;
}

int inspect_listener(struct inspect *inspect, uint64_t cookie, uint32_t *ret_program_id,
		     uint32_t *ret_members, struct error *err)
{
	volatile struct inspect_record *found = &inspect->skeleton->bss->found;
	int r;

	if (cookie == 0)
		return error_text(err, -EINVAL, "no socket has the cookie 0");
	inspect->skeleton->bss->wanted = cookie;
	found->cookie = 0;
	r = walk(inspect, err);
	if (r < 0)
		return r;
	if (found->cookie != cookie)
		return -ENOENT;
	*ret_program_id = found->program_id;
	*ret_members = found->members;
	return 0;
}

/* ---- many ----------------------------------------------------------------------------------- */

static int watched_fd(const struct inspect *inspect)
{
	return bpf_map__fd(inspect->skeleton->maps.watched);
}

static void watch(struct inspect *inspect, uint64_t cookie)
{
	const struct inspect_watched unseen = {};

	if (bpf_map_update_elem(watched_fd(inspect), &cookie, &unseen, BPF_NOEXIST) == 0)
		inspect->n_watched++;
}

void inspect_drop(struct inspect *inspect, uint64_t cookie)
{
	if (bpf_map_delete_elem(watched_fd(inspect), &cookie) == 0)
		inspect->n_watched--;
}

void inspect_forget(struct inspect *inspect)
{
	if (inspect)
		inspect->seen_ms = 0;
}

static void look_at_watched(struct inspect *inspect, uint64_t now_ms)
{
	inspect->skeleton->bss->wanted = 0;
	inspect->skeleton->bss->walk = ++inspect->walks;
	inspect->skeleton->bss->missing = inspect->n_watched;
	(void)walk(inspect, NULL);
	inspect->seen_ms = now_ms;
}

int inspect_recall(struct inspect *inspect, uint64_t cookie, uint32_t *ret_program_id)
{
	uint64_t now_ms = clock_monotonic_ms();
	struct inspect_watched found;
	uint32_t members;

	if (bpf_map_lookup_elem(watched_fd(inspect), &cookie, &found) < 0) {
		watch(inspect, cookie);
		return inspect_listener(inspect, cookie, ret_program_id, &members, NULL);
	}
	if (inspect->seen_ms == 0 || now_ms - inspect->seen_ms > INSPECT_RECALL_MS) {
		look_at_watched(inspect, now_ms);
		if (bpf_map_lookup_elem(watched_fd(inspect), &cookie, &found) < 0)
			found.walk = 0;
	}
	/* The walk has failed, or the socket has come since, or is gone. */
	if (found.walk != inspect->walks || found.record.cookie != cookie)
		return inspect_listener(inspect, cookie, ret_program_id, &members, NULL);
	*ret_program_id = found.record.program_id;
	return 0;
}

void inspect_name(const struct inspect *inspect, char ret[static INSPECT_NAME_MAX])
{
	const volatile struct inspect_record *found = &inspect->skeleton->bss->found;

	for (size_t k = 0; k < INSPECT_NAME_MAX; k++)
		ret[k] = found->name[k];
	ret[INSPECT_NAME_MAX - 1] = '\0';
}
