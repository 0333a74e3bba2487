/* SPDX-License-Identifier: Apache-2.0 */
/* prometheus.c: the exposition text, Prometheus format 0.0.4, from the cells and from /proc. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "metrics/shape.h"

#define PREFIX "jitney_"

/* --- the catalogue --- */

static void put_head(struct buf *out, const char *prefix, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix, name, help, prefix, name, type);
}

static const char *type_word(enum metric_type type)
{
	return type == METRIC_COUNTER ? "counter" : type < METRIC_SECONDS ? "gauge" : "histogram";
}

/* name="value" with what the format asks for escaped. One byte that is not UTF-8 would cost the whole scrape. */
static void put_label(struct buf *out, char before, const char *name, const char *value)
{
	buf_put_char(out, before);
	buf_put_text(out, name);
	buf_put_text(out, "=\"");
	for (size_t left = strlen(value); left > 0;) {
		size_t step = utf8_char(value, left);
		if (step == 0)
			buf_put_text(out, "\xEF\xBF\xBD");
		else if (*value == '\n')
			buf_put_text(out, "\\n");
		else {
			if (*value == '"' || *value == '\\')
				buf_put_char(out, '\\');
			buf_put(out, (struct slice){ value, step });
		}
		value += step ? step : 1;
		left -= step ? step : 1;
	}
	buf_put_char(out, '"');
}

/* A number of microseconds in seconds, exactly and without trailing zeros. */
static void put_seconds(struct buf *out, uint64_t us)
{
	char fraction[8];
	buf_put_u64(out, us / CLOCK_US_PER_S);
	if (us % CLOCK_US_PER_S == 0)
		return;
	snprintf(fraction, sizeof fraction, ".%06u", (unsigned)(us % CLOCK_US_PER_S));
	size_t len = sizeof fraction - 1;
	while (fraction[len - 1] == '0')
		len--;
	buf_put(out, (struct slice){ fraction, len });
}

static void put_figure(struct buf *out, enum metric_type type, uint64_t figure)
{
	if (type == METRIC_SECONDS || type == METRIC_GAUGE_SECONDS || type == METRIC_GAUGE_RATIO) {
		put_seconds(out, figure);
		return;
	}
	if (type == METRIC_GAUGE && (int64_t)figure < 0) {
		buf_put_char(out, '-');
		figure = -figure;
	}
	buf_put_u64(out, figure);
}

/* One series: which metric, which values of its labels. */
struct series {
	const struct metrics *metrics;
	const struct metric_entry *entry;
	size_t label1, label2;
};

/* Writes {label="value",...}; returns what separates the next label: '{' if there was none. The brace stays open. */
static char put_series_label(struct buf *out, const struct series *series, char before, enum metric_label label,
			     size_t index)
{
	if (label == LABEL_NONE)
		return before;
	if (label == LABEL_ENDPOINT) {
		const struct metrics_names *names = &series->metrics->names;
		size_t upstream = names->endpoint_upstreams[index];
		put_label(out, before, "upstream", metrics_label_value(series->metrics, LABEL_UPSTREAM, upstream));
		before = ',';
	}
	if (label == LABEL_ATTEMPT) {
		put_label(out, before, "kind", metrics_attempt_kind(index));
		before = ',';
	}
	put_label(out, before, metric_label_name(label), metrics_label_value(series->metrics, label, index));
	return ',';
}

/* jitney_name suffix {labels, le} and the blank before the value. `le` is a bucket's bound in the metric's own unit:
 * NULL: no bucket; UINT64_MAX: +Inf. */
static void put_series(struct buf *out, const struct series *series, const char *suffix, const uint64_t *le)
{
	buf_put(out, SLICE(PREFIX));
	buf_put_text(out, series->entry->name);
	buf_put_text(out, suffix);
	char before = put_series_label(out, series, '{', series->entry->label1, series->label1);
	before = put_series_label(out, series, before, series->entry->label2, series->label2);
	if (le) {
		buf_put_char(out, before);
		buf_put_text(out, "le=\"");
		if (*le == UINT64_MAX)
			buf_put_text(out, "+Inf");
		else
			put_figure(out, series->entry->type, *le);
		buf_put_char(out, '"');
		before = ',';
	}
	buf_put_text(out, before == ',' ? "} " : " ");
}

