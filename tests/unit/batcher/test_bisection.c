/* SPDX-License-Identifier: Apache-2.0 */
/* Batches refused as a whole: the culprit is found and told, all others are answered, and in how many exchanges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "tests/support/batcher_world.h"

enum { CALLS = 100, ARRAYS = 1000 };

static struct world world;
static struct probe first, probes[CALLS];
static bool poison[CALLS];
static unsigned status = 400;
static bool no_arrays;
static size_t fits = ARRAYS; /* more calls are 413 */
static unsigned seed;

static size_t number_of(const struct fake_call *call)
{
	for (size_t i = 0; i < CALLS; i++)
		if (call->arguments.at == probes[i].arguments)
			return i;
	return CALLS; /* `first` */
}

static bool has_poison(const struct exchange *exchange)
{
	for (size_t i = 0; i < exchange->count; i++) {
		size_t number = number_of(&exchange->calls[i]);
		if (number < CALLS && poison[number])
			return true;
	}
	return false;
}

static void provide(struct exchange *exchange)
{
	if (exchange->count > fits)
		fake_refuse_whole(exchange, 413, 0);
	else if (has_poison(exchange) || (no_arrays && exchange->count > 1))
		fake_refuse_whole(exchange, status, 0);
	else
		fake_finish(exchange);
}

static void provide_all(void)
{
	while (fake_nth(0)) {
		provide(fake_nth(0));
		world_tick(&world);
	}
}

/* So many calls that travel in one exchange, which is under way. */
static void gather(size_t count)
{
	struct batch_policy policy = world_policy();
	policy.max_items = CALLS;
	policy.max_bytes = policy.queue_bytes = 100000;
	world_start(&world, &policy, ARRAYS);
	calls_add(&world, &first, 1, 9000);
	world_tick(&world);
	calls_add(&world, probes, count, 0);
	fake_finish(fake_nth(0));
	world_tick(&world);
	assert_int_equal(fake_nth(0)->count, count);
}

static void assert_all_delivered(size_t count)
{
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(probes[i].answered, 1);
		assert_int_equal(probes[i].outcome, poison[i] ? OUTCOME_UPSTREAM_ERROR : OUTCOME_OK);
		assert_true(poison[i] || probes[i].own);
	}
}

static int reset(void **state)
{
	(void)state;
	for (size_t i = 0; i < CALLS; i++)
		poison[i] = false;
	status = 400;
	no_arrays = false;
	fits = ARRAYS;
	return 0;
}

static size_t log2_up(size_t n)
{
	size_t steps = 0;
	while ((size_t)1 << steps < n)
		steps++;
	return steps;
}

/*
 * No search does better than ceil(log2(n)) + 2 for every n, if what a caller is told must have been said of its call alone
 * and the others must have been in something that passed. Let first(t) be the most candidates, with nobody else left to
 * answer, and then(t) likewise with others who were cleared and have no answer yet, for which t exchanges are enough
 * whatever happens. One candidate takes one exchange, and one more if others are left. A try of k of them, the cleared ones
 * in it or not, leaves the rest if it passes, and k with others cleared if it is refused: first(t) and then(t) are at most
 * first(t - 1) + then(t - 1). (One candidate tried by itself is told if it is refused, and all others leave together.)
 */
static size_t most_candidates(size_t tries, bool others)
{
	static const size_t nobody_left[] = { 0, 1, 2, 3 }, others_left[] = { 0, 0, 1, 3 };
	if (tries < countof(nobody_left))
		return others ? others_left[tries] : nobody_left[tries];
	return most_candidates(tries - 1, false) + most_candidates(tries - 1, true);
}

static size_t best_possible(size_t n)
{
	size_t tries = 1;
	while (most_candidates(tries, false) < n)
		tries++;
	return tries;
}

static void the_bound_is_the_best_there_is(void **state)
{
	(void)state;
	for (size_t n = 2; n <= 1000; n++)
		assert_in_range(best_possible(n), log2_up(n) + 1, log2_up(n) + 2);
	assert_int_equal(best_possible(CALLS), log2_up(CALLS) + 2);
	assert_int_equal(best_possible(4), 4);
	assert_int_equal(best_possible(64), 8);
}

