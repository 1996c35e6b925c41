#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# boot.sh CGROUP UNITS: Debian's systemd as pid 1 of namespaces of its own, in the cgroup (v2) CGROUP.
# It knows the units in the folder UNITS, and what ends a host; it starts multi-user.target. Prints
# "inside PID" first: the process whose namespaces they are. The network is the caller's.
set -euo pipefail

if [[ ${3:-} != inside ]]; then
	echo $$ > "$1/cgroup.procs"
	exec unshare --mount --pid --fork --cgroup --uts --ipc --propagation private --kill-child \
		"$0" "$1" "$2" inside
fi

# "/proc" is still that of the namespace outside.
read -r outside _ </proc/self/stat
echo "inside $outside"
mount -t proc proc /proc
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
shopt -s nullglob
ends=(/usr/lib/systemd/system/{shutdown,umount,final,poweroff}.target
	/usr/lib/systemd/system/systemd-poweroff.service)
keep=$(mktemp -d)
cp "${ends[@]}" "$2"/* "$keep"
for folder in /run /var/lib /var/log /etc/systemd/system /usr/lib/systemd/system; do
	mount -t tmpfs -o mode=755 tmpfs "$folder"
done
mv "$keep"/* /usr/lib/systemd/system
rmdir "$keep"
cd /usr/lib/systemd/system
for target in sysinit basic network-online multi-user; do
	printf '[Unit]\nDefaultDependencies=no\n' > $target.target
done
printf 'Requires=baton.service\nAfter=baton.service\n' >> multi-user.target
mkdir -p /run/systemd/system
exec env -i container=test PATH="$PATH" /lib/systemd/systemd --system --unit=multi-user.target \
	--log-target=console --show-status=false --default-standard-output=inherit
