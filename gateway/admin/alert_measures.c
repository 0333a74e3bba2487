/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alert_measures.c: how what alerts are about is measured. The same conditions as in packaging/prometheus, as far as one
 * process can see them: where Prometheus looks back over hours, this looks back over minutes.
 */
#include <stdlib.h>

#include "base/log.h"
#include "gateway/admin/alerts_private.h"

/* Fewer calls than that are no share. */
enum { CALLS_LEAST = 10, TOOL_CALLS_LEAST = 15 };
#define TOOLS_EVERY_US (5 * CLOCK_US_PER_S)
#define FILES_EVERY_US (10 * CLOCK_US_PER_S)
#define HITS_EVERY_US (600 * CLOCK_US_PER_S)
enum { HITS_NOW = 3 /* samples: half an hour */, HITS_BEFORE_LEAST = 6, LOOKUPS_LEAST = 1800, HIT_PERCENT_LEAST = 10 };

/* --- counters --- */

static uint64_t read_calls(const struct gateway *gateway, size_t tool)
{
	return metrics_read_outcomes(gateway->metrics, METRIC_ID_REQUESTS, tool).all;
}

static uint64_t read_failed(const struct gateway *gateway, size_t tool)
{
	return metrics_read_outcomes(gateway->metrics, METRIC_ID_REQUESTS, tool).failed;
}

static uint64_t read_unknown(const struct gateway *gateway, size_t tool)
{
	return (uint64_t)metrics_read(gateway->metrics, METRIC_ID_REQUESTS, tool, OUTCOME_OUTCOME_UNKNOWN);
}

static uint64_t sum_reasons(const struct gateway *gateway, enum metric metric, const unsigned *reasons, size_t count)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += (uint64_t)metrics_read(gateway->metrics, metric, reasons[i], 0);
	return sum;
}

static uint64_t read_refused(const struct gateway *gateway, size_t none)
{
	static const unsigned reasons[] = { REJECT_CONNECTIONS, REJECT_DESCRIPTORS, REJECT_IN_FLIGHT,
					    REJECT_IN_FLIGHT_BYTES, REJECT_NO_MEMORY };
	(void)none;
	return sum_reasons(gateway, METRIC_ID_REJECTED, reasons, countof(reasons));
}

static uint64_t read_disk(const struct gateway *gateway, size_t none)
{
	static const unsigned reasons[] = { DISK_TROUBLE_FULL, DISK_TROUBLE_FAILED, DISK_TROUBLE_IN_USE,
					    DISK_TROUBLE_DAMAGED };
	(void)none;
	return sum_reasons(gateway, METRIC_ID_DISK_ERRORS, reasons, countof(reasons));
}

static uint64_t read_requests(const struct gateway *gateway, size_t endpoint)
{
	return metrics_read_outcomes(gateway->metrics, METRIC_ID_UPSTREAM_REQUESTS, endpoint).all;
}

static uint64_t read_requests_failed(const struct gateway *gateway, size_t endpoint)
{
	return metrics_read_outcomes(gateway->metrics, METRIC_ID_UPSTREAM_REQUESTS, endpoint).failed;
}

static uint64_t read_requests_limited(const struct gateway *gateway, size_t endpoint)
{
	return (uint64_t)metrics_read(gateway->metrics, METRIC_ID_UPSTREAM_REQUESTS, endpoint, OUTCOME_RATE_LIMITED);
}

static uint64_t read_shed(const struct gateway *gateway, size_t upstream)
{
	uint64_t shed = 0;
	for (size_t i = 0; i < SHED_REASON_COUNT; i++)
		shed += (uint64_t)metrics_read(gateway->metrics, METRIC_ID_SHED, upstream, i);
	return shed;
}

static uint64_t read_crashes(const struct gateway *gateway, size_t upstream)
{
	return (uint64_t)metrics_read(gateway->metrics, METRIC_ID_PROCESS_CRASHES, upstream, 0);
}

static uint64_t read_changes(const struct gateway *gateway, size_t upstream)
{
	return (uint64_t)metrics_read(gateway->metrics, METRIC_ID_TOOL_DEFINITION_CHANGES, upstream, 0);
}

static uint64_t read_lost_lines(const struct gateway *gateway, size_t none)
{
	(void)gateway;
	(void)none;
	return log_dropped();
}

