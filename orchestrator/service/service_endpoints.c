/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "orchestrator/service/service_internal.h"

/* ---- opening and closing -------------------------------------------------------------------- */

void service_close_endpoint(struct service *s, size_t place)
{
	assert(!s->lending.borrowed[place] && !s->lending.lent[place]);
	for (size_t g = 0; g < s->n_generations; g++) {
		size_t k = wiring_index(&s->wiring, place, s->generations[g]->config);

		for (size_t j = 0; j < s->generations[g]->instances.n; j++)
			if (k < s->generations[g]->config->n_listen)
				instance_close_endpoint(s->generations[g]->instances.list[j], k);
	}
	steer_unpin_all(s->wiring.endpoints[place]);
	steer_free(TAKE_PTR(s->wiring.endpoints[place]));
	s->endpoints.declared[place] = (struct address){};
	memset(&s->backlogs.endpoints[place], 0, sizeof(s->backlogs.endpoints[place]));
	s->endpoints.moved_for[place] = 0;
	s->drift.drifted[place] = false;
	service_keep_sockets(s);
}

static void close_tap(struct service *s)
{
	tap_free(TAKE_PTR(s->wiring.tap));
	if (s->endpoints.anchor_cgroup[0])
		cgroup_remove(s->endpoints.anchor_cgroup);
	s->endpoints.anchor_cgroup[0] = '\0';
}

void service_close_endpoints(struct service *s)
{
	service_stop_tick(s);
	service_part(s);
	WIRING_EACH (k, &s->wiring)
		steer_free(TAKE_PTR(s->wiring.endpoints[k]));
	close_tap(s);
	service_backlogs_done(&s->backlogs);
	s->hold.paused = false;
	s->endpoints.open = false;
}

void service_unpin_endpoints(struct service *s)
{
	service_part(s);
	WIRING_EACH (k, &s->wiring)
		steer_unpin_all(s->wiring.endpoints[k]);
	if (s->wiring.tap)
		tap_unpin_all(s->wiring.tap);
	service_close_endpoints(s);
	service_tell_leftovers(s);
}

