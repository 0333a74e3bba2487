/* SPDX-License-Identifier: Apache-2.0 */
/* definitions.c: tools written down in six formats of "a function with a JSON Schema", and in OpenAPI. */
#include "gateway/tools/definitions.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/json.h"
#include "gateway/tools/openapi.h"
#include "gateway/tools/schema.h"

enum { DOCUMENT_BYTES_MAX = 256 << 20 };

struct definitions {
	atomic_uint refs;
	struct document lists[FORMAT_COUNT];
	struct document openapi;
	uint32_t *mcp_places; /* where each tool begins in the list of FORMAT_MCP, and where one more would */
	size_t count;         /* of tools */
};

_Static_assert(DOCUMENT_BYTES_MAX < UINT32_MAX, "places");

enum definition_format definition_format(struct slice word)
{
	static const char *const words[] = {
#define X(name, text) text,
		DEFINITION_FORMATS(X)
#undef X
	};
	if (word.len == 0)
		return FORMAT_JITNEY;
	for (int i = 0; i < FORMAT_COUNT; i++)
		if (slice_equal(word, slice_of(words[i])))
			return (enum definition_format)i;
	return FORMAT_COUNT;
}

bool definition_name_fits(const struct tool *tool, enum definition_format format)
{
	size_t len = strlen(tool->name);
	if (format == FORMAT_OPENAI || format == FORMAT_OPENAI_RESPONSES)
		return len <= 64 && !strchr(tool->name, '.');
	if (format == FORMAT_ANTHROPIC)
		return !strchr(tool->name, '.') &&
		       (!tool->input_schema || schema_names_are_plain(slice_of(tool->input_schema)));
	if (format == FORMAT_GEMINI)
		return tool->name[0] == '_' || (tool->name[0] | 0x20) >= 'a';
	return true;
}

/* ,"name":<raw JSON> unless there is none */
static void put_raw(struct buf *out, const char *name, const char *raw)
{
	if (raw)
		buf_printf(out, ",\"%s\":%s", name, raw);
}

static void put_name(struct buf *out, const struct tool *tool)
{
	buf_put_text(out, "\"name\":");
	json_put_string(out, slice_of(tool->name));
}

static const char *say_bool(bool value)
{
	return value ? "true" : "false";
}

static void put_jitney(struct buf *out, const struct generation *generation, const struct tool *tool)
{
	buf_put_char(out, '{');
	put_name(out, tool);
	json_put_text_member(out, "title", tool->title);
	json_put_text_member(out, "description", tool->description);
	put_raw(out, "input_schema", tool->input_schema);
	put_raw(out, "output_schema", tool->output_schema);
	buf_printf(out, ",\"annotations\":{\"read_only\":%s,\"idempotent\":%s,\"destructive\":%s,\"open_world\":%s}",
		   say_bool(tool->read_only), say_bool(tool->idempotent), say_bool(tool->destructive),
		   say_bool(tool->open_world));
	json_put_text_member(out, "upstream", generation->upstreams[tool->upstream].settings.name);
	buf_printf(out, ",\"timeout_ms\":%llu", (unsigned long long)(tool->timeout_us / CLOCK_US_PER_MS));
	if (tool->cache.ttl_us)
		buf_printf(out, ",\"cache\":{\"ttl_ms\":%llu}",
			   (unsigned long long)(tool->cache.ttl_us / CLOCK_US_PER_MS));
	buf_put_char(out, '}');
}

static void put_mcp(struct buf *out, const struct tool *tool)
{
	if (tool->mcp) {
		buf_put_text(out, tool->mcp);
		return;
	}
	buf_put_char(out, '{');
	put_name(out, tool);
	json_put_text_member(out, "title", tool->title);
	json_put_text_member(out, "description", tool->description);
	put_raw(out, "inputSchema", tool->input_schema);
	put_raw(out, "outputSchema", tool->output_schema);
	buf_printf(out,
		   ",\"annotations\":{\"readOnlyHint\":%s,\"idempotentHint\":%s,\"destructiveHint\":%s,"
		   "\"openWorldHint\":%s}}",
		   say_bool(tool->read_only), say_bool(tool->idempotent), say_bool(tool->destructive),
		   say_bool(tool->open_world));
}

static void put_function(struct buf *out, const struct tool *tool, const char *schema_name, const char *rest)
{
	put_name(out, tool);
	json_put_text_member(out, "description", tool->description);
	buf_printf(out, ",\"%s\":", schema_name);
	schema_put_for_vendors(out, tool->input_schema, tool->mcp != NULL);
	buf_put_text(out, rest);
}

