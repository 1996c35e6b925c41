/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bpf_id: a BPF program or map by its number, also if somebody else has loaded it.
 *
 * Each returns a descriptor, which is close-on-exec and the caller's, or a negative errno. -EPERM:
 * that takes CAP_SYS_ADMIN, which is raised meanwhile if it is permitted.
 */
#pragma once

#include <stdint.h>

int bpf_id_program(uint32_t id);
int bpf_id_map(uint32_t id);
