/* SPDX-License-Identifier: Apache-2.0 */
/* window.c: the rule of window.h. */
#include "batcher/window.h"

#include "base/clock.h"

enum {
	SMOOTHING = 8,
	FIXED_PART = 2, /* of an exchange's fixed cost, the calls' part: less is not worth another exchange */
	GATHER_PART = 12 /* of an exchange's fixed cost: more is too much to wait for company */
};

static size_t round_up(double a)
{
	size_t whole = (size_t)a;
	whole += (double)whole < a;
	return whole ? whole : 1;
}

void window_learn(struct window_costs *costs, uint64_t exchange_us)
{
	uint64_t known = costs->exchange_us;
	if (known == 0)
		costs->exchange_us = exchange_us;
	else if (exchange_us >= known)
		costs->exchange_us = known + (exchange_us - known) / SMOOTHING;
	else
		costs->exchange_us = known - (known - exchange_us) / SMOOTHING;
	if (costs->exchange_us == 0)
		costs->exchange_us = 1; /* 0 would say that nothing is known */
}

/* The last moment at which the tightest deadline can still be met. One that cannot be met by far hurries nobody. */
static uint64_t leave_by_us(const struct window_view *view, uint64_t now_us)
{
	if (view->urgent_us == CLOCK_NEVER || clock_add(now_us, view->costs.exchange_us / 2) > view->urgent_us)
		return CLOCK_NEVER;
	uint64_t needed_us = clock_add(view->costs.exchange_us, WINDOW_MARGIN_US);
	return view->urgent_us > needed_us ? view->urgent_us - needed_us : 0;
}

static struct window_verdict leave(enum flush_reason reason)
{
	return (struct window_verdict){ .leave = true, .reason = reason, .again_us = CLOCK_NEVER };
}

/* Half as many exchanges more would shorten each by so little that they are not worth it: with `useful` of them, the
 * calls' part of an exchange is half of the fixed one. */
struct window_plan window_make_plan(const struct costs *costs, double outstanding, size_t slots)
{
	struct window_plan plan = { .useful = 1 };
	double fixed_us = costs->fixed_us > 1 ? costs->fixed_us : 1;
	double wanted = FIXED_PART * costs->item_us * outstanding / fixed_us;
	if (wanted > 1)
		plan.useful = wanted < (double)slots ? round_up(wanted) : slots;
	plan.share = round_up(outstanding / (double)plan.useful);
	plan.gather_us = (uint64_t)fixed_us / GATHER_PART;
	return plan;
}

/* Somebody is likely to come in that time. */
static bool company_comes(const struct window_view *view, uint64_t within_us)
{
	return view->gap_us > 0 && view->gap_us <= within_us;
}

/* Until when it gathers if nothing else happens. */
static uint64_t window_end_us(const struct batch_policy *policy, const struct window_view *view)
{
	const struct window_plan *plan = &view->plan;
	if (policy->mode != BATCH_ADAPTIVE || plan->useful == 0)
		return clock_add(view->oldest_us, policy->window_us);
	uint64_t since_us = view->free_us > view->oldest_us ? view->free_us : view->oldest_us;
	uint64_t gather_us = plan->gather_us < policy->window_us ? plan->gather_us : policy->window_us;
	return company_comes(view, gather_us) ? clock_add(since_us, gather_us) : 0;
}

/* Whether the adaptive rule lets it go, full or not. */
static bool adaptive_leaves(const struct window_view *view, enum flush_reason *reason)
{
	bool fills = view->in_flight < view->plan.useful;
	if (view->in_flight == 0 || (view->landed && !fills))
		*reason = view->landed ? FLUSH_LANDED : FLUSH_IDLE;
	else if (view->plan.useful > 0 && view->items >= view->plan.share)
		*reason = FLUSH_SHARE;
	else
		return false;
	return true;
}

struct window_verdict window_judge(const struct batch_policy *policy, const struct window_view *view, uint64_t now_us)
{
	struct window_verdict gather = { .leave = false, .again_us = CLOCK_NEVER };
	if (view->items == 0)
		return gather;
	if (window_single(policy) || view->plan.singles)
		return leave(FLUSH_SINGLE);
	enum flush_reason reason;
	if (view->items >= policy->max_items)
		return leave(FLUSH_ITEMS);
	if (view->bytes >= policy->max_bytes)
		return leave(FLUSH_BYTES);
	if (policy->mode == BATCH_ADAPTIVE && adaptive_leaves(view, &reason))
		return leave(reason);
	uint64_t window_ends_us = window_end_us(policy, view);
	if (window_ends_us <= now_us)
		return leave(FLUSH_WINDOW);
	uint64_t leave_by = leave_by_us(view, now_us);
	if (leave_by <= now_us)
		return leave(FLUSH_DEADLINE);
	gather.again_us = leave_by < window_ends_us ? leave_by : window_ends_us;
	return gather;
}
