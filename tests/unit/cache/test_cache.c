/* SPDX-License-Identifier: Apache-2.0 */
/* The cache's front door: what is fresh, what may be served stale, who refreshes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "cache/cache.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/cache_ask.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/cache_keys.h"
#include "tests/support/cache_store.h"

#define S CLOCK_US_PER_S

enum { BYTES = FIXTURE_BYTES };
static const uint64_t stored_us = 1000 * S;

/* --- decisions: one entry, looked up at many times --- */

static bool store(struct fixture *fixture, struct key *key, const struct cache_policy *policy)
{
	struct answer *answer = answer_result(SLICE("{\"t\":1}"), true, NULL);
	const struct cache_fill fill = { policy, 0, stored_us, stored_us, NULL, &ask_no_tags };
	bool stored = store_answer(fixture->cache, key, answer, &fill, fixture->meter);
	answer_unref(answer);
	return stored;
}

/* Fresh for 100 s, then so long stale-while-revalidate and stale-if-error. */
static void store_graced(struct fixture *fixture, uint64_t revalidate_s, uint64_t error_s)
{
	const struct cache_policy policy = { 100 * S, revalidate_s * S, error_s * S, 0, 0, false };
	assert_true(store(fixture, fixture->key, &policy));
}

static struct cache_found find_at(struct fixture *fixture, const char *control, uint64_t after_us)
{
	const struct cache_directives directives = directives_of(control);
	return ask_cache(fixture->cache, fixture->key, &directives, stored_us + after_us, fixture->meter);
}

/* The decision, its reference and its right to refresh given back. Entry and decision must agree. */
static enum cache_decision decision_at(struct fixture *fixture, const char *control, uint64_t after_us)
{
	struct cache_found found = find_at(fixture, control, after_us);
	if (found.decision == CACHE_DECISION_HIT || found.decision == CACHE_DECISION_STALE)
		assert_non_null(found.entry);
	if (found.decision == CACHE_DECISION_BYPASS)
		assert_null(found.entry);
	if (found.refresh)
		cache_refreshed(found.entry);
	entry_unref(found.entry);
	return found.decision;
}

static void an_answer_is_fresh_to_the_microsecond(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(decision_at(fixture, "", 0), CACHE_DECISION_MISS);
	store_graced(fixture, 0, 0);
	assert_int_equal(decision_at(fixture, "", 0), CACHE_DECISION_HIT);
	assert_int_equal(decision_at(fixture, "", 100 * S - 1), CACHE_DECISION_HIT);
	assert_int_equal(decision_at(fixture, "", 100 * S), CACHE_DECISION_MISS);
}

static void no_store_and_no_cache_bypass(void **state)
{
	struct fixture *fixture = *state;
	store_graced(fixture, 0, 1000);
	assert_int_equal(decision_at(fixture, "no-store", 1), CACHE_DECISION_BYPASS);
	assert_int_equal(decision_at(fixture, "no-cache", 1), CACHE_DECISION_BYPASS);
	assert_int_equal(decision_at(fixture, "no-cache, only-if-cached", 1), CACHE_DECISION_BYPASS);
	assert_int_equal(decision_at(fixture, "", 1), CACHE_DECISION_HIT);
}

static void max_age_and_min_fresh_ask_for_something_fresher(void **state)
{
	struct fixture *fixture = *state;
	store_graced(fixture, 50, 50);
	assert_int_equal(decision_at(fixture, "max-age=10", 10 * S), CACHE_DECISION_HIT);
	assert_int_equal(decision_at(fixture, "max-age=10", 10 * S + 1), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(fixture, "max-age=0", 0), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(fixture, "max-age=0", 1), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(fixture, "min-fresh=30", 70 * S), CACHE_DECISION_HIT);
	assert_int_equal(decision_at(fixture, "min-fresh=30", 70 * S + 1), CACHE_DECISION_MISS);
	/* neither takes it stale, though the tool's policy would */
	assert_int_equal(decision_at(fixture, "", 101 * S), CACHE_DECISION_STALE);
	assert_int_equal(decision_at(fixture, "max-age=1000", 101 * S), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(fixture, "min-fresh=1", 101 * S), CACHE_DECISION_MISS);
}

