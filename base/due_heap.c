/* SPDX-License-Identifier: Apache-2.0 */
/* due_heap.c: the pairing heap. */
#include "base/due_heap.h"

#include <stddef.h>

/* Two trees become one: the later root becomes the first child of the sooner. Either may be NULL. */
static struct due_node *meld_heaps(struct due_node *a, struct due_node *b)
{
	if (!a)
		return b;
	if (!b)
		return a;
	if (b->at_us < a->at_us) {
		struct due_node *swap = a;
		a = b;
		b = swap;
	}
	b->prev = a;
	b->next = a->child;
	if (b->next)
		b->next->prev = b;
	a->child = b;
	a->next = a->prev = NULL;
	return a;
}

/* A run of siblings becomes one tree: pairs from the left, then all from the right. Two passes without recursion,
 * since a run may be as long as the heap; the first pass strings the pairs up backwards by `next`. */
static struct due_node *meld_siblings(struct due_node *first)
{
	struct due_node *pairs = NULL;
	while (first) {
		struct due_node *second = first->next;
		struct due_node *rest = second ? second->next : NULL;
		first->next = first->prev = NULL;
		if (second)
			second->next = second->prev = NULL;
		struct due_node *pair = meld_heaps(first, second);
		pair->next = pairs;
		pairs = pair;
		first = rest;
	}
	struct due_node *tree = NULL;
	while (pairs) {
		struct due_node *rest = pairs->next;
		pairs->next = NULL;
		tree = meld_heaps(tree, pairs);
		pairs = rest;
	}
	return tree;
}

/* Cut a node and all below it out of its siblings. */
static void cut_node(struct due_node *node)
{
	if (node->prev->child == node)
		node->prev->child = node->next;
	else
		node->prev->next = node->next;
	if (node->next)
		node->next->prev = node->prev;
	node->next = node->prev = NULL;
}

void due_clear(struct due_heap *heap, struct due_node *node)
{
	if (!node->listed)
		return;
	struct due_node *below = node->child;
	node->child = NULL;
	node->listed = false;
	if (node == heap->root) {
		heap->root = meld_siblings(below);
		return;
	}
	cut_node(node);
	heap->root = meld_heaps(heap->root, meld_siblings(below));
}

void due_set(struct due_heap *heap, struct due_node *node, uint64_t at_us)
{
	if (node->listed && node->at_us == at_us)
		return;
	due_clear(heap, node);
	node->at_us = at_us;
	node->child = node->next = node->prev = NULL;
	node->listed = true;
	heap->root = meld_heaps(heap->root, node);
}

struct due_node *due_next(struct due_node *node)
{
	if (node->child)
		return node->child;
	while (node && !node->next) {
		while (node->prev && node->prev->child != node) /* to the first sibling, below the parent */
			node = node->prev;
		node = node->prev;
	}
	return node ? node->next : NULL;
}
