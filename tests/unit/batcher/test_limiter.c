/* SPDX-License-Identifier: Apache-2.0 */
/* The limiter against providers in virtual time: it finds what they work on at once, and no history traps it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "batcher/limiter.h"

enum { FLIGHTS = 2 * LIMITER_MOST, CALLERS = 256, WIDE = 100 };

/* A provider: works on `slots` at once, the rest wait there in order. */
struct provider {
	size_t slots;
	double fixed_us, item_us;
	unsigned noise; /* per cent, either way */
	unsigned slow;  /* per mille that take slow_us */
	double slow_us;
	unsigned lost; /* per mille that never answer (forgotten after 10 s) */
};

struct flight {
	uint64_t sent_us, ends_us, overdue_us;
	size_t items;
	double under_way;
	bool lost, overdue;
};

struct course {
	struct limiter limiter;
	struct costs costs;
	struct flight flights[FLIGHTS];
	size_t count;
	uint64_t busy_until[LIMITER_MOST]; /* of each slot */
	uint64_t now_us;
	size_t callers; /* in a closed loop: a batch takes its share of them */
	uint64_t completed, items;
};

static unsigned seed;

static double takes_us(const struct provider *provider, size_t items)
{
	double us = provider->fixed_us + provider->item_us * (double)items;
	if (provider->noise)
		us *= (double)(100 - provider->noise + (unsigned)rand_r(&seed) % (2 * provider->noise + 1)) / 100;
	return (unsigned)rand_r(&seed) % 1000 < provider->slow ? provider->slow_us : us;
}

static uint64_t *earliest_slot(struct course *course, size_t slots)
{
	uint64_t *first = &course->busy_until[0];
	for (size_t i = 1; i < slots && i < LIMITER_MOST; i++)
		if (course->busy_until[i] < *first)
			first = &course->busy_until[i];
	return first;
}

static size_t count_overdue(struct course *course)
{
	size_t overdue = 0;
	for (size_t i = 0; i < course->count; i++) {
		if (!course->flights[i].overdue && course->flights[i].overdue_us <= course->now_us) {
			course->flights[i].overdue = true;
			limiter_overdue(&course->limiter);
		}
		overdue += course->flights[i].overdue;
	}
	return overdue;
}

static void send_one(struct course *course, const struct provider *provider)
{
	size_t limit = limiter_limit(&course->limiter), overdue = count_overdue(course);
	size_t items = course->callers / limit ? course->callers / limit : 1;
	if (costs_want_other(&course->costs, items))
		items /= 2;
	uint64_t *slot = earliest_slot(course, provider->slots);
	uint64_t starts_us = *slot > course->now_us ? *slot : course->now_us;
	struct flight *flight = &course->flights[course->count];
	bool lost = (unsigned)rand_r(&seed) % 1000 < provider->lost;
	uint64_t patience_us = limiter_patience_us(&course->costs, items);
	limiter_sent(&course->limiter, course->count, overdue, course->now_us);
	*flight = (struct flight){ .sent_us = course->now_us, .items = items, .lost = lost };
	flight->overdue_us = clock_add(course->now_us, patience_us);
	flight->ends_us = lost ? course->now_us + 10 * CLOCK_US_PER_S : starts_us + (uint64_t)takes_us(provider, items);
	if (!lost)
		*slot = flight->ends_us;
	course->count++;
	flight->under_way = (double)course->count;
}

static struct flight *next_completion(struct course *course)
{
	struct flight *first = &course->flights[0];
	for (size_t i = 1; i < course->count; i++)
		if (course->flights[i].ends_us < first->ends_us)
			first = &course->flights[i];
	return first;
}

