/* What the model makes of providers it cannot see into: noise, outliers, changes, a limit on concurrency. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/clock.h"
#include "batcher/model.h"

enum { FIXED_US = 5000, ITEM_US = 50, SERVED = 4, MOST = 10 };

static unsigned seed;

/* Within +-5 %. */
static uint64_t noisy(uint64_t us)
{
	return us * (95 + (unsigned)rand_r(&seed) % 11) / 100;
}

static void learn_alone(struct model *model, size_t items, uint64_t took_us)
{
	model_learn(model, items, took_us, 1, CLOCK_US_PER_S);
}

static void learn_costs(struct model *model, unsigned times, uint64_t fixed_us, uint64_t item_us)
{
	for (unsigned i = 0; i < times; i++) {
		size_t items = 1 + (unsigned)rand_r(&seed) % 100;
		learn_alone(model, items, noisy(fixed_us + items * item_us));
	}
}

static void assert_near(double value, double expected, double part)
{
	assert_true(value > expected * (1 - part) && value < expected * (1 + part));
}

static void fixed_and_per_item_cost_are_told_apart(void **state)
{
	struct model model;
	(void)state;
	model_init(&model, MOST);
	learn_costs(&model, 200, FIXED_US, ITEM_US);
	assert_near(model_cost_us(&model, 1), FIXED_US + ITEM_US, 0.1);
	assert_near(model_cost_us(&model, 100), FIXED_US + 100 * ITEM_US, 0.1);
}

static void an_outlier_moves_little(void **state)
{
	struct model model;
	(void)state;
	model_init(&model, MOST);
	learn_costs(&model, 200, FIXED_US, ITEM_US);
	double before_us = model_cost_us(&model, 50);
	learn_alone(&model, 50, 10 * CLOCK_US_PER_S);
	assert_near(model_cost_us(&model, 50), before_us, 0.1);
}

static void a_change_is_believed_soon(void **state)
{
	struct model model;
	(void)state;
	model_init(&model, MOST);
	learn_costs(&model, 200, FIXED_US, ITEM_US);
	learn_costs(&model, 100, 10 * FIXED_US, ITEM_US);
	assert_near(model_cost_us(&model, 1), 10 * FIXED_US + ITEM_US, 0.15);
}

static void equal_sizes_keep_the_slope(void **state)
{
	struct model model;
	(void)state;
	model_init(&model, MOST);
	learn_costs(&model, 200, FIXED_US, ITEM_US);
	for (int i = 0; i < 200; i++)
		learn_alone(&model, 64, noisy(FIXED_US + 64 * ITEM_US));
	assert_near(model.item_us, ITEM_US, 0.3);
	assert_near(model_cost_us(&model, 64), FIXED_US + 64 * ITEM_US, 0.1);
}

/* A provider that works on SERVED at once: with more under way each takes longer in proportion (Little). */
static void saturate(struct model *model, unsigned landings)
{
	for (unsigned i = 0; i < landings; i++) {
		size_t under_way = model_slots(model);
		uint64_t took_us = FIXED_US + 64 * ITEM_US;
		if (under_way > SERVED)
			took_us = took_us * under_way / SERVED;
		model_learn(model, 64, noisy(took_us), under_way, CLOCK_US_PER_S);
	}
}

static void concurrency_settles_at_what_the_provider_serves(void **state)
{
	struct model model;
	(void)state;
	model_init(&model, MOST);
	learn_costs(&model, 50, FIXED_US, ITEM_US);
	assert_int_equal(model_slots(&model), MOST);
	saturate(&model, 200);
	for (int i = 0; i < 50; i++) {
		saturate(&model, 20);
		if (!model.thin)
			assert_in_range(model_slots(&model), SERVED, SERVED + 1);
	}
}

/* Every third exchange is unlucky: the machine was busy, the provider did not queue it. */
static void bad_luck_is_no_queue(void **state)
{
	struct model model;
	(void)state;
	model_init(&model, MOST);
	learn_costs(&model, 50, FIXED_US, ITEM_US);
	saturate(&model, 200);
	for (unsigned i = 0; i < 3000; i++) {
		size_t under_way = model_slots(&model);
		uint64_t took_us = noisy(FIXED_US + 64 * ITEM_US);
		if (under_way > SERVED)
			took_us = took_us * under_way / SERVED;
		model_learn(&model, 64, i % 3 ? took_us : 4 * took_us, under_way, CLOCK_US_PER_S);
		if (!model.thin)
			assert_in_range(model_slots(&model), SERVED - 1, MOST);
	}
}

