/* cache.c: from what was stored when, and what the caller wishes, to what may be served. */
#include "cache/cache.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hex.h"
#include "cache/trust.h"

enum {
	SHARDS_MAX = 16,
	SHARD_BYTES_MIN = 8 * 1024 * 1024, /* so that an answer of 1 MiB is not too large for a shard */
	EXPIRE_BUDGET = 16384,             /* entries a tick: a few milliseconds */
	JITTER_DIVISOR = 10,               /* a tenth of the ttl at most */
	COST_DIVISOR = 4,                  /* an answer slower to fetch than it lives is not fetched all the time */
	LOG_MAX = 37,                      /* -ln of the smallest chance there is, 2^-53, rounded up */
};
#define YOUNG_US CLOCK_US_PER_S /* what others say of an entry stored within it may be meant for our own store */

struct cache {
	struct recall recall;  /* a */
	struct trust trust;    /* a */
	struct purges purges;  /* safe inside */
	struct memory *memory; /* c: NULL: no memory tier */
};

/* --- freshness --- */

static uint64_t age_us(const struct entry *entry, uint64_t now_us)
{
	return now_us > entry->stored_us ? now_us - entry->stored_us : 0;
}

static bool wish_allows_fresh(const struct cache_wish *wish, const struct entry *entry, uint64_t now_us)
{
	return (!wish->has_max_age || age_us(entry, now_us) <= wish->max_age_us) &&
	       (!wish->has_min_fresh || entry->fresh_until_us - now_us >= wish->min_fresh_us);
}

/* A caller who names limits of freshness does not want it stale (RFC 9111, 5.2.1.1), unless it says how stale. */
static bool wish_allows_stale(const struct cache_wish *wish, const struct entry *entry, uint64_t now_us)
{
	bool names_staleness = wish->any_stale || wish->has_max_stale;
	if (wish->has_min_fresh || (wish->has_max_age && !names_staleness))
		return false;
	if (wish->has_max_age && age_us(entry, now_us) > wish->max_age_us)
		return false;
	if (wish->has_max_stale)
		return now_us - entry->fresh_until_us <= wish->max_stale_us;
	return wish->any_stale || now_us < entry->revalidate_until_us;
}

/* The first who asks since the last refresh ended. */
static bool claim_refresh(struct entry *entry)
{
	return !atomic_load_explicit(&entry->refreshing, memory_order_relaxed) &&
	       !atomic_exchange_explicit(&entry->refreshing, true, memory_order_acq_rel);
}

