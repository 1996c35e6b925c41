/* SPDX-License-Identifier: BSD-2-Clause */
#include "orchestrator/steer/slots.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ebpf/steer.h"

#define SIZE_FIRST 8

void slots_done(struct slots *slots)
{
	free(slots->list);
	*slots = (struct slots){.max = slots->max};
}

static int reserve(struct slots *slots, uint32_t n)
{
	uint32_t size = slots->size > 0 ? slots->size : SIZE_FIRST;
	struct slot_holder *list;

	if (n <= slots->size)
		return 0;
	while (size < n)
		size *= 2;
	list = reallocarray(slots->list, size, sizeof(*list));
	if (!list)
		return -ENOMEM;
	memset(list + slots->size, 0, (size - slots->size) * sizeof(*list));
	slots->list = list;
	slots->size = size;
	return 0;
}

int slots_choose(struct slots *slots, uint64_t cookie, uint16_t *ret, struct error *err)
{
	uint32_t free_one = slots->size;

	*ret = STEER_NO_SLOT;
	for (uint32_t slot = slots->size; slot-- > 0;) {
		if (slots->list[slot].cookie == cookie) {
			*ret = (uint16_t)slot;
			return 0;
		}
		if (!slots->list[slot].cookie)
			free_one = slot;
	}
	if (free_one >= slots->max)
		return error_text(err, -ENOSPC,
				  "a listening socket too many: all %u that one address can have "
				  "are taken",
				  slots->max);
	if (reserve(slots, free_one + 1) < 0)
		return error_set(err, -ENOMEM, "slot %u", free_one);
	*ret = (uint16_t)free_one;
	return 0;
}

int slots_take(struct slots *slots, uint32_t slot, uint64_t cookie)
{
	assert(slot < slots->max && cookie);
	if (reserve(slots, slot + 1) < 0)
		return -ENOMEM;
	slots->used += !slots->list[slot].cookie;
	slots->list[slot].cookie = cookie;
	return 0;
}

void slots_claim(struct slots *slots, uint32_t slot)
{
	assert(slots_cookie(slots, slot));
	slots->list[slot].claimed = true;
}

void slots_free(struct slots *slots, uint32_t slot)
{
	if (!slots_cookie(slots, slot))
		return;
	slots->list[slot] = (struct slot_holder){};
	slots->used--;
}

uint64_t slots_cookie(const struct slots *slots, uint32_t slot)
{
	return slot < slots->size ? slots->list[slot].cookie : 0;
}

bool slots_is_claimed(const struct slots *slots, uint32_t slot)
{
	return slot < slots->size && slots->list[slot].claimed;
}
