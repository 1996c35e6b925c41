/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/bpf_id.h"

#include <bpf/bpf.h>
#include <linux/capability.h>

#include "common/capability_sets.h"

int bpf_id_program(uint32_t id)
{
	uint64_t before = capability_raise(CAP_SYS_ADMIN);
	int fd = bpf_prog_get_fd_by_id(id); /* a negative errno */

	capability_put_back(before);
	return fd;
}

int bpf_id_map(uint32_t id)
{
	uint64_t before = capability_raise(CAP_SYS_ADMIN);
	int fd = bpf_map_get_fd_by_id(id);

	capability_put_back(before);
	return fd;
}
