/* SPDX-License-Identifier: Apache-2.0 */
/* Alerts fire after a while and are over after a while; what hovers about a threshold does not flap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "gateway/admin/alert_latch.h"

#define HOLD_US (10 * CLOCK_US_PER_S)

static struct {
	struct alert_latch latch;
	uint64_t now_us;
} world;

static int begin_anew(void **state)
{
	(void)state;
	world.latch = (struct alert_latch){ 0 };
	world.now_us = 1000 * CLOCK_US_PER_S;
	return 0;
}

/* The value stays for so long, looked at once a second; how often it changed. */
static unsigned stay(double value, double threshold, bool falls, uint64_t hold_us, unsigned seconds)
{
	unsigned changes = 0;
	for (unsigned i = 0; i < seconds; i++) {
		changes += alert_latch_turn(&world.latch, value, threshold, falls, hold_us, world.now_us);
		world.now_us += CLOCK_US_PER_S;
	}
	return changes;
}

static void it_fires_when_it_has_been_so_for_long_enough(void **state)
{
	(void)state;
	assert_int_equal(stay(5, 5, false, HOLD_US, 10), 0);
	assert_false(world.latch.fires);
	assert_int_equal(stay(5, 5, false, HOLD_US, 1), 1);
	assert_true(world.latch.fires);
	assert_int_equal(stay(50, 5, false, HOLD_US, 100), 0);
}

static void what_comes_and_goes_tells_nobody(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(stay(9, 5, false, HOLD_US, 9), 0);
		assert_int_equal(stay(4.9, 5, false, HOLD_US, 1), 0);
	}
	assert_false(world.latch.fires);
}

static void it_is_over_when_it_is_clearly_better_for_a_while(void **state)
{
	(void)state;
	stay(9, 5, false, HOLD_US, 11);
	assert_true(world.latch.fires);
	assert_int_equal(stay(4.1, 5, false, HOLD_US, 100), 0); /* below, by less than a fifth */
	for (int i = 0; i < 10; i++) {
		assert_int_equal(stay(1, 5, false, HOLD_US, 9), 0);
		assert_int_equal(stay(4.5, 5, false, HOLD_US, 1), 0);
	}
	assert_int_equal(stay(3.9, 5, false, HOLD_US, 10), 0);
	assert_int_equal(stay(3.9, 5, false, HOLD_US, 1), 1);
	assert_false(world.latch.fires);
}

static void a_minute_is_long_enough_to_be_well(void **state)
{
	(void)state;
	stay(9, 5, false, 600 * CLOCK_US_PER_S, 601);
	assert_true(world.latch.fires);
	assert_int_equal(stay(0, 5, false, 600 * CLOCK_US_PER_S, 60), 0);
	assert_int_equal(stay(0, 5, false, 600 * CLOCK_US_PER_S, 1), 1);
}

static void of_what_is_left_less_is_worse(void **state)
{
	(void)state;
	assert_int_equal(stay(10, 10, true, 0, 5), 0);
	assert_int_equal(stay(9, 10, true, 0, 1), 1);
	assert_int_equal(stay(12, 10, true, 0, 5), 0);
	assert_int_equal(stay(12.5, 10, true, 0, 1), 1);
	assert_false(world.latch.fires);
}

static void a_threshold_of_nothing_is_never_reached(void **state)
{
	(void)state;
	assert_int_equal(stay(1e9, 0, false, 0, 10), 0);
	assert_int_equal(stay(0, 0, true, 0, 10), 0);
	stay(9, 5, false, 0, 1);
	assert_true(world.latch.fires);
	assert_int_equal(stay(9, 0, false, 0, 1), 1); /* a reload has taken it away */
	assert_false(world.latch.fires);
}

static void one_event_is_over_when_there_is_none(void **state)
{
	(void)state;
	assert_int_equal(stay(1, 1, false, 0, 1), 1);
	assert_int_equal(stay(1, 1, false, 0, 9), 0);
	assert_int_equal(stay(0, 1, false, 0, 1), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(it_fires_when_it_has_been_so_for_long_enough, begin_anew),
		cmocka_unit_test_setup(what_comes_and_goes_tells_nobody, begin_anew),
		cmocka_unit_test_setup(it_is_over_when_it_is_clearly_better_for_a_while, begin_anew),
		cmocka_unit_test_setup(a_minute_is_long_enough_to_be_well, begin_anew),
		cmocka_unit_test_setup(of_what_is_left_less_is_worse, begin_anew),
		cmocka_unit_test_setup(a_threshold_of_nothing_is_never_reached, begin_anew),
		cmocka_unit_test_setup(one_event_is_over_when_there_is_none, begin_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
