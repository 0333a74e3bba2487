/* SPDX-License-Identifier: Apache-2.0 */
/* list.h: every dialect, in one place. */
#ifndef JITNEY_UPSTREAM_DIALECTS_LIST_H
#define JITNEY_UPSTREAM_DIALECTS_LIST_H

/* X(struct dialect). Those with settings of their own (envelope_new, graphql_new, key_list_new) cannot be used
 * themselves: they are what the made ones have in common. */
/* clang-format off */
#define DIALECTS(X)                                                                                                    \
	X(dialect_jsonrpc) X(dialect_rest) X(dialect_envelope) X(dialect_graphql) X(dialect_openai_embeddings)         \
	X(dialect_mcp) X(dialect_jsonrpc_stdio) X(dialect_mcp_stdio)
/* clang-format on */

#endif
