/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batcher_private.h: what the rooms of the front door share: batcher.c (in and out), waiting.c (which lane may send),
 * sending.c (a batch's way), refused.c (what comes back whole), retry.c (what is tried once more), ending.c (deadlines
 * and farewells), learned.c.
 */
#ifndef JITNEY_BATCHER_PRIVATE_H
#define JITNEY_BATCHER_PRIVATE_H

#include "batcher/batch.h"
#include "batcher/bisection.h"
#include "batcher/lane.h"
#include "batcher/admission.h"
#include "batcher/allowed_rates.h"
#include "batcher/arrays.h"
#include "batcher/common_limits.h"
#include "batcher/pauses.h"
#include "batcher/costs.h"
#include "batcher/limiter.h"
#include "batcher/run_queue.h"
#include "batcher/latency_class.h"
#include "base/hash_table.h"
#include "batcher/window.h"

/* What is known of a tool. Lives as long as the batcher. */
struct learned_tool {
	struct table_node node; /* by number */
	struct learned_tool *next;
	unsigned number; /* metrics index */
	struct tool_latency latency;
	struct costs costs;         /* of one call of it that travels alone */
	struct common_tool *common; /* who learns them if the upstream has several owners; NULL: nobody */
	bool went_alone;            /* one has, and was answered */
};

/* The lanes of one class of latency, over all groups; lanes come and go, what was learned stays. */
struct lane_class {
	struct costs costs;
	struct arrays arrays;
	struct window_costs exchange;
	struct window_costs answer; /* of one of its calls: less, if answers come one by one */
	struct window_purse purse;
	double load; /* highest `outstanding` of late */
	struct run_queue
		ready[BAND_COUNT]; /* lanes that may send, by the most urgent call in them; wait here at the cap of
					      * exchanges */
	size_t in_flight;          /* exchanges under way */
	size_t outstanding;        /* items waiting, and travelling in batches, that somebody waits for */
	uint64_t used_us;          /* when a call last came in; 0: never */
};

/* An exchange whose calls are answered one by one holds a slot less and less: by the part of them that is still out. */
enum {
	SLOT_PARTS = 1 << 20,
	ONLY_SLOT_REST =
		SLOT_PARTS / 8 /* where there is but one slot, so little of it keeps nobody out: one slow call would */
};

/* How often the provider lets itself be visited, by what it has refused: one for all batchers of it, one after the other as
 * configurations come and go. One thread's. */
struct provider_rates {
	size_t holders;
	struct learned_rate learned_rate; /* what its refusals have taught */
	double refused_cost_us;           /* what an exchange of one call cost when it refused last; 0: not known */
	uint8_t refused_class;            /* by the costs of that class */
};

struct batcher {
	struct batch_policy policy; /* max_items capped by what the dialect can carry */
	size_t max_calls;           /* which is that */
	unsigned label;
	struct loop *loop;
	struct meter *meter;
	struct upstream *upstream;
	uint64_t seed; /* of the tables' hashes */

	struct table groups; /* by key; an empty lane with nothing in flight is freed by the next tick, and its group
				with it */
	struct table tools;
	struct learned_tool *tool_list;
	struct lane_class classes[LATENCY_CLASS_COUNT];
	struct due_heap looks;    /* lanes that may not send yet, or have had news: when to evaluate them */
	struct due_heap expiries; /* items waiting and travelling, by deadline_us */
	struct batch_list sent;   /* batches under way */
	size_t in_flight;         /* of those */
	size_t forgotten;         /* of those, to be aborted */
	struct due_heap resting;  /* batches that failed, until they are sent again */
	const struct retry_settings *retries;
	uint64_t random;            /* for how long they rest */
	struct admission admission; /* whether one more may wait */
	struct batch_item_list
		lines[BAND_COUNT];    /* all that wait, by band, in the order in which they are to be refused
						   * if they wait too long */
	struct band_counts bands;     /* of those */
	size_t run_queue_lanes;       /* in the lines of all classes */
	struct band_turns owed_bands; /* whose lanes have had less than their share of exchanges */
	size_t waiting_items;         /* over all lanes */
	size_t waiting_bytes;
	struct batch_item_list settled; /* to be delivered */
	struct batch_item_list hurried; /* put off: who cannot wait as long is to be told */
	struct provider_rates *rates;   /* held */
	struct allowed_rates *allowed;  /* held; as configured */
	uint64_t allowed_us;            /* when the exchange that leaves now might have, by those */
	struct pauses *pauses; /* held; until when it wants to be left alone, with a tool by 503 of one call of it */
	struct common_member common; /* if the upstream has several owners */
	bool silent;                 /* another one of them tells gauges */
	bool line_told;              /* how long one waits in it */
	bool of_many;                /* there are others */
	struct limiter limiter; /* how many of `in_flight` at once; of several owners': what it saw of theirs last */
	enum limiter_state state_shown;
	enum limiter_reason reason_shown;
	size_t arrays_under_way;  /* of those, with several calls */
	uint64_t arrays_until_us; /* when the last of these is far past its time, as far as is known */
	size_t overdue;           /* of those, far past their time */
	uint64_t freed;           /* of those that are not: slots that answers have made free, in parts of SLOT_PARTS */
	uint64_t overdue_look_us; /* when one may become so; CLOCK_NEVER: none will */
	uint64_t held_us;         /* when it last kept calls waiting */
	uint64_t free_us;         /* since when the limiter lets one more out */
	struct upstream_call *calls; /* scratch for upstream_send */
	size_t calls_room;
};

