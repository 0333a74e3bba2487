/* SPDX-License-Identifier: Apache-2.0 */
/* The budget for repeats: a share of what is sent, a reserve for quiet times, and waits that spread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/clock.h"
#include "upstream/retry_budget.h"

static const struct retry_settings settings = { .attempts = 2, .backoff_us = 25000, .budget_percent = 20 };

static void a_quiet_upstream_may_repeat(void **state)
{
	struct retry_budget budget;
	(void)state;
	retry_budget_init(&budget, &settings, 10);
	assert_true(retry_budget_left(&budget) == 1);
	assert_true(retry_budget_take(&budget, 10));
	assert_false(retry_budget_take(&budget, 1));
	assert_true(retry_budget_left(&budget) == 0);
}

/* Whatever fails, of 1,000 calls no more than a fifth are sent again, beyond the reserve. */
static void repeats_are_a_share_of_what_is_sent(void **state)
{
	struct retry_budget budget;
	unsigned repeats = 0;
	(void)state;
	retry_budget_init(&budget, &settings, 10);
	for (unsigned i = 0; i < 1000; i++) {
		retry_budget_deposit(&budget, 1);
		repeats += retry_budget_take(&budget, 1);
	}
	assert_in_range(repeats, 200, 210);
}

static void what_is_saved_up_is_bounded(void **state)
{
	struct retry_budget budget;
	(void)state;
	retry_budget_init(&budget, &settings, 10);
	retry_budget_deposit(&budget, 1000000);
	assert_false(retry_budget_take(&budget, 11));
	retry_budget_reserve(&budget, 400);
	assert_true(retry_budget_take(&budget, 400));
	retry_budget_reserve(&budget, 100); /* it holds more already, and is not filled by asking again */
	assert_false(retry_budget_take(&budget, 1));
}

static void all_or_nothing_is_taken(void **state)
{
	struct retry_budget budget;
	(void)state;
	retry_budget_init(&budget, &settings, 10);
	assert_false(retry_budget_take(&budget, 11));
	assert_true(retry_budget_take(&budget, 10));
}

static void a_budget_of_nothing_gives_nothing(void **state)
{
	struct retry_budget budget;
	struct retry_settings none = { .attempts = 2, .backoff_us = 25000 };
	(void)state;
	retry_budget_init(&budget, &none, 10);
	retry_budget_reserve(&budget, 400);
	retry_budget_deposit(&budget, 1000);
	assert_false(retry_budget_take(&budget, 1));
	assert_true(retry_budget_left(&budget) == 0);
}

static void waits_double_and_are_random(void **state)
{
	uint64_t least_us = UINT64_MAX, most_us = 0;
	(void)state;
	for (uint64_t random = 0; random < 1000; random++) {
		uint64_t wait_us = retry_backoff_us(&settings, 2, random * UINT64_C(0x9e3779b97f4a7c15));
		least_us = wait_us < least_us ? wait_us : least_us;
		most_us = wait_us > most_us ? wait_us : most_us;
	}
	assert_in_range(least_us, 0, 1000);
	assert_in_range(most_us, 24000, 25000);
	assert_int_equal(retry_backoff_us(&settings, 3, 50000), 50000);
	assert_true(retry_backoff_us(&settings, 1000, UINT64_MAX) <= 10 * CLOCK_US_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quiet_upstream_may_repeat),
		cmocka_unit_test(repeats_are_a_share_of_what_is_sent),
		cmocka_unit_test(what_is_saved_up_is_bounded),
		cmocka_unit_test(all_or_nothing_is_taken),
		cmocka_unit_test(a_budget_of_nothing_gives_nothing),
		cmocka_unit_test(waits_double_and_are_random),
	};
	return cmocka_run_group_tests_name("retry_budget", tests, NULL, NULL);
}
