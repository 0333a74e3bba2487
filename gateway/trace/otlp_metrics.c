/* SPDX-License-Identifier: Apache-2.0 */
/*
 * otlp_metrics.c: the metrics as they are read for /metrics, told in OpenTelemetry's words: counters are cumulative sums
 * since the process began, histograms have their bounds with them, and names are those that Prometheus sees.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"
#include "base/utf8.h"
#include "gateway/trace/otlp.h"
#include "gateway/trace/otlp.pb-c.h"
#include "gateway/trace/otlp_values.h"

enum { FAMILIES_MOST = METRIC_ID_COUNT + 16 /* process_* and build_info */ };

/* The requests that are being made; what is of the one that is filled is in its arena. */
struct writer {
	const struct trace_settings *settings;
	const char *instance;
	struct otlp_bodies *bodies;
	uint64_t since_ns, at_ns;
	size_t bytes_max; /* that may still be made */
	bool failed;
	struct arena *arena; /* NULL: no request is begun */
	Otlp__Metric **metrics;
	size_t metric_count;
	void **points; /* of all its metrics, one behind the other */
	size_t point_count;
	Otlp__Metric *metric; /* whose points come now, from first_point on; NULL: none have come yet */
	enum metric_type type;
	size_t first_point;
};

/* --- values --- */

static const char *unit_of(const struct metric_family *family)
{
	if (family->type == METRIC_GAUGE_RATIO)
		return "1";
	if (metric_is_in_millionths(family->type))
		return "s";
	return family->type == METRIC_BYTES || strstr(family->name, "_bytes") ? "By" : "";
}

/* As valid UTF-8, which the protocol wants; most are as they stand. */
static const char *clean_text(struct arena *arena, const char *text)
{
	if (json_utf8(slice_of(text)))
		return text;
	size_t room = strlen(text) + 1;
	char *copy = arena_alloc(arena, room);
	if (copy)
		utf8_copy(copy, room, slice_of(text));
	return copy ? copy : "";
}

static struct attributes put_tags(struct arena *arena, const struct metric_point *point)
{
	struct attributes list = attributes_begin(arena, point->tag_count);
	for (size_t i = 0; i < point->tag_count; i++)
		attributes_put_text(&list, point->tags[i].name, clean_text(arena, point->tags[i].value));
	return list;
}

static void *put_number_point(const struct writer *writer, const struct metric_family *family,
			      const struct metric_point *point)
{
	Otlp__NumberDataPoint *number = arena_alloc(writer->arena, sizeof *number);
	if (!number)
		return NULL;
	const struct attributes tags = put_tags(writer->arena, point);
	*number = (Otlp__NumberDataPoint)OTLP__NUMBER_DATA_POINT__INIT;
	number->attributes = tags.all;
	number->n_attributes = tags.count;
	number->start_time_unix_nano = metric_is_gauge(family->type) ? 0 : writer->since_ns;
	number->time_unix_nano = writer->at_ns;
	if (metric_is_in_millionths(family->type)) {
		number->value_case = OTLP__NUMBER_DATA_POINT__VALUE_AS_DOUBLE;
		number->as_double = (double)point->value / 1e6;
	} else {
		number->value_case = OTLP__NUMBER_DATA_POINT__VALUE_AS_INT;
		number->as_int = (int64_t)point->value;
	}
	return number;
}

static void *put_histogram_point(const struct writer *writer, const struct metric_family *family,
				 const struct metric_point *point)
{
	size_t count = point->bound_count;
	double scale = metric_is_in_millionths(family->type) ? 1e6 : 1;
	Otlp__HistogramDataPoint *data = arena_alloc(writer->arena, sizeof *data);
	double *bounds = arena_array(writer->arena, count, sizeof *bounds);
	uint64_t *buckets = arena_array(writer->arena, count + 1, sizeof *buckets);
	if (!data || !bounds || !buckets)
		return NULL;
	const struct attributes tags = put_tags(writer->arena, point);
	for (size_t i = 0; i < count; i++)
		bounds[i] = (double)point->bounds[i] / scale;
	memcpy(buckets, point->buckets, (count + 1) * sizeof *buckets);
	*data = (Otlp__HistogramDataPoint)OTLP__HISTOGRAM_DATA_POINT__INIT;
	data->attributes = tags.all;
	data->n_attributes = tags.count;
	data->start_time_unix_nano = writer->since_ns;
	data->time_unix_nano = writer->at_ns;
	data->count = point->count;
	data->optional_sum_case = OTLP__HISTOGRAM_DATA_POINT__OPTIONAL_SUM_SUM;
	data->sum = (double)point->value / scale;
	data->explicit_bounds = bounds;
	data->n_explicit_bounds = count;
	data->bucket_counts = buckets;
	data->n_bucket_counts = count + 1;
	return data;
}

/* --- metrics --- */

