/* SPDX-License-Identifier: Apache-2.0 */
/* dialect_rest.c: dialect rest in the configuration: defaults of a request, and key lists. */
#include <strings.h>

#include "gateway/config/config_private.h"
#include "upstream/dialects/media.h"

/* The fewest keys that a tool of this upstream lets stand in one request; 0: no tool has key lists. */
static unsigned fewest_keys(const struct config_drafts *drafts, const struct upstream_draft *upstream)
{
	unsigned fewest = 0;
	for (size_t i = 0; i < drafts->tool_count; i++) {
		const struct tool_draft *tool = &drafts->tools[i];
		const struct key_list_settings *keys = &tool->own_settings.key_list;
		if (!keys->parameter || !tool->upstream || strcmp(tool->upstream, upstream->node->key.at) != 0)
			continue;
		unsigned max = keys->max ? keys->max : KEY_LIST_DEFAULT_MAX;
		fewest = fewest && fewest < max ? fewest : max;
	}
	return fewest;
}

/* A tool's body is written for the type that the tool names, JSON if it names none: another name for the same bytes
 * would let a value become more than a value. */
static void check_headers(struct config_load *load, const struct upstream_draft *draft)
{
	const struct upstream_settings *settings = &draft->config.settings;
	const struct node *headers = node_find(draft->node, "headers");
	for (size_t i = 0; headers && i < settings->header_count; i++)
		if (strcasecmp(settings->headers[i].name, "Content-Type") == 0 &&
		    !media_is_json(slice_of(settings->headers[i].value)))
			config_error_key(load, headers,
					 "upstreams.%s.headers: a Content-Type that is not JSON's belongs to the tools "
					 "whose bodies are of it: tools.*.request.headers",
					 draft->node->key.at);
}

/* An upstream that has tools with key lists has a dialect of its own. */
static void check_rest(struct config_load *load, struct upstream_draft *draft)
{
	check_headers(load, draft);
	unsigned keys = fewest_keys(load->drafts, draft);
	if (keys && !(draft->own = key_list_new(keys)))
		config_error_key(load, draft->node, "upstreams.%s: out of memory", draft->node->key.at);
}

static void fill_key_list(struct key_list_settings *keys)
{
	keys->separator = keys->separator ? keys->separator : ",";
	keys->list = keys->list ? keys->list : ".";
	keys->result = keys->result ? keys->result : ".";
	keys->missing = keys->missing ? keys->missing : "error";
	keys->max = keys->max ? keys->max : KEY_LIST_DEFAULT_MAX;
}

static void fill_tool(struct config_load *load, struct tool_draft *draft)
{
	struct route_settings *request = &draft->request;
	struct key_list_settings *keys = &draft->own_settings.key_list;
	if (keys->parameter)
		fill_key_list(keys);
	if (!request->http_method)
		request->http_method = keys->parameter ? "GET" : "POST";
	if (!request->path)
		request->path = arena_printf(load->arena, "/%s", draft->tool.name);
}

static const char *const tool_options[] = { "request", "request.key_list", NULL };

const struct config_dialect config_rest = {
	.dialect = &dialect_rest, .tool_options = tool_options, .check = check_rest, .fill_tool = fill_tool
};
