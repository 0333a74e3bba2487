/* SPDX-License-Identifier: Apache-2.0 */
/* The batcher, over a fake upstream and a clock turned by hand: when calls leave, and how each one ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/alloc_fail.h"
#include "tests/support/batcher_world.h"

enum { ARRAYS = 1000 };

static struct world world;

static void start(const struct batch_policy *policy)
{
	world_start(&world, policy, ARRAYS);
}

static void start_plain(void)
{
	struct batch_policy policy = world_policy();
	start(&policy);
}

/* One call on its way, so that what follows gathers. */
static struct probe first;
static void start_busy(const struct batch_policy *policy)
{
	start(policy);
	calls_add(&world, &first, 1, 9000);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 1);
}

static void start_plain_busy(void)
{
	struct batch_policy policy = world_policy();
	start_busy(&policy);
}

static void assert_own(const struct probe *probe)
{
	assert_int_equal(probe->answered, 1);
	assert_int_equal(probe->outcome, OUTCOME_OK);
	assert_true(probe->own);
}

static void assert_ended(const struct probe *probe, enum outcome outcome)
{
	assert_int_equal(probe->answered, 1);
	assert_int_equal(probe->outcome, outcome);
}

static void finish_all(void)
{
	while (fake_nth(0)) {
		fake_finish(fake_nth(0));
		world_tick(&world);
	}
}

/* --- when --- */

static void a_lone_call_waits_for_nothing(void **state)
{
	(void)state;
	start_plain();
	struct probe call;
	calls_add(&world, &call, 1, 0);
	assert_int_equal(fake_sent(), 0); /* not before the end of the turn */
	assert_int_equal(batcher_deadline(world.batcher), 0);
	world_tick(&world);
	assert_int_equal(fake_sent(), 1);
	assert_int_equal(world_flushes(&world, FLUSH_IDLE), 1);
	world_pass(&world, 700);
	fake_finish(fake_nth(0));
	assert_own(&call);
	assert_int_equal(call.facts.waited_us, 0);
	assert_int_equal(call.facts.upstream_us, 700);
	assert_int_equal(call.facts.items, 1);
	assert_true(call.facts.id > 0);
	world_tick(&world);
	assert_true(batcher_deadline(world.batcher) == CLOCK_NEVER);
	world_stop(&world);
}

static void calls_of_one_turn_travel_together(void **state)
{
	(void)state;
	start_plain();
	struct probe calls[7];
	calls_add(&world, calls, 7, 0);
	world_tick(&world);
	assert_int_equal(fake_sent(), 1);
	assert_int_equal(fake_nth(0)->count, 7);
	assert_int_equal(world_metric(&world, METRIC_ID_BATCH_SAVED, 0), 6);
	finish_all();
	for (size_t i = 0; i < 7; i++) {
		assert_own(&calls[i]);
		assert_int_equal(calls[i].facts.items, 7);
		assert_true(calls[i].facts.id == calls[0].facts.id);
	}
	world_stop(&world);
}

static void what_comes_while_one_travels_leaves_when_it_lands(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe calls[3];
	for (unsigned i = 0; i < 3; i++) {
		world_pass(&world, 1000);
		calls_add(&world, &calls[i], 1, i);
		world_tick(&world);
	}
	assert_int_equal(fake_sent(), 1);
	world_pass(&world, 1000);
	fake_finish(fake_nth(0));
	world_tick(&world);
	assert_int_equal(fake_sent(), 2);
	assert_int_equal(fake_nth(0)->count, 3);
	assert_int_equal(world_flushes(&world, FLUSH_LANDED), 1);
	finish_all();
	assert_int_equal(calls[0].facts.waited_us, 3000);
	assert_int_equal(calls[2].facts.waited_us, 1000);
	assert_true(calls[0].facts.id > first.facts.id);
	world_stop(&world);
}

static void a_landing_with_nobody_waiting_is_not_saved_up(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe one, two, late;
	calls_add(&world, &one, 1, 1);
	world_pass(&world, 5000);
	world_tick(&world); /* the window: two under way */
	assert_int_equal(fake_under_way(), 2);
	fake_finish(fake_nth(0));
	calls_add(&world, &late, 1, 2);
	calls_add(&world, &two, 1, 3);
	batcher_cancel(world.batcher, &late.item, world.now_us);
	batcher_cancel(world.batcher, &two.item, world.now_us);
	world_tick(&world);
	calls_add(&world, &two, 1, 4);
	world_tick(&world);
	assert_int_equal(fake_sent(), 2); /* it gathers behind the other one */
	finish_all();
	assert_own(&two);
	world_stop(&world);
}

