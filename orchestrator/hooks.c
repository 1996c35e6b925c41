/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/hooks_internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "orchestrator/bpffs.h"

#define BATCH        64 /* events taken from the ring at one time */
#define PIN_NAME_MAX 16 /* of a map, in the folder of the pins */

struct hooks {
	const struct hooks_callbacks *callbacks;
	void *userdata;
	struct adopt_endpoint endpoints[ADOPT_LISTEN_MAX];
	uint32_t n_endpoints;
	struct adopt_bpf *maps;
	struct ring_buffer *ring;
	sd_event_source *events_source;
	sd_event_source *due_source;          /* for hooks_watch() where none is left already: */
	adopt_owner due[ADOPT_INSTANCES_MAX]; /* of these */
	size_t n_due;
	bool without_births, without_program; /* this kernel refuses them */
	bool share_works;
	struct batch *batch;          /* on_events() is filling; else NULL */
	bool telling;                 /* callbacks run */
	bool freed;                   /* by one of them: its memory goes when it returns */
	char pin_dir[BPFFS_PATH_MAX]; /* "": not pinned */
};

/* Filled by the ring. */
struct batch {
	struct adopt_event events[BATCH];
	size_t n;
};

static adopt_owner owner_of(uint32_t generation, uint32_t instance)
{
	return (adopt_owner)generation << 32 | instance;
}

/* ---- counters ------------------------------------------------------------------------------- */

/*
 * Connections come and go between the reads of two fields. What has gone is from the first look
 * and what has come from the second, so that one that is alive all the time is never left out:
 * "none is left" must be true.
 */
static int count(struct hooks *hooks, adopt_owner owner, struct hooks_count *ret)
{
	int fd = hooks_counts_fd(hooks);
	struct adopt_counts first, second;
	uint64_t came, gone;

	if (bpf_map_lookup_elem(fd, &owner, &first) < 0 ||
	    bpf_map_lookup_elem(fd, &owner, &second) < 0)
		return -errno;
	came = second.accepted + second.moved_in;
	gone = first.closed + first.moved_out;
	*ret = (struct hooks_count){
		.accepted = came > second.moved_out ? came - second.moved_out : 0,
		.live = came > gone ? came - gone : 0,
		.closed = first.closed,
		.reset = first.reset < first.closed ? first.reset : first.closed,
	};
	return 0;
}

int hooks_count(struct hooks *hooks, uint32_t generation, uint32_t instance,
		struct hooks_count *ret)
{
	*ret = (struct hooks_count){};
	return count(hooks, owner_of(generation, instance), ret);
}

static void tell_zero(struct hooks *hooks, adopt_owner owner)
{
	struct hooks_count now;

	if (count(hooks, owner, &now) == 0 && now.live == 0)
		hooks->callbacks->on_zero(hooks->userdata, (uint32_t)(owner >> 32),
					  (uint32_t)owner);
}

int hooks_watch(struct hooks *hooks, uint32_t generation, uint32_t instance)
{
	adopt_owner owner = owner_of(generation, instance);
	struct hooks_count now;
	uint32_t yes = 1;
	int r;

	r = count(hooks, owner, &now);
	if (r < 0)
		return r;
	if (bpf_map_update_elem(bpf_map__fd(hooks->maps->maps.watched), &owner, &yes, BPF_ANY) < 0)
		return -errno;
	/* Only after that: what ends from now on is told by the program. */
	for (size_t k = 0; k < hooks->n_due; k++)
		if (hooks->due[k] == owner)
			return 0;
	if (hooks->n_due == ADOPT_INSTANCES_MAX)
		return -ENOSPC;
	r = sd_event_source_set_enabled(hooks->due_source, SD_EVENT_ONESHOT);
	if (r < 0)
		return r;
	hooks->due[hooks->n_due++] = owner;
	return 0;
}

void hooks_forget(struct hooks *hooks, uint32_t generation, uint32_t instance)
{
	adopt_owner owner = owner_of(generation, instance);

	bpf_map_delete_elem(bpf_map__fd(hooks->maps->maps.watched), &owner);
	bpf_map_delete_elem(hooks_counts_fd(hooks), &owner);
	for (size_t k = 0; k < hooks->n_due; k++)
		if (hooks->due[k] == owner)
			hooks->due[k] = hooks->due[--hooks->n_due];
}

