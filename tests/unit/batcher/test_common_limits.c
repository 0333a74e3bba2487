/* SPDX-License-Identifier: Apache-2.0 */
/* What several batchers of one upstream have in common: never more than is promised, whoever sends, and nobody starves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/loop.h"
#include "batcher/common_limits.h"

enum { THREADS = 4, TAKEN_EACH = 5000, SLOTS = 3, ITEMS = 7, BYTES = 100 };

/* --- one thread: the rule --- */

struct several {
	struct common_limits *limits;
	struct loop *loop;
	struct common_member members[3];
};

static void begin(struct several *several, size_t slots)
{
	several->limits = common_limits_new();
	several->loop = loop_new();
	assert_non_null(several->limits);
	assert_non_null(several->loop);
	for (size_t i = 0; i < countof(several->members); i++) {
		several->members[i] = (struct common_member){ 0 };
		common_join(&several->members[i], several->limits, several->loop, i == 0);
	}
	common_set_slots(&several->members[0], slots, 0);
}

static void end(struct several *several)
{
	for (size_t i = 0; i < countof(several->members); i++)
		common_leave(&several->members[i]);
	common_limits_unref(several->limits);
	loop_free(several->loop);
}

static void slots_are_counted_over_all(void **state)
{
	(void)state;
	struct several several;
	struct common_member *members = several.members;
	begin(&several, 2);
	assert_int_equal(common_members(&members[0]), 3);
	assert_true(common_take_slot(&members[0], 0));
	assert_true(common_take_slot(&members[1], 0));
	assert_int_equal(common_free_us(&members[2], 0), CLOCK_NEVER);
	assert_false(common_take_slot(&members[2], 0));
	common_give_slot(&members[0], false, 0);
	assert_int_equal(common_free_us(&members[2], 0), 0);
	assert_true(common_take_slot(&members[2], 0));
	assert_false(members[2].waits);
	common_give_slot(&members[1], false, 0);
	common_give_slot(&members[2], false, 0);
	end(&several);
}

/* Who gives a slot back does not take it from who has waited for it. */
static void a_free_slot_is_kept_for_who_stands_in_line(void **state)
{
	(void)state;
	struct several several;
	struct common_member *members = several.members;
	begin(&several, 1);
	assert_true(common_take_slot(&members[0], 0));
	assert_false(common_take_slot(&members[1], 0));
	assert_false(common_take_slot(&members[2], 0));
	common_give_slot(&members[0], false, 0);
	assert_false(common_take_slot(&members[0], 0)); /* behind both now */
	assert_false(common_take_slot(&members[2], 0));
	assert_true(common_take_slot(&members[1], 0));
	common_give_slot(&members[1], false, 0);
	common_stop_waiting(&members[2]); /* its calls have left: it stands in nobody's way */
	assert_true(common_take_slot(&members[0], 0));
	common_give_slot(&members[0], false, 0);
	end(&several);
}

static void more_slots_than_stand_in_line_are_everybodys(void **state)
{
	(void)state;
	struct several several;
	struct common_member *members = several.members;
	begin(&several, 1);
	assert_true(common_take_slot(&members[0], 0));
	assert_false(common_take_slot(&members[1], 0));
	common_set_slots(&members[0], 3, 0);
	assert_true(common_take_slot(&members[2], 0)); /* of two free ones one is kept for the one in line */
	assert_false(common_take_slot(&members[2], 0));
	assert_true(common_take_slot(&members[1], 0));
	common_set_slots(&members[0], 1, 0); /* those that are taken stay */
	common_give_slot(&members[0], false, 0);
	common_give_slot(&members[1], false, 0);
	assert_int_equal(common_free_us(&members[0], 0), CLOCK_NEVER);
	common_give_slot(&members[2], false, 0);
	assert_int_equal(common_free_us(&members[2], 0), 0);
	end(&several);
}

static void a_queue_has_both_bounds_for_all(void **state)
{
	(void)state;
	struct several several;
	struct common_member *members = several.members;
	begin(&several, 1);
	assert_true(common_enter_queue(&members[0], 60, 2, 100));
	assert_false(common_enter_queue(&members[1], 41, 2, 100));
	assert_true(common_enter_queue(&members[1], 40, 2, 100));
	assert_false(common_enter_queue(&members[2], 0, 2, 100));
	assert_false(common_enter_queue(&members[2], 101, 9, 100));
	assert_int_equal(common_waiting_items(&members[2]), 2);
	assert_int_equal(common_waiting_bytes(&members[2]), 100);
	common_leave_queue(&members[0], 60);
	common_leave_queue(&members[1], 40);
	assert_int_equal(common_waiting_items(&members[0]), 0);
	end(&several);
}

static struct allowed_rates *allow(struct several *several, const struct rate *requests, const struct rate *tokens)
{
	struct allowed_rates *allowed = allowed_new();
	assert_non_null(allowed);
	allowed_adjust(allowed, requests, tokens);
	for (size_t i = 0; i < countof(several->members); i++)
		assert_ptr_equal(common_agree_rates(&several->members[i], allowed), allowed);
	allowed_unref(allowed); /* the limits have it */
	return allowed;
}

/* 20 in 19 s, of which two may come at once: then one a second. */
static const struct rate seconds = { .amount = 20, .period_us = 19 * CLOCK_US_PER_S };
static const struct rate no_rate = { .amount = 0 };

