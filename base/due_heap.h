/* SPDX-License-Identifier: Apache-2.0 */
/*
 * due_heap.h: things ordered by when they are due: an intrusive pairing heap (Fredman, Sedgewick, Sleator, Tarjan
 * 1986). Adding is O(1), taking out any member O(log n) amortised, and nothing is ever allocated, so nothing can fail:
 * 10,000 waiting calls, each with a deadline of its own, cost a few pointers each. One thread.
 */
#ifndef JITNEY_BASE_DUE_HEAP_H
#define JITNEY_BASE_DUE_HEAP_H

#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"

/* Embedded in its owner; zeroed before first use. */
struct due_node {
	struct due_node *child; /* first of those due no sooner */
	struct due_node *next;  /* sibling */
	struct due_node *prev;  /* sibling before, or the parent if this is its first child; NULL: the root */
	uint64_t at_us;         /* when; only due_set writes it */
	bool listed;            /* in a heap */
};

struct due_heap {
	struct due_node *root; /* due first; NULL: empty */
};

/* Put in, or move if it is in this heap already. */
void due_set(struct due_heap *heap, struct due_node *node, uint64_t at_us);
/* Take out; nothing happens if it is not in. */
void due_clear(struct due_heap *heap, struct due_node *node);

/* The one after it, in no order; NULL: it was the last. From the root on all are met once if none is put in, moved or
 * taken out meanwhile. */
struct due_node *due_next(struct due_node *node);

/* When the first is due; CLOCK_NEVER if empty. */
static inline uint64_t due_first_us(const struct due_heap *heap)
{
	return heap->root ? heap->root->at_us : CLOCK_NEVER;
}

#endif
