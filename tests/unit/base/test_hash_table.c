/* SPDX-License-Identifier: Apache-2.0 */
/* The table: finds what is in, also when hashes collide and when there is no memory to grow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/hash_table.h"
#include "tests/support/alloc_fail.h"

struct thing {
	struct table_node node;
	uint64_t key;
	bool in;
};

static struct thing *find(const struct table *table, uint64_t hash, uint64_t key)
{
	for (struct table_node *node = table_first(table, hash); node; node = table_again(node)) {
		struct thing *thing = container_of(node, struct thing, node);
		if (thing->key == key)
			return thing;
	}
	return NULL;
}

static void churn(uint64_t hashes)
{
	enum { COUNT = 500, STEPS = 20000 };
	static struct thing things[COUNT];
	struct table table;
	table_init(&table);
	unsigned seed = 3;
	size_t count = 0;
	for (int step = 0; step < STEPS; step++) {
		size_t key = (size_t)rand_r(&seed) % COUNT;
		struct thing *thing = &things[key];
		uint64_t hash = key % hashes;
		assert_ptr_equal(find(&table, hash, key), thing->in ? thing : NULL);
		thing->key = key;
		if (thing->in)
			table_remove(&table, &thing->node);
		else
			table_insert(&table, &thing->node, hash);
		count += thing->in ? (size_t)-1 : 1;
		thing->in = !thing->in;
		assert_int_equal(table.count, count);
	}
	for (size_t i = 0; i < COUNT; i++)
		things[i].in = false;
	table_fini(&table);
}

static void what_is_in_is_found(void **state)
{
	(void)state;
	churn(UINT64_MAX);
}

static void colliding_hashes_are_told_apart_by_their_keys(void **state)
{
	(void)state;
	churn(5);
}

static void without_memory_to_grow_it_goes_on(void **state)
{
	(void)state;
	for (size_t n = 1; n < 8; n++) {
		alloc_fail_at(n);
		churn(UINT64_MAX);
		alloc_reset();
	}
}

static void the_hash_depends_on_seed_and_every_byte(void **state)
{
	(void)state;
	char bytes[40] = { 0 };
	uint64_t plain = table_hash(1, (struct slice){ bytes, sizeof bytes });
	assert_true(plain != table_hash(2, (struct slice){ bytes, sizeof bytes }));
	for (size_t i = 0; i < sizeof bytes; i++) {
		bytes[i] = 1;
		assert_true(plain != table_hash(1, (struct slice){ bytes, sizeof bytes }));
		bytes[i] = 0;
	}
	assert_true(table_hash(1, (struct slice){ bytes, 8 }) != table_hash(1, (struct slice){ bytes, 9 }));
	assert_true(table_hash_number(1, 7) != table_hash_number(1, 8));
	assert_true(table_hash(1, (struct slice){ NULL, 0 }) == table_hash(1, (struct slice){ "", 0 }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_in_is_found),
		cmocka_unit_test(colliding_hashes_are_told_apart_by_their_keys),
		cmocka_unit_test(without_memory_to_grow_it_goes_on),
		cmocka_unit_test(the_hash_depends_on_seed_and_every_byte),
	};
	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
