/* SPDX-License-Identifier: Apache-2.0 */
/* regret.c: see the header. */
#include "tests/support/regret.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"

#define MS(n) ((n)*CLOCK_US_PER_MS)
#define S(n) ((n)*CLOCK_US_PER_S)
#define MOST_REQUESTS 1.3 /* for each call: one, and the default budget for repeats, whose burst counts too */

enum { BURST = 1000, OPEN_CALLERS = 64, FLOOD = 3, GATEWAY_CALL_US = 2, GATEWAY_REQUEST_US = 10 };

const struct regret_load regret_loads[] = {
	{ "one", LOAD_CLOSED, 0, 1, false },
	{ "poisson-10", LOAD_OPEN, 0.1, OPEN_CALLERS, false },
	{ "poisson-50", LOAD_OPEN, 0.5, OPEN_CALLERS, false },
	{ "poisson-90", LOAD_OPEN, 0.9, OPEN_CALLERS, false },
	{ "poisson-150", LOAD_OPEN, 1.5, OPEN_CALLERS, false },
	{ "poisson-500", LOAD_OPEN, 5, OPEN_CALLERS, false },
	{ "closed-16", LOAD_CLOSED, 0, 16, false },
	{ "closed-64", LOAD_CLOSED, 0, 64, false },
	{ "closed-256", LOAD_CLOSED, 0, 256, false },
	{ "closed-2000", LOAD_CLOSED, 0, 2000, false },
	{ "bursts", LOAD_BURSTS, 0, OPEN_CALLERS, false },
	{ "flood", LOAD_OPEN, 0.2, 32, true },
};
const size_t regret_load_count = countof(regret_loads);

const struct regret_load *regret_load_named(const char *name)
{
	for (size_t i = 0; i < regret_load_count; i++)
		if (strcmp(regret_loads[i].name, name) == 0)
			return &regret_loads[i];
	return NULL;
}

/* --- settings --- */

const struct regret_setting regret_auto = { BATCH_ADAPTIVE, 0, MS(5) };
const struct regret_setting regret_alone = { BATCH_OFF, 0, 0 };

#define EACH(mode, window)                                                                                             \
	{ mode, 1, window }, { mode, 2, window }, { mode, 4, window }, { mode, 8, window }, { mode, 16, window },      \
		{ mode, 64, window }, { mode, 256, window },                                                           \
	{                                                                                                              \
		mode, 1000, window                                                                                     \
	}

const struct regret_setting regret_statics[] = {
	EACH(BATCH_OFF, 0),       EACH(BATCH_FIXED, 0),      EACH(BATCH_FIXED, MS(1)),
	EACH(BATCH_FIXED, MS(5)), EACH(BATCH_FIXED, MS(20)),
};
const size_t regret_static_count = countof(regret_statics);

const char *regret_setting_text(const struct regret_setting *setting)
{
	static char texts[2][40];
	static unsigned turn;
	char *text = texts[turn++ % 2];
	if (setting->mode == BATCH_ADAPTIVE)
		snprintf(text, sizeof texts[0], "adaptive");
	else if (setting->mode == BATCH_OFF && !setting->concurrency)
		snprintf(text, sizeof texts[0], "off, learned");
	else if (setting->mode == BATCH_OFF)
		snprintf(text, sizeof texts[0], "off x %zu", setting->concurrency);
	else
		snprintf(text, sizeof texts[0], "fixed %llums x %zu", (unsigned long long)(setting->window_us / 1000),
			 setting->concurrency);
	return text;
}

/* The defaults of the configuration, but for what the setting says. */
static struct batch_policy policy_of(const struct regret_setting *setting)
{
	return (struct batch_policy){
		.mode = setting->mode,
		.max_items = 100,
		.max_bytes = 1 << 20,
		.window_us = setting->window_us,
		.concurrency = setting->concurrency, /* 0: learned */
		.queue_items = 10000,
		.queue_bytes = 64 << 20,
		.queue_wait_us = setting->concurrency == 0 ? 2 * CLOCK_US_PER_S : 0,
	};
}

/* --- cells --- */