static void complete(struct course *course, struct flight *flight)
{
	struct limiter_sample sample = {
		.costs = &course->costs,
		.items = flight->items,
		.took_us = (double)(course->now_us - flight->sent_us),
		.under_way = flight->under_way,
		.sent_us = flight->sent_us,
		.held = true,
		.overdue = flight->overdue_us <= course->now_us,
	};
	bool lost = flight->lost;
	course->completed += !lost;
	course->items += lost ? 0 : flight->items;
	*flight = course->flights[--course->count];
	if (!lost)
		limiter_completed(&course->limiter, &sample, course->now_us);
}

/* Everything the limiter lets out leaves at once, for so long. */
static void run_for(struct course *course, const struct provider *provider, uint64_t for_us)
{
	uint64_t end_us = course->now_us + for_us;
	while (course->now_us < end_us) {
		uint64_t free_us = CLOCK_NEVER;
		while (course->count < FLIGHTS &&
		       (free_us = limiter_free_us(&course->limiter, course->count, count_overdue(course),
						  course->now_us)) <= course->now_us)
			send_one(course, provider);
		uint64_t next_us = next_completion(course)->ends_us;
		next_us = free_us < next_us ? free_us : next_us;
		for (size_t i = 0; i < course->count; i++)
			if (!course->flights[i].overdue && course->flights[i].overdue_us < next_us)
				next_us = course->flights[i].overdue_us;
		course->now_us = next_us > course->now_us ? next_us : course->now_us;
		while (course->count > 0 && next_completion(course)->ends_us <= course->now_us)
			complete(course, next_completion(course));
	}
}

static void begin(struct course *course, size_t start)
{
	memset(course, 0, sizeof *course);
	limiter_init(&course->limiter, 0, start);
	course->now_us = CLOCK_US_PER_S;
	course->callers = CALLERS;
}

static struct course course;

/* In steady state: the limit that it stays at, tries not counted. */
static size_t settled(const struct course *of)
{
	bool tries = of->limiter.state == LIMITER_MORE || of->limiter.state == LIMITER_FEWER;
	return (size_t)(tries ? of->limiter.before.limit : of->limiter.limit);
}

static void slots_are_found(void **state)
{
	static const size_t slots[] = { 1, 2, 3, 4, 8, 20, 50 };
	(void)state;
	for (size_t i = 0; i < countof(slots); i++) {
		struct provider provider = { .slots = slots[i], .fixed_us = 5000, .item_us = 50 };
		begin(&course, LIMITER_START_BATCH);
		run_for(&course, &provider, 3 * CLOCK_US_PER_S);
		for (unsigned j = 0; j < 50; j++) {
			run_for(&course, &provider, 50 * CLOCK_US_PER_MS);
			if (settled(&course) < slots[i] * 4 / 5 || settled(&course) > slots[i] * 5 / 4 + 1)
				fail_msg("%zu slots: limit %zu", slots[i], settled(&course));
		}
	}
}

static void slots_are_found_through_noise(void **state)
{
	struct provider provider = { .slots = 8, .fixed_us = 5000, .item_us = 50, .noise = 40 };
	(void)state;
	begin(&course, LIMITER_START_BATCH);
	run_for(&course, &provider, 5 * CLOCK_US_PER_S);
	size_t sum = 0;
	for (unsigned j = 0; j < 100; j++) {
		run_for(&course, &provider, 100 * CLOCK_US_PER_MS);
		sum += settled(&course);
	}
	assert_in_range(sum / 100, 6, 12);
}

static void what_has_no_limit_gets_all(void **state)
{
	struct provider provider = { .slots = LIMITER_MOST, .fixed_us = 500000 };
	(void)state;
	begin(&course, LIMITER_START_SINGLE);
	course.callers = 1;
	run_for(&course, &provider, 2 * CLOCK_US_PER_S);
	assert_in_range(course.completed, 480, 10000); /* 64 + 128 + 256 + ..., a doubling every half second */
	run_for(&course, &provider, CLOCK_US_PER_S);
	assert_int_equal(limiter_limit(&course.limiter), LIMITER_MOST);
}

/* 1,000 callers of half a second are answered before it is 2 s, also where answers come one by one and each lets one more out before the
 * limit rises; and a provider that works on half as many is not flooded. */
