/* SPDX-License-Identifier: Apache-2.0 */
/* config_tools.h: a declared tool by its name. */
#ifndef TESTS_SUPPORT_CONFIG_TOOLS_H
#define TESTS_SUPPORT_CONFIG_TOOLS_H

#include "gateway/config/config.h"

/* NULL: there is none. */
static inline const struct tool *config_tool(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->generation.tool_count; i++)
		if (strcmp(config->generation.tools[i].name, name) == 0)
			return &config->generation.tools[i];
	return NULL;
}

#endif
