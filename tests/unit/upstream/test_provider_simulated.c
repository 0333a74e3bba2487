/* SPDX-License-Identifier: Apache-2.0 */
/* test_provider_simulated.c: the law of provider_model.h, as the loop's clock plays it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants these three first */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/loop.h"
#include "upstream/http/endpoint.h"
#include "upstream/provider_model.h"
#include "upstream/upstream.h"

#define MS(n) ((n)*CLOCK_US_PER_MS)
#define START_US CLOCK_US_PER_S

enum { CALLS = 64 };

/* One request, and what came of it. */
struct request {
	struct exchange *exchange;
	size_t order[CALLS]; /* calls as they were answered or refused */
	uint64_t at_us[CALLS];
	size_t answered, refused; /* calls */
	enum outcome outcome;     /* of the last answer or refusal */
	uint32_t retry_after_s;
	bool completed;
	uint64_t completed_us;
};

static struct loop *loop;
static struct upstream *upstream;
static struct upstream_settings settings;
static struct dialect dialect;

static void note(struct request *request, size_t index, struct answer *answer)
{
	size_t count = request->answered + request->refused;
	assert_in_range(count, 0, CALLS - 1);
	assert_false(request->completed);
	request->order[count] = index;
	request->at_us[count] = loop_now(loop) - START_US;
	request->outcome = answer->outcome;
	request->retry_after_s = answer->retry_after_s;
	answer_unref(answer);
}

static void note_answer(void *context, size_t index, struct answer *answer)
{
	note(context, index, answer);
	((struct request *)context)->answered++;
}

static void note_refusal(void *context, size_t index, struct answer *answer)
{
	note(context, index, answer);
	((struct request *)context)->refused++;
}

static void note_completion(void *context, enum outcome outcome)
{
	struct request *request = context;
	assert_int_equal(outcome == OUTCOME_OK, request->outcome == OUTCOME_OK);
	request->completed = true;
	request->completed_us = loop_now(loop) - START_US;
}

static const struct upstream_events events = { .answered = note_answer,
					       .refused = note_refusal,
					       .completed = note_completion };

static void start(const struct provider_model *model)
{
	clock_set(START_US);
	loop = loop_new();
	assert_non_null(loop);
	loop_refresh(loop);
	dialect = (struct dialect){ .name = "simulated", .max_calls = CALLS };
	settings = (struct upstream_settings){ .name = "simulated", .dialect = &dialect, .simulated = model };
	upstream = upstream_new(&settings, NULL, loop, NULL);
	assert_non_null(upstream);
}

/* Turn the clock until so many microseconds after the start. */
static void pass_until(uint64_t us)
{
	uint64_t due_us;
	while ((due_us = loop_next_timer(loop)) <= START_US + us) {
		clock_set(due_us);
		loop_refresh(loop);
		loop_run_timers(loop);
	}
	clock_set(START_US + us);
	loop_refresh(loop);
}

static void stop(void)
{
	upstream_free(upstream);
	loop_free(loop);
	clock_set(0);
}

static void send_calls(struct request *request, size_t count, bool repeatable)
{
	struct upstream_call calls[CALLS] = { 0 };
	struct answer *refusal = NULL;
	for (size_t i = 0; i < count; i++)
		calls[i].repeatable = repeatable;
	memset(request, 0, sizeof *request);
	request->exchange = upstream_send(upstream, calls, count, CLOCK_NEVER, &events, request, &refusal);
	assert_non_null(request->exchange);
}

static void a_request_takes_its_part_and_each_call_s(void **state)
{
	(void)state;
	struct provider_model model = { .fixed_us = MS(5), .item_us = 50, .square_us = 10 };
	struct request request;
	start(&model);
	send_calls(&request, 10, true);
	pass_until(MS(100));
	assert_int_equal(request.answered, 10);
	assert_int_equal(request.completed_us, 5000 + 10 * 50 + 100 * 10);
	assert_int_equal(request.at_us[0], request.completed_us);
	stop();
}

