/* SPDX-License-Identifier: Apache-2.0 */
/* test_otlp_metrics.c: metrics as OTLP's bytes: kinds, bounds, names that are not UTF-8, several requests, memory that is out;
 * and copies of settings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/outcome.h"
#include "gateway/trace/otlp.h"
#include "gateway/trace/otlp.pb-c.h"
#include "tests/support/alloc_fail.h"
#include "upstream/upstream.h"

enum { MANY = 3000 };
static const char *const names_of_tools[] = { "search", "never_called", "b\xff\xc3\xa4" };
static const char *const upstreams[] = { "one" };
static const char *const endpoints[] = { "http://127.0.0.1:9001" };
static const size_t endpoint_upstreams[] = { 0 };
static const struct trace_attribute attributes[] = { { "service.name", "bus" } };
static const struct upstream_header headers[] = { { "X-Key", "secret" } };
static const struct trace_settings settings = { .routes[OTLP_METRICS] = { .server = "http://a",
									  .path = "/b/v1/metrics",
									  .shown = "http://a/b",
									  .ca_file = "/c.pem",
									  .headers = headers,
									  .header_count = 1,
									  .gzip = true,
									  .timeout_us = 6 },
						.percent = 7,
						.interval_us = 5,
						.attributes = attributes,
						.attribute_count = 1 };
static struct metrics *metrics;
static struct meter *meter;
static struct otlp_bodies bodies;

static int begin(const char *const *tools, size_t count)
{
	const struct metrics_names names = { tools, count, upstreams, 1, endpoints, endpoint_upstreams, 1, 1 };
	STAILQ_INIT(&bodies);
	metrics = metrics_new(&names);
	meter = metrics ? metrics_meter(metrics) : NULL;
	return meter ? 0 : -1;
}

static int setup(void **state)
{
	(void)state;
	return begin(names_of_tools, 3);
}

static void free_bodies(void)
{
	struct otlp_body *body;
	while ((body = STAILQ_FIRST(&bodies))) {
		STAILQ_REMOVE_HEAD(&bodies, next);
		otlp_free_body(body);
	}
}

static int teardown(void **state)
{
	(void)state;
	free_bodies();
	metrics_free(metrics);
	return 0;
}

static Otlp__ExportMetricsServiceRequest *read_body(const struct otlp_body *body)
{
	struct slice bytes = buf_slice(&body->bytes);
	Otlp__ExportMetricsServiceRequest *request =
		otlp__export_metrics_service_request__unpack(NULL, bytes.len, (const uint8_t *)bytes.at);
	assert_non_null(request);
	assert_string_equal(request->resource_metrics[0]->resource->attributes[1]->key, "service.instance.id");
	return request;
}

static const Otlp__Metric *find_metric(const Otlp__ExportMetricsServiceRequest *request, const char *name)
{
	const Otlp__ScopeMetrics *scope = request->resource_metrics[0]->scope_metrics[0];
	for (size_t i = 0; i < scope->n_metrics; i++)
		if (strcmp(scope->metrics[i]->name, name) == 0)
			return scope->metrics[i];
	return NULL;
}

static void each_kind_is_told_in_its_own_way(void **state)
{
	(void)state;
	meter_add(meter, METRIC_ID_REQUESTS, 2, OUTCOME_OK, UINT64_C(1) << 40);
	meter_move(meter, METRIC_ID_IN_FLIGHT, 0, 0, -5);
	meter_observe(meter, METRIC_ID_REQUEST_DURATION, 0, 51);
	meter_observe(meter, METRIC_ID_REQUEST_DURATION, 0, 60 * CLOCK_US_PER_S);
	assert_true(otlp_put_metrics(&settings, "me", metrics, 1000, 1 << 20, &bodies));
	Otlp__ExportMetricsServiceRequest *request = read_body(STAILQ_FIRST(&bodies));
	const Otlp__Metric *calls = find_metric(request, "jitney_requests_total");
	assert_true(calls->data_case == OTLP__METRIC__DATA_SUM && calls->sum->is_monotonic);
	assert_int_equal(calls->sum->n_data_points, 1);
	const Otlp__NumberDataPoint *point = calls->sum->data_points[0];
	assert_true(point->as_int == INT64_C(1) << 40 && point->time_unix_nano == 1000000);
	assert_true(point->start_time_unix_nano == metrics_since_us(metrics) * 1000);
	assert_string_equal(point->attributes[0]->key, "tool");
	assert_string_equal(point->attributes[0]->value->string_value, "b?\xc3\xa4");
	assert_string_equal(point->attributes[1]->value->string_value, "ok");
	assert_int_equal(find_metric(request, "jitney_in_flight_requests")->gauge->data_points[0]->as_int, -5);
	const Otlp__Metric *took = find_metric(request, "jitney_request_duration_seconds");
	assert_string_equal(took->unit, "s");
	const Otlp__HistogramDataPoint *data = took->histogram->data_points[0];
	assert_int_equal(took->histogram->n_data_points, 1);
	assert_int_equal(data->n_bucket_counts, data->n_explicit_bounds + 1);
	assert_true(data->explicit_bounds[0] == 0.00005 && data->explicit_bounds[1] == 0.0001);
	assert_true(data->bucket_counts[0] == 0 && data->bucket_counts[1] == 1);
	assert_true(data->bucket_counts[data->n_explicit_bounds] == 1 && data->count == 2 && data->sum == 60.000051);
	otlp__export_metrics_service_request__free_unpacked(request, NULL);
}

static void an_empty_histogram_has_a_sum(void **state)
{
	(void)state;
	assert_true(otlp_put_metrics(&settings, "me", metrics, 1000, 1 << 20, &bodies));
	Otlp__ExportMetricsServiceRequest *request = read_body(STAILQ_FIRST(&bodies));
	const Otlp__Metric *items = find_metric(request, "jitney_batch_items");
	assert_true(items->histogram->data_points[0]->optional_sum_case ==
		    OTLP__HISTOGRAM_DATA_POINT__OPTIONAL_SUM_SUM);
	assert_null(find_metric(request, "jitney_requests_total"));
	otlp__export_metrics_service_request__free_unpacked(request, NULL);
}

/* More points than a request has: none is lost, none is told twice. */
static void many_series_make_several_requests(void **state)
{
	static char text[MANY][8];
	static const char *tools[MANY];
	(void)state;
	for (size_t i = 0; i < MANY; i++) {
		snprintf(text[i], sizeof text[i], "t%zu", i);
		tools[i] = text[i];
	}
	assert_int_equal(begin(tools, MANY), 0);
	for (size_t i = 0; i < MANY; i++) {
		meter_add(meter, METRIC_ID_REQUESTS, i, OUTCOME_OK, i + 1);
		meter_observe(meter, METRIC_ID_REQUEST_DURATION, i, i);
	}
	assert_true(otlp_put_metrics(&settings, "me", metrics, 1000, 16 << 20, &bodies));
	size_t requests = 0, calls = 0, observations = 0;
	int64_t sum = 0;
	struct otlp_body *body;
	STAILQ_FOREACH (body, &bodies, next) {
		Otlp__ExportMetricsServiceRequest *request = read_body(body);
		const Otlp__Metric *metric = find_metric(request, "jitney_requests_total");
		requests++;
		assert_in_range(body->points, 1, OTLP_POINTS_MOST);
		for (size_t i = 0; metric && i < metric->sum->n_data_points; i++, calls++)
			sum += metric->sum->data_points[i]->as_int;
		metric = find_metric(request, "jitney_request_duration_seconds");
		observations += metric ? metric->histogram->n_data_points : 0;
		otlp__export_metrics_service_request__free_unpacked(request, NULL);
	}
	assert_true(requests >= 2 && calls == MANY && observations == MANY && sum == (int64_t)MANY * (MANY + 1) / 2);
	free_bodies();
	assert_false(otlp_put_metrics(&settings, "me", metrics, 1000, 300000, &bodies));
}

