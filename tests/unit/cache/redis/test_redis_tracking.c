/* SPDX-License-Identifier: Apache-2.0 */
/* Two processes' sides over a real server: what one changes and purges the other hears; and memory that is out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache/redis/redis_keys.h"
#include "cache/redis/redis_tier.h"
#include "cache/redis/redis_tracking.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/cache_ask.h"
#include "tests/support/cache_keys.h"
#include "tests/support/redis_server.h"
#include "tests/support/until.h"

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

static void wait_a_little(void)
{
	loop_wait(loop, loop_now(loop) + 2 * CLOCK_US_PER_MS);
}

static void tick(const struct side *side)
{
	tier_tick(side->tier, loop_now(loop));
	redis_tracking_tick(side->tracking, loop_now(loop));
}

/* What comes finds a side that has not ticked since. */
static void tick_and_wait(const struct side *side)
{
	tick(side);
	wait_a_little();
}

static void turn(void)
{
	wait_a_little();
	for (size_t i = 0; i < SIDES; i++)
		tick(&sides[i]);
}

#define turn_until(condition) UNTIL(turn(), condition)

static bool hears(const struct side *side)
{
	return metrics_read(side->metrics, METRIC_ID_REDIS_TRACKING, 0, 0) == 1;
}

/* Whether each of its purges has its number, that which begins Redis' list too: one that has none is newer than whatever
 * comes from outside. */
static bool has_numbers(const struct side *side)
{
	return atomic_load(&cache_rule(side->cache)->purges.unnumbered) == 0;
}

static bool all_hear(void)
{
	return hears(&sides[0]) && hears(&sides[1]) && has_numbers(&sides[0]) && has_numbers(&sides[1]);
}

static void open_side(struct side *side)
{
	side->metrics = metrics_new(&names);
	side->meter = metrics_meter(side->metrics);
	side->cache = cache_new(1 << 20, NULL);
	cache_publish_purges(side->cache, true);
	validity_share(cache_rule(side->cache), 0);
	side->tier = redis_tier_new(&settings, side->cache, loop, side->meter, "test");
	side->tracking = redis_tracking_new(&settings, side->cache, loop, side->meter);
	assert_true(side->tier && side->tracking);
}

static void close_side(struct side *side)
{
	tier_free(side->tier);
	redis_tracking_free(side->tracking);
	cache_free(side->cache);
	metrics_free(side->metrics);
}

static bool open_server(const char *const *options)
{
	if (!redis_server_exists()) {
		print_message("no redis-server: skipped\n");
		skip();
		return false;
	}
	redis_server_start(&server, options);
	settings = redis_settings_for(server.path);
	settings.tracking = true;
	loop = loop_new();
	return true;
}

static bool open_world(void)
{
	if (!open_server(NULL))
		return false;
	for (size_t i = 0; i < SIDES; i++)
		open_side(&sides[i]);
	key = key_of_id(1);
	key->hash = key_hash(key->digest);
	turn_until(all_hear() && metrics_read(sides[0].metrics, METRIC_ID_REDIS_CONNECTED, 0, 0));
	return true;
}

static void close_world(void)
{
	key_unref(key);
	for (size_t i = 0; i < SIDES; i++)
		close_side(&sides[i]);
	loop_free(loop);
	redis_server_finish(&server);
}

static struct entry *new_entry(uint64_t stored_us)
{
	struct answer *answer = answer_result(SLICE("{\"a\":1}"), true, NULL);
	struct entry *entry = entry_new(key, answer);
	answer_unref(answer);
	entry->made_us = entry->stored_us = stored_us;
	entry->fresh_until_us = entry->revalidate_until_us = entry->error_until_us = stored_us + 600 * CLOCK_US_PER_S;
	return entry;
}

