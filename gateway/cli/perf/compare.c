/* SPDX-License-Identifier: Apache-2.0 */
/* compare.c: a benchmark's result against an earlier one: what is worse by more than may be. */
#include "base/json.h"
#include "gateway/cli/gateway_stats.h"
#include "gateway/cli/perf/result.h"
#include "gateway/cli/text_table.h"

enum { DEPTH = 16, NAME_BYTES = 64 };

static const struct text_column columns[] = {
	{ "FIGURE", true, 0 }, { "BEFORE", false, 0 }, { "NOW", false, 0 }, { "CHANGE", false, 0 }, { "", true, 0 },
};

struct comparison {
	struct text_table table;
	double worse_share;
	size_t worse;
};

/* One figure that both have. more_is_better: a rate; else a time or bytes, which `write` prints. */
static void compare_figure(struct comparison *comparison, const char *name, double before, double now,
			   bool more_is_better, void (*write)(struct text_cell *cell, double value))
{
	struct text_row *row = text_table_add(&comparison->table);
	if (!row)
		return;
	double change = before > 0 ? now / before - 1 : 0;
	double worse = more_is_better ? -change : change;
	bool is_worse = before > 0 && worse > comparison->worse_share;
	text_cell_put(&row->cells[0], slice_of(name));
	write(&row->cells[1], before);
	write(&row->cells[2], now);
	snprintf(row->cells[3].text, sizeof row->cells[3].text, "%+.1f%%", 100 * change);
	text_cell_put(&row->cells[4], is_worse ? SLICE("worse") : SLICE(""));
	comparison->worse += is_worse;
}

static void compare_times(struct comparison *comparison, const struct bench_step *now, struct slice before)
{
	const struct {
		const char *member, *name;
		uint64_t us;
	} times[] = { { "p50_us", "p50", now->p50_us },
		      { "p90_us", "p90", now->p90_us },
		      { "p99_us", "p99", now->p99_us } };
	for (size_t i = 0; i < countof(times); i++) {
		double us;
		if (now->answered && stats_number(before, times[i].member, &us))
			compare_figure(comparison, times[i].name, us, (double)times[i].us, false, text_cell_time);
	}
}

/* Of a sweep, how many calls a second under each bound; else rate and latencies of the one step. */
static void compare_loads(struct comparison *comparison, const struct bench_result *now, struct slice before)
{
	struct slice row;
	struct json_walk walk = json_walk(stats_member(before, "under"));
	bool is_sweep = strcmp(now->load, "sweep") == 0;
	for (size_t i = 0; is_sweep && i < BOUNDS_COUNT && json_next_element(&walk, &row); i++) {
		char name[NAME_BYTES];
		double rate = stats_count(row, "calls_per_second");
		snprintf(name, sizeof name, "calls/s, p99 under %g ms", result_bounds_ms[i]);
		if (rate > 0 || now->under[i] > 0)
			compare_figure(comparison, name, rate, now->under[i], true, text_cell_number);
	}
	walk = json_walk(stats_member(before, "steps"));
	if (is_sweep || !now->step_count || !json_next_element(&walk, &row))
		return;
	compare_figure(comparison, "calls/s", stats_count(row, "calls_per_second"), step_good_rate(&now->steps[0]),
		       true, text_cell_number);
	compare_times(comparison, &now->steps[0], row);
}

/* Not what it was before the load: that is how long the gateway has run. */
static void compare_memory(struct comparison *comparison, const struct bench_result *now, struct slice before)
{
	struct slice rss = stats_member(before, "rss_bytes");
	const struct {
		const char *member, *name;
		double bytes;
	} figures[] = { { "loaded", "memory at most", now->rss_loaded }, { "after", "memory after", now->rss_after } };
	for (size_t i = 0; i < countof(figures); i++) {
		double bytes;
		if (figures[i].bytes > 0 && stats_number(rss, figures[i].member, &bytes))
			compare_figure(comparison, figures[i].name, bytes, figures[i].bytes, false, text_cell_bytes);
	}
}

const char *result_find_difference(const struct bench_result *result, struct slice earlier)
{
	struct json_fault fault;
	struct buf text = BUF_INIT(RESULT_TEXT_BYTES);
	if (!json_check(earlier, DEPTH, NULL, &fault) || json_type(json_trim(earlier)) != JSON_OBJECT)
		return "it is not JSON";
	earlier = json_trim(earlier);
	if (stats_count(earlier, "jitney_perf") != 1)
		return "it is not what jitney perf benchmark --json prints";
	bool same = slice_equal(stats_text(earlier, "load", &text), slice_of(result->load));
	buf_fini(&text);
	if (!same)
		return "it is of another kind of load (closed, open, log, sweep)";
	if (stats_count(earlier, "callers") != (double)result->callers)
		return "it is of another number of callers";
	return NULL;
}

size_t result_compare(const struct bench_result *result, struct slice earlier, double worse_share, struct buf *out)
{
	struct comparison comparison = { .worse_share = worse_share };
	text_table_begin(&comparison.table, columns, countof(columns));
	compare_loads(&comparison, result, json_trim(earlier));
	compare_memory(&comparison, result, json_trim(earlier));
	text_table_put(&comparison.table, 0, out);
	out->failed = out->failed || comparison.table.failed;
	text_table_fini(&comparison.table);
	return comparison.worse;
}
