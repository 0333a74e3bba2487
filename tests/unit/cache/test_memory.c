/* SPDX-License-Identifier: Apache-2.0 */
/* The memory tier: never more bytes than allowed, never another answer than the last one put, hot keys stay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <malloc.h>
#include <pthread.h>

#include "tests/support/alloc_fail.h"
#include "tests/support/memory_entries.h"
#include "tests/support/memory_purge.h"
#include "tests/support/valgrind.h"

static bool remove_id(struct memory *memory, uint64_t id)
{
	struct key *key = key_of_id(id);
	bool removed = memory_remove(memory, key);
	key_unref(key);
	return removed;
}

static void what_was_put_is_got_until_removed(void **state)
{
	(void)state;
	struct memory *memory = memory_new(ROOMY, 4);
	assert_int_equal(get(memory, 1, 0), -1);
	assert_true(put(memory, 1, 11, 100, never));
	assert_true(put(memory, 2, 22, 100, never));
	assert_int_equal(get(memory, 1, 0), 11);
	assert_int_equal(get(memory, 2, 0), 22);
	assert_int_equal(memory_stats(memory).entries, 2);
	assert_true(remove_id(memory, 1));
	assert_false(remove_id(memory, 1));
	assert_int_equal(get(memory, 1, 0), -1);
	assert_int_equal(get(memory, 2, 0), 22);
	assert_int_equal(memory_stats(memory).evictions[EVICT_PURGED], 1);
	memory_free(memory);
	memory_free(NULL);
}

static void a_newer_answer_replaces_the_older_one(void **state)
{
	(void)state;
	struct memory *memory = memory_new(ROOMY, 1);
	put(memory, 1, 11, 100, never);
	uint64_t before = memory_stats(memory).bytes;
	put(memory, 1, 12, 100, never);
	assert_int_equal(get(memory, 1, 0), 12);
	struct memory_stats stats = memory_stats(memory);
	assert_int_equal(stats.entries, 1);
	assert_int_equal(stats.bytes, before);
	assert_int_equal(stats.evictions[EVICT_REPLACED], 1);
	memory_free(memory);
}

static void keys_of_the_same_hash_are_told_apart(void **state)
{
	(void)state;
	struct memory *memory = memory_new(ROOMY, 4);
	for (unsigned id = 0; id < 4; id++) {
		struct key *key = key_with_hash(id, 16, 7);
		struct entry *entry = make_entry(key, id, 10, never);
		assert_true(memory_put(memory, entry));
		entry_unref(entry);
		key_unref(key);
	}
	for (unsigned id = 0; id < 6; id++) {
		struct key *key = key_with_hash(id, id == 5 ? 8 : 16, 7);
		struct entry *entry = memory_get(memory, key, 0);
		assert_int_equal(entry ? (int)serial_of(entry) : -1, id < 4 ? (int)id : -1);
		entry_unref(entry);
		key_unref(key);
	}
	memory_free(memory);
}

static void what_is_too_large_is_not_stored_and_drops_what_it_outdates(void **state)
{
	(void)state;
	struct memory *memory = memory_new(64 * KIB, 1);
	assert_true(put(memory, 1, 11, 100, never));
	assert_true(put(memory, 2, 22, 7 * KIB, never));
	assert_false(put(memory, 1, 12, 8 * KIB, never));
	assert_int_equal(get(memory, 1, 0), -1);
	assert_int_equal(get(memory, 2, 0), 22);
	struct memory_stats stats = memory_stats(memory);
	assert_int_equal(stats.evictions[EVICT_TOO_LARGE], 1);
	assert_int_equal(stats.evictions[EVICT_REPLACED], 1);
	memory_free(memory);
	memory = memory_new(1, 1); /* not even the tables fit */
	assert_false(put(memory, 1, 11, 1, never));
	assert_int_equal(get(memory, 1, 0), -1);
	memory_free(memory);
}

