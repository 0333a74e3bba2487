/* SPDX-License-Identifier: Apache-2.0 */
/* batch.c: one batch. */
#include "batcher/batch.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "batcher/window.h"

/* Over all upstreams and threads: an id in a log or a header names one exchange of this process. */
static _Atomic uint64_t last_id;

struct batch *batch_new(struct batcher *batcher, struct lane *lane, size_t room)
{
	if (room > (SIZE_MAX - sizeof(struct batch)) / sizeof(struct batch_item *))
		return NULL;
	struct batch *batch = malloc(sizeof *batch + room * sizeof(struct batch_item *));
	if (!batch)
		return NULL;
	*batch = (struct batch){ .state = BATCH_OPEN, .batcher = batcher, .lane = lane, .room = room };
	return batch;
}

void batch_free(struct batch *batch)
{
	assert(batch->live == 0);
	batch->state = BATCH_DONE;
	answer_unref(batch->refusal);
	answer_unref(batch->before);
	answer_unref(batch->said);
	free(batch);
}

static bool is_within(uint64_t have, uint64_t more, uint64_t max)
{
	return have < max && more <= max - have;
}

bool batch_fits(const struct batch *batch, const struct batch_policy *policy, const struct batch_item *item)
{
	if (batch->count == 0)
		return true;
	return batch->count < batch->room && is_within(batch->bytes, item->call.arguments.len, policy->max_bytes) &&
	       (policy->max_tokens == 0 || is_within(batch->tokens, item->tokens, policy->max_tokens));
}

void batch_put(struct batch *batch, struct batch_item *item)
{
	assert(batch->state == BATCH_OPEN && batch->count < batch->room);
	item->batch = batch;
	item->returned = false;
	item->index = batch->count;
	batch->items[batch->count++] = item;
	batch->live++;
	batch->bytes += item->call.arguments.len;
	batch->tokens += item->tokens;
	if (item->deadline_us > batch->deadline_us)
		batch->deadline_us = item->deadline_us;
}

void batch_sent(struct batch *batch, struct exchange *exchange, enum flush_reason reason, uint64_t now_us)
{
	assert(batch->state == BATCH_OPEN && batch->count > 0);
	batch->state = BATCH_SENT;
	batch->exchange = exchange;
	batch->reason = (uint8_t)reason;
	batch->sent_us = now_us;
	batch->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
}

uint64_t batch_item_left_us(const struct batch_item *item)
{
	return item->batch ? item->batch->sent_us : CLOCK_NEVER;
}

void batch_drop(struct batch *batch, struct batch_item *item)
{
	assert(item->batch == batch && batch->items[item->index] == item);
	batch->items[item->index] = NULL;
	batch->live--;
	item->batch = NULL;
	item->attempts += batch->attempts;
}

/* A failed batch's exchange may be gone. */
static uint32_t attempts_of(const struct batch *batch)
{
	return batch->attempts ? batch->attempts : (uint32_t)upstream_attempts(batch->exchange);
}

struct batch_facts batch_facts(const struct batch *batch, const struct batch_item *item, uint64_t now_us)
{
	if (batch->state != BATCH_SENT)
		return (struct batch_facts){ .waited_us = window_elapsed_us(item->added_us, now_us),
					     .attempts = item->attempts };
	return (struct batch_facts){
		.id = batch->id,
		.items = (uint32_t)batch->count,
		.waited_us = window_elapsed_us(item->added_us, batch->sent_us),
		.left_us = batch->sent_us,
		.upstream_us = window_elapsed_us(batch->sent_us, now_us),
		.attempts = item->attempts + attempts_of(batch),
		.reason = batch->reason,
		.bisected = batch->kind == ATTEMPT_BISECTION,
	};
}

struct batch_facts batch_item_facts(const struct batch_item *item, uint64_t now_us)
{
	if (item->batch)
		return batch_facts(item->batch, item, now_us);
	return (struct batch_facts){ .waited_us = window_elapsed_us(item->added_us, now_us),
				     .attempts = item->attempts };
}
