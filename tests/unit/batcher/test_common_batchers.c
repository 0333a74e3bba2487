/* SPDX-License-Identifier: Apache-2.0 */
/* Several batchers of one upstream: whatever happens at each, all together send no more than is promised, and every call
 * is answered though each is ticked only when it says that it has something to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "batcher/common_limits.h"
#include "batcher/pauses.h"
#include "tests/support/batcher_world.h"

enum { BATCHERS = 3, SCENARIOS = 1000, STEPS = 60, CALLS = 128 };

struct several {
	struct world worlds[BATCHERS]; /* the first one's loop and metrics are all others' */
	struct common_limits *limits;
	struct pauses *pauses;
	struct probe probes[CALLS];
	bool live[CALLS];
	size_t used;
};

static struct several several;
static unsigned seed;

/* slots: 0: learned. rate: NULL: none. None has joined yet. */
static void make_with(size_t slots, size_t queue_items, const struct rate *rate)
{
	struct batch_policy policy = world_policy();
	if (rate)
		policy.requests = *rate;
	policy.mode = BATCH_OFF;
	policy.concurrency = slots;
	policy.queue_items = queue_items;
	policy.queue_bytes = 1 << 30;
	several = (struct several){ .limits = common_limits_new(), .pauses = pauses_new() };
	struct world *first = &several.worlds[0];
	assert_non_null(several.limits);
	assert_non_null(several.pauses);
	world_start(first, &policy, 1);
	for (unsigned i = 1; i < BATCHERS; i++) {
		struct world *world = &several.worlds[i];
		*world = *first;
		world->settings.dialect = &world->dialect;
		world->settings.parts = BATCHERS;
		world->settings.part = i;
		world->batcher =
			batcher_new(&world->policy, &world->settings, NULL, world->loop, metrics_meter(world->metrics));
		assert_non_null(world->batcher);
	}
}

static void make(size_t slots, size_t queue_items)
{
	make_with(slots, queue_items, NULL);
}

static void join(size_t first, size_t last)
{
	for (size_t i = first; i <= last; i++) {
		batcher_share_pauses(several.worlds[i].batcher, several.pauses);
		batcher_join(several.worlds[i].batcher, several.limits);
	}
}

static void begin(size_t slots, size_t queue_items)
{
	make(slots, queue_items);
	join(0, BATCHERS - 1);
}

static void end(void)
{
	for (size_t i = BATCHERS; i-- > 1;)
		batcher_free(several.worlds[i].batcher);
	world_stop(&several.worlds[0]);
	common_limits_unref(several.limits);
	pauses_unref(several.pauses);
}

/* A turn of each worker's loop. */
static void turn(uint64_t us)
{
	world_pass(&several.worlds[0], us);
	for (size_t i = 0; i < BATCHERS; i++) {
		struct world *world = &several.worlds[i];
		world->now_us = several.worlds[0].now_us;
		if (batcher_deadline(world->batcher) <= world->now_us)
			world_tick(world);
	}
}

static enum outcome add_of(size_t batcher, unsigned tool)
{
	struct probe *probe = &several.probes[several.used];
	call_init(&several.worlds[batcher], probe, (unsigned)several.used);
	probe->item.tool = tool;
	enum outcome outcome = call_add(probe);
	several.live[several.used++] = outcome == OUTCOME_OK;
	return outcome;
}

static enum outcome add(size_t batcher)
{
	return add_of(batcher, 0);
}

static void slots_and_queue_are_one_for_all(void **state)
{
	(void)state;
	begin(2, 3);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(add(i % BATCHERS), OUTCOME_OK);
		turn(1);
	}
	assert_int_equal(fake_under_way(), 2);
	assert_int_equal(world_metric(&several.worlds[0], METRIC_ID_BATCH_WAITING, 0), 3);
	assert_int_equal(world_metric(&several.worlds[0], METRIC_ID_CONCURRENCY_LIMIT, 0), 2);
	for (size_t i = 0; i < BATCHERS; i++)
		assert_int_equal(add(i), OUTCOME_OVERLOADED);
	for (size_t left = 5; left > 0; left--) {
		fake_finish(fake_nth(0));
		turn(1);
		assert_int_equal(fake_under_way(), left > 2 ? 2 : left - 1);
	}
	end();
}

