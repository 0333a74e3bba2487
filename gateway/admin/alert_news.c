/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alert_news.c: what is told of an alert: to who asks (JSON), to the log, and to alerts.webhook, there in the format of
 * Prometheus' Alertmanager (version 4), so that what takes its webhooks takes ours.
 */
#include <stdlib.h>
#include <time.h>

#include <xxhash.h>

#include "base/json.h"
#include "base/log.h"
#include "gateway/admin/alerts_private.h"
#include "gateway/admin/pages.h"

enum { NEWS_MAX = 50 }; /* alerts in one post: so many that fire at once have one reason */

static const char *const kind_words[] = { [ALERT_OF_GATEWAY] = "gateway",
					  [ALERT_OF_TOOL] = "tool",
					  [ALERT_OF_UPSTREAM] = "upstream",
					  [ALERT_OF_ENDPOINT] = "endpoint",
					  [ALERT_OF_WORKER] = "worker" };

static const char *severity_word(enum alert_severity severity)
{
	return metric_word(LABEL_ALERT_SEVERITY, severity);
}

/* "" for the gateway itself. */
static const char *subject_of(const struct alerts *alerts, const struct alert_entry *entry)
{
	enum metric_label label = alert_label(alert_description(entry->alert)->kind);
	return label == LABEL_NONE ? "" : metrics_label_value(alerts->gateway->metrics, label, entry->subject);
}

/* NULL: it is of none. */
static const char *upstream_of(const struct alerts *alerts, const struct alert_entry *entry)
{
	return alert_description(entry->alert)->kind == ALERT_OF_ENDPOINT
		       ? metrics_label_value(alerts->gateway->metrics, LABEL_UPSTREAM, entry->upstream)
		       : NULL;
}

static void put_member(struct buf *out, const char *name, const char *text)
{
	buf_printf(out, "\"%s\":", name);
	json_put_string(out, slice_of(text));
}

/* "docs/operations.md#jitneyupstreamdown" */
static void put_runbook(struct buf *out, enum alert alert)
{
	buf_put_text(out, "\"runbook_url\":\"docs/operations.md#");
	for (const char *c = alert_description(alert)->name; *c; c++)
		buf_put_char(out, *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c);
	buf_put_char(out, '"');
}

void alert_put_entry(const struct alerts *alerts, const struct alert_entry *entry, enum alert_severity severity,
		     struct buf *out)
{
	const char *upstream = upstream_of(alerts, entry);
	buf_put_char(out, '{');
	put_member(out, "alert", metric_word(LABEL_ALERT, entry->alert));
	if (severity != ALERT_SEVERITY_COUNT)
		buf_printf(out, ",\"severity\":\"%s\"", severity_word(severity));
	buf_printf(out, ",\"kind\":\"%s\",", kind_words[alert_description(entry->alert)->kind]);
	put_member(out, "subject", subject_of(alerts, entry));
	json_put_text_member(out, "upstream", upstream);
	buf_put_char(out, ',');
	put_member(out, "detail", entry->detail);
	buf_printf(out, ",\"value\":%.3g,\"threshold\":%.3g,\"since\":", entry->value, entry->threshold);
	page_put_time(out, entry->since_us);
	buf_put_char(out, ',');
	put_runbook(out, entry->alert);
	buf_put_char(out, '}');
}

/* --- the log --- */

static void log_alert(const struct alerts *alerts, const struct alert_entry *entry, enum alert_severity severity)
{
	const struct log_event *event = severity == ALERT_SEVERITY_CRITICAL  ? &EVENT_ALERT_CRITICAL
					: severity == ALERT_SEVERITY_WARNING ? &EVENT_ALERT_FIRING
									     : &EVENT_ALERT_CLEARED;
	const char *subject = subject_of(alerts, entry);
	uint64_t wall_us = clock_wall_us(); /* may have been set back since */
	struct log_line line UNCLEARED;
	if (!log_begin(&line, event))
		return;
	log_cstr(&line, "alert", metric_word(LABEL_ALERT, entry->alert));
	if (severity != ALERT_SEVERITY_COUNT)
		log_cstr(&line, "severity", severity_word(severity));
	log_cstr(&line, "subject", *subject ? subject : NULL);
	log_cstr(&line, "upstream", upstream_of(alerts, entry));
	if (severity != ALERT_SEVERITY_COUNT)
		log_cstr(&line, "detail", entry->detail);
	else
		log_seconds(&line, "seconds", wall_us > entry->since_us ? wall_us - entry->since_us : 0);
	log_end(&line);
}

/* --- the webhook --- */

