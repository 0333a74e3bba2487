/* SPDX-License-Identifier: Apache-2.0 */
/* mcp.h: what both sides of MCP share, the clients' in gateway/ and the servers' in upstream/: versions, error codes.
 */
#ifndef JITNEY_BASE_MCP_H
#define JITNEY_BASE_MCP_H

#include <stdint.h>

#include "base/slice.h"

#define MCP_VERSION_LEGACY "2025-11-25" /* the last that begins with initialize */
#define MCP_VERSION_MODERN "2026-07-28" /* the one in which every request says in _meta who speaks which version */

/* Whether it is a version that begins with initialize: 2024-10-07 to MCP_VERSION_LEGACY. */
bool mcp_version_known(struct slice version);

/* Whether somewhere in this schema may be an "x-mcp-header". False: surely not, so no argument need be looked for, of a body
 * that may have half a million. */
bool mcp_may_mirror(struct slice schema);

/* JSON-RPC's error codes, as far as something here depends on them. */
enum {
	MCP_PARSE_ERROR = -32700,
	MCP_INVALID_REQUEST = -32600,
	MCP_METHOD_NOT_FOUND = -32601,
	MCP_INVALID_PARAMS = -32602, /* an unknown tool too */
	MCP_INTERNAL_ERROR = -32603,
	MCP_HEADER_MISMATCH = -32020, /* this one and the next two: only a modern server says them */
	MCP_CAPABILITY_MISSING = -32021,
	MCP_VERSION_UNSUPPORTED = -32022
};

/* Levels of log messages (RFC 5424 by name), as numbers: 1 for debug to 8 for emergency. */
enum { MCP_LEVEL_NONE = 0, MCP_LEVEL_COUNT = 8, MCP_LEVEL_UNASKED = 9 /* whatever comes; none is asked for */ };
/* MCP_LEVEL_NONE: no level's name. */
uint8_t mcp_level_of(struct slice name);
/* 1 to MCP_LEVEL_COUNT. */
const char *mcp_level_name(uint8_t level);

/* What a caller wants to hear while its call is under way: notifications/progress, notifications/message. */
struct mcp_asks {
	bool progress;
	uint8_t level; /* of messages, at least */
};

enum mcp_notification_kind { MCP_NOTIFICATION_PROGRESS, MCP_NOTIFICATION_MESSAGE };

#endif
