/* SPDX-License-Identifier: Apache-2.0 */
/* The window's rule, as a table: who leaves now, why, and when to look again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/clock.h"
#include "batcher/window.h"

enum { NOW = 1000000, WINDOW_US = 5000 };
#define STAYS FLUSH_REASON_COUNT

static const struct row {
	const char *says;
	enum batch_mode mode;
	size_t max_items;
	size_t items;
	size_t bytes;
	size_t in_flight;
	bool completed;
	uint64_t age_us;       /* of the oldest */
	uint64_t urgent_in_us; /* 0: nobody is in a hurry */
	uint64_t exchange_us;
	enum flush_reason reason;
	uint64_t again_in_us; /* if it stays; 0: never */
} rows[] = {
#define A BATCH_ADAPTIVE
#define F BATCH_FIXED
	/* clang-format off */
	{ "nobody waits",                    A, 10, 0,   0, 0, false,    0,    0,    0, STAYS, 0 },
	{ "nobody waits, a flight completed",   A, 10, 0,   0, 1, true,     0,    0,    0, STAYS, 0 },
	{ "idle: at once",                   A, 10, 1,   8, 0, false,    0,    0,    0, FLUSH_IDLE, 0 },
	{ "in flight: gathers",              A, 10, 1,   8, 1, false,    0,    0,    0, STAYS, WINDOW_US },
	{ "in flight, gathers on",           A, 10, 1,   8, 1, false, 4000,    0,    0, STAYS, 1000 },
	{ "completed",                          A, 10, 3,   8, 0, true,     0,    0,    0, FLUSH_LANDED, 0 },
	{ "one of two completed",               A, 10, 3,   8, 1, true,     0,    0,    0, FLUSH_LANDED, 0 },
	{ "one short of full",               A, 10, 9,   8, 1, false,    0,    0,    0, STAYS, WINDOW_US },
	{ "full by count",                   A, 10, 10,  8, 1, false,    0,    0,    0, FLUSH_ITEMS, 0 },
	{ "more than full",                  A, 10, 99,  8, 1, false,    0,    0,    0, FLUSH_ITEMS, 0 },
	{ "full beats idle",                 A, 10, 10,  8, 0, false,    0,    0,    0, FLUSH_ITEMS, 0 },
	{ "one byte short",                  A, 10, 2,  99, 1, false,    0,    0,    0, STAYS, WINDOW_US },
	{ "full by bytes",                   A, 10, 2, 100, 1, false,    0,    0,    0, FLUSH_BYTES, 0 },
	{ "one large call",                  A, 10, 1, 900, 1, false,    0,    0,    0, FLUSH_BYTES, 0 },
	{ "just before the window's end",    A, 10, 2,   8, 1, false, 4999,    0,    0, STAYS, 1 },
	{ "the window's end",                A, 10, 2,   8, 1, false, 5000,    0,    0, FLUSH_WINDOW, 0 },
	{ "long after it (held at the cap)", A, 10, 2,   8, 1, false, 9000,    0,    0, FLUSH_WINDOW, 0 },
	{ "hurry within the window",         A, 10, 2,   8, 1, false,    0, 4000,    0, STAYS, 3000 },
	{ "hurry after the window",          A, 10, 2,   8, 1, false,    0, 9000,    0, STAYS, WINDOW_US },
	{ "hurry, provider known as slow",   A, 10, 2,   8, 1, false,    0, 4000, 2000, STAYS, 1000 },
	{ "hurry, provider known as slower", A, 10, 2,   8, 1, false,    0, 4000, 3000, FLUSH_DEADLINE, 0 },
	{ "hurry that cannot be met",        A, 10, 2,   8, 1, false,    0, 4000, 9000, STAYS, WINDOW_US },
	{ "hurry within the margin",         A, 10, 2,   8, 1, false,    0, 1000,    0, FLUSH_DEADLINE, 0 },
	{ "fixed waits when idle",           F, 10, 1,   8, 0, false,    0,    0,    0, STAYS, WINDOW_US },
	{ "fixed waits when completed",         F, 10, 1,   8, 0, true,  1000,    0,    0, STAYS, 4000 },
	{ "fixed: the window's end",         F, 10, 1,   8, 0, false, 5000,    0,    0, FLUSH_WINDOW, 0 },
	{ "fixed: full by count",            F, 10, 10,  8, 0, false,    0,    0,    0, FLUSH_ITEMS, 0 },
	{ "fixed: full by bytes",            F, 10, 1, 100, 0, false,    0,    0,    0, FLUSH_BYTES, 0 },
	{ "fixed: hurry",                    F, 10, 1,   8, 0, false,    0, 1000,    0, FLUSH_DEADLINE, 0 },
	{ "off",                     BATCH_OFF, 10, 1,   8, 3, false,    0,    0,    0, FLUSH_SINGLE, 0 },
	{ "off, many",               BATCH_OFF, 10, 99,  8, 3, false,    0,    0,    0, FLUSH_SINGLE, 0 },
	{ "only one fits",                   A,  1, 5,   8, 3, false,    0,    0,    0, FLUSH_SINGLE, 0 },
	{ "only one fits, fixed",            F,  1, 5,   8, 3, false,    0,    0,    0, FLUSH_SINGLE, 0 },
/* clang-format on */
#undef A
#undef F
};

