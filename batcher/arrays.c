/* SPDX-License-Identifier: Apache-2.0 */
/* arrays.c: the estimator of arrays.h. */
#include "batcher/arrays.h"

#include <string.h>

#include "base/clock.h"
#include "batcher/costs.h"

#define AS_COSTLY 0.95 /* of a single's cost: an array that saves less saves nothing */
#define MANY_TIMES 4.0 /* likewise */
#define SAVES 0.75     /* likewise, of an array that is tried again: calls alone may have queued a little */
#define CAP_GROWS (1.0 / 64)
enum {
	REFUSED_PROVES = 2,
	SOME = 4,          /* calls of an array whose cost tells */
	TRIAL_FIRST = 8,   /* calls of an array that is tried again */
	TRIAL_LAST = 128,  /* from which on it is a trial no more */
	TRIAL_PASSES = 16, /* before the next size: so many arrays, or fewer that are about as long as they may be */
	TRIAL_LONG = 4,    /* for so many counts one of those */
	ALONE_SMOOTHING = 8,
	COMPANY_SMOOTHING = 4,
	CALM = 256,    /* calls alone, none of them slow, before arrays that waited for slow ones are tried again */
	FAST_US = 1000 /* a provider that answers this soon: the time is mostly our own, and arrays save that */
};
#define LONG_US                                                                                                        \
	(100 * CLOCK_US_PER_MS) /* an array takes so long: that calls go alone once costs less than not to know */
#define REVIEW_US (20 * CLOCK_US_PER_MS)
#define BACKOFF_FIRST_US CLOCK_US_PER_S
#define BACKOFF_MOST_US (300 * CLOCK_US_PER_S)

void arrays_init(struct arrays *arrays)
{
	memset(arrays, 0, sizeof *arrays);
	arrays->backoff_us = arrays->explore_rest_us = BACKOFF_FIRST_US;
}

void arrays_forget(struct arrays *arrays)
{
	uint64_t alone_sent = arrays->alone_sent, alone_done = arrays->alone_done;
	arrays_init(arrays);
	arrays->alone_sent = alone_sent; /* those under way keep their numbers */
	arrays->alone_done = alone_done;
}

void arrays_inherit(struct arrays *arrays, const struct arrays *from, bool shared)
{
	bool known = arrays->alone_sent || arrays->company_us > 0 || arrays->singles_until_us;
	if (shared && known)
		return;
	*arrays = *from;
	arrays->trial_out = false;
}

static void smooth_mean(double *mean, unsigned *known, double value)
{
	if (*known < COSTS_KNOWN)
		++*known;
	*mean += (value - *mean) / *known;
}

static void begin_trial(struct arrays *arrays, uint64_t now_us)
{
	if (arrays->trial == 0)
		arrays->off_us = now_us;
	arrays->trial = TRIAL_FIRST;
	arrays->trial_passed = 0;
	arrays->company_us = 0;
}

void arrays_shun(struct arrays *arrays, uint64_t now_us)
{
	arrays->singles_until_us = clock_add(now_us, arrays->backoff_us);
	arrays->backoff_us = arrays->backoff_us * 2 < BACKOFF_MOST_US ? arrays->backoff_us * 2 : BACKOFF_MOST_US;
	begin_trial(arrays, now_us);
	arrays->explores_until_us = arrays->ahead_until_us = arrays->company_off_us = 0;
	arrays->explore_rest_us = BACKOFF_FIRST_US;
	arrays->shares = 0; /* the next trial counts afresh */
	arrays->share_us = 0;
}

/* Whether of the latest calls alone some were far past their time. */
static bool is_calm(const struct arrays *arrays)
{
	return arrays->slow_number == 0 || arrays->alone_sent - arrays->slow_number >= CALM;
}

/* Calls in an array wait for its slowest one. As long as calls alone show why, that is reason enough not to try again, and
 * when they do no more, it need not last. */
