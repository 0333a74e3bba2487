/* SPDX-License-Identifier: Apache-2.0 */
/*
 * validity.h: the one rule that says whether an answer still counts, whoever keeps it: memory, a tier outside, a fetch
 * that completes, what is held for stale-if-error. It counts unless a purge covers it that is newer (purges.h), or it is a
 * copy in memory of something that others may have changed unheard. How fresh it must be is the caller's affair
 * (cache.h). Any thread.
 */
#ifndef JITNEY_CACHE_VALIDITY_H
#define JITNEY_CACHE_VALIDITY_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/clock.h"
#include "cache/memory.h"
#include "cache/purges.h"

enum { REPLACED_SLOTS = 256 };

/* Zeroed, then purges_init. */
struct validity {
	struct purges purges;
	/* memory holds copies of what a fleet shares */
	atomic_bool shared; /* a: others can replace and remove it */
	atomic_uint_fast64_t
		coherence_us; /* a: the coherence window: how long a copy counts while changes are not heard of */
	atomic_bool synced;   /* a: changes are heard of */
	atomic_uint_fast64_t synced_from_us;           /* a: copies made before do not count; 0: all do */
	atomic_uint_fast64_t unsynced_from_us;         /* a: when changes were last heard of no more; 0: never */
	atomic_uint_fast64_t replaced[REPLACED_SLOTS]; /* a: changes of digests that begin with that byte */
};

/* What was known when an answer was asked for, of the provider or of a tier outside. */
struct cache_epoch {
	uint64_t event, number; /* of purges */
	uint64_t replaced;      /* changes of its key, and of its neighbours', by others */
};
struct cache_epoch validity_epoch(const struct validity *validity, const uint8_t *digest);

enum validity_decision {
	STILL_VALID,
	NOT_VALID_PURGED,
	NOT_VALID_UNSYNCED, /* in memory only: it may have been changed unheard */
	NOT_VALID_AHEAD     /* from outside only: its writer knew of a purge that has not been heard of here */
};

/*
 * The rule.
 *
 * begun  when it was asked for: it has just come from outside, or from its provider. NULL: it is in memory.
 * tags   the caller's, of today.
 */
enum validity_decision validity_of(struct validity *validity, struct entry *entry, const struct cache_epoch *epoch,
				   const struct purge_tags *tags, uint64_t now_us);

/* The half of it that is the same everywhere: whether a purge covers an entry in memory. For who sweeps. */
bool validity_is_purged(struct validity *validity, struct entry *entry, const struct purge_tags *tags);

/* --- what a fleet changes: redis_tracking.h --- */

/* Others can change what memory has copies of: what it has by now is believed until they are heard, for coherence_us at
 * most, and then no more. */
void validity_share(struct validity *validity, uint64_t coherence_us);
/* Whether they can. */
static inline bool validity_is_shared(const struct validity *validity)
{
	return atomic_load_explicit(&validity->shared, memory_order_acquire);
}
/* They cannot any more. */
void validity_unshare(struct validity *validity);
/* All changes from now on are heard of; copies made before count no more. */
void validity_synced(struct validity *validity);
/* Changes from now on may go unheard. Allowed if they do already. */
void validity_lost_sync(struct validity *validity, uint64_t now_us);
/* Everything outside has been removed: copies made until now count no more. */
void validity_forget(struct validity *validity);
/* What a tier outside has under this digest has changed: who reads the old value just then must not keep it. */
static inline void validity_replaced(struct validity *validity, const uint8_t *digest)
{
	atomic_fetch_add(&validity->replaced[digest[0]], 1);
}
/* Whether that has happened since. */
static inline bool validity_is_replaced(const struct validity *validity, const uint8_t *digest,
					const struct cache_epoch *epoch)
{
	return atomic_load(&validity->replaced[digest[0]]) != epoch->replaced;
}

#endif
