/* SPDX-License-Identifier: Apache-2.0 */
/* costs.c: the estimator of costs.h. Figures are times and counts, 0..1e15: no NaN, no sign of zero. */
#include "batcher/costs.h"

#define FORGET (31.0 / 32)
#define OUTLIER 4.0    /* times the usual distance */
#define FEW_SIZES 0.02 /* variance of sizes, in squares of their mean, below which the slope hardly moves */
#define DIFFER 0.0625  /* variance of sizes, likewise, from which on the slope is trusted */
enum {
	ODD_IS_NEWS = 8,
	WORTH_VARYING = 4 /* calls in a batch whose size can differ */
};

static double larger_of(double a, double b)
{
	return a > b ? a : b;
}

static double distance_of(double a)
{
	return a < 0 ? -a : a;
}

double costs_expected_us(const struct costs *costs, size_t items)
{
	return costs->fixed_us + costs->item_us * (double)items;
}

static void forget_past(struct costs *costs)
{
	costs->weight = costs->x = costs->y = costs->xx = costs->xy = 0;
	costs->odd = 0;
	costs->sure = false;
}

/* What this exchange counts as: itself, or, if it is far out, the edge of what is usual. */
static double clip_outlier(struct costs *costs, size_t items, double took_us)
{
	double expected_us = costs_expected_us(costs, items);
	double reach_us = larger_of(OUTLIER * costs->spread_us, expected_us / 4);
	double off_us = took_us - expected_us;
	if (!costs_known(costs) || distance_of(off_us) <= reach_us) {
		costs->odd = 0;
		return took_us;
	}
	if (++costs->odd < ODD_IS_NEWS)
		return expected_us + (off_us < 0 ? -reach_us : reach_us);
	forget_past(costs);
	return took_us;
}

static void fit_line(struct costs *costs)
{
	double mean_x = costs->x / costs->weight, mean_y = costs->y / costs->weight;
	double variance = costs->xx / costs->weight - mean_x * mean_x;
	double together = costs->xy / costs->weight - mean_x * mean_y;
	/* the less the sizes differ, the more the slope stays what it was */
	double inertia = FEW_SIZES * (1 + mean_x * mean_x);
	double slope_us = larger_of(0, (together + inertia * costs->item_us) / (variance + inertia));
	costs->item_us = slope_us < mean_y / mean_x ? slope_us : mean_y / mean_x;
	costs->fixed_us = mean_y - costs->item_us * mean_x;
}

void costs_learn(struct costs *costs, size_t items, double took_us)
{
	double counts_us = clip_outlier(costs, items, took_us);
	double off_us = distance_of(counts_us - costs_expected_us(costs, items));
	double x = (double)items;
	costs->spread_us += costs->samples ? (off_us - costs->spread_us) / 16 : 0;
	costs->weight = costs->weight * FORGET + 1;
	costs->x = costs->x * FORGET + x;
	costs->y = costs->y * FORGET + counts_us;
	costs->xx = costs->xx * FORGET + x * x;
	costs->xy = costs->xy * FORGET + x * counts_us;
	if (costs->samples < COSTS_KNOWN)
		costs->samples++;
	fit_line(costs);
}

void costs_forget(struct costs *costs)
{
	forget_past(costs);
	costs->samples = 0;
	costs->spread_us = costs->fixed_us = costs->item_us = 0;
}

void costs_scale(struct costs *costs, double factor)
{
	costs->fixed_us *= factor;
	costs->item_us *= factor;
	costs->y *= factor;
	costs->xy *= factor;
	costs->spread_us *= factor;
	costs->odd = 0;
}

bool costs_want_other(const struct costs *costs, size_t items)
{
	if (!costs_known(costs) || items < WORTH_VARYING)
		return false;
	double mean = costs->x / costs->weight;
	double variance = costs->xx / costs->weight - mean * mean;
	return variance < DIFFER * mean * mean && (double)items > mean * 3 / 4;
}
