/* SPDX-License-Identifier: Apache-2.0 */
/* sending.c: a batch leaves: filled from its lane, or sent again; its exchange, until that has ended. */
#include <assert.h>
#include <stdlib.h>

#include "batcher/batcher_private.h"

static const struct upstream_events events = { .answered = sending_answered,
					       .refused = refused_call,
					       .doubted = refused_doubted,
					       .completed = refused_completed,
					       .on_notification = sending_notification };

/* What it has given back of its slot. */
static uint64_t freed_by(const struct batch *batch)
{
	return batch->answered * (SLOT_PARTS / batch->count);
}

static void end_array(struct batcher *batcher, const struct batch *batch, uint64_t now_us)
{
	arrays_ended(&waiting_class(batcher, batch->lane)->arrays);
	batcher->arrays_under_way--;
	for (size_t i = 0; i < countof(batcher->classes); i++)
		arrays_made_way(&batcher->classes[i].arrays, batch->sent_us, batcher->arrays_under_way, now_us);
}

/* Returns what batch->alone_number is. */
static uint64_t begin_array(struct batcher *batcher, const struct batch *batch)
{
	batcher->arrays_under_way++;
	if (batch->overdue_us != CLOCK_NEVER && batch->overdue_us > batcher->arrays_until_us)
		batcher->arrays_until_us = batch->overdue_us;
	return arrays_sent(&waiting_class(batcher, batch->lane)->arrays);
}

void sending_ended(struct batcher *batcher, struct batch *batch)
{
	struct lane *lane = batch->lane;
	bool full = waiting_is_full(batcher);
	TAILQ_REMOVE(&batcher->sent, batch, next);
	batcher->in_flight--;
	if (waiting_has_others(batcher))
		common_give_slot(&batcher->common, batch->overdue, loop_now(batcher->loop));
	waiting_class(batcher, lane)->in_flight--;
	lane->in_flight--;
	if (batch->forgotten)
		batcher->forgotten--;
	if (batch->overdue)
		batcher->overdue--;
	else
		batcher->freed -= freed_by(batch);
	uint64_t now_us = loop_now(batcher->loop);
	if (batch->count > 1)
		end_array(batcher, batch, now_us);
	lane->completed = true;
	window_completed(&lane->company, batch->count, now_us);
	if (full)
		batcher->free_us = now_us;
	learned_load(waiting_class(batcher, lane), true);
	learned_show(batcher, lane, now_us);
	meter_move(batcher->meter, METRIC_ID_BATCH_IN_FLIGHT, batcher->label, lane->class, -1);
	waiting_mark_dirty(batcher, lane);
	ending_bisection(batcher, batch);
	batch_free(batch);
}

/* That this time nothing was sent must not hide that something was before. Takes the reference, gives one. */
static struct answer *whole_story(const struct batch *batch, struct answer *answer)
{
	bool unsent = answer->outcome == OUTCOME_UPSTREAM_UNAVAILABLE || answer->outcome == OUTCOME_OVERLOADED ||
		      answer->outcome == OUTCOME_DEADLINE_EXCEEDED;
	if (!batch->before || !unsent)
		return answer;
	answer_unref(answer);
	return answer_ref(batch->before);
}

/* Some of it is answered while others are still out: it works, as long as the next answer does not take far longer. */
static void hear_batch(struct batcher *batcher, struct batch *batch)
{
	batch->heard = true;
	if (batch->overdue || batch->count == 1)
		return;
	uint64_t took_us = window_elapsed_us(batch->sent_us, loop_now(batcher->loop));
	batch->overdue_us = clock_add(batch->sent_us, limiter_far_beyond_us((double)took_us));
	if (batch->overdue_us < batcher->overdue_look_us)
		batcher->overdue_look_us = batch->overdue_us;
}

/* The provider has done with one of its calls. */
static void free_part(struct batcher *batcher, struct batch *batch)
{
	bool full = waiting_is_full(batcher);
	batch->answered++;
	batch->answers_us += window_elapsed_us(batch->sent_us, loop_now(batcher->loop));
	if (batch->overdue)
		return;
	batcher->freed += SLOT_PARTS / batch->count;
	if (full && !waiting_is_full(batcher))
		batcher->free_us = loop_now(batcher->loop);
}

