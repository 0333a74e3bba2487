/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_slots.h: the commands a connection has sent and not had a reply for, in their order: a ring of fixed size, so
 * that sending allocates nothing. A command that is given up leaves its slot behind for the reply that may yet come.
 */
#ifndef JITNEY_CACHE_REDIS_REDIS_SLOTS_H
#define JITNEY_CACHE_REDIS_REDIS_SLOTS_H

#include <stdint.h>

#include "base/compiler.h"
#include "cache/redis/redis_connection.h"

struct redis_slot {
	struct redis_command *command; /* NULL: given up */
	uint64_t sent_us;
	size_t bytes;
};

struct redis_slots {
	struct redis_slot *ring;
	size_t cap, head, count;
	size_t overdue; /* the first ones of `count`, already told that they are overdue */
	size_t bytes;   /* sum over all */
};

/* False: out of memory. */
bool slots_init(struct redis_slots *slots, size_t cap) MUST_CHECK;
void slots_fini(struct redis_slots *slots);
/* There must be room. now_us: from when on it is waited for; not before those that were pushed earlier. */
void slots_push(struct redis_slots *slots, struct redis_command *command, size_t bytes, uint64_t now_us);
/* The oldest, which must be there; *command (NULL: given up) is not under way any more. */
void slots_pop(struct redis_slots *slots, struct redis_command **command, uint64_t *sent_us);
/* Nobody wants the reply. Allowed if not under way. */
void slots_give_up(struct redis_command *command);
/* When the oldest was sent; CLOCK_NEVER: there is none. */
uint64_t slots_oldest_us(const struct redis_slots *slots);
/* When the oldest that is not overdue was sent; CLOCK_NEVER: there is none. */
uint64_t slots_next_us(const struct redis_slots *slots);
/* The next command sent at or before `sent_us` becomes overdue and is returned; it keeps its place in the line. Those
 * given up, and patient ones, are passed over. NULL: no more. */
struct redis_command *slots_take_overdue(struct redis_slots *slots, uint64_t sent_us);

#endif
