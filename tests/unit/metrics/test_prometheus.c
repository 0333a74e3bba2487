/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exposition text, byte for byte against tests/unit/metrics/prometheus.golden (on a difference the text as it is now is
 * left in prometheus.actual), and in the eyes of promtool.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/outcome.h"
#include "metrics/metrics.h"
#include "metrics/shape.h"
#include "tests/support/alloc_fail.h"
#include "tests/support/promtool.h"

static const char *const tools[] = { "search", "never_called", "say \"hi\"\\\n\xff\u00e4" };
static const char *const upstreams[] = { "one", "two" };
static const char *const endpoints[] = { "http://127.0.0.1:9001/rpc", "unix:/run/never called", "http://b\\" };
static const size_t endpoint_upstreams[] = { 0, 0, 1 };
static const struct metrics_names names = { tools, 3, upstreams, 2, endpoints, endpoint_upstreams, 3, 2 };

static struct metrics *metrics;
static struct meter *meter;
static struct buf out;

/* Something of every type, with and without labels; in two meters, as on two threads. */
static int setup(void **state)
{
	(void)state;
	metrics = metrics_new(&names);
	meter = metrics ? metrics_meter(metrics) : NULL;
	struct meter *other = metrics ? metrics_meter(metrics) : NULL;
	if (!meter || !other)
		return -1;
	buf_init(&out, 1 << 20);
	meter_add(meter, METRIC_ID_REQUESTS, 0, OUTCOME_OK, 1000000000000);
	meter_add(other, METRIC_ID_REQUESTS, 0, OUTCOME_OK, 1);
	meter_add(meter, METRIC_ID_REQUESTS, 2, OUTCOME_UPSTREAM_TIMEOUT, 3);
	meter_observe(meter, METRIC_ID_REQUEST_DURATION, 0, 50);
	meter_observe(meter, METRIC_ID_REQUEST_DURATION, 0, 51);
	meter_observe(other, METRIC_ID_REQUEST_DURATION, 0, 1234567);
	meter_observe(other, METRIC_ID_REQUEST_DURATION, 0, 60 * CLOCK_US_PER_S);
	meter_move(meter, METRIC_ID_IN_FLIGHT, 0, 0, 2);
	meter_move(other, METRIC_ID_IN_FLIGHT, 0, 0, -5);
	meter_add(meter, METRIC_ID_REJECTED, REJECT_METHOD, 0, 7);
	meter_add(meter, METRIC_ID_CACHE_REQUESTS, TIER_REDIS, CACHE_STALE, 9);
	meter_observe(meter, METRIC_ID_BATCH_ITEMS, 1, 100);
	meter_observe(meter, METRIC_ID_BATCH_BYTES, 0, 16 << 20);
	meter_add(meter, METRIC_ID_UPSTREAM_REQUESTS, 2, OUTCOME_OK, 11);
	meter_set(meter, METRIC_ID_UPSTREAM_HEALTHY, 0, 0, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_fini(&out);
	metrics_free(metrics);
	return 0;
}

static const char *source_path(const char *file)
{
	static char path[4096];
	const char *srcdir = getenv("srcdir");
	snprintf(path, sizeof path, "%s/%s", srcdir ? srcdir : ".", file);
	return path;
}

static void read_whole(const char *path, struct buf *text)
{
	char piece[4096];
	FILE *file = fopen(path, "r");
	if (!file)
		fail_msg("cannot read %s (is srcdir set?)", path);
	for (size_t got; (got = fread(piece, 1, sizeof piece, file)) > 0;)
		buf_put(text, (struct slice){ piece, got });
	fclose(file);
}

static void write_whole(const char *path, struct slice text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text.at, 1, text.len, file), text.len);
	assert_int_equal(fclose(file), 0);
}

static void the_catalogues_text_is_the_golden_one(void **state)
{
	(void)state;
	struct buf golden = BUF_INIT(1 << 20);
	read_whole(source_path("tests/unit/metrics/prometheus.golden"), &golden);
	prometheus_put_catalogue(metrics, &out);
	bool same = slice_equal(buf_slice(&golden), buf_slice(&out));
	buf_fini(&golden);
	if (!same) {
		write_whole("prometheus.actual", buf_slice(&out));
		fail_msg("the text differs: diff %s prometheus.actual",
			 source_path("tests/unit/metrics/prometheus.golden"));
	}
}

static void series_of_tools_that_were_never_called_do_not_appear(void **state)
{
	(void)state;
	metrics_render(metrics, &out);
	const char *text = buf_cstr(&out);
	assert_null(strstr(text, "jitney_requests_total{tool=\"never_called\""));
	assert_null(strstr(text, "jitney_request_duration_seconds_count{tool=\"never_called\""));
	assert_non_null(strstr(text, "jitney_coalesced_total{tool=\"never_called\"} 0\n")); /* one a tool */
	assert_null(
		strstr(text, "jitney_upstream_requests_total{upstream=\"one\",endpoint=\"unix:/run/never called\""));
	assert_non_null(
		strstr(text, "jitney_upstream_healthy{upstream=\"one\",endpoint=\"unix:/run/never called\"} 0\n"));
	assert_non_null(strstr(text, "jitney_rejected_total{reason=\"shutting_down\"} 0\n"));
}

