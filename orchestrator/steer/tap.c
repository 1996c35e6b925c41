/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/tap.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clean.h"
#include "common/openers.h"
#include "orchestrator/steer/bpffs.h"
#include "orchestrator/steer/kernel_offsets.h"
#include "orchestrator/steer/key.h"
#include "orchestrator/steer/tap_load.h"

#define BATCH        64 /* events taken from the ring at one time */
#define PIN_NAME_MAX 16 /* of a map, in the folder of the pins */

struct tap {
	const struct tap_callbacks *callbacks;
	void *userdata;
	struct tap_endpoint endpoints[TAP_LISTEN_MAX];
	uint32_t n_endpoints;
	struct tap_maps maps;
	struct ring_buffer *ring;
	sd_event_source *events_source;
	sd_event_source *due_source; /* to look whether these have any connection left */
	tap_owner *due;              /* since tap_watch(); at most TAP_INSTANCES_MAX */
	size_t n_due, due_size;
	struct tap_programs_kept programs; /* since the first tap_attach() */
	bool without_births;               /* this kernel refuses them */
	struct tap_offsets offsets;        /* .known 0: refused, too */
	struct batch *batch;               /* on_events() is filling; else NULL */
	bool telling;                      /* callbacks run */
	bool freed;                        /* by one of them: its memory goes when it returns */
	char pin_dir[BPFFS_PATH_MAX];      /* "": not pinned */
};

/* Filled by the ring. */
struct batch {
	struct tap_event events[BATCH];
	size_t n;
};

static void free_memory(struct tap *tap)
{
	free(tap->due);
	free(tap);
}

static tap_owner owner_of(uint32_t generation, uint32_t instance)
{
	return (tap_owner)generation << 32 | instance;
}

/* ---- counters ------------------------------------------------------------------------------- */

/*
 * Connections come and go between the reads of two fields. What has gone is from the first look
 * and what has come from the second, so that one that is alive all the time is never left out:
 * "none is left" must be true.
 */
static int count(struct tap *tap, tap_owner owner, struct tap_count *ret)
{
	int fd = tap_counts_fd(tap);
	struct tap_counts first, second;
	uint64_t came, gone;

	if (bpf_map_lookup_elem(fd, &owner, &first) < 0 ||
	    bpf_map_lookup_elem(fd, &owner, &second) < 0)
		return -errno;
	came = second.accepted + second.moved_in;
	gone = first.closed + first.moved_out;
	*ret = (struct tap_count){
		.accepted = came > second.moved_out ? came - second.moved_out : 0,
		.live = came > gone ? came - gone : 0,
		.closed = first.closed,
		.reset = first.reset < first.closed ? first.reset : first.closed,
		.moved_out = second.moved_out,
		.by_client = second.by_client,
		.by_server = second.by_server,
		.cut = second.cut,
		.at_exit = second.at_exit,
	};
	return 0;
}

int tap_count(struct tap *tap, uint32_t generation, uint32_t instance, struct tap_count *ret)
{
	*ret = (struct tap_count){};
	return count(tap, owner_of(generation, instance), ret);
}

static void tell_zero(struct tap *tap, tap_owner owner)
{
	struct tap_count now;

	if (count(tap, owner, &now) == 0 && now.live == 0)
		tap->callbacks->on_zero(tap->userdata, (uint32_t)(owner >> 32), (uint32_t)owner);
}

static int reserve_due(struct tap *tap)
{
	size_t size = tap->due_size > 0 ? 2 * tap->due_size : 8;
	tap_owner *due;

	if (tap->n_due < tap->due_size)
		return 0;
	if (tap->n_due == TAP_INSTANCES_MAX)
		return -ENOSPC;
	due = reallocarray(tap->due, size, sizeof(*due));
	if (!due)
		return -ENOMEM;
	tap->due = due;
	tap->due_size = size;
	return 0;
}

int tap_watch(struct tap *tap, uint32_t generation, uint32_t instance)
{
	tap_owner owner = owner_of(generation, instance);
	struct tap_count now;
	uint32_t yes = 1;
	int r;

	r = count(tap, owner, &now);
	if (r < 0)
		return r;
	if (bpf_map_update_elem(tap_map_fd(&tap->maps, TAP_MAP_WATCHED), &owner, &yes, BPF_ANY) < 0)
		return -errno;
	/* Only after that: what ends from now on is told by the program. */
	for (size_t k = 0; k < tap->n_due; k++)
		if (tap->due[k] == owner)
			return 0;
	r = reserve_due(tap);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(tap->due_source, SD_EVENT_ONESHOT);
	if (r < 0)
		return r;
	tap->due[tap->n_due++] = owner;
	return 0;
}

