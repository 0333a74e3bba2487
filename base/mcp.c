/* SPDX-License-Identifier: Apache-2.0 */
/* mcp.c: MCP's versions and levels. */
#include "base/mcp.h"

#include <assert.h>
#include <string.h>

bool mcp_version_known(struct slice version)
{
	static const char *const known[] = { "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", "2024-10-07" };
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (slice_equal(version, slice_of(known[i])))
			return true;
	return false;
}

bool mcp_may_mirror(struct slice schema)
{
	static const char word[] = "x-mcp-header";
	return schema.len && (memmem(schema.at, schema.len, word, sizeof word - 1) ||
			      memchr(schema.at, '\\', schema.len)); /* it may be written with escapes */
}

static const char *const levels[] = { "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency" };

uint8_t mcp_level_of(struct slice name)
{
	for (unsigned i = 0; i < MCP_LEVEL_COUNT; i++)
		if (slice_equal(name, slice_of(levels[i])))
			return (uint8_t)(i + 1);
	return MCP_LEVEL_NONE;
}

const char *mcp_level_name(uint8_t level)
{
	assert(level >= 1 && level <= MCP_LEVEL_COUNT);
	return levels[level - 1];
}
