/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ending.c: how a call ends by the batcher's own hand: it leaves its lane or batch, is put down with its answer, and is
 * told when all lanes, batches and heaps are in order again. Deadlines are of this kind.
 */
#include "batcher/batcher.h"
#include "batcher/batcher_private.h"

void ending_forget(struct batcher *batcher, struct batch *batch)
{
	batch->forgotten = true;
	batcher->forgotten++;
}

void ending_drop(struct batcher *batcher, struct batch *batch, struct batch_item *item)
{
	batch_drop(batch, item);
	waiting_class(batcher, batch->lane)->outstanding--;
}

void ending_unqueue(struct batch *batch)
{
	TAILQ_REMOVE(&batch->lane->again, batch, next);
	batch->queued = false;
}

void ending_bisection(struct batcher *batcher, struct batch *batch)
{
	struct batch *left = batch->bisection ? bisection_end(batch->bisection) : NULL;
	batch->bisection = NULL;
	if (left)
		refused_again(batcher, left);
}

/* Nobody waits any more for what was to be sent again. */
static void lose_queued(struct batcher *batcher, struct batch *batch)
{
	struct lane *lane = batch->lane;
	ending_unqueue(batch);
	ending_bisection(batcher, batch);
	batch_free(batch);
	waiting_mark_dirty(batcher, lane);
}

void ending_withdraw(struct batcher *batcher, struct batch_item *item)
{
	struct lane *lane = item->lane;
	struct batch *batch = item->batch;
	ending_unwatch(batcher, item);
	if (lane) {
		lane_remove(lane, item);
		waiting_count(batcher, lane, item, -1);
		waiting_mark_dirty(batcher, lane);
	} else if (batch) {
		ending_drop(batcher, batch, item);
		if (batch->live == 0 && batch->state == BATCH_SENT)
			ending_forget(batcher, batch);
		else if (batch->state == BATCH_SENT && !item->returned)
			upstream_forget(batch->exchange, item->index);
		else if (batch->live == 0 && batch->queued)
			lose_queued(batcher, batch);
		else if (batch->live == 0 && batch->rest.listed)
			retry_lose(batcher, batch);
	}
}

void ending_settle(struct batcher *batcher, struct batch_item *item, struct answer *answer, struct batch_facts facts)
{
	item->answer = answer;
	item->facts = facts;
	TAILQ_INSERT_TAIL(&batcher->settled, item, next);
}

void ending_deliver(struct batcher *batcher)
{
	struct batch_item *item;
	while ((item = TAILQ_FIRST(&batcher->settled))) {
		TAILQ_REMOVE(&batcher->settled, item, next);
		struct answer *answer = item->answer;
		struct batch_facts facts = item->facts; /* the callback may free the item */
		item->answer = NULL;
		item->answered(item, answer, &facts);
	}
}

void ending_unwatch(struct batcher *batcher, struct batch_item *item)
{
	due_clear(&batcher->expiries, &item->expiry);
	if (item->put_off_us)
		TAILQ_REMOVE(&batcher->hurried, item, hurried);
	item->put_off_us = 0;
}

struct batch_facts ending_facts(const struct batch_item *item, uint64_t now_us)
{
	if (item->batch)
		return batch_facts(item->batch, item, now_us);
	return (struct batch_facts){ .waited_us = window_elapsed_us(item->added_us, now_us) };
}

struct answer *ending_rate_limited(const struct batcher *batcher, const struct lane *lane, uint64_t until_us,
				   uint64_t now_us)
{
	static const char *const texts[] = {
		"The upstream's rate lets no request out before the call's deadline; it was not sent.",
		"The provider asked for a pause that lasts beyond the call's deadline; it was not sent.",
	};
	uint64_t wait_us = window_elapsed_us(now_us, until_us);
	return answer_upstream_error(OUTCOME_RATE_LIMITED, 0, (uint32_t)(wait_us / CLOCK_US_PER_S + 1),
				     (struct slice){ NULL, 0 }, "%s",
				     texts[waiting_held_until_us(batcher, lane) >= until_us]);
}

void ending_put_off(struct batcher *batcher, struct batch_item *item, uint64_t until_us)
{
	bool hurried = item->deadline_us <= until_us || (item->put_off && item->urgent_us <= until_us);
	if (until_us <= loop_now(batcher->loop) || !hurried)
		return;
	if (!item->put_off_us)
		TAILQ_INSERT_TAIL(&batcher->hurried, item, hurried);
	item->put_off_us = until_us > item->put_off_us ? until_us : item->put_off_us;
}

