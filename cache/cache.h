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
#include "metrics/metrics.h"

/* A tool's policy, from the configuration. */
struct cache_policy {
	uint64_t ttl_us; /* 0: never stored */
	uint64_t stale_while_revalidate_us;
	uint64_t stale_if_error_us;
};

/* What the caller asked for with Cache-Control (RFC 9111, 5.2.1). */
struct cache_wish {
	bool no_cache; /* do not serve from the cache; the answer may be stored */
	bool no_store; /* neither serve nor store */
	bool only_if_cached;
	bool any_stale;   /* max-stale without a value */
	bool has_max_age; /* for max-age=0, which is not the same as none */
	uint64_t max_age_us;
	uint64_t max_stale_us; /* 0: none */
	uint64_t min_fresh_us; /* 0: none */
};

/* Read a Cache-Control value into *wish (added to what is there; of two limits the stricter one counts). Unknown
 * directives are ignored, as the RFC says; false when a known one that needs delta-seconds has none, or a list is not
 * one. Numbers beyond 2^31 seconds count as 2^31. */
bool cache_wish_parse(struct slice value, struct cache_wish *wish);

enum cache_verdict {
	CACHE_VERDICT_HIT,   /* serve entry */
	CACHE_VERDICT_STALE, /* serve entry, it is past its time; see refresh */
	CACHE_VERDICT_MISS,  /* fetch */
	CACHE_VERDICT_BYPASS /* fetch, because the caller wished so */
};

struct cache_found {
	enum cache_verdict verdict;
	struct entry *entry; /* the caller's reference. HIT, STALE: serve it. MISS: for stale-if-error, or NULL */
	bool refresh;        /* STALE within stale-while-revalidate: this caller, and no other, must start a refresh
			      * and call cache_refreshed when it has ended. Never for only-if-cached */
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
/* Keep an OK answer for the policy's time (less a jitter of up to 10 %, the same for a key each time, so that entries
 * stored together do not end together). Takes references of its own. True when stored; false when not OK, ttl 0, too
 * large or out of memory. Whether the caller said no-store is the caller's to mind. `tool` is its index. */
bool cache_store(struct cache *cache, struct key *key, struct answer *answer, const struct cache_policy *policy,
		 uint32_t tool, uint64_t now_us, struct meter *meter);
/* The refresh that cache_find asked for has ended, well or not: the next stale look-up may ask again. */
void cache_refreshed(struct entry *entry);
/* Drop some of what has gone past its grace, in short steps; called by one worker about once a second, which passes
 * through 256 MiB in a minute. */
void cache_tick(struct cache *cache, uint64_t now_us);

/* Whole seconds since the entry was stored / until it is stale (0: within this second; negative: it is stale). */
uint64_t cache_age_s(const struct entry *entry, uint64_t now_us);
int64_t cache_ttl_s(const struct entry *entry, uint64_t now_us);

/* For the admin pages. */
struct memory_stats cache_memory_stats(struct cache *cache);
/* Drop what was stored for a tool (index; UINT32_MAX: any) and, unless empty, with this digest in hex. Returns how
 * many; 0 for a digest that is none. */
size_t cache_purge(struct cache *cache, uint32_t tool, struct slice digest_hex);

#endif
