/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mcp.h: the endpoint for MCP clients, both eras of the protocol by request (docs/mcp.md): "legacy", 2024-10-07 to
 * 2025-11-25, and "modern", 2026-07-28. Stateless: no session is minted and nothing is kept between requests, but for
 * the streams of subscriptions/listen. A tools/call takes the very path of POST /v1/tools/{tool}.
 */
#ifndef JITNEY_GATEWAY_MCP_MCP_H
#define JITNEY_GATEWAY_MCP_MCP_H

#include "gateway/call/front.h"
#include "gateway/call/route.h"

/* /mcp, every method. */
route_function mcp_serve;
/* JSON-RPC errors. */
extern const struct wire wire_mcp;
/* /.well-known/oauth-protected-resource and the same with /mcp behind it (RFC 9728); 404 without mcp.issuer. */
route_function mcp_resource_metadata;
/* It drains: end all streams of subscriptions/listen of it; NULL: of all. Worker's thread. */
void mcp_end_subscriptions(struct worker *worker, const struct http *http);

#endif
