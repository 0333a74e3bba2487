/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h: what the metrics said before: a sample a second of the sums that views ask for, for five minutes, and for each
 * tool and upstream where its latencies stood a while ago. Whoever looks sees rates and quantiles of now, not of the
 * process' whole life. One thread: the one that ticks also asks.
 */
#ifndef JITNEY_METRICS_HISTORY_H
#define JITNEY_METRICS_HISTORY_H

#include "metrics/metrics.h"

struct history;

enum {
	HISTORY_S = 300,              /* how far back samples reach */
	HISTORY_LATENCY_BUCKETS = 21, /* of METRIC_SECONDS, the one without a bound included */
	HISTORY_WINDOW_S = 150        /* latencies of one tool or upstream are of the last one to two of these */
};

/* Sums over all that a process has done, or what came to them within a span. */
struct history_sums {
	uint64_t calls, failed;     /* answered; of these, failed by our or a provider's fault (outcome_is_failure) */
	uint64_t hits, lookups;     /* of the memory tier, stale ones are hits */
	uint64_t coalesced;         /* calls that joined another's flight */
	uint64_t requests, carried; /* requests with calls to providers, and the calls in them */
	uint64_t saved;             /* requests they did not get, because calls shared one */
	uint64_t latency[HISTORY_LATENCY_BUCKETS]; /* calls by how long they took */
};

/* The metrics are borrowed. NULL when out of memory. */
struct history *history_new(const struct metrics *metrics) MUST_CHECK;
void history_free(struct history *history);

/* Take a sample, if the last one is a second old. `now_us`: monotonic. */
void history_tick(struct history *history, uint64_t now_us);

/* All sums of now. */
void history_now(const struct history *history, struct history_sums *sums);
/* What came to them between `from_s` and `to_s` seconds ago (from_s > to_s, both at most HISTORY_S; 0: the last sample).
 * Returns how many seconds that really were, less at the beginning; 0: there are no two samples yet. */
double history_span(const struct history *history, unsigned from_s, unsigned to_s, struct history_sums *came);

/* The same for a step of a drawing: within a time in which no sample was taken (the one who ticks slept) every step has all
 * that came in that time, and it returns how long that was; 0: before the first sample. */
double history_step(const struct history *history, unsigned from_s, unsigned to_s, struct history_sums *came);

/* Below how many microseconds `share` (0 to 1) of the observations were, read off the buckets as Prometheus'
 * histogram_quantile does; -1: there are none. */
int64_t history_quantile(const struct history *history, const uint64_t latency[HISTORY_LATENCY_BUCKETS], double share);
/* The same of the latest latencies of one tool (METRIC_ID_REQUEST_DURATION) or upstream (METRIC_ID_UPSTREAM_DURATION). */
int64_t history_quantile_of(const struct history *history, enum metric metric, size_t label, double share);

#endif