static void an_entry_is_gone_at_the_very_microsecond(void **state)
{
	(void)state;
	struct memory *memory = memory_new(ROOMY, 1);
	put(memory, 1, 11, 100, 1000);
	assert_int_equal(get(memory, 1, 999), 11);
	assert_int_equal(get(memory, 1, 1000), -1);
	assert_int_equal(memory_stats(memory).entries, 0);
	assert_int_equal(memory_stats(memory).evictions[EVICT_EXPIRED], 1);
	memory_free(memory);
}

static void the_longest_grace_decides_when_an_entry_is_gone(void **state)
{
	(void)state;
	struct entry entry = { .fresh_until_us = 10, .revalidate_until_us = 10, .error_until_us = 10 };
	assert_int_equal(entry_gone_us(&entry), 10);
	entry.revalidate_until_us = 30;
	assert_int_equal(entry_gone_us(&entry), 30);
	entry.error_until_us = 20;
	assert_int_equal(entry_gone_us(&entry), 30);
	entry.error_until_us = 40;
	assert_int_equal(entry_gone_us(&entry), 40);
}

static bool is_odd(struct entry *entry, void *context)
{
	(*(size_t *)context)++;
	return serial_of(entry) % 2;
}

static void a_purge_drops_all_that_match_and_nothing_else(void **state)
{
	(void)state;
	enum { COUNT = 1001 };
	struct memory *memory = memory_new(ROOMY, 8);
	size_t seen = 0;
	for (uint64_t id = 0; id < COUNT; id++)
		put(memory, id, id, 10, never);
	assert_int_equal(purge_matching(memory, is_odd, &seen), COUNT / 2);
	assert_int_equal(seen, COUNT);
	for (uint64_t id = 0; id < COUNT; id++)
		assert_int_equal(get(memory, id, 0), id % 2 ? -1 : (int64_t)id);
	assert_int_equal(memory_stats(memory).entries, COUNT - COUNT / 2);
	assert_int_equal(memory_stats(memory).evictions[EVICT_PURGED], COUNT / 2);
	memory_free(memory);
}

static uint64_t entries_of(struct memory *memory)
{
	return memory_stats(memory).entries;
}

static void what_is_gone_is_dropped_to_the_microsecond(void **state)
{
	(void)state;
	enum { COUNT = 1000 };
	static const uint64_t lives_us[] = { 1, 999999, 1000000, 61000000, 5000000000, 500000000000, UINT64_MAX };
	struct memory *memory = memory_new(ROOMY, 8);
	for (uint64_t id = 0; id < COUNT; id++)
		put(memory, id, id, 10, lives_us[id % countof(lives_us)]);
	for (size_t i = 0; i < countof(lives_us); i++) {
		uint64_t before = entries_of(memory);
		memory_expire(memory, lives_us[i] - 1, SIZE_MAX);
		assert_int_equal(entries_of(memory), before);
		memory_expire(memory, lives_us[i], SIZE_MAX);
		assert_in_range(before - entries_of(memory), COUNT / 7, COUNT / 7 + 1);
	}
	assert_int_equal(entries_of(memory), 0);
	assert_int_equal(memory_stats(memory).evictions[EVICT_EXPIRED], COUNT);
	memory_free(memory);
}

static void much_that_is_gone_at_once_goes_a_part_at_a_time(void **state)
{
	(void)state;
	enum { COUNT = 1000, BUDGET = 64 };
	struct memory *memory = memory_new(ROOMY, 8);
	size_t steps = 0;
	for (uint64_t id = 0; id < COUNT; id++)
		put(memory, id, id, 10, id % 4 ? 1000 : never);
	for (uint64_t left = COUNT; left > COUNT / 4; steps++) {
		memory_expire(memory, 1000, BUDGET);
		assert_in_range(entries_of(memory), left > BUDGET ? left - BUDGET : 0, left);
		left = entries_of(memory);
		assert_in_range(steps, 0, 2 * COUNT / BUDGET);
	}
	/* a later second: what lives on is looked at once a round, and stays */
	for (uint64_t now_us = 2000000; now_us < 3000000000; now_us += 1000000)
		memory_expire(memory, now_us, BUDGET);
	assert_int_equal(entries_of(memory), COUNT / 4);
	for (uint64_t id = 0; id < COUNT; id++)
		assert_int_equal(get(memory, id, 0), id % 4 ? -1 : (int64_t)id);
	memory_free(memory);
}

