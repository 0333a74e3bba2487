/* SPDX-License-Identifier: Apache-2.0 */
/* Whether arrays are sent at all: what proves that a provider refuses them, and what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "batcher/arrays.h"

/* One exchange in a hundred answered 500, whatever it held, once cost four fifths of the calls a second: arrays were switched off. */
static void a_refusal_now_and_then_proves_nothing(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	for (unsigned i = 0; i < 1000; i++) {
		if (i % 100 == 50)
			arrays_refused(&arrays, i);
		else
			arrays_passed(&arrays, 2 + i % 30);
		assert_false(arrays_shunned(&arrays, i));
	}
}

static void two_in_a_row_do(void **state)
{
	struct arrays arrays;
	(void)state;
	arrays_init(&arrays);
	arrays_refused(&arrays, 0);
	arrays_passed(&arrays, 1); /* a call alone says nothing of arrays */
	arrays_refused(&arrays, 0);
	assert_true(arrays_shunned(&arrays, CLOCK_US_PER_S - 1));
	assert_false(arrays_shunned(&arrays, CLOCK_US_PER_S));
	arrays_refused(&arrays, CLOCK_US_PER_S); /* tried again, and no array has passed since */
	assert_true(arrays_shunned(&arrays, 3 * CLOCK_US_PER_S - 1));
	assert_false(arrays_shunned(&arrays, 3 * CLOCK_US_PER_S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refusal_now_and_then_proves_nothing),
		cmocka_unit_test(two_in_a_row_do),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
