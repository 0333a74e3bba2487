/* SPDX-License-Identifier: Apache-2.0 */
/* settings.h: where traces go, and how many of them: from the configuration and the environment. */
#ifndef JITNEY_GATEWAY_TRACE_SETTINGS_H
#define JITNEY_GATEWAY_TRACE_SETTINGS_H

#include <stddef.h>

struct upstream_header;

struct trace_attribute {
	const char *name, *value;
};

enum { TRACE_HEADERS_MOST = 32 };

struct trace_settings {
	const char *server; /* "https://collector:4318" */
	const char *path;   /* "/v1/traces": begins with '/' */
	const char *shown;  /* both, for the log: no secrets */
	const struct upstream_header *headers;
	size_t header_count;
	unsigned percent;                         /* of the calls whose callers say nothing of it */
	const struct trace_attribute *attributes; /* of the resource: service.name first */
	size_t attribute_count;
};

#endif
