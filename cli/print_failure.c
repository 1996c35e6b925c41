/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/print_failure.h"

#include <stdio.h>

void print_failure(const struct print *to, const char *indent, const json_t *object)
{
	const char *probe = print_member(object, "probe");
	const char *tail = print_member(object, "tail");
	char prefix[64];

	if (*probe) {
		fprintf(to->out, "%slast probe: ", indent);
		print_text(to, probe);
		fputc('\n', to->out);
	}
	if (*tail) {
		fprintf(to->out, "%slast lines on its stderr:\n", indent);
		snprintf(prefix, sizeof(prefix), "%s| ", indent);
		print_lines(to, prefix, tail);
	}
}
