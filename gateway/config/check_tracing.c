/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_tracing.c: where traces go. What the file does not say comes from the environment, by the names that OpenTelemetry
 * has given it: OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS and _TIMEOUT, OTEL_METRIC_EXPORT_INTERVAL,
 * OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_SDK_DISABLED.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "base/json_write.h"
#include "base/utf8.h"
#include "gateway/config/config_private.h"
#include "gateway/trace/settings.h"

enum { PAIR_BYTES = 4096, ATTRIBUTES_MOST = 24, OWN_ATTRIBUTES = 4, MS_MOST = 24 * 60 * 60 * 1000 };
enum { TIMEOUT_MS = 10 * 1000, TIMEOUT_MS_LEAST = 1, INTERVAL_MS = 60 * 1000, INTERVAL_MS_LEAST = 100 };

#define ENDPOINT "OTEL_EXPORTER_OTLP_ENDPOINT"
#define HEADERS "OTEL_EXPORTER_OTLP_HEADERS"
#define TIMEOUT "OTEL_EXPORTER_OTLP_TIMEOUT"
#define INTERVAL "OTEL_METRIC_EXPORT_INTERVAL"
#define ATTRIBUTES "OTEL_RESOURCE_ATTRIBUTES"

/* NULL: not set, or empty, which is the same to OpenTelemetry. */
static const char *read_environment(const char *name)
{
	const char *value = getenv(name);
	return value && *value ? value : NULL;
}

/* A number of milliseconds; as it is without the variable. False: it says something else. */
static bool read_milliseconds(const char *name, unsigned long least, unsigned long without, uint64_t *us)
{
	const char *text = read_environment(name);
	char *end = NULL;
	errno = 0;
	unsigned long ms = text && *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
	bool good = end && *end == '\0' && errno == 0 && ms >= least && ms <= MS_MOST;
	*us = (good ? ms : without) * 1000;
	return good || !text;
}

/* NULL: calls are not traced. */
static const char *choose_endpoint(const struct config *config)
{
	const char *disabled = read_environment("OTEL_SDK_DISABLED");
	const char *endpoint = config->generation.tracing.endpoint;
	if (endpoint)
		return strcmp(endpoint, "off") == 0 ? NULL : endpoint;
	return disabled && strcasecmp(disabled, "true") == 0 ? NULL : read_environment(ENDPOINT);
}

/* --- lists of the environment: "name=value,name=value", values percent-encoded (W3C Baggage) --- */

/* The next one, which is cut off `rest`, in the arena. *wrong: it is no pair. False: there is none. */
static bool next_pair(struct arena *arena, struct slice *rest, struct trace_attribute *pair, bool *wrong)
{
	char place[PAIR_BYTES];
	*rest = text_trim(*rest);
	if (!rest->len)
		return false;
	const char *comma = memchr(rest->at, ',', rest->len);
	struct slice text = { rest->at, comma ? (size_t)(comma - rest->at) : rest->len }, value;
	rest->at += text.len + (comma != NULL);
	rest->len -= text.len + (comma != NULL);
	const char *equals = text.len ? memchr(text.at, '=', text.len) : NULL;
	struct slice name = text_trim((struct slice){ text.at, equals ? (size_t)(equals - text.at) : 0 });
	*wrong = true;
	if (!name.len)
		return true;
	struct slice raw = text_trim((struct slice){ equals + 1, (size_t)(text.at + text.len - equals - 1) });
	if (!percent_decode(raw, place, sizeof place, &value))
		return true;
	pair->name = arena_text(arena, name);
	pair->value = arena_text(arena, value);
	*wrong = !pair->name || !pair->value;
	return true;
}

/* --- check --- */

/* Where a mistake of the environment is told: at the block, if there is one. */
static void complain_of_variable(struct config_load *load, const struct node *root, const char *name, const char *why)
{
	const struct node *node = node_find(root, "tracing");
	config_error(load, node ? node->key_line : 1, node ? node->key_column : 1, "environment variable %s: %s", name,
		     why);
}

static void check_headers(struct config_load *load, const struct node *root)
{
	const char *text = read_environment(HEADERS);
	struct slice rest = slice_of(text);
	struct trace_attribute pair;
	bool wrong = false;
	size_t count = 0;
	while (!wrong && next_pair(load->nodes, &rest, &pair, &wrong))
		wrong = wrong || value_header_name(slice_of(pair.name)) || value_header(slice_of(pair.value)) ||
			++count > TRACE_HEADERS_MOST;
	if (wrong)
		complain_of_variable(load, root, HEADERS,
				     "must be name=value pairs with commas between them, 32 at most");
}

static void check_milliseconds(struct config_load *load, const struct node *root, const char *name, unsigned long least)
{
	uint64_t us;
	char why[100];
	snprintf(why, sizeof why, "must be a number of milliseconds from %lu to %d", least, MS_MOST);
	if (!read_milliseconds(name, least, least, &us))
		complain_of_variable(load, root, name, why);
}

