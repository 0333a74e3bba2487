/* SPDX-License-Identifier: Apache-2.0 */
/*
 * under_way.h: the calls that a worker fetches answers for, as they are at one moment: for whoever asks why one takes so long
 * while it does. Nothing is kept for it, but what is needed anyway.
 */
#ifndef JITNEY_GATEWAY_CALL_UNDER_WAY_H
#define JITNEY_GATEWAY_CALL_UNDER_WAY_H

#include "gateway/call/recent_calls.h"

struct worker;

enum { UNDER_WAY_CALLS = 64 };

/* Which are wanted: of those that it says true of. */
struct under_way_filter {
	bool (*is_wanted)(const void *context, const struct recent_call *call);
	const void *context;
};

/*
 * Copy those it fetches for, itself or for another worker's clients: the oldest fetches first; of those who share a fetch, as
 * many as eight. `to` has room for UNDER_WAY_CALLS. Bounded: it looks at 4,096 fetches at most. Returns how many. The
 * worker's thread.
 */
size_t calls_under_way(const struct worker *worker, const struct under_way_filter *filter, struct recent_call *to);

#endif
