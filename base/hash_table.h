/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash_table.h: things found by a hash: an intrusive chained table. The finder compares the whole key; the table only
 * narrows the search. A few members need no memory, and when there is none to grow, chains get longer and nothing
 * fails. One thread.
 */
#ifndef JITNEY_BASE_HASH_TABLE_H
#define JITNEY_BASE_HASH_TABLE_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"

enum { TABLE_FEW = 8 }; /* buckets that need no memory of their own */

/* Embedded in its owner. */
struct table_node {
	struct table_node *next;
	uint64_t hash;
};

struct table {
	struct table_node **buckets; /* a power of two of them */
	size_t bucket_count;
	size_t count; /* members */
	struct table_node *few[TABLE_FEW];
};

/* Not to be moved or copied afterwards: it may point into itself. */
void table_init(struct table *table);
/* Members are forgotten, not freed. */
void table_fini(struct table *table);

/* It is in no table, and nothing equal is in this one. */
void table_insert(struct table *table, struct table_node *node, uint64_t hash);
/* It is in (asserted). */
void table_remove(struct table *table, struct table_node *node);
/* The first with this hash, then the next one; NULL at the end. */
struct table_node *table_first(const struct table *table, uint64_t hash);
struct table_node *table_again(const struct table_node *node);

/* Keyed hash of bytes or of a number. `seed` is random: callers choose what goes in here (their credential is part of
 * a lane's key) and must not be able to choose collisions. */
uint64_t table_hash(uint64_t seed, struct slice bytes);
uint64_t table_hash_number(uint64_t seed, uint64_t number);

#endif