static void a_full_batch_does_not_wait(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe calls[25];
	calls_add(&world, calls, 25, 0);
	world_tick(&world);
	assert_int_equal(fake_sent(), 3);
	assert_int_equal(fake_nth(1)->count, 10);
	assert_int_equal(fake_nth(2)->count, 10);
	assert_int_equal(world_flushes(&world, FLUSH_ITEMS), 2);
	assert_int_equal(world_metric(&world, METRIC_ID_BATCH_WAITING, 0), 5);
	finish_all();
	world_stop(&world);
}

static char large[2000];
static void make_large(struct probe *probe, unsigned tag, size_t bytes)
{
	call_init(&world, probe, tag);
	probe->item.call.arguments = (struct slice){ large, bytes };
	assert_int_equal(call_add(probe), OUTCOME_OK);
}

static void a_batch_full_by_bytes_does_not_wait(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe calls[3];
	make_large(&calls[0], 0, 400);
	make_large(&calls[1], 1, 400);
	world_tick(&world);
	assert_int_equal(fake_sent(), 1);
	make_large(&calls[2], 2, 400);
	world_tick(&world);
	assert_int_equal(fake_sent(), 2);
	assert_int_equal(fake_nth(1)->count, 2);
	assert_int_equal(world_flushes(&world, FLUSH_BYTES), 1);
	finish_all();
	world_stop(&world);
}

static void a_call_too_large_to_share_travels_alone(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe small[2], big;
	calls_add(&world, &small[0], 1, 0);
	make_large(&big, 1, 1500);
	calls_add(&world, &small[1], 1, 2);
	world_tick(&world);
	assert_int_equal(fake_sent(), 3);
	assert_int_equal(fake_nth(1)->count, 1); /* the small one before it */
	assert_int_equal(fake_nth(2)->count, 1);
	assert_int_equal(fake_nth(2)->calls[0].arguments.len, 1500);
	finish_all();
	assert_own(&big);
	assert_int_equal(big.facts.items, 1);
	assert_own(&small[1]);
	world_stop(&world);
}

static void the_window_ends_the_wait(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe calls[2];
	calls_add(&world, &calls[0], 1, 0);
	world_tick(&world);
	assert_int_equal(batcher_deadline(world.batcher), world.now_us + 5000);
	world_pass(&world, 3000);
	calls_add(&world, &calls[1], 1, 1);
	world_tick(&world);
	assert_int_equal(batcher_deadline(world.batcher), world.now_us + 2000); /* the oldest counts */
	world_pass(&world, 1999);
	world_tick(&world);
	assert_int_equal(fake_sent(), 1);
	world_pass(&world, 1);
	world_tick(&world);
	assert_int_equal(fake_sent(), 2);
	assert_int_equal(fake_nth(1)->count, 2);
	assert_int_equal(world_flushes(&world, FLUSH_WINDOW), 1);
	finish_all();
	world_stop(&world);
}

static void a_tight_deadline_ends_the_wait(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe patient, hurried;
	calls_add(&world, &patient, 1, 0);
	call_init(&world, &hurried, 1);
	hurried.item.urgent_us = world.now_us + 3000;
	assert_int_equal(call_add(&hurried), OUTCOME_OK);
	world_tick(&world);
	assert_int_equal(batcher_deadline(world.batcher), world.now_us + 2000); /* 1 ms margin */
	world_pass(&world, 2000);
	world_tick(&world);
	assert_int_equal(fake_sent(), 2);
	assert_int_equal(fake_nth(1)->count, 2);
	assert_int_equal(world_flushes(&world, FLUSH_DEADLINE), 1);
	finish_all();
	world_stop(&world);
}

static void the_exchange_time_is_learned_for_deadlines(void **state)
{
	(void)state;
	start_plain_busy();
	world_pass(&world, 2500);
	finish_all();
	struct probe flying, hurried;
	calls_add(&world, &flying, 1, 0); /* a new lane: it starts with what the last one knew */
	world_tick(&world);
	call_init(&world, &hurried, 1);
	hurried.item.urgent_us = world.now_us + 5000;
	assert_int_equal(call_add(&hurried), OUTCOME_OK);
	world_tick(&world);
	assert_int_equal(batcher_deadline(world.batcher), world.now_us + 5000 - 2500 - 1000);
	finish_all();
	world_stop(&world);
}