static void a_crowd_at_a_slow_provider_waits_for_few_rounds(void **state)
{
	(void)state;
	for (unsigned noise = 0; noise <= 2; noise++) {
		struct provider provider = { .slots = LIMITER_MOST, .fixed_us = 480000, .noise = noise };
		begin(&course, LIMITER_START_SINGLE);
		course.callers = 1;
		run_for(&course, &provider, 1600000);
		assert_in_range(course.completed, 1000, 10000);
		provider.slots = 100;
		begin(&course, LIMITER_START_SINGLE);
		course.callers = 1;
		run_for(&course, &provider, 1600000);
		assert_in_range(limiter_limit(&course.limiter), 64, 256);
		run_for(&course, &provider, 10 * CLOCK_US_PER_S);
		assert_in_range(settled(&course), 75, 150);
	}
}

/* 2 % take 400 times as long: none of the others waits for those. */
static void a_few_slow_ones_hold_nobody_up(void **state)
{
	struct provider provider = { .slots = 400, .fixed_us = 5000, .noise = 5, .slow = 20, .slow_us = 2000000 };
	(void)state;
	begin(&course, LIMITER_START_BATCH);
	course.callers = 1;
	run_for(&course, &provider, CLOCK_US_PER_S);
	uint64_t before = course.completed;
	run_for(&course, &provider, 2 * CLOCK_US_PER_S);
	assert_true(course.completed - before > 2 * 10 * 200); /* more than ten at once would do in 2 s */
}

static void two_lost_of_two_do_not_stop_the_rest(void **state)
{
	struct provider provider = { .slots = 1, .fixed_us = 5000 };
	struct provider loses = { .slots = 1, .fixed_us = 5000, .lost = 1000 };
	(void)state;
	begin(&course, LIMITER_START_BATCH);
	run_for(&course, &provider, CLOCK_US_PER_S);
	run_for(&course, &loses, 1);
	uint64_t before = course.completed;
	run_for(&course, &provider, 200 * CLOCK_US_PER_MS);
	assert_true(course.completed > before + 10); /* not after the ten seconds that the lost ones last */
}

/* Nothing completes for ten seconds: the provider is not buried under what is sent to find out. */
static void a_provider_that_stands_still_gets_few(void **state)
{
	struct provider provider = { .slots = 8, .fixed_us = 5000 };
	struct provider frozen = { .slots = 8, .fixed_us = 5000, .lost = 1000 };
	(void)state;
	begin(&course, LIMITER_START_BATCH);
	run_for(&course, &provider, CLOCK_US_PER_S);
	size_t limit = settled(&course);
	run_for(&course, &frozen, 5 * CLOCK_US_PER_S);
	assert_in_range(course.count, 1, 3 * limit + 20);
}

static void a_slower_provider_is_no_fuller_one(void **state)
{
	struct provider provider = { .slots = 50, .fixed_us = 5000 }, slower = { .slots = 50, .fixed_us = 50000 };
	(void)state;
	begin(&course, LIMITER_START_SINGLE);
	course.callers = 1;
	run_for(&course, &provider, CLOCK_US_PER_S);
	size_t before = settled(&course);
	run_for(&course, &slower, 2 * CLOCK_US_PER_S);
	assert_in_range(settled(&course), before * 3 / 4, LIMITER_MOST);
}

/* Nothing queued, and from one round to the next it is another provider: what it takes at once is found out anew, as from
 * the start, and not by an eighth more a second. */
static void another_provider_is_learned_from_the_start(void **state)
{
	struct provider serial = { .slots = 1, .fixed_us = 5000 }, wide = { .slots = 500, .fixed_us = 40000 };
	(void)state;
	begin(&course, LIMITER_START_BATCH);
	course.callers = 1;
	run_for(&course, &serial, 2 * CLOCK_US_PER_S);
	assert_in_range(settled(&course), 1, 2);
	run_for(&course, &wide, CLOCK_US_PER_S);
	assert_in_range(settled(&course), 160, LIMITER_MOST);
}

