/* SPDX-License-Identifier: Apache-2.0 */
/* test_simulation.c: the simulator: workload read and made, runs of the batcher by a clock turned by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants these three first */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/cli/workload.h"
#include "gateway/cli/simulation.h"
#include "tests/support/alloc_fail.h"

static struct simulation usual(enum batch_mode mode)
{
	return (struct simulation){
		.policy = { .mode = mode,
			    .max_items = 100,
			    .max_bytes = 1 << 20,
			    .window_us = 5000,
			    .concurrency = 10,
			    .queue_items = 10000,
			    .queue_bytes = 64 << 20 },
		.provider = { .fixed_us = 5000, .item_us = 50, .slots = 4 },
		.load = { .kind = LOAD_TIMES, .callers = 8 },
		.timeout_us = 10000000,
		.argument_bytes = 100,
	};
}

static struct workload evenly(size_t count, uint64_t gap_us)
{
	struct workload workload = { calloc(count, sizeof(uint64_t)), count };
	assert_non_null(workload.at_us);
	for (size_t i = 0; i < count; i++)
		workload.at_us[i] = 777 + i * gap_us;
	return workload;
}

static struct simulation_result run(struct simulation simulation, const struct workload *workload)
{
	struct simulation_result result;
	simulation.load.workload = workload;
	assert_true(simulation_run(&simulation, &result));
	assert_false(result.stuck);
	assert_int_equal(result.came, workload->count);
	assert_int_equal(result.answered + result.failed + result.refused, workload->count);
	return result;
}

static void calls_that_are_far_apart_never_wait(void **state)
{
	(void)state;
	struct workload workload = evenly(50, 20000);
	struct simulation_result result = run(usual(BATCH_ADAPTIVE), &workload);
	assert_int_equal(result.requests, 50);
	assert_int_equal(result.wait_p99_us, 0);
	assert_int_equal(result.took_p50_us, 5050);
	assert_true(simulation_saved(&result) == 0);
	workload_fini(&workload);
}

static void a_fixed_window_makes_each_call_wait_for_it(void **state)
{
	(void)state;
	struct workload workload = evenly(50, 20000);
	struct simulation_result result = run(usual(BATCH_FIXED), &workload);
	assert_int_equal(result.requests, 50);
	assert_int_equal(result.wait_p50_us, 5000);
	assert_int_equal(result.took_p50_us, 10050);
	workload_fini(&workload);
}

static void calls_that_come_together_share_requests(void **state)
{
	(void)state;
	struct workload workload = evenly(1000, 0);
	struct simulation_result result = run(usual(BATCH_ADAPTIVE), &workload);
	assert_int_equal(result.answered, 1000);
	assert_true(result.requests <= 20);
	assert_true(simulation_saved(&result) > 0.97);
	assert_true(simulation_mean(&result) >= 50);
	workload_fini(&workload);
}

static void more_than_the_provider_can_take_expires_or_is_refused(void **state)
{
	(void)state;
	struct simulation simulation = usual(BATCH_OFF);
	simulation.timeout_us = 100000;
	simulation.policy.queue_items = 200;
	struct workload workload = evenly(2000, 100); /* 10,000/s against 800/s */
	struct simulation_result result = run(simulation, &workload);
	assert_true(result.refused > 0);
	assert_true(result.failed > 0);
	assert_true(result.answered > 0);
	workload_fini(&workload);
}

static void a_run_is_the_same_each_time(void **state)
{
	(void)state;
	struct workload workload, again;
	assert_true(workload_generate(2000, 1, 7, &workload));
	assert_true(workload_generate(2000, 1, 7, &again));
	assert_in_range(workload.count, 1800, 2200);
	assert_int_equal(workload.count, again.count);
	assert_memory_equal(workload.at_us, again.at_us, workload.count * sizeof(uint64_t));
	struct simulation_result one = run(usual(BATCH_ADAPTIVE), &workload);
	struct simulation_result two = run(usual(BATCH_ADAPTIVE), &again);
	assert_memory_equal(&one, &two, sizeof one);
	workload_fini(&workload);
	workload_fini(&again);
}

static void memory_may_run_out_at_any_point(void **state)
{
	(void)state;
	struct simulation simulation = usual(BATCH_ADAPTIVE);
	struct workload workload = evenly(40, 300);
	simulation.load.workload = &workload;
	struct simulation_result result;
	bool whole = false;
	for (size_t n = 1; !whole; n++) {
		assert_true(n < 100000);
		alloc_fail_at(n);
		whole = simulation_run(&simulation, &result);
		alloc_reset();
		if (whole && result.answered < workload.count)
			whole = false; /* a call was shed, the run went on */
	}
	workload_fini(&workload);
}

