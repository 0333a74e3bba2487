/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane.h: one waiting line: the calls that may share a batch, in the order in which they leave. A data structure only:
 * it decides who is next, not when (window.h), and knows no upstream.
 *
 * The order. Each caller has a line of its own for each urgency it uses (RFC 9218, 0 first .. 7 last), its "turn". The
 * turns of one urgency are served round-robin, one call each, so a caller with 10,000 calls delays another's single
 * call by one call. Between urgencies the turn with the smallest
 *     since_us + urgency * LANE_STEP_US
 * goes first; since_us is when the turn began to wait or was last served. A more urgent call overtakes those that came
 * up to LANE_STEP_US per level before it, and no others: whatever keeps coming in above, each turn is served in the end
 * (ageing). But a band of urgencies (bands.h) that has had less than its share goes before all that. Within one urgency round-robin order is the order of since_us, so one look at the head of each level is
 * enough.
 */
#ifndef JITNEY_BATCHER_LANE_H
#define JITNEY_BATCHER_LANE_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/compiler.h"
#include "base/slice.h"
#include "batcher/bands.h"
#include "batcher/item.h"
#include "base/due_heap.h"
#include "batcher/rate_limiter.h"
#include "batcher/run_queue.h"
#include "base/hash_table.h"
#include "batcher/window.h"

enum { LANE_LEVELS = URGENCY_COUNT };
#define LANE_STEP_US (500 * CLOCK_US_PER_MS) /* what one level of urgency is worth in waiting */

/* One caller's calls of one urgency; lives while there are any. */
struct lane_entry {
	struct table_node node; /* in the lane's table, by caller and level */
	TAILQ_ENTRY(lane_entry) next;
	struct batch_item_list items;
	uint64_t caller;
	uint64_t since_us; /* waiting since, or last served */
	size_t count;      /* of items */
	uint8_t level;
};
TAILQ_HEAD(lane_entries, lane_entry);

struct batch;
TAILQ_HEAD(batch_queue, batch);

/* The lanes whose calls may not mix with those of other keys: they differ in the latency of their tools only. */
struct lane_group {
	struct table_node node; /* the batcher's: found by key */
	TAILQ_HEAD(, lane) lanes;
	size_t key_len;
	char key[];
};

struct lane {
	struct lane_group *group;
	TAILQ_ENTRY(lane) sibling; /* in its group */
	uint8_t class;             /* enum latency_class of its calls */
	bool alone;                /* only for calls of `tool`: until its class is known, or while it is paused */
	unsigned tool;
	const struct learned_tool *learned; /* of `tool`; NULL: not alone */
	TAILQ_ENTRY(lane) next;             /* run_queue.h's: in its turn */
	struct run_queue_entry *entry;      /* run_queue.h's: may send, and waits for that entry; NULL: may not */
	struct run_queue_entry own_entry;   /* run_queue.h's: room for one that nobody shares */
	size_t owed;                        /* run_queue.h's: exchanges of its turn still to come */
	uint64_t owed_since_us;             /* run_queue.h's: since when it has that turn */
	uint64_t ready_us;                  /* the batcher's: since when it may send */
	struct due_node look;               /* the batcher's: when to evaluate it again */
	size_t in_flight;                   /* the batcher's: exchanges under way */
	struct batch_queue again;           /* the batcher's: open batches to be sent before anything that waits */
	size_t resting;                     /* the batcher's: batches to be sent again later */
	bool completed;                     /* the batcher's: see struct window_view */
	struct window_company company;      /* the batcher's */
	uint64_t held_us;                   /* the batcher's: since when it waits for that; 0: it does not */
	uint64_t came_us;                   /* when the last call came in; 0: none yet */
	uint64_t gap_us;                    /* smoothed time from one to the next; 0: not known */

	size_t items;                            /* waiting */
	size_t bytes;                            /* of their arguments */
	struct batch_item_list arrivals;         /* all of them, oldest first */
	struct due_heap urgent;                  /* all of them, by urgent_us */
	struct lane_entries levels[LANE_LEVELS]; /* turns, next one first */
	struct table entries;                    /* all turns */
	size_t level_items[LANE_LEVELS];
	struct band_counts bands;         /* items, by band */
	struct band_turns owed_bands;     /* who has had less than its share */
	const struct band_shares *shares; /* the batcher's; NULL: nothing is guaranteed */
	uint8_t band;                     /* the batcher's: in whose line of ready lanes it is; if `turn` */
	bool newest_first;                /* the batcher's: the line stands, see admission.h */
	uint64_t seed;
};

/* `key` is copied. NULL when out of memory. */
struct lane_group *lane_group_new(struct slice key) MUST_CHECK;
/* It must have no lanes. */
void lane_group_free(struct lane_group *group);

/* What lane_group_new was given; as long as the group. */
static inline struct slice lane_group_key(const struct lane_group *group)
{
	return (struct slice){ group->key, group->key_len };
}

/* In no group yet; `seed` is for table_hash. NULL when out of memory. */
struct lane *lane_new(uint64_t seed) MUST_CHECK;
/* Nothing may wait; out of its group. NULL is allowed. */
void lane_free(struct lane *lane);

/* Put in; now_us does not go backwards. False when out of memory (nothing changed). */
bool lane_add(struct lane *lane, struct batch_item *item, uint64_t now_us) MUST_CHECK;
/* Take out one that nobody waits for; the order of the others stays. */
void lane_remove(struct lane *lane, struct batch_item *item);
/* Its urgent_us has changed. */
void lane_set_urgent(struct lane *lane, struct batch_item *item, uint64_t urgent_us);

/* How many leave before a call that came now, its caller's turns and its urgency considered. It is not in yet. */
size_t lane_ahead(const struct lane *lane, const struct batch_item *item);
/* Who leaves next; NULL: nobody waits. */
struct batch_item *lane_next(const struct lane *lane);
/* Take out the one lane_next named; its caller has had its turn. */
void lane_take(struct lane *lane, struct batch_item *item, uint64_t now_us);

/* Whether all that wait are of one caller; then whose. */
bool lane_only_caller(const struct lane *lane, uint64_t *caller);

/* As the rule of window.h sees it. */
struct window_view lane_view(const struct lane *lane);

#endif
