/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refused.c: batches that the provider refused as a whole: who is told, who is sent again, in which parts, and when.
 * The search for the failing call is bisection.h's.
 */
#include <assert.h>

#include "batcher/batcher_private.h"

#define LONGEST_TOOL_PAUSE_US (5 * CLOCK_US_PER_S)
#define LONGEST_PAUSE_US (300 * CLOCK_US_PER_S) /* however long the provider asks for */

void refused_again(struct batcher *batcher, struct batch *batch)
{
	struct lane *lane = batch->lane;
	batch->queued = true;
	TAILQ_INSERT_TAIL(&lane->again, batch, next);
	waiting_mark_dirty(batcher, lane);
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

/* What was said of one call, that it cannot be served now (503), is meant of its tool, if there are others. */
static bool is_meant_of_tool(const struct batcher *batcher, const struct batch *batch, unsigned status)
{
	return status == 503 && batch->count == 1 && batch->learned && batcher->tool_list->next;
}

/* The provider wants to be left alone, with that tool or altogether. One call's 503 may be about that call: it is asked
 * again within seconds. */
static void pause_calls(const struct batcher *batcher, const struct batch *batch, unsigned status, uint64_t pause_us)
{
	bool of_tool = is_meant_of_tool(batcher, batch, status);
	if (status == 503 && batch->count == 1 && pause_us > LONGEST_TOOL_PAUSE_US)
		pause_us = LONGEST_TOOL_PAUSE_US;
	uint64_t until_us = clock_add(loop_now(batcher->loop), pause_us);
	if (of_tool)
		pauses_prolong_tool(batcher->pauses, batch->learned->number, until_us);
	else
		pauses_prolong(batcher->pauses, until_us);
}

/* Noted of every answer that is not OK, of a whole batch or of one call in it. */
void refused_note(const struct batcher *batcher, struct batch *batch, const struct answer *answer)
{
	uint64_t pause_us = refused_pause_us(answer);
	batch->limited |= answer->outcome == OUTCOME_RATE_LIMITED ||
			  (pause_us && !is_meant_of_tool(batcher, batch, answer->upstream_status));
	if (!pause_us)
		return;
	pause_calls(batcher, batch, answer->upstream_status, pause_us);
	batch->asked_us = pause_us > batch->asked_us ? pause_us : batch->asked_us;
}

/* As others may be told it: without the provider's words, which may hold one call's arguments, and which a detail may
 * quote. Takes the reference. */
static struct answer *without_words(struct answer *answer)
{
	char what[ANSWER_DETAIL_BYTES] = "the provider refused it, or a call that went with it";
	if (!answer->body_len && !answer->full_len)
		return answer; /* then its detail quotes nobody */
	if (answer->upstream_status >= 300)
		dialect_status_sentence(answer->upstream_status, what);
	struct answer *plain = answer_upstream_error(answer->outcome, answer->upstream_status, answer->retry_after_s,
						     (struct slice){ NULL, 0 }, "%s", what);
	if (plain->outcome == answer->outcome && answer->lasting) /* else it may be the one for want of memory */
		plain->lasting = true;
	answer_unref(answer);
	return plain;
}

/* From here on it is what is said of the batch, to whom it may concern: an MCP server is asked call by call, and what it
 * says of one stands for all that go again. */
void refused_keep(struct batch *batch, struct batch_item *item, struct answer *answer)
{
	batch->attempts = (uint32_t)upstream_attempts(batch->exchange);
	item->returned = true;
	if (batch->refusal)
		answer_unref(answer);
	else
		batch->refusal = batch->count > 1 ? without_words(answer) : answer;
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
	refused_note(batcher, batch, answer);
	if (!again && retry_keeps(batcher, batch, index, answer))
		return;
	if (!item || !again) {
		batch->any_refused = true;
		sending_answered(context, index, answer);
		return;
	}
	refused_keep(batch, item, answer);
}

void refused_doubted(void *context, size_t index, struct answer *answer)
{
	struct batch *batch = context;
	assert(answer->outcome != OUTCOME_OK);
	if (!batch->items[index]) {
		answer_unref(answer);
		return;
	}
	batch->doubted = true;
	refused_keep(batch, batch->items[index], answer);
}

void refused_deliver(struct batcher *batcher, struct batch *batch, struct answer *refusal, uint64_t now_us)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct batch_item *item = batch->items[i];
		if (!item)
			continue;
		struct batch_facts facts = ending_facts(item, now_us);
		ending_unwatch(batcher, item);
		ending_drop(batcher, batch, item);
		ending_settle(batcher, item, answer_ref(refusal), facts);
	}
}

void refused_deliver_all(struct batcher *batcher, struct bisection *bisection, struct answer *refusal, uint64_t now_us)
{
	refused_deliver(batcher, bisection->candidates, refusal, now_us);
	refused_deliver(batcher, bisection->held, refusal, now_us);
	refused_deliver(batcher, bisection->cleared, refusal, now_us);
}

/* Whether it was put off only, not carried out in any part. */
static bool pause_asked(const struct batch *batch)
{
	return !batch->refusal || refused_pause_us(batch->refusal) > 0;
}

/* Why a part of it will be sent. */
static enum attempt_kind kind_of_part(const struct batch *batch)
{
	if (batch->state == BATCH_OPEN)
		return batch->kind;
	return batch->asked_us || batch->retry_us ? ATTEMPT_RETRY : ATTEMPT_BISECTION;
}

