/* SPDX-License-Identifier: Apache-2.0 */
/*
 * difference.c: two readings of the configuration compared by what their options say, each written as the table of
 * options has it: so no option can be forgotten here.
 */
#include "gateway/config/difference.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "gateway/config/config_private.h"

enum { TEXT_BYTES_MAX = 64 << 20 };

struct comparison {
	const struct config *before, *next;
	struct buf text_before, text_next; /* of two that are compared */
	struct buf added, removed, changed;
	struct difference *difference;
};

static const struct config *config_of(const struct generation *generation)
{
	return container_of(generation, const struct config, generation);
}

static void put_name(struct buf *list, const char *name)
{
	if (list->len)
		buf_put_char(list, ',');
	json_put_string(list, slice_of(name));
}

static bool texts_are_equal(struct comparison *comparison)
{
	bool equal = slice_equal(buf_slice(&comparison->text_before), buf_slice(&comparison->text_next));
	buf_reset(&comparison->text_before);
	buf_reset(&comparison->text_next);
	return equal;
}

/* A name that both have. */
static void note_common(struct comparison *comparison, const char *name)
{
	if (texts_are_equal(comparison))
		comparison->difference->unchanged++;
	else
		put_name(&comparison->changed, name);
}

/* The lists of one kind, as a member of `changed`. */
static void end_kind(struct comparison *comparison, const char *kind)
{
	struct difference *difference = comparison->difference;
	difference->any |= comparison->added.len || comparison->removed.len || comparison->changed.len;
	buf_printf(&difference->changed, "\"%s\":{\"added\":[", kind);
	buf_put(&difference->changed, buf_slice(&comparison->added));
	buf_put_text(&difference->changed, "],\"removed\":[");
	buf_put(&difference->changed, buf_slice(&comparison->removed));
	buf_put_text(&difference->changed, "],\"changed\":[");
	buf_put(&difference->changed, buf_slice(&comparison->changed));
	buf_put_text(&difference->changed, "]},");
	difference->changed.failed |=
		comparison->added.failed | comparison->removed.failed | comparison->changed.failed;
	buf_reset(&comparison->added);
	buf_reset(&comparison->removed);
	buf_reset(&comparison->changed);
}

/* ---------------------------------------------------------------- tools: both are in the order of their names */

static void compare_tools(struct comparison *comparison)
{
	const struct generation *before = &comparison->before->generation, *next = &comparison->next->generation;
	size_t i = 0, j = 0;
	while (i < before->tool_count || j < next->tool_count) {
		int order = i == before->tool_count ? 1
			    : j == next->tool_count ? -1
						    : strcmp(before->tools[i].name, next->tools[j].name);
		if (order < 0) {
			put_name(&comparison->removed, before->tools[i++].name);
		} else if (order > 0) {
			put_name(&comparison->added, next->tools[j++].name);
		} else {
			config_put_tool(comparison->before, i++, &comparison->text_before);
			config_put_tool(comparison->next, j, &comparison->text_next);
			note_common(comparison, next->tools[j++].name);
		}
	}
	end_kind(comparison, "tools");
}

/* ---------------------------------------------------------------- upstreams */

/* SIZE_MAX: there is none. */
static size_t find_upstream(const struct generation *generation, const char *name)
{
	for (size_t i = 0; i < generation->upstream_count; i++)
		if (strcmp(generation->upstreams[i].settings.name, name) == 0)
			return i;
	return SIZE_MAX;
}

/* What runs behind it runs on as long as one of its endpoints is the same: the others come and go. A server with sessions
 * has one. */
static bool keeps_endpoints(const struct upstream_settings *before, const struct upstream_settings *next)
{
	size_t common = 0;
	for (size_t i = 0; i < before->endpoint_count; i++)
		for (size_t j = 0; j < next->endpoint_count; j++)
			common += strcmp(before->endpoints[i], next->endpoints[j]) == 0;
	return common > 0;
}

