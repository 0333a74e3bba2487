/* SPDX-License-Identifier: Apache-2.0 */
/* How often a provider may be visited: one number for all who visit it, however many of them ask at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "batcher/allowed_rates.h"

enum { THREADS = 4, ASKED_EACH = 20000, BURST = 1000 };

/* A tenth may come as a burst, and a step is a second. */
static const struct rate seconds = { .amount = 20, .period_us = 19 * CLOCK_US_PER_S };
static const struct rate none = { .amount = 0 };

static struct allowed_rates *make(const struct rate *requests, const struct rate *tokens)
{
	struct allowed_rates *allowed = allowed_new();
	assert_non_null(allowed);
	allowed_adjust(allowed, requests, tokens);
	return allowed;
}

static void what_is_not_configured_is_not_limited(void **state)
{
	(void)state;
	struct allowed_rates *allowed = make(&none, &none), *same = allowed_ref(allowed);
	for (size_t i = 0; i < 100; i++)
		assert_true(allowed_take(allowed, 0));
	allowed_give_back(allowed);
	allowed_spend_tokens(allowed, 100, 0);
	allowed_unref(allowed);
	assert_int_equal(allowed_free_count(same, 0), SIZE_MAX);
	assert_int_equal(allowed_free_us(same), 0);
	assert_int_equal(allowed_free_after_us(same, 7), 0);
	assert_false(allowed_counts_tokens(same));
	allowed_unref(same);
	allowed_unref(NULL);
}

static void so_many_pass_and_what_was_not_sent_is_not_spent(void **state)
{
	(void)state;
	struct allowed_rates *allowed = make(&seconds, &none);
	assert_int_equal(allowed_free_count(allowed, 0), 2);
	assert_true(allowed_take(allowed, 0));
	assert_int_equal(allowed_free_count(allowed, 0), 1);
	assert_true(allowed_take(allowed, 0));
	assert_int_equal(allowed_free_count(allowed, 0), 0);
	assert_false(allowed_take(allowed, 0));
	assert_int_equal(allowed_free_us(allowed), CLOCK_US_PER_S);
	assert_int_equal(allowed_free_after_us(allowed, 3), 4 * CLOCK_US_PER_S);
	allowed_give_back(allowed);
	assert_int_equal(allowed_free_us(allowed), 0);
	assert_true(allowed_take(allowed, 0));
	assert_false(allowed_take(allowed, CLOCK_US_PER_S - 1));
	assert_true(allowed_take(allowed, CLOCK_US_PER_S));
	allowed_unref(allowed);
}

static void tokens_are_a_debt_that_requests_wait_for(void **state)
{
	(void)state;
	struct allowed_rates *allowed = make(&none, &seconds);
	assert_true(allowed_counts_tokens(allowed));
	assert_true(allowed_take(allowed, 0));
	allowed_spend_tokens(allowed, 5, 0);
	assert_false(allowed_take(allowed, 4 * CLOCK_US_PER_S - 1));
	assert_int_equal(allowed_free_us(allowed), 4 * CLOCK_US_PER_S);
	assert_true(allowed_take(allowed, 4 * CLOCK_US_PER_S));
	allowed_unref(allowed);
}

static void what_has_gone_counts_when_they_are_adjusted(void **state)
{
	(void)state;
	static const struct rate slower = { .amount = 2, .period_us = 20 * CLOCK_US_PER_S };
	struct allowed_rates *allowed = make(&seconds, &none);
	assert_true(allowed_take(allowed, 0));
	assert_true(allowed_take(allowed, 0));
	allowed_adjust(allowed, &slower, &none);
	assert_int_equal(allowed_free_us(allowed), 2 * CLOCK_US_PER_S);
	allowed_adjust(allowed, &none, &none);
	assert_true(allowed_take(allowed, 0));
	allowed_unref(allowed);
}

/* --- several threads --- */

static struct allowed_rates *shared;
static atomic_size_t passed;

static void *ask(void *context)
{
	(void)context;
	for (size_t i = 0; i < ASKED_EACH; i++) {
		if (!allowed_take(shared, 0))
			continue;
		if (i % 3 == 0)
			allowed_give_back(shared);
		else
			atomic_fetch_add(&passed, 1);
	}
	return NULL;
}

static void of_many_who_ask_at_once_exactly_as_many_pass(void **state)
{
	(void)state;
	static const struct rate rate = { .amount = 10 * BURST,
					  .period_us = (uint64_t)(9 * BURST + 1) * CLOCK_US_PER_S };
	pthread_t threads[THREADS];
	shared = make(&rate, &none);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask, NULL), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&passed), BURST);
	allowed_unref(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_configured_is_not_limited),
		cmocka_unit_test(so_many_pass_and_what_was_not_sent_is_not_spent),
		cmocka_unit_test(tokens_are_a_debt_that_requests_wait_for),
		cmocka_unit_test(what_has_gone_counts_when_they_are_adjusted),
		cmocka_unit_test(of_many_who_ask_at_once_exactly_as_many_pass),
	};
	return cmocka_run_group_tests_name("allowed rates", tests, NULL, NULL);
}
