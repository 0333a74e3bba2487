/* SPDX-License-Identifier: Apache-2.0 */
/* Redis as a tier: stored, found, cancelled, its breaker, and memory that is out; over a real server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/breaker.h"
#include "cache/redis/redis_tier.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/cache_ask.h"
#include "tests/support/cache_keys.h"
#include "tests/support/redis_server.h"
#include "tests/support/until.h"

enum { PATIENCE_MS = 10000 };

struct world {
	struct redis_server server;
	struct redis_settings settings;
	struct metrics *metrics;
	struct meter *meter;
	struct cache *cache;
	struct loop *loop;
	struct tier *tier;
};

static int64_t count(const struct world *world, enum metric metric, size_t label1, size_t label2)
{
	return metrics_read(world->metrics, metric, label1, label2);
}

static void turn(struct world *world)
{
	uint64_t now_us = loop_now(world->loop), deadline = tier_deadline(world->tier);
	uint64_t latest_us = now_us + 5 * CLOCK_US_PER_MS;
	loop_wait(world->loop, deadline < latest_us ? deadline : latest_us);
	tier_tick(world->tier, loop_now(world->loop));
}

#define turn_until(world, condition) UNTIL(turn(world), condition)

static bool is_up(const struct world *world)
{
	return count(world, METRIC_ID_REDIS_CONNECTED, 0, 0) == 1 && count(world, METRIC_ID_REDIS_BREAKER, 0, 0) == 0;
}

static bool open_world(struct world *world, uint64_t timeout_us)
{
	static const struct metrics_names names;
	if (!redis_server_exists()) {
		print_message("no redis-server: skipped\n");
		skip();
		return false;
	}
	redis_server_start(&world->server, NULL);
	world->settings = redis_settings_for(world->server.path);
	world->settings.timeout_us = timeout_us;
	world->metrics = metrics_new(&names);
	world->meter = metrics_meter(world->metrics);
	world->cache = cache_new(1 << 20, NULL);
	world->loop = loop_new();
	world->tier = redis_tier_new(&world->settings, world->cache, world->loop, world->meter, "test");
	assert_non_null(world->tier);
	turn_until(world, is_up(world));
	return true;
}

static void close_world(struct world *world)
{
	tier_free(world->tier);
	loop_free(world->loop);
	cache_free(world->cache);
	metrics_free(world->metrics);
	redis_server_finish(&world->server);
}

static struct entry *entry_of(const struct world *world, struct key *key)
{
	struct answer *answer = answer_result(SLICE("{\"a\":1}"), true, NULL);
	struct entry *entry = entry_new(key, answer);
	uint64_t now_us = loop_now(world->loop);
	answer_unref(answer);
	entry->made_us = entry->stored_us = now_us;
	entry->fresh_until_us = entry->revalidate_until_us = entry->error_until_us = now_us + 60 * CLOCK_US_PER_S;
	return entry;
}

struct probe {
	struct tier_lookup lookup;
	unsigned ended;
	struct entry *entry;
};

static void note(struct tier_lookup *lookup, struct entry *entry)
{
	struct probe *probe = container_of(lookup, struct probe, lookup);
	probe->ended++;
	probe->entry = entry;
}

static bool look(struct world *world, struct probe *probe, struct key *key)
{
	*probe = (struct probe){ .lookup.done = note };
	return tier_get(world->tier, &probe->lookup, key, loop_now(world->loop));
}

static void what_is_put_is_found_until_it_is_removed(void **state)
{
	static struct world world;
	struct probe probe;
	(void)state;
	if (!open_world(&world, 5 * CLOCK_US_PER_S))
		return;
	struct key *key = key_of_id(1);
	struct entry *entry = entry_of(&world, key);
	assert_true(look(&world, &probe, key));
	turn_until(&world, probe.ended);
	assert_null(probe.entry);
	assert_true(tier_put(world.tier, entry, 0, loop_now(world.loop)));
	assert_true(look(&world, &probe, key)); /* behind the put, on the same connection */
	turn_until(&world, probe.ended);
	assert_non_null(probe.entry);
	assert_true(slice_equal(answer_body(probe.entry->answer), SLICE("{\"a\":1}")));
	entry_unref(probe.entry);
	tier_remove(world.tier, key->digest, loop_now(world.loop));
	assert_true(look(&world, &probe, key));
	turn_until(&world, probe.ended);
	assert_null(probe.entry);
	assert_int_equal(count(&world, METRIC_ID_CACHE_REQUESTS, TIER_REDIS, CACHE_HIT), 1);
	assert_int_equal(count(&world, METRIC_ID_CACHE_REQUESTS, TIER_REDIS, CACHE_MISS), 2);
	entry_unref(entry);
	key_unref(key);
	close_world(&world);
}

static void what_was_purged_since_is_found_to_be_so(void **state)
{
	static struct world world;
	struct probe probe;
	(void)state;
	if (!open_world(&world, 5 * CLOCK_US_PER_S))
		return;
	struct key *key = key_of_id(1);
	struct entry *entry = entry_of(&world, key);
	const struct cache_directives none = { 0 };
	const struct cache_ask ask = { &ask_any_policy, &none, &ask_no_tags, loop_now(world.loop) };
	assert_true(tier_put(world.tier, entry, 0, loop_now(world.loop)));
	const struct cache_epoch epoch = cache_epoch_now(world.cache, key);
	assert_true(look(&world, &probe, key));
	turn_until(&world, probe.ended);
	assert_non_null(probe.entry);
	assert_int_equal(cache_validity(world.cache, probe.entry, &epoch, &ask), STILL_VALID);
	ask_purge_all(world.cache); /* while it is on its way */
	assert_int_equal(cache_validity(world.cache, probe.entry, &epoch, &ask), NOT_VALID_PURGED);
	assert_false(cache_admit(world.cache, probe.entry, &epoch, &ask_no_tags));
	entry_unref(probe.entry);
	entry_unref(entry);
	key_unref(key);
	close_world(&world);
}

