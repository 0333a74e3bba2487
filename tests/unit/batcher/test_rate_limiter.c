/* SPDX-License-Identifier: Apache-2.0 */
/* Rates: never more than allowed in any span, calls gather while they wait, and what cannot make its deadline is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/random.h"
#include "tests/support/batcher_world.h"

enum { CALLS = 100, VISITS = 2000 };
#define MINUTE_US (60 * CLOCK_US_PER_S)

static struct world world;
static struct probe probes[CALLS];

/* --- the arithmetic --- */

static void no_span_holds_more_than_the_amount(void **state)
{
	(void)state;
	static const uint64_t amounts[] = { 1, 2, 3, 9, 10, 11, 60, 61, 99, 500 };
	static uint64_t visits[VISITS];
	unsigned seed = 1;
	for (size_t n = 0; n < countof(amounts); n++) {
		struct rate_limiter limiter;
		rate_limiter_init(&limiter, &(struct rate){ amounts[n], MINUTE_US });
		uint64_t now_us = CLOCK_US_PER_S;
		for (size_t i = 0; i < VISITS; i++) {
			if (rand_r(&seed) % 50 == 0) /* bursts after idle times */
				now_us += (uint64_t)rand_r(&seed) % (2 * MINUTE_US);
			uint64_t free_us = rate_limiter_free_us(&limiter);
			now_us = free_us > now_us ? free_us : now_us;
			rate_limiter_take(&limiter, 1, now_us);
			visits[i] = now_us;
			if (i >= amounts[n])
				assert_true(visits[i] - visits[i - amounts[n]] >= MINUTE_US);
		}
	}
}

static void without_a_limit_nothing_waits(void **state)
{
	(void)state;
	struct rate_limiter limiter;
	rate_limiter_init(&limiter, &(struct rate){ 0, 0 });
	for (unsigned i = 0; i < 100; i++)
		rate_limiter_take(&limiter, 1000, 5);
	assert_int_equal(rate_limiter_free_us(&limiter), 0);
}

static void refusals_halve_what_was_visited_and_passing_raises_it(void **state)
{
	(void)state;
	struct learned_rate learned = { 0 };
	for (uint64_t i = 1; i <= 50; i++)
		learned_rate_visit(&learned, i * 100000);
	assert_int_equal(learned_rate_visit_us(&learned), 0);
	learned_rate_refused(&learned, 10 * CLOCK_US_PER_S, 5000000, 5000100);
	assert_in_range(learned_rate_visit_us(&learned), 5000000 + 190000, 5000000 + 210000);
	learned_rate_refused(&learned, 10 * CLOCK_US_PER_S, 4900000, 5000200); /* left before: the same event */
	assert_in_range(learned_rate_visit_us(&learned), 5000000 + 190000, 5000000 + 210000);
	learned_rate_refused(&learned, 10 * CLOCK_US_PER_S, 5000150, 5000300);
	assert_in_range(learned_rate_visit_us(&learned), 5000000 + 390000, 5000000 + 410000);
	learned_rate_passed(&learned, 5000100,
			    5000300 + 88 * CLOCK_US_PER_S); /* ten seconds' pause, then eight times that long */
	assert_in_range(learned_rate_visit_us(&learned), 5000000 + 390000, 5000000 + 410000);
	for (unsigned i = 0; i < 200; i++)
		learned_rate_passed(&learned, 5000300 + 90 * CLOCK_US_PER_S, 5000300 + 90 * CLOCK_US_PER_S);
	assert_int_equal(learned_rate_visit_us(&learned), 0);
}

/* A provider that lets in `rate` a second and a burst of ten, and says 429, with Retry-After: 1 or without. */
struct limited_provider {
	double rate, credit;
	uint64_t seen_us, pause_us;
	size_t refused, passed;
	bool down; /* says the same to whoever comes */
};

static void visit_provider(struct limited_provider *provider, struct learned_rate *learned, uint64_t now_us)
{
	provider->credit += (double)(now_us - provider->seen_us) * provider->rate / 1e6;
	provider->credit = provider->credit < 10 ? provider->credit : 10;
	provider->seen_us = now_us;
	learned_rate_visit(learned, now_us);
	if (provider->down || provider->credit < 1) {
		provider->refused++;
		learned_rate_refused(learned, provider->pause_us, now_us, now_us);
		return;
	}
	provider->credit--;
	provider->passed++;
	learned_rate_passed(learned, now_us, now_us);
}

