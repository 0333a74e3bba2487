/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_tracing.c: where traces and metrics go. What the file does not say comes from the environment, by the names that
 * OpenTelemetry has given it: OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS, _CERTIFICATE, _COMPRESSION and _TIMEOUT, each before
 * that with _TRACES or _METRICS in it; OTEL_METRIC_EXPORT_INTERVAL, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
 * OTEL_SDK_DISABLED.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/json_write.h"
#include "base/utf8.h"
#include "gateway/config/config_private.h"
#include "gateway/trace/settings.h"

enum {
	VARIABLE_BYTES = 48,
	PAIR_BYTES = 4096,
	ATTRIBUTES_MOST = 24,
	OWN_ATTRIBUTES = 4,
	MS_MOST = 24 * 60 * 60 * 1000
};
enum { TIMEOUT_MS = 10 * 1000, TIMEOUT_MS_LEAST = 1, INTERVAL_MS = 60 * 1000, INTERVAL_MS_LEAST = 100 };

#define INTERVAL "OTEL_METRIC_EXPORT_INTERVAL"
#define ATTRIBUTES "OTEL_RESOURCE_ATTRIBUTES"

/* NULL: not set, or empty, which is the same to OpenTelemetry. */
static const char *read_environment(const char *name)
{
	const char *value = getenv(name);
	return value && *value ? value : NULL;
}

/* A variable of the exporter's, as it is for one signal. */
struct variable {
	char name[VARIABLE_BYTES]; /* of the one that is set, else of the one for all signals */
	const char *value;         /* NULL: neither is */
	bool own;                  /* it is the signal's own */
};

static struct variable read_variable(enum otlp_signal signal, const char *what)
{
	static const char *const signals[] = { [OTLP_TRACES] = "TRACES", [OTLP_METRICS] = "METRICS" };
	struct variable variable;
	snprintf(variable.name, sizeof variable.name, "OTEL_EXPORTER_OTLP_%s_%s", signals[signal], what);
	variable.value = read_environment(variable.name);
	variable.own = variable.value != NULL;
	if (variable.own)
		return variable;
	snprintf(variable.name, sizeof variable.name, "OTEL_EXPORTER_OTLP_%s", what);
	variable.value = read_environment(variable.name);
	return variable;
}

/* A number of milliseconds; as it is without the variable. False: it says something else. */
static bool read_milliseconds(const char *text, unsigned long least, unsigned long without, uint64_t *us)
{
	char *end = NULL;
	errno = 0;
	unsigned long ms = text && *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
	bool good = end && *end == '\0' && errno == 0 && ms >= least && ms <= MS_MOST;
	*us = (good ? ms : without) * 1000;
	return good || !text;
}

/* Whether this signal is told to anybody, and to whom: the file's endpoint is for all of them. */
static struct variable choose_endpoint(const struct config *config, enum otlp_signal signal)
{
	const char *disabled = read_environment("OTEL_SDK_DISABLED");
	const char *endpoint = config->generation.tracing.endpoint;
	struct variable none = { .value = NULL }, written = { .value = endpoint };
	if (signal == OTLP_METRICS && !config->generation.tracing.metrics)
		return none;
	if (endpoint)
		return strcmp(endpoint, "off") == 0 ? none : written;
	return disabled && strcasecmp(disabled, "true") == 0 ? none : read_variable(signal, "ENDPOINT");
}

