/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/print_failed.h"

#include <stdio.h>
#include <string.h>

#include "common/duration.h"

void print_tail(const struct print *to, const char *indent, const json_t *object)
{
	const char *tail = print_member(object, "tail");
	const char *stream = print_member(object, "tail_stream");
	char prefix[64];

	if (!*tail)
		return;
	fprintf(to->out, "%slast lines on its ", indent);
	print_text(to, *stream ? stream : "stderr");
	if (*print_member(object, "tail_time")) {
		fputs(", ", to->out);
		print_time(to, print_member(object, "tail_time"));
	}
	fputs(":\n", to->out);
	snprintf(prefix, sizeof(prefix), "%s| ", indent);
	print_lines(to, prefix, tail);
}

void print_failed(const struct print *to, const json_t *service)
{
	const json_t *failure = json_object_get(service, "failure");
	const char *advice = print_member(failure, "advice");
	long long retry_ms = print_number(failure, "retry_ms");
	char took[DURATION_TEXT_MAX];

	if (!json_is_object(failure))
		return;
	if (*print_member(failure, "since")) {
		print_label(to, "since");
		print_since(to, print_member(failure, "since"));
		fputc('\n', to->out);
	}
	print_label(to, "clients");
	fputs(strcmp(print_member(failure, "connections"), "wait") == 0
		      ? "new connections wait\n"
		      : "connections are refused\n",
	      to->out);
	print_label(to, "next");
	if (retry_ms >= 0)
		fprintf(to->out, "it is started again in %s\n",
			duration_format(((uint64_t)retry_ms + 999) / 1000 * 1000, took));
	else
		fputs("it is not started again by itself\n", to->out);
	if (*advice) {
		fputs(PRINT_DETAIL, to->out);
		print_text(to, advice);
		fputc('\n', to->out);
	}
}
