/* SPDX-License-Identifier: BSD-2-Clause */
/* What the doctor says, from the table and the results alone. */
#include "orchestrator/doctor/doctor.h"

#include <errno.h>
#include <string.h>

static const struct {
	const char *kind, *name;
} features[_DOCTOR_FEATURE_COUNT] = {
	[DOCTOR_TIER_EBPF] = {"tier", "ebpf"},
	[DOCTOR_TIER_CBPF] = {"tier", "cbpf"},
	[DOCTOR_TIER_HASH] = {"tier", "hash"},
	[DOCTOR_MODE_INHERIT] = {"mode", "inherit"},
	[DOCTOR_MODE_NATIVE] = {"mode", "native"},
	[DOCTOR_MODE_TRANSPARENT] = {"mode", "transparent"},
};

/* ---- verdicts ------------------------------------------------------------------------------- */

size_t doctor_count(const struct doctor_report *report, enum doctor_severity severity)
{
	size_t count = 0;

	for (size_t i = 0; i < report->n; i++)
		count += !report->results[i].works && report->checks[i].severity == severity;
	return count;
}

static void append(char *text, size_t size, const char *name)
{
	size_t n = strlen(text);

	snprintf(text + n, size - n, "%s%s", n ? ", " : "", name);
}

enum doctor_verdict doctor_verdict(const struct doctor_report *report, enum doctor_feature feature,
				   char *ret_names, size_t size)
{
	enum doctor_verdict verdict = DOCTOR_VERDICT_YES;

	ret_names[0] = '\0';
	for (size_t i = 0; i < report->n; i++) {
		const struct doctor_check *check = &report->checks[i];

		if (report->results[i].works)
			continue;
		if (check->needed_for & (1u << feature)) {
			/* Reasons for "no" alone from here on. */
			if (verdict != DOCTOR_VERDICT_NO)
				ret_names[0] = '\0';
			verdict = DOCTOR_VERDICT_NO;
			append(ret_names, size, check->title);
		} else if (verdict != DOCTOR_VERDICT_NO && (check->improves & (1u << feature))) {
			verdict = DOCTOR_VERDICT_YES_BUT;
			append(ret_names, size, check->title);
		}
	}
	return verdict;
}

const char *doctor_how(const struct doctor_check *check, const struct doctor_result *result)
{
	if (result->how[0])
		return result->how;
	if (result->error == EMFILE)
		return "more open files (ulimit -n, or LimitNOFILE= in the unit)";
	if (result->error == EAGAIN)
		return "more processes (ulimit -u, or TasksMax= in the unit)";
	if ((result->error == EPERM || result->error == EACCES) && check->privilege)
		return check->privilege;
	return check->how;
}

/* ---- for people ----------------------------------------------------------------------------- */

static size_t widest_title(const struct doctor_report *report)
{
	size_t width = 0;

	for (size_t i = 0; i < report->n; i++) {
		size_t n = strlen(report->checks[i].title);

		width = n > width ? n : width;
	}
	return width;
}

static void print_check(FILE *out, const struct doctor_check *check,
			const struct doctor_result *result, int width)
{
	const char *state = check->severity == DOCTOR_NEEDED ? "MISSING" : "warning";

	fprintf(out, "  %-7s  %-*s  %s", result->works ? "works" : state, width, check->title,
		check->purpose);
	if (result->works) {
		fprintf(out, result->text[0] ? " (%s)\n" : "%s\n", result->text);
		return;
	}
	fprintf(out, "\n           why:     %s\n", result->text);
	fprintf(out, "           without: %s\n", check->cost);
	fprintf(out, "           how:     %s\n", doctor_how(check, result));
}

