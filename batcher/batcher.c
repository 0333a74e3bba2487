/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batcher.c: the front door. A call's way through:
 *
 *     batcher_add -> waiting in a lane -> travelling in a batch -> answered by the upstream's callback
 *                          |                    |
 *                          +---- settled <------+   (expired, refused, no memory, shutting down)
 *
 * Whatever the batcher itself decides is put down first (ending_settle) and delivered last (ending_deliver), when all lanes,
 * batches and heaps are in order again: so a callback may add and cancel as it likes.
 */
#include "batcher/batcher.h"

#include <assert.h>
#include <stdlib.h>

#include "base/random.h"
#include "batcher/batcher_private.h"

/* Calls sent again in the search for one failing call: twice as many as the batch has, and once those that are
 * cleared. */
enum { BISECTIONS = 4 };

static void adjust_rates(struct batcher *batcher)
{
	allowed_adjust(batcher->allowed, &batcher->policy.requests, &batcher->policy.tokens);
}

static void drop_rates(struct provider_rates *rates)
{
	assert(rates->holders > 0);
	if (--rates->holders == 0)
		free(rates);
}

static void free_empty(struct batcher *batcher)
{
	pauses_unref(batcher->pauses);
	allowed_unref(batcher->allowed);
	free(batcher);
}

/* Empty, but for what has to be got. NULL: out of memory. */
static struct batcher *make_empty(void)
{
	struct batcher *batcher = calloc(1, sizeof *batcher);
	if (!batcher)
		return NULL;
	batcher->rates = calloc(1, sizeof *batcher->rates);
	batcher->pauses = pauses_new();
	batcher->allowed = allowed_new();
	if (!batcher->rates || !batcher->pauses || !batcher->allowed) {
		free(batcher->rates);
		free_empty(batcher);
		return NULL;
	}
	batcher->rates->holders = 1;
	return batcher;
}

static void set_policy(struct batcher *batcher, const struct batch_policy *policy)
{
	batcher->policy = *policy;
	if (batcher->policy.max_items > batcher->max_calls)
		batcher->policy.max_items = batcher->max_calls;
	/* a configured rate makes a line on purpose: only deadlines bound that */
	batcher->admission.wait_us = policy->requests.amount ? 0 : policy->queue_wait_us;
}

static size_t limiter_start(const struct batcher *batcher)
{
	return window_single(&batcher->policy) ? LIMITER_START_SINGLE : LIMITER_START_BATCH;
}

static void begin_limiter(struct batcher *batcher)
{
	limiter_init(&batcher->limiter, batcher->policy.concurrency, limiter_start(batcher));
}

/* The others have said the same, or will. */
static void begin_with_others(struct batcher *batcher)
{
	common_set_slots(&batcher->common, batcher->policy.concurrency, limiter_start(batcher));
	common_look(&batcher->common, &batcher->limiter);
}

static void reserve_repeats(struct batcher *batcher)
{
	if (!batcher->of_many) /* then calls travel alone, and none has to be found among others */
		retry_budget_reserve(upstream_retry_budget(batcher->upstream), BISECTIONS * batcher->policy.max_items);
}

void batcher_adjust(struct batcher *batcher, const struct batch_policy *policy)
{
	size_t concurrency = batcher->policy.concurrency;
	set_policy(batcher, policy);
	if (waiting_has_others(batcher))
		begin_with_others(batcher);
	else if (policy->concurrency != concurrency)
		begin_limiter(batcher);
	adjust_rates(batcher);
	upstream_adjust(batcher->upstream);
	reserve_repeats(batcher);
	learned_show_flow(batcher);
}

