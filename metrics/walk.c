/* SPDX-License-Identifier: Apache-2.0 */
/* walk.c: which series there are, and what each says: the one reading of the cells that every way out is made from. */
#include <unistd.h>

#include "base/clock.h"
#include "metrics/process.h"
#include "metrics/shape.h"

#define PREFIX "jitney_"

/* One series: of which metric, and where its cells begin. */
struct series {
	const struct metrics *metrics;
	const struct metrics_reader *reader;
	const struct metric_entry *entry;
	struct metric_family family;
	size_t label1, label2, cell;
};

static void add_tag(struct metric_point *point, const char *name, const char *value)
{
	point->tags[point->tag_count++] = (struct metric_tag){ name, value };
}

static void add_label(const struct series *series, struct metric_point *point, enum metric_label label, size_t index)
{
	const struct metrics *metrics = series->metrics;
	if (label == LABEL_NONE)
		return;
	if (label == LABEL_ENDPOINT)
		add_tag(point, "upstream",
			metrics_label_value(metrics, LABEL_UPSTREAM, metrics->names.endpoint_upstreams[index]));
	if (label == LABEL_ATTEMPT)
		add_tag(point, "kind", metrics_attempt_kind(index));
	add_tag(point, metric_label_name(label), metrics_label_value(metrics, label, index));
}

static void give_point(const struct series *series, struct metric_point *point)
{
	add_label(series, point, series->entry->label1, series->label1);
	add_label(series, point, series->entry->label2, series->label2);
	series->reader->point(series->reader->context, &series->family, point);
}

/* Whether a series that has never counted anything is left out: where each tool or endpoint has many of them. A single
 * one is shown, so that a rate over it begins with its first event. A gauge is: that something is not so is what it says. */
static bool hidden_at_zero(const struct metric_entry *entry)
{
	if (metric_is_gauge(entry->type))
		return false;
	bool grows = entry->label1 == LABEL_TOOL || entry->label1 == LABEL_ENDPOINT;
	bool many = entry->label2 != LABEL_NONE || metric_is_histogram(entry->type);
	return grows && many;
}

/* Buckets are read once, so that their sum and the count always agree. */
static void walk_histogram(const struct series *series)
{
	const struct scale *scale = series->metrics->shapes[series->entry - metric_entries].scale;
	uint64_t buckets[countof(scale->start)];
	struct metric_point point = { .bounds = scale->bounds, .bound_count = scale->count, .buckets = buckets };
	for (size_t i = 0; i <= scale->count; i++)
		point.count += buckets[i] = metrics_sum(series->metrics, series->cell + 1 + i);
	if (point.count == 0 && hidden_at_zero(series->entry))
		return;
	point.value = metrics_sum(series->metrics, series->cell);
	give_point(series, &point);
}

static void walk_scalar(const struct series *series)
{
	struct metric_point point = { .value = metrics_sum(series->metrics, series->cell) };
	if (point.value != 0 || !hidden_at_zero(series->entry))
		give_point(series, &point);
}

/* Places that wait for a name have no series. What has left keeps what it has counted; what it is, it is no more. */
static bool has_series(const struct metrics *metrics, const struct metric_entry *entry, size_t index)
{
	if (entry->label1 == LABEL_NONE)
		return true;
	return metrics_label_value(metrics, entry->label1, index) &&
	       !(metric_is_gauge(entry->type) && metrics_is_gone(metrics, entry->label1, index));
}

static void walk_metric(struct series *series, const struct shape *shape)
{
	const struct metric_entry *entry = series->entry;
	size_t width = shape->scale ? shape->scale->count + 2 : 1;
	series->family = (struct metric_family){ PREFIX, entry->name, entry->help, entry->type };
	series->reader->family(series->reader->context, &series->family);
	series->cell = shape->first;
	for (series->label1 = 0; series->label1 < shape->count1; series->label1++) {
		if (!has_series(series->metrics, entry, series->label1)) {
			series->cell += width * shape->count2;
			continue;
		}
		for (series->label2 = 0; series->label2 < shape->count2; series->label2++, series->cell += width) {
			if (shape->scale)
				walk_histogram(series);
			else
				walk_scalar(series);
		}
	}
}

void walk_catalogue(const struct metrics *metrics, const struct metrics_reader *reader)
{
	struct series series = { .metrics = metrics, .reader = reader };
	for (size_t id = 0; id < METRIC_ID_COUNT; id++) {
		series.entry = &metric_entries[id];
		walk_metric(&series, &metrics->shapes[id]);
	}
}

/* --- the process --- */

/* A family that has one point; `tag`: NULL: without any. */
static void walk_single(const struct metrics_reader *reader, const struct metric_family *family, uint64_t value,
			const struct metric_tag *tag)
{
	struct metric_point point = { .value = value };
	if (tag)
		add_tag(&point, tag->name, tag->value);
	reader->family(reader->context, family);
	reader->point(reader->context, family, &point);
}

static void walk_process_figure(const struct metrics_reader *reader, enum metric_type type, const char *name,
				const char *help, uint64_t value)
{
	walk_single(reader, &(const struct metric_family){ "process_", name, help, type }, value, NULL);
}

void walk_process(const struct metrics *metrics, const struct metrics_reader *reader)
{
	static const struct metric_family build = { PREFIX, "build_info", "1, with the version as a label.",
						    METRIC_GAUGE };
	struct process process;
	uint64_t open, most;
	walk_single(reader, &build, 1, &(const struct metric_tag){ "version", JITNEY_VERSION });
	walk_process_figure(reader, METRIC_COUNTER_SECONDS, "cpu_seconds_total",
			    "User and system CPU time spent in seconds.", clock_process_us());
	walk_process_figure(reader, METRIC_GAUGE_SECONDS, "start_time_seconds",
			    "When the process started, seconds since 1970.", metrics->process_start_us);
	process_descriptors(&open, &most);
	walk_process_figure(reader, METRIC_GAUGE, "open_fds", "Number of open file descriptors.", open);
	if (most)
		walk_process_figure(reader, METRIC_GAUGE, "max_fds", "Maximum number of open file descriptors.", most);
	if (!process_read(&process))
		return;
	walk_process_figure(reader, METRIC_GAUGE, "resident_memory_bytes", "Resident memory size in bytes.",
			    process.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE));
	walk_process_figure(reader, METRIC_GAUGE, "virtual_memory_bytes", "Virtual memory size in bytes.",
			    process.virtual_bytes);
	walk_process_figure(reader, METRIC_GAUGE, "threads", "Number of threads.", process.threads);
}

void metrics_walk(struct metrics *metrics, const struct metrics_reader *reader)
{
	metrics_refresh(metrics);
	walk_catalogue(metrics, reader);
	walk_process(metrics, reader);
}

uint64_t metrics_resident_bytes(void)
{
	struct process process;
	return process_read(&process) ? process.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void metrics_descriptors(uint64_t *open, uint64_t *most)
{
	process_descriptors(open, most);
}

uint64_t metrics_since_us(const struct metrics *metrics)
{
	return metrics->process_start_us;
}
