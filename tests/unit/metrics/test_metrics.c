/* SPDX-License-Identifier: Apache-2.0 */
/* Meters: each thread counts for itself, a scrape sums, and a thousand tools cost next to nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/outcome.h"
#include "metrics/metrics.h"
#include "metrics/shape.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/valgrind.h"

static const char *const tools[] = { "search", "forecast", "mail" };
static const char *const upstreams[] = { "one", "two" };
static const char *const endpoints[] = { "http://a", "http://b", "http://c" };
static const size_t endpoint_upstreams[] = { 0, 1, 1 };
static const struct metrics_names names = { tools, 3, upstreams, 2, endpoints, endpoint_upstreams, 3, 2 };

static int setup(void **state)
{
	*state = metrics_new(&names);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	metrics_free(*state);
	return 0;
}

static void counters_of_all_threads_are_summed(void **state)
{
	struct metrics *metrics = *state;
	struct meter *a = metrics_meter(metrics), *b = metrics_meter(metrics);
	meter_add(a, METRIC_ID_REQUESTS, 1, OUTCOME_OK, 2);
	meter_add(b, METRIC_ID_REQUESTS, 1, OUTCOME_OK, 40);
	meter_add(b, METRIC_ID_REQUESTS, 1, OUTCOME_CANCELLED, 5);
	assert_int_equal(metrics_read(metrics, METRIC_ID_REQUESTS, 1, OUTCOME_OK), 42);
	assert_int_equal(metrics_read(metrics, METRIC_ID_REQUESTS, 1, OUTCOME_CANCELLED), 5);
	assert_int_equal(metrics_read(metrics, METRIC_ID_REQUESTS, 0, OUTCOME_OK), 0);
}

static void a_gauge_is_the_sum_of_the_threads_parts(void **state)
{
	struct metrics *metrics = *state;
	struct meter *a = metrics_meter(metrics), *b = metrics_meter(metrics);
	meter_move(a, METRIC_ID_IN_FLIGHT, 0, 0, 5);
	meter_move(b, METRIC_ID_IN_FLIGHT, 0, 0, -2);
	assert_int_equal(metrics_read(metrics, METRIC_ID_IN_FLIGHT, 0, 0), 3);
	meter_set(a, METRIC_ID_IN_FLIGHT, 0, 0, 1);
	assert_int_equal(metrics_read(metrics, METRIC_ID_IN_FLIGHT, 0, 0), -1);
}

/* Write another figure into every series of the catalogue, then read all back: none may share a cell. */
static void no_two_series_share_a_cell(void **state)
{
	struct metrics *metrics = *state;
	struct meter *meter = metrics_meter(metrics);
	for (int pass = 0; pass < 2; pass++) {
		uint64_t figure = 1;
		for (size_t id = 0; id < METRIC_ID_COUNT; id++) {
			size_t count1 = metrics_label_count(&names, metric_entries[id].label1);
			size_t count2 = metrics_label_count(&names, metric_entries[id].label2);
			bool histogram = metric_entries[id].type >= METRIC_SECONDS;
			for (size_t i = 0; i < count1; i++)
				for (size_t j = 0; j < count2; j++, figure++) {
					if (pass == 1)
						assert_int_equal(metrics_read(metrics, (enum metric)id, i, j),
								 histogram ? 1 : figure);
					else if (histogram)
						meter_observe(meter, (enum metric)id, i, figure);
					else
						meter_add(meter, (enum metric)id, i, j, figure);
				}
		}
	}
}

/* The bucket a value falls into, read from the cells. */
static size_t bucket_of(struct metrics *metrics, struct meter *meter, enum metric metric, uint64_t value)
{
	size_t first = metrics->shapes[metric].first + 1, found = SIZE_MAX;
	uint64_t before[64];
	for (size_t i = 0; i <= metrics->shapes[metric].scale->count; i++)
		before[i] = metrics_sum(metrics, first + i);
	meter_observe(meter, metric, 0, value);
	for (size_t i = 0; i <= metrics->shapes[metric].scale->count; i++)
		if (metrics_sum(metrics, first + i) != before[i]) {
			assert_int_equal(found, SIZE_MAX);
			found = i;
		}
	return found;
}

