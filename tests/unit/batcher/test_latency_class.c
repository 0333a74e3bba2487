/* SPDX-License-Identifier: Apache-2.0 */
/* Classes of latency: which tools share requests, and that the slow ones do not hold up the fast ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "batcher/latency_class.h"
#include "tests/support/batcher_world.h"

enum { FAST, SLOW, CALLS = 64 };

static struct world world;
static struct probe probes[CALLS];
static const uint64_t takes_us[] = { [FAST] = 5 * CLOCK_US_PER_MS, [SLOW] = 2 * CLOCK_US_PER_S };

/* --- one tool --- */

static void a_tool_is_in_the_class_of_its_time(void **state)
{
	(void)state;
	static const double times_us[] = { 5e3, 60e3, 300e3, 2e6, 9e6 };
	for (unsigned i = 0; i < LATENCY_CLASS_COUNT; i++) {
		struct tool_latency latency = { 0 };
		for (unsigned n = 0; n < 30; n++)
			tool_latency_alone(&latency, times_us[i]);
		assert_int_equal(latency.class, i);
	}
}

static void near_a_border_the_class_stays(void **state)
{
	(void)state;
	struct tool_latency latency = { 0 };
	tool_latency_alone(&latency, 15e3);
	for (unsigned n = 0; n < 100; n++) {
		tool_latency_alone(&latency, n % 2 ? 17e3 : 23e3);
		assert_int_equal(latency.class, 0);
	}
}

static void an_outlier_moves_nobody(void **state)
{
	(void)state;
	struct tool_latency latency = { 0 };
	tool_latency_alone(&latency, 5e3);
	tool_latency_alone(&latency, 60e6);
	assert_int_equal(latency.class, 0);
}

static void a_new_tool_that_is_slow_in_company_is_measured_apart(void **state)
{
	(void)state;
	struct tool_latency slow = { 0 }, fast = { 0 };
	tool_latency_shared(&slow, 2e6);
	tool_latency_shared(&fast, 2e6);
	assert_int_equal(slow.measured_alone, MEASURED_ALONE);
	assert_int_equal(fast.measured_alone, MEASURED_ALONE);
	for (unsigned n = 0; n < MEASURED_ALONE; n++) {
		tool_latency_alone(&slow, 2e6);
		tool_latency_alone(&fast, 5e3);
	}
	assert_int_equal(fast.class, 0);
	assert_int_equal(slow.class, CLASS_2500MS);
	assert_int_equal(slow.measured_alone + fast.measured_alone, 0);
}

static void a_known_tool_is_patient_and_ever_more_so(void **state)
{
	(void)state;
	struct tool_latency fast = { 0 };
	tool_latency_alone(&fast, 5e3);
	unsigned last = 0;
	for (unsigned round = 0; round < 4; round++) {
		unsigned doubts = 0;
		for (; !fast.measured_alone; doubts++)
			tool_latency_shared(&fast, 2e6);
		assert_true(doubts > last);
		last = doubts;
		for (unsigned n = 0; n < MEASURED_ALONE; n++)
			tool_latency_alone(&fast, 5e3);
		assert_int_equal(fast.class, 0);
	}
}

/* --- in a batcher --- */

static void add(struct probe *probe, unsigned tag, unsigned tool)
{
	call_init(&world, probe, tag);
	probe->item.tool = tool;
	assert_int_equal(call_add(probe), OUTCOME_OK);
}

static unsigned tool_of(const struct exchange *exchange, size_t index)
{
	for (size_t i = 0; i < CALLS; i++)
		if (probes[i].arguments == exchange->calls[index].arguments.at)
			return probes[i].item.tool;
	return FAST;
}

static bool has_slow(const struct exchange *exchange)
{
	for (size_t i = 0; i < exchange->count; i++)
		if (tool_of(exchange, i) == SLOW)
			return true;
	return false;
}

/* The provider answers an array when its slowest call is done. */
static void provide_all(void)
{
	world_tick(&world);
	while (fake_under_way()) {
		size_t n = 0;
		while (n + 1 < fake_under_way() && has_slow(fake_nth(n)))
			n++;
		world_pass(&world, takes_us[has_slow(fake_nth(n))]);
		fake_finish(fake_nth(n));
		world_tick(&world);
	}
}

static void start(void)
{
	struct batch_policy policy = world_policy();
	policy.max_items = CALLS;
	policy.concurrency = 8;
	world_start(&world, &policy, CALLS);
}

/* Both tools mixed, some times over, until their classes are known. */
static void teach(void)
{
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < 8; i++)
			add(&probes[i], i, i % 2 ? SLOW : FAST);
		provide_all();
	}
}

static void tools_of_different_latency_stop_sharing(void **state)
{
	(void)state;
	start();
	for (unsigned i = 0; i < 8; i++)
		add(&probes[i], i, i % 2 ? SLOW : FAST);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 1); /* nobody knows yet */
	provide_all();
	teach();
	for (unsigned i = 0; i < 8; i++)
		add(&probes[i], i, i % 2 ? SLOW : FAST);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 2);
	for (size_t n = 0; n < 2; n++) {
		assert_int_equal(fake_nth(n)->count, 4);
		for (size_t i = 1; i < 4; i++)
			assert_int_equal(tool_of(fake_nth(n), i), tool_of(fake_nth(n), 0));
	}
	assert_int_equal(world_metric(&world, METRIC_ID_BATCH_IN_FLIGHT, CLASS_20MS), 1);
	assert_int_equal(world_metric(&world, METRIC_ID_BATCH_IN_FLIGHT, CLASS_2500MS), 1);
	assert_true(world_metric(&world, METRIC_ID_BATCH_EXCHANGE_COST, CLASS_20MS) < 20000);
	provide_all();
	world_stop(&world);
}

static void tools_of_like_latency_share(void **state)
{
	(void)state;
	start();
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 8; i++)
			add(&probes[i], i, i % 2 ? 5 : FAST);
		world_tick(&world);
		assert_int_equal(fake_under_way(), 1);
		provide_all();
	}
	world_stop(&world);
}

static void slow_calls_leave_slots_for_fast_ones(void **state)
{
	(void)state;
	start();
	teach();
	world.dialect.max_calls = CALLS;
	for (unsigned i = 0; i < 32; i++) {
		add(&probes[i], i, SLOW);
		probes[i].item.urgent_us = 0;
		batcher_set_deadlines(world.batcher, &probes[i].item, probes[i].item.deadline_us, world.now_us);
		world_tick(&world);
	}
	size_t slow = fake_under_way();
	assert_in_range(slow, 1, 6); /* of 8 */
	for (unsigned i = 40; i < 44; i++)
		add(&probes[i], i, FAST);
	world_tick(&world);
	assert_int_equal(fake_under_way(), slow + 1); /* at once */
	provide_all();
	for (unsigned i = 0; i < 32; i++)
		assert_true(probes[i].own);
	world_stop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tool_is_in_the_class_of_its_time),
		cmocka_unit_test(near_a_border_the_class_stays),
		cmocka_unit_test(an_outlier_moves_nobody),
		cmocka_unit_test(a_new_tool_that_is_slow_in_company_is_measured_apart),
		cmocka_unit_test(a_known_tool_is_patient_and_ever_more_so),
		cmocka_unit_test(tools_of_different_latency_stop_sharing),
		cmocka_unit_test(tools_of_like_latency_share),
		cmocka_unit_test(slow_calls_leave_slots_for_fast_ones),
	};
	return cmocka_run_group_tests_name("latency class", tests, NULL, NULL);
}
