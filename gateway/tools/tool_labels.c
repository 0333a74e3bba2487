/* SPDX-License-Identifier: Apache-2.0 */
/* tool_labels.c: names in ranges, found by hash along the range: a list comes seldom, and its thread has the time. */
#include "gateway/tools/tool_labels.h"

#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct range {
	size_t first, size, used;
};

struct slots {
	struct metrics *metrics; /* NULL: none yet */
	struct range *ranges;    /* by upstream */
	const char **names;      /* by slot; from `declared` on they are ours */
	uint64_t *hashes;        /* by slot */
	size_t count, declared;
};

struct slots *slots_new(const struct generation *generation)
{
	struct slots *slots = calloc(1, sizeof *slots);
	if (!slots)
		return NULL;
	slots->ranges = calloc(generation->upstream_count + 1, sizeof *slots->ranges);
	slots->declared = slots->count = generation->tool_count;
	for (size_t i = 0; slots->ranges && i < generation->upstream_count; i++) {
		if (!generation->upstreams[i].settings.dialect->lists_tools)
			continue;
		slots->ranges[i] = (struct range){ slots->count, generation->upstreams[i].exposure.max_tools, 0 };
		slots->count += slots->ranges[i].size;
	}
	slots->names = calloc(slots->count + 1, sizeof *slots->names);
	slots->hashes = calloc(slots->count + 1, sizeof *slots->hashes);
	if (!slots->ranges || !slots->names || !slots->hashes) {
		slots_free(slots);
		return NULL;
	}
	for (size_t i = 0; i < generation->tool_count; i++)
		slots->names[i] = generation->tools[i].name;
	return slots;
}

void slots_free(struct slots *slots)
{
	if (!slots)
		return;
	for (size_t i = slots->declared; slots->names && i < slots->count; i++)
		free((void *)(uintptr_t)slots->names[i]);
	free(slots->names);
	free(slots->hashes);
	free(slots->ranges);
	free(slots);
}

size_t slots_count(const struct slots *slots)
{
	return slots->count;
}

const char *const *slots_names(const struct slots *slots)
{
	return slots->names;
}

void slots_tell(struct slots *slots, struct metrics *metrics)
{
	slots->metrics = metrics;
}

enum slot_verdict slots_find(struct slots *slots, unsigned upstream, const char *name, unsigned *index)
{
	struct range *range = &slots->ranges[upstream];
	uint64_t hash = XXH3_64bits(name, strlen(name));
	for (size_t i = range->first; i < range->first + range->used; i++) {
		if (slots->hashes[i] != hash || strcmp(slots->names[i], name) != 0)
			continue;
		*index = (unsigned)i;
		return SLOT_FOUND;
	}
	if (range->used == range->size)
		return SLOT_FULL;
	char *copy = strdup(name);
	if (!copy)
		return SLOT_NO_MEMORY;
	size_t at = range->first + range->used++;
	slots->names[at] = copy;
	slots->hashes[at] = hash;
	if (slots->metrics)
		metrics_name_tool(slots->metrics, at, copy);
	*index = (unsigned)at;
	return SLOT_FOUND;
}
