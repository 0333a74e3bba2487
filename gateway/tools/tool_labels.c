/* SPDX-License-Identifier: Apache-2.0 */
/* tool_labels.c: names in ranges, found by hash along the range: a list comes seldom, and its thread has the time. */
#include "gateway/tools/tool_labels.h"

#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { SPARE_TOOLS = 1024 };

/* Places one behind the other. */
struct range {
	size_t first, size, used;
};

struct slots {
	struct metrics *metrics; /* NULL: none yet */
	struct range declared;   /* of the first generation */
	struct range later;      /* declared ones that came later; and cut from its end, ranges of upstreams that did */
	struct range *ranges;    /* by the upstream's label; of size 0: it lists no tools, or has not been here yet */
	const char **names;      /* by slot; owned */
	uint64_t *hashes;        /* by slot */
	size_t count;
};

static bool find_in(const struct slots *slots, const struct range *range, const char *name, uint64_t hash,
		    unsigned *index)
{
	for (size_t i = range->first; i < range->first + range->used; i++) {
		if (slots->hashes[i] != hash || strcmp(slots->names[i], name) != 0)
			continue;
		*index = (unsigned)i;
		return true;
	}
	return false;
}

static enum slot_decision take_in(struct slots *slots, struct range *range, const char *name, uint64_t hash,
				 unsigned *index)
{
	if (range->used == range->size)
		return SLOT_FULL;
	char *copy = strdup(name);
	if (!copy)
		return SLOT_NO_MEMORY;
	size_t at = range->first + range->used++;
	slots->names[at] = copy;
	slots->hashes[at] = hash;
	if (slots->metrics)
		metrics_name(slots->metrics, LABEL_TOOL, at, copy);
	*index = (unsigned)at;
	return SLOT_FOUND;
}

static uint64_t hash_of(const char *name)
{
	return XXH3_64bits(name, strlen(name));
}

/* By the order of the names, which the first generation's declared tools are in. */
static bool find_declared(const struct slots *slots, const char *name, unsigned *index)
{
	size_t low = 0, high = slots->declared.used;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(slots->names[middle], name);
		if (order == 0) {
			*index = (unsigned)middle;
			return true;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* An upstream that has come later and lists its tools: as many as there still are for it. */
static void give_range(struct slots *slots, const struct upstream_config *upstream)
{
	struct range *range = &slots->ranges[upstream->settings.label], *later = &slots->later;
	size_t left = later->size - later->used;
	if (range->size || !upstream->settings.dialect->lists_tools)
		return;
	size_t size = upstream->exposure.max_tools < left ? upstream->exposure.max_tools : left;
	later->size -= size;
	*range = (struct range){ later->first + later->size, size, 0 };
}

bool slots_give(struct slots *slots, struct generation *next)
{
	for (size_t i = 0; i < next->tool_count; i++) {
		struct tool *tool = &next->tools[i];
		uint64_t hash = hash_of(tool->name);
		if (find_declared(slots, tool->name, &tool->index) ||
		    find_in(slots, &slots->later, tool->name, hash, &tool->index))
			continue;
		if (take_in(slots, &slots->later, tool->name, hash, &tool->index) != SLOT_FOUND)
			return false;
	}
	for (size_t i = 0; i < next->upstream_count; i++)
		give_range(slots, &next->upstreams[i]);
	return true;
}

/* Where each range lies. */
static void lay_out(struct slots *slots, const struct generation *first)
{
	slots->declared.size = slots->count = first->tool_count;
	for (size_t i = 0; i < first->upstream_count; i++) {
		const struct upstream_config *upstream = &first->upstreams[i];
		if (!upstream->settings.dialect->lists_tools)
			continue;
		slots->ranges[upstream->settings.label] =
			(struct range){ slots->count, upstream->exposure.max_tools, 0 };
		slots->count += upstream->exposure.max_tools;
	}
	slots->later = (struct range){ slots->count, SPARE_TOOLS, 0 };
	slots->count += SPARE_TOOLS;
}

static bool take_first(struct slots *slots, struct generation *first)
{
	slots->names = calloc(slots->count, sizeof *slots->names);
	slots->hashes = calloc(slots->count, sizeof *slots->hashes);
	for (size_t i = 0; i < first->tool_count && slots->names && slots->hashes; i++) {
		struct tool *tool = &first->tools[i];
		if (take_in(slots, &slots->declared, tool->name, hash_of(tool->name), &tool->index) != SLOT_FOUND)
			return false;
	}
	return slots->names && slots->hashes;
}

struct slots *slots_new(struct generation *first, size_t upstreams)
{
	struct slots *slots = calloc(1, sizeof *slots);
	if (!slots)
		return NULL;
	slots->ranges = calloc(upstreams + 1, sizeof *slots->ranges);
	if (slots->ranges) {
		lay_out(slots, first);
		if (take_first(slots, first))
			return slots;
	}
	slots_free(slots);
	return NULL;
}

void slots_free(struct slots *slots)
{
	if (!slots)
		return;
	for (size_t i = 0; slots->names && i < slots->count; i++)
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

enum slot_decision slots_find(struct slots *slots, unsigned upstream, const char *name, unsigned *index)
{
	struct range *range = &slots->ranges[upstream];
	uint64_t hash = hash_of(name);
	return find_in(slots, range, name, hash, index) ? SLOT_FOUND : take_in(slots, range, name, hash, index);
}