static void compare_upstreams(struct comparison *comparison)
{
	const struct generation *before = &comparison->before->generation, *next = &comparison->next->generation;
	for (size_t i = 0; i < next->upstream_count; i++) {
		const char *name = next->upstreams[i].settings.name;
		size_t was = find_upstream(before, name);
		comparison->difference->same[i] = SIZE_MAX;
		if (was == SIZE_MAX) {
			put_name(&comparison->added, name);
			continue;
		}
		config_put_upstream(comparison->before, was, false, &comparison->text_before);
		config_put_upstream(comparison->next, i, false, &comparison->text_next);
		note_common(comparison, name);
		config_put_upstream(comparison->before, was, true, &comparison->text_before);
		config_put_upstream(comparison->next, i, true, &comparison->text_next);
		if (texts_are_equal(comparison) && before->upstreams[was].owners == next->upstreams[i].owners &&
		    keeps_endpoints(&before->upstreams[was].settings, &next->upstreams[i].settings))
			comparison->difference->same[i] = was;
	}
	for (size_t i = 0; i < before->upstream_count; i++)
		if (find_upstream(next, before->upstreams[i].settings.name) == SIZE_MAX)
			put_name(&comparison->removed, before->upstreams[i].settings.name);
	end_kind(comparison, "upstreams");
}

/* ---------------------------------------------------------------- all else */

static bool is_setting(const struct option *option)
{
	return !strpbrk(option->path, "*[") && option->kind != OPTION_BLOCK && option->kind != OPTION_NAMED &&
	       option->kind != OPTION_BLOCKS;
}

/* Whether it takes effect now. Memory's tables are made once, and are good for so many entries. */
static bool is_live(const struct comparison *comparison, const struct option *option, const struct config *process)
{
	if (strcmp(option->path, "cache.memory.size") == 0)
		return cache_can_become(process->generation.memory_bytes, comparison->next->generation.memory_bytes);
	if (strncmp(option->path, "cache.redis.", 12) == 0 && process->disk) /* which stays; one excludes the other */
		return false;
	return option_of_generation(option);
}

static void compare_settings(struct comparison *comparison, const struct config *process)
{
	struct difference *difference = comparison->difference;
	struct buf settings = BUF_INIT(TEXT_BYTES_MAX), restart = BUF_INIT(TEXT_BYTES_MAX);
	for (size_t i = 0; i < option_count; i++) {
		const struct option *option = &option_table[i];
		if (!is_setting(option))
			continue;
		bool live = is_live(comparison, option, process);
		config_put_setting(live ? comparison->before : process, option, &comparison->text_before);
		config_put_setting(comparison->next, option, &comparison->text_next);
		if (texts_are_equal(comparison))
			continue;
		put_name(live ? &settings : &restart, option->path);
		difference->same_memory &= !live || strcmp(option->path, "cache.memory.size") != 0;
		difference->same_redis &= !live || strncmp(option->path, "cache.redis.", 12) != 0;
	}
	difference->any |= settings.len > 0;
	buf_put_text(&difference->changed, "\"settings\":[");
	buf_put(&difference->changed, buf_slice(&settings));
	buf_put_char(&difference->changed, ']');
	buf_put_char(&difference->needs_restart, '[');
	buf_put(&difference->needs_restart, buf_slice(&restart));
	buf_put_char(&difference->needs_restart, ']');
	difference->changed.failed |= settings.failed | restart.failed;
	buf_fini(&settings);
	buf_fini(&restart);
}

bool difference_find(struct difference *difference, const struct config *process, const struct generation *before,
		     const struct generation *next)
{
	*difference = (struct difference){ .changed = BUF_INIT(TEXT_BYTES_MAX),
					   .needs_restart = BUF_INIT(TEXT_BYTES_MAX),
					   .same_redis = true,
					   .same_memory = true,
					   .same = calloc(next->upstream_count + 1, sizeof *difference->same) };
	struct comparison comparison = { .before = config_of(before),
					 .next = config_of(next),
					 .difference = difference };
	struct buf *texts[] = { &comparison.text_before, &comparison.text_next, &comparison.added, &comparison.removed,
				&comparison.changed };
	if (!difference->same)
		return false;
	for (size_t i = 0; i < countof(texts); i++)
		buf_init(texts[i], TEXT_BYTES_MAX);
	buf_put_char(&difference->changed, '{');
	compare_tools(&comparison);
	compare_upstreams(&comparison);
	compare_settings(&comparison, process);
	buf_put_char(&difference->changed, '}');
	bool good = !difference->changed.failed && !difference->needs_restart.failed;
	for (size_t i = 0; i < countof(texts); i++) {
		good = good && !texts[i]->failed;
		buf_fini(texts[i]);
	}
	return good;
}

void difference_fini(struct difference *difference)
{
	buf_fini(&difference->changed);
	buf_fini(&difference->needs_restart);
	free(difference->same);
}
