/*
 * check_dialect.c: what each dialect asks of the options of its upstreams and tools, beyond the option table: blocks
 * that only one of them knows, dialects made from an upstream's settings, the tools' routes.
 */
#include <stdio.h>

#include "gateway/config/config_private.h"

static bool is(const char *name, const struct dialect *dialect)
{
	return name && strcmp(name, dialect->name) == 0;
}

/* A dialect's error at the option it is about, if the file has it in `block`; else at the block. `where`: of the block,
 * for people. */
static void note_error(struct config_load *load, const struct node *block, const char *where,
		       const struct dialect_error *error)
{
	const struct node *node = *error->part ? node_find(block, error->part) : NULL;
	const char *dot = *error->part ? "." : "";
	if (node)
		config_error_at(load, node, "%s.%s: %s", where, error->part, error->text);
	else
		config_error_key(load, block, "%s%s%s: %s", where, dot, error->part, error->text);
}

/* --- upstreams --- */

static void compile_envelope(struct config_load *load, struct upstream_draft *draft, const struct node *block)
{
	struct dialect_error error = { 0 };
	envelope_fill(&draft->envelope);
	draft->own = envelope_new(&draft->envelope, &error);
	if (!draft->own)
		note_error(load, block, arena_printf(load->arena, "upstreams.%s.envelope", draft->node->key.at),
			   &error);
}

static void check_envelope(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *block = node_find(draft->node, "envelope");
	const struct node *type = node_find(block, "content_type");
	const char *wrong = draft->envelope.content_type ? value_header(slice_of(draft->envelope.content_type)) : NULL;
	if (wrong && type)
		config_error_at(load, type, "upstreams.%s.envelope.content_type: %s", draft->node->key.at, wrong);
	if (block && draft->dialect && !is(draft->dialect, &dialect_envelope))
		config_error_key(load, block, "upstreams.%s.envelope: is for dialect envelope, not %s",
				 draft->node->key.at, draft->dialect);
	else if (!block && is(draft->dialect, &dialect_envelope))
		config_error_key(load, draft->node, "upstreams.%s.envelope is missing: dialect envelope needs it",
				 draft->node->key.at);
	else if (block && draft->dialect && block->kind == NODE_MAP && !draft->faulty && !arena_failed(load->arena))
		compile_envelope(load, draft, block);
}

static void check_graphql(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *block = node_find(draft->node, "graphql");
	if (!is(draft->dialect, &dialect_graphql)) {
		if (block && draft->dialect)
			config_error_key(load, block, "upstreams.%s.graphql: is for dialect graphql, not %s",
					 draft->node->key.at, draft->dialect);
		return;
	}
	draft->graphql.merge = draft->graphql.merge ? draft->graphql.merge : "alias";
	draft->graphql.max = draft->graphql.max ? draft->graphql.max : GRAPHQL_DEFAULT_MAX;
	draft->own = graphql_new(&draft->graphql);
	if (!draft->own)
		config_error_key(load, draft->node, "upstreams.%s: out of memory", draft->node->key.at);
}

/* The fewest keys that a tool of this upstream lets stand in one request; 0: no tool has key lists. */
static unsigned fewest_keys(const struct config_drafts *drafts, const struct upstream_draft *upstream)
{
	unsigned fewest = 0;
	for (size_t i = 0; i < drafts->tool_count; i++) {
		const struct tool_draft *tool = &drafts->tools[i];
		const struct key_list_settings *keys = &tool->key_list;
		if (!keys->parameter || !tool->upstream || strcmp(tool->upstream, upstream->node->key.at) != 0)
			continue;
		unsigned max = keys->max ? keys->max : KEY_LIST_DEFAULT_MAX;
		fewest = fewest && fewest < max ? fewest : max;
	}
	return fewest;
}

static void check_rest(struct config_load *load, struct upstream_draft *draft)
{
	unsigned keys = is(draft->dialect, &dialect_rest) ? fewest_keys(load->drafts, draft) : 0;
	if (keys && !(draft->own = key_list_new(keys)))
		config_error_key(load, draft->node, "upstreams.%s: out of memory", draft->node->key.at);
}

/* Arrays are no part of MCP since 2025-06-18, so they must be asked for. */
static void check_mcp(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *node = node_find(draft->node, "protocol"), *endpoints = node_find(draft->node, "endpoints");
	if (is(draft->dialect, &dialect_mcp_stdio))
		return; /* without a version: legacy; some servers end at a question they do not know */
	if (!is(draft->dialect, &dialect_mcp)) {
		if (node && draft->dialect)
			config_error_key(load, node, "upstreams.%s.protocol: is for dialects mcp and mcp-stdio, not %s",
					 draft->node->key.at, draft->dialect);
		return;
	}
	if (draft->endpoint_count > 1 && endpoints)
		config_error_key(
			load, endpoints,
			"upstreams.%s.endpoints: an MCP session is one server's: name one, or one upstream for "
			"each",
			draft->node->key.at);
	if (!node_find(draft->node, "batch.mode"))
		draft->config.batch.mode = BATCH_OFF;
	if (!draft->config.settings.mcp_protocol)
		draft->config.settings.mcp_protocol = "auto";
}

