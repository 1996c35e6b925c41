/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/capability_sets.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int capability_sets_get(struct capability_sets *ret)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	ret->effective = (uint64_t)data[1].effective << 32 | data[0].effective;
	ret->permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
	ret->inheritable = (uint64_t)data[1].inheritable << 32 | data[0].inheritable;
	return 0;
}

int capability_sets_set(const struct capability_sets *sets)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].effective = (uint32_t)(sets->effective >> 32 * i);
		data[i].permitted = (uint32_t)(sets->permitted >> 32 * i);
		data[i].inheritable = (uint32_t)(sets->inheritable >> 32 * i);
	}
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

uint64_t capability_sets_of_children(void)
{
	int bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
	bool all = geteuid() == 0 && !(bits > 0 && bits & (int)issecure_mask(SECURE_NOROOT));
	struct capability_sets sets;
	uint64_t found = 0;

	if (capability_sets_get(&sets) < 0)
		return UINT64_MAX;
	for (int i = 0; i < CAPABILITIES_MAX; i++) {
		int r = all ? prctl(PR_CAPBSET_READ, i, 0, 0, 0)
			    : prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0);

		if (r == 1)
			found |= PRIVILEGE(i);
	}
	return all ? found | sets.inheritable : found;
}

uint64_t capability_raise(int capability)
{
	struct capability_sets sets;
	uint64_t before;

	if (capability_sets_get(&sets) < 0)
		return UINT64_MAX;
	before = sets.effective;
	sets.effective |= sets.permitted & PRIVILEGE(capability);
	if (sets.effective != before)
		(void)capability_sets_set(&sets);
	return before;
}

void capability_put_back(uint64_t effective)
{
	struct capability_sets sets;

	if (effective == UINT64_MAX || capability_sets_get(&sets) < 0 ||
	    sets.effective == effective)
		return;
	sets.effective = effective & sets.permitted;
	(void)capability_sets_set(&sets);
}
