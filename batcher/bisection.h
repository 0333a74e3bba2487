/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bisection.h: the search for the call that makes the provider refuse a whole batch: binary search, one exchange a step.
 * `candidates` hold the failing call; half of them are tried together. A half that passes leaves it in the other one; a
 * half that is refused clears the other one, whose calls travel together afterwards. The last candidate is tried alone,
 * so that what it is told was said of it. One failing call among n costs at most ceil(log2(n)) + 2 exchanges beyond the
 * refused one.
 *
 * If the provider's word blames itself (5xx, or an answer nobody can read), it may be the provider that fails, whatever
 * it is asked. So after the first half that is refused, the other half is tried; if that is refused too, one call alone;
 * and if that fails as well, it is the provider, and all are told. Three exchanges instead of a storm.
 */
#ifndef JITNEY_BATCHER_BISECTION_H
#define JITNEY_BATCHER_BISECTION_H

#include "base/answer.h"
#include "base/compiler.h"
#include "batcher/batch.h"

/* How far it is known that some call fails, and not the provider. */
enum bisection_doubt {
	BISECTION_SURE,       /* something has passed, or a call is to blame by the provider's word */
	BISECTION_FIRST_HALF, /* nothing is known yet */
	BISECTION_OTHER_HALF, /* the first one was refused; the other one is tried */
	BISECTION_ONE         /* both were; one call is tried */
};

struct bisection {
	struct batch *candidates, *cleared; /* open, in no list */
	struct batch *held;                 /* likewise: candidates set aside until there is no doubt */
	struct answer *refusal;             /* what began it; a reference */
	enum bisection_doubt doubt;
	size_t accepted; /* the largest array that has passed meanwhile */
	bool all;        /* every call of the refused batch is in here */
};

/* Begin with all that live in a batch that was refused (batch->refusal says how): they are moved out of it. NULL when
 * out of memory (nothing moved). */
struct bisection *bisection_begin(struct batch *batch) MUST_CHECK;
/* The batch was a try, and was refused too: the failing call is among those who still live in it. */
void bisection_narrow(struct bisection *bisection, struct batch *batch);
/* The batch was a try, and passed. */
void bisection_passed(struct bisection *bisection, const struct batch *batch);
/* The try of one call has failed as well as both halves: it is the provider. */
bool bisection_blames_provider(const struct bisection *bisection);
/* The next to try, open; NULL: nobody is left to be tried, or *no_memory. */
struct batch *bisection_next(struct bisection *bisection, bool *no_memory) MUST_CHECK;
/* It is over: all that are left in it, open, for a batch of their own; NULL: nobody. The bisection is gone. */
struct batch *bisection_end(struct bisection *bisection) MUST_CHECK;

#endif
