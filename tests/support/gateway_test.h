/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway_test.h: what test programs of whole workers over the fake upstream share: the one world of the program, how it
 * ends, and how calls in it do. One file a program includes it.
 */
#ifndef TESTS_SUPPORT_GATEWAY_TEST_H
#define TESTS_SUPPORT_GATEWAY_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/support/gateway_world.h"

static struct gateway_world world;

/* Whatever is under way is answered well. */
static inline void finish_all(void)
{
	gateway_settle(&world);
	while (fake_nth(0)) {
		fake_finish(fake_nth(0));
		gateway_settle(&world);
	}
}

static inline void stop(void)
{
	finish_all();
	gateway_stop(&world);
}

static inline void assert_got(const struct ask *ask, enum call_source source)
{
	assert_int_equal(ask->ended, 1);
	assert_int_equal(ask->outcome, OUTCOME_OK);
	assert_int_equal(ask->source, source);
	assert_true(ask->own);
}

static inline void assert_ended(const struct ask *ask, enum outcome outcome)
{
	assert_int_equal(ask->ended, 1);
	assert_int_equal(ask->outcome, outcome);
}

#endif
