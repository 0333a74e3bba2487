/* Two processes' sides over a real server: what one changes and purges the other hears; and memory that is out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "cache/redis/redis_keys.h"
#include "cache/redis/redis_tier.h"
#include "cache/redis/redis_tracking.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/cache_keys.h"
#include "tests/support/redis_server.h"

enum { PATIENCE_MS = 10000, SIDES = 2 };

static const struct metrics_names names;

/* One process. */
struct side {
	struct metrics *metrics;
	struct meter *meter;
	struct cache *cache;
	struct tier *tier;
	struct redis_tracking *tracking;
};

static struct redis_server server;
static struct redis_settings settings;
static struct loop *loop;
static struct side sides[SIDES];
static struct key *key;

static bool has_no_tag(const void *context, struct slice tool, struct slice tag)
{
	(void)context;
	(void)tool;
	(void)tag;
	return false;
}

static const struct purge_tags tags = { has_no_tag, NULL };

static void turn(void)
{
	loop_wait(loop, loop_now(loop) + 2 * CLOCK_US_PER_MS);
	for (size_t i = 0; i < SIDES; i++) {
		tier_tick(sides[i].tier, loop_now(loop));
		redis_tracking_tick(sides[i].tracking, loop_now(loop));
	}
}

#define turn_until(condition)                                                                                          \
	do {                                                                                                           \
		uint64_t until_us = clock_now_us() + PATIENCE_MS * CLOCK_US_PER_MS;                                    \
		while (!(condition) && clock_now_us() < until_us)                                                      \
			turn();                                                                                        \
		assert_true(condition);                                                                                \
	} while (0)

static bool hears(const struct side *side)
{
	return metrics_read(side->metrics, METRIC_ID_REDIS_TRACKING, 0, 0) == 1;
}

static bool all_hear(void)
{
	return hears(&sides[0]) && hears(&sides[1]);
}

static bool open_world(void)
{
	if (!redis_server_exists()) {
		print_message("no redis-server: skipped\n");
		skip();
		return false;
	}
	redis_server_start(&server, NULL);
	settings = redis_settings_for(server.path);
	settings.timeout_us = CLOCK_US_PER_S / 2;
	loop = loop_new();
	for (size_t i = 0; i < SIDES; i++) {
		struct side *side = &sides[i];
		side->metrics = metrics_new(&names);
		side->meter = metrics_meter(side->metrics);
		side->cache = cache_new(1 << 20, NULL);
		cache_share(side->cache, 0);
		side->tier = redis_tier_new(&settings, side->cache, loop, side->meter, "test");
		side->tracking = redis_tracking_new(&settings, side->cache, loop, side->meter, &tags);
		assert_true(side->tier && side->tracking);
	}
	key = key_of_id(1);
	key->hash = key_hash(key->digest);
	turn_until(all_hear() && metrics_read(sides[0].metrics, METRIC_ID_REDIS_CONNECTED, 0, 0));
	return true;
}

static void close_world(void)
{
	key_unref(key);
	for (size_t i = 0; i < SIDES; i++) {
		tier_free(sides[i].tier);
		redis_tracking_free(sides[i].tracking);
		cache_free(sides[i].cache);
		metrics_free(sides[i].metrics);
	}
	loop_free(loop);
	redis_server_finish(&server);
}

static struct entry *new_entry(uint64_t stored_us)
{
	struct answer *answer = answer_result(SLICE("{\"a\":1}"), true, NULL);
	struct entry *entry = entry_new(key, answer);
	answer_unref(answer);
	entry->stored_us = stored_us;
	entry->fresh_until_us = entry->revalidate_until_us = entry->error_until_us = stored_us + 600 * CLOCK_US_PER_S;
	return entry;
}

/* Into a side's memory, as of some time ago. */
static void put(struct side *side, uint64_t ago_us)
{
	struct entry *entry = new_entry(clock_now_us() - ago_us);
	assert_true(cache_admit(side->cache, entry, cache_mark(side->cache, key)));
	entry_unref(entry);
}

static bool has(struct side *side)
{
	static const struct cache_wish none;
	struct cache_found found = cache_find(side->cache, key, &none, clock_now_us(), NULL);
	entry_unref(found.entry);
	return found.verdict == CACHE_VERDICT_HIT;
}

