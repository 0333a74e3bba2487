/* SPDX-License-Identifier: Apache-2.0 */
/* otlp.h: traced calls as spans of OpenTelemetry's protocol, and what a collector answers. Pure bytes; the exporter's thread. */
#ifndef JITNEY_GATEWAY_TRACE_OTLP_H
#define JITNEY_GATEWAY_TRACE_OTLP_H

#include "base/buf.h"
#include "gateway/trace/settings.h"
#include "gateway/trace/traced_call.h"

enum { OTLP_EXCHANGES_KNOWN = 1024 };

/* What goes through all requests of a process. */
struct otlp {
	const struct trace_settings *settings;
	uint64_t seed;                            /* of exchanges' ids */
	uint64_t exchanges[OTLP_EXCHANGES_KNOWN]; /* numbers of those whose span has been sent already */
	size_t exchange_next;
};

/* Append an ExportTraceServiceRequest with the spans of these calls. Returns how many spans; 0: out of memory. */
size_t otlp_put_request(struct otlp *otlp, const struct traced_calls *calls, struct buf *out) MUST_CHECK;

/* What an answer with status 200 says: how many spans were not taken (0: all were), and why, cut to what fits. False: it
 * is no such message. */
bool otlp_read_answer(struct slice body, uint64_t *rejected, char *why, size_t why_bytes) MUST_CHECK;

#endif
