/* SPDX-License-Identifier: Apache-2.0 */
/* dialect_envelope.c: dialect envelope in the configuration: the block `envelope` of its upstreams. */
#include "gateway/config/config_private.h"

static void compile_envelope(struct config_load *load, struct upstream_draft *draft, const struct node *block)
{
	struct envelope_settings *settings = &draft->own_settings.envelope;
	struct dialect_error error = { 0 };
	envelope_fill(settings);
	draft->own = envelope_new(settings, &error);
	if (!draft->own)
		config_note_dialect_error(
			load, block, arena_printf(load->arena, "upstreams.%s.envelope", draft->node->key.at), &error);
}

static void check_envelope(struct config_load *load, struct upstream_draft *draft)
{
	const struct node *block = node_find(draft->node, "envelope"), *type = node_find(block, "content_type");
	const char *content_type = draft->own_settings.envelope.content_type;
	const char *wrong = content_type ? value_header(slice_of(content_type)) : NULL;
	if (wrong && type)
		config_error_at(load, type, "upstreams.%s.envelope.content_type: %s", draft->node->key.at, wrong);
	if (!block)
		config_error_key(load, draft->node, "upstreams.%s.envelope is missing: dialect envelope needs it",
				 draft->node->key.at);
	else if (block->kind == NODE_MAP && !draft->faulty && !arena_failed(load->arena))
		compile_envelope(load, draft, block);
}

static const char *const options[] = { "envelope", NULL };
static const char *const tool_options[] = { "request", "method", NULL };

const struct config_dialect config_envelope = {
	.dialect = &dialect_envelope, .options = options, .tool_options = tool_options, .check = check_envelope
};
