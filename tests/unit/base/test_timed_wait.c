/* SPDX-License-Identifier: Apache-2.0 */
/* base/timed_wait.c: who is woken, and whose time has come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/timed_wait.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition;
static bool said;

static void *say_it(void *context)
{
	pthread_mutex_lock(&mutex);
	said = true;
	pthread_cond_signal(&condition);
	pthread_mutex_unlock(&mutex);
	return context;
}

/* Waits until it is said, or the time has come. Returns what timed_wait said last. */
static bool wait_for_it(uint64_t until_us)
{
	bool in_time = true;
	while (!said && in_time)
		in_time = timed_wait(&condition, &mutex, until_us);
	return in_time;
}

static void check_woken(uint64_t until_us)
{
	pthread_t thread;
	timed_wait_init(&condition);
	said = false;
	pthread_mutex_lock(&mutex);
	assert_int_equal(pthread_create(&thread, NULL, say_it, NULL), 0);
	assert_true(wait_for_it(until_us));
	assert_true(said);
	pthread_mutex_unlock(&mutex);
	pthread_join(thread, NULL);
	pthread_cond_destroy(&condition);
}

static void a_signal_ends_a_wait_that_has_no_end(void **state)
{
	(void)state;
	check_woken(CLOCK_NEVER);
}

static void a_signal_ends_a_wait_before_its_time(void **state)
{
	(void)state;
	check_woken(clock_now_us() + 3600 * CLOCK_US_PER_S);
}

static void the_time_comes(void **state)
{
	(void)state;
	timed_wait_init(&condition);
	said = false;
	pthread_mutex_lock(&mutex);
	uint64_t until_us = clock_now_us() + 20 * CLOCK_US_PER_MS;
	assert_false(wait_for_it(until_us));
	assert_true(clock_now_us() >= until_us);
	assert_false(wait_for_it(0)); /* it was long ago */
	pthread_mutex_unlock(&mutex);
	pthread_cond_destroy(&condition);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signal_ends_a_wait_that_has_no_end),
		cmocka_unit_test(a_signal_ends_a_wait_before_its_time),
		cmocka_unit_test(the_time_comes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
