/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/print_status.h"

#include <string.h>

#include "cli/print_checks.h"
#include "cli/print_failed.h"
#include "cli/print_generations.h"
#include "cli/print_rollout.h"
#include "common/duration.h"

#define DIGEST_DIGITS 12

/* Of a crash loop. Those of a rollout that failed are told with it. */
static void print_last_words(const struct print *to, const json_t *service)
{
	const json_t *failure = json_object_get(service, "failure");
	const json_t *last = json_object_get(service, "last_rollout");

	if (strcmp(print_member(failure, "tail"), print_member(last, "tail")) != 0)
		print_tail(to, PRINT_DETAIL, failure);
}

/* ---- parts of a status ---------------------------------------------------------------------- */

/* In which mode the current generation has come by its sockets; "" if that is not known (yet). */
static const char *found_mode(const json_t *generations)
{
	const char *newest = "";
	json_t *generation;
	size_t i;

	json_array_foreach (generations, i, generation) {
		const char *mode = print_member(generation, "mode");

		if (*mode && strcmp(print_member(generation, "state"), "current") == 0)
			return mode;
		if (!*newest)
			newest = mode;
	}
	return newest;
}

/* "mode auto (transparent), tier ebpf, canary, 2 instances" */
static void print_ways(const struct print *to, const json_t *service)
{
	const char *mode = print_member(service, "mode"), *tier = print_member(service, "tier");
	const char *strategy = print_member(service, "strategy");
	const char *found = found_mode(json_object_get(service, "generations"));
	long long instances = print_number(service, "instances");
	const char *comma = "";

	if (*mode) {
		fputs("mode ", to->out);
		print_text(to, mode);
		if (*found && strcmp(found, mode) != 0) {
			fputs(" (", to->out);
			print_text(to, found);
			fputc(')', to->out);
		}
		comma = ", ";
	}
	if (*tier) {
		fprintf(to->out, "%stier ", comma);
		print_text(to, tier);
		comma = ", ";
	}
	if (print_strategy_is_special(strategy)) {
		fputs(comma, to->out);
		print_text(to, strategy);
		comma = ", ";
	}
	if (instances > 1)
		fprintf(to->out, "%s%lld instances", comma, instances);
	fputc('\n', to->out);
}

/* Name, state and modes. The reason of a bad state comes right behind the state. */
static void print_head(const struct print *to, const json_t *service)
{
	const char *state = print_member(service, "state");
	const char *reason = print_member(service, "reason");
	bool has_ways = *print_member(service, "mode") || *print_member(service, "tier");
	bool bad = strcmp(state, "failed") == 0 || strcmp(state, "refused") == 0 ||
		   strcmp(state, "degraded") == 0;

	print_coloured(to, PRINT_BOLD, print_member(service, "service"));
	fputs("  ", to->out);
	print_coloured(to, print_state_colour(state), state);
	if (json_is_true(json_object_get(service, "paused"))) {
		fputs("  ", to->out);
		print_coloured(to, PRINT_YELLOW, "PAUSED");
	}
	if (*reason && bad) {
		fputs(": ", to->out);
		print_text(to, reason);
		fputc('\n', to->out);
		if (has_ways)
			print_label(to, "steering");
	} else {
		fputs(has_ways ? "  " : "\n", to->out);
	}
	if (has_ways)
		print_ways(to, service);
}

static void print_tier_reason(const struct print *to, const json_t *service)
{
	const char *reason = print_member(service, "tier_reason");

	if (!*reason)
		return;
	print_label(to, "tier");
	print_text(to, print_member(service, "tier"));
	fputs(" (", to->out);
	print_text(to, reason);
	fputs(")\n", to->out);
}

static void print_cgroup_reason(const struct print *to, const json_t *service)
{
	const char *reason = print_member(service, "cgroup_reason");

	if (!*reason)
		return;
	print_label(to, "cgroups");
	fputs("none (", to->out);
	print_text(to, reason);
	fputs(")\n", to->out);
}

