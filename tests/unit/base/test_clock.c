/* SPDX-License-Identifier: Apache-2.0 */
/* The clock that everything waits by, on a machine that sleeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static time_t slept_s; /* of which only one of the clocks has heard */

/* Instead of libc's. */
int clock_gettime(clockid_t id, struct timespec *time)
{
	long result = syscall(SYS_clock_gettime, id, time);
	if (id == CLOCK_BOOTTIME)
		time->tv_sec += slept_s;
	return (int)result;
}

/* cache A10: a laptop that was closed over night served yesterday's answer for one of just now. */
static void it_goes_on_while_the_machine_sleeps(void **state)
{
	(void)state;
	uint64_t before_us = clock_now_us();
	assert_true(clock_now_us() - before_us < 3600 * CLOCK_US_PER_S);
	slept_s = 12 * 3600;
	assert_true(clock_now_us() - before_us >= 12 * 3600 * CLOCK_US_PER_S);
}

static void what_is_older_than_the_machines_run_has_a_time_too(void **state)
{
	(void)state;
	assert_true(clock_now_us() > 365 * 24 * 3600 * CLOCK_US_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_goes_on_while_the_machine_sleeps),
		cmocka_unit_test(what_is_older_than_the_machines_run_has_a_time_too),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
