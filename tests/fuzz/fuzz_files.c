/* SPDX-License-Identifier: BSD-2-Clause */
/* Files that batond reads. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/privilege.h"
#include "common/vector.h"
#include "orchestrator/api/event_file.h"
#include "orchestrator/config/config.h"
#include "orchestrator/host/cgroup.h"
#include "orchestrator/host/environment.h"
#include "orchestrator/release/release.h"
#include "orchestrator/service/history_file.h"
#include "orchestrator/service/state.h"
#include "tests/fuzz/fuzz.h"

void fuzz_config(const uint8_t *data, size_t size)
{
	const char *file = fuzz_file(data, size);
	struct config_mistakes mistakes = {};
	struct config *config = NULL;
	int r = config_load(file, NULL, &config, &mistakes);

	FUZZ_MUST((r == 0) == (config != NULL));
	FUZZ_MUST(r != -EINVAL || mistakes.n > 0);
	for (size_t i = 0; i < mistakes.n; i++)
		fuzz_must_be_clean(mistakes.list[i].text, strlen(mistakes.list[i].text), 0);
	config_free(config);
	fuzz_folder_done();
}

void fuzz_state(const uint8_t *data, size_t size)
{
	const char *file = fuzz_file(data, size);
	struct state *state = NULL;
	struct error err;
	uint32_t generation = 0;
	int r = state_open(file, &state, &err);

	FUZZ_MUST(r >= 0 && state);
	FUZZ_MUST(r == 0 || err.text[0]);
	vector_free(state_command(state, "web"));
	vector_free(state_environment(state, "web"));
	free(state_base(state, "web"));
	free(state_id(state, "web"));
	(void)state_serving(state, "web");
	(void)state_instances(state, "web");
	(void)state_has_twin(state, "web", "127.0.0.1:80");
	if (state_next_generation(state, "web", &generation, &err) == 0)
		FUZZ_MUST(generation > 0 && state_generation(state, "web") == generation);
	state_free(state);
	/* What was saved can be read. */
	FUZZ_MUST(state_open(file, &state, &err) == 0);
	FUZZ_MUST(state_generation(state, "web") == generation || generation == 0);
	state_free(state);
	fuzz_folder_done();
}

static struct config *a_config(void)
{
	static const char text[] = "{\"services\": {\"web\": {\"command\": [\"/bin/true\"], "
				   "\"listen\": \"127.0.0.1:80\"}}}";
	struct config_mistakes mistakes = {};
	struct config *config = NULL;

	FUZZ_MUST(config_load(fuzz_file((const uint8_t *)text, strlen(text)), NULL, &config,
			      &mistakes) == 0);
	fuzz_folder_done();
	return config;
}

void fuzz_history(const uint8_t *data, size_t size)
{
	struct config *config = a_config();
	struct history history = {};
	struct error err;

	if (history_file_read(fuzz_file(data, size), &config->services[0], &history, &err) == 0)
		FUZZ_MUST(history.n <= HISTORY_MAX);
	for (size_t i = 0; i < history.n; i++)
		FUZZ_MUST(history.list[i]->generation > 0 && history.list[i]->release);
	history_done(&history);
	config_free(config);
	fuzz_folder_done();
}

static void take_event(void *userdata, const struct event_line *line)
{
	uint64_t *last = userdata;

	FUZZ_MUST(line->seq > *last && line->time && line->service && line->text);
	*last = line->seq;
}

void fuzz_events(const uint8_t *data, size_t size)
{
	const struct event_place place = {.path = fuzz_file(data, size)};
	struct event_file *events = NULL;
	struct error err;
	uint64_t last = 0;
	const struct event_file_taker taker = {.take = take_event, .userdata = &last};

	FUZZ_MUST(event_file_open(&place, 5, &taker, &events, &err) >= 0);
	FUZZ_MUST(event_file_epoch(events) != 0 && event_file_last(events) >= last);
	event_file_free(events);
	fuzz_folder_done();
}

void fuzz_environment(const uint8_t *data, size_t size)
{
	const char *file = fuzz_file(data, size);
	char **environment = NULL;
	struct error err;
	int r = environment_add_file(&environment, file, NULL, &err);

	FUZZ_MUST(r == 0 || err.text[0]);
	for (size_t i = 0; r == 0 && environment && environment[i]; i++) {
		const char *equals = strchr(environment[i], '=');

		FUZZ_MUST(equals && equals > environment[i]);
	}
	vector_free(environment);
	fuzz_folder_done();
}

void fuzz_elf(const uint8_t *data, size_t size)
{
	struct release release = {};

	release_identify(fuzz_file(data, size), &release);
	FUZZ_MUST(release.hash[0] && release.digest[0]);
	FUZZ_MUST(strnlen(release.digest, sizeof(release.digest)) < sizeof(release.digest));
	fuzz_folder_done();
}

/* The second text begins after the first NUL. */
static const char *second(const char *text, size_t size)
{
	size_t n = strlen(text);

	return n < size ? text + n + 1 : "";
}

void fuzz_mountinfo(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), path[CGROUP_PATH_MAX];
	struct error err;

	for (unsigned nth = 0; nth < 3; nth++)
		if (cgroup_locate(text, second(text, size), nth, path, &err) == 0)
			FUZZ_MUST(strnlen(path, sizeof(path)) < sizeof(path));
	free(text);
}

void fuzz_privilege(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), advice[PRIVILEGE_TEXT_MAX];
	struct privilege privilege;

	privilege_parse(text, second(text, size), 0, &privilege);
	(void)privilege_advise(&privilege, &privilege_bpf, advice);
	free(text);
}