/* --- learned.c: what is known of the provider --- */

/* Whether calls of this class leave alone for now: arrays do not pay, or are refused. */
bool learned_singles(const struct batcher *batcher, const struct lane_class *class, uint64_t now_us);
/* What window.h decides by: what is known of a class of latency, and how its lane stands now. */
struct window_plan learned_plan(const struct batcher *batcher, const struct lane_class *class, uint64_t now_us);
struct window_view learned_view(struct batcher *batcher, const struct lane *lane, uint64_t now_us);
/* The configured caps, or what 413 has made of them. */
struct batch_policy learned_policy(const struct batcher *batcher, const struct lane_class *class);
void learned_show(struct batcher *batcher, const struct lane *lane, uint64_t now_us);
/* What does not depend on a class: limiter, line, budget. */
void learned_show_flow(struct batcher *batcher);
void learned_load(struct lane_class *class, bool completed);
/* A call of it was answered by the provider, or has expired on the way. */
void learned_answer(struct batcher *batcher, const struct batch *batch, const struct batch_item *item, uint64_t now_us);
/* It completed well. */
void learned_completed(struct batcher *batcher, const struct batch *batch, uint64_t now_us);
/* The provider has said: too many. */
void learned_refused(struct batcher *batcher, const struct batch *batch, uint64_t now_us);
/* Nobody waits for it any longer, and it has not completed. */
void learned_given_up(struct batcher *batcher, const struct batch *batch, uint64_t now_us);
/* What this one should take. */
const struct costs *learned_costs(struct lane_class *class, const struct batch *batch);

/* --- waiting.c: lanes --- */

/* Its limits are those of several owners: common_limits.h. */
static inline bool waiting_has_others(const struct batcher *batcher)
{
	return batcher->common.limits != NULL;
}

/* Slots that answers have made free. A configured number is a promise: it counts each exchange for one until it has
 * completed; and so it is among several owners. */
static inline size_t waiting_freed(const struct batcher *batcher)
{
	bool whole = batcher->limiter.fixed || waiting_has_others(batcher);
	uint64_t rest = limiter_limit(&batcher->limiter) == 1 ? ONLY_SLOT_REST : 0;
	return whole ? 0 : (size_t)((batcher->freed + rest) / SLOT_PARTS);
}

/* Exchanges under way, as the limiter counts them, over all owners. */
static inline size_t waiting_under_way(const struct batcher *batcher)
{
	return waiting_has_others(batcher) ? common_under_way(&batcher->common)
					   : batcher->in_flight - waiting_freed(batcher);
}

/* Those of them that are far past their time. */
static inline size_t waiting_overdue(const struct batcher *batcher)
{
	return waiting_has_others(batcher) ? common_overdue(&batcher->common) : batcher->overdue;
}

/* As many are under way as the limiter lets out. */
static inline bool waiting_is_full(const struct batcher *batcher)
{
	return waiting_under_way(batcher) >= limiter_limit(&batcher->limiter) + waiting_overdue(batcher);
}

/* Whose line of ready lanes this lane stands in. */
static inline struct lane_class *waiting_class(struct batcher *batcher, const struct lane *lane)
{
	return &batcher->classes[lane->class];
}

