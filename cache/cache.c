/* cache.c: from what was stored when, and what the caller wishes, to what may be served. */
#include "cache/cache.h"

#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"

enum {
	SHARDS_MAX = 16,
	SHARD_BYTES_MIN = 8 * 1024 * 1024, /* so that an answer of 1 MiB is not too large for a shard */
	SWEEP_BUCKETS = 8192,              /* a tick: well under a millisecond */
	JITTER_DIVISOR = 10                /* a tenth of the ttl at most */
};

/* RFC 9111, 1.2.2: what a delta-seconds too large to be represented counts as. */
#define DELTA_SECONDS_MAX (UINT64_C(1) << 31)

struct cache {
	struct memory *memory; /* c: NULL: no memory tier */
};

/* --- Cache-Control: #cache-directive, RFC 9110 5.6.1 (empty elements count for nothing) --- */

/* One directive. The value is a token, or what stands between quotes, backslashes included. */
struct directive {
	struct slice name;
	struct slice value;
	bool has_value;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool take_char(struct slice *rest, char c)
{
	if (!rest->len || *rest->at != c)
		return false;
	rest->at++;
	rest->len--;
	return true;
}

static struct slice take_while(struct slice *rest, bool (*belongs)(char c))
{
	struct slice run = { rest->at, 0 };
	while (run.len < rest->len && belongs(rest->at[run.len]))
		run.len++;
	rest->at += run.len;
	rest->len -= run.len;
	return run;
}

/* After the opening quote. False: no closing one. */
static bool take_quoted(struct slice *rest, struct slice *value)
{
	for (size_t i = 0; i < rest->len; i++) {
		if (rest->at[i] == '\\') {
			i++;
		} else if (rest->at[i] == '"') {
			*value = (struct slice){ rest->at, i };
			rest->at += i + 1;
			rest->len -= i + 1;
			return true;
		}
	}
	return false;
}

/* Spaces around '=' are not in the grammar, but are meant well. */
static bool take_directive(struct slice *rest, struct directive *directive)
{
	*directive = (struct directive){ .name = take_while(rest, is_token) };
	take_while(rest, is_space);
	if (!directive->name.len)
		return false;
	if (!take_char(rest, '='))
		return true;
	directive->has_value = true;
	take_while(rest, is_space);
	if (take_char(rest, '"')) {
		if (!take_quoted(rest, &directive->value))
			return false;
	} else {
		directive->value = take_while(rest, is_token);
	}
	take_while(rest, is_space);
	return true;
}

static bool read_delta_seconds(const struct directive *directive, uint64_t *us)
{
	uint64_t seconds = 0;
	size_t digits = 0;
	for (size_t i = 0; i < directive->value.len; i++) {
		char c = directive->value.at[i];
		if (c == '\\' && i + 1 < directive->value.len)
			c = directive->value.at[++i];
		if (c < '0' || c > '9')
			return false;
		seconds = seconds * 10 + (uint64_t)(c - '0');
		if (seconds > DELTA_SECONDS_MAX)
			seconds = DELTA_SECONDS_MAX;
		digits++;
	}
	*us = seconds * CLOCK_US_PER_S;
	return digits > 0;
}

static bool is_named(const struct directive *directive, const char *name)
{
	return directive->name.len == strlen(name) && strncasecmp(directive->name.at, name, directive->name.len) == 0;
}

static bool wish_max_age(struct cache_wish *wish, const struct directive *directive)
{
	uint64_t us;
	if (!read_delta_seconds(directive, &us))
		return false;
	if (!wish->has_max_age || us < wish->max_age_us)
		wish->max_age_us = us;
	wish->has_max_age = true;
	return true;
}

static bool wish_max_stale(struct cache_wish *wish, const struct directive *directive)
{
	uint64_t us;
	if (!directive->has_value) {
		wish->any_stale = true;
		return true;
	}
	if (!read_delta_seconds(directive, &us))
		return false;
	if (us && (!wish->max_stale_us || us < wish->max_stale_us))
		wish->max_stale_us = us;
	return true;
}

static bool wish_min_fresh(struct cache_wish *wish, const struct directive *directive)
{
	uint64_t us;
	if (!read_delta_seconds(directive, &us))
		return false;
	if (us > wish->min_fresh_us)
		wish->min_fresh_us = us;
	return true;
}

/* A value where none belongs ("no-cache=x") does not make the wish weaker. */
static bool apply_directive(struct cache_wish *wish, const struct directive *directive)
{
	if (is_named(directive, "max-age"))
		return wish_max_age(wish, directive);
	if (is_named(directive, "max-stale"))
		return wish_max_stale(wish, directive);
	if (is_named(directive, "min-fresh"))
		return wish_min_fresh(wish, directive);
	wish->no_cache |= is_named(directive, "no-cache");
	wish->no_store |= is_named(directive, "no-store");
	wish->only_if_cached |= is_named(directive, "only-if-cached");
	return true;
}

bool cache_wish_parse(struct slice value, struct cache_wish *wish)
{
	struct slice rest = value;
	for (;;) {
		struct directive directive;
		do
			take_while(&rest, is_space);
		while (take_char(&rest, ','));
		if (!rest.len)
			return true;
		if (!take_directive(&rest, &directive) || (rest.len && *rest.at != ','))
			return false;
		if (!apply_directive(wish, &directive))
			return false;
	}
}

/* --- freshness --- */

static uint64_t age_us(const struct entry *entry, uint64_t now_us)
{
	return now_us > entry->stored_us ? now_us - entry->stored_us : 0;
}

static bool wish_allows_fresh(const struct cache_wish *wish, const struct entry *entry, uint64_t now_us)
{
	return (!wish->has_max_age || age_us(entry, now_us) <= wish->max_age_us) &&
	       entry->fresh_until_us - now_us >= wish->min_fresh_us;
}

/* A caller who names limits of freshness does not want it stale (RFC 9111, 5.2.1.1), unless it says how stale. */
static bool wish_allows_stale(const struct cache_wish *wish, const struct entry *entry, uint64_t now_us)
{
	bool names_staleness = wish->any_stale || wish->max_stale_us;
	if (wish->min_fresh_us || (wish->has_max_age && !names_staleness))
		return false;
	if (wish->has_max_age && age_us(entry, now_us) > wish->max_age_us)
		return false;
	if (wish->max_stale_us)
		return now_us - entry->fresh_until_us <= wish->max_stale_us;
	return wish->any_stale || now_us < entry->revalidate_until_us;
}

/* The first who asks since the last refresh ended. */
static bool claim_refresh(struct entry *entry)
{
	return !atomic_load_explicit(&entry->refreshing, memory_order_relaxed) &&
	       !atomic_exchange_explicit(&entry->refreshing, true, memory_order_acq_rel);
}

static struct cache_found judge(struct entry *entry, const struct cache_wish *wish, uint64_t now_us)
{
	struct cache_found found = { .verdict = CACHE_VERDICT_MISS, .entry = entry };
	if (now_us < entry->fresh_until_us) {
		if (wish_allows_fresh(wish, entry, now_us))
			found.verdict = CACHE_VERDICT_HIT;
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

static struct cache_found find(struct cache *cache, const struct key *key, const struct cache_wish *wish,
			       uint64_t now_us)
{
	if (wish->no_cache || wish->no_store)
		return (struct cache_found){ .verdict = CACHE_VERDICT_BYPASS };
	struct entry *entry = cache->memory ? memory_get(cache->memory, key, now_us) : NULL;
	if (!entry)
		return (struct cache_found){ .verdict = CACHE_VERDICT_MISS };
	struct cache_found found = judge(entry, wish, now_us);
	if (found.verdict == CACHE_VERDICT_MISS && !good_on_error(entry, now_us)) {
		entry_unref(entry);
		found.entry = NULL;
	}
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

bool cache_store(struct cache *cache, struct key *key, struct answer *answer, const struct cache_policy *policy,
		 uint32_t tool, uint64_t now_us, struct meter *meter)
{
	if (!cache->memory || answer->outcome != OUTCOME_OK || !policy->ttl_us)
		return false;
	struct entry *entry = entry_new(key, answer);
	if (!entry) {
		meter_add(meter, METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, CACHE_ERROR, 1);
		return false;
	}
	entry->tool = tool;
	entry->stored_us = now_us;
	entry->fresh_until_us = clock_add(now_us, policy->ttl_us - jitter_us(key, policy->ttl_us));
	entry->revalidate_until_us = clock_add(entry->fresh_until_us, policy->stale_while_revalidate_us);
	entry->error_until_us = clock_add(entry->fresh_until_us, policy->stale_if_error_us);
	bool stored = memory_put(cache->memory, entry);
	entry_unref(entry);
	return stored;
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
		memory_sweep(cache->memory, now_us, SWEEP_BUCKETS);
}

struct memory_stats cache_memory_stats(struct cache *cache)
{
	return cache->memory ? memory_stats(cache->memory) : (struct memory_stats){ 0 };
}

struct purge {
	uint32_t tool;
	bool any_digest;
	uint8_t digest[KEY_DIGEST_BYTES];
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_digest(struct slice hex, uint8_t *digest)
{
	if (hex.len != 2 * KEY_DIGEST_BYTES)
		return false;
	for (size_t i = 0; i < KEY_DIGEST_BYTES; i++) {
		int high = hex_digit(hex.at[2 * i]), low = hex_digit(hex.at[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		digest[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool matches_purge(const struct entry *entry, void *context)
{
	const struct purge *purge = context;
	return (purge->tool == UINT32_MAX || purge->tool == entry->tool) &&
	       (purge->any_digest || memcmp(purge->digest, entry->key->digest, KEY_DIGEST_BYTES) == 0);
}

size_t cache_purge(struct cache *cache, uint32_t tool, struct slice digest_hex)
{
	struct purge purge = { .tool = tool, .any_digest = digest_hex.len == 0 };
	if (!cache->memory || (!purge.any_digest && !read_digest(digest_hex, purge.digest)))
		return 0;
	return memory_purge(cache->memory, matches_purge, &purge);
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
	if (metrics)
		metrics_on_scrape(metrics, report, cache);
	return cache;
}

void cache_free(struct cache *cache)
{
	if (!cache)
		return;
	memory_free(cache->memory);
	free(cache);
}
