/* dialect_toy.c: dialect toy in the configuration. */
#include "gateway/config/config_private.h"

static void check(struct config_load *load, struct upstream_draft *draft)
{
	draft->own = toy_new(&draft->own_settings.toy);
	if (!draft->own)
		config_error_key(load, draft->node, "upstreams.%s: out of memory", draft->node->key.at);
}

static const char *const options[] = { "toy", NULL };

const struct config_dialect config_toy = { .dialect = &dialect_toy, .options = options, .check = check };
