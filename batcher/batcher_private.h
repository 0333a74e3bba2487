/*
 * batcher_private.h: what the rooms of the front door share: batcher.c (in and out), waiting.c (which lane may send),
 * sending.c (a batch's way), refused.c (what comes back whole), ending.c (deadlines and farewells), learned.c.
 */
#ifndef JITNEY_BATCHER_PRIVATE_H
#define JITNEY_BATCHER_PRIVATE_H

#include "batcher/batch.h"
#include "batcher/hunt.h"
#include "batcher/lane.h"
#include "batcher/model.h"
#include "batcher/table.h"
#include "batcher/window.h"

struct batcher {
	struct batch_policy policy; /* max_items capped by what the dialect can carry */
	unsigned label;
	struct loop *loop;
	struct meter *meter;
	struct upstream *upstream;
	uint64_t seed; /* of the tables' hashes */

	struct table lanes;        /* by key; an empty one with nothing in flight is freed by the next tick */
	struct due_heap looks;     /* lanes that may not send yet, or have had news: when to judge them */
	TAILQ_HEAD(, lane) ready;  /* lanes that may send; served round-robin; waits here at the cap of exchanges */
	struct due_heap expiries;  /* items waiting and travelling, by deadline_us */
	struct batch_list flights; /* batches under way */
	size_t in_flight;          /* of those */
	size_t forgotten;          /* of those, to be aborted */
	size_t waiting_items;      /* over all lanes */
	size_t waiting_bytes;
	struct batch_item_list settled; /* to be told */
	struct window_costs costs;      /* over all lanes, since lanes come and go */
	struct model model;             /* likewise */
	size_t travelling;              /* items in batches that somebody waits for */
	uint64_t freed_us;              /* when an exchange last ended */
	struct upstream_call *calls;    /* scratch for upstream_send */
	size_t calls_room;
};

/* --- learned.c: what is known of the provider --- */

struct window_plan learned_plan(const struct batcher *batcher, uint64_t now_us);
struct window_view learned_view(const struct batcher *batcher, const struct lane *lane, uint64_t now_us);
/* The configured caps, or what 413 has made of them. */
struct batch_policy learned_policy(const struct batcher *batcher);
void learned_show(struct batcher *batcher, uint64_t now_us);
void learned_load(struct batcher *batcher, bool landed);

/* --- waiting.c: lanes --- */

struct lane *waiting_lane(struct batcher *batcher, struct slice key);
void waiting_free(struct batcher *batcher, struct lane *lane);
void waiting_hold(struct batcher *batcher, struct lane *lane);
/* Something about the lane has changed: the next tick judges it. A ready one is judged anyway before it sends; but an
 * empty one must not wait there, at the cap, for longer than its calls did. */
void waiting_news(struct batcher *batcher, struct lane *lane);
/* Line the lane up to send, or note when to look again, or free it. It must not be ready. */
void waiting_judge(struct batcher *batcher, struct lane *lane, uint64_t now_us);
void waiting_count(struct batcher *batcher, const struct batch_item *item, int by);

/* --- ending.c: how a call ends by our own hand --- */

/* Nobody waits for any of this exchange. Aborted by the next tick: we may be within its own callback. */
void ending_forget(struct batcher *batcher, struct batch *batch);
/* Out of its batch, in whatever way. */
void ending_drop(struct batcher *batcher, struct batch *batch, struct batch_item *item);
void ending_unqueue(struct batch *batch);
/* Its search is over, found or not: whoever is left in it travels together, if anybody is. */
void ending_hunt(struct batcher *batcher, struct batch *batch);
/* Out of its lane or batch, not by an answer. */
void ending_withdraw(struct batcher *batcher, struct batch_item *item);
/* This is how it ends; ending_tell tells its owner. Takes the reference. The item is nowhere else any more. */
void ending_settle(struct batcher *batcher, struct batch_item *item, struct answer *answer, struct batch_facts facts);
void ending_tell(struct batcher *batcher);
struct batch_facts ending_facts(const struct batch_item *item, uint64_t now_us);
/* The provider wants to be left alone for longer than a call can wait. */
struct answer *ending_paused(const struct lane *lane, uint64_t now_us);
void ending_expire(struct batcher *batcher, uint64_t now_us);

/* --- refused.c: refused as a whole --- */

void refused_again(struct batcher *batcher, struct batch *batch);
void refused_call(void *context, size_t index, struct answer *answer);
/* No memory to send them again: they are told what the provider said. */
void refused_tell(struct batcher *batcher, struct batch *batch, struct answer *refusal, uint64_t now_us);
/* Up to `most` of those who live move into a batch of their own, to be sent again. */
void refused_requeue(struct batcher *batcher, struct batch *batch, size_t most, size_t room, struct hunt *hunt);
void refused_landed(void *context, enum outcome outcome);

/* --- sending.c: exchanges --- */

/* The exchange is over, by landing or by our hand. What gathered behind it may go. */
void sending_ended(struct batcher *batcher, struct batch *batch);
void sending_answered(void *context, size_t index, struct answer *answer);
void sending_abort(struct batcher *batcher);
void sending_flush(struct batcher *batcher, uint64_t now_us);

#endif