bool alert_counters_init(struct alerts *alerts)
{
	static const struct {
		uint64_t (*read)(const struct gateway *gateway, size_t label);
		enum metric_label label;
		unsigned back_s; /* so far it looks back, or half as far */
	} rows[COUNTER_ID_COUNT] = {
		[COUNTER_CALLS] = { read_calls, LABEL_TOOL, 300 },
		[COUNTER_FAILED] = { read_failed, LABEL_TOOL, 300 },
		[COUNTER_UNKNOWN] = { read_unknown, LABEL_TOOL, 900 },
		[COUNTER_REFUSED] = { read_refused, LABEL_NONE, 60 },
		[COUNTER_SHED] = { read_shed, LABEL_UPSTREAM, 60 },
		[COUNTER_CRASHES] = { read_crashes, LABEL_UPSTREAM, 900 },
		[COUNTER_CHANGES] = { read_changes, LABEL_UPSTREAM, 900 },
		[COUNTER_DISK] = { read_disk, LABEL_NONE, 900 },
		[COUNTER_LOST_LINES] = { read_lost_lines, LABEL_NONE, 600 },
		[COUNTER_REQUESTS] = { read_requests, LABEL_ENDPOINT, 30 },
		[COUNTER_REQUESTS_FAILED] = { read_requests_failed, LABEL_ENDPOINT, 30 },
		[COUNTER_REQUESTS_LIMITED] = { read_requests_limited, LABEL_ENDPOINT, 30 },
	};
	for (size_t i = 0; i < COUNTER_ID_COUNT; i++) {
		struct alert_counter *counter = &alerts->counters[i];
		size_t count = metrics_label_places(alerts->gateway->metrics, rows[i].label);
		*counter = (struct alert_counter){ .read = rows[i].read,
						   .count = count,
						   .window_us = rows[i].back_s * CLOCK_US_PER_S / 2 };
		counter->before = calloc(count + 1, sizeof *counter->before);
		counter->current = calloc(count + 1, sizeof *counter->current);
		if (!counter->before || !counter->current)
			return false;
	}
	return true;
}

void alert_counters_fini(struct alerts *alerts)
{
	for (size_t i = 0; i < COUNTER_ID_COUNT; i++) {
		free(alerts->counters[i].before);
		free(alerts->counters[i].current);
	}
}

static void turn_counters(struct alerts *alerts, uint64_t now_us)
{
	for (size_t i = 0; i < COUNTER_ID_COUNT; i++) {
		struct alert_counter *counter = &alerts->counters[i];
		if (now_us < counter->turn_us)
			continue;
		uint64_t *oldest = counter->before;
		counter->before = counter->current;
		counter->current = oldest;
		for (size_t label = 0; label < counter->count; label++) {
			uint64_t now = counter->read(alerts->gateway, label);
			if (now != oldest[label]) /* pages of tools that nobody calls stay untouched */
				oldest[label] = now;
		}
		counter->turn_us = now_us + counter->window_us;
	}
}

/* How many events the latest time has brought. */
static uint64_t count_latest(const struct alerts *alerts, enum alert_counter_id id, size_t label)
{
	const struct alert_counter *counter = &alerts->counters[id];
	return counter->read(alerts->gateway, label) - counter->before[label];
}

static double count_events(const struct look *look, enum alert_counter_id id, size_t label)
{
	return (double)count_latest(look->alerts, id, label);
}

void alerts_count_requests(const struct alerts *alerts, size_t endpoint, struct alert_requests *requests)
{
	requests->all += count_latest(alerts, COUNTER_REQUESTS, endpoint);
	requests->failed += count_latest(alerts, COUNTER_REQUESTS_FAILED, endpoint);
	requests->limited += count_latest(alerts, COUNTER_REQUESTS_LIMITED, endpoint);
}

uint64_t alerts_count_shed(const struct alerts *alerts, size_t upstream)
{
	return count_latest(alerts, COUNTER_SHED, upstream);
}

static double percent_of(double part, double whole)
{
	return whole > 0 ? 100 * part / whole : 0;
}

/* --- the gateway --- */

static void evaluate_gateway(struct look *look, enum alert alert, double value)
{
	alert_evaluate(look, alert, 0, 0, value, NULL);
}

