/* SPDX-License-Identifier: Apache-2.0 */
/* window.c: the rule of window.h. */
#include "batcher/window.h"

#include "base/clock.h"

enum {
	SMOOTHING = 8,
	FIXED_PART = 2,   /* of an exchange's fixed cost, the calls' part: less is not worth another exchange */
	GATHER_PART = 12, /* of an exchange's fixed cost: more is too much to wait for company */
	PUT_BY_PART =
		25,    /* of an exchange's time, for each call that leaves: what may be lost by waiting for company */
	PURSE_PART = 2 /* of an exchange's time, for each call outstanding: no more is put by */
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

/* What it costs when so many calls gather for so long: they come one by one. */
static double wait_of(size_t items, uint64_t us)
{
	return (double)items * (double)us / 2;
}

void window_sent(struct window_company *company, struct window_purse *purse, size_t items, uint64_t expected_us,
		 double outstanding, uint64_t now_us)
{
	double most = outstanding * (double)expected_us / PURSE_PART;
	purse->call_us += (double)items * (double)expected_us / PUT_BY_PART;
	purse->call_us = purse->call_us < most ? purse->call_us : most;
	if (items >= company->items || company->back_us <= now_us)
		*company = (struct window_company){ items, clock_add(now_us, expected_us) };
}

void window_completed(struct window_company *company, size_t items, uint64_t now_us)
{
	if (items >= company->items || company->back_us <= now_us)
		*company = (struct window_company){ items, now_us };
}

void window_pay(struct window_purse *purse, size_t items, uint64_t since_us, uint64_t now_us)
{
	double paid = wait_of(items, window_elapsed_us(since_us, now_us));
	purse->call_us = purse->call_us > paid ? purse->call_us - paid : 0;
}

/* The last moment at which the tightest deadline can still be met. One that cannot be met by far hurries nobody. */
static uint64_t leave_by_us(const struct window_view *view, uint64_t now_us)
{
	if (view->urgent_us == CLOCK_NEVER || clock_add(now_us, view->costs.exchange_us / 2) > view->urgent_us)
		return CLOCK_NEVER;
	uint64_t needed_us = clock_add(view->costs.exchange_us, WINDOW_MARGIN_US);
	return view->urgent_us > needed_us ? view->urgent_us - needed_us : 0;
}

static struct window_decision leave_for(enum flush_reason reason)
{
	return (struct window_decision){ .leave = true, .reason = reason, .again_us = CLOCK_NEVER };
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

void window_bound_gathering(struct window_plan *plan, const struct window_costs *answer)
{
	uint64_t most_us = answer->exchange_us / GATHER_PART;
	if (answer->exchange_us && plan->gather_us > most_us)
		plan->gather_us = most_us;
}

/* Somebody is likely to come in that time. */
static bool company_comes(const struct window_view *view, uint64_t within_us)
{
	return view->gap_us > 0 && view->gap_us <= within_us;
}

static uint64_t gather_us(const struct batch_policy *policy, const struct window_view *view)
{
	return view->plan.gather_us < policy->window_us ? view->plan.gather_us : policy->window_us;
}

/* Until when it gathers if nothing else happens. */
static uint64_t window_end_us(const struct batch_policy *policy, const struct window_view *view)
{
	const struct window_plan *plan = &view->plan;
	if (policy->mode != BATCH_ADAPTIVE || plan->useful == 0)
		return clock_add(view->oldest_us, policy->window_us);
	uint64_t since_us = view->free_us > view->oldest_us ? view->free_us : view->oldest_us;
	uint64_t for_us = gather_us(policy, view);
	return company_comes(view, for_us) ? clock_add(since_us, for_us) : 0;
}

/* Whether the adaptive rule lets it go, full or not. */
static bool adaptive_leaves(const struct window_view *view, enum flush_reason *reason)
{
	bool fills = view->in_flight < view->plan.useful;
	if (view->in_flight == 0 || (view->completed && !fills))
		*reason = view->completed ? FLUSH_LANDED : FLUSH_IDLE;
	else if (view->plan.useful > 0 && view->items >= view->plan.share)
		*reason = FLUSH_SHARE;
	else
		return false;
	return true;
}

/* Whether a larger crowd, which one exchange could take as well, is on its way back. */
static bool has_company(const struct batch_policy *policy, const struct window_view *view, uint64_t now_us)
{
	const struct window_company *company = &view->company;
	return policy->mode == BATCH_ADAPTIVE && view->plan.useful == 1 && view->costs.exchange_us >= WINDOW_FAST_US &&
	       company->items >= view->items && view->items < view->plan.share &&
	       (view->in_flight > 0 || company->back_us <= now_us);
}

/* Until when company is worth waiting for: nobody waits longer for it than half of an exchange's time, and it is paid
 * for. 0: it is not. */
static uint64_t company_by_us(const struct batch_policy *policy, const struct window_view *view, uint64_t now_us)
{
	if (!has_company(policy, view, now_us))
		return 0;
	uint64_t by_us = clock_add(view->company.back_us, gather_us(policy, view));
	uint64_t longest_us = window_elapsed_us(view->oldest_us, by_us);
	bool soon = longest_us <= view->costs.exchange_us / 2 + gather_us(policy, view);
	return soon && wait_of(view->items, longest_us) <= view->purse.call_us ? by_us : 0;
}

/* Whether it leaves, whoever else may come. */
static struct window_decision evaluate_alone(const struct batch_policy *policy, const struct window_view *view,
					     uint64_t now_us)
{
	struct window_decision gather = { .leave = false, .again_us = CLOCK_NEVER };
	enum flush_reason reason;
	if (policy->mode == BATCH_ADAPTIVE && adaptive_leaves(view, &reason))
		return leave_for(reason);
	gather.again_us = window_end_us(policy, view);
	return gather.again_us <= now_us ? leave_for(FLUSH_WINDOW) : gather;
}

struct window_decision window_evaluate(const struct batch_policy *policy, const struct window_view *view,
				       uint64_t now_us)
{
	if (view->items == 0)
		return (struct window_decision){ .leave = false, .again_us = CLOCK_NEVER };
	if (window_single(policy) || view->plan.singles)
		return leave_for(FLUSH_SINGLE);
	if (view->items >= policy->max_items)
		return leave_for(FLUSH_ITEMS);
	if (view->bytes >= policy->max_bytes)
		return leave_for(FLUSH_BYTES);
	struct window_decision decision = evaluate_alone(policy, view, now_us);
	uint64_t company_us = company_by_us(policy, view, now_us), leave_by = leave_by_us(view, now_us);
	if (decision.leave && company_us > now_us)
		decision = (struct window_decision){ .held = true, .again_us = company_us };
	if (decision.leave)
		return decision;
	if (leave_by <= now_us)
		return leave_for(FLUSH_DEADLINE);
	decision.again_us = leave_by < decision.again_us ? leave_by : decision.again_us;
	return decision;
}
