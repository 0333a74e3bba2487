/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c: the cells behind the catalogue. One flat array a thread, found by arithmetic, written without a lock. */
#include "metrics/metrics.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/outcome.h"
#include "metrics/process.h"
#include "metrics/shape.h"

/* Two of today's 64-byte lines, because the hardware fetches them in pairs. */
enum { LINE_BYTES = 128 };

/* clang-format off */
static const uint64_t seconds_bounds[] = { /* in microseconds */
	50, 100, 250, 500, 1000, 2500, 5000, 10000, 15000, 20000, 25000, 50000, 100000, 250000, 500000,
	1000000, 2500000, 5000000, 10000000, 30000000, UINT64_MAX
};
static const uint64_t items_bounds[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, UINT64_MAX };
static const uint64_t bytes_bounds[] = {
	1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, UINT64_MAX
};
/* clang-format on */

const struct metric_entry metric_entries[METRIC_ID_COUNT] = {
#define X(id, name, type, label1, label2, help)                                                                        \
	[METRIC_ID_##id] = { name, help, METRIC_##type, LABEL_##label1, LABEL_##label2 },
	METRIC_CATALOGUE(X)
#undef X
};

#define X(name, word) word,
static const char *const reject_words[] = { REJECT_REASONS(X) };
static const char *const tier_words[] = { CACHE_TIERS(X) };
static const char *const result_words[] = { CACHE_RESULTS(X) };
static const char *const evict_words[] = { EVICT_REASONS(X) };
static const char *const flush_words[] = { FLUSH_REASONS(X) };
static const char *const refresh_words[] = { REFRESH_RESULTS(X) };
static const char *const class_words[] = { LATENCY_CLASSES(X) };
static const char *const state_words[] = { CONNECTION_STATES(X) };
static const char *const endpoint_state_words[] = { ENDPOINT_STATES(X) };
static const char *const ejection_words[] = { EJECTIONS(X) };
static const char *const shed_words[] = { SHED_REASONS(X) };
static const char *const band_words[] = { PRIORITY_BANDS(X) };
static const char *const limiter_state_words[] = { LIMITER_STATES(X) };
static const char *const limiter_reason_words[] = { LIMITER_REASONS(X) };
static const char *const check_words[] = { CHECK_RESULTS(X) };
static const char *const attempt_kind_words[] = { ATTEMPT_KINDS(X) };
static const char *const opening_words[] = { MCP_OPENINGS(X) };
static const char *const ending_words[] = { MCP_ENDINGS(X) };
static const char *const command_words[] = { REDIS_COMMANDS(X) };
static const char *const trouble_words[] = { REDIS_TROUBLES(X) };
static const char *const skip_words[] = { REDIS_SKIPS(X) };
static const char *const disk_job_words[] = { DISK_JOBS(X) };
static const char *const disk_trouble_words[] = { DISK_TROUBLES(X) };
static const char *const disk_skip_words[] = { DISK_SKIPS(X) };
static const char *const purge_words[] = { PURGE_DIRECTIONS(X) };
static const char *const lease_words[] = { LEASE_RESULTS(X) };
static const char *const mcp_method_words[] = { MCP_METHODS(X) };
static const char *const mcp_era_words[] = { MCP_ERAS(X) };
static const char *const mcp_note_words[] = { MCP_NOTE_KINDS(X) };
static const char *const otlp_signal_words[] = { OTLP_SIGNALS(X) };
static const char *const otlp_words[] = { OTLP_RESULTS(X) };
static const char *const otlp_request_words[] = { OTLP_REQUEST_RESULTS(X) };
static const char *const reload_words[] = { RELOAD_RESULTS(X) };
static const char *const limit_words[] = { LIMITS(X) };
static const char *const alert_words[] = { ALERTS(X) };
static const char *const severity_words[] = { ALERT_SEVERITIES(X) };
static const char *const alert_post_words[] = { ALERT_POSTS(X) };
static const char *const mcp_note_result_words[] = { MCP_NOTE_RESULTS(X) };
#undef X
/* the results over again for each kind, as attempt_label numbers them */
#define RESULT(name, word) word,
#define X(name, word) ATTEMPT_RESULTS(RESULT)
static const char *const attempt_words[] = { ATTEMPT_KINDS(X) };
#undef X
#undef RESULT

/* The labels whose values this file knows; the others draw from the names and from base/outcome.h. */
static const struct {
	const char *name;
	const char *const *words;
	size_t count;
} labels[LABEL_KIND_COUNT] = {
	[LABEL_NONE] = { NULL, NULL, 1 },
	[LABEL_TOOL] = { "tool", NULL, 0 },
	[LABEL_UPSTREAM] = { "upstream", NULL, 0 },
	[LABEL_ENDPOINT] = { "endpoint", NULL, 0 },
	[LABEL_WORKER] = { "worker", NULL, 0 },
	[LABEL_OUTCOME] = { "outcome", NULL, OUTCOME_COUNT },
	[LABEL_REJECT_REASON] = { "reason", reject_words, countof(reject_words) },
	[LABEL_TIER] = { "tier", tier_words, countof(tier_words) },
	[LABEL_CACHE_RESULT] = { "result", result_words, countof(result_words) },
	[LABEL_EVICT_REASON] = { "reason", evict_words, countof(evict_words) },
	[LABEL_FLUSH_REASON] = { "reason", flush_words, countof(flush_words) },
	[LABEL_REFRESH_RESULT] = { "result", refresh_words, countof(refresh_words) },
	[LABEL_LATENCY_CLASS] = { "class", class_words, countof(class_words) },
	[LABEL_ENDPOINT_STATE] = { "state", endpoint_state_words, countof(endpoint_state_words) },
	[LABEL_EJECTION] = { "reason", ejection_words, countof(ejection_words) },
	[LABEL_SHED_REASON] = { "reason", shed_words, countof(shed_words) },
	[LABEL_BAND] = { "band", band_words, countof(band_words) },
	[LABEL_LIMITER_STATE] = { "state", limiter_state_words, countof(limiter_state_words) },
	[LABEL_LIMITER_REASON] = { "reason", limiter_reason_words, countof(limiter_reason_words) },
	[LABEL_CHECK_RESULT] = { "result", check_words, countof(check_words) },
	[LABEL_ATTEMPT] = { "outcome", attempt_words, countof(attempt_words) },
	[LABEL_CONNECTION_STATE] = { "state", state_words, countof(state_words) },
	[LABEL_MCP_OPENING] = { "result", opening_words, countof(opening_words) },
	[LABEL_MCP_ENDING] = { "result", ending_words, countof(ending_words) },
	[LABEL_REDIS_COMMAND] = { "command", command_words, countof(command_words) },
	[LABEL_REDIS_TROUBLE] = { "reason", trouble_words, countof(trouble_words) },
	[LABEL_REDIS_SKIP] = { "reason", skip_words, countof(skip_words) },
	[LABEL_DISK_JOB] = { "job", disk_job_words, countof(disk_job_words) },
	[LABEL_DISK_TROUBLE] = { "reason", disk_trouble_words, countof(disk_trouble_words) },
	[LABEL_DISK_SKIP] = { "reason", disk_skip_words, countof(disk_skip_words) },
	[LABEL_PURGE_DIRECTION] = { "direction", purge_words, countof(purge_words) },
	[LABEL_LEASE_RESULT] = { "result", lease_words, countof(lease_words) },
	[LABEL_MCP_METHOD] = { "method", mcp_method_words, countof(mcp_method_words) },
	[LABEL_MCP_ERA] = { "era", mcp_era_words, countof(mcp_era_words) },
	[LABEL_MCP_NOTE] = { "notification", mcp_note_words, countof(mcp_note_words) },
	[LABEL_OTLP_SIGNAL] = { "signal", otlp_signal_words, countof(otlp_signal_words) },
	[LABEL_OTLP_RESULT] = { "result", otlp_words, countof(otlp_words) },
	[LABEL_OTLP_REQUEST_RESULT] = { "result", otlp_request_words, countof(otlp_request_words) },
	[LABEL_RELOAD_RESULT] = { "result", reload_words, countof(reload_words) },
	[LABEL_LIMIT] = { "limit", limit_words, countof(limit_words) },
	[LABEL_ALERT] = { "alert", alert_words, countof(alert_words) },
	[LABEL_ALERT_SEVERITY] = { "severity", severity_words, countof(severity_words) },
	[LABEL_ALERT_POST] = { "result", alert_post_words, countof(alert_post_words) },
	[LABEL_MCP_NOTE_RESULT] = { "result", mcp_note_result_words, countof(mcp_note_result_words) },
};

const char *metric_label_name(enum metric_label label)
{
	assert(label < LABEL_KIND_COUNT);
	return labels[label].name;
}

size_t metrics_label_count(const struct metrics_names *names, enum metric_label label)
{
	assert(label < LABEL_KIND_COUNT);
	switch (label) {
	case LABEL_TOOL:
		return names->tool_count;
	case LABEL_UPSTREAM:
		return names->upstream_count;
	case LABEL_ENDPOINT:
		return names->endpoint_count;
	case LABEL_WORKER:
		return names->worker_count;
	default:
		return metric_word_count(label);
	}
}

size_t metric_word_count(enum metric_label label)
{
	assert(label < LABEL_KIND_COUNT);
	return labels[label].count;
}

const char *metric_word(enum metric_label label, size_t index)
{
	assert(index < metric_word_count(label));
	return label == LABEL_OUTCOME ? outcome_word((enum outcome)index) : labels[label].words[index];
}

const char *metrics_label_value(const struct metrics *metrics, enum metric_label label, size_t index)
{
	const struct metrics_names *names = &metrics->names;
	assert(label != LABEL_NONE && index < metrics_label_count(names, label));
	switch (label) {
	case LABEL_TOOL:
		return atomic_load_explicit(&metrics->tools[index], memory_order_acquire);
	case LABEL_UPSTREAM:
		return atomic_load_explicit(&metrics->upstreams[index], memory_order_acquire);
	case LABEL_ENDPOINT:
		return atomic_load_explicit(&metrics->endpoints[index], memory_order_acquire);
	case LABEL_WORKER:
		return metrics->workers[index];
	default:
		return metric_word(label, index);
	}
}

size_t metrics_label_places(const struct metrics *metrics, enum metric_label label)
{
	return metrics_label_count(&metrics->names, label);
}

const char *metrics_attempt_kind(size_t index)
{
	assert(index < countof(attempt_words));
	return attempt_kind_words[index / ATTEMPT_RESULT_COUNT];
}

static struct scale make_scale(const uint64_t *bounds, size_t count)
{
	struct scale scale = { .bounds = bounds, .count = count };
	size_t bucket = 0;
	for (size_t bit = 0; bit < countof(scale.start); bit++) {
		while (bounds[bucket] < UINT64_C(1) << bit)
			bucket++;
		scale.start[bit] = (uint8_t)bucket;
	}
	return scale;
}

static const struct scale *scale_of(const struct metrics *metrics, enum metric_type type)
{
	switch (type) {
	case METRIC_SECONDS:
		return &metrics->seconds;
	case METRIC_ITEMS:
		return &metrics->items;
	case METRIC_BYTES:
		return &metrics->bytes;
	default:
		return NULL;
	}
}

/* Lay the metrics out one behind the other. False when they do not fit into the address space. */
static bool lay_out(struct metrics *metrics)
{
	size_t at = 0;
	for (size_t id = 0; id < METRIC_ID_COUNT; id++) {
		const struct metric_entry *entry = &metric_entries[id];
		struct shape *shape = &metrics->shapes[id];
		*shape = (struct shape){
			.first = at,
			.count1 = metrics_label_count(&metrics->names, entry->label1),
			.count2 = metrics_label_count(&metrics->names, entry->label2),
			.scale = scale_of(metrics, entry->type),
		};
		assert(!shape->scale || shape->count2 == 1);
		size_t cells = shape->scale ? shape->scale->count + 2 : 1;
		if (__builtin_mul_overflow(cells, shape->count1, &cells) ||
		    __builtin_mul_overflow(cells, shape->count2, &cells) || __builtin_add_overflow(at, cells, &at))
			return false;
	}
	metrics->cell_count = at;
	return at <= (SIZE_MAX - 4 * (size_t)LINE_BYTES) / sizeof(uint64_t);
}

static const char *_Atomic *copy_names(const char *_Atomic *place, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		atomic_init(&place[i], names[i]);
	return place + count;
}

/* In one piece, which begins with the tools', and has who is gone behind them. Fewer than cells, which have been
 * counted. False: out of memory. */
static bool copy_all_names(struct metrics *metrics)
{
	const struct metrics_names *names = &metrics->names;
	size_t count = names->tool_count + names->upstream_count + names->endpoint_count;
	size_t flags = names->upstream_count + names->endpoint_count;
	metrics->tools = calloc(1, (count + 1) * sizeof *metrics->tools + flags * sizeof *metrics->upstreams_gone);
	if (!metrics->tools)
		return false;
	metrics->upstreams = copy_names(metrics->tools, names->tools, names->tool_count);
	metrics->endpoints = copy_names(metrics->upstreams, names->upstreams, names->upstream_count);
	copy_names(metrics->endpoints, names->endpoints, names->endpoint_count);
	metrics->upstreams_gone = (atomic_bool *)(metrics->tools + count);
	metrics->endpoints_gone = metrics->upstreams_gone + names->upstream_count;
	return true;
}

static bool number_workers(struct metrics *metrics)
{
	size_t count = metrics->names.worker_count;
	metrics->workers = calloc(count + 1, sizeof *metrics->workers);
	for (size_t i = 0; metrics->workers && i < count; i++)
		snprintf(metrics->workers[i], sizeof metrics->workers[i], "%zu", i);
	return metrics->workers;
}

struct metrics *metrics_new(const struct metrics_names *names)
{
	struct metrics *metrics = calloc(1, sizeof *metrics);
	if (!metrics)
		return NULL;
	metrics->names = *names;
	metrics->seconds = make_scale(seconds_bounds, countof(seconds_bounds) - 1);
	metrics->items = make_scale(items_bounds, countof(items_bounds) - 1);
	metrics->bytes = make_scale(bytes_bounds, countof(bytes_bounds) - 1);
	metrics->process_start_us = process_start_us();
	pthread_mutex_init(&metrics->scrape, NULL);
	if (lay_out(metrics) && copy_all_names(metrics) && number_workers(metrics))
		metrics->scrape_meter = metrics_meter(metrics);
	if (!metrics->scrape_meter) {
		metrics_free(metrics);
		return NULL;
	}
	return metrics;
}

void metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	struct meter *meter = atomic_load_explicit(&metrics->meters, memory_order_acquire);
	while (meter) {
		struct meter *next = meter->next;
		free(meter->memory);
		meter = next;
	}
	pthread_mutex_destroy(&metrics->scrape);
	free(metrics->tools);
	free(metrics->workers);
	free(metrics);
}