static void wherever_the_poison_is_the_99_others_are_answered_in_9_exchanges(void **state)
{
	(void)state;
	for (size_t at = 0; at < CALLS; at++) {
		poison[at] = true;
		gather(CALLS);
		size_t before = fake_sent();
		provide_all();
		assert_all_delivered(CALLS);
		assert_in_range(fake_sent() - before, 1, log2_up(CALLS) + 2);
		assert_true(world_metric(&world, METRIC_ID_BATCH_BISECTIONS, 0) > 0);
		world_stop(&world);
		poison[at] = false;
	}
}

static void any_number_of_poisons_in_any_batch_is_found_within_the_bound(void **state)
{
	static const unsigned statuses[] = { 400, 422 };
	(void)state;
	for (unsigned round = 0; round < 1000; round++) {
		seed = round;
		size_t count = 2 + (size_t)rand_r(&seed) % (CALLS - 1), poisons = 0;
		unsigned rare = 1 + (unsigned)rand_r(&seed) % 50;
		status = statuses[(size_t)rand_r(&seed) % countof(statuses)];
		for (size_t i = 0; i < count; i++)
			poisons += poison[i] = rand_r(&seed) % (int)rare == 0;
		gather(count);
		retry_budget_reserve(fake_retry_budget(), 100000);
		size_t before = fake_sent();
		provide_all();
		assert_all_delivered(count);
		assert_true(fake_sent() - before <= poisons * (log2_up(count) + 2));
		world_stop(&world);
		reset(NULL);
	}
}

/* What blames itself is searched as well, if it is one call that makes it fail. */
static void one_poison_is_found_whatever_the_provider_says(void **state)
{
	static const unsigned statuses[] = { 0, 200, 500, 501 };
	(void)state;
	for (size_t i = 0; i < countof(statuses); i++) {
		for (size_t at = 0; at < CALLS; at++) {
			poison[at] = true;
			status = statuses[i];
			gather(CALLS);
			size_t before = fake_sent();
			provide_all();
			assert_all_delivered(CALLS);
			assert_in_range(fake_sent() - before, 1, log2_up(CALLS) + 3); /* and the other half, at first */
			world_stop(&world);
			reset(NULL);
		}
	}
}

/* back B2: it was 457 requests, and each call carried out 90 times. */
static void a_provider_that_fails_is_not_asked_over_and_over(void **state)
{
	static const unsigned statuses[] = { 0, 200, 500, 501 };
	(void)state;
	for (size_t i = 0; i < countof(statuses); i++) {
		status = statuses[i];
		for (size_t at = 0; at < CALLS; at++)
			poison[at] = true;
		gather(CALLS);
		size_t before = fake_sent();
		provide_all();
		assert_all_delivered(CALLS);
		assert_int_equal(fake_sent() - before, 3); /* a half, the other half, one call alone */
		world_stop(&world);
		reset(NULL);
	}
}

/* Whatever it says: beyond the budget nothing is sent again. */
static void the_budget_bounds_the_search(void **state)
{
	(void)state;
	size_t calls = 0;
	status = 422;
	for (size_t at = 0; at < CALLS; at++)
		poison[at] = true;
	gather(CALLS);
	while (fake_nth(0)) {
		calls += fake_nth(0)->count;
		provide(fake_nth(0));
		world_tick(&world);
	}
	assert_all_delivered(CALLS);
	assert_in_range(calls, CALLS, CALLS + RETRY_RESERVE + 21); /* a fifth of what was sent, and the reserve */
	world_stop(&world);
}