/* A fetch of 7 s, of what a cache on the way had had for 20 s: it is that old as it comes, and may be kept for as long
 * as any other. */
static void age_counts_from_when_the_provider_was_asked(void **state)
{
	struct fixture *fixture = *state;
	const struct cache_policy policy = { 10 * S, 0, 0, 0, 0, true };
	struct answer *answer = answer_result(SLICE("1"), true, NULL);
	const struct cache_fill fill = { &policy, 0, stored_us - 7 * S, stored_us, NULL, &ask_no_tags };
	answer->age_s = 20;
	assert_true(store_answer(fixture->cache, fixture->key, answer, &fill, fixture->meter));
	answer_unref(answer);
	const struct cache_directives any = { 0 }, young = directives_of("max-age=30");
	for (unsigned s = 0; s < 8; s++) {
		const struct cache_ask ask = { &policy, &any, &ask_no_tags, stored_us + s * S };
		struct cache_found found = cache_find(fixture->cache, fixture->key, &ask, NULL);
		assert_int_equal(found.decision, CACHE_DECISION_HIT);
		assert_int_equal(cache_age_s(found.entry, stored_us + s * S), 27 + s);
		entry_unref(found.entry);
		found = ask_cache(fixture->cache, fixture->key, &young, stored_us + s * S, NULL);
		assert_int_equal(found.decision, s <= 3 ? CACHE_DECISION_HIT : CACHE_DECISION_MISS);
		entry_unref(found.entry);
	}
}

static void max_stale_takes_what_is_kept_as_stale_as_it_says(void **state)
{
	struct fixture *fixture = *state;
	store_graced(fixture, 10, 1000);
	assert_int_equal(decision_at(fixture, "", 150 * S), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(fixture, "max-stale", 150 * S), CACHE_DECISION_STALE);
	assert_int_equal(decision_at(fixture, "max-stale=50", 150 * S), CACHE_DECISION_STALE);
	assert_int_equal(decision_at(fixture, "max-stale=50", 150 * S + 1), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(fixture, "max-stale=5", 106 * S), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(fixture, "", 105 * S), CACHE_DECISION_STALE);
	assert_int_equal(decision_at(fixture, "max-stale=0", 105 * S), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(fixture, "max-stale=50, max-stale=0", 105 * S), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(fixture, "max-stale, min-fresh=0", 105 * S), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(fixture, "min-fresh=0", 99 * S), CACHE_DECISION_HIT);
	assert_int_equal(decision_at(fixture, "max-stale, max-age=150", 150 * S), CACHE_DECISION_STALE);
	assert_int_equal(decision_at(fixture, "max-stale, max-age=149", 150 * S), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(fixture, "max-stale", 1100 * S), CACHE_DECISION_MISS);
	struct cache_found found = find_at(fixture, "max-stale", 50 * S);
	assert_null(found.entry); /* was dropped when found gone */
}

static void exactly_one_caller_refreshes_until_it_has_ended(void **state)
{
	struct fixture *fixture = *state;
	store_graced(fixture, 10, 0);
	struct cache_found fresh = find_at(fixture, "", 100 * S - 1);
	struct cache_found first = find_at(fixture, "", 100 * S), second = find_at(fixture, "", 105 * S);
	assert_int_equal(fresh.decision, CACHE_DECISION_HIT);
	assert_false(fresh.refresh);
	assert_int_equal(first.decision, CACHE_DECISION_STALE);
	assert_true(first.refresh);
	assert_int_equal(second.decision, CACHE_DECISION_STALE);
	assert_false(second.refresh);
	cache_refreshed(first.entry);
	struct cache_found third = find_at(fixture, "", 110 * S - 1);
	assert_true(third.refresh);
	store_graced(fixture, 10, 0); /* the refresh brought a new entry; the old one's end does not touch it */
	cache_refreshed(third.entry);
	assert_int_equal(decision_at(fixture, "", 1), CACHE_DECISION_HIT);
	assert_int_equal(decision_at(fixture, "", 110 * S), CACHE_DECISION_MISS);
	entry_unref(fresh.entry);
	entry_unref(first.entry);
	entry_unref(second.entry);
	entry_unref(third.entry);
}

