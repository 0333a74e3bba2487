/* hunt.c: the binary search. */
#include "batcher/hunt.h"

#include <stdlib.h>

/* The first `count` that live in `from`. */
static void move(struct batch *from, struct batch *to, size_t count)
{
	for (size_t i = 0; i < from->count && count > 0; i++) {
		struct batch_item *item = from->items[i];
		if (!item)
			continue;
		batch_drop(from, item);
		batch_put(to, item);
		count--;
	}
}

/* Nobody lives in it any more: it may be filled anew. */
static void reuse(struct batch *batch)
{
	batch->count = batch->bytes = 0;
	batch->tokens = 0;
}

/* Who left a refused batch before it landed may have been its culprit. */
static size_t unproven_of(const struct batch *batch)
{
	return batch->live == batch->count ? batch->count : SIZE_MAX;
}

struct hunt *hunt_begin(struct batch *batch)
{
	struct hunt *hunt = calloc(1, sizeof *hunt);
	struct batch *suspects = batch_new(batch->batcher, batch->lane, batch->live);
	struct batch *innocents = batch_new(batch->batcher, batch->lane, batch->live);
	struct batch *accused = batch_new(batch->batcher, batch->lane, 1);
	if (!hunt || !suspects || !innocents || !accused) {
		free(accused);
		free(innocents);
		free(suspects);
		free(hunt);
		return NULL;
	}
	*hunt = (struct hunt){
		.suspects = suspects,
		.innocents = innocents,
		.accused = accused,
		.refusal = answer_ref(batch->refusal),
		.word = answer_ref(batch->refusal),
		.narrowest = batch->count,
		.unproven = unproven_of(batch),
		.all = batch->live == batch->count,
	};
	move(batch, suspects, batch->live);
	return hunt;
}

void hunt_narrow(struct hunt *hunt, struct batch *batch)
{
	size_t unproven = unproven_of(batch);
	move(hunt->suspects, hunt->innocents, hunt->suspects->live);
	reuse(hunt->suspects);
	move(batch, hunt->suspects, batch->live);
	answer_unref(hunt->word);
	hunt->word = answer_ref(batch->refusal);
	hunt->narrowest = batch->count;
	hunt->unproven = unproven;
}

void hunt_passed(struct hunt *hunt, const struct batch *batch)
{
	if (batch->count > 1 && batch->count > hunt->accepted)
		hunt->accepted = batch->count;
	hunt->unproven -= hunt->unproven != SIZE_MAX ? batch->count : 0;
}

/* Those cleared so far are the ones to be tried, all together. */
static void try_innocents(struct hunt *hunt)
{
	struct batch *innocents = hunt->innocents;
	hunt->innocents = hunt->suspects;
	hunt->suspects = innocents;
	hunt->whole = true;
	reuse(hunt->innocents);
}

static void accuse(struct hunt *hunt)
{
	move(hunt->suspects, hunt->accused, 1);
	hunt->verdict = answer_ref(hunt->word);
	hunt->enough = hunt->narrowest;
	try_innocents(hunt);
}

bool hunt_clears(struct hunt *hunt)
{
	if (hunt->accused->live == 0 || hunt->innocents->live == 0 || hunt->suspects->live > 0)
		return false;
	try_innocents(hunt);
	return true;
}

struct batch *hunt_next(struct hunt *hunt, bool *no_memory)
{
	size_t live = hunt->suspects->live;
	*no_memory = false;
	if (live == 0)
		return NULL;
	if (live == 1 && hunt->unproven == 1 && !hunt->verdict && hunt->innocents->live > 0)
		accuse(hunt);
	/* the smaller half first: then those a refusal clears are no fewer than those it leaves */
	size_t count = hunt->whole ? hunt->suspects->live : live > 1 ? live / 2 : 1;
	hunt->whole = false;
	struct batch *batch = batch_new(hunt->suspects->batcher, hunt->suspects->lane, count);
	*no_memory = !batch;
	if (!batch)
		return NULL;
	move(hunt->suspects, batch, count);
	batch->hunt = hunt;
	batch->before = answer_ref(hunt->refusal);
	return batch;
}

bool hunt_proven(const struct hunt *hunt)
{
	return hunt->accused->live > 0 && hunt->accepted >= hunt->enough;
}

void hunt_convicted(struct hunt *hunt)
{
	reuse(hunt->accused);
	answer_unref(hunt->verdict);
	hunt->verdict = NULL;
}

/* NULL if nobody lives in it. Takes the reference. */
static struct batch *left_in(struct batch *batch, struct answer *before)
{
	batch->before = before;
	if (batch->live > 0)
		return batch;
	batch_free(batch);
	return NULL;
}

struct batch *hunt_end(struct hunt *hunt, struct batch **accused)
{
	struct batch *left = hunt->innocents;
	move(hunt->suspects, left, hunt->suspects->live);
	batch_free(hunt->suspects);
	*accused = left_in(hunt->accused, hunt->verdict);
	left = left_in(left, hunt->refusal);
	answer_unref(hunt->word);
	free(hunt);
	return left;
}
