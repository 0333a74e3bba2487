/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_queue.h: the lanes that may send, in the order in which they get a slot: round-robin over callers, one exchange
 * each, as the calls within a lane (lane.h). Lanes whose calls are all of one caller share that caller's entry; a lane
 * of several callers has an entry of its own, which is served as many exchanges long as it takes to give each of them
 * one call. So a caller whose calls must each travel alone, 10,000 lanes, delays another's single call by one exchange.
 */
#ifndef JITNEY_BATCHER_RUN_QUEUE_H
#define JITNEY_BATCHER_RUN_QUEUE_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/hash_table.h"

struct lane;
TAILQ_HEAD(run_queue_lanes, lane);

/* One caller's lanes, or one lane of several callers. */
struct run_queue_entry {
	TAILQ_ENTRY(run_queue_entry) next;
	struct table_node node; /* by caller, if it is one caller's */
	struct run_queue_lanes lanes;
	bool of_one; /* it is one caller's, and others of that caller's lanes find it */
	uint64_t caller;
	uint64_t since_us; /* waiting since, or last served */
};
TAILQ_HEAD(run_queue_entries, run_queue_entry);

struct run_queue {
	struct run_queue_entries entries; /* next one first */
	struct table callers;             /* those of one caller */
	uint64_t seed;
};

/* `seed` is for table_hash. */
void run_queue_init(struct run_queue *queue, uint64_t seed);
/* No lane may be in it. */
void run_queue_fini(struct run_queue *queue);

/* Queue it; it is not queued yet (asserted). caller: whose calls all of its calls are; NULL: several callers'. Never
 * fails: without memory it gets an entry of its own. */
void run_queue_add(struct run_queue *queue, struct lane *lane, const uint64_t *caller, uint64_t now_us);
/* How many exchanges in a row this lane is served, >= 1: counted from the next time. */
void run_queue_weigh(struct lane *lane, size_t weight);
/* Out of the queue, for another reason than having been served: its entry, if others are in it, keeps its place. */
void run_queue_remove(struct run_queue *queue, struct lane *lane);
/* Out of the queue to be served: its entry, if more lanes are in it, is the last one now. */
void run_queue_serve(struct run_queue *queue, struct lane *lane, uint64_t now_us);
/* Whether it is queued as one of this caller's. */
bool run_queue_is_of(const struct lane *lane, uint64_t caller);

/* Who is served next; NULL: nobody waits. */
struct lane *run_queue_first(const struct run_queue *queue);
/* Since when that one waits. There is one (asserted). */
uint64_t run_queue_since_us(const struct run_queue *queue);

#endif