static void a_new_deadline_is_heeded(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe call;
	calls_add(&world, &call, 1, 0);
	world_tick(&world);
	batcher_set_deadlines(world.batcher, &call.item, world.now_us + 4000, world.now_us + 2000);
	world_tick(&world);
	assert_int_equal(batcher_deadline(world.batcher), world.now_us + 1000);
	batcher_set_deadlines(world.batcher, &call.item, world.now_us + 4000, CLOCK_NEVER);
	world_tick(&world);
	assert_int_equal(batcher_deadline(world.batcher), world.now_us + 4000);
	world_pass(&world, 4000);
	world_tick(&world);
	assert_ended(&call, OUTCOME_DEADLINE_EXCEEDED);
	finish_all();
	world_stop(&world);
}

static void fixed_waits_the_whole_window_when_idle(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	policy.mode = BATCH_FIXED;
	start(&policy);
	struct probe calls[2];
	calls_add(&world, &calls[0], 1, 0);
	world_tick(&world);
	world_pass(&world, 4999);
	calls_add(&world, &calls[1], 1, 1);
	world_tick(&world);
	assert_int_equal(fake_sent(), 0);
	world_pass(&world, 1);
	world_tick(&world);
	assert_int_equal(fake_sent(), 1);
	assert_int_equal(fake_nth(0)->count, 2);
	assert_int_equal(world_flushes(&world, FLUSH_WINDOW), 1);
	finish_all();
	world_stop(&world);
}

static void off_sends_each_call_by_itself(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	policy.mode = BATCH_OFF;
	start(&policy);
	struct probe calls[6];
	calls_add(&world, calls, 6, 0);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 4); /* the cap */
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(fake_nth(i)->count, 1);
	finish_all();
	assert_int_equal(world_flushes(&world, FLUSH_SINGLE), 6);
	assert_int_equal(world_metric(&world, METRIC_ID_BATCH_SAVED, 0), 0);
	for (size_t i = 0; i < 6; i++)
		assert_own(&calls[i]);
	world_stop(&world);
}

static void a_dialect_without_arrays_gets_single_calls(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	world_start(&world, &policy, 1);
	struct probe calls[3];
	calls_add(&world, calls, 3, 0);
	world_tick(&world);
	assert_int_equal(fake_sent(), 3);
	assert_int_equal(world_flushes(&world, FLUSH_SINGLE), 3);
	finish_all();
	world_stop(&world);
}

static void a_dialects_limit_caps_the_batch(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	world_start(&world, &policy, 4);
	struct probe calls[8];
	calls_add(&world, calls, 8, 0);
	world_tick(&world);
	assert_int_equal(fake_sent(), 2);
	assert_int_equal(fake_nth(0)->count, 4);
	finish_all();
	world_stop(&world);
}

/* --- who --- */

static void different_keys_never_share(void **state)
{
	(void)state;
	start_plain();
	struct probe calls[6];
	for (unsigned i = 0; i < 6; i++) {
		call_init(&world, &calls[i], i);
		calls[i].key[0] = (char)('a' + i % 3);
		assert_int_equal(call_add(&calls[i]), OUTCOME_OK);
	}
	world_tick(&world);
	assert_int_equal(fake_sent(), 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(fake_nth(i)->count, 2);
	finish_all();
	world_stop(&world);
}

static void one_lanes_flight_does_not_make_another_wait(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe other;
	call_init(&world, &other, 1);
	other.key[0] = 'x';
	assert_int_equal(call_add(&other), OUTCOME_OK);
	world_tick(&world);
	assert_int_equal(fake_sent(), 2);
	assert_int_equal(world_flushes(&world, FLUSH_IDLE), 2);
	finish_all();
	world_stop(&world);
}

static void at_the_cap_nothing_leaves(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	policy.concurrency = 2;
	start_busy(&policy);
	struct probe calls[40];
	calls_add(&world, calls, 40, 0);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 2);
	world_pass(&world, 20000);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 2);
	assert_true(batcher_deadline(world.batcher) > world.now_us); /* no busy turning */
	finish_all();
	for (size_t i = 0; i < 40; i++)
		assert_own(&calls[i]);
	world_stop(&world);
}