/* Where the item belongs, by key and class of its tool (item->learned). NULL: out of memory. */
struct lane *waiting_lane(struct batcher *batcher, const struct batch_item *item);
/* NULL: out of memory. */
struct learned_tool *waiting_tool(struct batcher *batcher, unsigned number);
void waiting_free(struct batcher *batcher, struct lane *lane);
/* Out of the line, if it is in there, and no turn is spent: its caller's other lanes keep their place. */
void waiting_pass(struct batcher *batcher, struct lane *lane);
/* Its turn has come, or seems to have: out of the line. */
void waiting_take(struct batcher *batcher, struct lane *lane, uint64_t now_us);
/* Something about the lane has changed: the next tick evaluates it. A ready one is evaluated anyway before it sends;
 * but an empty one must not wait there, at the cap, for longer than its calls did. */
void waiting_mark_dirty(struct batcher *batcher, struct lane *lane);
/* Line the lane up to send, or note when to look again, or free it. It is not ready yet (asserted). */
void waiting_evaluate(struct batcher *batcher, struct lane *lane, uint64_t now_us);
void waiting_count(struct batcher *batcher, const struct lane *lane, struct batch_item *item, int by);
/* When the configured rate lets the next request out; 0: at once. */
uint64_t waiting_rate_us(const struct batcher *batcher);
/* Until when the provider wants nothing of this lane's tool, which has said so; 0: it may come. */
uint64_t waiting_tool_held_until_us(const struct batcher *batcher, const struct lane *lane);
/* The same, or of anything, or its refusals have taught so. */
uint64_t waiting_held_until_us(const struct batcher *batcher, const struct lane *lane);
/* When a call that came into this lane now could leave at the earliest; 0 at once. */
uint64_t waiting_earliest_us(const struct batcher *batcher, const struct lane *lane);
/* Whether one more call may come into this lane, which it would not leave before earliest_us (waiting_earliest_us). */
struct admission_decision waiting_admits(struct batcher *batcher, const struct lane *lane,
					 const struct batch_item *item, uint64_t earliest_us, uint64_t now_us);
/* Too little time is left for an exchange, and others find out whether that is still so. */
bool waiting_is_late(const struct batcher *batcher, const struct lane *lane, const struct batch_item *item,
		     uint64_t now_us);
/* When there will be a lane that may send: 0 now, CLOCK_NEVER only after news. */
uint64_t waiting_due_us(const struct batcher *batcher, uint64_t now_us);
/* Whether one more call of so many bytes would be beyond queue.items; beyond queue.bytes. */
bool waiting_is_full_of_items(const struct batcher *batcher);
bool waiting_is_full_of_bytes(const struct batcher *batcher, size_t bytes);
/* A place for it in the queue that several batchers have in common, which waiting_count gives back; or it is given back
 * here. False: others have been faster. */
bool waiting_reserve(struct batcher *batcher, size_t bytes) MUST_CHECK;
void waiting_unreserve(struct batcher *batcher, size_t bytes);
/* Whether the limit is learned by several batchers: then what is far past its time here lets others' calls out. */
bool waiting_learns_with_others(const struct batcher *batcher);
/* Whether calls wait that could leave if the limiter let them. */
bool waiting_held_back(const struct batcher *batcher);
/* The lane that sends next. NULL: none may. */
struct lane *waiting_next(const struct batcher *batcher, uint64_t now_us);

/* --- ending.c: how a call ends by our own hand --- */

/* Nobody waits for any of this exchange. Aborted by the next tick: we may be within its own callback. */
void ending_forget(struct batcher *batcher, struct batch *batch);
/* Out of its batch, in whatever way. */
void ending_drop(struct batcher *batcher, struct batch *batch, struct batch_item *item);
void ending_unqueue(struct batch *batch);
/* Its search is over, found or not: whoever is left in it travels together, if anybody is. */
void ending_bisection(struct batcher *batcher, struct batch *batch);
/* Out of its lane or batch, not by an answer. */
void ending_withdraw(struct batcher *batcher, struct batch_item *item);
/* This is how it ends; ending_deliver hands it to its owner. Takes the reference. The item is nowhere else any more. */
void ending_settle(struct batcher *batcher, struct batch_item *item, struct answer *answer, struct batch_facts facts);
void ending_deliver(struct batcher *batcher);
/*
 * The one rule for calls that are put off, by a pause, a rate or a rest: whoever's deadline comes before the earliest
 * request that could carry it is told at once, not when its time is up. These note them, ending_refuse_hurried tells them.
 */