/* Somebody who would like to come every 5 ms, for so long. */
static void visit_for(struct limited_provider *provider, struct learned_rate *learned, uint64_t *now_us,
		      uint64_t for_us)
{
	uint64_t until_us = *now_us + for_us;
	size_t refused = provider->refused;
	while (*now_us < until_us) {
		visit_provider(provider, learned, *now_us);
		if (provider->refused > refused && provider->pause_us)
			*now_us += provider->pause_us;
		refused = provider->refused;
		uint64_t visit_us = learned_rate_visit_us(learned);
		*now_us = visit_us > *now_us + 5000 ? visit_us : *now_us + 5000;
	}
}

static void the_rate_is_found_where_a_refusal_costs_a_visit(void **state)
{
	(void)state;
	struct learned_rate learned = { 0 };
	struct limited_provider provider = { .rate = 50, .credit = 10, .seen_us = 1 };
	uint64_t now_us = 1;
	visit_for(&provider, &learned, &now_us, 2 * CLOCK_US_PER_S);
	provider.passed = provider.refused = 0;
	visit_for(&provider, &learned, &now_us, 60 * CLOCK_US_PER_S);
	assert_in_range(provider.passed, 60 * 47, 60 * 50 + 10);
	assert_in_range(provider.refused, 0, 60 * 2); /* one in twenty-five */
	provider.rate = 1e6;                          /* it is gone */
	visit_for(&provider, &learned, &now_us, 2 * CLOCK_US_PER_S);
	assert_int_equal(learned_rate_visit_us(&learned), 0);
}

static void the_rate_is_found_and_held_where_a_refusal_costs_a_pause(void **state)
{
	(void)state;
	for (double rate = 20; rate <= 100; rate += 20) {
		struct learned_rate learned = { 0 };
		struct limited_provider provider = { .rate = rate, .credit = 10, .seen_us = 1, .pause_us = 1000000 };
		uint64_t now_us = 1;
		visit_for(&provider, &learned, &now_us, 60 * CLOCK_US_PER_S);
		provider.passed = provider.refused = 0;
		visit_for(&provider, &learned, &now_us, 600 * CLOCK_US_PER_S);
		assert_true((double)provider.passed >= 0.8 * 600 * rate);
		assert_in_range(provider.refused, 0, 6);
	}
}

/* A provider that is down says to everybody what one that is asked too often says to some. */
static void what_an_outage_taught_ends_with_it(void **state)
{
	(void)state;
	for (uint64_t pause_us = 0; pause_us <= CLOCK_US_PER_S; pause_us += CLOCK_US_PER_S) {
		struct learned_rate learned = { 0 };
		struct limited_provider provider = { .rate = 1e6, .credit = 10, .seen_us = 1, .pause_us = pause_us };
		uint64_t now_us = 1;
		visit_for(&provider, &learned, &now_us, 5 * CLOCK_US_PER_S);
		provider.down = true;
		visit_for(&provider, &learned, &now_us, 30 * CLOCK_US_PER_S);
		assert_in_range(provider.refused, 1, 45); /* it is not stormed either */
		provider.down = false;
		visit_for(&provider, &learned, &now_us, 2 * CLOCK_US_PER_S);
		assert_int_equal(learned_rate_visit_us(&learned), 0);
	}
}

static void the_pace_from_before_an_outage_is_kept(void **state)
{
	(void)state;
	for (uint64_t pause_us = 0; pause_us <= CLOCK_US_PER_S; pause_us += CLOCK_US_PER_S) {
		struct learned_rate learned = { 0 };
		struct limited_provider provider = { .rate = 50, .credit = 10, .seen_us = 1, .pause_us = pause_us };
		uint64_t now_us = 1;
		visit_for(&provider, &learned, &now_us, 60 * CLOCK_US_PER_S);
		provider.down = true;
		visit_for(&provider, &learned, &now_us, 30 * CLOCK_US_PER_S);
		provider.down = false;
		provider.passed = provider.refused = 0;
		visit_for(&provider, &learned, &now_us, 60 * CLOCK_US_PER_S);
		assert_in_range(provider.passed, 60 * 40, 60 * 50 + 10);
		assert_in_range(provider.refused, 0, 60 * 2);
	}
}

