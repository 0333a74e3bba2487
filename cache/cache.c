/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c: from what was stored when, and what the caller wishes, to what may be served. */
#include "cache/cache.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/random.h"

enum {
	SHARDS_MAX = 16,
	SHARD_BYTES_MIN = 8 * 1024 * 1024, /* so that an answer of 1 MiB is not too large for a shard */
	EXPIRE_BUDGET = 16384,             /* entries a tick: a few milliseconds */
	JITTER_DIVISOR = 10,               /* a tenth of the ttl at most */
	COST_DIVISOR = 4,                  /* an answer slower to fetch than it lives is not fetched all the time */
	OWN_STORES = 16384,                /* outside, of which this process will be told */
	LOG_MAX = 37,                      /* -ln of the smallest chance there is, 2^-53, rounded up */
};
#define YOUNG_US CLOCK_US_PER_S /* what others say of an entry stored within it may be meant for our own store */

struct cache {
	struct validity rule;                        /* safe inside */
	struct memory *memory;                       /* c: NULL: no memory tier */
	atomic_bool publishes;                       /* a: purges get their numbers from outside */
	atomic_uint_fast64_t own_stores[OWN_STORES]; /* a */
	/* of the sweep, by one thread */
	size_t sweep_at;            /* its place in memory */
	uint64_t sweep_event;       /* the round under way is for purges up to it */
	uint64_t sweep_from_us;     /* and for copies made before it */
	atomic_uint_fast64_t swept; /* a: the last round was for purges up to it */
	uint64_t swept_from_us;
	atomic_uint_fast64_t purged; /* a */
};

/* --- freshness --- */

static uint64_t age_us(const struct entry *entry, uint64_t now_us)
{
	return now_us > entry->made_us ? now_us - entry->made_us : 0;
}

/* Until when an entry is fresh and good for what. What it was stored with counts as far as the policy of today allows
 * it: a shorter ttl or grace holds at once, a longer one for what is stored from now on. */
struct span {
	uint64_t fresh_us, revalidate_us, error_us;
};

static uint64_t grace_until(uint64_t fresh_us, uint64_t was_fresh_us, uint64_t was_until_us, uint64_t allowed_us)
{
	uint64_t grace_us = was_until_us - was_fresh_us;
	return clock_add(fresh_us, grace_us < allowed_us ? grace_us : allowed_us);
}

static uint64_t fresh_until(const struct entry *entry, const struct cache_policy *policy)
{
	bool good = entry->answer->outcome == OUTCOME_OK;
	uint64_t most_us = clock_add(entry->stored_us, good ? policy->ttl_us : policy->negative_ttl_us);
	return entry->fresh_until_us < most_us ? entry->fresh_until_us : most_us;
}

static struct span span_of(const struct entry *entry, const struct cache_policy *policy)
{
	struct span span = { .fresh_us = fresh_until(entry, policy) };
	span.revalidate_us = grace_until(span.fresh_us, entry->fresh_until_us, entry->revalidate_until_us,
					 policy->stale_while_revalidate_us);
	span.error_us =
		grace_until(span.fresh_us, entry->fresh_until_us, entry->error_until_us, policy->stale_if_error_us);
	return span;
}

static bool directives_allows_fresh(const struct cache_directives *directives, const struct entry *entry,
				    uint64_t fresh_us, uint64_t now_us)
{
	return cache_directives_accept_age(directives, age_us(entry, now_us)) &&
	       (!directives->has_min_fresh || fresh_us - now_us >= directives->min_fresh_us);
}

/* Whether it is within the limits that a caller names for what is past its time. */
static bool directives_bears_stale(const struct cache_directives *directives, const struct entry *entry,
				   const struct span *span, uint64_t now_us)
{
	if (directives->has_min_fresh || !cache_directives_accept_age(directives, age_us(entry, now_us)))
		return false;
	return !directives->has_max_stale || now_us < span->fresh_us ||
	       now_us - span->fresh_us <= directives->max_stale_us;
}

/* A caller who names limits of freshness does not want it stale (RFC 9111, 5.2.1.1), unless it says how stale. */
static bool directives_allows_stale(const struct cache_directives *directives, const struct entry *entry,
				    const struct span *span, uint64_t now_us)
{
	bool names_staleness = directives->any_stale || directives->has_max_stale;
	if (!directives_bears_stale(directives, entry, span, now_us) || (directives->has_max_age && !names_staleness))
		return false;
	return names_staleness || now_us < span->revalidate_us;
}

