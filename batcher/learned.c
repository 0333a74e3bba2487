/* SPDX-License-Identifier: Apache-2.0 */
/* learned.c: what has been learned, as the rule of window.h wants it; and shown. */
#include "batcher/batcher_private.h"

#define AT_END 0.95 /* of an exchange's time, after which its calls were answered in the mean: all when it was over */
#define OTHER 1.5   /* times the cost: it is another provider that learned rates are of */

/* Time between requests to which the provider, or its refusals, holds us; 0: none. */
static double step_us(const struct batcher *batcher)
{
	const struct rate *rate = &batcher->policy.requests;
	double learned_us = batcher->rates->learned_rate.step_us;
	double told_us = rate->amount ? (double)rate->period_us / (double)rate->amount : 0;
	return learned_us > told_us ? learned_us : told_us;
}

bool learned_singles(const struct batcher *batcher, const struct lane_class *class, uint64_t now_us)
{
	return arrays_shunned(&class->arrays, now_us) && !arrays_outpace(&class->arrays, step_us(batcher), now_us);
}

struct window_plan learned_plan(const struct batcher *batcher, const struct lane_class *class, uint64_t now_us)
{
	struct window_plan plan = { .useful = 0 };
	bool scarce = step_us(batcher) > 0; /* requests are: none leaves with a share only */
	if (batcher->policy.mode == BATCH_ADAPTIVE && costs_known(&class->costs) && !scarce)
		plan = window_make_plan(&class->costs, class->load, limiter_limit(&batcher->limiter));
	window_bound_gathering(&plan, &class->answer);
	plan.singles = learned_singles(batcher, class, now_us);
	return plan;
}

struct window_view learned_view(struct batcher *batcher, const struct lane *lane, uint64_t now_us)
{
	const struct lane_class *class = waiting_class(batcher, lane);
	struct window_view view = lane_view(lane);
	view.costs = class->exchange;
	view.purse = class->purse;
	view.free_us = batcher->free_us;
	view.plan = learned_plan(batcher, class, now_us);
	return view;
}

struct batch_policy learned_policy(const struct batcher *batcher, const struct lane_class *class)
{
	struct batch_policy policy = batcher->policy;
	policy.max_items = arrays_cap_items(&class->arrays, policy.max_items);
	policy.max_bytes = arrays_cap_bytes(&class->arrays, policy.max_bytes);
	return policy;
}

void learned_show_flow(struct batcher *batcher)
{
	struct meter *meter = batcher->meter;
	const struct limiter *limiter = &batcher->limiter;
	double left = retry_budget_left(upstream_retry_budget(batcher->upstream));
	if (batcher->silent)
		return;
	meter_set(meter, METRIC_ID_CONCURRENCY_LIMIT, batcher->label, 0, (int64_t)limiter_limit(limiter));
	meter_set(meter, METRIC_ID_LIMITER_STATE, batcher->label, batcher->state_shown, 0);
	meter_set(meter, METRIC_ID_LIMITER_REASON, batcher->label, batcher->reason_shown, 0);
	batcher->state_shown = limiter->state;
	batcher->reason_shown = limiter->reason;
	meter_set(meter, METRIC_ID_LIMITER_STATE, batcher->label, limiter->state, 1);
	meter_set(meter, METRIC_ID_LIMITER_REASON, batcher->label, limiter->reason, 1);
	meter_set(meter, METRIC_ID_RETRY_BUDGET, batcher->label, 0, (int64_t)(left * 1e6));
}