/* It will not leave before. */
void ending_put_off(struct batcher *batcher, struct batch_item *item, uint64_t until_us);
/* Something may have put it off, or hurries it. */
void ending_review(struct batcher *batcher, struct batch_item *item);
/* The same for every item that waits or is to be sent again. */
void ending_review_all(struct batcher *batcher);
void ending_refuse_hurried(struct batcher *batcher, uint64_t now_us);
/* It is on its way out: no deadline is minded any more. */
void ending_unwatch(struct batcher *batcher, struct batch_item *item);
struct batch_facts ending_facts(const struct batch_item *item, uint64_t now_us);
/* The provider wants to be left alone for longer than a call can wait: not before `until_us`. */
struct answer *ending_rate_limited(const struct batcher *batcher, const struct lane *lane, uint64_t until_us,
				   uint64_t now_us);
void ending_expire(struct batcher *batcher, uint64_t now_us);
/* Too many for the provider: a call is refused, and told when to come again. Counted by reason. */
void ending_shed(struct batcher *batcher, struct batch_item *item, enum shed_reason reason, uint64_t retry_us,
		 uint64_t now_us);
void ending_count_shed(struct batcher *batcher, const struct batch_item *item, enum shed_reason reason);
/* If the line is full: less urgent calls that have more than their share of it go, as far as one more needs their room. */
void ending_make_room(struct batcher *batcher, const struct batch_item *item, uint64_t now_us);
/* Those who have waited for as long as one may. */
void ending_shed_waited(struct batcher *batcher, uint64_t now_us);
/* When the first of them will have; CLOCK_NEVER: nobody. */
uint64_t ending_waited_us(const struct batcher *batcher);

/* --- refused.c: refused as a whole --- */

/* It is to be sent again, before what waits in its lane. */
void refused_again(struct batcher *batcher, struct batch *batch);
/* How long the provider asks to be left alone; 0: it does not. */
uint64_t refused_pause_us(const struct answer *answer);
/* An answer that is not OK has come: whether it asks for a pause. */
void refused_note(const struct batcher *batcher, struct batch *batch, const struct answer *answer);
/* The exchange has done with this call, which stays in its batch until that has completed, to be sent again; `answer` is
 * what it is told if it cannot. Takes the reference. */
void refused_keep(struct batch *batch, struct batch_item *item, struct answer *answer);
void refused_call(void *context, size_t index, struct answer *answer);
void refused_doubted(void *context, size_t index, struct answer *answer);
/* No memory to send them again: they are told what the provider said. */
void refused_deliver(struct batcher *batcher, struct batch *batch, struct answer *refusal, uint64_t now_us);
/* The same to all that a bisection still holds. */
void refused_deliver_all(struct batcher *batcher, struct bisection *bisection, struct answer *refusal, uint64_t now_us);
/* Up to `most` of those who live move into a batch of their own, to be sent again: it is in no list yet. NULL: no
 * memory. */
struct batch *refused_part(struct batcher *batcher, struct batch *batch, size_t most, size_t room,
			   struct bisection *bisection);
/* Likewise, and it waits for its turn. */
void refused_requeue(struct batcher *batcher, struct batch *batch, size_t most, size_t room,
		     struct bisection *bisection);
void refused_completed(void *context, enum outcome outcome);

/* --- retry.c: what failed by no fault of its own is tried once more, after a pause --- */

/* A call's exchange has failed so. True: it stays in its batch until that has completed, and is sent again then; takes the
 * reference. False: it is to be told. */
bool retry_keeps(struct batcher *batcher, struct batch *batch, size_t index, struct answer *answer) MUST_CHECK;
/* The batch has completed, and some of it was kept: those rest, or are told if the budget is spent. */
void retry_completed(struct batcher *batcher, struct batch *batch, uint64_t now_us);
/* It rests, and nobody waits for it any more: it is gone. */
void retry_lose(struct batcher *batcher, struct batch *batch);
/* Those who have rested may leave. */
void retry_wake(struct batcher *batcher, uint64_t now_us);

/* --- sending.c: exchanges --- */

/* The exchange is over, by completion or by our hand. What gathered behind it may go. */
void sending_ended(struct batcher *batcher, struct batch *batch);
void sending_answered(void *context, size_t index, struct answer *answer);
void sending_notification(void *context, size_t index, enum mcp_notification_kind note, struct slice params);
void sending_abort(struct batcher *batcher);
void sending_flush(struct batcher *batcher, uint64_t now_us);

#endif