/* Of the last half hour against the day before, as far as there is one. */
static double measure_hits(struct alerts *alerts, uint64_t now_us)
{
	struct history_sums sums;
	if (now_us >= alerts->hits_due_us) {
		history_now(alerts->history, &sums);
		alerts->hits[alerts->hits_taken++ % ALERT_HIT_SAMPLES] = (struct alert_hits){ sums.hits, sums.lookups };
		alerts->hits_due_us = now_us + HITS_EVERY_US;
	}
	size_t kept = alerts->hits_taken < ALERT_HIT_SAMPLES ? alerts->hits_taken : ALERT_HIT_SAMPLES;
	if (kept < HITS_NOW + HITS_BEFORE_LEAST + 1)
		return 100;
	struct alert_hits oldest = alerts->hits[(alerts->hits_taken - kept) % ALERT_HIT_SAMPLES];
	struct alert_hits middle = alerts->hits[(alerts->hits_taken - 1 - HITS_NOW) % ALERT_HIT_SAMPLES];
	struct alert_hits newest = alerts->hits[(alerts->hits_taken - 1) % ALERT_HIT_SAMPLES];
	double before = percent_of((double)(middle.hits - oldest.hits), (double)(middle.lookups - oldest.lookups));
	double now = percent_of((double)(newest.hits - middle.hits), (double)(newest.lookups - middle.lookups));
	if (newest.lookups - middle.lookups < LOOKUPS_LEAST || before < HIT_PERCENT_LEAST)
		return 100;
	return percent_of(now, before);
}

static void measure_bounds(struct look *look)
{
	struct gateway *gateway = look->alerts->gateway;
	const struct http_settings *bounds = &look->generation->http;
	evaluate_gateway(look, ALERT_MEMORY_NEAR_BOUND,
			 percent_of((double)atomic_load(&gateway->http_shared.held_bytes), (double)bounds->held_bytes));
	evaluate_gateway(
		look, ALERT_CONNECTIONS_NEAR_BOUND,
		percent_of((double)atomic_load(&gateway->http_shared.connections), (double)bounds->connections));
	if (look->now_us >= look->alerts->files_due_us) {
		uint64_t open, most;
		metrics_descriptors(&open, &most);
		look->alerts->files_percent = (unsigned)percent_of((double)open, (double)most);
		look->alerts->files_due_us = look->now_us + FILES_EVERY_US;
	}
	evaluate_gateway(look, ALERT_DESCRIPTORS_NEAR_BOUND, look->alerts->files_percent);
}

static void measure_caches(struct look *look)
{
	const struct gateway *gateway = look->alerts->gateway;
	bool redis = atomic_load_explicit(&gateway->redis, memory_order_relaxed);
	int64_t connected = metrics_read(gateway->metrics, METRIC_ID_REDIS_CONNECTED, 0, 0);
	evaluate_gateway(look, ALERT_REDIS_DOWN, redis && connected < (int64_t)gateway->config->workers);
	evaluate_gateway(look, ALERT_REDIS_BREAKER_OPEN,
			 redis && metrics_read(gateway->metrics, METRIC_ID_REDIS_BREAKER, 0, 0) > 0);
	evaluate_gateway(look, ALERT_DISK_CACHE_FAILS, count_events(look, COUNTER_DISK, 0));
	evaluate_gateway(look, ALERT_HIT_RATIO_FELL, measure_hits(look->alerts, look->now_us));
}

static void measure_gateway(struct look *look)
{
	const struct metrics *metrics = look->alerts->gateway->metrics;
	struct history_sums came;
	history_span(look->alerts->history, HISTORY_S, 0, &came);
	evaluate_gateway(look, ALERT_ERRORS,
			 came.calls < CALLS_LEAST ? 0 : percent_of((double)came.failed, (double)came.calls));
	evaluate_gateway(look, ALERT_REFUSES, count_events(look, COUNTER_REFUSED, 0));
	measure_bounds(look);
	measure_caches(look);
	evaluate_gateway(look, ALERT_RELOAD_FAILED,
			 metrics_read(metrics, METRIC_ID_CONFIG_LAST_RELOAD_SUCCESS, 0, 0) == 0);
	evaluate_gateway(look, ALERT_LOG_LOSES_LINES, count_events(look, COUNTER_LOST_LINES, 0));
	for (unsigned i = 0; i < look->alerts->gateway->config->workers; i++) {
		alert_evaluate(look, ALERT_LOOP_LAG, i, 0, (double)metrics_read(metrics, METRIC_ID_WORKER_LAG, i, 0),
			       NULL);
		alert_evaluate(look, ALERT_WORKER_FULL, i, 0,
			       (double)metrics_read(metrics, METRIC_ID_WORKER_BUSY, i, 0) / 1e4, NULL);
	}
}

/* --- upstreams and endpoints --- */

/* What the states of an upstream's endpoints come to. */
struct fitness {
	int64_t up, all, healthy;
	char reason[ENDPOINT_REASON_BYTES]; /* of one that is not fit; "" */
};

