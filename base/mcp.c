/* mcp.c: MCP's versions. */
#include "base/mcp.h"

bool mcp_version_known(struct slice version)
{
	static const char *const known[] = { "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", "2024-10-07" };
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (slice_equal(version, slice_of(known[i])))
			return true;
	return false;
}