struct batcher *batcher_new(const struct batch_policy *policy, const struct upstream_settings *settings,
			    struct transport *transport, struct loop *loop, struct meter *meter)
{
	assert(policy->max_items >= 1 && settings->dialect->max_calls >= 1);
	struct batcher *batcher = make_empty();
	if (!batcher)
		return NULL;
	batcher->upstream = upstream_new(settings, transport, loop, meter);
	if (!batcher->upstream) {
		drop_rates(batcher->rates);
		free_empty(batcher);
		return NULL;
	}
	batcher->max_calls = settings->dialect->max_calls;
	set_policy(batcher, policy);
	for (size_t i = 0; i < LATENCY_CLASS_COUNT; i++) {
		arrays_init(&batcher->classes[i].arrays);
	}
	begin_limiter(batcher);
	batcher->overdue_look_us = CLOCK_NEVER;
	batcher->retries = &settings->retries;
	batcher->label = settings->label;
	batcher->silent = settings->part > 0;
	batcher->of_many = settings->parts > 1;
	batcher->loop = loop;
	batcher->meter = meter;
	batcher->seed = random_fresh(batcher);
	for (size_t i = 0; i < LATENCY_CLASS_COUNT; i++)
		for (size_t band = 0; band < BAND_COUNT; band++)
			run_queue_init(&batcher->classes[i].ready[band], batcher->seed);
	/* gateways do not start in the same microsecond; a simulation does, and must be the same each time */
	reserve_repeats(batcher);
	batcher->random = clock_now_us() ^ (uint64_t)settings->label << 32;
	adjust_rates(batcher);
	table_init(&batcher->groups);
	table_init(&batcher->tools);
	TAILQ_INIT(&batcher->sent);
	TAILQ_INIT(&batcher->settled);
	TAILQ_INIT(&batcher->hurried);
	for (size_t band = 0; band < BAND_COUNT; band++)
		TAILQ_INIT(&batcher->lines[band]);
	learned_show_flow(batcher);
	return batcher;
}

static enum outcome refuse_item(struct batcher *batcher, const struct batch_item *item, enum reject_reason reason,
				const char *text, const char **why)
{
	meter_add(batcher->meter, METRIC_ID_REJECTED, reason, 0, 1);
	if (reason == REJECT_QUEUE_ITEMS || reason == REJECT_QUEUE_BYTES)
		ending_count_shed(batcher, item, reason == REJECT_QUEUE_ITEMS ? SHED_QUEUE_ITEMS : SHED_QUEUE_BYTES);
	*why = text;
	return OUTCOME_OVERLOADED;
}

static void reset_item(struct batch_item *item)
{
	item->lane = NULL;
	item->entry = NULL;
	item->batch = NULL;
	item->answer = NULL;
	item->attempts = 0;
	item->call.kind = ATTEMPT_FIRST;
	item->expiry = (struct due_node){ .listed = false };
	item->urgent = (struct due_node){ .listed = false };
	item->put_off_us = 0;
}

static uint64_t estimate_tokens(const struct batch_item *item)
{
	const struct dialect_route *route = item->call.route;
	return route->dialect->tokens(route, item->call.arguments);
}

static enum outcome refuse_full(struct batcher *batcher, struct batch_item *item, bool of_items, const char **why)
{
	if (of_items)
		return refuse_item(batcher, item, REJECT_QUEUE_ITEMS,
				   "too many calls wait for this provider (queue.items)", why);
	return refuse_item(batcher, item, REJECT_QUEUE_BYTES, "too many bytes wait for this provider (queue.bytes)",
			   why);
}

/* Whether it does not even wait: it would be put off for longer than it can be, or is shed. */
static bool settle_at_once(struct batcher *batcher, struct lane *lane, struct batch_item *item, uint64_t earliest_us,
			   uint64_t now_us)
{
	if (earliest_us > now_us && item->deadline_us <= earliest_us) {
		item->added_us = now_us;
		ending_settle(batcher, item, ending_rate_limited(batcher, lane, earliest_us, now_us),
			      ending_facts(item, now_us));
		return true;
	}
	struct admission_decision decision = waiting_admits(batcher, lane, item, earliest_us, now_us);
	if (decision.admitted)
		return false;
	item->added_us = now_us;
	ending_shed(batcher, item, decision.reason, decision.retry_us, now_us);
	return true;
}

