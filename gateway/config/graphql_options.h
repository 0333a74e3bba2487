/* SPDX-License-Identifier: Apache-2.0 */
/* graphql_options.h: the rows of the option table that are dialect graphql's (options.h). */
#ifndef JITNEY_GATEWAY_CONFIG_GRAPHQL_OPTIONS_H
#define JITNEY_GATEWAY_CONFIG_GRAPHQL_OPTIONS_H

/* clang-format off */
#define GRAPHQL_ROWS(B, V, L, T)                                                                                       \
	B("upstreams.*.graphql", BLOCK, 0, "dialect graphql: how calls become one request.")                           \
	V("upstreams.*.graphql.merge", WORD, upstream_draft, own_settings.graphql.merge, "", 0, 0, "(alias)", "alias|array|off",    \
	  "alias: one document with aliased fields; array: a list of operations, where the server takes one; off.")    \
	V("upstreams.*.graphql.max", COUNT, upstream_draft, own_settings.graphql.max, "", 1, 1000, "(20)", NULL,                    \
	  "Calls in one request that the server takes at most; batch.items may ask for fewer.")

#define GRAPHQL_TOOL_ROWS(B, V, L, T)                                                                                  \
	V("tools.*.operation", TEXT, tool_draft, request.operation, "bytes", 1, 262144, NULL, NULL,                    \
	  "dialect graphql: the query or mutation with its fragments; arguments are its variables, by name.")
/* clang-format on */

#endif
