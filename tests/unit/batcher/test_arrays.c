/* SPDX-License-Identifier: Apache-2.0 */
/* Whether arrays are sent at all: what proves that a provider refuses them, and what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "batcher/arrays.h"
#include "batcher/costs.h"

/* One exchange in a hundred answered 500, whatever it held, once cost four fifths of the calls a second: arrays were
 * switched off. */
static void a_refusal_now_and_then_proves_nothing(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	for (unsigned i = 0; i < 1000; i++) {
		if (i % 100 == 50)
			arrays_refused(&arrays, i);
		else
			arrays_passed(&arrays, 2 + i % 30);
		assert_false(arrays_shunned(&arrays, i));
	}
}

static void two_in_a_row_do(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	arrays_refused(&arrays, 0);
	arrays_passed(&arrays, 1); /* a call alone says nothing of arrays */
	arrays_refused(&arrays, 0);
	assert_true(arrays_shunned(&arrays, CLOCK_US_PER_S - 1));
	assert_false(arrays_shunned(&arrays, CLOCK_US_PER_S));
	arrays_refused(&arrays, CLOCK_US_PER_S); /* tried again, and no array has passed since */
	assert_true(arrays_shunned(&arrays, 3 * CLOCK_US_PER_S - 1));
	assert_false(arrays_shunned(&arrays, 3 * CLOCK_US_PER_S));
}

static void complete_array(struct arrays *arrays, size_t items, double held_us, bool late, unsigned invalidated,
			   double alone_us, uint64_t now_us)
{
	struct arrays_company company = { .items = items,
					  .held_us = held_us,
					  .explore_us = 30000,
					  .late = late,
					  .at_end = true,
					  .unmeasured = true };
	company.sent_number = arrays_sent(arrays);
	while (invalidated-- > 0)
		arrays_alone(arrays, arrays_sent_alone(arrays), now_us, alone_us, now_us);
	arrays_company(arrays, &company, now_us);
	arrays_ended(arrays);
}

/* 2 % of calls take 2 s, and an array is answered when its slowest one is done. */
static void arrays_that_calls_alone_overtake_do_not_pay(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	complete_array(&arrays, 64, 2e6, false, 7, 5000, 1);
	assert_false(arrays_shunned(&arrays, 1)); /* too few to tell */
	complete_array(&arrays, 64, 2e6, false, 8, 5000, 2);
	assert_true(arrays_shunned(&arrays, 2));
	/* a longer array that takes longer, as it should */
	arrays_init(&arrays);
	for (unsigned i = 0; i < 100; i++)
		complete_array(&arrays, 64, 50000, false, 20, 10000, i);
	assert_false(arrays_shunned(&arrays, 100));
}

static void an_array_that_is_far_too_slow_makes_one_look_what_calls_take_alone(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	complete_array(&arrays, 64, 2e6, true, 0, 0, 0);
	assert_true(arrays_shunned(&arrays, 0)); /* for as long as that takes */
	assert_false(arrays_shunned(&arrays, 30000));
	for (unsigned i = 0; i < COSTS_KNOWN; i++)
		arrays_alone(&arrays, arrays_sent_alone(&arrays), 10000, 5000, 10000);
	assert_true(arrays_shunned(&arrays, 10001));
	assert_true(arrays_shunned(&arrays, CLOCK_US_PER_S)); /* for longer: it is the company */
	/* the provider is slow, whatever it is sent */
	arrays_init(&arrays);
	complete_array(&arrays, 64, 2e6, true, 0, 0, 0);
	for (unsigned i = 0; i < COSTS_KNOWN; i++)
		arrays_alone(&arrays, arrays_sent_alone(&arrays), 10000, 2e6, 10000);
	assert_false(arrays_shunned(&arrays, 10001));
	complete_array(&arrays, 64, 2e6, true, 0, 0, 20000);
	assert_false(arrays_shunned(&arrays, 20000)); /* once looked is enough for a while */
}