/* A large request takes nothing of a turn in which it cannot leave. */
static void what_finds_no_slot_spends_nothing_of_the_turn(void **state)
{
	(void)state;
	static char large[LOOP_HEAVY_BYTES];
	begin(1, 3);
	assert_int_equal(add(0), OUTCOME_OK);
	turn(1);
	struct probe *probe = &several.probes[several.used++];
	call_init(&several.worlds[1], probe, 1);
	probe->item.call.arguments = (struct slice){ large, sizeof large };
	assert_int_equal(call_add(probe), OUTCOME_OK);
	turn(1);
	assert_int_equal(fake_under_way(), 1);
	assert_true(loop_afford(several.worlds[0].loop, LOOP_REPLIES, LOOP_HEAVY_BYTES));
	for (size_t left = 2; left > 0; left--) {
		fake_finish(fake_nth(0));
		turn(1);
		turn(1);
		assert_int_equal(fake_under_way(), left - 1);
	}
	end();
}

/* Each is ticked only when it says that it has something to do: so whoever's turn it is has a timer. */
static void a_rate_is_one_for_all_and_nobody_starves(void **state)
{
	static const struct rate rate = { .amount = 20,
					  .period_us = 19 * CLOCK_US_PER_S }; /* two at once, one a second */
	enum { EACH = 4 };
	(void)state;
	make_with(50, 100, &rate);
	join(0, BATCHERS - 1);
	for (size_t i = 0; i < EACH * BATCHERS; i++)
		assert_int_equal(add(i / EACH), OUTCOME_OK);
	turn(1);
	turn(1);
	assert_int_equal(fake_under_way(), 2);
	assert_int_equal(fake_sent(), 2);
	for (size_t second = 1; second <= EACH * BATCHERS - 2; second++) {
		turn(CLOCK_US_PER_S - 10);
		turn(5);
		assert_int_equal(fake_sent(), 1 + second);
		turn(5);
		turn(0);
		assert_int_equal(fake_sent(), 2 + second);
	}
	while (fake_under_way()) {
		fake_finish(fake_nth(0));
		turn(1);
	}
	for (size_t i = 0; i < EACH * BATCHERS; i++)
		assert_int_equal(several.probes[i].outcome, OUTCOME_OK);
	end();
}

/* A call that is refused at once since it would come too late is evaluated by what waits at all of them. */
static void how_long_one_waits_for_a_rate_is_known_over_all(void **state)
{
	static const struct rate rate = { .amount = 20, .period_us = 19 * CLOCK_US_PER_S };
	(void)state;
	make_with(50, 100, &rate);
	join(0, BATCHERS - 1);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(add(i % 2), OUTCOME_OK);
	turn(1);
	turn(1);
	struct probe *probe = &several.probes[several.used++];
	call_init(&several.worlds[2], probe, 99);
	probe->item.deadline_us = several.worlds[2].now_us + 3 * CLOCK_US_PER_S;
	assert_int_equal(call_add(probe), OUTCOME_OK);
	turn(1);
	assert_int_equal(probe->outcome, OUTCOME_RATE_LIMITED);
	for (size_t second = 0; second < 5; second++) {
		turn(CLOCK_US_PER_S);
		turn(0);
	}
	assert_int_equal(fake_sent(), 6);
	while (fake_under_way()) {
		fake_finish(fake_nth(0));
		turn(1);
	}
	end();
}

/* The busy one, whose own call has just made the slot free, does not go before the others. */
static void they_take_turns(void **state)
{
	(void)state;
	begin(1, 100);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(add(0), OUTCOME_OK);
	turn(1);
	assert_int_equal(add(1), OUTCOME_OK);
	assert_int_equal(add(2), OUTCOME_OK);
	turn(1);
	for (size_t i = 0; i < 3; i++) {
		fake_finish(fake_nth(0));
		turn(1);
	}
	assert_int_equal(several.probes[6].answered, 1);
	assert_true(several.probes[7].answered || fake_nth(0)->calls[0].arguments.at == several.probes[7].arguments);
	while (fake_under_way()) {
		fake_finish(fake_nth(0));
		turn(1);
	}
	end();
}

