/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h: time. Everything that waits uses the monotonic microseconds, read by the loop (loop.h) and handed down as
 * `now_us`; only logs and documents for people use the wall clock. Tests and the simulation turn the monotonic clock by
 * hand.
 */
#ifndef JITNEY_BASE_CLOCK_H
#define JITNEY_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCK_NEVER UINT64_MAX /* a deadline that does not come */
#define CLOCK_US_PER_MS UINT64_C(1000)
#define CLOCK_US_PER_S UINT64_C(1000000)

/* Monotonic microseconds, counted from ten years before the machine was started: so that the time of what is older than
 * the machine's run (an `Age` of the provider's) is a number too. They go on while the machine is suspended: what was
 * stored before is as old as its caller thinks. Any thread. */
uint64_t clock_now_us(void);
/* Wall clock, microseconds since 1970 UTC. Any thread. */
uint64_t clock_wall_us(void);
/* Processor time of the thread that asks, microseconds; a system call. */
uint64_t clock_thread_us(void);
/* Processor time of the whole process, microseconds; a system call. Any thread. */
uint64_t clock_process_us(void);
/* Since the machine was started, microseconds, whatever clock_set says. Any thread. */
uint64_t clock_since_boot_us(void);
/* From now on clock_now_us() answers `now_us`, in every thread; 0 gives the real clock back. For whoever plays time:
 * tests, and `jitney simulate`. A process that serves never calls it. Any thread. */
void clock_set(uint64_t now_us);

/* Whether it is played so. Any thread. */
bool clock_by_hand(void);

/* a + b that stays at CLOCK_NEVER instead of wrapping. */
static inline uint64_t clock_add(uint64_t a, uint64_t b)
{
	uint64_t sum = a + b;
	return sum < a ? CLOCK_NEVER : sum;
}

#endif