static void promtool_has_no_complaint(void **state)
{
	(void)state;
	char said[4096];
	metrics_render(metrics, &out);
	assert_false(out.failed);
	int status = promtool_check("metrics", buf_slice(&out), said, sizeof said);
	if (status == PROMTOOL_MISSING)
		skip();
	assert_string_equal(said, "");
	assert_int_equal(status, 0);
	/* and it would complain */
	assert_int_not_equal(promtool_check("metrics", SLICE("# TYPE calls counter\ncalls 1\n"), said, sizeof said), 0);
	assert_non_null(strstr(said, "_total"));
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Which promtool does not check. */
static void no_series_appears_twice(void **state)
{
	(void)state;
	static char *lines[5000];
	size_t count = 0;
	metrics_render(metrics, &out);
	char *text = strdup(buf_cstr(&out)), *rest = text;
	for (char *line; (line = strsep(&rest, "\n")) && rest;) {
		if (line[0] != '#')
			*strrchr(line, ' ') = '\0'; /* the series without its value */
		assert_true(count < countof(lines));
		lines[count++] = line;
	}
	qsort(lines, count, sizeof *lines, compare_lines);
	for (size_t i = 1; i < count; i++)
		assert_string_not_equal(lines[i - 1], lines[i]);
	free(text);
}

/* The value of a series without labels, as text up to the line's end. */
static double value_of(const char *text, const char *series)
{
	char line[100];
	snprintf(line, sizeof line, "\n%s ", series);
	const char *at = strstr(text, line);
	if (!at)
		fail_msg("%s is missing", series);
	return strtod(at + strlen(line), NULL);
}

static void the_process_is_described(void **state)
{
	(void)state;
	prometheus_put_process(metrics, &out);
	const char *text = buf_cstr(&out);
	double wall_s = (double)clock_wall_us() / 1e6, page = (double)sysconf(_SC_PAGESIZE);
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	assert_non_null(strstr(text, "\njitney_build_info{version=\"" JITNEY_VERSION "\"} 1\n"));
	assert_true(value_of(text, "process_cpu_seconds_total") > 0);
	assert_true(value_of(text, "process_start_time_seconds") <= wall_s + 1);
	assert_true(value_of(text, "process_start_time_seconds") > wall_s - 3600);
	assert_true(value_of(text, "process_max_fds") == (double)files.rlim_cur);
	assert_true(value_of(text, "process_resident_memory_bytes") > 10 * page);
	assert_true(value_of(text, "process_virtual_memory_bytes") >= value_of(text, "process_resident_memory_bytes"));
	assert_true(value_of(text, "process_threads") >= 1);
}

static void open_descriptors_are_counted(void **state)
{
	(void)state;
	int fds[10];
	prometheus_put_process(metrics, &out);
	double before = value_of(buf_cstr(&out), "process_open_fds");
	for (size_t i = 0; i < countof(fds); i++)
		assert_true((fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
	buf_reset(&out);
	prometheus_put_process(metrics, &out);
	assert_true(value_of(buf_cstr(&out), "process_open_fds") == before + countof(fds));
	for (size_t i = 0; i < countof(fds); i++)
		close(fds[i]);
}

static void a_text_beyond_its_bound_fails_instead_of_being_cut(void **state)
{
	(void)state;
	struct buf small = BUF_INIT(1000);
	metrics_render(metrics, &small);
	assert_true(small.failed);
	assert_null(buf_take_blob(&small));
	buf_fini(&small);
}

static void any_allocation_may_fail_during_a_scrape(void **state)
{
	(void)state;
	size_t failures = 0;
	for (bool whole = false; !whole; failures += !whole) {
		alloc_reset();
		alloc_fail_at(failures + 1);
		metrics_render(metrics, &out);
		alloc_reset();
		whole = !out.failed;
		buf_fini(&out);
	}
	assert_true(failures > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_catalogues_text_is_the_golden_one, setup, teardown),
		cmocka_unit_test_setup_teardown(series_of_tools_that_were_never_called_do_not_appear, setup, teardown),
		cmocka_unit_test_setup_teardown(promtool_has_no_complaint, setup, teardown),
		cmocka_unit_test_setup_teardown(no_series_appears_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(the_process_is_described, setup, teardown),
		cmocka_unit_test_setup_teardown(open_descriptors_are_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(a_text_beyond_its_bound_fails_instead_of_being_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(any_allocation_may_fail_during_a_scrape, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
