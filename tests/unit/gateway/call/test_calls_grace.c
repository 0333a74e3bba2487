/* SPDX-License-Identifier: Apache-2.0 */
/* Calls when things go less well: stale answers, limits, a cancel that crosses in the post, the end, no memory. */
#include "tests/support/alloc_fail.h"
#include "tests/support/gateway_test.h"

#define S CLOCK_US_PER_S

/* A world with one answer in its cache. */
static void start_with(const char *tool, unsigned tag)
{
	struct ask ask;
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &ask, 0, tool, tag);
	finish_all();
	assert_got(&ask, SOURCE_MISS);
}

/* --- stale --- */

static void a_stale_answer_is_refreshed_by_exactly_one(void **state)
{
	(void)state;
	struct ask ask;
	start_with("cached", 1);
	gateway_pass(&world, 61 * S); /* past its time, within its grace */
	for (unsigned i = 0; i < 20; i++) {
		ask_once(&world, &ask, i % 2, "cached", 1);
		assert_got(&ask, SOURCE_STALE);
		gateway_settle(&world);
		assert_int_equal(fake_sent(), 2);
	}
	finish_all();
	ask_once(&world, &ask, 0, "cached", 1);
	assert_got(&ask, SOURCE_HIT);
	assert_int_equal(fake_sent(), 2);
	stop();
}

static void a_refresh_that_failed_is_tried_again(void **state)
{
	(void)state;
	struct ask ask;
	start_with("cached", 1);
	gateway_pass(&world, 61 * S);
	for (unsigned i = 0; i < 3; i++) {
		ask_once(&world, &ask, 1, "cached", 1);
		assert_got(&ask, SOURCE_STALE);
		gateway_settle(&world);
		assert_int_equal(fake_sent(), 2 + i);
		fake_answer(fake_nth(0), 0, answer_error(OUTCOME_UPSTREAM_ERROR, "No."));
		fake_complete(fake_nth(0), OUTCOME_UPSTREAM_ERROR);
		gateway_settle(&world);
	}
	stop();
}

static void a_refresh_without_room_is_left_out(void **state)
{
	(void)state;
	struct ask others[8], ask;
	start_with("cached", 1);
	gateway_pass(&world, 61 * S);
	for (unsigned i = 0; i < countof(others); i++)
		ask_once(&world, &others[i], 0, "write", i);
	ask_once(&world, &ask, 0, "cached", 1);
	assert_got(&ask, SOURCE_STALE);
	assert_int_equal(atomic_load(&world.gateway.in_flight), 8);
	finish_all();
	size_t sent = fake_sent();
	ask_once(&world, &ask, 0, "cached", 1); /* now there is */
	finish_all();
	assert_int_equal(fake_sent(), sent + 1);
	stop();
}

static void trouble_upstream_is_covered_by_an_old_answer(void **state)
{
	(void)state;
	static const struct {
		enum outcome outcome;
		bool covered;
	} table[] = {
		{ OUTCOME_UPSTREAM_UNAVAILABLE, true }, { OUTCOME_UPSTREAM_ERROR, true },
		{ OUTCOME_UPSTREAM_TIMEOUT, true },     { OUTCOME_RATE_LIMITED, true },
		{ OUTCOME_TOOL_ERROR, false },
	};
	for (size_t i = 0; i < countof(table); i++) {
		struct ask calls[2];
		start_with("cached", 1);
		gateway_pass(&world, 200 * S); /* past the grace for refreshing, within that for errors */
		for (unsigned j = 0; j < 2; j++)
			ask_once(&world, &calls[j], j, "cached", 1);
		gateway_settle(&world);
		assert_int_equal(calls[0].ended, 0);
		fake_answer(fake_nth(0), 0,
			    answer_upstream_error(table[i].outcome, 0, 1, (struct slice){ NULL, 0 },
						  "No, not within a second."));
		fake_complete(fake_nth(0), table[i].outcome);
		gateway_settle(&world);
		for (unsigned j = 0; j < 2; j++) {
			assert_int_equal(calls[j].has_entry, table[i].covered);
			if (table[i].covered)
				assert_got(&calls[j], SOURCE_STALE);
			else
				assert_ended(&calls[j], table[i].outcome);
		}
		stop();
	}
}

static void a_deadline_is_covered_by_an_old_answer_too(void **state)
{
	(void)state;
	struct ask ask;
	start_with("cached", 1);
	gateway_pass(&world, 200 * S);
	ask_init(&ask, 1, "cached", 1);
	ask.caller.timeout_us = S;
	assert_true(ask_send(&world, &ask));
	gateway_settle(&world);
	gateway_pass(&world, S);
	gateway_settle(&world);
	assert_got(&ask, SOURCE_STALE);
	assert_int_equal(fake_aborted(), 1);
	stop();
}

/* --- limits --- */

