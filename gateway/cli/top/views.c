/* SPDX-License-Identifier: Apache-2.0 */
/* views.c: the tables of `jitney top`. */
#include "gateway/cli/top/views.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "gateway/cli/top/condition.h"

enum { TEXT_BYTES_MAX = 4096, REASONS_SHOWN = 3, TOOLS_BYTES_MAX = TEXT_CELL_BYTES };

#define X(name, word, sort) word,
const char *const view_words[VIEW_COUNT] = { VIEWS(X) };
#undef X
#define X(name, word, sort) sort,
const uint8_t view_first_sort[VIEW_COUNT] = { VIEWS(X) };
#undef X

bool view_needs_calls(enum view view)
{
	return view == VIEW_BATCHES || view == VIEW_CALLS;
}

const char *view_says_empty(enum view view)
{
	static const char *const words[VIEW_COUNT] = {
		[VIEW_UPSTREAMS] = "There is no upstream.",     [VIEW_TOOLS] = "There is no tool yet.",
		[VIEW_BATCHES] = "No batch has left lately.",   [VIEW_CACHE] = "There is no tier.",
		[VIEW_PROCESSES] = "No upstream is a program.", [VIEW_ALERTS] = "No alert fires.",
		[VIEW_CALLS] = "No call is under way.",         [VIEW_TENANTS] = "No trusted proxy has named a tenant.",
	};
	return words[view];
}

/* What rows are made from. */
struct filling {
	const struct gateway_stats *now;
	struct slice past;           /* the array of the earlier look that `lists` walks; empty: there is none */
	struct json_walk past_place; /* of the row that comes next there, if lists are the same */
	double span_s;
	const char *filter;
	struct text_table *table;
	struct buf text;
};

/* The row of the earlier look with this raw name; empty: it was not there. Lists hardly change, so it is the next one. */
static struct slice find_past(struct filling *filling, const char *member, struct slice raw_name)
{
	struct slice row, name;
	for (int turn = 0; filling->past.len && turn < 2; turn++) {
		while (json_next_element(&filling->past_place, &row))
			if (json_member(row, slice_of(member), &name) && slice_equal(name, raw_name))
				return row;
		filling->past_place = json_walk(filling->past);
	}
	return SLICE("");
}

static struct slice raw_member(struct slice row, const char *member)
{
	struct slice raw;
	return json_member(row, slice_of(member), &raw) ? raw : SLICE("\"\"");
}

static void put_name(struct filling *filling, struct text_cell *cell, struct slice row, const char *member)
{
	text_cell_put(cell, stats_text(row, member, &filling->text));
}

static void put_count(struct text_cell *cell, struct slice row, const char *member)
{
	text_cell_number(cell, stats_count(row, member));
}

static void put_rate(const struct filling *filling, struct text_cell *cell, struct slice row, struct slice past,
		     const char *member)
{
	double came = past.len ? stats_count(row, member) - stats_count(past, member) : -1;
	if (came < 0)
		text_cell_none(cell);
	else
		text_cell_number(cell, came / filling->span_s);
}

static void put_share(struct text_cell *cell, double part, double whole)
{
	if (whole > 0)
		text_cell_share(cell, part / whole);
	else
		text_cell_none(cell);
}

/* The row that was added last does not have what is looked for: away with it. */
static void end_row(struct filling *filling, const struct text_row *row)
{
	if (!text_row_has(filling->table, row, filling->filter))
		filling->table->count--;
}

/* --- upstreams --- */

static const struct text_column upstream_columns[] = {
	{ "UPSTREAM", true, 0 }, { "STATE", true, 0 }, { "REQ/S", false, 1 }, { "ERRORS", false, 4 },
	{ "OPEN", false, 3 },    { "OF", false, 4 },   { "LINE", false, 3 },  { "P50", false, 5 },
	{ "P99", false, 1 },     { "FULL", false, 6 }, { "LEFT", false, 7 },  { "COST", false, 8 },
	{ "WINDOW", false, 9 },  { "FOR", false, 3 },  { "WHY", true, 2 },
};
enum { UPSTREAM_WHY = countof(upstream_columns) - 1 };