enum outcome batcher_add(struct batcher *batcher, struct batch_item *item, uint64_t now_us, const char **why)
{
	assert_owner(loop_owner(batcher->loop));
	size_t bytes = item->call.arguments.len;
	reset_item(item);
	item->learned = waiting_tool(batcher, item->tool);
	bool counted = batcher->policy.tokens.amount || batcher->policy.max_tokens;
	item->tokens = counted ? estimate_tokens(item) : 0;
	ending_make_room(batcher, item, now_us);
	bool of_items = waiting_is_full_of_items(batcher);
	if (of_items || waiting_is_full_of_bytes(batcher, bytes))
		return refuse_full(batcher, item, of_items, why);
	struct lane *lane = waiting_lane(batcher, item);
	uint64_t earliest_us = lane ? waiting_earliest_us(batcher, lane) : 0;
	if (lane && settle_at_once(batcher, lane, item, earliest_us, now_us)) {
		waiting_mark_dirty(batcher, lane);
		return OUTCOME_OK;
	}
	bool room = waiting_reserve(batcher, bytes), added = room && lane && lane_add(lane, item, now_us);
	if (lane)
		waiting_mark_dirty(batcher, lane); /* a new one that stays empty is freed by the tick */
	if (!room)                                 /* another member was faster */
		return refuse_full(batcher, item, waiting_is_full_of_items(batcher), why);
	if (!added) {
		waiting_unreserve(batcher, bytes);
		return refuse_item(batcher, item, REJECT_NO_MEMORY, "the gateway is out of memory", why);
	}
	due_set(&batcher->expiries, &item->expiry, item->deadline_us);
	waiting_count(batcher, lane, item, 1);
	ending_put_off(batcher, item, earliest_us);
	waiting_class(batcher, lane)->used_us = now_us;
	learned_load(waiting_class(batcher, lane), false);
	return OUTCOME_OK;
}

void batcher_cancel(struct batcher *batcher, struct batch_item *item, uint64_t now_us)
{
	assert_owner(loop_owner(batcher->loop));
	(void)now_us; /* what it leaves behind is the next tick's */
	assert(item->lane || item->batch || item->answer);
	if (!item->answer) {
		ending_withdraw(batcher, item);
		return;
	}
	TAILQ_REMOVE(&batcher->settled, item, next);
	answer_unref(item->answer);
	item->answer = NULL;
}

void batcher_set_deadlines(struct batcher *batcher, struct batch_item *item, uint64_t deadline_us, uint64_t urgent_us)
{
	assert_owner(loop_owner(batcher->loop));
	item->deadline_us = deadline_us;
	item->urgent_us = urgent_us;
	if (item->lane || item->batch)
		due_set(&batcher->expiries, &item->expiry, deadline_us);
	ending_review(batcher, item);
	if (!item->lane)
		return;
	lane_set_urgent(item->lane, item, urgent_us);
	waiting_mark_dirty(batcher, item->lane);
}

/* Others have learned another limit. */
static bool has_news(const struct batcher *batcher)
{
	return waiting_has_others(batcher) && common_has_changed(&batcher->common);
}

static void hear_news(struct batcher *batcher)
{
	common_look(&batcher->common, &batcher->limiter);
	learned_show_flow(batcher);
}

void batcher_tick(struct batcher *batcher, uint64_t now_us)
{
	assert_owner(loop_owner(batcher->loop));
	if (has_news(batcher))
		hear_news(batcher);
	ending_refuse_hurried(batcher, now_us);
	ending_expire(batcher, now_us);
	ending_shed_waited(batcher, now_us);
	sending_abort(batcher);
	retry_wake(batcher, now_us);
	sending_flush(batcher, now_us);
	ending_deliver(batcher);
}

/* Nobody waits and nothing travels (every item is in `expiries`), and there is no lane to be evaluated. */
static bool is_quiet(const struct batcher *batcher)
{
	return !batcher->expiries.root && !batcher->looks.root && !batcher->resting.root &&
	       TAILQ_EMPTY(&batcher->settled) && batcher->forgotten == 0 && batcher->run_queue_lanes == 0 &&
	       (batcher->silent || !has_news(batcher));
}

static APART uint64_t next_deadline(const struct batcher *batcher)
{
	if (batcher->forgotten > 0 || !TAILQ_EMPTY(&batcher->settled) || !TAILQ_EMPTY(&batcher->hurried) ||
	    has_news(batcher))
		return 0;
	uint64_t ready_us = waiting_due_us(batcher, loop_now(batcher->loop));
	if (batcher->common.waits && !waiting_next(batcher, loop_now(batcher->loop)))
		return 0; /* it stands in others' way */
	uint64_t look_us = due_first_us(&batcher->looks);
	uint64_t expiry_us = due_first_us(&batcher->expiries);
	uint64_t waited_us = ending_waited_us(batcher);
	uint64_t rested_us = due_first_us(&batcher->resting);
	look_us = ready_us < look_us ? ready_us : look_us;
	look_us = waited_us < look_us ? waited_us : look_us;
	look_us = rested_us < look_us ? rested_us : look_us;
	if (waiting_learns_with_others(batcher) && batcher->overdue_look_us < look_us)
		look_us = batcher->overdue_look_us;
	return look_us < expiry_us ? look_us : expiry_us;
}

