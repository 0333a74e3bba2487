/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_listed.c: what is asked of upstreams that list their tools (MCP), and of the tools: entries about those: which
 * options are theirs alone, and what an entry says itself, so that the server's list does not decide it.
 */
#include "gateway/config/config_private.h"

#define MCP_TIMEOUT_US (60 * CLOCK_US_PER_S) /* as MCP clients have it themselves */

const char *const config_of_tool_list[] = { "names",         "expose",     "max_list",         "max_tools",
					    "trust_hints",   "pass_hints", "progress_timeout", "cache",
					    "tools_refresh", NULL };

/* Options of providers that list their tools would do nothing for others, silently. */
static void refuse_exposure(struct config_load *load, const struct upstream_draft *draft, const struct dialect *dialect)
{
	for (const char *const *option = config_of_tool_list; *option; option++) {
		const struct node *node = node_find(draft->node, *option);
		if (node)
			config_error_key(load, node,
					 "upstreams.%s.%s: is for providers that list their tools (MCP), not for "
					 "dialect %s",
					 draft->node->key.at, *option, dialect->name);
	}
}

void config_check_exposure(struct config_load *load, struct upstream_draft *draft)
{
	struct exposure *exposure = &draft->config.exposure;
	const struct dialect *dialect = draft->config.settings.dialect;
	const struct node *cache = node_find(draft->node, "cache"), *scope = node_find(draft->node, "cache.scope");
	if (!dialect || !dialect->lists_tools) {
		if (dialect)
			refuse_exposure(load, draft, dialect);
		return;
	}
	if (!node_find(draft->node, "timeout"))
		draft->config.settings.timeout_us = MCP_TIMEOUT_US;
	exposure->only_allowed = node_find(draft->node, "expose.allow") != NULL;
	if (cache && exposure->cache.ttl_us && !exposure->trust_hints)
		config_error_key(load, cache,
				 "upstreams.%s.cache: goes by the server's readOnlyHint and needs trust_hints: true",
				 draft->node->key.at);
	if (scope && exposure->scope == SCOPE_TENANT && !load->config->generation.http.tenant_header)
		config_error_at(load, scope, "upstreams.%s.cache.scope: tenant needs identity.tenant_header",
				draft->node->key.at);
}

/* The server's name of the tool: as written, or the entry's own, less the prefix that the gateway would give it. */
static const char *remote_name(const struct tool_draft *draft)
{
	const char *name = draft->node->key.at;
	size_t prefix = strlen(draft->upstream);
	if (draft->remote)
		return draft->remote;
	if (strncmp(name, draft->upstream, prefix) == 0 && strncmp(name + prefix, "__", 2) == 0 && name[prefix + 2])
		return name + prefix + 2;
	return name;
}

bool config_check_listed(struct config_load *load, struct tool_draft *draft, const struct dialect *dialect)
{
	static const char *const options[] = { "tool", "arguments" };
	for (size_t i = 0; i < countof(options) && !dialect->lists_tools; i++) {
		const struct node *node = node_find(draft->node, options[i]);
		if (!node)
			continue;
		config_error_key(load, node,
				 "tools.%s.%s: is for providers that list their tools (MCP), not for dialect %s",
				 draft->node->key.at, options[i], dialect->name);
		return false;
	}
	const struct node *method = node_find(draft->node, "method");
	if (dialect->lists_tools && method) {
		config_error_key(
			load, method,
			"tools.%s.method: is for dialect jsonrpc; the server's name of an MCP tool is tools.%s.tool",
			draft->node->key.at, draft->node->key.at);
		return false;
	}
	if (dialect->lists_tools) {
		draft->tool.remote = draft->remote = draft->request.method = remote_name(draft);
		draft->request.constants = draft->tool.constants;
	}
	return true;
}

unsigned config_overridden(const struct tool_draft *draft)
{
	static const struct {
		const char *path;
		enum overridden bit;
	} options[] = {
		{ "description", OVERRIDES_DESCRIPTION },
		{ "title", OVERRIDES_TITLE },
		{ "input_schema", OVERRIDES_INPUT_SCHEMA },
		{ "output_schema", OVERRIDES_OUTPUT_SCHEMA },
		{ "annotations.read_only", OVERRIDES_READ_ONLY },
		{ "annotations.idempotent", OVERRIDES_IDEMPOTENT },
		{ "annotations.destructive", OVERRIDES_DESTRUCTIVE },
		{ "annotations.open_world", OVERRIDES_OPEN_WORLD },
		{ "cache", OVERRIDES_CACHE },
	};
	unsigned overridden = 0;
	for (size_t i = 0; i < countof(options); i++)
		if (node_find(draft->node, options[i].path))
			overridden |= options[i].bit;
	return overridden;
}

static bool is_prefixed(const struct upstream_draft *draft)
{
	const struct dialect *dialect = draft->config.settings.dialect;
	return dialect && dialect->lists_tools && draft->config.exposure.names == NAMES_PREFIXED;
}

/* A tool "hub__x" of upstream "git" would have the name that tool "x" of upstream "git__hub" has: whose it is must not
 * depend on what servers list. */
void config_check_prefixes(struct config_load *load)
{
	const struct config_drafts *drafts = load->drafts;
	for (size_t i = 0; i < drafts->upstream_count; i++)
		for (size_t j = 0; j < drafts->upstream_count; j++) {
			const struct upstream_draft *longer = &drafts->upstreams[i], *shorter = &drafts->upstreams[j];
			size_t len = strlen(shorter->node->key.at);
			if (i == j || !is_prefixed(longer) || !is_prefixed(shorter) ||
			    strncmp(longer->node->key.at, shorter->node->key.at, len) != 0 ||
			    strncmp(longer->node->key.at + len, "__", 2) != 0)
				continue;
			config_error_key(load, longer->node,
					 "upstreams.%s: tools of upstream %s could have the same names (%s__...); "
					 "rename one of them",
					 longer->node->key.at, shorter->node->key.at, longer->node->key.at);
		}
}
