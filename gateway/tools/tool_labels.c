/* SPDX-License-Identifier: Apache-2.0 */
/* tool_labels.c: names in ranges, found by hash along the range: a list comes seldom, and its thread has the time. */
#include "gateway/tools/tool_labels.h"

#include <assert.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { SPARE_TOOLS = 1024 };

/* Places one behind the other. */
struct range {
	size_t first, size, used;
};

struct tool_labels {
	struct metrics *metrics; /* NULL: none yet */
	struct range declared;   /* of the first generation */
	struct range later;      /* declared ones that came later; and cut from its end, ranges of upstreams that did */
	struct range *ranges;    /* by the upstream's label; of size 0: it lists no tools, or has not been here yet */
	const char **names;      /* by slot; owned */
	uint64_t *hashes;        /* by slot */
	size_t count;
};

static bool find_in(const struct tool_labels *labels, const struct range *range, const char *name, uint64_t hash,
		    unsigned *index)
{
	for (size_t i = range->first; i < range->first + range->used; i++) {
		if (labels->hashes[i] != hash || strcmp(labels->names[i], name) != 0)
			continue;
		*index = (unsigned)i;
		return true;
	}
	return false;
}

static enum slot_decision take_in(struct tool_labels *labels, struct range *range, const char *name, uint64_t hash,
				  unsigned *index)
{
	if (range->used == range->size)
		return SLOT_FULL;
	char *copy = strdup(name);
	if (!copy)
		return SLOT_NO_MEMORY;
	size_t at = range->first + range->used++;
	labels->names[at] = copy;
	labels->hashes[at] = hash;
	if (labels->metrics)
		metrics_name(labels->metrics, LABEL_TOOL, at, copy);
	*index = (unsigned)at;
	return SLOT_FOUND;
}

static uint64_t hash_of(const char *name)
{
	return XXH3_64bits(name, strlen(name));
}

/* By the order of the names, which the first generation's declared tools are in. */
static bool find_declared(const struct tool_labels *labels, const char *name, unsigned *index)
{
	size_t low = 0, high = labels->declared.used;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(labels->names[middle], name);
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
static void give_range(struct tool_labels *labels, const struct upstream_config *upstream)
{
	struct range *range = &labels->ranges[upstream->settings.label], *later = &labels->later;
	size_t left = later->size - later->used;
	if (range->size || !upstream->settings.dialect->lists_tools)
		return;
	size_t size = upstream->exposure.max_tools < left ? upstream->exposure.max_tools : left;
	later->size -= size;
	*range = (struct range){ later->first + later->size, size, 0 };
}

static bool find_any_declared(const struct tool_labels *labels, const char *name, unsigned *index)
{
	return find_declared(labels, name, index) || find_in(labels, &labels->later, name, hash_of(name), index);
}

bool tool_labels_have_room(const struct tool_labels *labels, const struct generation *next)
{
	size_t wanted = 0;
	unsigned index;
	for (size_t i = 0; i < next->tool_count; i++)
		wanted += !find_any_declared(labels, next->tools[i].name, &index);
	return wanted <= labels->later.size - labels->later.used;
}

bool tool_labels_give(struct tool_labels *labels, struct generation *next)
{
	for (size_t i = 0; i < next->tool_count; i++) {
		struct tool *tool = &next->tools[i];
		if (find_any_declared(labels, tool->name, &tool->index))
			continue;
		if (take_in(labels, &labels->later, tool->name, hash_of(tool->name), &tool->index) != SLOT_FOUND)
			return false;
	}
	for (size_t i = 0; i < next->upstream_count; i++)
		give_range(labels, &next->upstreams[i]);
	return true;
}

/* Where each range lies. */
static void lay_out(struct tool_labels *labels, const struct generation *first)
{
	labels->declared.size = labels->count = first->tool_count;
	for (size_t i = 0; i < first->upstream_count; i++) {
		const struct upstream_config *upstream = &first->upstreams[i];
		if (!upstream->settings.dialect->lists_tools)
			continue;
		labels->ranges[upstream->settings.label] =
			(struct range){ labels->count, upstream->exposure.max_tools, 0 };
		labels->count += upstream->exposure.max_tools;
	}
	labels->later = (struct range){ labels->count, SPARE_TOOLS, 0 };
	labels->count += SPARE_TOOLS;
}

static bool take_first(struct tool_labels *labels, struct generation *first)
{
	labels->names = calloc(labels->count, sizeof *labels->names);
	labels->hashes = calloc(labels->count, sizeof *labels->hashes);
	for (size_t i = 0; i < first->tool_count && labels->names && labels->hashes; i++) {
		struct tool *tool = &first->tools[i];
		if (take_in(labels, &labels->declared, tool->name, hash_of(tool->name), &tool->index) != SLOT_FOUND)
			return false;
	}
	return labels->names && labels->hashes;
}

struct tool_labels *tool_labels_new(struct generation *first, size_t upstreams)
{
	struct tool_labels *labels = calloc(1, sizeof *labels);
	if (!labels)
		return NULL;
	labels->ranges = calloc(upstreams + 1, sizeof *labels->ranges);
	if (labels->ranges) {
		lay_out(labels, first);
		if (take_first(labels, first))
			return labels;
	}
	tool_labels_free(labels);
	return NULL;
}

void tool_labels_free(struct tool_labels *labels)
{
	if (!labels)
		return;
	for (size_t i = 0; labels->names && i < labels->count; i++)
		free((void *)(uintptr_t)labels->names[i]);
	free(labels->names);
	free(labels->hashes);
	free(labels->ranges);
	free(labels);
}

size_t tool_labels_count(const struct tool_labels *labels)
{
	return labels->count;
}

const char *const *tool_labels_names(const struct tool_labels *labels)
{
	return labels->names;
}

void tool_labels_publish(struct tool_labels *labels, struct metrics *metrics)
{
	assert(!labels->metrics);
	labels->metrics = metrics;
}

enum slot_decision tool_labels_find(struct tool_labels *labels, unsigned upstream, const char *name, unsigned *index)
{
	struct range *range = &labels->ranges[upstream];
	uint64_t hash = hash_of(name);
	return find_in(labels, range, name, hash, index) ? SLOT_FOUND : take_in(labels, range, name, hash, index);
}
