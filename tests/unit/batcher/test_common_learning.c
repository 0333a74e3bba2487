/* SPDX-License-Identifier: Apache-2.0 */
/* A limit that several batchers learn together is that of one limiter which sees everything, whoever asks; and whoever
 * waits for a slot is woken, though it may be time alone that frees one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/loop.h"
#include "batcher/common_limits.h"

enum { MEMBERS = 3, TOOLS = 2, SCENARIOS = 200, STEPS = 400, FLIGHTS = LIMITER_MOST, START = 4 };

static unsigned seed;

static unsigned roll(unsigned sides)
{
	return (unsigned)rand_r(&seed) % sides;
}

/* --- one thread: beside a limiter that is told the same --- */

struct flight {
	size_t member, tool, under_way;
	uint64_t sent_us;
	bool overdue;
};

static struct {
	struct common_limits *limits;
	struct loop *loop;
	struct common_member members[MEMBERS];
	struct common_tool *tools[TOOLS];
	struct costs known[TOOLS];
	uint64_t now_us;
	/* what it must be */
	struct limiter limiter;
	struct costs costs[TOOLS];
	size_t line[MEMBERS], waiting, overdue;
	struct flight flights[FLIGHTS];
	size_t under_way;
} all;

static void begin(void)
{
	memset(&all, 0, sizeof all);
	all.now_us = CLOCK_US_PER_S;
	all.limits = common_limits_new();
	all.loop = loop_new();
	assert_non_null(all.limits);
	assert_non_null(all.loop);
	for (size_t i = 0; i < MEMBERS; i++) {
		common_join(&all.members[i], all.limits, all.loop, i == 0);
		common_set_slots(&all.members[i], 0, START);
	}
	for (size_t i = 0; i < TOOLS; i++) {
		all.tools[i] = common_find_tool(&all.members[i], (unsigned)i, &all.known[i]);
		assert_non_null(all.tools[i]);
		assert_ptr_equal(common_find_tool(&all.members[MEMBERS - 1], (unsigned)i, &all.known[i]), all.tools[i]);
	}
	limiter_init(&all.limiter, 0, START);
}

static size_t place_in_line(size_t member)
{
	size_t place = 0;
	while (place < all.waiting && all.line[place] != member)
		place++;
	return place;
}

static void leave_line(size_t member)
{
	size_t place = place_in_line(member);
	if (place == all.waiting)
		return;
	all.waiting--;
	memmove(&all.line[place], &all.line[place + 1], (all.waiting - place) * sizeof all.line[0]);
}

static size_t count_free(void)
{
	return limiter_free_count(&all.limiter, all.under_way, all.overdue, all.now_us);
}

static void take(size_t member)
{
	bool free = count_free() > place_in_line(member);
	size_t tool = roll(TOOLS);
	assert_int_equal(common_take_slot(&all.members[member], all.now_us), free);
	assert_int_equal(all.members[member].waits, !free);
	if (!free && place_in_line(member) == all.waiting)
		all.line[all.waiting++] = member;
	if (!free)
		return;
	leave_line(member);
	limiter_sent(&all.limiter, all.under_way, all.overdue, all.now_us);
	size_t under_way = common_sent(&all.members[member], all.now_us);
	assert_int_equal(under_way, all.under_way + 1);
	all.flights[all.under_way++] = (struct flight){ member, tool, under_way, all.now_us, false };
}

static struct limiter_sample sample_of(const struct flight *flight)
{
	uint64_t took_us = all.now_us - flight->sent_us;
	return (struct limiter_sample){ .costs = &all.costs[flight->tool],
					.items = 1,
					.took_us = took_us ? (double)took_us : 1,
					.under_way = (double)flight->under_way,
					.sent_us = flight->sent_us,
					.held = all.waiting > 0,
					.overdue = flight->overdue };
}

static void end_flight(size_t number)
{
	struct flight flight = all.flights[number];
	struct limiter_sample sample = sample_of(&flight), same = sample;
	uint64_t forgot_us = all.limiter.forgot_us;
	limiter_completed(&all.limiter, &sample, all.now_us);
	bool forgotten = common_completed(&all.members[flight.member], all.tools[flight.tool], &same,
					  &all.known[flight.tool], all.now_us);
	assert_int_equal(forgotten, all.limiter.forgot_us != forgot_us);
	assert_memory_equal(&all.known[flight.tool], &all.costs[flight.tool], sizeof all.costs[0]);
	common_give_slot(&all.members[flight.member], flight.overdue, all.now_us);
	all.overdue -= flight.overdue;
	all.flights[number] = all.flights[--all.under_way];
}

