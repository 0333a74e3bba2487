/* SPDX-License-Identifier: Apache-2.0 */
/* What failed by no fault of its own is tried once more: after a pause, in its time, on the budget; a write only if it never left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "tests/support/batcher_world.h"

enum { CALLS = 8, BACKOFF_US = 25000 }; /* as batcher_world.c has it */

static struct world world;
static struct probe probes[CALLS];

static void begin(size_t count, bool repeatable)
{
	struct batch_policy policy = world_policy();
	world_start(&world, &policy, CALLS);
	for (size_t i = 0; i < count; i++) {
		call_init(&world, &probes[i], (unsigned)i);
		probes[i].item.call.repeatable = repeatable;
		assert_int_equal(call_add(&probes[i]), OUTCOME_OK);
	}
	world_tick(&world);
	assert_int_equal(fake_nth(0)->count, count);
}

/* Nothing leaves before it is due, and then it does. */
static void rest(void)
{
	uint64_t due_us = batcher_deadline(world.batcher);
	assert_int_equal(fake_under_way(), 0);
	assert_true(due_us <= world.now_us + BACKOFF_US + 1);
	world_pass(&world, due_us > world.now_us ? due_us - world.now_us : 0);
	world_tick(&world);
}

static void fail_with(unsigned status)
{
	fake_refuse_whole(fake_nth(0), status, 0);
	world_tick(&world);
}

/* The exchange found no connection, or says that it did not. */
static void fail_unreached(bool unsent)
{
	struct exchange *exchange = fake_nth(0);
	exchange->unsent = unsent;
	for (size_t i = 0; i < exchange->count; i++)
		fake_answer(exchange, i, answer_error(OUTCOME_UPSTREAM_UNAVAILABLE, "refused"));
	fake_complete(exchange, OUTCOME_UPSTREAM_UNAVAILABLE);
	world_tick(&world);
}

static void assert_delivered(size_t count, enum outcome outcome, unsigned attempts)
{
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(probes[i].answered, 1);
		assert_int_equal(probes[i].outcome, outcome);
		assert_int_equal(probes[i].facts.attempts, attempts);
	}
	world_stop(&world);
}

static void what_passes_is_tried_once_more(void **state)
{
	(void)state;
	static const unsigned passing[] = { 429, 502, 503, 504, 0 };
	for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
		begin(1, true);
		fail_with(passing[i]);
		assert_int_equal(probes[0].answered, 0);
		rest();
		assert_int_equal(fake_under_way(), 1);
		fake_finish(fake_nth(0));
		assert_delivered(1, OUTCOME_OK, 2);
	}
}

static void assert_alone(const struct exchange *exchange)
{
	assert_int_equal(exchange->count, 1);
}

/* The others wait meanwhile, and would fit. */
static void without_batches_what_is_sent_again_travels_alone_too(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	policy.mode = BATCH_OFF;
	policy.concurrency = 1;
	world_start(&world, &policy, CALLS);
	fake_on_send(assert_alone);
	calls_add(&world, probes, CALLS, 0);
	world_tick(&world);
	fake_refuse_whole(fake_nth(0), 429, 1);
	while (fake_sent() < CALLS + 1 || fake_under_way()) {
		world_pass(&world, CLOCK_US_PER_S);
		world_tick(&world);
		if (fake_under_way())
			fake_finish(fake_nth(0));
	}
	for (size_t i = 0; i < CALLS; i++)
		assert_int_equal(probes[i].outcome, OUTCOME_OK);
	world_stop(&world);
}

static void what_does_not_pass_is_told_at_once(void **state)
{
	(void)state;
	static const unsigned lasting[] = { 400, 404, 408, 422, 500, 501 };
	for (size_t i = 0; i < sizeof lasting / sizeof *lasting; i++) {
		begin(1, true);
		fail_with(lasting[i]);
		assert_delivered(1, OUTCOME_UPSTREAM_ERROR, 1);
	}
}

