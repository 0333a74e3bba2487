/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who goes first when slots are few: callers take turns, within a lane and over lanes, so that nobody's crowd delays
 * another's single call by more than one exchange.
 */
#include <stdio.h>
#include <stdlib.h>

#include "batcher/pauses.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/batcher_test.h"

enum { MANY = 10000 };

/* Room for a crowd, one exchange at a time. */
static void start_narrow(enum batch_mode mode)
{
	struct batch_policy policy = world_policy();
	policy.queue_items = 2 * MANY;
	policy.queue_bytes = 1 << 20;
	policy.concurrency = 1;
	policy.mode = mode;
	world_start(&world, &policy, 100);
}

static void finish_one(void)
{
	assert_int_equal(fake_under_way(), 1);
	fake_finish(fake_nth(0));
	world_tick(&world);
}

/* A call that shares its lane with nobody, or with all that have this key. */
static void add(struct probe *probe, const char *key, unsigned tag, uint64_t caller)
{
	call_init(&world, probe, tag);
	if (key)
		snprintf(probe->key, sizeof probe->key, "%s", key);
	else
		snprintf(probe->key, sizeof probe->key, "alone %u", tag);
	probe->item.lane_key = slice_of(probe->key);
	probe->item.caller = caller;
	assert_int_equal(call_add(probe), OUTCOME_OK);
}

/* MANY calls of caller 1 that each travel alone; the first has left. */
static struct probe *crowd(void)
{
	struct probe *many = calloc(MANY, sizeof *many);
	for (unsigned i = 0; i < MANY; i++)
		add(&many[i], NULL, i, 1);
	world_tick(&world);
	return many;
}

static void disperse(struct probe *many)
{
	finish_all();
	for (size_t i = 0; i < MANY; i++)
		assert_own(&many[i]);
	free(many);
	world_stop(&world);
}

static void a_single_call_leaves_with_the_next_batch(void **state)
{
	(void)state;
	start_narrow(BATCH_ADAPTIVE);
	struct probe *many = calloc(MANY, sizeof *many);
	struct probe single;
	calls_add(&world, many, MANY, 0);
	world_tick(&world);
	call_init(&world, &single, MANY);
	single.item.caller = 2;
	assert_int_equal(call_add(&single), OUTCOME_OK);
	world_tick(&world);
	fake_finish(fake_nth(0));
	world_tick(&world);
	fake_finish(fake_nth(0));
	assert_own(&single);
	assert_int_equal(single.facts.items, 10);
	assert_int_equal(world_metric(&world, METRIC_ID_BATCH_ITEMS, 0), 2);
	world_tick(&world);
	finish_all();
	for (size_t i = 0; i < MANY; i++)
		assert_own(&many[i]);
	free(many);
	world_stop(&world);
}

static void lanes_are_served_in_turn_when_slots_free(void **state)
{
	(void)state;
	start_narrow(BATCH_OFF);
	struct probe calls[3][4];
	for (unsigned lane = 0; lane < 3; lane++) {
		for (unsigned i = 0; i < 4; i++) {
			call_init(&world, &calls[lane][i], lane * 10 + i);
			calls[lane][i].key[0] = (char)('a' + lane);
			assert_int_equal(call_add(&calls[lane][i]), OUTCOME_OK);
		}
	}
	world_tick(&world);
	for (unsigned i = 0; i < 4; i++) {
		size_t seen = 0;
		for (unsigned n = 0; n < 3; n++) {
			assert_int_equal(fake_under_way(), 1);
			fake_finish(fake_nth(0));
			world_tick(&world);
		}
		for (unsigned lane = 0; lane < 3; lane++)
			seen += calls[lane][i].answered;
		assert_int_equal(seen, 3); /* one of each */
	}
	world_stop(&world);
}

static void a_single_call_waits_for_one_of_a_crowd_that_travels_one_by_one(void **state)
{
	(void)state;
	struct probe single;
	start_narrow(BATCH_ADAPTIVE);
	struct probe *many = crowd();
	world_pass(&world, 1000);
	add(&single, NULL, MANY, 2);
	world_tick(&world);
	finish_one(); /* was under way when it came */
	finish_one(); /* stood before it */
	finish_one();
	assert_own(&single);
	disperse(many);
}

