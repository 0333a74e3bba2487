/* SPDX-License-Identifier: Apache-2.0 */
/* The disk tier: kept and found, over a restart, purged, bounded; a disk that hangs or is full; memory that is out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/disk/disk.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/cache_ask.h"
#include "tests/support/cache_keys.h"
#include "tests/support/hard_disk.h"
#include "tests/support/until.h"

enum { PATIENCE_MS = 20000, BUDGET_MS = 2000, MIXED_KEYS = 600 };

struct world {
	char place[64];
	struct disk_settings settings;
	struct metrics *metrics;
	struct meter *meter;
	struct cache *cache;
	struct loop *loop;
	struct disk *disk;
	struct tier *tier;
	struct key_maker *keys;
};

static int64_t count(const struct world *world, enum metric metric, size_t label1, size_t label2)
{
	return metrics_read(world->metrics, metric, label1, label2);
}

static void turn(struct world *world)
{
	uint64_t now_us = loop_now(world->loop), deadline = tier_deadline(world->tier);
	uint64_t latest_us = now_us + CLOCK_US_PER_MS;
	loop_wait(world->loop, deadline < latest_us ? deadline : latest_us);
	tier_tick(world->tier, loop_now(world->loop));
}

#define turn_until(world, condition) UNTIL(turn(world), condition)

static struct disk_status status_of(const struct world *world)
{
	struct disk_status status;
	disk_status(world->disk, &status);
	return status;
}

static bool is_up(const struct world *world)
{
	return status_of(world).state == DISK_UP && !status_of(world).loading;
}

/* A gateway's life on the world's place. */
static void come(struct world *world)
{
	static const struct metrics_names names;
	world->metrics = metrics_new(&names);
	world->meter = metrics_meter(world->metrics);
	world->cache = cache_new(1 << 20, NULL);
	world->loop = loop_new();
	world->disk = disk_new(&world->settings, world->cache, world->metrics);
	world->tier = disk_tier_new(world->disk, world->loop, world->meter);
	world->keys = key_maker_new(0, 10);
	assert_non_null(world->tier);
	assert_true(disk_start(world->disk));
	turn_until(world, is_up(world));
}

static void go(struct world *world)
{
	assert_true(disk_stop(world->disk));
	tier_free(world->tier);
	disk_free(world->disk);
	key_maker_free(world->keys);
	loop_free(world->loop);
	cache_free(world->cache);
	metrics_free(world->metrics);
}

static void open_world(struct world *world, size_t size_bytes, uint64_t timeout_ms)
{
	hard_disk_install();
	*world = (struct world){ .settings = { .size_bytes = size_bytes,
					       .timeout_us = timeout_ms * CLOCK_US_PER_MS,
					       .snapshot_us = 5 * CLOCK_US_PER_S,
					       .compress_bytes = 4096 } };
	strcpy(world->place, "/tmp/jitney-disk-XXXXXX");
	assert_non_null(mkdtemp(world->place));
	world->settings.path = world->place;
	come(world);
}