/* NULL: the system's authorities, or the connection is not one that asks for them. */
static struct variable choose_authorities(const struct config *config, enum otlp_signal signal, const char *endpoint)
{
	const char *file = config->generation.tracing.ca_file;
	struct variable none = { .value = NULL }, written = { .value = file };
	if (strncasecmp(endpoint, "https:", 6) != 0)
		return none;
	return file ? written : read_variable(signal, "CERTIFICATE");
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

static void check_headers(struct config_load *load, const struct node *root, enum otlp_signal signal)
{
	const struct variable headers = read_variable(signal, "HEADERS");
	struct slice rest = slice_of(headers.value);
	struct trace_attribute pair;
	bool wrong = false, reserved = false;
	size_t count = 0;
	while (!wrong && next_pair(load->nodes, &rest, &pair, &wrong)) {
		wrong = wrong || value_header_name(slice_of(pair.name)) || value_header(slice_of(pair.value)) ||
			++count > TRACE_HEADERS_MOST;
		reserved = reserved || (!wrong && config_is_reserved_header(pair.name));
	}
	if (reserved)
		complain_of_variable(load, root, headers.name,
				     "names a header that is written by jitney itself, such as Content-Length");
	if (wrong)
		complain_of_variable(load, root, headers.name,
				     "must be name=value pairs with commas between them, 32 at most");
}

static void check_milliseconds(struct config_load *load, const struct node *root, const char *name, const char *text,
			       unsigned long least)
{
	uint64_t us;
	char why[100];
	snprintf(why, sizeof why, "must be a number of milliseconds from %lu to %d", least, MS_MOST);
	if (!read_milliseconds(text, least, least, &us))
		complain_of_variable(load, root, name, why);
}

static void check_authorities(struct config_load *load, const struct node *root, enum otlp_signal signal,
			      const char *endpoint)
{
	const struct variable file = choose_authorities(load->config, signal, endpoint);
	if (!file.value || access(file.value, R_OK) == 0)
		return;
	if (*file.name)
		complain_of_variable(load, root, file.name, strerror(errno));
	else
		config_error_at(load, node_find(root, "tracing.otlp.ca_file"), "tracing.otlp.ca_file: %s",
				strerror(errno));
}

/* Words that it does not know are passed over with a warning, as OpenTelemetry asks of all. */
static void check_words(struct config_load *load, const struct node *root, enum otlp_signal signal)
{
	const struct variable compression = read_variable(signal, "COMPRESSION");
	const struct variable protocol = read_variable(signal, "PROTOCOL");
	const struct node *node = node_find(root, "tracing");
	const char *packing = load->config->generation.tracing.compression ? NULL : compression.value;
	node = node ? node : root;
	if (packing && strcasecmp(packing, "gzip") != 0 && strcasecmp(packing, "none") != 0)
		config_warning(load, node, "environment variable %s: is gzip or none; it is taken for none",
			       compression.name);
	if (protocol.value && strcasecmp(protocol.value, "http/protobuf") != 0)
		config_warning(load, node, "environment variable %s: only http/protobuf is spoken, and is",
			       protocol.name);
}

static void check_signal(struct config_load *load, const struct node *root, enum otlp_signal signal)
{
	const struct variable endpoint = choose_endpoint(load->config, signal);
	const struct variable timeout = read_variable(signal, "TIMEOUT");
	char why[256];
	if (!endpoint.value)
		return;
	if (!upstream_url_check(endpoint.value, why, sizeof why)) {
		if (*endpoint.name)
			complain_of_variable(load, root, endpoint.name, why);
		else
			config_error_at(load, node_find(root, "tracing.otlp.endpoint"), "tracing.otlp.endpoint: %s",
					why);
	}
	if (!load->config->generation.tracing.header_count)
		check_headers(load, root, signal);
	check_milliseconds(load, root, timeout.name, timeout.value, TIMEOUT_MS_LEAST);
	check_authorities(load, root, signal, endpoint.value);
	check_words(load, root, signal);
	if (signal == OTLP_METRICS)
		check_milliseconds(load, root, INTERVAL, read_environment(INTERVAL), INTERVAL_MS_LEAST);
}

void config_check_tracing(struct config_load *load, const struct node *root)
{
	for (int signal = 0; signal < OTLP_SIGNAL_COUNT; signal++)
		check_signal(load, root, (enum otlp_signal)signal);
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

static void fill_headers(struct config_load *load, enum otlp_signal signal, struct trace_route *route)
{
	const struct config *config = load->config;
	struct upstream_header *all = arena_array(load->arena, TRACE_HEADERS_MOST, sizeof *all);
	struct slice rest = slice_of(read_variable(signal, "HEADERS").value);
	struct trace_attribute pair;
	bool wrong;
	route->headers = config->generation.tracing.headers;
	route->header_count = config->generation.tracing.header_count;
	if (route->header_count || !all)
		return;
	route->headers = all;
	while (route->header_count < TRACE_HEADERS_MOST && next_pair(load->arena, &rest, &pair, &wrong))
		if (!wrong)
			all[route->header_count++] = (struct upstream_header){ pair.name, pair.value };
}

/* What is for one signal alone is where it goes; to what is for all of them the signal's own path is added. */
static void fill_place(struct config_load *load, enum otlp_signal signal, const struct variable *endpoint,
		       struct trace_route *route)
{
	static const char *const paths[] = { [OTLP_TRACES] = "/v1/traces", [OTLP_METRICS] = "/v1/metrics" };
	const char *url = endpoint->value, *host = strstr(url, "://") + strlen("://");
	size_t server_len = (size_t)(host - url) + strcspn(host, "/");
	struct slice path = slice_of(url + server_len);
	while (!endpoint->own && path.len && path.at[path.len - 1] == '/')
		path.len--;
	route->server = arena_text(load->arena, (struct slice){ url, server_len });
	if (endpoint->own)
		route->path = arena_text(load->arena, path.len ? path : SLICE("/"));
	else
		route->path = arena_printf(load->arena, "%.*s%s", SLICE_ARG(path), paths[signal]);
	route->shown = secrets_shown(&load->config->secrets, url);
	if (route->shown == url)
		route->shown = route->server;
}

static void fill_route(struct config_load *load, enum otlp_signal signal, struct trace_route *route)
{
	const struct config *config = load->config;
	const struct variable endpoint = choose_endpoint(config, signal);
	const char *packing = config->generation.tracing.compression;
	if (!endpoint.value)
		return;
	const char *ca_file = choose_authorities(config, signal, endpoint.value).value;
	fill_place(load, signal, &endpoint, route);
	fill_headers(load, signal, route);
	packing = packing ? packing : read_variable(signal, "COMPRESSION").value;
	route->gzip = packing && strcasecmp(packing, "gzip") == 0;
	route->ca_file = ca_file ? arena_text(load->arena, slice_of(ca_file)) : NULL;
	read_milliseconds(read_variable(signal, "TIMEOUT").value, TIMEOUT_MS_LEAST, TIMEOUT_MS, &route->timeout_us);
}

void config_finish_tracing(struct config_load *load)
{
	struct config *config = load->config;
	struct trace_settings *settings = arena_alloc(load->arena, sizeof *settings);
	if (!settings)
		return;
	for (int signal = 0; signal < OTLP_SIGNAL_COUNT; signal++)
		fill_route(load, (enum otlp_signal)signal, &settings->routes[signal]);
	if (!settings->routes[OTLP_TRACES].server && !settings->routes[OTLP_METRICS].server)
		return;
	settings->percent = config->generation.tracing.percent;
	read_milliseconds(read_environment(INTERVAL), INTERVAL_MS_LEAST, INTERVAL_MS, &settings->interval_us);
	fill_attributes(load, settings);
	config->generation.traces = settings;
}
