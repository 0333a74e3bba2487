/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asker.h: asks a gateway again and again, in a thread of its own: whoever looks at a terminal, or makes calls, is never
 * held up by a gateway that is slow, gone or not there yet.
 */
#ifndef JITNEY_GATEWAY_CLI_ASKER_H
#define JITNEY_GATEWAY_CLI_ASKER_H

#include "gateway/cli/gateway_stats.h"

struct asker;

/* Asks at once, and then each `interval_us`, until asker_free. `setup` is borrowed. NULL when out of memory, threads or
 * descriptors. */
struct asker *asker_new(const struct cli_client *setup, uint64_t interval_us) MUST_CHECK;
/* Waits for an answer that is under way, a second or so. NULL is allowed. */
void asker_free(struct asker *asker);

/* Readable while there is an answer that has not been taken; for poll. */
int asker_fd(const struct asker *asker);
/* Make that descriptor readable, whatever there is: for a signal handler. */
void asker_wake(const struct asker *asker);

/* Whether calls are asked for too; that the next answer is wanted now; that none is wanted for the time being. */
void asker_want(struct asker *asker, bool calls, bool paused);

/* What came of the last question. */
struct asker_news {
	bool answered;
	char error[STATS_ERROR_BYTES]; /* if not */
};
/* False: nothing new. Else `stats` changes places with the answer, if there was one. */
bool asker_take(struct asker *asker, struct asker_news *news, struct gateway_stats *stats) MUST_CHECK;

#endif
