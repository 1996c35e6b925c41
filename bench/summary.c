/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/summary.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#define NUMBER_TEXT_MAX 32
#define BODY_TEXT_MAX   (TALLY_BODY_KEPT * 4 + 1)
#define TABLE_BODIES    4 /* of each phase that are shown; the JSON has all */
#define TABLE_SAMPLES   5 /* likewise */

/* Printable ASCII stays, everything else becomes \xNN. So different bodies stay different. */
static const char *body_text(const struct tally_body *body, char buffer[static BODY_TEXT_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < body->length; i++) {
		unsigned char c = (unsigned char)body->text[i];

		if (c >= ' ' && c < 0x7f && c != '\\')
			buffer[n++] = (char)c;
		else
			n += (size_t)snprintf(buffer + n, 5, "\\x%02x", c);
	}
	buffer[n] = '\0';
	return buffer;
}

static double rate(uint64_t count, uint64_t us)
{
	return us ? (double)count * 1e6 / (double)us : 0;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void set_number(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *latency_json(const struct histogram *histogram)
{
	json_t *object = json_object();

	set_number(object, "count", histogram->count);
	set_number(object, "p50", histogram_quantile(histogram, 500000));
	set_number(object, "p99", histogram_quantile(histogram, 990000));
	set_number(object, "p999", histogram_quantile(histogram, 999000));
	set_number(object, "max", histogram->max);
	return object;
}

/* The counts of one kind, or (_KIND_COUNT) of all. */
static void set_counts(json_t *object, const struct tally *tally, enum kind kind)
{
	json_t *losses = json_object();

	set_number(object, "requests", tally_requests(tally, kind));
	set_number(object, "ok", tally_outcome(tally, kind, OUTCOME_OK));
	set_number(object, "lost", tally_lost(tally, kind));
	for (enum outcome outcome = 0; outcome < _OUTCOME_COUNT; outcome++)
		if (outcome_is_lost(outcome))
			set_number(losses, outcome_name(outcome),
				   tally_outcome(tally, kind, outcome));
	json_object_set_new(object, "losses", losses);
	set_number(object, "client_errors", tally_outcome(tally, kind, OUTCOME_CLIENT_ERROR));
}

static json_t *kinds_json(const struct tally *tally, const struct settings *settings)
{
	json_t *kinds = json_object();

	for (enum kind kind = 0; kind < _KIND_COUNT; kind++) {
		json_t *object = json_object();

		set_number(object, "clients", settings->clients[kind]);
		set_counts(object, tally, kind);
		set_number(object, "connections", tally->connections[kind]);
		if (kind == KIND_IDLE) {
			set_number(object, "closed", tally->silent_closed);
			set_number(object, "reset", tally->silent_reset);
			set_number(object, "open", tally->silent_open);
		}
		json_object_set_new(kinds, kind_name(kind), object);
	}
	return kinds;
}

static json_t *phase_json(const struct tally *tally, const struct tally_phase *phase)
{
	json_t *object = json_object();
	json_t *bodies = json_array();
	char text[BODY_TEXT_MAX];

	json_object_set_new(object, "name", json_string(phase->name));
	set_number(object, "begin_ms", (phase->begin_us - tally->begin_us) / 1000);
	set_number(object, "connections", phase->connections);
	set_number(object, "ok", phase->ok);
	set_number(object, "lost", phase->lost);
	set_number(object, "client_errors", phase->client_errors);
	for (size_t i = 0; i < phase->n_bodies; i++) {
		json_t *body = json_object();

		json_object_set_new(body, "body", json_string(body_text(&phase->bodies[i], text)));
		set_number(body, "count", phase->bodies[i].count);
		json_array_append_new(bodies, body);
	}
	json_object_set_new(object, "bodies", bodies);
	set_number(object, "other_bodies", phase->other_bodies);
	return object;
}

static json_t *swap_json(const struct tally *tally, const struct tally_swap *swap)
{
	json_t *object = json_object();

	set_number(object, "begin_ms", (swap->begin_us - tally->begin_us) / 1000);
	json_object_set_new(
		object, "length_ms",
		swap->end_us ? json_integer((json_int_t)(swap->end_us - swap->begin_us) / 1000)
			     : json_null());
	return object;
}

static void set_lists(json_t *object, const struct tally *tally)
{
	json_t *errnos = json_object();
	json_t *swaps = json_array();
	json_t *phases = json_array();
	json_t *samples = json_array();

	for (size_t i = 0; i < tally->n_errnos; i++) {
		const char *name = strerrorname_np(tally->errnos[i].code);

		set_number(errnos, name ? name : "unknown", tally->errnos[i].count);
	}
	for (size_t i = 0; i < tally->n_swaps; i++)
		json_array_append_new(swaps, swap_json(tally, &tally->swaps[i]));
	for (size_t i = 0; i < tally->n_phases; i++)
		json_array_append_new(phases, phase_json(tally, &tally->phases[i]));
	for (size_t i = 0; i < tally->n_samples; i++)
		json_array_append_new(samples, json_string(tally->samples[i]));
	json_object_set_new(object, "errors", errnos);
	json_object_set_new(object, "swaps", swaps);
	json_object_set_new(object, "phases", phases);
	json_object_set_new(object, "samples", samples);
}

int summary_json(const struct tally *tally, const struct settings *settings, uint64_t now_us,
		 bool interim, FILE *output)
{
	json_t *object = json_object();
	json_t *latency = json_object();
	uint64_t length_us = (interim ? now_us : tally->end_us) - tally->begin_us;
	int r;

	json_object_set_new(object, "interim", json_boolean(interim));
	json_object_set_new(object, "target", json_string(settings->target.text));
	set_number(object, "duration_ms", length_us / 1000);
	set_counts(object, tally, _KIND_COUNT);
	set_number(object, "lost_inside", tally->lost_inside);
	set_number(object, "in_flight", tally_under_way(tally));
	set_number(object, "retried", tally->retried);
	set_number(object, "idle_closed", tally->idle_closed);
	set_number(object, "early_answers", tally->early_answers);
	set_number(object, "connections", tally_connections(tally));
	set_number(object, "requests_per_second",
		   (uint64_t)rate(tally_requests(tally, _KIND_COUNT), length_us));
	set_number(object, "commands_refused", tally->commands_refused);
	json_object_set_new(object, "kinds", kinds_json(tally, settings));
	json_object_set_new(latency, "inside", latency_json(&tally->inside));
	json_object_set_new(latency, "outside", latency_json(&tally->outside));
	json_object_set_new(object, "latency_us", latency);
	set_lists(object, tally);

	/* A value that failed is NULL, and jansson leaves it out. */
	r = json_dumpf(object, output, JSON_COMPACT) == 0 ? 0 : -ENOMEM;
	json_decref(object);
	if (fputc('\n', output) == EOF || fflush(output) == EOF)
		r = -EIO;
	return r;
}

/* ---- table ---------------------------------------------------------------------------------- */

/* 1234567 -> "1,234,567" */
static const char *number(uint64_t value, char buffer[static NUMBER_TEXT_MAX])
{
	char *end = buffer + NUMBER_TEXT_MAX - 1;
	unsigned digits = 0;

	*end = '\0';
	do {
		if (digits && digits % 3 == 0)
			*--end = ',';
		*--end = (char)('0' + value % 10);
		value /= 10;
		digits++;
	} while (value);
	return end;
}

static const char *milliseconds(uint64_t us, char buffer[static NUMBER_TEXT_MAX])
{
	snprintf(buffer, NUMBER_TEXT_MAX, "%llu.%02llu ms", (unsigned long long)us / 1000,
		 (unsigned long long)us % 1000 / 10);
	return buffer;
}

/* The kinds that are shown as columns: those with clients. The total is always the last. */
static size_t columns(const struct settings *settings, enum kind ret[static _KIND_COUNT + 1])
{
	size_t n = 0;

	for (enum kind kind = 0; kind < _KIND_COUNT; kind++)
		if (settings->clients[kind])
			ret[n++] = kind;
	if (n > 1)
		ret[n++] = _KIND_COUNT;
	return n;
}

/* What is counted in one row, of one kind or of all. */
enum row { ROW_CLIENTS, ROW_CONNECTIONS, ROW_REQUESTS, ROW_LOST, ROW_OUTCOME };

static void print_row(FILE *output, const struct tally *tally, const struct settings *settings,
		      const char *name, enum row row, enum outcome outcome)
{
	enum kind kinds[_KIND_COUNT + 1];
	size_t n = columns(settings, kinds);
	char text[NUMBER_TEXT_MAX];

	fprintf(output, "  %-16s", name);
	for (size_t i = 0; i < n; i++) {
		enum kind kind = kinds[i];
		bool all = kind == _KIND_COUNT;
		uint64_t value = 0;

		switch (row) {
		case ROW_CLIENTS:
			value = all ? settings_clients(settings) : settings->clients[kind];
			break;
		case ROW_CONNECTIONS:
			value = all ? tally_connections(tally) : tally->connections[kind];
			break;
		case ROW_REQUESTS:
			value = tally_requests(tally, kind);
			break;
		case ROW_LOST:
			value = tally_lost(tally, kind);
			break;
		case ROW_OUTCOME:
			value = tally_outcome(tally, kind, outcome);
			break;
		}
		fprintf(output, "%14s", number(value, text));
	}
	fputc('\n', output);
}

static void print_counts(FILE *output, const struct tally *tally, const struct settings *settings)
{
	enum kind kinds[_KIND_COUNT + 1];
	size_t n = columns(settings, kinds);

	fprintf(output, "  %-16s", "");
	for (size_t i = 0; i < n; i++)
		fprintf(output, "%14s", kinds[i] == _KIND_COUNT ? "total" : kind_name(kinds[i]));
	fputc('\n', output);
	print_row(output, tally, settings, "clients", ROW_CLIENTS, 0);
	print_row(output, tally, settings, "connections", ROW_CONNECTIONS, 0);
	print_row(output, tally, settings, "requests", ROW_REQUESTS, 0);
	print_row(output, tally, settings, "ok", ROW_OUTCOME, OUTCOME_OK);
	for (enum outcome outcome = 0; outcome < _OUTCOME_COUNT; outcome++)
		if (outcome_is_lost(outcome))
			print_row(output, tally, settings, outcome_name(outcome), ROW_OUTCOME,
				  outcome);
	print_row(output, tally, settings, "LOST", ROW_LOST, 0);
	print_row(output, tally, settings, "client errors", ROW_OUTCOME, OUTCOME_CLIENT_ERROR);
}

static void print_asides(FILE *output, const struct tally *tally, const struct settings *settings)
{
	char text[NUMBER_TEXT_MAX];

	if (settings->clients[KIND_KEEPALIVE]) {
		fprintf(output,
			"  %s requests retried: an idle connection was closed under them "
			"(RFC 9112 9.3.1)\n",
			number(tally->retried, text));
		fprintf(output, "  %s keep-alive connections closed between requests\n",
			number(tally->idle_closed, text));
	}
	if (tally->early_answers)
		fprintf(output, "  %s answers came before the request was sent in full\n",
			number(tally->early_answers, text));
	if (settings->clients[KIND_IDLE])
		fprintf(output,
			"  silent connections: %llu closed, %llu reset, %llu open at the end\n",
			(unsigned long long)tally->silent_closed,
			(unsigned long long)tally->silent_reset,
			(unsigned long long)tally->silent_open);
	for (size_t i = 0; i < tally->n_errnos; i++)
		fprintf(output, "  error: %s: %s\n", strerror(tally->errnos[i].code),
			number(tally->errnos[i].count, text));
	for (size_t i = 0; i < tally->n_samples && i < TABLE_SAMPLES; i++)
		fprintf(output, "  %-8s %s\n", i ? "" : "such as:", tally->samples[i]);
}

static void print_latency(FILE *output, const char *name, const struct histogram *histogram)
{
	static const uint32_t quantiles[] = {500000, 990000, 999000, 1000000};
	char text[NUMBER_TEXT_MAX];

	if (!histogram->count)
		return;
	fprintf(output, "  %-16s%14s", name, number(histogram->count, text));
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(*quantiles); i++)
		fprintf(output, "%14s",
			milliseconds(histogram_quantile(histogram, quantiles[i]), text));
	fputc('\n', output);
}

static void print_latencies(FILE *output, const struct tally *tally)
{
	fprintf(output, "\n  %-16s%14s%14s%14s%14s%14s\n", "latency", "answers", "p50", "p99",
		"p99.9", "max");
	print_latency(output, "outside swaps", &tally->outside);
	print_latency(output, "inside swaps", &tally->inside);
}

static void print_swaps(FILE *output, const struct tally *tally)
{
	if (!tally->n_swaps)
		return;
	fprintf(output, "\n  %zu swaps took", tally->n_swaps);
	for (size_t i = 0; i < tally->n_swaps; i++) {
		const struct tally_swap *swap = &tally->swaps[i];
		const char *comma = i + 1 < tally->n_swaps ? "," : "";

		if (swap->end_us)
			fprintf(output, " %.2f s%s", (double)(swap->end_us - swap->begin_us) / 1e6,
				comma);
		else
			fprintf(output, " (not over)%s", comma);
	}
	fputc('\n', output);
}

static void print_phase(FILE *output, const struct tally_phase *phase)
{
	uint64_t answers = phase->other_bodies, shown = 0;
	char text[BODY_TEXT_MAX];

	for (size_t i = 0; i < phase->n_bodies; i++)
		answers += phase->bodies[i].count;
	fprintf(output, "  %-16s%14s", phase->name, number(phase->connections, text));
	for (size_t i = 0; i < phase->n_bodies && i < TABLE_BODIES; i++) {
		double share = 100.0 * (double)phase->bodies[i].count / (double)answers;

		/* Do not round up to 100% what is not all. */
		if (share > 99.9 && phase->bodies[i].count < answers)
			share = 99.9;
		fprintf(output, "%s%.1f%% \"%.60s\"", i ? ", " : "  ", share,
			body_text(&phase->bodies[i], text));
		shown += phase->bodies[i].count;
	}
	if (shown < answers)
		fprintf(output, ", and %llu others", (unsigned long long)(answers - shown));
	fputc('\n', output);
}

int summary_table(const struct tally *tally, const struct settings *settings, FILE *output)
{
	uint64_t length_us = tally->end_us - tally->begin_us;
	char text[NUMBER_TEXT_MAX];

	fprintf(output, "%s for %.1f s, %s requests a second\n\n", settings->target.text,
		(double)length_us / 1e6,
		number((uint64_t)rate(tally_requests(tally, _KIND_COUNT), length_us), text));
	print_counts(output, tally, settings);
	print_asides(output, tally, settings);
	print_latencies(output, tally);
	print_swaps(output, tally);
	fprintf(output, "\n  %-16s%14s  %s\n", "phase", "connections", "answers to them");
	for (size_t i = 0; i < tally->n_phases; i++)
		print_phase(output, &tally->phases[i]);
	return fflush(output) == EOF || ferror(output) ? -EIO : 0;
}
