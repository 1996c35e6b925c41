/* SPDX-License-Identifier: BSD-2-Clause */
/* The ebpf tier: which program is on the group, and what has been counted. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ebpf/inspect.h"
#include "orchestrator/steer/inspect.h"
#include "orchestrator/steer/steer_ebpf_internal.h"

/* ---- the program ---------------------------------------------------------------------------- */

void ebpf_describe(uint32_t program_id, char *ret, size_t size)
{
	struct bpf_prog_info info = {};
	uint32_t length = sizeof(info);
	cleanup_close int fd = -1;

	if (program_id == INSPECT_CLASSIC) {
		snprintf(ret, size, "a classic BPF program");
		return;
	}
	/* Needs CAP_SYS_ADMIN. */
	fd = bpf_prog_get_fd_by_id(program_id);
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

/* A socket of the group: the anchor, or, where it was withdrawn, any that has joined. */
static uint64_t member(const struct ebpf *ebpf)
{
	if (ebpf->anchor.fd >= 0)
		return ebpf->anchor.cookie;
	for (size_t slot = 0; slot < STEER_SLOTS; slot++)
		if (ebpf->claimed[slot])
			return ebpf->cookies[slot];
	return 0;
}

enum steer_program ebpf_check(struct steer *steer, char *ret_who, size_t size)
{
	struct ebpf *ebpf = to_ebpf(steer);
	uint32_t id, members;

	if (!ebpf->inspect || !member(ebpf))
		return STEER_PROGRAM_UNKNOWN;
	if (inspect_listener(ebpf->inspect, member(ebpf), &id, &members, NULL) < 0)
		return STEER_PROGRAM_UNKNOWN;
	if (id == 0)
		return STEER_PROGRAM_MISSING;
	if (id == ebpf->program_id)
		return STEER_PROGRAM_ATTACHED;
	if (ret_who)
		ebpf_describe(id, ret_who, size);
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

/* ---- counters ------------------------------------------------------------------------------- */

int ebpf_slot_stats(struct steer *steer, uint16_t slot, struct steer_slot_stats *ret)
{
	struct ebpf *ebpf = to_ebpf(steer);
	struct steer_slot_stats *values = calloc((size_t)ebpf->n_cpus, sizeof(*values));
	uint32_t key = slot;
	int r = 0;

	*ret = (struct steer_slot_stats){};
	if (!values)
		return -ENOMEM;
	if (bpf_map_lookup_elem(bpf_map__fd(ebpf->skeleton->maps.slot_stats), &key, values) < 0)
		r = -errno;
	for (int i = 0; r == 0 && i < ebpf->n_cpus; i++) {
		ret->primary += values[i].primary;
		ret->backup += values[i].backup;
		ret->pinned += values[i].pinned;
		ret->migrated += values[i].migrated;
	}
	free(values);
	return r;
}

int ebpf_stats(struct steer *steer, struct steer_stats *ret)
{
	struct ebpf *ebpf = to_ebpf(steer);
	struct steer_stats *values = calloc((size_t)ebpf->n_cpus, sizeof(*values));
	uint32_t key = 0;
	int r = 0;

	*ret = (struct steer_stats){};
	if (!values)
		return -ENOMEM;
	if (bpf_map_lookup_elem(bpf_map__fd(ebpf->skeleton->maps.stats), &key, values) < 0)
		r = -errno;
	for (int i = 0; r == 0 && i < ebpf->n_cpus; i++) {
		ret->refused += values[i].refused;
		ret->pinned_failed += values[i].pinned_failed;
		ret->held += values[i].held;
	}
	free(values);
	return r;
}