static void an_idle_lane_held_at_the_cap_leaves_as_landed(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	policy.concurrency = 1;
	start_busy(&policy);
	struct probe other;
	call_init(&world, &other, 1);
	other.key[0] = 'x';
	assert_int_equal(call_add(&other), OUTCOME_OK);
	world_tick(&world);
	world_pass(&world, 1000);
	fake_finish(fake_nth(0));
	world_tick(&world);
	assert_int_equal(world_flushes(&world, FLUSH_IDLE), 1);
	assert_int_equal(world_flushes(&world, FLUSH_LANDED), 1);
	finish_all();
	world_stop(&world);
}

static void beyond_the_queues_caps_calls_are_refused(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	policy.queue_items = 5;
	policy.queue_bytes = 1000;
	start_busy(&policy);
	struct probe calls[5], one_more, big;
	calls_add(&world, calls, 4, 0);
	call_init(&world, &big, 50);
	big.item.call.arguments = (struct slice){ large, 990 };
	assert_int_equal(call_add(&big), OUTCOME_OVERLOADED);
	assert_int_equal(metrics_read(world.metrics, METRIC_ID_REJECTED, REJECT_QUEUE_BYTES, 0), 1);
	calls_add(&world, &calls[4], 1, 4);
	call_init(&world, &one_more, 51);
	assert_int_equal(call_add(&one_more), OUTCOME_OVERLOADED);
	assert_int_equal(metrics_read(world.metrics, METRIC_ID_REJECTED, REJECT_QUEUE_ITEMS, 0), 1);
	world_tick(&world);
	finish_all();
	assert_int_equal(one_more.answered + big.answered, 0);
	assert_int_equal(call_add(&one_more), OUTCOME_OK); /* room again */
	world_tick(&world);
	finish_all();
	assert_own(&one_more);
	world_stop(&world);
}

/* --- how each ends --- */

static void answers_in_any_order_reach_their_callers(void **state)
{
	(void)state;
	start_plain();
	struct probe calls[8];
	calls_add(&world, calls, 8, 0);
	world_tick(&world);
	struct exchange *exchange = fake_nth(0);
	static const size_t order[] = { 3, 7, 0, 1, 6, 2, 5, 4 };
	for (size_t i = 0; i < 8; i++) {
		world_pass(&world, 100);
		fake_echo(exchange, order[i]);
		assert_own(&calls[order[i]]);
		assert_int_equal(calls[order[i]].facts.upstream_us, 100 * (i + 1));
	}
	fake_land(exchange, OUTCOME_OK);
	world_tick(&world);
	world_stop(&world);
}

static void one_calls_error_is_its_own(void **state)
{
	(void)state;
	start_plain();
	struct probe calls[3];
	calls_add(&world, calls, 3, 0);
	world_tick(&world);
	fake_answer(fake_nth(0), 1, answer_error(OUTCOME_TOOL_ERROR, "no"));
	finish_all();
	assert_own(&calls[0]);
	assert_ended(&calls[1], OUTCOME_TOOL_ERROR);
	assert_own(&calls[2]);
	world_stop(&world);
}

static void a_call_that_expires_waiting_is_never_sent(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe calls[3];
	calls_add(&world, calls, 3, 0);
	batcher_set_deadlines(world.batcher, &calls[1].item, world.now_us + 2000, CLOCK_NEVER);
	world_tick(&world);
	assert_int_equal(batcher_deadline(world.batcher), world.now_us + 2000);
	world_pass(&world, 2000);
	world_tick(&world);
	assert_ended(&calls[1], OUTCOME_DEADLINE_EXCEEDED);
	assert_true(outcome_retryable(calls[1].outcome));
	assert_int_equal(calls[1].facts.id, 0);
	assert_int_equal(calls[1].facts.items, 0);
	assert_int_equal(calls[1].facts.waited_us, 2000);
	fake_finish(fake_nth(0));
	world_tick(&world);
	assert_int_equal(fake_nth(0)->count, 2);
	finish_all();
	assert_own(&calls[0]);
	assert_own(&calls[2]);
	world_stop(&world);
}

static void a_call_already_late_is_not_sent(void **state)
{
	(void)state;
	start_plain();
	struct probe late;
	call_init(&world, &late, 0);
	late.item.deadline_us = world.now_us;
	assert_int_equal(call_add(&late), OUTCOME_OK);
	world_tick(&world);
	assert_ended(&late, OUTCOME_DEADLINE_EXCEEDED);
	assert_int_equal(fake_sent(), 0);
	world_stop(&world);
}