static void a_caller_that_wants_no_fetch_starts_no_refresh(void **state)
{
	struct fixture *fixture = *state;
	store_graced(fixture, 10, 1000);
	struct cache_found found = find_at(fixture, "only-if-cached", 105 * S);
	assert_int_equal(found.decision, CACHE_DECISION_STALE);
	assert_false(found.refresh);
	entry_unref(found.entry);
	found = find_at(fixture, "max-stale", 150 * S); /* past stale-while-revalidate */
	assert_int_equal(found.decision, CACHE_DECISION_STALE);
	assert_false(found.refresh);
	entry_unref(found.entry);
	assert_int_equal(decision_at(fixture, "only-if-cached", 150 * S), CACHE_DECISION_MISS);
}

static void a_miss_brings_what_may_be_served_on_error(void **state)
{
	struct fixture *fixture = *state;
	store_graced(fixture, 0, 50);
	struct cache_found found = find_at(fixture, "", 150 * S - 1);
	assert_int_equal(found.decision, CACHE_DECISION_MISS);
	assert_non_null(found.entry);
	assert_false(found.refresh);
	entry_unref(found.entry);
	found = find_at(fixture, "min-fresh=200, max-age=300",
			1); /* wants nothing stale, of a failing provider either */
	assert_int_equal(found.decision, CACHE_DECISION_MISS);
	assert_null(found.entry);
	assert_null(find_at(fixture, "max-age=0", 1).entry);
	assert_null(find_at(fixture, "max-age=100", 100 * S + 1).entry);
	assert_null(find_at(fixture, "max-stale=5", 106 * S).entry);
	found = find_at(fixture, "max-age=110", 105 * S);
	assert_int_equal(found.decision, CACHE_DECISION_MISS);
	assert_non_null(found.entry);
	entry_unref(found.entry);
	assert_null(find_at(fixture, "", 150 * S).entry);
	store_graced(fixture, 50, 0);
	found = find_at(fixture, "max-age=0", 1); /* no stale-if-error: nothing to fall back on */
	assert_int_equal(found.decision, CACHE_DECISION_MISS);
	assert_null(found.entry);
}

static bool covers_at(struct fixture *fixture, struct entry *entry, const char *control, uint64_t after_us)
{
	const struct cache_directives directives = directives_of(control);
	const struct cache_ask ask = { &ask_any_policy, &directives, &ask_no_tags, stored_us + after_us };
	return cache_covers_error(fixture->cache, entry, &ask);
}

/* A provider takes its time to fail: what was held for that may not be served any more then. */
static void what_is_held_for_an_error_is_looked_at_again(void **state)
{
	struct fixture *fixture = *state;
	store_graced(fixture, 0, 50);
	struct cache_found found = find_at(fixture, "max-age=110", 105 * S);
	assert_non_null(found.entry);
	assert_true(covers_at(fixture, found.entry, "max-age=110", 110 * S));
	assert_false(covers_at(fixture, found.entry, "max-age=110", 110 * S + 1));
	assert_true(covers_at(fixture, found.entry, "max-stale=20", 120 * S));
	assert_false(covers_at(fixture, found.entry, "max-stale=20", 120 * S + 1));
	assert_false(covers_at(fixture, found.entry, "min-fresh=1", 110 * S));
	assert_true(covers_at(fixture, found.entry, "", 150 * S - 1));
	assert_false(covers_at(fixture, found.entry, "", 150 * S));
	ask_purge_all(fixture->cache);
	assert_false(covers_at(fixture, found.entry, "", 110 * S));
	entry_unref(found.entry);
}