static void beyond_the_slots_requests_wait_in_order(void **state)
{
	(void)state;
	struct provider_model model = { .fixed_us = MS(5), .slots = 2 };
	struct request requests[5];
	start(&model);
	for (size_t i = 0; i < 5; i++)
		send_calls(&requests[i], 1, true);
	pass_until(MS(100));
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(requests[i].completed_us, MS(5) * (i / 2 + 1));
	stop();
}

static void more_than_the_knee_slow_each_other_down(void **state)
{
	(void)state;
	struct provider_model model = { .fixed_us = MS(1), .knee = 1 };
	struct request requests[4];
	start(&model);
	for (size_t i = 0; i < 4; i++)
		send_calls(&requests[i], 1, true);
	pass_until(MS(100));
	assert_int_equal(requests[0].completed_us, MS(1));
	assert_int_equal(requests[3].completed_us, MS(8)); /* the fourth at once: 4 ^ 1.5 times */
	stop();
}

static void answers_are_streamed_as_calls_are_done_or_sent_at_the_end(void **state)
{
	(void)state;
	struct provider_model model = { .fixed_us = MS(5), .item_us = 1000, .streamed = true };
	struct request request;
	start(&model);
	send_calls(&request, 3, true);
	pass_until(MS(100));
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(request.order[i], i);
		assert_int_equal(request.at_us[i], MS(6 + i));
	}
	stop();
	model.streamed = false;
	start(&model);
	send_calls(&request, 3, true);
	pass_until(MS(100));
	assert_int_equal(request.at_us[0], MS(8));
	stop();
}

