/* SPDX-License-Identifier: Apache-2.0 */
/*
 * webhook.h: posts to one URL, on a thread of its own: what waits is bounded in number and bytes, each attempt has a
 * deadline, there are five, and whoever has something to say waits for nothing. A receiver that hangs or is gone costs
 * what it is not told.
 */
#ifndef JITNEY_GATEWAY_ADMIN_WEBHOOK_H
#define JITNEY_GATEWAY_ADMIN_WEBHOOK_H

#include "base/buf.h"
#include "base/compiler.h"
#include "gateway/config/alert_options.h"
#include "metrics/metrics.h"

enum { WEBHOOK_BODY_BYTES = 64 * 1024, WEBHOOK_WAITING = 32 };

struct webhook;

/* Told to nobody yet. NULL when out of memory. Main thread. */
struct webhook *webhook_new(void) MUST_CHECK;
/* False and errno: there is no thread. Main thread. */
bool webhook_start(struct webhook *webhook) MUST_CHECK;
/* What waits is given up, what is under way broken off within about a second. Main thread. */
void webhook_stop(struct webhook *webhook);
/* NULL is allowed. */
void webhook_free(struct webhook *webhook);

/* All below: one thread, the observer's. */

/* Where to from now on, as the configuration's generation of that number says (from 1): copied, if that is another place.
 * What waits goes there too. */
void webhook_use(struct webhook *webhook, const struct alert_webhook_options *options, uint64_t generation);
/* Whether anybody is told. */
bool webhook_is_used(const struct webhook *webhook);
/* Post this (taken). When WEBHOOK_WAITING wait, the oldest of them is given up. */
void webhook_post(struct webhook *webhook, struct buf *body);
/* Add what became of posts since the last call to METRIC_ID_ALERTS_POSTED. */
void webhook_count(struct webhook *webhook, struct meter *meter);
/* Append how it does, as an object. */
void webhook_put(struct webhook *webhook, struct buf *out);

#endif
