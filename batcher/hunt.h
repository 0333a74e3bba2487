/*
 * hunt.h: the search for the call that makes the provider refuse a whole batch: binary search, one exchange a step.
 * `suspects` hold a culprit; half of them are tried together. A half that passes leaves the culprit in the other one;
 * a half that is refused clears the other one, whose calls join `innocents` and leave in one batch when the search is
 * over. So one culprit among n calls costs at most ceil(log2(n)) tries, itself alone (it gets the provider's own word,
 * not a guess by elimination) and one batch of innocents; if those hide another culprit, that is the next hunt's.
 */
#ifndef JITNEY_BATCHER_HUNT_H
#define JITNEY_BATCHER_HUNT_H

#include "base/answer.h"
#include "base/compiler.h"
#include "batcher/batch.h"

struct hunt {
	struct batch *suspects, *innocents; /* open, in no list; NULL: none */
	struct answer *refusal;             /* what began it; a reference */
	bool all;                           /* every call of the refused batch is in here */
	bool accepted;                      /* an array has passed meanwhile */
};

/* Begin with all that live in a batch that was refused: they are moved out of it. `refusal` is borrowed. NULL when out
 * of memory (nothing moved). */
struct hunt *hunt_begin(struct batch *batch, struct answer *refusal) MUST_CHECK;
/* The batch was a try, and was refused too: the culprit is among those who still live in it. */
void hunt_narrow(struct hunt *hunt, struct batch *batch);
/* The next to try, open; NULL: no suspects are left, or *no_memory. */
struct batch *hunt_next(struct hunt *hunt, bool *no_memory) MUST_CHECK;
/* It is over: all that are left in it, open, for a batch of their own; NULL: nobody. The hunt is gone. */
struct batch *hunt_end(struct hunt *hunt) MUST_CHECK;

#endif
