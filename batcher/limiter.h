/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limiter.h: how many exchanges at once. One per upstream, singles included. Arithmetic only, no clock.
 *
 * What it measures is the gradient: what an exchange of its size should take (costs.h), over what it took. Below 1, the
 * provider queued it; by Little's law, of those under way as it left, that part was worked on (TCP Vegas, Brakmo and
 * Peterson 1995; Netflix's and Envoy's limiters). The size is in the expectation, so that a growing batch does not look
 * like a queue. Exchanges are evaluated in rounds, of those only that left since the limit was last changed; where calls
 * that travel alone differ by themselves, of all that complete once the slow ones do, too (the fast ones are back first). A round
 * shows a queue if its mean gradient says so beyond its own noise, and more than half of it was late: a queue delays
 * everybody, bad luck some.
 *
 *     START   doubles with each round in which the limit was used up and nothing queued, until something does. Where exchanges take
 *             LIMITER_SLOW_US or more and are alike, it goes to four times as many, as soon as what it rose by has completed
 *     STEADY  waits; a round that shows a queue cuts the limit to what was worked on
 *     MORE    tries a little more for a round: kept if nothing queues, and then more is tried each time; else taken back
 *     FEWER   tries a little less: kept if exchanges become faster, since then they had been queued all along
 *     CUT     looks whether a cut has helped. If not, that was no queue: the provider has become slower. What exchanges
 *             should take is corrected, and the limit goes back up
 *
 * An exchange that is far past its expected time holds no slot, as long as most others complete in time: a few slow or lost
 * ones must not hold up everybody. If many become overdue of which nothing has been heard, the provider stands still or
 * has a queue: then all count, and one more is let out now and then to find out whether it still does. (One that has
 * answered some of its calls waits for a slow one.)
 *
 * A round that is twice as slow as the one before, at no higher limit, is not our doing; nor is one much faster: the
 * provider has changed. What was known of it is forgotten, and START begins anew. A provider that takes LIMITER_SLOW_US
 * for its first exchange is allowed as many at once as if calls travelled alone: waiting for its completions would be the
 * slowest part.
 *
 * So each state ends with its round, whatever the round shows, and from each the limit can rise and fall: MORE and
 * FEWER come again and again, at most LIMITER_REST_US apart, as long as the limit is what holds calls back.
 */
#ifndef JITNEY_BATCHER_LIMITER_H
#define JITNEY_BATCHER_LIMITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "batcher/policy.h"
#include "batcher/costs.h"
#include "metrics/catalogue.h" /* limiter_state, limiter_reason */

enum {
	LIMITER_MOST = CONCURRENCY_MOST,
	LIMITER_START_SINGLE = 64, /* where it starts for calls that travel alone; the provider may well want as many */
	LIMITER_START_BATCH = 10,  /* and where they share: what is held back gathers meanwhile */
	LIMITER_ROUND = 32         /* exchanges in a round at most */
};
#define LIMITER_SLOW_US (100 * CLOCK_US_PER_MS)
#define LIMITER_REST_US CLOCK_US_PER_S /* longest time between two tries */

/* One exchange that has ended: with an answer, or given up when it had taken longer than it should. */
struct limiter_sample {
	struct costs *costs; /* what its size should take, and who learns from it; outlives the limiter */
	size_t items;
	double took_us;
	double lag_us;    /* of that, what may have been our own doing: it had come and was not looked at */
	double under_way; /* exchanges as it left, itself included */
	uint64_t sent_us;
	bool held;     /* calls waited because of the limit while it was under way */
	bool overdue;  /* it was far past its time */
	bool given_up; /* nobody waited any longer: it would have taken longer still */
	bool learned;  /* the limiter's: its costs know of it already */
};

struct limiter {
	double limit; /* whole */
	double most;
	bool fixed; /* the configuration's number */
	enum limiter_state state;
	enum limiter_reason reason;
	double start;       /* where it starts */
	double let_out;     /* how many left at once as the limit became what it is */
	double clear_limit; /* the last one at which nothing queued */
	uint64_t bold_us; /* START: when it may go on as if calls travelled alone; 0: nothing sent; CLOCK_NEVER: not */
	uint64_t forgot_us;  /* when what was known of the provider was forgotten: what left before was another one's */
	uint64_t changed_us; /* when the limit was last changed: what left before tells nothing of it */
	uint64_t cut_us;     /* or cut: then changed_us is when the queue should be gone, which may be later */
	struct {
		double limit, gradient, luck, took_us, used;
		bool given_up;
		enum limiter_state state;
	} before;                         /* MORE, FEWER, CUT: the limit to go back to, and what a round showed at it */
	unsigned unsure;                  /* rounds in a row that showed neither a queue nor its absence */
	bool fewer_next;                  /* which of the two is tried next */
	unsigned risen;                   /* tries of MORE in a row that were kept */
	uint64_t rest_us;                 /* from one try to the next */
	uint64_t try_us;                  /* when to try */
	double untimely;                  /* part of exchanges of late that became overdue */
	uint64_t probe_us, probe_rest_us; /* too many: when the next one is let out; from one to the next */
	double tail_us;                   /* what the slowest of the last round took, if it was of calls that differ; else 0 */
	uint64_t turned;                  /* completed since the limit was changed, of those that left since */
	unsigned completed;               /* in the round */
	unsigned held;                    /* of those */
	unsigned seen;                    /* completions since it began */
	struct limiter_sample round[LIMITER_ROUND];
};

/* fixed: that many, for ever; 0: learned, from `start` on. */
void limiter_init(struct limiter *limiter, size_t fixed, size_t start);
/* Exchanges that may be under way. */
size_t limiter_limit(const struct limiter *limiter);
/* How many it may come to soon, for whoever reckons how fast a line moves: `most` until a queue has been seen. */
size_t limiter_reachable(const struct limiter *limiter);
/* How long an exchange of so many may take until it is far past its time; CLOCK_NEVER: nobody knows. */
uint64_t limiter_patience_us(const struct costs *costs, size_t items);
/* What is far more than so long. */
uint64_t limiter_far_beyond_us(double us);
/* When one more exchange may leave, with so many under way, `overdue` of them far past their time: 0 now, CLOCK_NEVER
 * only when one completes or becomes overdue. */
uint64_t limiter_free_us(const struct limiter *limiter, size_t under_way, size_t overdue, uint64_t now_us);
/* How many more may leave now: some, if that is 0. */
size_t limiter_free_count(const struct limiter *limiter, size_t under_way, size_t overdue, uint64_t now_us);
/* The same but for the round: for whoever only asks. */
void limiter_view(struct limiter *view, const struct limiter *limiter);
/* One has left; under_way without it. */
void limiter_sent(struct limiter *limiter, size_t under_way, size_t overdue, uint64_t now_us);
/* One has become so, and none of its calls is answered. */
void limiter_overdue(struct limiter *limiter);
/* Exchanges are of a smaller kind from now on, and the provider may well work on more of them: twice as many are tried next,
 * and with each try that is kept. */
void limiter_seek(struct limiter *limiter, uint64_t now_us);
/* An exchange has completed. Teaches its costs, too, when it is sure that nothing queued. */
void limiter_completed(struct limiter *limiter, const struct limiter_sample *sample, uint64_t now_us);

#endif