void sending_answered(void *context, size_t index, struct answer *answer)
{
	struct batch *batch = context;
	struct batcher *batcher = batch->batcher;
	assert(index < batch->count);
	struct batch_item *item = batch->items[index];
	free_part(batcher, batch);
	if (answer->outcome == OUTCOME_OK)
		hear_batch(batcher, batch);
	if (answer->outcome == OUTCOME_UPSTREAM_UNAVAILABLE && retry_keeps(batcher, batch, index, answer))
		return;
	if (answer->outcome != OUTCOME_OK)
		refused_note(batcher, batch, answer);
	/* many a dialect takes what is said to one call alone for that call's own error */
	batch->any_refused |= batch->count == 1 && answer->outcome != OUTCOME_OK;
	if (!item) {
		answer_unref(answer); /* expired or cancelled on the way */
		return;
	}
	struct batch_facts facts = batch_facts(batch, item, loop_now(batcher->loop));
	if (answer->outcome == OUTCOME_OK)
		learned_answer(batcher, batch, item, loop_now(batcher->loop));
	ending_unwatch(batcher, item);
	answer = whole_story(batch, answer);
	ending_drop(batcher, batch, item);
	item->answered(item, answer, &facts);
}

void sending_notification(void *context, size_t index, enum mcp_notification_kind note, struct slice params)
{
	const struct batch *batch = context;
	assert(index < batch->count);
	struct batch_item *item = batch->items[index]; /* NULL: expired or cancelled on the way */
	if (item && item->on_notification)
		item->on_notification(item, note, params);
}

void sending_abort(struct batcher *batcher)
{
	struct batch *batch = TAILQ_FIRST(&batcher->sent);
	while (batch && batcher->forgotten > 0) {
		struct batch *after = TAILQ_NEXT(batch, next);
		if (batch->forgotten) {
			upstream_abort(batch->exchange);
			learned_given_up(batcher, batch, loop_now(batcher->loop));
			sending_ended(batcher, batch);
		}
		batch = after;
	}
}

/* Room in the scratch for so many calls. False: out of memory. */
static bool reserve_calls(struct batcher *batcher, size_t count)
{
	if (count <= batcher->calls_room)
		return true;
	struct upstream_call *calls = reallocarray(batcher->calls, count, sizeof *calls);
	if (!calls)
		return false;
	batcher->calls = calls;
	batcher->calls_room = count;
	return true;
}

/* Next one out of the lane; still in the heap of deadlines. */
static void take_item(struct batcher *batcher, struct batch_item *item, uint64_t now_us)
{
	struct lane *lane = item->lane;
	meter_add(batcher->meter, METRIC_ID_BAND_SENT, batcher->label, band_of(item->urgency), 1);
	lane_take(lane, item, now_us);
	waiting_count(batcher, lane, item, -1);
}

static void fill_batch(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	struct lane_class *class = waiting_class(batcher, batch->lane);
	struct batch_policy policy = learned_policy(batcher, class);
	struct batch_item *item;
	batch->lane->newest_first = admission_stands(&batcher->admission, now_us);
	while ((item = lane_next(batch->lane)) && batch_fits(batch, &policy, item)) {
		if (waiting_is_late(batcher, batch->lane, item, now_us)) {
			ending_shed(batcher, item, SHED_LATE, 0, now_us);
			continue;
		}
		take_item(batcher, item, now_us);
		batcher->calls[batch->count] = item->call;
		batcher->calls[batch->count].caller = item->caller;
		batch_put(batch, item);
		class->outstanding++;
	}
}

/* No memory for the batch: those who would have travelled are told. */
static void shed_calls(struct batcher *batcher, struct lane *lane, size_t count, uint64_t now_us)
{
	while (count-- > 0) {
		struct batch_item *item = lane_next(lane);
		take_item(batcher, item, now_us);
		ending_unwatch(batcher, item);
		meter_add(batcher->meter, METRIC_ID_REJECTED, REJECT_NO_MEMORY, 0, 1);
		ending_settle(batcher, item,
			      answer_error(OUTCOME_OVERLOADED, "The gateway is out of memory; try again later."),
			      ending_facts(item, now_us));
	}
}

/* The upstream took none of it; its answer speaks for all. Takes the reference. */
static void settle_refused(struct batcher *batcher, struct batch *batch, struct answer *refusal, uint64_t now_us)
{
	refusal = whole_story(batch, refusal);
	for (size_t i = 0; i < batch->count; i++) {
		struct batch_item *item = batch->items[i];
		struct batch_facts facts = ending_facts(item, now_us);
		ending_unwatch(batcher, item);
		ending_drop(batcher, batch, item);
		ending_settle(batcher, item, answer_ref(refusal), facts);
	}
	answer_unref(refusal);
	ending_bisection(batcher, batch);
	batch_free(batch);
}