/* What was learned of its requests: what one takes, and each call on top. */
static void put_cost(struct text_cell *cell, struct slice upstream)
{
	double fixed_us = stats_count(upstream, "cost_fixed_us"), item_us = stats_count(upstream, "cost_item_us");
	struct text_cell fixed, item;
	text_cell_none(cell);
	if (fixed_us <= 0 && item_us <= 0)
		return;
	text_cell_time(&fixed, fixed_us);
	text_cell_time(&item, item_us);
	snprintf(cell->text, sizeof cell->text, "%.20s+%.20s", fixed.text, item.text);
	cell->key = fixed_us;
}

/* What an upstream that is sick says of it, or else why its batches leave, the most frequent reasons first. */
static void put_reasons(struct filling *filling, struct text_cell *cell, struct slice upstream)
{
	struct slice flushes = stats_member(upstream, "flushes"), name, value;
	double counts[REASONS_SHOWN] = { 0 };
	struct slice names[REASONS_SHOWN] = { { NULL, 0 } };
	for (struct json_walk walk = json_walk(flushes); json_next_member(&walk, &name, &value);) {
		uint64_t count = 0;
		size_t at = REASONS_SHOWN;
		if (!json_u64(value, &count))
			continue;
		for (; at > 0 && (double)count > counts[at - 1]; at--)
			if (at < REASONS_SHOWN) {
				counts[at] = counts[at - 1];
				names[at] = names[at - 1];
			}
		if (at < REASONS_SHOWN) {
			counts[at] = (double)count;
			names[at] = (struct slice){ name.at + 1, name.len - 2 };
		}
	}
	buf_reset(&filling->text);
	for (size_t i = 0; i < REASONS_SHOWN && counts[i] > 0; i++) {
		struct text_cell count;
		text_cell_number(&count, counts[i]);
		buf_printf(&filling->text, "%s%.*s %s", i ? ", " : "left: ", SLICE_ARG(names[i]), count.text);
	}
	text_cell_put(cell, buf_slice(&filling->text));
}

static void add_upstream(struct filling *filling, struct slice upstream)
{
	struct slice past = find_past(filling, "name", raw_member(upstream, "name"));
	struct text_row *row = text_table_add(filling->table);
	if (!row)
		return;
	struct text_cell *cells = row->cells;
	double requests = stats_count(upstream, "requests"), since_s;
	put_name(filling, &cells[0], upstream, "name");
	row->tone = condition_tone(condition_of(upstream, &cells[1], &filling->text));
	if (filling->text.len)
		text_cell_put(&cells[UPSTREAM_WHY], buf_slice(&filling->text));
	else
		put_reasons(filling, &cells[UPSTREAM_WHY], upstream);
	put_rate(filling, &cells[2], upstream, past, "requests");
	put_count(&cells[3], upstream, "errors");
	put_count(&cells[4], upstream, "in_flight");
	put_count(&cells[5], upstream, "limit");
	put_count(&cells[6], upstream, "waiting");
	stats_put_time(upstream, "p50_us", &cells[7]);
	stats_put_time(upstream, "p99_us", &cells[8]);
	if (requests > 0)
		text_cell_number(&cells[9], (requests + stats_count(upstream, "saved_requests")) / requests);
	else
		text_cell_none(&cells[9]);
	text_cell_share(&cells[10], stats_count(upstream, "retry_budget"));
	put_cost(&cells[11], upstream);
	stats_put_time(upstream, "window_us", &cells[12]);
	text_cell_none(&cells[13]);
	if (stats_number(upstream, "since", &since_s))
		text_cell_time(&cells[13], 1e6 * (filling->now->at_s - since_s));
	end_row(filling, row);
}

/* --- tools --- */

