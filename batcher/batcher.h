/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batcher.h: the front door of batching, one per upstream: calls go in one by one, leave in batches, are answered one
 * by one. Zero wait while nothing is in flight; else calls gather until the flight completes, or count, bytes, window or
 * the tightest deadline says go (window.h has the rule, lane.h the order). Owned by the upstream's worker thread.
 */
#ifndef JITNEY_BATCHER_BATCHER_H
#define JITNEY_BATCHER_BATCHER_H

#include <stdint.h>

#include "base/answer.h"
#include "base/compiler.h"
#include "batcher/item.h"
#include "batcher/policy.h"
#include "metrics/metrics.h"
#include "upstream/upstream.h"

struct allowed_rates;
struct batcher;
struct common_limits;
struct pauses;

/* settings: of the upstream, borrowed likewise. NULL when out of memory. */
struct batcher *batcher_new(const struct batch_policy *policy, const struct upstream_settings *settings,
			    struct transport *transport, struct loop *loop, struct meter *meter) MUST_CHECK;
/* Nothing may wait or be in flight (see batcher_abort_all). NULL is allowed. */
void batcher_free(struct batcher *batcher);

/* It takes the place of `before`, which is on the same loop and goes on with what it has: how often their provider may be
 * visited counts for both together, by this one's policy. Before anything is added. */
void batcher_follow(struct batcher *batcher, struct batcher *before);

/* What the provider has said of pauses, and will say, it has in common with all that are given the same. Before anything
 * is added. */
void batcher_share_pauses(struct batcher *batcher, struct pauses *pauses);
/* Likewise how often it may be visited: that is what this one's policy says from now on, less what has gone. */
void batcher_share_rates(struct batcher *batcher, struct allowed_rates *allowed);

/* It is one of several batchers of its upstream, each on its own worker: `limits` holds what they have in common, and this
 * batcher's numbers of exchanges and of waiting calls are all of theirs. The policy gives the number of exchanges. They keep
 * the rates of the one that joins first. Before anything is added. */
void batcher_join(struct batcher *batcher, struct common_limits *limits);

/* Another policy from now on, and other settings where the upstream's were: what has been learned stays. */
void batcher_adjust(struct batcher *batcher, const struct batch_policy *policy);

/* Have the provider's tools listed and kept current: upstream_watch. */
void batcher_watch(struct batcher *batcher, const struct upstream_watcher *watcher);
/* The end: upstream_leave, upstream_leaving. No item is in it. */
void batcher_leave(struct batcher *batcher, uint64_t timeout_us);
bool batcher_leaving(const struct batcher *batcher);

/* Put an item into its lane. It leaves with batcher_tick at the end of this loop turn at the earliest, so that calls
 * that came in the same turn travel together.
 * Returns OK, or OVERLOADED at a cap of the queue or without memory (counted by reason; the item stays the caller's;
 * `*why` is static text that names the limit). */
enum outcome batcher_add(struct batcher *batcher, struct batch_item *item, uint64_t now_us,
			 const char **why) MUST_CHECK;

/* Nobody waits for it any more; `answered` will not be called, the item is its owner's again on return. It must have
 * been added and not answered. Out of its lane at once; in flight it is forgotten, and an exchange all of whose items
 * are forgotten is aborted by the next batcher_tick (the caller may be inside that very exchange's callback). */
void batcher_cancel(struct batcher *batcher, struct batch_item *item, uint64_t now_us);

/* Tell of new deadlines (a joiner waits longer, the hurried one has left). An exchange already under way keeps the
 * end it was given; the item itself obeys the new deadline up to then. */
void batcher_set_deadlines(struct batcher *batcher, struct batch_item *item, uint64_t deadline_us, uint64_t urgent_us);

/* What one is told whose time is up while others wait on: the item stays. A reference. */
struct answer *batcher_expired(const struct batcher *batcher, const struct batch_item *item,
			       uint64_t now_us) MUST_CHECK;

/* Once a loop turn: answer items past their deadline (DEADLINE_EXCEEDED if never sent), send what is due, call
 * answered for what could not be sent. */
void batcher_tick(struct batcher *batcher, uint64_t now_us);
/* When batcher_tick has something to do at the latest: 0 at once, CLOCK_NEVER only after news. Ask it anew before each
 * sleep: adds, cancels and answers since the last tick move it. */
uint64_t batcher_deadline(const struct batcher *batcher);

/* Whether nothing waits and nothing is in flight: it may be freed. */
bool batcher_is_quiet(const struct batcher *batcher);

/* Shutting down: answer everything that waits or is in flight with (references to) `answer`, abort all exchanges. Those
 * it has limits in common with send nothing more. Not
 * from within `answered`; what callbacks add meanwhile stays. */
void batcher_abort_all(struct batcher *batcher, struct answer *answer, uint64_t now_us);

#endif
