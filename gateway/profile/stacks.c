/* SPDX-License-Identifier: Apache-2.0 */
/* stacks.c: a table of stacks by their frames. */
#include "gateway/profile/stacks.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 64 };

void stacks_init(struct stacks *stacks, size_t max_bytes)
{
	*stacks = (struct stacks){ .max_bytes = max_bytes };
	table_init(&stacks->table);
}

void stacks_fini(struct stacks *stacks)
{
	table_fini(&stacks->table);
	for (size_t i = 0; i < stacks->count; i++)
		free(stacks->all[i]);
	free(stacks->all);
}

static bool is_same(const struct stack *stack, const char *root, const uintptr_t *frames, unsigned depth)
{
	return stack->root == root && stack->depth == depth &&
	       memcmp(stack->frames, frames, depth * sizeof *frames) == 0;
}

static bool reserve_place(struct stacks *stacks)
{
	if (stacks->count < stacks->room)
		return true;
	size_t room = stacks->room ? stacks->room * 2 : FIRST_ROOM;
	struct stack **all = reallocarray(stacks->all, room, sizeof(struct stack *));
	if (!all)
		return false;
	stacks->all = all;
	stacks->room = room;
	return true;
}

static struct stack *add_stack(struct stacks *stacks, const char *root, const uintptr_t *frames, unsigned depth)
{
	size_t frame_bytes = depth * sizeof *frames, bytes = sizeof(struct stack) + frame_bytes;
	if (bytes > stacks->max_bytes - stacks->bytes || !reserve_place(stacks))
		return NULL;
	struct stack *stack = malloc(bytes);
	if (!stack)
		return NULL;
	*stack = (struct stack){ .root = root, .depth = depth };
	memcpy(stack->frames, frames, frame_bytes);
	stacks->bytes += bytes;
	stacks->all[stacks->count++] = stack;
	return stack;
}

void stacks_add(struct stacks *stacks, const char *root, const uintptr_t *frames, unsigned depth, uint64_t value)
{
	uint64_t hash = table_hash((uintptr_t)root, (struct slice){ (const char *)frames, depth * sizeof *frames });
	struct table_node *node = table_first(&stacks->table, hash);
	struct stack *stack = NULL;
	for (; node; node = table_again(node)) {
		stack = container_of(node, struct stack, node);
		if (is_same(stack, root, frames, depth))
			break;
	}
	if (!node) {
		stack = add_stack(stacks, root, frames, depth);
		if (!stack) {
			stacks->lost++;
			return;
		}
		table_insert(&stacks->table, &stack->node, hash);
	}
	stack->value += value;
	stack->count++;
}