static void no_oftener_than_attempts_say(void **state)
{
	(void)state;
	begin(1, true);
	fail_with(503);
	rest();
	fail_with(503);
	assert_int_equal(fake_sent(), 2);
	assert_delivered(1, OUTCOME_UPSTREAM_ERROR, 2);
}

static void those_who_failed_together_are_tried_together(void **state)
{
	(void)state;
	begin(CALLS, true);
	fail_with(502);
	rest();
	assert_int_equal(fake_nth(0)->count, CALLS);
	fake_finish(fake_nth(0));
	assert_delivered(CALLS, OUTCOME_OK, 2);
}

static void a_write_that_was_sent_never_is(void **state)
{
	(void)state;
	static const unsigned failing[] = { 502, 503, 504, 0 };
	for (size_t i = 0; i < sizeof failing / sizeof *failing; i++) {
		begin(1, false);
		fail_with(failing[i]);
		assert_int_equal(fake_sent(), 1);
		assert_delivered(1, OUTCOME_UPSTREAM_ERROR, 1);
	}
	begin(1, false);
	fail_unreached(false);
	assert_int_equal(fake_sent(), 1);
	assert_delivered(1, OUTCOME_UPSTREAM_UNAVAILABLE, 1);
}

static void a_write_that_was_never_sent_is(void **state)
{
	(void)state;
	begin(1, false);
	fail_unreached(true);
	rest();
	assert_int_equal(fake_sent(), 2);
	fail_with(503); /* this time it was */
	assert_int_equal(fake_under_way(), 0);
	assert_delivered(1, OUTCOME_UPSTREAM_ERROR, 2);
}

/* A certificate is as wrong the next time. */
static void what_a_repeat_cannot_mend_is_told_at_once(void **state)
{
	(void)state;
	for (int repeatable = 0; repeatable <= 1; repeatable++) {
		begin(1, repeatable);
		struct answer *answer = answer_error(OUTCOME_UPSTREAM_UNAVAILABLE, "its certificate has expired");
		answer->lasting = true;
		fake_nth(0)->unsent = true;
		fake_answer(fake_nth(0), 0, answer);
		fake_complete(fake_nth(0), OUTCOME_UPSTREAM_UNAVAILABLE);
		world_tick(&world);
		assert_int_equal(fake_sent(), 1);
		assert_delivered(1, OUTCOME_UPSTREAM_UNAVAILABLE, 1);
	}
}

static void one_that_never_was_sent_says_so_in_the_end(void **state)
{
	(void)state;
	begin(1, false);
	fail_unreached(true);
	rest();
	fail_unreached(true);
	assert_delivered(1, OUTCOME_UPSTREAM_UNAVAILABLE, 2);
}

static void not_beyond_its_deadline(void **state)
{
	(void)state;
	begin(1, true);
	batcher_set_deadlines(world.batcher, &probes[0].item, world.now_us + 1, CLOCK_NEVER);
	fail_with(503);
	assert_int_equal(fake_sent(), 1);
	assert_delivered(1, OUTCOME_UPSTREAM_ERROR, 1);
}

static void not_beyond_the_budget(void **state)
{
	(void)state;
	begin(1, true);
	while (retry_budget_take(fake_retry_budget(), 1))
		continue;
	fail_with(503);
	assert_int_equal(fake_sent(), 1);
	assert_delivered(1, OUTCOME_UPSTREAM_ERROR, 1);
}

static void each_repeat_is_paid_once(void **state)
{
	(void)state;
	begin(CALLS, true);
	double before = fake_retry_budget()->calls;
	fail_with(503);
	rest();
	assert_true(fake_retry_budget()->calls == before - CALLS);
	fake_finish(fake_nth(0));
	assert_delivered(CALLS, OUTCOME_OK, 2);
}

