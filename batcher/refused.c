/*
 * refused.c: batches that the provider refused as a whole: who is told, who is sent again, in which parts, and when.
 * The search for a culprit is hunt.h's.
 */
#include <assert.h>

#include "batcher/batcher_private.h"

#define LONGEST_PAUSE_US (300 * CLOCK_US_PER_S) /* however long the provider asks for */

void refused_again(struct batcher *batcher, struct batch *batch)
{
	struct lane *lane = batch->lane;
	batch->queued = true;
	TAILQ_INSERT_TAIL(&lane->again, batch, next);
	waiting_news(batcher, lane);
}

uint64_t refused_pause_us(const struct answer *answer)
{
	bool busy = answer->upstream_status == 429 || answer->upstream_status == 503;
	uint64_t pause_us = busy ? answer->retry_after_s * CLOCK_US_PER_S : 0;
	return pause_us < LONGEST_PAUSE_US ? pause_us : LONGEST_PAUSE_US;
}

/* Whether a part of the batch may fare better. Credentials, redirects and a provider that is down or slow are the same
 * for every part. */
static bool worth_splitting(const struct answer *answer)
{
	switch (answer->upstream_status) {
	case 401:
	case 403:
	case 407:
	case 408:
	case 429:
	case 502:
	case 503:
	case 504:
		return false;
	default:
		return answer->upstream_status < 300 || answer->upstream_status >= 400;
	}
}

static void pause_group(struct lane_group *group, uint64_t until_us)
{
	if (group->paused_until_us < until_us)
		group->paused_until_us = until_us;
}

void refused_call(void *context, size_t index, struct answer *answer)
{
	struct batch *batch = context;
	struct batcher *batcher = batch->batcher;
	struct batch_item *item = batch->items[index];
	assert(answer->outcome != OUTCOME_OK); /* others of the batch may be told it */
	uint64_t pause_us = refused_pause_us(answer);
	uint64_t until_us = clock_add(loop_now(batcher->loop), pause_us);
	bool again = pause_us ? item && item->deadline_us > until_us : batch->count > 1 && worth_splitting(answer);
	if (pause_us)
		pause_group(batch->lane->group, until_us);
	batch->asked_us = pause_us > batch->asked_us ? pause_us : batch->asked_us;
	if (!item || !again) {
		batch->told = true;
		sending_answered(context, index, answer);
		return;
	}
	if (batch->refusal)
		answer_unref(answer);
	else
		batch->refusal = answer;
}

void refused_doubted(void *context, size_t index, struct answer *answer)
{
	struct batch *batch = context;
	assert(answer->outcome != OUTCOME_OK);
	batch->doubted |= batch->items[index] != NULL;
	if (batch->refusal || !batch->items[index])
		answer_unref(answer);
	else
		batch->refusal = answer;
}

void refused_tell(struct batcher *batcher, struct batch *batch, struct answer *refusal, uint64_t now_us)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct batch_item *item = batch->items[i];
		if (!item)
			continue;
		struct batch_facts facts = ending_facts(item, now_us);
		due_clear(&batcher->expiries, &item->expiry);
		ending_drop(batcher, batch, item);
		ending_settle(batcher, item, answer_ref(refusal), facts);
	}
}

/* Whether it was put off only, not carried out in any part. */
static bool pause_asked(const struct batch *batch)
{
	return !batch->refusal || refused_pause_us(batch->refusal) > 0;
}

void refused_requeue(struct batcher *batcher, struct batch *batch, size_t most, size_t room, struct hunt *hunt)
{
	struct batch *other = batch_new(batcher, batch->lane, room);
	if (!other)
		return;
	for (size_t i = 0; i < batch->count && other->live < most; i++) {
		struct batch_item *item = batch->items[i];
		if (!item)
			continue;
		batch_drop(batch, item);
		batch_put(other, item);
	}
	other->hunt = hunt;
	other->before = batch->before         ? answer_ref(batch->before)
			: !pause_asked(batch) ? answer_ref(batch->refusal)
					      : NULL;
	refused_again(batcher, other);
}

/* Those who wait and cannot wait that long are told now. */
static void refuse_hurried(struct batcher *batcher, struct lane *lane, uint64_t now_us)
{
	struct batch_item *item = TAILQ_FIRST(&lane->arrivals), *after;
	for (; item; item = after) {
		after = TAILQ_NEXT(item, arrival);
		if (item->deadline_us > lane->group->paused_until_us)
			continue;
		struct batch_facts facts = ending_facts(item, now_us);
		ending_withdraw(batcher, item);
		ending_settle(batcher, item, ending_rate_limited(lane, lane->group->paused_until_us, now_us), facts);
	}
}