static void a_pause_is_all_of_theirs(void **state)
{
	(void)state;
	begin(2, 100);
	assert_int_equal(add(0), OUTCOME_OK);
	turn(1);
	several.probes[0].item.call.repeatable = false;
	fake_refuse_whole(fake_nth(0), 429, 7);
	turn(1);
	assert_int_equal(add(1), OUTCOME_OK);
	assert_int_equal(add(2), OUTCOME_OK);
	turn(6 * CLOCK_US_PER_S);
	assert_int_equal(fake_under_way(), 0);
	turn(2 * CLOCK_US_PER_S);
	for (size_t turns = 0; turns < 100 && !(several.probes[1].answered && several.probes[2].answered); turns++) {
		while (fake_under_way())
			fake_finish(fake_nth(0));
		turn(CLOCK_US_PER_S / 10);
	}
	assert_int_equal(several.probes[1].outcome, OUTCOME_OK);
	assert_int_equal(several.probes[2].outcome, OUTCOME_OK);
	while (fake_under_way())
		fake_finish(fake_nth(0));
	turn(1);
	end();
}

/* While all were held it stood in no line in which others would have told it of a free slot, and the slots that they had were taken for
 * a reason to sleep on, for good. */
static void who_is_held_by_a_pause_gets_into_the_line_at_its_end(void **state)
{
	(void)state;
	struct batcher *held;
	begin(2, 100);
	held = several.worlds[0].batcher;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(add(1), OUTCOME_OK);
		turn(1);
	}
	assert_int_equal(fake_under_way(), 2);
	fake_answer(fake_nth(0), 0, answer_upstream_error(OUTCOME_RATE_LIMITED, 429, 5, (struct slice){ NULL, 0 }, "%s", "slower"));
	uint64_t until_us = several.worlds[0].now_us + 5 * CLOCK_US_PER_S;
	turn(1);
	assert_int_equal(add(0), OUTCOME_OK);
	turn(1);
	assert_int_equal(fake_under_way(), 2);
	assert_in_range(batcher_deadline(held), several.worlds[0].now_us, until_us);
	world_pass(&several.worlds[0], 6 * CLOCK_US_PER_S);
	assert_in_range(batcher_deadline(held), 0, several.worlds[0].now_us); /* though no slot is free */
	turn(1);
	assert_in_range(batcher_deadline(held), several.worlds[0].now_us + 1, CLOCK_NEVER); /* it is told */
	fake_complete(fake_nth(0), OUTCOME_RATE_LIMITED);
	turn(1);
	turn(1);
	assert_int_equal(fake_under_way(), 2);
	while (fake_under_way()) {
		fake_finish(fake_nth(0));
		turn(1);
	}
	assert_int_equal(several.probes[2].outcome, OUTCOME_OK);
	end();
}

/* The gateway ends, and its workers one after the other: a slot that one has left lets no call of another out. */
static void at_the_end_nothing_more_is_sent(void **state)
{
	(void)state;
	struct answer *answer = answer_error(OUTCOME_SHUTTING_DOWN, "over");
	begin(1, 100);
	for (size_t i = 0; i < BATCHERS; i++) {
		assert_int_equal(add(i), OUTCOME_OK);
		turn(1);
	}
	for (size_t i = 0; i < BATCHERS; i++) {
		batcher_abort_all(several.worlds[i].batcher, answer, several.worlds[0].now_us);
		turn(1);
		assert_int_equal(several.probes[i].outcome, OUTCOME_SHUTTING_DOWN);
		assert_int_equal(fake_under_way(), 0);
	}
	assert_int_equal(fake_sent(), 1);
	answer_unref(answer);
	end();
}

static void finish_all(void)
{
	while (fake_under_way()) {
		fake_finish(fake_nth(0));
		turn(1);
	}
}

/* The second one stands in line with a call of a slow tool when a third comes, and so its part of what is left of slots
 * for slow ones becomes less than it has: it would not take the slot that is kept for it, so it must leave the line. */
static void who_may_not_send_any_more_stands_in_nobodys_way(void **state)
{
	enum { FAST = 0, SLOW = 1 };
	(void)state;
	make(5, 100);
	join(0, 1);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(add_of(1, SLOW), OUTCOME_OK);
		turn(1);
		turn(CLOCK_US_PER_S / 2);
		finish_all();
	}
	assert_int_equal(add_of(1, FAST), OUTCOME_OK);
	turn(1);
	finish_all();
	assert_int_equal(add_of(1, SLOW), OUTCOME_OK);
	turn(1);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(add_of(0, FAST), OUTCOME_OK);
	turn(1);
	assert_int_equal(fake_under_way(), 5);
	assert_int_equal(add_of(1, SLOW), OUTCOME_OK);
	turn(1);
	join(2, 2);
	assert_int_equal(add_of(2, FAST), OUTCOME_OK);
	turn(1);
	fake_finish(fake_nth(1)); /* one of the first batcher's */
	turn(1);
	turn(1);
	assert_int_equal(fake_under_way(), 5);
	assert_ptr_equal(fake_nth(4)->calls[0].arguments.at, several.probes[several.used - 1].arguments);
	finish_all();
	end();
}

