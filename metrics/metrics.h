/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h: counters, gauges and histograms. Every thread has a meter of its own and writes only there, with relaxed
 * stores; a scrape reads all meters with relaxed loads and sums. Nothing on a call's path takes a lock or allocates.
 */
#ifndef JITNEY_METRICS_METRICS_H
#define JITNEY_METRICS_METRICS_H

#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "metrics/catalogue.h"

struct metrics; /* the shapes, all meters, the scrape hooks */
struct meter;   /* one thread's part */

/* The names of the configuration that labels draw from; NULL in a place of tools, upstreams or endpoints that gets its
 * name later: metrics_name. The names, and endpoint_upstreams, are borrowed and must outlive the metrics. */
struct metrics_names {
	const char *const *tools;
	size_t tool_count;
	const char *const *upstreams;
	size_t upstream_count;
	const char *const *endpoints;     /* all of them, numbered through */
	const size_t *endpoint_upstreams; /* which upstream each belongs to */
	size_t endpoint_count;
	size_t worker_count; /* their names are their numbers, from 0 */
};

/* NULL when out of memory. */
struct metrics *metrics_new(const struct metrics_names *names) MUST_CHECK;
/* Frees all meters too; no thread may write any more. */
void metrics_free(struct metrics *metrics);

/* Place `index` of LABEL_TOOL, LABEL_UPSTREAM or LABEL_ENDPOINT had no name and has this one from now on, which outlives
 * the metrics. Its series appear with it; what belongs to it (an endpoint's upstream) has been said before. One thread
 * at a time. */
void metrics_name(struct metrics *metrics, enum metric_label label, size_t index, const char *name);

/* An upstream or endpoint (by its label) has left, or is there again: while it is not, its gauges have no series, and what it
 * has counted stays. Any thread. */
void metrics_show(struct metrics *metrics, enum metric_label label, size_t index, bool there);

/* Value `index` of the label: static, or as long-lived as the names; NULL: a place that has no name yet. Any thread. */
const char *metrics_label_value(const struct metrics *metrics, enum metric_label label, size_t index);

/* The same for a label whose values catalogue.h names, or base/outcome.h; and how many it has. Any thread. */
const char *metric_word(enum metric_label label, size_t index);
size_t metric_word_count(enum metric_label label);
/* metrics_read, by the value of one of the metric's labels, `at` being the other's. Any thread. */
int64_t metrics_read_by(const struct metrics *metrics, enum metric metric, enum metric_label label, size_t value,
			size_t at);

/* How many values the label may come to have, places without a name included; LABEL_NONE: 1. Any thread. */
size_t metrics_label_places(const struct metrics *metrics, enum metric_label label);

/* A meter for one more thread; lives as long as the metrics. NULL when out of memory. Main thread. */
struct meter *metrics_meter(struct metrics *metrics) MUST_CHECK;

/* It is this thread's from now on: no other may write (asserted for histograms, which are not written so often). And
 * nobody's: whoever has it may, one at a time. */
void meter_claim(struct meter *meter);
void meter_release(struct meter *meter);

/*
 * Writing: the meter's own thread only. label1 and label2 are indexes into the sets the catalogue names for the
 * metric (0 where it names none); out of range is our bug and asserts.
 */
void meter_add(struct meter *meter, enum metric metric, size_t label1, size_t label2, uint64_t count);
/* Gauges: this thread's part goes up or down, or is set. */
void meter_move(struct meter *meter, enum metric metric, size_t label1, size_t label2, int64_t by);
void meter_set(struct meter *meter, enum metric metric, size_t label1, size_t label2, int64_t value);
/* Histograms: METRIC_SECONDS takes microseconds, the others items or bytes. */
void meter_observe(struct meter *meter, enum metric metric, size_t label1, uint64_t value);

/* The sum over all meters of a counter or gauge, or the number of observations of a histogram. Any thread. */
int64_t metrics_read(const struct metrics *metrics, enum metric metric, size_t label1, size_t label2);

/* What a metric whose second label is OUTCOME has counted at one value of its first: all, and those that failed. */
struct metric_outcomes {
	uint64_t all, failed;
};
struct metric_outcomes metrics_read_outcomes(const struct metrics *metrics, enum metric metric, size_t label1);

/* `hook` is called at the start of each scrape, on the scraping thread and under a mutex, with a meter that belongs
 * to the scrape: for figures that are kept elsewhere (the memory tier's bytes). Counters are meter_set there too.
 * Main thread, before the first scrape. At most 8. */
void metrics_on_scrape(struct metrics *metrics, void (*hook)(void *context, struct meter *meter), void *context);

/* Bring what the hooks know up to date, as a scrape does before it reads. Any thread. */
void metrics_refresh(struct metrics *metrics);

/* How many file descriptors it has open, and how many it may have. Any thread. */
void metrics_descriptors(uint64_t *open, uint64_t *most);

/* Memory that this process holds now; 0 when the system does not say. Any thread. */
uint64_t metrics_resident_bytes(void);

/*
 * Reading all there is, series by series: what /metrics and every other way out of here have in common.
 */
struct metric_tag {
	const char *name, *value; /* value: bytes, which need not be UTF-8 */
};
enum { METRIC_TAGS_MOST = 4 };
struct metric_family {
	const char *prefix, *name, *help; /* "jitney_", "requests_total", a sentence: static storage */
	enum metric_type type;
};
struct metric_point {
	struct metric_tag tags[METRIC_TAGS_MOST];
	size_t tag_count;
	/* A counter's or gauge's value, a histogram's sum; a METRIC_GAUGE's is an int64_t. Millionths where
	 * metric_is_in_millionths. */
	uint64_t value;
	/* Of a histogram: bound_count + 1 numbers of observations, each at most its bound (in the unit of the value)
	 * and over the one before; the last is over all of them. */
	const uint64_t *bounds, *buckets;
	size_t bound_count;
	uint64_t count; /* their sum */
};
struct metrics_reader {
	void *context;
	void (*family)(void *context, const struct metric_family *family); /* before its points, if it has any or not */
	void (*point)(void *context, const struct metric_family *family, const struct metric_point *point);
};

/* Its points have buckets. */
static inline bool metric_is_histogram(enum metric_type type)
{
	return type >= METRIC_SECONDS;
}
/* It may fall: its points have no beginning. */
static inline bool metric_is_gauge(enum metric_type type)
{
	return type >= METRIC_GAUGE && type < METRIC_SECONDS;
}
/* metric_point.value, and its bounds, are microseconds or millionths; told as seconds or shares of 1. */
static inline bool metric_is_in_millionths(enum metric_type type)
{
	return type == METRIC_SECONDS || type == METRIC_GAUGE_SECONDS || type == METRIC_GAUGE_RATIO ||
	       type == METRIC_COUNTER_SECONDS;
}

/* Bring the figures up to date, then give all of them to the reader: the catalogue's in its order, build_info, process_*. Of
 * what has many series a tool or endpoint (counters with a second label, histograms), those come that are not zero. What
 * the reader is given is good during its call. Any thread. */
void metrics_walk(struct metrics *metrics, const struct metrics_reader *reader);

/* Since when counters count: when this process started, wall clock in microseconds; 0 when the system does not say. */
uint64_t metrics_since_us(const struct metrics *metrics);

/* Append the exposition text, Prometheus format 0.0.4, of what metrics_walk gives. Any thread. */
void metrics_render(struct metrics *metrics, struct buf *out);

#endif