static void without_memory_what_was_made_is_good(void **state)
{
	(void)state;
	bool all = false;
	for (int nth_fails = 1; !all; nth_fails++) {
		alloc_fail_at((size_t)nth_fails);
		all = otlp_put_metrics(&settings, "me", metrics, 1000, 1 << 20, &bodies);
		alloc_reset();
		assert_true(!all == STAILQ_EMPTY(&bodies));
		assert_in_range(nth_fails, 1, 10000);
	}
}

static void settings_are_copied_whole_or_not(void **state)
{
	(void)state;
	struct trace_settings *copy = NULL;
	for (int nth_fails = 1; !copy; nth_fails++) {
		alloc_fail_at((size_t)nth_fails);
		copy = trace_settings_copy(&settings);
		alloc_reset();
		assert_in_range(nth_fails, 1, 1000);
	}
	assert_ptr_equal(trace_settings_ref(copy), copy);
	trace_settings_unref(copy);
	const struct trace_route *route = trace_route_of(copy, OTLP_METRICS), *from = &settings.routes[OTLP_METRICS];
	assert_true(route->server != from->server && strcmp(route->server, "http://a") == 0);
	assert_true(route->ca_file != from->ca_file && strcmp(route->ca_file, "/c.pem") == 0);
	assert_string_equal(route->path, "/b/v1/metrics");
	assert_string_equal(route->shown, "http://a/b");
	assert_string_equal(route->headers[0].value, "secret");
	assert_true(route->gzip && route->timeout_us == 6);
	assert_null(trace_route_of(copy, OTLP_TRACES));
	assert_string_equal(copy->attributes[0].name, "service.name");
	assert_true(copy->percent == 7 && copy->interval_us == 5);
	trace_settings_unref(copy);
	trace_settings_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_kind_is_told_in_its_own_way, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_histogram_has_a_sum, setup, teardown),
		cmocka_unit_test_teardown(many_series_make_several_requests, teardown),
		cmocka_unit_test_setup_teardown(without_memory_what_was_made_is_good, setup, teardown),
		cmocka_unit_test(settings_are_copied_whole_or_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