static const struct text_column tool_columns[] = {
	{ "TOOL", true, 0 },    { "CALLS/S", false, 1 }, { "CALLS", false, 2 }, { "ERR/S", false, 3 },
	{ "ERRORS", false, 2 }, { "JOINED", false, 4 },  { "P50", false, 3 },   { "P99", false, 1 },
};

static void add_tool(struct filling *filling, struct slice tool)
{
	struct slice past = find_past(filling, "name", raw_member(tool, "name"));
	struct text_row *row = text_table_add(filling->table);
	if (!row)
		return;
	struct text_cell *cells = row->cells;
	put_name(filling, &cells[0], tool, "name");
	put_rate(filling, &cells[1], tool, past, "calls");
	put_count(&cells[2], tool, "calls");
	put_rate(filling, &cells[3], tool, past, "errors");
	put_count(&cells[4], tool, "errors");
	put_count(&cells[5], tool, "saved_requests");
	stats_put_time(tool, "p50_us", &cells[6]);
	stats_put_time(tool, "p99_us", &cells[7]);
	row->tone = cells[3].key > 0 ? TONE_BAD : TONE_PLAIN;
	end_row(filling, row);
}

/* --- batches --- */

static const struct text_column batch_columns[] = {
	{ "LEFT AT", false, 0 }, { "BATCH", false, 1 },  { "CALLS", false, 0 },
	{ "WAITED", false, 1 },  { "AWAY", false, 1 },   { "WHY", true, 1 },
	{ "TRIES", false, 2 },   { "OUTCOME", true, 1 }, { "TOOLS", true, 0 },
};

static double time_of(struct slice call, const char *what)
{
	struct slice part, word;
	for (struct json_walk walk = json_walk(stats_member(call, "timeline")); json_next_element(&walk, &part);)
		if (json_member(part, SLICE("what"), &word) && json_string_is(word, slice_of(what)))
			return stats_count(part, "us");
	return 0;
}

static bool is_under_way(struct slice call)
{
	struct slice state = raw_member(call, "state");
	return json_type(state) == JSON_STRING && json_string_is(state, SLICE("under_way"));
}

static void put_clock(struct text_cell *cell, double at_s)
{
	time_t whole = (time_t)at_s;
	struct tm broken;
	if (!localtime_r(&whole, &broken) || !strftime(cell->text, sizeof cell->text, "%H:%M:%S", &broken))
		text_cell_none(cell);
	size_t len = strlen(cell->text);
	snprintf(cell->text + len, sizeof cell->text - len, ".%03d", (int)((at_s - (double)whole) * 1000));
	cell->key = at_s;
}

/* Its row, if one of its calls has been seen. Calls of a batch are near each other: the last rows are looked at first. */
static struct text_row *find_batch(const struct text_table *table, double id)
{
	for (size_t i = table->count; i > 0; i--)
		if (table->rows[i - 1].cells[1].key == id)
			return &table->rows[i - 1];
	return NULL;
}

static struct text_row *add_batch(struct filling *filling, struct slice call, double id)
{
	struct text_row *row = text_table_add(filling->table);
	if (!row)
		return NULL;
	snprintf(row->cells[1].text, sizeof row->cells[1].text, "%.0f", id);
	row->cells[1].key = id;
	put_count(&row->cells[2], call, "batch_size");
	put_name(filling, &row->cells[5], call, "batch_reason");
	return row;
}

/* Make a cell of words longer by one that is not among them yet. */
static void put_among(struct filling *filling, struct text_cell *cell, struct slice word)
{
	struct text_cell cleaned;
	text_cell_put(&cleaned, word);
	size_t len = strlen(cleaned.text);
	for (const char *at = cell->text; (at = strstr(at, cleaned.text)); at += len)
		if ((at == cell->text || at[-1] == ' ') && (!at[len] || at[len] == ','))
			return;
	buf_reset(&filling->text);
	buf_printf(&filling->text, "%s%s%s", cell->text, *cell->text ? ", " : "", cleaned.text);
	text_cell_put(cell, buf_slice(&filling->text));
}

