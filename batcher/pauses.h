/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pauses.h: until when a provider wants to be left alone (Retry-After), altogether or with one of its tools. That is the
 * provider's word, not a batcher's: heard by one it counts for all that visit it, on whichever worker, and for those that
 * a reload puts in their place, also if it is heard by one of before. Any thread.
 */
#ifndef JITNEY_BATCHER_PAUSES_H
#define JITNEY_BATCHER_PAUSES_H

#include <stdint.h>

#include "base/compiler.h"

/* Tools that may pause at the same time. Of more than that, who ends first is forgotten: it is asked, and says so again. */
enum { PAUSES_TOOLS = 64 };

struct pauses;

/* Nothing is said yet; one reference. NULL: out of memory. */
struct pauses *pauses_new(void) MUST_CHECK;
/* Another reference; and one given back, NULL is allowed. */
struct pauses *pauses_ref(struct pauses *pauses);
void pauses_unref(struct pauses *pauses);

/* Not before then; what has been said of a later time stands. */
void pauses_prolong(struct pauses *pauses, uint64_t until_us);
/* Likewise with that tool. */
void pauses_prolong_tool(struct pauses *pauses, unsigned tool, uint64_t until_us);
/* A time that has passed, or 0: it may be visited. */
uint64_t pauses_until_us(struct pauses *pauses);
uint64_t pauses_tool_until_us(struct pauses *pauses, unsigned tool, uint64_t now_us);

#endif
