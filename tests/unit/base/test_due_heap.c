/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of due times: always knows the first, whatever is moved and taken out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/due_heap.h"

enum { COUNT = 400, STEPS = 40000 };

static uint64_t smallest(const struct due_node *nodes)
{
	uint64_t least = CLOCK_NEVER;
	for (size_t i = 0; i < COUNT; i++)
		if (nodes[i].listed && nodes[i].at_us < least)
			least = nodes[i].at_us;
	return least;
}

static void the_first_is_the_smallest_after_any_change(void **state)
{
	(void)state;
	static struct due_node nodes[COUNT];
	struct due_heap heap = { NULL };
	unsigned seed = 11;
	for (int step = 0; step < STEPS; step++) {
		struct due_node *node = &nodes[rand_r(&seed) % COUNT];
		if (rand_r(&seed) % 3 == 0)
			due_clear(&heap, node);
		else
			due_set(&heap, node, (uint64_t)(rand_r(&seed) % 1000));
		assert_true(due_first_us(&heap) == smallest(nodes));
	}
	uint64_t last_us = 0;
	while (heap.root) {
		struct due_node *node = heap.root;
		assert_true(node->at_us >= last_us);
		last_us = node->at_us;
		due_clear(&heap, node);
		assert_false(node->listed);
	}
	assert_true(smallest(nodes) == CLOCK_NEVER);
}

static void a_long_run_of_siblings_does_not_use_the_stack(void **state)
{
	(void)state;
	enum { MANY = 500000 };
	struct due_node *nodes = calloc(MANY, sizeof *nodes);
	struct due_heap heap = { NULL };
	for (size_t i = 0; i < MANY; i++)
		due_set(&heap, &nodes[i], i);
	for (size_t i = 0; i < MANY; i++) {
		assert_true(due_first_us(&heap) == i);
		due_clear(&heap, &nodes[i]);
	}
	assert_null(heap.root);
	free(nodes);
}

static void clearing_what_is_not_in_changes_nothing(void **state)
{
	(void)state;
	struct due_heap heap = { NULL };
	struct due_node in = { 0 }, out = { 0 };
	due_set(&heap, &in, 5);
	due_clear(&heap, &out);
	assert_true(due_first_us(&heap) == 5);
	due_clear(&heap, &in);
	due_clear(&heap, &in);
	assert_true(due_first_us(&heap) == CLOCK_NEVER);
}

/* Its parent, siblings and children may be in any shape. */
static void all_are_met_once_on_the_way_through(void **state)
{
	(void)state;
	static struct due_node nodes[COUNT];
	struct due_heap heap = { NULL };
	unsigned seed = 12;
	assert_null(heap.root);
	for (int step = 0; step < STEPS / 40; step++) {
		bool met[COUNT] = { false };
		struct due_node *changed = &nodes[rand_r(&seed) % COUNT];
		if (rand_r(&seed) % 3 == 0)
			due_clear(&heap, changed);
		else
			due_set(&heap, changed, (uint64_t)(rand_r(&seed) % 1000));
		for (struct due_node *node = heap.root; node; node = due_next(node)) {
			assert_false(met[node - nodes]);
			met[node - nodes] = true;
		}
		for (size_t i = 0; i < COUNT; i++)
			assert_int_equal(met[i], nodes[i].listed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_is_the_smallest_after_any_change),
		cmocka_unit_test(a_long_run_of_siblings_does_not_use_the_stack),
		cmocka_unit_test(clearing_what_is_not_in_changes_nothing),
		cmocka_unit_test(all_are_met_once_on_the_way_through),
	};
	return cmocka_run_group_tests_name("due", tests, NULL, NULL);
}
