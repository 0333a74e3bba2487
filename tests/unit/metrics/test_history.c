/* SPDX-License-Identifier: Apache-2.0 */
/* History of metrics: rates of the time just gone, quantiles of the latest windows, and nothing that never happened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/outcome.h"
#include "metrics/history.h"
#include "tests/support/alloc_fail.h"

static const char *const tools[] = { "search", "mail" };
static const char *const upstreams[] = { "web" };
static const struct metrics_names names = {
	.tools = tools, .tool_count = 2, .upstreams = upstreams, .upstream_count = 1, .worker_count = 1
};
static struct {
	struct metrics *metrics;
	struct meter *meter;
	struct history *history;
	uint64_t now_us;
} world;

static int open_world(void **state)
{
	(void)state;
	world.now_us = 1000 * CLOCK_US_PER_S;
	world.metrics = metrics_new(&names);
	assert_non_null(world.metrics);
	world.meter = metrics_meter(world.metrics);
	world.history = history_new(world.metrics);
	assert_non_null(world.meter);
	assert_non_null(world.history);
	return 0;
}

static int close_world(void **state)
{
	(void)state;
	history_free(world.history);
	metrics_free(world.metrics);
	return 0;
}

static void pass(unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		world.now_us += CLOCK_US_PER_S;
		history_tick(world.history, world.now_us);
	}
}

static void call(size_t tool, enum outcome outcome, uint64_t took_us, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		meter_add(world.meter, METRIC_ID_REQUESTS, tool, (size_t)outcome, 1);
		meter_observe(world.meter, METRIC_ID_REQUEST_DURATION, tool, took_us);
	}
}

static double span(unsigned from_s, unsigned to_s, struct history_sums *came)
{
	return history_span(world.history, from_s, to_s, came);
}

static void before_the_second_sample_there_are_no_rates(void **state)
{
	struct history_sums came;
	(void)state;
	call(0, OUTCOME_OK, 100, 5);
	assert_true(span(300, 0, &came) == 0);
	assert_int_equal(came.calls, 0);
	pass(1);
	assert_true(span(1, 0, &came) == 0);
	assert_int_equal(came.calls, 0);
	history_now(world.history, &came);
	assert_int_equal(came.calls, 5);
}

static void a_span_has_what_came_within_it(void **state)
{
	struct history_sums came;
	(void)state;
	pass(1);
	for (unsigned i = 1; i <= 400; i++) { /* in second i: i calls */
		call(i % 2, OUTCOME_OK, 100, i);
		pass(1);
	}
	assert_true(span(1, 0, &came) == 1);
	assert_int_equal(came.calls, 400);
	assert_true(span(10, 0, &came) == 10);
	assert_int_equal(came.calls, 10 * 395 + 5);
	assert_true(span(10, 5, &came) == 5);
	assert_int_equal(came.calls, 391 + 392 + 393 + 394 + 395);
	assert_true(span(HISTORY_S, 0, &came) == HISTORY_S);
	assert_int_equal(came.calls, 300 * 250 + 150);
}

static void faults_are_ours_or_the_providers(void **state)
{
	struct history_sums came;
	(void)state;
	pass(1);
	for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++)
		call(0, (enum outcome)outcome, 100, 1);
	pass(1);
	span(1, 0, &came);
	assert_int_equal(came.calls, OUTCOME_COUNT);
	assert_int_equal(came.failed, 7);
	assert_true(outcome_is_failure(OUTCOME_OUTCOME_UNKNOWN) && outcome_is_failure(OUTCOME_DEADLINE_EXCEEDED));
	assert_false(outcome_is_failure(OUTCOME_TOOL_ERROR) || outcome_is_failure(OUTCOME_CANCELLED));
}

static void requests_and_look_ups_are_summed(void **state)
{
	struct history_sums came;
	(void)state;
	pass(1);
	meter_observe(world.meter, METRIC_ID_BATCH_ITEMS, 0, 30);
	meter_observe(world.meter, METRIC_ID_BATCH_ITEMS, 0, 1);
	meter_add(world.meter, METRIC_ID_BATCH_SAVED, 0, 0, 29);
	meter_add(world.meter, METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, CACHE_HIT, 3);
	meter_add(world.meter, METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, CACHE_STALE, 2);
	meter_add(world.meter, METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, CACHE_MISS, 5);
	meter_add(world.meter, METRIC_ID_CACHE_REQUESTS, TIER_REDIS, CACHE_HIT, 7);
	meter_add(world.meter, METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, CACHE_BYPASS, 7);
	pass(1);
	span(1, 0, &came);
	assert_int_equal(came.requests, 2);
	assert_int_equal(came.carried, 31);
	assert_int_equal(came.saved, 29);
	assert_int_equal(came.hits, 5);
	assert_int_equal(came.lookups, 10);
}

static void quantiles_lie_within_their_bucket(void **state)
{
	uint64_t latency[HISTORY_LATENCY_BUCKETS] = { 0 };
	(void)state;
	assert_int_equal(history_quantile(world.history, latency, 0.5), -1);
	latency[4] = 100; /* 500 us to 1 ms */
	assert_int_equal(history_quantile(world.history, latency, 0.5), 750);
	assert_int_equal(history_quantile(world.history, latency, 1), 1000);
	latency[HISTORY_LATENCY_BUCKETS - 1] = 100; /* beyond 30 s */
	assert_int_equal(history_quantile(world.history, latency, 0.99), 30000000);
	assert_int_equal(history_quantile(world.history, latency, 0.25), 750);
}

