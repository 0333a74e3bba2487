/* SPDX-License-Identifier: Apache-2.0 */
/* item.h: one call to be sent, and the facts of how it was. */
#ifndef JITNEY_BATCHER_ITEM_H
#define JITNEY_BATCHER_ITEM_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/answer.h"
#include "base/due_heap.h"
#include "upstream/upstream.h"

/* Facts about the batch an item travelled in, for headers, logs and metrics. */
struct batch_facts {
	uint64_t id;          /* unique in this process; 0: never sent */
	uint32_t items;       /* calls in it; 0: never sent */
	uint64_t waited_us;   /* from batcher_add to leaving (or to the refusal) */
	uint64_t left_us;     /* when it left; 0: never sent */
	uint64_t upstream_us; /* from leaving to this item's answer; 0: never sent */
	uint32_t attempts;    /* to deliver the call, all of them; 0: none */
	uint8_t reason;       /* enum flush_reason: why the batch left then; of one that was sent */
	bool bisected; /* it was part of a request that was refused as a whole, and left again in a smaller one */
};

/*
 * One call to be sent. Embedded in its owner, who fills the first part before batcher_add and keeps `call.arguments`
 * alive until the item is answered or cancelled.
 */
struct batch_item {
	struct upstream_call call;
	uint64_t deadline_us; /* when the last one who waits for it gives up */
	uint64_t urgent_us;   /* when the first one does: a batch leaves early for it, see window.h */
	unsigned tool; /* metrics index; tools that differ much in latency do not share a batch, see latency_class.h */
	uint64_t caller;       /* fairness: items are taken round-robin over callers */
	uint8_t urgency;       /* RFC 9218: 0 first .. 7 last; 3 by default */
	struct slice lane_key; /* credential and all forwarded headers: items with different ones never share a batch.
				* Borrowed like arguments */
	/* Called once, never from within batcher_add; `answer` is the receiver's reference. The item is its owner's
	 * again: it may be freed or added anew in here, other items may be added or cancelled. */
	void (*answered)(struct batch_item *item, struct answer *answer, const struct batch_facts *facts);
	/* It has been put off until then, which is after urgent_us: who of those who wait for it waits no longer than
	 * that is to be told `answer` (borrowed) now, and urgent_us to be set anew, or the item cancelled, in here. NULL:
	 * nobody is in more of a hurry than deadline_us says. */
	void (*put_off)(struct batch_item *item, uint64_t until_us, struct answer *answer,
			const struct batch_facts *facts);
	/* Word of it while it travels, as call.asks wants: see upstream_events. May be NULL if it asks for nothing. */
	void (*on_notification)(struct batch_item *item, enum mcp_notification_kind note, struct slice params);

	/* the batcher's own; nothing to fill in */
	TAILQ_ENTRY(batch_item) next;    /* waiting: in its caller's line; settled: among those to be delivered */
	TAILQ_ENTRY(batch_item) arrival; /* waiting: in its lane, oldest first */
	TAILQ_ENTRY(batch_item) line;    /* waiting: over the whole batcher, by queued_us */
	struct due_node expiry;          /* waiting or travelling: by deadline_us, over the whole batcher */
	struct due_node urgent;          /* waiting: by urgent_us, in its lane */
	TAILQ_ENTRY(batch_item) hurried; /* put off for too long for somebody, who is to be told */
	uint64_t put_off_us;             /* likewise: until when; 0: it is not in that list */
	uint64_t tokens;                 /* estimated; 0: nobody counts them */
	struct learned_tool *learned;    /* its tool's; NULL: no memory for it */
	struct lane *lane;               /* waiting there; NULL: not waiting */
	struct lane_entry *entry;        /* waiting: its caller's line */
	struct batch *batch;             /* travelling in it; NULL: not travelling */
	struct answer *answer;           /* settled: `answered` is about to be called with it; NULL: not settled */
	struct batch_facts facts;        /* settled: likewise */
	size_t index;                    /* in its batch */
	uint32_t attempts;               /* to deliver it, in batches before this one */
	bool returned; /* its exchange has done with it, but it has no answer: it will be sent again */
	uint64_t added_us;
	uint64_t queued_us; /* waiting for the limiter since */
};
TAILQ_HEAD(batch_item_list, batch_item);

/* When the request that it is in left for its provider; 0: it has failed and is about to leave again; CLOCK_NEVER: its
 * provider has not been asked yet. */
uint64_t batch_item_left_us(const struct batch_item *item);
/* The facts of an item that waits or travels, as if it were answered now. */
struct batch_facts batch_item_facts(const struct batch_item *item, uint64_t now_us);

#endif
