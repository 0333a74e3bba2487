/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider_model.h: a provider that is a law: how long a request takes, how many are worked on at once, when it
 * refuses, breaks off or stands still. provider_simulated.c plays it by the loop's clock, and no byte is sent:
 * for `jitney simulate`, `./dev bench --regret` and the tests of the batcher.
 */
#ifndef JITNEY_UPSTREAM_PROVIDER_MODEL_H
#define JITNEY_UPSTREAM_PROVIDER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a call takes by itself, beside the parts that every call of a request has. */
enum latency_shape {
	LATENCY_NONE,
	LATENCY_BIMODAL,    /* `share` of the calls take `high_us`, the others `low_us` */
	LATENCY_LOG_NORMAL, /* the median is `low_us`, the logarithm's deviation `sigma` */
	LATENCY_LOG_UNIFORM /* from `low_us` to `high_us`, each factor as likely as the next */
};

/* Which of these count is said at the shape. */
struct latency {
	enum latency_shape shape;
	double low_us, high_us; /* microseconds */
	double share, sigma;    /* from 0 to 1; of the natural logarithm */
};

#define PROVIDER_HOLE_US 2000000 /* the default of pool.connect_timeout */

/* How it is during an episode. */
enum provider_state {
	PROVIDER_UP,
	PROVIDER_FROZEN, /* takes requests, and does nothing about them until the episode has ended */
	PROVIDER_DOWN,   /* refuses to connect; what was under way as it began is broken off */
	PROVIDER_HOLE,   /* the same, but nobody says no: connecting takes PROVIDER_HOLE_US and fails */
	PROVIDER_BREAKS  /* takes each request and hangs up without an answer */
};

/* All zero but `fixed_us`: every request takes that, however many come. Constant, borrowed, outlives the upstream. */
struct provider_model {
	uint64_t fixed_us; /* of one request, however many calls it carries */
	double item_us;    /* of each call in it, on top */
	double square_us;  /* times the square of the calls in it: arrays that cost more than their calls */
	size_t slots; /* requests it works on at once; more wait their turn, first come first served. 0: any number */
	size_t knee;  /* more than this at once slow each other down, by (n / knee) ^ 1.5. 0: never */

	struct latency call; /* each call's own */
	bool in_turn;        /* the calls of a request are worked on one after the other: their own times add up */
	bool streamed;       /* each answer is sent when it is done; false: all when the last one is */

	const double *factors; /* a request takes one of these, drawn at random, times as long. NULL: just as long */
	size_t factor_count;

	double rate_per_s;      /* requests it lets in; the others are refused with 429. 0: any number */
	double rate_burst;      /* so many at once */
	uint32_t retry_after_s; /* said with a 429; 0: nothing is */
	double failing;         /* share of the requests that are answered with 500 as a whole */

	enum provider_state state;
	uint64_t lasts_us; /* this episode, then comes the next one; 0: for good */
	const struct provider_model *then;
	const struct provider_model
		*beside; /* the provider's next endpoint, with episodes of its own; the first episode's
					      * counts. NULL: there is none */
	uint64_t seed;   /* of the draws; the first one's counts */
};

#endif