/* Nobody went alone, and all arrays were as slow: what is known of them says that nothing is odd. */
static void an_array_that_takes_long_makes_one_look_if_nobody_knows_what_calls_take_alone(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	complete_array(&arrays, 64, 50000, false, 0, 0, 0);
	assert_false(arrays_shunned(&arrays, 0)); /* not long enough to pay for knowing */
	complete_array(&arrays, 64, 2e6, false, 0, 0, 0);
	assert_true(arrays_shunned(&arrays, 0));
	for (unsigned i = 0; i < COSTS_KNOWN; i++)
		arrays_alone(&arrays, arrays_sent_alone(&arrays), 10000, 1e6, 10000);
	assert_false(arrays_shunned(&arrays, 10001)); /* arrays pay */
	complete_array(&arrays, 64, 2e6, false, 0, 0, 2 * CLOCK_US_PER_S);
	assert_false(arrays_shunned(&arrays, 2 * CLOCK_US_PER_S)); /* that is known now */
	complete_array(&arrays, 4, 30e6, false, 0, 0, 3 * CLOCK_US_PER_S);
	assert_true(arrays_shunned(&arrays, 3 * CLOCK_US_PER_S)); /* by what is known they pay no more */
}

static void arrays_stay_off_while_calls_alone_are_now_and_then_slow(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	complete_array(&arrays, 64, 2e6, false, 8, 5000, 1);
	assert_true(arrays_shunned(&arrays, CLOCK_US_PER_S));
	uint64_t now_us = 1 + CLOCK_US_PER_S, slow = 0;
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t number = arrays_sent_alone(&arrays);
		if (i % 100 == 0)
			slow = number;
		else
			arrays_alone(&arrays, number, now_us, 5000, now_us);
		if (i % 100 == 20)
			assert_true(arrays_slow_alone(&arrays, slow));
		if (i >= 20 && arrays_wants_review(&arrays, now_us))
			arrays_review(&arrays, false, now_us);
		assert_true(i < 20 || arrays_shunned(&arrays, now_us));
		now_us += 5000;
	}
	for (unsigned i = 0; i < 300; i++)
		arrays_sent_alone(&arrays);
	assert_true(arrays_wants_review(&arrays, now_us + CLOCK_US_PER_S));
	arrays_review(&arrays, false, now_us + CLOCK_US_PER_S);
	assert_false(arrays_shunned(&arrays, now_us + CLOCK_US_PER_S));
}

/* Of 47 requests a second, hundreds went for calls alone before arrays were tried, and two of three while they were. */
static void where_requests_are_counted_arrays_are_tried_at_once_and_in_a_row(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	complete_array(&arrays, 64, 2e6, false, 8, 5000, 1);
	uint64_t now_us = 2 + CLOCK_US_PER_S;
	uint64_t slow = arrays_sent_alone(&arrays);
	for (unsigned i = 0; i < 20; i++)
		arrays_alone(&arrays, arrays_sent_alone(&arrays), now_us, 5000, now_us);
	assert_true(arrays_slow_alone(&arrays, slow));
	assert_true(arrays_wants_review(&arrays, now_us));
	arrays_review(&arrays, true, now_us);
	assert_false(arrays_shunned(&arrays, now_us));
	arrays_sent(&arrays);
	assert_true(arrays_shunned(&arrays, now_us));
	assert_false(arrays_outpace(&arrays, 21000, now_us)); /* the first one, of which nothing is known */
	arrays_ended(&arrays);
	complete_array(&arrays, 8, 20000, false, 0, 0, now_us);
	arrays_sent(&arrays);
	assert_true(arrays_outpace(&arrays, 21000, now_us));
	assert_false(arrays_outpace(&arrays, 2000, now_us));
	assert_false(arrays_outpace(&arrays, 0, now_us));
	arrays_shun(&arrays, now_us);
	assert_false(arrays_outpace(&arrays, 21000, now_us));
}

