/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mcp_tool_list.h: the tools that one MCP server says it has, as callers get to see them: named, overridden by the
 * configuration's tools: entries, checked; and what of it was refused, with the reason. Immutable, shared by the
 * catalogues that it is part of.
 */
#ifndef JITNEY_GATEWAY_TOOLS_MCP_TOOL_LIST_H
#define JITNEY_GATEWAY_TOOLS_MCP_TOOL_LIST_H

#include <stdatomic.h>

#include "base/slice.h"
#include "gateway/config/config.h"
#include "gateway/tools/tool_labels.h"

/* A tool that the server has and callers do not get to see, though nobody wished so. */
struct refused_tool {
	const char *name; /* the server's own; "" if it has none */
	const char *why;  /* what is wrong and what to write */
};

struct mcp_tool_list {
	struct tool *tools; /* in the server's order; the same one may be there under several names */
	size_t count;
	struct refused_tool *refused;
	size_t refused_count;
};

/*
 * `tools`: a JSON array of MCP Tool objects; nothing of it is borrowed. The listing holds the generation; tool_labels
 * are used in here only. stop: looked at between tools, so that a long list holds up no end; NULL: never. Takes time in
 * proportion to the list. Returns NULL with `error` set: not such an array, stopped, or out of memory.
 */
struct mcp_tool_list *mcp_tool_list_new(const struct generation *generation, unsigned upstream, struct slice tools,
					struct tool_labels *tool_labels, const atomic_bool *stop, char *error,
					size_t error_bytes) MUST_CHECK;
/* Any thread. NULL is allowed. */
struct mcp_tool_list *mcp_tool_list_ref(struct mcp_tool_list *tool_list);
void mcp_tool_list_unref(struct mcp_tool_list *tool_list);
/* Whether it was made of these very bytes. */
bool mcp_tool_list_is_of(const struct mcp_tool_list *tool_list, struct slice tools);

#endif
