/* SPDX-License-Identifier: Apache-2.0 */
/* read.c: walks the tree of the file along the option table: unknown keys, missing ones, blocks and names. */
#include <stdlib.h>

#include "gateway/config/config_private.h"

/* One block being read. */
struct place {
	struct config_load *load;
	const struct node *node; /* the block's map; NULL: the file is without it */
	const char *prefix;      /* of its options in the table: "", "limits.", "tools.*." */
	const char *where;       /* of its options for people: "tools.web_search." */
	void *owner;             /* struct config, or the draft */
};

static void read_block(const struct place *place);

/* --- Defaults --- */

/* Whether the option belongs to the same owner: its path goes on without a chosen name or a list. */
static bool is_owned(const struct option *option, const char *prefix)
{
	size_t len = strlen(prefix);
	return strncmp(option->path, prefix, len) == 0 && !strpbrk(option->path + len, "*[");
}

static void set_defaults(struct config_load *load, const char *prefix, void *owner)
{
	for (size_t i = 0; i < option_count; i++)
		if (is_owned(&option_table[i], prefix) && option_has_default(&option_table[i]))
			config_read_default(load, &option_table[i], owner);
}

/* --- Named blocks: upstreams and tools --- */

static bool is_name(struct slice name, const char *extra, size_t most)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
	for (size_t i = 0; i < name.len; i++)
		if (!name.at[i] || (!strchr(letters, name.at[i]) && !strchr(extra, name.at[i])))
			return false;
	return name.len > 0 && name.len <= most;
}

static void check_name(struct config_load *load, const struct node *node, bool tool)
{
	size_t most = tool ? 128 : 64;
	bool good = is_name(node->key, tool ? "." : "", most);
	if (tool && (slice_equal(node->key, SLICE(".")) || slice_equal(node->key, SLICE(".."))))
		good = false; /* clients would take it for a folder */
	if (!good)
		config_error_key(load, node, "\"%.*s\" cannot be the name of %s: 1 to %zu of A-Z a-z 0-9 _ -%s",
				 CONFIG_NAME_BYTES, node->key.at, tool ? "a tool" : "an upstream", most,
				 tool ? " ." : "");
}

static void read_named(const struct place *place, const struct option *option, const struct node *node, void *drafts,
		       size_t draft_bytes)
{
	struct config_load *load = place->load;
	bool tool = strcmp(option->path, "tools") == 0;
	size_t i = 0;
	for (const struct node *child = node->first; child; child = child->next) {
		if (child->kind == NODE_BAD)
			continue;
		check_name(load, child, tool);
		struct place inner = { load, child, tool ? "tools.*." : "upstreams.*.", NULL,
				       (char *)drafts + i++ * draft_bytes };
		inner.where = arena_printf(load->arena, "%s.%.*s.", option->path, tool ? 128 : 64, child->key.at);
		size_t errors = load->fault_total;
		set_defaults(load, inner.prefix, inner.owner);
		read_block(&inner);
		bool faulty = load->fault_total > errors;
		if (tool)
			((struct tool_draft *)inner.owner)->faulty = faulty;
		else
			((struct upstream_draft *)inner.owner)->faulty = faulty;
	}
}

static size_t count_good(const struct node *node)
{
	size_t count = 0;
	for (const struct node *child = node->first; child; child = child->next)
		count += child->kind != NODE_BAD;
	return count;
}

static void read_upstreams(const struct place *place, const struct option *option, const struct node *node)
{
	struct config_drafts *drafts = place->load->drafts;
	size_t i = 0, count = count_good(node);
	drafts->upstreams = arena_array(place->load->arena, count, sizeof *drafts->upstreams);
	if (!drafts->upstreams)
		return;
	drafts->upstream_count = count;
	for (const struct node *child = node->first; child; child = child->next)
		if (child->kind != NODE_BAD)
			drafts->upstreams[i++].node = child;
	read_named(place, option, node, drafts->upstreams, sizeof *drafts->upstreams);
}

static void read_tools(const struct place *place, const struct option *option, const struct node *node)
{
	struct config_drafts *drafts = place->load->drafts;
	size_t i = 0, count = count_good(node);
	drafts->tools = arena_array(place->load->arena, count, sizeof *drafts->tools);
	if (!drafts->tools)
		return;
	drafts->tool_count = count;
	for (const struct node *child = node->first; child; child = child->next)
		if (child->kind != NODE_BAD)
			drafts->tools[i++].node = child;
	read_named(place, option, node, drafts->tools, sizeof *drafts->tools);
}

static void read_names(const struct place *place, const struct option *option, const struct node *node)
{
	if (node_is_null(node)) /* "tools:" with everything below it commented out */
		return;
	if (node->kind != NODE_MAP)
		config_error_at(place->load, node, "%s: must be a map from names to blocks", option->path);
	else if (node->count > option->max)
		config_error_at(place->load, node, "%s: has %zu elements, at most %lu are allowed", option->path,
				node->count, (unsigned long)option->max);
	else if (strcmp(option->path, "tools") == 0)
		read_tools(place, option, node);
	else
		read_upstreams(place, option, node);
}

