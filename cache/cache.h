/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h: the front door of the answer cache: tiers, freshness, grace. Callers ask for a decision and get an answer
 * to serve, or learn that they must fetch. Freshness after RFC 9111, grace after RFC 5861, words after RFC 9211.
 */
#ifndef JITNEY_CACHE_CACHE_H
#define JITNEY_CACHE_CACHE_H

#include <stdint.h>

#include "base/answer.h"
#include "base/buf.h"
#include "cache/key.h"
#include "cache/memory.h"
#include "cache/validity.h"
#include "cache/directives.h"
#include "metrics/metrics.h"

/* A tool's policy, from the configuration. */
struct cache_policy {
	uint64_t ttl_us; /* 0: never stored */
	uint64_t stale_while_revalidate_us;
	uint64_t stale_if_error_us;
	uint64_t negative_ttl_us; /* of a tool's refusals (cache_keeps); 0: not stored. They have no grace */
	size_t max_entry_bytes;   /* an answer with a longer body is not stored; 0: any, up to the tier's own limit */
	bool provider_headers;    /* the provider's Cache-Control, Expires, Age, Vary may shorten and forbid */
};

enum cache_decision {
	CACHE_DECISION_HIT,   /* serve entry */
	CACHE_DECISION_STALE, /* serve entry, it is past its time; see refresh */
	CACHE_DECISION_MISS,  /* fetch */
	CACHE_DECISION_BYPASS /* fetch, because the caller wished so */
};

/* MISS: what was lacking (the `fwd` of RFC 9211). */
enum cache_miss_reason {
	MISS_ANSWER,    /* there is none */
	MISS_FRESHNESS, /* it is past its time */
	MISS_DIRECTIVES /* it is fresh, and not as the caller wishes */
};

struct cache_found {
	enum cache_decision decision;
	enum cache_miss_reason miss_reason;
	struct entry *entry; /* the caller's reference. HIT, STALE: serve it. MISS: for stale-if-error, or NULL */
	bool refresh;        /* STALE within stale-while-revalidate, or HIT and about to be stale: this caller, and no
			      * other, must start a refresh and call cache_refreshed when it has ended. Never for
			      * only-if-cached */
};

struct cache; /* any thread */

/* memory_bytes 0: no memory tier, everything is a miss. `metrics` gets a scrape hook, so nothing may be scraped after
 * cache_free; NULL: none. NULL when out of memory. Main thread. */
struct cache *cache_new(size_t memory_bytes, struct metrics *metrics) MUST_CHECK;
/* Entries still out stay valid. NULL is allowed. */
void cache_free(struct cache *cache);

/* Who asks: what his tool allows today, whatever it allowed when an answer was stored, and what he wishes himself. */
struct cache_ask {
	const struct cache_policy *policy;
	const struct cache_directives *directives;
	const struct purge_tags *tags;
	uint64_t now_us;
};

/* Look a call up; `meter` is the calling thread's and gets the result counted (NULL: not counted). No allocation.
 * With only-if-cached MISS means: do not fetch, and do not serve the entry either. */
struct cache_found cache_find(struct cache *cache, const struct key *key, const struct cache_ask *ask,
			      struct meter *meter);
/* What this caller may have of an answer that still counts (cache_validity); borrows `entry`, and hands out a reference
 * as cache_find does. */
struct cache_found cache_evaluate(struct entry *entry, const struct cache_ask *ask);
/* Whether an answer found earlier may be served now that its provider has failed (RFC 5861, 4). */
bool cache_covers_error(struct cache *cache, struct entry *entry, const struct cache_ask *ask);
/* Whether an answer of this kind is stored under the policy at all: a result, or, with a negative_ttl, a refusal that
 * the tool itself has uttered (TOOL_ERROR; an HTTP 404 is one for dialect rest). Trouble on the way never is: no
 * timeout, no overload, no unknown outcome. */
bool cache_keeps(const struct cache_policy *policy, const struct answer *answer);

/* To be taken before a provider, or a tier outside, is asked. */
struct cache_epoch cache_epoch_now(const struct cache *cache, const struct key *key);

/* What is stored besides key and answer. */
struct cache_fill {
	const struct cache_policy *policy;
	uint64_t cost_us;                /* what fetching it took: for the early refresh; 0: not known, never early */
	uint64_t asked_us;               /* when its provider was asked */
	uint64_t now_us;                 /* when it had answered */
	const struct cache_epoch *epoch; /* NULL: nothing can have been purged since it was fetched */
	const struct purge_tags *tags;
};

/*
 * Keep an answer for the policy's time (less a jitter of up to 10 %, the same for a key each time, so that entries
 * stored together do not end together). Takes references of its own. True when stored; false when !cache_keeps, when
 * it is too large or the provider forbids it (then an older answer of that key goes too), or out of memory. Whether
 * the caller said no-store is the caller's to mind.
 *
 * *entry  a reference, for other tiers, whether or not it found a place in memory; NULL: it is not to be stored
 *         anywhere.
 * *drop   what other tiers have under that key is outdated, and there is nothing to put in its place.
 */
