/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate_limiter.h: how often one may: a token bucket kept as one time, as the generic cell rate algorithm of ATM does
 * (ITU-T I.371). Whatever the limit counts, no span of one period holds more than `amount` of it; a tenth of it may
 * come as a burst, the rest is spread evenly. Arithmetic only, no clock.
 */
#ifndef JITNEY_BATCHER_RATE_LIMITER_H
#define JITNEY_BATCHER_RATE_LIMITER_H

#include <stddef.h>
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

/* Nothing has gone yet. An amount of 0: there is no limit. */
void rate_limiter_init(struct rate_limiter *limiter, const struct rate *rate);
/* Another rate from now on: what has gone until now counts as it did. */
void rate_limiter_adjust(struct rate_limiter *limiter, const struct rate *rate);
/* When the next may go; 0 at once. */
uint64_t rate_limiter_free_us(const struct rate_limiter *limiter);
/* How many may go now, one after the other; SIZE_MAX: no limit. */
size_t rate_limiter_free_count(const struct rate_limiter *limiter, uint64_t now_us);
/* So many have gone. More than a burst is a debt that the next ones wait for. */
void rate_limiter_take(struct rate_limiter *limiter, uint64_t count, uint64_t now_us);

/*
 * What a provider that refuses too many (429, 503) teaches when no rate is configured. Between two refusals it let in
 * what it lets in: so many visits in so long is its rate, if nothing of its credit was left at both ends. After a pause
 * that it asked for, the credit is full again, and how much that is nobody says: two such runs of different length tell,
 * by their difference. Of one run by itself, half of the rate is believed.
 *
 * Of a run in which nothing passed nobody learns a rate: the first visit after the pause that was asked for is refused as
 * well, or several one after the other. That is an outage. It is looked at once a pause, and when a visit passes, the
 * pace is what it was before. Only if that proves too fast at once, the provider is a slow one after all.
 *
 * Then that pace is held, and raised slowly with each visit that passes, faster beyond the one that was refused last;
 * it is forgotten when it holds nothing back any more. How long it is held is a matter of what a refusal costs: a
 * quarter of a second where it is one visit, longer and longer where it is a pause for everybody.
 */
struct learned_rate {
	double gap_us;         /* smoothed time between visits */
	double step_us;        /* least time between visits; 0: none */
	double refused_us;     /* step_us when it was refused last */
	uint64_t last_us;      /* visit; 0: none yet */
	uint64_t decreased_us; /* when it was last decreased */
	uint64_t run_us;       /* since when `visits` are counted; 0: none yet */
	unsigned visits;
	bool cut;                    /* the older part of them left out */
	bool full;                   /* the run began after a pause, or is the first */
	double full_us, full_passed; /* the last run of that kind that told nothing by itself */
	uint64_t hold_us, hold_until_us;
	double held_us;           /* step_us that has been held until then; 0: none has */
	unsigned passed;          /* visits of this run that did */
	double let_in_us, let_in; /* of late, over refusals that asked for no pause: in that time so many passed */
	unsigned nothing;         /* runs in a row of which none did */
	bool outage;              /* that is what it is taken for */
	double before_us;         /* step_us before the first of those */
	double outage_us;         /* time between visits as an outage ended; 0: none has of late */
};

/* A request leaves. */
void learned_rate_visit(struct learned_rate *learned, uint64_t now_us);
/* Refused, a visit made at sent_us; it asked for such a pause (0: for none). Visits made before the last decrease are
 * of the same event, and tell nothing new. */
void learned_rate_refused(struct learned_rate *learned, uint64_t pause_us, uint64_t sent_us, uint64_t now_us);
/* A visit made at sent_us was let in. */
void learned_rate_passed(struct learned_rate *learned, uint64_t sent_us, uint64_t now_us);
/* It is another provider now. */
void learned_rate_forget(struct learned_rate *learned);
/* When the next visit may be; 0 at once. */
uint64_t learned_rate_visit_us(const struct learned_rate *learned);

#endif