void metrics_name(struct metrics *metrics, enum metric_label label, size_t index, const char *name)
{
	assert(label == LABEL_TOOL || label == LABEL_UPSTREAM || label == LABEL_ENDPOINT);
	assert(index < metrics_label_count(&metrics->names, label) && name);
	const char *_Atomic *places = label == LABEL_TOOL       ? metrics->tools
				      : label == LABEL_UPSTREAM ? metrics->upstreams
								: metrics->endpoints;
	assert(!atomic_load_explicit(&places[index], memory_order_relaxed));
	atomic_store_explicit(&places[index], name, memory_order_release);
}

static atomic_bool *find_gone(const struct metrics *metrics, enum metric_label label, size_t index)
{
	assert(index < metrics_label_count(&metrics->names, label));
	return label == LABEL_UPSTREAM ? &metrics->upstreams_gone[index] : &metrics->endpoints_gone[index];
}

void metrics_show(struct metrics *metrics, enum metric_label label, size_t index, bool there)
{
	assert(label == LABEL_UPSTREAM || label == LABEL_ENDPOINT);
	atomic_store_explicit(find_gone(metrics, label, index), !there, memory_order_relaxed);
}

bool metrics_is_gone(const struct metrics *metrics, enum metric_label label, size_t index)
{
	return (label == LABEL_UPSTREAM || label == LABEL_ENDPOINT) &&
	       atomic_load_explicit(find_gone(metrics, label, index), memory_order_relaxed);
}

