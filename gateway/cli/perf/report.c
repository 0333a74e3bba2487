/* SPDX-License-Identifier: Apache-2.0 */
/* report.c: a benchmark's result as a table, JSON and CSV. */
#include "base/json.h"
#include "gateway/cli/perf/result.h"
#include "gateway/cli/text_table.h"

const double result_bounds_ms[BOUNDS_COUNT] = { 1, 5, 10, 50, 100 };
const double result_shares[CURVE_POINTS] = { 0,    0.1,  0.25,  0.5,   0.75,  0.9,    0.95,
					     0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999 };

double step_good_rate(const struct bench_step *step)
{
	return step->seconds > 0 ? (double)(step->answered - step->refused) / step->seconds : 0;
}

uint64_t step_bad_calls(const struct bench_step *step)
{
	uint64_t bad = step->refused;
	for (size_t i = 0; i < TRAFFIC_FAILURE_COUNT; i++)
		bad += step->failures[i];
	return bad;
}

/* In the order of all forms. */
struct latency {
	const char *name;
	uint64_t us;
};
enum { LATENCIES = 6 };

static void list_latencies(const struct bench_step *step, struct latency latencies[LATENCIES])
{
	const struct latency all[LATENCIES] = { { "mean_us", step->mean_us }, { "p50_us", step->p50_us },
						{ "p90_us", step->p90_us },   { "p99_us", step->p99_us },
						{ "p999_us", step->p999_us }, { "max_us", step->max_us } };
	memcpy(latencies, all, sizeof all);
}

/* --- table --- */

static const struct text_column columns[] = {
	{ "WANTED/S", false, 0 }, { "CALLS/S", false, 0 }, { "CALLS", false, 3 }, { "FAILED", false, 0 },
	{ "MEAN", false, 2 },     { "P50", false, 0 },     { "P90", false, 2 },   { "P99", false, 0 },
	{ "P99.9", false, 1 },    { "MAX", false, 1 },
};

static void add_step(struct text_table *table, const struct bench_step *step, const char *load)
{
	struct text_row *row = text_table_add(table);
	if (!row)
		return;
	struct latency latencies[LATENCIES];
	list_latencies(step, latencies);
	if (step->rate > 0)
		text_cell_number(&row->cells[0], step->rate);
	else
		text_cell_put(&row->cells[0], strcmp(load, "log") == 0 ? SLICE("as then") : SLICE("as fast"));
	text_cell_number(&row->cells[1], step_good_rate(step));
	text_cell_number(&row->cells[2], (double)step->calls);
	text_cell_number(&row->cells[3], (double)step_bad_calls(step));
	for (size_t i = 0; i < LATENCIES; i++)
		if (step->answered)
			text_cell_time(&row->cells[4 + i], (double)latencies[i].us);
		else
			text_cell_none(&row->cells[4 + i]);
}

/* "statuses 429: 12, 503: 3; no answer: timeout 4" */
static void put_bad(const struct bench_result *result, struct buf *out)
{
	uint64_t statuses[TRAFFIC_STATUSES] = { 0 }, failures[TRAFFIC_FAILURE_COUNT] = { 0 }, bad = 0;
	for (size_t i = 0; i < result->step_count; i++) {
		bad += step_bad_calls(&result->steps[i]);
		for (size_t s = 400; s < TRAFFIC_STATUSES; s++)
			statuses[s] += result->steps[i].statuses[s];
		for (size_t f = 0; f < TRAFFIC_FAILURE_COUNT; f++)
			failures[f] += result->steps[i].failures[f];
	}
	if (!bad)
		return;
	buf_put_text(out, "failed:");
	for (size_t s = 400; s < TRAFFIC_STATUSES; s++)
		if (statuses[s])
			buf_printf(out, "  status %zu: %llu", s, (unsigned long long)statuses[s]);
	for (size_t f = 0; f < TRAFFIC_FAILURE_COUNT; f++)
		if (failures[f])
			buf_printf(out, "  %s: %llu", traffic_failure_words[f], (unsigned long long)failures[f]);
	buf_put_char(out, '\n');
}

static void put_memory_and_bounds(const struct bench_result *result, struct buf *out)
{
	struct text_cell cell, loaded, after;
	bool is_sweep = strcmp(result->load, "sweep") == 0;
	for (size_t i = 0; is_sweep && i < BOUNDS_COUNT; i++) {
		if (result->under[i] > 0)
			text_cell_number(&cell, result->under[i]);
		else
			text_cell_none(&cell);
		buf_printf(out, "%sp99 under %g ms: %s/s", i ? "   " : "", result_bounds_ms[i], cell.text);
	}
	buf_put_text(out, is_sweep ? "\n" : "");
	if (result->rss_idle <= 0)
		return;
	text_cell_bytes(&cell, result->rss_idle);
	text_cell_bytes(&loaded, result->rss_loaded);
	text_cell_none(&after);
	if (result->rss_after > 0)
		text_cell_bytes(&after, result->rss_after);
	buf_printf(out, "gateway's memory: %s before, %s at most, %s after\n", cell.text, loaded.text, after.text);
}