static void pause_lane(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	struct lane *lane;
	if (batch->live > 0) {
		struct hunt *hunt = batch->hunt;
		size_t room = hunt || batcher->policy.max_items < batch->live ? batch->live : batcher->policy.max_items;
		batch->hunt = NULL;
		refused_requeue(batcher, batch, batch->live, room, hunt);
		if (batch->live > 0) /* no memory */
			batch->hunt = hunt;
	}
	TAILQ_FOREACH (lane, &batch->lane->group->lanes, sibling) {
		refuse_hurried(batcher, lane, now_us);
		waiting_hold(batcher, lane);
		waiting_news(batcher, lane);
	}
}

/* The next try of a hunt, or its end. */
static void go_on(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	struct hunt *hunt = batch->hunt;
	bool no_memory;
	struct batch *next = hunt_next(hunt, &no_memory);
	if (no_memory)
		refused_tell(batcher, hunt->suspects, hunt->refusal, now_us);
	if (!next) {
		ending_hunt(batcher, batch);
		return;
	}
	batch->hunt = NULL;
	refused_again(batcher, next);
}

/* Too large for the provider: both halves may fit, so there is no culprit to look for. */
static void halve(struct batcher *batcher, struct batch *batch)
{
	arrays_too_large(&waiting_class(batcher, batch->lane)->arrays, batch->count, batch->bytes);
	size_t half = (batch->live + 1) / 2;
	refused_requeue(batcher, batch, half, half, NULL);
	if (batch->live > 0)
		refused_requeue(batcher, batch, batch->live, batch->live, NULL);
}

/* Each by itself, before all that waits. */
static void ask_alone(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	for (size_t live = 0; batch->live > 0 && batch->live != live;) {
		live = batch->live;
		refused_requeue(batcher, batch, 1, 1, NULL);
	}
	if (batch->live > 0) /* no memory */
		refused_tell(batcher, batch, batch->refusal, now_us);
}

static bool is_too_large(unsigned status)
{
	return status == 413 || status == 414 || status == 431;
}

static void split(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	meter_add(batcher->meter, METRIC_ID_BATCH_BISECTIONS, batcher->label, 0, 1);
	if (is_too_large(batch->refusal->upstream_status)) {
		halve(batcher, batch);
		ending_hunt(batcher, batch);
	} else if (batch->hunt) {
		hunt_narrow(batch->hunt, batch);
		go_on(batcher, batch, now_us);
	} else if ((batch->hunt = hunt_begin(batch))) {
		go_on(batcher, batch, now_us);
	}
	if (batch->live > 0)
		refused_tell(batcher, batch, batch->refusal, now_us);
}

/* A try has landed and was not refused in a way that narrows the search. */
static void end_try(struct batcher *batcher, struct batch *batch, enum outcome outcome, uint64_t now_us)
{
	struct hunt *hunt = batch->hunt;
	bool last = hunt->suspects->live == 0;
	if (batch->told && hunt_clears(hunt)) { /* found; and another may be proven */
		go_on(batcher, batch, now_us);
		return;
	}
	if (outcome != OUTCOME_OK || batch->told) {
		ending_hunt(batcher, batch); /* found; or something else is wrong */
		return;
	}
	hunt_passed(hunt, batch);
	if (hunt_proven(hunt)) {
		refused_tell(batcher, hunt->accused, hunt->verdict, now_us);
		hunt_convicted(hunt);
	}
	/* All passed alone, no array did, and nobody else was in the one refused: it was for being an array. */
	if (last && hunt->all && !hunt->accepted)
		arrays_shun(&waiting_class(batcher, batch->lane)->arrays, now_us);
	go_on(batcher, batch, now_us);
}

/* Too many, says the provider: the next ones come less often. */
static void learn_pace(const struct batch *batch, enum outcome outcome)
{
	if (outcome == OUTCOME_OK)
		pace_passed(&batch->lane->group->learned);
	else if (outcome == OUTCOME_RATE_LIMITED || batch->asked_us)
		pace_refused(&batch->lane->group->learned, batch->asked_us);
}

void refused_landed(void *context, enum outcome outcome)
{
	struct batch *batch = context;
	struct batcher *batcher = batch->batcher;
	uint64_t now_us = loop_now(batcher->loop);
	if (outcome == OUTCOME_OK)
		learned_landing(batcher, batch, now_us);
	else if (batch->asked_us)
		pause_group(batch->lane->group, clock_add(now_us, batch->asked_us));
	learn_pace(batch, outcome);
	if (batch->lane->group->paused_until_us > now_us)
		pause_lane(batcher, batch, now_us);
	if (batch->doubted)
		ask_alone(batcher, batch, now_us);
	if (batch->live > 0) /* the refused ones: all others have been answered */
		split(batcher, batch, now_us);
	else if (batch->hunt)
		end_try(batcher, batch, outcome, now_us);
	sending_ended(batcher, batch);
}
