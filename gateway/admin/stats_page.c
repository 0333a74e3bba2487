/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats_page.c: GET /admin/stats, all figures that the views need in one document: sums since the start, rates over the last
 * second, ten seconds and five minutes, and the five minutes drawn in steps. docs/api.md has its members.
 */
#include <unistd.h>

#include "base/json.h"
#include "gateway/admin/alerts.h"
#include "gateway/admin/condition.h"
#include "gateway/admin/health.h"
#include "gateway/admin/observer.h"
#include "gateway/admin/pages.h"
#include "gateway/call/provider.h"
#include "gateway/call/world.h"
#include "metrics/history.h"

enum { SERIES_BYTES_MAX = 64 * 1024, STEP_S = 5 };

/* A quantile as a member; null: nothing was observed. */
static void put_latency(struct buf *out, const char *name, int64_t us)
{
	if (us < 0)
		buf_printf(out, ",\"%s\":null", name);
	else
		buf_printf(out, ",\"%s\":%lld", name, (long long)us);
}

static void put_ratio(struct buf *out, const char *name, uint64_t part, uint64_t whole)
{
	if (whole)
		buf_printf(out, ",\"%s\":%.4f", name, (double)part / (double)whole);
	else
		buf_printf(out, ",\"%s\":null", name);
}

/* --- The whole process --- */

static void put_process(struct buf *out, const struct observation *of)
{
	const struct gateway *gateway = of->gateway;
	const struct generation *generation = catalogue_made_for(of->catalogue);
	buf_printf(out, ",\"version\":\"" JITNEY_VERSION "\",\"generation\":%llu,\"uptime_s\":%llu",
		   (unsigned long long)generation->number,
		   (unsigned long long)((of->now_us - gateway->started_us) / CLOCK_US_PER_S));
	buf_put_text(out, ",\"loaded_at\":");
	page_put_time(out, generation->loaded_us);
	buf_put_text(out, ",\"asked_by\":");
	json_put_string(out, slice_of(generation->asked_by ? generation->asked_by : "start"));
	buf_printf(out, ",\"process\":{\"pid\":%ld,\"rss_bytes\":%llu}", (long)getpid(),
		   (unsigned long long)metrics_resident_bytes());
	buf_put_text(out, ",\"workers\":[");
	for (unsigned i = 0; i < gateway->config->workers; i++)
		buf_printf(out, "%s{\"busy_ratio\":%.4f,\"lag_us\":%lld}", i ? "," : "",
			   (double)metrics_read(gateway->metrics, METRIC_ID_WORKER_BUSY, i, 0) / 1e6,
			   (long long)metrics_read(gateway->metrics, METRIC_ID_WORKER_LAG, i, 0));
	buf_put_char(out, ']');
}

static int64_t sum_of(const struct gateway *gateway, enum metric metric, size_t count)
{
	int64_t sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += metrics_read(gateway->metrics, metric, i, 0);
	return sum;
}

static void put_totals(struct buf *out, const struct observation *of)
{
	const struct gateway *gateway = of->gateway;
	struct history_sums sums;
	history_now(of->history, &sums);
	buf_printf(out,
		   ",\"totals\":{\"calls\":%llu,\"errors\":%llu,\"hits\":%llu,\"lookups\":%llu,\"coalesced\":%llu,"
		   "\"requests\":%llu,\"saved_requests\":%llu,\"rejected\":%lld",
		   (unsigned long long)sums.calls, (unsigned long long)sums.failed, (unsigned long long)sums.hits,
		   (unsigned long long)sums.lookups, (unsigned long long)sums.coalesced,
		   (unsigned long long)sums.requests, (unsigned long long)sums.saved,
		   (long long)sum_of(gateway, METRIC_ID_REJECTED, REJECT_REASON_COUNT));
	page_put_count(out, gateway, "in_flight", METRIC_ID_IN_FLIGHT, 0, 0);
	page_put_count(out, gateway, "in_flight_bytes", METRIC_ID_IN_FLIGHT_BYTES, 0, 0);
	page_put_count(out, gateway, "connections", METRIC_ID_CONNECTIONS, 0, 0);
	buf_put_char(out, '}');
}

