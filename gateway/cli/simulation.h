/*
 * simulation.h: one run of the real batcher over given arrivals, against a provider that is a formula, by a clock
 * turned by hand: a minute of traffic takes a moment. What `jitney simulate` is made of.
 */
#ifndef JITNEY_GATEWAY_CLI_SIMULATION_H
#define JITNEY_GATEWAY_CLI_SIMULATION_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "batcher/batcher.h"
/* When calls came in, microseconds from any zero, rising. */
struct arrivals {
	uint64_t *at_us;
	size_t count;
};

struct simulation {
	struct batch_policy policy;
	struct provider_model provider;
	uint64_t timeout_us;   /* of each call */
	size_t argument_bytes; /* of each call */
	size_t callers;        /* that take turns; >= 1 */
};

struct simulation_result {
	uint64_t answered, expired, refused; /* calls: by the provider; too late; at the cap of the queue */
	uint64_t requests;                   /* to the provider */
	uint64_t wait_p50_us, wait_p99_us;   /* in the lane, of those answered */
	uint64_t took_p50_us, took_p99_us;   /* from coming in to the answer, likewise */
	uint64_t span_us;                    /* from the first call to the last answer */
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
bool simulation_run(const struct simulation *simulation, const struct arrivals *arrivals,
		    struct simulation_result *result) MUST_CHECK;

#endif
