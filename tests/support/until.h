/* SPDX-License-Identifier: Apache-2.0 */
/* until.h: a test's world is turned until something is true. After cmocka.h; a program says its PATIENCE_MS. */
#ifndef TESTS_SUPPORT_UNTIL_H
#define TESTS_SUPPORT_UNTIL_H

#include "base/clock.h"

/* `turning` until the condition holds; a failure if it never does. */
#define UNTIL(turning, condition)                                                                                      \
	do {                                                                                                           \
		uint64_t until_us = clock_now_us() + PATIENCE_MS * CLOCK_US_PER_MS;                                    \
		while (!(condition) && clock_now_us() < until_us)                                                      \
			turning;                                                                                       \
		assert_true(condition);                                                                                \
	} while (0)

#endif
