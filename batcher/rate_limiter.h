/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate_limiter.h: how often one may: a token bucket kept as one time, as the generic cell rate algorithm of ATM does
 * (ITU-T I.371). Whatever the limit counts, no span of one period holds more than `amount` of it; a tenth of it may
 * come as a burst, the rest is spread evenly. Arithmetic only, no clock.
 */
#ifndef JITNEY_BATCHER_RATE_LIMITER_H
#define JITNEY_BATCHER_RATE_LIMITER_H

#include <stdint.h>

#include "base/compiler.h"

/* "60/min" of the configuration. Zeroed: no limit. */
struct rate {
	uint64_t amount;
	uint64_t period_us;
};

struct rate_limiter {
	double step_us;  /* between two of them; 0: no limit */
	double burst_us; /* how far the steps may run ahead of the clock */
	double next_us;  /* when the next one would come if they came evenly */
};

void rate_limiter_init(struct rate_limiter *limiter, const struct rate *rate);
/* Another rate from now on: what has gone until now counts as it did. */
void rate_limiter_adjust(struct rate_limiter *limiter, const struct rate *rate);
/* When the next may go; 0 at once. */
uint64_t rate_limiter_free_us(const struct rate_limiter *limiter);
/* So many have gone. More than a burst is a debt that the next ones wait for. */
void rate_limiter_take(struct rate_limiter *limiter, uint64_t count, uint64_t now_us);

/*
 * What a provider that refuses too many (429, 503) teaches when no rate is configured: half of the rate at which it was
 * visited of late, raised by 1/16 with each visit that passes; forgotten when it no longer holds anything back.
 */
struct learned_rate {
	double gap_us;         /* smoothed time between visits */
	double step_us;        /* least time between visits; 0: none */
	uint64_t last_us;      /* visit; 0: none yet */
	uint64_t decreased_us; /* when it was last halved */
};

void learned_rate_visit(struct learned_rate *learned, uint64_t now_us);
/* Refused, a visit made at sent_us; it asked for such a pause (0: for none). Visits made before the last decrease are
 * of the same event, and tell nothing new. */
void learned_rate_refused(struct learned_rate *learned, uint64_t pause_us, uint64_t sent_us, uint64_t now_us);
void learned_rate_passed(struct learned_rate *learned);
/* When the next visit may be; 0 at once. */
uint64_t learned_rate_visit_us(const struct learned_rate *learned);

#endif