static void what_was_off_is_tried_again_in_small(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	for (unsigned i = 0; i < COSTS_KNOWN; i++)
		arrays_alone(&arrays, arrays_sent_alone(&arrays), 0, 5000, 0);
	arrays_shun(&arrays, 0);
	uint64_t now_us = CLOCK_US_PER_S;
	for (size_t most = 8; most <= 64; most *= 2) {
		assert_int_equal(arrays_cap_items(&arrays, 100), most);
		arrays_sent(&arrays);
		assert_true(arrays_shunned(&arrays, now_us)); /* one at a time */
		arrays_ended(&arrays);
		assert_false(arrays_shunned(&arrays, now_us));
		for (unsigned i = 0; i < 4; i++)
			complete_array(&arrays, most, 6000, false, 0, 0, now_us);
	}
	assert_int_equal(arrays_cap_items(&arrays, 100), 100);
	arrays_shun(&arrays, now_us);
	now_us += CLOCK_US_PER_S; /* what went well is no reason to be patient */
	complete_array(&arrays, 8, 8 * 5000, false, 0, 0,
		       now_us); /* as costly as eight calls alone: the trial is over */
	assert_true(arrays_shunned(&arrays, now_us + 2 * CLOCK_US_PER_S - 1));
}

/* What had been under way holds up the first one. */
static void looking_begins_again_when_the_first_one_is_back(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	complete_array(&arrays, 64, 2e6, true, 0, 0, 0);
	arrays_alone(&arrays, arrays_sent_alone(&arrays), 20000, 5000, 20000);
	arrays_alone(&arrays, arrays_sent_alone(&arrays), 40000, 5000, 40000);
	assert_true(arrays_shunned(&arrays, 49999));
	assert_false(arrays_shunned(&arrays, 50000));
}

/* Arrays cost 6 ms a call, and the one call that ever went alone took 5: eight go alone to see. Arrays of before are still in
 * the provider's queue, and what queues behind them takes as long as they do. (A flood was sent in arrays for good: calls
 * alone were taken to need 400 ms.) */
static void what_queues_behind_arrays_does_not_tell_what_calls_take_alone(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	arrays_alone(&arrays, arrays_sent_alone(&arrays), 0, 5000, 5000);
	complete_array(&arrays, 10, 60000, false, 0, 0, 100000);
	arrays_made_way(&arrays, 40000, 2, 100000);
	assert_true(arrays_explore(&arrays, 100000));
	for (unsigned i = 0; i < COSTS_KNOWN; i++)
		arrays_alone(&arrays, arrays_sent_alone(&arrays), 100000, 20000, 120000);
	assert_true(arrays_explore(&arrays, 120000)); /* these do not count */
	arrays_made_way(&arrays, 60000, 1,
			120000); /* there is one more, which may take as long as this one did: 60 ms */
	arrays_alone(&arrays, arrays_sent_alone(&arrays), 120000, 5000, 179000);
	assert_int_equal(arrays.alone, 0);
	arrays_made_way(&arrays, 60000, 0, 179000); /* the last one */
	uint64_t late = arrays_sent_alone(&arrays), now_us = 184000;
	arrays_alone(&arrays, late, 178999, 5000, now_us); /* left before */
	assert_int_equal(arrays.alone, 0);
	for (unsigned i = 0; i < COSTS_KNOWN; i++)
		arrays_alone(&arrays, arrays_sent_alone(&arrays), 179000, 5000, now_us);
	assert_false(arrays_explore(&arrays, now_us)); /* it is known */
	assert_true(arrays_shunned(&arrays, now_us + CLOCK_US_PER_S - 1));
	assert_int_equal(arrays.off_us, now_us);
}