static void only_good_answers_with_a_ttl_are_stored(void **state)
{
	struct fixture *fixture = *state;
	const struct cache_policy policy = { .ttl_us = 100 * S };
	const struct cache_policy none = { 0, 10 * S, 10 * S, .negative_ttl_us = 10 * S };
	const struct cache_fill fill = { &policy, 0, stored_us, stored_us, NULL, &ask_no_tags };
	struct answer *error = answer_error(OUTCOME_UPSTREAM_ERROR, "no");
	assert_false(store_answer(fixture->cache, fixture->key, error, &fill, fixture->meter));
	assert_false(store(fixture, fixture->key, &none));
	char *big = test_calloc(1, BYTES / 8);
	struct answer *large = answer_result((struct slice){ big, BYTES / 8 }, false, "text/plain");
	assert_false(store_answer(fixture->cache, fixture->key, large, &fill, fixture->meter));
	assert_int_equal(cache_memory_stats(fixture->cache).entries, 0);
	assert_int_equal(cache_memory_stats(fixture->cache).evictions[EVICT_TOO_LARGE], 1);
	test_free(big);
	answer_unref(large);
	answer_unref(error);
}

static void times_that_end_never_do_not_wrap(void **state)
{
	struct fixture *fixture = *state;
	const struct cache_policy policy = { UINT64_MAX, UINT64_MAX, UINT64_MAX, 0, 0, false };
	assert_true(store(fixture, fixture->key, &policy));
	assert_int_equal(decision_at(fixture, "", UINT64_MAX / 2), CACHE_DECISION_HIT);
}

static uint64_t lifetime_us(struct fixture *fixture, struct key *key, uint64_t ttl_us)
{
	const struct cache_directives directives = { 0 };
	const struct cache_policy policy = { .ttl_us = ttl_us };
	assert_true(store(fixture, key, &policy));
	struct cache_found found = ask_cache(fixture->cache, key, &directives, stored_us, fixture->meter);
	uint64_t us = found.entry->fresh_until_us - stored_us;
	entry_unref(found.entry);
	return us;
}

static void jitter_takes_up_to_a_tenth_the_same_each_time(void **state)
{
	struct fixture *fixture = *state;
	uint64_t shortest = UINT64_MAX, longest = 0;
	for (unsigned id = 0; id < 500; id++) {
		struct key *key = key_of_id(id);
		uint64_t us = lifetime_us(fixture, key, 100 * S);
		assert_in_range(us, 90 * S, 100 * S);
		assert_int_equal(us, lifetime_us(fixture, key, 100 * S));
		assert_in_range(lifetime_us(fixture, key, 1), 1, 1);
		shortest = us < shortest ? us : shortest;
		longest = us > longest ? us : longest;
		key_unref(key);
	}
	assert_in_range(shortest, 90 * S, 91 * S);
	assert_in_range(longest, 99 * S, 100 * S);
}

static void age_and_ttl_are_whole_seconds(void **state)
{
	(void)state;
	struct answer *answer = answer_result(SLICE("1"), true, NULL);
	const struct entry entry = {
		.answer = answer, .made_us = 10 * S, .stored_us = 10 * S, .fresh_until_us = 20 * S
	};
	assert_int_equal(cache_age_s(&entry, 9 * S), 0);
	assert_int_equal(cache_age_s(&entry, 11 * S - 1), 0);
	assert_int_equal(cache_age_s(&entry, 12 * S), 2);
	assert_int_equal(cache_ttl_s(&entry, &ask_any_policy, 12 * S), 8);
	assert_int_equal(cache_ttl_s(&entry, &ask_any_policy, 20 * S - 1), 0);
	assert_int_equal(cache_ttl_s(&entry, &ask_any_policy, 20 * S), -1);
	assert_int_equal(cache_ttl_s(&entry, &ask_any_policy, 25 * S), -6);
	answer_unref(answer);
}

/* --- upkeep --- */

/* tool NULL: any. */
static size_t purge(struct fixture *fixture, const char *tool, const char *digest)
{
	const struct purge_scope scope = { .tool = slice_of(tool ? tool : ""), .key = slice_of(digest) };
	return ask_purge(fixture->cache, &scope);
}

