/* SPDX-License-Identifier: Apache-2.0 */
/*
 * costs.h: what an exchange takes if nothing queues: fixed + items * per item. Arithmetic only, no clock.
 *
 * Least squares that forget 1/32 with each exchange, as BentoML's adaptive batching fits it. An outlier counts as a
 * value at the edge of what is usual; eight in a row are a change, and the past is forgotten. Sizes that do not differ
 * say nothing of the slope: then it stays, and the fixed part follows. Whoever calls costs_learn vouches that the
 * exchange did not queue at the provider (limiter.h decides that).
 */
#ifndef JITNEY_BATCHER_COSTS_H
#define JITNEY_BATCHER_COSTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* Zeroed: nothing is known. */
struct costs {
	double weight, x, y, xx, xy; /* sums over (items, us), forgetting */
	double spread_us;            /* usual distance from the prediction */
	unsigned samples;            /* learned from, stops at COSTS_KNOWN */
	unsigned odd;                /* outliers in a row */
	double fixed_us, item_us;
	bool sure; /* no queue is in them: hardly anything was under way, or fewer at once took as long */
};

enum { COSTS_KNOWN = 8 };

/* Enough exchanges have been seen to go by them. */
static inline bool costs_known(const struct costs *costs)
{
	return costs->samples == COSTS_KNOWN;
}

/* An exchange of so many took so long, and nothing queued. */
void costs_learn(struct costs *costs, size_t items, double took_us);
/* It is another provider now: the next ones to be learned are all that is known. */
void costs_forget(struct costs *costs);
/* The provider has become so many times as slow. */
void costs_scale(struct costs *costs, double factor);
/* What an exchange of so many takes; 0: nothing is known at all. */
double costs_expected_us(const struct costs *costs, size_t items);
/* The sizes of late differ too little to tell the fixed part from the calls': a batch of so many should rather be of
 * another size. */
bool costs_want_other(const struct costs *costs, size_t items);

#endif
