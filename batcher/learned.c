/* learned.c: what has been learned, as the rule of window.h wants it; and shown. */
#include "batcher/batcher_private.h"

enum { LEAST_WINDOW_US = 1000 }; /* a shorter wait than this is not worth cutting: a flight lands soon */

struct window_plan learned_plan(const struct batcher *batcher, const struct lane_class *class, uint64_t now_us)
{
	const struct model *model = &class->model;
	struct window_plan plan = { .singles = model_shuns(model, now_us) };
	if (batcher->policy.mode != BATCH_ADAPTIVE || !model_known(model))
		return plan;
	uint64_t fixed_us = (uint64_t)model->fixed_us;
	plan.slots = model_slots(model);
	if (batcher->policy.requests.amount)
		return plan; /* requests are what is scarce: none leaves with a share only */
	plan.useful = model_useful(model);
	plan.share = model_share(model);
	plan.gather_us = fixed_us / 4;
	plan.window_us = fixed_us / 2 > LEAST_WINDOW_US ? fixed_us / 2 : LEAST_WINDOW_US;
	return plan;
}

struct window_view learned_view(struct batcher *batcher, const struct lane *lane, uint64_t now_us)
{
	const struct lane_class *class = waiting_class(batcher, lane);
	struct window_view view = lane_view(lane);
	view.costs = class->costs;
	view.busy = batcher->in_flight;
	view.freed_us = batcher->freed_us;
	view.plan = learned_plan(batcher, class, now_us);
	return view;
}

struct batch_policy learned_policy(const struct batcher *batcher, const struct lane_class *class)
{
	struct batch_policy policy = batcher->policy;
	policy.max_items = model_cap_items(&class->model, policy.max_items);
	policy.max_bytes = model_cap_bytes(&class->model, policy.max_bytes);
	return policy;
}

void learned_show(struct batcher *batcher, const struct lane *lane, uint64_t now_us)
{
	struct meter *meter = batcher->meter;
	const struct lane_class *class = waiting_class(batcher, lane);
	const struct model *model = &class->model;
	struct window_plan plan = learned_plan(batcher, class, now_us);
	uint64_t window_us = plan.window_us && plan.window_us < batcher->policy.window_us ? plan.window_us
											  : batcher->policy.window_us;
	bool singles = plan.singles || window_single(&batcher->policy);
	meter_set(meter, METRIC_ID_BATCH_WINDOW, batcher->label, lane->class, singles ? 0 : (int64_t)window_us);
	meter_set(meter, METRIC_ID_BATCH_EXCHANGE_COST, batcher->label, lane->class, (int64_t)model->fixed_us);
	meter_set(meter, METRIC_ID_BATCH_ITEM_COST, batcher->label, lane->class, (int64_t)model->item_us);
	meter_set(meter, METRIC_ID_BATCH_CONCURRENCY, batcher->label, lane->class, (int64_t)model_slots(model));
}

void learned_load(struct lane_class *class, bool landed)
{
	model_load(&class->model, class->outstanding, landed);
}

/* What one call by itself would have taken, of a batch that took so long. */
static double alone_us(const struct lane_class *class, const struct batch *batch, uint64_t took_us)
{
	const struct model *model = &class->model;
	double us = (double)took_us;
	if (!model_known(model))
		return us;
	us *= (model->fixed_us + model->item_us) / (model->fixed_us + model->item_us * (double)batch->count);
	return (double)batch->under_way > model->limit ? us * model->limit / (double)batch->under_way : us;
}

static void show_speed(struct batcher *batcher, const struct tool_speed *tool)
{
	meter_set(batcher->meter, METRIC_ID_TOOL_ALONE, tool->number, 0, (int64_t)tool->speed.alone_us);
}

void learned_answer(struct batcher *batcher, const struct batch *batch, const struct batch_item *item, uint64_t now_us)
{
	if (batch->speed || !item->speed)
		return; /* its landing will tell */
	uint64_t took_us = window_elapsed_us(batch->sent_us, now_us);
	speed_shared(&item->speed->speed, alone_us(waiting_class(batcher, batch->lane), batch, took_us));
	show_speed(batcher, item->speed);
}

/* Of which class it tells; NULL: of none yet, its tools are still being told apart. */
static struct lane_class *class_told(struct batcher *batcher, const struct batch *batch, double alone)
{
	const struct speed *speed = batch->speed ? &batch->speed->speed : NULL;
	if (speed)
		return speed->apart ? NULL : &batcher->classes[speed->class];
	return speed_beyond(batch->lane->class, alone) ? NULL : waiting_class(batcher, batch->lane);
}

void learned_landing(struct batcher *batcher, const struct batch *batch, uint64_t now_us)
{
	uint64_t took_us = window_elapsed_us(batch->sent_us, now_us);
	double alone = alone_us(waiting_class(batcher, batch->lane), batch, took_us);
	if (batch->speed) {
		speed_alone(&batch->speed->speed, alone);
		show_speed(batcher, batch->speed);
	}
	struct lane_class *class = class_told(batcher, batch, alone);
	if (!class)
		return;
	window_learn(&class->costs, took_us);
	model_learn(&class->model, batch->count, took_us, batch->under_way, now_us);
	model_passed(&class->model, batch->count);
}
