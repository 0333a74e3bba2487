/* model.c: the estimators of model.h. */
#include "batcher/model.h"

#include <string.h>

#include "base/clock.h"

#define FORGET (31.0 / 32)
#define OUTLIER 4.0    /* times the usual distance */
#define TOLERANCE 1.05 /* this much over the prediction is no queue yet */
#define HEADROOM 0.2   /* how far a round may raise the limit */
#define SPARE 1.0      /* exchanges beyond those worked on: one waits there while the next gathers here */
#define TOO_HIGH 0.95  /* of the prediction: one that took less shows that it is too high, queued or not */
#define FEW_SIZES 0.02 /* variance of sizes, in squares of their mean, below which the slope hardly moves */
#define AS_COSTLY 0.95 /* of a single's cost: an array that saves less saves nothing */
#define DIFFER 0.0625  /* variance of sizes, likewise, from which on the slope is trusted */
#define CAP_GROWS (1.0 / 64)
enum {
	QUIET = 2,
	DOUBTS = 8, /* costs found too high so often call for a thin round */
	THIN_FIRST = 256,
	THIN_RARELY = 4096,
	ODD_IS_NEWS = 8,
	WORTH_VARYING = 4, /* calls in a batch whose size can differ */
	SOME = 4,          /* calls of an array whose cost tells */
	FAST_US = 1000     /* a provider that answers this soon: the time is mostly our own, and arrays save that */
};
#define BACKOFF_FIRST_US CLOCK_US_PER_S
#define BACKOFF_MOST_US (300 * CLOCK_US_PER_S)

