/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kernel_offsets: where the running kernel keeps what ebpf/tap.bpf.c reads of its structs, from the
 * kernel's own description of its types (BTF, /sys/kernel/btf/vmlinux).
 *
 * libbpf could relocate the program instead (CO-RE). But it would then refuse the whole object on a
 * kernel without BTF, and read the kernel's types again for each instance, which takes 10 ms.
 */
#pragma once

#include "ebpf/tap.h"

/*
 * The types are read at the first call; what was found then is given at each later one. Without a
 * description, or if a field is not where it is looked for, .known is 0.
 */
void kernel_offsets(struct tap_offsets *ret);
