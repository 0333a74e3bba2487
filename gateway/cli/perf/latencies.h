/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latencies.h: how long calls took, counted in buckets as HdrHistogram does: each is at most a thousandth as wide as its values
 * are large, from a microsecond to over an hour, in 190 KB however many calls there are.
 */
#ifndef JITNEY_GATEWAY_CLI_PERF_LATENCIES_H
#define JITNEY_GATEWAY_CLI_PERF_LATENCIES_H

#include <stdint.h>

/* Values below 2048 have a bucket each; of each power of two above, 1024 are alike. */
enum { LATENCIES_EXACT = 2048, LATENCIES_BUCKETS = LATENCIES_EXACT + 21 * 1024 };

/* Zero-initialise. One thread. */
struct latencies {
	uint64_t count, sum_us, least_us, most_us;
	uint64_t buckets[LATENCIES_BUCKETS];
};

/* Values beyond 2^32 - 1 count as that. */
void latencies_add(struct latencies *latencies, uint64_t us);
/* The largest value of the bucket in which `share` (0 to 1) of all are reached, never above most_us; 0: there are none. */
uint64_t latencies_quantile(const struct latencies *latencies, double share);

#endif
