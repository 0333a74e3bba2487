/* SPDX-License-Identifier: Apache-2.0 */
/* How each call ends, over a fake upstream and a clock turned by hand: answered, late, given up, refused, without
 * memory. */
#include <stdio.h>

#include "tests/support/batcher_test.h"

#include "tests/support/alloc_fail.h"

/* --- how each ends --- */

static void answers_in_any_order_reach_their_callers(void **state)
{
	(void)state;
	struct probe calls[8];
	start_calls(calls, 8);
	world_tick(&world);
	struct exchange *exchange = fake_nth(0);
	static const size_t order[] = { 3, 7, 0, 1, 6, 2, 5, 4 };
	for (size_t i = 0; i < 8; i++) {
		world_pass(&world, 100);
		fake_echo(exchange, order[i]);
		assert_own(&calls[order[i]]);
		assert_int_equal(calls[order[i]].facts.upstream_us, 100 * (i + 1));
	}
	fake_complete(exchange, OUTCOME_OK);
	world_tick(&world);
	world_stop(&world);
}

static void one_calls_error_is_its_own(void **state)
{
	(void)state;
	struct probe calls[3];
	start_calls(calls, 3);
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
	expire_in(&calls[1], 2000);
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

/* It waited for a connection all the time. The request is written, and leaves with the call for the sake of the third. */
static void a_call_that_expires_before_a_byte_has_left_may_leave_yet(void **state)
{
	(void)state;
	struct probe calls[3];
	start_calls(calls, 3);
	for (int i = 0; i < 2; i++)
		expire_in(&calls[i], 1000);
	calls[1].item.call.repeatable = false;
	world_tick(&world);
	fake_nth(0)->unsent = true;
	world_pass(&world, 1000);
	world_tick(&world);
	assert_ended(&calls[0], OUTCOME_DEADLINE_EXCEEDED);
	assert_ended(&calls[1], OUTCOME_OUTCOME_UNKNOWN);
	assert_int_equal(fake_aborted(), 0);
	finish_all();
	assert_own(&calls[2]);
	world_stop(&world);
}

/* Nobody has anything to fear from a repeat of what is given up before it leaves. */
static void calls_that_expire_together_before_a_byte_has_left_are_told_so(void **state)
{
	(void)state;
	struct probe calls[3];
	start_calls(calls, 3);
	for (int i = 0; i < 3; i++) {
		expire_in(&calls[i], 1000);
		calls[i].item.call.repeatable = false;
	}
	world_tick(&world);
	fake_nth(0)->unsent = true;
	world_pass(&world, 1000);
	world_tick(&world);
	for (int i = 0; i < 3; i++)
		assert_ended(&calls[i], OUTCOME_DEADLINE_EXCEEDED);
	assert_int_equal(fake_aborted(), 1);
	world_stop(&world);
}

static void a_call_that_expires_travelling_leaves_the_others_alone(void **state)
{
	(void)state;
	struct probe calls[3];
	start_calls(calls, 3);
	expire_in(&calls[0], 1000);
	expire_in(&calls[1], 1000);
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
	struct probe calls[3];
	start_calls(calls, 3);
	expire_in(&calls[0], 1000);
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

static void an_answered_exchange_is_left_to_complete(void **state)
{
	(void)state;
	start_plain_busy();
	fake_echo(fake_nth(0), 0);
	world_pass(&world, 100000);
	world_tick(&world);
	assert_int_equal(fake_aborted(), 0);
	fake_complete(fake_nth(0), OUTCOME_OK);
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
	/* a group, a lane, an entry in it and one in the run queue each; a table that kept them would have had to
	 * grow */
	assert_int_equal(alloc_count(), 4000);
	finish_all();
	world_stop(&world);
}

static void a_refusal_answers_every_call_in_the_same_tick(void **state)
{
	(void)state;
	struct probe calls[4];
	start_calls(calls, 4);
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
	struct probe calls[4];
	start_calls(calls, 4);
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

static void a_forgotten_exchange_may_still_complete_by_itself(void **state)
{
	(void)state;
	struct probe calls[2];
	start_calls(calls, 2);
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
	struct probe calls[4];
	start_calls(calls, 4);
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
	expire_in(&call, 1000);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_in_any_order_reach_their_callers),
		cmocka_unit_test(one_calls_error_is_its_own),
		cmocka_unit_test(a_call_that_expires_waiting_is_never_sent),
		cmocka_unit_test(a_call_already_late_is_not_sent),
		cmocka_unit_test(a_call_that_expires_before_a_byte_has_left_may_leave_yet),
		cmocka_unit_test(calls_that_expire_together_before_a_byte_has_left_are_told_so),
		cmocka_unit_test(a_call_that_expires_travelling_leaves_the_others_alone),
		cmocka_unit_test(an_exchange_nobody_waits_for_is_aborted),
		cmocka_unit_test(an_aborted_flight_lets_the_next_ones_go),
		cmocka_unit_test(an_answered_exchange_is_left_to_complete),
		cmocka_unit_test(cancelled_while_waiting_is_gone_at_once),
		cmocka_unit_test(lanes_emptied_at_the_cap_are_freed),
		cmocka_unit_test(a_refusal_answers_every_call_in_the_same_tick),
		cmocka_unit_test(abort_all_answers_everything),
		cmocka_unit_test(a_callback_may_add),
		cmocka_unit_test(a_callback_may_cancel_its_neighbours),
		cmocka_unit_test(a_forgotten_exchange_may_still_complete_by_itself),
		cmocka_unit_test(a_callback_may_cancel_those_about_to_be_told),
		cmocka_unit_test(a_callback_may_add_its_own_item_again),
		cmocka_unit_test(without_memory_calls_are_shed_never_lost),
		cmocka_unit_test(without_memory_expiry_still_answers),
		cmocka_unit_test(without_memory_there_is_no_batcher),
	};
	return cmocka_run_group_tests_name("batcher", tests, NULL, NULL);
}
