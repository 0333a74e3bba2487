/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls_survey.h: one look at the calls of all workers: those under way, which each worker tells by mail, and the last ones that
 * ended. A worker that does not open its mail within two seconds is not waited for.
 */
#ifndef JITNEY_GATEWAY_ADMIN_CALLS_SURVEY_H
#define JITNEY_GATEWAY_ADMIN_CALLS_SURVEY_H

#include "gateway/call/recent_calls.h"
#include "gateway/call/world.h"

/* What was found: no call twice, in no order. */
struct surveyed {
	struct recent_call *calls;
	size_t count;
	const bool *told; /* of each worker: whether it has said what is under way */
	bool no_memory;   /* and nothing else */
};

struct survey_kind {
	/* Whether a call is wanted. Any worker's thread: `context` does not change. */
	bool (*is_wanted)(const void *context, const struct recent_call *call);
	/* Reply. Once, unless the client leaves before. The asking worker's thread. */
	void (*reply)(const struct worker *worker, struct request *request, const void *context,
		      const struct surveyed *found);
};

/* Take a look, and reply by `kind` when it is done. `context`: from malloc; taken. */
void calls_survey_begin(struct worker *worker, struct request *request, const struct survey_kind *kind, void *context);

#endif