/* Exchanges take half a minute, and differ: rounds that are waited for to be exact would be minutes. */
static void a_slow_provider_is_allowed_many_at_once(void **state)
{
	struct provider slow = { .slots = LIMITER_MOST, .fixed_us = 10000000, .noise = 80 };
	(void)state;
	begin(&course, LIMITER_START_BATCH);
	course.callers = 1;
	run_for(&course, &slow, CLOCK_US_PER_S);
	assert_int_equal(limiter_limit(&course.limiter), LIMITER_START_SINGLE);
	run_for(&course, &slow, 40 * CLOCK_US_PER_S);
	assert_in_range(limiter_limit(&course.limiter), 4 * LIMITER_START_SINGLE, LIMITER_MOST);
}

/* Every exchange is noticed late because the gateway itself is short of time: that is no queue of the provider. */
static void our_own_lag_is_not_the_provider_s(void **state)
{
	(void)state;
	struct limiter limiter;
	struct costs costs = { .weight = 0 };
	limiter_init(&limiter, 0, 10);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t now_us = CLOCK_US_PER_S + i * 1000;
		bool busy = i >= 1000;
		struct limiter_sample sample = {
			.costs = &costs,
			.items = 1,
			.took_us = busy ? 5000 + 1000 * (i % 9) : 5000,
			.lag_us = busy ? 8000 : 0,
			.under_way = 10,
			.sent_us = now_us - 1,
		};
		limiter_completed(&limiter, &sample, now_us);
		assert_int_equal(limiter_limit(&limiter), 10);
	}
	assert_in_range((uint64_t)costs.fixed_us, 4900, 5100);
}

/* A closed loop of callers, one call an exchange, before a provider that works on `slots` at once and makes the rest wait. */
static void loop_callers(struct limiter *limiter, struct costs *costs, size_t callers, size_t slots, uint64_t each_us,
			 unsigned completions, uint64_t *now_us)
{
	for (unsigned i = 0; i < completions; i++) {
		size_t limit = limiter_limit(limiter), used = callers < limit ? callers : limit;
		uint64_t took_us = used > slots ? each_us * used / slots : each_us;
		*now_us += each_us / slots;
		struct limiter_sample sample = {
			.costs = costs,
			.items = 1,
			.took_us = (double)took_us,
			.under_way = (double)used,
			.sent_us = *now_us - took_us,
			.held = callers > limit,
		};
		limiter_completed(limiter, &sample, *now_us);
	}
}

/* What is known of exchanges was learned while all of them queued, and the limit holds nobody back: it is not left so. */
static void a_limit_that_lets_all_queue_is_found_out(void **state)
{
	(void)state;
	struct limiter limiter;
	struct costs costs = { .weight = 0 };
	uint64_t now_us = 10 * CLOCK_US_PER_S;
	limiter_init(&limiter, 0, LIMITER_START_BATCH);
	limiter.limit = LIMITER_START_SINGLE; /* the first answer took long */
	loop_callers(&limiter, &costs, 32, 1, 5000, 2000, &now_us);
	assert_in_range(limiter_limit(&limiter), 1, 4);
	assert_in_range((uint64_t)costs.fixed_us, 4000, 20000);
}

/* The limit was found for arrays, each with calls of many; now they travel alone, and the provider works on all of them. What
 * was tried a little at a time took seconds. */
