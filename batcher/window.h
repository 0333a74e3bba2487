/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.h: pure arithmetic: does a lane send now, and why? When must one look again? Asks no clock, keeps no pointer.
 *
 * The rule, and whom it is taken from:
 * - Nothing in flight: send at once. Something in flight: gather until it completes. This is Nagle's rule for small
 *   segments (RFC 896) with calls for bytes and an answer for the acknowledgement. A lone caller never waits; under
 *   load the wait is no longer than what the provider takes anyway, and batches grow by themselves as it gets slower.
 * - What came while the last one was under way leaves together when it is back: group commit (DeWitt, Katz, Olken,
 *   Shapiro, Stonebraker, Wood 1984), whose log writes are our exchanges.
 * - The wait is bounded: by count, by bytes, by a window since the oldest call was added, and by the tightest deadline
 *   less what an exchange takes. A window that adapts to measured cost is Clipper's (Crankshaw et al., NSDI 2017).
 * - What costs.h has learned bends the adaptive rule, as struct window_plan. How many exchanges may be under way is not
 *   asked here (limiter.h): a lane that is to leave waits for a slot, and gathers meanwhile by itself. With a slot free,
 *   a batch leaves with its fair share of the outstanding calls, so that the slots stay evenly filled and no convoy
 *   forms; or after a twelfth of what an exchange costs, so that no call pays more than that for company; or at once,
 *   if at the rate of late nobody would come in that time.
 * - Callers that call again once they are answered come in crowds, one behind each batch. Two crowds of which one
 *   exchange could take both stay two for ever if each leaves as it comes. So the smaller one waits for the larger one's
 *   completion, once, and from then on they are one: struct window_company. What that costs is saved up beforehand.
 */
#ifndef JITNEY_BATCHER_WINDOW_H
#define JITNEY_BATCHER_WINDOW_H

#include <stdint.h>

#include "base/compiler.h"
#include "batcher/policy.h"
#include "batcher/costs.h"
#include "metrics/catalogue.h"

#define WINDOW_FAST_US UINT64_C(1000)   /* a provider that is faster is not worth waiting for company */
#define WINDOW_MARGIN_US UINT64_C(1000) /* a batch leaves this much before the estimate says it must */

/* What a lane has learned of its provider. Zeroed: nothing yet. */
struct window_costs {
	uint64_t exchange_us; /* smoothed time from sending to completion; 0: none has completed yet */
};

/* One exchange that went well took so long. Smoothed by 1/8, as TCP does its round trip (Jacobson 1988). */
void window_learn(struct window_costs *costs, uint64_t exchange_us);

/*
 * Who will soon be back, of the calls of a lane: those of the latest large batch. A small crowd waits for them if that
 * is paid for: every call sent puts by a little of the time that an exchange takes, so that on the whole no more than
 * that is lost, whoever comes or does not. Zeroed: nobody.
 */
struct window_company {
	size_t items;     /* how many there are */
	uint64_t back_us; /* when that batch completes, as far as is known; or has completed */
};
/* What has been put by for it; one for all lanes of a class. */
struct window_purse {
	double call_us; /* calls times the time that each may wait */
};

/* So many calls have left, in an exchange that should take so long; outstanding: all calls of the class. */
void window_sent(struct window_company *company, struct window_purse *purse, size_t items, uint64_t expected_us,
		 double outstanding, uint64_t now_us);
/* So many are back. */
void window_completed(struct window_company *company, size_t items, uint64_t now_us);
/* So many calls have waited for company from then on. */
void window_pay(struct window_purse *purse, size_t items, uint64_t since_us, uint64_t now_us);

/* What is worth doing at the present load. Zeroed: nothing is known, the rule is Nagle's alone. */
struct window_plan {
	size_t useful;      /* exchanges at once that are worth using; 0: unknown */
	size_t share;       /* calls of a batch when they are evenly used */
	uint64_t gather_us; /* longest wait for a share while a slot is free */
	bool singles;       /* arrays do not pay */
};

/* What an exchange costs, the calls waiting and travelling, the exchanges that may be under way. */
struct window_plan window_make_plan(const struct costs *costs, double outstanding, size_t slots);

/* What company costs a call is held to what that call takes, not to the slowest one of an exchange. */
void window_bound_gathering(struct window_plan *plan, const struct window_costs *answer);

/* A lane as the rule sees it. */
struct window_view {
	size_t items;       /* waiting */
	size_t bytes;       /* of arguments, waiting */
	uint64_t oldest_us; /* when the oldest of them was added */
	uint64_t urgent_us; /* the tightest of their urgent_us; CLOCK_NEVER: none is */
	size_t in_flight;   /* exchanges of this lane under way */
	bool completed;     /* one of them has ended since calls began to gather */
	struct window_costs costs;
	uint64_t gap_us;  /* from one call to the next, of late; 0: not known */
	uint64_t free_us; /* since when a slot is free */
	struct window_company company;
	struct window_purse purse;
	struct window_plan plan;
};

struct window_decision {
	bool leave;               /* a batch leaves now, if the upstream's cap on exchanges allows */
	enum flush_reason reason; /* why; if leave */
	bool held;                /* it would, but for the company that is about to come */
	uint64_t again_us;        /* look again then, unless there is news before; CLOCK_NEVER: only after news */
};

/* From one time to another; 0, not a wrap, if they come the wrong way round. */
static inline uint64_t window_elapsed_us(uint64_t from_us, uint64_t to_us)
{
	return to_us > from_us ? to_us - from_us : 0;
}

/* Whether each call travels by itself: batching is off, or no more than one fits. */
static inline bool window_single(const struct batch_policy *policy)
{
	return policy->mode == BATCH_OFF || policy->max_items == 1;
}

/* How many calls may share a request. */
static inline size_t window_most(const struct batch_policy *policy)
{
	return window_single(policy) ? 1 : policy->max_items;
}

/* policy->max_items must be capped by what the dialect can carry already. */
struct window_decision window_evaluate(const struct batch_policy *policy, const struct window_view *view,
				       uint64_t now_us);

#endif
