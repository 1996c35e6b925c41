/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/memory.h"

#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * glibc's own threshold (128 KiB) grows with the first large block that is freed, and from then on
 * blocks of that size are cut from the heap: calloc(3) writes zeroes there, so each of their pages
 * is taken. A threshold that is set stays.
 */
#define MAP_THRESHOLD (32 * 1024)

/* The heap grows by this. If a large block fits into what is left of it, it is cut from it, too. */
#define TOP_PAD (8 * 1024)

/* Nothing of an agent goes deeper. Above it the kernel keeps a gap of 128 MiB free of mappings. */
#define STACK_MAX (1024 * 1024)

/* Below the stack pointer of a leaf function lies what the x86-64 ABI calls the red zone. */
#define RED_ZONE 128

void memory_prepare(void)
{
	(void)mallopt(M_MMAP_THRESHOLD, MAP_THRESHOLD);
	(void)mallopt(M_TOP_PAD, TOP_PAD);
	/* Libraries have allocated before main(): with glibc's own 128 KiB on top. */
	(void)malloc_trim(0);
}

/* Its own frame, and those of what it calls, are above what is given back. */
static __attribute__((noinline)) void give_back_stack(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t end = (here - RED_ZONE) / page * page - page;

	/* ENOMEM: the stack has never been so deep. What there is of it is given back. */
	(void)madvise((void *)(end - STACK_MAX), STACK_MAX, MADV_DONTNEED);
}

void memory_give_back(void)
{
	(void)malloc_trim(0);
	give_back_stack();
}
