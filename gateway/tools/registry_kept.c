/* SPDX-License-Identifier: Apache-2.0 */
/* registry_kept.c: what MCP servers have said, kept over a restart in the file of mcp.lists. */
#include <stdlib.h>

#include "base/log.h"
#include "gateway/tools/list_store.h"
#include "gateway/tools/registry_private.h"

#define SAVE_AGAIN_US (30 * CLOCK_US_PER_S) /* after it failed */

static void log_store(const struct registry *registry, const struct log_event *event, const char *why)
{
	log_message(event, "%s: %s", registry->generation->mcp.lists_shown, why);
}

static void take_kept(void *context, const struct kept_list *list)
{
	struct registry *registry = context;
	struct tool_source *source = registry->generation->upstreams[list->upstream].source;
	uint64_t now_s = clock_wall_us() / CLOCK_US_PER_S;
	uint64_t age_s = list->listed_at_s < now_s ? now_s - list->listed_at_s : 0;
	char error[WHY_BYTES];
	struct blob *raw = blob_copy(list->tools);
	struct mcp_tool_list *tool_list = raw ? mcp_tool_list_new(registry->generation, list->upstream, list->tools,
								  registry->tool_labels, NULL, error, sizeof error)
					      : NULL;
	if (!tool_list || !source) { /* its server is asked all the same */
		mcp_tool_list_unref(tool_list);
		blob_unref(raw);
		return;
	}
	source->tool_list = tool_list;
	source->raw = raw;
	source->instructions = list->instructions.len ? blob_copy(list->instructions) : NULL;
	source->listed_at_s = now_s - age_s;
	source->listed_us = clock_now_us() - age_s * CLOCK_US_PER_S;
	source->state = TOOL_LIST_KEPT;
	registry_note_definitions(source);
	registry->dirty = true;
	log_message(&EVENT_LIST_KEPT, "upstream %s: %zu tools, as it said %llu s ago, until it speaks",
		    registry->generation->upstreams[list->upstream].settings.name, tool_list->count,
		    (unsigned long long)age_s);
}

void registry_load(struct registry *registry)
{
	char why[LIST_STORE_WHY_BYTES];
	if (!registry->generation->mcp.lists)
		return;
	if (list_store_read(registry->generation, take_kept, registry, why) == LIST_STORE_DAMAGED)
		log_store(registry, &EVENT_LISTS_NOT_USED, why);
	if (!registry_turn(registry, NULL, NULL))
		registry->dirty = true; /* the first news will try again */
}

/* What is written, held: it is written without the mutex, which a slow disk would keep from a reload. */
struct saved_lists {
	struct generation *generation;
	struct kept_list *lists;
	struct blob **blobs; /* two each: list and instructions, NULL: none */
	size_t count;
};

static void hold_list(struct saved_lists *saved, unsigned upstream, const struct tool_source *source)
{
	struct blob *said = source->instructions ? blob_ref(source->instructions) : NULL;
	saved->blobs[2 * saved->count] = blob_ref(source->raw);
	saved->blobs[2 * saved->count + 1] = said;
	saved->lists[saved->count++] =
		(struct kept_list){ upstream, blob_slice(source->raw), blob_slice(said), source->listed_at_s };
}

/* False: out of memory. */
static bool hold_lists(struct registry *registry, struct saved_lists *saved)
{
	pthread_mutex_lock(&registry->mutex);
	struct generation *generation = saved->generation = generation_ref(registry->generation);
	saved->lists = calloc(generation->upstream_count + 1, sizeof *saved->lists);
	saved->blobs = calloc(2 * generation->upstream_count + 1, sizeof(struct blob *));
	for (unsigned i = 0; saved->lists && saved->blobs && i < generation->upstream_count; i++) {
		const struct tool_source *source = generation->upstreams[i].source;
		if (source && source->raw && !source->inherited)
			hold_list(saved, i, source);
	}
	pthread_mutex_unlock(&registry->mutex);
	return saved->lists && saved->blobs;
}

static void drop_lists(struct saved_lists *saved)
{
	for (size_t i = 0; i < 2 * saved->count; i++)
		blob_unref(saved->blobs[i]);
	free(saved->blobs);
	free(saved->lists);
	generation_unref(saved->generation);
}

void registry_save_lists(struct registry *registry)
{
	char why[LIST_STORE_WHY_BYTES];
	struct saved_lists saved = { 0 };
	bool held = hold_lists(registry, &saved);
	bool written = held && saved.generation->mcp.lists &&
		       list_store_write(saved.generation, saved.lists, saved.count, why);
	if (!written && !registry->save_failed && saved.generation->mcp.lists)
		log_message(&EVENT_LISTS_NOT_WRITTEN, "%s: %s", saved.generation->mcp.lists_shown,
			    held ? why : "out of memory");
	registry->unsaved = !written && saved.generation->mcp.lists;
	registry->save_failed = registry->unsaved;
	registry->save_us = clock_add(loop_now(registry->loop), SAVE_AGAIN_US);
	drop_lists(&saved);
}
