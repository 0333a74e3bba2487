/* SPDX-License-Identifier: Apache-2.0 */
/*
 * caller.h: who asks and what for: identity, deadline, priority and cache directives of one HTTP request, read from its
 * headers once and shared by all calls in it.
 */
#ifndef JITNEY_GATEWAY_CALL_CALLER_H
#define JITNEY_GATEWAY_CALL_CALLER_H

#include "cache/cache.h"
#include "gateway/config/config.h"
#include "gateway/http/http.h"

enum { TRACESTATE_BYTES = 512 };
enum { TENANT_BYTES = 128, CALLER_BYTES = 1 + TENANT_BYTES + 1 + 32 };

struct caller {
	struct cache_directives directives;
	uint64_t timeout_us;           /* X-Request-Timeout-Ms; CLOCK_NEVER: not sent */
	uint64_t number;               /* fairness: calls of one caller share it, whatever its connections */
	uint8_t urgency;               /* RFC 9218, 4.1: 0..7, default 3 */
	struct slice traceparent;      /* W3C, checked; or empty. Valid like the request */
	struct slice tracestate;       /* W3C, goes with traceparent; or empty. Likewise */
	struct slice linked;           /* the HTTP request's, where another one is its parent (MCP's _meta); likewise */
	struct slice idempotency_key;  /* or empty. Likewise */
	const struct request *request; /* whose it all is; NULL: nobody waits (a background refresh) */
	/* What scopes a cache key: bytes that are equal for equal tenants, and for equal callers. */
	size_t tenant_len, name_len;
	char tenant[1 + TENANT_BYTES];
	char name[CALLER_BYTES];
};

/* Read the headers. INVALID_REQUEST with `detail` (static) when one has a value that is none. */
enum outcome caller_read(struct caller *caller, const struct request *request, const char **detail) MUST_CHECK;

/* A W3C traceparent (Trace Context, 3.2) if `value` is a valid one, else empty. */
struct slice caller_traceparent(struct slice value);
/* A W3C tracestate that can be passed on: of printable characters, and of 512 bytes at most; else empty. */
struct slice caller_tracestate(struct slice value);

/* The part of a key that keeps callers apart, as the tool's scope wants it. */
struct slice caller_identity(const struct caller *caller, enum identity_scope scope);

#endif