/* After much too many at once nothing passes for a while, however far apart: that is no outage, and what was before would be
 * too many once more. */
static void too_many_at_once_are_no_outage(void **state)
{
	(void)state;
	struct learned_rate learned = { 0 };
	struct limited_provider provider = { .rate = 50, .seen_us = 1 };
	for (uint64_t now_us = 1; now_us < 2 * CLOCK_US_PER_S;) {
		visit_provider(&provider, &learned, now_us);
		assert_false(learned.outage);
		uint64_t visit_us = learned_rate_visit_us(&learned);
		now_us = visit_us > now_us + 200 ? visit_us : now_us + 200;
	}
	assert_in_range(provider.passed, 40, 110);
}

/* Nobody came for long, and then many at once: that they had come seldom is no pace, and far below what was refused it is
 * raised at once. */
static void a_quiet_time_is_no_pace(void **state)
{
	(void)state;
	struct learned_rate learned = { 0 };
	struct limited_provider provider = { .rate = 50, .seen_us = 1 };
	uint64_t now_us = 1;
	for (unsigned i = 0; i < 8; i++, now_us += 20 * CLOCK_US_PER_S)
		visit_provider(&provider, &learned, now_us);
	for (unsigned i = 0; i < 12; i++)
		visit_provider(&provider, &learned, now_us);
	assert_in_range(provider.refused, 1, 12);
	assert_true(learned_rate_visit_us(&learned) <= now_us + CLOCK_US_PER_S);
	now_us = learned_rate_visit_us(&learned);
	visit_for(&provider, &learned, &now_us, 15 * CLOCK_US_PER_S);
	provider.passed = provider.refused = 0;
	visit_for(&provider, &learned, &now_us, 10 * CLOCK_US_PER_S);
	assert_in_range(provider.passed, 10 * 45, 10 * 50 + 10);
}

/* One call in five seconds: after three refusals in a row it looks like one that is down, once. */
static void a_slow_provider_is_not_down(void **state)
{
	(void)state;
	struct learned_rate learned = { 0 };
	struct limited_provider provider = { .rate = 0.2, .credit = 1, .seen_us = 1 };
	uint64_t now_us = 1;
	visit_for(&provider, &learned, &now_us, 30 * CLOCK_US_PER_S);
	provider.passed = provider.refused = 0;
	visit_for(&provider, &learned, &now_us, 600 * CLOCK_US_PER_S);
	assert_in_range(provider.passed, 100, 130);
	assert_in_range(provider.refused, 0, 700);
}

/* Five visits under way at once; one in fifty is refused, whatever the pace. The largest time between visits that was taught. */
static double visit_by_chance(uint64_t seed)
{
	enum { UNDER_WAY = 5, VISITS_BY_CHANCE = 12500 };
	struct learned_rate learned = { 0 };
	uint64_t random = random_seeded(seed), now_us = CLOCK_US_PER_S, ends_us[UNDER_WAY] = { 0 }, sent_us[UNDER_WAY];
	double longest_us = 0;
	for (unsigned i = 0; i < VISITS_BY_CHANCE; i++) {
		size_t next = 0;
		for (size_t k = 1; k < UNDER_WAY; k++)
			next = ends_us[k] < ends_us[next] ? k : next;
		now_us = ends_us[next] > now_us ? ends_us[next] : now_us;
		if (ends_us[next] && random_part(&random) < 0.02)
			learned_rate_refused(&learned, 0, sent_us[next], now_us);
		else if (ends_us[next])
			learned_rate_passed(&learned, sent_us[next], now_us);
		longest_us = learned.step_us > longest_us ? learned.step_us : longest_us;
		uint64_t visit_us = learned_rate_visit_us(&learned);
		sent_us[next] = now_us = visit_us > now_us ? visit_us : now_us;
		ends_us[next] = now_us + 2500 + (uint64_t)(5000 * random_part(&random));
		learned_rate_visit(&learned, now_us);
	}
	return longest_us;
}

