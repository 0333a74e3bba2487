/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name_map.h: texts and a number for each, found in constant time whoever chose the texts: servers do. Texts are
 * borrowed. One thread.
 */
#ifndef JITNEY_GATEWAY_TOOLS_NAME_MAP_H
#define JITNEY_GATEWAY_TOOLS_NAME_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/slice.h"

struct name_map {
	struct name_place *places; /* NULL: empty */
	size_t size, count;        /* size: a power of two */
	uint64_t seed;
	bool failed; /* memory was out: something may be missing */
};

/* Empty: nothing is allocated before the first name. */
void name_map_init(struct name_map *map);
void name_map_fini(struct name_map *map);

/* Put a name in. NULL: it is new, or memory is out (map->failed). Else it was there: where its number is. */
size_t *name_map_add(struct name_map *map, struct slice name, size_t number);
/* NULL: it is not there. */
size_t *name_map_find(const struct name_map *map, struct slice name);

#endif
