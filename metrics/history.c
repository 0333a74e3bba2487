/* SPDX-License-Identifier: Apache-2.0 */
/* history.c: samples in a ring, and two generations of each histogram's past. */
#include "metrics/history.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/outcome.h"
#include "metrics/shape.h"

enum { SAMPLES = HISTORY_S + 1 };

struct sample {
	uint64_t at_us;
	struct history_sums sums;
};

/*
 * Where the buckets of each of a metric's series stood when the window before began, and when this one did: what has come
 * since the former is what the last one to two windows brought. Zeroed pages that nobody has called stay untouched.
 */
struct windows {
	enum metric metric;
	size_t count;
	uint64_t (*before)[HISTORY_LATENCY_BUCKETS], (*current)[HISTORY_LATENCY_BUCKETS];
};

struct history {
	const struct metrics *metrics;
	size_t taken;       /* samples since the start; the last is samples[(taken - 1) % SAMPLES] */
	uint64_t window_us; /* when the next windows begin */
	struct windows tools, upstreams;
	struct sample samples[SAMPLES];
};

static bool open_windows(struct windows *windows, const struct metrics *metrics, enum metric metric)
{
	const struct shape *shape = &metrics->shapes[metric];
	assert(shape->scale && shape->scale->count + 1 == HISTORY_LATENCY_BUCKETS);
	*windows = (struct windows){ .metric = metric, .count = shape->count1 };
	windows->before = calloc(shape->count1 ? shape->count1 : 1, sizeof *windows->before);
	windows->current = calloc(shape->count1 ? shape->count1 : 1, sizeof *windows->current);
	return windows->before && windows->current;
}

static void close_windows(struct windows *windows)
{
	free(windows->before);
	free(windows->current);
}

struct history *history_new(const struct metrics *metrics)
{
	struct history *history = calloc(1, sizeof *history);
	if (!history)
		return NULL;
	history->metrics = metrics;
	if (!open_windows(&history->tools, metrics, METRIC_ID_REQUEST_DURATION) ||
	    !open_windows(&history->upstreams, metrics, METRIC_ID_UPSTREAM_DURATION)) {
		history_free(history);
		return NULL;
	}
	return history;
}

void history_free(struct history *history)
{
	if (!history)
		return;
	close_windows(&history->tools);
	close_windows(&history->upstreams);
	free(history);
}

/* --- Sums --- */

/* Adds a series' buckets to `latency`; returns how many observations it has. */
static uint64_t add_latency(const struct metrics *metrics, enum metric metric, size_t label,
			    uint64_t latency[HISTORY_LATENCY_BUCKETS])
{
	size_t first = metrics->shapes[metric].first + label * (HISTORY_LATENCY_BUCKETS + 1) + 1;
	uint64_t observations = 0;
	for (size_t i = 0; i < HISTORY_LATENCY_BUCKETS; i++) {
		uint64_t count = metrics_sum(metrics, first + i);
		latency[i] += count;
		observations += count;
	}
	return observations;
}

static void add_tool(const struct metrics *metrics, size_t tool, struct history_sums *sums)
{
	if (!add_latency(metrics, METRIC_ID_REQUEST_DURATION, tool, sums->latency))
		return;
	const struct metric_outcomes calls = metrics_read_outcomes(metrics, METRIC_ID_REQUESTS, tool);
	sums->calls += calls.all;
	sums->failed += calls.failed;
	sums->coalesced += (uint64_t)metrics_read(metrics, METRIC_ID_COALESCED, tool, 0);
}

static void add_upstream(const struct metrics *metrics, size_t upstream, struct history_sums *sums)
{
	const struct shape *items = &metrics->shapes[METRIC_ID_BATCH_ITEMS];
	uint64_t requests = (uint64_t)metrics_read(metrics, METRIC_ID_BATCH_ITEMS, upstream, 0);
	sums->requests += requests;
	sums->carried += metrics_sum(metrics, items->first + upstream * (items->scale->count + 2));
	sums->saved += (uint64_t)metrics_read(metrics, METRIC_ID_BATCH_SAVED, upstream, 0);
}

void history_now(const struct history *history, struct history_sums *sums)
{
	const struct metrics *metrics = history->metrics;
	*sums = (struct history_sums){ 0 };
	for (size_t tool = 0; tool < history->tools.count; tool++)
		if (metrics_label_value(metrics, LABEL_TOOL, tool))
			add_tool(metrics, tool, sums);
	for (size_t upstream = 0; upstream < history->upstreams.count; upstream++)
		if (metrics_label_value(metrics, LABEL_UPSTREAM, upstream))
			add_upstream(metrics, upstream, sums);
	uint64_t looked[CACHE_RESULT_COUNT];
	for (size_t result = 0; result < CACHE_RESULT_COUNT; result++)
		looked[result] = (uint64_t)metrics_read(metrics, METRIC_ID_CACHE_REQUESTS, TIER_MEMORY, result);
	sums->hits = looked[CACHE_HIT] + looked[CACHE_STALE];
	sums->lookups = sums->hits + looked[CACHE_MISS];
}

/* --- Samples --- */