/* How long new connections may wait. print_endpoint() tells how many do. */
static void print_hold(const struct print *to, const json_t *service)
{
	bool paused = json_is_true(json_object_get(service, "paused"));
	const json_t *holding = json_object_get(service, "holding");
	long long hold_ms = print_number(service, "hold_ms");
	long long n = print_number(holding, "connections");
	char text[DURATION_TEXT_MAX], took[PRINT_TOOK_MAX];

	if (hold_ms <= 0 && !paused)
		return;
	print_label(to, paused ? "paused" : "hold");
	if (n > 0) {
		print_took(print_number(holding, "longest_ms"), took);
		if (n == 1)
			fprintf(to->out, "holding 1 connection, for %s; ", took);
		else
			fprintf(to->out, "holding %lld connections, the longest for %s; ", n, took);
	}
	fputs("new connections wait", to->out);
	if (hold_ms > 0)
		fprintf(to->out, " up to %s", duration_format((uint64_t)hold_ms, text));
	fputs(paused ? "\n" : " where nothing can take them\n", to->out);
}

static void print_failover(const struct print *to, const json_t *service)
{
	const json_t *failover = json_object_get(service, "failover");
	long long count = print_number(failover, "count");
	long long carried = print_number(failover, "carried");

	if (count <= 0)
		return;
	print_label(to, "failover");
	if (carried >= 0)
		fprintf(to->out, "backups carried %lld connection%s", carried,
			print_plural(carried));
	else
		fputs("backups took over", to->out);
	if (count > 1)
		fprintf(to->out, ", %lld times", count);
	if (*print_member(failover, "last")) {
		fputs(count > 1 ? ", last " : ", ", to->out);
		print_since(to, print_member(failover, "last"));
	}
	fputc('\n', to->out);
}

static void print_program(const struct print *to, const json_t *program)
{
	const char *state = print_member(program, "state"), *who = print_member(program, "who");
	bool bad = strcmp(state, "missing") == 0 || strcmp(state, "foreign") == 0;

	fputs("  program ", to->out);
	if (print_number(program, "id") > 0)
		fprintf(to->out, "%lld ", print_number(program, "id"));
	print_coloured(to, bad ? PRINT_RED : PRINT_PLAIN, state);
	if (*who) {
		fputs(" (", to->out);
		print_text(to, who);
		fputc(')', to->out);
	}
}

/* "127.0.0.1:8080 (IPv4-mapped)": with the family of its sockets if that is to be remarked on. */
static const char *endpoint_text(const json_t *endpoint, char buffer[static PRINT_CELL_MAX])
{
	const char *listen = print_member(endpoint, "listen");
	const char *family = print_member(endpoint, "family");
	bool odd = strcmp(family, "IPv4-mapped") == 0 ||
		   (strcmp(family, "IPv4") == 0 && listen[0] == '[');
	char text[PRINT_CELL_MAX];

	if (json_is_true(json_object_get(endpoint, "undeclared")))
		snprintf(text, sizeof(text), "%s (of an earlier generation)", listen);
	else if (odd)
		snprintf(text, sizeof(text), "%s (%s)", listen, family);
	else
		snprintf(text, sizeof(text), "%s", listen);
	return print_clean(text, buffer, PRINT_CELL_MAX);
}

static void print_endpoint(const struct print *to, const json_t *endpoint, size_t width)
{
	static const struct {
		const char *key;
		enum print_colour colour;
	} counts[] = {{"held", PRINT_PLAIN}, {"expired", PRINT_YELLOW}, {"refused", PRINT_PLAIN}};
	const json_t *program = json_object_get(endpoint, "program");
	const char *anchor = print_member(endpoint, "anchor");
	bool more = json_is_object(program) || *anchor;
	char listen[PRINT_CELL_MAX], count[64];

	for (size_t i = 0; i < 3; i++)
		more |= print_number(endpoint, counts[i].key) > 0;
	fputs(endpoint_text(endpoint, listen), to->out);
	if (more)
		fprintf(to->out, "%*s", (int)(width - print_width(listen)), "");
	if (json_is_object(program))
		print_program(to, program);
	if (*anchor) {
		fputs("  anchor ", to->out);
		print_text(to, anchor);
	}
	for (size_t i = 0; i < 3; i++) {
		if (print_number(endpoint, counts[i].key) <= 0)
			continue;
		snprintf(count, sizeof(count), "%lld %s", print_number(endpoint, counts[i].key),
			 counts[i].key);
		fputs("  ", to->out);
		print_coloured(to, counts[i].colour, count);
	}
	fputc('\n', to->out);
}