static void what_goes_alone_from_now_on_is_sought_anew(void **state)
{
	(void)state;
	struct limiter limiter;
	struct costs costs = { .weight = 0 };
	uint64_t now_us = 10 * CLOCK_US_PER_S;
	limiter_init(&limiter, 0, LIMITER_START_BATCH);
	loop_callers(&limiter, &costs, 256, 8, 5000, 3000, &now_us);
	assert_in_range(limiter_limit(&limiter), 6, 16);
	size_t before = limiter_limit(&limiter);
	limiter_seek(&limiter, now_us);
	assert_int_equal(limiter_limit(&limiter), before);
	loop_callers(&limiter, &costs, 256, 1000, 5000, 6000, &now_us);
	assert_in_range(limiter_limit(&limiter), 100, LIMITER_MOST);
	/* a configured number is left alone */
	limiter_init(&limiter, 4, 0);
	limiter_seek(&limiter, now_us);
	assert_int_equal(limiter_limit(&limiter), 4);
	assert_int_equal(limiter_reachable(&limiter), 4);
}

/* It was seen as a queue first, and the limit was cut: that this does not help tells of another provider, of which nothing is known. To go
 * back, with its costs corrected, and to try a little more each time took seconds, while a line stood. */
static void a_cut_that_does_not_help_shows_another_provider(void **state)
{
	(void)state;
	struct limiter limiter;
	struct costs costs = { .weight = 0 };
	uint64_t now_us = 10 * CLOCK_US_PER_S;
	limiter_init(&limiter, 0, LIMITER_START_BATCH);
	loop_callers(&limiter, &costs, 256, 16, 10000, 3000, &now_us);
	for (unsigned i = 0; i < 10000 && limiter.state != LIMITER_MORE; i++)
		loop_callers(&limiter, &costs, 256, 16, 10000, 1, &now_us);
	assert_int_equal(limiter.state, LIMITER_MORE);
	for (unsigned i = 0; i < 1000 && limiter.state != LIMITER_CUT; i++)
		loop_callers(&limiter, &costs, 256, 16, 10000 + 100 * i, 1, &now_us); /* it becomes slow by and by */
	assert_int_equal(limiter.state, LIMITER_CUT);
	uint64_t forgot_us = limiter.forgot_us;
	now_us += CLOCK_US_PER_S; /* all that left before is back */
	loop_callers(&limiter, &costs, 256, 1000, 200000, 40, &now_us);
	assert_true(limiter.forgot_us > forgot_us);
	assert_int_equal(limiter_limit(&limiter), LIMITER_START_SINGLE);
}

/* The limit is 64, six are used, and two of them are worked on: a cut to a quarter of 64 would change nothing, and look as
 * if exchanges had become slower. */
static void a_cut_goes_below_what_is_used(void **state)
{
	(void)state;
	struct limiter limiter;
	struct costs costs = { .weight = 0 };
	uint64_t now_us = 10 * CLOCK_US_PER_S;
	limiter_init(&limiter, 0, LIMITER_START_BATCH);
	loop_callers(&limiter, &costs, 1, 1, 10000, 100, &now_us);
	limiter.limit = LIMITER_START_SINGLE;
	loop_callers(&limiter, &costs, 6, 2, 10000, 500, &now_us);
	assert_in_range(limiter_limit(&limiter), 2, 4);
	assert_in_range((uint64_t)costs.fixed_us, 9000, 13000);
}

/* Exchanges took half a minute, and the limit was cut: those that leave then may still find the queue there, but not for
 * half a minute if the first of them is back at once. */
static void a_cut_is_over_when_the_first_that_left_since_is_back(void **state)
{
	(void)state;
	struct limiter limiter;
	struct costs costs = { .weight = 0 };
	uint64_t now_us = 100 * CLOCK_US_PER_S;
	limiter_init(&limiter, 0, LIMITER_START_SINGLE);
	loop_callers(&limiter, &costs, 1, 1, 5 * CLOCK_US_PER_S, 40, &now_us);
	limiter.state = LIMITER_STEADY;
	for (unsigned i = 0; i < 1000 && limiter.state != LIMITER_CUT; i++)
		loop_callers(&limiter, &costs, 60, 40, 5 * CLOCK_US_PER_S, 1, &now_us);
	assert_int_equal(limiter.state, LIMITER_CUT);
	loop_callers(&limiter, &costs, 10, 10, 5000, 200, &now_us); /* a tenth of a second */
	assert_int_not_equal(limiter.state, LIMITER_CUT);
}