void tap_forget(struct tap *tap, uint32_t generation, uint32_t instance)
{
	tap_owner owner = owner_of(generation, instance);

	bpf_map_delete_elem(tap_map_fd(&tap->maps, TAP_MAP_WATCHED), &owner);
	bpf_map_delete_elem(tap_counts_fd(tap), &owner);
	bpf_map_delete_elem(tap_map_fd(&tap->maps, TAP_MAP_BINDS), &owner);
	for (size_t k = 0; k < tap->n_due; k++)
		if (tap->due[k] == owner)
			tap->due[k] = tap->due[--tap->n_due];
}

bool tap_tells_ends(const struct tap *tap)
{
	return tap->offsets.known;
}

/* ---- health checks -------------------------------------------------------------------------- */

void tap_probe(struct tap *tap, const struct sockaddr *source)
{
	struct steer_pin_key key;
	uint32_t yes = 1;

	/* If it cannot be noted, the connection counts like a client's. */
	if (key_of(source, &key) == 0)
		bpf_map_update_elem(tap_map_fd(&tap->maps, TAP_MAP_PROBES), &key, &yes, BPF_ANY);
}

void tap_unprobe(struct tap *tap, const struct sockaddr *source)
{
	struct steer_pin_key key;

	if (key_of(source, &key) == 0)
		bpf_map_delete_elem(tap_map_fd(&tap->maps, TAP_MAP_PROBES), &key);
}

/* Of an earlier daemon: their source ports may be anybody's by now. */
static void forget_probes(struct tap *tap)
{
	int fd = tap_map_fd(&tap->maps, TAP_MAP_PROBES);
	struct steer_pin_key key;

	for (int n = 0; n < TAP_PROBES_MAX && bpf_map_get_next_key(fd, NULL, &key) == 0; n++)
		bpf_map_delete_elem(fd, &key);
}

/* ---- sockets -------------------------------------------------------------------------------- */

bool tap_forced(struct tap *tap, uint64_t cookie)
{
	uint32_t value;
	return bpf_map_lookup_elem(tap_map_fd(&tap->maps, TAP_MAP_FORCED), &cookie, &value) == 0;
}

/* An IPv6 wildcard may be dual-stack, which the program cannot see; it is taken to be. */
static void to_address(const struct tap_bind *bind, struct address *ret)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = bind->port};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = bind->port};

	memcpy(&in6.sin6_addr, bind->address, sizeof(in6.sin6_addr));
	memcpy(&in.sin_addr, bind->address + 12, sizeof(in.sin_addr));
	(void)address_from(bind->family == AF_INET ? (struct sockaddr *)&in
						   : (struct sockaddr *)&in6,
			   false, ret);
}

int tap_bound(struct tap *tap, uint32_t generation, uint32_t instance, struct tap_bound *ret)
{
	tap_owner owner = owner_of(generation, instance);
	struct tap_bind bind;

	if (bpf_map_lookup_elem(tap_map_fd(&tap->maps, TAP_MAP_BINDS), &owner, &bind) < 0)
		return -errno;
	*ret = (struct tap_bound){.uid = bind.uid, .pid = (pid_t)bind.pid};
	to_address(&bind, &ret->address);
	return 0;
}

int tap_counts_fd(const struct tap *tap)
{
	return tap_map_fd(&tap->maps, TAP_MAP_COUNTS);
}

int tap_moved_fd(const struct tap *tap)
{
	return tap_map_fd(&tap->maps, TAP_MAP_MOVED);
}

int tap_births_fd(const struct tap *tap)
{
	return tap->without_births ? -1 : tap_map_fd(&tap->maps, TAP_MAP_BIRTHS);
}

/* ---- events --------------------------------------------------------------------------------- */

/* The callbacks have returned; one of them may have freed the object. */
static void told(struct tap *tap)
{
	tap->telling = false;
	if (tap->freed)
		free_memory(tap);
}

static int on_due(sd_event_source *source, void *userdata)
{
	struct tap *tap = userdata;

	(void)source;
	tap->telling = true;
	/* A callback may watch others: those are told the next time. */
	for (size_t n = tap->n_due; n > 0 && tap->n_due > 0 && !tap->freed; n--)
		tell_zero(tap, tap->due[--tap->n_due]);
	told(tap);
	return 0;
}

static int on_sample(void *userdata, void *data, size_t size)
{
	struct tap *tap = userdata;
	struct batch *batch = tap->batch;

	if (size >= sizeof(batch->events[0]))
		memcpy(&batch->events[batch->n++], data, sizeof(batch->events[0]));
	/* It is full: the rest stays in the ring, which the loop finds readable again. */
	return batch->n == BATCH ? -ENOBUFS : 0;
}

/* PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h */
#define FIRST_PID_NAMESPACE 0xEFFFFFFCu