/* Three under way but in thin rounds, the first figures wrong: a queue can only add, so the faster ones tell. */
static void wrong_costs_are_corrected_though_no_quiet_moment_comes(void **state)
{
	struct model model;
	(void)state;
	model_init(&model, MOST);
	for (unsigned i = 0; i < 2 * MODEL_KNOWN; i++)
		learn_alone(&model, 100, 3 * (FIXED_US + 100 * ITEM_US));
	for (unsigned i = 0; i < 300; i++) {
		size_t items = 10 + i * 37 % 90;
		model_learn(&model, items, noisy(FIXED_US + items * ITEM_US), model.thin ? 1 : 3, CLOCK_US_PER_S);
	}
	assert_near(model_cost_us(&model, 10), FIXED_US + 10 * ITEM_US, 0.2);
	assert_near(model_cost_us(&model, 100), FIXED_US + 100 * ITEM_US, 0.2);
}

static void sizes_that_hardly_differ_are_made_to(void **state)
{
	struct model model;
	(void)state;
	model_init(&model, MOST);
	learn_costs(&model, 50, FIXED_US, ITEM_US);
	for (unsigned i = 0; i < 200; i++)
		learn_alone(&model, 64, FIXED_US + 64 * ITEM_US);
	assert_true(model_wants_other(&model, 64, 1));
	assert_false(model_wants_other(&model, 64, MOST)); /* it would not be learned from */
	assert_false(model_wants_other(&model, 2, 1));
	for (unsigned i = 0; i < 40; i++)
		learn_alone(&model, i % 2 ? 64 : 32, FIXED_US + 48 * ITEM_US);
	assert_false(model_wants_other(&model, 64, 1));
}

static void a_share_spreads_the_outstanding_calls(void **state)
{
	struct model model;
	(void)state;
	model_init(&model, MOST);
	learn_costs(&model, 50, FIXED_US, ITEM_US);
	saturate(&model, 200);
	model.thin = 0;
	model_load(&model, 256, false);
	assert_in_range(model_share(&model), 256 / (SERVED + 1), 256 / SERVED);
	model_load(&model, 0, true);
	assert_true(model_share(&model) < 64); /* the peak fades */
}

static void arrays_as_costly_as_singles_are_shunned_and_tried_again(void **state)
{
	struct model model;
	uint64_t now_us = CLOCK_US_PER_S;
	(void)state;
	model_init(&model, MOST);
	for (unsigned i = 0; i < 2 * MODEL_KNOWN; i++)
		model_learn(&model, 1, FIXED_US, 1, now_us);
	for (unsigned i = 0; i < MODEL_KNOWN; i++)
		model_learn(&model, 10, 10 * FIXED_US, 1, now_us);
	assert_true(model_shuns(&model, now_us));
	now_us += CLOCK_US_PER_S;
	assert_false(model_shuns(&model, now_us));
	for (unsigned i = 0; i < MODEL_KNOWN; i++)
		model_learn(&model, 10, 10 * FIXED_US, 1, now_us);
	assert_true(model_shuns(&model, now_us + CLOCK_US_PER_S)); /* twice as long now */
	assert_false(model_shuns(&model, now_us + 2 * CLOCK_US_PER_S));
}

static void too_large_teaches_a_cap_that_grows_back(void **state)
{
	struct model model;
	(void)state;
	model_init(&model, MOST);
	assert_int_equal(model_cap_items(&model, 100), 100);
	model_too_large(&model, 80, 8000);
	assert_int_equal(model_cap_items(&model, 100), 40);
	assert_int_equal(model_cap_bytes(&model, 10000), 4000);
	model_passed(&model, 1); /* says nothing */
	assert_int_equal(model_cap_items(&model, 100), 40);
	for (int i = 0; i < 100; i++)
		model_passed(&model, 100);
	assert_int_equal(model_cap_items(&model, 100), 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixed_and_per_item_cost_are_told_apart),
		cmocka_unit_test(an_outlier_moves_little),
		cmocka_unit_test(a_change_is_believed_soon),
		cmocka_unit_test(equal_sizes_keep_the_slope),
		cmocka_unit_test(concurrency_settles_at_what_the_provider_serves),
		cmocka_unit_test(bad_luck_is_no_queue),
		cmocka_unit_test(wrong_costs_are_corrected_though_no_quiet_moment_comes),
		cmocka_unit_test(sizes_that_hardly_differ_are_made_to),
		cmocka_unit_test(a_share_spreads_the_outstanding_calls),
		cmocka_unit_test(arrays_as_costly_as_singles_are_shunned_and_tried_again),
		cmocka_unit_test(too_large_teaches_a_cap_that_grows_back),
	};
	return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