/* Processes that listen there, and are none of baton's. */
static void print_strangers(const struct print *to, const json_t *endpoint)
{
	json_t *stranger;
	char text[128];
	size_t i;

	json_array_foreach (json_object_get(endpoint, "strangers"), i, stranger) {
		long long generation = print_number(stranger, "generation");

		fputs(PRINT_DETAIL, to->out);
		snprintf(text, sizeof(text), "pid %lld \"%.32s\" (uid %lld)",
			 print_number(stranger, "pid"), print_member(stranger, "command"),
			 print_number(stranger, "uid"));
		print_coloured(to, PRINT_YELLOW, text);
		if (generation > 0)
			fprintf(to->out, " listens here, too: generation %lld has left it behind\n",
				generation);
		else
			fputs(" listens here, too, and baton has not started it\n", to->out);
	}
}

/* What the accept queues have dropped, or that they are shorter than the file asks for. */
static void print_queue(const struct print *to, const json_t *endpoint)
{
	const json_t *queue = json_object_get(endpoint, "queue");
	long long dropped = print_number(queue, "dropped");
	bool lowered = json_is_true(json_object_get(queue, "lowered"));
	char text[128];

	if (dropped <= 0 && !lowered)
		return;
	fputs(PRINT_DETAIL, to->out);
	if (dropped > 0)
		snprintf(text, sizeof(text), "queue overflowed: %lld dropped, %lld may wait",
			 dropped, print_number(queue, "backlog"));
	else
		snprintf(text, sizeof(text), "backlog %lld, not the %lld of the file",
			 print_number(queue, "backlog"), print_number(queue, "configured"));
	print_coloured(to, PRINT_YELLOW, text);
	fputc('\n', to->out);
}

static void print_endpoints(const struct print *to, const json_t *endpoints)
{
	char listen[PRINT_CELL_MAX];
	size_t i, width = 0;
	json_t *endpoint;

	json_array_foreach (endpoints, i, endpoint) {
		size_t own = print_width(endpoint_text(endpoint, listen));

		if (own > width)
			width = own;
	}
	json_array_foreach (endpoints, i, endpoint) {
		if (i)
			fputs(PRINT_DETAIL, to->out);
		else
			print_label(to, json_array_size(endpoints) > 1 ? "endpoints" : "endpoint");
		print_endpoint(to, endpoint, width);
		print_strangers(to, endpoint);
		print_queue(to, endpoint);
	}
}

/*
 * Cut a digest to "sha256:" (or the like) and as many digits as tell releases apart. Returns "" if
 * there are no digits.
 */
static const char *short_digest(const char *digest, char buffer[static PRINT_CELL_MAX])
{
	const char *colon = strrchr(digest, ':');
	size_t before = colon ? (size_t)(colon - digest) + 1 : 0;

	if (!digest[before])
		return "";
	snprintf(buffer, PRINT_CELL_MAX, "%.*s", (int)(before + DIGEST_DIGITS), digest);
	return buffer;
}

/*
 * Print what each generation executes, if a link ("current") leads to another path than the command
 * has. With @details, if there is a digest, in any case.
 */
static void print_releases(const struct print *to, const json_t *service, bool details)
{
	const char *command =
		json_string_value(json_array_get(json_object_get(service, "command"), 0));
	const char *label = "runs";
	json_t *generation;
	size_t i;

	json_array_foreach (json_object_get(service, "generations"), i, generation) {
		const json_t *release = json_object_get(generation, "release");
		const char *executable = print_member(generation, "executable");
		char buffer[PRINT_CELL_MAX];
		const char *digest = "";

		if (!*executable)
			executable = print_member(release, "executable");
		if (details)
			digest = short_digest(print_member(release, "digest"), buffer);
		if (!*executable || (command && strcmp(command, executable) == 0 && !*digest))
			continue;
		if (label)
			print_label(to, label);
		else
			fputs(PRINT_DETAIL, to->out);
		label = NULL;
		print_text(to, executable);
		fprintf(to->out, " (generation %lld", print_number(generation, "generation"));
		if (*digest) {
			fputs(", ", to->out);
			print_text(to, digest);
		}
		if (json_is_true(json_object_get(generation, "mixed")))
			fputs(", and what it was changed into since", to->out);
		fputs(")\n", to->out);
	}
}

