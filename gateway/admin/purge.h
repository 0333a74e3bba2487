/* SPDX-License-Identifier: Apache-2.0 */
/*
 * purge.h: DELETE /admin/cache, and GET /admin/cache/count. A purge holds as soon as it is noted (cache_purge); the operator is answered when what it
 * covers has left memory and the disk, and it is published to the fleet, or after two seconds. Worker 0's thread.
 */
#ifndef JITNEY_GATEWAY_ADMIN_PURGE_H
#define JITNEY_GATEWAY_ADMIN_PURGE_H

#include "cache/cache.h"
#include "gateway/call/route.h"

/* Purge, and reply to the request. */
void purge_and_reply(struct worker *worker, struct request *request, const struct purge_scope *scope);
/* Reply with how much that would drop, of memory and of the disk; nothing is. */
void purge_count_and_reply(struct worker *worker, struct request *request, const struct purge_scope *scope);

#endif
