/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import.h: the files in which MCP clients keep their servers (claude_desktop_config.json, .mcp.json, mcp.json,
 * settings of Cursor, VS Code, Windsurf, Cline, Gemini CLI, Zed), written as a configuration of ours. What is secret
 * there is not printed: it becomes ${NAME}, to be set in the environment.
 */
#ifndef JITNEY_GATEWAY_CLI_IMPORT_H
#define JITNEY_GATEWAY_CLI_IMPORT_H

#include "base/buf.h"
#include "base/slice.h"

/*
 * text  JSON, with comments and trailing commas as some editors allow them.
 * file  its name, for the comments.
 * Appends YAML to `out`. What has no counterpart here is named in a comment. False: `error` says why there is nothing.
 */
bool import_convert(struct slice text, const char *file, struct buf *out, char *error, size_t error_bytes);

#endif
