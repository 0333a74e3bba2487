/* SPDX-License-Identifier: Apache-2.0 */
/* The waiting line: fair over callers, urgent first, nothing starves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "batcher/lane.h"
#include "tests/support/alloc_fail.h"

#define SEED UINT64_C(42)

static struct batch_item item_of(uint64_t caller, uint8_t urgency)
{
	return (struct batch_item){
		.call.arguments = SLICE("{}"),
		.deadline_us = CLOCK_NEVER,
		.urgent_us = CLOCK_NEVER,
		.caller = caller,
		.urgency = urgency,
	};
}

static struct batch_item *take_next(struct lane *lane, uint64_t now_us)
{
	struct batch_item *item = lane_next(lane);
	if (item)
		lane_take(lane, item, now_us);
	return item;
}

static void put(struct lane *lane, struct batch_item *item, uint64_t caller, uint8_t urgency, uint64_t now_us)
{
	*item = item_of(caller, urgency);
	assert_true(lane_add(lane, item, now_us));
}

static void one_callers_calls_leave_in_order(void **state)
{
	(void)state;
	struct lane *lane = lane_new(SEED);
	struct batch_item items[20];
	for (size_t i = 0; i < countof(items); i++)
		put(lane, &items[i], 1, 3, 100 + i);
	assert_int_equal(lane->items, 20);
	assert_int_equal(lane->bytes, 40);
	for (size_t i = 0; i < countof(items); i++)
		assert_ptr_equal(take_next(lane, 200), &items[i]);
	assert_null(lane_next(lane));
	assert_int_equal(lane->items, 0);
	assert_int_equal(lane->bytes, 0);
	lane_free(lane);
}

static void a_single_call_is_second_to_ten_thousand(void **state)
{
	(void)state;
	enum { MANY = 10000 };
	struct lane *lane = lane_new(SEED);
	struct batch_item *many = calloc(MANY, sizeof *many);
	struct batch_item single;
	for (size_t i = 0; i < MANY; i++)
		put(lane, &many[i], 1, 3, 100);
	for (size_t i = 0; i < 500; i++)
		take_next(lane, 200);
	put(lane, &single, 2, 3, 300);
	assert_ptr_equal(take_next(lane, 300), &many[500]);
	assert_ptr_equal(take_next(lane, 300), &single);
	while (take_next(lane, 400))
		;
	lane_free(lane);
	free(many);
}

static void callers_take_turns(void **state)
{
	(void)state;
	enum { CALLERS = 7, EACH = 30 };
	struct lane *lane = lane_new(SEED);
	struct batch_item items[CALLERS][EACH];
	for (uint64_t caller = 0; caller < CALLERS; caller++)
		for (size_t i = 0; i < EACH; i++)
			put(lane, &items[caller][i], caller, 3, 100);
	for (size_t i = 0; i < EACH; i++)
		for (uint64_t caller = 0; caller < CALLERS; caller++)
			assert_ptr_equal(take_next(lane, 200 + i), &items[caller][i]);
	lane_free(lane);
}

static void the_more_urgent_goes_first(void **state)
{
	(void)state;
	struct lane *lane = lane_new(SEED);
	struct batch_item items[LANE_LEVELS];
	for (size_t i = 0; i < LANE_LEVELS; i++)
		put(lane, &items[i], i, (uint8_t)(7 - i), 100 + i);
	for (size_t i = LANE_LEVELS; i-- > 0;)
		assert_ptr_equal(take_next(lane, 200), &items[i]);
	lane_free(lane);
}

static void one_caller_may_use_several_urgencies(void **state)
{
	(void)state;
	struct lane *lane = lane_new(SEED);
	struct batch_item later, sooner;
	put(lane, &later, 1, 5, 100);
	put(lane, &sooner, 1, 1, 100);
	assert_ptr_equal(take_next(lane, 100), &sooner);
	assert_ptr_equal(take_next(lane, 100), &later);
	lane_free(lane);
}

/* One urgent caller keeps the lane full for ever: the calls below are served within what their levels are worth. */
static void nothing_starves_below_an_endless_stream(void **state)
{
	(void)state;
	struct lane *lane = lane_new(SEED);
	struct batch_item low[LANE_LEVELS - 1];
	uint64_t start_us = 1000;
	for (size_t i = 0; i < countof(low); i++)
		put(lane, &low[i], 100, (uint8_t)(i + 1), start_us);
	struct batch_item stream[4];
	for (size_t i = 0; i < countof(stream); i++)
		put(lane, &stream[i], i, 0, start_us);
	uint64_t served_us[countof(low)] = { 0 };
	for (uint64_t now_us = start_us; now_us < start_us + 10 * LANE_STEP_US; now_us += 1000) {
		struct batch_item *item = take_next(lane, now_us);
		if (item >= low && item < low + countof(low))
			served_us[item - low] = now_us;
		else
			put(lane, item, item->caller, 0, now_us);
	}
	for (size_t i = 0; i < countof(low); i++) {
		uint64_t worth_us = (i + 1) * LANE_STEP_US;
		assert_in_range(served_us[i], start_us + worth_us, start_us + worth_us + 20000);
	}
	while (take_next(lane, CLOCK_NEVER))
		;
	lane_free(lane);
}

