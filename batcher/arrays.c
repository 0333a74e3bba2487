/* SPDX-License-Identifier: Apache-2.0 */
/* arrays.c: the estimator of arrays.h. */
#include "batcher/arrays.h"

#include <string.h>

#include "base/clock.h"
#include "batcher/costs.h"

#define AS_COSTLY 0.95 /* of a single's cost: an array that saves less saves nothing */
#define CAP_GROWS (1.0 / 64)
enum {
	REFUSED_PROVES = 2,
	SOME = 4,      /* calls of an array whose cost tells */
	FAST_US = 1000 /* a provider that answers this soon: the time is mostly our own, and arrays save that */
};
#define BACKOFF_FIRST_US CLOCK_US_PER_S
#define BACKOFF_MOST_US (300 * CLOCK_US_PER_S)

void arrays_init(struct arrays *arrays)
{
	memset(arrays, 0, sizeof *arrays);
	arrays->backoff_us = BACKOFF_FIRST_US;
}

static void smooth_mean(double *mean, unsigned *known, double value)
{
	if (*known < COSTS_KNOWN)
		++*known;
	*mean += (value - *mean) / *known;
}

void arrays_shun(struct arrays *arrays, uint64_t now_us)
{
	arrays->singles_until_us = clock_add(now_us, arrays->backoff_us);
	arrays->backoff_us = arrays->backoff_us * 2 < BACKOFF_MOST_US ? arrays->backoff_us * 2 : BACKOFF_MOST_US;
	arrays->shares = 0; /* the next trial counts afresh */
	arrays->share_us = 0;
}

void arrays_refused(struct arrays *arrays, uint64_t now_us)
{
	if (++arrays->refused >= REFUSED_PROVES)
		arrays_shun(arrays, now_us);
}

bool arrays_shunned(const struct arrays *arrays, uint64_t now_us)
{
	return now_us < arrays->singles_until_us;
}

void arrays_learn(struct arrays *arrays, size_t items, uint64_t took_us, uint64_t now_us)
{
	if (items == 1)
		smooth_mean(&arrays->single_us, &arrays->singles, (double)took_us);
	else if (items >= SOME)
		smooth_mean(&arrays->share_us, &arrays->shares, (double)took_us / (double)items);
	if (items == 1 || arrays->singles < COSTS_KNOWN || arrays->shares < COSTS_KNOWN)
		return;
	if (arrays->single_us < FAST_US)
		return;
	if (arrays->share_us >= AS_COSTLY * arrays->single_us)
		arrays_shun(arrays, now_us);
	else
		arrays->backoff_us = BACKOFF_FIRST_US;
}

static double half_of(size_t count)
{
	return count > 1 ? (double)count / 2 : 1;
}

void arrays_too_large(struct arrays *arrays, size_t items, size_t bytes)
{
	arrays->cap_items = half_of(items);
	arrays->cap_bytes = half_of(bytes);
}

void arrays_passed(struct arrays *arrays, size_t items)
{
	if (items > 1)
		arrays->refused = 0;
	if (arrays->cap_items <= 0 || items < (size_t)arrays->cap_items / 2)
		return;
	arrays->cap_items *= 1 + CAP_GROWS;
	arrays->cap_bytes *= 1 + CAP_GROWS;
}

static size_t cap(double cap, size_t max)
{
	return cap > 0 && cap < (double)max ? (size_t)cap : max;
}

size_t arrays_cap_items(const struct arrays *arrays, size_t max)
{
	return cap(arrays->cap_items, max);
}

size_t arrays_cap_bytes(const struct arrays *arrays, size_t max)
{
	return cap(arrays->cap_bytes, max);
}
