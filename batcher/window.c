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

struct window_verdict window_judge(const struct batch_policy *policy, const struct window_view *view, uint64_t now_us)
{
	struct window_verdict gather = { .leave = false, .again_us = CLOCK_NEVER };
	if (view->items == 0)
		return gather;
	if (window_single(policy))
		return leave(FLUSH_SINGLE);
	if (view->items >= policy->max_items)
		return leave(FLUSH_ITEMS);
	if (view->bytes >= policy->max_bytes)
		return leave(FLUSH_BYTES);
	if (policy->mode == BATCH_ADAPTIVE) {
		if (view->landed)
			return leave(FLUSH_LANDED);
		if (view->in_flight == 0)
			return leave(FLUSH_IDLE);
	}
	uint64_t window_ends_us = clock_add(view->oldest_us, policy->window_us);
	if (window_ends_us <= now_us)
		return leave(FLUSH_WINDOW);
	uint64_t leave_by = leave_by_us(view);
	if (leave_by <= now_us)
		return leave(FLUSH_DEADLINE);
	gather.again_us = leave_by < window_ends_us ? leave_by : window_ends_us;
	return gather;
}
