/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spin_bit.h: a lock of one bit, between one thread that must not be held up and others that look at what it writes: a mutex
 * would cost it more than the write itself. It gives up where a reader that was put to sleep has the bit; readers yield.
 */
#ifndef JITNEY_BASE_SPIN_BIT_H
#define JITNEY_BASE_SPIN_BIT_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/compiler.h"

struct spin_bit {
	atomic_flag taken;
};

static inline void spin_bit_init(struct spin_bit *bit)
{
	atomic_flag_clear(&bit->taken);
}

/* The writer's: false when a reader does not go. */
static inline bool spin_bit_try(struct spin_bit *bit) MUST_CHECK;
static inline bool spin_bit_try(struct spin_bit *bit)
{
	int tries = 200;
	while (atomic_flag_test_and_set_explicit(&bit->taken, memory_order_acquire))
		if (--tries == 0)
			return false;
	return true;
}

/* A reader's: to be left again within microseconds. */
static inline void spin_bit_take(struct spin_bit *bit)
{
	while (atomic_flag_test_and_set_explicit(&bit->taken, memory_order_acquire))
		sched_yield();
}

static inline void spin_bit_leave(struct spin_bit *bit)
{
	atomic_flag_clear_explicit(&bit->taken, memory_order_release);
}

#endif
