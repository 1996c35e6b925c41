/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/config/config_internal.h"

#include <string.h>

_Static_assert(CONFIG_LISTEN_MAX <= UINT8_MAX, "config_draft.listen_index");

/* ---- sockets and steering ------------------------------------------------------------------- */

static void check_sockets(struct config_reading *reading, const char *path,
			  const struct service_config *service)
{
	bool cbpf = service->steering == STEERING_CBPF, hash = service->steering == STEERING_HASH;
	const char *tier = cbpf ? "cbpf" : "hash";
	char key_path[CONFIG_JSON_PATH_MAX];

	if ((cbpf || hash) && service->mode == SOCKETS_TRANSPARENT) {
		config_path(path, "mode", key_path);
		config_mistake(reading, key_path,
			       "\"transparent\" needs the ebpf tier, but \"steering\" is \"%s\": "
			       "leave \"steering\" out, or use \"native\" where the server shares "
			       "its port itself",
			       tier);
	}
	if ((cbpf || hash) && service->hold_ms > 0) {
		config_path(path, "hold", key_path);
		config_mistake(reading, key_path,
			       "needs the ebpf tier, but \"steering\" is \"%s\": leave one of them "
			       "out",
			       tier);
	}
	if (hash && service->sticky) {
		config_path(path, "sticky", key_path);
		config_mistake(reading, key_path,
			       "needs the ebpf or the cbpf tier, but \"steering\" is \"hash\": "
			       "leave one of them out");
	}
	if (service->nonblocking && !config_passes_sockets(service)) {
		config_path(path, "nonblocking", key_path);
		config_mistake(reading, key_path,
			       "is for sockets that are passed, but with \"mode\" \"%s\" none is: "
			       "leave it out",
			       socket_mode_name(service->mode));
	}
}

/* How long connections wait during a rollout that stops first, if "hold" does not say. */
#define STOP_FIRST_HOLD_MS (30 * CONFIG_SECOND_MS)

/* ---- strategy ------------------------------------------------------------------------------- */

/* Between the old and the new nothing can take a connection: it waits, or is refused. */
static void check_stop_first(struct config_reading *reading, const char *path,
			     struct config_draft *draft)
{
	struct service_config *service = &draft->service;
	bool cbpf = service->steering == STEERING_CBPF, hash = service->steering == STEERING_HASH;
	char key_path[CONFIG_JSON_PATH_MAX];

	if (!service->rollout.gap && (cbpf || hash)) {
		config_path(path, "rollout.strategy", key_path);
		config_mistake(reading, key_path,
			       "\"stop-first\" needs the ebpf tier, which lets connections wait, "
			       "but \"steering\" is \"%s\": leave \"steering\" out, or set \"gap\" "
			       "of \"rollout\" to true and have them refused meanwhile",
			       cbpf ? "cbpf" : "hash");
	}
	if (!service->rollout.gap && draft->hold_given && service->hold_ms == 0) {
		config_path(path, "hold", key_path);
		config_mistake(
			reading, key_path,
			"\"0\" refuses connections between the old and the new of "
			"\"stop-first\": give it a time, leave it out (30s), or set \"gap\" of "
			"\"rollout\" to true");
	}
	if (service->n_gates > 0) {
		config_path(path, "gates", key_path);
		config_mistake(reading, key_path,
			       "with \"strategy\" \"stop-first\" all clients would wait for their "
			       "answers: leave them out, and use \"health\" instead");
	}
	if (!draft->hold_given && !cbpf && !hash)
		service->hold_ms = STOP_FIRST_HOLD_MS;
}

static void check_strategy(struct config_reading *reading, const char *path,
			   struct config_draft *draft)
{
	const struct service_config *service = &draft->service;
	const struct rollout_config *rollout = &service->rollout;
	char key_path[CONFIG_JSON_PATH_MAX], item_path[CONFIG_JSON_PATH_MAX];

	if (draft->rollout_bad)
		return;
	if (rollout->strategy == ROLLOUT_ROLLING && !rollout->max_surge && !draft->instances_bad &&
	    rollout->max_unavailable >= service->instances) {
		config_path(path, "rollout.max_surge", key_path);
		config_mistake(
			reading, key_path,
			"0 while \"max_unavailable\" is %u of %u \"instances\": nothing would "
			"serve between the old and the new",
			rollout->max_unavailable, service->instances);
	}
	if (rollout->strategy == ROLLOUT_STOP_FIRST) {
		check_stop_first(reading, path, draft);
		return;
	}
	config_path(path, "gates", key_path);
	for (size_t i = 0; i < service->n_gates; i++) {
		if (service->gates[i].at != ROLLOUT_GATE_STEP ||
		    rollout->strategy == ROLLOUT_CANARY)
			continue;
		config_path_index(key_path, i, item_path);
		config_mistake(reading, item_path,
			       "is asked at \"step\" only, which \"strategy\" \"canary\" has, but "
			       "this one is \"%s\": it would never be asked",
			       config_strategy_name(rollout->strategy));
	}
}

/* ---- endpoints ------------------------------------------------------------------------------ */

static void listen_path(const char *path, const struct config_draft *draft, size_t i,
			char ret[static CONFIG_JSON_PATH_MAX])
{
	char listen[CONFIG_JSON_PATH_MAX];

	config_path(path, "listen", listen);
	if (draft->listen_is_text)
		memcpy(ret, listen, sizeof(listen));
	else
		config_path_index(listen, draft->listen_index[i], ret);
}

/* Compare the endpoint @i of @draft with the first @n of @other (which may be the same). */
static void compare_endpoint(struct config_reading *reading, const char *path,
			     const struct config_draft *draft, size_t i,
			     const struct config_draft *other, size_t n)
{
	const struct address *mine = &draft->service.listen[i];
	char here[CONFIG_JSON_PATH_MAX], there[CONFIG_JSON_PATH_MAX];
	char other_path[CONFIG_JSON_PATH_MAX];

	for (size_t j = 0; j < n; j++) {
		const struct address *theirs = &other->service.listen[j];
		bool same = address_equal(mine, theirs);

		if (!same && !address_overlaps(mine, theirs))
			continue;
		config_path("services", other->service.name, other_path);
		listen_path(path, draft, i, here);
		listen_path(other_path, other, j, there);
		if (same)
			config_mistake(reading, here, "\"%s\" is %s already", mine->text, there);
		else
			config_mistake(reading, here, "\"%s\" overlaps with \"%s\" of %s",
				       mine->text, theirs->text, there);
		return; /* one mistake for one endpoint */
	}
}

static void check_endpoints(struct config_reading *reading, const char *path,
			    const struct config_draft *draft)
{
	for (size_t i = 0; i < draft->service.n_listen; i++) {
		compare_endpoint(reading, path, draft, i, draft, i);
		for (size_t k = 0; k < reading->n_drafts; k++) {
			const struct config_draft *other = reading->drafts[k];

			/* A service that is defined twice is one mistake, not one per address. */
			if (strcmp(other->service.name, draft->service.name) != 0)
				compare_endpoint(reading, path, draft, i, other,
						 other->service.n_listen);
		}
	}
}

int config_check_service(struct config_reading *reading, const char *path,
			 struct config_draft *draft)
{
	int r = config_check_account(reading, path, &draft->service);

	if (r < 0)
		return r;
	check_sockets(reading, path, &draft->service);
	check_strategy(reading, path, draft);
	r = config_check_checks(reading, path, draft);
	if (r == 0)
		r = config_check_files(reading, path, draft);
	if (r == 0)
		check_endpoints(reading, path, draft);
	return r;
}