/* It waited for a connection all the time: neither it nor its caller has anything to fear from a repeat. */
static void a_call_that_expires_before_a_byte_has_left_is_told_so(void **state)
{
	(void)state;
	start_plain();
	struct probe calls[3];
	calls_add(&world, calls, 3, 0);
	for (int i = 0; i < 2; i++)
		batcher_set_deadlines(world.batcher, &calls[i].item, world.now_us + 1000, CLOCK_NEVER);
	calls[1].item.call.repeatable = false;
	world_tick(&world);
	fake_nth(0)->unsent = true;
	world_pass(&world, 1000);
	world_tick(&world);
	assert_ended(&calls[0], OUTCOME_DEADLINE_EXCEEDED);
	assert_ended(&calls[1], OUTCOME_DEADLINE_EXCEEDED);
	finish_all();
	assert_own(&calls[2]);
	world_stop(&world);
}

static void a_call_that_expires_travelling_leaves_the_others_alone(void **state)
{
	(void)state;
	start_plain();
	struct probe calls[3];
	calls_add(&world, calls, 3, 0);
	batcher_set_deadlines(world.batcher, &calls[0].item, world.now_us + 1000, CLOCK_NEVER);
	batcher_set_deadlines(world.batcher, &calls[1].item, world.now_us + 1000, CLOCK_NEVER);
	calls[1].item.call.repeatable = false;
	world_tick(&world);
	assert_int_equal(fake_nth(0)->deadline_us, calls[2].item.deadline_us); /* the latest */
	world_pass(&world, 1000);
	world_tick(&world);
	assert_ended(&calls[0], OUTCOME_UPSTREAM_TIMEOUT);
	assert_ended(&calls[1], OUTCOME_OUTCOME_UNKNOWN);
	assert_int_equal(calls[0].facts.items, 3);
	assert_int_equal(calls[0].facts.upstream_us, 1000);
	assert_int_equal(fake_aborted(), 0);
	finish_all();
	assert_own(&calls[2]);
	assert_int_equal(calls[0].answered + calls[1].answered, 2);
	world_stop(&world);
}

static void an_exchange_nobody_waits_for_is_aborted(void **state)
{
	(void)state;
	start_plain();
	struct probe calls[3];
	calls_add(&world, calls, 3, 0);
	batcher_set_deadlines(world.batcher, &calls[0].item, world.now_us + 1000, CLOCK_NEVER);
	world_tick(&world);
	fake_echo(fake_nth(0), 1);
	batcher_cancel(world.batcher, &calls[2].item, world.now_us);
	world_tick(&world);
	assert_int_equal(fake_aborted(), 0);
	world_pass(&world, 1000);
	world_tick(&world);
	assert_int_equal(fake_aborted(), 1);
	assert_ended(&calls[0], OUTCOME_UPSTREAM_TIMEOUT);
	assert_own(&calls[1]);
	assert_int_equal(calls[2].answered, 0);
	world_stop(&world);
}

static void an_aborted_flight_lets_the_next_ones_go(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	policy.concurrency = 1;
	start_busy(&policy);
	struct probe call;
	calls_add(&world, &call, 1, 0);
	world_tick(&world);
	batcher_cancel(world.batcher, &first.item, world.now_us);
	assert_int_equal(batcher_deadline(world.batcher), 0);
	world_tick(&world);
	assert_int_equal(fake_aborted(), 1);
	assert_int_equal(fake_under_way(), 1);
	finish_all();
	assert_own(&call);
	assert_int_equal(first.answered, 0);
	world_stop(&world);
}

static void an_answered_exchange_is_left_to_land(void **state)
{
	(void)state;
	start_plain_busy();
	fake_echo(fake_nth(0), 0);
	world_pass(&world, 100000);
	world_tick(&world);
	assert_int_equal(fake_aborted(), 0);
	fake_land(fake_nth(0), OUTCOME_OK);
	world_tick(&world);
	world_stop(&world);
}

static void cancelled_while_waiting_is_gone_at_once(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe calls[2];
	calls_add(&world, calls, 2, 0);
	batcher_cancel(world.batcher, &calls[0].item, world.now_us);
	assert_int_equal(world_metric(&world, METRIC_ID_BATCH_WAITING, 0), 1);
	batcher_cancel(world.batcher, &calls[1].item, world.now_us);
	finish_all();
	assert_int_equal(fake_sent(), 1);
	assert_int_equal(calls[0].answered + calls[1].answered, 0);
	world_stop(&world);
}