/* Before which it will not leave, as far as it is known; 0: it travels. */
static uint64_t earliest_of(const struct batcher *batcher, const struct batch_item *item)
{
	const struct batch *batch = item->batch;
	if (batch && batch->rest.listed)
		return batch->rest.at_us;
	const struct lane *lane = batch && batch->queued ? batch->lane : item->lane;
	if (!lane)
		return 0;
	uint64_t held_us = waiting_held_until_us(batcher, lane), rate_us = waiting_rate_us(batcher);
	return held_us > rate_us ? held_us : rate_us;
}

void ending_review(struct batcher *batcher, struct batch_item *item)
{
	ending_put_off(batcher, item, earliest_of(batcher, item));
}

void ending_review_all(struct batcher *batcher)
{
	for (struct due_node *node = batcher->expiries.root; node; node = due_next(node))
		ending_review(batcher, container_of(node, struct batch_item, expiry));
}

/* What was said of it stands, if it was sent before. A reference. */
static struct answer *put_off_answer(const struct batcher *batcher, const struct batch_item *item, uint64_t now_us)
{
	const struct batch *batch = item->batch;
	struct answer *said = batch ? batch->before ? batch->before : batch->said : NULL;
	if (said)
		return answer_ref(said);
	return ending_rate_limited(batcher, batch ? batch->lane : item->lane, item->put_off_us, now_us);
}

static void refuse_hurried(struct batcher *batcher, struct batch_item *item, uint64_t now_us)
{
	struct batch_facts facts = ending_facts(item, now_us);
	struct answer *answer = put_off_answer(batcher, item, now_us);
	uint64_t until_us = item->put_off_us;
	TAILQ_REMOVE(&batcher->hurried, item, hurried);
	item->put_off_us = 0;
	if (item->deadline_us <= until_us) {
		ending_withdraw(batcher, item);
		ending_settle(batcher, item, answer, facts);
		return;
	}
	item->put_off(item, until_us, answer, &facts);
	answer_unref(answer);
}

void ending_refuse_hurried(struct batcher *batcher, uint64_t now_us)
{
	struct batch_item *item;
	while ((item = TAILQ_FIRST(&batcher->hurried)))
		refuse_hurried(batcher, item, now_us);
}

/* Whether a byte of the call may have reached the provider: only the exchange knows whether it got a connection. */
static bool was_sent(const struct batch *batch)
{
	return batch && (batch->before || (batch->state == BATCH_SENT && upstream_sent(batch->exchange)));
}

/* Whether its request may yet leave with the call in it: it is written, nothing but a connection lacks, and others wait on. */
static bool may_leave_yet(const struct batch_item *item, uint64_t now_us)
{
	const struct batch *batch = item->batch;
	if (!batch || batch->state != BATCH_SENT || item->returned)
		return false;
	for (size_t i = 0; i < batch->count; i++)
		if (batch->items[i] && batch->items[i] != item && batch->items[i]->deadline_us > now_us)
			return true;
	return false;
}

static const char *shed_text(enum shed_reason reason)
{
	switch (reason) {
	case SHED_DEADLINE:
		return "So many calls wait for this provider that the answer would have come after the call's deadline; "
		       "it was not sent.";
	case SHED_DISPLACED:
		return "The line for this provider is full, and a more urgent call has taken this one's place; it was not "
		       "sent.";
	case SHED_LATE:
		return "When the call's turn came, too little of its time was left for the provider; it was not sent.";
	default:
		return "The line for this provider is longer than queue.wait allows; the call was not sent.";
	}
}

/* A call that was given less time than the provider takes even with nobody before it would fare no better later. */
static struct answer *shed_answer(enum shed_reason reason, uint64_t retry_us)
{
	return answer_upstream_error(OUTCOME_OVERLOADED, 0, (uint32_t)(retry_us / CLOCK_US_PER_S + 1),
				     (struct slice){ NULL, 0 }, "%s", shed_text(reason));
}

void ending_count_shed(struct batcher *batcher, const struct batch_item *item, enum shed_reason reason)
{
	meter_add(batcher->meter, METRIC_ID_SHED, batcher->label, reason, 1);
	meter_add(batcher->meter, METRIC_ID_BAND_SHED, batcher->label, band_of(item->urgency), 1);
}