static void many_callers_singles_pass_a_crowd_in_turn(void **state)
{
	(void)state;
	enum { OTHERS = 20 };
	struct probe singles[OTHERS];
	start_narrow(BATCH_OFF);
	struct probe *many = crowd();
	for (unsigned i = 0; i < OTHERS; i++)
		add(&singles[i], NULL, MANY + i, 2 + i);
	world_tick(&world);
	for (unsigned i = 0; i < OTHERS + 2; i++)
		finish_one();
	for (unsigned i = 0; i < OTHERS; i++)
		assert_own(&singles[i]);
	disperse(many);
}

static void a_lane_that_others_join_is_no_longer_its_first_callers(void **state)
{
	(void)state;
	struct probe firsts, others;
	start_narrow(BATCH_ADAPTIVE);
	struct probe *many = crowd();
	add(&firsts, "shared", MANY, 1); /* behind all of that caller's */
	world_tick(&world);
	add(&others, "shared", MANY + 1, 2);
	world_tick(&world);
	for (unsigned i = 0; i < 3; i++)
		finish_one();
	assert_own(&others);
	assert_own(&firsts); /* it travelled along */
	disperse(many);
}

static void a_crowd_that_thins_out_keeps_its_turn(void **state)
{
	(void)state;
	struct probe single;
	start_narrow(BATCH_ADAPTIVE);
	struct probe *many = crowd();
	add(&single, NULL, MANY, 2);
	world_tick(&world);
	for (size_t i = 1; i < MANY; i++)
		if (i != 5000)
			batcher_cancel(world.batcher, &many[i].item, world.now_us);
	world_tick(&world);
	finish_one();
	finish_one();
	assert_own(&many[5000]);
	assert_int_equal(single.answered, 0);
	finish_one();
	assert_own(&single);
	free(many);
	world_stop(&world);
}

/* Lines up with the nth allocation failing. */
static bool line_up_without_memory(size_t nth)
{
	struct probe calls[6];
	start_narrow(BATCH_ADAPTIVE);
	for (unsigned i = 0; i < 6; i++)
		add(&calls[i], NULL, i, i / 3);
	alloc_reset();
	alloc_fail_at(nth);
	world_tick(&world);
	bool failed = alloc_count() >= nth;
	alloc_reset();
	finish_all();
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(calls[i].answered, 1);
		assert_true(calls[i].outcome == OUTCOME_OK || (failed && calls[i].outcome == OUTCOME_OVERLOADED));
	}
	world_stop(&world);
	return failed;
}

static void without_memory_for_turns_all_are_served(void **state)
{
	(void)state;
	for (size_t nth = 1; line_up_without_memory(nth); nth++)
		assert_true(nth < 100);
}

/* Its lane stood first in its caller's name; nothing of that caller leaves, so another of his calls has the turn. */
static void a_tool_that_pauses_spends_no_turn(void **state)
{
	(void)state;
	struct pauses *pauses = pauses_new();
	struct probe busy, paused, next, other;
	assert_non_null(pauses);
	start_narrow(BATCH_OFF);
	batcher_share_pauses(world.batcher, pauses);
	add(&busy, NULL, 0, 3);
	world_tick(&world);
	pauses_prolong_tool(pauses, 1, world.now_us + 1); /* so that its calls have a lane of their own */
	call_init(&world, &paused, 1);
	paused.item.tool = 1;
	assert_int_equal(call_add(&paused), OUTCOME_OK);
	world_tick(&world);
	world_pass(&world, 2);
	world_tick(&world); /* it stands in the line */
	add(&next, NULL, 2, 1);
	add(&other, NULL, 3, 2);
	world_tick(&world);
	pauses_prolong_tool(pauses, 1, world.now_us + CLOCK_US_PER_S);
	finish_one();
	finish_one();
	assert_own(&busy);
	assert_own(&next);
	assert_int_equal(other.answered + paused.answered, 0);
	finish_one();
	assert_own(&other);
	assert_int_equal(fake_under_way(), 0);
	world_pass(&world, CLOCK_US_PER_S);
	world_tick(&world);
	finish_one();
	assert_own(&paused);
	world_stop(&world);
	pauses_unref(pauses);
}

