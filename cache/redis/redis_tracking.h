/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_tracking.h: one process among a fleet over one Redis. It hears at once what others replace or remove
 * (server-assisted client caching, in its RESP2 form) and what they purge, so that it leaves this process' memory; and
 * it tells the others, and Redis itself, of purges that were asked for here (cache_purge).
 *
 * Two connections: the publisher has all keys under the prefix tracked (CLIENT TRACKING ... BCAST NOLOOP), redirected
 * to the subscriber, which subscribes to `__redis__:invalidate`, to purges and to a heartbeat of its own. The publisher
 * publishes the heartbeat, so that hearing it proves the whole way; without it, and whenever either connection is lost,
 * the cache's rule is told (validity_lost_sync) and both are made anew. Protocol: Redis documentation, "Client-side
 * caching in Redis". Where Redis will not have it, or it is off, the publisher alone reads the list of purges every so
 * often.
 *
 * One per process; its loop's thread only.
 */
#ifndef JITNEY_CACHE_REDIS_REDIS_TRACKING_H
#define JITNEY_CACHE_REDIS_REDIS_TRACKING_H

#include "base/loop.h"
#include "cache/cache.h"
#include "cache/redis/redis_settings.h"
#include "metrics/metrics.h"

struct redis_tracking;

/*
 * settings  frozen, outlive it, as the cache does; cache_publish_purges, and validity_share if there is tracking, must have
 *           been called.
 * NULL when memory is out. The loop's thread, or main's before that begins; all else on the loop's.
 */
struct redis_tracking *redis_tracking_new(const struct redis_settings *settings, struct cache *cache, struct loop *loop,
					  struct meter *meter) MUST_CHECK;
/* NULL is allowed. */
void redis_tracking_free(struct redis_tracking *tracking);

/* Once a turn. */
void redis_tracking_tick(struct redis_tracking *tracking, uint64_t now_us);
/* When tick has something to do at the latest. */
uint64_t redis_tracking_deadline(const struct redis_tracking *tracking);

#endif
