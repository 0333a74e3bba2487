/* SPDX-License-Identifier: Apache-2.0 */
/* head.c: the lines above each view of `jitney top`: who it is, how much, how full, who is sick. */
#include <stdio.h>

#include "base/json.h"
#include "gateway/cli/top/condition.h"
#include "gateway/cli/top/views.h"

enum { ILLS_SHOWN = 6, TEXT_BYTES_MAX = 4096 };

static void put_uptime(struct buf *out, double seconds)
{
	unsigned long long s = (unsigned long long)seconds, days = s / 86400;
	if (days)
		buf_printf(out, "%llu d ", days);
	buf_printf(out, "%02llu:%02llu:%02llu", s / 3600 % 24, s / 60 % 60, s % 60);
}

static void put_line(struct head *head, size_t line, const struct buf *text)
{
	struct slice bytes = buf_slice(text);
	size_t len = bytes.len < HEAD_LINE_BYTES - 1 ? bytes.len : HEAD_LINE_BYTES - 1;
	memcpy(head->lines[line], bytes.at, len);
	head->lines[line][len] = '\0';
}

/* "name value" of a member that may be null. */
static void put_share(struct buf *out, const char *name, struct slice object, const char *member)
{
	struct text_cell cell;
	stats_put_share(object, member, &cell);
	buf_printf(out, "  %s %s", name, cell.text);
}

static void put_number(struct buf *out, const char *name, double number, const char *unit)
{
	struct text_cell cell;
	text_cell_number(&cell, number);
	buf_printf(out, "%s%s %s%s", out->len ? "  " : "", name, cell.text, unit);
}

static void put_time(struct buf *out, const char *name, struct slice object, const char *member)
{
	struct text_cell cell;
	stats_put_time(object, member, &cell);
	buf_printf(out, "  %s %s", name, cell.text);
}

static void fill_identity(const struct gateway_stats *now, struct buf *out)
{
	struct buf version = BUF_INIT(TEXT_BYTES_MAX);
	struct text_cell cell;
	text_cell_put(&cell, stats_text(now->root, "version", &version));
	buf_printf(out, "jitney %s  pid %.0f  generation %.0f  up ", cell.text,
		   stats_count(stats_member(now->root, "process"), "pid"), stats_count(now->root, "generation"));
	put_uptime(out, stats_count(now->root, "uptime_s"));
	buf_fini(&version);
}

static void fill_flow(const struct gateway_stats *now, struct buf *out)
{
	struct slice rates = stats_member(stats_member(now->root, "rates"), "10s");
	put_number(out, "calls", stats_count(rates, "calls"), "/s");
	put_share(out, "errors", rates, "error_ratio");
	put_share(out, "hits", rates, "hit_ratio");
	put_time(out, "p50", rates, "p50_us");
	put_time(out, "p99", rates, "p99_us");
	put_number(out, "open", stats_count(stats_member(now->root, "totals"), "in_flight"), "");
}

/* The busiest worker and the longest turn of any. */
static void measure_workers(const struct gateway_stats *now, double *busy, double *lag_us)
{
	struct slice worker;
	*busy = *lag_us = 0;
	for (struct json_walk walk = json_walk(stats_member(now->root, "workers"));
	     json_next_element(&walk, &worker);) {
		double one_busy = stats_count(worker, "busy_ratio"), one_lag = stats_count(worker, "lag_us");
		*busy = one_busy > *busy ? one_busy : *busy;
		*lag_us = one_lag > *lag_us ? one_lag : *lag_us;
	}
}

static void fill_work(const struct gateway_stats *now, struct buf *out)
{
	struct slice rates = stats_member(stats_member(now->root, "rates"), "10s");
	struct text_cell busy, lag, memory;
	double share, lag_us, mean;
	measure_workers(now, &share, &lag_us);
	text_cell_share(&busy, share);
	text_cell_time(&lag, lag_us);
	text_cell_bytes(&memory, stats_count(stats_member(now->root, "process"), "rss_bytes"));
	put_number(out, "requests", stats_count(rates, "requests"), "/s");
	put_number(out, "saved", stats_count(rates, "saved_requests"), "/s");
	if (stats_number(rates, "mean_batch", &mean))
		put_number(out, "full", mean, "");
	buf_printf(out, "  busy %s  lag %s  RSS %s", busy.text, lag.text, memory.text);
}

/* What stands in the last line: the worst first, some of them. */
struct ills {
	struct buf *out;
	size_t count;
	enum condition worst;
	struct slice alerts; /* those that fire */
};