/* What a span brought, a second; null where there was nothing to divide by. */
static void put_rates(struct buf *out, const struct history *history, const char *name, unsigned seconds)
{
	struct history_sums came;
	double span_s = history_span(history, seconds, 0, &came);
	double a_second = span_s > 0 ? 1 / span_s : 0;
	buf_printf(out,
		   "\"%s\":{\"span_s\":%.3f,\"calls\":%.2f,\"errors\":%.2f,\"requests\":%.2f,\"saved_requests\":%.2f",
		   name, span_s, (double)came.calls * a_second, (double)came.failed * a_second,
		   (double)came.requests * a_second, (double)came.saved * a_second);
	put_ratio(out, "error_ratio", came.failed, came.calls);
	put_ratio(out, "hit_ratio", came.hits, came.lookups);
	put_ratio(out, "mean_batch", came.carried, came.requests);
	put_latency(out, "p50_us", history_quantile(history, came.latency, 0.5));
	put_latency(out, "p99_us", history_quantile(history, came.latency, 0.99));
	buf_put_char(out, '}');
}

/* The five minutes in steps, the oldest first; fewer at the beginning. */
static void put_series(struct buf *out, const struct history *history)
{
	struct buf calls = BUF_INIT(SERIES_BYTES_MAX), errors = BUF_INIT(SERIES_BYTES_MAX),
		   p99 = BUF_INIT(SERIES_BYTES_MAX);
	const char *comma = "";
	for (unsigned from_s = HISTORY_S; from_s >= STEP_S; from_s -= STEP_S) {
		struct history_sums came;
		double span_s = history_step(history, from_s, from_s - STEP_S, &came);
		if (span_s <= 0)
			continue;
		buf_printf(&calls, "%s%.2f", comma, (double)came.calls / span_s);
		buf_printf(&errors, "%s%.2f", comma, (double)came.failed / span_s);
		int64_t us = history_quantile(history, came.latency, 0.99);
		if (us < 0)
			buf_printf(&p99, "%snull", comma);
		else
			buf_printf(&p99, "%s%lld", comma, (long long)us);
		comma = ",";
	}
	buf_printf(out, ",\"series\":{\"step_s\":%d,\"calls\":[%s],\"errors\":[%s],\"p99_us\":[%s]}", STEP_S,
		   buf_cstr(&calls), buf_cstr(&errors), buf_cstr(&p99));
	out->failed |= calls.failed || errors.failed || p99.failed;
	buf_fini(&calls);
	buf_fini(&errors);
	buf_fini(&p99);
}

/* --- Tools, upstreams, tiers, programs --- */

static void put_tool(struct buf *out, const struct observation *of, const struct tool *tool)
{
	const struct gateway *gateway = of->gateway;
	const struct metric_outcomes calls = metrics_read_outcomes(gateway->metrics, METRIC_ID_REQUESTS, tool->index);
	buf_put_text(out, "{\"name\":");
	json_put_string(out, slice_of(tool->name));
	buf_printf(out, ",\"calls\":%llu,\"errors\":%llu", (unsigned long long)calls.all,
		   (unsigned long long)calls.failed);
	page_put_count(out, gateway, "saved_requests", METRIC_ID_COALESCED, tool->index, 0);
	put_latency(out, "p50_us", history_quantile_of(of->history, METRIC_ID_REQUEST_DURATION, tool->index, 0.5));
	put_latency(out, "p99_us", history_quantile_of(of->history, METRIC_ID_REQUEST_DURATION, tool->index, 0.99));
	buf_put_char(out, '}');
}

static int64_t sum_of_row(const struct gateway *gateway, enum metric metric, size_t label, size_t count)
{
	int64_t sum = 0;
	for (size_t i = 0; i < count; i++)
		sum += metrics_read(gateway->metrics, metric, label, i);
	return sum;
}

/* The largest of its classes of latency. */
static int64_t most_of_classes(const struct gateway *gateway, enum metric metric, size_t label)
{
	int64_t most = 0;
	for (size_t i = 0; i < LATENCY_CLASS_COUNT; i++) {
		int64_t value = metrics_read(gateway->metrics, metric, label, i);
		most = value > most ? value : most;
	}
	return most;
}

/* Why a call failed there the last time; nothing if none has. */
static void put_failure(struct buf *out, struct provider *provider)
{
	struct provider_failure failure UNCLEARED;
	provider_last_failure(provider, &failure);
	if (!failure.at_us)
		return;
	buf_put_text(out, ",\"last_error\":{\"at\":");
	page_put_time(out, failure.at_us);
	buf_printf(out, ",\"outcome\":\"%s\",\"detail\":", outcome_word(failure.outcome));
	json_put_string(out, slice_of(failure.detail));
	buf_put_char(out, '}');
}