static void let_be_overdue(struct flight *flight)
{
	bool heard = roll(2);
	if (flight->overdue)
		return;
	flight->overdue = true;
	all.overdue++;
	if (!heard)
		limiter_overdue(&all.limiter);
	common_note_overdue(&all.members[flight->member], heard, all.now_us);
}

static void stop_waiting(size_t member)
{
	common_stop_waiting(&all.members[member]);
	leave_line(member);
}

static void expect_same(void)
{
	struct limiter view;
	assert_int_equal(common_under_way(&all.members[0]), all.under_way);
	assert_int_equal(common_overdue(&all.members[0]), all.overdue);
	for (size_t i = 0; i < MEMBERS; i++) {
		uint64_t free_us = limiter_free_us(&all.limiter, all.under_way, all.overdue, all.now_us);
		if (count_free())
			free_us = count_free() > place_in_line(i) ? 0 : CLOCK_NEVER;
		assert_int_equal(common_free_us(&all.members[i], all.now_us), free_us);
	}
	common_look(&all.members[1], &view);
	assert_false(common_has_changed(&all.members[1]));
	assert_int_equal(limiter_limit(&view), limiter_limit(&all.limiter));
	assert_int_equal(view.state, all.limiter.state);
	assert_int_equal(view.reason, all.limiter.reason);
}

static void live(unsigned scenario)
{
	seed = scenario;
	begin();
	for (size_t i = 0; i < STEPS; i++) {
		unsigned what = roll(10);
		if (what < 5)
			take(roll(MEMBERS));
		else if (what < 8 && all.under_way)
			end_flight(roll((unsigned)all.under_way));
		else if (what == 8 && all.under_way && roll(4) == 0)
			let_be_overdue(&all.flights[roll((unsigned)all.under_way)]);
		else if (what == 9 && roll(4) == 0)
			stop_waiting(roll(MEMBERS));
		all.now_us += roll(4) ? roll(3000) : roll(200000);
		expect_same();
	}
	while (all.under_way)
		end_flight(0);
	for (size_t i = 0; i < MEMBERS; i++)
		common_leave(&all.members[i]);
	common_limits_unref(all.limits);
	loop_free(all.loop);
}

static void it_is_that_of_one_limiter(void **state)
{
	(void)state;
	for (unsigned scenario = 0; scenario < SCENARIOS; scenario++)
		live(scenario);
}

/* A number of the configuration takes the place of what was learned, and the other way round; what all say anew as each
 * takes the configuration over begins nothing anew. */
static void what_is_said_again_begins_nothing_anew(void **state)
{
	(void)state;
	begin();
	for (size_t i = 0; i < START; i++)
		take(0);
	all.now_us += 10;
	while (all.under_way)
		end_flight(0);
	double limit = all.limiter.limit;
	common_set_slots(&all.members[1], 0, START);
	expect_same();
	common_set_slots(&all.members[1], 7, START);
	assert_true(common_has_changed(&all.members[1]));
	common_set_slots(&all.members[2], 7, START);
	limiter_init(&all.limiter, 7, 0);
	expect_same();
	assert_true(limit > 0);
	for (size_t i = 0; i < MEMBERS; i++)
		common_leave(&all.members[i]);
	common_limits_unref(all.limits);
	loop_free(all.loop);
}

static void a_closed_one_gives_nothing_more(void **state)
{
	(void)state;
	begin();
	take(0);
	common_close(&all.members[1]);
	common_set_slots(&all.members[1], 50, START);
	assert_false(common_take_slot(&all.members[2], all.now_us));
	assert_int_equal(common_free_us(&all.members[2], all.now_us + CLOCK_US_PER_S), CLOCK_NEVER);
	common_give_slot(&all.members[0], false, all.now_us);
	for (size_t i = 0; i < MEMBERS; i++)
		common_leave(&all.members[i]);
	common_limits_unref(all.limits);
	loop_free(all.loop);
}

/* The second one stands in line, and only a completion will help it. Then the first one's exchange is far past its time, so
 * that time alone will let one more out: it sleeps without a timer for that, and has to be told. */