static void a_value_falls_into_the_first_bucket_that_holds_it(void **state)
{
	struct metrics *metrics = *state;
	struct meter *meter = metrics_meter(metrics);
	static const enum metric histograms[] = { METRIC_ID_REQUEST_DURATION, METRIC_ID_BATCH_ITEMS,
						  METRIC_ID_BATCH_BYTES };
	for (size_t h = 0; h < countof(histograms); h++) {
		const struct scale *scale = metrics->shapes[histograms[h]].scale;
		assert_int_equal(bucket_of(metrics, meter, histograms[h], 0), 0);
		for (size_t i = 0; i < scale->count; i++) {
			assert_int_equal(bucket_of(metrics, meter, histograms[h], scale->bounds[i]), i);
			assert_int_equal(bucket_of(metrics, meter, histograms[h], scale->bounds[i] + 1), i + 1);
			assert_true(scale->bounds[i] < scale->bounds[i + 1]);
		}
		assert_int_equal(bucket_of(metrics, meter, histograms[h], UINT64_MAX), scale->count);
		for (unsigned bit = 0; bit < 64; bit++) {
			uint64_t value = UINT64_C(1) << bit;
			size_t bucket = bucket_of(metrics, meter, histograms[h], value);
			assert_true(value <= scale->bounds[bucket]);
			assert_true(bucket == 0 || value > scale->bounds[bucket - 1]);
		}
		assert_int_equal(metrics_read(metrics, histograms[h], 0, 0), 1 + 2 * scale->count + 1 + 64);
	}
}

static void the_sum_is_kept_beside_the_buckets(void **state)
{
	struct metrics *metrics = *state;
	struct meter *meter = metrics_meter(metrics);
	meter_observe(meter, METRIC_ID_BATCH_ITEMS, 1, 7);
	meter_observe(meter, METRIC_ID_BATCH_ITEMS, 1, 2000);
	const struct shape *shape = &metrics->shapes[METRIC_ID_BATCH_ITEMS];
	assert_int_equal(metrics_sum(metrics, shape->first + shape->scale->count + 2), 2007);
	assert_int_equal(metrics_read(metrics, METRIC_ID_BATCH_ITEMS, 1, 0), 2);
	assert_int_equal(metrics_read(metrics, METRIC_ID_BATCH_ITEMS, 0, 0), 0);
}

static void meters_begin_on_cache_lines_of_their_own(void **state)
{
	struct metrics *metrics = *state;
	for (int i = 0; i < 8; i++) {
		struct meter *meter = metrics_meter(metrics);
		assert_int_equal((uintptr_t)meter->cells % 128, 0);
		uintptr_t end = (uintptr_t)(meter->cells + metrics->cell_count);
		for (struct meter *other = meter->next; other; other = other->next) {
			uintptr_t start = (uintptr_t)other->cells - 128,
				  other_end = (uintptr_t)(other->cells + metrics->cell_count);
			assert_true(other_end / 128 < (uintptr_t)meter / 128 || end / 128 < start / 128);
		}
	}
}

static void without_any_names_there_is_nothing_to_index(void **state)
{
	(void)state;
	static const struct metrics_names none;
	struct metrics *metrics = metrics_new(&none);
	assert_non_null(metrics);
	struct meter *meter = metrics_meter(metrics);
	meter_add(meter, METRIC_ID_REJECTED, REJECT_METHOD, 0, 1);
	assert_int_equal(metrics_read(metrics, METRIC_ID_REJECTED, REJECT_METHOD, 0), 1);
	metrics_free(metrics);
}

/* ThreadSanitizer's calloc touches what it gives, and so does valgrind's. */
static bool calloc_is_lazy(void)
{
#ifdef __has_feature
	return !__has_feature(thread_sanitizer);
#elif defined(__SANITIZE_THREAD__)
	return false;
#else
	return !under_valgrind();
#endif
}

