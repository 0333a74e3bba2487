/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_arguments.c: arguments that a tool's request, or `required`, names and its schema does not: nobody can give them
 * who goes by the schema. A schema may say less than it means, so it is a warning.
 */
#include "gateway/config/config_private.h"
#include "upstream/dialects/template.h"

static void check_name(struct config_load *load, const struct tool_draft *draft, const struct node *where,
		       const char *what, struct slice name)
{
	const struct node *properties = node_find(draft->node, "input_schema.properties");
	for (const struct node *property = properties->first; property; property = property->next)
		if (slice_equal(property->key, name))
			return;
	config_warning(load, where, "tools.%s.%s: no property of input_schema is called %.*s", draft->node->key.at,
		       what, SLICE_ARG(name));
}

static void check_text(struct config_load *load, const struct tool_draft *draft, const struct node *where,
		       const char *what, enum template_place place, const char *text)
{
	struct slice name;
	for (const char *at = text; at && (at = template_next_name(at, place, &name));)
		if (!slice_equal(name, SLICE("arguments")))
			check_name(load, draft, where, what, name);
}

static void check_pairs(struct config_load *load, const struct tool_draft *draft, const char *what,
			enum template_place place, const struct route_pair *pairs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_text(load, draft, node_find(draft->node, what), what, place, pairs[i].value);
}

/* Whether what is no property may be an argument all the same, by what the schema says elsewhere. */
static bool allows_others(const struct tool_draft *draft)
{
	static const char *const elsewhere[] = {
		"additionalProperties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf"
	};
	const struct node *schema = node_find(draft->node, "input_schema");
	for (size_t i = 0; i < countof(elsewhere); i++) {
		const struct node *word = node_member(schema, elsewhere[i]);
		if (word && !(word->kind == NODE_SCALAR && slice_equal(word->text, SLICE("false"))))
			return true;
	}
	return false;
}

static void check_required(struct config_load *load, const struct tool_draft *draft)
{
	const struct node *required = node_find(draft->node, "input_schema.required");
	if (!required || required->kind != NODE_LIST)
		return;
	for (const struct node *name = required->first; name; name = name->next)
		if (name->kind == NODE_SCALAR)
			check_name(load, draft, required, "input_schema.required", name->text);
}

void config_check_arguments(struct config_load *load, const struct tool_draft *draft)
{
	const struct node *properties = node_find(draft->node, "input_schema.properties");
	const struct route_settings *request = &draft->request;
	if (!properties || properties->kind != NODE_MAP || !properties->first || allows_others(draft))
		return; /* it says nothing of them */
	check_required(load, draft);
	check_text(load, draft, node_find(draft->node, "request.path"), "request.path", TEMPLATE_PATH, request->path);
	check_pairs(load, draft, "request.query", TEMPLATE_QUERY, request->query, request->query_count);
	check_pairs(load, draft, "request.headers", TEMPLATE_HEADER, request->headers, request->header_count);
	check_text(load, draft, node_find(draft->node, "request.body"), "request.body", TEMPLATE_BODY, request->body);
}
