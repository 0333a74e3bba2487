/* SPDX-License-Identifier: Apache-2.0 */
/* latencies.c: HdrHistogram's buckets (Tene). */
#include "gateway/cli/perf/latencies.h"

#include <math.h>

enum { EXACT_BITS = 11, HALF = LATENCIES_EXACT / 2 };

static unsigned count_bits(uint64_t value)
{
	return value ? 64 - (unsigned)__builtin_clzll(value) : 0;
}

static uint64_t find_bucket(uint64_t us)
{
	if (us < LATENCIES_EXACT)
		return us;
	unsigned shift = count_bits(us) - EXACT_BITS;
	return LATENCIES_EXACT + (shift - 1) * (uint64_t)HALF + ((us >> shift) - HALF);
}

static uint64_t largest_of(uint64_t bucket)
{
	if (bucket < LATENCIES_EXACT)
		return bucket;
	uint64_t shift = (bucket - LATENCIES_EXACT) / HALF + 1, place = (bucket - LATENCIES_EXACT) % HALF + HALF;
	return ((place + 1) << shift) - 1;
}

void latencies_add(struct latencies *latencies, uint64_t us)
{
	us = us > UINT32_MAX ? UINT32_MAX : us;
	latencies->buckets[find_bucket(us)]++;
	latencies->least_us = latencies->count && latencies->least_us < us ? latencies->least_us : us;
	latencies->most_us = latencies->most_us > us ? latencies->most_us : us;
	latencies->count++;
	latencies->sum_us += us;
}

uint64_t latencies_quantile(const struct latencies *latencies, double share)
{
	uint64_t wanted = (uint64_t)ceil(share * (double)latencies->count), seen = 0;
	wanted = wanted ? wanted : 1;
	for (uint64_t i = 0; latencies->count && i < LATENCIES_BUCKETS; i++) {
		seen += latencies->buckets[i];
		if (seen >= wanted)
			return largest_of(i) < latencies->most_us ? largest_of(i) : latencies->most_us;
	}
	return latencies->most_us;
}