static void remove_place(const struct world *world)
{
	static const char *const names[] = { "cache.db", "cache.db-wal", "lock" };
	char path[128];
	for (size_t i = 0; i < countof(names); i++) {
		snprintf(path, sizeof path, "%s/%s", world->place, names[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(world->place), 0);
}

static void close_world(struct world *world)
{
	go(world);
	remove_place(world);
}

static struct key *key_for(struct world *world, const char *tool, unsigned number)
{
	char arguments[32];
	struct key *key;
	struct json_fault fault;
	snprintf(arguments, sizeof arguments, "{\"q\":%u}", number);
	const struct key_parts parts = { slice_of(tool), SLICE("1"), SLICE(""), slice_of(arguments), NULL, false };
	assert_int_equal(key_make(world->keys, &parts, &key, &fault), OUTCOME_OK);
	return key;
}

static struct entry *entry_for(const struct world *world, struct key *key, size_t body_bytes)
{
	char *body = malloc(body_bytes + 2);
	memset(body, '1', body_bytes + 2);
	for (size_t i = 0; i < body_bytes; i++)
		body[i] = (char)('0' + mix64(i ^ key->digest[0]) % 9 + 1);
	struct answer *answer = answer_result((struct slice){ body, body_bytes + 2 }, true, NULL);
	struct entry *entry = entry_new(key, answer);
	uint64_t now_us = loop_now(world->loop);
	answer_unref(answer);
	free(body);
	entry->made_us = entry->stored_us = now_us;
	entry->fresh_until_us = entry->revalidate_until_us = entry->error_until_us = now_us + 600 * CLOCK_US_PER_S;
	return entry;
}

/* Put it; what becomes of it is the disk's. */
static bool keep(struct world *world, const char *tool, unsigned number, size_t body_bytes)
{
	struct key *key = key_for(world, tool, number);
	struct entry *entry = entry_for(world, key, body_bytes);
	bool kept = tier_put(world->tier, entry, 0, loop_now(world->loop));
	entry_unref(entry);
	key_unref(key);
	return kept;
}

static bool is_settled(const struct world *world, int64_t puts)
{
	return count(world, METRIC_ID_DISK_DURATION, DISK_JOB_PUT, 0) == puts;
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

static bool look(struct world *world, struct probe *probe, const char *tool, unsigned number)
{
	struct key *key = key_for(world, tool, number);
	*probe = (struct probe){ .lookup.done = note };
	bool asked = tier_get(world->tier, &probe->lookup, key, loop_now(world->loop));
	key_unref(key);
	return asked;
}

/* Whether it is there; whatever is found has the right key. */
static bool has(struct world *world, const char *tool, unsigned number)
{
	struct probe probe;
	if (!look(world, &probe, tool, number))
		return false;
	turn_until(world, probe.ended);
	assert_int_equal(probe.ended, 1);
	if (!probe.entry)
		return false;
	struct key *key = key_for(world, tool, number);
	assert_true(key_equal(probe.entry->key, key));
	key_unref(key);
	entry_unref(probe.entry);
	return true;
}

/* --- what it is for --- */

static void what_is_put_is_found_until_it_is_removed(void **state)
{
	struct world world;
	(void)state;
	open_world(&world, 1 << 24, BUDGET_MS);
	assert_false(has(&world, "a", 1));
	assert_true(keep(&world, "a", 1, 10));
	turn_until(&world, is_settled(&world, 1));
	assert_true(has(&world, "a", 1));
	assert_false(has(&world, "a", 2));
	struct key *key = key_for(&world, "a", 1);
	assert_true(tier_remove(world.tier, key->digest, loop_now(world.loop)));
	assert_false(has(&world, "a", 1)); /* at once, whether or not the thread has got to it */
	turn_until(&world, count(&world, METRIC_ID_DISK_DURATION, DISK_JOB_REMOVE, 0) == 1);
	assert_false(has(&world, "a", 1));
	key_unref(key);
	close_world(&world);
}

static void answers_outlive_the_process(void **state)
{
	struct world world;
	(void)state;
	open_world(&world, 1 << 24, BUDGET_MS);
	for (unsigned i = 0; i < 50; i++)
		assert_true(keep(&world, "a", i, 100));
	go(&world); /* with all that still waits */
	come(&world);
	assert_int_equal(status_of(&world).entries, 50);
	assert_int_equal(status_of(&world).loaded, 50);
	assert_int_equal(cache_memory_stats(world.cache).entries, 50);
	for (unsigned i = 0; i < 50; i++)
		assert_true(has(&world, "a", i));
	close_world(&world);
}

/* What memory holds and the disk does not is written at the end, and loaded first. */
static void the_most_wanted_are_written_at_the_end(void **state)
{
	struct world world;
	const struct cache_directives directives = { 0 };
	(void)state;
	open_world(&world, 1 << 20, BUDGET_MS);
	for (unsigned i = 0; i < 120; i++) {
		struct key *key = key_for(&world, "a", i);
		struct entry *entry = entry_for(&world, key, 6000);
		assert_int_equal(cache_import(world.cache, entry), MEMORY_ADDED);
		for (int times = 0; i == 3 && times < 3; times++)
			entry_unref(ask_cache(world.cache, key, &directives, loop_now(world.loop), world.meter).entry);
		entry_unref(entry);
		key_unref(key);
	}
	go(&world);
	come(&world);
	assert_true(has(&world, "a", 3));
	assert_true(status_of(&world).entries > 50);
	close_world(&world);
}

struct noted_purge {
	struct disk_purge purge;
	atomic_uint ended;
	size_t count;
	bool done;
};

static void note_purge(struct disk_purge *purge, size_t gone, bool done)
{
	struct noted_purge *noted = container_of(purge, struct noted_purge, purge);
	noted->count = gone;
	noted->done = done;
	atomic_fetch_add(&noted->ended, 1);
}

static size_t purge(struct world *world, int what, struct slice names)
{
	struct noted_purge noted = { .purge = { .what = what, .names = BUF_INIT(1000), .ended = note_purge } };
	buf_put(&noted.purge.names, names);
	disk_purge(world->disk, &noted.purge);
	turn_until(world, atomic_load(&noted.ended) == 1);
	assert_true(noted.done);
	buf_fini(&noted.purge.names);
	return noted.count;
}

static size_t count_named(struct world *world, int what, struct slice names)
{
	struct noted_purge noted = { .purge = { .what = what, .names = BUF_INIT(1000), .ended = note_purge } };
	buf_put(&noted.purge.names, names);
	disk_count(world->disk, &noted.purge);
	turn_until(world, atomic_load(&noted.ended) == 1);
	assert_true(noted.done);
	buf_fini(&noted.purge.names);
	return noted.count;
}

static void what_a_purge_would_drop_is_counted_and_stays(void **state)
{
	static const char *const tools[] = { "aa", "ab", "b", "c" };
	struct world world;
	(void)state;
	open_world(&world, 1 << 24, BUDGET_MS);
	for (unsigned i = 0; i < 40; i++)
		assert_true(keep(&world, tools[i % 4], i, 10));
	assert_int_equal(count_named(&world, DISK_PURGE_PREFIX, SLICE("a")), 20);
	assert_int_equal(count_named(&world, DISK_PURGE_TOOLS, SLICE("b\0nobody\0c\0")), 20);
	assert_int_equal(count_named(&world, DISK_PURGE_TOOLS, SLICE("")), 0);
	assert_int_equal(count_named(&world, DISK_PURGE_ALL, SLICE("")), 40);
	assert_int_equal(purge(&world, DISK_PURGE_TOOLS, SLICE("b\0")), 10);
	assert_int_equal(count_named(&world, DISK_PURGE_ALL, SLICE("")), 30);
	go(&world);
	come(&world);
	assert_true(has(&world, "aa", 0));
	assert_int_equal(count_named(&world, DISK_PURGE_ALL, SLICE("")), 30);
	close_world(&world);
}

static void purges_by_tool_prefix_and_all(void **state)
{
	static const char *const tools[] = { "aa", "ab", "b", "c" };
	struct world world;
	(void)state;
	open_world(&world, 1 << 24, BUDGET_MS);
	for (unsigned i = 0; i < 40; i++)
		assert_true(keep(&world, tools[i % 4], i, 10));
	assert_int_equal(purge(&world, DISK_PURGE_PREFIX, SLICE("a")), 20);
	assert_int_equal(purge(&world, DISK_PURGE_TOOLS, SLICE("b\0nobody\0")), 10);
	assert_int_equal(status_of(&world).entries, 10);
	go(&world);
	come(&world);
	assert_false(has(&world, "aa", 0));
	assert_false(has(&world, "b", 2));
	assert_true(has(&world, "c", 3));
	assert_int_equal(purge(&world, DISK_PURGE_ALL, SLICE("")), 10);
	assert_int_equal(status_of(&world).entries, 0);
	close_world(&world);
}

/* A log that loses its end to a power cut is a sound and older database, in which what was purged would be back: that it
 * was purged is safe before it is told, while what is kept may be lost. */
static void a_purge_that_is_done_outlives_a_power_cut(void **state)
{
	const struct purge_scope scope = { .tool = SLICE("gone") };
	struct world world;
	(void)state;
	open_world(&world, 1 << 24, BUDGET_MS);
	for (unsigned i = 0; i < 20; i++)
		assert_true(keep(&world, "a", i, 10));
	turn_until(&world, hard_disk_unsynced() > 0);
	cache_publish_purges(world.cache, true);
	cache_purge(world.cache, &scope);
	assert_int_equal(purge(&world, DISK_PURGE_TOOLS, SLICE("gone\0")), 0); /* it has none, so nothing follows */
	assert_int_equal(hard_disk_unsynced(), 0);
	close_world(&world);
}

static void it_stays_within_its_size(void **state)
{
	struct world world;
	struct stat file;
	char path[128];
	(void)state;
	open_world(&world, 1 << 20, BUDGET_MS);
	for (unsigned i = 0; i < 1000; i++) {
		if (!keep(&world, "a", i, 3000 + 7 * i % 5000))
			turn_until(&world, is_settled(&world, i));
	}
	turn_until(&world, count(&world, METRIC_ID_DISK_DURATION, DISK_JOB_PUT, 0) +
					   count(&world, METRIC_ID_DISK_DURATION, DISK_JOB_REMOVE, 0) >=
				   1000);
	snprintf(path, sizeof path, "%s/cache.db", world.place);
	assert_int_equal(stat(path, &file), 0);
	assert_true(file.st_size <= 1 << 20);
	assert_true(status_of(&world).bytes <= 1 << 20);
	assert_true(count(&world, METRIC_ID_CACHE_EVICTIONS, TIER_DISK, EVICT_SIZE) > 500);
	assert_int_equal(count(&world, METRIC_ID_DISK_ERRORS, DISK_TROUBLE_FULL, 0), 0);
	close_world(&world);
}

/* --- a disk that hangs --- */

static void a_hanging_disk_delays_a_caller_by_its_budget_and_once(void **state)
{
	struct world world;
	struct probe first, second;
	(void)state;
	open_world(&world, 1 << 24, 20);
	assert_true(keep(&world, "a", 1, 10));
	turn_until(&world, is_settled(&world, 1));
	hard_disk_hang(true);
	assert_true(keep(&world, "a", 2, 10));
	turn_until(&world, hard_disk_is_waited_for());
	if (look(&world, &first, "a", 1)) { /* else so much time has passed already that nobody asks */
		turn_until(&world, first.ended);
		assert_null(first.entry);
		assert_int_equal(count(&world, METRIC_ID_DISK_SKIPPED, DISK_SKIP_TIMEOUT, 0), 1);
	}
	/* from now on nobody waits at all: the thread has been at it for longer than the budget */
	for (uint64_t until_us = clock_now_us() + 25 * CLOCK_US_PER_MS; clock_now_us() < until_us;)
		turn(&world);
	for (unsigned i = 0; i < 1000; i++)
		assert_false(look(&world, &second, "a", 1));
	assert_true(count(&world, METRIC_ID_DISK_SKIPPED, DISK_SKIP_SLOW, 0) >= 1000);
	hard_disk_hang(false);
	turn_until(&world, is_settled(&world, 2));
	turn_until(&world, has(&world, "a", 1)); /* within its budget, which is short */
	turn_until(&world, has(&world, "a", 2));
	close_world(&world);
}

/* Queues are bounded: beyond them an answer is not kept, and neither is what it replaces. */
static void behind_a_hanging_disk_no_more_waits_than_may(void **state)
{
	struct world world;
	unsigned kept = 0;
	(void)state;
	open_world(&world, 1 << 26, BUDGET_MS);
	assert_true(keep(&world, "a", 1, 10));
	turn_until(&world, is_settled(&world, 1));
	hard_disk_hang(true);
	assert_true(keep(&world, "b", 0, 10));
	turn_until(&world, hard_disk_is_waited_for());
	while (keep(&world, "b", ++kept, 100000))
		assert_true(kept < 8192);
	assert_true(kept > 200);
	assert_false(keep(&world, "a", 1, 100000));
	assert_true(count(&world, METRIC_ID_DISK_SKIPPED, DISK_SKIP_BUSY, 0) >= 2);
	hard_disk_hang(false);
	turn_until(&world, count(&world, METRIC_ID_DISK_DURATION, DISK_JOB_REMOVE, 0) == 2);
	assert_false(has(&world, "a", 1));
	assert_true(has(&world, "b", 1));
	close_world(&world);
}

/* The process must end; what the thread uses must not be freed under it. */
static void a_disk_that_hangs_at_the_end_is_left_alone(void **state)
{
	struct world world;
	(void)state;
	open_world(&world, 1 << 24, 20);
	world.settings.snapshot_us = 0;
	hard_disk_hang(true);
	assert_true(keep(&world, "a", 1, 10));
	turn_until(&world, hard_disk_is_waited_for());
	assert_false(disk_stop(world.disk));
	hard_disk_hang(false);
	assert_true(disk_stop(world.disk));
	close_world(&world);
}

static void a_look_up_that_nobody_waits_for_comes_back_to_nobody(void **state)
{
	struct world world;
	struct probe probes[64];
	(void)state;
	open_world(&world, 1 << 24, BUDGET_MS);
	assert_true(keep(&world, "a", 1, 10));
	turn_until(&world, is_settled(&world, 1));
	for (unsigned round = 0; round < 40; round++) {
		for (size_t i = 0; i < countof(probes); i++)
			assert_true(look(&world, &probes[i], "a", 1));
		for (size_t i = round % 2; i < countof(probes); i += 2)
			tier_cancel(world.tier, &probes[i].lookup);
		for (size_t i = !(round % 2); i < countof(probes); i += 2) {
			turn_until(&world, probes[i].ended);
			assert_non_null(probes[i].entry);
			entry_unref(probes[i].entry);
		}
		for (size_t i = round % 2; i < countof(probes); i += 2)
			assert_int_equal(probes[i].ended, 0);
	}
	close_world(&world);
}

/* --- a disk that is full --- */

static void a_full_disk_is_begun_anew_and_calls_go_on(void **state)
{
	struct world world;
	(void)state;
	open_world(&world, 1 << 24, BUDGET_MS);
	assert_true(keep(&world, "a", 1, 10));
	turn_until(&world, is_settled(&world, 1));
	hard_disk_fill(true);
	assert_true(keep(&world, "a", 2, 10));
	turn_until(&world, status_of(&world).state == DISK_AWAY);
	assert_false(has(&world, "a", 1));
	assert_false(keep(&world, "a", 3, 10));
	assert_true(count(&world, METRIC_ID_DISK_ERRORS, DISK_TROUBLE_FULL, 0) >= 1);
	assert_true(count(&world, METRIC_ID_DISK_SKIPPED, DISK_SKIP_DOWN, 0) >= 2);
	hard_disk_fill(false);
	turn_until(&world, is_up(&world));
	assert_false(has(&world, "a", 1));
	turn_until(&world, keep(&world, "a", 4, 10));
	turn_until(&world, has(&world, "a", 4));
	close_world(&world);
}

/* A removal while the disk is away: what comes back with it is emptied first. */
static void what_could_not_be_removed_does_not_come_back(void **state)
{
	struct world one, other;
	(void)state;
	open_world(&one, 1 << 24, BUDGET_MS);
	assert_true(keep(&one, "a", 1, 10));
	assert_true(keep(&one, "a", 2, 10));
	turn_until(&one, is_settled(&one, 2));
	/* another gateway on the same place goes without it, and is told to forget an answer */
	other = one;
	static const struct metrics_names names;
	other.metrics = metrics_new(&names);
	other.meter = metrics_meter(other.metrics);
	other.cache = cache_new(1 << 20, NULL);
	other.loop = loop_new();
	other.disk = disk_new(&other.settings, other.cache, other.metrics);
	other.tier = disk_tier_new(other.disk, other.loop, other.meter);
	assert_true(disk_start(other.disk));
	turn_until(&other, status_of(&other).state == DISK_AWAY);
	assert_non_null(strstr(status_of(&other).trouble, "another process"));
	struct key *key = key_for(&one, "a", 1);
	assert_true(tier_remove(other.tier, key->digest, loop_now(other.loop)));
	key_unref(key);
	other.keys = NULL;
	go(&one);
	other.keys = key_maker_new(0, 10);
	turn_until(&other, status_of(&other).state == DISK_UP);
	turn_until(&other, keep(&other, "a", 3, 10));
	turn_until(&other, has(&other, "a", 3));
	assert_false(has(&other, "a", 1));
	assert_false(has(&other, "a", 2));
	close_world(&other);
}

/* --- no memory --- */

static void without_memory_it_is_not_made(void **state)
{
	static const struct metrics_names names;
	const struct disk_settings settings = { "/tmp/jitney-none", 1 << 20, 1000, 1000, 0, NULL };
	struct cache *cache = cache_new(1 << 20, NULL);
	struct loop *loop = loop_new();
	bool done = false;
	(void)state;
	for (size_t n = 1; !done; n++) {
		struct metrics *metrics = metrics_new(&names);
		struct meter *meter = metrics_meter(metrics);
		alloc_fail_at(n);
		struct disk *disk = disk_new(&settings, cache, metrics);
		struct tier *tier = disk ? disk_tier_new(disk, loop, meter) : NULL;
		alloc_reset();
		done = tier != NULL;
		tier_free(tier);
		disk_free(disk);
		metrics_free(metrics);
	}
	loop_free(loop);
	cache_free(cache);
}

/* Wherever it runs out, an answer is found or not, and none is found that was removed. */
static void without_memory_it_forgets(void **state)
{
	struct world world;
	(void)state;
	open_world(&world, 1 << 24, BUDGET_MS);
	for (unsigned n = 1; n < 60; n++) {
		struct key *key = key_for(&world, "a", n);
		struct entry *entry = entry_for(&world, key, 5000);
		struct probe probe = { .lookup.done = note };
		alloc_fail_at(n % 12 + 1);
		tier_put(world.tier, entry, 0, loop_now(world.loop));
		if (tier_get(world.tier, &probe.lookup, key, loop_now(world.loop)))
			turn_until(&world, probe.ended);
		entry_unref(probe.entry);
		tier_remove(world.tier, key->digest, loop_now(world.loop));
		turn(&world);
		alloc_reset();
		assert_false(has(&world, "a", n));
		entry_unref(entry);
		key_unref(key);
	}
	turn_until(&world, is_up(&world));
	/* what is kept while the thread begins anew, or empties all, is lost with the rest: it is kept once more */
	turn_until(&world, has(&world, "a", 1000) || (!keep(&world, "a", 1000, 10) && false));
	close_world(&world);
}

/* --- everything at once --- */

/* What is found is never older than what was stored last or removed: bodies carry their round. */
static void mixed_operations(void **state)
{
	struct world world;
	const char *wanted = getenv("JITNEY_DISK_OPERATIONS");
	unsigned operations = wanted ? (unsigned)strtoul(wanted, NULL, 10) : 20000;
	static uint64_t stored_us[MIXED_KEYS]; /* by key: when it was stored last; 0: it was removed */
	(void)state;
	memset(stored_us, 0, sizeof stored_us);
	open_world(&world, 1 << 20, BUDGET_MS);
	for (unsigned i = 0; i < operations; i++) {
		uint64_t chance = mix64(i);
		unsigned number = (unsigned)(chance >> 8) % MIXED_KEYS;
		struct key *key = key_for(&world, "a", number);
		if (chance % 16 < 5) {
			struct entry *entry = entry_for(&world, key, (chance >> 32) % 6000);
			const struct cache_epoch epoch = cache_epoch_now(world.cache, key);
			entry->number = epoch.number;
			stored_us[number] = entry->stored_us;
			cache_admit(world.cache, entry, &epoch, &ask_no_tags);
			tier_put(world.tier, entry, 0, loop_now(world.loop));
			entry_unref(entry);
		} else if (chance % 16 == 5) {
			stored_us[number] = 0;
			tier_remove(world.tier, key->digest, loop_now(world.loop));
		} else if (chance % 4096 == 6) {
			memset(stored_us, 0, sizeof stored_us);
			purge(&world, DISK_PURGE_ALL, SLICE(""));
		} else {
			struct probe probe = { .lookup.done = note };
			if (tier_get(world.tier, &probe.lookup, key, loop_now(world.loop)))
				turn_until(&world, probe.ended);
			if (probe.entry) {
				/* by the wall clock and back: a few microseconds are lost */
				assert_true(stored_us[number] && probe.entry->stored_us + 50000 > stored_us[number]);
				entry_unref(probe.entry);
			}
		}
		key_unref(key);
		if (i % 64 == 0)
			turn(&world);
	}
	assert_int_equal(count(&world, METRIC_ID_DISK_ERRORS, DISK_TROUBLE_DAMAGED, 0), 0);
	assert_int_equal(count(&world, METRIC_ID_DISK_ERRORS, DISK_TROUBLE_VALUE, 0), 0);
	go(&world);
	come(&world);
	close_world(&world);
}

static void nobody_else_may_read_it(void **state)
{
	struct world world;
	struct stat seen;
	char path[128];
	(void)state;
	mode_t before = umask(0);
	open_world(&world, 4 << 20, BUDGET_MS);
	umask(before);
	snprintf(path, sizeof path, "%s/cache.db", world.place);
	assert_int_equal(stat(path, &seen), 0);
	assert_int_equal(seen.st_mode & 0777, 0600);
	go(&world);
	assert_int_equal(chmod(path, 0644), 0); /* as an earlier version left it */
	come(&world);
	assert_int_equal(stat(path, &seen), 0);
	assert_int_equal(seen.st_mode & 0777, 0600);
	close_world(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_else_may_read_it),
		cmocka_unit_test(what_is_put_is_found_until_it_is_removed),
		cmocka_unit_test(answers_outlive_the_process),
		cmocka_unit_test(the_most_wanted_are_written_at_the_end),
		cmocka_unit_test(what_a_purge_would_drop_is_counted_and_stays),
		cmocka_unit_test(purges_by_tool_prefix_and_all),
		cmocka_unit_test(a_purge_that_is_done_outlives_a_power_cut),
		cmocka_unit_test(it_stays_within_its_size),
		cmocka_unit_test(a_hanging_disk_delays_a_caller_by_its_budget_and_once),
		cmocka_unit_test(behind_a_hanging_disk_no_more_waits_than_may),
		cmocka_unit_test(a_disk_that_hangs_at_the_end_is_left_alone),
		cmocka_unit_test(a_look_up_that_nobody_waits_for_comes_back_to_nobody),
		cmocka_unit_test(a_full_disk_is_begun_anew_and_calls_go_on),
		cmocka_unit_test(what_could_not_be_removed_does_not_come_back),
		cmocka_unit_test(without_memory_it_is_not_made),
		cmocka_unit_test(without_memory_it_forgets),
		cmocka_unit_test(mixed_operations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
