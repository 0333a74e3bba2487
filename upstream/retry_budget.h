/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry_budget.h: one budget for every repeat of an upstream: failover, retry, hedge, bisection, joiners that lead anew.
 * Counted in calls, not requests, since a call is what costs the provider work. Each call sent for the first time pays
 * in `budget_percent` hundredths of a call; each call sent again takes one out. So however the provider fails, it sees
 * no more than that share on top, beyond a reserve that lets a quiet upstream repeat at all.
 *
 * Owned by the upstream's worker thread. Arithmetic only.
 */
#ifndef JITNEY_UPSTREAM_RETRY_BUDGET_H
#define JITNEY_UPSTREAM_RETRY_BUDGET_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* From the configuration. Zeroed: nothing is ever sent again by choice. */
struct retry_settings {
	unsigned attempts;       /* of one call at most, the first included; 0 counts as 1 */
	uint64_t backoff_us;     /* longest wait before the second attempt; doubles with each further one */
	unsigned budget_percent; /* of the calls sent for the first time */
};

struct retry_budget {
	double calls;   /* that may be sent again now */
	double most;    /* it holds at most so many */
	double percent; /* paid in by each first one, in hundredths */
};

enum { RETRY_RESERVE = 500 };

/* Full. `reserve`: calls that may be sent again though none has been sent before. */
void retry_budget_init(struct retry_budget *budget, const struct retry_settings *settings, size_t reserve);
/* Another share from now on. What it holds stays, unless there was nothing to be had until now. */
void retry_budget_adjust(struct retry_budget *budget, const struct retry_settings *settings, size_t reserve);
/* It holds so many at least, and is full: the search for one bad call in a large batch must be possible. */
void retry_budget_reserve(struct retry_budget *budget, size_t calls);
/* So many calls go out for the first time. */
void retry_budget_deposit(struct retry_budget *budget, size_t calls);
/* May so many be sent again? True: they are taken out. False: nothing is; the failure stands. */
bool retry_budget_take(struct retry_budget *budget, size_t calls) MUST_CHECK;
/* What is left, 0 to 1, for metrics. */
double retry_budget_left(const struct retry_budget *budget);

/* How long to wait before attempt number `attempt` (2: the second): a random part of backoff_us doubled with each
 * further one (full jitter), 10 s at most. `random`: any 64 random bits. */
uint64_t retry_backoff_us(const struct retry_settings *settings, unsigned attempt, uint64_t random);

#endif
