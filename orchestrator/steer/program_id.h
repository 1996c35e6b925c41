/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * program_id: a BPF program by its number, also if somebody else has loaded it.
 */
#pragma once

#include <stdint.h>

/*
 * Its descriptor, which is close-on-exec and the caller's, or a negative errno. -EPERM: that takes
 * CAP_SYS_ADMIN, which is raised meanwhile if it is permitted.
 */
int program_id_open(uint32_t id);