/* The first who asks since the last refresh ended. */
static bool claim_refresh(struct entry *entry)
{
	return !atomic_load_explicit(&entry->refreshing, memory_order_relaxed) &&
	       !atomic_exchange_explicit(&entry->refreshing, true, memory_order_acq_rel);
}

/* In (0, 1], evenly spread. */
static double draw_random(uint64_t seed)
{
	return (double)((random_id(&seed) >> 11) + 1) / (double)(UINT64_C(1) << 53);
}

/*
 * XFetch (Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015), beta 1:
 * fetch anew once now - cost * ln(chance) has come to the end of freshness: earlier, the longer a fetch takes and the
 * more look-ups there are. Chance is drawn from clock and key (whose hash differs between processes), so that there
 * is no generator to keep and a test can tell what comes; equal draws within a turn do no harm, one caller refreshes.
 */
static bool is_due_early(const struct entry *entry, uint64_t fresh_us, uint64_t now_us)
{
	uint64_t left_us = fresh_us - now_us;
	if (left_us >= (uint64_t)entry->cost_us * LOG_MAX) /* nearly always; and no cost is never early */
		return false;
	return -log(draw_random(now_us ^ entry->key->hash)) * entry->cost_us >= (double)left_us;
}

/* Past its time: is it good for this caller, or if the provider fails? */
static struct cache_found evaluate_stale(struct entry *entry, const struct cache_ask *ask)
{
	struct cache_found found = { .decision = CACHE_DECISION_MISS, .miss_reason = MISS_FRESHNESS, .entry = entry };
	const struct span span = span_of(entry, ask->policy);
	if (directives_allows_stale(ask->directives, entry, &span, ask->now_us)) {
		found.decision = CACHE_DECISION_STALE;
		found.refresh =
			!ask->directives->only_if_cached && ask->now_us < span.revalidate_us && claim_refresh(entry);
	} else if (ask->now_us >= span.error_us ||
		   !directives_bears_stale(ask->directives, entry, &span, ask->now_us)) {
		found.entry = NULL;
	}
	return found;
}

/* Fresh, and not as this caller wishes: for the case that the provider fails. */
static struct entry *keep_for_error(struct entry *entry, const struct cache_ask *ask)
{
	const struct span span = span_of(entry, ask->policy);
	bool graced = span.error_us > span.fresh_us;
	return graced && directives_bears_stale(ask->directives, entry, &span, ask->now_us) ? entry : NULL;
}

/* Without an entry when this one is good for nothing. */
static struct cache_found evaluate_entry(struct entry *entry, const struct cache_ask *ask)
{
	const struct cache_directives *directives = ask->directives;
	uint64_t fresh_us = fresh_until(entry, ask->policy);
	if (ask->now_us >= fresh_us)
		return evaluate_stale(entry, ask);
	struct cache_found found = { .decision = CACHE_DECISION_HIT, .miss_reason = MISS_DIRECTIVES, .entry = entry };
	if (directives_allows_fresh(directives, entry, fresh_us, ask->now_us)) {
		found.refresh = is_due_early(entry, fresh_us, ask->now_us) && !directives->only_if_cached &&
				claim_refresh(entry);
		return found;
	}
	found.decision = CACHE_DECISION_MISS;
	found.entry = keep_for_error(entry, ask);
	return found;
}

bool cache_covers_error(struct cache *cache, struct entry *entry, const struct cache_ask *ask)
{
	const struct span span = span_of(entry, ask->policy);
	return span.error_us > span.fresh_us && ask->now_us < span.error_us &&
	       directives_bears_stale(ask->directives, entry, &span, ask->now_us) &&
	       validity_of(&cache->rule, entry, NULL, ask->tags, ask->now_us) == STILL_VALID;
}

/* What does not count any more; what has been purged leaves. Takes the reference. */
static void refuse_entry(struct cache *cache, struct entry *entry, enum validity_decision decision)
{
	if (decision == NOT_VALID_PURGED && memory_remove_entry(cache->memory, entry))
		atomic_fetch_add_explicit(&cache->purged, 1, memory_order_relaxed);
	entry_unref(entry);
}