/* Other classes' arrays never end: as long as those of before may take, and no longer, calls are taken to be held up. */
static void looking_is_not_put_off_for_good(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	arrays_alone(&arrays, arrays_sent_alone(&arrays), 0, 5000, 5000);
	complete_array(&arrays, 10, 60000, false, 0, 0, 100000);
	arrays_made_way(&arrays, 90000, 5, 101000);
	for (uint64_t now_us = 102000; now_us < 112000; now_us += 1000)
		arrays_made_way(&arrays, 100500, 5, now_us); /* others, sent since */
	arrays_alone(&arrays, arrays_sent_alone(&arrays), 101000, 5000, 113000);
	assert_int_equal(arrays.ahead_until_us, 0);
	for (unsigned i = 0; i < COSTS_KNOWN; i++)
		arrays_alone(&arrays, arrays_sent_alone(&arrays), 113000, 5000, 118000);
	assert_true(arrays_shunned(&arrays, 118000 + CLOCK_US_PER_S - 1));
	/* and if nothing ever comes back, calls go in arrays again */
	arrays_init(&arrays);
	arrays_alone(&arrays, arrays_sent_alone(&arrays), 0, 5000, 5000);
	complete_array(&arrays, 10, 60000, false, 0, 0, 100000);
	assert_true(arrays_shunned(&arrays, 129999));
	assert_false(arrays_shunned(&arrays, 130000));
	arrays_made_way(&arrays, 90000, 0, 130000);
	assert_false(arrays_shunned(&arrays, 130000));
}

/* Where calls come too seldom for long arrays, one at a time would be the rule for good. */
static void a_trial_ends_with_short_arrays_too(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	for (unsigned i = 0; i < COSTS_KNOWN; i++)
		arrays_alone(&arrays, arrays_sent_alone(&arrays), 0, 5000, 0);
	arrays_shun(&arrays, 0);
	for (unsigned i = 0; i < 4; i++)
		complete_array(&arrays, 8, 6000, false, 0, 0, CLOCK_US_PER_S);
	for (unsigned i = 0; i < 3 * 16; i++)
		complete_array(&arrays, 6, 6000, false, 0, 0, CLOCK_US_PER_S);
	assert_int_equal(arrays.trial, 0);
}

/* Calls that wander between classes bring along what is known of them, unless they share the class with others. */
static void who_comes_brings_along_what_is_known(void **state)
{
	struct arrays from, to;
	(void)state;
	arrays_init(&from);
	arrays_init(&to);
	arrays_passed(&to, 4);
	arrays_sent_alone(&to);
	complete_array(&from, 64, 2e6, false, 8, 5000, 1);
	assert_true(arrays_shunned(&from, 2));
	arrays_inherit(&to, &from, true);
	assert_false(arrays_shunned(&to, 2)); /* others know better */
	arrays_inherit(&to, &from, false);
	assert_true(arrays_shunned(&to, 2));
	assert_int_equal(to.alone_sent, from.alone_sent);
	arrays_forget(&to); /* those under way keep their numbers */
	assert_false(arrays_shunned(&to, 2));
	assert_int_equal(to.alone_sent, from.alone_sent);
	assert_false(arrays_slow_alone(&to, to.alone_sent + 1)); /* another class's */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refusal_now_and_then_proves_nothing),
		cmocka_unit_test(two_in_a_row_do),
		cmocka_unit_test(arrays_that_calls_alone_overtake_do_not_pay),
		cmocka_unit_test(an_array_that_is_far_too_slow_makes_one_look_what_calls_take_alone),
		cmocka_unit_test(an_array_that_takes_long_makes_one_look_if_nobody_knows_what_calls_take_alone),
		cmocka_unit_test(arrays_stay_off_while_calls_alone_are_now_and_then_slow),
		cmocka_unit_test(where_requests_are_counted_arrays_are_tried_at_once_and_in_a_row),
		cmocka_unit_test(what_was_off_is_tried_again_in_small),
		cmocka_unit_test(looking_begins_again_when_the_first_one_is_back),
		cmocka_unit_test(what_queues_behind_arrays_does_not_tell_what_calls_take_alone),
		cmocka_unit_test(looking_is_not_put_off_for_good),
		cmocka_unit_test(a_trial_ends_with_short_arrays_too),
		cmocka_unit_test(who_comes_brings_along_what_is_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
