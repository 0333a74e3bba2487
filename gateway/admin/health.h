/* SPDX-License-Identifier: Apache-2.0 */
/* health.h: /healthz, /readyz, /metrics, and what other pages show of the tiers' health. */
#ifndef JITNEY_GATEWAY_ADMIN_HEALTH_H
#define JITNEY_GATEWAY_ADMIN_HEALTH_H

#include "base/buf.h"
#include "gateway/call/route.h"
#include "metrics/catalogue.h"

struct disk_status;
struct gateway;

route_function page_healthz, page_readyz, page_metrics;

/* How many workers have a Redis that answers; 0 without a Redis tier. Any thread. */
unsigned redis_workers(const struct gateway *gateway);
/* How a tier that is there does: "up", "degraded" (Redis answers some workers), "starting", "down". Any thread. */
const char *health_tier_status(const struct gateway *gateway, enum cache_tier tier);
/* Append the state of a tier as a member, "redis":{... and "disk":{...: its closing bracket is the caller's, who may have
 * more to say in there. */
void health_put_redis(struct buf *out, const struct gateway *gateway);
void health_put_disk(struct buf *out, const struct disk_status *status);

#endif