static void check_row(const struct row *row)
{
	struct batch_policy policy = { .mode = row->mode,
				       .max_items = row->max_items,
				       .max_bytes = 100,
				       .window_us = WINDOW_US,
				       .concurrency = 4,
				       .queue_items = 1000,
				       .queue_bytes = 100000 };
	struct window_view view = {
		.items = row->items,
		.bytes = row->bytes,
		.oldest_us = row->items ? NOW - row->age_us : CLOCK_NEVER,
		.urgent_us = row->urgent_in_us ? NOW + row->urgent_in_us : CLOCK_NEVER,
		.in_flight = row->in_flight,
		.completed = row->completed,
		.costs = { row->exchange_us },
	};
	struct window_decision decision = window_evaluate(&policy, &view, NOW);
	uint64_t again_us = row->again_in_us ? NOW + row->again_in_us : CLOCK_NEVER;
	if (decision.leave != (row->reason != STAYS) || (decision.leave && decision.reason != row->reason) ||
	    decision.again_us != again_us)
		fail_msg("%s: leave %d reason %d again %ld", row->says, decision.leave, (int)decision.reason,
			 (long)(decision.again_us - NOW));
}

static void the_rule_holds_row_by_row(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(rows); i++)
		check_row(&rows[i]);
}

static void the_time_to_look_again_is_when_it_leaves(void **state)
{
	(void)state;
	struct batch_policy policy = { .mode = BATCH_ADAPTIVE,
				       .max_items = 10,
				       .max_bytes = 100,
				       .window_us = WINDOW_US,
				       .concurrency = 4,
				       .queue_items = 1000,
				       .queue_bytes = 100000 };
	for (uint64_t urgent_in_us = 500; urgent_in_us < 12000; urgent_in_us += 250) {
		struct window_view view = { .items = 2,
					    .bytes = 8,
					    .oldest_us = NOW,
					    .urgent_us = NOW + urgent_in_us,
					    .in_flight = 1,
					    .costs = { 700 } };
		struct window_decision decision = window_evaluate(&policy, &view, NOW);
		if (decision.leave)
			continue;
		assert_false(window_evaluate(&policy, &view, decision.again_us - 1).leave);
		assert_true(window_evaluate(&policy, &view, decision.again_us).leave);
	}
}

static void times_near_never_do_not_wrap(void **state)
{
	(void)state;
	struct batch_policy policy = { .mode = BATCH_FIXED,
				       .max_items = 10,
				       .max_bytes = 100,
				       .window_us = CLOCK_NEVER,
				       .concurrency = 4,
				       .queue_items = 1000,
				       .queue_bytes = 100000 };
	struct window_view view = { .items = 2,
				    .bytes = 8,
				    .oldest_us = NOW,
				    .urgent_us = CLOCK_NEVER,
				    .in_flight = 1,
				    .costs = { CLOCK_NEVER } };
	struct window_decision decision = window_evaluate(&policy, &view, NOW);
	assert_false(decision.leave);
	assert_true(decision.again_us == CLOCK_NEVER);
}