/* --- a limit that is learned --- */

enum { SERVERS = 4, TAKES_MS = 10, LASTS_MS = 20000 };

static size_t number_of(const struct exchange *exchange)
{
	size_t number = CALLS;
	assert_int_equal(sscanf(exchange->calls[0].arguments.at, "{\"tag\":%zu", &number), 1);
	assert_in_range(number, 0, CALLS - 1);
	return number;
}

/* A millisecond of a provider that works on SERVERS requests at once, in the order of their coming. */
static void work(unsigned *left_ms)
{
	struct exchange *done[SERVERS];
	size_t count = 0;
	for (size_t i = 0; i < SERVERS && fake_nth(i); i++)
		if (--left_ms[number_of(fake_nth(i))] == 0)
			done[count++] = fake_nth(i);
	while (count-- > 0)
		fake_finish(done[count]);
}

static void ask_again(unsigned *left_ms)
{
	for (size_t i = 0; i < several.used; i++) {
		struct probe *probe = &several.probes[i];
		if (!probe->answered)
			continue;
		assert_int_equal(probe->outcome, OUTCOME_OK);
		call_init(probe->world, probe, (unsigned)i);
		assert_int_equal(call_add(probe), OUTCOME_OK);
		left_ms[i] = TAKES_MS;
	}
}

static void abort_all(void)
{
	struct answer *answer = answer_error(OUTCOME_SHUTTING_DOWN, "over");
	for (size_t i = 0; i < BATCHERS; i++)
		batcher_abort_all(several.worlds[i].batcher, answer, several.worlds[0].now_us);
	turn(1);
	answer_unref(answer);
}

/* Callers at these batchers ask again as soon as they are answered. The limit that has been learned in the end. */
static int64_t learn_from(size_t first, size_t last)
{
	unsigned left_ms[CALLS];
	begin(0, 1000);
	for (size_t i = 0; i < CALLS; i++) {
		assert_int_equal(add(first + i % (last - first + 1)), OUTCOME_OK);
		left_ms[i] = TAKES_MS;
	}
	for (size_t ms = 0; ms < LASTS_MS; ms++) {
		work(left_ms);
		ask_again(left_ms);
		turn(1000);
	}
	int64_t limit = world_metric(&several.worlds[0], METRIC_ID_CONCURRENCY_LIMIT, 0);
	abort_all();
	end();
	return limit;
}

/* Not each its own: then it would be several times as many. The first one tells, whether it has calls or not. */
static void what_one_would_learn_all_learn_together(void **state)
{
	(void)state;
	int64_t of_one = learn_from(0, 0), of_all = learn_from(0, BATCHERS - 1),
		of_others = learn_from(1, BATCHERS - 1);
	assert_in_range(of_one, SERVERS - 1, 2 * SERVERS);
	assert_in_range(of_all, SERVERS - 1, 2 * SERVERS);
	assert_in_range(of_others, SERVERS - 1, 2 * SERVERS);
}

/* What hangs at one of them holds no slot any more when it is far past its time, and the others are told. */
static void what_hangs_at_one_holds_up_no_other(void **state)
{
	(void)state;
	begin(0, 1000);
	for (size_t i = 0; i < 16; i++) { /* its costs become known */
		assert_int_equal(add(i % BATCHERS), OUTCOME_OK);
		turn(1);
		turn(1000);
		finish_all();
	}
	size_t limit = (size_t)world_metric(&several.worlds[0], METRIC_ID_CONCURRENCY_LIMIT, 0);
	assert_in_range(limit, 2, CALLS - 20);
	for (size_t i = 0; i < limit; i++)
		assert_int_equal(add(0), OUTCOME_OK);
	turn(1);
	assert_int_equal(fake_under_way(), limit);
	assert_int_equal(add(1), OUTCOME_OK);
	turn(1);
	assert_int_equal(fake_under_way(), limit);
	for (size_t i = 0; i < 100 && fake_under_way() == limit; i++)
		turn(10000);
	assert_in_range(fake_under_way(), limit + 1, LIMITER_MOST);
	finish_all();
	end();
}

