/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolve.h: a host name to its addresses without blocking a worker. A resolver may take half a minute over a name and
 * cannot be interrupted, so each look-up has a thread, and goes on when nobody waits for it any more. Whoever asks
 * meanwhile for the same name waits for that one, or has its answer at once while one of those who waited has not taken
 * it; RESOLVE_THREADS is the most of the whole process, and names beyond wait for their turn. So a name server that is
 * dead costs as many threads as there are names, however many calls want them: who asks has a deadline, and stops.
 */
#ifndef JITNEY_BASE_RESOLVE_H
#define JITNEY_BASE_RESOLVE_H

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "base/compiler.h"
#include "base/loop.h"

enum { RESOLVE_THREADS = 16, RESOLVED_MAX = 16 };

struct resolve; /* one asker's */

enum resolve_state { RESOLVE_PENDING, RESOLVE_FOUND, RESOLVE_FAILED };

/* As text, in the order to be tried (RFC 6724). Those that no route leads to are left out, unless it is all of them. */
struct resolved {
	size_t count;
	char addresses[RESOLVED_MAX][INET6_ADDRSTRLEN];
};

/* As the same text. */
static inline bool resolved_has(const struct resolved *resolved, const char *address)
{
	for (size_t i = 0; i < resolved->count; i++)
		if (strcmp(resolved->addresses[i], address) == 0)
			return true;
	return false;
}

/* Start looking; `loop` is woken when it has ended, and outlives it. NULL: no memory, or no thread. Any thread. */
struct resolve *resolve_start(const char *host, struct loop *loop) MUST_CHECK;
/* Look at it, without a lock; FOUND fills in one address at least; FAILED sets *why (static storage). */
enum resolve_state resolve_look(const struct resolve *resolve, struct resolved *resolved, const char **why);
/* Wanted no more: the loop will not be woken. NULL is allowed. */
void resolve_stop(struct resolve *resolve);

#endif
