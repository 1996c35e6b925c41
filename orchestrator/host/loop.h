/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop: runs an sd-event loop, and knows how long its turns take. A turn calls one handler. While
 * it lasts nothing else happens, so the longest one is how late anything may have been.
 *
 * No handler waits for a file system, an account or a program: helpers do (errand.h). What handlers
 * do themselves is bounded, and is of this host's kernel alone: /run, /proc, /sys/fs/cgroup, bpffs,
 * /etc/passwd, sock_diag(7). Of these some take time:
 *
 *	up to 50 ms	until cgroups are empty after SIGKILL, all together (instance_kill_many())
 *	up to 1 s	until sockets are out of a program that is being freed, once for each that
 *			this daemon has put into its place (ebpf_put())
 *
 * What is read before the loop runs is waited for: the configuration with the files that it names,
 * state.json, histories, events.jsonl, the tiers that are tried, an earlier daemon of the name. At
 * the end, what is still to be written has 5 s.
 */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

struct loop_times {
	uint64_t turns;
	uint64_t longest_us;
	uint64_t longest_realtime_ms; /* when that ended; 0: there was none */
};

/* As sd_event_loop(3). @times, zeroed at first, is kept up to date. */
int loop_run(sd_event *event, struct loop_times *times);