static void a_purge_is_by_tool_by_digest_or_of_all(void **state)
{
	struct fixture *fixture = *state;
	const struct cache_policy policy = { .ttl_us = 100 * S };
	struct key_maker *maker = key_maker_new(0, 8);
	char digest[65] = "";
	for (unsigned id = 0; id < 12; id++) {
		static const char *const tools[] = { "a", "b", "c", "d" };
		char arguments[32];
		snprintf(arguments, sizeof arguments, "{\"id\":%u}", id);
		const struct key_parts parts = { .tool = slice_of(tools[id % 4]), .arguments = slice_of(arguments) };
		struct key *key;
		struct json_fault fault;
		assert_int_equal(key_make(maker, &parts, &key, &fault), OUTCOME_OK);
		assert_true(store(fixture, key, &policy));
		for (int i = 0; i < KEY_DIGEST_BYTES && id == 11; i++)
			sprintf(digest + 2 * (size_t)i, i % 2 ? "%02x" : "%02X", key->digest[i]);
		key_unref(key);
	}
	key_maker_free(maker);
	assert_true(store(fixture, fixture->key, &policy)); /* of no tool that can be told */
	assert_int_equal(purge(fixture, "c", ""), 3);
	assert_int_equal(purge(fixture, "c", ""), 0);
	assert_int_equal(purge(fixture, "b", digest), 0);
	assert_int_equal(purge(fixture, NULL, "0b"), 0);
	char last = digest[63];
	digest[63] = 'g';
	assert_int_equal(purge(fixture, NULL, digest), 0);
	digest[63] = last;
	assert_int_equal(purge(fixture, "d", digest), 1);
	assert_int_equal(purge(fixture, NULL, ""), 9);
	assert_int_equal(cache_memory_stats(fixture->cache).entries, 0);
}

static struct cache_count count_covered(struct fixture *fixture, const struct purge_scope *scope, size_t *steps)
{
	struct cache_count count = { 0 };
	for (*steps = 1; cache_count_covered(fixture->cache, scope, &ask_no_tags, 0, &count); ++*steps)
		;
	return count;
}

/* Step by step, and what has been purged is not dropped once more. */
static void what_a_purge_would_drop_is_counted_and_stays(void **state)
{
	struct fixture *fixture = *state;
	const struct cache_policy policy = { .ttl_us = 100 * S };
	const struct purge_scope everything = { 0 }, nobody = { .tool = SLICE("nobody") };
	enum { COUNT = 4000 };
	size_t steps;
	for (unsigned id = 0; id < COUNT; id++) {
		struct key *key = key_of_id(id);
		assert_true(store(fixture, key, &policy));
		key_unref(key);
	}
	assert_int_equal(count_covered(fixture, &nobody, &steps).entries, 0);
	struct cache_count all = count_covered(fixture, &everything, &steps);
	assert_int_equal(all.entries, COUNT);
	assert_true(steps > 10 && all.bytes > 100 * COUNT && all.bytes <= cache_memory_stats(fixture->cache).bytes);
	assert_int_equal(cache_memory_stats(fixture->cache).entries, COUNT);
	cache_purge(fixture->cache, &everything);
	assert_int_equal(count_covered(fixture, &everything, &steps).entries, 0);
	assert_int_equal(cache_memory_stats(fixture->cache).entries, COUNT);
}

/* What is purged is refused at once, and leaves by and by: no step looks at more than a few hundred places. */
static void a_purge_takes_no_longer_the_more_there_is(void **state)
{
	struct fixture *fixture = *state;
	const struct cache_policy policy = { .ttl_us = 100 * S };
	const struct purge_scope everything = { 0 };
	enum { COUNT = 4000 };
	struct key *first = NULL;
	for (unsigned id = 0; id < COUNT; id++) {
		struct key *key = key_of_id(id);
		assert_true(store(fixture, key, &policy));
		if (id == 0)
			first = key_ref(key);
		key_unref(key);
	}
	uint64_t event = cache_purge(fixture->cache, &everything);
	assert_int_equal(cache_memory_stats(fixture->cache).entries, COUNT);
	const struct cache_directives directives = { 0 };
	assert_null(ask_cache(fixture->cache, first, &directives, stored_us, NULL).entry);
	size_t steps = 1;
	uint64_t before = cache_purged(fixture->cache), most = 0;
	while (cache_sweep(fixture->cache, &ask_no_tags, 0)) {
		most = cache_purged(fixture->cache) - before > most ? cache_purged(fixture->cache) - before : most;
		before = cache_purged(fixture->cache);
		steps++;
	}
	assert_true(cache_is_swept(fixture->cache, event));
	assert_true(steps > 10 && most < 1000);
	assert_int_equal(cache_purged(fixture->cache), COUNT);
	assert_int_equal(cache_memory_stats(fixture->cache).entries, 0);
	key_unref(first);
}

