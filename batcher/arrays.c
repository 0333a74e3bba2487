/* SPDX-License-Identifier: Apache-2.0 */
/* arrays.c: the estimator of arrays.h. */
#include "batcher/arrays.h"

#include <string.h>

#include "base/clock.h"
#include "batcher/costs.h"

#define AS_COSTLY 0.95 /* of a single's cost: an array that saves less saves nothing */
#define SAVES 0.75     /* likewise, of an array that is tried again: calls alone may have queued a little */
#define CAP_GROWS (1.0 / 64)
enum {
	REFUSED_PROVES = 2,
	SOME = 4,         /* calls of an array whose cost tells */
	TRIAL_FIRST = 8,  /* calls of an array that is tried again */
	TRIAL_LAST = 128, /* from which on it is a trial no more */
	TRIAL_PASSES = 4, /* arrays of a size, before the next size */
	ALONE_SMOOTHING = 8,
	COMPANY_SMOOTHING = 4,
	FAST_US = 1000 /* a provider that answers this soon: the time is mostly our own, and arrays save that */
};
#define BACKOFF_FIRST_US CLOCK_US_PER_S
#define BACKOFF_MOST_US (300 * CLOCK_US_PER_S)

void arrays_init(struct arrays *arrays)
{
	memset(arrays, 0, sizeof *arrays);
	arrays->backoff_us = arrays->explore_rest_us = BACKOFF_FIRST_US;
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
	arrays->trial = TRIAL_FIRST;
	arrays->trial_passed = 0;
	arrays->explores_until_us = 0;
	arrays->company_us = 0;
	arrays->shares = 0; /* the next trial counts afresh */
	arrays->share_us = 0;
}

void arrays_refused(struct arrays *arrays, uint64_t now_us)
{
	if (++arrays->refused >= REFUSED_PROVES)
		arrays_shun(arrays, now_us);
}

static bool is_off(const struct arrays *arrays, uint64_t now_us)
{
	return now_us < arrays->singles_until_us || now_us < arrays->explores_until_us;
}

bool arrays_shunned(const struct arrays *arrays, uint64_t now_us)
{
	return is_off(arrays, now_us) || (arrays->trial && arrays->trial_out);
}

/* --- company --- */

uint64_t arrays_sent(struct arrays *arrays)
{
	arrays->trial_out = true;
	return arrays->alone_count;
}

void arrays_ended(struct arrays *arrays)
{
	arrays->trial_out = false;
}

/* Whether a call holds a slot for less time alone. */
static bool costs_more(const struct arrays *arrays)
{
	return arrays->alone == COSTS_KNOWN && arrays->alone_us >= FAST_US &&
	       arrays->company_us >= (arrays->trial ? SAVES : AS_COSTLY) * arrays->alone_us;
}

void arrays_alone(struct arrays *arrays, double held_us, uint64_t now_us)
{
	arrays->alone_count++;
	if (arrays->alone < COSTS_KNOWN)
		arrays->alone_us += (held_us - arrays->alone_us) / ++arrays->alone;
	else
		arrays->alone_us += (held_us - arrays->alone_us) / ALONE_SMOOTHING;
	if (now_us >= arrays->explores_until_us || arrays->alone < COSTS_KNOWN)
		return;
	arrays->explores_until_us = 0;
	if (costs_more(arrays))
		arrays_shun(arrays, now_us);
}

static void pass_trial(struct arrays *arrays, size_t items)
{
	if (arrays->trial == 0 || items * 2 < arrays->trial || ++arrays->trial_passed < TRIAL_PASSES)
		return;
	arrays->trial_passed = 0;
	arrays->trial *= 2;
	if (arrays->trial < TRIAL_LAST)
		return;
	arrays->trial = 0;
	arrays->backoff_us = BACKOFF_FIRST_US;
}

/* Nobody has gone alone, and something is odd. */
static void explore_again(struct arrays *arrays, uint64_t for_us, uint64_t now_us)
{
	arrays->explores_until_us = clock_add(now_us, for_us);
	arrays->alone = 0;
	arrays->explore_us = clock_add(now_us, arrays->explore_rest_us);
	if (arrays->explore_rest_us < BACKOFF_MOST_US)
		arrays->explore_rest_us *= 2;
}

void arrays_company(struct arrays *arrays, const struct arrays_company *company, uint64_t now_us)
{
	bool overtaken = arrays->alone_count - company->sent_count >= COSTS_KNOWN;
	double share_us = company->held_us / (double)company->items;
	if (company->items < SOME)
		return;
	arrays->company_us += (share_us - arrays->company_us) / (arrays->company_us > 0 ? COMPANY_SMOOTHING : 1);
	if (is_off(arrays, now_us))
		return;
	if ((overtaken || arrays->trial) && costs_more(arrays))
		arrays_shun(arrays, now_us);
	else if (!overtaken && company->late && now_us >= arrays->explore_us)
		explore_again(arrays, company->alone_us, now_us);
	else
		pass_trial(arrays, company->items);
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
	else if (!arrays->trial)
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

static size_t cap_at(double cap, size_t max)
{
	return cap > 0 && cap < (double)max ? (size_t)cap : max;
}

size_t arrays_cap_items(const struct arrays *arrays, size_t max)
{
	size_t most = arrays->trial && arrays->trial < max ? arrays->trial : max;
	return cap_at(arrays->cap_items, most);
}

size_t arrays_cap_bytes(const struct arrays *arrays, size_t max)
{
	return cap_at(arrays->cap_bytes, max);
}