/* A call of a batch: when it left, how long the one waited that waited longest, how long it was away. */
static void add_call(struct filling *filling, struct slice call)
{
	double id, waited_us = time_of(call, "queue"), away_us = time_of(call, "upstream");
	double left_s = stats_count(call, "started_at") + (waited_us + time_of(call, "look_up")) / 1e6;
	if (!stats_number(call, "batch_id", &id))
		return;
	struct text_row *row = find_batch(filling->table, id);
	if (!row && !(row = add_batch(filling, call, id)))
		return;
	struct text_cell *cells = row->cells;
	if (left_s > cells[0].key)
		put_clock(&cells[0], left_s);
	if (waited_us > cells[3].key)
		text_cell_time(&cells[3], waited_us);
	if (away_us > cells[4].key)
		text_cell_time(&cells[4], away_us);
	if (stats_count(call, "attempts") > cells[6].key)
		put_count(&cells[6], call, "attempts");
	struct slice outcome = is_under_way(call) ? SLICE("under way") : stats_text(call, "outcome", &filling->text);
	if (!is_under_way(call) && !slice_equal(outcome, SLICE("ok")))
		row->tone = TONE_BAD;
	struct text_cell word;
	text_cell_put(&word, outcome);
	put_among(filling, &cells[7], slice_of(word.text));
	struct text_cell tool;
	put_name(filling, &tool, call, "tool");
	put_among(filling, &cells[8], slice_of(tool.text));
}

static void drop_unwanted(struct filling *filling)
{
	struct text_table *table = filling->table;
	size_t kept = 0;
	for (size_t i = 0; i < table->count; i++)
		if (text_row_has(table, &table->rows[i], filling->filter))
			table->rows[kept++] = table->rows[i];
	table->count = kept;
}

/* --- cache, processes --- */

static const struct text_column tier_columns[] = {
	{ "TIER", true, 0 },     { "ANSWERS", false, 1 }, { "BYTES", false, 1 },   { "LOOKED/S", false, 3 },
	{ "HIT NOW", false, 0 }, { "HITS", false, 1 },    { "STALE", false, 4 },   { "MISSES", false, 1 },
	{ "BYPASS", false, 5 },  { "ERRORS", false, 2 },  { "EVICTED", false, 4 },
};

static double looked_up(struct slice tier)
{
	return stats_count(tier, "hit") + stats_count(tier, "stale") + stats_count(tier, "miss");
}

static void add_tier(struct filling *filling, struct slice tier)
{
	static const char *const members[] = { "hit", "stale", "miss", "bypass", "error", "evictions" };
	struct slice past = find_past(filling, "tier", raw_member(tier, "tier"));
	struct text_row *row = text_table_add(filling->table);
	if (!row)
		return;
	double came = looked_up(tier) - looked_up(past);
	double hits = came - (stats_count(tier, "miss") - stats_count(past, "miss"));
	put_name(filling, &row->cells[0], tier, "tier");
	put_count(&row->cells[1], tier, "entries");
	text_cell_bytes(&row->cells[2], stats_count(tier, "bytes"));
	text_cell_none(&row->cells[3]);
	text_cell_none(&row->cells[4]);
	if (past.len && came >= 0) {
		text_cell_number(&row->cells[3], came / filling->span_s);
		put_share(&row->cells[4], hits, came);
	}
	for (size_t i = 0; i < countof(members); i++)
		put_count(&row->cells[5 + i], tier, members[i]);
	end_row(filling, row);
}

static const struct text_column program_columns[] = {
	{ "UPSTREAM", true, 0 }, { "RUNNING", false, 0 }, { "CPU", false, 1 },     { "CPU TIME", false, 2 },
	{ "MEMORY", false, 1 },  { "STARTS", false, 1 },  { "CRASHES", false, 1 }, { "PIDS", true, 1 },
};

