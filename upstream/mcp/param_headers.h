/* SPDX-License-Identifier: Apache-2.0 */
/*
 * param_headers.h: arguments that a tool wants to see in HTTP headers too (MCP 2026-07-28, "Custom Headers from Tool
 * Parameters"): a property of its input schema with "x-mcp-header": "Region" is sent as Mcp-Param-Region as well.
 */
#ifndef JITNEY_UPSTREAM_MCP_PARAM_HEADERS_H
#define JITNEY_UPSTREAM_MCP_PARAM_HEADERS_H

#include "base/buf.h"
#include "base/compiler.h"
#include "base/slice.h"

enum { MCP_MIRROR_MAX = 32 /* annotated properties a tool may have */ };

/*
 * Look at an input schema (JSON that our scanner has accepted). Returns NULL if all its annotations are valid, else
 * what is wrong with the first bad one (static, a phrase): then clients must not use the tool. *count: annotations
 * found.
 */
const char *param_headers_fault(struct slice schema, size_t *count);

/* Append the header lines ("Mcp-Param-Region: eu\n") that go with these arguments. schema: one without a fault. What is
 * null or absent has no line. */
void param_headers_put(struct slice schema, struct slice arguments, struct buf *lines);

/* Append `text` as the value of an MCP header: itself, or =?base64?...?= if a header could not carry it. */
void mcp_header_put(struct buf *out, struct slice text);

#endif
