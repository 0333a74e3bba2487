/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latency_class.h: how long a tool's calls take by themselves, and so in which class of latency it travels: calls of
 * one class share requests, so a slow tool holds up none that is CLASS_FACTOR times as fast. Arithmetic only, no clock.
 *
 * - A request that holds one tool's calls only tells its time. One shared by several tools tells each an upper bound,
 *   since a provider may answer an array when its slowest call is done: a bound below what is known is believed.
 * - A tool that seems slower than its class when it shares (once if it is new, else `patience` times in a row) travels
 *   alone for MEASURED_ALONE exchanges; then its class is its own. If that was somebody else's doing, its patience doubles.
 * - A class is left only when the time is a quarter beyond its border (hysteresis), and one exchange counts as no more
 *   than four times what is known, so an outlier moves nobody.
 */
#ifndef JITNEY_BATCHER_LATENCY_CLASS_H
#define JITNEY_BATCHER_LATENCY_CLASS_H

#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "metrics/catalogue.h"

enum { CLASS_FACTOR = 5, MEASURED_ALONE = 2 };
#define CLASS_FIRST_US                                                                                                 \
	(20 *                                                                                                          \
	 CLOCK_US_PER_MS) /* border of the fastest class; each next one is CLASS_FACTOR times it                  \
				*/

/* One tool's. Zeroed: not known yet, in the fastest class. */
struct tool_latency {
	double alone_us;         /* smoothed time of one call alone; 0: not known */
	unsigned measured_alone; /* exchanges it still travels alone, to be measured */
	unsigned doubts;         /* shared ones in a row that were slower than its class */
	unsigned patience;       /* how many it takes */
	uint8_t class;           /* enum latency_class */
};

/* A request that held only its calls went well; what one of them alone would have taken. */
void tool_latency_alone(struct tool_latency *latency, double us);
/* It takes no longer than so: beside others of it, that are sent to see whether they share well. */
void tool_latency_at_most(struct tool_latency *latency, double us);
/* One of its calls was answered so long after a request left that others' calls were in as well. */
void tool_latency_shared(struct tool_latency *latency, double us);

/* Whether one call that takes so long is well beyond the slow border of a class. */
bool latency_class_beyond(unsigned class, double us);

#endif
