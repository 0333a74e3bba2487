/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c: the two clocks of the process, and the crank that tests and the simulation turn. */
#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t hand_cranked_us;

/* What happened before the machine was started can be written too: an answer of eight minutes ago, five minutes after. */
static const uint64_t BEFORE_BOOT_US = UINT64_C(10) * 365 * 24 * 3600 * CLOCK_US_PER_S;

static uint64_t read_us(clockid_t id)
{
	struct timespec now;
	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * CLOCK_US_PER_S + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_now_us(void)
{
	uint64_t cranked = atomic_load_explicit(&hand_cranked_us, memory_order_relaxed);
	return cranked ? cranked : BEFORE_BOOT_US + clock_since_boot_us();
}

uint64_t clock_wall_us(void)
{
	return read_us(CLOCK_REALTIME);
}

uint64_t clock_thread_us(void)
{
	return read_us(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_process_us(void)
{
	return read_us(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t clock_since_boot_us(void)
{
	return read_us(CLOCK_BOOTTIME);
}

void clock_set(uint64_t now_us)
{
	atomic_store_explicit(&hand_cranked_us, now_us, memory_order_relaxed);
}

bool clock_by_hand(void)
{
	return atomic_load_explicit(&hand_cranked_us, memory_order_relaxed) != 0;
}