void config_check_dialect(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *node = node_find(draft->node, "dialect");
	const struct dialect *dialect = draft->dialect ? dialect_find(slice_of(draft->dialect)) : NULL;
	if (draft->dialect && !dialect && node)
		config_error_at(load, node, "upstreams.%s.dialect: %s is not supported by this version (%s)",
				draft->node->key.at, draft->dialect, JITNEY_VERSION);
	check_envelope(load, draft);
	check_graphql(load, draft);
	check_rest(load, draft);
	check_mcp(load, draft);
	bool has_own = dialect && dialect->release;
	draft->config.settings.dialect = draft->own || has_own ? draft->own : dialect;
}

/* --- tools --- */

/* Which dialects know an option of a tool. */
static const struct {
	const char *option;
	const struct dialect *of[5]; /* the later ones may be NULL */
} tool_options[] = {
	{ "models", { &dialect_openai_embeddings, NULL } },
	{ "operation", { &dialect_graphql, NULL } },
	{ "request", { &dialect_rest, &dialect_envelope } },
	{ "method", { &dialect_jsonrpc, &dialect_envelope, &dialect_mcp, &dialect_jsonrpc_stdio, &dialect_mcp_stdio } },
};

/* Options of another dialect would do nothing, silently. */
static bool check_options(struct config_load *load, const struct tool_draft *draft, const char *dialect)
{
	for (size_t i = 0; i < countof(tool_options); i++) {
		const struct node *node = node_find(draft->node, tool_options[i].option);
		const struct dialect *const *of = tool_options[i].of;
		struct buf names = BUF_INIT(256);
		bool known = false;
		for (size_t k = 0; k < countof(tool_options[i].of) && of[k]; k++) {
			known |= is(dialect, of[k]);
			buf_printf(&names, "%s%s", k ? " or " : "", of[k]->name);
		}
		bool misplaced = node && !known && !(node->kind == NODE_LIST && node->count == 0);
		if (misplaced)
			config_error_key(load, node, "tools.%s.%s: is for dialect %s, not %s", draft->node->key.at,
					 tool_options[i].option, buf_cstr(&names), dialect);
		buf_fini(&names);
		if (misplaced)
			return false;
	}
	if (node_find(draft->node, "request.key_list") && !is(dialect, &dialect_rest)) {
		config_error_key(load, node_find(draft->node, "request.key_list"),
				 "tools.%s.request.key_list: is for dialect rest, not %s", draft->node->key.at,
				 dialect);
		return false;
	}
	return true;
}

/* At the option it is about: of the request, or of the tool itself. */
static void note_route_error(struct config_load *load, const struct tool_draft *draft,
			     const struct dialect_error *error)
{
	const struct node *request = node_find(draft->node, "request"), *method = node_find(draft->node, "method");
	const char *tool = draft->node->key.at, *colon = *error->part ? ": " : "";
	const struct node *inner = *error->part && request ? node_find(request, error->part) : NULL;
	const struct node *own = *error->part ? node_find(draft->node, error->part) : NULL;
	if (inner)
		config_error_at(load, inner, "tools.%s.request.%s: %s", tool, error->part, error->text);
	else if (own)
		config_error_at(load, own, "tools.%s.%s: %s", tool, error->part, error->text);
	else
		config_error_key(load,
				 request  ? request
				 : method ? method
					  : draft->node,
				 "tools.%s: %s%s%s", tool, error->part, colon, error->text);
}

static void compile_route(struct config_load *load, struct tool_draft *draft, const struct dialect *dialect)
{
	struct dialect_error error = { 0 };
	draft->request.tool = draft->node->key.at;
	draft->request.own = dialect;
	draft->request.repeatable = tool_is_repeatable(&draft->tool);
	draft->request.key_list = draft->key_list.parameter ? &draft->key_list : NULL;
	draft->tool.route = dialect->route_new(&draft->request, &error);
	if (!draft->tool.route)
		note_route_error(load, draft, &error);
}

void config_check_route(struct config_load *load, struct tool_draft *draft, const struct upstream_draft *upstream)
{
	const struct dialect *dialect = upstream->config.settings.dialect;
	if (check_options(load, draft, dialect->name) && config_check_listed(load, draft, dialect) &&
	    !draft->faulty) /* else a template may be missing */
		compile_route(load, draft, dialect);
}

static void fill_key_list(struct key_list_settings *keys)
{
	keys->separator = keys->separator ? keys->separator : ",";
	keys->list = keys->list ? keys->list : ".";
	keys->result = keys->result ? keys->result : ".";
	keys->missing = keys->missing ? keys->missing : "error";
	keys->max = keys->max ? keys->max : KEY_LIST_DEFAULT_MAX;
}

void config_fill_request(struct config_load *load, struct tool_draft *draft, const struct dialect *dialect)
{
	struct route_settings *request = &draft->request;
	if ((is(dialect->name, &dialect_jsonrpc) || is(dialect->name, &dialect_mcp)) && !request->method)
		request->method = draft->tool.name;
	if (dialect->lists_tools)
		request->method = NULL; /* shown as `tool` */
	if (!is(dialect->name, &dialect_rest))
		return; /* what an envelope's item does not name has no meaning */
	if (draft->key_list.parameter)
		fill_key_list(&draft->key_list);
	if (!request->http_method)
		request->http_method = draft->key_list.parameter ? "GET" : "POST";
	if (!request->path)
		request->path = arena_printf(load->arena, "/%s", draft->tool.name);
}