/* RFC 3339. */
static void put_time(struct buf *out, const char *name, uint64_t wall_us)
{
	time_t seconds = (time_t)(wall_us / CLOCK_US_PER_S);
	struct tm tm;
	char text[32] = "";
	gmtime_r(&seconds, &tm);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	buf_printf(out, "\"%s\":\"%s.%03lluZ\"", name, text,
		   (unsigned long long)(wall_us % CLOCK_US_PER_S / CLOCK_US_PER_MS));
}

static void put_labels(const struct alerts *alerts, const struct alert_entry *entry, enum alert_severity severity,
		       struct buf *out)
{
	const struct alert_description *description = alert_description(entry->alert);
	const char *upstream = upstream_of(alerts, entry);
	buf_put_text(out, "\"labels\":{");
	put_member(out, "alertname", description->name);
	buf_printf(out, ",\"severity\":\"%s\",\"job\":\"jitney\",", severity_word(severity));
	put_member(out, "instance", alerts->host);
	buf_put_char(out, ',');
	put_member(out, "listen", alerts->listen);
	json_put_text_member(out, kind_words[description->kind], subject_of(alerts, entry));
	json_put_text_member(out, "upstream", upstream);
	buf_put_char(out, '}');
}

/* One alert of a post. What is over is told by the severity that it had last: its labels are who it is. */
static void put_news(const struct alerts *alerts, const struct alert_entry *entry, enum alert_severity severity,
		     bool fires, struct buf *out)
{
	const char *subject = subject_of(alerts, entry);
	buf_printf(out, "{\"status\":\"%s\",", fires ? "firing" : "resolved");
	size_t before = out->len;
	put_labels(alerts, entry, severity, out);
	uint64_t print =
		XXH3_64bits(buf_slice(out).at + before, out->len - before); /* of its labels: they are who it is */
	buf_put_text(out, ",\"annotations\":{\"summary\":");
	struct buf summary = BUF_INIT(4096);
	buf_printf(&summary, "%s%s%s", *subject ? subject : "jitney", ": ", entry->detail);
	json_put_string(out, buf_slice(&summary));
	out->failed |= summary.failed;
	buf_fini(&summary);
	buf_put_char(out, ',');
	put_runbook(out, entry->alert);
	buf_put_text(out, "},");
	put_time(out, "startsAt", entry->since_us);
	buf_put_char(out, ',');
	if (fires)
		buf_put_text(out, "\"endsAt\":\"0001-01-01T00:00:00Z\"");
	else
		put_time(out, "endsAt", clock_wall_us());
	buf_printf(out, ",\"generatorURL\":\"\",\"fingerprint\":\"%016llx\"}", (unsigned long long)print);
}

static void add_news(struct alerts *alerts, const struct alert_entry *entry, enum alert_severity severity, bool fires)
{
	if (!webhook_is_used(alerts->webhook))
		return;
	if (alerts->news_count == NEWS_MAX) {
		alerts->news_left_out++;
		return;
	}
	if (alerts->news_count++)
		buf_put_char(&alerts->news, ',');
	put_news(alerts, entry, severity, fires, &alerts->news);
	alerts->news_fires |= fires;
}

void alert_tell(struct alerts *alerts, struct alert_entry *entry, enum alert_severity severity)
{
	enum alert_severity before = entry->told;
	log_alert(alerts, entry, severity);
	/* another severity is another alert, by its labels: who routes by them hears that the one is over */
	if (before != ALERT_SEVERITY_COUNT)
		add_news(alerts, entry, before, false);
	if (severity != ALERT_SEVERITY_COUNT)
		add_news(alerts, entry, severity, true);
	entry->told = severity;
}

void alert_send_news(struct alerts *alerts)
{
	if (!alerts->news_count)
		return;
	struct buf body = BUF_INIT(WEBHOOK_BODY_BYTES);
	buf_printf(&body,
		   "{\"version\":\"4\",\"groupKey\":\"jitney\",\"truncatedAlerts\":%zu,\"status\":\"%s\","
		   "\"receiver\":\"jitney\",\"groupLabels\":{},\"commonLabels\":{\"job\":\"jitney\"},"
		   "\"commonAnnotations\":{},\"externalURL\":\"\",\"alerts\":[",
		   alerts->news_left_out, alerts->news_fires ? "firing" : "resolved");
	buf_put(&body, buf_slice(&alerts->news));
	body.failed |= alerts->news.failed;
	buf_put_text(&body, "]}\n");
	webhook_post(alerts->webhook, &body);
	buf_fini(&alerts->news);
	buf_init(&alerts->news, WEBHOOK_BODY_BYTES);
	alerts->news_count = alerts->news_left_out = 0;
	alerts->news_fires = false;
}