static void an_entry_outlives_its_eviction_and_the_memory(void **state)
{
	(void)state;
	struct memory *memory = memory_new(ROOMY, 1);
	struct key *keys[] = { key_of_id(1), key_of_id(2) };
	struct entry *held[2];
	put(memory, 1, 11, 100, never);
	put(memory, 2, 22, 100, never);
	for (int i = 0; i < 2; i++)
		held[i] = memory_get(memory, keys[i], 0);
	assert_true(remove_id(memory, 1));
	memory_free(memory);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(atomic_load(&held[i]->refs), 1);
		assert_int_equal(serial_of(held[i]), i ? 22 : 11);
		assert_true(key_equal(held[i]->key, keys[i]));
		entry_unref(held[i]);
		key_unref(keys[i]);
	}
}

static void one_big_entry_displaces_thousands_of_small_ones(void **state)
{
	(void)state;
	struct memory *memory = memory_new(ROOMY, 1);
	for (uint64_t id = 0; id < 20000; id++)
		put(memory, id, id, 1, never);
	uint64_t before = memory_stats(memory).entries;
	assert_true(put(memory, 99999, 1, 480 * KIB, never));
	struct memory_stats stats = memory_stats(memory);
	assert_in_range(stats.entries, before - 1200, before - 700);
	assert_in_range(stats.bytes, 0, ROOMY);
	assert_int_equal(get(memory, 99999, 0), 1);
	memory_free(memory);
}

/* --- random operations against a model that never evicts --- */

enum { MODEL_KEYS = 300 };

struct model {
	struct memory *memory;
	uint64_t now_us;
	uint64_t serial[MODEL_KEYS]; /* 0: not there */
	uint64_t gone_us[MODEL_KEYS];
	uint64_t puts, lost;
	unsigned seed;
};

static void model_put(struct model *model, uint64_t id)
{
	uint64_t serial = ++model->puts, gone_us = model->now_us + (uint64_t)(rand_r(&model->seed) % 3000);
	size_t len = (size_t)(rand_r(&model->seed) % (rand_r(&model->seed) % 10 ? 600 : 12 * KIB));
	bool stored = put(model->memory, id, serial, len, gone_us);
	model->serial[id] = stored ? serial : 0;
	model->gone_us[id] = gone_us;
	model->puts -= !stored;
	if (!stored)
		assert_in_range(len, 3 * KIB, SIZE_MAX);
}

static void model_get(struct model *model, uint64_t id)
{
	int64_t got = get(model->memory, id, model->now_us);
	if (got >= 0) {
		assert_int_equal(got, model->serial[id]);
		assert_true(model->now_us < model->gone_us[id]);
	} else {
		model->lost += model->serial[id] && model->now_us < model->gone_us[id];
		model->serial[id] = 0;
	}
}

static void model_step(struct model *model)
{
	uint64_t id = (uint64_t)(rand_r(&model->seed) % MODEL_KEYS);
	int what = rand_r(&model->seed) % 1000;
	if (what < 400) {
		model_put(model, id);
	} else if (what < 900) {
		model_get(model, id);
	} else if (what < 950) {
		bool removed = remove_id(model->memory, id);
		assert_true(!removed || model->serial[id]);
		model->serial[id] = 0;
	} else if (what < 998) {
		memory_expire(model->memory, model->now_us, 50);
	} else {
		size_t seen = 0;
		purge_matching(model->memory, is_odd, &seen);
		for (id = 0; id < MODEL_KEYS; id++)
			model->serial[id] *= model->serial[id] % 2 == 0;
	}
	model->now_us += (uint64_t)(rand_r(&model->seed) % 3);
}

