/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batcher.h: the front door of batching, one per upstream: calls go in one by one, leave in batches, are answered one
 * by one. Zero wait while nothing is in flight; else calls gather until the flight lands, or count, bytes, window or
 * the tightest deadline says go (window.h has the rule, lane.h the order). Owned by the upstream's worker thread.
 */
#ifndef JITNEY_BATCHER_BATCHER_H
#define JITNEY_BATCHER_BATCHER_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/answer.h"
#include "base/compiler.h"
#include "base/due_heap.h"
#include "batcher/pace.h"
#include "metrics/metrics.h"
#include "upstream/upstream.h"

enum { CONCURRENCY_MOST = 1000 }; /* exchanges at once, however it is learned */

enum batch_mode {
	BATCH_ADAPTIVE, /* no wait when idle; else as above */
	BATCH_FIXED,    /* always gathers for the whole window */
	BATCH_OFF       /* every call by itself */
};

/* From the configuration; constant, borrowed, outlives the batcher. */
struct batch_policy {
	enum batch_mode mode;
	size_t max_items;       /* calls in one batch, >= 1 */
	size_t max_bytes;       /* bytes of arguments in one batch; a larger call travels alone */
	uint64_t max_tokens;    /* estimated tokens in one batch, likewise; 0: no cap */
	uint64_t window_us;     /* longest time a call gathers while it could leave */
	size_t concurrency;     /* exchanges at once; 0: learned, see limiter.h */
	size_t queue_items;     /* calls waiting at most */
	size_t queue_bytes;     /* bytes of arguments waiting at most */
	uint64_t queue_wait_us; /* a call that would wait longer is refused at once; 0: only its deadline counts */
	struct rate requests;   /* what the provider allows: exchanges */
	struct rate tokens;     /* likewise: tokens, as the dialect estimates them */
};

/* Facts about the batch an item travelled in, for headers, logs and metrics. */
struct batch_facts {
	uint64_t id;          /* unique in this process; 0: never sent */
	uint32_t items;       /* calls in it; 0: never sent */
	uint64_t waited_us;   /* from batcher_add to leaving (or to the refusal) */
	uint64_t upstream_us; /* from leaving to this item's answer; 0: never sent */
	uint32_t attempts;    /* to deliver the call, all of them; 0: none */
};

/*
 * One call to be sent. Embedded in its owner, who fills the first part before batcher_add and keeps `call.arguments`
 * alive until the item is answered or cancelled.
 */
struct batch_item {
	struct upstream_call call;
	uint64_t deadline_us;  /* when the last one who waits for it gives up */
	uint64_t urgent_us;    /* when the first one does: a batch leaves early for it, see window.h */
	unsigned tool;         /* metrics index; tools that differ much in latency do not share a batch, see speed.h */
	uint64_t caller;       /* fairness: items are taken round-robin over callers */
	uint8_t urgency;       /* RFC 9218: 0 first .. 7 last; 3 by default */
	struct slice lane_key; /* credential and all forwarded headers: items with different ones never share a batch.
				* Borrowed like arguments */
	/* Called once, never from within batcher_add; `answer` is the receiver's reference. The item is its owner's
	 * again: it may be freed or added anew in here, other items may be added or cancelled. */
	void (*answered)(struct batch_item *item, struct answer *answer, const struct batch_facts *facts);
	/* Word of it while it travels, as call.asks wants: see upstream_events. May be NULL if it asks for nothing. */
	void (*noted)(struct batch_item *item, enum mcp_note_kind note, struct slice params);

	/* the batcher's own; nothing to fill in */
	TAILQ_ENTRY(batch_item) next;    /* waiting: in its caller's line; settled: among those to be told */
	TAILQ_ENTRY(batch_item) arrival; /* waiting: in its lane, oldest first */
	TAILQ_ENTRY(batch_item) line;    /* waiting: over the whole batcher, by queued_us */
	struct due_node expiry;          /* waiting or travelling: by deadline_us, over the whole batcher */
	struct due_node urgent;          /* waiting: by urgent_us, in its lane */
	uint64_t tokens;                 /* estimated; 0: nobody counts them */
	struct tool_speed *speed;        /* its tool's; NULL: no memory for it */
	struct lane *lane;               /* waiting there; NULL: not waiting */
	struct lane_turn *turn;          /* waiting: its caller's line */
	struct batch *batch;             /* travelling in it; NULL: not travelling */
	struct answer *answer;           /* settled: `answered` is about to be called with it; NULL: not settled */
	struct batch_facts facts;        /* settled: likewise */
	size_t index;                    /* in its batch */
	uint32_t attempts;               /* to deliver it, in batches before this one */
	bool returned;                   /* its exchange has done with it, but it has no answer: it will be sent again */
	uint64_t added_us;
	uint64_t queued_us; /* waiting for the limiter since */
};
TAILQ_HEAD(batch_item_list, batch_item);

struct batcher;

/* settings: of the upstream, borrowed likewise. NULL when out of memory. */
struct batcher *batcher_new(const struct batch_policy *policy, const struct upstream_settings *settings,
			    struct transport *transport, struct loop *loop, struct meter *meter) MUST_CHECK;
/* Nothing may wait or be in flight (see batcher_abort_all). NULL is fine. */
void batcher_free(struct batcher *batcher);

/* Have the provider's tools listed and kept current: upstream_watch. */
void batcher_watch(struct batcher *batcher, const struct upstream_watcher *watcher);

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

/* Once a loop turn: answer items past their deadline (DEADLINE_EXCEEDED if never sent), send what is due, call
 * answered for what could not be sent. */
void batcher_tick(struct batcher *batcher, uint64_t now_us);
/* When batcher_tick has something to do at the latest: 0 at once, CLOCK_NEVER only after news. Ask it anew before each
 * sleep: adds, cancels and answers since the last tick move it. */
uint64_t batcher_deadline(const struct batcher *batcher);

/* Shutting down: answer everything that waits or is in flight with (references to) `answer`, abort all exchanges. Not
 * from within `answered`; what callbacks add meanwhile stays. */
void batcher_abort_all(struct batcher *batcher, struct answer *answer, uint64_t now_us);

#endif
