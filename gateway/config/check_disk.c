/* SPDX-License-Identifier: Apache-2.0 */
/* check_disk.c: cache.disk: what its options mean together. */
#include "gateway/config/config_private.h"

void config_check_disk(struct config_load *load, const struct node *root, const struct node *disk)
{
	const struct config *config = load->config;
	const char *path = config->disk_options.path;
	if (node_find(root, "cache.redis"))
		config_error_key(load, disk,
				 "cache.disk and cache.redis exclude each other: Redis outlives a restart by itself, "
				 "and what the fleet has purged meanwhile would come back from this gateway's disk");
	if (path && path[0] != '/')
		config_error_at(load, node_member(disk, "path"), "cache.disk.path must be absolute: it begins with /");
}

void config_finish_disk(struct config_load *load)
{
	struct config *config = load->config;
	if (config->disk_options.path)
		config->disk = &config->disk_options;
	if (config->disk)
		config->disk->shown = secrets_shown(&config->secrets, config->disk->path);
	if (config->disk && !config->generation.mcp.lists) {
		config->generation.mcp.lists = arena_printf(config->arena, "%s/mcp.lists", config->disk->path);
		config->generation.mcp.lists_shown = arena_printf(config->arena, "%s/mcp.lists", config->disk->shown);
	} else if (config->generation.mcp.lists) {
		config->generation.mcp.lists_shown = secrets_shown(&config->secrets, config->generation.mcp.lists);
	}
}
