/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dialects.h: what each dialect adds to the configuration: its rows of the option table, its settings in the drafts, its
 * own checks (dialect_NAME.c). A new dialect adds its line to each list in here.
 */
#ifndef JITNEY_GATEWAY_CONFIG_DIALECTS_H
#define JITNEY_GATEWAY_CONFIG_DIALECTS_H

#include "gateway/config/embeddings_options.h"
#include "gateway/config/envelope_options.h"
#include "gateway/config/graphql_options.h"
#include "gateway/config/key_list_options.h"
#include "upstream/dialects/envelope.h"
#include "upstream/dialects/graphql.h"
#include "upstream/dialects/key_list.h"

/* Values of upstreams.*.dialect, and what people are told of them. */
/* clang-format off */
#define DIALECT_WORDS "jsonrpc|rest|envelope|graphql|openai-embeddings|mcp|mcp-stdio|jsonrpc-stdio"
#define DIALECT_HELP                                                                                                   \
	"How calls are written to the provider: jsonrpc (JSON-RPC 2.0, arrays), rest (one request a call), "           \
	"envelope (the provider's own batch shape, declared), graphql (operations, merged into one document), "        \
	"openai-embeddings (POST /embeddings) or mcp (an MCP server over HTTP); to a program that jitney runs: "       \
	"mcp-stdio (an MCP server) or jsonrpc-stdio (JSON-RPC 2.0 by lines)."

/* Rows of upstreams, of tools, and of a tool's request; for OPTION_TABLE. */
#define DIALECT_UPSTREAM_ROWS(B, V, L, T)                                                                              \
	ENVELOPE_ROWS(B, V, L, T)                                                                                      \
	GRAPHQL_ROWS(B, V, L, T)
#define DIALECT_TOOL_ROWS(B, V, L, T)                                                                                  \
	GRAPHQL_TOOL_ROWS(B, V, L, T)                                                                                  \
	EMBEDDINGS_TOOL_ROWS(B, V, L, T)
#define DIALECT_REQUEST_ROWS(B, V, L, T)                                                                               \
	KEY_LIST_ROWS(B, V, L, T)

/* X(the dialect's config_dialect), in the order in which people are told of them. */
#define CONFIG_DIALECTS(X)                                                                                             \
	X(config_jsonrpc) X(config_rest) X(config_envelope) X(config_graphql) X(config_embeddings)                     \
	X(config_mcp) X(config_jsonrpc_stdio) X(config_mcp_stdio)
/* clang-format on */

/* Settings of dialects in the draft of an upstream, and of a tool, for the rows' fields. */
struct dialect_drafts {
	struct envelope_settings envelope;
	struct graphql_settings graphql;
};
struct dialect_tool_drafts {
	struct key_list_settings key_list; /* parameter NULL: none */
};

struct config_load;
struct dialect;
struct tool_draft;
struct upstream_draft;

struct config_dialect {
	const struct dialect *dialect;
	const char *const *options;      /* of upstreams, that only some dialects know, this one among them: names, then
					  * NULL; NULL: none */
	const char *const *tool_options; /* likewise, of tools */
	/* Check and fill in what it knows of an upstream, and make the upstream's own dialect (draft->own), if it has
	 * one. NULL: nothing to do. */
	void (*check)(struct config_load *load, struct upstream_draft *draft);
	/* Fill in what a tool does not say of its request. NULL: nothing to do. */
	void (*fill_tool)(struct config_load *load, struct tool_draft *draft);
};

#endif