/* (Thousands of 100,000 writes in arrays were refused as overloaded: the provider said 429 to one request in fifty, and two that
 * came close together halved the pace, again and again, to one request in seconds.) */
static void refusals_by_chance_bring_nothing_to_a_standstill(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++)
		assert_in_range((uint64_t)visit_by_chance(seed), 0, 50000);
}

/* --- in a batcher --- */

static void start(struct rate requests, enum batch_mode mode)
{
	struct batch_policy policy = world_policy();
	policy.mode = mode;
	policy.max_items = CALLS;
	policy.max_bytes = policy.queue_bytes = 100000;
	policy.requests = requests;
	world_start(&world, &policy, CALLS);
}

static void finish_all(void)
{
	while (fake_nth(0))
		fake_finish(fake_nth(0));
	world_tick(&world);
}

static void what_waits_for_its_turn_gathers(void **state)
{
	(void)state;
	start((struct rate){ 6, MINUTE_US }, BATCH_ADAPTIVE); /* one in 10 s */
	calls_add(&world, probes, 1, 0);
	world_tick(&world);
	assert_int_equal(fake_sent(), 1);
	finish_all();
	for (unsigned i = 1; i < 20; i++) {
		calls_add(&world, &probes[i], 1, i);
		world_tick(&world);
		world_pass(&world, CLOCK_US_PER_S / 4);
	}
	assert_int_equal(fake_sent(), 1);
	assert_int_equal(batcher_deadline(world.batcher), 11 * CLOCK_US_PER_S);
	world_pass(&world, 11 * CLOCK_US_PER_S - world.now_us);
	world_tick(&world);
	assert_int_equal(fake_nth(0)->count, 19);
	assert_int_equal(world_flushes(&world, FLUSH_RATE), 1);
	assert_int_equal(world_metric(&world, METRIC_ID_BATCH_PACED, 0), 1);
	finish_all();
	world_stop(&world);
}

/* One caller of each lane, who calls again as soon as there is an answer. */
struct lane_caller {
	struct probe probe;
	const char *key;
	unsigned answers;
	bool called;
};

static void call_again(struct lane_caller *caller, unsigned tag)
{
	if (caller->called && !caller->probe.answered)
		return;
	caller->called = true;
	caller->answers += caller->probe.answered && caller->probe.outcome == OUTCOME_OK;
	memset(&caller->probe, 0, sizeof caller->probe);
	call_init(&world, &caller->probe, tag);
	snprintf(caller->probe.key, sizeof caller->probe.key, "%s", caller->key);
	caller->probe.item.lane_key = slice_of(caller->probe.key);
	caller->probe.item.caller = tag + 1;
	assert_int_equal(call_add(&caller->probe), OUTCOME_OK);
}

/* It lets in one request in 20 ms, and answers or refuses within a millisecond. */
static void answer_or_refuse(uint64_t *let_in_us)
{
	struct exchange *exchange;
	while ((exchange = fake_nth(0))) {
		if (world.now_us - *let_in_us < 20000) {
			fake_refuse_whole(exchange, 429, 0);
			continue;
		}
		*let_in_us = world.now_us;
		fake_finish(exchange);
	}
}

/* All were held until the same moment, one left, and the others lost their turn each time: the last of these three had a fifth of the
 * answers, and of two lanes of unlike latency the slower one none in ten seconds. */
static void under_a_learned_pace_lanes_take_turns(void **state)
{
	(void)state;
	struct lane_caller callers[] = { { .key = "a" }, { .key = "b" }, { .key = "c" } };
	uint64_t let_in_us = 0;
	start((struct rate){ 0 }, BATCH_ADAPTIVE);
	for (unsigned ms = 0; ms < 20000; ms++) {
		for (unsigned i = 0; i < countof(callers); i++)
			call_again(&callers[i], i);
		if (ms == 10000)
			callers[0].answers = callers[1].answers = callers[2].answers = 0;
		world_tick(&world);
		world_pass(&world, 1000);
		answer_or_refuse(&let_in_us);
		world_tick(&world);
	}
	unsigned all = callers[0].answers + callers[1].answers + callers[2].answers;
	assert_in_range(all, 200, 510);
	for (unsigned i = 0; i < countof(callers); i++)
		assert_in_range(callers[i].answers, all / 4, all / 2);
	for (unsigned i = 0; i < countof(callers); i++)
		batcher_cancel(world.batcher, &callers[i].probe.item, world.now_us);
	finish_all();
	world_stop(&world);
}

