/* SPDX-License-Identifier: Apache-2.0 */
/*
 * breaker.h: when to leave a failing subsystem alone. Open after one timeout, or a few other failures in a row; while
 * it is open nobody asks, only a probe now and then, which no caller waits for; closed again once a probe is answered
 * in time. Pure: no clock, no I/O.
 */
#ifndef JITNEY_BASE_BREAKER_H
#define JITNEY_BASE_BREAKER_H

#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"

/* Of one thread, or under its owner's lock. */
struct breaker {
	bool open;
	bool probing;      /* open, and a probe is out */
	unsigned failures; /* in a row, while closed */
	uint64_t hold_us;  /* between two probes: doubles while they fail, and while it opens again soon */
	uint64_t probe_us; /* open: when to probe next */
};

enum { BREAKER_FAILURES = 5 };
#define BREAKER_HOLD_FIRST_US (50 * CLOCK_US_PER_MS)
#define BREAKER_HOLD_LAST_US CLOCK_US_PER_S

/* Closed. */
static inline void breaker_init(struct breaker *breaker)
{
	*breaker = (struct breaker){ .hold_us = BREAKER_HOLD_FIRST_US };
}

/* Open (again), until the next probe; of the functions below alone. */
static inline void breaker_hold(struct breaker *breaker, uint64_t now_us)
{
	breaker->open = true;
	breaker->probing = false;
	breaker->failures = 0;
	breaker->probe_us = clock_add(now_us, breaker->hold_us);
	breaker->hold_us = breaker->hold_us * 2 < BREAKER_HOLD_LAST_US ? breaker->hold_us * 2 : BREAKER_HOLD_LAST_US;
}

/* A command was not answered in time: open. */
static inline void breaker_timed_out(struct breaker *breaker, uint64_t now_us)
{
	if (!breaker->open)
		breaker_hold(breaker, now_us);
}

/* A command failed, at once: open after a few. */
static inline void breaker_failed(struct breaker *breaker, uint64_t now_us)
{
	if (!breaker->open && ++breaker->failures >= BREAKER_FAILURES)
		breaker_hold(breaker, now_us);
}

/* A command of a caller was answered well: the next failure is a new one. */
static inline void breaker_succeeded(struct breaker *breaker)
{
	breaker->failures = 0;
	if (!breaker->open)
		breaker->hold_us = BREAKER_HOLD_FIRST_US;
}

/* Whether to send a probe now; then one is out, and breaker_probed must follow. */
static inline bool breaker_wants_probe(struct breaker *breaker, uint64_t now_us)
{
	if (!breaker->open || breaker->probing || now_us < breaker->probe_us)
		return false;
	breaker->probing = true;
	return true;
}

/* The probe that was out has been answered in time, or has not: closed, or open for longer. */
static inline void breaker_probed(struct breaker *breaker, bool answered, uint64_t now_us)
{
	if (!breaker->open)
		return;
	if (answered)
		breaker->open = breaker->probing = false;
	else
		breaker_hold(breaker, now_us);
}

/* When breaker_wants_probe will say yes; CLOCK_NEVER: closed, or a probe is out. */
static inline uint64_t breaker_deadline(const struct breaker *breaker)
{
	return breaker->open && !breaker->probing ? breaker->probe_us : CLOCK_NEVER;
}

#endif