/*
 * calloc, not aligned_alloc and memset: a large zeroed piece comes from the kernel page by page as it is touched, so a
 * thousand tools that nobody calls cost address space only. What is written lies on lines that no other piece shares.
 */
struct meter *metrics_meter(struct metrics *metrics)
{
	_Static_assert(sizeof(struct meter) <= LINE_BYTES, "the meter's head fills one line");
	size_t cells_bytes = metrics->cell_count * sizeof(uint64_t);
	char *memory = calloc(1, 3 * (size_t)LINE_BYTES + cells_bytes);
	if (!memory)
		return NULL;
	char *aligned = memory + LINE_BYTES - (uintptr_t)memory % LINE_BYTES;
	struct meter *meter = (struct meter *)(void *)aligned;
	meter->cells = (_Atomic uint64_t *)(void *)(aligned + LINE_BYTES);
	meter->shapes = metrics->shapes;
	meter->memory = memory;
	meter->next = atomic_load_explicit(&metrics->meters, memory_order_relaxed);
	atomic_store_explicit(&metrics->meters, meter, memory_order_release);
	return meter;
}

void meter_claim(struct meter *meter)
{
	owner_claim(&meter->owner);
}

void meter_release(struct meter *meter)
{
	owner_release(&meter->owner);
}

/* The cell of a counter or gauge. */
static inline size_t scalar_cell(const struct shape *shapes, enum metric metric, size_t label1, size_t label2)
{
	const struct shape *shape = &shapes[metric];
	assert(metric < METRIC_ID_COUNT && !shape->scale && label1 < shape->count1 && label2 < shape->count2);
	return shape->first + label1 * shape->count2 + label2;
}