static void a_call_that_cannot_wait_that_long_is_told_at_once(void **state)
{
	(void)state;
	start((struct rate){ 6, MINUTE_US }, BATCH_ADAPTIVE);
	calls_add(&world, probes, 1, 0);
	world_tick(&world);
	finish_all();
	call_init(&world, &probes[1], 1);
	probes[1].item.deadline_us = world.now_us + 9 * CLOCK_US_PER_S;
	assert_int_equal(call_add(&probes[1]), OUTCOME_OK);
	world_tick(&world);
	assert_int_equal(probes[1].outcome, OUTCOME_RATE_LIMITED);
	assert_int_equal(probes[1].retry_after_s, 11);
	call_init(&world, &probes[2], 2);
	probes[2].item.deadline_us = world.now_us + 11 * CLOCK_US_PER_S;
	assert_int_equal(call_add(&probes[2]), OUTCOME_OK);
	world_tick(&world);
	assert_int_equal(probes[2].answered, 0);
	batcher_set_deadlines(world.batcher, &probes[2].item, world.now_us, CLOCK_NEVER);
	world_tick(&world);
	assert_int_equal(probes[2].outcome, OUTCOME_RATE_LIMITED);
	assert_int_equal(fake_sent(), 1);
	world_stop(&world);
}

static void singles_are_paced_too(void **state)
{
	(void)state;
	start((struct rate){ 60, MINUTE_US }, BATCH_OFF);
	calls_add(&world, probes, 20, 0);
	for (unsigned s = 0; s < 60; s++) {
		world_tick(&world);
		finish_all();
		world_pass(&world, CLOCK_US_PER_S);
	}
	assert_in_range(fake_sent(), 20, 20);
	world_stop(&world);
	start((struct rate){ 60, MINUTE_US }, BATCH_OFF);
	for (size_t i = 0; i < CALLS; i++) {
		call_init(&world, &probes[i], (unsigned)i);
		probes[i].item.deadline_us = world.now_us + 10 * MINUTE_US;
		assert_int_equal(call_add(&probes[i]), OUTCOME_OK);
	}
	for (unsigned s = 0; s < 600; s++) {
		world_tick(&world);
		finish_all();
		world_pass(&world, CLOCK_US_PER_S / 10);
	}
	assert_in_range(fake_sent(), 55, 60);
	struct answer *bye = answer_error(OUTCOME_SHUTTING_DOWN, "bye");
	batcher_abort_all(world.batcher, bye, world.now_us);
	answer_unref(bye);
	world_stop(&world);
}

/* A provider that takes one request in two seconds and says so. */
static void refusals_teach_the_rate_before_callers_are_told(unsigned status)
{
	start((struct rate){ 0, 0 }, BATCH_ADAPTIVE);
	uint64_t next_us = 0;
	size_t refused = 0, used = 0;
	for (unsigned turn = 0; turn < 6000; turn++) {
		if (turn % 60 == 0 && used < CALLS)
			calls_add(&world, &probes[used++], 1, turn);
		world_tick(&world);
		while (fake_nth(0)) {
			if (world.now_us < next_us) {
				refused++;
				fake_refuse_whole(fake_nth(0), status, 2);
			} else {
				next_us = world.now_us + 2 * CLOCK_US_PER_S;
				fake_finish(fake_nth(0));
			}
		}
		world_pass(&world, 10000);
	}
	world_pass(&world, 10 * CLOCK_US_PER_S);
	world_tick(&world);
	finish_all();
	for (size_t i = 0; i < used; i++)
		assert_true(probes[i].own); /* nobody was refused */
	assert_in_range(fake_sent() - refused, 10, 35);
	assert_in_range(refused, 1, 25);
	world_stop(&world);
}