static void the_exchange_time_follows_slowly(void **state)
{
	(void)state;
	struct window_costs costs = { 0 };
	window_learn(&costs, 8000);
	assert_int_equal(costs.exchange_us, 8000);
	window_learn(&costs, 16000);
	assert_int_equal(costs.exchange_us, 9000);
	window_learn(&costs, 1000);
	assert_int_equal(costs.exchange_us, 8000);
	for (int i = 0; i < 200; i++)
		window_learn(&costs, 0);
	assert_in_range(costs.exchange_us, 1, 8); /* never 0, which means unknown */
}

/* Three exchanges at once are worth using, shares of ten; 600 us to gather one, with company coming each 100 us. */
static const struct window_plan plan = { 3, 10, 600, false };

static struct window_decision evaluate_planned(size_t items, size_t in_flight, uint64_t age_us, uint64_t gap_us)
{
	struct batch_policy policy = { .mode = BATCH_ADAPTIVE,
				       .max_items = 100,
				       .max_bytes = 100000,
				       .window_us = WINDOW_US,
				       .concurrency = 10,
				       .queue_items = 1000,
				       .queue_bytes = 100000 };
	struct window_view view = { .items = items,
				    .bytes = 8,
				    .oldest_us = NOW - age_us,
				    .urgent_us = CLOCK_NEVER,
				    .in_flight = in_flight,
				    .gap_us = gap_us,
				    .plan = plan };
	return window_evaluate(&policy, &view, NOW);
}

static void nothing_waits_while_nothing_is_in_flight(void **state)
{
	(void)state;
	assert_true(evaluate_planned(1, 0, 0, 100).reason == FLUSH_IDLE);
}

static void a_free_slot_takes_a_fair_share_or_what_has_gathered(void **state)
{
	(void)state;
	assert_true(evaluate_planned(10, 2, 0, 100).reason == FLUSH_SHARE);
	assert_true(evaluate_planned(10, 3, 0, 100).reason == FLUSH_SHARE);
	struct window_decision decision = evaluate_planned(9, 2, 0, 100);
	assert_false(decision.leave);
	assert_true(decision.again_us == NOW + 600);
	assert_true(evaluate_planned(9, 2, 600, 100).reason == FLUSH_WINDOW);
	assert_true(evaluate_planned(9, 5, 600, 100).reason == FLUSH_WINDOW); /* however many are under way */
}

static void nobody_waits_for_company_that_is_not_coming(void **state)
{
	(void)state;
	assert_true(evaluate_planned(1, 1, 0, 5000).leave); /* 200 calls a second: the next one is 5 ms away */
	assert_true(evaluate_planned(1, 1, 0, 0).leave);    /* nobody knows of any */
	assert_false(evaluate_planned(1, 1, 0, 300).leave);
}

static void the_plan_spreads_calls_as_far_as_it_pays(void **state)
{
	struct costs costs = { .fixed_us = 5000, .item_us = 50 };
	(void)state;
	struct window_plan many = window_make_plan(&costs, 256, 4);
	assert_int_equal(many.useful, 4);
	assert_int_equal(many.share, 64);
	assert_int_equal(many.gather_us, 5000 / 12);
	assert_int_equal(window_make_plan(&costs, 256, 100).useful, 6);
	assert_int_equal(window_make_plan(&costs, 1, 4).useful, 1);
	costs.item_us = 0; /* an exchange costs the same whatever it carries: one is enough */
	assert_int_equal(window_make_plan(&costs, 256, 4).useful, 1);
	costs = (struct costs){ .fixed_us = 0, .item_us = 1000 }; /* sharing gains nothing */
	assert_int_equal(window_make_plan(&costs, 4, 4).share, 1);
	assert_int_equal(window_make_plan(&costs, 4, 4).gather_us, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rule_holds_row_by_row),
		cmocka_unit_test(the_time_to_look_again_is_when_it_leaves),
		cmocka_unit_test(times_near_never_do_not_wrap),
		cmocka_unit_test(the_exchange_time_follows_slowly),
		cmocka_unit_test(nothing_waits_while_nothing_is_in_flight),
		cmocka_unit_test(a_free_slot_takes_a_fair_share_or_what_has_gathered),
		cmocka_unit_test(nobody_waits_for_company_that_is_not_coming),
		cmocka_unit_test(the_plan_spreads_calls_as_far_as_it_pays),
	};
	return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
