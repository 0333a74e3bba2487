/* SPDX-License-Identifier: Apache-2.0 */
/* settings.h: where traces and metrics go, and how much of them: from the configuration and the environment. */
#ifndef JITNEY_GATEWAY_TRACE_SETTINGS_H
#define JITNEY_GATEWAY_TRACE_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct arena;
struct upstream_header;

/* An attribute of OpenTelemetry's resource; both are valid UTF-8. */
struct trace_attribute {
	const char *name, *value;
};

enum { TRACE_HEADERS_MOST = 32 };

struct trace_settings {
	const char *server; /* "https://collector:4318" */
	const char *path;   /* to which "/v1/traces" is added; "" or begins with '/' */
	const char *shown;  /* both, for the log: no secrets */
	const struct upstream_header *headers;
	size_t header_count;
	unsigned percent;                         /* of the calls whose callers say nothing of it */
	bool metrics;                             /* they are told too */
	uint64_t interval_us;                     /* how often */
	uint64_t timeout_us;                      /* one try */
	const struct trace_attribute *attributes; /* of the resource: service.name first */
	size_t attribute_count;
	/* of a copy: */
	struct arena *arena;
	atomic_size_t users; /* a */
};
/* a atomic; all else is constant once it is in use */

/* A copy that outlives the configuration, with one user; and more and less of them: the last one frees it. NULL when out of
 * memory; NULL is allowed for unref. Any thread. */
struct trace_settings *trace_settings_copy(const struct trace_settings *settings) MUST_CHECK;
struct trace_settings *trace_settings_ref(struct trace_settings *settings);
void trace_settings_unref(struct trace_settings *settings);

#endif
