/* SPDX-License-Identifier: Apache-2.0 */
/* Ids that prove whose answer a line is: none twice, all in their range, and none that tells of another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "tests/support/valgrind.h"
#include "upstream/process/call_ids.h"

static int compare_ids(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return (left > right) - (left < right);
}

static void none_is_given_twice_and_all_fit_into_32_bits_with_a_sign(void **state)
{
	const size_t count = unless_valgrind(1 << 20, 1 << 12);
	struct call_ids ids;
	uint64_t *given = calloc(count, sizeof *given);
	(void)state;
	assert_non_null(given);
	assert_true(call_ids_init(&ids));
	for (size_t i = 0; i < count; i++) {
		given[i] = call_ids_next(&ids);
		assert_in_range(given[i], CALL_ID_FIRST, INT32_MAX);
	}
	qsort(given, count, sizeof *given, compare_ids);
	for (size_t i = 1; i < count; i++)
		assert_true(given[i] != given[i - 1]);
	free(given);
}

static void what_was_never_given_is_a_guess(void **state)
{
	enum { COUNT = 1000 };
	struct call_ids ids;
	uint64_t given[COUNT];
	size_t guesses = 0;
	(void)state;
	assert_true(call_ids_init(&ids));
	for (size_t i = 0; i < COUNT; i++)
		given[i] = call_ids_next(&ids);
	for (size_t i = 0; i < COUNT; i++) {
		assert_false(call_ids_is_guess(&ids, given[i]));
		guesses += call_ids_is_guess(&ids, given[i] + 1);
	}
	assert_true(guesses > COUNT - 20); /* but for those that were, by chance */
	/* a program's own numbers are none */
	assert_false(call_ids_is_guess(&ids, 0));
	assert_false(call_ids_is_guess(&ids, CALL_ID_FIRST - 1));
	assert_false(call_ids_is_guess(&ids, UINT64_C(1) << 31));
	assert_false(call_ids_is_guess(&ids, UINT64_MAX));
}

/* Once all have been given the first ones come again, and are known. */
static void the_last_is_followed_by_the_first(void **state)
{
	struct call_ids ids;
	(void)state;
	assert_true(call_ids_init(&ids));
	uint64_t first = call_ids_next(&ids);
	ids.given = UINT64_C(1) << CALL_IDS_BITS;
	assert_int_equal(call_ids_next(&ids), first);
	assert_false(call_ids_is_guess(&ids, first + 1));
}

/* Neither the ones before nor another pool's tell the next: no distance between neighbours comes often. */
static void one_tells_nothing_of_the_next(void **state)
{
	enum { COUNT = 2000 };
	struct call_ids ids, others;
	uint64_t steps[COUNT], before;
	size_t alike = 0, same = 0;
	(void)state;
	assert_true(call_ids_init(&ids) && call_ids_init(&others));
	before = call_ids_next(&ids);
	same += before == call_ids_next(&others); /* those of one number are compared */
	for (size_t i = 0; i < COUNT; i++) {
		uint64_t id = call_ids_next(&ids);
		steps[i] = id - before;
		before = id;
		same += id == call_ids_next(&others);
	}
	qsort(steps, COUNT, sizeof *steps, compare_ids);
	for (size_t i = 1; i < COUNT; i++)
		alike += steps[i] == steps[i - 1];
	assert_in_range(alike, 0, 3);
	assert_in_range(same, 0, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_is_given_twice_and_all_fit_into_32_bits_with_a_sign),
		cmocka_unit_test(what_was_never_given_is_a_guess),
		cmocka_unit_test(the_last_is_followed_by_the_first),
		cmocka_unit_test(one_tells_nothing_of_the_next),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