static void lanes_emptied_at_the_cap_are_freed(void **state)
{
	(void)state;
	struct batch_policy policy = world_policy();
	policy.concurrency = 1;
	start_busy(&policy);
	alloc_reset();
	for (unsigned i = 0; i < 1000; i++) {
		struct probe call;
		call_init(&world, &call, i);
		snprintf(call.key, sizeof call.key, "key %u", i);
		call.item.lane_key = slice_of(call.key);
		assert_int_equal(call_add(&call), OUTCOME_OK);
		world_tick(&world); /* lined up to send, but at the cap */
		batcher_cancel(world.batcher, &call.item, world.now_us);
		world_tick(&world);
	}
	/* a group, a lane, a turn in it and one among lanes each; a table that kept them would have had to grow */
	assert_int_equal(alloc_count(), 4000);
	finish_all();
	world_stop(&world);
}

static void a_refusal_answers_every_call_in_the_same_tick(void **state)
{
	(void)state;
	start_plain();
	struct probe calls[4];
	calls_add(&world, calls, 4, 0);
	fake_refuse(1, OUTCOME_UPSTREAM_UNAVAILABLE);
	world_tick(&world);
	for (size_t i = 0; i < 4; i++) {
		assert_ended(&calls[i], OUTCOME_UPSTREAM_UNAVAILABLE);
		assert_int_equal(calls[i].facts.id, 0);
	}
	assert_int_equal(world_metric(&world, METRIC_ID_BATCH_ITEMS, 0), 0);
	assert_int_equal(world_flushes(&world, FLUSH_IDLE), 0);
	world_stop(&world);
}

static void abort_all_answers_everything(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe calls[3], other;
	calls_add(&world, calls, 3, 0);
	call_init(&world, &other, 7);
	other.key[0] = 'x';
	assert_int_equal(call_add(&other), OUTCOME_OK);
	world_tick(&world); /* the other one travels too */
	fake_echo(fake_nth(1), 0);
	struct answer *answer = answer_error(OUTCOME_SHUTTING_DOWN, "bye");
	batcher_abort_all(world.batcher, answer, world.now_us);
	answer_unref(answer);
	assert_ended(&first, OUTCOME_SHUTTING_DOWN);
	assert_true(first.facts.id > 0);
	assert_own(&other);
	for (size_t i = 0; i < 3; i++)
		assert_ended(&calls[i], OUTCOME_SHUTTING_DOWN);
	assert_int_equal(fake_under_way(), 0);
	assert_int_equal(fake_aborted(), 2);
	world_stop(&world);
}

/* --- callbacks that come back in --- */

static struct probe followers[64];
static size_t follower_count;

static void add_another(struct probe *probe)
{
	(void)probe;
	if (follower_count == countof(followers))
		return;
	struct probe *follower = &followers[follower_count++];
	call_init(&world, follower, 500 + (unsigned)follower_count);
	follower->then = add_another;
	assert_int_equal(call_add(follower), OUTCOME_OK);
}

static void a_callback_may_add(void **state)
{
	(void)state;
	start_plain();
	follower_count = 0;
	struct probe call;
	call_init(&world, &call, 0);
	call.then = add_another;
	assert_int_equal(call_add(&call), OUTCOME_OK);
	world_tick(&world);
	finish_all();
	assert_int_equal(follower_count, countof(followers));
	for (size_t i = 0; i < countof(followers); i++)
		assert_own(&followers[i]);
	/* and from a tick: refused ones try again, without end; the tick ends */
	follower_count = 0;
	calls_add(&world, &call, 1, 0);
	call.then = add_another;
	for (size_t i = 0; i <= countof(followers); i++) {
		fake_refuse(1, OUTCOME_UPSTREAM_UNAVAILABLE);
		world_tick(&world);
	}
	assert_ended(&followers[countof(followers) - 1], OUTCOME_UPSTREAM_UNAVAILABLE);
	world_stop(&world);
}

static struct probe *victims;
static size_t victim_count;

static void cancel_victims(struct probe *probe)
{
	(void)probe;
	for (size_t i = 0; i < victim_count; i++)
		batcher_cancel(world.batcher, &victims[i].item, world.now_us);
	victim_count = 0;
}

static void a_callback_may_cancel_its_neighbours(void **state)
{
	(void)state;
	start_plain();
	struct probe calls[4];
	calls_add(&world, calls, 4, 0);
	calls[0].then = cancel_victims;
	victims = &calls[1];
	victim_count = 3;
	world_tick(&world);
	struct exchange *exchange = fake_nth(0);
	fake_echo(exchange, 0); /* nobody waits any more: aborted, but not from within its own callback */
	assert_int_equal(fake_aborted(), 0);
	fake_echo(exchange, 1);
	world_tick(&world);
	assert_int_equal(fake_aborted(), 1);
	assert_int_equal(calls[1].answered + calls[2].answered + calls[3].answered, 0);
	world_stop(&world);
}

