/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common_limits.h: what the batchers of one upstream have in common, where it has several owners: how many exchanges may
 * be under way, configured or learned, and by what that is learned; and how many calls may wait. Each number is one number
 * for all of them together, under one short mutex: what is promised to the provider holds whichever worker sends, and what
 * one of them sees of it all of them have learned.
 *
 * Who finds no slot stands in a line, and its loop is woken when one is free for it. Free slots are kept for those who
 * stand ahead: else one batcher, which gives a slot back and takes it again in one turn of its loop, would leave nothing
 * to the others, whose loops have to wake first. A slot is free only if the rates that are configured let one more go, and
 * is taken with that one (allowed_rates.h).
 *
 * Times are those of each member's own loop, which may be a turn apart: here they never go back.
 */
#ifndef JITNEY_BATCHER_COMMON_LIMITS_H
#define JITNEY_BATCHER_COMMON_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/compiler.h"
#include "batcher/allowed_rates.h"
#include "batcher/limiter.h"

struct common_limits;
struct common_tool; /* what its calls take, as far as all of them have seen */
struct loop;

/* One batcher's part in it. Embedded; zeroed: it has none, and is asked nothing. */
struct common_member {
	struct common_limits *limits;    /* held; NULL: it is no member */
	struct loop *loop;               /* outlives all members */
	size_t slots;                    /* that it has */
	bool waits;                      /* it stands in the line for one */
	bool tells;                      /* it tells gauges: woken when the limit becomes another one */
	unsigned seen;                   /* which one that was when it looked last. Its own thread's, as all above */
	TAILQ_ENTRY(common_member) next; /* in the line, by the mutex */
};

/* Without members: one reference. NULL: out of memory. */
struct common_limits *common_limits_new(void) MUST_CHECK;
/* Another reference; and one given back, NULL is allowed. Any thread. */
struct common_limits *common_limits_ref(struct common_limits *limits);
void common_limits_unref(struct common_limits *limits);

/* It is one of them, and takes a reference of its own. `loop` is woken, from any thread, when there is news for it; one at
 * most tells gauges. */
void common_join(struct common_member *member, struct common_limits *limits, struct loop *loop, bool tells);
/* It has no slot, and nothing of its waits (asserted). Allowed where it is no member. */
void common_leave(struct common_member *member);
/* How many there are, 1 at least. */
size_t common_members(const struct common_member *member);

/* --- All below: of a member, on its own thread --- */

/* So many slots for all from now on; 0: learned, from `start` on (limiter.h). Those that are taken stay. Nothing, if that
 * is said already. */
void common_set_slots(struct common_member *member, size_t fixed, size_t start);
/* The end: no more slots for anybody, ever. */
void common_close(struct common_member *member);
/* The rates that all keep: those of the one who says so first. As long as the limits. */
struct allowed_rates *common_agree_rates(struct common_member *member, struct allowed_rates *allowed);
/* One slot more. False: none is free for it; it stands in the line, and is woken, or comes at common_free_us. Where tokens
 * are counted nobody else takes one until this one has left or is returned, which has to be at once. */
bool common_take_slot(struct common_member *member, uint64_t now_us) MUST_CHECK;
/* Nothing has left by the slot that was taken last. */
void common_return_slot(struct common_member *member, uint64_t now_us);
/* An exchange has left by the slot that was taken last, with its tokens told. How many are under way, itself included. */
size_t common_sent(struct common_member *member, uint64_t now_us);
/* One is far past its time: it holds its slot less than others. heard: something of it has come. */
void common_note_overdue(struct common_member *member, bool heard, uint64_t now_us);
/* It has that slot no more; `overdue`: that of an exchange that was told to be. */
void common_give_slot(struct common_member *member, bool overdue, uint64_t now_us);
/* It wants none now: out of the line, if it is in there. Who is in the line and does not want one keeps it from
 * the others. */
void common_stop_waiting(struct common_member *member);
/* When common_take_slot may succeed: 0 now, CLOCK_NEVER only after its loop is woken. */
uint64_t common_free_us(const struct common_member *member, uint64_t now_us);
/* Slots that are taken; and those of exchanges far past their time. */
size_t common_under_way(const struct common_member *member);
size_t common_overdue(const struct common_member *member);
/* It keeps calls waiting now; and when one of them did so last. */
void common_note_held(struct common_member *member, uint64_t now_us);
uint64_t common_held_us(const struct common_member *member);

/* What calls of a tool take is learned over all members. By its number; as long as the limits live. `costs`: what is known
 * now. NULL: out of memory. */
struct common_tool *common_find_tool(struct common_member *member, unsigned number, struct costs *costs) MUST_CHECK;
/* An exchange that held a call of it has ended: limiter_completed, but for sample->costs, which are the tool's. `costs`: what
 * is known of it now. True: what was known of the provider has been forgotten. */
bool common_completed(struct common_member *member, struct common_tool *tool, struct limiter_sample *sample,
		      struct costs *costs, uint64_t now_us);
/* Whether the limit has become another one since common_look; and what it is now, to be asked (limiter_view). */
bool common_has_changed(const struct common_member *member);
void common_look(struct common_member *member, struct limiter *view);

/* One more call of so many bytes waits, if all of them and it are within both bounds. False: they are not. */
bool common_enter_queue(struct common_member *member, size_t bytes, size_t most_items, size_t most_bytes) MUST_CHECK;
void common_leave_queue(struct common_member *member, size_t bytes);
/* What waits at all of them. */
size_t common_waiting_items(const struct common_member *member);
size_t common_waiting_bytes(const struct common_member *member);

#endif