void result_put_table(const struct bench_result *result, struct buf *out)
{
	struct text_table table = { 0 };
	struct text_cell what;
	text_cell_put(&what, slice_of(result->what));
	buf_printf(out, "%s: %s load, %zu caller%s%s%s%s\n\n", what.text, result->load, result->callers,
		   result->callers == 1 ? "" : "s", *result->version ? ", jitney " : "", result->version,
		   result->interrupted ? "; interrupted: what was measured so far" : "");
	text_table_begin(&table, columns, countof(columns));
	for (size_t i = 0; i < result->step_count; i++)
		add_step(&table, &result->steps[i], result->load);
	text_table_put(&table, 0, out);
	out->failed = out->failed || table.failed;
	text_table_fini(&table);
	buf_put_char(out, '\n');
	put_bad(result, out);
	put_memory_and_bounds(result, out);
}

/* --- JSON, CSV --- */

static void put_times(const struct bench_step *step, struct buf *out)
{
	struct latency latencies[LATENCIES];
	list_latencies(step, latencies);
	for (size_t i = 0; i < LATENCIES; i++)
		if (step->answered)
			buf_printf(out, ",\"%s\":%llu", latencies[i].name, (unsigned long long)latencies[i].us);
		else
			buf_printf(out, ",\"%s\":null", latencies[i].name);
}

static void put_step(const struct bench_step *step, struct buf *out)
{
	const char *comma = "";
	if (step->rate > 0)
		buf_printf(out, "{\"rate\":%.3f", step->rate);
	else
		buf_put_text(out, "{\"rate\":null");
	buf_printf(out, ",\"seconds\":%.6f,\"calls\":%llu,\"answered\":%llu,\"calls_per_second\":%.2f,\"failed\":%llu",
		   step->seconds, (unsigned long long)step->calls, (unsigned long long)step->answered,
		   step_good_rate(step), (unsigned long long)step_bad_calls(step));
	put_times(step, out);
	buf_put_text(out, ",\"statuses\":{");
	for (size_t i = 0; i < TRAFFIC_STATUSES; i++)
		if (step->statuses[i]) {
			buf_printf(out, "%s\"%zu\":%llu", comma, i, (unsigned long long)step->statuses[i]);
			comma = ",";
		}
	buf_put_text(out, "},\"errors\":{");
	for (size_t i = 0; i < TRAFFIC_FAILURE_COUNT; i++)
		buf_printf(out, "%s\"%s\":%llu", i ? "," : "", traffic_failure_words[i],
			   (unsigned long long)step->failures[i]);
	buf_put_text(out, "}}");
}

static void put_bytes(const char *name, double bytes, const char *before, struct buf *out)
{
	if (bytes > 0)
		buf_printf(out, "%s\"%s\":%.0f", before, name, bytes);
	else
		buf_printf(out, "%s\"%s\":null", before, name);
}

void result_put_json(const struct bench_result *result, struct buf *out)
{
	buf_put_text(out, "{\"jitney_perf\":1,\"what\":");
	json_put_string(out, slice_of(result->what));
	buf_put_text(out, ",\"version\":");
	json_put_string(out, slice_of(result->version));
	buf_printf(out, ",\"load\":\"%s\",\"callers\":%zu,\"interrupted\":%s,\"steps\":[", result->load,
		   result->callers, result->interrupted ? "true" : "false");
	for (size_t i = 0; i < result->step_count; i++) {
		buf_put_text(out, i ? "," : "");
		put_step(&result->steps[i], out);
	}
	buf_put_text(out, "],\"under\":[");
	for (size_t i = 0; strcmp(result->load, "sweep") == 0 && i < BOUNDS_COUNT; i++)
		buf_printf(out, "%s{\"p99_us\":%.0f,\"calls_per_second\":%.2f}", i ? "," : "",
			   1000 * result_bounds_ms[i], result->under[i]);
	buf_put_text(out, "],\"rss_bytes\":{");
	put_bytes("idle", result->rss_idle, "", out);
	put_bytes("loaded", result->rss_loaded, ",", out);
	put_bytes("after", result->rss_after, ",", out);
	buf_put_text(out, "}}\n");
}

void result_put_csv(const struct bench_result *result, struct buf *out)
{
	buf_put_text(out, "rate,calls_per_second,seconds,calls,answered,failed,mean_us,p50_us,p90_us,p99_us,p999_us,"
			  "max_us\n");
	for (size_t i = 0; i < result->step_count; i++) {
		const struct bench_step *step = &result->steps[i];
		struct latency latencies[LATENCIES];
		list_latencies(step, latencies);
		if (step->rate > 0)
			buf_printf(out, "%.3f", step->rate);
		buf_printf(out, ",%.2f,%.6f,%llu,%llu,%llu", step_good_rate(step), step->seconds,
			   (unsigned long long)step->calls, (unsigned long long)step->answered,
			   (unsigned long long)step_bad_calls(step));
		for (size_t t = 0; t < LATENCIES; t++)
			if (step->answered)
				buf_printf(out, ",%llu", (unsigned long long)latencies[t].us);
			else
				buf_put_char(out, ',');
		buf_put_char(out, '\n');
	}
}
