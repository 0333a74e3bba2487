/*
 * trust.h: for how long an entry in memory may be believed when others can replace or purge what it is a copy of. While
 * changes are heard of (redis_tracking.h) it is believed to its end, if it was put there since they are; after a gap
 * nobody knows, so it is not. While they are not heard of, for a short time. Any thread.
 */
#ifndef JITNEY_CACHE_TRUST_H
#define JITNEY_CACHE_TRUST_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"

/* Zeroed: nobody else can change anything, everything is believed. */
struct trust {
	bool needed;                   /* c */
	uint64_t untracked_us;         /* c: how long without tracking */
	atomic_bool tracked;           /* a */
	atomic_uint_fast64_t since_us; /* a: when tracking last began; 0: never */
	atomic_uint_fast64_t lost_us;  /* a: when it was last lost; 0: never */
};

/* Before any entry is put. */
static inline void trust_need(struct trust *trust, uint64_t untracked_us)
{
	trust->needed = true;
	trust->untracked_us = untracked_us;
}

/* All changes from now on are heard of. Entries put before are believed no more. */
static inline void trust_begin(struct trust *trust, uint64_t now_us)
{
	atomic_store(&trust->since_us, now_us);
	atomic_store(&trust->tracked, true);
}

/* Changes from now on may go unheard. Fine if it was lost already: the first loss counts. */
static inline void trust_end(struct trust *trust, uint64_t now_us)
{
	if (!atomic_load(&trust->tracked))
		return;
	atomic_store(&trust->lost_us, now_us);
	atomic_store(&trust->tracked, false);
}

/* Whether an entry put into memory at put_us may be served. */
static inline bool trust_holds(const struct trust *trust, uint64_t put_us, uint64_t now_us)
{
	if (!trust->needed)
		return true;
	bool tracked = atomic_load_explicit(&trust->tracked, memory_order_acquire);
	uint64_t lost_us = atomic_load_explicit(&trust->lost_us, memory_order_acquire);
	if (put_us < atomic_load_explicit(&trust->since_us, memory_order_acquire))
		return false;
	return tracked || now_us < clock_add(put_us > lost_us ? put_us : lost_us, trust->untracked_us);
}

#endif
