/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alert_options.h: the rows of the option table that are about alerts (options.h): what each is measured by, and from where
 * on it fires. What they are of, and how they are measured: gateway/admin/alert_measures.c.
 */
#ifndef JITNEY_GATEWAY_CONFIG_ALERT_OPTIONS_H
#define JITNEY_GATEWAY_CONFIG_ALERT_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "metrics/catalogue.h"

struct upstream_header;

/* One alert's. What is measured has thresholds, in its option's unit (percent, microseconds, events; 0: never); what is or
 * is not has a severity. */
struct alert_options {
	uint64_t warning, critical;
	uint64_t hold_us;       /* how long it must have been so before it fires */
	unsigned severity_word; /* 0: off; else 1 + enum alert_severity */
};

/* Where to tell somebody when one fires or is over. */
struct alert_webhook_options {
	const char *url; /* NULL or "": nobody is told */
	const struct upstream_header *headers;
	size_t header_count;
	uint64_t timeout_us;
	const char *ca_file; /* PEM; NULL: the system's authorities */
};

/* clang-format off */
#define ALERT_MEASURED(B, V, ID, word, KIND, unit, most, warn_at, critical_at, hold, help)                             \
	B("alerts." word, BLOCK, 0, help)                                                                              \
	V("alerts." word ".warning", KIND, config, generation.alerts[ALERT_##ID].warning, unit, 0, most, warn_at, NULL, \
	  "From where on it fires as a warning; 0: never.")                                                            \
	V("alerts." word ".critical", KIND, config, generation.alerts[ALERT_##ID].critical, unit, 0, most, critical_at, NULL, \
	  "From where on it is critical; 0: never.")                                                                   \
	V("alerts." word ".for", DURATION, config, generation.alerts[ALERT_##ID].hold_us, "us", 0, US_H(6), hold, NULL, \
	  "How long it must have been so.")
#define ALERT_SHARE(B, V, ID, word, warn_at, critical_at, hold, help)                                                  \
	ALERT_MEASURED(B, V, ID, word, PERCENT, "", 100, warn_at, critical_at, hold, help)
#define ALERT_TIME(B, V, ID, word, warn_at, critical_at, hold, help)                                                   \
	ALERT_MEASURED(B, V, ID, word, DURATION, "us", US_H(1), warn_at, critical_at, hold, help)
#define ALERT_EVENTS(B, V, ID, word, warn_at, critical_at, hold, help)                                                 \
	ALERT_MEASURED(B, V, ID, word, COUNT, "", UINT64_C(1000000000), warn_at, critical_at, hold, help)
#define ALERT_STATE(B, V, ID, word, severity, hold, help)                                                              \
	B("alerts." word, BLOCK, 0, help)                                                                              \
	V("alerts." word ".severity", ENUM, config, generation.alerts[ALERT_##ID].severity_word, "", 0, 0, severity,   \
	  "off|warning|critical", "How bad it is.")                                                                    \
	V("alerts." word ".for", DURATION, config, generation.alerts[ALERT_##ID].hold_us, "us", 0, US_H(6), hold, NULL, \
	  "How long it must have been so.")

#define ALERT_ROWS(B, V, L, T)                                                                                         \
	B("alerts", BLOCK, 0, "What the gateway says of itself when something is wrong, without Prometheus.")          \
	B("alerts.webhook", BLOCK, 0, "Who is told when an alert fires, changes or is over, in Alertmanager's format.") \
	V("alerts.webhook.url", TEXT, config, generation.webhook.url, "bytes", 0, 2048, NULL, NULL,                    \
	  "http:// or https:// URL that is posted to; without it nobody is told. Alone: webhook: URL.")                                     \
	L("alerts.webhook.headers", HEADERS, config, generation.webhook.headers, generation.webhook.header_count, 0,   \
	  16, NULL, "Headers sent with it, such as Authorization.")                                                    \
	V("alerts.webhook.timeout", DURATION, config, generation.webhook.timeout_us, "us", US_MS(100), US_M(1), "5s",  \
	  NULL, "How long one attempt may take; there are five, further and further apart.")                           \
	V("alerts.webhook.ca_file", FILE, config, generation.webhook.ca_file, "bytes", 1, 4096, "(the system's)", NULL, \
	  "PEM file: the certificate of an https URL must come from one of these authorities, and no others count.")   \
	ALERT_SHARE(B, V, ERRORS, "errors", "5%", "15%", "2m",                                                         \
		    "Share of all calls of the last five minutes that failed by the gateway's or a provider's fault.") \
	ALERT_TIME(B, V, P99, "p99", "2500ms", "0", "10m", "What one call in a hundred of a tool takes at least.")     \
	ALERT_SHARE(B, V, TOOL_FAILS, "tool_fails", "25%", "0%", "5m", "Share of a tool's calls that failed likewise.") \
	ALERT_EVENTS(B, V, OUTCOME_UNKNOWN, "outcome_unknown", "1", "0", "0",                                          \
		     "Calls of a tool, within a quarter of an hour, of which nobody knows whether they took effect.")  \
	ALERT_EVENTS(B, V, REFUSES, "refuses", "0", "1", "5m",                                                         \
		     "Callers turned away within a minute, because a bound of the whole gateway was reached.")         \
	ALERT_STATE(B, V, ENDPOINT_EJECTED, "endpoint_ejected", "warning", "2m",                                       \
		    "An endpoint is left alone: it failed, or its checks say no.")                                     \
	ALERT_STATE(B, V, UPSTREAM_DOWN, "upstream_down", "critical", "1m", "No endpoint of an upstream can be used.") \
	ALERT_TIME(B, V, LINE_STANDS, "line_stands", "500ms", "0", "3m", "How long a new call waits for its turn before an upstream.") \
	ALERT_EVENTS(B, V, SHEDS, "sheds", "0", "1", "5m",                                                             \
		     "Calls to an upstream refused within a minute, because their answer would have come too late.")   \
	ALERT_SHARE(B, V, RETRY_BUDGET_SPENT, "retry_budget_spent", "10%", "0%", "5m",                                 \
		    "What is left of an upstream's budget for repeats; less is worse.")                                \
	ALERT_EVENTS(B, V, PROCESS_RESTARTS, "process_restarts", "3", "0", "0",                                        \
		     "Crashes of an upstream's programs within a quarter of an hour.")                                 \
	ALERT_STATE(B, V, TOOLS_STALE, "tools_stale", "warning", "10m", "An MCP server does not list its tools; those it had stay.") \
	ALERT_EVENTS(B, V, TOOL_CHANGED, "tool_changed", "1", "0", "0",                                                \
		     "Times, within a quarter of an hour, that an MCP server changed what it says of a tool.")         \
	ALERT_SHARE(B, V, HIT_RATIO_FELL, "hit_ratio_fell", "50%", "0%", "15m",                                        \
		    "What memory answers, as a share of what it answered in the day before; less is worse.")           \
	ALERT_STATE(B, V, REDIS_DOWN, "redis_down", "warning", "2m", "Redis is configured and does not answer.")       \
	ALERT_STATE(B, V, REDIS_BREAKER_OPEN, "redis_breaker_open", "warning", "2m", "Redis is left alone, because it is too slow.") \
	ALERT_EVENTS(B, V, DISK_CACHE_FAILS, "disk_cache_fails", "1", "0", "0",                                        \
		     "Times, within a quarter of an hour, that the disk tier was full, damaged, or could not be used.") \
	ALERT_SHARE(B, V, MEMORY_NEAR_BOUND, "memory_near_bound", "80%", "95%", "5m", "Share of limits.in_flight_bytes held.") \
	ALERT_SHARE(B, V, CONNECTIONS_NEAR_BOUND, "connections_near_bound", "90%", "0%", "5m", "Share of limits.connections open.") \
	ALERT_SHARE(B, V, DESCRIPTORS_NEAR_BOUND, "descriptors_near_bound", "90%", "0%", "5m", "Share of the process' file descriptors in use.") \
	ALERT_TIME(B, V, LOOP_LAG, "loop_lag", "100ms", "0", "2m", "The longest turn of a worker: all its other calls waited for it.") \
	ALERT_SHARE(B, V, WORKER_FULL, "worker_full", "90%", "0%", "10m", "Share of its time that a worker is busy.")   \
	ALERT_STATE(B, V, RELOAD_FAILED, "reload_failed", "warning", "1m", "The file on disk was read, and is not in order.") \
	ALERT_EVENTS(B, V, LOG_LOSES_LINES, "log_loses_lines", "1", "0", "0", "Lines that the log has lost within ten minutes.")
/* clang-format on */

#endif