/* What does not run as the file says, and how to change that. */
static void print_differs(const struct print *to, const json_t *service)
{
	const json_t *differs = json_object_get(service, "differs");
	const json_t *command = json_object_get(differs, "command");
	const json_t *names = json_object_get(differs, "environment");
	json_t *name;
	size_t i;

	if (!json_is_object(differs))
		return;
	print_label(to, "differs");
	print_coloured(to, PRINT_YELLOW, "from the file");
	fputs(": ", to->out);
	if (json_array_size(command)) {
		fputs("its command is ", to->out);
		print_command(to, command);
	}
	json_array_foreach (names, i, name) {
		fputs(i                          ? ", "
		      : json_array_size(command) ? "; environment: "
						 : "environment: ",
		      to->out);
		print_text(to, json_is_string(name) ? json_string_value(name) : "");
	}
	fputs("\n" PRINT_DETAIL "\"baton restart ", to->out);
	print_text(to, print_member(service, "service"));
	fputs(" --reset\" goes back to it\n", to->out);
}

/* Are its files what they were? */
static void print_rollback_files(const struct print *to, const json_t *rollback)
{
	const char *changed = print_member(rollback, "changed");
	const char *unknown = print_member(rollback, "unknown");

	if (*changed) {
		fputs(PRINT_DETAIL, to->out);
		print_coloured(to, PRINT_YELLOW, "it would run what ");
		print_coloured(to, PRINT_YELLOW, changed);
		print_coloured(to, PRINT_YELLOW, " is now, not what it was");
		fputc('\n', to->out);
	}
	if (*unknown) {
		fputs(PRINT_DETAIL, to->out);
		print_coloured(to, PRINT_YELLOW,
			       "whether its files are as they were is not known: ");
		print_coloured(to, PRINT_YELLOW, unknown);
		fputc('\n', to->out);
	}
}

/* What "baton rollback" would go to. */
static void print_rollback(const struct print *to, const json_t *service)
{
	const json_t *rollback = json_object_get(service, "rollback");
	char buffer[PRINT_CELL_MAX], took[PRINT_TOOK_MAX];
	const char *digest = short_digest(print_member(rollback, "digest"), buffer);
	long long age = print_number(rollback, "age_ms");

	if (!json_is_object(rollback))
		return;
	print_label(to, "rollback");
	fprintf(to->out, "to generation %lld: ", print_number(rollback, "generation"));
	print_command(to, json_object_get(rollback, "command"));
	if (*digest) {
		fputs(" (", to->out);
		print_text(to, digest);
		fputc(')', to->out);
	}
	if (age >= 0)
		fprintf(to->out, ", replaced %s ago", print_took(age, took));
	fputc('\n', to->out);
	print_rollback_files(to, rollback);
}

/* How many of the restarts are used up, if any. */
static void print_restarts(const struct print *to, const json_t *service)
{
	const json_t *restarts = json_object_get(service, "restarts");
	long long used = print_number(restarts, "used"), max = print_number(restarts, "max");
	long long window_ms = print_number(restarts, "window_ms");
	char text[DURATION_TEXT_MAX], count[64];

	if (used <= 0 || max < 0)
		return;
	print_label(to, "restarts");
	snprintf(count, sizeof(count), "%lld of %lld", used, max);
	print_coloured(to, used >= max ? PRINT_RED : PRINT_YELLOW, count);
	if (window_ms > 0)
		fprintf(to->out, " within %s", duration_format((uint64_t)window_ms, text));
	fputc('\n', to->out);
}

/* How many connections a generation that leaves still has, and how much time. */
static void print_drains(const struct print *to, const json_t *generations)
{
	static const char *const kinds[] = {"busy", "active", "idle"};
	const char *label = "drain";
	json_t *generation;
	size_t i;

	json_array_foreach (generations, i, generation) {
		const json_t *counts = json_object_get(generation, "kinds");
		long long left = print_number(generation, "drain_ms_left");
		const char *comma = ": ";
		char took[PRINT_TOOK_MAX];

		if (!json_is_object(counts) && left < 0)
			continue;
		if (label)
			print_label(to, label);
		else
			fputs(PRINT_DETAIL, to->out);
		label = NULL;
		fprintf(to->out, "generation %lld", print_number(generation, "generation"));
		for (size_t k = 0; k < 3; k++) {
			if (print_number(counts, kinds[k]) < 0)
				continue;
			fprintf(to->out, "%s%lld %s", comma, print_number(counts, kinds[k]),
				kinds[k]);
			comma = ", ";
		}
		if (left >= 0)
			fprintf(to->out, "%s%s left", comma, print_took(left, took));
		fputc('\n', to->out);
	}
}

