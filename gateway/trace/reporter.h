/* SPDX-License-Identifier: Apache-2.0 */
/* reporter.h: the metrics on their way to the collector, all of them at each interval, and a last time at the end. Of this
 * folder alone: exporter.h has the contracts. */
#ifndef JITNEY_GATEWAY_TRACE_REPORTER_H
#define JITNEY_GATEWAY_TRACE_REPORTER_H

#include "gateway/trace/sender.h"

struct reporter {
	struct sender sender;
	struct metrics *metrics; /* c */
	const char *instance;    /* c */
};

/* False: the kernel has no random numbers. The metrics and the text outlive it. Main thread. */
bool reporter_init(struct reporter *reporter, struct metrics *metrics, const char *instance) MUST_CHECK;
void reporter_fini(struct reporter *reporter);

#endif
