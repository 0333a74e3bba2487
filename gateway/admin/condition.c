/* SPDX-License-Identifier: Apache-2.0 */
/* condition.c: see the header. What comes first here is the worse. */
#include "gateway/admin/condition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/admin/pages.h"
#include "gateway/call/provider.h"
#include "gateway/call/world.h"
#include "metrics/history.h"

enum { FAILS_PERCENT = 10, FAILS_SOMETIMES_PERCENT = 1, LIMITS_PERCENT = 10 };
#define LINE_WORRYING_US (CLOCK_US_PER_S / 4)

const char *condition_word(enum condition condition)
{
	static const char *const words[] = { "well", "worrying", "sick" };
	return words[condition];
}

/* What it said when it was asked for its tools, if it is an MCP server; "" otherwise. */
static void tell_list(const struct observation *of, const struct upstream_config *upstream,
		      char why[CONDITION_WHY_BYTES])
{
	const struct generation *generation = catalogue_made_for(of->catalogue);
	struct tool_list_status status = catalogue_status(of->catalogue, (unsigned)(upstream - generation->upstreams));
	snprintf(why, CONDITION_WHY_BYTES, "%s", status.state == TOOL_LIST_DECLARED ? "" : status.why);
}

/* How many endpoints nobody goes to; what the first of them said into `why`. */
static size_t count_away(const struct observation *of, const struct upstream_config *upstream,
			 char why[CONDITION_WHY_BYTES])
{
	const struct upstream_settings *settings = &upstream->settings;
	size_t away = 0;
	for (size_t i = 0; i < settings->endpoint_count; i++) {
		char reason[ENDPOINT_REASON_BYTES];
		if (page_endpoint_is_usable(of->gateway, settings, i) || away++)
			continue;
		if (endpoint_board_read(settings->boards[i], reason) && *reason)
			snprintf(why, CONDITION_WHY_BYTES, "%s", reason);
		else
			tell_list(of, upstream, why);
	}
	return away;
}

static void count_recent(const struct observation *of, const struct upstream_settings *settings,
			 struct diagnosis *diagnosis)
{
	for (size_t i = 0; i < settings->endpoint_count; i++)
		alerts_count_requests(of->alerts, upstream_endpoint_label(settings, i), &diagnosis->requests);
}

/* What the caller was told who failed last: without the upstream's own name, beside which it stands. */
static void tell_failure(const struct upstream_config *upstream, char why[CONDITION_WHY_BYTES])
{
	struct provider_failure failure UNCLEARED;
	size_t name = strlen(upstream->settings.name);
	provider_last_failure(upstream->provider, &failure);
	if (!failure.at_us)
		return;
	bool named = strncmp(failure.detail, upstream->settings.name, name) == 0 &&
		     strncmp(failure.detail + name, ": ", 2) == 0;
	snprintf(why, CONDITION_WHY_BYTES, "%s", failure.detail + (named ? name + 2 : 0));
}

static void set_sign(struct diagnosis *diagnosis, enum condition condition, const char *sign)
{
	diagnosis->condition = condition;
	snprintf(diagnosis->sign, sizeof diagnosis->sign, "%s", sign);
}

/* Of its recent requests, so many percent or more. */
static bool fails_often(struct diagnosis *diagnosis, const struct upstream_config *upstream, unsigned from_percent)
{
	const struct alert_requests *requests = &diagnosis->requests;
	if (!requests->failed || requests->failed * 100 < requests->all * from_percent)
		return false;
	bool often = from_percent == FAILS_PERCENT;
	diagnosis->condition = often ? CONDITION_SICK : CONDITION_WORRYING;
	snprintf(diagnosis->sign, sizeof diagnosis->sign, "fails %.0f %%",
		 100 * (double)requests->failed / (double)requests->all);
	tell_failure(upstream, diagnosis->why);
	return true;
}

/* It refuses requests as too many, or wants to be left alone: nothing fails by that, and every call waits. */
static bool is_rate_limited(const struct upstream_config *upstream, struct diagnosis *diagnosis)
{
	const struct alert_requests *requests = &diagnosis->requests;
	uint64_t pause_us = provider_pause_us(upstream->provider, clock_now_us());
	bool often = requests->limited && requests->limited * 100 >= requests->all * LIMITS_PERCENT;
	char pause[PAGE_SPAN_BYTES], *why = diagnosis->why;
	if (!often && !pause_us)
		return false;
	set_sign(diagnosis, CONDITION_WORRYING, "rate-limited");
	int len = 0;
	if (often)
		len = snprintf(why, CONDITION_WHY_BYTES, "it refuses %.0f %% of requests as too many%s",
			       100 * (double)requests->limited / (double)requests->all, pause_us ? "; " : "");
	if (pause_us)
		snprintf(why + len, CONDITION_WHY_BYTES - (size_t)len, "it asks to be left alone for another %s",
			 page_print_span(pause, (double)pause_us));
	return true;
}

