/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common_limits.h: what the batchers of one upstream have in common, where it has several owners: how many exchanges may
 * be under way, how many calls may wait, and until when the provider wants to be left alone. Each number is one number for
 * all of them together, under one short mutex: what is promised to the provider holds whichever worker sends.
 *
 * Who finds no slot stands in a line, and its loop is woken when one is free for it. Free slots are kept for those who
 * stand ahead: else one batcher, which gives a slot back and takes it again in one turn of its loop, would leave nothing
 * to the others, whose loops have to wake first.
 */
#ifndef JITNEY_BATCHER_COMMON_LIMITS_H
#define JITNEY_BATCHER_COMMON_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/compiler.h"

struct common_limits;
struct loop;

/* One batcher's part in it. Embedded; zeroed: it has none, and is asked nothing. */
struct common_member {
	struct common_limits *limits;    /* held; NULL: it is no member */
	struct loop *loop;               /* outlives all members */
	size_t slots;                    /* that it has */
	bool waits;                      /* it stands in the line for one. Its own thread's, as all above */
	TAILQ_ENTRY(common_member) next; /* in the line, by the mutex */
};

/* Without members: one reference. NULL: out of memory. */
struct common_limits *common_limits_new(void) MUST_CHECK;
/* Another reference; and one given back, NULL is allowed. Any thread. */
struct common_limits *common_limits_ref(struct common_limits *limits);
void common_limits_unref(struct common_limits *limits);

/* It is one of them, and takes a reference of its own. `loop` is woken, from any thread, when there is news for it. */
void common_join(struct common_member *member, struct common_limits *limits, struct loop *loop);
/* It has no slot, and nothing of its waits (asserted). Fine if it is no member. */
void common_leave(struct common_member *member);
/* How many there are, 1 at least. */
size_t common_members(const struct common_member *member);

/* --- All below: of a member, on its own thread --- */

/* So many slots for all from now on. Those that are taken stay. */
void common_set_slots(struct common_member *member, size_t most);
/* One slot more. False: none is free for it; it stands in the line, and is woken. */
bool common_take_slot(struct common_member *member) MUST_CHECK;
/* It has that slot no more. */
void common_give_slot(struct common_member *member);
/* It wants none now: out of the line. Fine if it is not in there. Who is in the line and does not want one keeps it from
 * the others. */
void common_stop_waiting(struct common_member *member);
/* Whether common_take_slot would succeed now. */
bool common_slot_is_free(const struct common_member *member);

/* One more call of so many bytes waits, if all of them and it are within both bounds. False: they are not. */
bool common_enter_queue(struct common_member *member, size_t bytes, size_t most_items, size_t most_bytes) MUST_CHECK;
void common_leave_queue(struct common_member *member, size_t bytes);
/* What waits at all of them. */
size_t common_waiting_items(const struct common_member *member);
size_t common_waiting_bytes(const struct common_member *member);

/* The provider wants to be left alone until then, by all. */
void common_pause(struct common_member *member, uint64_t until_us);
/* 0: it never said so. */
uint64_t common_paused_until_us(const struct common_member *member);

#endif
