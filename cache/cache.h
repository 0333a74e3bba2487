/*
 * cache.h: the front door of the answer cache: tiers, freshness, grace. Callers ask for a verdict and get an answer
 * to serve, or learn that they must fetch. Freshness after RFC 9111, grace after RFC 5861, words after RFC 9211.
 */
#ifndef JITNEY_CACHE_CACHE_H
#define JITNEY_CACHE_CACHE_H

#include <stdint.h>

#include "base/answer.h"
#include "base/buf.h"
#include "cache/key.h"
#include "cache/memory.h"
#include "cache/purges.h"
#include "cache/recall.h"
#include "cache/wish.h"
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

enum cache_verdict {
	CACHE_VERDICT_HIT,   /* serve entry */
	CACHE_VERDICT_STALE, /* serve entry, it is past its time; see refresh */
	CACHE_VERDICT_MISS,  /* fetch */
	CACHE_VERDICT_BYPASS /* fetch, because the caller wished so */
};

/* MISS: what was lacking (the `fwd` of RFC 9211). */
enum cache_lack {
	LACK_ANSWER,    /* there is none */
	LACK_FRESHNESS, /* it is past its time */
	LACK_WISH       /* it is fresh, and not as the caller wishes */
};

struct cache_found {
	enum cache_verdict verdict;
	enum cache_lack lack;
	struct entry *entry; /* the caller's reference. HIT, STALE: serve it. MISS: for stale-if-error, or NULL */
	bool refresh;        /* STALE within stale-while-revalidate, or HIT and about to be stale: this caller, and no
			      * other, must start a refresh and call cache_refreshed when it has ended. Never for
			      * only-if-cached */
};

struct cache; /* any thread */

/* memory_bytes 0: no memory tier, everything is a miss. `metrics` gets a scrape hook, so nothing may be scraped after
 * cache_free; NULL: none. NULL when out of memory. Main thread. */
struct cache *cache_new(size_t memory_bytes, struct metrics *metrics) MUST_CHECK;
/* Entries still out stay valid. NULL is fine. */
void cache_free(struct cache *cache);

/* Look a call up; `meter` is the calling thread's and gets the result counted (NULL: not counted). No allocation.
 * With only-if-cached MISS means: do not fetch, and do not serve the entry either. */
struct cache_found cache_find(struct cache *cache, const struct key *key, const struct cache_wish *wish,
			      uint64_t now_us, struct meter *meter);
/* Whether an answer of this kind is stored under the policy at all: a result, or, with a negative_ttl, a refusal that
 * the tool itself has uttered (TOOL_ERROR; an HTTP 404 is one for dialect rest). Trouble on the way never is: no
 * timeout, no overload, no unknown outcome. */
bool cache_keeps(const struct cache_policy *policy, const struct answer *answer);

/* What was known when a fetch began: a purge that comes meanwhile makes its answer one that is not kept. */
struct cache_begun {
	uint64_t mark;       /* see recall.h */
	uint64_t generation; /* see purges.h */
};
struct cache_begun cache_begin(const struct cache *cache, const struct key *key);

/* What is stored besides key and answer. */
struct cache_fill {
	const struct cache_policy *policy;
	uint64_t cost_us; /* what fetching it took: for the early refresh; 0: not known, never early */
	uint64_t now_us;
	const struct cache_begun *begun; /* NULL: nothing can have been purged since it was fetched */
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

/* To be taken before that tier is asked, and handed to cache_admit: see recall.h. */
uint64_t cache_mark(const struct cache *cache, const struct key *key);
/* Put such an entry into memory, unless its key was recalled since `mark`. True: it is there. */
bool cache_admit(struct cache *cache, struct entry *entry, uint64_t mark);
/* The same for what nobody asked for yet (a file, another process): only where memory has room, and knows no answer of
 * that key. A recalled one counts as known. */
enum memory_added cache_warm(struct cache *cache, struct entry *entry, uint64_t mark);
/* All that is in memory, the most wanted first (memory.h); an empty list without a memory tier. */
bool cache_list(struct cache *cache, struct memory_list *list) MUST_CHECK;
/* Whether a purge on this gateway covers an entry by the time it was stored: it must be neither served nor kept. */
bool cache_is_recalled(const struct cache *cache, const struct entry *entry);
/* What a caller with this wish may have of it; borrows `entry`, and hands out a reference as cache_find does. */
struct cache_found cache_judge(struct entry *entry, const struct cache_wish *wish, uint64_t now_us);
/* Everything that tiers outside stored before now is recalled: for what could not be removed there. */
void cache_recall_all(struct cache *cache);

/* --- a fleet: others store, replace and purge as well (redis_tracking.h) --- */

/* What is in memory is believed for so long while nobody says what others change: see trust.h. Before anything is
 * stored. */
void cache_share(struct cache *cache, uint64_t untracked_us);
/* From now on everything that others change is told to this cache / no more. */
void cache_tracked(struct cache *cache);
void cache_untracked(struct cache *cache, uint64_t now_us);
/*
 * Others have replaced or removed what they had under this digest: it leaves memory.
 * Returns NULL, or, if what is here was stored within the last second, that entry (a reference), which has stayed: it
 * may be this process's own store that is told of; who finds that it is not calls cache_drop.
 */
struct entry *cache_replaced(struct cache *cache, const uint8_t *digest, uint64_t now_us);
bool cache_drop(struct cache *cache, const uint8_t *digest);
/* One entry is purged, wherever that was said: it leaves memory, and a fetch of it under way is not kept. */
bool cache_purge_digest(struct cache *cache, const uint8_t *digest);
/* The same for all that a scope without a key covers. Returns how many were dropped. */
size_t cache_purge_scope(struct cache *cache, const struct purge_scope *scope, const struct purge_tags *tags);
/* What values outside are held against. */
struct purges *cache_purges(struct cache *cache);
/* Whether an entry from outside is older than a purge that covers it. */
bool cache_is_purged(struct cache *cache, const struct entry *entry, const struct purge_tags *tags);
/* 64 hexadecimal digits to KEY_DIGEST_BYTES. False: they are none. */
bool cache_read_digest(struct slice hex, uint8_t *digest);

/* The refresh that cache_find asked for has ended, well or not: the next stale look-up may ask again. */
void cache_refreshed(struct entry *entry);
/* Drop what has gone past its grace, in short steps, some 16,000 at most; called by one worker about once a second. */
void cache_tick(struct cache *cache, uint64_t now_us);

/* Whole seconds since the entry was stored / until it is stale (0: within this second; negative: it is stale). */
uint64_t cache_age_s(const struct entry *entry, uint64_t now_us);
int64_t cache_ttl_s(const struct entry *entry, uint64_t now_us);

/* For the admin pages. */
struct memory_stats cache_memory_stats(struct cache *cache);
/*
 * Drop what was stored for tools of which `match` says so by their name (NULL: any) and, unless empty, with this digest
 * in hex. Returns how many; 0 for a digest that is none.
 *
 * match  called under a lock: quick, no call back into the cache.
 */
size_t cache_purge(struct cache *cache, bool (*match)(struct slice tool, void *context), void *context,
		   struct slice digest_hex);

#endif