void ending_shed(struct batcher *batcher, struct batch_item *item, enum shed_reason reason, uint64_t retry_us,
		 uint64_t now_us)
{
	struct batch_facts facts = ending_facts(item, now_us);
	if (item->lane)
		ending_withdraw(batcher, item);
	ending_count_shed(batcher, item, reason);
	ending_settle(batcher, item, shed_answer(reason, retry_us), facts);
}

void ending_make_room(struct batcher *batcher, const struct batch_item *item, uint64_t now_us)
{
	const struct batch_policy *policy = &batcher->policy;
	size_t bytes = item->call.arguments.len;
	while (waiting_is_full_of_items(batcher) ||
	       (bytes <= policy->queue_bytes && waiting_is_full_of_bytes(batcher, bytes))) {
		enum priority_band band =
			bands_victim(&policy->shares, &batcher->bands, band_of(item->urgency), batcher->waiting_items);
		if (band == BAND_COUNT)
			return;
		/* the newest: it has waited for least */
		ending_shed(batcher, TAILQ_LAST(&batcher->lines[band], batch_item_list), SHED_DISPLACED,
			    batcher->admission.wait_us, now_us);
	}
}

/* Of all bands, the one that has waited for longest. */
static struct batch_item *first_in_line(const struct batcher *batcher)
{
	struct batch_item *first = NULL;
	for (size_t band = 0; band < BAND_COUNT; band++) {
		struct batch_item *item = TAILQ_FIRST(&batcher->lines[band]);
		if (item && (!first || item->queued_us < first->queued_us))
			first = item;
	}
	return first;
}

/* While the limit doubles with each round nobody knows how fast the line is going to move: then it is let stand. */
uint64_t ending_waited_us(const struct batcher *batcher)
{
	const struct batch_item *first = first_in_line(batcher);
	bool grows = limiter_reachable(&batcher->limiter) > limiter_limit(&batcher->limiter);
	if (!first || grows)
		return CLOCK_NEVER;
	return clock_add(first->queued_us, admission_bound_us(&batcher->admission));
}

void ending_shed_waited(struct batcher *batcher, uint64_t now_us)
{
	while (ending_waited_us(batcher) <= now_us) {
		struct batch_item *item = first_in_line(batcher);
		uint64_t held_us = waiting_held_until_us(batcher, item->lane);
		if (clock_add(held_us, admission_bound_us(&batcher->admission)) <= now_us) {
			ending_shed(batcher, item, SHED_WAITED, batcher->admission.wait_us, now_us);
			continue;
		}
		struct batch_item_list *line = &batcher->lines[band_of(item->urgency)];
		/* the provider had asked for a pause: only what it waits from then on is a line */
		TAILQ_REMOVE(line, item, line);
		item->queued_us = now_us;
		TAILQ_INSERT_TAIL(line, item, line);
	}
}

struct answer *batcher_expired(const struct batcher *batcher, const struct batch_item *item, uint64_t now_us)
{
	uint64_t earliest_us = item->lane ? waiting_earliest_us(batcher, item->lane) : 0;
	if (earliest_us > now_us)
		return ending_rate_limited(batcher, item->lane, earliest_us, now_us);
	bool sent = was_sent(item->batch);
	if (!sent && !item->call.repeatable && may_leave_yet(item, now_us))
		return answer_error(OUTCOME_OUTCOME_UNKNOWN, "The call's deadline passed while its request waited for "
							     "a connection, with others that wait on; it may yet take "
							     "effect.");
	if (!sent)
		return answer_error(OUTCOME_DEADLINE_EXCEEDED, "The call's deadline passed before it could be sent.");
	if (item->call.repeatable)
		return answer_error(OUTCOME_UPSTREAM_TIMEOUT,
				    "The provider did not answer before the call's deadline.");
	return answer_error(OUTCOME_OUTCOME_UNKNOWN, "The call was sent, but no answer came before its deadline; "
						     "it may have taken effect.");
}

void ending_expire(struct batcher *batcher, uint64_t now_us)
{
	while (due_first_us(&batcher->expiries) <= now_us) {
		struct batch_item *item = container_of(batcher->expiries.root, struct batch_item, expiry);
		if (item->lane && admission_stands(&batcher->admission, now_us)) {
			ending_shed(batcher, item, SHED_WAITED, batcher->admission.wait_us, now_us);
			continue;
		}
		struct answer *answer = batcher_expired(batcher, item, now_us);
		struct batch_facts facts = ending_facts(item, now_us);
		if (facts.id)
			learned_answer(batcher, item->batch, item, now_us);
		ending_withdraw(batcher, item);
		ending_settle(batcher, item, answer, facts);
	}
}
