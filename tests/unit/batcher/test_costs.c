/* SPDX-License-Identifier: Apache-2.0 */
/* What is made of providers that cannot be seen into: what an exchange costs, through noise, outliers, changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/clock.h"
#include "batcher/costs.h"

enum { FIXED_US = 5000, ITEM_US = 50 };

static unsigned seed;

/* Within +-5 %. */
static double noisy(double us)
{
	return us * (95 + (unsigned)rand_r(&seed) % 11) / 100;
}

static void learn_sizes(struct costs *costs, unsigned times, double fixed_us, double item_us)
{
	for (unsigned i = 0; i < times; i++) {
		size_t items = 1 + (unsigned)rand_r(&seed) % 100;
		costs_learn(costs, items, noisy(fixed_us + (double)items * item_us));
	}
}

static void assert_near(double value, double expected, double part)
{
	assert_true(value > expected * (1 - part) && value < expected * (1 + part));
}

static void fixed_and_per_item_cost_are_told_apart(void **state)
{
	struct costs costs = { 0 };
	(void)state;
	learn_sizes(&costs, 200, FIXED_US, ITEM_US);
	assert_near(costs_expected_us(&costs, 1), FIXED_US + ITEM_US, 0.1);
	assert_near(costs_expected_us(&costs, 100), FIXED_US + 100 * ITEM_US, 0.1);
}

static void an_outlier_moves_little(void **state)
{
	struct costs costs = { 0 };
	(void)state;
	learn_sizes(&costs, 200, FIXED_US, ITEM_US);
	double before_us = costs_expected_us(&costs, 50);
	costs_learn(&costs, 50, 10.0 * CLOCK_US_PER_S);
	assert_near(costs_expected_us(&costs, 50), before_us, 0.1);
}

static void a_change_is_believed_soon(void **state)
{
	struct costs costs = { 0 };
	(void)state;
	learn_sizes(&costs, 200, FIXED_US, ITEM_US);
	learn_sizes(&costs, 100, 10 * FIXED_US, ITEM_US);
	assert_near(costs_expected_us(&costs, 1), 10 * FIXED_US + ITEM_US, 0.15);
}

static void equal_sizes_keep_the_slope(void **state)
{
	struct costs costs = { 0 };
	(void)state;
	learn_sizes(&costs, 200, FIXED_US, ITEM_US);
	for (int i = 0; i < 200; i++)
		costs_learn(&costs, 64, noisy(FIXED_US + 64 * ITEM_US));
	assert_near(costs.item_us, ITEM_US, 0.3);
	assert_near(costs_expected_us(&costs, 64), FIXED_US + 64 * ITEM_US, 0.1);
}

static void a_correction_holds_against_what_was_learned_before(void **state)
{
	struct costs costs = { 0 };
	(void)state;
	learn_sizes(&costs, 200, FIXED_US, ITEM_US);
	costs_scale(&costs, 8);
	learn_sizes(&costs, 20, 8 * FIXED_US, 8 * ITEM_US);
	assert_near(costs_expected_us(&costs, 10), 8 * (FIXED_US + 10 * ITEM_US), 0.1);
}

static void sizes_that_hardly_differ_are_made_to(void **state)
{
	struct costs costs = { 0 };
	(void)state;
	learn_sizes(&costs, 50, FIXED_US, ITEM_US);
	for (unsigned i = 0; i < 200; i++)
		costs_learn(&costs, 64, FIXED_US + 64 * ITEM_US);
	assert_true(costs_want_other(&costs, 64));
	assert_false(costs_want_other(&costs, 2));
	for (unsigned i = 0; i < 40; i++)
		costs_learn(&costs, i % 2 ? 64 : 32, FIXED_US + 48 * ITEM_US);
	assert_false(costs_want_other(&costs, 64));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixed_and_per_item_cost_are_told_apart),
		cmocka_unit_test(an_outlier_moves_little),
		cmocka_unit_test(a_change_is_believed_soon),
		cmocka_unit_test(equal_sizes_keep_the_slope),
		cmocka_unit_test(a_correction_holds_against_what_was_learned_before),
		cmocka_unit_test(sizes_that_hardly_differ_are_made_to),
	};
	return cmocka_run_group_tests_name("costs", tests, NULL, NULL);
}