static struct cache_found find_entry(struct cache *cache, const struct key *key, const struct cache_ask *ask)
{
	if (ask->directives->no_cache || ask->directives->no_store)
		return (struct cache_found){ .decision = CACHE_DECISION_BYPASS };
	struct entry *entry = cache->memory ? memory_get(cache->memory, key, ask->now_us) : NULL;
	if (!entry)
		return (struct cache_found){ .decision = CACHE_DECISION_MISS };
	enum validity_decision decision = validity_of(&cache->rule, entry, NULL, ask->tags, ask->now_us);
	if (decision != STILL_VALID) {
		refuse_entry(cache, entry, decision);
		return (struct cache_found){ .decision = CACHE_DECISION_MISS };
	}
	struct cache_found found = evaluate_entry(entry, ask);
	if (!found.entry)
		entry_unref(entry);
	return found;
}

struct cache_found cache_evaluate(struct entry *entry, const struct cache_ask *ask)
{
	if (ask->directives->no_cache || ask->directives->no_store)
		return (struct cache_found){ .decision = CACHE_DECISION_BYPASS };
	struct cache_found found = evaluate_entry(entry, ask);
	if (found.entry)
		entry_ref(found.entry);
	return found;
}

struct cache_found cache_find(struct cache *cache, const struct key *key, const struct cache_ask *ask,
			      struct meter *meter)
{
	static const enum cache_result results[] = {
		[CACHE_DECISION_HIT] = CACHE_HIT,
		[CACHE_DECISION_STALE] = CACHE_STALE,
		[CACHE_DECISION_MISS] = CACHE_MISS,
		[CACHE_DECISION_BYPASS] = CACHE_BYPASS,
	};
	struct cache_found found = find_entry(cache, key, ask);
	if (meter)
		meter_add(meter, METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, results[found.decision], 1);
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
	/* RFC 9111, 4.2.3: it was that old already when its provider was asked */
	uint64_t age_us = policy->provider_headers ? (uint64_t)entry->answer->age_s * CLOCK_US_PER_S : 0;
	entry->made_us = age_us < fill->asked_us ? fill->asked_us - age_us : 0;
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
	const struct cache_epoch epoch = fill->epoch ? *fill->epoch : cache_epoch_now(cache, key);
	entry->number = epoch.number;
	atomic_store_explicit(&entry->evaluated, epoch.event, memory_order_relaxed);
	answer_tag(answer); /* here, once, rather than at the first hit */
	return entry;
}

struct cache_epoch cache_epoch_now(const struct cache *cache, const struct key *key)
{
	return validity_epoch(&cache->rule, key->digest);
}

/* Whether a purge has come since the provider was asked. */
static bool is_invalidated(struct cache *cache, const struct key *key, const struct cache_fill *fill)
{
	const struct cache_epoch *epoch = fill->epoch;
	return epoch && purges_cover(&cache->rule.purges, key, epoch->number, epoch->event, epoch->event, fill->tags);
}