static void put_pids(struct filling *filling, struct text_cell *cell, struct slice program)
{
	struct slice member;
	const char *comma = "";
	buf_reset(&filling->text);
	for (struct json_walk walk = json_walk(stats_member(program, "members")); json_next_element(&walk, &member);) {
		buf_printf(&filling->text, "%s%.0f", comma, stats_count(member, "pid"));
		comma = " ";
	}
	text_cell_put(cell, buf_slice(&filling->text));
}

static void add_program(struct filling *filling, struct slice program)
{
	struct slice past = find_past(filling, "upstream", raw_member(program, "upstream"));
	struct text_row *row = text_table_add(filling->table);
	if (!row)
		return;
	double cpu_us = stats_count(program, "cpu_us") - stats_count(past, "cpu_us");
	put_name(filling, &row->cells[0], program, "upstream");
	put_count(&row->cells[1], program, "running");
	put_share(&row->cells[2], cpu_us > 0 ? cpu_us / 1e6 : 0, past.len ? filling->span_s : 0);
	stats_put_time(program, "cpu_us", &row->cells[3]);
	text_cell_bytes(&row->cells[4], stats_count(program, "rss_bytes"));
	put_count(&row->cells[5], program, "starts");
	put_count(&row->cells[6], program, "crashes");
	put_pids(filling, &row->cells[7], program);
	row->tone = stats_count(program, "crashes") > stats_count(past, "crashes") && past.len ? TONE_BAD : TONE_PLAIN;
	end_row(filling, row);
}

/* --- alerts --- */

static const struct text_column alert_columns[] = {
	{ "ALERT", true, 0 }, { "SEVERITY", true, 1 }, { "SUBJECT", true, 0 },
	{ "FOR", false, 2 },  { "DETAIL", true, 0 },
};

static void add_alert(struct filling *filling, struct slice alert)
{
	struct text_row *row = text_table_add(filling->table);
	if (!row)
		return;
	struct slice severity = stats_text(alert, "severity", &filling->text);
	bool critical = slice_equal(severity, SLICE("critical"));
	text_cell_put(&row->cells[1], severity);
	row->cells[1].key = critical; /* those first */
	row->tone = critical ? TONE_BAD : TONE_WARN;
	put_name(filling, &row->cells[0], alert, "alert");
	put_name(filling, &row->cells[2], alert, "subject");
	text_cell_time(&row->cells[3], 1e6 * (filling->now->at_s - stats_count(alert, "since")));
	put_name(filling, &row->cells[4], alert, "detail");
	end_row(filling, row);
}

/* --- calls under way --- */

static const struct text_column call_columns[] = {
	{ "TOOL", true, 0 },   { "FOR", false, 0 },   { "AT", true, 0 },
	{ "IN", false, 1 },    { "BATCH", false, 2 }, { "CALLS", false, 1 },
	{ "TRIES", false, 3 }, { "TENANT", true, 4 }, { "REQUEST", true, 0 },
};

/* Where it is, in a word, and since when. */
static void put_stage(struct filling *filling, struct slice call, struct text_cell *stage, struct text_cell *since)
{
	static const struct {
		const char *what, *word;
	} stages[] = { { "look_up", "look-up" }, { "queue", "line" }, { "upstream", "provider" } };
	struct slice what = stats_text(call, "stage", &filling->text);
	text_cell_put(stage, what);
	text_cell_none(since);
	for (size_t i = 0; i < countof(stages); i++)
		if (slice_equal(what, slice_of(stages[i].what))) {
			text_cell_put(stage, slice_of(stages[i].word));
			text_cell_time(since, time_of(call, stages[i].what));
		}
}