/* splitmix64's last step: in (0, 1], evenly spread. */
static double draw(uint64_t seed)
{
	seed += UINT64_C(0x9E3779B97F4A7C15);
	seed = (seed ^ (seed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	seed = (seed ^ (seed >> 27)) * UINT64_C(0x94D049BB133111EB);
	seed ^= seed >> 31;
	return (double)((seed >> 11) + 1) / (double)(UINT64_C(1) << 53);
}

/*
 * XFetch (Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015), beta 1:
 * fetch anew once now - cost * ln(chance) has come to the end of freshness: earlier, the longer a fetch takes and the
 * more look-ups there are. Chance is drawn from clock and key (whose hash differs between processes), so that there
 * is no generator to keep and a test can tell what comes; equal draws within a turn do no harm, one caller refreshes.
 */
static bool is_due_early(const struct entry *entry, uint64_t now_us)
{
	uint64_t left_us = entry->fresh_until_us - now_us;
	if (left_us >= (uint64_t)entry->cost_us * LOG_MAX) /* nearly always; and no cost is never early */
		return false;
	return -log(draw(now_us ^ entry->key->hash)) * entry->cost_us >= (double)left_us;
}

static struct cache_found judge(struct entry *entry, const struct cache_wish *wish, uint64_t now_us)
{
	struct cache_found found = { .verdict = CACHE_VERDICT_MISS, .entry = entry };
	found.lack = now_us < entry->fresh_until_us ? LACK_WISH : LACK_FRESHNESS;
	if (now_us < entry->fresh_until_us) {
		if (wish_allows_fresh(wish, entry, now_us)) {
			found.verdict = CACHE_VERDICT_HIT;
			found.refresh = is_due_early(entry, now_us) && !wish->only_if_cached && claim_refresh(entry);
		}
	} else if (wish_allows_stale(wish, entry, now_us)) {
		found.verdict = CACHE_VERDICT_STALE;
		found.refresh = !wish->only_if_cached && now_us < entry->revalidate_until_us && claim_refresh(entry);
	}
	return found;
}

/* Whether stale-if-error was configured, and lasts. */
static bool good_on_error(const struct entry *entry, uint64_t now_us)
{
	return entry->error_until_us > entry->fresh_until_us && now_us < entry->error_until_us;
}

/* Without an entry when this one is good for nothing. */
static struct cache_found settle(struct entry *entry, const struct cache_wish *wish, uint64_t now_us)
{
	struct cache_found found = judge(entry, wish, now_us);
	if (found.verdict == CACHE_VERDICT_MISS && !good_on_error(entry, now_us))
		found.entry = NULL;
	return found;
}

static struct cache_found find(struct cache *cache, const struct key *key, const struct cache_wish *wish,
			       uint64_t now_us)
{
	if (wish->no_cache || wish->no_store)
		return (struct cache_found){ .verdict = CACHE_VERDICT_BYPASS };
	struct entry *entry = cache->memory ? memory_get(cache->memory, key, now_us) : NULL;
	if (entry && !trust_holds(&cache->trust, entry->put_us, now_us)) {
		entry_unref(entry);
		entry = NULL;
	}
	if (!entry)
		return (struct cache_found){ .verdict = CACHE_VERDICT_MISS };
	struct cache_found found = settle(entry, wish, now_us);
	if (!found.entry)
		entry_unref(entry);
	return found;
}

struct cache_found cache_judge(struct entry *entry, const struct cache_wish *wish, uint64_t now_us)
{
	if (wish->no_cache || wish->no_store)
		return (struct cache_found){ .verdict = CACHE_VERDICT_BYPASS };
	struct cache_found found = settle(entry, wish, now_us);
	if (found.entry)
		entry_ref(found.entry);
	return found;
}

struct cache_found cache_find(struct cache *cache, const struct key *key, const struct cache_wish *wish,
			      uint64_t now_us, struct meter *meter)
{
	static const enum cache_result results[] = {
		[CACHE_VERDICT_HIT] = CACHE_HIT,
		[CACHE_VERDICT_STALE] = CACHE_STALE,
		[CACHE_VERDICT_MISS] = CACHE_MISS,
		[CACHE_VERDICT_BYPASS] = CACHE_BYPASS,
	};
	struct cache_found found = find(cache, key, wish, now_us);
	if (meter)
		meter_add(meter, METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, results[found.verdict], 1);
	return found;
}

/* Of the key's hash, not of chance, so that it can be told beforehand; the hash differs from process to process. */
static uint64_t jitter_us(const struct key *key, uint64_t ttl_us)
{
	return (uint64_t)(((unsigned __int128)(ttl_us / JITTER_DIVISOR) * key->hash) >> 64);
}

bool cache_keeps(const struct cache_policy *policy, const struct answer *answer)
{
	if (!policy->ttl_us)
		return false;
	return answer->outcome == OUTCOME_OK || (answer->outcome == OUTCOME_TOOL_ERROR && policy->negative_ttl_us);
}

/* For how long; 0: the provider forbids it. */
static uint64_t lifetime_us(const struct cache_policy *policy, const struct answer *answer)
{
	uint64_t ttl_us = answer->outcome == OUTCOME_OK ? policy->ttl_us : policy->negative_ttl_us;
	uint64_t allowed_us = (uint64_t)answer->reuse_s * CLOCK_US_PER_S;
	return policy->provider_headers && answer->reuse_said && allowed_us < ttl_us ? allowed_us : ttl_us;
}

static void set_times(struct entry *entry, const struct cache_fill *fill, uint64_t ttl_us)
{
	const struct cache_policy *policy = fill->policy;
	bool graced =
		entry->answer->outcome == OUTCOME_OK && !(policy->provider_headers && entry->answer->reuse_no_stale);
	uint64_t cost_us = fill->cost_us < ttl_us / COST_DIVISOR ? fill->cost_us : ttl_us / COST_DIVISOR;
	entry->stored_us = fill->now_us;
	entry->fresh_until_us = clock_add(fill->now_us, ttl_us - jitter_us(entry->key, ttl_us));
	entry->revalidate_until_us = clock_add(entry->fresh_until_us, graced ? policy->stale_while_revalidate_us : 0);
	entry->error_until_us = clock_add(entry->fresh_until_us, graced ? policy->stale_if_error_us : 0);
	if (entry->answer->outcome == OUTCOME_OK)
		entry->cost_us = cost_us < UINT32_MAX ? (uint32_t)cost_us : UINT32_MAX;
}

/* What the policy lets in, and what it costs what was there before. */
static struct entry *make_entry(struct cache *cache, struct key *key, struct answer *answer,
				const struct cache_fill *fill, struct meter *meter)
{
	uint64_t ttl_us = lifetime_us(fill->policy, answer);
	size_t most = fill->policy->max_entry_bytes;
	if (most && answer_held_bytes(answer) - 1 > most) {
		if (cache->memory)
			memory_refuse(cache->memory, key);
		return NULL;
	}
	if (!ttl_us) { /* what came before is outdated all the same */
		if (cache->memory)
			memory_remove(cache->memory, key);
		return NULL;
	}
	struct entry *entry = entry_new(key, answer);
	if (!entry) {
		meter_add(meter, METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, CACHE_ERROR, 1);
		return NULL;
	}
	set_times(entry, fill, ttl_us);
	entry->put_us = fill->now_us;
	entry->generation = fill->begun ? fill->begun->generation : purges_newest(&cache->purges);
	answer_tag(answer); /* here, once, rather than at the first hit */
	return entry;
}

struct cache_begun cache_begin(const struct cache *cache, const struct key *key)
{
	/* in this order: a purge in between makes the number too small, not too large */
	uint64_t generation = purges_newest(&cache->purges);
	return (struct cache_begun){ recall_fetch_mark(&cache->recall, key->digest), generation };
}

/* Whether a purge has come since. */
static bool overtaken(const struct cache *cache, const struct key *key, const struct cache_begun *begun)
{
	return begun && recall_fetch_mark(&cache->recall, key->digest) != begun->mark;
}

bool cache_store_entry(struct cache *cache, struct key *key, struct answer *answer, const struct cache_fill *fill,
		       struct meter *meter, struct entry **entry, bool *drop)
{
	bool keeps = cache_keeps(fill->policy, answer) && !overtaken(cache, key, fill->begun);
	*entry = keeps ? make_entry(cache, key, answer, fill, meter) : NULL;
	*drop = keeps && !*entry;
	bool stored = *entry && cache->memory && memory_put(cache->memory, *entry);
	if (!*entry || !overtaken(cache, key, fill->begun))
		return stored;
	/* a purge between look and put has not seen the entry; one after this look will */
	if (stored)
		memory_remove(cache->memory, key);
	entry_unref(*entry);
	*entry = NULL;
	return false;
}

void cache_refreshed(struct entry *entry)
{
	atomic_store_explicit(&entry->refreshing, false, memory_order_release);
}

uint64_t cache_age_s(const struct entry *entry, uint64_t now_us)
{
	return age_us(entry, now_us) / CLOCK_US_PER_S;
}

int64_t cache_ttl_s(const struct entry *entry, uint64_t now_us)
{
	if (now_us < entry->fresh_until_us)
		return (int64_t)((entry->fresh_until_us - now_us) / CLOCK_US_PER_S);
	uint64_t stale_us = now_us - entry->fresh_until_us;
	return -(int64_t)(stale_us / CLOCK_US_PER_S + 1);
}

/* --- upkeep --- */

void cache_tick(struct cache *cache, uint64_t now_us)
{
	if (cache->memory)
		memory_expire(cache->memory, now_us, EXPIRE_BUDGET);
}

struct memory_stats cache_memory_stats(struct cache *cache)
{
	return cache->memory ? memory_stats(cache->memory) : (struct memory_stats){ 0 };
}

struct tool_match {
	bool (*match)(struct slice tool, void *context);
	void *context;
	bool any_digest;
	uint8_t digest[KEY_DIGEST_BYTES];
};

bool cache_read_digest(struct slice hex, uint8_t *digest)
{
	if (hex.len != 2 * KEY_DIGEST_BYTES)
		return false;
	for (size_t i = 0; i < KEY_DIGEST_BYTES; i++) {
		int byte = hex_byte(hex, 2 * i);
		if (byte < 0)
			return false;
		digest[i] = (uint8_t)byte;
	}
	return true;
}

static bool matches_purge(const struct entry *entry, void *context)
{
	const struct tool_match *purge = context;
	return !purge->match || purge->match(key_tool(entry->key), purge->context);
}

static size_t purge_one(struct cache *cache, struct tool_match *purge)
{
	recall_one(&cache->recall, purge->digest);
	struct entry *entry = cache->memory ? memory_peek(cache->memory, purge->digest) : NULL;
	bool purged = entry && matches_purge(entry, purge) && cache_drop(cache, purge->digest);
	entry_unref(entry);
	return purged;
}

size_t cache_purge(struct cache *cache, bool (*match)(struct slice tool, void *context), void *context,
		   struct slice digest_hex)
{
	struct tool_match purge = { .match = match, .context = context, .any_digest = digest_hex.len == 0 };
	if (!purge.any_digest && !cache_read_digest(digest_hex, purge.digest))
		return 0;
	if (!purge.any_digest)
		return purge_one(cache, &purge);
	cache_recall_all(cache);
	return cache->memory ? memory_purge(cache->memory, matches_purge, &purge) : 0;
}

bool cache_purge_digest(struct cache *cache, const uint8_t *digest)
{
	recall_one(&cache->recall, digest);
	return cache_drop(cache, digest);
}

struct covered {
	const struct purge_scope *scope;
	const struct purge_tags *tags;
};

static bool is_covered(const struct entry *entry, void *context)
{
	const struct covered *by = context;
	return purge_scope_covers(by->scope, key_tool(entry->key), by->tags);
}

size_t cache_purge_scope(struct cache *cache, const struct purge_scope *scope, const struct purge_tags *tags)
{
	struct covered by = { scope, tags };
	recall_some(&cache->recall);
	return cache->memory ? memory_purge(cache->memory, is_covered, &by) : 0;
}

/* --- what others change --- */

void cache_share(struct cache *cache, uint64_t untracked_us)
{
	trust_need(&cache->trust, untracked_us);
}

void cache_tracked(struct cache *cache)
{
	/* what was asked for before may have changed unheard: it is not put from here on, or was before the moment
	 * below */
	recall_some(&cache->recall);
	trust_begin(&cache->trust, clock_now_us() + 1);
}

void cache_untracked(struct cache *cache, uint64_t now_us)
{
	trust_end(&cache->trust, now_us);
}

struct entry *cache_replaced(struct cache *cache, const uint8_t *digest, uint64_t now_us)
{
	recall_replaced(&cache->recall, digest);
	struct entry *entry = cache->memory ? memory_peek(cache->memory, digest) : NULL;
	if (entry && now_us < clock_add(entry->stored_us, YOUNG_US))
		return entry;
	if (entry)
		memory_remove_digest(cache->memory, digest);
	entry_unref(entry);
	return NULL;
}

bool cache_drop(struct cache *cache, const uint8_t *digest)
{
	return cache->memory && memory_remove_digest(cache->memory, digest);
}

struct purges *cache_purges(struct cache *cache)
{
	return &cache->purges;
}

bool cache_is_purged(struct cache *cache, const struct entry *entry, const struct purge_tags *tags)
{
	return purges_cover(&cache->purges, key_tool(entry->key), entry->generation, tags);
}

/* --- what comes from outside --- */

uint64_t cache_mark(const struct cache *cache, const struct key *key)
{
	return recall_mark(&cache->recall, key->digest);
}

bool cache_admit(struct cache *cache, struct entry *entry, uint64_t mark)
{
	const struct key *key = entry->key;
	entry->put_us = clock_now_us();
	if (!cache->memory || cache_mark(cache, key) != mark || !memory_put(cache->memory, entry))
		return false;
	/* A recall between look and put has not seen the entry; one after this look will. */
	if (cache_mark(cache, key) == mark)
		return true;
	memory_remove(cache->memory, key);
	return false;
}

void cache_recall_all(struct cache *cache)
{
	recall_all(&cache->recall, clock_now_us());
}

enum memory_added cache_warm(struct cache *cache, struct entry *entry, uint64_t mark)
{
	if (!cache->memory)
		return MEMORY_NO_ROOM;
	if (cache_mark(cache, entry->key) != mark)
		return MEMORY_KNOWN;
	entry->put_us = clock_now_us();
	enum memory_added added = memory_add(cache->memory, entry);
	if (added == MEMORY_ADDED && cache_mark(cache, entry->key) != mark) { /* as in cache_admit */
		memory_remove(cache->memory, entry->key);
		return MEMORY_KNOWN;
	}
	return added;
}

bool cache_list(struct cache *cache, struct memory_list *list)
{
	*list = (struct memory_list){ NULL, 0 };
	return !cache->memory || memory_list(cache->memory, list);
}

bool cache_is_recalled(const struct cache *cache, const struct entry *entry)
{
	return recall_covers(&cache->recall, entry->stored_us);
}

static void report(void *context, struct meter *meter)
{
	const struct memory_stats stats = cache_memory_stats(context);
	meter_set(meter, METRIC_ID_CACHE_ENTRIES, TIER_MEMORY, 0, (int64_t)stats.entries);
	meter_set(meter, METRIC_ID_CACHE_BYTES, TIER_MEMORY, 0, (int64_t)stats.bytes);
	for (size_t reason = 0; reason < EVICT_REASON_COUNT; reason++)
		meter_set(meter, METRIC_ID_CACHE_EVICTIONS, TIER_MEMORY, reason, (int64_t)stats.evictions[reason]);
}

struct cache *cache_new(size_t memory_bytes, struct metrics *metrics)
{
	struct cache *cache = calloc(1, sizeof *cache);
	if (!cache)
		return NULL;
	size_t shards = 1;
	while (shards < SHARDS_MAX && memory_bytes / (shards * 2) >= SHARD_BYTES_MIN)
		shards *= 2;
	if (memory_bytes && !(cache->memory = memory_new(memory_bytes, shards))) {
		free(cache);
		return NULL;
	}
	purges_init(&cache->purges);
	if (metrics)
		metrics_on_scrape(metrics, report, cache);
	return cache;
}

void cache_free(struct cache *cache)
{
	if (!cache)
		return;
	memory_free(cache->memory);
	purges_fini(&cache->purges);
	free(cache);
}