static void what_must_not_be_repeated_is_told_and_the_others_are_searched(void **state)
{
	(void)state;
	for (size_t at = 0; at < 40; at++) {
		struct batch_policy policy = world_policy();
		policy.max_items = CALLS;
		world_start(&world, &policy, ARRAYS);
		poison[at] = true;
		for (size_t i = 0; i < 40; i++) {
			call_init(&world, &probes[i], (unsigned)i);
			probes[i].item.call.repeatable = i % 3 != 0;
			assert_int_equal(call_add(&probes[i]), OUTCOME_OK);
		}
		world_tick(&world);
		assert_int_equal(fake_nth(0)->count, 40);
		size_t before = fake_sent();
		provide_all();
		for (size_t i = 0; i < 40; i++) {
			bool right = i % 3 != 0 && i != at;
			assert_int_equal(probes[i].answered, 1);
			assert_int_equal(probes[i].outcome, right ? OUTCOME_OK : OUTCOME_UPSTREAM_ERROR);
		}
		/* of 26 that may be repeated; if the culprit is not among them, each half passes */
		assert_in_range(fake_sent() - before, 1, log2_up(26) + 2);
		world_stop(&world);
		poison[at] = false;
	}
}

static void calls_that_leave_or_expire_meanwhile_end_once(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 500; round++) {
		seed = round;
		gather(40);
		poison[(size_t)rand_r(&seed) % 40] = true;
		bool cancelled[40] = { false };
		for (unsigned steps = 0; fake_nth(0); steps++) {
			size_t victim = (size_t)rand_r(&seed) % 40;
			struct batch_item *item = &probes[victim].item;
			if (!probes[victim].answered && !cancelled[victim] && rand_r(&seed) % 2) {
				batcher_cancel(world.batcher, item, world.now_us);
				cancelled[victim] = true;
			}
			victim = (size_t)rand_r(&seed) % 40;
			if (!probes[victim].answered && !cancelled[victim])
				batcher_set_deadlines(world.batcher, &probes[victim].item, world.now_us, CLOCK_NEVER);
			if (rand_r(&seed) % 2)
				world_tick(&world);
			if (fake_nth(0))
				provide(fake_nth(0));
			world_tick(&world);
		}
		for (size_t i = 0; i < 40; i++)
			assert_int_equal(probes[i].answered, cancelled[i] ? 0 : 1);
		world_stop(&world);
		reset(NULL);
	}
}

static void what_is_being_searched_can_be_shut_down(void **state)
{
	(void)state;
	poison[7] = true;
	gather(CALLS);
	provide(fake_nth(0));
	world_tick(&world);
	provide(fake_nth(0));
	struct answer *bye = answer_error(OUTCOME_SHUTTING_DOWN, "bye");
	batcher_abort_all(world.batcher, bye, world.now_us);
	answer_unref(bye);
	for (size_t i = 0; i < CALLS; i++)
		assert_int_equal(probes[i].answered, 1);
	world_stop(&world);
}

static void a_provider_that_takes_no_arrays_is_sent_singles(void **state)
{
	(void)state;
	no_arrays = true;
	gather(64);
	provide_all();
	assert_all_delivered(64);
	assert_in_range(fake_sent(), 64, 64 + 14);
	struct probe more[5] = { 0 };
	calls_add(&world, more, 5, 5000);
	world_tick(&world);
	for (size_t i = 0; fake_nth(i); i++)
		assert_int_equal(fake_nth(i)->count, 1);
	provide_all();
	world_stop(&world);
}

static void too_large_is_halved_until_it_fits_and_remembered(void **state)
{
	(void)state;
	fits = 30;
	gather(CALLS);
	size_t before = fake_sent();
	provide_all();
	assert_all_delivered(CALLS);
	assert_in_range(fake_sent() - before, 4, 6);
	calls_add(&world, &first, 1, 9001);
	world_tick(&world);
	calls_add(&world, probes, 60, 0);
	fake_finish(fake_nth(0));
	world_tick(&world);
	assert_in_range(fake_nth(0)->count, 1, 30);
	provide_all();
	world_stop(&world);
}

