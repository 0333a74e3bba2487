/* SPDX-License-Identifier: Apache-2.0 */
/* tracer.h: traced calls on their way to the collector: a bounded queue, and a thread that sends what is in it. Of this
 * folder alone: exporter.h has the contracts. */
#ifndef JITNEY_GATEWAY_TRACE_TRACER_H
#define JITNEY_GATEWAY_TRACE_TRACER_H

#include "gateway/trace/otlp.h"
#include "gateway/trace/sender.h"

struct tracer {
	struct sender sender;
	struct traced_calls queue; /* m: under the sender's mutex */
	size_t queued;             /* m: calls in it */
	struct otlp otlp;          /* the thread's */
};

/* False: the kernel has no random numbers. Main thread. */
bool tracer_init(struct tracer *tracer, const char *instance) MUST_CHECK;
void tracer_fini(struct tracer *tracer);
/* exporter_keep's. */
void tracer_keep(struct tracer *tracer, const struct traced_call *call, struct meter *meter);

#endif