/* The meter's own, to be written. */
static inline _Atomic uint64_t *own_cell(struct meter *meter, enum metric metric, size_t label1, size_t label2)
{
	return &meter->cells[scalar_cell(meter->shapes, metric, label1, label2)];
}

/* Load and store, no locked instruction: only the owner writes here, so nothing can come between. */
static inline void bump_cell(_Atomic uint64_t *cell, uint64_t by)
{
	atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + by, memory_order_relaxed);
}

void meter_add(struct meter *meter, enum metric metric, size_t label1, size_t label2, uint64_t count)
{
	bump_cell(own_cell(meter, metric, label1, label2), count);
}

void meter_move(struct meter *meter, enum metric metric, size_t label1, size_t label2, int64_t by)
{
	bump_cell(own_cell(meter, metric, label1, label2), (uint64_t)by);
}

void meter_set(struct meter *meter, enum metric metric, size_t label1, size_t label2, int64_t value)
{
	atomic_store_explicit(own_cell(meter, metric, label1, label2), (uint64_t)value, memory_order_relaxed);
}

void meter_observe(struct meter *meter, enum metric metric, size_t label1, uint64_t value)
{
	const struct shape *shape = &meter->shapes[metric];
	const struct scale *scale = shape->scale;
	assert_owner(&meter->owner);
	assert(metric < METRIC_ID_COUNT && scale && label1 < shape->count1);
	size_t bucket = scale->start[63 - __builtin_clzll(value | 1)];
	while (value > scale->bounds[bucket])
		bucket++;
	_Atomic uint64_t *series = &meter->cells[shape->first + label1 * (scale->count + 2)];
	bump_cell(&series[0], value);
	bump_cell(&series[1 + bucket], 1);
}

