/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/health/answer.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

size_t answer_printable(const char *data, size_t length, char *buffer, size_t size)
{
	size_t n = length < size - 1 ? length : size - 1;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)data[i];

		if (c >= 0x20 && c < 0x7f)
			buffer[i] = (char)c;
		else
			buffer[i] = c == '\t' || c == '\n' || c == '\r' ? ' ' : '?';
	}
	buffer[n] = '\0';
	return n;
}

/* RFC 9110, 5: NAME ":" blanks VALUE blanks. */
static void take_field(struct answer *answer, const char *line, size_t length)
{
	const struct {
		const char *name;
		char *value;
	} fields[] = {
		{"location:", answer->location},
		{"content-encoding:", answer->encoding},
		{"grpc-status:", answer->grpc_status},
		{"grpc-message:", answer->grpc_message},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		size_t n = strlen(fields[i].name);

		if (length < n || strncasecmp(line, fields[i].name, n) != 0)
			continue;
		while (n < length && (line[n] == ' ' || line[n] == '\t'))
			n++;
		answer_printable(line + n, length - n, fields[i].value, ANSWER_VALUE_MAX);
		return;
	}
}

/*
 * RFC 9112 section 4: HTTP-version SP 3DIGIT SP [reason-phrase]. Many servers leave the last SP out
 * if there is no reason.
 */
void answer_header(struct answer *answer, const char *line, size_t length)
{
	const char *space, *end;

	while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
		length--;
	answer->headed |= length == 0 && answer->status;
	if (length < 5 || memcmp(line, "HTTP/", 5) != 0) {
		take_field(answer, line, length);
		return;
	}
	end = line + length;
	space = memchr(line, ' ', length);
	if (!space || end - space < 4)
		return;
	for (int i = 1; i <= 3; i++) {
		if (!isdigit((unsigned char)space[i]))
			return;
	}
	if (end - space > 4 && space[4] != ' ')
		return;
	memset(answer, 0, sizeof(*answer));
	answer->status =
		(uint16_t)((space[1] - '0') * 100 + (space[2] - '0') * 10 + (space[3] - '0'));
	if (end - space > 5)
		answer_printable(space + 5, (size_t)(end - space - 5), answer->reason,
				 sizeof(answer->reason));
}

void answer_body(struct answer *answer, const char *data, size_t length)
{
	answer->received += length;
	answer->body_length += answer_printable(data, length, answer->body + answer->body_length,
						sizeof(answer->body) - answer->body_length);
}

bool answer_accepted(const struct answer *answer, const struct health_config *health)
{
	for (size_t i = 0; i < health->n_statuses; i++) {
		if (answer->status >= health->statuses[i].first &&
		    answer->status <= health->statuses[i].last)
			return answer->status != 0;
	}
	return false;
}

char *answer_status_text(const struct answer *answer, char *buffer, size_t size)
{
	snprintf(buffer, size, "%u%s%s", answer->status, answer->reason[0] ? " " : "",
		 answer->reason);
	return buffer;
}

char *answer_accepted_text(const struct health_config *health, char *buffer, size_t size)
{
	size_t n = 0;

	buffer[0] = '\0';
	for (size_t i = 0; i < health->n_statuses && n < size; i++) {
		unsigned first = health->statuses[i].first, last = health->statuses[i].last;
		int r;

		if (first == last)
			r = snprintf(buffer + n, size - n, "%s%u", i ? ", " : "", first);
		else
			r = snprintf(buffer + n, size - n, "%s%u-%u", i ? ", " : "", first, last);
		n += r > 0 ? (size_t)r : 0;
	}
	return buffer;
}
