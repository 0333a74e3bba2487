/* SPDX-License-Identifier: Apache-2.0 */
/* name_map.c: open addressing, at most half full; the hash has a seed that nobody outside knows. */
#include "gateway/tools/name_map.h"

#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/random.h"

enum { FIRST_SIZE = 16 };

struct name_place {
	struct slice name; /* at NULL: free */
	size_t number;
};

void name_map_init(struct name_map *map)
{
	*map = (struct name_map){ .seed = random_fresh(map) };
}

void name_map_fini(struct name_map *map)
{
	free(map->places);
	map->places = NULL;
	map->size = map->count = 0;
}

/* The place of a name, or the free one where it would go. The map is not full. */
static struct name_place *place_of(const struct name_map *map, struct slice name)
{
	size_t i = XXH3_64bits_withSeed(name.len ? name.at : "", name.len, map->seed) & (map->size - 1);
	while (map->places[i].name.at && !slice_equal(map->places[i].name, name))
		i = (i + 1) & (map->size - 1);
	return &map->places[i];
}

/* False: out of memory, and nothing has changed. */
static bool grow_map(struct name_map *map)
{
	struct name_map larger = *map;
	larger.size = map->size ? 2 * map->size : FIRST_SIZE;
	larger.places = calloc(larger.size, sizeof *larger.places);
	if (!larger.places)
		return false;
	for (size_t i = 0; i < map->size; i++)
		if (map->places[i].name.at)
			*place_of(&larger, map->places[i].name) = map->places[i];
	free(map->places);
	*map = larger;
	return true;
}

size_t *name_map_add(struct name_map *map, struct slice name, size_t number)
{
	if (!name.at)
		name = SLICE("");
	if (2 * map->count >= map->size && !grow_map(map)) {
		map->failed = true;
		return NULL;
	}
	struct name_place *place = place_of(map, name);
	if (place->name.at)
		return &place->number;
	*place = (struct name_place){ name, number };
	map->count++;
	return NULL;
}

size_t *name_map_find(const struct name_map *map, struct slice name)
{
	struct name_place *place = map->size ? place_of(map, name.at ? name : SLICE("")) : NULL;
	return place && place->name.at ? &place->number : NULL;
}