static void a_forgotten_exchange_may_still_land_by_itself(void **state)
{
	(void)state;
	start_plain();
	struct probe calls[2];
	calls_add(&world, calls, 2, 0);
	calls[0].then = cancel_victims;
	victims = &calls[1];
	victim_count = 1;
	world_tick(&world);
	fake_finish(fake_nth(0));
	world_tick(&world);
	assert_int_equal(fake_aborted(), 0);
	assert_own(&calls[0]);
	assert_int_equal(calls[1].answered, 0);
	world_stop(&world);
}

static void a_callback_may_cancel_those_about_to_be_told(void **state)
{
	(void)state;
	start_plain();
	struct probe calls[4];
	calls_add(&world, calls, 4, 0);
	calls[0].then = cancel_victims;
	victims = &calls[1];
	victim_count = 3;
	fake_refuse(1, OUTCOME_UPSTREAM_UNAVAILABLE);
	world_tick(&world);
	assert_ended(&calls[0], OUTCOME_UPSTREAM_UNAVAILABLE);
	assert_int_equal(calls[1].answered + calls[2].answered + calls[3].answered, 0);
	world_stop(&world);
}

static void add_itself_again(struct probe *probe)
{
	probe->then = NULL;
	assert_int_equal(call_add(probe), OUTCOME_OK);
}

static void a_callback_may_add_its_own_item_again(void **state)
{
	(void)state;
	start_plain();
	struct probe call;
	calls_add(&world, &call, 1, 0);
	call.then = add_itself_again;
	world_tick(&world);
	finish_all();
	assert_int_equal(call.answered, 2);
	assert_int_equal(fake_sent(), 2);
	world_stop(&world);
}

/* --- memory --- */

/* Whichever allocation fails, each call is refused or answered once, and nothing is left behind. */
static bool survives_failure_of(size_t nth)
{
	struct probe calls[3];
	bool added[3];
	start_plain();
	alloc_reset();
	alloc_fail_at(nth);
	for (unsigned i = 0; i < 3; i++) {
		call_init(&world, &calls[i], i);
		calls[i].item.caller = i;
		added[i] = call_add(&calls[i]) == OUTCOME_OK;
	}
	world_tick(&world);
	bool failed = alloc_count() >= nth;
	alloc_reset();
	finish_all();
	size_t shed = 0;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(calls[i].answered, added[i]);
		if (added[i] && calls[i].outcome != OUTCOME_OK) {
			assert_int_equal(calls[i].outcome, OUTCOME_OVERLOADED);
			shed++;
		} else if (added[i]) {
			assert_own(&calls[i]);
		}
	}
	assert_true(failed || shed == 0);
	world_stop(&world);
	return failed;
}

static void without_memory_calls_are_shed_never_lost(void **state)
{
	(void)state;
	size_t nth = 1;
	for (;; nth++) {
		if (!survives_failure_of(nth))
			break;
	}
	assert_true(nth > 6);
}

static void without_memory_expiry_still_answers(void **state)
{
	(void)state;
	start_plain_busy();
	struct probe call;
	calls_add(&world, &call, 1, 0);
	batcher_set_deadlines(world.batcher, &call.item, world.now_us + 1000, CLOCK_NEVER);
	world_tick(&world);
	world_pass(&world, 1000);
	alloc_fail_at(1);
	world_tick(&world);
	alloc_reset();
	assert_ended(&call, OUTCOME_OVERLOADED);
	finish_all();
	world_stop(&world);
}

static void without_memory_there_is_no_batcher(void **state)
{
	(void)state;
	start_plain();
	struct meter *meter = metrics_meter(world.metrics);
	struct batcher *batcher = NULL;
	for (size_t n = 1; !batcher; n++) {
		alloc_fail_at(n);
		batcher = batcher_new(&world.policy, &world.settings, NULL, world.loop, meter);
		alloc_reset();
	}
	batcher_free(batcher);
	batcher_free(NULL);
	world_stop(&world);
}

/* Ten arrays, each with one call that takes long, and nothing is known of the provider yet: whoever comes waits for none of
 * those, since most have been answered soon. */
