/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracer.h: traced calls on their way to the collector: a bounded queue, and a thread that sends what is in it. A collector
 * that is slow, hangs or is gone costs spans, which are counted, and never a worker's time.
 */
#ifndef JITNEY_GATEWAY_TRACE_TRACER_H
#define JITNEY_GATEWAY_TRACE_TRACER_H

#include "gateway/trace/settings.h"
#include "gateway/trace/traced_call.h"
#include "metrics/metrics.h"

struct tracer;

enum { TRACER_QUEUE_CALLS = 2048 }; /* about 1.5 MiB; one more is dropped and counted */

/* settings: borrowed. NULL when out of memory. Main thread. */
struct tracer *tracer_new(const struct trace_settings *settings, struct metrics *metrics) MUST_CHECK;
/* Start its thread. False and errno. Main thread. */
bool tracer_start(struct tracer *tracer) MUST_CHECK;
/* No call comes any more: send what is queued, as far as it takes no longer than a moment, and end the thread. Main thread. */
void tracer_stop(struct tracer *tracer);
/* NULL is allowed. */
void tracer_free(struct tracer *tracer);

/* How many of 100 calls are to be kept by chance. Any thread. */
unsigned tracer_percent(const struct tracer *tracer);

/* A copy of what is said of a call joins the queue; without room or memory it is dropped and counted in `meter`, the
 * caller's own. Any thread; it takes no longer than a copy. */
void tracer_keep(struct tracer *tracer, const struct traced_call *call, struct meter *meter);

#endif
