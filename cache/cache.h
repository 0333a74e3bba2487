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
	uint64_t ttl_us;                    /* 0: never stored */
	uint64_t stale_while_revalidate_us;
	uint64_t stale_if_error_us;
};

/* What the caller asked for with Cache-Control (RFC 9111, 5.2.1). */
struct cache_wish {
	bool no_cache;        /* do not serve from the cache; the answer may be stored */
	bool no_store;        /* neither serve nor store */
	bool only_if_cached;
	bool any_stale;       /* max-stale without a value */
	bool has_max_age;     /* for max-age=0, which is not the same as none */
	uint64_t max_age_us;
	uint64_t max_stale_us; /* 0: none */
	uint64_t min_fresh_us; /* 0: none */
};

/* Read a Cache-Control value into *wish (added to what is there). Unknown directives are ignored, as the RFC says;
 * false when a known one has a value that is no delta-seconds. */
bool cache_wish_parse(struct slice value, struct cache_wish *wish);

enum cache_verdict {
	CACHE_VERDICT_HIT,     /* serve entry */
	CACHE_VERDICT_STALE,   /* serve entry, it is past its time; see refresh */
	CACHE_VERDICT_MISS,    /* fetch */
	CACHE_VERDICT_BYPASS   /* fetch, because the caller wished so */
};

struct cache_found {
	enum cache_verdict verdict;
	struct entry *entry;   /* HIT, STALE: a reference for the caller. MISS: an entry good for stale-if-error, or NULL */
	bool refresh;          /* STALE within stale-while-revalidate: this caller, and no other, must start a refresh, and
	                        * call cache_refreshed when it has ended */
};

struct cache; /* any thread */

/* memory_bytes 0: no memory tier, everything is a miss. NULL when out of memory. */
struct cache *cache_new(size_t memory_bytes, struct metrics *metrics) MUST_CHECK;
void cache_free(struct cache *cache);

/* Look a call up; `meter` is the calling thread's and gets the result counted. No allocation. */
struct cache_found cache_find(struct cache *cache, const struct key *key, const struct cache_wish *wish,
                              uint64_t now_us, struct meter *meter);
/* Keep an OK answer for the policy's time (less a jitter of up to 10 %, so that entries stored together do not end
 * together). Not OK, ttl 0, or too large: not stored. `tool` is its index. */
void cache_store(struct cache *cache, struct key *key, struct answer *answer, const struct cache_policy *policy,
                 uint32_t tool, uint64_t now_us, struct meter *meter);
/* The refresh that cache_find asked for has ended, well or not: the next stale look-up may ask again. */
void cache_refreshed(struct entry *entry);
/* Drop what has gone past its grace; cheap, called now and then by one worker. */
void cache_tick(struct cache *cache, uint64_t now_us);

/* Seconds since the entry was stored / until it is stale (negative: it is stale since then). */
uint64_t cache_age_s(const struct entry *entry, uint64_t now_us);
int64_t cache_ttl_s(const struct entry *entry, uint64_t now_us);

/* For the admin pages. */
struct memory_stats cache_memory_stats(struct cache *cache);
/* Drop what was stored for a tool (index; UINT32_MAX: any) and, unless empty, with this digest in hex. Returns how many. */
size_t cache_purge(struct cache *cache, uint32_t tool, struct slice digest_hex);

#endif
