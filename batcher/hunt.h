/*
 * hunt.h: the search for the call that makes the provider refuse a whole batch: binary search, one exchange a step.
 * `suspects` hold a culprit; half of them are tried together. A half that passes leaves the culprit in the other one;
 * a half that is refused clears the other one, whose calls join `innocents`.
 *
 * When one suspect is left, all others of the narrowest refused batch having passed, it is `accused`: the innocents go
 * next, all together. If they pass, and are no fewer than the narrowest batch that was refused, then neither being an
 * array nor its size was the reason: the accused gets the provider's own word about that batch, and needs no exchange
 * of its own. Otherwise it is tried alone. So one culprit among n calls costs at most ceil(log2(n)) + 1 exchanges
 * beyond the refused one.
 */
#ifndef JITNEY_BATCHER_HUNT_H
#define JITNEY_BATCHER_HUNT_H

#include "base/answer.h"
#include "base/compiler.h"
#include "batcher/batch.h"

struct hunt {
	struct batch *suspects, *innocents; /* open, in no list */
	struct batch *accused;              /* likewise, of one call */
	struct answer *refusal;             /* what began it; a reference */
	struct answer *word;                /* about the narrowest refused batch; a reference */
	size_t narrowest;                   /* its size */
	size_t unproven;        /* of its calls, those that have not passed since; SIZE_MAX: some are gone */
	struct answer *verdict; /* the word about the accused; a reference; NULL: nobody is */
	size_t enough;          /* an array of so many that passes proves it */
	size_t accepted;        /* the largest array that has passed meanwhile */
	bool whole;             /* the suspects are tried all together */
	bool all;               /* every call of the refused batch is in here */
};

/* Begin with all that live in a batch that was refused (batch->refusal says how): they are moved out of it. NULL when
 * out of memory (nothing moved). */
struct hunt *hunt_begin(struct batch *batch) MUST_CHECK;
/* The batch was a try, and was refused too: the culprit is among those who still live in it. */
void hunt_narrow(struct hunt *hunt, struct batch *batch);
/* The batch was a try, and passed. */
void hunt_passed(struct hunt *hunt, const struct batch *batch);
/* The next to try, open; NULL: nobody is left to be tried, or *no_memory. */
struct batch *hunt_next(struct hunt *hunt, bool *no_memory) MUST_CHECK;
/* A culprit has been told; whether innocents are left whose passing would prove the accused: they are tried next. */
bool hunt_clears(struct hunt *hunt) MUST_CHECK;
/* Whether the accused is proven: to be told `verdict`. */
bool hunt_proven(const struct hunt *hunt);
/* The accused has been told. */
void hunt_convicted(struct hunt *hunt);
/* It is over: all that are left in it, open, for a batch of their own, and the accused for one of its own; NULL:
 * nobody. The hunt is gone. */
struct batch *hunt_end(struct hunt *hunt, struct batch **accused) MUST_CHECK;

#endif