/* Programs see the pids of the first pid namespace, which in a container are nobody's. */
static bool sees_same_pids(void)
{
	static bool asked, same;
	struct stat st;

	if (!asked)
		same = stat("/proc/self/ns/pid", &st) < 0 || st.st_ino == FIRST_PID_NAMESPACE;
	asked = true;
	return same;
}

/* 0 and "" are what is not known. */
static void name_process(struct tap_event *event)
{
	event->comm[sizeof(event->comm) - 1] = '\0';
	clean_name(event->comm);
	if (event->pid && !sees_same_pids())
		event->pid = 0;
	/* A program without CAP_PERFMON cannot tell it. */
	if (event->pid && !event->comm[0])
		opener_read_name((pid_t)event->pid, event->comm);
}

/* Events can be about what was forgotten since, or left over from an earlier daemon's time. */
static void tell(struct tap *tap, struct tap_event *event)
{
	struct tap_count now;

	name_process(event);
	if (event->type == TAP_ZERO)
		tell_zero(tap, event->owner);
	else if (count(tap, event->owner, &now) < 0)
		return;
	else if (event->type == TAP_PROGRAM)
		tap->callbacks->on_program(tap->userdata, (uint32_t)(event->owner >> 32),
					   (uint32_t)event->owner, (pid_t)event->pid, event->comm);
	else if (event->type == TAP_IPV4 && event->endpoint < TAP_LISTEN_MAX)
		tap->callbacks->on_ipv4(tap->userdata, (uint32_t)(event->owner >> 32),
					(uint32_t)event->owner, event->endpoint, (pid_t)event->pid,
					event->comm);
	else if (event->type == TAP_LISTEN)
		tap->callbacks->on_listen(tap->userdata, (uint32_t)(event->owner >> 32),
					  (uint32_t)event->owner);
}

