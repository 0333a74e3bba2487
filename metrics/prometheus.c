/* SPDX-License-Identifier: Apache-2.0 */
/* prometheus.c: the exposition text, Prometheus format 0.0.4, of what walk.c reads. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "metrics/shape.h"

static const char *type_word(enum metric_type type)
{
	return metric_is_histogram(type) ? "histogram" : metric_is_gauge(type) ? "gauge" : "counter";
}

static void put_family(void *context, const struct metric_family *family)
{
	struct buf *out = context;
	buf_printf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", family->prefix, family->name, family->help, family->prefix,
		   family->name, type_word(family->type));
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
	if (metric_is_in_millionths(type)) {
		put_seconds(out, figure);
		return;
	}
	if (type == METRIC_GAUGE && (int64_t)figure < 0) {
		buf_put_char(out, '-');
		figure = -figure;
	}
	buf_put_u64(out, figure);
}

/* jitney_name suffix {labels, le} and the blank before the value. `le` is a bucket's bound in the metric's own unit:
 * NULL: no bucket; UINT64_MAX: +Inf. */
static void put_series(struct buf *out, const struct metric_family *family, const struct metric_point *point,
		       const char *suffix, const uint64_t *le)
{
	buf_put_text(out, family->prefix);
	buf_put_text(out, family->name);
	buf_put_text(out, suffix);
	char before = '{';
	for (size_t i = 0; i < point->tag_count; i++, before = ',')
		put_label(out, before, point->tags[i].name, point->tags[i].value);
	if (le) {
		buf_put_char(out, before);
		buf_put_text(out, "le=\"");
		if (*le == UINT64_MAX)
			buf_put_text(out, "+Inf");
		else
			put_figure(out, family->type, *le);
		buf_put_char(out, '"');
		before = ',';
	}
	buf_put_text(out, before == ',' ? "} " : " ");
}

static void put_histogram(struct buf *out, const struct metric_family *family, const struct metric_point *point)
{
	static const uint64_t without_end = UINT64_MAX;
	uint64_t below = 0;
	for (size_t i = 0; i <= point->bound_count; i++) {
		put_series(out, family, point, "_bucket", i < point->bound_count ? &point->bounds[i] : &without_end);
		buf_put_u64(out, below += point->buckets[i]);
		buf_put_char(out, '\n');
	}
	put_series(out, family, point, "_sum", NULL);
	put_figure(out, family->type, point->value);
	buf_put_char(out, '\n');
	put_series(out, family, point, "_count", NULL);
	buf_put_u64(out, point->count);
	buf_put_char(out, '\n');
}

static void put_point(void *context, const struct metric_family *family, const struct metric_point *point)
{
	struct buf *out = context;
	if (metric_is_histogram(family->type)) {
		put_histogram(out, family, point);
		return;
	}
	put_series(out, family, point, "", NULL);
	put_figure(out, family->type, point->value);
	buf_put_char(out, '\n');
}

void prometheus_put_catalogue(const struct metrics *metrics, struct buf *out)
{
	walk_catalogue(metrics, &(const struct metrics_reader){ out, put_family, put_point });
}

void prometheus_put_process(const struct metrics *metrics, struct buf *out)
{
	walk_process(metrics, &(const struct metrics_reader){ out, put_family, put_point });
}

void metrics_render(struct metrics *metrics, struct buf *out)
{
	metrics_walk(metrics, &(const struct metrics_reader){ out, put_family, put_point });
}
