/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a call may wait: by what waits before it, by its time, by how long the line has stood; and the batcher that
 * asks this, under five times what its provider can do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "batcher/admission.h"
#include "tests/support/batcher_world.h"

#define WAIT_US (2 * CLOCK_US_PER_S)

/* Five slots, 100 ms a call: 50 calls a second. */
static struct admission_view five_slots(size_t ahead)
{
	return (struct admission_view){
		.ahead = ahead, .waiting = ahead, .batch = 1, .slots = 5, .fixed_us = 100000, .deadline_us = CLOCK_NEVER
	};
}

static void what_is_not_known_is_admitted(void **state)
{
	struct admission admission = { .wait_us = WAIT_US };
	struct admission_view view = { .ahead = 1000000, .waiting = 1000000, .batch = 1, .slots = 1 };
	(void)state;
	assert_true(admission_evaluate(&admission, &view, CLOCK_US_PER_S).admitted);
}

static void a_line_takes_what_the_slots_let_through(void **state)
{
	(void)state;
	struct admission_view view = five_slots(0);
	assert_int_equal(admission_line_us(&view, 0), 0);
	assert_int_equal(admission_line_us(&view, 50), CLOCK_US_PER_S);
	view.batch = 10;
	view.item_us = 10000; /* ten share 200 ms: 250 calls a second */
	assert_int_equal(admission_line_us(&view, 500), 2 * CLOCK_US_PER_S);
}

/* While nobody knows how many the provider takes at once, twice as many are tried with each round. */
static void a_line_whose_slots_double_moves_faster(void **state)
{
	(void)state;
	struct admission_view view = five_slots(0);
	view.doubles = true;
	assert_int_equal(admission_line_us(&view, 0), 0);
	assert_in_range(admission_line_us(&view, 5), 99999, 100001);
	assert_in_range(admission_line_us(&view, 5 * 1023), 999999, 1000001);
}

static void a_burst_may_wait_for_as_long_as_the_line_may_be(void **state)
{
	struct admission admission = { .wait_us = WAIT_US, .short_us = CLOCK_US_PER_S };
	(void)state;
	struct admission_view view = five_slots(100);
	assert_true(admission_evaluate(&admission, &view, CLOCK_US_PER_S).admitted);
	view = five_slots(150);
	struct admission_decision decision = admission_evaluate(&admission, &view, CLOCK_US_PER_S);
	assert_false(decision.admitted);
	assert_int_equal(decision.reason, SHED_QUEUE_WAIT);
	assert_int_equal(decision.wait_us, 3 * CLOCK_US_PER_S);
	assert_int_equal(decision.retry_us, CLOCK_US_PER_S); /* then the line is short enough */
}

static void a_line_that_stands_is_kept_short(void **state)
{
	struct admission admission = { .wait_us = WAIT_US, .short_us = CLOCK_US_PER_S };
	uint64_t now_us = CLOCK_US_PER_S + WAIT_US + 1;
	(void)state;
	struct admission_view view = five_slots(50);
	assert_true(admission_stands(&admission, now_us));
	assert_false(admission_evaluate(&admission, &view, now_us).admitted);
	view = five_slots(5);
	assert_true(admission_evaluate(&admission, &view, now_us).admitted);
	view = five_slots(50); /* it is short because others are refused */
	assert_false(admission_evaluate(&admission, &view, now_us).admitted);
	now_us += WAIT_US; /* nobody comes any more */
	admission_empty(&admission, now_us);
	assert_true(admission_evaluate(&admission, &view, now_us).admitted);
}

static void a_call_that_will_be_late_is_refused_at_once(void **state)
{
	struct admission admission = { .wait_us = WAIT_US, .short_us = CLOCK_US_PER_S };
	struct admission_view view = five_slots(50);
	(void)state;
	view.deadline_us = 2 * CLOCK_US_PER_S; /* a second of line, and then the call's own time */
	struct admission_decision decision = admission_evaluate(&admission, &view, CLOCK_US_PER_S);
	assert_false(decision.admitted);
	assert_int_equal(decision.reason, SHED_DEADLINE);
	view.deadline_us += 100001;
	assert_true(admission_evaluate(&admission, &view, CLOCK_US_PER_S).admitted);
	view = five_slots(0); /* nothing ahead: sent, or nothing would ever be learned again */
	view.deadline_us = CLOCK_US_PER_S + 1;
	assert_true(admission_evaluate(&admission, &view, CLOCK_US_PER_S).admitted);
}

