/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exporter.h: what a collector is told: of single calls (traces), and of all metrics, each by a thread of its own, which is
 * there from when it is first needed. A collector that is slow, hangs or is gone costs what it is not told, which is
 * counted, and never a worker's time.
 */
#ifndef JITNEY_GATEWAY_TRACE_EXPORTER_H
#define JITNEY_GATEWAY_TRACE_EXPORTER_H

#include "gateway/trace/settings.h"
#include "gateway/trace/traced_call.h"
#include "metrics/metrics.h"

struct exporter;

/* Nobody is told anything yet. The metrics are borrowed, and bring its counts with every scrape. NULL when out of memory.
 * Main thread, before the first scrape. */
struct exporter *exporter_new(struct metrics *metrics) MUST_CHECK;
/* No call comes any more: send what is queued, and the metrics as they are, as far as it takes no longer than two seconds and
 * the third in which what is under way is broken off; and end the threads. Main thread. */
void exporter_stop(struct exporter *exporter);
/* No thread scrapes any more. NULL is allowed. */
void exporter_free(struct exporter *exporter);

/*
 * Others are told from now on, or (NULL) nobody, in two steps, of which only the first can fail: have what these settings
 * need, and a copy of them; then use the copy, which is taken. False: errno says why, nothing is to be used. Main thread
 * before others run, then the reload's.
 */
bool exporter_prepare(struct exporter *exporter, const struct trace_settings *settings,
		      struct trace_settings **copy) MUST_CHECK;
void exporter_use(struct exporter *exporter, struct trace_settings *copy);

/* A copy of what is said of a call joins the queue, of TRACE_QUEUE_CALLS at most; without room or memory it is dropped
 * and counted in `meter`, the caller's own. Any thread; it takes no longer than a copy. */
void exporter_keep(struct exporter *exporter, const struct traced_call *call, struct meter *meter);

#endif