static uint64_t sum_of_evictions(const struct memory_stats *stats)
{
	uint64_t sum = 0;
	for (int reason = 0; reason < EVICT_REASON_COUNT; reason++)
		sum += reason == EVICT_TOO_LARGE ? 0 : stats->evictions[reason];
	return sum;
}

static struct memory_stats run_model(size_t bytes, size_t shards, unsigned seed)
{
	struct model model = { .memory = memory_new(bytes, shards), .seed = seed };
	struct memory_stats stats;
	uint64_t base = memory_stats(model.memory).bytes;
	for (int i = 0; i < 20000; i++) {
		model_step(&model);
		stats = memory_stats(model.memory);
		assert_in_range(stats.bytes, base, bytes);
		/* whatever came in went out for a reason or is still there */
		assert_int_equal(model.puts - stats.entries, sum_of_evictions(&stats));
	}
	assert_in_range(model.lost, 0, stats.evictions[EVICT_SIZE]);
	size_t seen = 0;
	purge_matching(model.memory, is_odd, &seen);
	memory_expire(model.memory, never, SIZE_MAX);
	assert_int_equal(memory_stats(model.memory).bytes, base); /* no byte is forgotten */
	assert_int_equal(memory_stats(model.memory).entries, 0);
	memory_free(model.memory);
	return stats;
}

static void random_operations_agree_with_a_model_within_the_bytes_allowed(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 3; seed++) {
		assert_true(run_model(64 * KIB, 1, seed).evictions[EVICT_SIZE] > 100);
		assert_true(run_model(128 * KIB, 4, seed).evictions[EVICT_SIZE] > 100);
		assert_true(run_model(ROOMY, 4, seed).evictions[EVICT_SIZE] == 0);
	}
}

/* --- memory and threads --- */

static void a_memory_is_made_whole_or_not_at_all(void **state)
{
	(void)state;
	struct memory *memory = NULL;
	size_t failures = 0;
	while (!memory) {
		alloc_fail_at(failures + 1);
		memory = memory_new(ROOMY, 2);
		alloc_reset();
		failures += !memory;
	}
	assert_int_equal(failures, 7);
	memory_free(memory);
}

static void an_entry_without_memory_takes_no_reference(void **state)
{
	(void)state;
	struct key *key = key_of_id(1);
	struct answer *answer = answer_result(SLICE("{}"), true, NULL);
	alloc_fail_at(1);
	assert_null(entry_new(key, answer));
	alloc_reset();
	assert_int_equal(atomic_load(&key->refs), 1);
	assert_int_equal(atomic_load(&answer->refs), 1);
	key_unref(key);
	answer_unref(answer);
}

static void neither_get_nor_put_allocates(void **state)
{
	(void)state;
	struct memory *memory = memory_new(64 * KIB, 1);
	struct key *key = key_of_id(77);
	struct entry *entry = make_entry(key, 77, 1000, never);
	for (uint64_t id = 0; id < 1000; id++)
		put(memory, id, id, 10, never);
	alloc_reset();
	assert_true(memory_put(memory, entry));
	struct entry *got = memory_get(memory, key, 0);
	assert_ptr_equal(got, entry);
	assert_int_equal(alloc_count(), 0);
	entry_unref(got);
	entry_unref(entry);
	key_unref(key);
	memory_free(memory);
}

static double accounted_to_real(size_t body_len)
{
	enum { COUNT = 2000 };
	struct memory *memory = memory_new(64 * 1024 * KIB, 1);
	uint64_t accounted = memory_stats(memory).bytes;
	malloc_trim(0);
	size_t real = mallinfo2().uordblks + mallinfo2().hblkhd;
	for (uint64_t id = 0; id < COUNT; id++)
		put(memory, id, id, body_len, never);
	real = mallinfo2().uordblks + mallinfo2().hblkhd - real;
	accounted = memory_stats(memory).bytes - accounted;
	memory_free(memory);
	return (double)accounted / (double)real;
}

