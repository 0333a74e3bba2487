/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batcher_test.h: what test programs of the batcher share: the one world of the program, how it begins, and how calls
 * in it end. One file a program includes it.
 */
#ifndef TESTS_SUPPORT_BATCHER_TEST_H
#define TESTS_SUPPORT_BATCHER_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/support/batcher_world.h"

enum { ARRAYS = 1000 };

static struct world world;

static inline void start(const struct batch_policy *policy)
{
	world_start(&world, policy, ARRAYS);
}

static inline void start_plain(void)
{
	struct batch_policy policy = world_policy();
	start(&policy);
}

/* Plain, with calls that have not left yet. */
static inline void start_calls(struct probe *calls, size_t count)
{
	start_plain();
	calls_add(&world, calls, count, 0);
}

/* Its caller waits no longer than that. */
static inline void expire_in(struct probe *call, uint64_t us)
{
	batcher_set_deadlines(world.batcher, &call->item, world.now_us + us, CLOCK_NEVER);
}

/* One call on its way, so that what follows gathers. */
static struct probe first;
static inline void start_busy(const struct batch_policy *policy)
{
	start(policy);
	calls_add(&world, &first, 1, 9000);
	world_tick(&world);
	assert_int_equal(fake_under_way(), 1);
}

static inline void start_plain_busy(void)
{
	struct batch_policy policy = world_policy();
	start_busy(&policy);
}

static inline void assert_own(const struct probe *probe)
{
	assert_int_equal(probe->answered, 1);
	assert_int_equal(probe->outcome, OUTCOME_OK);
	assert_true(probe->own);
}

static inline void assert_ended(const struct probe *probe, enum outcome outcome)
{
	assert_int_equal(probe->answered, 1);
	assert_int_equal(probe->outcome, outcome);
}

static inline void finish_all(void)
{
	while (fake_nth(0)) {
		fake_finish(fake_nth(0));
		world_tick(&world);
	}
}

#endif
