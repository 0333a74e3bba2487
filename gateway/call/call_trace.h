/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_trace.h: a call's place in a trace: which one it is part of, what its provider is told of it, and whether it is kept
 * when it has ended. With tracing off worker->traces is NULL, and none of this is called. Home thread.
 */
#ifndef JITNEY_GATEWAY_CALL_CALL_TRACE_H
#define JITNEY_GATEWAY_CALL_CALL_TRACE_H

#include "gateway/call/call.h"

struct exporter;
struct request;
struct trace_book;
struct trace_settings;

/* What a worker knows of its calls, so that it can tell which are slow. tools: places of LABEL_TOOL. NULL when out of
 * memory. */
struct trace_book *trace_book_new(struct exporter *exporter, size_t tools) MUST_CHECK;
/* From now on the worker's calls are traced as the settings say, NULL: not at all. Its book stays, and what it knows. */
void trace_book_use(struct worker *worker, const struct trace_settings *settings);
/* NULL is allowed. */
void trace_book_free(struct trace_book *book);

/* It begins: its caller is known. */
void call_trace_begin(struct call *call);
/* It leaves for its provider: what that is told of the trace. */
void call_trace_depart(struct call *call);
/* It has ended, as its caller sees it; it is kept or not. */
void call_trace_end(const struct call *call, const struct request *request, unsigned status, uint64_t bytes);
/* Its caller has left while it was away. */
void call_trace_cancelled(const struct call *call, const struct request *request);

#endif