/* Into a side's memory, as of some time ago. */
static void put(struct side *side, uint64_t ago_us)
{
	struct entry *entry = new_entry(clock_now_us() - ago_us);
	const struct cache_epoch epoch = cache_epoch_now(side->cache, key);
	entry->number = epoch.number;
	assert_true(cache_admit(side->cache, entry, &epoch, &ask_no_tags));
	entry->put_us -= ago_us;
	if (ago_us) /* as if it had been heard of changes all that time */
		atomic_store(&cache_rule(side->cache)->synced_from_us, 0);
	entry_unref(entry);
}

static bool has(struct side *side)
{
	static const struct cache_directives none;
	struct cache_found found = ask_cache(side->cache, key, &none, clock_now_us(), NULL);
	entry_unref(found.entry);
	return found.decision == CACHE_DECISION_HIT;
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
		assert_true(tier_put(sides[0].tier, entry, 0, loop_now(loop)));
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
	const struct cache_epoch epoch = cache_epoch_now(sides[0].cache, key);
	entry->number = epoch.number;
	assert_true(cache_admit(sides[0].cache, entry, &epoch, &ask_no_tags));
	assert_true(tier_put(sides[0].tier, entry, 0, loop_now(loop))); /* by another connection than the publisher */
	entry_unref(entry);
	turn_until(metrics_read(sides[0].metrics, METRIC_ID_REDIS_INVALIDATIONS, 0, 0) == 1);
	for (int i = 0; i < 20; i++)
		turn();
	assert_true(has(&sides[0]));
	struct entry *old = new_entry(clock_now_us()); /* what another worker had begun to read before that */
	old->number = epoch.number;
	assert_false(cache_admit(sides[0].cache, old, &epoch, &ask_no_tags));
	entry_unref(old);
	assert_true(has(&sides[0]));
	close_world();
}

static enum validity_decision decision_on(struct side *side, uint64_t number, const struct cache_epoch *epoch)
{
	struct entry *entry = new_entry(clock_now_us());
	const struct cache_ask ask = { &ask_any_policy, NULL, &ask_no_tags, clock_now_us() };
	entry->number = number;
	enum validity_decision decision = cache_validity(side->cache, entry, epoch, &ask);
	entry_unref(entry);
	return decision;
}

static void a_purge_is_heard_and_kept_in_redis(void **state)
{
	(void)state;
	if (!open_world())
		return;
	put(&sides[0], 0);
	put(&sides[1], 0);
	const struct cache_epoch epoch = cache_epoch_now(sides[1].cache, key);
	ask_purge_all(sides[0].cache);
	assert_false(has(&sides[0]));
	turn_until(!has(&sides[1]));
	turn_until(metrics_read(sides[0].metrics, METRIC_ID_REDIS_PURGES, PURGE_SENT, 0) == 1);
	const struct cache_epoch now = cache_epoch_now(sides[1].cache, key);
	assert_int_equal(now.number, cache_epoch_now(sides[0].cache, key).number);
	for (size_t i = 0; i < SIDES; i++) {
		assert_int_equal(decision_on(&sides[i], epoch.number, &now), NOT_VALID_PURGED);
		assert_int_equal(decision_on(&sides[i], now.number, &now), STILL_VALID);
		assert_int_equal(decision_on(&sides[i], now.number + 1, &now), NOT_VALID_AHEAD);
	}
	close_world();
}

/* Two gateways find that Redis has no list: this one hears what the other began it with before it has begun it itself,
 * which it cannot while Redis takes no writes. */
