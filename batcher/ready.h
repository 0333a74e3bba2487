/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ready.h: the lanes that may send, in the order in which they get a slot: round-robin over callers, one exchange each,
 * as the calls within a lane (lane.h). Lanes whose calls are all of one caller take that caller's turn; a lane of
 * several callers has a turn of its own, which is as many exchanges long as it takes to give each of them one call. So a caller whose calls must each travel alone, 10,000 lanes, delays another's
 * single call by one exchange.
 */
#ifndef JITNEY_BATCHER_READY_H
#define JITNEY_BATCHER_READY_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/hash_table.h"

struct lane;
TAILQ_HEAD(ready_lanes, lane);

/* One caller's lanes, or one lane of several callers. */
struct ready_turn {
	TAILQ_ENTRY(ready_turn) next;
	struct table_node node; /* by caller, if it is one caller's */
	struct ready_lanes lanes;
	bool of_one; /* it is one caller's, and others of that caller's lanes find it */
	uint64_t caller;
	uint64_t since_us; /* waiting since, or last served */
};
TAILQ_HEAD(ready_turns, ready_turn);

struct ready_line {
	struct ready_turns turns; /* next one first */
	struct table callers;     /* those of one caller */
	uint64_t seed;
};

/* `seed` is for table_hash. */
void ready_init(struct ready_line *line, uint64_t seed);
/* No lane may be in it. */
void ready_fini(struct ready_line *line);

/* Line it up; it must not be in a line. caller: whose calls all of its calls are; NULL: several callers'. Never fails:
 * without memory it gets a turn of its own. */
void ready_add(struct ready_line *line, struct lane *lane, const uint64_t *caller, uint64_t now_us);
/* How many exchanges a turn of this lane is long, >= 1: counted from the next one. */
void ready_weigh(struct lane *lane, size_t weight);
/* Out of the line, for another reason than having been served: its turn keeps its place. */
void ready_remove(struct ready_line *line, struct lane *lane);
/* Out of the line to be served: its turn, if more lanes are in it, is the last one now. */
void ready_serve(struct ready_line *line, struct lane *lane, uint64_t now_us);
/* Whether it takes its turn as one of this caller's. */
bool ready_is_of(const struct lane *lane, uint64_t caller);

/* Whose turn it is; NULL: nobody's. */
struct lane *ready_first(const struct ready_line *line);
/* Since when that one waits. There must be one. */
uint64_t ready_since_us(const struct ready_line *line);

#endif