bool hooks_forced(struct hooks *hooks, uint64_t cookie)
{
	uint32_t value;
	return bpf_map_lookup_elem(bpf_map__fd(hooks->maps->maps.forced), &cookie, &value) == 0;
}

int hooks_counts_fd(const struct hooks *hooks)
{
	return bpf_map__fd(hooks->maps->maps.counts);
}

int hooks_moved_fd(const struct hooks *hooks)
{
	return bpf_map__fd(hooks->maps->maps.moved);
}

int hooks_births_fd(const struct hooks *hooks)
{
	return hooks->without_births ? -1 : bpf_map__fd(hooks->maps->maps.births);
}

/* ---- events --------------------------------------------------------------------------------- */

/* The callbacks have returned; one of them may have freed the object. */
static void told(struct hooks *hooks)
{
	hooks->telling = false;
	if (hooks->freed)
		free(hooks);
}

static int on_due(sd_event_source *source, void *userdata)
{
	struct hooks *hooks = userdata;

	(void)source;
	hooks->telling = true;
	/* A callback may watch others: those are told the next time. */
	for (size_t n = hooks->n_due; n > 0 && hooks->n_due > 0 && !hooks->freed; n--)
		tell_zero(hooks, hooks->due[--hooks->n_due]);
	told(hooks);
	return 0;
}

static int on_sample(void *userdata, void *data, size_t size)
{
	struct hooks *hooks = userdata;
	struct batch *batch = hooks->batch;

	if (size >= sizeof(batch->events[0]))
		memcpy(&batch->events[batch->n++], data, sizeof(batch->events[0]));
	/* It is full: the rest stays in the ring, which the loop finds readable again. */
	return batch->n == BATCH ? -ENOBUFS : 0;
}

/* Events can be about what was forgotten since, or left over from an earlier daemon's time. */
static void tell(struct hooks *hooks, struct adopt_event *event)
{
	struct hooks_count now;

	event->comm[sizeof(event->comm) - 1] = '\0';
	if (event->type == ADOPT_ZERO)
		tell_zero(hooks, event->owner);
	else if (event->type == ADOPT_PROGRAM && count(hooks, event->owner, &now) == 0)
		hooks->callbacks->on_program(hooks->userdata, (uint32_t)(event->owner >> 32),
					     (uint32_t)event->owner, (pid_t)event->pid,
					     event->comm);
}

