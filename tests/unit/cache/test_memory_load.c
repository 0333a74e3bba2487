/* SPDX-License-Identifier: Apache-2.0 */
/* The memory tier under load: what it accounts is what the process grows by; a million mixed operations lose nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "cache/memory.h"
#include "tests/support/cache_keys.h"
#include "tests/support/memory_purge.h"
#include "tests/support/valgrind.h"

enum { MIB = 1024 * 1024, THREADS = 4, OPERATIONS = 1000000, IDS = 5000 };

/* The body is the id, over and over. */
static struct entry *make_entry(uint64_t id, size_t words, uint64_t gone_us)
{
	uint64_t body[2048];
	struct key *key = key_with_hash(id, 40 + id % 100, mix64(id));
	for (size_t i = 0; i < words; i++)
		body[i] = id;
	struct answer *answer = answer_result((struct slice){ (char *)body, words * sizeof *body }, false, NULL);
	struct entry *entry = answer ? entry_new(key, answer) : NULL;
	key_unref(key);
	answer_unref(answer);
	if (!entry)
		abort();
	entry->fresh_until_us = gone_us;
	return entry;
}

/* 1 to 2048 words; small ones are as frequent as large ones are. */
static size_t roll_words(unsigned *seed)
{
	size_t most = (size_t)1 << rand_r(seed) % 12;
	return 1 + (size_t)rand_r(seed) % most;
}

static size_t resident_bytes(void)
{
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
	fclose(file);
	return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void the_process_grows_by_what_is_accounted(void **state)
{
	(void)state;
	enum { ROUNDS = 200000 };
	if (!heap_is_own())
		skip(); /* a sanitizer's heap, or valgrind's, has other overheads */
	unsigned seed = 1;
	malloc_trim(0);
	size_t before = resident_bytes();
	struct memory *memory = memory_new(64 * MIB, 8);
	for (uint64_t id = 0; id < ROUNDS; id++) { /* several times what fits */
		struct entry *entry = make_entry(id, roll_words(&seed), UINT64_MAX);
		assert_true(memory_put(memory, entry));
		entry_unref(entry);
	}
	size_t grown = resident_bytes() - before;
	struct memory_stats stats = memory_stats(memory);
	double ratio = (double)stats.bytes / (double)grown;
	print_message("%llu entries: accounted / resident = %.3f\n", (unsigned long long)stats.entries, ratio);
	assert_true(stats.evictions[EVICT_SIZE] > ROUNDS / 4);
	assert_true(ratio > 0.9 && ratio < 1.1);
	memory_free(memory);
}

/* --- everything at once --- */

struct worker {
	struct memory *memory;
	unsigned seed;
	bool expires; /* one of them */
	bool wrong;
	uint64_t stored, hits;
};

static bool is_seventh(struct entry *entry, void *context)
{
	(void)context;
	uint64_t id;
	memcpy(&id, answer_body(entry->answer).at, sizeof id);
	return id % 7 == 0;
}

static void look(struct worker *worker, uint64_t id, uint64_t now_us)
{
	struct key *key = key_with_hash(id, 40 + id % 100, mix64(id));
	struct entry *entry = memory_get(worker->memory, key, now_us);
	key_unref(key);
	if (!entry)
		return;
	struct slice body = answer_body(entry->answer);
	uint64_t first, last;
	memcpy(&first, body.at, sizeof first);
	memcpy(&last, body.at + body.len - sizeof last, sizeof last);
	worker->wrong |= first != id || last != id || now_us >= entry_gone_us(entry);
	worker->hits++;
	entry_unref(entry);
}

static void operate(struct worker *worker, uint64_t now_us)
{
	uint64_t id = (uint64_t)rand_r(&worker->seed) % IDS;
	int what = rand_r(&worker->seed) % 10000;
	if (what < 7000) {
		look(worker, id, now_us);
	} else if (what < 9800) {
		uint64_t lives_us = (uint64_t)(rand_r(&worker->seed) % 30) * CLOCK_US_PER_S;
		struct entry *entry = make_entry(id, roll_words(&worker->seed), now_us + lives_us);
		worker->stored += memory_put(worker->memory, entry);
		entry_unref(entry);
	} else if (what < 9990) {
		struct key *key = key_with_hash(id, 40 + id % 100, mix64(id));
		memory_remove(worker->memory, key);
		key_unref(key);
	} else if (what < 9998) {
		if (worker->expires)
			memory_expire(worker->memory, now_us, 2000);
	} else {
		purge_matching(worker->memory, is_seventh, NULL);
	}
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	for (uint64_t i = 0; i < OPERATIONS / THREADS; i++)
		operate(worker, i * 1000);
	return NULL;
}

static void a_million_mixed_operations_by_four_threads_lose_nothing(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	struct worker workers[THREADS];
	struct memory *memory = memory_new(4 * MIB, 4);
	uint64_t base = memory_stats(memory).bytes, stored = 0, hits = 0, left = 0;
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .memory = memory, .seed = i + 1, .expires = i == 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_false(workers[i].wrong);
		stored += workers[i].stored;
		hits += workers[i].hits;
	}
	struct memory_stats stats = memory_stats(memory);
	for (int reason = 0; reason < EVICT_REASON_COUNT; reason++) {
		if (reason != EVICT_TOO_LARGE)
			left += stats.evictions[reason];
		assert_true(reason == EVICT_TOO_LARGE || stats.evictions[reason] > 0);
	}
	assert_int_equal(stored, stats.entries + left); /* what came in went out for a reason or is still there */
	assert_true(hits > OPERATIONS / 100);
	memory_expire(memory, UINT64_MAX, SIZE_MAX);
	assert_int_equal(memory_stats(memory).entries, 0);
	assert_int_equal(memory_stats(memory).bytes, base);
	memory_free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_process_grows_by_what_is_accounted),
		cmocka_unit_test(a_million_mixed_operations_by_four_threads_lose_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