static void a_list_is_begun_once(void **state)
{
	static const char *const refusing[] = { "--min-replicas-to-write", "1", NULL };
	(void)state;
	if (!open_server(refusing))
		return;
	struct side *side = &sides[0];
	open_side(side);
	const struct purges *purges = &cache_rule(side->cache)->purges;
	UNTIL(tick_and_wait(side), hears(side) && purges_event(purges) == 1);
	assert_false(has_numbers(side));
	const uint64_t number = clock_wall_us() / CLOCK_US_PER_MS + 1000;
	char score[24], message[64], list[REDIS_KEY_BYTES], channel[REDIS_KEY_BYTES];
	snprintf(score, sizeof score, "%" PRIu64, number);
	snprintf(message, sizeof message, "another-one %" PRIu64 " ", number);
	const struct slice add[] = { SLICE("ZADD"), redis_name(settings.prefix, "purges", list), slice_of(score),
				     SLICE("") };
	const struct slice say[] = { SLICE("PUBLISH"), redis_name(settings.prefix, "purge", channel),
				     slice_of(message) };
	const struct slice allow[] = { SLICE("CONFIG"), SLICE("SET"), SLICE("min-replicas-to-write"), SLICE("0") };
	assert_string_equal(redis_server_ask(&server, 4, allow), "OK");
	assert_string_equal(redis_server_ask(&server, 4, add), "1");
	assert_string_equal(redis_server_ask(&server, 3, say), "1");
	UNTIL(wait_a_little(), purges_number(purges) == number);
	UNTIL(tick_and_wait(side), hears(side) && has_numbers(side));
	for (int i = 0; i < 5; i++)
		tick_and_wait(side);
	assert_int_equal(purges_number(purges), number);
	assert_int_equal(metrics_read(side->metrics, METRIC_ID_REDIS_PURGES, PURGE_SENT, 0), 0);
	close_side(side);
	loop_free(loop);
	redis_server_finish(&server);
}

static void a_server_that_is_gone_and_back_is_heard_again(void **state)
{
	(void)state;
	if (!open_world())
		return;
	put(&sides[1], 0);
	redis_server_kill(&server);
	turn_until(!hears(&sides[0]) && !hears(&sides[1]));
	assert_false(has(&sides[1])); /* untracked_ttl is 0 here */
	ask_purge_all(sides[0].cache);
	redis_server_restart(&server, NULL);
	turn_until(all_hear());
	turn_until(metrics_read(sides[0].metrics, METRIC_ID_REDIS_PURGES, PURGE_SENT, 0) >= 1);
	put(&sides[1], 0);
	assert_true(has(&sides[1]));
	close_world();
}

/* cache.redis.timeout is what a call waits for its look-up. A purge that is answered later than that has been published:
 * said again and again it would take from all others what they have fetched since. */
static void a_purge_that_is_answered_late_is_not_said_again(void **state)
{
	(void)state;
	if (!open_server(NULL))
		return;
	settings.timeout_us = 1;
	for (size_t i = 0; i < SIDES; i++)
		open_side(&sides[i]);
	turn_until(all_hear());
	const struct purges *purges = &cache_rule(sides[0].cache)->purges;
	redis_server_freeze(&server);
	ask_purge_all(sides[0].cache);
	turn_until(atomic_load(&purges->waiting) == 0); /* it is on its way */
	turn();
	turn();
	assert_int_equal(atomic_load(&purges->waiting), 0);
	redis_server_thaw(&server);
	turn_until(has_numbers(&sides[0]));
	assert_int_equal(metrics_read(sides[0].metrics, METRIC_ID_REDIS_PURGES, PURGE_SENT, 0), 1);
	key = NULL;
	close_world();
}

static void memory_that_is_out_costs_a_session_and_no_more(void **state)
{
	(void)state;
	if (!open_world())
		return;
	for (size_t n = 1;; n++) {
		alloc_fail_at(n);
		struct redis_tracking *tracking = redis_tracking_new(&settings, sides[0].cache, loop, sides[0].meter);
		alloc_reset();
		redis_tracking_free(tracking);
		if (tracking)
			break;
	}
	for (size_t n = 1; n < 40; n++) {
		put(&sides[1], 100 * CLOCK_US_PER_S);
		alloc_fail_at(n);
		ask_purge_all(sides[0].cache);
		for (int i = 0; i < 5; i++)
			turn();
		alloc_reset();
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
		cmocka_unit_test(a_list_is_begun_once),
		cmocka_unit_test(a_server_that_is_gone_and_back_is_heard_again),
		cmocka_unit_test(a_purge_that_is_answered_late_is_not_said_again),
		cmocka_unit_test(memory_that_is_out_costs_a_session_and_no_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