/* What the alert p99 says of tools counts for upstreams too. */
static bool is_slow(const struct observation *of, const struct upstream_settings *settings, struct diagnosis *diagnosis)
{
	char took[PAGE_SPAN_BYTES], bound[PAGE_SPAN_BYTES];
	const struct alert_options *options = &catalogue_made_for(of->catalogue)->alerts[ALERT_P99];
	uint64_t from_us = options->warning ? options->warning : options->critical;
	int64_t us = history_quantile_of(of->history, METRIC_ID_UPSTREAM_DURATION, settings->label, 0.99);
	if (!from_us || us < (int64_t)from_us)
		return false;
	set_sign(diagnosis, CONDITION_WORRYING, "slow");
	snprintf(diagnosis->why, sizeof diagnosis->why, "p99 is %s; from %s on it is slow",
		 page_print_span(took, (double)us), page_print_span(bound, (double)from_us));
	return true;
}

static bool has_a_line(const struct observation *of, const struct upstream_settings *settings,
		       struct diagnosis *diagnosis)
{
	char wait[PAGE_SPAN_BYTES];
	int64_t us = metrics_read(of->gateway->metrics, METRIC_ID_QUEUE_WAIT, settings->label, 0);
	if (us <= (int64_t)LINE_WORRYING_US)
		return false;
	diagnosis->condition = CONDITION_WORRYING;
	snprintf(diagnosis->sign, sizeof diagnosis->sign, "line of %s", page_print_span(wait, (double)us));
	return true;
}

/* --- since when --- */

struct condition_book {
	uint64_t look; /* number of the last one */
	size_t places;
	struct noted_condition {
		uint64_t since_us; /* 0: it was well */
		uint64_t
			look; /* which saw it: of an upstream that has gone, and whose label another one has, nothing counts */
	} noted[];            /* by the upstream's label */
};

struct condition_book *condition_book_new(const struct gateway *gateway)
{
	size_t places = metrics_label_places(gateway->metrics, LABEL_UPSTREAM);
	struct condition_book *book = calloc(1, sizeof *book + places * sizeof book->noted[0]);
	if (book)
		book->places = places;
	return book;
}

void condition_book_free(struct condition_book *book)
{
	free(book);
}

static uint64_t read_book(const struct condition_book *book, size_t label)
{
	const struct noted_condition *noted = &book->noted[label];
	return label < book->places && noted->look == book->look ? noted->since_us : 0;
}

/* --- the diagnosis --- */

static void diagnose_upstream(const struct observation *of, const struct upstream_config *upstream,
			      struct diagnosis *diagnosis)
{
	const struct upstream_settings *settings = &upstream->settings;
	char away_why[CONDITION_WHY_BYTES] = "";
	size_t away = count_away(of, upstream, away_why);
	*diagnosis = (struct diagnosis){ .condition = CONDITION_WELL };
	count_recent(of, settings, diagnosis);
	if (away && away == settings->endpoint_count) {
		set_sign(diagnosis, CONDITION_SICK, "down");
		snprintf(diagnosis->why, sizeof diagnosis->why, "%s", *away_why ? away_why : "not reached");
		if (!*away_why)
			tell_failure(upstream, diagnosis->why);
	} else if (alerts_count_shed(of->alerts, settings->label)) {
		set_sign(diagnosis, CONDITION_SICK, "refuses calls");
		tell_failure(upstream, diagnosis->why);
	} else if (fails_often(diagnosis, upstream, FAILS_PERCENT)) {
		return;
	} else if (away) {
		diagnosis->condition = CONDITION_WORRYING;
		snprintf(diagnosis->sign, sizeof diagnosis->sign, "%zu of %zu away", away, settings->endpoint_count);
		snprintf(diagnosis->why, sizeof diagnosis->why, "%s", away_why);
	} else if (!is_rate_limited(upstream, diagnosis) &&
		   !fails_often(diagnosis, upstream, FAILS_SOMETIMES_PERCENT) && !is_slow(of, settings, diagnosis) &&
		   !has_a_line(of, settings, diagnosis)) {
		set_sign(diagnosis, CONDITION_WELL, "well");
	}
}

void condition_diagnose(const struct observation *of, const struct upstream_config *upstream,
			struct diagnosis *diagnosis)
{
	diagnose_upstream(of, upstream, diagnosis);
	if (diagnosis->condition != CONDITION_WELL)
		diagnosis->since_us = read_book(of->conditions, upstream->settings.label);
}

void condition_book_look(struct condition_book *book, const struct observation *of)
{
	const struct generation *generation = catalogue_made_for(of->catalogue);
	uint64_t wall_us = clock_wall_us();
	for (size_t i = 0; i < generation->upstream_count; i++) {
		struct diagnosis diagnosis UNCLEARED;
		size_t label = generation->upstreams[i].settings.label;
		if (label >= book->places)
			continue;
		uint64_t since_us = read_book(book, label);
		diagnose_upstream(of, &generation->upstreams[i], &diagnosis);
		if (diagnosis.condition == CONDITION_WELL)
			since_us = 0;
		else if (!since_us)
			since_us = wall_us;
		book->noted[label] = (struct noted_condition){ since_us, book->look + 1 };
	}
	book->look++;
}