static void put_tool(struct buf *out, const struct generation *generation, const struct tool *tool,
		     enum definition_format format)
{
	switch (format) {
	case FORMAT_JITNEY:
		put_jitney(out, generation, tool);
		break;
	case FORMAT_MCP:
		put_mcp(out, tool);
		break;
	case FORMAT_OPENAI:
		buf_put_text(out, "{\"type\":\"function\",\"function\":{");
		put_function(out, tool, "parameters", ",\"strict\":false}}");
		break;
	case FORMAT_OPENAI_RESPONSES:
		buf_put_text(out, "{\"type\":\"function\",");
		put_function(out, tool, "parameters", ",\"strict\":false}");
		break;
	case FORMAT_ANTHROPIC:
		buf_put_char(out, '{');
		put_function(out, tool, "input_schema", "}");
		break;
	case FORMAT_GEMINI:
		buf_put_char(out, '{');
		put_function(out, tool, "parametersJsonSchema", "}");
		break;
	case FORMAT_COUNT:
		break;
	}
}

static const struct {
	const char *before, *after;
} frames[FORMAT_COUNT] = {
	[FORMAT_JITNEY] = { "{\"tools\":[", "]}\n" },
	[FORMAT_MCP] = { "{\"tools\":[", "]}\n" },
	[FORMAT_OPENAI] = { "[", "]\n" },
	[FORMAT_OPENAI_RESPONSES] = { "[", "]\n" },
	[FORMAT_ANTHROPIC] = { "[", "]\n" },
	[FORMAT_GEMINI] = { "[{\"functionDeclarations\":[", "]}]\n" },
};

/* places: where each begins that is in it, or NULL. */
static void put_list(struct buf *out, const struct generation *generation, const struct tool *const *tools,
		     size_t count, enum definition_format format, uint32_t *places)
{
	const char *comma = "";
	buf_put_text(out, frames[format].before);
	for (size_t i = 0; i < count; i++) {
		if (!definition_name_fits(tools[i], format))
			continue;
		buf_put_text(out, comma);
		if (places)
			places[i] = (uint32_t)out->len;
		put_tool(out, generation, tools[i], format);
		comma = ",";
	}
	if (places)
		places[count] = (uint32_t)(out->len + strlen(comma));
	buf_put_text(out, frames[format].after);
}

/* ---------------------------------------------------------------- documents */

static bool finish_document(struct document *document, struct buf *text)
{
	document->blob = buf_take_blob(text);
	buf_fini(text);
	if (!document->blob)
		return false;
	snprintf(document->etag, sizeof document->etag, "\"%016llx\"",
		 (unsigned long long)XXH3_64bits(document->blob->bytes, document->blob->len));
	return true;
}

struct definitions *definitions_new(const struct generation *generation, const struct tool *const *tools, size_t count)
{
	struct definitions *definitions = calloc(1, sizeof *definitions);
	if (!definitions)
		return NULL;
	atomic_init(&definitions->refs, 1);
	definitions->count = count;
	definitions->mcp_places = calloc(count + 1, sizeof *definitions->mcp_places);
	struct buf text = BUF_INIT(DOCUMENT_BYTES_MAX);
	bool ok = definitions->mcp_places;
	for (int i = 0; i < FORMAT_COUNT && ok; i++) {
		put_list(&text, generation, tools, count, (enum definition_format)i,
			 i == FORMAT_MCP ? definitions->mcp_places : NULL);
		ok = finish_document(&definitions->lists[i], &text);
	}
	if (ok) {
		openapi_put(&text, tools, count);
		ok = finish_document(&definitions->openapi, &text);
	}
	if (!ok) {
		definitions_unref(definitions);
		return NULL;
	}
	return definitions;
}

struct definitions *definitions_ref(struct definitions *definitions)
{
	if (definitions)
		atomic_fetch_add_explicit(&definitions->refs, 1, memory_order_relaxed);
	return definitions;
}

void definitions_unref(struct definitions *definitions)
{
	if (!definitions || atomic_fetch_sub_explicit(&definitions->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (int i = 0; i < FORMAT_COUNT; i++)
		blob_unref(definitions->lists[i].blob);
	blob_unref(definitions->openapi.blob);
	free(definitions->mcp_places);
	free(definitions);
}

const struct document *definitions_list(const struct definitions *definitions, enum definition_format format)
{
	return &definitions->lists[format];
}

struct slice definitions_mcp_range(const struct definitions *definitions, size_t first, size_t last)
{
	const uint32_t *places = definitions->mcp_places;
	assert(first <= last && last <= definitions->count);
	if (first == last)
		return (struct slice){ "", 0 };
	return (struct slice){ definitions->lists[FORMAT_MCP].blob->bytes + places[first],
			       places[last] - 1 - places[first] };
}

const struct document *definitions_openapi(const struct definitions *definitions)
{
	return &definitions->openapi;
}

bool definitions_tool(const struct generation *generation, const struct tool *tool, enum definition_format format,
		      struct document *document)
{
	struct buf text = BUF_INIT(DOCUMENT_BYTES_MAX);
	put_tool(&text, generation, tool, format);
	buf_put_char(&text, '\n');
	return finish_document(document, &text);
}
