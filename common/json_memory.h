/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json_memory: has jansson run out of memory? A JSON object is made by many calls, of which each
 * may fail, and an object that lacks a member looks like a whole one. So whoever makes one compares
 * json_memory_lacks() before and after. One thread only.
 */
#pragma once

#include <stdint.h>

/* From now on it is counted, in the whole process. Call it before the first JSON value is made. */
void json_memory_watch(void);

/* How often there was none. */
uint64_t json_memory_lacks(void);