/* Its kind, with its points. False: out of memory. */
static bool put_data(struct arena *arena, enum metric_type type, void **points, size_t count, Otlp__Metric *metric)
{
	if (metric_is_histogram(type)) {
		Otlp__Histogram *histogram = metric->histogram = arena_alloc(arena, sizeof *histogram);
		if (!histogram)
			return false;
		metric->data_case = OTLP__METRIC__DATA_HISTOGRAM;
		*histogram = (Otlp__Histogram)OTLP__HISTOGRAM__INIT;
		histogram->data_points = (Otlp__HistogramDataPoint **)points;
		histogram->n_data_points = count;
		histogram->aggregation_temporality = OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_CUMULATIVE;
	} else if (metric_is_gauge(type)) {
		Otlp__Gauge *gauge = metric->gauge = arena_alloc(arena, sizeof *gauge);
		if (!gauge)
			return false;
		metric->data_case = OTLP__METRIC__DATA_GAUGE;
		*gauge = (Otlp__Gauge)OTLP__GAUGE__INIT;
		gauge->data_points = (Otlp__NumberDataPoint **)points;
		gauge->n_data_points = count;
	} else {
		Otlp__Sum *sum = metric->sum = arena_alloc(arena, sizeof *sum);
		if (!sum)
			return false;
		metric->data_case = OTLP__METRIC__DATA_SUM;
		*sum = (Otlp__Sum)OTLP__SUM__INIT;
		sum->data_points = (Otlp__NumberDataPoint **)points;
		sum->n_data_points = count;
		sum->aggregation_temporality = OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_CUMULATIVE;
		sum->is_monotonic = true;
	}
	return true;
}

/* NULL: out of memory. */
static Otlp__Metric *begin_metric(struct writer *writer, const struct metric_family *family)
{
	Otlp__Metric *metric = arena_alloc(writer->arena, sizeof *metric);
	if (!metric)
		return NULL;
	*metric = (Otlp__Metric)OTLP__METRIC__INIT;
	metric->name = (char *)arena_printf(writer->arena, "%s%s", family->prefix, family->name);
	metric->description = (char *)family->help;
	metric->unit = (char *)unit_of(family);
	writer->first_point = writer->point_count;
	return metric;
}

static void end_metric(struct writer *writer)
{
	Otlp__Metric *metric = writer->metric;
	writer->metric = NULL;
	if (metric && put_data(writer->arena, writer->type, writer->points + writer->first_point,
			       writer->point_count - writer->first_point, metric))
		writer->metrics[writer->metric_count++] = metric;
}

/* --- requests --- */

void otlp_free_body(struct otlp_body *body)
{
	buf_fini(&body->bytes);
	free(body);
}

static bool begin_request(struct writer *writer)
{
	writer->arena = arena_new();
	if (!writer->arena)
		return false;
	writer->metrics = arena_array(writer->arena, FAMILIES_MOST, sizeof(Otlp__Metric *));
	writer->points = arena_array(writer->arena, OTLP_POINTS_MOST, sizeof(void *));
	writer->metric_count = writer->point_count = 0;
	return writer->metrics && writer->points;
}

static void pack_request(const struct writer *writer, struct buf *out)
{
	struct otlp_origin origin;
	Otlp__ScopeMetrics scope_metrics = OTLP__SCOPE_METRICS__INIT, *scopes[] = { &scope_metrics };
	Otlp__ResourceMetrics resource_metrics = OTLP__RESOURCE_METRICS__INIT, *resources[] = { &resource_metrics };
	Otlp__ExportMetricsServiceRequest request = OTLP__EXPORT_METRICS_SERVICE_REQUEST__INIT;
	otlp_put_origin(writer->arena, writer->settings, writer->instance, &origin);
	scope_metrics.scope = origin.scope;
	scope_metrics.metrics = writer->metrics;
	scope_metrics.n_metrics = writer->metric_count;
	resource_metrics.resource = origin.resource;
	resource_metrics.scope_metrics = scopes;
	resource_metrics.n_scope_metrics = 1;
	request.resource_metrics = resources;
	request.n_resource_metrics = 1;
	otlp_pack(writer->arena, &request.base, out);
}

/* What has come since the last one is a request. */
static void end_request(struct writer *writer)
{
	struct otlp_body *body = writer->arena ? calloc(1, sizeof *body) : NULL;
	if (body) {
		buf_init(&body->bytes, writer->bytes_max);
		body->points = writer->point_count;
		pack_request(writer, &body->bytes);
	}
	if (body && !body->bytes.failed) {
		writer->bytes_max -= body->bytes.len;
		STAILQ_INSERT_TAIL(writer->bodies, body, next);
	} else if (writer->arena) {
		writer->failed = true;
		if (body)
			otlp_free_body(body);
	}
	arena_free(writer->arena);
	writer->arena = NULL;
}

static void take_point(void *context, const struct metric_family *family, const struct metric_point *point)
{
	struct writer *writer = context;
	if (writer->failed)
		return;
	if (writer->arena && writer->point_count == OTLP_POINTS_MOST) {
		end_metric(writer);
		end_request(writer);
	}
	if (writer->failed || (!writer->arena && !begin_request(writer))) {
		writer->failed = true;
		return;
	}
	if (!writer->metric)
		writer->metric = begin_metric(writer, family);
	void *made = metric_is_histogram(family->type) ? put_histogram_point(writer, family, point)
						       : put_number_point(writer, family, point);
	if (made && writer->metric)
		writer->points[writer->point_count++] = made;
	writer->failed |= arena_failed(writer->arena);
}

static void take_family(void *context, const struct metric_family *family)
{
	struct writer *writer = context;
	end_metric(writer);
	writer->type = family->type;
}

bool otlp_put_metrics(const struct trace_settings *settings, const char *instance, struct metrics *metrics,
		      uint64_t at_us, size_t bytes_max, struct otlp_bodies *bodies)
{
	struct writer writer = { .settings = settings,
				 .instance = instance,
				 .bodies = bodies,
				 .since_ns = metrics_since_us(metrics) * 1000,
				 .at_ns = at_us * 1000,
				 .bytes_max = bytes_max };
	metrics_walk(metrics, &(const struct metrics_reader){ &writer, take_family, take_point });
	end_metric(&writer);
	if (!writer.failed)
		end_request(&writer);
	arena_free(writer.arena);
	return !writer.failed;
}