static int on_events(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct hooks *hooks = userdata;
	struct batch batch = {};

	(void)source;
	(void)fd;
	(void)revents;
	/* First all out of the ring, then the callbacks: they may free the object. */
	hooks->batch = &batch;
	ring_buffer__consume(hooks->ring);
	hooks->batch = NULL;
	hooks->telling = true;
	for (size_t k = 0; k < batch.n && !hooks->freed; k++)
		tell(hooks, &batch.events[k]);
	told(hooks);
	return 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static int listen_to_events(struct hooks *hooks, sd_event *event, struct error *err)
{
	int r;

	hooks->ring =
		ring_buffer__new(bpf_map__fd(hooks->maps->maps.events), on_sample, hooks, NULL);
	if (!hooks->ring)
		return error_set(err, -errno, "open the ring buffer");
	r = sd_event_add_io(event, &hooks->events_source, ring_buffer__epoll_fd(hooks->ring),
			    EPOLLIN, on_events, hooks);
	if (r >= 0)
		r = sd_event_add_defer(event, &hooks->due_source, on_due, hooks);
	if (r >= 0)
		r = sd_event_source_set_enabled(hooks->due_source, SD_EVENT_OFF);
	return r < 0 ? error_set(err, r, "listen to events") : 0;
}

static struct adopt_endpoint to_endpoint(const struct address *address)
{
	struct adopt_endpoint ret = {.family = address->sa.sa_family};

	if (ret.family == AF_INET) {
		ret.address[10] = ret.address[11] = 0xff;
		memcpy(ret.address + 12, &address->in.sin_addr, 4);
		ret.port = address->in.sin_port;
	} else {
		memcpy(ret.address, &address->in6.sin6_addr, 16);
		ret.port = address->in6.sin6_port;
	}
	return ret;
}

int hooks_open(sd_event *event, const char *pin_dir, const struct address *listen, size_t n_listen,
	       const struct hooks_callbacks *callbacks, void *userdata, struct hooks **ret,
	       struct error *err)
{
	cleanup(hooks_free) struct hooks *hooks = calloc(1, sizeof(*hooks));
	int r;

	if (!hooks)
		return error_set(err, -ENOMEM, "hooks");
	if (n_listen > ADOPT_LISTEN_MAX)
		return error_text(err, -E2BIG, "hooks: more than %d addresses", ADOPT_LISTEN_MAX);
	hooks->callbacks = callbacks;
	hooks->userdata = userdata;
	for (size_t k = 0; k < n_listen; k++)
		hooks->endpoints[hooks->n_endpoints++] = to_endpoint(&listen[k]);
	if (pin_dir && (size_t)snprintf(hooks->pin_dir, sizeof(hooks->pin_dir), "%s", pin_dir) >=
			       sizeof(hooks->pin_dir) - PIN_NAME_MAX)
		return error_set(err, -ENAMETOOLONG, "hooks: %s", pin_dir);
	r = hooks_load_maps(hooks->pin_dir, &hooks->maps, err);
	if (r >= 0)
		r = listen_to_events(hooks, event, err);
	if (r < 0)
		return error_prefix(err, r, "hooks");
	*ret = TAKE_PTR(hooks);
	return 0;
}

void hooks_free(struct hooks *hooks)
{
	if (!hooks)
		return;
	hooks->due_source = sd_event_source_disable_unref(hooks->due_source);
	hooks->events_source = sd_event_source_disable_unref(hooks->events_source);
	ring_buffer__free(TAKE_PTR(hooks->ring));
	adopt_bpf__destroy(TAKE_PTR(hooks->maps));
	hooks->freed = true;
	if (!hooks->telling)
		free(hooks);
}

void hooks_unpin_all(struct hooks *hooks)
{
	if (!hooks->pin_dir[0])
		return;
	hooks_remove_pins(hooks->pin_dir);
	bpffs_remove(hooks->pin_dir);
}

/* ---- instances ------------------------------------------------------------------------------ */

/* Once: that the programs load does not say that they can do it. */
static int check_share(struct hooks *hooks, struct error *err)
{
	if (!hooks->share_works && hooks_try_share(err) == -EOPNOTSUPP)
		return -EOPNOTSUPP;
	/* Where it cannot be told the attempt itself will. */
	hooks->share_works = true;
	return 0;
}

static int load(struct hooks *hooks, adopt_owner owner, bool share, unsigned *ret_parts,
		struct adopt_bpf **ret, struct error *err)
{
	struct hooks_set set = {
		.parts = HOOKS_MASK(HOOKS_COUNT),
		.births = !hooks->without_births,
		.owner = owner,
		.endpoints = hooks->endpoints,
		.n_endpoints = hooks->n_endpoints,
		.maps = hooks->maps,
	};
	int r;

	if (!hooks->without_program)
		set.parts |= HOOKS_MASK(HOOKS_PROGRAM);
	if (share)
		set.parts |= HOOKS_SHARE;
	r = hooks_load_programs(&set, ret, err);
	if (r == 0 && share)
		r = check_share(hooks, err);
	if (r < 0)
		return r;
	hooks->without_births = !set.births;
	hooks->without_program = !(set.parts & HOOKS_MASK(HOOKS_PROGRAM));
	*ret_parts = set.parts;
	return 0;
}

int hooks_attach(struct hooks *hooks, const char *cgroup_path, uint32_t generation,
		 uint32_t instance, bool share, struct error *err)
{
	cleanup(adopt_bpf__destroy) struct adopt_bpf *programs = NULL;
	cleanup_close int cgroup_fd = open(cgroup_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	adopt_owner owner = owner_of(generation, instance);
	const struct adopt_counts zero = {};
	unsigned parts;
	int r;

	if (cgroup_fd < 0)
		return error_set(err, -errno, "hooks: %s", cgroup_path);
	if (generation == 0)
		return error_text(err, -EINVAL, "hooks: there is no generation 0");
	r = load(hooks, owner, share, &parts, &programs, err);
	if (r < 0)
		return error_prefix(err, r, "hooks");
	hooks_forget(hooks, generation, instance);
	if (bpf_map_update_elem(hooks_counts_fd(hooks), &owner, &zero, BPF_ANY) < 0)
		return error_set(err, -errno, "hooks: make counters");
	r = hooks_put(programs, parts, cgroup_fd, err);
	if (r < 0) {
		hooks_forget(hooks, generation, instance);
		return error_prefix(err, r, "hooks: %s", cgroup_path);
	}
	return 0;
}