static void after_429_the_lane_waits_as_long_as_it_is_told_and_then_sends_all(void **state)
{
	(void)state;
	gather(10);
	batcher_set_deadlines(world.batcher, &probes[3].item, world.now_us + CLOCK_US_PER_S, CLOCK_NEVER);
	fake_refuse_whole(fake_nth(0), 429, 2);
	world_tick(&world);
	assert_int_equal(probes[3].outcome, OUTCOME_RATE_LIMITED); /* it could not have waited */
	struct probe hurried = { 0 }, patient = { 0 };
	call_init(&world, &hurried, 7000);
	hurried.item.deadline_us = world.now_us + CLOCK_US_PER_S;
	assert_int_equal(call_add(&hurried), OUTCOME_OK);
	calls_add(&world, &patient, 1, 7001);
	assert_true(batcher_deadline(world.batcher) == 0);
	world_tick(&world);
	assert_int_equal(hurried.outcome, OUTCOME_RATE_LIMITED);
	world_pass(&world, 2 * CLOCK_US_PER_S - 1);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 0);
	world_pass(&world, 1);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 1);
	assert_int_equal(fake_nth(0)->count, 10); /* nine of before and the patient one */
	provide_all();
	assert_true(patient.own);
	world_stop(&world);
}

static void assert_each_was_told_his_own_or_nothing(size_t count)
{
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(probes[i].answered, 1);
		assert_true(probes[i].own || probes[i].mute);
	}
}

/* Each call of the batch is refused by itself, again and again: none is told what was said of another, in the body or in
 * a detail that quotes it. */
static void nobody_is_told_what_was_said_of_another(void **state)
{
	static const unsigned refusals[] = { 200, 400, 404, 413, 431, 429, 500, 503 };
	(void)state;
	for (size_t i = 0; i < countof(refusals); i++) {
		gather(8);
		while (fake_nth(0) || batcher_deadline(world.batcher) != CLOCK_NEVER) {
			if (fake_nth(0))
				fake_refuse_each(fake_nth(0), refusals[i], 0);
			world_pass(&world, CLOCK_US_PER_MS);
			world_tick(&world);
		}
		assert_each_was_told_his_own_or_nothing(8);
		world_stop(&world);
	}
}

/* A search has come to one call alone, which is told to come later, and then there is no budget to ask again: the others
 * learn that they were refused, but not what was said of that one. */
static void others_of_a_search_are_not_told_what_was_said_of_one(void **state)
{
	(void)state;
	gather(8);
	while (fake_nth(0) || batcher_deadline(world.batcher) != CLOCK_NEVER) {
		struct exchange *exchange = fake_nth(0);
		if (exchange && exchange->count > 1) {
			fake_refuse_each(exchange, 400, 0);
		} else if (exchange) {
			while (retry_budget_take(fake_retry_budget(), 1))
				continue;
			fake_refuse_each(exchange, 429, 1);
		}
		world_pass(&world, CLOCK_US_PER_S);
		world_tick(&world);
	}
	assert_each_was_told_his_own_or_nothing(8);
	world_stop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bound_is_the_best_there_is),
		cmocka_unit_test_setup(nobody_is_told_what_was_said_of_another, reset),
		cmocka_unit_test_setup(others_of_a_search_are_not_told_what_was_said_of_one, reset),
		cmocka_unit_test_setup(wherever_the_poison_is_the_99_others_are_answered_in_9_exchanges, reset),
		cmocka_unit_test_setup(any_number_of_poisons_in_any_batch_is_found_within_the_bound, reset),
		cmocka_unit_test_setup(one_poison_is_found_whatever_the_provider_says, reset),
		cmocka_unit_test_setup(a_provider_that_fails_is_not_asked_over_and_over, reset),
		cmocka_unit_test_setup(the_budget_bounds_the_search, reset),
		cmocka_unit_test_setup(what_must_not_be_repeated_is_told_and_the_others_are_searched, reset),
		cmocka_unit_test_setup(calls_that_leave_or_expire_meanwhile_end_once, reset),
		cmocka_unit_test_setup(what_is_being_searched_can_be_shut_down, reset),
		cmocka_unit_test_setup(a_provider_that_takes_no_arrays_is_sent_singles, reset),
		cmocka_unit_test_setup(too_large_is_halved_until_it_fits_and_remembered, reset),
		cmocka_unit_test_setup(after_429_the_lane_waits_as_long_as_it_is_told_and_then_sends_all, reset),
	};
	return cmocka_run_group_tests_name("bisection", tests, NULL, NULL);
}