/* Pages of the meter's memory that are really there. */
static size_t resident_pages(const struct meter *meter, size_t cell_count)
{
	static unsigned char seen[1 << 16];
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t from = (uintptr_t)meter->cells / page * page, to = (uintptr_t)(meter->cells + cell_count);
	size_t pages = 0;
	assert_int_equal(mincore((void *)from, to - from, seen), 0);
	for (size_t i = 0; i < (to - from + page - 1) / page; i++)
		pages += seen[i] & 1;
	return pages;
}

static void a_thousand_tools_that_nobody_calls_take_no_memory(void **state)
{
	(void)state;
	enum { TOOLS = 1000 };
	static const char *many[TOOLS];
	for (size_t i = 0; i < TOOLS; i++)
		many[i] = "tool";
	struct metrics_names wide = names;
	wide.tools = many;
	wide.tool_count = TOOLS;
	struct metrics *metrics = metrics_new(&wide);
	struct meter *meter = metrics_meter(metrics);
	size_t cells_bytes = metrics->cell_count * sizeof(uint64_t);
	assert_in_range(cells_bytes, 256 << 10, 512 << 10);
	meter_add(meter, METRIC_ID_REQUESTS, 500, OUTCOME_OK, 1);
	meter_observe(meter, METRIC_ID_REQUEST_DURATION, 500, 80);
	if (calloc_is_lazy())
		assert_in_range(resident_pages(meter, metrics->cell_count), 2, 6);
	assert_int_equal(metrics_read(metrics, METRIC_ID_REQUESTS, 500, OUTCOME_OK), 1);
	metrics_free(metrics);
}

static void more_names_than_memory_can_count_are_refused(void **state)
{
	(void)state;
	struct metrics_names wide = names;
	wide.tool_count = SIZE_MAX / 2;
	assert_null(metrics_new(&wide));
	wide.tool_count = SIZE_MAX / 8 / 40; /* fits a size_t in cells, not in bytes */
	assert_null(metrics_new(&wide));
}

static void any_allocation_may_fail(void **state)
{
	(void)state;
	size_t failures = 0;
	for (bool whole = false; !whole;) {
		alloc_reset();
		alloc_fail_at(failures + 1);
		struct metrics *metrics = metrics_new(&names);
		struct meter *meter = metrics ? metrics_meter(metrics) : NULL;
		alloc_reset();
		if (meter)
			meter_add(meter, METRIC_ID_LOOP_TURNS, 0, 0, 1);
		if (metrics)
			assert_int_equal(metrics_read(metrics, METRIC_ID_LOOP_TURNS, 0, 0), meter ? 1 : 0);
		whole = meter != NULL;
		metrics_free(metrics);
		failures += !whole;
	}
	assert_int_equal(failures, 5);
	metrics_free(NULL);
}

static void writing_allocates_nothing(void **state)
{
	struct meter *meter = metrics_meter(*state);
	alloc_reset();
	meter_add(meter, METRIC_ID_REQUESTS, 2, OUTCOME_OK, 1);
	meter_observe(meter, METRIC_ID_BATCH_BYTES, 1, 12345);
	meter_move(meter, METRIC_ID_IN_FLIGHT, 0, 0, 1);
	assert_int_equal(alloc_count(), 0);
}

/* --- threads --- */

enum { WRITERS = 4, ROUNDS = 20000 };
static atomic_bool writers_done;

static void *count_up(void *context)
{
	struct meter *meter = context;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		meter_add(meter, METRIC_ID_REQUESTS, i % 3, OUTCOME_OK, 1);
		meter_observe(meter, METRIC_ID_REQUEST_DURATION, 0, i);
		meter_move(meter, METRIC_ID_IN_FLIGHT, 0, 0, i % 2 ? -1 : 1);
	}
	return NULL;
}

