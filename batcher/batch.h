/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.h: one batch: the calls that travel in one exchange, who of them still waits, and what it was like as it left.
 * States: open (being filled) -> sent (an exchange is under way) -> done. Sends nothing itself.
 */
#ifndef JITNEY_BATCHER_BATCH_H
#define JITNEY_BATCHER_BATCH_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/compiler.h"
#include "batcher/item.h"
#include "batcher/policy.h"
#include "metrics/catalogue.h"

enum batch_state { BATCH_OPEN, BATCH_SENT, BATCH_DONE };

struct bisection; /* bisection.h */

struct batch {
	TAILQ_ENTRY(batch) next; /* among those sent; or, queued, in its lane */
	enum batch_state state;
	struct batcher *batcher;
	struct lane *lane;
	struct exchange *exchange; /* while sent */
	bool forgotten;            /* sent, and nobody waits for any of it: to be aborted */
	bool queued;               /* open, and in its lane's list of those to be sent again */
	struct due_node rest;      /* open, and when it may be: retry.c */
	enum attempt_kind kind;    /* why it is sent */
	bool paid;                 /* it is sent again, and the budget has been asked */
	uint64_t retry_us;         /* sent, and it failed: how long until those who live are sent again; 0: no retry */
	bool unsent;               /* likewise, and none of it has reached the provider */
	uint32_t attempts;         /* to deliver it, once it has failed */
	uint64_t asked_us;         /* longest pause that an answer asked for; 0: none */
	bool limited;              /* an answer said: too many */
	bool any_refused;          /* calls of it were refused, or its only call's answer is an error */
	bool doubted;              /* those who live were answered in company only: each is sent again alone */
	struct bisection *bisection; /* it is a try of this bisection; NULL: of none */
	struct answer *refusal;      /* of the whole; those who live will be sent again. A reference; NULL: none */
	struct answer *said;         /* it was sent before, and this was the answer. A reference; NULL: it was not */
	struct answer *before; /* its calls were sent before, and this came of it. A reference; NULL: they were not */
	uint64_t id;           /* unique in this process; 0: not sent */
	uint8_t reason;        /* enum flush_reason: why it left; sent */
	uint64_t sent_us;
	uint64_t deadline_us;         /* the latest of its items' deadlines as it left */
	size_t under_way;             /* exchanges of the upstream as it left, itself included */
	uint64_t overdue_us;          /* when it is far past its time */
	bool overdue;                 /* it is */
	bool explores;                /* it is one call that has left to see what calls take alone */
	bool heard;                   /* a call in it has been answered while others were still out */
	struct learned_tool *learned; /* of the tool that all its calls as it left were of; NULL: of several */
	size_t bytes;                 /* of arguments */
	uint64_t tokens;              /* estimated; 0: nobody counts them */
	size_t room;                  /* items it can hold */
	size_t count;                 /* items put in */
	size_t answered;              /* of those, the provider has done with */
	uint64_t answers_us;          /* when, since it left, summed: so long it has held its slot, times count */
	uint64_t alone_number;        /* arrays_sent's, or arrays_sent_alone's */
	size_t live;                  /* of those, still waiting for an answer */
	struct batch_item *items[];   /* NULL: answered, expired or cancelled */
};
TAILQ_HEAD(batch_list, batch);

/* An open batch with room for so many. NULL when out of memory. */
struct batch *batch_new(struct batcher *batcher, struct lane *lane, size_t room) MUST_CHECK;
/* No item may be live. */
void batch_free(struct batch *batch);

/* Whether one more call may come in: the first always may. */
bool batch_fits(const struct batch *batch, const struct batch_policy *policy, const struct batch_item *item);
/* Put in a call that has left its lane; open only. */
void batch_put(struct batch *batch, struct batch_item *item);
/* It has left, and why: gives it its id. */
void batch_sent(struct batch *batch, struct exchange *exchange, enum flush_reason reason, uint64_t now_us);
/* This item is no longer in here. */
void batch_drop(struct batch *batch, struct batch_item *item);

/* The facts for an item that leaves the batch now. */
struct batch_facts batch_facts(const struct batch *batch, const struct batch_item *item, uint64_t now_us);

#endif