/* Does one of the first @before instances have the undeclared @address, too? */
static bool is_named_before(const json_t *instances, size_t before, const json_t *address)
{
	json_t *other;
	size_t j;

	for (size_t i = 0; i < before; i++) {
		const json_t *instance = json_array_get(instances, i);

		json_array_foreach (json_object_get(instance, "undeclared"), j, other) {
			if (json_equal(other, address))
				return true;
		}
	}
	return false;
}

/* The undeclared addresses of one generation, on one line. *label: NULL but for the first line. */
static void print_undeclared(const struct print *to, const json_t *generation, const char **label)
{
	const json_t *instances = json_object_get(generation, "instances");
	json_t *instance, *address;
	size_t i, j, n = 0;

	json_array_foreach (instances, i, instance) {
		json_array_foreach (json_object_get(instance, "undeclared"), j, address) {
			if (!json_is_string(address) || is_named_before(instances, i, address))
				continue;
			if (n++)
				fputs(", ", to->out);
			else if (*label)
				print_label(to, *label);
			else
				fputs(PRINT_DETAIL, to->out);
			*label = NULL;
			print_coloured(to, PRINT_YELLOW, json_string_value(address));
		}
	}
	if (n)
		fprintf(to->out, " (generation %lld): not in \"listen\", so left alone\n",
			print_number(generation, "generation"));
}

static void print_all_undeclared(const struct print *to, const json_t *generations)
{
	const char *label = "undeclared";
	json_t *generation;
	size_t i;

	json_array_foreach (generations, i, generation) {
		print_undeclared(to, generation, &label);
	}
}

/* Sockets of servers that baton cannot use: nobody is sent there. */
static void print_unusable(const struct print *to, const json_t *generations)
{
	const char *label = "unusable";
	json_t *generation, *instance;
	size_t i, j;

	json_array_foreach (generations, i, generation) {
		json_array_foreach (json_object_get(generation, "instances"), j, instance) {
			const char *why = json_string_value(json_object_get(instance, "unusable"));

			if (!why)
				continue;
			if (label)
				print_label(to, label);
			else
				fputs(PRINT_DETAIL, to->out);
			label = NULL;
			fprintf(to->out, "instance %lld of generation %lld ",
				print_number(instance, "instance"),
				print_number(generation, "generation"));
			print_coloured(to, PRINT_YELLOW, why);
			fputc('\n', to->out);
		}
	}
}

static void print_loss(const struct print *to, const json_t *loss, const json_t *instance,
		       const json_t *generation)
{
	print_coloured(to, PRINT_RED, print_member(loss, "listen"));
	fprintf(to->out, " by instance %lld of generation %lld, ",
		print_number(instance, "instance"), print_number(generation, "generation"));
	print_since(to, print_member(loss, "since"));
	fputs(": ", to->out);
	print_text(to, print_member(loss, "why"));
	fputc('\n', to->out);
}

/* Addresses that an instance does not serve any more. */
static void print_lost(const struct print *to, const json_t *generations)
{
	const char *label = "lost";
	json_t *generation, *instance, *loss;
	size_t i, j, k;

	json_array_foreach (generations, i, generation) {
		json_array_foreach (json_object_get(generation, "instances"), j, instance) {
			json_array_foreach (json_object_get(instance, "lost"), k, loss) {
				if (label)
					print_label(to, label);
				else
					fputs(PRINT_DETAIL, to->out);
				label = NULL;
				print_loss(to, loss, instance, generation);
			}
		}
	}
}

/* ---- pages ---------------------------------------------------------------------------------- */

