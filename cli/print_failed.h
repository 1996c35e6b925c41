/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * print_failed: what a person needs who finds a service failed.
 */
#pragma once

#include <jansson.h>

#include "cli/print.h"

/*
 * Print the last words of a server that @object has, if there are any, with the stream that they
 * are from and their time.
 */
void print_tail(const struct print *to, const char *indent, const json_t *object);

/* Print the "failure" of @service, if it has one, except for its last words. */
void print_failed(const struct print *to, const json_t *service);
