/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/bpf_kept.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "orchestrator/steer/bpf_id.h"

static struct bpf_kept opened[BPF_KEPT_OPEN_MAX];

static struct bpf_kept *place_of(uint32_t id)
{
	return &opened[id % BPF_KEPT_OPEN_MAX];
}

static int open_by_id(const struct bpf_kept *kept)
{
	return kept->program ? bpf_id_program(kept->id) : bpf_id_map(kept->id);
}

/* ---- using ---------------------------------------------------------------------------------- */

static void empty(struct bpf_kept *kept)
{
	if (kept->open)
		close(kept->fd);
	*kept = (struct bpf_kept){};
}

int bpf_kept_fd(const struct bpf_kept *kept)
{
	struct bpf_kept *place = place_of(kept->id);
	int fd;

	assert(!kept->program);
	if (kept->open)
		return kept->fd;
	if (kept->id == 0)
		return -ENOENT;
	if (place->open && place->id == kept->id)
		return place->fd;
	fd = open_by_id(kept);
	if (fd < 0)
		return fd;
	empty(place);
	*place = (struct bpf_kept){.id = kept->id, .fd = fd, .open = true};
	return fd;
}

int bpf_kept_open(const struct bpf_kept *kept)
{
	int fd;

	if (!kept->open)
		return kept->id == 0 ? -ENOENT : open_by_id(kept);
	fd = fcntl(kept->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

void bpf_kept_done(struct bpf_kept *kept)
{
	struct bpf_kept *place = place_of(kept->id);

	if (kept->id && !kept->program && place->id == kept->id)
		empty(place);
	empty(kept);
}

/* ---- keeping -------------------------------------------------------------------------------- */

static uint32_t id_of(int fd, bool program)
{
	struct bpf_prog_info program_info = {};
	struct bpf_map_info map_info = {};
	uint32_t length = program ? sizeof(program_info) : sizeof(map_info);
	void *info = program ? (void *)&program_info : (void *)&map_info;

	if (bpf_obj_get_info_by_fd(fd, info, &length) < 0)
		return 0;
	return program ? program_info.id : map_info.id;
}

/* Now, and as long as something else holds it. */
static bool can_be_opened(const struct bpf_kept *kept)
{
	cleanup_close int fd = -1;

	if (!kept->program)
		return bpf_kept_fd(kept) >= 0;
	fd = open_by_id(kept);
	return fd >= 0;
}

static int keep(int fd, bool held, bool program, struct bpf_kept *ret)
{
	*ret = (struct bpf_kept){.program = program};
	if (held) {
		ret->id = id_of(fd, program);
		if (ret->id && can_be_opened(ret))
			return 0;
		ret->id = 0;
	}
	ret->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	ret->open = ret->fd >= 0;
	return ret->open ? 0 : -errno;
}

int bpf_kept_map(int fd, bool held, struct bpf_kept *ret)
{
	return keep(fd, held, false, ret);
}

int bpf_kept_program(int fd, bool held, struct bpf_kept *ret)
{
	return keep(fd, held, true, ret);
}

int bpf_kept_holder(const int *maps, unsigned n_maps)
{
	static const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "holder", "Dual BSD/GPL", nothing, 2,
			       NULL);

	for (unsigned k = 0; fd >= 0 && k < n_maps; k++) {
		int r = bpf_prog_bind_map(fd, maps[k], NULL);

		if (r < 0) {
			close(fd);
			return r;
		}
	}
	return fd;
}
