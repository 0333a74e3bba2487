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

struct hunt *hunt_begin(struct batch *batch, struct answer *refusal)
{
	struct hunt *hunt = calloc(1, sizeof *hunt);
	struct batch *suspects = batch_new(batch->batcher, batch->lane, batch->live);
	struct batch *innocents = batch_new(batch->batcher, batch->lane, batch->live);
	if (!hunt || !suspects || !innocents) {
		free(innocents);
		free(suspects);
		free(hunt);
		return NULL;
	}
	*hunt = (struct hunt){
		.suspects = suspects,
		.innocents = innocents,
		.refusal = answer_ref(refusal),
		.all = batch->live == batch->count,
	};
	move(batch, suspects, batch->live);
	return hunt;
}

void hunt_narrow(struct hunt *hunt, struct batch *batch)
{
	move(hunt->suspects, hunt->innocents, hunt->suspects->live);
	hunt->suspects->count = hunt->suspects->bytes = 0; /* empty: used anew */
	move(batch, hunt->suspects, batch->live);
}

struct batch *hunt_next(struct hunt *hunt, bool *no_memory)
{
	size_t live = hunt->suspects->live;
	*no_memory = false;
	if (live == 0)
		return NULL;
	struct batch *batch = batch_new(hunt->suspects->batcher, hunt->suspects->lane, (live + 1) / 2);
	*no_memory = !batch;
	if (!batch)
		return NULL;
	move(hunt->suspects, batch, (live + 1) / 2);
	batch->hunt = hunt;
	batch->before = answer_ref(hunt->refusal);
	return batch;
}

struct batch *hunt_end(struct hunt *hunt)
{
	struct batch *left = hunt->innocents;
	move(hunt->suspects, left, hunt->suspects->live);
	batch_free(hunt->suspects);
	left->before = hunt->refusal;
	free(hunt);
	if (left->live > 0)
		return left;
	batch_free(left);
	return NULL;
}