static void add_call_under_way(struct filling *filling, struct slice call)
{
	struct text_row *row = is_under_way(call) ? text_table_add(filling->table) : NULL;
	if (!row)
		return;
	struct text_cell *cells = row->cells;
	put_name(filling, &cells[0], call, "tool");
	stats_put_time(call, "total_us", &cells[1]);
	put_stage(filling, call, &cells[2], &cells[3]);
	text_cell_none(&cells[4]);
	text_cell_none(&cells[5]);
	if (stats_count(call, "batch_id") > 0) {
		snprintf(cells[4].text, sizeof cells[4].text, "%.0f", stats_count(call, "batch_id"));
		cells[4].key = stats_count(call, "batch_id");
		put_count(&cells[5], call, "batch_size");
	}
	put_count(&cells[6], call, "attempts");
	put_name(filling, &cells[7], call, "tenant");
	put_name(filling, &cells[8], call, "request_id");
	end_row(filling, row);
}

/* --- tenants --- */

static const struct text_column tenant_columns[] = {
	{ "TENANT", true, 0 }, { "BUSY", false, 1 },   { "CALLS/S", false, 1 },  { "CALLS", false, 2 },
	{ "ERR/S", false, 3 }, { "ERRORS", false, 2 }, { "UPSTREAM", false, 0 }, { "FOR", false, 4 },
};

static void add_tenant(struct filling *filling, struct slice tenant)
{
	struct slice past = find_past(filling, "name", raw_member(tenant, "name"));
	struct text_row *row = text_table_add(filling->table);
	if (!row)
		return;
	struct text_cell *cells = row->cells;
	double came_us = stats_count(tenant, "upstream_us") - stats_count(past, "upstream_us");
	put_name(filling, &cells[0], tenant, "name");
	put_share(&cells[1], came_us > 0 ? came_us / 1e6 : 0, past.len ? filling->span_s : 0);
	put_rate(filling, &cells[2], tenant, past, "calls");
	put_count(&cells[3], tenant, "calls");
	put_rate(filling, &cells[4], tenant, past, "errors");
	put_count(&cells[5], tenant, "errors");
	stats_put_time(tenant, "upstream_us", &cells[6]);
	text_cell_time(&cells[7], 1e6 * (filling->now->at_s - stats_count(tenant, "since")));
	row->tone = cells[4].key > 0 ? TONE_BAD : TONE_PLAIN;
	end_row(filling, row);
}

/* --- all --- */

static const struct {
	const struct text_column *columns;
	size_t count;
	const char *list; /* of /admin/stats; NULL: of the calls */
	void (*add)(struct filling *filling, struct slice row);
} views[VIEW_COUNT] = {
	[VIEW_UPSTREAMS] = { upstream_columns, countof(upstream_columns), "upstreams", add_upstream },
	[VIEW_TOOLS] = { tool_columns, countof(tool_columns), "tools", add_tool },
	[VIEW_BATCHES] = { batch_columns, countof(batch_columns), NULL, add_call },
	[VIEW_CACHE] = { tier_columns, countof(tier_columns), "cache", add_tier },
	[VIEW_PROCESSES] = { program_columns, countof(program_columns), "processes", add_program },
	[VIEW_ALERTS] = { alert_columns, countof(alert_columns), "alerts", add_alert },
	[VIEW_CALLS] = { call_columns, countof(call_columns), NULL, add_call_under_way },
	[VIEW_TENANTS] = { tenant_columns, countof(tenant_columns), "tenants", add_tenant },
};

size_t view_column_count(enum view view)
{
	return views[view].count;
}

void view_fill(enum view view, const struct gateway_stats *now, const struct gateway_stats *before, const char *filter,
	       struct text_table *table)
{
	const char *list = views[view].list;
	struct filling filling = { .now = now, .filter = filter, .table = table, .text = BUF_INIT(TEXT_BYTES_MAX) };
	struct slice rows = list ? stats_member(now->root, list) : now->calls, row;
	if (list && gateway_stats_follow(now, before, &filling.span_s)) {
		filling.past = stats_member(before->root, list);
		filling.past_place = json_walk(filling.past);
	}
	text_table_begin(table, views[view].columns, views[view].count);
	for (struct json_walk walk = json_walk(rows); json_next_element(&walk, &row);)
		views[view].add(&filling, row);
	if (view == VIEW_BATCHES)
		drop_unwanted(&filling);
	buf_fini(&filling.text);
}
