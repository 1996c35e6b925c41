/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory: an agent keeps little. There is one for each instance, and nearly all of the time it
 * waits; what it needed for a moment goes back to the kernel.
 */
#pragma once

/*
 * Before anything is allocated: large blocks are mapped each by itself. So a large buffer takes no
 * more than the part of it that was ever used, and what is freed goes back at once.
 */
void memory_prepare(void);

/*
 * Give back what is free on the heap, and the stack below the caller, as far as it was ever used.
 * To be called by a function that is called by little else, such as a handler of the event loop.
 */
void memory_give_back(void);