static void turn_windows(struct windows *windows, const struct metrics *metrics)
{
	uint64_t(*oldest)[HISTORY_LATENCY_BUCKETS] = windows->before;
	windows->before = windows->current;
	windows->current = oldest;
	for (size_t i = 0; i < windows->count; i++) {
		uint64_t now[HISTORY_LATENCY_BUCKETS] = { 0 };
		if (metrics_label_value(metrics, metric_entries[windows->metric].label1, i) &&
		    add_latency(metrics, windows->metric, i, now))
			memcpy(windows->current[i], now, sizeof now);
	}
}

void history_tick(struct history *history, uint64_t now_us)
{
	const struct sample *last = &history->samples[(history->taken + SAMPLES - 1) % SAMPLES];
	if (history->taken && now_us - last->at_us < CLOCK_US_PER_S)
		return;
	struct sample *sample = &history->samples[history->taken++ % SAMPLES];
	sample->at_us = now_us;
	history_now(history, &sample->sums);
	if (now_us < history->window_us)
		return;
	turn_windows(&history->tools, history->metrics);
	turn_windows(&history->upstreams, history->metrics);
	history->window_us = now_us + HISTORY_WINDOW_S * CLOCK_US_PER_S;
}

/* How many samples back the last one lies that was taken at least `age_s` before the newest one, or the oldest there is. */
static size_t find_sample(const struct history *history, unsigned age_s)
{
	size_t kept = history->taken < SAMPLES ? history->taken : SAMPLES, back = 0;
	const struct sample *newest = &history->samples[(history->taken - 1) % SAMPLES], *sample = newest;
	while (back + 1 < kept && newest->at_us - sample->at_us < age_s * CLOCK_US_PER_S)
		sample = &history->samples[(history->taken - 1 - ++back) % SAMPLES];
	return back;
}

static const struct sample *sample_back(const struct history *history, size_t back)
{
	return &history->samples[(history->taken - 1 - back) % SAMPLES];
}

static double subtract_sums(const struct sample *from, const struct sample *to, struct history_sums *came)
{
	const uint64_t *before = (const uint64_t *)&from->sums, *after = (const uint64_t *)&to->sums;
	_Static_assert(sizeof *came % sizeof(uint64_t) == 0, "sums are nothing but counters");
	for (size_t i = 0; i < sizeof *came / sizeof(uint64_t); i++)
		((uint64_t *)came)[i] = after[i] - before[i];
	return (double)(to->at_us - from->at_us) / (double)CLOCK_US_PER_S;
}

double history_span(const struct history *history, unsigned from_s, unsigned to_s, struct history_sums *came)
{
	assert(from_s > to_s && from_s <= HISTORY_S);
	*came = (struct history_sums){ 0 };
	if (!history->taken)
		return 0;
	return subtract_sums(sample_back(history, find_sample(history, from_s)),
			     sample_back(history, find_sample(history, to_s)), came);
}

double history_step(const struct history *history, unsigned from_s, unsigned to_s, struct history_sums *came)
{
	assert(from_s > to_s && from_s <= HISTORY_S);
	*came = (struct history_sums){ 0 };
	if (!history->taken)
		return 0;
	size_t from = find_sample(history, from_s), to = find_sample(history, to_s);
	const struct sample *newest = sample_back(history, 0), *first = sample_back(history, from);
	if (newest->at_us - first->at_us <= to_s * CLOCK_US_PER_S && to_s)
		return 0; /* the oldest there is, and the step was over before */
	return subtract_sums(first, sample_back(history, from == to && from ? from - 1 : to), came);
}

/* --- Quantiles --- */

int64_t history_quantile(const struct history *history, const uint64_t latency[HISTORY_LATENCY_BUCKETS], double share)
{
	const uint64_t *bounds = history->metrics->seconds.bounds;
	uint64_t all = 0, below = 0;
	for (size_t i = 0; i < HISTORY_LATENCY_BUCKETS; i++)
		all += latency[i];
	if (!all)
		return -1;
	double rank = share * (double)all;
	size_t i = 0;
	while (i < HISTORY_LATENCY_BUCKETS - 1 && (double)(below + latency[i]) < rank)
		below += latency[i++];
	if (i == HISTORY_LATENCY_BUCKETS - 1) /* beyond the last bound: that is all one knows */
		return (int64_t)bounds[i - 1];
	double from = i ? (double)bounds[i - 1] : 0, to = (double)bounds[i];
	double part = latency[i] ? (rank - (double)below) / (double)latency[i] : 0;
	return (int64_t)(from + (to - from) * part);
}

int64_t history_quantile_of(const struct history *history, enum metric metric, size_t label, double share)
{
	const struct windows *windows = metric == METRIC_ID_REQUEST_DURATION ? &history->tools : &history->upstreams;
	assert(metric == windows->metric && label < windows->count);
	uint64_t latency[HISTORY_LATENCY_BUCKETS] = { 0 };
	add_latency(history->metrics, metric, label, latency);
	for (size_t i = 0; i < HISTORY_LATENCY_BUCKETS; i++)
		latency[i] -= windows->before[label][i];
	return history_quantile(history, latency, share);
}
