/* window.c: the rule of window.h. */
#include "batcher/window.h"

enum { SMOOTHING = 8 };

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

/* The last moment at which the tightest deadline can still be met. */
static uint64_t leave_by_us(const struct window_view *view)
{
	if (view->urgent_us == CLOCK_NEVER)
		return CLOCK_NEVER;
	uint64_t needed_us = clock_add(view->costs.exchange_us, WINDOW_MARGIN_US);
	return view->urgent_us > needed_us ? view->urgent_us - needed_us : 0;
}

static struct window_verdict leave(enum flush_reason reason)
{
	return (struct window_verdict){ .leave = true, .reason = reason, .again_us = CLOCK_NEVER };
}

/* The provider works on all it can: what is sent now would wait there instead of here. */
static bool would_queue(const struct batch_policy *policy, const struct window_view *view)
{
	return policy->mode == BATCH_ADAPTIVE && view->plan.slots && view->in_flight > 0 &&
	       view->busy >= view->plan.slots;
}

/* A slot is free that is worth filling, with a fair share. */
static bool fills_slot(const struct window_view *view)
{
	return view->plan.useful > 0 && view->in_flight < view->plan.useful;
}

/* Until when it gathers if nothing else happens. */
static uint64_t window_end_us(const struct batch_policy *policy, const struct window_view *view)
{
	if (policy->mode != BATCH_ADAPTIVE)
		return clock_add(view->oldest_us, policy->window_us);
	if (would_queue(policy, view))
		return CLOCK_NEVER;
	const struct window_plan *plan = &view->plan;
	uint64_t since_us = view->oldest_us;
	uint64_t learned_us = plan->window_us ? plan->window_us : policy->window_us;
	if (fills_slot(view)) {
		since_us = view->freed_us > since_us ? view->freed_us : since_us;
		learned_us = plan->gather_us;
	}
	return clock_add(since_us, learned_us < policy->window_us ? learned_us : policy->window_us);
}

/* Whether the adaptive rule lets it go, full or not. */
static bool adaptive_leaves(const struct window_view *view, enum flush_reason *reason)
{
	bool fills = fills_slot(view);
	if (view->in_flight == 0 || (view->landed && !fills))
		*reason = view->landed ? FLUSH_LANDED : FLUSH_IDLE;
	else if (fills && view->items >= view->plan.share)
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
	if (!would_queue(policy, view)) {
		if (view->items >= policy->max_items)
			return leave(FLUSH_ITEMS);
		if (view->bytes >= policy->max_bytes)
			return leave(FLUSH_BYTES);
		if (policy->mode == BATCH_ADAPTIVE && adaptive_leaves(view, &reason))
			return leave(reason);
	}
	uint64_t window_ends_us = window_end_us(policy, view);
	if (window_ends_us <= now_us)
		return leave(FLUSH_WINDOW);
	uint64_t leave_by = leave_by_us(view);
	if (leave_by <= now_us)
		return leave(FLUSH_DEADLINE);
	gather.again_us = leave_by < window_ends_us ? leave_by : window_ends_us;
	return gather;
}
