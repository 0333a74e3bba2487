/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storms: two workers, random calls, wishes, cancels, answers, refusals, waits and turns, by seed. Whatever the order:
 * a call ends exactly once, or never if it was cancelled; with its own answer; in time; and nothing is left over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/gateway_world.h"

enum { SCENARIOS = 2000, STEPS = 60, ASKS = 40 };

static struct gateway_world world;
static struct ask asks[ASKS];
static bool cancelled[ASKS];
static uint64_t due_us[ASKS]; /* when it must have ended */
static size_t asked;
static unsigned seed;

static unsigned pick(unsigned below)
{
	return (unsigned)rand_r(&seed) % below;
}

static bool one_in(unsigned n)
{
	return pick(n) == 0;
}

static void send_one(void)
{
	static const char *const tools[] = { "cached",     "cached", "far_cached", "merged", "far_merged",
					     "far_merged", "write",  "far_write",  "tenants" };
	if (asked == ASKS)
		return;
	struct ask *ask = &asks[asked];
	uint64_t timeout_us = 5 * CLOCK_US_PER_S;
	ask_init(ask, pick(2), tools[pick(countof(tools))], pick(3));
	ask->caller.number = pick(3);
	ask->caller.urgency = (uint8_t)pick(8);
	if (one_in(3))
		timeout_us = ask->caller.timeout_us = (1 + pick(6000)) * CLOCK_US_PER_MS;
	ask->caller.directives =
		(struct cache_directives){ .no_cache = one_in(8), .no_store = one_in(8), .only_if_cached = one_in(16) };
	cancelled[asked] = false;
	due_us[asked] = world.now_us + timeout_us;
	asked++;
	assert_true(ask_send(&world, ask));
}

static void cancel_one(void)
{
	size_t i = asked ? pick((unsigned)asked) : 0;
	if (i < asked && asks[i].call) {
		cancelled[i] = true;
		ask_cancel(&asks[i]);
	}
}

/* Answers come in any order; the exchange is over with the last. */
static void answer_one(void)
{
	static const enum outcome outcomes[] = { OUTCOME_UPSTREAM_ERROR, OUTCOME_TOOL_ERROR,
						 OUTCOME_UPSTREAM_UNAVAILABLE, OUTCOME_RATE_LIMITED };
	if (!fake_under_way())
		return;
	struct exchange *exchange = fake_nth(pick((unsigned)fake_under_way()));
	size_t index = pick((unsigned)exchange->count);
	while (exchange->calls[index].answered)
		index = (index + 1) % exchange->count;
	if (one_in(3))
		fake_answer(exchange, index, answer_error(outcomes[pick(countof(outcomes))], "No."));
	else
		fake_echo(exchange, index);
	if (exchange->answered == exchange->count)
		fake_complete(exchange, OUTCOME_OK);
}

/* Once everybody has had a turn, who is past his deadline has been told. */
static void all_answered_in_time(void)
{
	gateway_settle(&world);
	for (size_t i = 0; i < asked; i++)
		if (due_us[i] <= world.now_us && !cancelled[i])
			assert_int_equal(asks[i].ended, 1);
}

static void one_step(void)
{
	switch (pick(10)) {
	case 0:
	case 1:
	case 2:
		send_one();
		break;
	case 3:
		cancel_one();
		break;
	case 4:
	case 5:
		answer_one();
		break;
	case 6:
		gateway_pass(&world, (uint64_t)pick(one_in(10) ? 70000 : 800) * CLOCK_US_PER_MS);
		break;
	case 7:
		if (one_in(10))
			fake_refuse(1, OUTCOME_UPSTREAM_UNAVAILABLE);
		else if (one_in(2))
			all_answered_in_time();
		break;
	default:
		gateway_turn(&world, pick(2));
		break;
	}
}

static void finish_all(void)
{
	fake_refuse(0, OUTCOME_OK);
	gateway_settle(&world);
	for (unsigned pauses = 0; pauses < 10; pauses++) { /* 429 has made the calls wait */
		while (fake_nth(0)) {
			fake_finish(fake_nth(0));
			gateway_settle(&world);
		}
		gateway_pass(&world, 10 * CLOCK_US_PER_S);
		gateway_settle(&world);
	}
}

static void check_ends(void)
{
	for (size_t i = 0; i < asked; i++) {
		assert_int_equal(asks[i].ended, cancelled[i] ? 0 : 1);
		assert_null(asks[i].call);
		if (asks[i].ended && asks[i].outcome == OUTCOME_OK)
			assert_true(asks[i].own);
		assert_true(asks[i].outcome != OUTCOME_CANCELLED && asks[i].outcome != OUTCOME_INTERNAL);
	}
}

static void every_call_ends_once_or_was_cancelled(void **state)
{
	(void)state;
	size_t ended[OUTCOME_COUNT] = { 0 }, sources[SOURCE_BYPASS + 1] = { 0 };
	for (unsigned scenario = 1; scenario <= SCENARIOS; scenario++) {
		seed = scenario;
		asked = 0;
		gateway_start(&world, gateway_yaml);
		for (int step = 0; step < STEPS; step++)
			one_step();
		finish_all();
		check_ends();
		gateway_stop(&world); /* asserts that nothing is left */
		for (size_t i = 0; i < asked; i++) {
			ended[asks[i].ended ? asks[i].outcome : OUTCOME_CANCELLED]++;
			sources[asks[i].source]++;
		}
	}
	/* the storms reached everything */
	static const enum outcome met[] = {
		OUTCOME_OK,         OUTCOME_OVERLOADED,        OUTCOME_UPSTREAM_TIMEOUT,
		OUTCOME_NOT_CACHED, OUTCOME_DEADLINE_EXCEEDED, OUTCOME_OUTCOME_UNKNOWN,
		OUTCOME_TOOL_ERROR, OUTCOME_CANCELLED,         OUTCOME_UPSTREAM_UNAVAILABLE
	};
	for (size_t i = 0; i < countof(met); i++)
		assert_true(ended[met[i]] > 0);
	for (size_t i = 0; i < countof(sources); i++)
		assert_true(sources[i] > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_call_ends_once_or_was_cancelled) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
