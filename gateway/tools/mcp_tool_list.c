/* SPDX-License-Identifier: Apache-2.0 */
/* mcp_tool_list.c: a server's list taken apart, tool by tool. */
#include "gateway/tools/mcp_tool_list.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/json.h"
#include "base/arena.h"
#include "gateway/tools/name_map.h"
#include "gateway/tools/tool_names.h"
#include "gateway/tools/schema.h"

enum {
	TOOLS_MAX = 10000,
	TOOL_BYTES_MAX = 256 * 1024, /* of one definition: docs/mcp.md */
	REMOTE_NAME_BYTES = 256,
	TEXT_BYTES_MAX = 64 << 20,
	REASON_BYTES = 256
};

/* What mcp_tool_list_unref needs to know besides. */
struct kept {
	struct mcp_tool_list tool_list;
	atomic_size_t refs;
	XXH128_hash_t digest;          /* of the array's bytes */
	struct generation *generation; /* held: what its tools are declared to be */
	struct arena *arena;
};

/* One listing being made. */
struct maker {
	const struct generation *generation;
	const struct upstream_config *upstream;
	unsigned index; /* of the upstream */
	struct tool_labels *tool_labels;
	struct arena *arena;
	struct mcp_tool_list *tool_list;
	struct name_map remote;   /* the server's names so far */
	struct name_map shown;    /* names here: index into listing->tools */
	struct name_map plain;    /* the server's names that could be names here as they are */
	struct name_map declared; /* the server's names that tools: entries speak of: index into `about` */
	struct about *about;
	size_t about_count;
	bool no_memory;
};

/* A tools: entry about a tool of this server. */
struct about {
	const struct tool *tool;
	size_t next; /* another one about the same tool; NO_MORE: none */
	bool met;    /* the server lists that tool, usable or not */
};
#define NO_MORE SIZE_MAX

/* One Tool object: raw members; empty: absent. */
struct listed {
	struct slice whole, name, title, description, input, output, annotations;
	const char *remote;
};

static void refuse_listed(struct maker *maker, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);

