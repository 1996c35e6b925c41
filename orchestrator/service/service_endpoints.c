/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "orchestrator/service/service_internal.h"

/* ---- opening and closing -------------------------------------------------------------------- */

void service_close_endpoints(struct service *s)
{
	service_stop_tick(s);
	for (size_t k = 0; k < CONFIG_LISTEN_MAX; k++)
		steer_free(TAKE_PTR(s->wiring.endpoints[k]));
	tap_free(TAKE_PTR(s->wiring.tap));
	if (s->endpoints.anchor_cgroup[0])
		cgroup_remove(s->endpoints.anchor_cgroup);
	s->endpoints.anchor_cgroup[0] = '\0';
	service_backlogs_done(&s->backlogs);
	s->hold.paused = false;
	s->endpoints.open = false;
}

void service_unpin_endpoints(struct service *s)
{
	for (size_t k = 0; k < CONFIG_LISTEN_MAX; k++)
		if (s->wiring.endpoints[k])
			steer_unpin_all(s->wiring.endpoints[k]);
	if (s->wiring.tap)
		tap_unpin_all(s->wiring.tap);
	service_close_endpoints(s);
	service_tell_leftovers(s);
}

static int choose_tier(struct service *s, struct error *err)
{
	char before[TIERS_REASON_MAX];
	int r;

	memcpy(before, s->endpoints.tier_reason, sizeof(before));
	r = tiers_choose(&s->context->tiers, s->config->steering, &s->wiring.tier,
			 s->endpoints.tier_reason, err);
	if (r < 0)
		return r;
	if (s->endpoints.tier_reason[0] && strcmp(before, s->endpoints.tier_reason) != 0)
		log_info("%s: steering on tier %s (%s)", s->config->name,
			 steer_tier_name(s->wiring.tier), s->endpoints.tier_reason);
	if (s->config->hold_ms > 0 && !steer_can(s->wiring.tier, STEER_CAN_HOLD))
		log_warning("%s: \"hold\" has no effect on tier %s", s->config->name,
			    steer_tier_name(s->wiring.tier));
	return 0;
}

static void on_zero(void *userdata, uint32_t generation, uint32_t instance)
{
	(void)generation;
	(void)instance;
	service_poke(userdata);
}

static void on_ipv4(void *userdata, uint32_t generation, uint32_t instance, size_t k, pid_t pid,
		    const char *comm)
{
	struct service *s = userdata;

	for (size_t g = 0; g < s->n_generations; g++)
		for (size_t j = 0; j < s->generations[g]->instances.n; j++) {
			struct instance *i = s->generations[g]->instances.list[j];

			if (i->generation == generation && i->index == instance)
				instance_refuse_ipv4(i, k, pid, comm);
		}
}

static const struct tap_callbacks tap_callbacks = {
	.on_zero = on_zero,
	.on_program = service_on_program,
	.on_ipv4 = on_ipv4,
};

/* Either it does not work here, or it was not wanted. */
static const char *why_not_ebpf(const struct service *s)
{
	const char *reason = s->context->tiers.list[STEER_EBPF].reason;

	return s->context->tiers.list[STEER_EBPF].works ? "\"steering\" says so" : reason;
}

static int open_tap(struct service *s, struct error *err)
{
	const struct service_config *c = s->config;
	char pin_dir[BPFFS_PATH_MAX];
	int r;

	if (s->wiring.tier != STEER_EBPF)
		return error_text(err, -EOPNOTSUPP, "it needs tier ebpf, this is tier %s (%s)",
				  steer_tier_name(s->wiring.tier), why_not_ebpf(s));
	if (!s->context->cgroup_base[0])
		return error_text(err, -EOPNOTSUPP, "it needs a cgroup for each instance: %s",
				  s->context->no_cgroup);
	r = bpffs_make(s->context->paths.name, c->name, "tap", pin_dir, err);
	if (r < 0)
		return r;
	return tap_open(s->context->event, pin_dir, c->listen, c->n_listen, &tap_callbacks, s,
			&s->wiring.tap, err);
}

/* Only mode "transparent" is impossible without taps. Connections are listed instead of counted. */
static int open_tap_if_possible(struct service *s, struct error *err)
{
	int r = open_tap(s, err);

	s->wiring.no_tap[0] = '\0';
	if (r >= 0)
		return 0;
	snprintf(s->wiring.no_tap, sizeof(s->wiring.no_tap), "%.511s", err->text);
	if (s->config->mode == SOCKETS_TRANSPARENT)
		return error_prefix(err, r, "mode \"transparent\"");
	if (s->wiring.tier == STEER_EBPF)
		log_warning("%s: connections are counted by looking at them: %s", s->config->name,
			    err->text);
	return 0;
}

#define LEAF_MAX (PROTOCOL_NAME_MAX + 16)

static bool leaf_exists(const struct service *s, const char *leaf)
{
	char path[CGROUP_PATH_MAX + LEAF_MAX + 1];

	snprintf(path, sizeof(path), "%s/%s", s->context->cgroup_base, leaf);
	return access(path, F_OK) == 0;
}