static int on_events(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct tap *tap = userdata;
	struct batch batch = {};

	(void)source;
	(void)fd;
	(void)revents;
	/* First all out of the ring, then the callbacks: they may free the object. */
	tap->batch = &batch;
	ring_buffer__consume(tap->ring);
	tap->batch = NULL;
	tap->telling = true;
	for (size_t k = 0; k < batch.n && !tap->freed; k++)
		tell(tap, &batch.events[k]);
	told(tap);
	return 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static int listen_to_events(struct tap *tap, sd_event *event, struct error *err)
{
	int r;

	/* What is mapped of it goes on when its descriptor is closed. */
	tap->ring = ring_buffer__new(tap_map_fd(&tap->maps, TAP_MAP_EVENTS), on_sample, tap, NULL);
	if (!tap->ring)
		return error_set(err, -errno, "open the ring buffer");
	r = sd_event_add_io(event, &tap->events_source, ring_buffer__epoll_fd(tap->ring), EPOLLIN,
			    on_events, tap);
	/* What a server was refused comes before its end, which follows from it. */
	if (r >= 0)
		r = sd_event_source_set_priority(tap->events_source, SD_EVENT_PRIORITY_NORMAL - 1);
	if (r >= 0)
		r = sd_event_add_defer(event, &tap->due_source, on_due, tap);
	if (r >= 0)
		r = sd_event_source_set_enabled(tap->due_source, SD_EVENT_OFF);
	return r < 0 ? error_set(err, r, "listen to events") : 0;
}

static struct tap_endpoint to_endpoint(const struct address *address)
{
	struct tap_endpoint ret = {};
	struct steer_pin_key key;

	(void)key_of(&address->sa, &key); /* one of the two families */
	memcpy(ret.address, key.address, sizeof(ret.address));
	ret.port = key.port;
	return ret;
}

int tap_open(sd_event *event, const char *pin_dir, const char *cgroup,
	     const struct tap_callbacks *callbacks, void *userdata, struct tap **ret,
	     struct error *err)
{
	cleanup(tap_free) struct tap *tap = calloc(1, sizeof(*tap));
	int r;

	if (!tap)
		return error_set(err, -ENOMEM, "tap");
	tap->callbacks = callbacks;
	tap->userdata = userdata;
	tap->maps.holder = -1;
	if (pin_dir && (size_t)snprintf(tap->pin_dir, sizeof(tap->pin_dir), "%s", pin_dir) >=
			       sizeof(tap->pin_dir) - PIN_NAME_MAX)
		return error_set(err, -ENAMETOOLONG, "tap: %s", pin_dir);
	kernel_offsets(&tap->offsets);
	r = tap_load_maps(tap->pin_dir, cgroup, &tap->maps, err);
	if (r >= 0)
		forget_probes(tap);
	if (r >= 0)
		r = listen_to_events(tap, event, err);
	if (r < 0)
		return error_prefix(err, r, "tap");
	*ret = TAKE_PTR(tap);
	return 0;
}

void tap_free(struct tap *tap)
{
	if (!tap)
		return;
	tap->due_source = sd_event_source_disable_unref(tap->due_source);
	tap->events_source = sd_event_source_disable_unref(tap->events_source);
	ring_buffer__free(TAKE_PTR(tap->ring));
	tap_programs_forget(&tap->programs);
	tap_maps_done(&tap->maps);
	tap->freed = true;
	if (!tap->telling)
		free_memory(tap);
}

void tap_unpin_all(struct tap *tap)
{
	if (!tap->pin_dir[0])
		return;
	tap_remove_pins(tap->pin_dir);
	bpffs_remove(tap->pin_dir);
}

/* ---- instances ------------------------------------------------------------------------------ */

int tap_can_share(struct error *err)
{
	return tap_try_share(err);
}

int tap_declare(struct tap *tap, const struct address *listen, size_t n_listen, struct error *err)
{
	if (n_listen > TAP_LISTEN_MAX)
		return error_text(err, -E2BIG, "tap: more than %d addresses", TAP_LISTEN_MAX);
	tap->n_endpoints = 0;
	for (size_t k = 0; k < n_listen; k++)
		tap->endpoints[tap->n_endpoints++] = to_endpoint(&listen[k]);
	return 0;
}

void tap_guard(struct tap *tap, size_t k, bool on)
{
	assert(k < tap->n_endpoints);
	tap->endpoints[k].no_ipv4 = on ? (uint16_t)(k + 1) : 0;
}

/*
 * That the programs load does not say that they work. It is asked once for all services. If it
 * cannot be told the attempt itself will tell.
 */
static int check_share(struct error *err)
{
	static bool works;

	works = works || tap_try_share(err) != -EOPNOTSUPP;
	return works ? 0 : -EOPNOTSUPP;
}

/* Those that count, and do all else that this kernel lets them. */
static int load(struct tap *tap, bool share, struct tap_programs *ret, struct error *err)
{
	struct tap_set set = {
		.parts = TAP_PART_ALL,
		.births = true,
		.offsets = tap->offsets,
		.sharing = true,
		.must_share = share,
		.tracing = true,
		.maps = &tap->maps,
	};
	int r = tap_load_programs(&set, ret, err);

	if (r < 0)
		return r;
	tap->without_births = !set.births;
	tap->offsets = set.offsets;
	return 0;
}

/* They are loaded once, unless nothing has them any more, or those that can share are missing. */
static int open_programs(struct tap *tap, bool share, struct tap_programs *ret, bool *ret_new,
			 struct error *err)
{
	int r = tap_programs_open(&tap->programs, ret);

	*ret_new = r < 0 || (share && !ret->sharing);
	if (*ret_new) {
		tap_programs_done(ret);
		r = load(tap, share, ret, err);
	}
	return r < 0 || !share ? r : check_share(err);
}

/* If they cannot be kept, they are loaded anew the next time. */
static void keep_programs(struct tap *tap, const struct tap_programs *programs)
{
	tap_programs_forget(&tap->programs);
	(void)tap_programs_keep(programs, &tap->programs);
}

static int put(struct tap *tap, const struct tap_programs *programs, tap_owner owner, bool share,
	       int cgroup_fd, struct error *err)
{
	struct tap_instance instance = {
		.owner = owner, .n_endpoints = tap->n_endpoints, .sharing = share};

	memcpy(instance.endpoints, tap->endpoints, sizeof(instance.endpoints));
	return tap_put(programs, &instance, cgroup_fd, err);
}

int tap_attach(struct tap *tap, const char *cgroup_path, uint32_t generation, uint32_t instance,
	       bool share, struct error *err)
{
	cleanup(tap_programs_done) struct tap_programs programs = TAP_PROGRAMS_NONE;
	cleanup_close int cgroup_fd = open(cgroup_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	tap_owner owner = owner_of(generation, instance);
	const struct tap_counts zero = {};
	bool new;
	int r;

	if (cgroup_fd < 0)
		return error_set(err, -errno, "tap: %s", cgroup_path);
	if (generation == 0)
		return error_text(err, -EINVAL, "tap: there is no generation 0");
	r = open_programs(tap, share, &programs, &new, err);
	if (r < 0)
		return error_prefix(err, r, "tap");
	tap_forget(tap, generation, instance);
	if (bpf_map_update_elem(tap_counts_fd(tap), &owner, &zero, BPF_ANY) < 0)
		return error_set(err, -errno, "tap: make counters");
	r = put(tap, &programs, owner, share, cgroup_fd, err);
	if (r < 0) {
		tap_forget(tap, generation, instance);
		return error_prefix(err, r, "tap: %s", cgroup_path);
	}
	if (new)
		keep_programs(tap, &programs);
	return 0;
}