static void after_429_the_same_work_fits_fewer_requests(void **state)
{
	(void)state;
	refusals_teach_the_rate_before_callers_are_told(429);
}

static void after_503_with_retry_after_likewise(void **state)
{
	(void)state;
	refusals_teach_the_rate_before_callers_are_told(503);
}

static void a_refused_call_that_must_not_be_repeated_still_pauses_the_lane(void **state)
{
	(void)state;
	start((struct rate){ 0, 0 }, BATCH_ADAPTIVE);
	call_init(&world, &probes[0], 0);
	probes[0].item.call.repeatable = false;
	assert_int_equal(call_add(&probes[0]), OUTCOME_OK);
	world_tick(&world);
	fake_refuse_whole(fake_nth(0), 503, 3);
	assert_int_equal(probes[0].answered, 1);
	calls_add(&world, &probes[1], 2, 1);
	world_tick(&world);
	world_pass(&world, 3 * CLOCK_US_PER_S - 1);
	world_tick(&world);
	assert_int_equal(fake_sent(), 1);
	world_pass(&world, 1);
	world_tick(&world);
	assert_int_equal(fake_nth(0)->count, 2);
	finish_all();
	world_stop(&world);
}

/* All under way get 429: that is one event, and the rate is halved once. */
static void one_burst_of_refusals_is_one_event(void **state)
{
	(void)state;
	start((struct rate){ 0 }, BATCH_OFF);
	struct probe few[10], later[20];
	for (unsigned i = 0; i < 10; i++) { /* 100 a second */
		calls_add(&world, &few[i], 1, i);
		world_tick(&world);
		fake_finish(fake_nth(0));
		world_pass(&world, 10000);
	}
	calls_add(&world, few, 10, 10);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 4); /* the policy's */
	while (fake_nth(0)) {
		fake_answer(fake_nth(0), 0,
			    answer_upstream_error(OUTCOME_RATE_LIMITED, 429, 0, (struct slice){ NULL, 0 }, "no"));
		fake_complete(fake_nth(0), OUTCOME_RATE_LIMITED);
	}
	size_t before = fake_sent();
	calls_add(&world, later, 20, 30);
	for (unsigned ms = 0; ms < 1000; ms++) {
		world_tick(&world);
		finish_all();
		world_pass(&world, 1000);
	}
	assert_int_equal(fake_sent() - before, 26); /* in a second, at half of 100 a second; it was 6 a second once */
	world_stop(&world);
}

static struct answer *limited(unsigned status, uint32_t retry_after_s)
{
	return answer_upstream_error(OUTCOME_RATE_LIMITED, status, retry_after_s, (struct slice){ NULL, 0 }, "later");
}

/* Retry-After binds every lane of the upstream, whatever its key is. */
static void a_pause_is_meant_of_the_whole_upstream(void **state)
{
	(void)state;
	start((struct rate){ 0 }, BATCH_OFF);
	struct probe three[3];
	calls_add(&world, &three[0], 1, 0);
	world_tick(&world);
	fake_answer(fake_nth(0), 0, limited(429, 30));
	fake_complete(fake_nth(0), OUTCOME_RATE_LIMITED);
	call_init(&world, &three[1], 1);
	three[1].item.lane_key = SLICE("alone, as an Idempotency-Key makes it");
	assert_int_equal(call_add(&three[1]), OUTCOME_OK);
	world_tick(&world);
	assert_int_equal(fake_sent(), 1); /* it waits: its deadline is a minute away */
	call_init(&world, &three[2], 2);
	three[2].item.lane_key = SLICE("another");
	three[2].item.deadline_us = world.now_us + 10 * CLOCK_US_PER_S;
	assert_int_equal(call_add(&three[2]), OUTCOME_OK);
	world_tick(&world);
	assert_int_equal(three[2].outcome, OUTCOME_RATE_LIMITED);
	assert_in_range(three[2].retry_after_s, 30, 31);
	world_pass(&world, 30 * CLOCK_US_PER_S);
	world_tick(&world);
	assert_int_equal(fake_sent(), 2);
	finish_all();
	world_stop(&world);
}