static void what_one_stores_leaves_the_other(void **state)
{
	(void)state;
	if (!open_world())
		return;
	for (unsigned young = 0; young < 2; young++) { /* a young one is looked at first */
		put(&sides[1], young ? CLOCK_US_PER_S / 10 : 100 * CLOCK_US_PER_S);
		assert_true(has(&sides[1]));
		struct entry *entry = new_entry(clock_now_us());
		assert_true(tier_put(sides[0].tier, entry, loop_now(loop)));
		entry_unref(entry);
		turn_until(!has(&sides[1]));
	}
	close_world();
}

static void an_own_store_stays(void **state)
{
	(void)state;
	if (!open_world())
		return;
	struct entry *entry = new_entry(clock_now_us());
	assert_true(cache_admit(sides[0].cache, entry, cache_mark(sides[0].cache, key)));
	assert_true(tier_put(sides[0].tier, entry, loop_now(loop))); /* by another connection than the mouth */
	entry_unref(entry);
	turn_until(metrics_read(sides[0].metrics, METRIC_ID_REDIS_INVALIDATIONS, 0, 0) == 1);
	for (int i = 0; i < 20; i++)
		turn();
	assert_true(has(&sides[0]));
	close_world();
}

static void a_purge_is_heard_and_kept_in_redis(void **state)
{
	const struct purge_scope everything = { 0 };
	(void)state;
	if (!open_world())
		return;
	put(&sides[0], 0);
	put(&sides[1], 0);
	struct cache_begun begun = cache_begin(sides[1].cache, key);
	assert_true(redis_tracking_purge(sides[0].tracking, &everything, loop_now(loop)));
	assert_int_equal(cache_purge_scope(sides[0].cache, &everything, &tags), 1);
	turn_until(!has(&sides[1]));
	assert_int_not_equal(cache_begin(sides[1].cache, key).mark, begun.mark); /* a fetch under way is not kept */
	turn_until(metrics_read(sides[0].metrics, METRIC_ID_REDIS_PURGES, PURGE_SENT, 0) == 1);
	struct entry *old = new_entry(clock_now_us());
	for (size_t i = 0; i < SIDES; i++)
		assert_true(cache_is_purged(sides[i].cache, old, &tags));
	old->generation = cache_begin(sides[0].cache, key).generation;
	for (size_t i = 0; i < SIDES; i++)
		assert_false(cache_is_purged(sides[i].cache, old, &tags));
	entry_unref(old);
	close_world();
}

static void a_server_that_is_gone_and_back_is_heard_again(void **state)
{
	const struct purge_scope everything = { 0 };
	(void)state;
	if (!open_world())
		return;
	put(&sides[1], 0);
	redis_server_kill(&server);
	turn_until(!hears(&sides[0]) && !hears(&sides[1]));
	assert_false(has(&sides[1])); /* untracked_ttl is 0 here */
	assert_true(redis_tracking_purge(sides[0].tracking, &everything, loop_now(loop)));
	redis_server_restart(&server, NULL);
	turn_until(all_hear());
	turn_until(metrics_read(sides[0].metrics, METRIC_ID_REDIS_PURGES, PURGE_SENT, 0) == 1);
	put(&sides[1], 0);
	assert_true(has(&sides[1]));
	close_world();
}

static void memory_that_is_out_costs_a_session_and_no_more(void **state)
{
	(void)state;
	if (!open_world())
		return;
	for (size_t n = 1;; n++) {
		alloc_fail_at(n);
		struct redis_tracking *tracking =
			redis_tracking_new(&settings, sides[0].cache, loop, sides[0].meter, &tags);
		alloc_reset();
		redis_tracking_free(tracking);
		if (tracking)
			break;
	}
	for (size_t n = 1; n < 40; n++) {
		static const struct purge_scope everything;
		put(&sides[1], 100 * CLOCK_US_PER_S);
		alloc_fail_at(n);
		bool told = redis_tracking_purge(sides[0].tracking, &everything, loop_now(loop));
		for (int i = 0; i < 5; i++)
			turn();
		alloc_reset();
		assert_true(told);
		turn_until(all_hear() && !has(&sides[1]));
	}
	close_world();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_one_stores_leaves_the_other),
		cmocka_unit_test(an_own_store_stays),
		cmocka_unit_test(a_purge_is_heard_and_kept_in_redis),
		cmocka_unit_test(a_server_that_is_gone_and_back_is_heard_again),
		cmocka_unit_test(memory_that_is_out_costs_a_session_and_no_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
