/* SPDX-License-Identifier: Apache-2.0 */
/* call.h: one call as dialects write it and upstreams send it. */
#ifndef JITNEY_UPSTREAM_DIALECTS_CALL_H
#define JITNEY_UPSTREAM_DIALECTS_CALL_H

#include <stdint.h>

#include "base/mcp.h"
#include "base/slice.h"

struct dialect_route;

/* Borrowed for the time of upstream_send only. */
struct upstream_call {
	const struct dialect_route *route; /* borrowed, as all of this: how this tool is called */
	struct slice arguments;            /* raw JSON object, checked */
	bool repeatable;                   /* declared read-only or idempotent: sending it twice does no harm */
	struct slice traceparent;          /* W3C, or empty; sent when the exchange is of one call */
	struct slice tracestate;           /* likewise, goes with traceparent */
	struct slice idempotency_key;      /* or empty; likewise */
	uint64_t caller;                   /* who asks, as a number: for `affinity: caller` */
	uint8_t kind;         /* enum attempt_kind: why it is sent. Of the first call of an exchange counts */
	struct mcp_asks asks; /* what `on_notification` is to be called for; other kinds than MCP say nothing */
};

#endif