static void cancelled_look_ups_are_told_nothing(void **state)
{
	static struct world world;
	static struct probe probes[64 + 8192]; /* under way, and waiting their turn */
	(void)state;
	if (!open_world(&world, 5 * CLOCK_US_PER_S))
		return;
	struct key *key = key_of_id(1);
	for (unsigned round = 0; round < 3; round++) {
		for (size_t i = 0; i < countof(probes); i++)
			assert_true(look(&world, &probes[i], key));
		struct probe extra;
		assert_false(look(&world, &extra, key)); /* as many as are allowed */
		for (size_t i = 0; i < countof(probes); i += 2)
			tier_cancel(world.tier, &probes[i].lookup);
		turn_until(&world, probes[countof(probes) - 1].ended);
		assert_int_equal(count(&world, METRIC_ID_REDIS_SKIPPED, REDIS_SKIP_BUSY, 0), round + 1);
		for (size_t i = 0; i < countof(probes); i++)
			assert_int_equal(probes[i].ended, i % 2);
	}
	assert_int_equal(count(&world, METRIC_ID_REDIS_SKIPPED, REDIS_SKIP_BUSY, 0), 3);
	key_unref(key);
	close_world(&world);
}

static void a_frozen_server_is_left_alone_until_it_answers(void **state)
{
	static struct world world;
	struct probe first, second;
	(void)state;
	if (!open_world(&world, 50 * CLOCK_US_PER_MS))
		return;
	struct key *key = key_of_id(1);
	redis_server_freeze(&world.server);
	assert_true(look(&world, &first, key));
	turn_until(&world, first.ended);
	assert_null(first.entry);
	assert_false(look(&world, &second, key)); /* the breaker: no cost at all */
	assert_int_equal(count(&world, METRIC_ID_REDIS_SKIPPED, REDIS_SKIP_BREAKER, 0), 1);
	redis_server_thaw(&world.server);
	turn_until(&world, is_up(&world));
	assert_true(look(&world, &second, key));
	turn_until(&world, second.ended);
	key_unref(key);
	close_world(&world);
}

static void memory_that_is_out_costs_misses(void **state)
{
	static struct world world;
	struct probe probe;
	(void)state;
	if (!open_world(&world, 5 * CLOCK_US_PER_S))
		return;
	struct key *key = key_of_id(1);
	struct entry *entry = entry_of(&world, key);
	assert_true(tier_put(world.tier, entry, 0, loop_now(world.loop)));
	bool found = false;
	for (size_t n = 1; !found && n < 200; n++) {
		turn_until(&world, is_up(&world));
		alloc_fail_at(n);
		if (look(&world, &probe, key)) {
			turn_until(&world, probe.ended);
			found = probe.entry != NULL;
			entry_unref(probe.entry);
		}
		found = found && alloc_count() < n;
		alloc_reset();
		tier_put(world.tier, entry, 0, loop_now(world.loop));
	}
	assert_true(found);
	for (size_t n = 1;; n++) {
		alloc_fail_at(n);
		struct tier *tier = redis_tier_new(&world.settings, world.cache, world.loop, world.meter, "x");
		alloc_reset();
		tier_free(tier);
		if (tier)
			break;
	}
	entry_unref(entry);
	key_unref(key);
	close_world(&world);
}

static void a_breaker_opens_probes_and_closes(void **state)
{
	struct breaker breaker;
	(void)state;
	breaker_init(&breaker);
	for (unsigned i = 1; i < BREAKER_FAILURES; i++)
		breaker_failed(&breaker, 0);
	breaker_succeeded(&breaker);
	for (unsigned i = 1; i < BREAKER_FAILURES; i++)
		breaker_failed(&breaker, 0);
	assert_false(breaker.open); /* never as many in a row */
	breaker_failed(&breaker, 0);
	assert_true(breaker.open);
	assert_false(breaker_wants_probe(&breaker, 0));
	assert_int_equal(breaker_deadline(&breaker), BREAKER_HOLD_FIRST_US);
	uint64_t now_us = 0, hold_us = BREAKER_HOLD_FIRST_US;
	for (unsigned i = 0; i < 10; i++) {
		now_us += hold_us;
		assert_true(breaker_wants_probe(&breaker, now_us));
		assert_false(breaker_wants_probe(&breaker, now_us)); /* one at a time */
		breaker_probed(&breaker, false, now_us);
		hold_us = 2 * hold_us < BREAKER_HOLD_LAST_US ? 2 * hold_us : BREAKER_HOLD_LAST_US;
		assert_int_equal(breaker_deadline(&breaker), now_us + hold_us);
	}
	now_us += hold_us;
	assert_true(breaker_wants_probe(&breaker, now_us));
	breaker_probed(&breaker, true, now_us);
	assert_false(breaker.open);
	breaker_timed_out(&breaker, now_us); /* again at once: it is still held for long */
	assert_true(breaker.open);
	assert_int_equal(breaker_deadline(&breaker), now_us + BREAKER_HOLD_LAST_US);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_put_is_found_until_it_is_removed),
		cmocka_unit_test(what_was_purged_since_is_found_to_be_so),
		cmocka_unit_test(cancelled_look_ups_are_told_nothing),
		cmocka_unit_test(a_frozen_server_is_left_alone_until_it_answers),
		cmocka_unit_test(memory_that_is_out_costs_misses),
		cmocka_unit_test(a_breaker_opens_probes_and_closes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
