/* SPDX-License-Identifier: Apache-2.0 */
/* The batcher, over a fake upstream and a clock turned by hand: when calls leave. */
#include "tests/support/batcher_test.h"

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
	struct probe calls[7];
	start_calls(calls, 7);
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

static void what_comes_while_one_travels_leaves_when_it_completes(void **state)
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

static void a_completion_with_nobody_waiting_is_not_saved_up(void **state)
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
	expire_in(&call, 4000);
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

static void an_idle_lane_held_at_the_cap_leaves_as_completed(void **state)
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
	fake_echo(fake_nth(0), 0);
	world_tick(&world);
	assert_int_equal(fake_under_way(), SLOTS); /* half a slot is free */
	fake_echo(fake_nth(1), 0);
	world_tick(&world);
	assert_int_equal(fake_under_way(), SLOTS + 1); /* two halves are one */
	for (size_t i = 2; i < SLOTS; i++)
		fake_echo(fake_nth(i), 0);
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
		cmocka_unit_test(what_comes_while_one_travels_leaves_when_it_completes),
		cmocka_unit_test(a_completion_with_nobody_waiting_is_not_saved_up),
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
		cmocka_unit_test(an_idle_lane_held_at_the_cap_leaves_as_completed),
		cmocka_unit_test(beyond_the_queues_caps_calls_are_refused),
		cmocka_unit_test(a_slow_call_holds_no_slot_once_its_neighbours_are_answered),
	};
	return cmocka_run_group_tests_name("batcher", tests, NULL, NULL);
}