void config_check_tracing(struct config_load *load, const struct node *root)
{
	const struct config *config = load->config;
	const struct node *node = node_find(root, "tracing.otlp.endpoint");
	const char *endpoint = choose_endpoint(config);
	char why[256];
	if (!endpoint)
		return;
	if (!upstream_url_check(endpoint, why, sizeof why)) {
		if (node)
			config_error_at(load, node, "tracing.otlp.endpoint: %s", why);
		else
			complain_of_variable(load, root, ENDPOINT, why);
	}
	if (!config->generation.tracing.header_count)
		check_headers(load, root);
	check_milliseconds(load, root, TIMEOUT, TIMEOUT_MS_LEAST);
	if (config->generation.tracing.metrics)
		check_milliseconds(load, root, INTERVAL, INTERVAL_MS_LEAST);
}

/* --- what follows --- */

static void put_attribute(struct trace_settings *settings, struct trace_attribute *all, const char *name,
			  const char *value)
{
	if (value && settings->attribute_count < ATTRIBUTES_MOST)
		all[settings->attribute_count++] = (struct trace_attribute){ name, value };
}

static bool is_own(const char *name, const char *service)
{
	return strcmp(name, "service.version") == 0 || (service && strcmp(name, "service.name") == 0);
}

/* NULL: not said, or no text that OpenTelemetry's messages may hold: a collector would refuse all that comes with
 * it. */
static const char *read_service(struct config_load *load)
{
	const char *service = read_environment("OTEL_SERVICE_NAME");
	return service && json_utf8(slice_of(service)) ? arena_text(load->arena, slice_of(service)) : NULL;
}

static bool may_be_told(const struct trace_attribute *attribute, const char *service)
{
	return json_utf8(slice_of(attribute->name)) && json_utf8(slice_of(attribute->value)) &&
	       !is_own(attribute->name, service);
}

/* What the environment says of us goes before what we say ourselves, but for the version. */
static void fill_attributes(struct config_load *load, struct trace_settings *settings)
{
	struct trace_attribute *all = arena_array(load->arena, ATTRIBUTES_MOST, sizeof *all), pair;
	const char *service = read_service(load);
	struct slice rest = slice_of(read_environment(ATTRIBUTES));
	bool named = service != NULL, wrong;
	if (!all)
		return;
	settings->attributes = all;
	put_attribute(settings, all, "service.name", service);
	/* a pair that is none is passed over, as OpenTelemetry's own libraries do */
	while (settings->attribute_count < ATTRIBUTES_MOST - OWN_ATTRIBUTES &&
	       next_pair(load->arena, &rest, &pair, &wrong))
		if (!wrong && may_be_told(&pair, service)) {
			put_attribute(settings, all, pair.name, pair.value);
			named = named || strcmp(pair.name, "service.name") == 0;
		}
	if (!named)
		put_attribute(settings, all, "service.name", "jitney");
	put_attribute(settings, all, "service.version", JITNEY_VERSION);
	put_attribute(settings, all, "telemetry.sdk.name", "jitney");
	put_attribute(settings, all, "telemetry.sdk.language", "c");
}

static void fill_headers(struct config_load *load, struct trace_settings *settings)
{
	const struct config *config = load->config;
	struct upstream_header *all = arena_array(load->arena, TRACE_HEADERS_MOST, sizeof *all);
	struct slice rest = slice_of(read_environment(HEADERS));
	struct trace_attribute pair;
	bool wrong;
	settings->headers = config->generation.tracing.headers;
	settings->header_count = config->generation.tracing.header_count;
	if (settings->header_count || !all)
		return;
	settings->headers = all;
	while (settings->header_count < TRACE_HEADERS_MOST && next_pair(load->arena, &rest, &pair, &wrong))
		if (!wrong)
			all[settings->header_count++] = (struct upstream_header){ pair.name, pair.value };
}

void config_finish_tracing(struct config_load *load)
{
	struct config *config = load->config;
	const char *endpoint = choose_endpoint(config);
	struct trace_settings *settings = endpoint ? arena_alloc(load->arena, sizeof *settings) : NULL;
	if (!settings)
		return;
	const char *host = strstr(endpoint, "://") + strlen("://");
	size_t server_len = (size_t)(host - endpoint) + strcspn(host, "/");
	struct slice path = slice_of(endpoint + server_len);
	while (path.len && path.at[path.len - 1] == '/')
		path.len--;
	settings->server = arena_text(load->arena, (struct slice){ endpoint, server_len });
	settings->path = arena_text(load->arena, path);
	settings->shown = secrets_shown(&config->secrets, endpoint);
	if (settings->shown == endpoint)
		settings->shown = settings->server;
	settings->percent = config->generation.tracing.percent;
	settings->metrics = config->generation.tracing.metrics;
	read_milliseconds(TIMEOUT, TIMEOUT_MS_LEAST, TIMEOUT_MS, &settings->timeout_us);
	read_milliseconds(INTERVAL, INTERVAL_MS_LEAST, INTERVAL_MS, &settings->interval_us);
	fill_headers(load, settings);
	fill_attributes(load, settings);
	config->generation.traces = settings;
}
