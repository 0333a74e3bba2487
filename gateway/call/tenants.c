/* SPDX-License-Identifier: Apache-2.0 */
/* tenants.c: rows in the order of use, found by a hash. */
#include "gateway/call/tenants.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash_table.h"
#include "base/random.h"
#include "base/spin_bit.h"

enum { COPIED_AT_ONCE = 16 };

struct tenant_row {
	struct table_node node;
	TAILQ_ENTRY(tenant_row) next;
	size_t name_len;
	struct tenant tenant;
};

struct tenants {
	struct spin_bit bit; /* of rows and others */
	/* all below: the worker's */
	uint64_t seed;
	struct table table;
	TAILQ_HEAD(, tenant_row) used;  /* who has called last is last */
	struct tenant_figures unplaced; /* came while a reader was in the way */
	size_t count;
	struct tenant_figures others;
	struct tenant_row rows[TENANTS_KEPT];
};

struct tenants *tenants_new(void)
{
	struct tenants *tenants = calloc(1, sizeof *tenants);
	if (!tenants)
		return NULL;
	tenants->seed = random_fresh(tenants);
	spin_bit_init(&tenants->bit);
	table_init(&tenants->table);
	TAILQ_INIT(&tenants->used);
	return tenants;
}

void tenants_free(struct tenants *tenants)
{
	if (!tenants)
		return;
	table_fini(&tenants->table);
	free(tenants);
}

void tenant_figures_add(struct tenant_figures *to, const struct tenant_figures *more)
{
	to->calls += more->calls;
	to->errors += more->errors;
	to->upstream_us += more->upstream_us;
}

static struct tenant_row *find_row(const struct tenants *tenants, struct slice name, uint64_t hash)
{
	struct table_node *node = table_first(&tenants->table, hash);
	for (; node; node = table_again(node)) {
		struct tenant_row *row = container_of(node, struct tenant_row, node);
		if (slice_equal(name, (struct slice){ row->tenant.name, row->name_len }))
			return row;
	}
	return NULL;
}

/* An unused one, or that of who has called longest ago. */
static struct tenant_row *make_room(struct tenants *tenants)
{
	if (tenants->count < TENANTS_KEPT)
		return &tenants->rows[tenants->count++];
	struct tenant_row *row = TAILQ_FIRST(&tenants->used);
	tenant_figures_add(&tenants->others, &row->tenant.figures);
	table_remove(&tenants->table, &row->node);
	TAILQ_REMOVE(&tenants->used, row, next);
	return row;
}

static struct tenant_row *add_row(struct tenants *tenants, struct slice name, uint64_t hash, uint64_t wall_us)
{
	struct tenant_row *row = make_room(tenants);
	*row = (struct tenant_row){ .name_len = name.len, .tenant.since_us = wall_us };
	memcpy(row->tenant.name, name.at, name.len);
	table_insert(&tenants->table, &row->node, hash);
	return row;
}

void tenants_count(struct tenants *tenants, struct slice name, const struct tenant_figures *came, uint64_t wall_us)
{
	if (name.len >= TENANTS_NAME_BYTES) /* who is as long is refused: caller.h */
		name.len = TENANTS_NAME_BYTES - 1;
	if (!spin_bit_try(&tenants->bit)) {
		tenant_figures_add(&tenants->unplaced, came);
		return;
	}
	uint64_t hash = table_hash(tenants->seed, name);
	struct tenant_row *row = find_row(tenants, name, hash);
	if (!row)
		row = add_row(tenants, name, hash, wall_us);
	else
		TAILQ_REMOVE(&tenants->used, row, next);
	TAILQ_INSERT_TAIL(&tenants->used, row, next);
	tenant_figures_add(&row->tenant.figures, came);
	if (tenants->unplaced.calls) {
		tenant_figures_add(&tenants->others, &tenants->unplaced);
		tenants->unplaced = (struct tenant_figures){ 0 };
	}
	spin_bit_leave(&tenants->bit);
}

/* The others first: who makes room later is in the rows no more, but not twice. */
size_t tenants_copy(struct tenants *tenants, struct tenant *to, struct tenant_figures *others)
{
	size_t count = 0, end = 1;
	for (size_t i = 0; i < end; i += COPIED_AT_ONCE) {
		spin_bit_take(&tenants->bit);
		if (i == 0)
			tenant_figures_add(others, &tenants->others);
		end = tenants->count;
		for (size_t j = i; j < i + COPIED_AT_ONCE && j < end; j++)
			to[count++] = tenants->rows[j].tenant;
		spin_bit_leave(&tenants->bit);
	}
	return count;
}