void learned_show(struct batcher *batcher, const struct lane *lane, uint64_t now_us)
{
	struct meter *meter = batcher->meter;
	const struct lane_class *class = waiting_class(batcher, lane);
	struct window_plan plan = learned_plan(batcher, class, now_us);
	uint64_t window_us =
		plan.useful && plan.gather_us < batcher->policy.window_us ? plan.gather_us : batcher->policy.window_us;
	bool singles = plan.singles || window_single(&batcher->policy);
	if (batcher->silent)
		return;
	meter_set(meter, METRIC_ID_BATCH_WINDOW, batcher->label, lane->class, singles ? 0 : (int64_t)window_us);
	meter_set(meter, METRIC_ID_BATCH_EXCHANGE_COST, batcher->label, lane->class, (int64_t) class->costs.fixed_us);
	meter_set(meter, METRIC_ID_BATCH_ITEM_COST, batcher->label, lane->class, (int64_t) class->costs.item_us);
	learned_show_flow(batcher);
}

void learned_load(struct lane_class *class, bool completed)
{
	double now = (double)class->outstanding;
	if (now > class->load)
		class->load = now;
	else if (completed)
		class->load -= (class->load - now) / 16;
}

/* What one call by itself would have taken, of a batch that took so long. */
static double alone_us(const struct batcher *batcher, const struct lane_class *class, const struct batch *batch,
		       uint64_t took_us)
{
	double us = (double)took_us, limit = (double)limiter_limit(&batcher->limiter);
	if (!costs_known(&class->costs))
		return us;
	us *= costs_expected_us(&class->costs, 1) / costs_expected_us(&class->costs, batch->count);
	return (double)batch->under_way > limit ? us * limit / (double)batch->under_way : us;
}

/* What was learned of a tool is shown. If it has left its class, nobody is known to be in there any more: a tool that
 * wanders must not have slots kept for where it was. Whoever else is in there says so with the next call. */
static void note_latency(struct batcher *batcher, const struct learned_tool *tool, unsigned class_before)
{
	struct lane_class *class = &batcher->classes[tool->latency.class], *before = &batcher->classes[class_before];
	if (class != before) {
		before->used_us = 0;
		arrays_inherit(&class->arrays, &before->arrays, class->used_us > 0);
	}
	if (!batcher->silent)
		meter_set(batcher->meter, METRIC_ID_TOOL_ALONE, tool->number, 0, (int64_t)tool->latency.alone_us);
}

void learned_answer(struct batcher *batcher, const struct batch *batch, const struct batch_item *item, uint64_t now_us)
{
	if (batch->learned || !item->learned)
		return; /* its completion will tell */
	uint64_t took_us = window_elapsed_us(batch->sent_us, now_us);
	unsigned class_before = item->learned->latency.class;
	tool_latency_shared(&item->learned->latency,
			    alone_us(batcher, waiting_class(batcher, batch->lane), batch, took_us));
	note_latency(batcher, item->learned, class_before);
}

/* Of which class it tells; NULL: of none yet, its tools are still being told apart. */
static struct lane_class *find_class(struct batcher *batcher, const struct batch *batch, double alone)
{
	const struct tool_latency *latency = batch->learned ? &batch->learned->latency : NULL;
	if (latency)
		return latency->measured_alone ? NULL : &batcher->classes[latency->class];
	return latency_class_beyond(batch->lane->class, alone) ? NULL : waiting_class(batcher, batch->lane);
}

/* By whose costs this exchange is to be evaluated: a tool's own, if one of its calls travelled alone. */
static struct costs *costs_of(struct lane_class *class, const struct batch *batch)
{
	return batch->count == 1 && batch->learned ? &batch->learned->costs : &class->costs;
}

const struct costs *learned_costs(struct lane_class *class, const struct batch *batch)
{
	const struct costs *own = costs_of(class, batch);
	return costs_known(own) ? own : &class->costs;
}

void learned_refused(struct batcher *batcher, const struct batch *batch, uint64_t now_us)
{
	struct provider_rates *rates = batcher->rates;
	learned_rate_refused(&rates->learned_rate, batch->asked_us, batch->sent_us, now_us);
	rates->refused_class = batch->lane->class;
	rates->refused_cost_us = costs_expected_us(&batcher->classes[batch->lane->class].costs, 1);
}

