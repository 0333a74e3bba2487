/* SPDX-License-Identifier: Apache-2.0 */
/*
 * observer.h: the thread that looks at the gateway's own figures. Each second it takes history's sample and evaluates the
 * alerts, and it writes the pages that are made of the figures of every tool and upstream: with thousands of them that takes
 * milliseconds, which no worker has.
 */
#ifndef JITNEY_GATEWAY_ADMIN_OBSERVER_H
#define JITNEY_GATEWAY_ADMIN_OBSERVER_H

#include "base/buf.h"
#include "base/compiler.h"
#include "gateway/admin/observation.h"
#include "gateway/call/route.h"

struct gateway;
struct observer;

/* Append the page. On the observer's thread, alone. */
typedef void page_writer(const struct observation *of, struct buf *out);
/* Reply with what was written (taken). At home. */
typedef void page_sender(struct request *request, struct buf *text);

/* NULL when out of memory. Main thread. */
struct observer *observer_new(struct gateway *gateway) MUST_CHECK;
/* False and errno: there is no thread. */
bool observer_start(struct observer *observer) MUST_CHECK;
/* After the workers, which may wait for a page. Main thread. */
void observer_stop(struct observer *observer);
/* What was asked for and will not be written goes home, for the workers to settle. Main thread. */
void observer_settle(struct observer *observer);
/* NULL is allowed. */
void observer_free(struct observer *observer);

/* Have a page written there, and sent from here when it comes home. The worker's thread. */
void observer_reply(struct worker *worker, struct request *request, page_writer *write, page_sender *send);

#endif