static void a_rate_is_one_for_all_and_who_waits_goes_in_turn(void **state)
{
	(void)state;
	struct several several;
	struct common_member *members = several.members;
	begin(&several, 9);
	allow(&several, &seconds, &no_rate);
	assert_true(common_take_slot(&members[0], 0));
	assert_true(common_take_slot(&members[1], 0));
	assert_false(common_take_slot(&members[2], 0));
	assert_false(common_take_slot(&members[0], 0));
	assert_int_equal(common_free_us(&members[2], 0), CLOCK_US_PER_S);
	assert_int_equal(common_free_us(&members[0], 0), 2 * CLOCK_US_PER_S);
	common_return_slot(&members[1], 0); /* it has not been used: it is for the first in line */
	assert_false(common_take_slot(&members[0], 0));
	assert_true(common_take_slot(&members[2], 0));
	assert_false(common_take_slot(&members[0], CLOCK_US_PER_S - 1));
	assert_true(common_take_slot(&members[0], CLOCK_US_PER_S));
	common_give_slot(&members[0], false, 0); /* what has been used is spent */
	common_give_slot(&members[0], false, 0);
	common_give_slot(&members[2], false, 0);
	assert_false(common_take_slot(&members[1], CLOCK_US_PER_S));
	common_stop_waiting(&members[1]);
	end(&several);
}

/* How many a request has is known only as it leaves. */
static void where_tokens_are_counted_one_leaves_at_a_time(void **state)
{
	(void)state;
	struct several several;
	struct common_member *members = several.members;
	begin(&several, 9);
	struct allowed_rates *allowed = allow(&several, &no_rate, &seconds);
	assert_true(common_take_slot(&members[0], 0));
	assert_false(common_take_slot(&members[1], 0));
	assert_int_equal(common_free_us(&members[1], 0), CLOCK_NEVER); /* it is woken */
	allowed_spend_tokens(allowed, 1, 0);
	assert_int_equal(common_sent(&members[0], 0), 1);
	assert_int_equal(common_free_us(&members[1], 0), 0);
	assert_true(common_take_slot(&members[1], 0));
	common_return_slot(&members[1], 0);
	assert_true(common_take_slot(&members[2], 0));
	allowed_spend_tokens(allowed, 4, 0);
	assert_int_equal(common_sent(&members[2], 0), 2);
	assert_false(common_take_slot(&members[1], 0));
	assert_int_equal(common_free_us(&members[1], 0), 4 * CLOCK_US_PER_S);
	assert_true(common_take_slot(&members[1], 4 * CLOCK_US_PER_S));
	common_return_slot(&members[1], 0);
	common_give_slot(&members[0], false, 0);
	common_give_slot(&members[2], false, 0);
	end(&several);
}

/* --- several threads --- */

static struct common_limits *limits;
static atomic_size_t at_once, most_at_once, waiting, most_waiting;
static pthread_barrier_t ready;

static void note_most(atomic_size_t *most, size_t now)
{
	size_t before = atomic_load(most);
	while (before < now && !atomic_compare_exchange_weak(most, &before, now))
		;
}

/* A waker that is lost would leave it asleep for ever: the time is only so that the test ends then, red. */
static void take_or_sleep(struct common_member *member, struct loop *loop)
{
	uint64_t until_us = clock_now_us() + 60 * CLOCK_US_PER_S;
	while (!common_take_slot(member, 0)) {
		loop_wait(loop, until_us);
		if (clock_now_us() >= until_us)
			abort(); /* a slot was free, and nobody was woken */
	}
}

static void wait_in_queue(struct common_member *member)
{
	if (!common_enter_queue(member, BYTES / ITEMS, ITEMS, BYTES))
		return;
	note_most(&most_waiting, atomic_fetch_add(&waiting, 1) + 1);
	atomic_fetch_sub(&waiting, 1);
	common_leave_queue(member, BYTES / ITEMS);
}

static void *take_and_give(void *context)
{
	(void)context;
	struct loop *loop = loop_new();
	struct common_member member = { 0 };
	common_join(&member, limits, loop, false);
	common_set_slots(&member, SLOTS, 0);
	pthread_barrier_wait(&ready);
	for (size_t i = 0; i < TAKEN_EACH; i++) {
		wait_in_queue(&member);
		take_or_sleep(&member, loop);
		note_most(&most_at_once, atomic_fetch_add(&at_once, 1) + 1);
		if (i % 16 == 0)
			sched_yield(); /* others find none */
		atomic_fetch_sub(&at_once, 1);
		common_give_slot(&member, false, 0);
	}
	pthread_barrier_wait(&ready); /* loops outlive all members */
	common_leave(&member);
	pthread_barrier_wait(&ready);
	loop_release(loop);
	loop_free(loop);
	return NULL;
}

static void threads_take_no_more_than_there_is_and_none_sleeps_for_ever(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	limits = common_limits_new();
	assert_non_null(limits);
	pthread_barrier_init(&ready, NULL, THREADS);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, NULL), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&ready);
	common_limits_unref(limits); /* asserts that none is taken, and nobody stands in line */
	assert_in_range(atomic_load(&most_at_once), 1, SLOTS);
	assert_in_range(atomic_load(&most_waiting), 1, ITEMS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_are_counted_over_all),
		cmocka_unit_test(a_free_slot_is_kept_for_who_stands_in_line),
		cmocka_unit_test(more_slots_than_stand_in_line_are_everybodys),
		cmocka_unit_test(a_queue_has_both_bounds_for_all),
		cmocka_unit_test(a_rate_is_one_for_all_and_who_waits_goes_in_turn),
		cmocka_unit_test(where_tokens_are_counted_one_leaves_at_a_time),
		cmocka_unit_test(threads_take_no_more_than_there_is_and_none_sleeps_for_ever),
	};
	return cmocka_run_group_tests_name("common limits", tests, NULL, NULL);
}