static void a_slow_call_holds_no_slot_once_its_neighbours_are_answered(void **state)
{
	(void)state;
	enum { SLOTS = 10, EACH = 2 };
	static struct probe pairs[SLOTS * EACH], late;
	struct batch_policy policy = world_policy();
	policy.concurrency = 0;
	policy.max_items = EACH;
	world_start(&world, &policy, EACH);
	calls_add(&world, pairs, SLOTS * EACH, 0);
	world_tick(&world);
	assert_int_equal(fake_under_way(), SLOTS);
	calls_add(&world, &late, 1, SLOTS * EACH);
	world_pass(&world, 5000);
	for (size_t i = 0; i < SLOTS; i++)
		fake_echo(fake_nth(i), 0);
	world_tick(&world);
	assert_int_equal(fake_under_way(), SLOTS);
	while (fake_under_way() == SLOTS && world.now_us < CLOCK_US_PER_S + 30000) {
		uint64_t due_us = batcher_deadline(world.batcher);
		world_pass(&world, due_us > world.now_us ? due_us - world.now_us : 1);
		world_tick(&world);
	}
	assert_int_equal(fake_under_way(), SLOTS + 1);
	while (fake_nth(0))
		fake_finish(fake_nth(0));
	world_tick(&world);
	assert_int_equal(late.answered, 1);
	world_stop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lone_call_waits_for_nothing),
		cmocka_unit_test(calls_of_one_turn_travel_together),
		cmocka_unit_test(what_comes_while_one_travels_leaves_when_it_lands),
		cmocka_unit_test(a_landing_with_nobody_waiting_is_not_saved_up),
		cmocka_unit_test(a_full_batch_does_not_wait),
		cmocka_unit_test(a_batch_full_by_bytes_does_not_wait),
		cmocka_unit_test(a_call_too_large_to_share_travels_alone),
		cmocka_unit_test(the_window_ends_the_wait),
		cmocka_unit_test(a_tight_deadline_ends_the_wait),
		cmocka_unit_test(the_exchange_time_is_learned_for_deadlines),
		cmocka_unit_test(a_new_deadline_is_heeded),
		cmocka_unit_test(fixed_waits_the_whole_window_when_idle),
		cmocka_unit_test(off_sends_each_call_by_itself),
		cmocka_unit_test(a_dialect_without_arrays_gets_single_calls),
		cmocka_unit_test(a_dialects_limit_caps_the_batch),
		cmocka_unit_test(different_keys_never_share),
		cmocka_unit_test(one_lanes_flight_does_not_make_another_wait),
		cmocka_unit_test(at_the_cap_nothing_leaves),
		cmocka_unit_test(an_idle_lane_held_at_the_cap_leaves_as_landed),
		cmocka_unit_test(beyond_the_queues_caps_calls_are_refused),
		cmocka_unit_test(answers_in_any_order_reach_their_callers),
		cmocka_unit_test(one_calls_error_is_its_own),
		cmocka_unit_test(a_call_that_expires_waiting_is_never_sent),
		cmocka_unit_test(a_call_already_late_is_not_sent),
		cmocka_unit_test(a_call_that_expires_before_a_byte_has_left_is_told_so),
		cmocka_unit_test(a_call_that_expires_travelling_leaves_the_others_alone),
		cmocka_unit_test(an_exchange_nobody_waits_for_is_aborted),
		cmocka_unit_test(an_aborted_flight_lets_the_next_ones_go),
		cmocka_unit_test(an_answered_exchange_is_left_to_land),
		cmocka_unit_test(cancelled_while_waiting_is_gone_at_once),
		cmocka_unit_test(lanes_emptied_at_the_cap_are_freed),
		cmocka_unit_test(a_refusal_answers_every_call_in_the_same_tick),
		cmocka_unit_test(abort_all_answers_everything),
		cmocka_unit_test(a_callback_may_add),
		cmocka_unit_test(a_callback_may_cancel_its_neighbours),
		cmocka_unit_test(a_forgotten_exchange_may_still_land_by_itself),
		cmocka_unit_test(a_callback_may_cancel_those_about_to_be_told),
		cmocka_unit_test(a_callback_may_add_its_own_item_again),
		cmocka_unit_test(without_memory_calls_are_shed_never_lost),
		cmocka_unit_test(without_memory_expiry_still_answers),
		cmocka_unit_test(without_memory_there_is_no_batcher),
		cmocka_unit_test(a_slow_call_holds_no_slot_once_its_neighbours_are_answered),
	};
	return cmocka_run_group_tests_name("batcher", tests, NULL, NULL);
}
