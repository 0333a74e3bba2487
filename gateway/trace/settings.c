/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c: a copy of them in an arena of its own. */
#include "gateway/trace/settings.h"

#include "base/arena.h"
#include "upstream/upstream.h"

static const char *copy_text(struct arena *arena, const char *text)
{
	return text ? arena_text(arena, slice_of(text)) : NULL;
}

static void copy_route(struct arena *arena, const struct trace_route *from, struct trace_route *to)
{
	struct upstream_header *headers = arena_array(arena, from->header_count, sizeof *headers);
	*to = *from;
	to->server = copy_text(arena, from->server);
	to->path = copy_text(arena, from->path);
	to->shown = copy_text(arena, from->shown);
	to->ca_file = copy_text(arena, from->ca_file);
	for (size_t i = 0; headers && i < from->header_count; i++)
		headers[i] = (struct upstream_header){ copy_text(arena, from->headers[i].name),
						       copy_text(arena, from->headers[i].value) };
	to->headers = headers;
}

static void copy_lists(struct arena *arena, const struct trace_settings *from, struct trace_settings *to)
{
	struct trace_attribute *attributes = arena_array(arena, from->attribute_count, sizeof *attributes);
	for (size_t i = 0; attributes && i < from->attribute_count; i++)
		attributes[i] = (struct trace_attribute){ copy_text(arena, from->attributes[i].name),
							  copy_text(arena, from->attributes[i].value) };
	to->attributes = attributes;
	for (size_t i = 0; i < OTLP_SIGNAL_COUNT; i++)
		copy_route(arena, &from->routes[i], &to->routes[i]);
}

struct trace_settings *trace_settings_copy(const struct trace_settings *settings)
{
	struct arena *arena = arena_new();
	struct trace_settings *copy = arena ? arena_alloc(arena, sizeof *copy) : NULL;
	if (!copy) {
		arena_free(arena);
		return NULL;
	}
	*copy = (struct trace_settings){ .percent = settings->percent,
					 .interval_us = settings->interval_us,
					 .attribute_count = settings->attribute_count,
					 .arena = arena };
	atomic_init(&copy->users, 1);
	copy_lists(arena, settings, copy);
	if (!arena_failed(arena))
		return copy;
	arena_free(arena);
	return NULL;
}

struct trace_settings *trace_settings_ref(struct trace_settings *settings)
{
	atomic_fetch_add_explicit(&settings->users, 1, memory_order_relaxed);
	return settings;
}

void trace_settings_unref(struct trace_settings *settings)
{
	if (settings && atomic_fetch_sub_explicit(&settings->users, 1, memory_order_acq_rel) == 1)
		arena_free(settings->arena);
}
