/* SPDX-License-Identifier: Apache-2.0 */
/* context.h: which trace something belongs to: W3C Trace Context's ids, read and written. */
#ifndef JITNEY_GATEWAY_TRACE_CONTEXT_H
#define JITNEY_GATEWAY_TRACE_CONTEXT_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"

enum { TRACEPARENT_BYTES = 55, TRACE_SAMPLED = 1 };
/* Spans that follow from another one: trace_span_below. */
enum { TRACE_ATTEMPT = 1, TRACE_EXCHANGE, TRACE_EXCHANGE_SPAN };

/* All zero: none. */
struct trace_context {
	uint64_t trace[2]; /* the trace id, its first half first */
	uint64_t span;
	uint8_t flags; /* TRACE_SAMPLED */
};

/* Whether it names a span. */
static inline bool trace_context_is_there(const struct trace_context *context)
{
	return context->span != 0;
}

/* A traceparent that is known to be a valid one, lower case (caller_traceparent). Empty: none. */
struct trace_context trace_context_read(struct slice traceparent);
/* As a traceparent, with a NUL behind it. */
void trace_context_write(const struct trace_context *context, char text[TRACEPARENT_BYTES + 1]);

/* Another span of a trace, which the same one always has: not zero. `which`: 1 or more. */
static inline uint64_t trace_span_below(uint64_t span, uint64_t which)
{
	uint64_t mixed = (span ^ which) * UINT64_C(0x9e3779b97f4a7c15);
	mixed ^= mixed >> 29;
	return mixed ? mixed : 1;
}

#endif