static void a_slow_call_of_an_array_holds_up_only_what_is_sent_at_the_end(void **state)
{
	(void)state;
	struct provider_model model = {
		.fixed_us = MS(5), .streamed = true, .call = { LATENCY_BIMODAL, 0, 2e6, 0.1, 0 }, .seed = 3
	};
	struct request request;
	size_t slow = 0;
	start(&model);
	send_calls(&request, CALLS, true);
	pass_until(MS(3000));
	for (size_t i = 0; i < CALLS; i++)
		slow += request.at_us[i] > MS(5);
	assert_in_range(slow, 1, 15);
	assert_int_equal(request.at_us[0], MS(5));
	assert_int_equal(request.completed_us, MS(2005));
	stop();
	model.in_turn = true; /* one after the other: the slow ones' times add up */
	start(&model);
	send_calls(&request, CALLS, true);
	pass_until(MS(200000));
	assert_int_equal(request.completed_us, MS(5) + slow * MS(2000));
	stop();
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* The time that this share of 2,000 calls did not exceed. */
static uint64_t quantile(const struct latency *latency, double share)
{
	enum { MANY = 2000 };
	static uint64_t took_us[MANY];
	struct provider_model model = { .fixed_us = 0, .call = *latency, .seed = 5 };
	start(&model);
	for (size_t i = 0; i < MANY; i++) {
		struct request request;
		uint64_t sent_us = loop_now(loop) - START_US;
		send_calls(&request, 1, true);
		pass_until(sent_us + MS(100000));
		took_us[i] = request.completed_us - sent_us;
	}
	stop();
	qsort(took_us, MANY, sizeof *took_us, by_value);
	return took_us[(size_t)((MANY - 1) * share)];
}

static void latencies_have_the_shape_that_is_said(void **state)
{
	(void)state;
	struct latency two = { LATENCY_BIMODAL, 1000, 50000, 0.1, 0 };
	assert_int_equal(quantile(&two, 0.85), 1000);
	assert_int_equal(quantile(&two, 0.95), 50000);
	struct latency normal = { LATENCY_LOG_NORMAL, 20000, 0, 0, 1 };
	assert_in_range(quantile(&normal, 0.5), 18500, 21500);
	assert_in_range(quantile(&normal, 0.8413), 47000, 62000); /* one deviation: times e */
	struct latency uniform = { LATENCY_LOG_UNIFORM, 2000, 32000, 0, 0 };
	assert_in_range(quantile(&uniform, 0), 2000, 2100);
	assert_in_range(quantile(&uniform, 0.5), 7400, 8600);
	assert_in_range(quantile(&uniform, 1), 30000, 32000);
}

static void the_rate_refuses_what_is_beyond_it(void **state)
{
	(void)state;
	struct provider_model model = { .fixed_us = MS(1), .rate_per_s = 100, .rate_burst = 2, .retry_after_s = 7 };
	struct request requests[5];
	start(&model);
	for (size_t i = 0; i < 5; i++)
		send_calls(&requests[i], 1, i != 4);
	pass_until(MS(9));
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(requests[i].outcome, OUTCOME_OK);
	assert_int_equal(requests[3].refused, 1);
	assert_int_equal(requests[3].outcome, OUTCOME_RATE_LIMITED);
	assert_int_equal(requests[3].retry_after_s, 7);
	assert_int_equal(requests[4].answered, 1); /* not repeatable: told, not handed back */
	assert_int_equal(requests[4].outcome, OUTCOME_RATE_LIMITED);
	pass_until(MS(11)); /* one more fits now */
	send_calls(&requests[0], 1, true);
	send_calls(&requests[1], 1, true);
	pass_until(MS(20));
	assert_int_equal(requests[0].outcome, OUTCOME_OK);
	assert_int_equal(requests[1].outcome, OUTCOME_RATE_LIMITED);
	stop();
}

static void what_fails_fails_as_a_whole(void **state)
{
	(void)state;
	struct provider_model model = { .fixed_us = MS(1), .streamed = true, .failing = 1 };
	struct request request;
	start(&model);
	send_calls(&request, 3, true);
	pass_until(MS(10));
	assert_int_equal(request.refused, 3);
	assert_int_equal(request.outcome, OUTCOME_UPSTREAM_ERROR);
	assert_int_equal(request.completed_us, MS(1));
	stop();
}

static void a_freeze_lasts_and_then_everything_goes_on(void **state)
{
	(void)state;
	const struct provider_model thawed = { .fixed_us = MS(10) };
	const struct provider_model frozen = {
		.fixed_us = MS(10), .state = PROVIDER_FROZEN, .lasts_us = MS(100), .then = &thawed
	};
	const struct provider_model model = { .fixed_us = MS(10), .lasts_us = MS(4), .then = &frozen };
	struct request before, during, after;
	start(&model);
	send_calls(&before, 1, true);
	pass_until(MS(50));
	send_calls(&during, 1, true);
	pass_until(MS(104));
	assert_false(before.completed);
	send_calls(&after, 1, true);
	pass_until(MS(200));
	assert_int_equal(before.completed_us, MS(110));
	assert_int_equal(during.completed_us, MS(114));
	assert_int_equal(after.completed_us, MS(114));
	stop();
}

static void who_is_gone_breaks_off_and_cannot_be_reached(void **state)
{
	(void)state;
	const struct provider_model back = { .fixed_us = MS(10) };
	const struct provider_model gone = { .state = PROVIDER_DOWN, .lasts_us = MS(50), .then = &back };
	const struct provider_model model = { .fixed_us = MS(10), .slots = 1, .lasts_us = MS(4), .then = &gone };
	struct request read, write, refused, after;
	start(&model);
	send_calls(&write, 1, false);
	send_calls(&read, 1, true);
	pass_until(MS(5));
	assert_int_equal(read.refused, 1);
	assert_int_equal(read.outcome, OUTCOME_UPSTREAM_ERROR);
	assert_int_equal(write.outcome, OUTCOME_OUTCOME_UNKNOWN);
	assert_int_equal(write.completed_us, MS(4));
	send_calls(&refused, 1, false);
	assert_false(upstream_sent(refused.exchange));
	pass_until(MS(6));
	assert_int_equal(refused.outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	pass_until(MS(60));
	send_calls(&after, 1, true);
	assert_true(upstream_sent(after.exchange));
	pass_until(MS(80));
	assert_int_equal(after.completed_us, MS(70));
	stop();
}

/* The endpoint room itself decides; its own tests say how. */
static void another_endpoint_takes_what_one_cannot_be_reached_for(void **state)
{
	(void)state;
	const struct provider_model gone = { .state = PROVIDER_DOWN };
	const struct provider_model model = { .fixed_us = MS(5), .beside = &gone };
	struct request requests[20];
	start(&model);
	for (size_t i = 0; i < 20; i++) {
		send_calls(&requests[i], 1, false);
		pass_until(MS(10) * (i + 1));
		assert_int_equal(requests[i].outcome, OUTCOME_OK);
	}
	stop();
}

static void one_that_hangs_up_is_left_alone_after_a_while(void **state)
{
	(void)state;
	const struct provider_model breaking = { .state = PROVIDER_BREAKS };
	const struct provider_model model = { .fixed_us = MS(5), .beside = &breaking };
	struct request request;
	size_t broken = 0;
	start(&model);
	for (size_t i = 0; i < 100; i++) {
		send_calls(&request, 1, true);
		pass_until(MS(10) * (i + 1));
		assert_true(request.completed);
		broken += request.outcome != OUTCOME_OK;
	}
	assert_in_range(broken, 1, 10);
	stop();
}

static void who_swallows_connections_costs_the_connect_timeout(void **state)
{
	(void)state;
	const struct provider_model model = { .state = PROVIDER_HOLE };
	struct request request;
	start(&model);
	for (size_t i = 0; i < endpoint_default_policy.failures; i++) {
		send_calls(&request, 1, false);
		assert_false(upstream_sent(request.exchange));
		pass_until((i + 1) * PROVIDER_HOLE_US - 1);
		assert_false(request.completed);
		pass_until((i + 1) * PROVIDER_HOLE_US);
		assert_int_equal(request.outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	}
	struct upstream_call call = { 0 };
	struct answer *refusal = NULL; /* the only one is out of reach: nothing is tried for a while */
	assert_null(upstream_send(upstream, &call, 1, CLOCK_NEVER, &events, &request, &refusal));
	assert_int_equal(refusal->outcome, OUTCOME_UPSTREAM_UNAVAILABLE);
	assert_true(refusal->retry_after_s > 0);
	answer_unref(refusal);
	stop();
}

static void nobody_is_told_of_what_was_aborted(void **state)
{
	(void)state;
	struct provider_model model = { .fixed_us = MS(5), .slots = 1 };
	struct request first, second, third;
	start(&model);
	send_calls(&first, 1, true);
	send_calls(&second, 1, true);
	send_calls(&third, 1, true);
	upstream_abort(first.exchange);
	pass_until(MS(11));
	assert_int_equal(first.answered, 0);
	assert_false(first.completed);
	assert_int_equal(second.completed_us, MS(10)); /* the provider has worked on it all the same */
	upstream_abort(third.exchange);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_takes_its_part_and_each_call_s),
		cmocka_unit_test(beyond_the_slots_requests_wait_in_order),
		cmocka_unit_test(more_than_the_knee_slow_each_other_down),
		cmocka_unit_test(answers_are_streamed_as_calls_are_done_or_sent_at_the_end),
		cmocka_unit_test(a_slow_call_of_an_array_holds_up_only_what_is_sent_at_the_end),
		cmocka_unit_test(latencies_have_the_shape_that_is_said),
		cmocka_unit_test(the_rate_refuses_what_is_beyond_it),
		cmocka_unit_test(what_fails_fails_as_a_whole),
		cmocka_unit_test(a_freeze_lasts_and_then_everything_goes_on),
		cmocka_unit_test(who_is_gone_breaks_off_and_cannot_be_reached),
		cmocka_unit_test(another_endpoint_takes_what_one_cannot_be_reached_for),
		cmocka_unit_test(one_that_hangs_up_is_left_alone_after_a_while),
		cmocka_unit_test(who_swallows_connections_costs_the_connect_timeout),
		cmocka_unit_test(nobody_is_told_of_what_was_aborted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