/* Whether an exchange is so much faster or slower than it was when the provider last said: too many, that it is another
 * one. */
static bool is_other_provider(const struct batcher *batcher, const struct lane_class *class)
{
	double then_us = batcher->rates->refused_cost_us, us = costs_expected_us(&class->costs, 1);
	bool same_class = class == &batcher->classes[batcher->rates->refused_class];
	return same_class && then_us > 0 && (us > OTHER * then_us || then_us > OTHER * us);
}

static void forget_rate(struct batcher *batcher)
{
	learned_rate_forget(&batcher->rates->learned_rate);
	batcher->rates->refused_cost_us = 0;
}

/* True: what was known of the provider has been forgotten. Of several owners all learn as one, by what calls of a tool
 * take; a call of none that is known teaches nothing. */
static bool teach_limiter(struct batcher *batcher, const struct batch *batch, struct limiter_sample *sample,
			  uint64_t now_us)
{
	struct learned_tool *tool = batch->learned;
	if (!waiting_has_others(batcher)) {
		limiter_completed(&batcher->limiter, sample, now_us);
		return batcher->limiter.forgot_us == now_us;
	}
	return tool && tool->common && common_completed(&batcher->common, tool->common, sample, &tool->costs, now_us);
}

/* It is another one, by whichever of its calls this was seen. What a class costs follows the next eight by itself (costs.h); what calls
 * of a tool cost alone is held to be so until a round shows more. */
static void forget_provider(struct batcher *batcher, struct lane_class *class)
{
	arrays_forget(&class->arrays);
	for (struct learned_tool *tool = batcher->tool_list; tool; tool = tool->next)
		costs_forget(&tool->costs);
}

static void learn_limit(struct batcher *batcher, struct lane_class *class, const struct batch *batch, bool given_up,
			uint64_t now_us)
{
	bool held = !given_up && batch->answered > 0 && batch->answered == batch->count; /* by what was still out */
	uint64_t took_us = held ? batch->answers_us / batch->answered : window_elapsed_us(batch->sent_us, now_us);
	uint64_t held_us = waiting_has_others(batcher) ? common_held_us(&batcher->common) : batcher->held_us;
	struct limiter_sample sample = {
		.costs = costs_of(class, batch),
		.items = batch->count,
		.took_us = took_us ? (double)took_us : 1,
		.lag_us = (double)loop_lag(batcher->loop),
		.under_way = (double)batch->under_way,
		.sent_us = batch->sent_us,
		.held = held_us >= batch->sent_us,
		.overdue = now_us >= batch->overdue_us,
		.given_up = given_up,
	};
	struct costs *own = sample.costs;
	bool forgotten = teach_limiter(batcher, batch, &sample, now_us);
	if (forgotten)
		forget_provider(batcher, class);
	if (forgotten || is_other_provider(batcher, class))
		forget_rate(batcher);
	if (own != &class->costs && !given_up)
		costs_learn(&class->costs, 1, sample.took_us);
}

/* Calls alone that belong to that class and are far past their time: the newest of them that counts. */
static void find_slow_alone(const struct batcher *batcher, struct lane_class *class, uint64_t now_us)
{
	struct batch *batch;
	TAILQ_FOREACH_REVERSE(batch, &batcher->sent, batch_list, next)
	{
		unsigned of = batch->learned ? batch->learned->latency.class : batch->lane->class;
		bool alone = batch->count == 1 && &batcher->classes[of] == class;
		if (alone && batch->overdue_us <= now_us && arrays_slow_alone(&class->arrays, batch->alone_number))
			return;
	}
}