/* Nor when a generation comes to one of them meanwhile, or one that goes leaves its gauges to another. */
static void no_policy_begins_it_again(void **state)
{
	(void)state;
	struct answer *answer = answer_error(OUTCOME_SHUTTING_DOWN, "over");
	begin(1, 100);
	for (size_t i = 0; i < BATCHERS; i++) {
		assert_int_equal(add(i), OUTCOME_OK);
		turn(1);
	}
	for (size_t i = 0; i < BATCHERS; i++) {
		batcher_abort_all(several.worlds[i].batcher, answer, several.worlds[0].now_us);
		batcher_adjust(several.worlds[i].batcher, &several.worlds[i].policy);
		turn(1);
		assert_int_equal(several.probes[i].outcome, OUTCOME_SHUTTING_DOWN);
		assert_int_equal(fake_under_way(), 0);
	}
	assert_int_equal(fake_sent(), 1);
	answer_unref(answer);
	end();
}

/* --- random lives --- */

static unsigned roll(unsigned sides)
{
	return (unsigned)rand_r(&seed) % sides;
}

static void cancel_one(void)
{
	size_t number = roll(CALLS);
	struct probe *probe = &several.probes[number];
	if (number >= several.used || !several.live[number] || probe->answered)
		return;
	batcher_cancel(probe->world->batcher, &probe->item, several.worlds[0].now_us);
	several.live[number] = false;
}

static void step(void)
{
	unsigned what = roll(8);
	if (what < 4 && several.used < CALLS) {
		if (add(roll(BATCHERS)) == OUTCOME_OK && roll(4) == 0) {
			struct probe *probe = &several.probes[several.used - 1];
			batcher_set_deadlines(probe->world->batcher, &probe->item,
					      several.worlds[0].now_us + roll(3000), CLOCK_NEVER);
		}
	} else if (what < 6 && fake_under_way()) {
		fake_finish(fake_nth(roll((unsigned)fake_under_way())));
	} else if (what == 6) {
		cancel_one();
	} else {
		turn(roll(2000));
	}
}

static bool anybody_lives(void)
{
	for (size_t i = 0; i < several.used; i++)
		if (several.live[i] && !several.probes[i].answered)
			return true;
	return false;
}

static void live_and_end(unsigned scenario)
{
	size_t slots = scenario % 6, queue_items = 1 + scenario % 9;
	seed = scenario;
	begin(slots, queue_items);
	for (size_t i = 0; i < STEPS; i++) {
		step();
		turn(0);
		assert_in_range(fake_under_way(), 0, slots ? slots : CALLS);
		assert_in_range(world_metric(&several.worlds[0], METRIC_ID_BATCH_WAITING, 0), 0, queue_items);
	}
	for (size_t turns = 0; anybody_lives() || fake_under_way(); turns++) {
		assert_in_range(turns, 0, 4 * CALLS);
		if (fake_under_way())
			fake_finish(fake_nth(0));
		turn(1000);
	}
	for (size_t i = 0; i < several.used; i++)
		assert_int_equal(several.probes[i].answered, several.live[i]);
	turn(1);
	end();
}

static void all_are_answered_and_none_is_too_many(void **state)
{
	(void)state;
	for (unsigned scenario = 0; scenario < SCENARIOS; scenario++)
		live_and_end(scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_and_queue_are_one_for_all),
		cmocka_unit_test(what_finds_no_slot_spends_nothing_of_the_turn),
		cmocka_unit_test(a_rate_is_one_for_all_and_nobody_starves),
		cmocka_unit_test(how_long_one_waits_for_a_rate_is_known_over_all),
		cmocka_unit_test(they_take_turns),
		cmocka_unit_test(a_pause_is_all_of_theirs),
		cmocka_unit_test(who_is_held_by_a_pause_gets_into_the_line_at_its_end),
		cmocka_unit_test(at_the_end_nothing_more_is_sent),
		cmocka_unit_test(no_policy_begins_it_again),
		cmocka_unit_test(who_may_not_send_any_more_stands_in_nobodys_way),
		cmocka_unit_test(what_one_would_learn_all_learn_together),
		cmocka_unit_test(what_hangs_at_one_holds_up_no_other),
		cmocka_unit_test(all_are_answered_and_none_is_too_many),
	};
	return cmocka_run_group_tests_name("batchers in common", tests, NULL, NULL);
}