/* "search: down (connection refused)"; `why` may be empty. */
static void put_ill(struct ills *ills, enum condition condition, struct slice raw_name, const char *word,
		    struct slice why)
{
	struct text_cell name, reason;
	struct buf text = BUF_INIT(TEXT_BYTES_MAX);
	json_unescape(raw_name, &text);
	text_cell_put(&name, buf_slice(&text));
	text_cell_put(&reason, why);
	ills->worst = condition > ills->worst ? condition : ills->worst;
	if (ills->count++ < ILLS_SHOWN)
		buf_printf(ills->out, "%s%s%s%s%s%s%s", ills->out->len ? "; " : "", name.text, *name.text ? ": " : "",
			   word, why.len ? " (" : "", reason.text, why.len ? ")" : "");
	buf_fini(&text);
}

/* The first one whose member is this, raw; there are few. Empty: none. */
static struct slice find_row(struct slice rows, struct slice member, struct slice raw_name)
{
	struct slice row, name;
	for (struct json_walk walk = json_walk(rows); json_next_element(&walk, &row);)
		if (json_member(row, member, &name) && slice_equal(name, raw_name))
			return row;
	return SLICE("");
}

static void put_alerts(struct ills *ills, enum condition wanted)
{
	struct slice alert, severity, name, subject;
	struct text_cell word;
	struct buf text = BUF_INIT(TEXT_BYTES_MAX), detail = BUF_INIT(TEXT_BYTES_MAX);
	for (struct json_walk walk = json_walk(ills->alerts); json_next_element(&walk, &alert);) {
		if (!json_member(alert, SLICE("severity"), &severity) || !json_member(alert, SLICE("alert"), &name) ||
		    json_type(name) != JSON_STRING)
			continue;
		bool critical = json_type(severity) == JSON_STRING && json_string_is(severity, SLICE("critical"));
		if ((critical ? CONDITION_SICK : CONDITION_WORRYING) != wanted)
			continue;
		if (!json_member(alert, SLICE("subject"), &subject) || json_type(subject) != JSON_STRING)
			subject = SLICE("\"\"");
		text_cell_put(&word, stats_text(alert, "alert", &text));
		put_ill(ills, wanted, subject, word.text, stats_text(alert, "detail", &detail));
	}
	buf_fini(&text);
	buf_fini(&detail);
}

/* Those of which no alert speaks. */
static void put_upstreams(struct ills *ills, struct slice upstreams, enum condition wanted)
{
	struct slice upstream, name;
	struct text_cell word;
	struct buf why = BUF_INIT(TEXT_BYTES_MAX);
	for (struct json_walk walk = json_walk(upstreams); json_next_element(&walk, &upstream);)
		if (json_member(upstream, SLICE("name"), &name) && json_type(name) == JSON_STRING &&
		    !find_row(ills->alerts, SLICE("subject"), name).len &&
		    condition_of(upstream, &word, &why) == wanted)
			put_ill(ills, wanted, name, word.text, buf_slice(&why));
	buf_fini(&why);
}

static enum condition fill_ills(const struct gateway_stats *now, struct buf *out)
{
	struct slice upstreams = stats_member(now->root, "upstreams");
	struct buf named = BUF_INIT(TEXT_BYTES_MAX);
	struct ills ills = { .out = &named, .alerts = stats_member(now->root, "alerts") };
	size_t count = upstreams.len ? json_count(upstreams) : 0;
	for (enum condition wanted = CONDITION_SICK; wanted > CONDITION_WELL; wanted--) {
		put_alerts(&ills, wanted);
		put_upstreams(&ills, upstreams, wanted);
	}
	if (ills.count > ILLS_SHOWN) /* first, since the line may be cut */
		buf_printf(out, "%zu signs of trouble, the worst: ", ills.count);
	buf_put(out, buf_slice(&named));
	buf_fini(&named);
	if (!ills.count && count == 1)
		buf_put_text(out, "The upstream is well.");
	else if (!ills.count && !count)
		buf_put_text(out, "There is no upstream.");
	else if (!ills.count)
		buf_printf(out, "All %zu upstreams are well.", count);
	return ills.worst;
}

void head_fill(const struct gateway_stats *now, struct head *head)
{
	void (*const fillers[])(const struct gateway_stats *, struct buf *) = { fill_identity, fill_flow, fill_work };
	struct buf text = BUF_INIT(TEXT_BYTES_MAX);
	for (size_t i = 0; i < countof(fillers); i++) {
		buf_reset(&text);
		fillers[i](now, &text);
		put_line(head, i, &text);
	}
	buf_reset(&text);
	enum condition worst = fill_ills(now, &text);
	head->tone = worst == CONDITION_WELL ? TONE_GOOD : condition_tone(worst);
	put_line(head, HEAD_LINES - 1, &text);
	buf_fini(&text);
}
