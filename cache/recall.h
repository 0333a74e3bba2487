/*
 * recall.h: closes the race between a purge and what was asked for before it: that must not be put into memory after
 * it. A mark is taken before asking and compared when the answer is put; whatever purges, here or on another gateway of
 * the fleet, changes the marks first. A value that another gateway has replaced is a smaller matter: who reads the old
 * one just then must not keep it, but who fetches from the provider may. Any thread.
 */
#ifndef JITNEY_CACHE_RECALL_H
#define JITNEY_CACHE_RECALL_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"

enum { RECALL_SLOTS = 256 };

/* Zeroed is good. */
struct recall {
	atomic_uint_fast64_t slots[RECALL_SLOTS];    /* a: recalls of keys whose digest begins with that byte */
	atomic_uint_fast64_t replaced[RECALL_SLOTS]; /* a: those that others have replaced or removed, likewise */
	atomic_uint_fast64_t all;                    /* a: recalls of everything, or of an unknown part */
	atomic_uint_fast64_t all_us;                 /* a: when the last of those was; 0: never */
};

/* The mark of a key's digest for who fetches. It only grows. */
static inline uint64_t recall_fetch_mark(const struct recall *recall, const uint8_t *digest)
{
	return atomic_load(&recall->slots[digest[0]]) + atomic_load(&recall->all);
}

/* The same for who reads from a tier outside. */
static inline uint64_t recall_mark(const struct recall *recall, const uint8_t *digest)
{
	return recall_fetch_mark(recall, digest) + atomic_load(&recall->replaced[digest[0]]);
}

/* One key is recalled: its mark, and those of its neighbours, change. */
static inline void recall_one(struct recall *recall, const uint8_t *digest)
{
	atomic_fetch_add(&recall->slots[digest[0]], 1);
}

/* What a tier outside has for one key has changed. */
static inline void recall_replaced(struct recall *recall, const uint8_t *digest)
{
	atomic_fetch_add(&recall->replaced[digest[0]], 1);
}

/* Some keys are recalled, nobody can say which: all marks change. */
static inline void recall_some(struct recall *recall)
{
	atomic_fetch_add(&recall->all, 1);
}

/* Everything stored before now_us is recalled. */
static inline void recall_all(struct recall *recall, uint64_t now_us)
{
	atomic_store(&recall->all_us, now_us);
	atomic_fetch_add(&recall->all, 1);
}

/* Whether what was stored at that time has been recalled since. */
static inline bool recall_covers(const struct recall *recall, uint64_t stored_us)
{
	return stored_us <= atomic_load(&recall->all_us);
}

#endif