/* --- loads --- */

/* A provider that takes 5 ms for whatever comes. */
static struct simulation flat(struct load_pattern load)
{
	struct simulation simulation = usual(BATCH_OFF);
	simulation.provider = (struct provider_model){ .fixed_us = 5000 };
	simulation.policy.concurrency = 1000;
	simulation.load = load;
	simulation.load.seed = 3;
	return simulation;
}

static struct simulation_result run_load(const struct simulation *simulation)
{
	struct simulation_result result;
	assert_true(simulation_run(simulation, &result));
	assert_int_equal(result.answered + result.failed + result.refused, result.came);
	return result;
}

static void a_caller_of_a_closed_loop_waits_for_its_answer(void **state)
{
	(void)state;
	struct simulation simulation = flat((struct load_pattern){ .kind = LOAD_CLOSED, .callers = 4 });
	simulation.calls = 400;
	struct simulation_result result = run_load(&simulation);
	assert_int_equal(result.answered, 400);
	assert_int_equal(result.took_p99_us, 5000);
	assert_int_equal(result.coming_us, 99 * (5000 + LOAD_THINK_US));
	assert_int_equal(result.cycles_us, 400 * (5000 + LOAD_THINK_US));
}

static void only_calls_after_the_change_and_a_while_count(void **state)
{
	(void)state;
	struct simulation simulation = flat((struct load_pattern){ .kind = LOAD_OPEN, .callers = 2, .rate = 1000 });
	const struct provider_model later = { .fixed_us = 1000 };
	simulation.provider.lasts_us = 500000;
	simulation.provider.then = &later;
	simulation.change_us = 500000;
	simulation.settle_us = 20000;
	simulation.calls = 300;
	struct simulation_result result = run_load(&simulation);
	assert_int_equal(result.came, 300);
	assert_int_equal(result.took_p50_us, 1000);
	assert_int_equal(result.took_p99_us, 1000);
	assert_in_range(result.all_calls, 700, 950);
	assert_in_range(result.coming_us, 250000, 350000);
	simulation.settle_calls = 100; /* have ended before that while is over */
	simulation.settle_us = 100000000;
	result = run_load(&simulation);
	assert_in_range(result.all_calls, 800, 1050);
}

static void bursts_come_at_once(void **state)
{
	(void)state;
	struct simulation simulation =
		flat((struct load_pattern){ .kind = LOAD_BURSTS, .callers = 7, .burst = 50, .gap_us = 1000000 });
	simulation.calls = 150;
	struct simulation_result result = run_load(&simulation);
	assert_int_equal(result.took_p99_us, 5000);
	assert_int_equal(result.coming_us, 2000000);
}

static void the_flood_is_not_among_those_who_count(void **state)
{
	(void)state;
	struct simulation simulation =
		flat((struct load_pattern){ .kind = LOAD_OPEN, .callers = 5, .rate = 100, .flood_rate = 900 });
	simulation.calls = 200;
	struct simulation_result result = run_load(&simulation);
	assert_int_equal(result.came, 200);
	assert_in_range(result.all_calls, 1700, 2300);
}

/* 64 callers who call again once they are answered, of a provider to which it does not matter how many share a
 * request. */
static struct simulation_result run_crowd(size_t calls)
{
	struct simulation simulation = flat((struct load_pattern){ .kind = LOAD_CLOSED, .callers = 64 });
	simulation.policy.mode = BATCH_ADAPTIVE;
	simulation.policy.concurrency = 0;
	simulation.call_us = 2;
	simulation.request_us = 10;
	simulation.calls = calls;
	return run_load(&simulation);
}

/* It was 24 of 1,000 and 347 of 10,000: two crowds, each of which left as it came, for good. */
static void crowds_that_one_request_could_take_become_one(void **state)
{
	(void)state;
	struct simulation_result few = run_crowd(1000), many = run_crowd(10000);
	assert_in_range(few.requests, 1000 / 64, 20);
	assert_in_range(many.requests, 10000 / 64, 190);
	assert_in_range(many.took_p50_us, 5000, 5500);
	assert_in_range(many.took_p99_us, 5000, 8000);
}

