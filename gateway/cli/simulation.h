/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simulation.h: one run of the real batcher under a load, against a provider that is a law (upstream/provider_model.h),
 * by a clock turned by hand: a minute of traffic takes a moment. What `jitney simulate` and `./dev bench --regret` are
 * made of.
 */
#ifndef JITNEY_GATEWAY_CLI_SIMULATION_H
#define JITNEY_GATEWAY_CLI_SIMULATION_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "batcher/batcher.h"
#include "gateway/cli/load_pattern.h"
#include "upstream/provider_model.h"

/* How things stand at one time. */
struct simulation_moment {
	uint64_t at_us;                  /* since the start */
	uint64_t came, answered, others; /* since the moment before: calls; OK; ended otherwise */
	uint64_t requests;               /* likewise, to the provider */
	uint64_t took_us;                /* mean of those answered since the moment before */
	int64_t waiting, under_way;      /* calls in the line; requests at the provider */
	int64_t concurrency, window_us;  /* as learned, of the class of latency that has most of it */
};

struct simulation {
	struct batch_policy policy;
	struct provider_model provider;
	struct load_pattern load;
	uint64_t timeout_us;          /* of each call */
	size_t argument_bytes;        /* of each call */
	uint64_t call_us, request_us; /* the gateway's own time for a call and for a request; 0: none */
	/* Which calls count: those that come once settle_us have passed since change_us, or so many calls have ended since
	 *
	 * then (0: no such count), whichever is first. */
	uint64_t change_us, settle_us;
	size_t settle_calls;
	size_t calls; /* so many of them that are not refused, then the load ends; 0: as long as it has any (LOAD_TIMES only) */
	/* Called every watch_us; NULL: nobody watches. */
	void (*watch)(void *context, const struct simulation_moment *moment);
	void *watch_context;
	uint64_t watch_us;
};

/* Of the calls that count, the flood's left out. */
struct simulation_result {
	uint64_t came, answered;
	uint64_t answered_meanwhile; /* while they came: they and those before them */
	uint64_t refused;            /* by the gateway, unsent: overloaded, or rate limited */
	uint64_t failed;             /* ended otherwise: too late, lost, refused by the provider */
	uint64_t outcomes[OUTCOME_COUNT];
	uint64_t all_calls, requests;      /* that came, whether or not they count; to the provider, for them */
	uint64_t wait_p50_us, wait_p99_us; /* in the lane, of those answered */
	uint64_t took_p50_us, took_p99_us; /* from coming in to the answer, likewise */
	uint64_t refused_p50_us;           /* from coming in to the refusal */
	uint64_t span_us;                  /* from the first of them to the last answer */
	uint64_t coming_us;                /* during which they came */
	uint64_t cycles_us; /* summed: from each one's coming in to its caller's next call in a closed loop */
	bool stuck;         /* calls were waiting, and nothing would ever have happened: a defect of the batcher */
};

/* Of the calls that were answered, how many needed no request of their own: 0..1. */
static inline double simulation_saved(const struct simulation_result *result)
{
	return result->answered > result->requests ? 1 - (double)result->requests / (double)result->answered : 0;
}
static inline double simulation_mean(const struct simulation_result *result)
{
	return result->requests ? (double)result->answered / (double)result->requests : 0;
}

/* Run it. Turns the process's clock by hand and gives the real one back; single-threaded. False: out of memory. */
bool simulation_run(const struct simulation *simulation, struct simulation_result *result) MUST_CHECK;

#endif
