/* SPDX-License-Identifier: Apache-2.0 */
/* otlp.h: traced calls and metrics as requests of OpenTelemetry's protocol, and what a collector answers. Pure bytes; the
 * exporter's threads. */
#ifndef JITNEY_GATEWAY_TRACE_OTLP_H
#define JITNEY_GATEWAY_TRACE_OTLP_H

#include <sys/queue.h>

#include "base/buf.h"
#include "gateway/trace/settings.h"
#include "gateway/trace/traced_call.h"
#include "metrics/metrics.h"

enum { OTLP_EXCHANGES_KNOWN = 1024 };

/* What goes through all requests with spans of a process. */
struct otlp {
	const char *instance;                     /* service.instance.id, unless the environment names another */
	uint64_t seed;                            /* of exchanges' ids */
	uint64_t exchanges[OTLP_EXCHANGES_KNOWN]; /* numbers of those whose span has been sent already */
	size_t exchange_next;
};

/* Append an ExportTraceServiceRequest with the spans of these calls. Returns how many spans; 0: out of memory. */
size_t otlp_put_request(struct otlp *otlp, const struct trace_settings *settings, const struct traced_calls *calls,
			struct buf *out) MUST_CHECK;

enum { OTLP_POINTS_MOST = 4096 /* data points in one request */ };
/* One ExportMetricsServiceRequest. */
struct otlp_body {
	STAILQ_ENTRY(otlp_body) next;
	struct buf bytes;
	size_t points;
};
STAILQ_HEAD(otlp_bodies, otlp_body);
/*
 * All that metrics_walk gives as requests, several if it is too much for one; append them. A metric has the name and
 * the labels that Prometheus sees. at_us: wall clock. False: out of memory, or over `bytes_max` in all: those that were
 * made before are good.
 */
bool otlp_put_metrics(const struct trace_settings *settings, const char *instance, struct metrics *metrics,
		      uint64_t at_us, size_t bytes_max, struct otlp_bodies *bodies) MUST_CHECK;
/* Out of its list. */
void otlp_free_body(struct otlp_body *body);

/* What an answer with status 200 says: how many spans or points were not taken (0: all were), and why, cut to what fits. False: it
 * is no such message. */
bool otlp_read_answer(struct slice body, uint64_t *rejected, char *why, size_t why_bytes) MUST_CHECK;

#endif