/* A worker has timers for so many calls and no more: a place is taken before it is compared, not when it is sent. */
static void a_call_that_was_looked_up_has_its_place(void **state)
{
	(void)state;
	struct call *calls[9];
	struct ask ask;
	start_with("cached", 1);
	ask_init(&ask, 0, "write", 1);
	for (unsigned i = 0; i < countof(calls); i++) {
		calls[i] = call_new(world.gateway.workers[i % 2]);
		calls[i]->tool = catalogue_tool(calls[i]->catalogue, SLICE("write"));
		calls[i]->caller = &ask.caller;
		assert_int_equal(call_look_up(calls[i]), i == 8);
	}
	assert_int_equal(calls[8]->answer->outcome, OUTCOME_OVERLOADED);
	assert_int_equal(atomic_load(&world.gateway.in_flight), 8);
	for (unsigned i = 0; i < countof(calls); i++)
		call_free(calls[i]);
	assert_int_equal(atomic_load(&world.gateway.in_flight), 0);
	stop();
}

static void while_draining_nothing_is_refreshed(void **state)
{
	(void)state;
	struct ask ask;
	start_with("cached", 1);
	gateway_pass(&world, 61 * S);
	atomic_store(&world.gateway.drain_until_us, CLOCK_NEVER);
	atomic_store(&world.gateway.draining, true);
	size_t sent = fake_sent();
	ask_once(&world, &ask, 0, "cached", 1);
	gateway_settle(&world);
	assert_got(&ask, SOURCE_STALE);
	assert_int_equal(fake_sent(), sent);
	stop();
}

static void beyond_in_flight_calls_are_refused_and_hits_are_not(void **state)
{
	(void)state;
	struct ask calls[8], refused, hit;
	start_with("cached", 1);
	for (unsigned i = 0; i < countof(calls); i++)
		ask_once(&world, &calls[i], i % 2, i % 3 ? "far_write" : "write", i);
	ask_once(&world, &refused, 1, "write", 9);
	assert_ended(&refused, OUTCOME_OVERLOADED);
	assert_int_equal(gateway_metric(&world, METRIC_ID_REJECTED, REJECT_IN_FLIGHT, 0), 1);
	ask_once(&world, &hit, 0, "cached", 1);
	assert_got(&hit, SOURCE_HIT);
	finish_all();
	for (unsigned i = 0; i < countof(calls); i++)
		assert_got(&calls[i], SOURCE_BYPASS);
	assert_int_equal(atomic_load(&world.gateway.in_flight), 0);
	ask_once(&world, &refused, 1, "write", 9);
	assert_int_equal(refused.ended, 0);
	stop();
}

/* --- the post --- */

static void a_call_goes_to_its_owner_and_comes_home(void **state)
{
	(void)state;
	struct ask there, back;
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &there, 0, "far_write", 1);
	ask_once(&world, &back, 1, "write", 2);
	assert_int_equal(fake_sent(), 0);
	gateway_turn(&world, 0);
	gateway_turn(&world, 1);
	assert_int_equal(fake_sent(), 1);
	gateway_turn(&world, 0);
	assert_int_equal(fake_sent(), 2);
	fake_finish(fake_nth(0));
	fake_finish(fake_nth(0));
	assert_int_equal(there.ended + back.ended, 0);
	finish_all();
	assert_got(&there, SOURCE_BYPASS);
	assert_got(&back, SOURCE_BYPASS);
	stop();
}

static void a_call_cancelled_in_the_turn_it_was_sent_in_is_not_fetched(void **state)
{
	(void)state;
	for (unsigned home = 0; home < 2; home++) {
		struct ask ask;
		gateway_start(&world, gateway_yaml);
		ask_once(&world, &ask, home, "far_write", 1);
		ask_cancel(&ask);
		gateway_settle(&world);
		assert_int_equal(fake_sent(), 0);
		assert_int_equal(ask.ended, 0);
		stop();
	}
}

/* Cancelled after `before` half-steps of the way there and back, then turned to the end in either order. */
static void cancel_after(unsigned before, unsigned first)
{
	struct ask ask;
	unsigned step = 0;
	gateway_start(&world, gateway_yaml);
	ask_once(&world, &ask, 0, "far_cached", 1);
	if (step++ < before)
		gateway_turn(&world, 0); /* posted */
	if (step++ < before)
		gateway_turn(&world, 1); /* taken and sent */
	if (step++ < before)
		fake_echo(fake_nth(0), 0); /* answered, and maybe posted home */
	if (step++ < before)
		fake_complete(fake_nth(0), OUTCOME_OK);
	if (step++ < before)
		gateway_turn(&world, 1);
	if (fake_nth(0) && fake_nth(0)->answered) /* it does not stay so over a turn */
		fake_complete(fake_nth(0), OUTCOME_OK);
	ask_cancel(&ask);
	for (unsigned i = 0; i < 8; i++)
		gateway_turn(&world, (first + i) % 2);
	assert_int_equal(fake_under_way(), 0);
	assert_int_equal(ask.ended, 0);
	assert_int_equal(atomic_load(&world.gateway.in_flight), 0);
	stop();
}

