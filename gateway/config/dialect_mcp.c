/* SPDX-License-Identifier: Apache-2.0 */
/* dialect_mcp.c: dialects mcp and mcp-stdio in the configuration: the version of the protocol, one server, no
 * arrays. */
#include "gateway/config/config_private.h"

static void check_mcp(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *endpoints = node_find(draft->node, "endpoints");
	if (draft->endpoint_count > 1 && endpoints)
		config_error_key(
			load, endpoints,
			"upstreams.%s.endpoints: an MCP session is one server's: name one, or one upstream for "
			"each",
			draft->node->key.at);
	if (!node_find(draft->node,
		       "batch.mode")) /* arrays are no part of MCP since 2025-06-18: they must be asked for */
		draft->config.batch.mode = BATCH_OFF;
	if (!draft->config.settings.mcp_protocol)
		draft->config.settings.mcp_protocol = "auto";
}

static void fill_tool(struct config_load *load, struct tool_draft *draft)
{
	(void)load;
	draft->request.method = NULL; /* shown as `tool` */
}

static const char *const options[] = { "protocol", NULL };
/* config_check_listed says what a method of these is called */
static const char *const tool_options[] = { "method", NULL };

const struct config_dialect config_mcp = { .dialect = &dialect_mcp,
					   .options = options,
					   .tool_options = tool_options,
					   .check = check_mcp,
					   .fill_tool = fill_tool };
/* Without a version: legacy; some servers end at a question they do not know. */
const struct config_dialect config_mcp_stdio = {
	.dialect = &dialect_mcp_stdio, .options = options, .tool_options = tool_options, .fill_tool = fill_tool
};