static void count_sent(struct batcher *batcher, const struct batch *batch, enum flush_reason reason)
{
	struct meter *meter = batcher->meter;
	meter_observe(meter, METRIC_ID_BATCH_ITEMS, batcher->label, batch->count);
	meter_observe(meter, METRIC_ID_BATCH_BYTES, batcher->label, batch->bytes);
	for (size_t i = 0; i < batch->count; i++)
		meter_observe(meter, METRIC_ID_BATCH_WAIT, batcher->label,
			      window_elapsed_us(batch->items[i]->added_us, batch->sent_us));
	meter_add(meter, METRIC_ID_BATCH_FLUSHES, batcher->label, reason, 1);
	meter_add(meter, METRIC_ID_BATCH_SAVED, batcher->label, 0, batch->count - 1);
	meter_move(meter, METRIC_ID_BATCH_IN_FLIGHT, batcher->label, batch->lane->class, 1);
}

/* How many calls it may take: no more than its share, so that something is left for the other slots. */
static size_t batch_limit(struct batcher *batcher, const struct lane *lane, enum flush_reason reason, uint64_t now_us)
{
	const struct lane_class *class = waiting_class(batcher, lane);
	size_t most = learned_policy(batcher, class).max_items;
	size_t share = learned_plan(batcher, class, now_us).share;
	if (reason == FLUSH_SINGLE)
		return 1;
	most = share > 0 && share < most ? share : most;
	most = lane->items < most ? lane->items : most;
	return costs_want_other(&class->costs, most) ? most / 2 : most;
}

static struct learned_tool *only_tool(const struct batch *batch)
{
	struct learned_tool *tool = batch->items[0]->learned;
	for (size_t i = 1; i < batch->count; i++)
		if (batch->items[i]->learned != tool)
			return NULL;
	return tool;
}

/* It counts against what the provider allows; its request has been taken already. */
static void count_rate(struct batcher *batcher, const struct batch *batch, uint64_t now_us)
{
	allowed_spend_tokens(batcher->allowed, batch->tokens, now_us);
	learned_rate_visit(&batcher->rates->learned_rate, now_us);
}

/* It has left: how many are under way now. */
static size_t count_out(struct batcher *batcher, uint64_t now_us)
{
	if (waiting_has_others(batcher))
		return common_sent(&batcher->common, now_us);
	size_t under_way = waiting_under_way(batcher);
	limiter_sent(&batcher->limiter, under_way - 1, batcher->overdue, now_us);
	return under_way;
}

/* How long until it holds no slot any more. */
static void watch_age(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	const struct costs *costs = learned_costs(waiting_class(batcher, batch->lane), batch);
	uint64_t patience_us = limiter_patience_us(costs, batch->count);
	batch->overdue_us = clock_add(now_us, patience_us);
	if (batch->overdue_us < batcher->overdue_look_us)
		batcher->overdue_look_us = batch->overdue_us;
}

/* Those in it are company for others when they are back; what waiting for company has cost this one is paid. */
static void note_company(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	struct lane *lane = batch->lane;
	struct lane_class *class = waiting_class(batcher, lane);
	uint64_t expected_us = (uint64_t)costs_expected_us(learned_costs(class, batch), batch->count);
	if (lane->held_us)
		window_pay(&class->purse, batch->count, lane->held_us, now_us);
	lane->held_us = 0;
	window_sent(&lane->company, &class->purse, batch->count, expected_us, class->load, now_us);
}

static void count_overdue(struct batcher *batcher, const struct batch *batch, uint64_t now_us)
{
	if (waiting_has_others(batcher))
		common_note_overdue(&batcher->common, batch->heard, now_us);
	else if (!batch->heard)
		limiter_overdue(&batcher->limiter);
}

/* Notes which exchanges are far past their time by now, if that can make room. True: some are, that were not. */
static bool note_overdue(struct batcher *batcher, uint64_t now_us)
{
	struct batch *batch;
	size_t before = batcher->overdue;
	if (now_us < batcher->overdue_look_us || !(waiting_held_back(batcher) || waiting_learns_with_others(batcher)))
		return false;
	batcher->overdue_look_us = CLOCK_NEVER;
	TAILQ_FOREACH (batch, &batcher->sent, next) {
		if (batch->overdue)
			continue;
		if (batch->overdue_us <= now_us) {
			batch->overdue = true;
			batcher->overdue++;
			batcher->freed -= freed_by(batch);
			count_overdue(batcher, batch, now_us);
		} else if (batch->overdue_us < batcher->overdue_look_us) {
			batcher->overdue_look_us = batch->overdue_us;
		}
	}
	return batcher->overdue > before;
}

