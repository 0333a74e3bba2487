/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openapi.h: all tools as one OpenAPI 3.1 document. Each tool's schemas are documents of their own, whose references
 * ("#/$defs/X") point into themselves; here they are parts of a larger one, so their $defs become components
 * ("TOOL.X", "TOOL.output.X"), and what points elsewhere into a schema points to where that stands.
 */
#ifndef JITNEY_GATEWAY_TOOLS_OPENAPI_H
#define JITNEY_GATEWAY_TOOLS_OPENAPI_H

#include "base/buf.h"
#include "gateway/config/config.h"

/* Append the whole document: each tool a path of its own. */
void openapi_put(struct buf *out, const struct tool *const *tools, size_t count);

#endif