/* Figures here are times and counts, 0..1e15: no NaN, no sign of zero, and no need of the mathematics library. */
static double smaller(double a, double b)
{
	return a < b ? a : b;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

static double distance(double a)
{
	return a < 0 ? -a : a;
}

static double whole(double a)
{
	return (double)(uint64_t)a;
}

static double rounded_up(double a)
{
	return whole(a) < a ? whole(a) + 1 : whole(a);
}

void model_init(struct model *model, size_t most)
{
	memset(model, 0, sizeof *model);
	model->limit = model->most = (double)most;
	model->thin_every = THIN_FIRST;
	model->backoff_us = BACKOFF_FIRST_US;
}

/* --- costs --- */

/* With so few under way, and at most half of the limit, nothing queues. */
static double quiet_slots(const struct model *model)
{
	return larger(1, smaller(QUIET, model->limit / 2));
}

double model_cost_us(const struct model *model, size_t items)
{
	return model->samples ? model->fixed_us + model->item_us * (double)items : 0;
}

static void forget_costs(struct model *model)
{
	model->weight = model->x = model->y = model->xx = model->xy = 0;
	model->odd = 0;
}

/* What this exchange counts as: itself, or, if it is far out, the edge of what is usual. */
static double clipped(struct model *model, double items, double took_us)
{
	double expected_us = model->fixed_us + model->item_us * items;
	double reach_us = larger(OUTLIER * model->spread_us, expected_us / 4);
	double off_us = took_us - expected_us;
	if (!model_known(model) || distance(off_us) <= reach_us) {
		model->odd = 0;
		return took_us;
	}
	if (++model->odd < ODD_IS_NEWS)
		return expected_us + (off_us < 0 ? -reach_us : reach_us);
	forget_costs(model);
	return took_us;
}

static void fit(struct model *model)
{
	double mean_x = model->x / model->weight, mean_y = model->y / model->weight;
	double variance = model->xx / model->weight - mean_x * mean_x;
	double together = model->xy / model->weight - mean_x * mean_y;
	/* the less the sizes differ, the more the slope stays what it was */
	double inertia = FEW_SIZES * (1 + mean_x * mean_x);
	model->item_us = larger(0, (together + inertia * model->item_us) / (variance + inertia));
	model->item_us = smaller(model->item_us, mean_y / mean_x);
	model->fixed_us = mean_y - model->item_us * mean_x;
}

bool model_wants_other(const struct model *model, size_t items, size_t under_way)
{
	if (!model_known(model) || items < WORTH_VARYING || (double)under_way > quiet_slots(model))
		return false;
	double mean = model->x / model->weight;
	double variance = model->xx / model->weight - mean * mean;
	return variance < DIFFER * mean * mean && (double)items > mean * 3 / 4;
}

static void learn_costs(struct model *model, double items, double took_us)
{
	double counts_us = clipped(model, items, took_us);
	double off_us = distance(counts_us - (model->fixed_us + model->item_us * items));
	model->spread_us += model->samples ? (off_us - model->spread_us) / 16 : 0;
	model->weight = model->weight * FORGET + 1;
	model->x = model->x * FORGET + items;
	model->y = model->y * FORGET + counts_us;
	model->xx = model->xx * FORGET + items * items;
	model->xy = model->xy * FORGET + items * counts_us;
	if (model->samples < MODEL_KNOWN)
		model->samples++;
	fit(model);
}

/* --- concurrency --- */

static void begin_round(struct model *model)
{
	model->took_us = model->due_us = model->used = 0;
	model->round = 0;
}

/* Little's law: of those under way, as many are worked on as the time expected is of the time taken. */
static void end_round(struct model *model)
{
	double used = model->used / model->round;
	double worked_on = used * smaller(1, TOLERANCE * model->due_us / model->took_us);
	bool queued = worked_on < used;
	if (queued && worked_on + SPARE < model->limit)
		model->limit = (model->limit + worked_on + SPARE) / 2;
	else if (!queued && used + 0.5 > whole(model->limit))
		model->limit += HEADROOM;
	model->limit = smaller(model->most, larger(1, model->limit));
	begin_round(model);
}

static void learn_limit(struct model *model, double items, double took_us, size_t under_way)
{
	struct model_landing this = { took_us, model->fixed_us + model->item_us * items, (double)under_way };
	struct model_landing other = model->first;
	model->first = (struct model_landing){ .took_us = 0 };
	if (other.took_us <= 0) {
		model->first = this;
		return;
	}
	/* a queue delays both of two, bad luck rarely does: the one that fared better tells */
	const struct model_landing *better = other.took_us * this.due_us < this.took_us * other.due_us ? &other : &this;
	model->took_us += smaller(better->took_us, better->due_us * (1 + model->most));
	model->due_us += better->due_us;
	model->used += better->used;
	if (++model->round >= model->limit)
		end_round(model);
}

static void end_thin(struct model *model)
{
	double was_us = model->thin_fixed_us;
	bool same = distance(model->fixed_us - was_us) <= was_us / 10;
	model->thin_every = same ? model->thin_every * 2 : THIN_FIRST;
	if (model->thin_every > THIN_RARELY)
		model->thin_every = THIN_RARELY;
	model->steady = 0;
	begin_round(model);
}

static void step_thin(struct model *model, bool quiet)
{
	if (model->thin) {
		if (--model->thin == 0)
			end_thin(model);
	} else if (quiet) {
		model->steady = 0; /* such moments come by themselves */
	} else if (++model->steady >= model->thin_every) {
		model->thin = 2 + (unsigned)model->limit; /* those under way, and a few after them */
		model->thin_fixed_us = model->fixed_us;
	}
}

size_t model_slots(const struct model *model)
{
	if (!model_known(model))
		return (size_t)model->most;
	double limit = model->thin ? quiet_slots(model) : model->limit;
	return (size_t)limit;
}

/* --- load --- */

void model_load(struct model *model, size_t outstanding, bool landed)
{
	double now = (double)outstanding;
	if (now > model->outstanding)
		model->outstanding = now;
	else if (landed)
		model->outstanding -= (model->outstanding - now) / 16;
}

/* So many that the items' part of an exchange is no more than half of the fixed part. */
size_t model_useful(const struct model *model)
{
	size_t slots = model_slots(model);
	if (!model_known(model) || model->item_us <= 0)
		return 1;
	double wanted = rounded_up(2 * model->item_us * model->outstanding / larger(1, model->fixed_us));
	return wanted < (double)slots ? (size_t)larger(1, wanted) : slots;
}

size_t model_share(const struct model *model)
{
	return (size_t)larger(1, rounded_up(model->outstanding / (double)model_useful(model)));
}

/* --- do arrays pay? --- */

static void smooth(double *mean, unsigned *known, double value)
{
	if (*known < MODEL_KNOWN)
		++*known;
	*mean += (value - *mean) / *known;
}

void model_shun(struct model *model, uint64_t now_us)
{
	model->singles_until_us = clock_add(now_us, model->backoff_us);
	model->backoff_us = model->backoff_us * 2 < BACKOFF_MOST_US ? model->backoff_us * 2 : BACKOFF_MOST_US;
	model->shares = 0; /* the next trial counts afresh */
	model->share_us = 0;
}

bool model_shuns(const struct model *model, uint64_t now_us)
{
	return now_us < model->singles_until_us;
}

static void compare(struct model *model, size_t items, double took_us, uint64_t now_us)
{
	if (items == 1)
		smooth(&model->single_us, &model->singles, took_us);
	else if (items >= SOME)
		smooth(&model->share_us, &model->shares, took_us / (double)items);
	if (items == 1 || model->singles < MODEL_KNOWN || model->shares < MODEL_KNOWN)
		return;
	if (model->single_us < FAST_US)
		return;
	if (model->share_us >= AS_COSTLY * model->single_us)
		model_shun(model, now_us);
	else
		model->backoff_us = BACKOFF_FIRST_US;
}

void model_learn(struct model *model, size_t items, uint64_t took_us, size_t under_way, uint64_t now_us)
{
	double took = took_us ? (double)took_us : 1;
	bool quiet = (double)under_way <= quiet_slots(model);
	bool too_high = model_known(model) && took < TOO_HIGH * model_cost_us(model, items);
	if (quiet || !model_known(model) || too_high)
		learn_costs(model, (double)items, took);
	if (too_high && !quiet)
		model->steady += model->thin_every / DOUBTS; /* only the fast ones have told: let the others */
	if (quiet)
		compare(model, items, took, now_us);
	if (!model_known(model))
		return;
	if (!model->thin && !quiet)
		learn_limit(model, (double)items, took, under_way);
	step_thin(model, quiet);
}

/* --- what is too large --- */

void model_too_large(struct model *model, size_t items, size_t bytes)
{
	model->cap_items = larger(1, (double)items / 2);
	model->cap_bytes = larger(1, (double)bytes / 2);
}

void model_passed(struct model *model, size_t items)
{
	if (model->cap_items <= 0 || (double)items < whole(model->cap_items) / 2)
		return;
	model->cap_items *= 1 + CAP_GROWS;
	model->cap_bytes *= 1 + CAP_GROWS;
}

static size_t cap(double cap, size_t max)
{
	return cap > 0 && cap < (double)max ? (size_t)cap : max;
}

size_t model_cap_items(const struct model *model, size_t max)
{
	return cap(model->cap_items, max);
}

size_t model_cap_bytes(const struct model *model, size_t max)
{
	return cap(model->cap_bytes, max);
}
