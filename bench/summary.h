/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * summary: prints a tally, for people and for programs. docs/hammer.md describes the JSON.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/settings.h"
#include "bench/tally.h"

/* Print one line of JSON. @interim: requests may still be under way. Returns 0, -ENOMEM or -EIO. */
int summary_json(const struct tally *tally, const struct settings *settings, uint64_t now_us,
		 bool interim, FILE *output);

/* Print a table. Returns 0 or -EIO. */
int summary_table(const struct tally *tally, const struct settings *settings, FILE *output);
