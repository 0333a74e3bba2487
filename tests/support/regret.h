/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regret.h: how far the batcher, left to itself, is from the best it could have been told: worlds
 * (gateway/cli/worlds.h) times loads, and every change from one world to another. Virtual time, seeded, the same in
 * each run. For `./dev bench --regret`, which sweeps all settings, and for the test, which knows the best ones from
 * regret_best.inc.
 */
#ifndef TESTS_SUPPORT_REGRET_H
#define TESTS_SUPPORT_REGRET_H

#include "gateway/cli/simulation.h"
#include "gateway/cli/worlds.h"

/* A load, in terms of a world. */
struct regret_load {
	const char *name;
	enum load_kind kind;
	double share;   /* LOAD_OPEN: of the world's capacity */
	size_t callers; /* LOAD_CLOSED */
	bool flooded;   /* one more caller sends three times the capacity beside it */
};
extern const struct regret_load regret_loads[];
extern const size_t regret_load_count;
/* NULL: there is none of this name. */
const struct regret_load *regret_load_named(const char *name);

/* What the batcher is told. BATCH_ADAPTIVE: nothing, it is to find out; BATCH_OFF: to send calls alone. */
struct regret_setting {
	enum batch_mode mode;
	size_t concurrency; /* requests at once; 0: it is to find out */
	uint64_t window_us;
};
extern const struct regret_setting regret_auto, regret_alone;
/* The static ones that are tried. */
extern const struct regret_setting regret_statics[];
extern const size_t regret_static_count;
/* "fixed 5ms x 4"; the text is overwritten by the next call but one. */
const char *regret_setting_text(const struct regret_setting *setting);

/* A world under a load; after another world, if `before` is not NULL. */
struct regret_cell {
	const struct world *before, *world;
	const struct regret_load *load;
};
/* Cells that mean something: a world of several episodes is no `before`, endpoints do not come and go. */
bool regret_cell_is(const struct regret_cell *cell);

/* How many calls: all of them for the table, fewer for the test. */
struct regret_size {
	size_t settle_calls, calls;
};
extern const struct regret_size regret_table_size, regret_screen_size, regret_test_size;

/* Run it; watch: as in struct simulation, NULL: nobody does. Asserts that there is memory. */
struct simulation_result regret_run(const struct regret_cell *cell, const struct regret_setting *setting,
				    const struct regret_size *size,
				    void (*watch)(void *context, const struct simulation_moment *moment),
				    uint64_t watch_us);

/* The batcher left to itself in that cell, for who has a provider of his own to set into it. */
struct simulation regret_simulation(const struct regret_cell *cell);

/* The same with the batcher left to itself, after a history of other worlds that lasted so long: `first` is its first
 * episode, cell->world the last one. slowest_us: what a slow call took in it. */
struct simulation_result regret_run_history(const struct regret_cell *cell, const struct provider_model *first,
					    uint64_t lasts_us, uint64_t slowest_us);

/* Answered calls a second. */
double regret_goodput(const struct regret_cell *cell, const struct simulation_result *result);
/* Whether a result is better than another, as settings are compared: goodput first, then latency. */
bool regret_better(const struct regret_cell *cell, const struct simulation_result *result,
		   const struct simulation_result *than);

/* What of the bounds does not hold, as bits. */
enum regret_fault {
	REGRET_GOODPUT = 1, /* < 0.9 x best */
	REGRET_P50 = 2,     /* > 1.25 x best + 0.5 ms */
	REGRET_P99 = 4,     /* > 2 x best */
	REGRET_LOST = 8,    /* the provider was well, and a call ended as neither an answer nor an early refusal */
	REGRET_STUCK = 16,  /* nothing would ever have happened */
	REGRET_STORM = 32   /* more requests than calls and the budget for repeats allow */
};
unsigned regret_evaluate(const struct regret_cell *cell, const struct simulation_result *result,
			 const struct simulation_result *best);
/* How far off it is: 1 at the tightest bound, more beyond it. */
double regret_excess(const struct regret_cell *cell, const struct simulation_result *result,
		     const struct simulation_result *best);

/* The best static setting of this world and load, as found by the last sweep. NULL: not known. */
const struct regret_setting *regret_best_known(const struct regret_cell *cell);

#endif
