/* catalogue.c: a snapshot of the tools, and who keeps it alive. */
#include "gateway/catalogue.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { LINE_BYTES = 64 };

/* One worker's count, on a cache line of its own. */
struct holds {
	_Alignas(LINE_BYTES) size_t count; /* that worker's */
};

struct catalogue {
	atomic_size_t refs;              /* a: one for each worker with holds, and those of catalogue_ref */
	uint64_t generation;             /* c */
	const struct tool **tools;       /* c: sorted by name */
	size_t tool_count;               /* c */
	struct definitions *definitions; /* c */
	struct holds holds[];            /* by worker */
};
/* a atomic, c constant */

static struct catalogue *make_empty(const struct config *config)
{
	size_t bytes = sizeof(struct catalogue) + config->workers * sizeof(struct holds);
	struct catalogue *catalogue = aligned_alloc(LINE_BYTES, bytes);
	if (!catalogue)
		return NULL;
	memset(catalogue, 0, bytes);
	atomic_init(&catalogue->refs, 1);
	catalogue->tools = calloc(config->tool_count + 1, sizeof *catalogue->tools);
	if (catalogue->tools)
		return catalogue;
	free(catalogue);
	return NULL;
}

struct catalogue *catalogue_new(const struct config *config)
{
	struct catalogue *catalogue = make_empty(config);
	if (!catalogue)
		return NULL;
	for (size_t i = 0; i < config->tool_count; i++)
		catalogue->tools[catalogue->tool_count++] = &config->tools[i];
	catalogue->definitions = definitions_new(config, catalogue->tools, catalogue->tool_count);
	if (catalogue->definitions)
		return catalogue;
	catalogue_unref(catalogue);
	return NULL;
}

struct catalogue *catalogue_ref(struct catalogue *catalogue)
{
	atomic_fetch_add_explicit(&catalogue->refs, 1, memory_order_relaxed);
	return catalogue;
}

void catalogue_unref(struct catalogue *catalogue)
{
	if (!catalogue || atomic_fetch_sub_explicit(&catalogue->refs, 1, memory_order_acq_rel) > 1)
		return;
	definitions_free(catalogue->definitions);
	free(catalogue->tools);
	free(catalogue);
}

struct catalogue *catalogue_hold(struct catalogue *catalogue, unsigned worker)
{
	if (catalogue->holds[worker].count++ == 0)
		catalogue_ref(catalogue);
	return catalogue;
}

void catalogue_drop(struct catalogue *catalogue, unsigned worker)
{
	assert(catalogue->holds[worker].count > 0);
	if (--catalogue->holds[worker].count == 0)
		catalogue_unref(catalogue);
}

const struct tool *catalogue_tool(const struct catalogue *catalogue, struct slice name)
{
	size_t low = 0, high = catalogue->tool_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct slice at = slice_of(catalogue->tools[middle]->name);
		size_t shorter = at.len < name.len ? at.len : name.len;
		int order = shorter ? memcmp(at.at, name.at, shorter) : 0;
		if (order == 0 && at.len == name.len)
			return catalogue->tools[middle];
		if (order < 0 || (order == 0 && at.len < name.len))
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

size_t catalogue_count(const struct catalogue *catalogue)
{
	return catalogue->tool_count;
}

const struct tool *catalogue_nth(const struct catalogue *catalogue, size_t n)
{
	assert(n < catalogue->tool_count);
	return catalogue->tools[n];
}

const struct definitions *catalogue_definitions(const struct catalogue *catalogue)
{
	return catalogue->definitions;
}

uint64_t catalogue_generation(const struct catalogue *catalogue)
{
	return catalogue->generation;
}
