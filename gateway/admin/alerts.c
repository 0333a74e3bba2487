/* SPDX-License-Identifier: Apache-2.0 */
/* alerts.c: who is sick by which sign, remembered over looks. */
#include "gateway/admin/alerts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/admin/alerts_private.h"
#include "gateway/admin/pages.h"
#include "gateway/tools/registry.h"

static const struct alert_description descriptions[ALERT_COUNT] = {
/* clang-format off */
#define ROW(ID, name, kind, unit, falls, sentence) \
	[ALERT_##ID] = { "Jitney" name, ALERT_OF_##kind, ALERT_I##unit, falls, sentence }
	ROW(ERRORS, "ErrorsBurn", GATEWAY, N_PERCENT, false,
	    "%s of the calls of the last five minutes failed"),
	ROW(P99, "Slow", TOOL, N_US, false,
	    "one call in a hundred takes %s or longer"),
	ROW(TOOL_FAILS, "ToolFails", TOOL, N_PERCENT, false,
	    "%s of its calls fail"),
	ROW(OUTCOME_UNKNOWN, "OutcomeUnknown", TOOL, N_EVENTS, false,
	    "calls were sent, and nobody knows whether they took effect: %s"),
	ROW(REFUSES, "Refuses", GATEWAY, N_EVENTS, false,
	    "callers are turned away, since a bound of the gateway is reached: %s within a minute"),
	ROW(ENDPOINT_EJECTED, "EndpointEjected", ENDPOINT, S_SO, false,
	    "it is left alone"),
	ROW(UPSTREAM_DOWN, "UpstreamDown", UPSTREAM, S_SO, false,
	    "no endpoint can be used"),
	ROW(LINE_STANDS, "LineStands", UPSTREAM, N_US, false,
	    "a new call waits %s for its turn"),
	ROW(SHEDS, "Sheds", UPSTREAM, N_EVENTS, false,
	    "calls are refused, since their answer would come too late: %s within a minute"),
	ROW(RETRY_BUDGET_SPENT, "RetryBudgetSpent", UPSTREAM, N_PERCENT, true,
	    "%s of the budget for repeats is left: what fails is not tried again"),
	ROW(PROCESS_RESTARTS, "ProcessRestarts", UPSTREAM, N_EVENTS, false,
	    "its programs crashed %s times within a quarter of an hour"),
	ROW(TOOLS_STALE, "ToolsStale", UPSTREAM, S_SO, false,
	    "it does not list its tools; those it had stay in use"),
	ROW(TOOL_CHANGED, "ToolChanged", UPSTREAM, N_EVENTS, false,
	    "it changed what it says of tools: %s times within a quarter of an hour"),
	ROW(HIT_RATIO_FELL, "HitRatioFell", GATEWAY, N_PERCENT, true,
	    "memory answers %s of what it answered in the day before"),
	ROW(REDIS_DOWN, "RedisDown", GATEWAY, S_SO, false,
	    "Redis does not answer; calls go on without it"),
	ROW(REDIS_BREAKER_OPEN, "RedisBreakerOpen", GATEWAY, S_SO, false,
	    "Redis is too slow; calls go on without it"),
	ROW(DISK_CACHE_FAILS, "DiskCacheFails", GATEWAY, N_EVENTS, false,
	    "the disk tier is in trouble: %s times within a quarter of an hour"),
	ROW(MEMORY_NEAR_BOUND, "MemoryNearBound", GATEWAY, N_PERCENT, false,
	    "%s of limits.in_flight_bytes is held"),
	ROW(CONNECTIONS_NEAR_BOUND, "ConnectionsNearBound", GATEWAY, N_PERCENT, false,
	    "%s of limits.connections is in use"),
	ROW(DESCRIPTORS_NEAR_BOUND, "DescriptorsNearBound", GATEWAY, N_PERCENT, false,
	    "%s of the file descriptors is in use"),
	ROW(LOOP_LAG, "LoopLag", WORKER, N_US, false,
	    "one turn of it took %s: all its other calls waited"),
	ROW(WORKER_FULL, "WorkerFull", WORKER, N_PERCENT, false,
	    "it is busy for %s of its time"),
	ROW(RELOAD_FAILED, "ReloadFailed", GATEWAY, S_SO, false,
	    "the configuration on disk is not in order"),
	ROW(LOG_LOSES_LINES, "LogLosesLines", GATEWAY, N_EVENTS, false,
	    "lines of the log are missing: %s"),
#undef ROW
	/* clang-format on */
};

const struct alert_description *alert_description(enum alert alert)
{
	assert(alert < ALERT_COUNT);
	return &descriptions[alert];
}

/* --- life --- */

enum metric_label alert_label(enum alert_kind kind)
{
	static const enum metric_label labels[] = { [ALERT_OF_GATEWAY] = LABEL_NONE,
						    [ALERT_OF_TOOL] = LABEL_TOOL,
						    [ALERT_OF_UPSTREAM] = LABEL_UPSTREAM,
						    [ALERT_OF_ENDPOINT] = LABEL_ENDPOINT,
						    [ALERT_OF_WORKER] = LABEL_WORKER };
	return labels[kind];
}

struct alerts *alerts_new(struct gateway *gateway, struct history *history)
{
	struct alerts *alerts = calloc(1, sizeof *alerts);
	if (!alerts)
		return NULL;
	TAILQ_INIT(&alerts->entries);
	alerts->gateway = gateway;
	gethostname(alerts->host, sizeof alerts->host - 1); /* cut, or "": so be it */
	snprintf(alerts->listen, sizeof alerts->listen, "%s",
		 catalogue_made_for(registry_catalogue(gateway->registry))->listen[0].text);
	alerts->history = history;
	buf_init(&alerts->news, WEBHOOK_BODY_BYTES);
	bool good = (alerts->meter = metrics_meter(gateway->metrics)) && (alerts->webhook = webhook_new()) &&
		    alert_counters_init(alerts);
	for (enum alert alert = 0; good && alert < ALERT_COUNT; alert++) {
		size_t count = metrics_label_places(gateway->metrics, alert_label(descriptions[alert].kind));
		alerts->by_subject[alert] = calloc(count ? count : 1, sizeof(struct alert_entry *));
		good = alerts->by_subject[alert];
	}
	if (good)
		return alerts;
	alerts_free(alerts);
	return NULL;
}

bool alerts_start(struct alerts *alerts)
{
	return webhook_start(alerts->webhook);
}

void alerts_stop(struct alerts *alerts)
{
	webhook_stop(alerts->webhook);
}

void alerts_free(struct alerts *alerts)
{
	if (!alerts)
		return;
	struct alert_entry *entry;
	while ((entry = TAILQ_FIRST(&alerts->entries))) {
		TAILQ_REMOVE(&alerts->entries, entry, next);
		free(entry);
	}
	for (enum alert alert = 0; alert < ALERT_COUNT; alert++)
		free(alerts->by_subject[alert]);
	alert_counters_fini(alerts);
	webhook_free(alerts->webhook);
	buf_fini(&alerts->news);
	free(alerts);
}

/* --- evaluation --- */

/* The worst severity that fires; ALERT_SEVERITY_COUNT: none does. */
static enum alert_severity worst_severity(const struct alert_entry *entry)
{
	if (entry->latches[ALERT_SEVERITY_CRITICAL].fires)
		return ALERT_SEVERITY_CRITICAL;
	return entry->latches[ALERT_SEVERITY_WARNING].fires ? ALERT_SEVERITY_WARNING : ALERT_SEVERITY_COUNT;
}

static void read_thresholds(enum alert alert, const struct alert_options *options,
			    double thresholds[ALERT_SEVERITY_COUNT])
{
	bool is_so = descriptions[alert].unit == ALERT_IS_SO;
	thresholds[ALERT_SEVERITY_WARNING] =
		is_so ? options->severity_word == 1 + ALERT_SEVERITY_WARNING : (double)options->warning;
	thresholds[ALERT_SEVERITY_CRITICAL] =
		is_so ? options->severity_word == 1 + ALERT_SEVERITY_CRITICAL : (double)options->critical;
}

static void count_firing(struct alerts *alerts, enum alert alert, enum alert_severity severity, bool fires)
{
	alerts->firing[alert][severity] += fires ? 1 : (size_t)-1;
	meter_set(alerts->meter, METRIC_ID_ALERTS_FIRING, alert, severity, (int64_t)alerts->firing[alert][severity]);
}

static void remove_entry(struct alerts *alerts, struct alert_entry *entry)
{
	TAILQ_REMOVE(&alerts->entries, entry, next);
	alerts->by_subject[entry->alert][entry->subject] = NULL;
	alerts->entry_count--;
	free(entry);
}

static struct alert_entry *add_entry(struct alerts *alerts, enum alert alert, size_t subject, size_t upstream)
{
	struct alert_entry *entry = alerts->entry_count < ALERT_ENTRIES_MAX ? calloc(1, sizeof *entry) : NULL;
	if (!entry) {
		alerts->left_out++;
		return NULL;
	}
	*entry = (struct alert_entry){ .alert = alert,
				       .subject = subject,
				       .upstream = upstream,
				       .since_us = clock_wall_us(),
				       .told = ALERT_SEVERITY_COUNT };
	TAILQ_INSERT_TAIL(&alerts->entries, entry, next);
	alerts->by_subject[alert][subject] = entry;
	alerts->entry_count++;
	return entry;
}

/* "80 %", "1.5 s", "12"; nothing for what is so. */
static void print_value(enum alert_unit unit, double value, char text[PAGE_SPAN_BYTES])
{
	if (unit == ALERT_IN_PERCENT)
		snprintf(text, PAGE_SPAN_BYTES, "%.0f %%", value);
	else if (unit == ALERT_IN_US)
		page_print_span(text, value);
	else
		snprintf(text, PAGE_SPAN_BYTES, "%.0f", value);
}

static void describe_entry(struct alert_entry *entry, const char *reason)
{
	const struct alert_description *description = &descriptions[entry->alert];
	const char *gap = strstr(description->sentence, "%s");
	char value[PAGE_SPAN_BYTES];
	print_value(description->unit, entry->value, value);
	snprintf(entry->detail, sizeof entry->detail, "%.*s%s%s%s%s",
		 gap ? (int)(gap - description->sentence) : (int)strlen(description->sentence), description->sentence,
		 gap ? value : "", gap ? gap + 2 : "", reason && *reason ? ": " : "", reason ? reason : "");
}

/* True: it fires by another severity than before. */
static bool turn_latches(struct alerts *alerts, struct alert_entry *entry, const struct alert_options *options,
			 uint64_t now_us)
{
	double thresholds[ALERT_SEVERITY_COUNT];
	enum alert_severity before = worst_severity(entry);
	bool falls = descriptions[entry->alert].falls;
	read_thresholds(entry->alert, options, thresholds);
	for (enum alert_severity i = 0; i < ALERT_SEVERITY_COUNT; i++) {
		if (alert_latch_turn(&entry->latches[i], entry->value, thresholds[i], falls, options->hold_us, now_us))
			count_firing(alerts, entry->alert, i, entry->latches[i].fires);
		if (entry->latches[i].fires || alert_is_beyond(entry->value, thresholds[i], falls))
			entry->threshold = thresholds[i];
	}
	enum alert_severity severity = worst_severity(entry);
	if (before == ALERT_SEVERITY_COUNT && severity != before)
		entry->since_us = clock_wall_us();
	return severity != before;
}

void alert_evaluate(struct look *look, enum alert alert, size_t subject, size_t upstream, double value,
		    const char *reason)
{
	struct alerts *alerts = look->alerts;
	const struct alert_options *options = &look->generation->alerts[alert];
	struct alert_entry *entry = alerts->by_subject[alert][subject];
	double thresholds[ALERT_SEVERITY_COUNT];
	bool beyond = false, falls = descriptions[alert].falls;
	read_thresholds(alert, options, thresholds);
	for (int i = 0; i < ALERT_SEVERITY_COUNT; i++)
		beyond |= alert_is_beyond(value, thresholds[i], falls);
	if (!entry && (!beyond || !(entry = add_entry(alerts, alert, subject, upstream))))
		return;
	entry->look = alerts->look;
	entry->value = value;
	if (beyond)
		describe_entry(entry, reason);
	if (turn_latches(alerts, entry, options, look->now_us))
		alert_tell(alerts, entry, worst_severity(entry));
	if (!beyond && worst_severity(entry) == ALERT_SEVERITY_COUNT)
		remove_entry(alerts, entry);
}

/* Subjects that are not there any more are well. */
static void forget_gone(const struct look *look)
{
	struct alerts *alerts = look->alerts;
	struct alert_entry *entry = TAILQ_FIRST(&alerts->entries);
	while (entry) {
		struct alert_entry *behind = TAILQ_NEXT(entry, next);
		if (entry->look != alerts->look && (look->tools || descriptions[entry->alert].kind != ALERT_OF_TOOL)) {
			for (enum alert_severity i = 0; i < ALERT_SEVERITY_COUNT; i++)
				if (entry->latches[i].fires)
					count_firing(alerts, entry->alert, i, false);
			if (worst_severity(entry) != ALERT_SEVERITY_COUNT)
				alert_tell(alerts, entry, ALERT_SEVERITY_COUNT);
			remove_entry(alerts, entry);
		}
		entry = behind;
	}
}

void alerts_look(struct alerts *alerts, const struct catalogue *catalogue, uint64_t now_us)
{
	struct look look = {
		.alerts = alerts, .catalogue = catalogue, .generation = catalogue_made_for(catalogue), .now_us = now_us
	};
	alerts->look++;
	alerts->left_out = 0;
	webhook_use(alerts->webhook, &look.generation->webhook, look.generation->number);
	alert_measure(&look);
	forget_gone(&look);
	alert_send_news(alerts);
	webhook_count(alerts->webhook, alerts->meter);
}

/* --- shown --- */

static void put_entries(const struct alerts *alerts, bool firing, struct buf *out)
{
	const struct alert_entry *entry;
	const char *comma = "";
	TAILQ_FOREACH (entry, &alerts->entries, next) {
		enum alert_severity severity = worst_severity(entry);
		if ((severity != ALERT_SEVERITY_COUNT) != firing)
			continue;
		buf_put_text(out, comma);
		alert_put_entry(alerts, entry, severity, out);
		comma = ",";
	}
}

void alerts_put_firing(const struct alerts *alerts, struct buf *out)
{
	put_entries(alerts, true, out);
}

void alerts_put_pending(const struct alerts *alerts, struct buf *out)
{
	put_entries(alerts, false, out);
}

void alerts_put_webhook(const struct alerts *alerts, struct buf *out)
{
	webhook_put(alerts->webhook, out);
}

size_t alerts_left_out(const struct alerts *alerts)
{
	return alerts->left_out;
}