bool cache_store_entry(struct cache *cache, struct key *key, struct answer *answer, const struct cache_fill *fill,
		       struct meter *meter, struct entry **entry, bool *drop)
{
	bool keeps = cache_keeps(fill->policy, answer) && !is_invalidated(cache, key, fill);
	*entry = keeps ? make_entry(cache, key, answer, fill, meter) : NULL;
	*drop = keeps && !*entry;
	bool stored = *entry && cache->memory && memory_put(cache->memory, *entry);
	if (!*entry || !is_invalidated(cache, key, fill))
		return stored;
	/* the purge of a key takes it out of memory: one between look and put has not seen it */
	if (stored)
		memory_remove_entry(cache->memory, *entry);
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

int64_t cache_ttl_s(const struct entry *entry, const struct cache_policy *policy, uint64_t now_us)
{
	uint64_t fresh_us = fresh_until(entry, policy);
	if (now_us < fresh_us)
		return (int64_t)((fresh_us - now_us) / CLOCK_US_PER_S);
	uint64_t stale_us = now_us - fresh_us;
	return -(int64_t)(stale_us / CLOCK_US_PER_S + 1);
}

/* --- upkeep --- */

void cache_tick(struct cache *cache, uint64_t now_us)
{
	if (cache->memory)
		memory_expire(cache->memory, now_us, EXPIRE_BUDGET);
}

void cache_resize(struct cache *cache, size_t memory_bytes)
{
	if (cache->memory)
		memory_resize(cache->memory, memory_bytes);
}

struct memory_stats cache_memory_stats(struct cache *cache)
{
	return cache->memory ? memory_stats(cache->memory) : (struct memory_stats){ 0 };
}

/* --- purges --- */

bool cache_publishes_purges(const struct cache *cache)
{
	return atomic_load_explicit(&cache->publishes, memory_order_relaxed);
}

void cache_publish_purges(struct cache *cache, bool publishes)
{
	atomic_store_explicit(&cache->publishes, publishes, memory_order_relaxed);
}

struct validity *cache_rule(struct cache *cache)
{
	return &cache->rule;
}

uint64_t cache_purged(const struct cache *cache)
{
	return atomic_load_explicit(&cache->purged, memory_order_relaxed);
}

/* After the purge has been noted: what is put from now on is held against it. */
static void take_out(struct cache *cache, const struct purge_scope *scope)
{
	uint8_t digest[KEY_DIGEST_BYTES];
	if (purge_scope_is_key(scope, digest) && cache_drop(cache, digest))
		atomic_fetch_add_explicit(&cache->purged, 1, memory_order_relaxed);
}

uint64_t cache_purge(struct cache *cache, const struct purge_scope *scope)
{
	char text[PURGE_TEXT_BYTES];
	uint64_t event = purges_note_own(&cache->rule.purges, purge_scope_write(scope, text), cache->publishes);
	take_out(cache, scope);
	return event;
}

void cache_purge_received(struct cache *cache, struct slice text, uint64_t number)
{
	const struct purge_scope scope = purge_scope_read(text);
	purges_note(&cache->rule.purges, text, number);
	take_out(cache, &scope);
}

struct sweep {
	struct cache *cache;
	const struct purge_tags *tags;
	uint64_t from_us;
};

static bool is_over(struct entry *entry, void *context)
{
	const struct sweep *sweep = context;
	return entry->put_us < sweep->from_us || /* a copy that counts no more */
	       validity_is_purged(&sweep->cache->rule, entry, sweep->tags);
}

bool cache_sweep(struct cache *cache, const struct purge_tags *tags, uint64_t until_us)
{
	uint64_t event = atomic_load(&cache->rule.purges.scope_event);
	uint64_t from_us = atomic_load(&cache->rule.synced_from_us);
	if (event == atomic_load(&cache->swept) && from_us == cache->swept_from_us)
		return false;
	if (cache->sweep_at == 0) { /* a round begins; what comes while it lasts takes another one */
		cache->sweep_event = event;
		cache->sweep_from_us = from_us;
	}
	struct sweep sweep = { cache, tags, cache->sweep_from_us };
	do {
		size_t dropped = cache->memory ? memory_sweep(cache->memory, &cache->sweep_at, is_over, &sweep) : 0;
		atomic_fetch_add_explicit(&cache->purged, dropped, memory_order_relaxed);
	} while (cache->sweep_at && clock_now_us() < until_us);
	if (cache->sweep_at)
		return true;
	cache->swept_from_us = cache->sweep_from_us;
	atomic_store(&cache->swept, cache->sweep_event);
	return cache->sweep_event != atomic_load(&cache->rule.purges.scope_event);
}

struct survey {
	struct cache *cache;
	const struct purge_scope *scope;
	const struct purge_tags *tags;
	struct cache_count *count;
};

/* What counts no more already is not dropped once more. It stays: nothing is taken out. */
static bool count_covered(struct entry *entry, void *context)
{
	const struct survey *survey = context;
	if (purge_scope_covers(survey->scope, entry->key, survey->tags) &&
	    !validity_is_purged(&survey->cache->rule, entry, survey->tags)) {
		survey->count->entries++;
		survey->count->bytes += entry->bytes;
	}
	return false;
}

bool cache_count_covered(struct cache *cache, const struct purge_scope *scope, const struct purge_tags *tags,
			 uint64_t until_us, struct cache_count *count)
{
	struct survey survey = { cache, scope, tags, count };
	if (!cache->memory)
		return false;
	do
		memory_sweep(cache->memory, &count->place, count_covered, &survey);
	while (count->place && clock_now_us() < until_us);
	return count->place != 0;
}

bool cache_is_swept(const struct cache *cache, uint64_t event)
{
	return atomic_load(&cache->swept) >= event || atomic_load(&cache->rule.purges.scope_event) < event;
}

/* --- what others change --- */

struct entry *cache_replaced(struct cache *cache, const uint8_t *digest, uint64_t now_us)
{
	validity_replaced(&cache->rule, digest);
	struct entry *entry = cache_peek(cache, digest);
	if (entry && now_us < clock_add(entry->put_us, YOUNG_US))
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

/* A slot: 40 bits of the digest, and the time in milliseconds. Two stores that meet in one slot leave one: the other
 * one is taken for somebody else's, and looked at. */
static uint64_t own_store(const uint8_t *digest, uint64_t now_us)
{
	uint64_t mark = 0;
	for (size_t i = 2; i < 7; i++)
		mark = mark << 8 | digest[i];
	return mark << 24 | (now_us / CLOCK_US_PER_MS & 0xffffff);
}

static atomic_uint_fast64_t *own_slot(struct cache *cache, const uint8_t *digest)
{
	return &cache->own_stores[(digest[0] | (size_t)digest[1] << 8) % OWN_STORES];
}

void cache_stores_outside(struct cache *cache, const uint8_t *digest, uint64_t now_us)
{
	atomic_store_explicit(own_slot(cache, digest), own_store(digest, now_us), memory_order_relaxed);
}

bool cache_takes_own_store(struct cache *cache, const uint8_t *digest, uint64_t now_us)
{
	atomic_uint_fast64_t *slot = own_slot(cache, digest);
	uint64_t there = atomic_load_explicit(slot, memory_order_relaxed), now = own_store(digest, now_us);
	if (there >> 24 != now >> 24 || ((now - there) & 0xffffff) > YOUNG_US / CLOCK_US_PER_MS)
		return false;
	return atomic_compare_exchange_strong_explicit(slot, &there, 0, memory_order_relaxed, memory_order_relaxed);
}

/* --- what comes from outside --- */

enum validity_decision cache_validity(struct cache *cache, struct entry *entry, const struct cache_epoch *epoch,
				      const struct cache_ask *ask)
{
	return validity_of(&cache->rule, entry, epoch, ask->tags, ask->now_us);
}

/* What may come between a look and a put is not seen in memory, and sees nothing there; the second look sees it. */
static bool is_superseded(struct cache *cache, struct entry *entry, const struct cache_epoch *epoch,
			  const struct purge_tags *tags)
{
	return validity_is_replaced(&cache->rule, entry->key->digest, epoch) ||
	       validity_of(&cache->rule, entry, epoch, tags, entry->put_us) != STILL_VALID;
}

bool cache_admit(struct cache *cache, struct entry *entry, const struct cache_epoch *epoch,
		 const struct purge_tags *tags)
{
	entry->put_us = clock_now_us();
	if (!cache->memory || is_superseded(cache, entry, epoch, tags) || !memory_put(cache->memory, entry))
		return false;
	if (!is_superseded(cache, entry, epoch, tags))
		return true;
	memory_remove_entry(cache->memory, entry);
	return false;
}

enum memory_added cache_warm(struct cache *cache, struct entry *entry)
{
	if (!cache->memory)
		return MEMORY_NO_ROOM;
	uint64_t event = purges_event(&cache->rule.purges);
	entry->put_us = clock_now_us();
	enum memory_added added = memory_add(cache->memory, entry);
	if (added != MEMORY_ADDED || event == purges_event(&cache->rule.purges))
		return added;
	memory_remove_entry(cache->memory, entry); /* it may have been this one's */
	return MEMORY_KNOWN;
}

enum memory_added cache_import(struct cache *cache, struct entry *entry)
{
	const struct cache_epoch epoch = cache_epoch_now(cache, entry->key);
	entry->number = epoch.number;
	atomic_store_explicit(&entry->evaluated, epoch.event, memory_order_relaxed);
	return cache_warm(cache, entry);
}

bool cache_list(struct cache *cache, struct memory_list *list)
{
	*list = (struct memory_list){ NULL, 0 };
	return !cache->memory || memory_list(cache->memory, list);
}

struct entry *cache_peek(struct cache *cache, const uint8_t *digest)
{
	return cache->memory ? memory_peek(cache->memory, digest) : NULL;
}

static void report_metrics(void *context, struct meter *meter)
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
	purges_init(&cache->rule.purges);
	if (metrics)
		metrics_on_scrape(metrics, report_metrics, cache);
	return cache;
}

void cache_free(struct cache *cache)
{
	if (!cache)
		return;
	memory_free(cache->memory);
	purges_fini(&cache->rule.purges);
	free(cache);
}