const struct regret_size regret_table_size = { 20000, 6000 };
const struct regret_size regret_screen_size = { 500, 1500 };
const struct regret_size regret_test_size = { 6000, 2500 };

bool regret_cell_is(const struct regret_cell *cell)
{
	const struct world *before = cell->before, *world = cell->world;
	if (!before)
		return true;
	return before != world && !before->provider.then && !before->provider.beside && !world->provider.beside;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static struct load_pattern load_of(const struct regret_cell *cell)
{
	const struct regret_load *load = cell->load;
	double capacity = cell->world->capacity;
	struct load_pattern pattern = { .kind = load->kind, .callers = load->callers, .seed = 1 };
	pattern.rate = load->share * capacity;
	pattern.flood_rate = load->flooded ? FLOOD * capacity : 0;
	pattern.burst = BURST;
	pattern.gap_us = larger(larger(S(1), 10 * cell->world->usual_us), (uint64_t)(3 * BURST / capacity * 1e6));
	return pattern;
}

/* How long the world before lasts: long enough to be learned, and no more calls than the table can afford. */
static uint64_t before_us(const struct regret_cell *cell, size_t calls)
{
	const struct world *before = cell->before;
	double rate = (double)cell->load->callers * 1e6 / (double)(before->usual_us + LOAD_THINK_US);
	if (cell->load->kind != LOAD_CLOSED)
		rate = load_of(cell).rate;
	double most_us = (double)calls / rate * 1e6, usual_us = (double)larger(S(2), 4 * before->usual_us);
	return (uint64_t)(usual_us < most_us ? usual_us : most_us);
}

static void set_times(struct simulation *simulation, const struct regret_cell *cell, const struct regret_size *size)
{
	const struct world *world = cell->world;
	simulation->change_us = world->well_us;
	simulation->settle_us = larger(S(2), 4 * world->usual_us);
	simulation->settle_calls = size->settle_calls;
	simulation->calls = larger(size->calls, cell->load->kind == LOAD_CLOSED ? 3 * cell->load->callers : 0);
	simulation->timeout_us = larger(S(10), 4 * world->slowest_us);
	if (!cell->before)
		return;
	simulation->provider = cell->before->provider;
	simulation->provider.lasts_us = before_us(cell, size->settle_calls);
	simulation->provider.then = &world->provider;
	simulation->change_us += simulation->provider.lasts_us;
	/* callers whose call the old world still has are back then */
	simulation->settle_us = larger(simulation->settle_us, cell->before->slowest_us);
	simulation->timeout_us = larger(simulation->timeout_us, 4 * cell->before->slowest_us);
	if (cell->before->slowest_us >= S(2))
		simulation->settle_calls = 10 * size->settle_calls;
}

static struct simulation simulation_of(const struct regret_cell *cell, const struct regret_setting *setting,
				       const struct regret_size *size)
{
	struct simulation simulation = {
		.policy = policy_of(setting),
		.provider = cell->world->provider,
		.load = load_of(cell),
		.argument_bytes = 200,
		.call_us = GATEWAY_CALL_US,
		.request_us = GATEWAY_REQUEST_US,
	};
	set_times(&simulation, cell, size);
	return simulation;
}

static struct simulation_result run(const struct simulation *simulation)
{
	struct simulation_result result;
	bool whole = simulation_run(simulation, &result);
	assert(whole);
	(void)whole;
	return result;
}

struct simulation_result regret_run(const struct regret_cell *cell, const struct regret_setting *setting,
				    const struct regret_size *size,
				    void (*watch)(void *context, const struct simulation_moment *moment),
				    uint64_t watch_us)
{
	struct simulation simulation = simulation_of(cell, setting, size);
	simulation.watch = watch;
	simulation.watch_us = watch_us;
	return run(&simulation);
}

struct simulation regret_simulation(const struct regret_cell *cell)
{
	return simulation_of(cell, &regret_auto, &regret_test_size);
}

struct simulation_result regret_run_history(const struct regret_cell *cell, const struct provider_model *first,
					    uint64_t lasts_us, uint64_t slowest_us)
{
	struct simulation simulation = regret_simulation(cell);
	simulation.provider = *first;
	simulation.change_us = lasts_us;
	simulation.settle_calls = 0; /* the seconds are what is promised */
	simulation.settle_us = larger(S(5), larger(simulation.settle_us, slowest_us));
	simulation.timeout_us = larger(simulation.timeout_us, 4 * slowest_us);
	return run(&simulation);
}

/* --- judging --- */

double regret_goodput(const struct regret_cell *cell, const struct simulation_result *result)
{
	double answered = (double)result->answered * 1e6;
	if (cell->load->kind == LOAD_CLOSED) /* by Little's law: calls come in waves, whose ends a span would cut */
		return result->cycles_us ? answered * (double)cell->load->callers / (double)result->cycles_us : 0;
	if (cell->load->kind ==
	    LOAD_OPEN) /* what a growing line takes in is not yet done, what a line gives back was */
		answered = fmin(answered, (double)result->answered_meanwhile * 1e6);
	return result->coming_us ? answered / (double)result->coming_us : 0;
}

/* One figure for how long calls take; half a millisecond is nobody's concern. */
static double latency(const struct simulation_result *result)
{
	return sqrt(((double)result->took_p50_us + 500) * ((double)result->took_p99_us + 500));
}

bool regret_better(const struct regret_cell *cell, const struct simulation_result *result,
		   const struct simulation_result *than)
{
	double goodput = regret_goodput(cell, result), other = regret_goodput(cell, than);
	if (goodput < 0.98 * other || other < 0.98 * goodput)
		return goodput > other;
	return latency(result) < latency(than);
}

unsigned regret_evaluate(const struct regret_cell *cell, const struct simulation_result *result,
			 const struct simulation_result *best)
{
	unsigned faults = result->stuck ? REGRET_STUCK : 0;
	if (!cell->world->ill && result->failed > best->failed)
		faults |= REGRET_LOST;
	if ((double)result->requests > MOST_REQUESTS * (double)result->all_calls + 10)
		faults |= REGRET_STORM;
	if (regret_goodput(cell, result) < 0.9 * regret_goodput(cell, best))
		faults |= REGRET_GOODPUT;
	if (best->answered == 0)
		return faults;
	if ((double)result->took_p50_us > 1.25 * (double)best->took_p50_us + 500)
		faults |= REGRET_P50;
	if (result->took_p99_us > 2 * best->took_p99_us)
		faults |= REGRET_P99;
	return faults;
}

double regret_excess(const struct regret_cell *cell, const struct simulation_result *result,
		     const struct simulation_result *best)
{
	double goodput = regret_goodput(cell, result), excess = 0;
	if (regret_goodput(cell, best) > 0)
		excess = goodput > 0 ? 0.9 * regret_goodput(cell, best) / goodput : 1000;
	if (best->answered > 0 && result->answered > 0) {
		double p50 = (double)result->took_p50_us / (1.25 * (double)best->took_p50_us + 500);
		double p99 = (double)result->took_p99_us / (2 * (double)best->took_p99_us + 1);
		excess = fmax(excess, fmax(p50, p99));
	}
	if (result->stuck)
		return 1e6;
	excess = fmax(excess, (double)result->requests / (MOST_REQUESTS * (double)result->all_calls + 10));
	bool lost = regret_evaluate(cell, result, best) & REGRET_LOST;
	return lost ? fmax(excess, 1) + 100 * (double)result->failed / (double)(result->came + 1) : excess;
}

/* --- what the last sweep has found --- */

static const struct {
	const char *world, *load;
	struct regret_setting setting;
} best_known[] = {
#include "tests/support/regret_best.inc"
	{ NULL, NULL, { BATCH_OFF, 0, 0 } },
};

const struct regret_setting *regret_best_known(const struct regret_cell *cell)
{
	for (size_t i = 0; best_known[i].world; i++)
		if (strcmp(best_known[i].world, cell->world->name) == 0 &&
		    strcmp(best_known[i].load, cell->load->name) == 0)
			return &best_known[i].setting;
	return NULL;
}