/* microsoft-graph's way: 200 for the batch, 429 for an item of it. */
static void a_pause_for_one_call_of_a_batch_counts_as_well(void **state)
{
	(void)state;
	start((struct rate){ 0 }, BATCH_ADAPTIVE);
	struct probe three[3];
	calls_add(&world, three, 2, 0);
	world_tick(&world);
	fake_echo(fake_nth(0), 0);
	fake_answer(fake_nth(0), 1, limited(429, 7));
	fake_complete(fake_nth(0), OUTCOME_OK);
	calls_add(&world, &three[2], 1, 2);
	world_tick(&world);
	assert_int_equal(fake_sent(), 1);
	world_pass(&world, 7 * CLOCK_US_PER_S);
	world_tick(&world);
	assert_int_equal(fake_sent(), 2);
	finish_all();
	world_stop(&world);
}

/* GET /maintenance answers 503, Retry-After: 3600. Nobody else is to wait for that, and it is asked again soon. */
static void an_unavailable_tool_pauses_itself_for_seconds(void **state)
{
	(void)state;
	start((struct rate){ 0 }, BATCH_OFF);
	struct probe ill, other, again;
	calls_add(&world, &other, 1, 3); /* of tool 0 */
	world_tick(&world);
	finish_all();
	call_init(&world, &ill, 0);
	ill.item.tool = 1;
	assert_int_equal(call_add(&ill), OUTCOME_OK);
	world_tick(&world);
	fake_answer(fake_nth(0), 0,
		    answer_upstream_error(OUTCOME_UPSTREAM_ERROR, 503, 3600, (struct slice){ NULL, 0 }, "no"));
	fake_complete(fake_nth(0), OUTCOME_UPSTREAM_ERROR);
	calls_add(&world, &other, 1, 1);
	call_init(&world, &again, 2);
	again.item.tool = 1;
	assert_int_equal(call_add(&again), OUTCOME_OK);
	world_tick(&world);
	assert_int_equal(fake_sent(), 3);
	finish_all();
	assert_true(other.own);
	world_pass(&world, 5 * CLOCK_US_PER_S);
	world_tick(&world);
	assert_int_equal(fake_sent(), 4);
	finish_all();
	assert_true(again.own);
	world_stop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_span_holds_more_than_the_amount),
		cmocka_unit_test(without_a_limit_nothing_waits),
		cmocka_unit_test(refusals_halve_what_was_visited_and_passing_raises_it),
		cmocka_unit_test(the_rate_is_found_where_a_refusal_costs_a_visit),
		cmocka_unit_test(the_rate_is_found_and_held_where_a_refusal_costs_a_pause),
		cmocka_unit_test(what_an_outage_taught_ends_with_it),
		cmocka_unit_test(the_pace_from_before_an_outage_is_kept),
		cmocka_unit_test(too_many_at_once_are_no_outage),
		cmocka_unit_test(a_slow_provider_is_not_down),
		cmocka_unit_test(a_quiet_time_is_no_pace),
		cmocka_unit_test(refusals_by_chance_bring_nothing_to_a_standstill),
		cmocka_unit_test(one_burst_of_refusals_is_one_event),
		cmocka_unit_test(a_pause_is_meant_of_the_whole_upstream),
		cmocka_unit_test(a_pause_for_one_call_of_a_batch_counts_as_well),
		cmocka_unit_test(an_unavailable_tool_pauses_itself_for_seconds),
		cmocka_unit_test(what_waits_for_its_turn_gathers),
		cmocka_unit_test(under_a_learned_pace_lanes_take_turns),
		cmocka_unit_test(a_call_that_cannot_wait_that_long_is_told_at_once),
		cmocka_unit_test(singles_are_paced_too),
		cmocka_unit_test(after_429_the_same_work_fits_fewer_requests),
		cmocka_unit_test(after_503_with_retry_after_likewise),
		cmocka_unit_test(a_refused_call_that_must_not_be_repeated_still_pauses_the_lane),
	};
	return cmocka_run_group_tests_name("rate limiter", tests, NULL, NULL);
}