static void not_before_retry_after(void **state)
{
	(void)state;
	begin(1, true);
	fake_refuse_whole(fake_nth(0), 503, 2);
	world_tick(&world);
	world_pass(&world, 2 * CLOCK_US_PER_S - 1);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 0);
	world_pass(&world, 1 * CLOCK_US_PER_S);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 1);
	fake_finish(fake_nth(0));
	assert_delivered(1, OUTCOME_OK, 2);
}

static void nobody_waits_for_it_any_more_and_it_is_gone(void **state)
{
	(void)state;
	begin(2, true);
	fail_with(503);
	batcher_cancel(world.batcher, &probes[0].item, world.now_us);
	batcher_cancel(world.batcher, &probes[1].item, world.now_us);
	assert_int_equal(batcher_deadline(world.batcher), 0); /* the lane is to be freed */
	world_tick(&world);
	assert_int_equal(batcher_deadline(world.batcher), CLOCK_NEVER);
	assert_int_equal(fake_sent(), 1);
	world_stop(&world);
}

static void cancel_first(struct probe *probe)
{
	batcher_cancel(probe->world->batcher, &probes[0].item, probe->world->now_us);
}

/* The read has been handed back and waits for the end of its exchange; then the write is told. */
static void one_that_failed_may_be_cancelled_while_others_are_told(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	world_start(&world, &policy, CALLS);
	call_init(&world, &probes[2], 2);
	probes[2].item.call.repeatable = false;
	probes[2].then = cancel_first;
	call_init(&world, &probes[0], 0);
	assert_int_equal(call_add(&probes[0]), OUTCOME_OK);
	assert_int_equal(call_add(&probes[2]), OUTCOME_OK);
	world_tick(&world);
	assert_int_equal(fake_nth(0)->count, 2);
	fail_with(503);
	assert_int_equal(probes[2].answered, 1);
	assert_int_equal(probes[0].answered, 0);
	world_tick(&world);
	assert_int_equal(fake_sent(), 1);
	world_stop(&world);
}

static void what_rests_is_told_when_all_ends(void **state)
{
	(void)state;
	begin(2, true);
	fail_with(503);
	struct answer *answer = answer_error(OUTCOME_SHUTTING_DOWN, "the end");
	batcher_abort_all(world.batcher, answer, world.now_us);
	answer_unref(answer);
	assert_delivered(2, OUTCOME_SHUTTING_DOWN, 1);
}

static void others_leave_while_it_rests(void **state)
{
	(void)state;
	begin(1, true);
	fail_with(503);
	call_init(&world, &probes[1], 1);
	assert_int_equal(call_add(&probes[1]), OUTCOME_OK);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 1);
	fake_finish(fake_nth(0));
	world_tick(&world);
	assert_int_equal(probes[1].answered, 1);
	assert_int_equal(probes[1].facts.attempts, 1);
	rest();
	fake_finish(fake_nth(0));
	assert_delivered(1, OUTCOME_OK, 2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_passes_is_tried_once_more),
		cmocka_unit_test(without_batches_what_is_sent_again_travels_alone_too),
		cmocka_unit_test(what_does_not_pass_is_told_at_once),
		cmocka_unit_test(no_oftener_than_attempts_say),
		cmocka_unit_test(those_who_failed_together_are_tried_together),
		cmocka_unit_test(a_write_that_was_sent_never_is),
		cmocka_unit_test(a_write_that_was_never_sent_is),
		cmocka_unit_test(what_a_repeat_cannot_mend_is_told_at_once),
		cmocka_unit_test(one_that_never_was_sent_says_so_in_the_end),
		cmocka_unit_test(not_beyond_its_deadline),
		cmocka_unit_test(not_beyond_the_budget),
		cmocka_unit_test(each_repeat_is_paid_once),
		cmocka_unit_test(not_before_retry_after),
		cmocka_unit_test(nobody_waits_for_it_any_more_and_it_is_gone),
		cmocka_unit_test(one_that_failed_may_be_cancelled_while_others_are_told),
		cmocka_unit_test(what_rests_is_told_when_all_ends),
		cmocka_unit_test(others_leave_while_it_rests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