static void shun_company(struct arrays *arrays, uint64_t now_us)
{
	uint64_t backoff_us = arrays->backoff_us;
	arrays_shun(arrays, now_us);
	arrays->company_off_us = now_us;
	if (!is_calm(arrays))
		arrays->backoff_us = backoff_us;
}

uint64_t arrays_sent_alone(struct arrays *arrays)
{
	return ++arrays->alone_sent;
}

bool arrays_slow_alone(struct arrays *arrays, uint64_t number)
{
	if (number + COSTS_KNOWN >= arrays->alone_done || number > arrays->alone_sent)
		return false;
	if (arrays->slow_number < number)
		arrays->slow_number = number;
	return true;
}

bool arrays_wants_review(const struct arrays *arrays, uint64_t now_us)
{
	return arrays->company_off_us && now_us >= arrays->singles_until_us &&
	       now_us < clock_add(arrays->company_off_us, BACKOFF_MOST_US);
}

void arrays_review(struct arrays *arrays, bool paced, uint64_t now_us)
{
	if (!paced && !is_calm(arrays))
		arrays->singles_until_us = clock_add(now_us, REVIEW_US);
	else
		arrays->company_off_us = 0;
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

bool arrays_outpace(const struct arrays *arrays, double step_us, uint64_t now_us)
{
	return !is_off(arrays, now_us) && arrays->company_us > 0 && arrays->company_us < step_us;
}

bool arrays_explore(const struct arrays *arrays, uint64_t now_us)
{
	return now_us < arrays->explores_until_us;
}

/* --- company --- */

uint64_t arrays_sent(struct arrays *arrays)
{
	arrays->trial_out = true;
	return arrays->alone_sent;
}

void arrays_ended(struct arrays *arrays)
{
	arrays->trial_out = false;
}

/* Calls that leave from now on meet no array at the provider: what they take tells. */
static void begin_measuring(struct arrays *arrays, uint64_t now_us)
{
	arrays->ahead_until_us = 0;
	arrays->measures_us = now_us;
	arrays->explores_until_us = clock_add(now_us, arrays->explore_for_us);
}

/* Arrays that are there should be gone by then. */
static void await_arrays(struct arrays *arrays, uint64_t until_us)
{
	arrays->ahead_until_us = until_us;
	arrays->explores_until_us = clock_add(until_us, arrays->explore_for_us);
}

/* Whether calls go alone, and what was sent before may still hold them up. */
static bool is_held_up(const struct arrays *arrays, uint64_t now_us)
{
	return arrays->ahead_until_us && arrays_explore(arrays, now_us);
}

void arrays_made_way(struct arrays *arrays, uint64_t sent_us, size_t left, uint64_t now_us)
{
	if (!is_held_up(arrays, now_us))
		return;
	uint64_t as_long_us = clock_add(now_us, now_us - sent_us); /* the others may take as long as this one */
	if (sent_us < arrays->measures_us && arrays->ahead_until_us < as_long_us)
		await_arrays(arrays, as_long_us);
	if (left == 0)
		begin_measuring(arrays, now_us);
}

/* Whether a call seems to hold a slot for less time alone. */
static bool seems_costly(const struct arrays *arrays)
{
	return arrays->alone > 0 && arrays->alone_us >= FAST_US &&
	       arrays->company_us >= (arrays->trial ? SAVES : AS_COSTLY) * arrays->alone_us;
}

/* Whether it does. */
static bool costs_more(const struct arrays *arrays)
{
	return arrays->alone == COSTS_KNOWN && seems_costly(arrays);
}

void arrays_alone(struct arrays *arrays, uint64_t number, uint64_t sent_us, double held_us, uint64_t now_us)
{
	if (arrays->alone_done < number)
		arrays->alone_done = number;
	if (is_held_up(arrays, now_us) && now_us >= arrays->ahead_until_us)
		begin_measuring(arrays, now_us);
	if (is_held_up(arrays, now_us) || (arrays_explore(arrays, now_us) && sent_us < arrays->measures_us))
		return;
	if (arrays->alone < COSTS_KNOWN)
		arrays->alone_us += (held_us - arrays->alone_us) / ++arrays->alone;
	else
		arrays->alone_us += (held_us - arrays->alone_us) / ALONE_SMOOTHING;
	if (now_us < arrays->explores_until_us &&
	    arrays->alone == 1) /* what had been under way held up the first one */
		arrays->explores_until_us = clock_add(now_us, arrays->explore_for_us);
	if (now_us >= arrays->explores_until_us || arrays->alone < COSTS_KNOWN)
		return;
	arrays->explores_until_us = 0;
	if (!costs_more(arrays))
		return;
	if (arrays->suspected)
		begin_trial(arrays, now_us);
	else
		shun_company(arrays, now_us);
}

static void pass_trial(struct arrays *arrays, size_t items)
{
	if (arrays->trial == 0)
		return;
	arrays->trial_passed += items * 2 < arrays->trial ? 1 : TRIAL_LONG;
	if (arrays->trial_passed < TRIAL_PASSES)
		return;
	arrays->trial_passed = 0;
	arrays->doubted = false;
	arrays->trial *= 2;
	if (arrays->trial < TRIAL_LAST)
		return;
	arrays->trial = 0;
	arrays->backoff_us = BACKOFF_FIRST_US;
}

/* Something is odd. What queues behind arrays takes as long as they do, whatever it would take by itself: where they only
 * seem not to pay, those that are there are waited for. Where one is far too late it may be the slowest call in it. */
static void explore_again(struct arrays *arrays, const struct arrays_company *company, uint64_t now_us)
{
	arrays->explore_for_us = company->explore_us;
	begin_measuring(arrays, now_us);
	if (seems_costly(arrays) && !company->late)
		await_arrays(arrays, company->others_us > now_us ? company->others_us : now_us);
	else
		arrays->measures_us = 0;
	arrays->suspected = arrays->alone == COSTS_KNOWN;
	arrays->alone = 0;
	arrays->explore_us = clock_add(now_us, arrays->explore_rest_us);
	if (arrays->explore_rest_us < BACKOFF_MOST_US)
		arrays->explore_rest_us *= 2;
}

/* An array that took many times too long while nobody overtook it may have met a provider that stood still: it is tried
 * once more. */
static void end_trial(struct arrays *arrays, bool overtaken, uint64_t now_us)
{
	bool blocked = !overtaken && !arrays->doubted && arrays->company_us > MANY_TIMES * arrays->alone_us;
	if (blocked)
		begin_trial(arrays, now_us);
	else
		shun_company(arrays, now_us);
	arrays->doubted = blocked;
}

void arrays_company(struct arrays *arrays, const struct arrays_company *company, uint64_t now_us)
{
	bool overtaken = arrays->alone_done >= company->sent_number + COSTS_KNOWN;
	double share_us = company->held_us / (double)company->items;
	if (company->items < SOME)
		return;
	arrays->company_us += (share_us - arrays->company_us) / (arrays->company_us > 0 ? COMPANY_SMOOTHING : 1);
	if (is_off(arrays, now_us))
		return;
	bool nobody_alone = arrays->alone_sent == company->sent_number && arrays->alone < COSTS_KNOWN;
	bool unknown = nobody_alone && company->unmeasured && company->at_end && company->held_us >= (double)LONG_US;
	bool doubtful = nobody_alone && seems_costly(arrays);
	bool odd = company->late || unknown || doubtful || costs_more(arrays);
	if ((overtaken || arrays->trial) && costs_more(arrays))
		end_trial(arrays, overtaken, now_us);
	else if (!overtaken && odd && now_us >= arrays->explore_us)
		explore_again(arrays, company, now_us);
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