/* Four slots that do 800 calls a second, and a flood of five times that. */
static struct simulation_result run_beside_a_flood(double rate, uint8_t urgency, uint8_t flood_urgency,
						   size_t queue_items)
{
	struct simulation simulation = flat((struct load_pattern){ .kind = LOAD_OPEN,
								   .callers = 8,
								   .rate = rate,
								   .urgency = urgency,
								   .flood_rate = 4000,
								   .flood_urgency = flood_urgency });
	simulation.provider.slots = 4;
	simulation.policy.concurrency = 4;
	simulation.policy.queue_items = queue_items;
	simulation.policy.queue_wait_us = 2000000;
	simulation.policy.shares =
		(struct band_shares){ { [BAND_URGENT] = 50, [BAND_USUAL] = 20, [BAND_BACKGROUND] = 5 } };
	simulation.settle_us = 3000000;
	simulation.calls = (size_t)(10 * rate);
	return run_load(&simulation);
}

static void a_flood_of_background_calls_never_starves_the_urgent_ones(void **state)
{
	(void)state;
	static const size_t queues[] = { 10000, 100 };
	for (size_t i = 0; i < countof(queues); i++) {
		for (uint8_t urgency = 0; urgency <= 4; urgency++) { /* a tenth to half of what can be done */
			struct simulation_result result = run_beside_a_flood(80 + 80 * urgency, urgency, 7, queues[i]);
			assert_int_equal(result.answered, result.came);
			assert_in_range(result.took_p99_us, 5000, 25000);
		}
	}
}

static void whoever_floods_the_least_urgent_ones_have_their_share(void **state)
{
	(void)state;
	static const size_t queues[] = { 10000, 100 };
	for (size_t i = 0; i < countof(queues); i++) {
		for (uint8_t flood = 0; flood <= 4; flood++) {
			struct simulation_result result = run_beside_a_flood(200, 7, flood, queues[i]);
			double rate = (double)result.answered_meanwhile * 1e6 / (double)result.coming_us;
			if (rate < 0.95 * 800 * 5 / 100) /* of 800 a second, 5 % */
				fail_msg("u=7 beside a flood of u=%u: %.1f/s", flood, rate);
			assert_int_equal(result.failed, 0);
			struct simulation_result few =
				run_beside_a_flood(30, 7, flood, queues[i]); /* less than their share */
			assert_true(few.answered >= few.came * 95 / 100);
		}
	}
}

static void the_gateway_s_own_time_counts(void **state)
{
	(void)state;
	struct simulation simulation = flat((struct load_pattern){ .kind = LOAD_CLOSED, .callers = 100 });
	simulation.calls = 1000;
	simulation.request_us = 100; /* 100 of them keep it busy for 10 ms, in which nobody is heard */
	struct simulation_result result = run_load(&simulation);
	assert_in_range(result.took_p50_us, 9000, 11000);
}

static void a_run_in_which_nothing_would_ever_happen_says_so(void **state)
{
	(void)state;
	struct simulation simulation = flat((struct load_pattern){ .kind = LOAD_CLOSED, .callers = 3 });
	struct simulation_result result;
	simulation.provider.state = PROVIDER_FROZEN;
	simulation.timeout_us = CLOCK_NEVER;
	assert_true(simulation_run(&simulation, &result));
	assert_true(result.stuck);
	assert_int_equal(result.answered, 0);
}

/* --- logs --- */

static bool read_text(const char *text, const char *tool, struct log_reading *reading, char *error)
{
	FILE *log = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	assert_non_null(log);
	bool ok = workload_read(log, tool, reading, error, 300);
	fclose(log);
	return ok;
}

static const char two_forms[] =
	"ts=2026-11-21T06:27:12.500000Z level=info event=call request_id=a tool=x outcome=ok cache=miss "
	"seconds=0.500000 "
	"batch_id=1 batch_items=2 upstream_seconds=0.010000\n"
	"{\"ts\":\"2026-11-21T06:27:12.250000Z\",\"event\":\"call\",\"tool\":\"x\",\"cache\":\"miss\",\"seconds\":0.5}"
	"\n"
	"ts=2026-11-21T06:27:12.600000Z level=info event=call tool=x cache=hit seconds=0.000010\n"
	"ts=2026-11-21T06:27:12.600000Z level=info event=call tool=x cache=collapsed seconds=0.000010\n"
	"ts=2026-11-21T06:27:12.600000Z level=info event=request path=/v1/tools/x\n"
	"ts=2026-11-21T06:27:13.000000Z level=info event=call tool=\"y\" cache=bypass seconds=0\n"
	"not a line of ours\n{broken\n\n";