static void accounted_bytes_are_the_heap_s_within_ten_percent(void **state)
{
	(void)state;
	static const size_t lens[] = { 0, 200, 5000, 20000 };
	if (!heap_is_own())
		skip(); /* a sanitizer's heap, or valgrind's, has other overheads */
	for (size_t i = 0; i < countof(lens); i++) {
		double ratio = accounted_to_real(lens[i]);
		print_message("body of %zu bytes: accounted / real = %.3f\n", lens[i], ratio);
		assert_true(ratio > 0.9 && ratio < 1.1);
	}
}

struct hammer {
	struct memory *memory;
	unsigned seed;
	bool expires; /* one of them */
	bool wrong;
};

static void expire_if_allowed(struct hammer *self, uint64_t now_us)
{
	if (self->expires)
		memory_expire(self->memory, now_us, 100);
}

static void *hammer(void *argument)
{
	struct hammer *self = argument;
	for (int i = 0; i < 20000; i++) {
		uint64_t id = (uint64_t)(rand_r(&self->seed) % 500), now_us = (uint64_t)i;
		int what = rand_r(&self->seed) % 100;
		size_t seen = 0;
		int64_t got = get(self->memory, id, now_us);
		self->wrong |= got >= 0 && got != (int64_t)id;
		if (what < 60)
			put(self->memory, id, id, (size_t)(rand_r(&self->seed) % 2000), now_us + 500);
		else if (what < 97)
			remove_id(self->memory, id);
		else if (what < 99)
			expire_if_allowed(self, now_us);
		else
			purge_matching(self->memory, is_odd, &seen);
		struct memory_stats stats = memory_stats(self->memory);
		self->wrong |= stats.bytes > stats.capacity_bytes;
	}
	return NULL;
}

static void four_threads_do_everything_at_once(void **state)
{
	(void)state;
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	struct hammer hammers[THREADS];
	struct memory *memory = memory_new(256 * KIB, 2);
	for (unsigned i = 0; i < THREADS; i++) {
		hammers[i] = (struct hammer){ .memory = memory, .seed = i + 1, .expires = i == 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, &hammers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_false(hammers[i].wrong);
	}
	assert_true(memory_stats(memory).evictions[EVICT_SIZE] > 0);
	memory_free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_got_until_removed),
		cmocka_unit_test(a_newer_answer_replaces_the_older_one),
		cmocka_unit_test(keys_of_the_same_hash_are_told_apart),
		cmocka_unit_test(what_is_too_large_is_not_stored_and_drops_what_it_outdates),
		cmocka_unit_test(an_entry_is_gone_at_the_very_microsecond),
		cmocka_unit_test(the_longest_grace_decides_when_an_entry_is_gone),
		cmocka_unit_test(a_purge_drops_all_that_match_and_nothing_else),
		cmocka_unit_test(what_is_gone_is_dropped_to_the_microsecond),
		cmocka_unit_test(much_that_is_gone_at_once_goes_a_part_at_a_time),
		cmocka_unit_test(an_entry_outlives_its_eviction_and_the_memory),
		cmocka_unit_test(one_big_entry_displaces_thousands_of_small_ones),
		cmocka_unit_test(random_operations_agree_with_a_model_within_the_bytes_allowed),
		cmocka_unit_test(a_memory_is_made_whole_or_not_at_all),
		cmocka_unit_test(an_entry_without_memory_takes_no_reference),
		cmocka_unit_test(neither_get_nor_put_allocates),
		cmocka_unit_test(accounted_bytes_are_the_heap_s_within_ten_percent),
		cmocka_unit_test(four_threads_do_everything_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