bool cache_store_entry(struct cache *cache, struct key *key, struct answer *answer, const struct cache_fill *fill,
		       struct meter *meter, struct entry **entry, bool *drop);

/* --- entries that come from a tier outside the process --- */

/* Whether it still counts: validity.h. */
enum validity_decision cache_validity(struct cache *cache, struct entry *entry, const struct cache_epoch *epoch,
				      const struct cache_ask *ask);
/* Put one that does into memory, unless others have changed it since. True: it is there. */
bool cache_admit(struct cache *cache, struct entry *entry, const struct cache_epoch *epoch,
		 const struct purge_tags *tags);
/* The same for what nobody asked for yet (a file): only where memory has room, and knows no answer of that key. Whoever
 * asks for it evaluates it. */
enum memory_added cache_warm(struct cache *cache, struct entry *entry);
/* The same, on an operator's word: whatever was purged here until now, it counts. */
enum memory_added cache_import(struct cache *cache, struct entry *entry);
/* All that is in memory, the most wanted first (memory.h); an empty list without a memory tier. */
bool cache_list(struct cache *cache, struct memory_list *list) MUST_CHECK;
/* One of the list, with a reference for the caller, if it is still there; that is no look-up of a caller's. */
struct entry *cache_peek(struct cache *cache, const uint8_t *digest);

/* --- purges --- */

/* From now on purges are published to a fleet, or written to a disk, which number them; or not. A fleet is told of those before,
 * too, as if it had lost them. */
void cache_publish_purges(struct cache *cache, bool publishes);
bool cache_publishes_purges(const struct cache *cache);
/* From now on nothing that this scope covers is served. One key's answer leaves memory at once, the others by and by
 * (cache_sweep). Returns the event. */
uint64_t cache_purge(struct cache *cache, const struct purge_scope *scope);
/* The same, said by another gateway, under its number. */
void cache_purge_received(struct cache *cache, struct slice text, uint64_t number);
/* Take what does not count any more out of memory, until clock_now_us() says until_us at most. One thread at a time;
 * its tags. True: there is more. */
bool cache_sweep(struct cache *cache, const struct purge_tags *tags, uint64_t until_us);
/* Whether that has been done for all up to this event. */
bool cache_is_swept(const struct cache *cache, uint64_t event);
/*
 * What memory holds that a purge of this scope would drop: looked through until clock_now_us() says until_us at most.
 * Zeroed at first; what comes or goes meanwhile may be missed. True: there is more to look at. Any thread.
 */
struct cache_count {
	uint64_t entries, bytes;
	size_t place; /* private */
};
bool cache_count_covered(struct cache *cache, const struct purge_scope *scope, const struct purge_tags *tags,
			 uint64_t until_us, struct cache_count *count);
/* How many entries have left memory by purges, ever. */
uint64_t cache_purged(const struct cache *cache);
struct validity *cache_rule(struct cache *cache);

/* --- a fleet: others store and replace as well (redis_tracking.h, which tells the rule what it hears) --- */

/*
 * Others have replaced or removed what they had under this digest: it leaves memory.
 * Returns NULL, or, if what is here was put within the last second, that entry (a reference), which has stayed: it
 * may be this process's own store that is told of; who finds that it is not calls cache_drop.
 */
struct entry *cache_replaced(struct cache *cache, const uint8_t *digest, uint64_t now_us);
bool cache_drop(struct cache *cache, const uint8_t *digest);
/* This process stores under that digest in the tier that others share, and will be told of it. */
void cache_stores_outside(struct cache *cache, const uint8_t *digest, uint64_t now_us);
/* Whether that is what is told of now, within a second, and once for each time. */
bool cache_takes_own_store(struct cache *cache, const uint8_t *digest, uint64_t now_us);

/* The refresh that cache_find asked for has ended, well or not: the next stale look-up may ask again. */
void cache_refreshed(struct entry *entry);
/* Drop what has gone past its grace, in short steps, some 16,000 at most; called by one worker about once a second. */
void cache_tick(struct cache *cache, uint64_t now_us);

/* Whole seconds since the entry's provider was asked, with the Age that it gave / until it is stale under today's policy
 * (0: within this second; negative: it is stale). */
uint64_t cache_age_s(const struct entry *entry, uint64_t now_us);
int64_t cache_ttl_s(const struct entry *entry, const struct cache_policy *policy, uint64_t now_us);

/* Whether a memory tier that was made with `first_bytes` can become one of so many: its tables are what they are. */
static inline bool cache_can_become(size_t first_bytes, size_t bytes)
{
	return bytes <= MEMORY_GROWS * first_bytes;
}
/* Let the memory tier hold so many from now on; cache_can_become says so. What is too much leaves before this returns, a
 * few hundred entries under a lock at a time. Any thread, one at a time. */
void cache_resize(struct cache *cache, size_t memory_bytes);

/* For the admin pages. */
struct memory_stats cache_memory_stats(struct cache *cache);

#endif
