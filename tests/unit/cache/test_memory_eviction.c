/* SPDX-License-Identifier: Apache-2.0 */
/* What the memory tier keeps when room is short: against LRU, through floods of keys asked for once, with its ghosts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/support/memory_entries.h"

/* --- what stays --- */

enum { ZIPF_KEYS = 10000, ZIPF_ROOM = 1000, ZIPF_REQUESTS = 200000 };

static double weights[ZIPF_KEYS]; /* cumulative */

static uint32_t roll_zipf(uint64_t dice)
{
	double at = (double)(mix64(dice) >> 11) / (double)(UINT64_C(1) << 53) * weights[ZIPF_KEYS - 1];
	uint32_t low = 0, high = ZIPF_KEYS - 1;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (weights[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* LRU by the book: an array, newest first. */
struct lru {
	uint32_t ids[ZIPF_ROOM];
	size_t count;
};

static bool lru_access(struct lru *lru, uint32_t id)
{
	size_t at = 0;
	while (at < lru->count && lru->ids[at] != id)
		at++;
	bool hit = at < lru->count;
	if (!hit && lru->count < ZIPF_ROOM)
		at = lru->count++;
	else if (!hit)
		at = ZIPF_ROOM - 1;
	memmove(&lru->ids[1], &lru->ids[0], at * sizeof lru->ids[0]);
	lru->ids[0] = id;
	return hit;
}

static bool memory_access(struct memory *memory, uint64_t id)
{
	if (get(memory, id, 0) >= 0)
		return true;
	put(memory, id, id, 10, never);
	return false;
}

static void on_zipf_it_beats_lru_by_five_points(void **state)
{
	(void)state;
	struct memory *memory = memory_new(bytes_for(ZIPF_ROOM, sample_bytes(10)), 1);
	static struct lru lru;
	int hits = 0, lru_hits = 0;
	for (uint32_t i = 0; i < ZIPF_KEYS; i++)
		weights[i] = (i ? weights[i - 1] : 0) + 1.0 / (i + 1);
	for (uint64_t i = 0; i < ZIPF_REQUESTS; i++) {
		uint32_t id = roll_zipf(i);
		hits += memory_access(memory, id);
		lru_hits += lru_access(&lru, id);
	}
	assert_in_range(memory_stats(memory).entries, ZIPF_ROOM - 1, ZIPF_ROOM);
	print_message("hits: %.1f %%, LRU %.1f %%\n", hits * 100.0 / ZIPF_REQUESTS, lru_hits * 100.0 / ZIPF_REQUESTS);
	assert_true(hits >= lru_hits + ZIPF_REQUESTS / 20);
	memory_free(memory);
}

static void keys_asked_for_once_do_not_flush_hot_ones(void **state)
{
	(void)state;
	enum { ROOM = 1000, HOT = 500, ONCE = 100000 };
	struct memory *memory = memory_new(bytes_for(ROOM, sample_bytes(10)), 1);
	for (int round = 0; round < 3; round++)
		for (uint64_t id = 0; id < HOT; id++)
			memory_access(memory, id);
	for (uint64_t id = 0; id < ONCE; id++)
		memory_access(memory, 1000000 + id);
	for (uint64_t id = 0; id < HOT; id++)
		assert_int_equal(get(memory, id, 0), id);
	memory_free(memory);
}

static void a_key_that_comes_back_soon_goes_to_main(void **state)
{
	(void)state;
	enum { ROOM = 1000 };
	struct memory *memory = memory_new(bytes_for(ROOM, sample_bytes(10)), 1);
	for (uint64_t id = 0; id < ROOM; id++) /* main is made of these */
		for (int times = 0; times < 3; times++)
			memory_access(memory, id);
	for (uint64_t id = 0; id < 200; id++)
		memory_access(memory, 5000 + id);
	assert_int_equal(get(memory, 5000, 0), -1); /* has passed through the small queue, left its ghost */
	memory_access(memory, 5000);
	for (uint64_t id = 0; id < 500; id++)
		memory_access(memory, 9000 + id);
	assert_int_equal(get(memory, 5000, 0), 5000);
	assert_int_equal(get(memory, 5001, 0), -1);
	memory_free(memory);
}

/* Large entries, so that there are far more places for ghosts than entries: age must end them, not lack of room. */
static void a_key_that_comes_back_late_starts_anew(void **state)
{
	(void)state;
	enum { ROOM = 100, BODY = 5 * KIB };
	struct memory *memory = memory_new(bytes_for(ROOM, sample_bytes(BODY)), 1);
	for (uint64_t id = 0; id < ROOM; id++) {
		put(memory, id, id, BODY, never);
		for (int times = 0; times < 3; times++)
			assert_int_equal(get(memory, id, 0), id);
	}
	for (uint64_t id = 0; id < 3 * ROOM; id++)
		put(memory, 5000 + id, id, BODY, never);
	put(memory, 5000, 1, BODY, never);
	for (uint64_t id = 0; id < ROOM; id++)
		put(memory, 9000 + id, id, BODY, never);
	assert_int_equal(get(memory, 5000, 0), -1);
	memory_free(memory);
}

static void a_refreshed_answer_keeps_its_place(void **state)
{
	(void)state;
	enum { ROOM = 1000 };
	struct memory *memory = memory_new(bytes_for(ROOM, sample_bytes(10)), 1);
	for (int times = 0; times < 3; times++)
		memory_access(memory, 1);
	put(memory, 1, 2, 10, never);
	for (uint64_t id = 0; id < 5 * ROOM; id++)
		memory_access(memory, 9000 + id);
	assert_int_equal(get(memory, 1, 0), 2);
	memory_free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_zipf_it_beats_lru_by_five_points),
		cmocka_unit_test(keys_asked_for_once_do_not_flush_hot_ones),
		cmocka_unit_test(a_key_that_comes_back_soon_goes_to_main),
		cmocka_unit_test(a_key_that_comes_back_late_starts_anew),
		cmocka_unit_test(a_refreshed_answer_keeps_its_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
