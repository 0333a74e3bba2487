/* SPDX-License-Identifier: Apache-2.0 */
/* settings.h: where traces and metrics go, and how much of them: from the configuration and the environment. */
#ifndef JITNEY_GATEWAY_TRACE_SETTINGS_H
#define JITNEY_GATEWAY_TRACE_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "metrics/catalogue.h"

struct arena;
struct upstream_header;

/* An attribute of OpenTelemetry's resource; both are valid UTF-8. */
struct trace_attribute {
	const char *name, *value;
};

enum { TRACE_HEADERS_MOST = 32 };

/* Where one signal goes, and how. */
struct trace_route {
	const char *server;  /* "https://collector:4318"; NULL: it is told to nobody, and nothing else here counts */
	const char *path;    /* "/v1/traces": all of it */
	const char *shown;   /* the URL, or of it what the log may say: no secrets */
	const char *ca_file; /* PEM, read anew with each try; NULL: the system's authorities */
	const struct upstream_header *headers;
	size_t header_count;
	bool gzip;
	uint64_t timeout_us; /* one try */
};

struct trace_settings {
	struct trace_route routes[OTLP_SIGNAL_COUNT]; /* one of them is there at least */
	unsigned percent;                             /* of the calls whose callers say nothing of it */
	uint64_t interval_us;                         /* how often metrics are told */
	const struct trace_attribute *attributes;     /* of the resource: service.name first */
	size_t attribute_count;
	/* of a copy: */
	struct arena *arena;
	atomic_size_t users; /* a */
};
/* a atomic; all else is constant once it is in use */

/* Where it is told of; NULL: nobody is (NULL settings: nothing is). */
static inline const struct trace_route *trace_route_of(const struct trace_settings *settings, enum otlp_signal signal)
{
	return settings && settings->routes[signal].server ? &settings->routes[signal] : NULL;
}

/* A copy that outlives the configuration, with one user; and more and less of them: the last one frees it. NULL when out of
 * memory; NULL is allowed for unref. Any thread. */
struct trace_settings *trace_settings_copy(const struct trace_settings *settings) MUST_CHECK;
struct trace_settings *trace_settings_ref(struct trace_settings *settings);
void trace_settings_unref(struct trace_settings *settings);

#endif