static void learn_alone(const struct batcher *batcher, struct lane_class *class, const struct batch *batch,
			uint64_t took_us, uint64_t now_us)
{
	uint64_t patience_us = window_elapsed_us(batch->sent_us, batch->overdue_us);
	if (took_us >= patience_us)
		arrays_slow_alone(&class->arrays, batch->alone_number);
	arrays_alone(&class->arrays, batch->alone_number, batch->sent_us,
		     (double)(took_us < patience_us ? took_us : patience_us), now_us);
	if (!arrays_wants_review(&class->arrays, now_us))
		return;
	find_slow_alone(batcher, class, now_us);
	arrays_review(&class->arrays, batcher->rates->learned_rate.step_us > 0, now_us); /* a configured one may hold nothing */
}

/* How long until it is known what calls take alone: so many of them, at the pace that is allowed. */
static uint64_t explore_for_us(const struct batcher *batcher, const struct costs *costs)
{
	return clock_add(limiter_patience_us(costs, 1), COSTS_KNOWN * (uint64_t)batcher->rates->learned_rate.step_us);
}

/* What company costs. A call alone that is far past its time holds no slot from then on. */
static void learn_company(struct batcher *batcher, struct lane_class *class, const struct batch *batch,
			  uint64_t took_us, uint64_t now_us)
{
	uint64_t patience_us = window_elapsed_us(batch->sent_us, batch->overdue_us);
	struct arrays_company company = {
		.items = batch->count,
		.sent_number = batch->alone_number,
		.held_us = batch->answered ? (double)batch->answers_us / (double)batch->answered : 0,
		.explore_us = explore_for_us(batcher, &class->costs),
		.others_us = batcher->arrays_until_us,
		.late = took_us > patience_us && costs_known(&class->costs),
		.unmeasured = batch->learned && !batch->learned->went_alone,
	};
	company.at_end = company.held_us >= AT_END * (double)took_us;
	if (batch->count == 1)
		learn_alone(batcher, class, batch, took_us, now_us);
	else
		arrays_company(&class->arrays, &company, now_us);
	if (class->arrays.company_off_us == now_us) /* a rate that was learned with arrays is another provider's */
		forget_rate(batcher);
}

void learned_completed(struct batcher *batcher, const struct batch *batch, uint64_t now_us)
{
	uint64_t took_us = window_elapsed_us(batch->sent_us, now_us);
	double alone = alone_us(batcher, waiting_class(batcher, batch->lane), batch, took_us);
	if (batch->learned) {
		batch->learned->went_alone |= batch->count == 1;
		unsigned class_before = batch->learned->latency.class;
		if (batch->explores)
			tool_latency_at_most(&batch->learned->latency, alone);
		else
			tool_latency_alone(&batch->learned->latency, alone);
		note_latency(batcher, batch->learned, class_before);
	}
	struct lane_class *class = find_class(batcher, batch, alone);
	if (!class)
		return;
	window_learn(&class->exchange, took_us);
	if (batch->answered)
		window_learn(&class->answer, batch->answers_us / batch->answered);
	arrays_passed(&class->arrays, batch->count);
	learn_company(batcher, class, batch, took_us, now_us);
	if (batch->under_way <= 2 && now_us < batch->overdue_us)
		arrays_learn(&class->arrays, batch->count, took_us, now_us);
	learn_limit(batcher, class, batch, false, now_us);
	/* the limit is that of arrays; where calls take long it began with as many as calls alone have (limiter.h) */
	if (class->arrays.off_us == now_us && class->answer.exchange_us < LIMITER_SLOW_US)
		limiter_seek(&batcher->limiter, now_us);
}

void learned_given_up(struct batcher *batcher, const struct batch *batch, uint64_t now_us)
{
	struct lane_class *class = waiting_class(batcher, batch->lane);
	double due_us = costs_expected_us(learned_costs(class, batch), batch->count);
	if ((double)window_elapsed_us(batch->sent_us, now_us) <= due_us)
		return;
	window_learn(&class->exchange, window_elapsed_us(batch->sent_us, now_us));
	learn_limit(batcher, class, batch, true, now_us);
}
