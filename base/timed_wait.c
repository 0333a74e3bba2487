/* SPDX-License-Identifier: Apache-2.0 */
/* timed_wait.c: see the header. */
#include "base/timed_wait.h"

#include <time.h>

#include "base/clock.h"

void timed_wait_init(pthread_cond_t *condition)
{
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(condition, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

bool timed_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t until_us)
{
	uint64_t now_us = clock_now_us(), left_us = until_us > now_us ? until_us - now_us : 0;
	struct timespec until;
	if (until_us == CLOCK_NEVER)
		return pthread_cond_wait(condition, mutex) == 0;
	/* a condition knows no boot time; what is left of the wait is the same on both clocks but for a suspend */
	clock_gettime(CLOCK_MONOTONIC, &until);
	left_us += (uint64_t)until.tv_nsec / 1000 + 1; /* rounded up */
	until.tv_sec += (time_t)(left_us / CLOCK_US_PER_S);
	until.tv_nsec = (long)(left_us % CLOCK_US_PER_S * 1000);
	return pthread_cond_timedwait(condition, mutex, &until) == 0;
}
