/* SPDX-License-Identifier: Apache-2.0 */
/* bisection.c: the binary search of bisection.h. */
#include "batcher/bisection.h"

#include <stdlib.h>

/* Those who have left leave no gaps: there is room for all who live. */
static void close_gaps(struct batch *batch)
{
	size_t live = 0;
	for (size_t i = 0; i < batch->count; i++) {
		struct batch_item *item = batch->items[i];
		if (!item)
			continue;
		item->index = live;
		batch->items[live++] = item;
	}
	batch->count = live;
}

/* The first `count` that live in `from`. */
static void move_calls(struct batch *from, struct batch *to, size_t count)
{
	close_gaps(to);
	for (size_t i = 0; i < from->count && count > 0; i++) {
		struct batch_item *item = from->items[i];
		if (!item)
			continue;
		batch_drop(from, item);
		batch_put(to, item);
		count--;
	}
}

/* Whether the provider says that something is wrong with itself: or says nothing that can be read. */
static bool blames_itself(const struct answer *refusal)
{
	return refusal->upstream_status < 300 || refusal->upstream_status >= 500;
}

struct bisection *bisection_begin(struct batch *batch)
{
	struct bisection *bisection = calloc(1, sizeof *bisection);
	struct batch *candidates = batch_new(batch->batcher, batch->lane, batch->live);
	struct batch *cleared = batch_new(batch->batcher, batch->lane, batch->live);
	struct batch *held = batch_new(batch->batcher, batch->lane, batch->live);
	if (!bisection || !candidates || !cleared || !held) {
		free(held);
		free(cleared);
		free(candidates);
		free(bisection);
		return NULL;
	}
	*bisection = (struct bisection){
		.candidates = candidates,
		.cleared = cleared,
		.held = held,
		.refusal = answer_ref(batch->refusal),
		.doubt = blames_itself(batch->refusal) ? BISECTION_FIRST_HALF : BISECTION_SURE,
		.all = batch->live == batch->count,
	};
	move_calls(batch, candidates, batch->live);
	return bisection;
}

void bisection_narrow(struct bisection *bisection, struct batch *batch)
{
	switch (bisection->doubt) {
	case BISECTION_FIRST_HALF: /* candidates are the other half: they are next, all together */
		bisection->doubt = BISECTION_OTHER_HALF;
		move_calls(batch, bisection->held, batch->live);
		return;
	case BISECTION_OTHER_HALF:
		bisection->doubt = BISECTION_ONE;
		move_calls(batch, bisection->candidates, batch->live);
		return;
	default:
		move_calls(bisection->candidates, bisection->cleared, bisection->candidates->live);
		move_calls(batch, bisection->candidates, batch->live);
	}
}

void bisection_passed(struct bisection *bisection, const struct batch *batch)
{
	if (batch->count > 1 && batch->count > bisection->accepted)
		bisection->accepted = batch->count;
	bisection->doubt = BISECTION_SURE;
	move_calls(bisection->held, bisection->candidates, bisection->held->live);
}

bool bisection_blames_provider(const struct bisection *bisection)
{
	return bisection->doubt == BISECTION_ONE;
}

/* The smaller half first: then those a refusal clears are no fewer than those it leaves. */
static size_t count_next(const struct bisection *bisection)
{
	size_t live = bisection->candidates->live;
	if (bisection->doubt == BISECTION_OTHER_HALF)
		return live;
	if (bisection->doubt == BISECTION_ONE || live == 1)
		return 1;
	return live / 2;
}

struct batch *bisection_next(struct bisection *bisection, bool *no_memory)
{
	*no_memory = false;
	if (bisection->candidates->live == 0)
		return NULL;
	size_t count = count_next(bisection);
	struct batch *batch = batch_new(bisection->candidates->batcher, bisection->candidates->lane, count);
	*no_memory = !batch;
	if (!batch)
		return NULL;
	move_calls(bisection->candidates, batch, count);
	batch->bisection = bisection;
	batch->kind = ATTEMPT_BISECTION;
	batch->before = answer_ref(bisection->refusal);
	batch->said = answer_ref(bisection->refusal);
	return batch;
}

struct batch *bisection_end(struct bisection *bisection)
{
	struct batch *left = bisection->cleared;
	move_calls(bisection->candidates, left, bisection->candidates->live);
	move_calls(bisection->held, left, bisection->held->live);
	batch_free(bisection->candidates);
	batch_free(bisection->held);
	left->kind = ATTEMPT_BISECTION;
	left->before = bisection->refusal;
	left->said = answer_ref(bisection->refusal);
	free(bisection);
	if (left->live > 0)
		return left;
	batch_free(left);
	return NULL;
}