static void print_block(const struct print *to, const json_t *service, bool details)
{
	const json_t *generations = json_object_get(service, "generations");

	print_head(to, service);
	print_failed(to, service);
	print_last_words(to, service);
	if (json_array_size(json_object_get(service, "command"))) {
		print_label(to, "command");
		print_command(to, json_object_get(service, "command"));
		fputc('\n', to->out);
	}
	print_differs(to, service);
	print_releases(to, service, details);
	print_endpoints(to, json_object_get(service, "endpoints"));
	print_lost(to, generations);
	print_all_undeclared(to, generations);
	print_unusable(to, generations);
	print_tier_reason(to, service);
	print_cgroup_reason(to, service);
	print_hold(to, service);
	print_failover(to, service);
	print_restarts(to, service);
	print_drains(to, generations);
	print_rollout(to, service);
	print_last_rollout(to, service);
	if (details)
		print_rollback(to, service);
	print_generations(to, generations);
	if (details)
		print_checks(to, generations);
}

void print_status(const struct print *to, const json_t *service)
{
	print_block(to, service, true);
}

void print_statuses(const struct print *to, const json_t *answer)
{
	const json_t *services = json_object_get(answer, "services");
	json_t *service;
	size_t i;

	if (!json_array_size(services))
		fputs("no services\n", to->out);
	json_array_foreach (services, i, service) {
		if (i)
			fputc('\n', to->out);
		print_block(to, service, false);
	}
}

static void list_cells(struct print_cell *row, const json_t *service)
{
	const json_t *rollout = json_object_get(service, "rollout");
	const char *state = print_member(service, "state");
	json_t *generation, *instance, *endpoint;
	char listen[PRINT_CELL_MAX] = "";
	long long current = -1, live = 0;
	size_t i, j;

	json_array_foreach (json_object_get(service, "generations"), i, generation) {
		if (strcmp(print_member(generation, "state"), "current") == 0)
			current = print_number(generation, "generation");
		json_array_foreach (json_object_get(generation, "instances"), j, instance) {
			long long n =
				print_number(json_object_get(instance, "connections"), "live");

			live += n > 0 ? n : 0;
		}
	}
	json_array_foreach (json_object_get(service, "endpoints"), i, endpoint) {
		size_t n = strlen(listen);

		snprintf(listen + n, sizeof(listen) - n, "%s%s", i ? ", " : "",
			 print_member(endpoint, "listen"));
	}
	print_cell(&row[0], PRINT_BOLD, "%s", print_member(service, "service"));
	if (json_is_object(rollout))
		print_cell(&row[1], print_state_colour(state), "%s (%s)", state,
			   print_rollout_is_stuck(rollout) ? "waiting"
							   : print_member(rollout, "step"));
	else if (json_is_true(json_object_get(service, "paused")))
		print_cell(&row[1], PRINT_YELLOW, "%s (paused)", state);
	else if (json_is_object(json_object_get(service, "waits")))
		print_cell(&row[1], PRINT_YELLOW, "%s (waits)", state);
	else
		print_cell(&row[1], print_state_colour(state), "%s", state);
	if (current >= 0)
		print_cell(&row[2], PRINT_PLAIN, "%lld", current);
	else
		print_cell(&row[2], PRINT_PLAIN, "-");
	print_cell(&row[3], PRINT_PLAIN, "%s", print_member(service, "tier"));
	print_cell(&row[4], PRINT_PLAIN, "%lld", live);
	print_cell(&row[5], PRINT_PLAIN, "%s", listen);
}

void print_list(const struct print *to, const json_t *answer, bool names_only)
{
	static const struct print_column columns[] = {
		{"SERVICE", false}, {"STATE", false}, {"GENERATION", true},
		{"TIER", false},    {"LIVE", true},   {"LISTENS ON", false},
	};
	struct print_table table = {.columns = columns,
				    .n_columns = sizeof(columns) / sizeof(columns[0])};
	const json_t *services = json_object_get(answer, "services");
	struct print_cell *row;
	json_t *service;
	size_t i;

	json_array_foreach (services, i, service) {
		if (names_only) {
			print_text(to, print_member(service, "service"));
			fputc('\n', to->out);
			continue;
		}
		row = print_table_row(&table);
		if (row)
			list_cells(row, service);
	}
	if (names_only)
		return;
	if (table.n_rows)
		print_table(to, "", &table);
	else
		fputs("no services\n", to->out);
}
