/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/host/capabilities.h"

#include <linux/capability.h>
#include <unistd.h>

#include "common/log.h"
#include "common/privilege.h"
#include "common/process_settings.h"

const struct capability_use capability_uses[] = {
	{CAP_BPF, "load BPF programs (tier ebpf, mode transparent)", false},
	{CAP_NET_ADMIN, "attach BPF programs, or close connections of others", false},
	{CAP_PERFMON, "read the program of a reuseport group, or tell who ended a connection",
	 false},
	{CAP_SYS_ADMIN, "mount bpffs, or name the program that somebody else has attached", true},
	{CAP_SYS_PTRACE, "look for sockets in processes of other users, or take them", false},
	{CAP_NET_BIND_SERVICE, "open ports below 1024", false},
	{CAP_CHOWN, "give sockets to a service's user, or the API's to its group", false},
	{CAP_SETUID, "start anything as another user", false},
	{CAP_SETGID, "start anything as another group", false},
	{CAP_KILL, "signal processes of other users", false},
	{CAP_DAC_OVERRIDE, "read and write files in folders of other users", false},
};

const size_t n_capability_uses = sizeof(capability_uses) / sizeof(capability_uses[0]);

static uint64_t kept(void)
{
	uint64_t set = 0;

	for (size_t k = 0; k < n_capability_uses; k++)
		set |= PRIVILEGE(capability_uses[k].capability);
	return set;
}

static uint64_t kept_effective(uint64_t permitted)
{
	const uint64_t parts = PRIVILEGE(CAP_BPF) | PRIVILEGE(CAP_PERFMON);
	uint64_t set = kept();

	for (size_t k = 0; k < n_capability_uses; k++)
		if (capability_uses[k].at_times)
			set &= ~PRIVILEGE(capability_uses[k].capability);
	/* It stands for those that are not there: Linux 5.8 has split them from it. */
	return (permitted & parts) == parts ? set : set | PRIVILEGE(CAP_SYS_ADMIN);
}

int capabilities_reduce(void)
{
	struct capability_sets sets;
	int r = capability_sets_get(&sets);

	if (r < 0)
		return r;
	sets.effective &= kept_effective(sets.permitted);
	if (geteuid() == 0)
		sets.permitted &= kept();
	return capability_sets_set(&sets);
}

void capabilities_tell_missing(void)
{
	struct capability_sets sets;
	struct privilege own = {0};

	if (capability_sets_get(&sets) < 0)
		return;
	own.capabilities = sets.permitted;
	if (geteuid() != 0 && !(own.capabilities & kept()))
		return;
	for (size_t k = 0; k < n_capability_uses; k++) {
		const struct capability_use *one = &capability_uses[k];

		if (privilege_missing(&own, PRIVILEGE(one->capability)))
			log_warning("without %s batond cannot %s",
				    process_capability_name(one->capability), one->use);
	}
}
