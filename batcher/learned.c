/* learned.c: what has been learned, as the rule of window.h wants it; and shown. */
#include "batcher/batcher_private.h"

enum { LEAST_WINDOW_US = 1000 }; /* a shorter wait than this is not worth cutting: a flight lands soon */

struct window_plan learned_plan(const struct batcher *batcher, uint64_t now_us)
{
	const struct model *model = &batcher->model;
	struct window_plan plan = { .singles = model_shuns(model, now_us) };
	if (batcher->policy.mode != BATCH_ADAPTIVE || !model_known(model))
		return plan;
	uint64_t fixed_us = (uint64_t)model->fixed_us;
	plan.slots = model_slots(model);
	plan.useful = model_useful(model);
	plan.share = model_share(model);
	plan.gather_us = fixed_us / 4;
	plan.window_us = fixed_us / 2 > LEAST_WINDOW_US ? fixed_us / 2 : LEAST_WINDOW_US;
	return plan;
}

struct window_view learned_view(const struct batcher *batcher, const struct lane *lane, uint64_t now_us)
{
	struct window_view view = lane_view(lane);
	view.costs = batcher->costs;
	view.busy = batcher->in_flight;
	view.freed_us = batcher->freed_us;
	view.plan = learned_plan(batcher, now_us);
	return view;
}

struct batch_policy learned_policy(const struct batcher *batcher)
{
	struct batch_policy policy = batcher->policy;
	policy.max_items = model_cap_items(&batcher->model, policy.max_items);
	policy.max_bytes = model_cap_bytes(&batcher->model, policy.max_bytes);
	return policy;
}

void learned_show(struct batcher *batcher, uint64_t now_us)
{
	struct meter *meter = batcher->meter;
	const struct model *model = &batcher->model;
	struct window_plan plan = learned_plan(batcher, now_us);
	uint64_t window_us = plan.window_us && plan.window_us < batcher->policy.window_us ? plan.window_us
											  : batcher->policy.window_us;
	bool singles = plan.singles || window_single(&batcher->policy);
	meter_set(meter, METRIC_ID_BATCH_WINDOW, batcher->label, 0, singles ? 0 : (int64_t)window_us);
	meter_set(meter, METRIC_ID_BATCH_EXCHANGE_COST, batcher->label, 0, (int64_t)model->fixed_us);
	meter_set(meter, METRIC_ID_BATCH_ITEM_COST, batcher->label, 0, (int64_t)model->item_us);
	meter_set(meter, METRIC_ID_BATCH_CONCURRENCY, batcher->label, 0, (int64_t)model_slots(model));
}

void learned_load(struct batcher *batcher, bool landed)
{
	model_load(&batcher->model, batcher->waiting_items + batcher->travelling, landed);
}