static void a_log_is_read_in_both_forms_and_sorted_by_when_calls_came(void **state)
{
	(void)state;
	struct log_reading reading;
	char error[300];
	assert_true(read_text(two_forms, NULL, &reading, error));
	assert_int_equal(reading.lines, 9);
	assert_int_equal(reading.calls, 5);
	assert_int_equal(reading.workload.count, 3);
	assert_int_equal(reading.workload.at_us[1] - reading.workload.at_us[0], 250000);
	assert_int_equal(reading.workload.at_us[2] - reading.workload.at_us[1], 1000000);
	assert_int_equal(reading.requests, 1);
	assert_false(reading.fitted);
	log_reading_fini(&reading);
	assert_true(read_text(two_forms, "y", &reading, error));
	assert_int_equal(reading.workload.count, 1);
	log_reading_fini(&reading);
}

static void a_log_tells_what_requests_cost(void **state)
{
	(void)state;
	char text[8192] = "";
	for (unsigned i = 1; i <= 20; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text),
			 "ts=2026-11-21T06:27:12.500000Z event=call tool=x cache=miss seconds=0.1 batch_id=%u "
			 "batch_items=%u upstream_seconds=%.6f\n",
			 i, i, 0.004 + i * 0.0002);
	struct log_reading reading;
	char error[300];
	assert_true(read_text(text, NULL, &reading, error));
	assert_true(reading.fitted);
	assert_in_range(reading.provider.fixed_us, 3990, 4010);
	assert_in_range((uint64_t)reading.provider.item_us, 199, 201);
	assert_int_equal(reading.provider.factor_count, 20);
	for (size_t i = 0; i < 20; i++)
		assert_in_range((uint64_t)(reading.provider.factors[i] * 1000 + 0.5), 995, 1005);
	log_reading_fini(&reading);
}

/* Of 200 requests of one call each, ten take a second: so do their like when the log is played. */
static void a_log_s_own_latencies_are_drawn(void **state)
{
	(void)state;
	static char text[40000];
	for (unsigned i = 1; i <= 200; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text),
			 "ts=2026-11-21T06:27:%02u.500000Z event=call tool=x cache=miss seconds=0.1 batch_id=%u "
			 "batch_items=1 upstream_seconds=%.6f\n",
			 i % 60, i, i % 20 == 0 ? 1.0 : 0.004);
	struct log_reading reading;
	char error[300];
	assert_true(read_text(text, NULL, &reading, error));
	struct simulation simulation = usual(BATCH_OFF);
	simulation.provider = reading.provider;
	simulation.provider.slots = 1000;
	simulation.policy.concurrency = 1000;
	struct workload workload = evenly(4000, 5000);
	struct simulation_result result = run(simulation, &workload);
	assert_in_range(result.took_p50_us, 3900, 4100);
	assert_in_range(result.took_p99_us, 990000, 1010000);
	workload_fini(&workload);
	log_reading_fini(&reading);
}

static void a_file_that_is_no_log_says_so(void **state)
{
	(void)state;
	struct log_reading reading;
	char error[300];
	assert_false(read_text("hello\nworld\n", "x", &reading, error));
	assert_non_null(strstr(error, "2 lines, 0 calls of x"));
	assert_null(reading.workload.at_us);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_that_are_far_apart_never_wait),
		cmocka_unit_test(a_fixed_window_makes_each_call_wait_for_it),
		cmocka_unit_test(calls_that_come_together_share_requests),
		cmocka_unit_test(more_than_the_provider_can_take_expires_or_is_refused),
		cmocka_unit_test(a_run_is_the_same_each_time),
		cmocka_unit_test(memory_may_run_out_at_any_point),
		cmocka_unit_test(a_caller_of_a_closed_loop_waits_for_its_answer),
		cmocka_unit_test(only_calls_after_the_change_and_a_while_count),
		cmocka_unit_test(bursts_come_at_once),
		cmocka_unit_test(the_flood_is_not_among_those_who_count),
		cmocka_unit_test(crowds_that_one_request_could_take_become_one),
		cmocka_unit_test(a_flood_of_background_calls_never_starves_the_urgent_ones),
		cmocka_unit_test(whoever_floods_the_least_urgent_ones_have_their_share),
		cmocka_unit_test(the_gateway_s_own_time_counts),
		cmocka_unit_test(a_run_in_which_nothing_would_ever_happen_says_so),
		cmocka_unit_test(a_log_is_read_in_both_forms_and_sorted_by_when_calls_came),
		cmocka_unit_test(a_log_tells_what_requests_cost),
		cmocka_unit_test(a_log_s_own_latencies_are_drawn),
		cmocka_unit_test(a_file_that_is_no_log_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