static void print_verdict(FILE *out, const struct doctor_report *report, enum doctor_feature f)
{
	static const char *const words[] = {
		[DOCTOR_VERDICT_NO] = "no: ",
		[DOCTOR_VERDICT_YES] = "yes",
		[DOCTOR_VERDICT_YES_BUT] = "yes, but: ",
	};
	char names[512];
	enum doctor_verdict verdict = doctor_verdict(report, f, names, sizeof(names));

	fprintf(out, "  %s %-12s %s%s\n", features[f].kind, features[f].name, words[verdict],
		names);
}

void doctor_print(FILE *out, const struct doctor_report *report)
{
	size_t missing = doctor_count(report, DOCTOR_NEEDED);
	size_t warnings = doctor_count(report, DOCTOR_ADVISED);
	int width = (int)widest_title(report);

	fprintf(out, "%s, as %s\n\n", report->kernel, report->user);
	for (size_t i = 0; i < report->n; i++)
		print_check(out, &report->checks[i], &report->results[i], width);
	putc('\n', out);
	for (unsigned f = 0; f < _DOCTOR_FEATURE_COUNT; f++)
		print_verdict(out, report, f);
	putc('\n', out);
	if (missing)
		fprintf(out, "%zu of what baton needs %s missing", missing,
			missing == 1 ? "is" : "are");
	else
		fputs("everything that baton needs works", out);
	if (warnings)
		fprintf(out, " (%zu warning%s)", warnings, warnings == 1 ? "" : "s");
	putc('\n', out);
}

/* ---- for programs --------------------------------------------------------------------------- */

static json_t *feature_names(unsigned set)
{
	json_t *array = json_array();

	for (unsigned f = 0; f < _DOCTOR_FEATURE_COUNT; f++)
		if (set & (1u << f))
			json_array_append_new(array, json_string(features[f].name));
	return array;
}

static json_t *check_json(const struct doctor_check *check, const struct doctor_result *result)
{
	const char *state = check->severity == DOCTOR_NEEDED ? "missing" : "warning";
	const char *error = result->error ? strerrorname_np(result->error) : NULL;
	const char *how = doctor_how(check, result);

	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:s?, s:s?, s:s?, s:s?, s:s?}",
			 "name", check->name, "title", check->title, "purpose", check->purpose,
			 "state", result->works ? "works" : state, "needed",
			 check->severity == DOCTOR_NEEDED, "needed_for",
			 feature_names(check->needed_for), "improves",
			 feature_names(check->improves), "note",
			 result->works && result->text[0] ? result->text : NULL, "reason",
			 result->works ? NULL : result->text, "errno", error, "cost",
			 result->works ? NULL : check->cost, "how", result->works ? NULL : how);
}

static json_t *verdicts_json(const struct doctor_report *report, const char *kind)
{
	static const char *const words[] = {
		[DOCTOR_VERDICT_NO] = "no",
		[DOCTOR_VERDICT_YES] = "yes",
		[DOCTOR_VERDICT_YES_BUT] = "limited",
	};
	json_t *object = json_object();

	for (unsigned f = 0; f < _DOCTOR_FEATURE_COUNT; f++) {
		char names[512];

		if (strcmp(features[f].kind, kind) == 0)
			json_object_set_new(
				object, features[f].name,
				json_string(
					words[doctor_verdict(report, f, names, sizeof(names))]));
	}
	return object;
}

json_t *doctor_json(const struct doctor_report *report)
{
	json_t *checks = json_array();

	for (size_t i = 0; i < report->n; i++)
		json_array_append_new(checks, check_json(&report->checks[i], &report->results[i]));
	return json_pack("{s:b, s:I, s:I, s:s, s:s, s:o, s:o, s:o}", "ok",
			 doctor_count(report, DOCTOR_NEEDED) == 0, "missing",
			 (json_int_t)doctor_count(report, DOCTOR_NEEDED), "warnings",
			 (json_int_t)doctor_count(report, DOCTOR_ADVISED), "kernel", report->kernel,
			 "user", report->user, "tiers", verdicts_json(report, "tier"), "modes",
			 verdicts_json(report, "mode"), "checks", checks);
}