/* back B5: 21 equal callers, one of whom sends each call with an Idempotency-Key, and so in a lane of its own. */
static void keys_buy_no_larger_share(void **state)
{
	enum { CALLERS = 20, EACH = 20 };
	static struct probe shared[CALLERS][EACH], keyed[EACH * CALLERS];
	unsigned served_keyed = 0, served_shared = 0;
	(void)state;
	start_narrow(BATCH_OFF);
	for (unsigned i = 0; i < EACH; i++)
		for (unsigned c = 0; c < CALLERS; c++)
			add(&shared[c][i], "shared", 1000 + i * CALLERS + c, 1 + c);
	for (unsigned i = 0; i < EACH * CALLERS; i++)
		add(&keyed[i], NULL, 10000 + i, 99);
	world_tick(&world);
	for (unsigned i = 0; i < 210; i++)
		finish_one();
	for (unsigned i = 0; i < EACH * CALLERS; i++)
		served_keyed += keyed[i].answered;
	for (unsigned c = 0; c < CALLERS; c++)
		for (unsigned i = 0; i < EACH; i++)
			served_shared += shared[c][i].answered;
	assert_int_equal(served_keyed + served_shared, 210);
	assert_in_range(served_keyed, 8, 12); /* a twenty-first part; it was the half */
	finish_all();
	world_stop(&world);
}

/* What leaves is a copy: of all of them at once it would make one long turn. */
static void of_large_calls_one_is_written_a_turn(void **state)
{
	(void)state;
	static char large[LOOP_HEAVY_BYTES];
	struct probe calls[4] = { { .world = NULL } }, small = { .world = NULL };
	struct batch_policy policy = world_policy();
	policy.queue_bytes = 1 << 30;
	start(&policy);
	for (unsigned i = 0; i < 3; i++) {
		call_init(&world, &calls[i], i);
		calls[i].item.call.arguments = (struct slice){ large, sizeof large };
		assert_int_equal(call_add(&calls[i]), OUTCOME_OK);
	}
	for (unsigned sent = 1; sent <= 3; sent++) {
		world_pass(&world, 10000);
		world_tick(&world);
		world_tick(&world); /* twice a turn, as a worker does */
		assert_int_equal(fake_sent(), sent);
		assert_true(sent == 3 || batcher_deadline(world.batcher) <= world.now_us); /* no sleep between */
	}
	calls_add(&world, &small, 1, 9);
	world_pass(&world, 10000);
	world_tick(&world);
	assert_int_equal(fake_sent(), 4);
	finish_all();
	world_stop(&world);
}

/* Of small calls, too, where many of them share a request. */
static void of_large_batches_one_is_written_a_turn(void **state)
{
	enum { EACH = 10, COUNT = 3 };
	(void)state;
	static char part[LOOP_HEAVY_BYTES / EACH + 1];
	struct probe calls[EACH * COUNT] = { { .world = NULL } };
	struct batch_policy policy = world_policy();
	policy.queue_bytes = 1 << 30;
	policy.max_bytes = 1 << 20;
	policy.max_items = EACH;
	start(&policy);
	for (unsigned i = 0; i < EACH * COUNT; i++) {
		call_init(&world, &calls[i], i);
		calls[i].item.call.arguments = (struct slice){ part, sizeof part };
		assert_int_equal(call_add(&calls[i]), OUTCOME_OK);
	}
	for (unsigned sent = 1; sent <= COUNT; sent++) {
		world_pass(&world, 10000);
		world_tick(&world);
		world_tick(&world);
		assert_int_equal(fake_sent(), sent);
	}
	finish_all();
	world_stop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tool_that_pauses_spends_no_turn),
		cmocka_unit_test(keys_buy_no_larger_share),
		cmocka_unit_test(a_single_call_leaves_with_the_next_batch),
		cmocka_unit_test(lanes_are_served_in_turn_when_slots_free),
		cmocka_unit_test(a_single_call_waits_for_one_of_a_crowd_that_travels_one_by_one),
		cmocka_unit_test(many_callers_singles_pass_a_crowd_in_turn),
		cmocka_unit_test(a_lane_that_others_join_is_no_longer_its_first_callers),
		cmocka_unit_test(a_crowd_that_thins_out_keeps_its_turn),
		cmocka_unit_test(without_memory_for_turns_all_are_served),
		cmocka_unit_test(of_large_calls_one_is_written_a_turn),
		cmocka_unit_test(of_large_batches_one_is_written_a_turn),
	};
	return cmocka_run_group_tests_name("batcher: fairness", tests, NULL, NULL);
}