static void a_fixed_number_stays(void **state)
{
	struct provider provider = { .slots = 1, .fixed_us = 5000 };
	(void)state;
	begin(&course, 1);
	limiter_init(&course.limiter, 7, 0);
	run_for(&course, &provider, 5 * CLOCK_US_PER_S);
	assert_int_equal(limiter_limit(&course.limiter), 7);
	assert_int_equal(limiter_reachable(&course.limiter), 7);
}

static unsigned below(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static struct provider any_provider(void)
{
	static const double times_us[] = { 1000, 5000, 50000, 500000 };
	return (struct provider){
		.slots = 1 + below(below(3) ? 40 : WIDE),
		.fixed_us = times_us[below(countof(times_us))],
		.item_us = below(2) ? below(500) : 0,
		.noise = below(3) ? 0 : below(80),
		.slow = below(4) ? 0 : below(50),
		.slow_us = 2000000,
		.lost = below(4) ? 0 : below(1001),
	};
}

/* Those that the provider has lost end by their time-out. */
static void forget_flights(struct course *of)
{
	of->count = 0;
	memset(of->busy_until, 0, sizeof of->busy_until);
}

/* The property: whatever a provider has done, the limit is as good afterwards as if it had not. */
static void no_history_traps_it(void **state)
{
	(void)state;
	for (unsigned history = 0; history < 200; history++) {
		seed = history;
		begin(&course, below(2) ? LIMITER_START_BATCH : LIMITER_START_SINGLE);
		course.callers = below(2) ? 1 : 1 + below(2000);
		for (unsigned i = below(5) + 1; i-- > 0;) {
			struct provider any = any_provider();
			run_for(&course, &any, below(1000) * CLOCK_US_PER_MS);
		}
		struct provider wide = { .slots = WIDE, .fixed_us = 20000 }, narrow = { .slots = 4, .fixed_us = 5000 };
		forget_flights(&course);
		run_for(&course, &wide, 3 * CLOCK_US_PER_S);
		if (settled(&course) < WIDE * 3 / 4)
			fail_msg("history %u: limit %zu of a provider with %d slots", history, settled(&course), WIDE);
		run_for(&course, &narrow, 3 * CLOCK_US_PER_S);
		if (settled(&course) < 3 || settled(&course) > 6)
			fail_msg("history %u: limit %zu of a provider with 4 slots", history, settled(&course));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_are_found),
		cmocka_unit_test(slots_are_found_through_noise),
		cmocka_unit_test(what_has_no_limit_gets_all),
		cmocka_unit_test(a_crowd_at_a_slow_provider_waits_for_few_rounds),
		cmocka_unit_test(a_few_slow_ones_hold_nobody_up),
		cmocka_unit_test(two_lost_of_two_do_not_stop_the_rest),
		cmocka_unit_test(a_provider_that_stands_still_gets_few),
		cmocka_unit_test(a_slower_provider_is_no_fuller_one),
		cmocka_unit_test(another_provider_is_learned_from_the_start),
		cmocka_unit_test(a_slow_provider_is_allowed_many_at_once),
		cmocka_unit_test(our_own_lag_is_not_the_provider_s),
		cmocka_unit_test(a_limit_that_lets_all_queue_is_found_out),
		cmocka_unit_test(what_goes_alone_from_now_on_is_sought_anew),
		cmocka_unit_test(a_cut_that_does_not_help_shows_another_provider),
		cmocka_unit_test(a_cut_goes_below_what_is_used),
		cmocka_unit_test(a_cut_is_over_when_the_first_that_left_since_is_back),
		cmocka_unit_test(a_fixed_number_stays),
		cmocka_unit_test(no_history_traps_it),
	};
	return cmocka_run_group_tests_name("limiter", tests, NULL, NULL);
}