static void a_cancel_may_cross_the_return_anywhere(void **state)
{
	(void)state;
	for (unsigned before = 0; before <= 5; before++)
		for (unsigned first = 0; first < 2; first++)
			cancel_after(before, first);
}

/* --- the end --- */

static void after_the_drains_deadline_only_memory_answers(void **state)
{
	(void)state;
	struct ask hit, miss;
	start_with("cached", 1);
	atomic_store(&world.gateway.drain_until_us, world.now_us + S);
	atomic_store(&world.gateway.draining, true);
	ask_once(&world, &miss, 0, "cached", 2); /* not yet */
	assert_int_equal(miss.ended, 0);
	finish_all();
	gateway_pass(&world, S);
	ask_once(&world, &miss, 0, "cached", 3);
	assert_ended(&miss, OUTCOME_SHUTTING_DOWN);
	ask_once(&world, &hit, 0, "cached", 1);
	assert_got(&hit, SOURCE_HIT);
	stop();
}

static void the_end_answers_everybody(void **state)
{
	(void)state;
	static const char *const tools[] = { "cached", "far_cached", "write", "far_write", "cached", "far_cached" };
	for (unsigned turns = 0; turns <= 4; turns++) {
		struct ask calls[countof(tools)];
		gateway_start(&world, gateway_yaml);
		for (unsigned i = 0; i < countof(tools); i++)
			ask_once(&world, &calls[i], i % 2, tools[i], 1);
		for (unsigned i = 0; i < turns; i++)
			gateway_turn(&world, i % 2);
		bool quiet[2] = { false, false };
		while (!quiet[0] || !quiet[1])
			for (unsigned i = 0; i < 2; i++)
				quiet[i] = worker_settle(world.gateway.workers[i]);
		for (unsigned i = 0; i < countof(tools); i++) {
			/* one that was sent and may not be sent again is another matter than one that was not */
			bool unknown = calls[i].facts.id && strstr(tools[i], "write");
			assert_ended(&calls[i], unknown ? OUTCOME_OUTCOME_UNKNOWN : OUTCOME_SHUTTING_DOWN);
		}
		assert_int_equal(fake_under_way(), 0);
		stop();
	}
}

/* --- memory --- */

/* A call of each kind while the nth allocation fails. How many allocations there were. */
static size_t starve(size_t nth)
{
	static const char *const tools[] = {
		"cached", "far_cached", "write", "far_write", "cached", "merged", "cached"
	};
	struct ask calls[countof(tools)];
	start_with("cached", 7);
	gateway_pass(&world, 61 * S);
	alloc_reset();
	alloc_fail_at(nth);
	for (unsigned i = 0; i < countof(tools); i++) {
		ask_init(&calls[i], i % 2, tools[i], i == 6 ? 7 : 1); /* the last is stale: it starts a refresh */
		if (!ask_send(&world, &calls[i]))
			calls[i].ended = 1, calls[i].outcome = OUTCOME_OVERLOADED;
	}
	gateway_settle(&world);
	size_t count = alloc_count();
	alloc_reset();
	finish_all();
	for (unsigned i = 0; i < countof(tools); i++) {
		assert_int_equal(calls[i].ended, 1);
		assert_true(calls[i].outcome == OUTCOME_OK || calls[i].outcome == OUTCOME_OVERLOADED);
		if (calls[i].outcome == OUTCOME_OK)
			assert_true(calls[i].own);
	}
	stop();
	return count;
}

static void without_memory_calls_are_shed_and_nothing_leaks(void **state)
{
	(void)state;
	size_t count = starve(0);
	assert_in_range(count, 20, 200);
	for (size_t nth = 1; nth <= count; nth++)
		starve(nth);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stale_answer_is_refreshed_by_exactly_one),
		cmocka_unit_test(a_refresh_that_failed_is_tried_again),
		cmocka_unit_test(a_refresh_without_room_is_left_out),
		cmocka_unit_test(trouble_upstream_is_covered_by_an_old_answer),
		cmocka_unit_test(a_deadline_is_covered_by_an_old_answer_too),
		cmocka_unit_test(beyond_in_flight_calls_are_refused_and_hits_are_not),
		cmocka_unit_test(a_call_that_was_looked_up_has_its_place),
		cmocka_unit_test(while_draining_nothing_is_refreshed),
		cmocka_unit_test(a_call_goes_to_its_owner_and_comes_home),
		cmocka_unit_test(a_call_cancelled_in_the_turn_it_was_sent_in_is_not_fetched),
		cmocka_unit_test(a_cancel_may_cross_the_return_anywhere),
		cmocka_unit_test(after_the_drains_deadline_only_memory_answers),
		cmocka_unit_test(the_end_answers_everybody),
		cmocka_unit_test(without_memory_calls_are_shed_and_nothing_leaks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