static void a_tools_quantile_forgets(void **state)
{
	(void)state;
	assert_int_equal(history_quantile_of(world.history, METRIC_ID_REQUEST_DURATION, 1, 0.99), -1);
	call(1, OUTCOME_OK, 9000000, 100); /* 5 to 10 s */
	pass(1);
	assert_true(history_quantile_of(world.history, METRIC_ID_REQUEST_DURATION, 1, 0.5) > 5000000);
	assert_int_equal(history_quantile_of(world.history, METRIC_ID_REQUEST_DURATION, 0, 0.5), -1);
	pass(2 * HISTORY_WINDOW_S + 1);
	assert_int_equal(history_quantile_of(world.history, METRIC_ID_REQUEST_DURATION, 1, 0.5), -1);
	call(1, OUTCOME_OK, 700, 1);
	assert_in_range(history_quantile_of(world.history, METRIC_ID_REQUEST_DURATION, 1, 0.99), 500, 1000);
	assert_int_equal(history_quantile_of(world.history, METRIC_ID_UPSTREAM_DURATION, 0, 0.5), -1);
	meter_observe(world.meter, METRIC_ID_UPSTREAM_DURATION, 0, 30);
	assert_in_range(history_quantile_of(world.history, METRIC_ID_UPSTREAM_DURATION, 0, 0.99), 1, 50);
}

static void ticks_within_a_second_are_one_sample(void **state)
{
	struct history_sums came;
	(void)state;
	pass(1);
	call(0, OUTCOME_OK, 100, 10);
	for (int i = 0; i < 9; i++)
		history_tick(world.history, world.now_us += CLOCK_US_PER_S / 10);
	assert_true(span(1, 0, &came) == 0);
	history_tick(world.history, world.now_us += CLOCK_US_PER_S / 10);
	assert_true(span(1, 0, &came) == 1);
	assert_int_equal(came.calls, 10);
	history_tick(world.history,
		     world.now_us += 50 * CLOCK_US_PER_S); /* the loop slept: the span is as long as it was */
	call(0, OUTCOME_OK, 100, 10);
	assert_true(span(1, 0, &came) == 50);
	assert_int_equal(came.calls, 0);
}

static double step(unsigned from_s, struct history_sums *came)
{
	return history_step(world.history, from_s, from_s - 5, came);
}

/* Else what is drawn would be as much shorter as the loop slept, and what came before it would seem to have come later. */
static void a_loop_that_slept_leaves_no_gap_in_the_drawing(void **state)
{
	struct history_sums came;
	(void)state;
	assert_true(step(5, &came) == 0);
	pass(1);
	for (int i = 0; i < 10; i++) {
		call(0, OUTCOME_OK, 100, 3);
		pass(1);
	}
	call(0, OUTCOME_OK, 100, 40);
	history_tick(world.history, world.now_us += 20 * CLOCK_US_PER_S);
	call(0, OUTCOME_OK, 100, 7);
	pass(1);
	/* 10 s of three calls a second, 20 s of 40 together, a second of seven */
	for (unsigned from_s = HISTORY_S; from_s > 35; from_s -= 5)
		assert_true(step(from_s, &came) == 0);
	assert_true(step(35, &came) >= 1 && came.calls >= 3);
	for (unsigned from_s = 20; from_s >= 10; from_s -= 5) {
		assert_true(step(from_s, &came) == 20);
		assert_int_equal(came.calls, 40);
	}
	assert_true(step(5, &came) == 21);
	assert_int_equal(came.calls, 47);
}

static void any_allocation_may_fail(void **state)
{
	(void)state;
	size_t failures = 0;
	for (struct history *history = NULL; !history; failures += !history) {
		alloc_reset();
		alloc_fail_at(failures + 1);
		history = history_new(world.metrics);
		alloc_reset();
		history_free(history);
	}
	assert_int_equal(failures, 5); /* itself, and two windows twice */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(before_the_second_sample_there_are_no_rates, open_world, close_world),
		cmocka_unit_test_setup_teardown(a_span_has_what_came_within_it, open_world, close_world),
		cmocka_unit_test_setup_teardown(faults_are_ours_or_the_providers, open_world, close_world),
		cmocka_unit_test_setup_teardown(requests_and_look_ups_are_summed, open_world, close_world),
		cmocka_unit_test_setup_teardown(quantiles_lie_within_their_bucket, open_world, close_world),
		cmocka_unit_test_setup_teardown(a_tools_quantile_forgets, open_world, close_world),
		cmocka_unit_test_setup_teardown(ticks_within_a_second_are_one_sample, open_world, close_world),
		cmocka_unit_test_setup_teardown(a_loop_that_slept_leaves_no_gap_in_the_drawing, open_world,
						close_world),
		cmocka_unit_test_setup_teardown(any_allocation_may_fail, open_world, close_world),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
