/* SPDX-License-Identifier: Apache-2.0 */
/* result.h: what a benchmark has measured, and the forms in which it is told. */
#ifndef JITNEY_GATEWAY_CLI_PERF_RESULT_H
#define JITNEY_GATEWAY_CLI_PERF_RESULT_H

#include <stdio.h>

#include "gateway/cli/perf/traffic.h"
#include "base/buf.h"
#include "base/compiler.h"

enum { STEPS_MAX = 16, BOUNDS_COUNT = 5, CURVE_POINTS = 14, RESULT_TEXT_BYTES = 200 };

/* p99 under so much, milliseconds: how many calls a second? */
extern const double result_bounds_ms[BOUNDS_COUNT];
/* Shares of the calls that a curve shows: 0 up to 0.9999. */
extern const double result_shares[CURVE_POINTS];

/* One rate, for a while. */
struct bench_step {
	double rate;    /* wanted, calls a second; 0: as fast as answers came */
	double seconds; /* from the first call to the last answer */
	uint64_t calls, answered;
	uint64_t refused; /* of the answers, those with a status of 400 and more */
	uint64_t failures[TRAFFIC_FAILURE_COUNT], statuses[TRAFFIC_STATUSES];
	uint64_t p50_us, p90_us, p99_us, p999_us, max_us, mean_us;
	uint64_t curve_us[CURVE_POINTS]; /* at result_shares */
};

struct bench_result {
	char what[RESULT_TEXT_BYTES];    /* is called: a tool, or a file */
	char version[RESULT_TEXT_BYTES]; /* of the gateway; "": not known */
	const char *load;                /* "closed", "open", "log" or "sweep" */
	size_t callers;
	struct bench_step steps[STEPS_MAX];
	size_t step_count;
	double under[BOUNDS_COUNT];             /* of a sweep: calls a second; 0: p99 was never so low */
	double rss_idle, rss_loaded, rss_after; /* bytes; 0: not known */
	bool interrupted;
};

/* Calls answered below 400, a second. */
double step_good_rate(const struct bench_step *step);
/* Calls that failed or were refused. */
uint64_t step_bad_calls(const struct bench_step *step);

/* For people: a row a step, then what failed, and what the gateway held. */
void result_put_table(const struct bench_result *result, struct buf *out);
/* docs/perf.md has the members. */
void result_put_json(const struct bench_result *result, struct buf *out);
/* A line a step, with a line of titles. */
void result_put_csv(const struct bench_result *result, struct buf *out);

/* plot.c: a sweep's latencies over the rate, or one run's latency over the share of calls, as SVG. */
void result_put_svg(const struct bench_result *result, struct buf *out);

/* compare.c: whether `earlier`, what --json has said before, can be held against this result, of which no more than load and
 * callers need be known. NULL, or why not. */
const char *result_find_difference(const struct bench_result *result, struct slice earlier);
/*
 * Compare them.
 *
 * worse_share    0.1: figures that are a tenth worse, or more, are a failure.
 * out            a line for each figure that both have.
 * Returns how many are worse.
 */
size_t result_compare(const struct bench_result *result, struct slice earlier, double worse_share, struct buf *out);

#endif
