/* SPDX-License-Identifier: Apache-2.0 */
/* check_mcp.c: what the option table cannot say of allowed_hosts and the block mcp: forms of names that nothing would
 * ever match. */
#include "gateway/config/config_private.h"

/* The length of "http://" or "https://" at the start; 0: neither. */
static size_t scheme_length(const char *text)
{
	static const char plain[] = "http://", secure[] = "https://";
	if (strncmp(text, plain, sizeof plain - 1) == 0)
		return sizeof plain - 1;
	return strncmp(text, secure, sizeof secure - 1) == 0 ? sizeof secure - 1 : 0;
}

static bool is_origin(const char *text)
{
	size_t scheme = scheme_length(text);
	return strcmp(text, "*") == 0 || (scheme && text[scheme] && !strpbrk(text + scheme, "/?#@ "));
}

static bool is_host(const char *text)
{
	return !strpbrk(text, ":/?#@[] ");
}

static void check_names(struct config_load *load, const struct node *list, const char *const *names, size_t count,
			bool (*is_fit)(const char *name), const char *complaint)
{
	const struct node *child = list && list->kind == NODE_LIST ? list->first : NULL;
	for (size_t i = 0; child && i < count; i++, child = child->next)
		if (names[i] && !is_fit(names[i]))
			config_error_at(load, child, "%s", complaint);
}

void config_check_mcp(struct config_load *load, const struct node *root)
{
	const struct config *config = load->config;
	const struct node *issuer = node_find(root, "mcp.issuer");
	check_names(load, node_find(root, "allowed_hosts"), config->generation.hosts, config->generation.host_count,
		    is_host,
		    "allowed_hosts: must be a name without scheme and port, such as tools.example.com, or \"*\"");
	check_names(load, node_find(root, "mcp.allowed_hosts"), config->generation.mcp.hosts,
		    config->generation.mcp.host_count, is_host,
		    "mcp.allowed_hosts: must be a name without scheme and port, such as tools.example.com, or \"*\"");
	check_names(
		load, node_find(root, "mcp.allowed_origins"), config->generation.mcp.origins,
		config->generation.mcp.origin_count, is_origin,
		"mcp.allowed_origins: must be scheme://name or scheme://name:port, such as https://app.example.com, "
		"or \"*\"");
	const struct node *lists = node_find(root, "mcp.lists");
	if (lists && config->generation.mcp.lists && config->generation.mcp.lists[0] != '/')
		config_error_at(load, lists, "mcp.lists must be absolute: it begins with /");
	if (issuer && config->generation.mcp.issuer &&
	    (!scheme_length(config->generation.mcp.issuer) ||
	     !config->generation.mcp.issuer[scheme_length(config->generation.mcp.issuer)] ||
	     strpbrk(config->generation.mcp.issuer, "?# ")))
		config_error_at(load, issuer,
				"mcp.issuer: must be an https:// or http:// URL without query and fragment");
}