/* Out it goes, or its calls are told why not. */
static void send_filled(struct batcher *batcher, struct batch *batch, enum flush_reason reason, uint64_t now_us)
{
	struct answer *refusal = NULL;
	struct exchange *exchange = upstream_send(batcher->upstream, batcher->calls, batch->count, batch->deadline_us,
						  &events, batch, &refusal);
	if (!exchange) {
		settle_refused(batcher, batch, refusal, now_us);
		return;
	}
	batch->learned = only_tool(batch);
	batch_sent(batch, exchange, reason, now_us);
	if (!batch->said)
		retry_budget_deposit(upstream_retry_budget(batcher->upstream), batch->count);
	count_rate(batcher, batch, now_us);
	TAILQ_INSERT_TAIL(&batcher->sent, batch, next);
	batcher->in_flight++;
	waiting_class(batcher, batch->lane)->in_flight++;
	batch->lane->in_flight++;
	batch->under_way = count_out(batcher, now_us);
	watch_age(batcher, batch, now_us);
	struct arrays *arrays = &waiting_class(batcher, batch->lane)->arrays;
	batch->alone_number = batch->count > 1 ? begin_array(batcher, batch) : arrays_sent_alone(arrays);
	batch->explores = batch->count == 1 && arrays_explore(arrays, now_us);
	note_company(batcher, batch, now_us);
	count_sent(batcher, batch, reason);
}

static void send_batch(struct batcher *batcher, struct lane *lane, enum flush_reason reason, uint64_t now_us)
{
	size_t room = batch_limit(batcher, lane, reason, now_us);
	struct batch *batch = reserve_calls(batcher, room) ? batch_new(batcher, lane, room) : NULL;
	lane->completed = false;
	if (!batch) {
		shed_calls(batcher, lane, room, now_us);
		return;
	}
	fill_batch(batcher, batch, now_us);
	if (batch->count > 0)
		send_filled(batcher, batch, reason, now_us);
	else
		batch_free(batch); /* all were late */
}

/* Those who left on the way leave no gaps. */
static void close_up(struct batcher *batcher, struct batch *batch)
{
	size_t live = 0;
	batch->bytes = 0;
	batch->tokens = 0;
	for (size_t i = 0; i < batch->count; i++) {
		struct batch_item *item = batch->items[i];
		if (!item)
			continue;
		item->index = live;
		batch->items[live] = item;
		batch->bytes += item->call.arguments.len;
		batch->tokens += item->tokens;
		batcher->calls[live] = item->call;
		batcher->calls[live++].kind = (uint8_t)batch->kind;
	}
	batch->count = live;
}

/* As much has been sent again as may be: what the provider said stands. What it said of a try is for those in the try:
 * the others of the search are told what was said of all. */
static void refuse_repeat(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	refused_deliver(batcher, batch, batch->said, now_us);
	if (batch->bisection)
		refused_deliver_all(batcher, batch->bisection, batch->bisection->refusal, now_us);
	ending_bisection(batcher, batch);
	batch_free(batch);
}

/* What was refused is sent again, before all that waits. A batch that had to pause takes along what fits. */
static void send_again(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	bool shunned = learned_singles(batcher, waiting_class(batcher, lane), now_us);
	struct batch *batch = TAILQ_FIRST(&lane->again);
	if (shunned && batch->live > 1 && !batch->bisection) {
		refused_requeue(batcher, batch, 1, 1, NULL);
		batch = TAILQ_LAST(&lane->again, batch_queue);
	}
	ending_unqueue(batch);
	if (batch->said && !batch->paid && !retry_budget_take(upstream_retry_budget(batcher->upstream), batch->live)) {
		refuse_repeat(batcher, batch, now_us);
		return;
	}
	if (!reserve_calls(batcher, batch->room)) {
		struct answer *refusal =
			answer_error(OUTCOME_OVERLOADED, "The gateway is out of memory; try again later.");
		refused_deliver(batcher, batch, refusal, now_us);
		answer_unref(refusal);
		ending_bisection(batcher, batch);
		batch_free(batch);
		return;
	}
	close_up(batcher, batch);
	if (!batch->bisection && !batch->before && !shunned)
		fill_batch(batcher, batch, now_us);
	send_filled(batcher, batch, FLUSH_SPLIT, now_us);
}

/* Judged again now that there is room: the hurried one may have left since. Of a tool that has been paused since nothing
 * leaves, and that is no turn of its callers. */