static void ticks_drop_in_the_end_what_is_past_its_grace(void **state)
{
	struct fixture *fixture = *state;
	store_graced(fixture, 10, 20);
	for (int i = 0; i < 10; i++)
		cache_tick(fixture->cache, stored_us + 120 * S - 1);
	assert_int_equal(cache_memory_stats(fixture->cache).entries, 1);
	for (int i = 0; i < 10; i++)
		cache_tick(fixture->cache, stored_us + 120 * S);
	assert_int_equal(cache_memory_stats(fixture->cache).entries, 0);
}

static void every_look_up_is_counted_by_its_result(void **state)
{
	struct fixture *fixture = *state;
	(void)decision_at(fixture, "", 0);
	store_graced(fixture, 10, 0);
	(void)decision_at(fixture, "", 0);
	(void)decision_at(fixture, "", 1);
	(void)decision_at(fixture, "", 101 * S);
	(void)decision_at(fixture, "no-store", 0);
	(void)ask_cache(fixture->cache, fixture->key, &(struct cache_directives){ .no_cache = true }, stored_us, NULL);
	static const int64_t expected[CACHE_RESULT_COUNT] = {
		[CACHE_HIT] = 2, [CACHE_MISS] = 1, [CACHE_STALE] = 1, [CACHE_BYPASS] = 1
	};
	for (size_t result = 0; result < CACHE_RESULT_COUNT; result++)
		assert_int_equal(metrics_read(fixture->metrics, METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, result),
				 expected[result]);
}

static void a_scrape_sees_entries_bytes_and_evictions(void **state)
{
	struct fixture *fixture = *state;
	struct buf text = BUF_INIT(1024 * 1024);
	store_graced(fixture, 10, 0);
	store_graced(fixture, 10, 0);
	metrics_render(fixture->metrics, &text);
	assert_int_equal(metrics_read(fixture->metrics, METRIC_ID_CACHE_ENTRIES, TIER_MEMORY, 0), 1);
	assert_int_equal(metrics_read(fixture->metrics, METRIC_ID_CACHE_BYTES, TIER_MEMORY, 0),
			 cache_memory_stats(fixture->cache).bytes);
	assert_int_equal(metrics_read(fixture->metrics, METRIC_ID_CACHE_EVICTIONS, TIER_MEMORY, EVICT_REPLACED), 1);
	assert_int_equal(metrics_read(fixture->metrics, METRIC_ID_CACHE_EVICTIONS, TIER_MEMORY, EVICT_SIZE), 0);
	buf_fini(&text);
}

static void without_a_memory_tier_everything_is_a_miss(void **state)
{
	struct fixture *fixture = *state;
	const struct cache_policy policy = { .ttl_us = 100 * S };
	struct fixture bare = { .cache = cache_new(0, NULL), .meter = fixture->meter, .key = fixture->key };
	assert_non_null(bare.cache);
	assert_false(store(&bare, bare.key, &policy));
	assert_int_equal(decision_at(&bare, "", 0), CACHE_DECISION_MISS);
	assert_int_equal(decision_at(&bare, "no-cache", 0), CACHE_DECISION_BYPASS);
	assert_int_equal(purge(&bare, NULL, ""), 0);
	assert_int_equal(cache_memory_stats(bare.cache).capacity_bytes, 0);
	cache_tick(bare.cache, stored_us);
	cache_free(bare.cache);
	cache_free(NULL);
}

static void a_look_up_allocates_nothing(void **state)
{
	struct fixture *fixture = *state;
	store_graced(fixture, 10, 10);
	alloc_reset();
	(void)decision_at(fixture, "", 0);
	(void)decision_at(fixture, "max-age=0", 1);
	(void)decision_at(fixture, "", 101 * S);
	(void)decision_at(fixture, "no-cache", 0);
	assert_int_equal(alloc_count(), 0);
}