static bool is_gauge(const struct metric_entry *entry)
{
	return entry->type != METRIC_COUNTER && entry->type < METRIC_SECONDS;
}

/* Whether a series that has never counted anything is left out: where each tool or endpoint has many of them. A single
 * one is shown, so that a rate over it begins with its first event. A gauge is: that something is not so is what it says. */
static bool hidden_at_zero(const struct metric_entry *entry)
{
	if (is_gauge(entry))
		return false;
	bool grows = entry->label1 == LABEL_TOOL || entry->label1 == LABEL_ENDPOINT;
	bool many = entry->label2 != LABEL_NONE || entry->type >= METRIC_SECONDS;
	return grows && many;
}

/* Buckets are read once and summed here, so that +Inf and _count always agree. */
static void put_histogram(const struct metrics *metrics, struct buf *out, const struct series *series, size_t cell)
{
	const struct scale *scale = metrics->shapes[series->entry - metric_entries].scale;
	uint64_t below[countof(scale->start)], count = 0;
	for (size_t i = 0; i <= scale->count; i++)
		below[i] = count += metrics_sum(metrics, cell + 1 + i);
	if (count == 0 && hidden_at_zero(series->entry))
		return;
	for (size_t i = 0; i <= scale->count; i++) {
		put_series(out, series, "_bucket", &scale->bounds[i]);
		buf_put_u64(out, below[i]);
		buf_put_char(out, '\n');
	}
	put_series(out, series, "_sum", NULL);
	put_figure(out, series->entry->type, metrics_sum(metrics, cell));
	buf_put_char(out, '\n');
	put_series(out, series, "_count", NULL);
	buf_put_u64(out, count);
	buf_put_char(out, '\n');
}

static void put_scalar(const struct metrics *metrics, struct buf *out, const struct series *series, size_t cell)
{
	uint64_t figure = metrics_sum(metrics, cell);
	if (figure == 0 && hidden_at_zero(series->entry))
		return;
	put_series(out, series, "", NULL);
	put_figure(out, series->entry->type, figure);
	buf_put_char(out, '\n');
}

/* Places that wait for a name have no series. What has left keeps what it has counted; what it is, it is no more. */
static bool has_series(const struct metrics *metrics, const struct metric_entry *entry, size_t index)
{
	if (entry->label1 == LABEL_NONE)
		return true;
	return metrics_label_value(metrics, entry->label1, index) &&
	       !(is_gauge(entry) && metrics_is_gone(metrics, entry->label1, index));
}

static void put_metric(const struct metrics *metrics, struct buf *out, enum metric metric)
{
	const struct metric_entry *entry = &metric_entries[metric];
	const struct shape *shape = &metrics->shapes[metric];
	struct series series = { .metrics = metrics, .entry = entry };
	size_t cell = shape->first, width = shape->scale ? shape->scale->count + 2 : 1;
	put_head(out, PREFIX, entry->name, type_word(entry->type), entry->help);
	for (series.label1 = 0; series.label1 < shape->count1; series.label1++) {
		if (!has_series(metrics, entry, series.label1)) {
			cell += width * shape->count2;
			continue;
		}
		for (series.label2 = 0; series.label2 < shape->count2; series.label2++, cell += width) {
			if (shape->scale)
				put_histogram(metrics, out, &series, cell);
			else
				put_scalar(metrics, out, &series, cell);
		}
	}
}

void prometheus_put_catalogue(const struct metrics *metrics, struct buf *out)
{
	for (size_t id = 0; id < METRIC_ID_COUNT; id++)
		put_metric(metrics, out, (enum metric)id);
}

/* --- the process --- */

/* What /proc/self/stat says; see proc(5). */
struct process {
	uint64_t threads;
	uint64_t start_ticks; /* since boot */
	uint64_t virtual_bytes;
	uint64_t resident_pages;
};