static void measure_endpoint(struct look *look, const struct upstream_settings *settings, size_t index,
			     struct fitness *fitness)
{
	const struct metrics *metrics = look->alerts->gateway->metrics;
	size_t label = upstream_endpoint_label(settings, index);
	int64_t states[ENDPOINT_STATE_COUNT];
	char reason[ENDPOINT_REASON_BYTES] = "";
	for (size_t i = 0; i < ENDPOINT_STATE_COUNT; i++)
		fitness->all += states[i] = metrics_read(metrics, METRIC_ID_ENDPOINT_STATE, label, i);
	bool away = states[ENDPOINT_STATE_EJECTED] || states[ENDPOINT_STATE_FAILED_CHECK];
	bool healthy = metrics_read(metrics, METRIC_ID_UPSTREAM_HEALTHY, label, 0) > 0;
	fitness->up += states[ENDPOINT_STATE_UP];
	fitness->healthy += healthy;
	if ((away || !healthy) && settings->boards)
		endpoint_board_read(settings->boards[index], reason);
	if (reason[0] && !fitness->reason[0])
		memcpy(fitness->reason, reason, sizeof reason);
	alert_evaluate(look, ALERT_ENDPOINT_EJECTED, label, settings->label, away, reason);
}

static void measure_upstream(struct look *look, size_t index)
{
	const struct upstream_settings *settings = &look->generation->upstreams[index].settings;
	const struct metrics *metrics = look->alerts->gateway->metrics;
	size_t label = settings->label;
	struct fitness fitness = { 0 };
	for (size_t i = 0; i < settings->endpoint_count; i++)
		measure_endpoint(look, settings, i, &fitness);
	bool down = settings->endpoint_count && ((!fitness.up && fitness.all) || !fitness.healthy);
	struct tool_list_status status = catalogue_status(look->catalogue, (unsigned)index);
	bool listed = status.state != TOOL_LIST_DECLARED; /* why it is not there is why its list does not come */
	alert_evaluate(look, ALERT_UPSTREAM_DOWN, label, label, down,
		       fitness.reason[0] || !listed ? fitness.reason : status.why);
	alert_evaluate(look, ALERT_LINE_STANDS, label, label,
		       (double)metrics_read(metrics, METRIC_ID_QUEUE_WAIT, label, 0), NULL);
	alert_evaluate(look, ALERT_SHEDS, label, label, count_events(look, COUNTER_SHED, label), NULL);
	double left = (double)metrics_read(metrics, METRIC_ID_RETRY_BUDGET, label, 0) / 1e4;
	alert_evaluate(look, ALERT_RETRY_BUDGET_SPENT, label, label, settings->retries.budget_percent ? left : 100,
		       NULL);
	alert_evaluate(look, ALERT_PROCESS_RESTARTS, label, label, count_events(look, COUNTER_CRASHES, label), NULL);
	alert_evaluate(look, ALERT_TOOL_CHANGED, label, label, count_events(look, COUNTER_CHANGES, label), NULL);
	alert_evaluate(look, ALERT_TOOLS_STALE, label, label, status.state == TOOL_LIST_STALE, status.why);
}

/* --- tools --- */

static void measure_tool(struct look *look, const struct tool *tool)
{
	size_t label = tool->index;
	double calls = count_events(look, COUNTER_CALLS, label), p99_us = 0, failed = 0;
	if (calls >= TOOL_CALLS_LEAST) {
		failed = percent_of(count_events(look, COUNTER_FAILED, label), calls);
		p99_us = (double)history_quantile_of(look->alerts->history, METRIC_ID_REQUEST_DURATION, label, 0.99);
	}
	alert_evaluate(look, ALERT_TOOL_FAILS, label, 0, failed, NULL);
	alert_evaluate(look, ALERT_P99, label, 0, p99_us, NULL);
	alert_evaluate(look, ALERT_OUTCOME_UNKNOWN, label, 0, count_events(look, COUNTER_UNKNOWN, label), NULL);
}

void alert_measure(struct look *look)
{
	turn_counters(look->alerts, look->now_us);
	measure_gateway(look);
	for (size_t i = 0; i < look->generation->upstream_count; i++)
		measure_upstream(look, i);
	look->tools = look->now_us >= look->alerts->tools_due_us;
	if (!look->tools)
		return;
	look->alerts->tools_due_us = look->now_us + TOOLS_EVERY_US;
	for (size_t i = 0; i < catalogue_count(look->catalogue); i++)
		measure_tool(look, catalogue_nth(look->catalogue, i));
}
