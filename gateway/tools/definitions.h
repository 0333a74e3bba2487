/* SPDX-License-Identifier: Apache-2.0 */
/*
 * definitions.h: the tools as documents: in the formats agent frameworks paste into their requests, and as OpenAPI.
 * Whole lists are written once, with the catalogue they are of; a single tool's definition is written when asked for.
 */
#ifndef JITNEY_GATEWAY_TOOLS_DEFINITIONS_H
#define JITNEY_GATEWAY_TOOLS_DEFINITIONS_H

#include "base/blob.h"
#include "base/buf.h"
#include "gateway/config/config.h"

/* X(NAME, word): what ?format= takes. Shapes as the vendors document them: docs/api.md shows each. */
/* clang-format off */
#define DEFINITION_FORMATS(X)                                                                        \
	X(JITNEY, "jitney")                                                                          \
	X(MCP, "mcp")                           /* tools/list of MCP 2025-11-25 */                   \
	X(OPENAI, "openai")                     /* Chat Completions */                               \
	X(OPENAI_RESPONSES, "openai-responses")                                                      \
	X(ANTHROPIC, "anthropic")               /* Messages */                                       \
	X(GEMINI, "gemini")                     /* generateContent */
/* clang-format on */

enum definition_format {
#define X(name, word) FORMAT_##name,
	DEFINITION_FORMATS(X)
#undef X
		FORMAT_COUNT
};

/* A document and its strong entity tag, quotes included. */
struct document {
	struct blob *blob;
	char etag[24];
};

struct definitions; /* frozen; any thread may read */

/* Of `count` tools in this order. NULL when memory is out. Nothing is borrowed. */
struct definitions *definitions_new(const struct generation *generation, const struct tool *const *tools,
				    size_t count) MUST_CHECK;
/* Any thread. NULL is allowed. */
struct definitions *definitions_ref(struct definitions *definitions);
void definitions_unref(struct definitions *definitions);

/* By its word; FORMAT_COUNT if there is none. An empty word is jitney's own. */
enum definition_format definition_format(struct slice word);
/* All tools in a format / the OpenAPI 3.1 description of the gateway. Owned by definitions. */
const struct document *definitions_list(const struct definitions *definitions, enum definition_format format);
/* Of that list in FORMAT_MCP the elements first to last - 1, with the commas between them. */
struct slice definitions_mcp_range(const struct definitions *definitions, size_t first, size_t last);
const struct document *definitions_openapi(const struct definitions *definitions);
/* One tool. False: memory is out. The caller unrefs document->blob. */
bool definitions_tool(const struct generation *generation, const struct tool *tool, enum definition_format format,
		      struct document *document) MUST_CHECK;
/* Whether the vendor's API would take this tool's name, and Anthropic's the names of its arguments; a tool that it
 * would not take is left out of that list. */
bool definition_name_fits(const struct tool *tool, enum definition_format format);

#endif
