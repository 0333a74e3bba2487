/* SPDX-License-Identifier: Apache-2.0 */
/* Whether arrays pay, and how large they may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/clock.h"
#include "batcher/arrays.h"
#include "batcher/costs.h"

enum { SINGLE_US = 5000 };

static void arrays_as_costly_as_singles_are_shunned_and_tried_again(void **state)
{
	struct arrays arrays;
	uint64_t now_us = CLOCK_US_PER_S;
	(void)state;
	arrays_init(&arrays);
	for (unsigned i = 0; i < 2 * COSTS_KNOWN; i++)
		arrays_learn(&arrays, 1, SINGLE_US, now_us);
	for (unsigned i = 0; i < COSTS_KNOWN; i++)
		arrays_learn(&arrays, 10, 10 * SINGLE_US, now_us);
	assert_true(arrays_shunned(&arrays, now_us));
	now_us += CLOCK_US_PER_S;
	assert_false(arrays_shunned(&arrays, now_us));
	for (unsigned i = 0; i < COSTS_KNOWN; i++)
		arrays_learn(&arrays, 10, 10 * SINGLE_US, now_us);
	assert_true(arrays_shunned(&arrays, now_us + CLOCK_US_PER_S)); /* twice as long now */
	assert_false(arrays_shunned(&arrays, now_us + 2 * CLOCK_US_PER_S));
}

static void too_large_teaches_a_cap_that_grows_back(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	assert_int_equal(arrays_cap_items(&arrays, 100), 100);
	arrays_too_large(&arrays, 80, 8000);
	assert_int_equal(arrays_cap_items(&arrays, 100), 40);
	assert_int_equal(arrays_cap_bytes(&arrays, 10000), 4000);
	arrays_passed(&arrays, 1); /* says nothing */
	assert_int_equal(arrays_cap_items(&arrays, 100), 40);
	for (int i = 0; i < 100; i++)
		arrays_passed(&arrays, 100);
	assert_int_equal(arrays_cap_items(&arrays, 100), 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arrays_as_costly_as_singles_are_shunned_and_tried_again),
		cmocka_unit_test(too_large_teaches_a_cap_that_grows_back),
	};
	return cmocka_run_group_tests_name("arrays", tests, NULL, NULL);
}