/* --- A list of blocks: endpoints --- */

static void read_endpoints(const struct place *place, const struct option *option, const struct node *node,
			   const char *where)
{
	struct config_load *load = place->load;
	struct upstream_draft *draft = place->owner;
	if (node->kind != NODE_LIST)
		return config_error_at(
			load, node, "%s: must be a list of blocks, such as [ { url: http://127.0.0.1:9001 } ]", where);
	if (node->count < option->min || node->count > option->max)
		return config_error_at(load, node, "%s: needs %lu to %lu elements", where, (unsigned long)option->min,
				       (unsigned long)option->max);
	draft->endpoints = arena_array(load->arena, node->count, sizeof *draft->endpoints);
	if (!draft->endpoints)
		return;
	for (const struct node *child = node->first; child; child = child->next) {
		struct place inner = { load, child, "upstreams.*.endpoints[].",
				       arena_printf(load->arena, "%s[%zu].", where, draft->endpoint_count),
				       &draft->endpoints[draft->endpoint_count] };
		draft->endpoint_count++;
		set_defaults(load, "upstreams.*.endpoints[].", inner.owner);
		if (child->kind != NODE_BAD)
			read_block(&inner);
	}
}

/* --- A block --- */

static void note_unknown(const struct place *place, const struct node *node)
{
	const char *near = option_suggest(place->prefix, node->key);
	size_t len = strlen(place->where);
	config_error_key(place->load, node, "unknown key \"%.*s\"%s%.*s%s%s%s", CONFIG_NAME_BYTES, node->key.at,
			 len ? " in " : "", len ? (int)len - 1 : 0, place->where, near ? "; did you mean \"" : "",
			 near ? near : "", near ? "\"?" : "");
}

static void read_inner_block(const struct place *place, const struct option *option, const struct node *node,
			     const char *where)
{
	struct place inner = *place;
	const struct option *alone = node->kind == NODE_SCALAR ? option_shorthand(option) : NULL;
	if (alone) {
		config_read_value(place->load, alone, node, where, place->owner);
		return;
	}
	inner.node = node;
	inner.prefix = arena_printf(place->load->arena, "%s.", option->path);
	inner.where = arena_printf(place->load->arena, "%s.", where);
	if (!arena_failed(place->load->arena)) /* an empty prefix would be the file's top: without end */
		read_block(&inner);
}

static void read_member(const struct place *place, const struct node *node)
{
	const struct option *option = option_find(place->prefix, node->key);
	if (!option)
		return note_unknown(place, node);
	const char *where = arena_printf(place->load->arena, "%s%s", place->where, option_key(option));
	if (option->kind == OPTION_NAMED)
		read_names(place, option, node);
	else if (option->kind == OPTION_BLOCKS)
		read_endpoints(place, option, node, where);
	else if (option->kind == OPTION_BLOCK)
		read_inner_block(place, option, node, where);
	else
		config_read_value(place->load, option, node, where, place->owner);
}

static void note_missing(const struct place *place)
{
	const struct node *node = place->node;
	FOR_OPTIONS_BELOW (option, place->prefix) {
		const char *key = option_key(option);
		if (!option->fallback || strcmp(option->fallback, OPTION_REQUIRED) != 0)
			continue;
		bool there = false; /* even when it has been complained about */
		for (const struct node *child = node->first; child && !there; child = child->next)
			there = slice_equal(child->key, slice_of(key));
		if (there)
			continue;
		unsigned line = node->key_line ? node->key_line : node->line;
		config_error(place->load, line, node->key_line ? node->key_column : node->column, "%s%s is missing",
			     place->where, key);
	}
}

/* What must be in it, for who wrote just that: `endpoints: ["http://…"]`. */
static const char *required_key(const struct place *place)
{
	FOR_OPTIONS_BELOW (option, place->prefix)
		if (option->fallback && strcmp(option->fallback, OPTION_REQUIRED) == 0)
			return option_key(option);
	return NULL;
}

static void refuse_block(const struct place *place)
{
	int len = (int)strlen(place->where);
	const char *key = place->node->kind == NODE_SCALAR ? required_key(place) : NULL;
	config_error_at(place->load, place->node, "%.*s%smust be a map of options%s%s%s", len ? len - 1 : 0,
			place->where, len ? ": " : "", key ? ": write { " : "", key ? key : "", key ? ": … }" : "");
}

static void read_block(const struct place *place)
{
	const struct node *node = place->node;
	if (node->kind != NODE_MAP) {
		refuse_block(place);
		return;
	}
	for (const struct node *child = node->first; child; child = child->next)
		if (child->kind != NODE_BAD)
			read_member(place, child);
	note_missing(place);
}

void config_read(struct config_load *load, const struct node *root)
{
	struct place top = { load, root, "", "", load->config };
	set_defaults(load, "", load->config);
	if (root->kind != NODE_BAD)
		read_block(&top);
}