/* Ageing belongs to the turn, not to the call: a backlog that is being served gains nothing from being old. */
static void an_old_backlog_does_not_overtake_urgent_calls(void **state)
{
	(void)state;
	enum { MANY = 1000 };
	struct lane *lane = lane_new(SEED);
	struct batch_item *many = calloc(MANY, sizeof *many);
	struct batch_item urgent[20];
	for (size_t i = 0; i < MANY; i++)
		put(lane, &many[i], 1, 3, 100);
	uint64_t now_us = 100 + 60 * CLOCK_US_PER_S;
	assert_ptr_equal(take_next(lane, now_us), &many[0]); /* its turn was due */
	for (size_t i = 0; i < countof(urgent); i++)
		put(lane, &urgent[i], 2, 0, now_us);
	for (size_t i = 0; i < countof(urgent); i++)
		assert_ptr_equal(take_next(lane, now_us), &urgent[i]);
	while (take_next(lane, now_us))
		;
	lane_free(lane);
	free(many);
}

static void a_cancelled_call_leaves_the_order_as_it_was(void **state)
{
	(void)state;
	struct lane *lane = lane_new(SEED);
	struct batch_item a[3], b[1], c[2];
	for (size_t i = 0; i < 3; i++)
		put(lane, &a[i], 1, 3, 100);
	put(lane, &b[0], 2, 3, 100);
	for (size_t i = 0; i < 2; i++)
		put(lane, &c[i], 3, 3, 100);
	lane_remove(lane, &a[0]); /* head of a turn */
	lane_remove(lane, &b[0]); /* a whole turn */
	assert_null(b[0].lane);
	assert_int_equal(lane->items, 4);
	struct batch_item *order[] = { &a[1], &c[0], &a[2], &c[1] };
	for (size_t i = 0; i < countof(order); i++)
		assert_ptr_equal(take_next(lane, 200), order[i]);
	assert_int_equal(lane->entries.count, 0);
	lane_free(lane);
}

static void the_view_knows_the_oldest_and_the_tightest(void **state)
{
	(void)state;
	struct lane *lane = lane_new(SEED);
	struct batch_item items[3];
	uint64_t urgent_us[3] = { 9000, 5000, 7000 };
	for (size_t i = 0; i < 3; i++) {
		items[i] = item_of(i, 3);
		items[i].urgent_us = urgent_us[i];
		assert_true(lane_add(lane, &items[i], 100 + i));
	}
	assert_int_equal(lane_view(lane).oldest_us, 100);
	assert_int_equal(lane_view(lane).urgent_us, 5000);
	lane_set_urgent(lane, &items[1], 8000);
	assert_int_equal(lane_view(lane).urgent_us, 7000);
	lane_remove(lane, &items[0]);
	assert_int_equal(lane_view(lane).oldest_us, 101);
	lane_remove(lane, &items[2]);
	assert_int_equal(lane_view(lane).urgent_us, 8000);
	lane_remove(lane, &items[1]);
	assert_true(lane_view(lane).urgent_us == CLOCK_NEVER);
	assert_int_equal(lane_view(lane).items, 0);
	lane_free(lane);
}

static void the_key_is_a_copy_and_may_be_empty(void **state)
{
	(void)state;
	char text[] = "credential";
	struct lane_group *group = lane_group_new(slice_of(text));
	text[0] = 'X';
	assert_true(slice_equal(lane_group_key(group), SLICE("credential")));
	lane_group_free(group);
	group = lane_group_new((struct slice){ NULL, 0 });
	assert_int_equal(lane_group_key(group).len, 0);
	lane_group_free(group);
}

static void without_memory_the_call_stays_outside(void **state)
{
	(void)state;
	bool done = false;
	for (size_t n = 1; !done; n++) {
		struct batch_item item = item_of(1, 3);
		alloc_fail_at(n);
		struct lane *lane = lane_new(SEED);
		bool added = lane && lane_add(lane, &item, 100);
		alloc_reset();
		done = added;
		if (lane)
			assert_int_equal(lane->items, added);
		if (added)
			lane_remove(lane, &item);
		lane_free(lane);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_callers_calls_leave_in_order),
		cmocka_unit_test(a_single_call_is_second_to_ten_thousand),
		cmocka_unit_test(callers_take_turns),
		cmocka_unit_test(the_more_urgent_goes_first),
		cmocka_unit_test(one_caller_may_use_several_urgencies),
		cmocka_unit_test(nothing_starves_below_an_endless_stream),
		cmocka_unit_test(an_old_backlog_does_not_overtake_urgent_calls),
		cmocka_unit_test(a_cancelled_call_leaves_the_order_as_it_was),
		cmocka_unit_test(the_view_knows_the_oldest_and_the_tightest),
		cmocka_unit_test(the_key_is_a_copy_and_may_be_empty),
		cmocka_unit_test(without_memory_the_call_stays_outside),
	};
	return cmocka_run_group_tests_name("lane", tests, NULL, NULL);
}