static void put_condition(struct buf *out, const struct observation *of, const struct upstream_config *upstream)
{
	struct diagnosis diagnosis UNCLEARED;
	condition_diagnose(of, upstream, &diagnosis);
	buf_printf(out, ",\"condition\":\"%s\",\"sign\":\"%s\",\"why\":", condition_word(diagnosis.condition),
		   diagnosis.sign);
	json_put_string(out, slice_of(diagnosis.why));
	if (diagnosis.since_us) {
		buf_put_text(out, ",\"since\":");
		page_put_time(out, diagnosis.since_us);
	}
	buf_printf(out, ",\"recent\":{\"requests\":%llu,\"errors\":%llu}", (unsigned long long)diagnosis.requests.all,
		   (unsigned long long)diagnosis.requests.failed);
}

static void put_upstream(struct buf *out, const struct observation *of, const struct upstream_config *upstream)
{
	const struct gateway *gateway = of->gateway;
	const struct upstream_settings *settings = &upstream->settings;
	size_t label = settings->label;
	struct metric_outcomes requests = { 0 };
	for (size_t i = 0; i < settings->endpoint_count; i++) {
		const struct metric_outcomes here = metrics_read_outcomes(gateway->metrics, METRIC_ID_UPSTREAM_REQUESTS,
									  upstream_endpoint_label(settings, i));
		requests.all += here.all;
		requests.failed += here.failed;
	}
	buf_put_text(out, "{\"name\":");
	json_put_string(out, slice_of(settings->name));
	buf_printf(out, ",\"dialect\":\"%s\",\"worker\":%u,\"requests\":%llu,\"errors\":%llu", settings->dialect->name,
		   upstream_owner_index(gateway, upstream, 0), (unsigned long long)requests.all,
		   (unsigned long long)requests.failed);
	page_put_count(out, gateway, "saved_requests", METRIC_ID_BATCH_SAVED, label, 0);
	put_latency(out, "p50_us", history_quantile_of(of->history, METRIC_ID_UPSTREAM_DURATION, label, 0.5));
	put_latency(out, "p99_us", history_quantile_of(of->history, METRIC_ID_UPSTREAM_DURATION, label, 0.99));
	buf_printf(out, ",\"waiting\":%lld,\"in_flight\":%lld",
		   (long long)sum_of_row(gateway, METRIC_ID_BATCH_WAITING, label, LATENCY_CLASS_COUNT),
		   (long long)sum_of_row(gateway, METRIC_ID_BATCH_IN_FLIGHT, label, LATENCY_CLASS_COUNT));
	page_put_count(out, gateway, "limit", METRIC_ID_CONCURRENCY_LIMIT, label, 0);
	page_put_count(out, gateway, "expected_wait_us", METRIC_ID_QUEUE_WAIT, label, 0);
	buf_printf(out, ",\"shed\":%lld,\"retry_budget\":%.3f",
		   (long long)sum_of_row(gateway, METRIC_ID_SHED, label, SHED_REASON_COUNT),
		   (double)metrics_read(gateway->metrics, METRIC_ID_RETRY_BUDGET, label, 0) / 1e6);
	buf_printf(out, ",\"cost_fixed_us\":%lld,\"cost_item_us\":%lld,\"window_us\":%lld",
		   (long long)most_of_classes(gateway, METRIC_ID_BATCH_EXCHANGE_COST, label),
		   (long long)most_of_classes(gateway, METRIC_ID_BATCH_ITEM_COST, label),
		   (long long)most_of_classes(gateway, METRIC_ID_BATCH_WINDOW, label));
	page_put_object(out, gateway, "flushes", METRIC_ID_BATCH_FLUSHES, LABEL_FLUSH_REASON, label, false);
	put_condition(out, of, upstream);
	put_failure(out, upstream->provider);
	page_put_endpoints(out, gateway, settings);
	buf_put_char(out, '}');
}

static bool is_tier_there(const struct gateway *gateway, enum cache_tier tier)
{
	return tier == TIER_MEMORY || (tier == TIER_REDIS && atomic_load(&gateway->redis)) ||
	       (tier == TIER_DISK && gateway->disk);
}

static void put_tier(struct buf *out, const struct gateway *gateway, enum cache_tier tier)
{
	buf_printf(out, "{\"tier\":\"%s\",\"status\":\"%s\"", metric_word(LABEL_TIER, tier),
		   health_tier_status(gateway, tier));
	page_put_counts(out, gateway, METRIC_ID_CACHE_REQUESTS, LABEL_CACHE_RESULT, tier);
	page_put_count(out, gateway, "entries", METRIC_ID_CACHE_ENTRIES, tier, 0);
	page_put_count(out, gateway, "bytes", METRIC_ID_CACHE_BYTES, tier, 0);
	buf_printf(out, ",\"evictions\":%lld}",
		   (long long)sum_of_row(gateway, METRIC_ID_CACHE_EVICTIONS, tier, EVICT_REASON_COUNT));
}

