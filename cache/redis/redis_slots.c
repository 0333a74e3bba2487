/* SPDX-License-Identifier: Apache-2.0 */
/* redis_slots.c: the ring of commands without a reply. */
#include "cache/redis/redis_slots.h"

#include <assert.h>
#include <stdlib.h>

bool slots_init(struct redis_slots *slots, size_t cap)
{
	*slots = (struct redis_slots){ .cap = cap };
	slots->ring = calloc(cap, sizeof *slots->ring);
	return slots->ring != NULL;
}

void slots_fini(struct redis_slots *slots)
{
	free(slots->ring);
}

static struct redis_slot *slot_at(const struct redis_slots *slots, size_t index)
{
	return &slots->ring[(slots->head + index) % slots->cap];
}

void slots_push(struct redis_slots *slots, struct redis_command *command, size_t bytes, uint64_t now_us)
{
	assert(slots->count < slots->cap);
	if (slots->count && slot_at(slots, slots->count - 1)->sent_us > now_us)
		now_us = slot_at(slots, slots->count - 1)->sent_us; /* those overdue are the first ones */
	struct redis_slot *slot = slot_at(slots, slots->count++);
	*slot = (struct redis_slot){ command, now_us, bytes };
	slots->bytes += bytes;
	command->slot = slot;
}

void slots_pop(struct redis_slots *slots, struct redis_command **command, uint64_t *sent_us)
{
	assert(slots->count > 0);
	struct redis_slot *slot = slot_at(slots, 0);
	*command = slot->command;
	*sent_us = slot->sent_us;
	slots_give_up(slot->command);
	slots->bytes -= slot->bytes;
	slots->head = (slots->head + 1) % slots->cap;
	slots->count--;
	if (slots->overdue)
		slots->overdue--;
}

void slots_give_up(struct redis_command *command)
{
	if (!command || !command->slot)
		return;
	command->slot->command = NULL;
	command->slot = NULL;
}

uint64_t slots_oldest_us(const struct redis_slots *slots)
{
	return slots->count ? slot_at(slots, 0)->sent_us : CLOCK_NEVER;
}

uint64_t slots_next_us(const struct redis_slots *slots)
{
	return slots->overdue < slots->count ? slot_at(slots, slots->overdue)->sent_us : CLOCK_NEVER;
}

struct redis_command *slots_take_overdue(struct redis_slots *slots, uint64_t sent_us)
{
	while (slots_next_us(slots) <= sent_us && slots->overdue < slots->count) {
		struct redis_command *command = slot_at(slots, slots->overdue++)->command;
		if (!command || command->patient)
			continue;
		slots_give_up(command);
		return command;
	}
	return NULL;
}
