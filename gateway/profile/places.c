/* SPDX-License-Identifier: Apache-2.0 */
/* places.c: a table by address. */
#include "gateway/profile/places.h"

#include <stdlib.h>

const struct place *places_find(const struct places *places, uintptr_t address)
{
	struct table_node *node = table_first(&places->table, table_hash_number(0, address));
	while (node && container_of(node, struct place, node)->address != address)
		node = table_again(node);
	return node ? container_of(node, struct place, node) : NULL;
}

static void add_place(struct places *places, const struct namer *namer, uintptr_t address)
{
	if (places_find(places, address))
		return;
	struct place *place = &places->all[places->count];
	*place = (struct place){ .address = address, .number = places->count };
	place->symbol = namer->name(namer->context, address);
	table_insert(&places->table, &place->node, table_hash_number(0, address));
	places->count++;
}

bool places_init(struct places *places, const struct stacks *stacks, const struct namer *namer)
{
	size_t most = 1;
	for (size_t i = 0; i < stacks->count; i++)
		most += stacks->all[i]->depth;
	places->count = 0;
	places->all = calloc(most, sizeof *places->all);
	table_init(&places->table);
	if (!places->all)
		return false;
	for (size_t i = 0; i < stacks->count; i++)
		for (unsigned j = 0; j < stacks->all[i]->depth; j++)
			add_place(places, namer, stacks->all[i]->frames[j]);
	return true;
}

void places_fini(struct places *places)
{
	table_fini(&places->table);
	free(places->all);
}
