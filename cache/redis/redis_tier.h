/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_tier.h: Redis as a tier (tier.h): answers shared by gateways, and kept over their restarts. A look-up costs a
 * call at most settings->timeout_us, and once: then a breaker keeps callers away until a probe is answered.
 */
#ifndef JITNEY_CACHE_REDIS_REDIS_TIER_H
#define JITNEY_CACHE_REDIS_REDIS_TIER_H

#include "base/loop.h"
#include "cache/cache.h"
#include "cache/redis/redis_settings.h"
#include "cache/tier.h"
#include "metrics/metrics.h"

/*
 * settings  frozen, outlive the tier.
 * cache     asked what has been purged (cache_rule).
 * meter     the worker's.
 * name      for CLIENT SETNAME; copied.
 * NULL when memory is out. The loop's thread, or main's before that begins; all else on the loop's.
 */
struct tier *redis_tier_new(const struct redis_settings *settings, struct cache *cache, struct loop *loop,
			    struct meter *meter, const char *name) MUST_CHECK;

#endif
