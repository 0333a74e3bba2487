/* SPDX-License-Identifier: Apache-2.0 */
/* test_latencies.c: quantiles are right to a thousandth, for any values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "base/random.h"
#include "gateway/cli/perf/latencies.h"

static struct latencies latencies;

static void none_have_no_quantile(void **state)
{
	(void)state;
	latencies = (struct latencies){ 0 };
	assert_int_equal(latencies_quantile(&latencies, 0.99), 0);
}

static void small_values_are_exact(void **state)
{
	(void)state;
	latencies = (struct latencies){ 0 };
	for (uint64_t us = 1; us <= 1000; us++)
		latencies_add(&latencies, us);
	assert_int_equal(latencies_quantile(&latencies, 0), 1);
	assert_int_equal(latencies_quantile(&latencies, 0.5), 500);
	assert_int_equal(latencies_quantile(&latencies, 0.99), 990);
	assert_int_equal(latencies_quantile(&latencies, 1), 1000);
	assert_int_equal(latencies.least_us, 1);
	assert_int_equal(latencies.most_us, 1000);
	assert_int_equal(latencies.sum_us, 500500);
}

static void the_edges_of_buckets_are_kept_apart(void **state)
{
	(void)state;
	static const uint64_t edges[] = { 0, 2047, 2048, 2049, 4095, 4096, 1 << 20, UINT32_MAX };
	for (size_t i = 0; i < countof(edges); i++) {
		latencies = (struct latencies){ 0 };
		latencies_add(&latencies, edges[i]);
		latencies_add(&latencies, UINT32_MAX); /* so that the largest value does not help */
		uint64_t told = latencies_quantile(&latencies, 0.5);
		assert_true(told >= edges[i] && told <= edges[i] + edges[i] / 1024);
	}
}

static void what_is_too_long_counts_as_the_longest(void **state)
{
	(void)state;
	latencies = (struct latencies){ 0 };
	latencies_add(&latencies, UINT64_MAX);
	assert_int_equal(latencies_quantile(&latencies, 1), UINT32_MAX);
}

static int compare_values(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return (a > b) - (a < b);
}

/* Against the sorted values themselves, over six powers of ten. */
static void any_quantile_is_right_to_a_thousandth(void **state)
{
	enum { COUNT = 100000 };
	static uint64_t values[COUNT];
	static const double shares[] = { 0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1 };
	uint64_t random = random_seeded(7);
	(void)state;
	latencies = (struct latencies){ 0 };
	for (size_t i = 0; i < COUNT; i++) {
		uint64_t most = 1;
		for (double power = random_part(&random) * 6; power > 0; power--)
			most *= 10;
		values[i] = (uint64_t)(random_part(&random) * (double)most);
		latencies_add(&latencies, values[i]);
	}
	qsort(values, COUNT, sizeof *values, compare_values);
	for (size_t i = 0; i < countof(shares); i++) {
		uint64_t right = values[(size_t)(shares[i] * COUNT + 0.5) - 1],
			 told = latencies_quantile(&latencies, shares[i]);
		assert_true(told >= right && told <= right + right / 1000 + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_have_no_quantile),
		cmocka_unit_test(small_values_are_exact),
		cmocka_unit_test(the_edges_of_buckets_are_kept_apart),
		cmocka_unit_test(what_is_too_long_counts_as_the_longest),
		cmocka_unit_test(any_quantile_is_right_to_a_thousandth),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