static int64_t read_requests(const struct metrics *metrics)
{
	int64_t sum = 0;
	for (size_t tool = 0; tool < 3; tool++)
		sum += metrics_read(metrics, METRIC_ID_REQUESTS, tool, OUTCOME_OK);
	return sum;
}

static void *scrape(void *context)
{
	struct metrics *metrics = context;
	int64_t seen = 0, before = 0;
	do {
		struct buf out = BUF_INIT(1 << 20);
		metrics_render(metrics, &out);
		seen = read_requests(metrics);
		if (seen < before || out.failed) /* a counter never runs backwards */
			return NULL;
		before = seen;
		buf_fini(&out);
	} while (!atomic_load(&writers_done));
	return context;
}

static void add_on_scrape(void *context, struct meter *meter)
{
	meter_add(meter, METRIC_ID_LOG_DROPPED, 0, 0, 1);
	*(uint64_t *)context += 1; /* a data race, were the hook not called under a mutex */
}

static void four_writers_and_two_scrapers_lose_nothing(void **state)
{
	struct metrics *metrics = *state;
	pthread_t writers[WRITERS], scrapers[2];
	uint64_t scrapes = 0;
	atomic_store(&writers_done, false);
	metrics_on_scrape(metrics, add_on_scrape, &scrapes);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&scrapers[i], NULL, scrape, metrics), 0);
	for (int i = 0; i < WRITERS; i++) /* meters may be added while others scrape */
		assert_int_equal(pthread_create(&writers[i], NULL, count_up, metrics_meter(metrics)), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	atomic_store(&writers_done, true);
	for (int i = 0; i < 2; i++) {
		void *ok;
		pthread_join(scrapers[i], &ok);
		assert_non_null(ok);
	}
	assert_int_equal(read_requests(metrics), WRITERS * ROUNDS);
	assert_int_equal(metrics_read(metrics, METRIC_ID_REQUEST_DURATION, 0, 0), WRITERS * ROUNDS);
	assert_int_equal(metrics_read(metrics, METRIC_ID_IN_FLIGHT, 0, 0), 0);
	assert_true(scrapes >= 2);
	assert_int_equal(metrics_read(metrics, METRIC_ID_LOG_DROPPED, 0, 0), scrapes);
}

static void set_entries(void *context, struct meter *meter)
{
	meter_set(meter, METRIC_ID_CACHE_ENTRIES, TIER_MEMORY, 0, ++*(int *)context);
}

static void hooks_set_figures_kept_elsewhere(void **state)
{
	struct metrics *metrics = *state;
	int entries = 0;
	for (int i = 0; i < METRICS_MAX_HOOKS; i++)
		metrics_on_scrape(metrics, set_entries, &entries);
	struct buf out = BUF_INIT(1 << 20);
	metrics_render(metrics, &out);
	buf_fini(&out);
	assert_int_equal(metrics_read(metrics, METRIC_ID_CACHE_ENTRIES, TIER_MEMORY, 0), METRICS_MAX_HOOKS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(counters_of_all_threads_are_summed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_gauge_is_the_sum_of_the_threads_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(no_two_series_share_a_cell, setup, teardown),
		cmocka_unit_test_setup_teardown(a_value_falls_into_the_first_bucket_that_holds_it, setup, teardown),
		cmocka_unit_test_setup_teardown(the_sum_is_kept_beside_the_buckets, setup, teardown),
		cmocka_unit_test_setup_teardown(meters_begin_on_cache_lines_of_their_own, setup, teardown),
		cmocka_unit_test(without_any_names_there_is_nothing_to_index),
		cmocka_unit_test(a_thousand_tools_that_nobody_calls_take_no_memory),
		cmocka_unit_test(more_names_than_memory_can_count_are_refused),
		cmocka_unit_test(any_allocation_may_fail),
		cmocka_unit_test_setup_teardown(writing_allocates_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(four_writers_and_two_scrapers_lose_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(hooks_set_figures_kept_elsewhere, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
