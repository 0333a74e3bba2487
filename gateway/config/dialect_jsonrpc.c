/* SPDX-License-Identifier: Apache-2.0 */
/* dialect_jsonrpc.c: dialects jsonrpc and jsonrpc-stdio in the configuration: a tool's method. */
#include "gateway/config/config_private.h"

static void fill_tool(struct config_load *load, struct tool_draft *draft)
{
	(void)load;
	if (!draft->request.method)
		draft->request.method = draft->tool.name;
}

static const char *const tool_options[] = { "method", NULL };

const struct config_dialect config_jsonrpc = { .dialect = &dialect_jsonrpc,
					       .tool_options = tool_options,
					       .fill_tool = fill_tool };
const struct config_dialect config_jsonrpc_stdio = { .dialect = &dialect_jsonrpc_stdio, .tool_options = tool_options };