/* --- the batcher --- */

enum { SLOTS = 5, CALLS = 5000, LEARNING = 1250, EACH_US = 4000 };

static struct world world;
static struct probe probes[CALLS];
static uint64_t busy_until_us[SLOTS];
/* When the provider will be done with each exchange; it works on those that were given up, too. */
static struct {
	const struct exchange *exchange;
	uint64_t ends_us;
} work[CALLS];
static size_t sent;

static void note_sent(const struct exchange *exchange)
{
	uint64_t *slot = &busy_until_us[0];
	for (size_t i = 1; i < SLOTS; i++)
		slot = busy_until_us[i] < *slot ? &busy_until_us[i] : slot;
	*slot = (*slot > world.now_us ? *slot : world.now_us) + 100000;
	work[sent].exchange = exchange;
	work[sent++].ends_us = *slot;
}

/* The last that had this address. */
static uint64_t ends_us(const struct exchange *exchange)
{
	size_t i = sent - 1;
	while (work[i].exchange != exchange)
		i--;
	return work[i].ends_us;
}

static void finish_due(void)
{
	while (fake_under_way() > 0 && ends_us(fake_nth(0)) <= world.now_us)
		fake_finish(fake_nth(0));
}

/* 250 calls a second for 20 s, of which the provider can do 50, each with a second to live. */
static void five_times_overload(uint64_t live_us)
{
	struct batch_policy policy = world_policy();
	policy.mode = BATCH_OFF;
	policy.concurrency = 0;
	policy.queue_items = 10000;
	policy.queue_bytes = 1000000;
	policy.queue_wait_us = WAIT_US;
	memset(busy_until_us, 0, sizeof busy_until_us);
	sent = 0;
	world_start(&world, &policy, 1000);
	fake_on_send(note_sent);
	for (unsigned i = 0; i < CALLS; i++) {
		call_init(&world, &probes[i], i);
		probes[i].item.deadline_us = world.now_us + live_us;
		assert_int_equal(call_add(&probes[i]), OUTCOME_OK);
		for (unsigned j = 0; j < 4; j++) {
			world_tick(&world);
			world_pass(&world, EACH_US / 4);
			finish_due();
		}
	}
	for (unsigned ms = 0; ms < 35000; ms++) {
		world_tick(&world);
		world_pass(&world, 1000);
		finish_due();
	}
	world_tick(&world);
	fake_on_send(NULL);
}

/* Of those that came when the provider was known; the first ones were sent to find out. */
static void check_overload(void)
{
	size_t good = 0, refused = 0, at_once = 0;
	for (unsigned i = LEARNING; i < CALLS; i++) {
		const struct probe *probe = &probes[i];
		assert_int_equal(probe->answered, 1);
		good += probe->outcome == OUTCOME_OK;
		refused += probe->outcome == OUTCOME_OVERLOADED;
		at_once += probe->outcome == OUTCOME_OVERLOADED && probe->facts.waited_us == 0;
		if (probe->outcome == OUTCOME_OVERLOADED)
			assert_true(probe->retry_after_s >= 1);
	}
	size_t can = (CALLS - LEARNING) * EACH_US / 100000 * SLOTS;
	if (good * 100 < can * 93)
		fail_msg("%zu of %zu answered, %zu refused", good, can, refused);
	/* next to nothing else: the limit's tries may make a call late */
	assert_in_range(good + refused, (CALLS - LEARNING) * 199 / 200, CALLS - LEARNING);
	if (at_once * 100 < refused * 80)
		fail_msg("of %zu refused %zu at once", refused, at_once);
	world_stop(&world);
}

static void five_times_overload_is_served_as_well_as_one(void **state)
{
	(void)state;
	five_times_overload(CLOCK_US_PER_S);
	check_overload();
}

static void so_it_is_with_time_to_wait(void **state)
{
	(void)state;
	five_times_overload(30 * CLOCK_US_PER_S);
	check_overload();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_known_is_admitted),
		cmocka_unit_test(a_line_takes_what_the_slots_let_through),
		cmocka_unit_test(a_line_whose_slots_double_moves_faster),
		cmocka_unit_test(a_burst_may_wait_for_as_long_as_the_line_may_be),
		cmocka_unit_test(a_line_that_stands_is_kept_short),
		cmocka_unit_test(a_call_that_will_be_late_is_refused_at_once),
		cmocka_unit_test(five_times_overload_is_served_as_well_as_one),
		cmocka_unit_test(so_it_is_with_time_to_wait),
	};
	return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
