/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_pattern.h: when the calls of a simulation come, and whose they are: times of a log, an open load (calls come
 * whether or not earlier ones are answered), closed loops (each caller waits for its answer), bursts. Arithmetic only,
 * the same for the same seed.
 */
#ifndef JITNEY_GATEWAY_CLI_LOAD_PATTERN_H
#define JITNEY_GATEWAY_CLI_LOAD_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"

/* When calls came in, microseconds from any zero, rising. */
struct workload {
	uint64_t *at_us;
	size_t count;
};

enum load_kind {
	LOAD_TIMES,  /* those of `workload` */
	LOAD_OPEN,   /* a Poisson process of `rate` calls a second */
	LOAD_CLOSED, /* `callers`, each with one call under way */
	LOAD_BURSTS  /* `burst` calls at once every `gap_us` */
};

/* Constant, borrowed. */
struct load_pattern {
	enum load_kind kind;
	size_t callers; /* that take turns; >= 1 */
	const struct workload *workload;
	double rate;
	size_t burst;
	uint64_t gap_us;
	uint8_t urgency, flood_urgency; /* RFC 9218, of the callers' calls and of the flood's */
	double flood_rate;              /* one more caller sends so many a second beside all that; 0: none does */
	uint64_t seed;
};

enum { LOAD_FLOODER = 0 }; /* the number of that caller; the others are 1 to callers */

/* A caller of a closed loop that is about to call. */
struct load_turn {
	uint64_t at_us;
	uint64_t caller;
};
/* Of those, in order; room for all callers. */
struct load_ring {
	struct load_turn *turns;
	size_t first, count;
};

struct load_player {
	const struct load_pattern *pattern;
	uint64_t start_us;
	uint64_t random;
	uint64_t next_us, flood_us; /* CLOCK_NEVER: none comes */
	size_t taken;               /* calls that have come, the flood's left out */
	struct load_ring soon;      /* those who were answered */
	struct load_ring later;     /* those who were not: they wait a while before they try again */
};

enum { LOAD_THINK_US = 100, LOAD_RETRY_US = 100000 }; /* between an answer and the next call; after a refusal */

/* Begins at start_us. False: out of memory; load_fini all the same. */
bool load_init(struct load_player *player, const struct load_pattern *pattern, uint64_t start_us) MUST_CHECK;
void load_fini(struct load_player *player);

/* When the next call comes; CLOCK_NEVER: none does, unless a caller that waits is answered. */
uint64_t load_next_us(const struct load_player *player);
/* It has come: whose it is. */
uint64_t load_take(struct load_player *player);
/* A call of this caller has ended. */
void load_ended(struct load_player *player, uint64_t caller, bool answered, uint64_t now_us);

#endif