/* Asked of every upstream three times a turn. */
uint64_t batcher_deadline(const struct batcher *batcher)
{
	if (!is_quiet(batcher))
		return next_deadline(batcher);
	assert(!batcher->common.waits); /* a lane waits with it, or is to be looked at */
	return CLOCK_NEVER;
}

void batcher_abort_all(struct batcher *batcher, struct answer *answer, uint64_t now_us)
{
	assert_owner(loop_owner(batcher->loop));
	if (waiting_has_others(batcher)) /* what becomes free here is not for the others, who are to end as well */
		common_close(&batcher->common);
	struct due_node *node;
	while ((node = batcher->expiries.root)) { /* every item that waits or travels is in there */
		struct batch_item *item = container_of(node, struct batch_item, expiry);
		struct batch_facts facts = ending_facts(item, now_us);
		ending_withdraw(batcher, item);
		ending_settle(batcher, item, answer_ref(answer), facts);
	}
	/* all answered, yet not completed: nobody waits for those either */
	struct batch *batch;
	TAILQ_FOREACH (batch, &batcher->sent, next) {
		if (!batch->forgotten)
			ending_forget(batcher, batch);
	}
	sending_abort(batcher);
	ending_deliver(batcher);
}

bool batcher_is_quiet(const struct batcher *batcher)
{
	return batcher->waiting_items == 0 && batcher->in_flight == 0;
}

void batcher_free(struct batcher *batcher)
{
	if (!batcher)
		return;
	assert(batcher_is_quiet(batcher));
	while (batcher->looks.root) /* empty lanes that no tick has freed yet */
		waiting_free(batcher, container_of(batcher->looks.root, struct lane, look));
	assert(batcher->groups.count == 0);
	for (size_t i = 0; i < LATENCY_CLASS_COUNT; i++)
		for (size_t band = 0; band < BAND_COUNT; band++)
			run_queue_fini(&batcher->classes[i].ready[band]);
	table_fini(&batcher->groups);
	table_fini(&batcher->tools);
	for (struct learned_tool *tool = batcher->tool_list, *next; tool; tool = next) {
		next = tool->next;
		free(tool);
	}
	common_leave(&batcher->common);
	upstream_free(batcher->upstream);
	drop_rates(batcher->rates);
	free(batcher->calls);
	free_empty(batcher);
}

void batcher_join(struct batcher *batcher, struct common_limits *limits)
{
	assert_owner(loop_owner(batcher->loop));
	assert(batcher_is_quiet(batcher) && !batcher->tool_list);
	common_join(&batcher->common, limits, batcher->loop, !batcher->silent);
	batcher_share_rates(batcher, common_agree_rates(&batcher->common, batcher->allowed));
	begin_with_others(batcher);
}

void batcher_follow(struct batcher *batcher, struct batcher *before)
{
	assert_owner(loop_owner(batcher->loop));
	assert(batcher->loop == before->loop && batcher_is_quiet(batcher));
	drop_rates(batcher->rates);
	batcher->rates = before->rates;
	batcher->rates->holders++;
	if (!waiting_has_others(batcher)) /* those have agreed with each other */
		batcher_share_rates(batcher, before->allowed);
}

void batcher_share_rates(struct batcher *batcher, struct allowed_rates *allowed)
{
	assert_owner(loop_owner(batcher->loop));
	allowed_ref(allowed);
	allowed_unref(batcher->allowed);
	batcher->allowed = allowed;
	adjust_rates(batcher); /* by what is configured now; what has been spent stays spent */
}

void batcher_share_pauses(struct batcher *batcher, struct pauses *pauses)
{
	assert_owner(loop_owner(batcher->loop));
	pauses_unref(batcher->pauses);
	batcher->pauses = pauses_ref(pauses);
}

void batcher_watch(struct batcher *batcher, const struct upstream_watcher *watcher)
{
	assert_owner(loop_owner(batcher->loop));
	upstream_watch(batcher->upstream, watcher);
}

void batcher_leave(struct batcher *batcher, uint64_t timeout_us)
{
	assert_owner(loop_owner(batcher->loop));
	upstream_leave(batcher->upstream, timeout_us);
}

bool batcher_leaving(const struct batcher *batcher)
{
	return upstream_leaving(batcher->upstream);
}
