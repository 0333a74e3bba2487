/* SPDX-License-Identifier: Apache-2.0 */
/*
 * curls_clock.h: the clock that libcurl reads, turned by hand; ours is another one (base/clock.h). To be included by one
 * test program's file, whose symbol is found before the C library's.
 */
#ifndef JITNEY_TESTS_SUPPORT_CURLS_CLOCK_H
#define JITNEY_TESTS_SUPPORT_CURLS_CLOCK_H

#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_long curl_ahead_s;

static void turn_curls_clock(long seconds)
{
	atomic_fetch_add(&curl_ahead_s, seconds);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	int failed = (int)syscall(SYS_clock_gettime, id, now);
	if (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_RAW)
		now->tv_sec += atomic_load(&curl_ahead_s);
	return failed;
}

#endif