static void who_sleeps_is_told_that_time_alone_will_do(void **state)
{
	(void)state;
	begin();
	struct loop *loop = loop_new();
	assert_non_null(loop);
	all.members[1].loop = loop;
	take(0);
	all.now_us += 10;
	end_flight(0);
	size_t late = 0;
	while (all.limiter.untimely < 0.25 || count_free()) {
		while (count_free())
			take(0);
		if (all.limiter.untimely < 0.25) {
			limiter_overdue(&all.limiter);
			all.overdue++;
			all.flights[late++].overdue = true;
			common_note_overdue(&all.members[0], false, all.now_us);
		}
	}
	take(1);
	assert_int_equal(common_free_us(&all.members[1], all.now_us), CLOCK_NEVER);
	limiter_overdue(&all.limiter);
	all.overdue++;
	all.flights[late].overdue = true;
	common_note_overdue(&all.members[0], false, all.now_us);
	expect_same();
	assert_in_range(common_free_us(&all.members[1], all.now_us), all.now_us + 1, CLOCK_NEVER - 1);
	uint64_t until_us = clock_now_us() + 60 * CLOCK_US_PER_S;
	loop_wait(loop, until_us);
	assert_in_range(clock_now_us(), 0, until_us - 1);
	while (all.under_way)
		end_flight(0);
	for (size_t i = 0; i < MEMBERS; i++)
		common_leave(&all.members[i]);
	common_limits_unref(all.limits);
	loop_free(loop);
	loop_free(all.loop);
}

/* --- several threads --- */

enum { THREADS = 6, TAKEN_EACH = 3000 };

static struct common_limits *limits;
static pthread_barrier_t ready;
static atomic_uint told;

/* A waker that is lost would leave it asleep for ever: the time is only so that the test ends then, red. */
static void take_or_sleep(struct common_member *member, struct loop *loop)
{
	uint64_t until_us = clock_now_us() + 60 * CLOCK_US_PER_S;
	while (!common_take_slot(member, clock_now_us())) {
		uint64_t free_us = common_free_us(member, clock_now_us());
		loop_wait(loop, free_us < until_us ? free_us : until_us);
		if (clock_now_us() >= until_us)
			abort(); /* a slot was free, and nobody was woken */
	}
}

/* So that the limit rises and falls, and time has to free some: one in a while is far past its time. */
static void exchange(struct common_member *member, struct common_tool *tool, unsigned *random)
{
	struct costs costs;
	struct limiter view;
	uint64_t sent_us = clock_now_us();
	double under_way = (double)common_sent(member, sent_us);
	bool overdue = rand_r(random) % 64 == 0;
	if (overdue)
		common_note_overdue(member, false, sent_us);
	double took_us = under_way > 2 ? 3000 * under_way : 3000;
	struct limiter_sample sample = { .items = 1,
					 .took_us = overdue ? 10 * took_us : took_us,
					 .under_way = under_way,
					 .sent_us = sent_us,
					 .held = true,
					 .overdue = overdue };
	(void)common_completed(member, tool, &sample, &costs, clock_now_us());
	common_note_held(member, sent_us);
	bool changed = common_has_changed(member);
	if (member->tells && changed)
		atomic_fetch_add(&told, 1);
	if (changed)
		common_look(member, &view);
	if (common_held_us(member) < sent_us || (changed && limiter_limit(&view) < 1))
		abort();
	common_give_slot(member, overdue, clock_now_us());
}

static void *live_as_member(void *context)
{
	unsigned number = (unsigned)(uintptr_t)context, random = number;
	struct loop *loop = loop_new();
	struct common_member member = { 0 };
	struct costs costs;
	common_join(&member, limits, loop, number == 0);
	common_set_slots(&member, 0, 1);
	struct common_tool *tool = common_find_tool(&member, number % TOOLS, &costs);
	pthread_barrier_wait(&ready);
	for (size_t i = 0; i < TAKEN_EACH; i++) {
		take_or_sleep(&member, loop);
		exchange(&member, tool, &random);
	}
	pthread_barrier_wait(&ready); /* loops outlive all members */
	common_leave(&member);
	pthread_barrier_wait(&ready);
	loop_release(loop);
	loop_free(loop);
	return NULL;
}

static void threads_learn_one_limit_and_none_sleeps_for_ever(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	limits = common_limits_new();
	assert_non_null(limits);
	pthread_barrier_init(&ready, NULL, THREADS);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, live_as_member, (void *)(uintptr_t)i), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&ready);
	common_limits_unref(limits); /* asserts that none is taken, and nobody stands in line */
	assert_true(atomic_load(&told) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_that_of_one_limiter),
		cmocka_unit_test(what_is_said_again_begins_nothing_anew),
		cmocka_unit_test(a_closed_one_gives_nothing_more),
		cmocka_unit_test(who_sleeps_is_told_that_time_alone_will_do),
		cmocka_unit_test(threads_learn_one_limit_and_none_sleeps_for_ever),
	};
	return cmocka_run_group_tests_name("a limit learned together", tests, NULL, NULL);
}
