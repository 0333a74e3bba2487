/* SPDX-License-Identifier: Apache-2.0 */
/* dialect_embeddings.c: dialect openai-embeddings in the configuration: the models that its tools have, base URLs. */
#include "gateway/config/config_private.h"

/* A base URL, as OpenAI's clients have it: the path of the request is appended. */
static void check_endpoints(struct config_load *load, struct upstream_draft *draft)
{
	static const char path[] = "/embeddings";
	for (size_t i = 0; i < draft->endpoint_count; i++) {
		const char *url = draft->endpoints[i].url;
		size_t len = url ? strlen(url) : 0;
		len -= len && url[len - 1] == '/' ? 1 : 0;
		if (len >= sizeof path - 1 && memcmp(url + len - (sizeof path - 1), path, sizeof path - 1) == 0)
			config_warning(load, node_find(draft->node, "endpoints"),
				       "upstreams.%s.endpoints: /embeddings is appended to the URL, and %s ends so "
				       "already: name what comes before it",
				       draft->node->key.at, url);
	}
}

static const char *const tool_options[] = { "models", NULL };

const struct config_dialect config_embeddings = { .dialect = &dialect_openai_embeddings,
						  .tool_options = tool_options,
						  .check = check_endpoints };