uint64_t metrics_sum(const struct metrics *metrics, size_t cell)
{
	uint64_t sum = 0;
	const struct meter *meter = atomic_load_explicit(&metrics->meters, memory_order_acquire);
	for (; meter; meter = meter->next)
		sum += atomic_load_explicit(&meter->cells[cell], memory_order_relaxed);
	return sum;
}

int64_t metrics_read(const struct metrics *metrics, enum metric metric, size_t label1, size_t label2)
{
	assert(metric < METRIC_ID_COUNT);
	const struct shape *shape = &metrics->shapes[metric];
	if (!shape->scale)
		return (int64_t)metrics_sum(metrics, scalar_cell(metrics->shapes, metric, label1, label2));
	assert(label1 < shape->count1 && label2 == 0);
	size_t series = shape->first + label1 * (shape->scale->count + 2);
	uint64_t observations = 0;
	for (size_t bucket = 0; bucket <= shape->scale->count; bucket++)
		observations += metrics_sum(metrics, series + 1 + bucket);
	return (int64_t)observations;
}

struct metric_outcomes metrics_read_outcomes(const struct metrics *metrics, enum metric metric, size_t label1)
{
	struct metric_outcomes sums = { 0 };
	assert(metric_entries[metric].label2 == LABEL_OUTCOME);
	for (enum outcome outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
		uint64_t count = (uint64_t)metrics_read(metrics, metric, label1, outcome);
		sums.all += count;
		sums.failed += outcome_is_failure(outcome) ? count : 0;
	}
	return sums;
}

int64_t metrics_read_by(const struct metrics *metrics, enum metric metric, enum metric_label label, size_t value,
			size_t at)
{
	bool first = metric_entries[metric].label1 == label;
	assert(first || metric_entries[metric].label2 == label);
	return first ? metrics_read(metrics, metric, value, at) : metrics_read(metrics, metric, at, value);
}

void metrics_on_scrape(struct metrics *metrics, void (*hook)(void *context, struct meter *meter), void *context)
{
	assert(metrics->hook_count < METRICS_MAX_HOOKS);
	metrics->hooks[metrics->hook_count].call = hook;
	metrics->hooks[metrics->hook_count++].context = context;
}

void metrics_refresh(struct metrics *metrics)
{
	pthread_mutex_lock(&metrics->scrape);
	for (size_t i = 0; i < metrics->hook_count; i++)
		metrics->hooks[i].call(metrics->hooks[i].context, metrics->scrape_meter);
	pthread_mutex_unlock(&metrics->scrape);
}