static void serve_lane(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	if (waiting_tool_held_until_us(batcher, lane) > now_us) {
		waiting_pass(batcher, lane);
		waiting_evaluate(batcher, lane, now_us);
		return;
	}
	if (!TAILQ_EMPTY(&lane->again)) {
		waiting_take(batcher, lane, now_us);
		send_again(batcher, lane, now_us);
		waiting_evaluate(batcher, lane, now_us);
		return;
	}
	struct window_view view = learned_view(batcher, lane, now_us);
	struct batch_policy policy = learned_policy(batcher, waiting_class(batcher, lane));
	struct window_decision decision = window_evaluate(&policy, &view, now_us);
	bool held = lane->ready_us < now_us; /* it was due before, and waited for another lane's batch to complete */
	uint64_t rate_us = window_elapsed_us(lane->ready_us, batcher->allowed_us);
	waiting_take(batcher, lane, now_us);
	if (decision.leave) {
		if (rate_us > 0) {
			meter_observe(batcher->meter, METRIC_ID_BATCH_PACED, batcher->label, rate_us);
			decision.reason = decision.reason == FLUSH_SINGLE ? FLUSH_SINGLE : FLUSH_RATE;
		} else if (decision.reason == FLUSH_IDLE && held) {
			decision.reason = FLUSH_LANDED;
		}
		send_batch(batcher, lane, decision.reason, now_us);
	}
	waiting_evaluate(batcher, lane, now_us);
}

/* And one request of those that are allowed. */
static bool take_slot(struct batcher *batcher, uint64_t now_us)
{
	batcher->allowed_us = waiting_rate_us(batcher);
	return waiting_has_others(batcher) ? common_take_slot(&batcher->common, now_us)
					   : allowed_take(batcher->allowed, now_us);
}

static void return_slot(struct batcher *batcher, uint64_t now_us)
{
	if (waiting_has_others(batcher))
		common_return_slot(&batcher->common, now_us);
	else
		allowed_give_back(batcher->allowed);
}

/* What does not leave after all gives its slot back. */
static void serve_with_slot(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	size_t before = batcher->in_flight;
	serve_lane(batcher, lane, now_us);
	if (batcher->in_flight == before)
		return_slot(batcher, now_us);
}

/* Whether others have all the slots: asked for what is large, so that it spends nothing of a turn in which it cannot leave. */
static bool finds_no_slot(const struct batcher *batcher, uint64_t now_us)
{
	return waiting_has_others(batcher) && common_free_us(&batcher->common, now_us) > now_us;
}

/* About how much is written when the lane sends next: a call alone, or as many as share a request. */
static size_t bytes_to_write(struct batcher *batcher, const struct lane *lane, uint64_t now_us)
{
	const struct batch *again = TAILQ_FIRST(&lane->again);
	if (again)
		return again->bytes;
	const struct batch_item *item = lane->bytes < LOOP_LARGE_BYTES ? NULL : lane_next(lane);
	if (!item)
		return 0;
	const struct lane_class *class = waiting_class(batcher, lane);
	size_t first = item->call.arguments.len, most = learned_policy(batcher, class).max_bytes;
	if (window_single(&batcher->policy) || learned_plan(batcher, class, now_us).singles)
		return first;
	size_t shared = batch_limit(batcher, lane, FLUSH_ITEMS, now_us) * (lane->bytes / lane->items);
	shared = shared < most ? shared : most;
	return first > shared ? first : shared;
}

/* Whether what the lane sends next is written in this turn. It is a copy of what waits: of all that its callers sent. */
static bool may_write(struct batcher *batcher, const struct lane *lane, uint64_t now_us)
{
	size_t bytes = bytes_to_write(batcher, lane, now_us);
	return bytes < LOOP_LARGE_BYTES || finds_no_slot(batcher, now_us) ||
	       loop_afford(batcher->loop, LOOP_WRITES, bytes);
}

void sending_flush(struct batcher *batcher, uint64_t now_us)
{
	while (due_first_us(&batcher->looks) <= now_us)
		waiting_evaluate(batcher, container_of(batcher->looks.root, struct lane, look), now_us);
	struct lane *lane;
	do {
		while ((lane = waiting_next(batcher, now_us)) && may_write(batcher, lane, now_us) &&
		       take_slot(batcher, now_us))
			serve_with_slot(batcher, lane, now_us);
	} while (note_overdue(batcher, now_us));
	if (!lane)
		common_stop_waiting(&batcher->common);
	if (!waiting_held_back(batcher))
		return;
	batcher->held_us = now_us;
	if (waiting_has_others(batcher))
		common_note_held(&batcher->common, now_us);
}
