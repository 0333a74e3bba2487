/* SPDX-License-Identifier: Apache-2.0 */
/* hash_table.c: the chained table. Its hash is xxhash's XXH3, compiled in, so that the folder needs no library more. */
#include "base/hash_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

void table_init(struct table *table)
{
	memset(table, 0, sizeof *table);
	table->buckets = table->few;
	table->bucket_count = TABLE_FEW;
}

void table_fini(struct table *table)
{
	if (table->buckets != table->few)
		free(table->buckets);
	table_init(table);
}

static struct table_node **bucket_of(const struct table *table, uint64_t hash)
{
	return &table->buckets[hash & (table->bucket_count - 1)];
}

static void push_node(struct table *table, struct table_node *node)
{
	struct table_node **bucket = bucket_of(table, node->hash);
	node->next = *bucket;
	*bucket = node;
}

static void grow_table(struct table *table)
{
	size_t old_count = table->bucket_count;
	struct table_node **old = table->buckets;
	struct table_node **wider = calloc(old_count * 2, sizeof *wider);
	if (!wider)
		return; /* longer chains, still right */
	table->buckets = wider;
	table->bucket_count = old_count * 2;
	for (size_t i = 0; i < old_count; i++) {
		for (struct table_node *node = old[i], *next; node; node = next) {
			next = node->next;
			push_node(table, node);
		}
	}
	if (old != table->few)
		free(old);
}

void table_insert(struct table *table, struct table_node *node, uint64_t hash)
{
	if (table->count >= table->bucket_count)
		grow_table(table);
	node->hash = hash;
	push_node(table, node);
	table->count++;
}

void table_remove(struct table *table, struct table_node *node)
{
	struct table_node **at = bucket_of(table, node->hash);
	while (*at != node) {
		assert(*at);
		at = &(*at)->next;
	}
	*at = node->next;
	table->count--;
}

static struct table_node *same_hash(struct table_node *node, uint64_t hash)
{
	while (node && node->hash != hash)
		node = node->next;
	return node;
}

struct table_node *table_first(const struct table *table, uint64_t hash)
{
	return same_hash(*bucket_of(table, hash), hash);
}

struct table_node *table_again(const struct table_node *node)
{
	return same_hash(node->next, node->hash);
}

uint64_t table_hash(uint64_t seed, struct slice bytes)
{
	return XXH3_64bits_withSeed(bytes.at, bytes.len, seed);
}

uint64_t table_hash_number(uint64_t seed, uint64_t number)
{
	return XXH3_64bits_withSeed(&number, sizeof number, seed);
}