static void out_of_memory_a_cache_is_not_made_and_an_answer_not_stored(void **state)
{
	struct fixture *fixture = *state;
	const struct cache_policy policy = { .ttl_us = 100 * S };
	const struct cache_fill fill = { &policy, 0, stored_us, stored_us, NULL, &ask_no_tags };
	struct cache *cache = NULL;
	for (size_t nth = 1; !cache; nth++) {
		alloc_fail_at(nth);
		cache = cache_new(BYTES, NULL);
		alloc_reset();
		assert_in_range(nth, 1, 20);
	}
	cache_free(cache);
	struct answer *answer = answer_result(SLICE("{}"), true, NULL);
	alloc_fail_at(1);
	assert_false(store_answer(fixture->cache, fixture->key, answer, &fill, fixture->meter));
	alloc_reset();
	assert_int_equal(atomic_load(&answer->refs), 1);
	assert_int_equal(metrics_read(fixture->metrics, METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, CACHE_ERROR), 1);
	answer_unref(answer);
}

/* --- threads --- */

enum { THREADS = 4, ROUNDS = 2000 };

struct racer {
	struct fixture *fixture;
	atomic_int *refreshing; /* refreshes under way in all threads */
	int refreshes;
	bool wrong;
};

static void *race(void *argument)
{
	struct racer *racer = argument;
	const struct cache_directives directives = { 0 };
	for (int i = 0; i < ROUNDS; i++) {
		struct cache_found found =
			ask_cache(racer->fixture->cache, racer->fixture->key, &directives, stored_us + 101 * S, NULL);
		racer->wrong |= found.decision != CACHE_DECISION_STALE;
		if (found.refresh) {
			racer->wrong |= atomic_fetch_add(racer->refreshing, 1) != 0;
			racer->refreshes++;
			atomic_fetch_sub(racer->refreshing, 1);
			cache_refreshed(found.entry);
		}
		entry_unref(found.entry);
	}
	return NULL;
}

static void of_many_threads_one_at_a_time_refreshes(void **state)
{
	struct fixture *fixture = *state;
	pthread_t threads[THREADS];
	struct racer racers[THREADS];
	atomic_int refreshing = 0;
	int refreshes = 0;
	store_graced(fixture, 10, 0);
	for (int i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){ .fixture = fixture, .refreshing = &refreshing };
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_false(racers[i].wrong);
		refreshes += racers[i].refreshes;
	}
	assert_true(refreshes > 0);
}

#define WITH_CACHE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_CACHE(an_answer_is_fresh_to_the_microsecond),
		WITH_CACHE(no_store_and_no_cache_bypass),
		WITH_CACHE(max_age_and_min_fresh_ask_for_something_fresher),
		WITH_CACHE(age_counts_from_when_the_provider_was_asked),
		WITH_CACHE(max_stale_takes_what_is_kept_as_stale_as_it_says),
		WITH_CACHE(exactly_one_caller_refreshes_until_it_has_ended),
		WITH_CACHE(a_caller_that_wants_no_fetch_starts_no_refresh),
		WITH_CACHE(a_miss_brings_what_may_be_served_on_error),
		WITH_CACHE(what_is_held_for_an_error_is_looked_at_again),
		WITH_CACHE(only_good_answers_with_a_ttl_are_stored),
		WITH_CACHE(times_that_end_never_do_not_wrap),
		WITH_CACHE(jitter_takes_up_to_a_tenth_the_same_each_time),
		cmocka_unit_test(age_and_ttl_are_whole_seconds),
		WITH_CACHE(a_purge_is_by_tool_by_digest_or_of_all),
		WITH_CACHE(a_purge_takes_no_longer_the_more_there_is),
		WITH_CACHE(what_a_purge_would_drop_is_counted_and_stays),
		WITH_CACHE(ticks_drop_in_the_end_what_is_past_its_grace),
		WITH_CACHE(every_look_up_is_counted_by_its_result),
		WITH_CACHE(a_scrape_sees_entries_bytes_and_evictions),
		WITH_CACHE(without_a_memory_tier_everything_is_a_miss),
		WITH_CACHE(a_look_up_allocates_nothing),
		WITH_CACHE(out_of_memory_a_cache_is_not_made_and_an_answer_not_stored),
		WITH_CACHE(of_many_threads_one_at_a_time_refreshes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