struct batch *refused_part(struct batcher *batcher, struct batch *batch, size_t most, size_t room,
			   struct bisection *bisection)
{
	struct batch *other = batch_new(batcher, batch->lane, room);
	if (!other)
		return NULL;
	for (size_t i = 0; i < batch->count && other->live < most; i++) {
		struct batch_item *item = batch->items[i];
		if (!item)
			continue;
		batch_drop(batch, item);
		batch_put(other, item);
	}
	other->bisection = bisection;
	other->kind = kind_of_part(batch);
	other->paid = batch->state == BATCH_OPEN && batch->paid;
	other->said = batch->refusal ? answer_ref(batch->refusal) : batch->said ? answer_ref(batch->said) : NULL;
	bool carried = !pause_asked(batch) && !batch->unsent;
	other->before = batch->before ? answer_ref(batch->before) : carried ? answer_ref(batch->refusal) : NULL;
	return other;
}

void refused_requeue(struct batcher *batcher, struct batch *batch, size_t most, size_t room,
		     struct bisection *bisection)
{
	struct batch *other = refused_part(batcher, batch, most, room, bisection);
	if (other)
		refused_again(batcher, other);
}

/* What was sent and is to be sent again waits until then. */
static void put_off(struct batcher *batcher, struct batch *batch)
{
	struct bisection *bisection = batch->bisection;
	size_t most = window_most(&batcher->policy), room = bisection || most < batch->live ? batch->live : most;
	if (batch->live == 0)
		return;
	batch->bisection = NULL;
	refused_requeue(batcher, batch, batch->live, room, bisection);
	if (batch->live > 0) /* no memory */
		batch->bisection = bisection;
}

/* The next try of a bisection, or its end. */
static void try_next(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	struct bisection *bisection = batch->bisection;
	bool no_memory;
	struct batch *next = bisection_next(bisection, &no_memory);
	if (no_memory)
		refused_deliver(batcher, bisection->candidates, bisection->refusal, now_us);
	if (!next) {
		ending_bisection(batcher, batch);
		return;
	}
	batch->bisection = NULL;
	refused_again(batcher, next);
}

/* Too large for the provider: both halves may fit, so no single call is to be looked for. */
static void halve_batch(struct batcher *batcher, struct batch *batch)
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
		refused_deliver(batcher, batch, batch->refusal, now_us);
}

static bool is_too_large(unsigned status)
{
	return status == 413 || status == 414 || status == 431;
}

static void split_batch(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	meter_add(batcher->meter, METRIC_ID_BATCH_BISECTIONS, batcher->label, 0, 1);
	if (is_too_large(batch->refusal->upstream_status)) {
		halve_batch(batcher, batch);
		ending_bisection(batcher, batch);
	} else if (batch->bisection) {
		bisection_narrow(batch->bisection, batch);
		try_next(batcher, batch, now_us);
	} else if ((batch->bisection = bisection_begin(batch))) {
		try_next(batcher, batch, now_us);
	}
	if (batch->live > 0)
		refused_deliver(batcher, batch, batch->refusal, now_us);
}

/* Whatever it is asked, it fails: nothing is gained by asking on. */
static void blame_provider(struct batcher *batcher, struct batch *batch, uint64_t now_us)
{
	refused_deliver_all(batcher, batch->bisection, batch->bisection->refusal, now_us);
	ending_bisection(batcher, batch);
}

/* A try has completed and was not refused in a way that narrows the search. */
static void end_try(struct batcher *batcher, struct batch *batch, enum outcome outcome, uint64_t now_us)
{
	struct bisection *bisection = batch->bisection;
	bool last = bisection->candidates->live == 0 && bisection->held->live == 0;
	if (batch->any_refused && bisection_blames_provider(bisection)) {
		blame_provider(batcher, batch, now_us);
		return;
	}
	if (outcome != OUTCOME_OK || batch->any_refused) {
		ending_bisection(batcher, batch); /* found; or something else is wrong */
		return;
	}
	bisection_passed(bisection, batch);
	/* All passed alone, no array did, and nobody else was in the one refused: it may be for being an array. */
	if (last && bisection->all && !bisection->accepted)
		arrays_refused(&waiting_class(batcher, batch->lane)->arrays, now_us);
	try_next(batcher, batch, now_us);
}

/* Too many, says the provider: the next ones come less often. What it says of one call in a batch counts as well. */
static void learn_rate(struct batcher *batcher, const struct batch *batch, enum outcome outcome, uint64_t now_us)
{
	if (outcome == OUTCOME_RATE_LIMITED || batch->limited)
		learned_refused(batcher, batch, now_us);
	else if (outcome == OUTCOME_OK)
		learned_rate_passed(&batcher->rates->learned_rate, batch->sent_us, now_us);
}

void refused_completed(void *context, enum outcome outcome)
{
	struct batch *batch = context;
	struct batcher *batcher = batch->batcher;
	uint64_t now_us = loop_now(batcher->loop);
	if (outcome == OUTCOME_OK)
		learned_completed(batcher, batch, now_us);
	learn_rate(batcher, batch, outcome, now_us);
	if (batch->asked_us) {
		put_off(batcher, batch);
		ending_review_all(batcher);
	}
	if (batch->retry_us && batch->live > 0)
		retry_completed(batcher, batch, now_us);
	if (batch->doubted)
		ask_alone(batcher, batch, now_us);
	if (batch->live > 0) /* the refused ones: all others have been answered */
		split_batch(batcher, batch, now_us);
	else if (batch->bisection)
		end_try(batcher, batch, outcome, now_us);
	sending_ended(batcher, batch);
}
