/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolve.h: a host name to its addresses without blocking a worker: each look-up has a thread of its own, because a
 * resolver may take half a minute over one and cannot be interrupted. A connection asks once per attempt to connect,
 * so there are never more such threads than connections.
 */
#ifndef JITNEY_CACHE_REDIS_RESOLVE_H
#define JITNEY_CACHE_REDIS_RESOLVE_H

#include <netinet/in.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/loop.h"

struct resolve;

enum resolve_state { RESOLVE_PENDING, RESOLVE_FOUND, RESOLVE_FAILED };

/* Start looking; `loop` is woken when it has ended. NULL: no memory, or no thread. */
struct resolve *resolve_start(const char *host, struct loop *loop) MUST_CHECK;
/* As text, in the order to be tried (RFC 6724). */
enum { RESOLVED_MAX = 8 };
struct resolved {
	size_t count;
	char addresses[RESOLVED_MAX][INET6_ADDRSTRLEN];
};
/* Look at it; FOUND fills in one address at least; FAILED sets *why (static storage). */
enum resolve_state resolve_look(struct resolve *resolve, struct resolved *resolved, const char **why);
/* Wanted no more: the loop will not be woken. NULL is fine. */
void resolve_stop(struct resolve *resolve);

#endif