/* Each process, in the order in which they were started; 64 at most. */
static void put_members(struct buf *out, struct endpoint_board *board)
{
	struct endpoint_process processes[ENDPOINT_PROCESSES];
	size_t count = endpoint_board_processes(board, processes);
	buf_put_text(out, ",\"members\":[");
	for (size_t i = 0; i < count; i++) {
		const struct endpoint_process *process = &processes[i];
		buf_printf(out, "%s{\"pid\":%d,\"state\":\"%s\",\"started_at\":", i ? "," : "", process->pid,
			   process->state);
		page_put_time(out, process->started_us);
		buf_printf(out, ",\"calls\":%llu,\"served\":%llu,\"cpu_us\":%llu,\"rss_bytes\":%llu}",
			   (unsigned long long)process->calls, (unsigned long long)process->served,
			   (unsigned long long)process->cpu_us, (unsigned long long)process->resident_bytes);
	}
	buf_put_char(out, ']');
}

static void put_programs(struct buf *out, const struct gateway *gateway, const struct upstream_settings *settings)
{
	size_t label = settings->label;
	buf_put_text(out, "{\"upstream\":");
	json_put_string(out, slice_of(settings->name));
	page_put_count(out, gateway, "running", METRIC_ID_PROCESSES, label, 0);
	page_put_count(out, gateway, "starts", METRIC_ID_PROCESS_STARTS, label, 0);
	page_put_count(out, gateway, "crashes", METRIC_ID_PROCESS_CRASHES, label, 0);
	page_put_count(out, gateway, "cpu_us", METRIC_ID_PROCESS_CPU, label, 0);
	page_put_count(out, gateway, "rss_bytes", METRIC_ID_PROCESS_RESIDENT, label, 0);
	put_members(out, settings->boards[0]);
	buf_put_char(out, '}');
}

static void put_caches(struct buf *out, const struct gateway *gateway)
{
	for (int tier = 0; tier < CACHE_TIER_COUNT; tier++)
		if (is_tier_there(gateway, (enum cache_tier)tier)) {
			buf_put_text(out, tier ? "," : "");
			put_tier(out, gateway, (enum cache_tier)tier);
		}
}

static void put_lists(struct buf *out, const struct observation *of)
{
	const struct generation *generation = catalogue_made_for(of->catalogue);
	const char *comma = "";
	buf_put_text(out, ",\"tools\":[");
	for (size_t i = 0; i < catalogue_count(of->catalogue); i++, comma = ",") {
		buf_put_text(out, comma);
		put_tool(out, of, catalogue_nth(of->catalogue, i));
	}
	buf_put_text(out, "],\"upstreams\":[");
	for (size_t i = 0; i < generation->upstream_count; i++) {
		buf_put_text(out, i ? "," : "");
		put_upstream(out, of, &generation->upstreams[i]);
	}
	buf_put_text(out, "],\"cache\":[");
	put_caches(out, of->gateway);
	buf_put_text(out, "],\"processes\":[");
	comma = "";
	for (size_t i = 0; i < generation->upstream_count; i++)
		if (generation->upstreams[i].settings.process) {
			buf_put_text(out, comma);
			put_programs(out, of->gateway, &generation->upstreams[i].settings);
			comma = ",";
		}
	buf_put_text(out, "],\"alerts\":[");
	alerts_put_firing(of->alerts, out);
	buf_put_char(out, ']');
	page_put_tenants(out, of->gateway);
}

static void write_stats(const struct observation *of, struct buf *out)
{
	metrics_refresh(of->gateway->metrics);
	buf_put_text(out, "{\"at\":");
	page_put_time(out, clock_wall_us());
	put_process(out, of);
	put_totals(out, of);
	buf_put_text(out, ",\"rates\":{");
	put_rates(out, of->history, "1s", 1);
	buf_put_char(out, ',');
	put_rates(out, of->history, "10s", 10);
	buf_put_char(out, ',');
	put_rates(out, of->history, "5m", HISTORY_S);
	buf_put_char(out, '}');
	put_series(out, of->history);
	put_lists(out, of);
	buf_put_text(out, "}\n");
}

void page_admin_stats(struct worker *worker, struct request *request, struct slice rest)
{
	(void)rest;
	observer_reply(worker, request, write_stats, page_send_json);
}
