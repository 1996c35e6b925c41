/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/print_failure.h"

#include <stdio.h>

#include "cli/print_failed.h"

void print_failure(const struct print *to, const char *indent, const json_t *object)
{
	const char *probe = print_member(object, "probe");

	if (*probe) {
		fprintf(to->out, "%slast probe: ", indent);
		print_text(to, probe);
		fputc('\n', to->out);
	}
	print_tail(to, indent, object);
}
