/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/json_memory.h"

#include <jansson.h>
#include <stdlib.h>

static uint64_t lacks;

static void *allocate(size_t size)
{
	void *memory = malloc(size);

	if (!memory)
		lacks++;
	return memory;
}

void json_memory_watch(void)
{
	json_set_alloc_funcs(allocate, free);
}

uint64_t json_memory_lacks(void)
{
	return lacks;
}
