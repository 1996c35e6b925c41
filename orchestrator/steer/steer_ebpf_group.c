/* SPDX-License-Identifier: BSD-2-Clause */
/* The ebpf tier: the anchor, and which program is on its group. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ebpf/inspect.h"
#include "orchestrator/steer/anchor.h"
#include "orchestrator/steer/bpf_id.h"
#include "orchestrator/steer/steer_ebpf.h"

/* ---- the anchor ----------------------------------------------------------------------------- */

int ebpf_open_anchor(struct ebpf *ebpf, struct ebpf_anchor *ret, struct error *err)
{
	/* If that is gone, it is of the own one: better counted by nobody than none. */
	cleanup_close int cgroup_fd =
		ebpf->cgroup ? open(ebpf->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	bool inside;
	int r;

	*ret = (struct ebpf_anchor){.fd = -1, .held_before = UINT64_MAX};
	r = anchor_open(&ebpf->steer.address, ebpf->uid, cgroup_fd, &ret->fd, &inside, err);
	if (r < 0)
		return r;
	ret->cookie = steer_cookie(ret->fd);
	if (inside)
		ret->owner = (tap_owner)STEER_ANCHOR_GENERATION << 32;
	return 0;
}

int ebpf_put_anchor(struct ebpf *ebpf, const struct ebpf_anchor *anchor, struct error *err)
{
	ebpf_set_owner(ebpf, ebpf_anchor_slot(ebpf), anchor->cookie, anchor->owner);
	return ebpf_put(ebpf, ebpf_anchor_slot(ebpf), anchor->fd, err);
}

void ebpf_close_anchor(struct ebpf *ebpf, struct ebpf_anchor *anchor)
{
	if (anchor->fd < 0)
		return;
	if (ebpf->inspect)
		inspect_drop(ebpf->inspect, anchor->cookie);
	/* Closing is not enough: a child between fork(2) and exec(2) may still have it. */
	shutdown(anchor->fd, SHUT_RD);
	close(TAKE_FD(anchor->fd));
	if (ebpf->loaded.program >= 0)
		ebpf_forget_owner(ebpf, anchor->cookie);
}

void ebpf_withdraw(struct steer *steer)
{
	struct ebpf *ebpf = to_ebpf(steer);

	ebpf_close_anchor(ebpf, &ebpf->anchor);
	ebpf_quench_beacon(ebpf);
}

int ebpf_attach_program(struct ebpf *ebpf, struct error *err)
{
	bool withdrawn = ebpf->anchor.fd < 0;
	int r = withdrawn ? ebpf_open_anchor(ebpf, &ebpf->anchor, err) : 0;

	if (r < 0)
		return r;
	ebpf->busy_tries = EBPF_BUSY_TRIES;
	r = ebpf_attach_to(ebpf->anchor.fd, ebpf->loaded.program, err);
	if (r >= 0 && withdrawn)
		r = ebpf_put_anchor(ebpf, &ebpf->anchor, err);
	return r < 0 ? r : ebpf_light_beacon(ebpf, err);
}

/* ---- which program is there ----------------------------------------------------------------- */

/* "program 123 \"name\" (loaded by uid 0)", as far as it can be told. */
static void describe(uint32_t program_id, char *ret, size_t size)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);
	cleanup_close int fd = -1;

	if (program_id == INSPECT_CLASSIC) {
		snprintf(ret, size, "a classic BPF program");
		return;
	}
	fd = bpf_id_program(program_id);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) < 0)
		snprintf(ret, size, "program %u", program_id);
	else
		snprintf(ret, size, "program %u \"%s\" (loaded by uid %u)", program_id, info.name,
			 info.created_by_uid);
}

static int find_program(struct ebpf *ebpf, uint64_t cookie, uint32_t *ret_id, struct error *err)
{
	uint32_t members;
	int r = inspect_listener(ebpf->inspect, cookie, ret_id, &members, err);

	if (r == -ENOENT)
		return error_text(err, -EINVAL, "the socket is not in a reuseport group");
	return r;
}

int ebpf_check_succession(struct ebpf *ebpf, struct error *err)
{
	uint32_t id;
	char who[128];
	int r;

	if (!ebpf->inspect)
		return 0;
	r = find_program(ebpf, ebpf->anchor.cookie, &id, err);
	if (r < 0)
		return error_prefix(err, r, "look who steers it already");
	if (id == 0 || id == ebpf->program_id || id == ebpf->unpinned_id)
		return 0;
	for (size_t k = 0; k < EBPF_PINNED; k++)
		if (id == ebpf->earlier_ids[k])
			return 0;
	describe(id, who, sizeof(who));
	return error_text(err, -EADDRINUSE,
			  "is steered already, by %s: is another batond, or a `baton run`, "
			  "serving it?",
			  who);
}

int ebpf_check_group(struct ebpf *ebpf, uint64_t cookie, bool *ret_drift, struct error *err)
{
	uint32_t id;
	int r;

	*ret_drift = false;
	if (!ebpf->inspect || !ebpf->attached)
		return 0;
	r = find_program(ebpf, cookie, &id, err);
	if (r < 0 || id == ebpf->program_id)
		return r;
	*ret_drift = true;
	r = ebpf_attach_program(ebpf, err);
	if (r >= 0)
		r = find_program(ebpf, cookie, &id, err);
	if (r < 0 || id == ebpf->program_id)
		return r;
	return error_text(err, -EINVAL,
			  "the socket is in another group than the anchor (program %u there, "
			  "%u here)",
			  id, ebpf->program_id);
}

/* A socket of the group: the anchor, or any that has joined if the anchor was withdrawn. */
static uint64_t member(const struct ebpf *ebpf)
{
	if (ebpf->anchor.fd >= 0)
		return ebpf->anchor.cookie;
	for (uint32_t slot = 0; slot < ebpf->slots.size; slot++)
		if (slots_is_claimed(&ebpf->slots, slot))
			return slots_cookie(&ebpf->slots, slot);
	return 0;
}

enum steer_program ebpf_check(struct steer *steer, char *ret_who, size_t size)
{
	struct ebpf *ebpf = to_ebpf(steer);
	uint32_t id, members;

	if (!ebpf->inspect || !member(ebpf))
		return STEER_PROGRAM_UNKNOWN;
	/* That all was well a moment ago will do; anything else may have been our own doing. */
	if (inspect_recall(ebpf->inspect, member(ebpf), &id) == 0 && id == ebpf->program_id)
		return STEER_PROGRAM_ATTACHED;
	if (inspect_listener(ebpf->inspect, member(ebpf), &id, &members, NULL) < 0)
		return STEER_PROGRAM_UNKNOWN;
	if (id == 0)
		return STEER_PROGRAM_MISSING;
	if (id == ebpf->program_id)
		return STEER_PROGRAM_ATTACHED;
	if (ret_who)
		describe(id, ret_who, size);
	return STEER_PROGRAM_FOREIGN;
}

int ebpf_repair(struct steer *steer, struct error *err)
{
	int r = ebpf_attach_program(to_ebpf(steer), err);

	return r < 0 ? error_prefix(err, r, "%s", steer->address.text) : 0;
}

uint32_t ebpf_program_id(const struct steer *steer)
{
	return to_ebpf(steer)->program_id;
}
