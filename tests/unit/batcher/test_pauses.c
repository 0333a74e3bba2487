/* SPDX-License-Identifier: Apache-2.0 */
/* How long a provider wants to be left alone: the longest that was said, by whomever it was heard. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/compiler.h"
#include "batcher/pauses.h"

enum { THREADS = 4, SAID_EACH = 5000 };

static struct pauses *make(void)
{
	struct pauses *pauses = pauses_new();
	assert_non_null(pauses);
	return pauses;
}

static void the_longest_one_counts(void **state)
{
	(void)state;
	struct pauses *pauses = make(), *same = pauses_ref(pauses);
	assert_int_equal(pauses_until_us(pauses), 0);
	pauses_prolong(pauses, 70);
	pauses_prolong(same, 50);
	pauses_unref(pauses);
	assert_int_equal(pauses_until_us(same), 70);
	assert_int_equal(pauses_tool_until_us(same, 0, 10), 0);
	pauses_unref(same);
	pauses_unref(NULL);
}

static void tools_pause_each_for_itself(void **state)
{
	(void)state;
	struct pauses *pauses = make();
	pauses_prolong_tool(pauses, 0, 70);
	pauses_prolong_tool(pauses, 3, 90);
	pauses_prolong_tool(pauses, 3, 60);
	assert_int_equal(pauses_tool_until_us(pauses, 0, 10), 70);
	assert_int_equal(pauses_tool_until_us(pauses, 3, 10), 90);
	assert_true(pauses_tool_until_us(pauses, 0, 80) <= 80);
	assert_int_equal(pauses_tool_until_us(pauses, 3, 80), 90);
	assert_int_equal(pauses_tool_until_us(pauses, 3, 90), 0);
	assert_int_equal(pauses_tool_until_us(pauses, 1, 10), 0);
	assert_int_equal(pauses_until_us(pauses), 0);
	pauses_unref(pauses);
}

static void of_too_many_those_stay_that_pause_longest(void **state)
{
	(void)state;
	struct pauses *pauses = make();
	for (unsigned tool = 0; tool < 2 * PAUSES_TOOLS; tool++)
		pauses_prolong_tool(pauses, tool, 100 + tool);
	for (unsigned tool = 0; tool < 2 * PAUSES_TOOLS; tool++)
		assert_int_equal(pauses_tool_until_us(pauses, tool, 10), tool < PAUSES_TOOLS ? 0 : 100 + tool);
	pauses_unref(pauses);
}

static atomic_size_t forgotten;

static void *say_many(void *context)
{
	struct pauses *pauses = context;
	for (uint64_t n = 1; n <= SAID_EACH; n++) {
		pauses_prolong(pauses, n);
		pauses_prolong_tool(pauses, (unsigned)(n % 3), n);
		if (pauses_until_us(pauses) < n || pauses_tool_until_us(pauses, (unsigned)(n % 3), 0) < n)
			atomic_fetch_add(&forgotten, 1);
	}
	return NULL;
}

static void whoever_says_it(void **state)
{
	(void)state;
	struct pauses *pauses = make();
	pthread_t threads[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, say_many, pauses), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(pauses_until_us(pauses), SAID_EACH);
	assert_int_equal(atomic_load(&forgotten), 0);
	pauses_unref(pauses);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_longest_one_counts),
		cmocka_unit_test(tools_pause_each_for_itself),
		cmocka_unit_test(of_too_many_those_stay_that_pause_longest),
		cmocka_unit_test(whoever_says_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