static bool read_process(struct process *process)
{
	char text[1024];
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t len = read(fd, text, sizeof text - 1);
	close(fd);
	if (len <= 0)
		return false;
	text[len] = '\0';
	/* the second field is the program's name in brackets, which may hold anything: count from behind it */
	const char *third = strrchr(text, ')');
	return third &&
	       sscanf(third + 1,
		      " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64 " %*s %" SCNu64
		      " %" SCNu64 " %" SCNu64,
		      &process->threads, &process->start_ticks, &process->virtual_bytes, &process->resident_pages) == 4;
}

uint64_t metrics_resident_bytes(void)
{
	struct process process;
	return read_process(&process) ? process.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t read_clock_us(clockid_t id)
{
	struct timespec now;
	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * CLOCK_US_PER_S + (uint64_t)now.tv_nsec / 1000;
}

uint64_t prometheus_process_start_us(void)
{
	struct process process;
	if (!read_process(&process))
		return 0;
	uint64_t booted_us = clock_wall_us() - read_clock_us(CLOCK_BOOTTIME);
	return booted_us + process.start_ticks * CLOCK_US_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
}

enum { FDS_WALKED_MAX = 2000 };

/* Open descriptors, 0 when the system does not say. */
static uint64_t count_fds(void)
{
	struct stat status;
	/* since Linux 6.2 the directory's size is the count: no walk over ten thousand connections */
	if (stat("/proc/self/fd", &status) == 0 && status.st_size > 0)
		return (uint64_t)status.st_size;
	DIR *dir = opendir("/proc/self/fd");
	if (!dir)
		return 0;
	uint64_t count = 0;
	for (const struct dirent *entry; count < FDS_WALKED_MAX && (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	/* So many would take a worker milliseconds: the lowest that is free is their number, but for holes. */
	int lowest = count == FDS_WALKED_MAX ? fcntl(dirfd(dir), F_DUPFD_CLOEXEC, 0) : -1;
	closedir(dir);
	if (lowest >= 0)
		close(lowest);
	return (lowest > FDS_WALKED_MAX ? (uint64_t)lowest : count) - 1; /* less the one we looked with */
}

void metrics_descriptors(uint64_t *open, uint64_t *most)
{
	struct rlimit files;
	*open = count_fds();
	*most = getrlimit(RLIMIT_NOFILE, &files) == 0 ? files.rlim_cur : 0;
}

static void put_process_gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
	put_head(out, "process_", name, "gauge", help);
	buf_printf(out, "process_%s %" PRIu64 "\n", name, value);
}

static void put_memory_and_threads(struct buf *out)
{
	struct process process;
	if (!read_process(&process))
		return;
	put_process_gauge(out, "resident_memory_bytes", "Resident memory size in bytes.",
			  process.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE));
	put_process_gauge(out, "virtual_memory_bytes", "Virtual memory size in bytes.", process.virtual_bytes);
	put_process_gauge(out, "threads", "Number of threads.", process.threads);
}

void prometheus_put_process(const struct metrics *metrics, struct buf *out)
{
	put_head(out, PREFIX, "build_info", "gauge", "1, with the version as a label.");
	buf_put_text(out, PREFIX "build_info");
	put_label(out, '{', "version", JITNEY_VERSION);
	buf_put_text(out, "} 1\n");

	put_head(out, "process_", "cpu_seconds_total", "counter", "User and system CPU time spent in seconds.");
	buf_put_text(out, "process_cpu_seconds_total ");
	put_seconds(out, read_clock_us(CLOCK_PROCESS_CPUTIME_ID));
	buf_put_char(out, '\n');

	put_head(out, "process_", "start_time_seconds", "gauge", "When the process started, seconds since 1970.");
	buf_put_text(out, "process_start_time_seconds ");
	put_seconds(out, metrics->process_start_us);
	buf_put_char(out, '\n');

	struct rlimit files;
	put_process_gauge(out, "open_fds", "Number of open file descriptors.", count_fds());
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		put_process_gauge(out, "max_fds", "Maximum number of open file descriptors.", files.rlim_cur);
	put_memory_and_threads(out);
}

void metrics_render(struct metrics *metrics, struct buf *out)
{
	metrics_refresh(metrics);
	prometheus_put_catalogue(metrics, out);
	prometheus_put_process(metrics, out);
}