static void refuse_listed(struct maker *maker, const char *name, const char *format, ...)
{
	char why[2 * REASON_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(why, sizeof why, format, args);
	va_end(args);
	maker->tool_list->refused[maker->tool_list->refused_count++] =
		(struct refused_tool){ name, arena_text(maker->arena, slice_of(why)) };
}

/* The buffer's bytes in the arena; the buffer is given back. NULL: out of memory, which the arena remembers or the
 * maker. */
static const char *keep_text(struct maker *maker, struct buf *text)
{
	const char *kept = text->failed ? NULL : arena_text(maker->arena, buf_slice(text));
	maker->no_memory |= kept == NULL;
	buf_fini(text);
	return kept;
}

/* ---------------------------------------------------------------- reading */

static void read_members(struct slice object, struct listed *listed)
{
	const struct {
		const char *name;
		struct slice *value;
	} members[] = {
		{ "name", &listed->name },
		{ "title", &listed->title },
		{ "description", &listed->description },
		{ "inputSchema", &listed->input },
		{ "outputSchema", &listed->output },
		{ "annotations", &listed->annotations },
	};
	struct slice name, value;
	struct json_walk walk = json_walk(object);
	listed->whole = object;
	while (json_next_member(&walk, &name, &value))
		for (size_t i = 0; i < countof(members); i++)
			if (json_type(value) != JSON_NULL && json_string_is(name, slice_of(members[i].name)))
				*members[i].value = value;
}

/* A string member's text in the arena; "" if it is none. */
static const char *take_text(struct maker *maker, struct slice raw)
{
	struct buf text = BUF_INIT(TEXT_BYTES_MAX);
	if (raw.len == 0 || json_type(raw) != JSON_STRING)
		return "";
	json_unescape(raw, &text);
	const char *kept = keep_text(maker, &text);
	return kept ? kept : "";
}

/* An annotation that is true or false; else `otherwise`. */
static bool choose_hint(const struct listed *listed, const char *name, bool otherwise)
{
	struct slice value;
	if (listed->annotations.len == 0 || json_type(listed->annotations) != JSON_OBJECT ||
	    !json_member(listed->annotations, slice_of(name), &value))
		return otherwise;
	if (json_type(value) == JSON_TRUE)
		return true;
	return json_type(value) == JSON_FALSE ? false : otherwise;
}

/* ---------------------------------------------------------------- one tool */

static bool refuse_name(struct maker *maker, const char *remote, const char *name, const char *holder)
{
	refuse_listed(maker, remote,
		      "\"%s\" is the name of the server's tool \"%.100s\" already; name this one: tools: { OTHER_NAME: "
		      "{ upstream: %s, tool: \"%.100s\" } }",
		      name, holder, maker->upstream->settings.name, remote);
	return false;
}

/* Whether it can be had under this name; if not, it has been refused. */
static bool take_name(struct maker *maker, const struct listed *listed, struct tool *tool)
{
	const char *upstream = maker->upstream->settings.name;
	if (strlen(tool->name) > SHOWN_NAME_BYTES) {
		refuse_listed(
			maker, listed->remote,
			"its name here would be %zu characters long, %d are allowed; name it: tools: { SHORT_NAME: { "
			"upstream: %s, tool: \"%.*s\" } }",
			strlen(tool->name), SHOWN_NAME_BYTES, upstream, REASON_BYTES / 2, listed->remote);
		return false;
	}
	const size_t *holder = name_map_find(&maker->shown, slice_of(tool->name));
	if (holder)
		return refuse_name(maker, listed->remote, tool->name, maker->tool_list->tools[*holder].remote);
	/* whose name had to be mended gives way to the one that is really called so, wherever in the list that is */
	const char *mended = exposure_own_part(tool->name, maker->upstream);
	if (strcmp(mended, listed->remote) != 0 && name_map_find(&maker->plain, slice_of(mended)))
		return refuse_name(maker, listed->remote, tool->name, mended);
	switch (tool_labels_find(maker->tool_labels, maker->upstream->settings.label, tool->name, &tool->index)) {
	case SLOT_FOUND:
		return true;
	case SLOT_FULL:
		refuse_listed(
			maker, listed->remote,
			"the server has brought up %zu names since the gateway started; raise upstreams.%s.max_tools",
			maker->upstream->exposure.max_tools, upstream);
		return false;
	default:
		maker->no_memory = true;
		return false;
	}
}

static void take_hints(const struct maker *maker, const struct listed *listed, struct tool *tool)
{
	const struct exposure *exposure = &maker->upstream->exposure;
	bool trusted = exposure->trust_hints, read_only = choose_hint(listed, "readOnlyHint", false);
	if (!(tool->overridden & OVERRIDES_READ_ONLY))
		tool->read_only = trusted && read_only;
	if (!(tool->overridden & OVERRIDES_IDEMPOTENT))
		tool->idempotent = trusted && choose_hint(listed, "idempotentHint", false);
	if (!(tool->overridden & OVERRIDES_DESTRUCTIVE))
		tool->destructive = choose_hint(listed, "destructiveHint", !read_only && !tool->read_only);
	if (!(tool->overridden & OVERRIDES_OPEN_WORLD))
		tool->open_world = choose_hint(listed, "openWorldHint", true);
	if (!(tool->overridden & OVERRIDES_CACHE) && trusted && read_only && tool->read_only) {
		tool->cache = exposure->cache;
		tool->scope = exposure->scope;
		tool->tags = exposure->tags;
		tool->tag_count = exposure->tag_count;
	}
	if (!tool_is_repeatable(tool))
		tool->cache = (struct cache_policy){ 0 };
}

static void take_texts(struct maker *maker, const struct listed *listed, struct tool *tool)
{
	struct slice title = listed->title;
	if (!title.len && listed->annotations.len && json_type(listed->annotations) == JSON_OBJECT &&
	    !json_member(listed->annotations, SLICE("title"), &title))
		title.len = 0;
	if (!(tool->overridden & OVERRIDES_TITLE))
		tool->title = take_text(maker, title);
	if (!(tool->overridden & OVERRIDES_DESCRIPTION))
		tool->description = take_text(maker, listed->description);
	if (!(tool->overridden & OVERRIDES_OUTPUT_SCHEMA) && listed->output.len)
		tool->output_schema = arena_text(maker->arena, listed->output);
}

/* The schema as MCP callers see it: as it came, unless there is a reason. */
static const char *shown_schema(struct maker *maker, const struct listed *listed, const struct tool *tool)
{
	struct buf shown = BUF_INIT(TEXT_BYTES_MAX);
	struct slice schema = listed->input;
	if (tool->overridden & OVERRIDES_INPUT_SCHEMA)
		return tool->input_schema;
	if (tool->constants && schema.len) {
		schema_put_without(&shown, schema, slice_of(tool->constants));
		schema = shown.failed ? schema : buf_slice(&shown);
	}
	if (!schema.len || !schema_is_object(schema)) { /* MCP clients would throw the whole list away */
		struct buf mended = BUF_INIT(TEXT_BYTES_MAX);
		schema_put_mended(&mended, schema.len ? schema : SLICE("{}"));
		mended.failed |= shown.failed;
		buf_fini(&shown);
		return keep_text(maker, &mended);
	}
	if (shown.store || shown.failed)
		return keep_text(maker, &shown);
	return arena_text(maker->arena, schema);
}

static void put_hints(struct buf *out, const struct tool *tool)
{
	const struct {
		const char *name;
		bool value;
	} hints[] = { { "readOnlyHint", tool->read_only },
		      { "idempotentHint", tool->idempotent },
		      { "destructiveHint", tool->destructive },
		      { "openWorldHint", tool->open_world } };
	for (size_t i = 0; i < countof(hints); i++)
		buf_printf(out, "%s\"%s\":%s", i ? "," : "{", hints[i].name, hints[i].value ? "true" : "false");
	buf_put_char(out, '}');
}

/* The Tool object for MCP callers: every member as it came, but for what the gateway has its own idea of. */
static const char *write_mcp(struct maker *maker, const struct listed *listed, const struct tool *tool,
			     const char *schema)
{
	static const char *const ours[] = { "title", "description", "inputSchema", "outputSchema", "annotations" };
	const bool replaced[countof(ours)] = { tool->overridden & OVERRIDES_TITLE,
					       tool->overridden & OVERRIDES_DESCRIPTION, true,
					       tool->overridden & OVERRIDES_OUTPUT_SCHEMA,
					       (tool->overridden & OVERRIDES_HINTS) ||
						       !maker->upstream->exposure.pass_hints };
	struct buf out = BUF_INIT(TEXT_BYTES_MAX);
	struct slice left_out[1 + countof(ours)] = { SLICE("name") };
	size_t count = 1;
	for (size_t i = 0; i < countof(ours); i++)
		if (replaced[i])
			left_out[count++] = slice_of(ours[i]);
	buf_put_text(&out, "{\"name\":");
	json_put_string(&out, slice_of(tool->name));
	json_put_members_except(&out, listed->whole, left_out, count);
	for (size_t i = 0; i < 2; i++) {
		if (!replaced[i])
			continue;
		buf_printf(&out, ",\"%s\":", ours[i]);
		json_put_string(&out, slice_of(i ? tool->description : tool->title));
	}
	buf_printf(&out, ",\"inputSchema\":%s", schema);
	if (replaced[3])
		buf_printf(&out, ",\"outputSchema\":%s", tool->output_schema);
	if (tool->overridden & OVERRIDES_HINTS) {
		buf_put_text(&out, ",\"annotations\":");
		put_hints(&out, tool);
	}
	buf_put_char(&out, '}');
	return keep_text(maker, &out);
}

static void hash_text(XXH3_state_t *hash, struct slice text)
{
	XXH3_128bits_update(hash, &text.len, sizeof text.len);
	if (text.len)
		XXH3_128bits_update(hash, text.at, text.len);
}

/* Changes with what a call means, as far as that can be seen from here. `of`: the upstream's version, or source. */
static const char *write_digest(struct maker *maker, const char *of, const struct listed *listed,
				const struct tool *tool)
{
	XXH3_state_t hash;
	XXH3_128bits_reset(&hash);
	hash_text(&hash, slice_of(of));
	hash_text(&hash, slice_of(listed->remote));
	hash_text(&hash, listed->input);
	hash_text(&hash, listed->output);
	hash_text(&hash, slice_of(tool->constants));
	XXH128_hash_t digest = XXH3_128bits_digest(&hash);
	return arena_printf(maker->arena, "%016llx%016llx", (unsigned long long)digest.high64,
			    (unsigned long long)digest.low64);
}

/* Its tags decide which purges reach its answers: with other tags they are other answers. NULL: out of memory. */
static const char *write_source(struct maker *maker, const struct listed *listed, const struct tool *tool)
{
	const char *of = maker->upstream->exposure.source;
	for (size_t i = 0; of && i < tool->tag_count; i++)
		of = arena_printf(maker->arena, "%s %zu:%s", of, strlen(tool->tags[i]), tool->tags[i]);
	return of ? write_digest(maker, of, listed, tool) : NULL;
}

/* False: refused, or out of memory. */
static bool compile_route(struct maker *maker, const struct listed *listed, struct tool *tool)
{
	struct dialect_error error = { 0 };
	const struct dialect *dialect = maker->upstream->settings.dialect;
	const struct route_settings settings = {
		.tool = tool->name,
		.method = listed->remote,
		.own = dialect,
		.repeatable = tool_is_repeatable(tool),
		.constants = tool->constants,
		.input_schema = listed->input.len ? arena_text(maker->arena, listed->input) : NULL,
	};
	tool->route = dialect->route_new(&settings, &error);
	if (tool->route)
		return true;
	if (error.kind == DIALECT_ERROR_NO_MEMORY)
		maker->no_memory = true;
	else
		refuse_listed(maker, listed->remote, "%s%s%s", error.part, *error.part ? ": " : "", error.text);
	return false;
}

/* `declared`: the configuration's entry for it, or NULL. */
static void add_tool(struct maker *maker, const struct listed *listed, const struct tool *declared)
{
	struct tool tool = { .upstream = maker->index, .timeout_us = maker->upstream->settings.timeout_us };
	const char *fault = NULL;
	if (declared) {
		tool = *declared;
	} else {
		struct buf name = BUF_INIT(TEXT_BYTES_MAX);
		exposure_put_name(&name, maker->upstream, slice_of(listed->remote));
		tool.name = keep_text(maker, &name);
		if (!tool.name || !take_name(maker, listed, &tool))
			return;
	}
	if (!(tool.overridden & OVERRIDES_INPUT_SCHEMA) && listed->input.len)
		fault = schema_fault(listed->input);
	if (fault) {
		refuse_listed(
			maker, listed->remote,
			"%s; declare another: tools: { %s: { upstream: %s, tool: \"%.100s\", input_schema: { type: "
			"object } } }",
			fault, tool.name, maker->upstream->settings.name, listed->remote);
		return;
	}
	tool.remote = listed->remote;
	tool.definition = XXH3_64bits(listed->whole.at, listed->whole.len);
	take_hints(maker, listed, &tool);
	take_texts(maker, listed, &tool);
	const char *schema = shown_schema(maker, listed, &tool);
	if (!schema)
		return;
	tool.mcp = write_mcp(maker, listed, &tool, schema);
	struct buf mended = BUF_INIT(TEXT_BYTES_MAX);
	schema_put_mended(&mended, slice_of(schema));
	tool.input_schema = keep_text(maker, &mended);
	tool.version = write_digest(maker, maker->upstream->exposure.version, listed, &tool);
	tool.source = write_source(maker, listed, &tool);
	if (!compile_route(maker, listed, &tool))
		return;
	name_map_add(&maker->shown, slice_of(tool.name), maker->tool_list->count);
	maker->tool_list->tools[maker->tool_list->count++] = tool;
}

/* ---------------------------------------------------------------- the list */

/* False: refused. */
static bool read_tool(struct maker *maker, struct slice element, struct listed *listed)
{
	if (json_type(element) != JSON_OBJECT) {
		refuse_listed(maker, "", "an element of the server's list is no object");
		return false;
	}
	read_members(element, listed);
	if (element.len > TOOL_BYTES_MAX) {
		char name[REASON_BYTES];
		snprintf(name, sizeof name, "%.*s", SLICE_ARG(listed->name));
		refuse_listed(maker, arena_text(maker->arena, slice_of(name)),
			      "its definition is %zu bytes long; %d are allowed", element.len, TOOL_BYTES_MAX);
		return false;
	}
	listed->remote = take_text(maker, listed->name);
	if (!*listed->remote || strlen(listed->remote) > REMOTE_NAME_BYTES ||
	    memmem(listed->name.at, listed->name.len, "\\u0000", 6)) {
		refuse_listed(maker, listed->remote, "its name is missing, is no text, or is longer than %d bytes",
			      REMOTE_NAME_BYTES);
		return false;
	}
	if (name_map_add(&maker->remote, slice_of(listed->remote), 0)) {
		refuse_listed(maker, listed->remote, "the server lists it twice; the first one counts");
		return false;
	}
	return true;
}

static void take_element(struct maker *maker, struct slice element)
{
	struct listed listed = { 0 };
	if (!read_tool(maker, element, &listed))
		return;
	const size_t *first = name_map_find(&maker->declared, slice_of(listed.remote));
	if (!first && exposure_shows(&maker->upstream->exposure, slice_of(listed.remote)))
		add_tool(maker, &listed, NULL);
	for (size_t i = first ? *first : NO_MORE; i != NO_MORE; i = maker->about[i].next) {
		maker->about[i].met = true;
		add_tool(maker, &listed, maker->about[i].tool);
	}
}

/* What the configuration speaks of and the server does not have. */
static void note_missing(struct maker *maker)
{
	for (size_t i = 0; i < maker->about_count; i++) {
		const struct tool *tool = maker->about[i].tool;
		if (!maker->about[i].met)
			refuse_listed(maker, tool->remote, "tools.%s is about it, but the server does not list it",
				      tool->name);
	}
}

/* ---------------------------------------------------------------- the maker */

/* The entries about this server's tools, those about the same one in a row. */
static bool gather_declared(struct maker *maker)
{
	for (size_t i = 0; i < maker->generation->tool_count; i++)
		maker->about_count +=
			maker->generation->tools[i].upstream == maker->index && maker->generation->tools[i].remote;
	maker->about = calloc(maker->about_count + 1, sizeof *maker->about);
	if (!maker->about) {
		maker->about_count = 0;
		return false;
	}
	for (size_t i = maker->generation->tool_count, at = maker->about_count; i-- > 0;) {
		const struct tool *tool = &maker->generation->tools[i];
		if (tool->upstream != maker->index || !tool->remote)
			continue;
		maker->about[--at] = (struct about){ .tool = tool, .next = NO_MORE };
		size_t *later = name_map_add(&maker->declared, slice_of(tool->remote), at);
		if (!later)
			continue;
		maker->about[at].next = *later;
		*later = at;
	}
	return true;
}

/* Names without an escape, and of characters that a name here may have. */
static void gather_plain(struct maker *maker, struct slice tools)
{
	struct slice element, raw;
	struct json_walk walk = json_walk(tools);
	while (json_next_element(&walk, &element))
		if (json_type(element) == JSON_OBJECT && json_member(element, SLICE("name"), &raw) &&
		    json_type(raw) == JSON_STRING && name_is_plain((struct slice){ raw.at + 1, raw.len - 2 }))
			name_map_add(&maker->plain, (struct slice){ raw.at + 1, raw.len - 2 }, 0);
}

static bool maker_init(struct maker *maker, struct slice tools)
{
	name_map_init(&maker->remote);
	name_map_init(&maker->shown);
	name_map_init(&maker->plain);
	name_map_init(&maker->declared);
	gather_plain(maker, tools);
	return gather_declared(maker);
}

static void maker_fini(struct maker *maker)
{
	maker->no_memory |= maker->remote.failed | maker->shown.failed | maker->plain.failed | maker->declared.failed;
	name_map_fini(&maker->remote);
	name_map_fini(&maker->shown);
	name_map_fini(&maker->plain);
	name_map_fini(&maker->declared);
	free(maker->about);
}

/* NULL: out of memory. */
static struct kept *kept_new(const struct generation *generation, unsigned upstream, size_t elements)
{
	size_t declared = 0;
	struct kept *kept = calloc(1, sizeof *kept);
	if (!kept)
		return NULL;
	for (size_t i = 0; i < generation->tool_count; i++)
		if (generation->tools[i].upstream == upstream)
			declared++;
	atomic_init(&kept->refs, 1);
	kept->arena = arena_new();
	if (kept->arena) {
		kept->tool_list.tools = arena_array(kept->arena, elements + declared, sizeof(struct tool));
		/* one for each element, or one for each entry about it; and one for each entry without an element */
		kept->tool_list.refused =
			arena_array(kept->arena, elements + 2 * declared, sizeof(struct refused_tool));
		if (kept->tool_list.tools && kept->tool_list.refused) {
			kept->generation = generation_ref(generation);
			return kept;
		}
	}
	arena_free(kept->arena);
	free(kept);
	return NULL;
}

/* Whether it is an array of so many elements at most. False: `error` says what it is. */
static bool check_list(unsigned depth, struct slice tools, size_t *elements, char *error, size_t error_bytes)
{
	struct json_fault fault;
	if (!json_check(tools, depth, NULL, &fault)) {
		snprintf(error, error_bytes, "its list is not valid JSON: %s at byte %zu", fault.what, fault.at);
		return false;
	}
	bool array = json_type(json_trim(tools)) == JSON_ARRAY;
	*elements = array ? json_count(tools) : 0;
	if (array && *elements <= TOOLS_MAX)
		return true;
	snprintf(error, error_bytes, "its list is no array of at most %d tools", TOOLS_MAX);
	return false;
}

struct mcp_tool_list *mcp_tool_list_new(const struct generation *generation, unsigned upstream, struct slice tools,
					struct tool_labels *tool_labels, const atomic_bool *stop, char *error,
					size_t error_bytes)
{
	struct slice element;
	size_t elements;
	if (!check_list(generation->upstreams[upstream].settings.json_depth, tools, &elements, error, error_bytes))
		return NULL;
	struct kept *kept = kept_new(generation, upstream, elements);
	if (!kept) {
		snprintf(error, error_bytes, "out of memory");
		return NULL;
	}
	struct maker maker = { .generation = generation,
			       .upstream = &generation->upstreams[upstream],
			       .index = upstream,
			       .tool_labels = tool_labels,
			       .arena = kept->arena,
			       .tool_list = &kept->tool_list };
	maker.no_memory = !maker_init(&maker, tools);
	struct json_walk walk = json_walk(tools);
	bool stopped = false;
	while (!maker.no_memory && !stopped && json_next_element(&walk, &element)) {
		take_element(&maker, element);
		stopped = stop && atomic_load_explicit(stop, memory_order_relaxed);
	}
	note_missing(&maker);
	maker_fini(&maker);
	kept->digest = XXH3_128bits(tools.at, tools.len);
	if (!maker.no_memory && !stopped && !arena_failed(kept->arena))
		return &kept->tool_list;
	mcp_tool_list_unref(&kept->tool_list);
	snprintf(error, error_bytes, stopped ? "the gateway is stopping" : "out of memory");
	return NULL;
}

struct mcp_tool_list *mcp_tool_list_ref(struct mcp_tool_list *tool_list)
{
	if (tool_list)
		atomic_fetch_add_explicit(&container_of(tool_list, struct kept, tool_list)->refs, 1,
					  memory_order_relaxed);
	return tool_list;
}

void mcp_tool_list_unref(struct mcp_tool_list *tool_list)
{
	struct kept *kept = tool_list ? container_of(tool_list, struct kept, tool_list) : NULL;
	if (!kept || atomic_fetch_sub_explicit(&kept->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (size_t i = 0; i < tool_list->count; i++)
		dialect_route_unref(tool_list->tools[i].route);
	generation_unref(kept->generation);
	arena_free(kept->arena);
	free(kept);
}

bool mcp_tool_list_is_of(const struct mcp_tool_list *tool_list, struct slice tools)
{
	XXH128_hash_t digest = XXH3_128bits(tools.at, tools.len);
	return tool_list && XXH128_isEqual(container_of(tool_list, struct kept, tool_list)->digest, digest);
}
