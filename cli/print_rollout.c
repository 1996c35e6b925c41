/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/print_rollout.h"

#include <string.h>

#include "cli/print_failure.h"

bool print_strategy_is_special(const char *strategy)
{
	return *strategy && strcmp(strategy, "blue-green") != 0;
}

bool print_rollout_is_stuck(const json_t *rollout)
{
	const char *waiting = print_member(rollout, "waiting");

	return strcmp(waiting, "gate") == 0 || strcmp(waiting, "promote") == 0;
}

/* "generation 4 replaces 3", or one generation only. */
static void print_pair(const struct print *to, const json_t *rollout, const char *verb)
{
	long long generation = print_number(rollout, "generation");
	long long replaces = print_number(rollout, "replaces");

	if (generation >= 0 && replaces >= 0)
		fprintf(to->out, "generation %lld %s %lld", generation, verb, replaces);
	else if (generation >= 0 || replaces >= 0)
		fprintf(to->out, "generation %lld", generation >= 0 ? generation : replaces);
	else
		fputs("no generation", to->out);
}

/* "weight 25.0%, instances: 1 new, 3 old". One old and one new instance are not worth a line. */
static void print_sides(const struct print *to, const json_t *rollout)
{
	const json_t *instances = json_object_get(rollout, "instances");
	long long old = print_number(instances, "old"), new = print_number(instances, "new");
	double weight = print_percent(rollout, "weight");
	bool counted = old >= 0 && new >= 0 && old + new > 2;
	char share[PRINT_SHARE_MAX];

	if (weight < 0 && !counted)
		return;
	fputs(PRINT_DETAIL, to->out);
	if (weight >= 0)
		fprintf(to->out, "weight %s%s", print_share(weight, share), counted ? ", " : "");
	if (counted)
		fprintf(to->out, "instances: %lld new, %lld old", new, old);
	fputc('\n', to->out);
}

/* What the rollout waits for, and what to type to make it go on. */
static void print_waiting(const struct print *to, const json_t *service, const json_t *rollout)
{
	static const struct {
		const char *name, *text;
	} known[] = {
		{"hold", "for the end of the hold"},
		{"gate", "for somebody to decide"},
		{"promote", "for a promotion"},
		{"delay", "for drain.delay"},
	};
	const char *waiting = print_member(rollout, "waiting"), *text = waiting;
	const char *name = print_member(service, "service");
	long long left = print_number(rollout, "waiting_ms");
	long long silent = print_number(rollout, "silent");
	char took[PRINT_TOOK_MAX], clients[96];

	if (!*waiting)
		return;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(waiting, known[i].name) == 0)
			text = known[i].text;
	if (silent >= 0) {
		snprintf(clients, sizeof(clients), "for %lld connection%s not sent a request yet",
			 silent, silent == 1 ? " that has" : "s that have");
		text = clients;
	}
	print_label(to, "waits");
	print_coloured(to, PRINT_YELLOW, text);
	if (left >= 0)
		fprintf(to->out, ", %s left", print_took(left, took));
	/* That ends by itself, and soon. */
	if (strcmp(waiting, "delay") == 0) {
		fputc('\n', to->out);
		return;
	}
	if (strcmp(waiting, "gate") == 0 && *print_member(rollout, "reason")) {
		fputs("\n" PRINT_DETAIL, to->out);
		print_text(to, print_member(rollout, "reason"));
	}
	fputs("\n" PRINT_DETAIL "\"baton promote ", to->out);
	print_text(to, name);
	fputs("\" goes on, \"baton abort ", to->out);
	print_text(to, name);
	fputs("\" goes back\n", to->out);
}

/* It has not begun: other services go first. */
static void print_turn(const struct print *to, const json_t *waits)
{
	long long number = print_number(waits, "rollout");

	if (!json_is_object(waits))
		return;
	print_label(to, "waits");
	if (number >= 0)
		fprintf(to->out, "rollout %lld, ", number);
	print_text(to, print_member(waits, "order"));
	fputs(": ", to->out);
	print_coloured(to, PRINT_YELLOW, print_member(waits, "reason"));
	fputc('\n', to->out);
}

void print_rollout(const struct print *to, const json_t *service)
{
	const json_t *rollout = json_object_get(service, "rollout");
	const char *strategy = print_member(rollout, "strategy");
	long long elapsed = print_number(rollout, "elapsed_ms");
	char took[PRINT_TOOK_MAX];

	print_turn(to, json_object_get(service, "waits"));
	if (!json_is_object(rollout))
		return;
	print_label(to, "rollout");
	fprintf(to->out, "%lld, ", print_number(rollout, "rollout"));
	/* The service may have got another strategy since this rollout began. */
	if (print_strategy_is_special(strategy) &&
	    strcmp(strategy, print_member(service, "strategy")) != 0) {
		print_text(to, strategy);
		fputc(' ', to->out);
	}
	print_text(to, print_member(rollout, "order"));
	fputs(": ", to->out);
	print_pair(to, rollout, "replaces");
	fputs(", at ", to->out);
	print_coloured(to, PRINT_YELLOW, print_member(rollout, "step"));
	if (elapsed >= 0)
		fprintf(to->out, ", %s so far", print_took(elapsed, took));
	fputc('\n', to->out);
	print_sides(to, rollout);
	print_waiting(to, service, rollout);
}

void print_last_rollout(const struct print *to, const json_t *service)
{
	const json_t *last = json_object_get(service, "last_rollout");
	bool under_way = json_is_object(json_object_get(service, "rollout"));
	const char *result = print_member(last, "result");
	const char *reason = print_member(last, "reason");
	bool good = strcmp(result, "done") == 0;
	long long cut = print_number(last, "cut"), by_server = print_number(last, "cut_by_server");
	char took[PRINT_TOOK_MAX];

	if (!json_is_object(last))
		return;
	print_label(to, under_way ? "before" : "last");
	fprintf(to->out, "%lld, ", print_number(last, "rollout"));
	print_text(to, print_member(last, "order"));
	fputs(": ", to->out);
	print_pair(to, last, good ? "replaced" : "did not replace");
	fputs(", ", to->out);
	print_coloured(to, print_state_colour(result), result);
	if (print_number(last, "took_ms") >= 0)
		fprintf(to->out, " in %s", print_took(print_number(last, "took_ms"), took));
	cut = (cut > 0 ? cut : 0) + (by_server > 0 ? by_server : 0);
	if (cut > 0)
		fprintf(to->out, ", %lld connection%s cut", cut, print_plural(cut));
	if (*print_member(last, "time")) {
		fputs(", ", to->out);
		print_time(to, print_member(last, "time"));
	}
	fputc('\n', to->out);
	if (*print_member(last, "lost")) {
		fputs(PRINT_DETAIL, to->out);
		print_text(to, print_member(last, "lost"));
		fputc('\n', to->out);
	}
	if (good)
		return;
	if (*reason) {
		fputs(PRINT_DETAIL, to->out);
		print_text(to, reason);
		fputc('\n', to->out);
	}
	print_failure(to, PRINT_DETAIL, last);
}