static bool asks_by_command(const struct checks_config *health)
{
	for (size_t k = 0; k < health->n; k++)
		if (health->list[k].kind == HEALTH_KIND_EXEC)
			return true;
	return false;
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
	if (asks_by_command(&s->config->health) && !steer_can(s->wiring.tier, STEER_CAN_PIN))
		log_warning(
			"%s: on tier %s whoever serves answers a check by \"exec\" through the "
			"shared address, and there is no BATON_PROBE_PORTS: give each instance a "
			"socket of its own to be asked on ({generation}, {instance})",
			s->config->name, steer_tier_name(s->wiring.tier));
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

static void on_listen(void *userdata, uint32_t generation, uint32_t instance)
{
	struct service *s = userdata;

	for (size_t g = 0; g < s->n_generations; g++)
		for (size_t j = 0; j < s->generations[g]->instances.n; j++) {
			struct instance *i = s->generations[g]->instances.list[j];

			if (i->generation == generation && i->index == instance)
				instance_hint(i);
		}
}

static const struct tap_callbacks tap_callbacks = {
	.on_zero = on_zero,
	.on_program = service_on_program,
	.on_ipv4 = on_ipv4,
	.on_listen = on_listen,
};

/* Either it does not work here, or it was not wanted. */
static const char *why_not_ebpf(const struct service *s)
{
	const char *reason = s->context->tiers.list[STEER_EBPF].reason;

	return s->context->tiers.list[STEER_EBPF].works ? "\"steering\" says so" : reason;
}

#define LEAF_MAX (PROTOCOL_NAME_MAX + 16)

static bool leaf_path(const struct service *s, const char *leaf,
		      char ret[static CGROUP_PATH_MAX + LEAF_MAX + 1])
{
	snprintf(ret, CGROUP_PATH_MAX + LEAF_MAX + 1, "%s/%s", s->context->cgroup_base, leaf);
	return access(ret, F_OK) == 0;
}

/* No instance's is called so: those begin with their service. Earlier versions had it the other way
 * round; if that is still there, it has the count. */
static bool name_anchor_leaf(const struct service *s, char ret[static LEAF_MAX],
			     char ret_path[static CGROUP_PATH_MAX + LEAF_MAX + 1])
{
	snprintf(ret, LEAF_MAX, "%s.anchor", service_id(s));
	if (leaf_path(s, ret, ret_path))
		return true;
	snprintf(ret, LEAF_MAX, "anchor.%s", service_id(s));
	return leaf_path(s, ret, ret_path);
}

/*
 * Connections that wait at the anchors are counted like those of an instance: see steer.h. The
 * count of an earlier daemon goes on: connections that it held may have been sent on, and live.
 */
static int open_anchor_cgroup(struct service *s, struct error *err)
{
	char leaf[LEAF_MAX], path[CGROUP_PATH_MAX + LEAF_MAX + 1];
	struct tap_count count;
	bool existed;
	uint64_t id;
	int r;

	existed = name_anchor_leaf(s, leaf, path);
	r = cgroup_create(s->context->cgroup_base, leaf, s->endpoints.anchor_cgroup, &id, err);
	if (r < 0) {
		s->endpoints.anchor_cgroup[0] = '\0';
		return r;
	}
	if (existed && tap_count(s->wiring.tap, STEER_ANCHOR_GENERATION, 0, &count) >= 0)
		return 0;
	/* Which addresses there will be is not known yet. */
	r = tap_declare(s->wiring.tap, NULL, 0, err);
	return r < 0 ? r
		     : tap_attach(s->wiring.tap, s->endpoints.anchor_cgroup,
				  STEER_ANCHOR_GENERATION, 0, false, err);
}

static int open_tap(struct service *s, struct error *err)
{
	char pin_dir[BPFFS_PATH_MAX], leaf[LEAF_MAX], path[CGROUP_PATH_MAX + LEAF_MAX + 1];
	int r;

	if (s->wiring.tier != STEER_EBPF)
		return error_text(err, -EOPNOTSUPP, "it needs tier ebpf, this is tier %s (%s)",
				  steer_tier_name(s->wiring.tier), why_not_ebpf(s));
	if (!s->context->cgroup_base[0])
		return error_text(err, -EOPNOTSUPP, "it needs a cgroup for each instance: %s",
				  s->context->no_cgroup);
	r = bpffs_make(s->context->paths.name, service_id(s), "tap", pin_dir, err);
	if (r < 0)
		return r;
	r = tap_open(s->context->event, pin_dir, name_anchor_leaf(s, leaf, path) ? path : NULL,
		     &tap_callbacks, s, &s->wiring.tap, err);
	if (r < 0)
		return r;
	/* There its programs are loaded for the first time. */
	r = open_anchor_cgroup(s, err);
	if (r < 0)
		close_tap(s);
	return r;
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

/* Of so many sockets steer_open() is told. */
#define MEMBERS_MAX 256

static int fill_options(struct service *s, const struct address *address,
			char pin_dir[static BPFFS_PATH_MAX], struct steer_options *ret,
			struct error *err)
{
	char key[ADDRESS_KEY_MAX];

	*ret = (struct steer_options){
		.tier = s->wiring.tier,
		.uid = s->config->uid,
		.inspect = s->context->inspect,
		.tap = s->wiring.tap,
		.sticky = s->config->sticky,
		.anchor_cgroup = s->endpoints.anchor_cgroup[0] ? s->endpoints.anchor_cgroup : NULL,
	};
	if (s->wiring.tier != STEER_EBPF)
		return 0;
	ret->pin_dir = pin_dir;
	return bpffs_make(s->context->paths.name, service_id(s), address_key(address, key), pin_dir,
			  err);
}

/* Those that are open and compete with @address. A twin does not: it is the same endpoint. */
static size_t find_beside(const struct service *s, const struct address *address,
			  struct steer *ret[static WIRING_MAX])
{
	size_t n = 0;

	if (!steer_can(s->wiring.tier, STEER_CAN_CROSS))
		return 0;
	SERVICE_OWN (k, s) {
		const struct address *open = steer_address(s->wiring.endpoints[k]);

		if (!address_equal(open, address) && !address_are_twins(open, address) &&
		    address_overlaps(open, address))
			ret[n++] = s->wiring.endpoints[k];
	}
	return n;
}

/* Sockets that agents of an earlier daemon have there. Some will do. */
static size_t find_members(const struct service *s, const struct address *address,
			   uint64_t ret[static MEMBERS_MAX])
{
	size_t n = 0;

	for (size_t k = 0; k < s->endpoints.n_agents; k++) {
		const struct report *hello = &s->endpoints.agents[k]->hello;

		for (size_t j = 0; j < hello->n_sockets && n < MEMBERS_MAX; j++)
			if (strcmp(hello->sockets[j].address, address->text) == 0)
				ret[n++] = hello->sockets[j].cookie;
	}
	return n;
}

int service_open_endpoint(struct service *s, const struct address *address, bool has_member,
			  struct steer **ret, struct error *err)
{
	uint64_t members[MEMBERS_MAX];
	struct steer *beside[WIRING_MAX];
	char pin_dir[BPFFS_PATH_MAX];
	struct steer_options options;
	int r = fill_options(s, address, pin_dir, &options, err);

	if (r < 0)
		return r;
	options.has_member = has_member;
	options.members = members;
	options.n_members = find_members(s, address, members);
	options.beside = beside;
	options.n_beside = find_beside(s, address, beside);
	return steer_open(address, &options, ret, err);
}

int service_rehome_endpoint(struct service *s, size_t place, struct error *err)
{
	struct steer *steer = s->wiring.endpoints[place];
	char pin_dir[BPFFS_PATH_MAX];
	struct steer_options options;
	int r = fill_options(s, steer_address(steer), pin_dir, &options, err);

	return r < 0 ? r : steer_rehome(steer, &options, err);
}

/* An endpoint for @declared, with sockets of the family that its servers were found to bind. */
static int open_endpoint(struct service *s, const struct address *declared, size_t *ret_place,
			 struct error *err)
{
	size_t place = wiring_free_place(&s->wiring);
	struct address twin;
	bool has_twin = address_twin(declared, &twin) &&
			state_has_twin(s->context->state, service_id(s), twin.text);
	int r;

	if (place == WIRING_MAX)
		return error_text(err, -EBUSY,
				  "%s: generations that have other addresses still listen on %d; "
				  "wait until one has left",
				  declared->text, WIRING_MAX);
	r = service_open_endpoint(s, has_twin ? &twin : declared, false,
				  &s->wiring.endpoints[place], err);
	if (r < 0)
		return r;
	s->endpoints.declared[place] = *declared;
	*ret_place = place;
	return 0;
}

int service_open_wiring(struct service *s, struct error *err)
{
	int r = choose_tier(s, err);

	memset(s->endpoints.declared, 0, sizeof(s->endpoints.declared));
	if (r >= 0)
		r = open_tap_if_possible(s, err);
	if (r < 0) {
		service_close_endpoints(s);
		return r;
	}
	s->endpoints.open = true;
	service_start_tick(s);
	return 0;
}

/* Which addresses were opened, so that they can be closed if a later one cannot be. */
struct opening {
	size_t places[CONFIG_LISTEN_MAX], n;
	const struct address *now;
};

static void undo_opening(struct service *s, const struct opening *opening)
{
	for (size_t k = 0; k < opening->n; k++)
		service_close_endpoint(s, opening->places[k]);
}

/* Those of @config that are not open yet. */
static int open_missing(struct service *s, const struct service_config *config,
			struct opening *opening, struct error *err)
{
	int r = 0;

	for (size_t k = 0; r >= 0 && k < config->n_listen; k++) {
		opening->now = &config->listen[k];
		if (wiring_place(&s->wiring, opening->now) < WIRING_MAX)
			continue;
		r = open_endpoint(s, opening->now, &opening->places[opening->n], err);
		if (r >= 0)
			opening->n++;
	}
	return r;
}

int service_open_addresses(struct service *s, const struct service_config *config,
			   struct error *err)
{
	struct opening opening = {};
	int r = open_missing(s, config, &opening, err);

	if (r < 0)
		undo_opening(s, &opening);
	return r;
}

int service_attach_endpoints(struct service *s, struct error *err)
{
	int r = 0;

	/* With "hold" connections wait from now on, until an instance is ready. */
	service_begin_hold(s);
	SERVICE_OWN (k, s) {
		r = steer_attach(s->wiring.endpoints[k], err);
		if (r < 0)
			break;
	}
	return r;
}

/* Our own sockets are closed: who is there? */
static void explain_in_use(struct service *s, const struct address *address, struct error *err)
{
	char text[ADDRESS_TEXT_MAX * 4 + sizeof(err->text)];

	if (!address || !err)
		return;
	s->endpoints.lingers = occupants_explain(s->context->diag, address, err);
	if (!s->endpoints.lingers)
		return;
	snprintf(text, sizeof(text), "%s; it is tried again until \"start_timeout\"", err->text);
	error_text(err, -EADDRINUSE, "%s", text);
}

/* Nothing is in the slots of what is new; what it takes over is of nobody any more. */
static int clear_and_attach(struct service *s, struct opening *opening, struct error *err)
{
	int r = 0;

	for (size_t k = 0; r >= 0 && k < opening->n; k++)
		r = steer_reset(s->wiring.endpoints[opening->places[k]], err);
	for (size_t k = 0; k < opening->n; k++)
		service_join_hold(s, opening->places[k]);
	if (r >= 0)
		service_begin_hold(s);
	for (size_t k = 0; r >= 0 && k < opening->n; k++) {
		opening->now = &s->endpoints.declared[opening->places[k]];
		r = steer_attach(s->wiring.endpoints[opening->places[k]], err);
	}
	return r;
}

static void tell_opened(struct service *s, const struct opening *opening)
{
	for (size_t k = 0; k < opening->n; k++)
		service_tell(s, &(struct event){
					.kind = EVENT_ADDRESS,
					.message = "opened for the generation that comes",
					.listen = s->endpoints.declared[opening->places[k]].text});
}

int service_open_fresh(struct service *s, const struct service_config *config, struct error *err)
{
	bool was_open = s->endpoints.open;
	struct opening opening = {};
	struct address failed = {};
	int r = was_open ? 0 : takeover_check_gone(s->context, service_id(s), err);

	s->endpoints.lingers = false;
	if (r >= 0 && !was_open)
		r = service_open_wiring(s, err);
	if (r >= 0)
		r = open_missing(s, config, &opening, err);
	if (r >= 0)
		r = clear_and_attach(s, &opening, err);
	if (r >= 0 && was_open)
		tell_opened(s, &opening);
	service_keep_sockets(s);
	if (r >= 0)
		return r;
	if (opening.now)
		failed = *opening.now;
	if (was_open)
		undo_opening(s, &opening);
	else
		service_close_endpoints(s);
	if (r == -EADDRINUSE)
		explain_in_use(s, opening.now ? &failed : NULL, err);
	return r;
}
