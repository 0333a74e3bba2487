/* SPDX-License-Identifier: Apache-2.0 */
/* tool_names.h: what the tools of an MCP server are called here, and which of them callers see at all. */
#ifndef JITNEY_GATEWAY_TOOLS_TOOL_NAMES_H
#define JITNEY_GATEWAY_TOOLS_TOOL_NAMES_H

#include "base/buf.h"
#include "base/slice.h"
#include "gateway/config/config.h"

/* What all of OpenAI, Anthropic, Gemini and MCP clients take: [A-Za-z0-9_-]. */
enum { SHOWN_NAME_BYTES = 64 };

/* Whether all of `text` matches the glob: * any text, ? one byte, all else itself. Linear space, at worst
 * glob * text steps. */
bool glob_matches(const char *glob, struct slice text);
/* Whether callers may see a tool that the server calls so. */
bool exposure_shows(const struct exposure *exposure, struct slice remote);
/* Append the name it has here: with the upstream's name before it, if `names` says so; what may not stand in a name
 * becomes _. It may come out longer than SHOWN_NAME_BYTES. */
void exposure_put_name(struct buf *out, const struct upstream_config *upstream, struct slice remote);
/* Of such a name: what stands for the server's own. */
const char *exposure_own_part(const char *name, const struct upstream_config *upstream);
/* Whether a name at the server can be one here as it is. */
bool name_is_plain(struct slice name);

#endif