/* No instance's is called so: those begin with their service. Earlier versions had it the other way
 * round; if that is still there, it has the count. */
static void name_anchor_leaf(const struct service *s, char ret[static LEAF_MAX])
{
	snprintf(ret, LEAF_MAX, "%s.anchor", s->config->name);
	if (!leaf_exists(s, ret))
		snprintf(ret, LEAF_MAX, "anchor.%s", s->config->name);
}

/*
 * Connections that wait at the anchors are counted like those of an instance: see steer.h. The
 * count of an earlier daemon goes on: connections that it held may have been sent on, and live.
 */
static int open_anchor_cgroup(struct service *s, struct error *err)
{
	char leaf[LEAF_MAX];
	struct tap_count count;
	bool existed;
	uint64_t id;
	int r;

	name_anchor_leaf(s, leaf);
	existed = leaf_exists(s, leaf);
	r = cgroup_create(s->context->cgroup_base, leaf, s->endpoints.anchor_cgroup, &id, err);
	if (r < 0) {
		s->endpoints.anchor_cgroup[0] = '\0';
		return r;
	}
	if (existed && tap_count(s->wiring.tap, STEER_ANCHOR_GENERATION, 0, &count) >= 0)
		return 0;
	return tap_attach(s->wiring.tap, s->endpoints.anchor_cgroup, STEER_ANCHOR_GENERATION, 0,
			  false, err);
}

int service_open_endpoint(struct service *s, const struct address *address, bool has_member,
			  struct steer **ret, struct error *err)
{
	char key[ADDRESS_KEY_MAX], pin_dir[BPFFS_PATH_MAX];
	struct steer_options options = {
		.tier = s->wiring.tier,
		.uid = s->config->uid,
		.inspect = s->context->inspect,
		.tap = s->wiring.tap,
		.sticky = s->config->sticky,
		.anchor_cgroup = s->endpoints.anchor_cgroup[0] ? s->endpoints.anchor_cgroup : NULL,
		.has_member = has_member,
	};
	int r;

	if (s->wiring.tier == STEER_EBPF) {
		r = bpffs_make(s->context->paths.name, s->config->name, address_key(address, key),
			       pin_dir, err);
		if (r < 0)
			return r;
		options.pin_dir = pin_dir;
	}
	return steer_open(address, &options, ret, err);
}

/* Endpoint @k, for sockets of the family that its servers were found to bind. */
static int open_endpoint(struct service *s, size_t k, struct error *err)
{
	const struct address *declared = &s->config->listen[k];
	struct address twin;
	bool has_twin = address_twin(declared, &twin) &&
			state_has_twin(s->context->state, s->config->name, twin.text);

	return service_open_endpoint(s, has_twin ? &twin : declared, false, &s->wiring.endpoints[k],
				     err);
}

int service_open_endpoints(struct service *s, struct error *err)
{
	int r = choose_tier(s, err);

	s->endpoints.in_use = 0;
	if (r >= 0)
		r = open_tap_if_possible(s, err);
	if (r >= 0 && s->wiring.tap)
		r = open_anchor_cgroup(s, err);
	for (size_t k = 0; r >= 0 && k < s->config->n_listen; k++)
		r = open_endpoint(s, s->endpoints.in_use++, err);
	if (r < 0) {
		service_close_endpoints(s);
		return r;
	}
	s->endpoints.open = true;
	service_start_tick(s);
	return 0;
}

int service_attach_endpoints(struct service *s, struct error *err)
{
	/* With "hold" connections wait from now on, until an instance is ready. */
	service_begin_hold(s);
	for (size_t k = 0; k < s->config->n_listen; k++) {
		int r = steer_attach(s->wiring.endpoints[k], err);

		s->endpoints.in_use = k + 1;
		if (r < 0)
			return r;
	}
	return 0;
}

/* Our own sockets are closed: who is there? */
static void explain_in_use(struct service *s, struct error *err)
{
	char text[ADDRESS_TEXT_MAX * 4 + sizeof(err->text)];

	if (!s->endpoints.in_use || !err)
		return;
	s->endpoints.lingers = occupants_explain(s->context->diag,
						 &s->config->listen[s->endpoints.in_use - 1], err);
	if (!s->endpoints.lingers)
		return;
	snprintf(text, sizeof(text), "%s; it is tried again until \"start_timeout\"", err->text);
	error_text(err, -EADDRINUSE, "%s", text);
}

int service_open_fresh(struct service *s, struct error *err)
{
	int r = takeover_check_gone(s->context, s->config->name, err);

	s->endpoints.lingers = false;
	if (r >= 0)
		r = service_open_endpoints(s, err);
	for (size_t k = 0; r >= 0 && k < s->config->n_listen; k++)
		r = steer_reset(s->wiring.endpoints[k], err);
	if (r >= 0)
		r = service_attach_endpoints(s, err);
	if (r >= 0)
		return r;
	service_close_endpoints(s);
	if (r == -EADDRINUSE)
		explain_in_use(s, err);
	return r;
}
