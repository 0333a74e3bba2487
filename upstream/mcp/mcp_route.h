/* SPDX-License-Identifier: Apache-2.0 */
/* mcp_route.h: how a tool of an MCP server is called, whatever carries the messages. Immutable, any thread. */
#ifndef JITNEY_UPSTREAM_MCP_MCP_ROUTE_H
#define JITNEY_UPSTREAM_MCP_MCP_ROUTE_H

#include "base/blob.h"
#include "upstream/dialects/dialect.h"

struct mcp_route {
	struct dialect_route base;
	struct blob *name;      /* the server's name of the tool, a raw JSON string */
	struct blob *constants; /* for dialect_put_arguments, NUL-terminated; NULL: none */
	struct blob
		*schema; /* the input schema, if some arguments go into headers too (param_headers.h); NULL: none do */
};

/* struct dialect's functions of these names, for `dialect`. */
struct dialect_route *mcp_route_new(const struct dialect *dialect, const struct route_settings *settings,
				    struct dialect_error *error) MUST_CHECK;
void mcp_route_free(struct dialect_route *base);

/* `route` is one that mcp_route_new has made. */
static inline const struct mcp_route *mcp_route_of(const struct dialect_route *route)
{
	return container_of(route, struct mcp_route, base);
}

/* The constants for dialect_put_arguments. */
static inline const char *mcp_route_constants(const struct mcp_route *route)
{
	return route->constants ? blob_slice(route->constants).at : NULL;
}

#endif
