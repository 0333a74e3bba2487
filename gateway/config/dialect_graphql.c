/* SPDX-License-Identifier: Apache-2.0 */
/* dialect_graphql.c: dialect graphql in the configuration: the block `graphql` of its upstreams. */
#include "gateway/config/config_private.h"

static void check_graphql(struct config_load *load, struct upstream_draft *draft)
{
	struct graphql_settings *settings = &draft->own_settings.graphql;
	settings->merge = settings->merge ? settings->merge : "alias";
	settings->max = settings->max ? settings->max : GRAPHQL_DEFAULT_MAX;
	draft->own = graphql_new(settings);
	if (!draft->own)
		config_error_key(load, draft->node, "upstreams.%s: out of memory", draft->node->key.at);
}

static const char *const options[] = { "graphql", NULL };
static const char *const tool_options[] = { "operation", NULL };

const struct config_dialect config_graphql = {
	.dialect = &dialect_graphql, .options = options, .tool_options = tool_options, .check = check_graphql
};
